package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"closeout/alpaca/sim"
	"closeout/closure"
)

type simulatorCmd struct {
	Addr  string `default:"127.0.0.1:9000" help:"Where the simulated broker listens; loopback only."`
	Data  string `help:"Folder of sim.db; without one everything is in memory and gone at the end."`
	Seed  int64  `help:"Makes ids and chance repeatable."`
	Calls int    `name:"calls-per-minute" help:"Answers so many calls in a minute and the rest with 429; 0: all."`
	Demos bool   `help:"Makes the twelve accounts of closeout dev, 5eed0000-0000-4000-8000-000000000001 to …12, unless they are there."`
	Day   string `env:"CLOSEOUT_DAY" help:"Scaled clock, 20s@<virtual origin>@<wall origin>: give the same to server and workers."`
}

// Run serves the simulated broker until it is told to stop. An accepted mutation is on disk before it is answered.
func (c *simulatorCmd) Run(ctx context.Context, o output) error {
	var bad complaints
	clock, err := closure.ParseClock(c.Day)
	if err != nil {
		bad.add("CLOSEOUT_DAY", "%v", err)
	}
	if c.Calls < 0 {
		bad.add("--calls-per-minute", "must not be negative, is %d", c.Calls)
	}
	loopbackOnly("--addr", c.Addr, &bad)
	if err := bad.err(); err != nil {
		return err
	}
	so := sim.Options{
		Now: clock.Now, Machine: clock.Machine, FixedClock: clock.Scaled(), Key: demoKey, Secret: demoSecret, Seed: c.Seed, CallsPerMinute: c.Calls,
	}
	if c.Data != "" {
		if err := os.MkdirAll(c.Data, 0o700); err != nil {
			return fmt.Errorf("make the data folder: %w", err)
		}
		so.Path = filepath.Join(c.Data, "sim.db")
	}
	broker, err := sim.Open(so)
	if err != nil {
		return err
	}
	defer func() { _ = broker.Close() }()
	if c.Demos {
		if err := makeDemos(broker); err != nil {
			return err
		}
	}
	ln, err := listen(ctx, c.Addr)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(o.out, "The simulated broker listens on http://%s (key %s, secret %s); /sim/ is for tests and needs no key.\n", ln.Addr(), demoKey, demoSecret)
	return serve(ctx, ln, broker)
}
