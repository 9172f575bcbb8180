package handlers_test

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"time"

	"closeout/alpaca/sim"
	"closeout/closure"
	"closeout/handlers"
	"closeout/internal/lab"
	"closeout/tasks"
)

// Who counts visits is told once of each, and of what the ledger then says; a delivery that finds nothing to do is none.
func TestEachVisitIsToldWithWhatItCameTo(t *testing.T) {
	t.Parallel()
	var run *handlers.Runner
	var told []handlers.Ended
	o := lab.Options{Hooks: func(r *handlers.Runner) {
		run = r
		r.Ended = func(e handlers.Ended) { told = append(told, e) }
	}}
	bench(t, o, func(l *lab.Lab) {
		wants := func(what string, want ...handlers.Ended) {
			t.Helper()
			got := slices.Clone(told)
			told = nil
			for n := range got {
				got[n].Took = 0
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s: told of\n%+v\nwant\n%+v", what, got, want)
			}
		}
		visit := func(ctx context.Context, c closure.Closure, retried int) {
			_ = run.Visit(ctx, handlers.Delivery{Payload: tasks.PayloadOf(c), Retried: retried})
		}
		c := l.Open(sim.Spec{Cash: d("900")})
		visit(l.TB.Context(), c, 0)
		wants("an empty portfolio", handlers.Ended{Phase: closure.Liquidation, Result: handlers.Saved, Outcome: "go"})
		visit(l.TB.Context(), c, 0)
		wants("an older task")

		ctx, cancel := context.WithCancel(l.TB.Context())
		cancel()
		visit(ctx, l.Get(c.ID), 0)
		wants("a worker that is told to stop", handlers.Ended{Result: handlers.CutShort})

		answered := false
		l.Answered = func(*http.Request, http.Header) {
			if !answered {
				answered = true
				if _, err := l.Command(c.ID, func(c closure.Closure, _ []closure.Intent) (closure.Change, error) {
					return closure.Pause(time.Now(), "ann", "hold it"), nil
				}); err != nil {
					t.Error(err)
				}
			}
		}
		visit(l.TB.Context(), l.Get(c.ID), 0)
		wants("a pause while it looks", handlers.Ended{Phase: closure.Settlement, Result: handlers.Lost})
		l.Answered = nil
		visit(l.TB.Context(), l.Get(c.ID), 0)
		wants("a paused one")

		c = l.Open(sim.Spec{Cash: d("900")})
		chaos(l, sim.Rule{Method: http.MethodGet, Path: "/v1/trading/accounts/*/positions", Fault: sim.FaultError, Status: 418})
		erred := handlers.Ended{Phase: closure.Liquidation, Result: handlers.Stumbled, Outcome: "error"}
		visit(l.TB.Context(), l.Get(c.ID), 0)
		wants("an error", erred)
		for n := range closure.MaxRetries - 1 {
			visit(l.TB.Context(), l.Get(c.ID), n+1)
		}
		wants("errors", slices.Repeat([]handlers.Ended{erred}, closure.MaxRetries-1)...)
		visit(l.TB.Context(), l.Get(c.ID), closure.MaxRetries+1) // one more than the row knows of
		erred.Crashed, erred.Reason = true, closure.RetriesUsedUp
		wants("a crash, and the last error", erred)
		chaos(l)

		c = l.Open(sim.Spec{Cash: d("900")})
		newer := c
		newer.Version++
		visit(l.TB.Context(), newer, 0)
		wants("a ledger that went back", handlers.Ended{Phase: closure.Liquidation, Result: handlers.Saved, Outcome: "fail", Reason: closure.LedgerWentBack})

		c = l.Open(sim.Spec{Cash: d("900"), ACH: "approved"})
		if err := l.Ledger.Close(); err != nil {
			t.Fatal(err)
		}
		visit(l.TB.Context(), c, 0)
		wants("no ledger", handlers.Ended{Result: handlers.LedgerAway})
	})
}
