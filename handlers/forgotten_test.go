package handlers_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"closeout/alpaca/sim"
	"closeout/closure"
	"closeout/internal/lab"
)

// Redis goes away between the claim of an instruction and its sending, at each kind of instruction. What nobody would remember is
// not sent, and is asked for again once Redis is back: each is carried out once, no retry or limit is used up, and nothing is unknown.
func TestWhatRedisCantRememberIsNotSent(t *testing.T) {
	t.Parallel()
	bench(t, lab.Options{}, func(l *lab.Lab) {
		spec := threeStocks()
		spec.Orders = []sim.OrderSpec{{Symbol: "AAPL", Qty: d("1")}}
		away := map[string]bool{}
		l.AfterClaim = func(what string) {
			if kind, _, _ := strings.Cut(what, " "); !away[kind] {
				away[kind] = true
				l.Redis.SetError("away")
				time.AfterFunc(20*time.Second, func() { l.Redis.SetError("") })
			}
		}
		c := l.Open(spec)
		c = l.Ends(c.ID, month)
		wants(l, c, closure.Closed, "", "7048.48")
		events := kinds(l, c)
		if n := len(slices.DeleteFunc(slices.Clone(events), func(k string) bool { return k != "unsent" })); n < 4 || len(away) != 4 {
			t.Errorf("Redis was away at %v, and %d instructions were not sent\n%s", away, n, l.History(c.ID))
		}
		for _, bad := range []string{"error", "crash", "unknown"} {
			if slices.Contains(events, bad) {
				t.Errorf("it left %q\n%s", bad, l.History(c.ID))
			}
		}
	})
}

// What remembers claims is away for hours while queue and ledger are there, as a shard of a cluster may be: nothing is sent, the
// closure waits however long that lasts, and each instruction is carried out once in the end.
func TestAClosureWaitsWhileNothingIsRemembered(t *testing.T) {
	t.Parallel()
	bench(t, lab.Options{}, func(l *lab.Lab) {
		spec := threeStocks()
		spec.Orders = []sim.OrderSpec{{Symbol: "AAPL", Qty: d("1")}}
		away := map[string]bool{}
		l.AfterClaim = func(what string) {
			if kind, _, _ := strings.Cut(what, " "); !away[kind] {
				away[kind] = true
				l.Forgets.Store(new(errors.New("away")))
				time.AfterFunc(5*time.Hour, func() { l.Forgets.Store(nil) })
			}
		}
		c := l.Open(spec)
		c = l.Ends(c.ID, month)
		wants(l, c, closure.Closed, "", "7048.48")
		if !strings.Contains(l.History(c.ID), closure.Reasons[closure.NotRemembered].Title) {
			t.Errorf("the history does not say what it waited for\n%s", l.History(c.ID))
		}
		if len(away) != 4 {
			t.Errorf("it was away at %v", away)
		}
	})
}
