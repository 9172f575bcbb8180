package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"closeout/alpaca"
	"closeout/alpaca/sim"
	"closeout/closure"
	"closeout/server"
	"closeout/signin"
	"closeout/worker"
)

type devCmd struct {
	common
	listening
	Addr       string `default:"127.0.0.1:8000" help:"Where the API listens."`
	SimAddr    string `default:"127.0.0.1:9000" help:"Where the simulated broker listens."`
	HealthAddr string `default:"127.0.0.1:8080" help:"Where the worker's GET /health answers."`
	Data       string `default:".closeout" help:"Folder of closeout.db and sim.db; keep it, and the closures go on at the next start."`
	Day        string `default:"20s" help:"How long a business day takes; fixed for a data folder by its first start."`
	NoInitiate bool   `help:"Make the demo accounts and close none."`
}

// The simulated broker's credentials; nothing outside this process accepts them.
const demoKey, demoSecret = "demo", "demo-secret"

// Run starts everything and works until it is told to stop.
func (c *devCmd) Run(ctx context.Context, o output) error {
	if os.Getenv("CLOSEOUT_LOG_LEVEL") == "" && c.LogLevel == "info" {
		c.LogLevel = "warning" // the progress lines are the show
	}
	var bad complaints
	s := c.common.check(&bad)
	c.check(s.env, &bad)
	c.listening.check(&bad)
	if err := bad.err(); err != nil {
		return err
	}
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return fmt.Errorf("make the data folder: %w", err)
	}
	var err error
	if s.clock, err = keptClock(c.Data, c.Day); err != nil {
		return err
	}
	s.log.SetOutput(o.err)
	s.calls = demoCalls

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	// Each part is told to stop by itself, so that the doors close in order and what is in hand can finish.
	background := func(what string, f func(context.Context) error) (stop func()) {
		own, end := context.WithCancel(context.WithoutCancel(ctx))
		done := make(chan struct{})
		go func() {
			defer close(done)
			if err := f(own); err != nil {
				cancel(fmt.Errorf("%s: %w", what, err))
			}
		}()
		return func() { end(); <-done }
	}

	broker, err := sim.Open(sim.Options{
		Path: filepath.Join(c.Data, "sim.db"), Now: s.clock.Now, Machine: s.clock.Machine, FixedClock: true, Key: demoKey, Secret: demoSecret, DailyLimit: s.policy.DailyLimit,
	})
	if err != nil {
		return err
	}
	defer func() { _ = broker.Close() }()
	simLn, err := listen(ctx, c.SimAddr)
	if err != nil {
		return err
	}
	apiLn, err := listen(ctx, c.Addr)
	if err != nil {
		return err
	}
	mini := miniredis.NewMiniRedis()
	defer mini.Close()
	password := rand.Text()
	forget, err := openRedis(mini, c.Data, password) // for closeout monitor
	if err != nil {
		return err
	}
	defer forget()
	rdb := redis.NewClient(&redis.Options{Addr: "miniredis", Password: password, DisableIdentity: true, Protocol: 2, Dialer: func(context.Context, string, string) (net.Conn, error) { return mini.Dial() }})
	p, err := assemble(ctx, s, rdb, "sqlite:"+filepath.Join(c.Data, "closeout.db"),
		alpaca.Options{BaseURL: "http://" + simLn.Addr().String(), Key: demoKey, Secret: demoSecret})
	if err != nil {
		return err
	}
	defer func() { _ = p.close() }()
	h, err := p.handler(server.DevKeys(), server.DefaultRate, signin.Settings{PublicURL: "http://" + apiLn.Addr().String(), OneClick: true})
	if err != nil {
		return err
	}
	stops := []func(){
		background("expire keys of the embedded Redis", func(ctx context.Context) error { return ticking(ctx, mini) }),
		background("simulated broker", func(ctx context.Context) error { return serve(ctx, simLn, broker) }),
		background("worker", func(ctx context.Context) error {
			w := p.worker(ctx, &consoleMailer{out: o.out}, 0, c.HealthAddr)
			c.listen(p, &w)
			return worker.Run(ctx, w)
		}),
		background("API", func(ctx context.Context) error { return serve(ctx, apiLn, h) }),
	}
	show := &show{ledger: p.ledger, clock: s.clock, out: o.out, api: "http://" + apiLn.Addr().String(), sim: "http://" + simLn.Addr().String(), data: c.Data}
	stops = append(stops, background("demo", func(ctx context.Context) error { return show.run(ctx, broker, !c.NoInitiate) }))

	<-ctx.Done()
	_, _ = fmt.Fprintln(o.out, "stopping; start again with the same data folder and the closures go on")
	for _, stop := range slices.Backward(stops) {
		stop()
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// check refuses what the demo can't be: everything that makes it a demo is refused with the live environment.
func (c *devCmd) check(env closure.Environment, bad *complaints) {
	if env == closure.Live {
		bad.add("CLOSEOUT_ENVIRONMENT", "closeout dev runs on the simulator; it is refused with the live environment")
		bad.add("CLOSEOUT_ENVIRONMENT", "closeout dev runs on miniredis, which forgets; it is refused with the live environment")
		bad.add("CLOSEOUT_ENVIRONMENT", `closeout dev accepts the API key "dev"; it is refused with the live environment`)
		bad.add("CLOSEOUT_ENVIRONMENT", "closeout dev runs on a scaled clock; it is refused with the live environment")
		bad.add("CLOSEOUT_ENVIRONMENT", "closeout dev lets whoever clicks in as an operator; it is refused with the live environment")
	}
	if os.Getenv("CLOSEOUT_DAY") != "" {
		bad.add("CLOSEOUT_DAY", "closeout dev keeps its clock in its data folder; use --day for the length of a day")
	}
	if d, err := time.ParseDuration(c.Day); err != nil || d < time.Second || d > 24*time.Hour {
		bad.add("--day", "must lie between 1s and 24h, is %q", c.Day)
	}
	for _, a := range []struct{ flag, addr string }{{"--addr", c.Addr}, {"--sim-addr", c.SimAddr}, {"--health-addr", c.HealthAddr}} {
		loopbackOnly(a.flag, a.addr, bad)
	}
}

// loopbackOnly refuses an address that others could reach: what listens there has a well-known key.
func loopbackOnly(flag, addr string, bad *complaints) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		bad.add(flag, "want host:port, got %q", addr)
	} else if !loopback(host) {
		bad.add(flag, "this has a well-known key and stays on loopback, got %q", addr)
	}
}

// kept is what a demo's folder remembers of its clock.
type kept struct {
	Clock string `json:"clock"`
}

// demoEnds is where the calendars' rules and this demo's patience end.
var demoEnds = time.Date(2090, time.January, 1, 0, 0, 0, 0, time.UTC)

// keptClock is the clock of a data folder, made at its first start: business time stays one function of wall time over
// restarts, so that nothing a simulator or a ledger wrote lies in the future.
func keptClock(dir, day string) (closure.Clock, error) {
	path := filepath.Join(dir, "clock.json")
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		d, err := time.ParseDuration(day)
		if err != nil {
			return closure.Clock{}, err
		}
		c := closure.ScaledClock(d, demoBegins, time.Now())
		b, err := json.Marshal(kept{Clock: c.String()})
		if err != nil {
			return c, err
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			return c, fmt.Errorf("keep the clock: %w", err)
		}
		return c, nil
	}
	c, err := readClock(path)
	if err == nil && c.Now().After(demoEnds) {
		return c, fmt.Errorf("in this demo the year is %d by now: its days went on while it was stopped; begin anew with another --data, or remove %s", c.Now().Year(), dir)
	}
	return c, err
}

// readClock is the clock that a folder has kept.
func readClock(path string) (closure.Clock, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return closure.Clock{}, fmt.Errorf("read the clock: %w", err)
	}
	var k kept
	if err := json.Unmarshal(b, &k); err != nil {
		return closure.Clock{}, fmt.Errorf("%s is not readable (%w); remove the data folder to begin anew", path, err)
	}
	c, err := closure.ParseClock(k.Clock)
	if err != nil {
		return c, fmt.Errorf("%s: %w; remove the data folder to begin anew", path, err)
	}
	return c, nil
}

// ticking lets keys expire in miniredis, which knows no clock of its own outside tests.
func ticking(ctx context.Context, m *miniredis.Miniredis) error {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			m.FastForward(time.Second)
		}
	}
}
