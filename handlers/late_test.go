package handlers_test

import (
	"net/http"
	"testing"
	"time"

	"closeout/alpaca/sim"
	"closeout/closure"
	"closeout/internal/lab"
)

// An order that the broker took and shows minutes later is waited for: the account is not gone, and nothing is sold twice.
// Found by the simulation (seed 10).
func TestAnOrderThatIsShownLateIsWaitedFor(t *testing.T) {
	t.Parallel()
	bench(t, lab.Options{}, func(l *lab.Lab) {
		chaos(l, sim.Rule{Method: http.MethodPost, Path: "/v1/trading/accounts/*/orders", Fault: sim.FaultLate, Delay: sim.Duration(4 * time.Minute), Times: 1})
		c := l.Ends(l.Open(sim.Spec{Cash: d("10"), Positions: []sim.PositionSpec{{Symbol: "AAPL", Qty: d("3"), Price: d("200"), Resumes: sim.Duration(10 * time.Minute)}}}).ID, month)
		wants(l, c, closure.Closed, "", "610.00")
		if got := intentStates(l, c, closure.OrderIntent); len(got) != 1 {
			l.TB.Errorf("%d orders were asked for\n%s", len(got), l.History(c.ID))
		}
	})
}
