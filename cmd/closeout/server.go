package main

import (
	"context"

	"github.com/redis/go-redis/v9"

	"closeout/alpaca"
	"closeout/server"
)

type serverCmd struct {
	common
	remote
	signIn
	Addr    string `default:":8000" help:"Where the API listens."`
	APIKeys string `name:"api-keys" env:"CLOSEOUT_API_KEYS" secret:"" help:"API keys that may do everything, beside those of closeout keys: name=secret, several with commas."`
	APIRate int    `name:"api-rate" env:"CLOSEOUT_API_RATE" default:"400" help:"Requests that one key may make in a second, at all servers together, and twice as many at once; a POST counts as ten."`
}

// Run serves the API until it is told to stop.
func (c *serverCmd) Run(ctx context.Context) error {
	var bad complaints
	s := c.common.check(&bad)
	opts := c.remote.check(&s, &bad)
	keys := apiKeys(c.APIKeys, &bad)
	people := c.signIn.check(&bad)
	if c.APIRate < server.LeastRate || c.APIRate > 1_000_000 {
		bad.add("CLOSEOUT_API_RATE", "must lie between %d and 1000000, is %d", server.LeastRate, c.APIRate)
	}
	if err := bad.err(); err != nil {
		return err
	}
	p, err := c.assemble(ctx, s, opts)
	if err != nil {
		return err
	}
	defer func() { _ = p.close() }()
	h, err := p.handler(keys, c.APIRate, people)
	if err != nil {
		return err
	}
	ln, err := listen(ctx, c.Addr)
	if err != nil {
		return err
	}
	if len(keys.Names()) == 0 {
		if made, err := p.ledger.APIKeys(ctx); err == nil && len(made) == 0 {
			s.log.Warn("there is no API key yet, so that nobody can ask for anything: make one by closeout keys create NAME")
		}
	}
	if c.Operators == "" && c.OIDCIssuer == "" {
		s.log.Info("nobody can sign in at the console yet: its page /signin says what to set")
	}
	s.log.WithField("addr", ln.Addr().String()).Info("serving")
	return serve(ctx, ln, h)
}

func (r remote) assemble(ctx context.Context, s settings, opts *redis.UniversalOptions) (*parts, error) {
	r.warn(s.log, opts)
	return assemble(ctx, s, redis.NewUniversalClient(opts), r.DatabaseURL,
		alpaca.Options{BaseURL: r.AlpacaURL, Key: r.AlpacaKey, Secret: r.AlpacaSecret, UserAgent: "closeout/" + version})
}
