package sim_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"closeout/alpaca"
	"closeout/alpaca/sim"
)

func eventful() sim.Spec {
	return sim.Spec{
		Cash: dec("1000.5"), CashMoves: sim.Late,
		Positions: []sim.PositionSpec{
			{Symbol: "AAPL", Qty: dec("10"), Price: dec("200.01"), PartialFills: dec2("0.35")},
			{Symbol: "HALT", Qty: dec("3.5"), Price: dec("7"), Resumes: sim.Duration(3 * time.Hour), Fee: dec("0.02")},
		},
		Orders: []sim.OrderSpec{{Symbol: "AAPL", Qty: dec("2"), Side: "buy", Class: "bracket"}},
		Events: []sim.Event{
			{Type: "dividend", Amount: dec("1.11"), When: sim.AfterFirstPayout, After: sim.Duration(3 * time.Hour)},
			{Type: "ach_return", When: sim.AfterFirstPayoutComplete, After: sim.Duration(100 * time.Hour)},
			{Type: "block", What: "trading", After: sim.Duration(time.Hour), For: sim.Duration(90 * time.Minute)},
			{Type: "deposit", Amount: dec("33"), After: sim.Duration(20 * time.Hour)},
			{Type: "close", After: sim.Duration(300 * time.Hour)},
		},
	}
}

// live asks for the same things of any simulator that was given the same time.
func live(b *box, id string) {
	for _, o := range b.truth(id).Orders[1:3] {
		_, _ = b.send(alpaca.CancelOrder(id, o.ID))
	}
	b.now = b.now.Add(time.Minute)
	for _, p := range b.truth(id).Positions {
		b.must(alpaca.CloseOrder(id, alpaca.Position{Symbol: p.Symbol}, p.Qty, "c-"+p.Symbol))
	}
	b.must(alpaca.PayOut(id, b.bank(id), dec("700.25")))
}

func TestReopenedSimulatorGoesOn(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/with space & ?.db"
	b := newBox(t, "2026-11-19 11:00", sim.Options{Path: path, Seed: 7})
	id := b.add(eventful())
	live(b, id)
	if err := b.sim.Advance(90 * time.Minute); err != nil {
		t.Fatal(err)
	}
	for step := range 12 {
		before, lines := b.truth(id), journal(b)
		if err := b.sim.Close(); err != nil {
			t.Fatal(err)
		}
		s, err := sim.Open(sim.Options{Path: path, Seed: 7, Now: func() time.Time { return b.now }})
		if err != nil {
			t.Fatal(err)
		}
		b.use(s)
		if diff := cmp.Diff(before, b.truth(id)); diff != "" {
			t.Fatalf("step %d: another truth:\n%s", step, diff)
		}
		if diff := cmp.Diff(lines, journal(b)); diff != "" {
			t.Fatalf("step %d: another journal:\n%s", step, diff)
		}
		b.audit(id)
		b.now = b.now.Add(29 * time.Hour)
	}
	t.Cleanup(func() { _ = b.sim.Close() })
	if truth := b.truth(id); truth.Status != "ACCOUNT_CLOSED" {
		t.Errorf("after all: %+v", truth)
	}
	again := b.add(sim.Spec{ID: id, Cash: dec("5")})
	other := b.add(sim.Spec{Cash: dec("5")})
	if again != id || other == id || b.truth(id).Cash.Equal(dec("5")) {
		t.Errorf("ids: %s, %s, %s", id, again, other)
	}
}

func TestClosedSimulatorAcceptsNothing(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"", t.TempDir() + "/sim.db"} {
		b := newBox(t, "2026-11-20 10:00", sim.Options{Path: path})
		id := b.add(sim.Spec{Cash: dec("10")})
		bank := b.bank(id)
		_ = b.sim.Close()
		if a, err := b.send(alpaca.PayOut(id, bank, dec("10"))); err != nil || a.Status != 500 {
			t.Errorf("%+v, %v", a, err)
		}
		if a, err := b.client.TradingAccount(t.Context(), id); err != nil || !a.Cash.Decimal.Equal(dec("10")) {
			t.Errorf("what was not stored took effect: %+v, %v", a, err)
		}
	}
}

// TestLookingChangesNothing lives one life under many watchers: how often somebody looks must not matter.
func TestLookingChangesNothing(t *testing.T) {
	t.Parallel()
	outcome := func(seed uint64) (sim.Truth, []sim.Entry) {
		b := newBox(t, "2026-11-19 11:00", sim.Options{Seed: 3})
		id := b.add(eventful())
		live(b, id)
		end := b.now.Add(320 * time.Hour)
		chance := rand.New(rand.NewPCG(seed, 0))
		for seed > 0 {
			b.now = b.now.Add(time.Duration(chance.Int64N(int64(seed) * int64(2*time.Hour))))
			if b.now.After(end) {
				break
			}
			b.truth(id)
		}
		b.now = end
		truth := b.truth(id)
		return truth, journal(b)
	}
	truth, lines := outcome(0)
	for seed := range uint64(20) {
		other, otherLines := outcome(seed + 1)
		if diff := cmp.Diff(truth, other); diff != "" {
			t.Fatalf("seed %d: %s", seed, diff)
		}
		if diff := cmp.Diff(lines, otherLines); diff != "" {
			t.Fatalf("seed %d: %s", seed, diff)
		}
	}
	seen := map[string]bool{}
	for _, e := range lines {
		seen[e.Kind] = true
	}
	for _, kind := range []string{"opened", "order", "cancel", "order_canceled", "fill", "order_expired", "fee", "transfer", "complete", "debit", "return", "dividend", "block", "unblock", "deposit", "closed_by_broker"} {
		if !seen[kind] {
			t.Errorf("that life had no %s: %v", kind, kinds(lines))
		}
	}
}

func TestSeedMakesTheSameIDs(t *testing.T) {
	t.Parallel()
	ids := func(seed int64) string {
		b := newBox(t, "2026-11-19 11:00", sim.Options{Seed: seed})
		return fmt.Sprint(b.add(sim.Spec{}), b.add(sim.Spec{}))
	}
	if one := ids(1); one != ids(1) || one == ids(2) {
		t.Error("the ids do not follow the seed")
	}
}

func journal(b *box) []sim.Entry {
	b.Helper()
	entries, err := b.sim.Journal("")
	if err != nil {
		b.Fatal(err)
	}
	return entries
}
