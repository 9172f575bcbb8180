package handlers_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shopspring/decimal"

	"closeout/alpaca/sim"
	"closeout/closure"
	"closeout/internal/lab"
)

func d(s string) decimal.Decimal { return decimal.RequireFromString(s) }

const month = 31 * 24 * time.Hour

// bench runs a test in a bubble with a lab of its own.
func bench(t *testing.T, o lab.Options, f func(l *lab.Lab)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := lab.New(t, o)
		defer l.Close()
		f(l)
	})
}

// wants checks a closure's end and what the simulator's journal says was paid.
func wants(l *lab.Lab, c closure.Closure, state closure.State, reason closure.Reason, paid ...string) {
	l.TB.Helper()
	if c.State != state || reason != "" && c.Reason != reason {
		l.TB.Fatalf("ended %s (%s: %s), want %s %s\n%s", c.State, c.Reason, c.Why, state, reason, l.History(c.ID))
	}
	if got := l.Payouts(c.AccountID); !slices.Equal(got, paid) {
		l.TB.Fatalf("paid %v, want %v\n%s", got, paid, l.History(c.ID))
	}
	if state != closure.Closed {
		return
	}
	truth, err := l.Sim.Truth(c.AccountID)
	if err != nil {
		l.TB.Fatal(err)
	}
	if truth.Status != "ACCOUNT_CLOSED" || !truth.Cash.IsZero() || len(truth.Positions) != 0 {
		l.TB.Fatalf("the broker has status %s, cash %s, %d positions", truth.Status, truth.Cash, len(truth.Positions))
	}
}

func threeStocks() sim.Spec {
	return sim.Spec{Cash: d("310.25"), Positions: []sim.PositionSpec{
		{Symbol: "AAPL", Qty: d("10"), Price: d("231.40")},
		{Symbol: "VTI", Qty: d("12.5"), Price: d("290.05")},
		{Symbol: "F", Qty: d("66"), Price: d("12.10")},
	}}
}

func TestCashOnlyAccountIsClosed(t *testing.T) {
	t.Parallel()
	bench(t, lab.Options{}, func(l *lab.Lab) {
		c := l.Open(sim.Spec{Cash: d("1234.56")})
		wants(l, l.Ends(c.ID, month), closure.Closed, "", "1234.56")
	})
}

// The nine-day closure: initiated on the Friday evening before Thanksgiving's week's end, over a weekend, a holiday and an
// early close.
func TestNineDaysOverAHolidayWeekend(t *testing.T) {
	t.Parallel()
	started := time.Now()
	bench(t, lab.Options{Start: "2026-11-25 17:30"}, func(l *lab.Lab) {
		began := time.Now()
		c := l.Ends(l.Open(threeStocks()).ID, month)
		wants(l, c, closure.Closed, "", "7048.48")
		l.TB.Logf("%.1f virtual days, %d visits\n%s", time.Since(began).Hours()/24, l.Visits.Load(), l.History(c.ID))
		if took := time.Since(began); took < 8*24*time.Hour || took > 10*24*time.Hour {
			l.TB.Errorf("took %s, want about nine days", took)
		}
	})
	t.Logf("in %s of real time", time.Since(started).Round(time.Millisecond))
}

// Crash at every effect and commit: the worker is killed at the k-th point, for every k, and another one takes over.
func TestCrashAtEveryPointOfTheThreeStockClosure(t *testing.T) {
	t.Parallel()
	last := 0
	fewLooks := lab.Options{Policy: func(p *closure.Policy) { // fewer looks: each that finds nothing new is like the next
		p.Polls[closure.Settlement], p.Polls[closure.Withdrawal] = 9*time.Hour, 12*time.Hour
	}}
	bench(t, fewLooks, func(l *lab.Lab) {
		c := l.Ends(l.Open(threeStocks()).ID, month)
		wants(l, c, closure.Closed, "", "7048.48")
		last = l.Points
	})
	step := 1
	if testing.Short() {
		step = 7
	}
	for k := 1; k <= last; k += step {
		t.Run(fmt.Sprint(k), func(t *testing.T) {
			t.Parallel()
			bench(t, fewLooks, func(l *lab.Lab) {
				l.KillAt = k
				c := l.Ends(l.Open(threeStocks()).ID, month)
				l.TB.Logf("killed %s", l.Killed)
				if l.Killed == "" {
					l.TB.Fatal("nothing was killed")
				}
				wants(l, c, closure.Closed, "", "7048.48")
			})
		})
	}
	t.Logf("%d points", last)
}
