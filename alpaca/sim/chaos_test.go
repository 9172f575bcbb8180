package sim_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"closeout/alpaca"
	"closeout/alpaca/sim"
)

func (b *box) chaos(rules ...sim.Rule) {
	b.Helper()
	if err := b.sim.Chaos(sim.Chaos{Seed: 1, Rules: rules}); err != nil {
		b.Fatal(err)
	}
}

func (b *box) payouts(id string) int {
	b.Helper()
	entries, err := b.sim.Journal(id)
	if err != nil {
		b.Fatal(err)
	}
	n := 0
	for _, e := range entries {
		if e.Kind == "transfer" {
			n++
		}
	}
	return n
}

// TestFaults sends a payout into each fault: what answer comes, and was the money moved?
func TestFaults(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		rule           sim.Rule
		status         int // 0: no answer
		moved, visible bool
	}{
		{sim.Rule{Fault: sim.FaultError}, 500, false, false},
		{sim.Rule{Fault: sim.FaultError, Status: 504}, 504, false, false},
		{sim.Rule{Fault: sim.FaultError, Status: 403}, 403, false, false},
		{sim.Rule{Fault: sim.FaultErrorAfter, Status: 503}, 503, true, true},
		{sim.Rule{Fault: sim.FaultTimeoutAfter}, 0, true, true},
		{sim.Rule{Fault: sim.FaultTimeoutAfter, Late: sim.Duration(time.Hour)}, 0, true, false},
		{sim.Rule{Fault: sim.FaultSlow, Delay: sim.Duration(time.Millisecond)}, 200, true, true},
		{sim.Rule{Fault: sim.FaultLate, Delay: sim.Duration(time.Hour)}, 200, true, false},
		{sim.Rule{Fault: sim.FaultThrottle, Delay: sim.Duration(time.Minute)}, 429, false, false},
		{sim.Rule{Fault: sim.FaultDrop}, 0, false, false},
	} {
		t.Run(row.rule.Fault, func(t *testing.T) {
			t.Parallel()
			b := newBox(t, "2026-11-20 10:00", sim.Options{})
			id := b.add(sim.Spec{Cash: dec("100")})
			w := alpaca.PayOut(id, b.bank(id), dec("100"))
			rule := row.rule
			rule.Method, rule.Path, rule.Times = "post", "/v1/accounts/*/transfers", 1
			b.chaos(rule)
			a, err := b.send(w)
			if (err != nil) != (row.status == 0) || a.Status != row.status {
				t.Errorf("%+v, %v", a, err)
			}
			if err != nil && !alpaca.Unavailable(err) {
				t.Errorf("a cut connection is %v", err)
			}
			if row.status == 429 {
				if wait := time.Until(a.Err.RateLimitReset); wait < 55*time.Second || wait > 61*time.Second {
					t.Errorf("the quota is renewed in %v", wait)
				}
			}
			if moved := b.payouts(id) == 1; moved != row.moved {
				t.Errorf("moved: %v", moved)
			}
			list, err := b.client.Transfers(t.Context(), id)
			if err != nil || (len(list) == 1) != row.visible {
				t.Errorf("listed: %v, %v", list, err)
			}
			b.now = b.now.Add(time.Hour)
			if list, err = b.client.Transfers(t.Context(), id); err != nil || (len(list) == 1) != row.moved {
				t.Errorf("listed in the end: %v, %v", list, err)
			}
			if !row.moved {
				b.must(w) // the rule has fired as often as it may
			}
		})
	}
}

func TestLateOrderIsNotFoundAtFirst(t *testing.T) {
	t.Parallel()
	b := newBox(t, "2026-11-20 18:00", sim.Options{})
	id := b.add(sim.Spec{Positions: []sim.PositionSpec{{Symbol: "AAPL", Qty: dec("1"), Price: dec("1")}}})
	b.chaos(sim.Rule{Method: "POST", Path: "/orders", Fault: sim.FaultTimeoutAfter, Late: sim.Duration(time.Minute)})
	if _, err := b.send(alpaca.CloseOrder(id, alpaca.Position{Symbol: "AAPL"}, dec("1"), "c1")); err == nil {
		t.Error("an answer came")
	}
	if _, err := b.client.OrderByClientID(t.Context(), id, "c1"); !alpaca.NotFound(err) {
		t.Errorf("at first: %v", err)
	}
	b.now = b.now.Add(time.Minute)
	if o, err := b.client.OrderByClientID(t.Context(), id, "c1"); err != nil || o.Status != "accepted" {
		t.Errorf("later: %+v, %v", o, err)
	}
}

func TestChanceFollowsTheSeed(t *testing.T) {
	t.Parallel()
	pattern := func(seed int64, probability float64) (s string) {
		b := newBox(t, "2026-11-20 10:00", sim.Options{})
		id := b.add(sim.Spec{})
		if err := b.sim.Chaos(sim.Chaos{Seed: seed, Rules: []sim.Rule{{Path: "/v1/accounts/*", Probability: probability, Fault: sim.FaultError}}}); err != nil {
			t.Fatal(err)
		}
		for range 200 {
			_, err := b.client.Account(t.Context(), id)
			if _, other := b.client.Clock(t.Context()); other != nil {
				t.Errorf("a path that does not match: %v", other)
			}
			if err != nil {
				s += "x"
			} else {
				s += "."
			}
		}
		return s
	}
	one, half := pattern(1, 0.5), 0
	for _, c := range one {
		if c == 'x' {
			half++
		}
	}
	if one != pattern(1, 0.5) || one == pattern(2, 0.5) || half < 70 || half > 130 {
		t.Errorf("seed 1 gives %s", one)
	}
}

func TestPathsOfRules(t *testing.T) {
	t.Parallel()
	b := newBox(t, "2026-11-20 10:00", sim.Options{})
	id := b.add(sim.Spec{})
	for path, hits := range map[string]bool{
		"": true, "*": true, "**": true, "/v1/": true, "/transfers": true, "transfers": true, "/v1/**/transfers": true, ".*/transfers": true,
		"/v1/accounts/" + id + "/transfers": true, "/v1/accounts/*/t*": true,
		"/v1/accounts/*": false, "/v1/accounts": false, "/v2/": false, "/sim/": false, "orders": false,
	} {
		b.chaos(sim.Rule{Path: path, Fault: sim.FaultError})
		if _, err := b.client.Transfers(t.Context(), id); (err != nil) != hits {
			t.Errorf("%q: %v", path, err)
		}
	}
	for _, bad := range []sim.Rule{{Fault: "explode"}, {Fault: sim.FaultError, Probability: 2}, {Fault: sim.FaultError, Status: 200}} {
		if err := b.sim.Chaos(sim.Chaos{Rules: []sim.Rule{bad}}); err == nil {
			t.Errorf("takes %+v", bad)
		}
	}
}

// TestFaultsOverASocket cuts real connections.
func TestFaultsOverASocket(t *testing.T) {
	t.Parallel()
	b := newBox(t, "2026-11-20 10:00", sim.Options{Key: "k", Secret: "s"})
	server := httptest.NewServer(b.sim)
	t.Cleanup(server.Close)
	c, err := alpaca.New(alpaca.Options{BaseURL: server.URL, Key: "k", Secret: "s", Timeout: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	b.client = c
	id := b.add(sim.Spec{Cash: dec("30")})
	w := alpaca.PayOut(id, b.bank(id), dec("10"))
	for i, fault := range []sim.Rule{{Fault: sim.FaultTimeoutAfter}, {Fault: sim.FaultDrop}, {Fault: sim.FaultTimeoutAfter, Delay: sim.Duration(time.Minute)}} {
		fault.Method = "POST"
		b.chaos(fault)
		if a, err := b.send(w); !alpaca.Unavailable(err) {
			t.Errorf("%d: %+v, %v", i, a, err)
		}
	}
	if n := b.payouts(id); n != 2 {
		t.Errorf("%d payouts", n)
	}
	wrong, err := alpaca.New(alpaca.Options{BaseURL: server.URL, Key: "k", Secret: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := wrong.Account(t.Context(), id); !alpaca.Unauthorized(err) {
		t.Errorf("a wrong secret: %v", err)
	}
	resp, err := http.Get(server.URL + "/sim/clock")
	if err != nil || resp.StatusCode != 200 || resp.Header.Get("X-Request-ID") == "" {
		t.Errorf("without auth: %v, %v", resp, err)
	}
	resp.Body.Close()
}

// TestInABubble runs the simulator, its file included, in virtual time.
func TestInABubble(t *testing.T) {
	path := t.TempDir() + "/sim.db"
	synctest.Test(t, func(t *testing.T) {
		s, err := sim.Open(sim.Options{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		b := &box{TB: t}
		b.use(s)
		id := b.add(sim.Spec{Cash: dec("10")})
		b.must(alpaca.PayOut(id, b.bank(id), dec("10")))
		time.Sleep(100 * time.Hour)
		b.transferStatus(id, "COMPLETE")
		b.chaos(sim.Rule{Fault: sim.FaultSlow, Delay: sim.Duration(time.Hour)})
		started := time.Now()
		if _, err := b.client.Account(t.Context(), id); !alpaca.Unavailable(err) || time.Since(started) != 20*time.Second {
			t.Errorf("after %v: %v", time.Since(started), err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if _, err := b.client.Account(ctx, id); alpaca.Unavailable(err) || !errors.Is(err, context.Canceled) {
			t.Errorf("canceled: %v", err)
		}
		b.chaos(sim.Rule{Fault: sim.FaultSlow, Delay: sim.Duration(5 * time.Second)})
		ctx, calls := alpaca.Record(t.Context())
		if _, err := b.client.Account(ctx, id); err != nil || calls.List()[0].Took != 5*time.Second {
			t.Errorf("slow: %v, %v", err, calls.List())
		}
		if skew, known := calls.Skew(); !known || skew.Abs() > time.Second {
			t.Errorf("skew %v, %v", skew, known)
		}
	})
}
