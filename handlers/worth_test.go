package handlers_test

import (
	"testing"
	"time"

	"closeout/alpaca/sim"
	"closeout/closure"
	"closeout/internal/lab"
)

// People see what an account holds and what of it is on its way: with the sale's proceeds, without the payout once that is
// sent, and never the same money in both.
func TestTheRowSaysWhatTheAccountHoldsAndWhatIsOnItsWay(t *testing.T) {
	t.Parallel()
	bench(t, lab.Options{Sim: func(o *sim.Options) { o.FillDelay = 10 * time.Second }}, func(l *lab.Lab) {
		c := l.Open(sim.Spec{Cash: d("10"), Positions: []sim.PositionSpec{{Symbol: "AAPL", Qty: d("1"), Price: d("200")}}})
		if c.Memo.Worth != "" || c.Memo.OnWay != "" {
			l.TB.Errorf("before anything is read: %q and %q", c.Memo.Worth, c.Memo.OnWay)
		}
		w := waiting{l, c.ID}
		for _, at := range []struct {
			what         string
			is           func(closure.Closure) bool
			worth, onWay string
		}{
			{"selling", func(c closure.Closure) bool { return c.Reason == closure.Selling }, "210.00", "0.00"},
			{"sold", func(c closure.Closure) bool { return c.Phase == closure.Settlement }, "210.00", "0.00"},
			{"sent", func(c closure.Closure) bool { return c.Reason == closure.TransferPending }, "0.00", "210.00"},
			{"paid", func(c closure.Closure) bool { return c.Memo.Paid == "210.00" }, "0.00", "0.00"},
		} {
			w.until(at.what, at.is)
			if c := l.Get(c.ID); c.Memo.Worth != at.worth || c.Memo.OnWay != at.onWay {
				l.TB.Errorf("%s: %q and %q on its way, want %q and %q", at.what, c.Memo.Worth, c.Memo.OnWay, at.worth, at.onWay)
			}
		}
		wants(l, l.Ends(c.ID, month), closure.Closed, "", "210.00")
	})
}
