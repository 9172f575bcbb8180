package handlers_test

import (
	"testing"
	"time"

	"closeout/alpaca/sim"
	"closeout/closure"
	"closeout/internal/lab"
)

// until runs until the closure's history has a line of this kind and phase, and says when that was.
func (w waiting) until(what string, ok func(closure.Closure) bool) time.Time {
	w.TB.Helper()
	w.RunUntil(10*24*time.Hour, func() bool { return ok(w.Get(w.id)) })
	w.TB.Logf("%s at %s", what, time.Now().In(newYorkZone).Format("Mon 15:04:05"))
	return time.Now()
}

type waiting struct {
	*lab.Lab
	id string
}

var newYorkZone = sim.NewYork

// A fill and a payout's end are noticed within five seconds with events on, and at the next look without.
func TestEventsHastenWhatTheyTellOf(t *testing.T) {
	t.Parallel()
	for _, on := range []bool{true, false} {
		name := "off"
		if on {
			name = "on"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bench(t, lab.Options{Events: on, Sim: func(o *sim.Options) { o.FillDelay = 10 * time.Second }}, func(l *lab.Lab) {
				w := waiting{l, l.Open(sim.Spec{Cash: d("10"), Positions: []sim.PositionSpec{{Symbol: "AAPL", Qty: d("1"), Price: d("200")}}}).ID}
				w.until("selling", func(c closure.Closure) bool { return c.Reason == closure.Selling })
				sold := time.Now()
				filled := w.until("sold", func(c closure.Closure) bool { return c.Phase != closure.Liquidation }).Sub(sold.Add(10 * time.Second))
				l.TB.Logf("the fill was noticed after %s", filled)
				if on != (filled < 5*time.Second) {
					l.TB.Errorf("the fill was noticed after %s", filled)
				}
				settled := w.until("settled", func(c closure.Closure) bool { return c.Phase == closure.Withdrawal })
				booked := time.Date(2026, time.November, 19, 2, 30, 0, 0, newYorkZone)
				if late := settled.Sub(booked); late < 0 || late > time.Hour+5*time.Second {
					l.TB.Errorf("the settlement was noticed %s after its booking", late)
				}
				paid := w.until("paid", func(c closure.Closure) bool { return c.Memo.Paid == "210.00" })
				complete := time.Date(2026, time.November, 20, 8, 30, 0, 0, newYorkZone)
				l.TB.Logf("the payout's end was noticed after %s", paid.Sub(complete))
				if on != (paid.Sub(complete) < 5*time.Second) {
					l.TB.Errorf("the payout's end was noticed after %s", paid.Sub(complete))
				}
				wants(l, l.Ends(w.id, month), closure.Closed, "", "210.00")
			})
		})
	}
}

// While events are heard, a look that would only be one more is put off; when they are heard no more, it comes back to when
// it would have been due.
func TestLooksThatWerePutOffComeBackWhenNothingIsHeard(t *testing.T) {
	t.Parallel()
	bench(t, lab.Options{Events: true, Relaxed: true}, func(l *lab.Lab) {
		l.RunFor(10 * time.Second) // the streams are heard
		c := l.Open(sim.Spec{Cash: d("100")})
		w := waiting{l, c.ID}
		w.until("paid", func(c closure.Closure) bool { return c.Reason == closure.TransferPending })
		paid := time.Now()
		l.RunFor(5 * time.Hour)
		c = l.Get(c.ID)
		if due := c.DueAt.Sub(paid); due < 11*time.Hour || due > 12*time.Hour || !c.LookBy.Before(paid.Add(2*time.Hour+time.Minute)) {
			l.TB.Errorf("the next look is %s after the payout, it would be due at %s", due, c.LookBy)
		}
		looks := c.Looks
		l.Deafen()
		deaf := time.Now()
		l.RunUntil(3*time.Hour, func() bool { return l.Get(c.ID).Looks > looks })
		if took := time.Since(deaf); took < 50*time.Minute || took > 70*time.Minute { // six leases of this lab
			l.TB.Errorf("looked at again %s after the streams fell silent", took)
		}
		now := l.Get(c.ID)
		if due := time.Until(now.DueAt); due > 2*time.Hour || !now.LookBy.IsZero() {
			l.TB.Errorf("and then again in %s", due)
		}
	})
}

// A payout that never arrives comes to its limit on the same banking day, whether looks are put off or not.
func TestALimitCountsTheSameDaysWithFewerLooks(t *testing.T) {
	t.Parallel()
	lab.Long(t)
	stuck := sim.Event{Type: "transfer_status", Status: "SENT_TO_CLEARING", When: sim.AfterFirstPayout, After: sim.Duration(time.Hour)}
	days := map[bool]string{}
	for _, relaxed := range []bool{false, true} {
		bench(t, lab.Options{Events: relaxed, Relaxed: relaxed}, func(l *lab.Lab) {
			c := l.Ends(l.Open(sim.Spec{Cash: d("100"), Events: []sim.Event{stuck}}).ID, month)
			if c.State != closure.Failed || c.Reason != closure.LimitReached {
				l.TB.Fatalf("ended %s: %s", c.State, c.Why)
			}
			days[relaxed] = c.EndedAt.In(newYorkZone).Format("Mon 2006-01-02")
			l.TB.Logf("relaxed %t: %s, %d looks, %d calls", relaxed, c.EndedAt.In(newYorkZone), c.Looks, l.Calls.Load())
		})
	}
	if days[true] != days[false] {
		t.Errorf("failed on %s, with relaxed looks on %s", days[false], days[true])
	}
}
