package handlers_test

import (
	"strings"
	"testing"
	"time"

	"closeout/alpaca/sim"
	"closeout/calendar"
	"closeout/closure"
	"closeout/internal/lab"
)

// noBanks is a market whose banks are shut for the rest of the year: nothing settles and no transfer moves.
type noBanks struct{ sim.Market }

func (noBanks) Banking(date string) bool { return date >= "2027-01-04" }

// Each phase has a limit, and it counts only the time in which something could have happened.
func TestLimits(t *testing.T) {
	t.Parallel()
	lab.Long(t)
	withoutBanks := func(o *sim.Options) { o.Market = noBanks{sim.USMarket} }
	for name, tc := range map[string]struct {
		start string
		sim   func(*sim.Options)
		spec  sim.Spec
		phase closure.Phase
		least time.Duration // it must not fail sooner
		most  time.Duration
	}{
		"Liquidation/OrdersThatDoNotDie": {
			"2026-11-20 15:55", func(o *sim.Options) { o.CancelDelay = 1000 * time.Hour },
			sim.Spec{Cash: d("10"), Positions: []sim.PositionSpec{{Symbol: "F", Qty: d("5"), Price: d("12")}}, Orders: []sim.OrderSpec{{Symbol: "F", Qty: d("5"), LimitPrice: d("99")}}},
			// Friday 15:55: five minutes of open market are left, the other ten come on Monday.
			closure.Liquidation, 65 * time.Hour, 66 * time.Hour,
		},
		"Settlement/NothingSettles": {
			"2026-11-20 11:00", withoutBanks, threeStocks(),
			closure.Settlement, 4 * day, 7 * day, // Fri, Mon, Tue, and it trips on Wednesday
		},
		"Withdrawal/TheTransferDoesNotMove": {
			"2026-11-20 11:00", withoutBanks,
			sim.Spec{Cash: d("900")},
			closure.Withdrawal, 6 * day, 11 * day, // five banking days, with Thanksgiving between
		},
		"Closing/FeesThatAreNeverBooked": {
			"2026-11-20 11:00", nil,
			sim.Spec{Cash: d("900"), Fees: d("1.25")},
			closure.Closing, 3 * day, 8 * day,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bench(t, lab.Options{Start: tc.start, Sim: tc.sim}, func(l *lab.Lab) {
				began := time.Now()
				c := l.Ends(l.Open(tc.spec).ID, month)
				took := time.Since(began)
				if c.State != closure.Failed || c.Reason != closure.LimitReached || c.Phase != tc.phase {
					l.TB.Fatalf("ended %s %s in %s: %s\n%s", c.State, c.Reason, c.Phase, c.Why, l.History(c.ID))
				}
				if took < tc.least || took > tc.most {
					l.TB.Errorf("failed after %s, want between %s and %s\n%s", took, tc.least, tc.most, l.History(c.ID))
				}
				if closure.Reasons[c.Reason].Hint == "" || !strings.Contains(c.Why, l.Policy.Limits[c.Phase].String()) {
					l.TB.Errorf("the stop does not say what to do, or not which limit: %q", c.Why)
				}
				if tc.phase != closure.Withdrawal { // resumed, the limit runs afresh
					return
				}
				if _, err := l.Ledger.Command(l.TB.Context(), c.ID, func(closure.Closure, []closure.Intent) (closure.Change, error) {
					return closure.Resume(time.Now(), "tester", "the bank says it is coming"), nil
				}); err != nil {
					l.TB.Fatal(err)
				}
				l.RunFor(4 * day)
				if now := l.Get(c.ID); now.State != closure.Running {
					l.TB.Errorf("four days after the resume: %s: %s", now.State, now.Why)
				}
			})
		})
	}
}

func TestPositionsThatKeepComingBack(t *testing.T) {
	t.Parallel()
	bench(t, lab.Options{Start: "2026-11-16 10:00", Sim: func(o *sim.Options) { o.Market = noBanks{sim.USMarket} }}, func(l *lab.Lab) {
		c := l.Open(threeStocks())
		for range closure.MaxLoops + 3 {
			l.RunFor(2 * time.Hour)
			if l.Get(c.ID).State != closure.Running {
				break
			}
			if err := l.Sim.Event(c.AccountID, sim.Event{Type: "position", Symbol: "GME", Qty: d("1"), Price: d("20")}); err != nil {
				l.TB.Fatal(err)
			}
			for !calendar.Rules().Open(time.Now().Add(3 * time.Hour)) {
				l.RunFor(time.Hour)
			}
		}
		c = l.Get(c.ID)
		if c.State != closure.Failed || c.Reason != closure.TooManyLoops || c.Loops != closure.MaxLoops {
			l.TB.Fatalf("ended %s %s after %d loops: %s\n%s", c.State, c.Reason, c.Loops, c.Why, l.History(c.ID))
		}
	})
}

// Money that comes back is paid once more; the second time a person is asked, and after they resumed it is paid again.
func TestPayoutsThatComeBack(t *testing.T) {
	t.Parallel()
	bench(t, lab.Options{}, func(l *lab.Lab) {
		c := l.Open(sim.Spec{Cash: d("900"), Events: []sim.Event{{Type: "ach_return", When: sim.AfterFirstPayoutComplete, After: sim.Duration(3 * time.Hour)}}})
		l.RunUntil(month, func() bool { return len(l.Payouts(c.AccountID)) == 2 })
		l.RunFor(2 * day)
		if err := l.Sim.Event(c.AccountID, sim.Event{Type: "ach_return"}); err != nil {
			l.TB.Fatal(err)
		}
		c = l.Ends(c.ID, month)
		wants(l, c, closure.Failed, closure.ReturnedTwice, "900.00", "900.00")
		if _, err := l.Ledger.Command(l.TB.Context(), c.ID, func(closure.Closure, []closure.Intent) (closure.Change, error) {
			return closure.Resume(time.Now(), "tester", "the bank is repaired"), nil
		}); err != nil {
			l.TB.Fatal(err)
		}
		wants(l, l.Ends(c.ID, month), closure.Closed, "", "900.00", "900.00", "900.00")
	})
}
