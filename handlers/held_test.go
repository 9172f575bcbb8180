package handlers_test

import (
	"strings"
	"testing"
	"time"

	"closeout/alpaca/sim"
	"closeout/closure"
	"closeout/internal/lab"
)

// holdAll holds everything, or releases it.
func holdAll(l *lab.Lab, hold bool) {
	l.TB.Helper()
	h, err := l.Ledger.Hold(l.TB.Context())
	if err == nil && hold {
		_, err = l.Ledger.HoldAll(l.TB.Context(), h.Version, "operator:ann", "the books look wrong")
	} else if err == nil {
		_, err = l.Ledger.ReleaseAll(l.TB.Context(), h.Version, "operator:ann", "they are right")
	}
	if err != nil {
		l.TB.Fatal(err)
	}
}

// While everything is held, visits look and ask for nothing, in every phase: they wait with a reason, use up no limit and no
// retry however long it takes, and go on within a minute of the release.
func TestWhileEverythingIsHeldVisitsOnlyLook(t *testing.T) {
	t.Parallel()
	lab.Long(t)
	reached := func(p closure.Phase) func(closure.Closure) bool {
		return func(c closure.Closure) bool { return c.Phase == p }
	}
	for name, tt := range map[string]struct {
		until  func(closure.Closure) bool // when the hold comes
		after  closure.Phase              // where it then waits
		writes string                     // what is claimed first once it is released
	}{
		"ToSell":  {func(c closure.Closure) bool { return c.Version == 1 }, closure.Liquidation, "sell"},
		"ToPay":   {reached(closure.Settlement), closure.Withdrawal, "pay out"},
		"ToClose": {func(c closure.Closure) bool { return c.Reason == closure.ReturnWatch }, closure.Closing, "close the account"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bench(t, lab.Options{}, func(l *lab.Lab) {
				c := l.Open(sim.Spec{Cash: d("10"), Positions: []sim.PositionSpec{{Symbol: "AAPL", Qty: d("1"), Price: d("200")}}})
				if name != "ToSell" {
					l.RunUntil(month, func() bool { return tt.until(l.Get(c.ID)) })
				}
				holdAll(l, true)
				claims := 0
				l.AfterClaim = func(what string) { claims++; l.TB.Logf("claimed: %s", what) }
				l.RunUntil(month, func() bool { return l.Get(c.ID).Reason == closure.ServiceHeld })
				held := l.Get(c.ID)
				l.RunFor(12 * 24 * time.Hour) // more than any limit
				now := l.Get(c.ID)
				if now.State != closure.Running || now.Reason != closure.ServiceHeld || now.Phase != tt.after || claims > 0 {
					l.TB.Fatalf("%s %s (%s: %s), %d claims\n%s", now.State, now.Phase, now.Reason, now.Why, claims, l.History(c.ID))
				}
				if now.Who != closure.Operator || !strings.HasSuffix(now.Why, ": the books look wrong") {
					l.TB.Errorf("the %q must act: %s", now.Who, now.Why)
				}
				if now.Spent != held.Spent || now.Days != held.Days || now.Failures != 0 || now.Looks <= held.Looks {
					l.TB.Errorf("spent %s, %d days, %d failures, %d looks more", now.Spent-held.Spent, now.Days-held.Days, now.Failures, now.Looks-held.Looks)
				}
				if n := now.Seq - held.Seq; n > 0 && tt.after != closure.Liquidation { // there the market opens and closes
					l.TB.Errorf("%d lines of news while it only waited\n%s", n, l.History(c.ID))
				}
				holdAll(l, false)
				released := time.Now()
				first := ""
				l.AfterClaim = func(what string) {
					if first == "" {
						first = what
						if tt.after == closure.Liquidation {
							return // the market may be closed
						}
						if took := time.Since(released); took > time.Minute {
							l.TB.Errorf("%s, %s after the release", what, took)
						}
					}
				}
				wants(l, l.Ends(c.ID, month), closure.Closed, "", "210.00")
				if !strings.HasPrefix(first, tt.writes) {
					l.TB.Errorf("claimed first: %s", first)
				}
			})
		})
	}
}

// What was claimed before the hold is on the wire: its answer is recorded, and nothing follows it.
func TestAnAnswerOnTheWireIsRecordedWhileEverythingIsHeld(t *testing.T) {
	t.Parallel()
	bench(t, lab.Options{}, func(l *lab.Lab) {
		c := l.Open(sim.Spec{Cash: d("900")})
		l.AfterClaim = func(what string) {
			if strings.HasPrefix(what, "pay out") {
				holdAll(l, true)
				l.AfterClaim = func(what string) { l.TB.Errorf("claimed: %s", what) }
			}
		}
		l.RunUntil(month, func() bool { return l.Get(c.ID).Reason == closure.ServiceHeld })
		now := l.Get(c.ID)
		if now.Phase != closure.Closing || now.Memo.Paid != "900.00" {
			l.TB.Fatalf("in %s with %q paid\n%s", now.Phase, now.Memo.Paid, l.History(c.ID))
		}
		l.AfterClaim = nil
		holdAll(l, false)
		wants(l, l.Ends(c.ID, month), closure.Closed, "", "900.00")
	})
}
