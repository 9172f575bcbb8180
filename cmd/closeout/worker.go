package main

import (
	"context"

	"closeout/worker"
)

type workerCmd struct {
	common
	remote
	HealthAddr  string `default:":8080" help:"Where GET /health answers."`
	Concurrency int    `default:"20" help:"Visits at once."`
}

// Run works until it is told to stop, then drains.
func (c *workerCmd) Run(ctx context.Context) error {
	var bad complaints
	s := c.common.check(&bad)
	opts := c.remote.check(&s, &bad)
	if c.Concurrency < 1 || c.Concurrency > 1000 {
		bad.add("--concurrency", "must lie between 1 and 1000, is %d", c.Concurrency)
	}
	if err := bad.err(); err != nil {
		return err
	}
	p, err := c.assemble(ctx, s, opts)
	if err != nil {
		return err
	}
	defer func() { _ = p.close() }()
	s.log.Info("working")
	return worker.Run(ctx, p.worker(logPost{s.log}, c.Concurrency, c.HealthAddr))
}
