package main

import (
	"context"

	"github.com/redis/go-redis/v9"

	"closeout/alpaca"
)

type serverCmd struct {
	common
	remote
	Addr    string `default:":8000" help:"Where the API listens."`
	APIKeys string `name:"api-keys" env:"CLOSEOUT_API_KEYS" help:"Bootstrap API keys: name=secret, several with commas."`
}

// Run serves the API until it is told to stop.
func (c *serverCmd) Run(ctx context.Context) error {
	var bad complaints
	s := c.common.check(&bad)
	opts := c.remote.check(&s, &bad)
	keys := apiKeys(c.APIKeys, &bad)
	if err := bad.err(); err != nil {
		return err
	}
	p, err := c.assemble(ctx, s, opts)
	if err != nil {
		return err
	}
	defer func() { _ = p.close() }()
	h, err := p.handler(keys)
	if err != nil {
		return err
	}
	ln, err := listen(ctx, c.Addr)
	if err != nil {
		return err
	}
	s.log.WithField("addr", ln.Addr().String()).Info("serving")
	return serve(ctx, ln, h)
}

func (r remote) assemble(ctx context.Context, s settings, opts *redis.Options) (*parts, error) {
	return assemble(ctx, s, redis.NewClient(opts), r.DatabaseURL,
		alpaca.Options{BaseURL: r.AlpacaURL, Key: r.AlpacaKey, Secret: r.AlpacaSecret, UserAgent: "closeout/" + version})
}
