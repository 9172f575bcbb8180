package metrics_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"closeout/closure"
	"closeout/ledger"
)

// aged is a ledger that says since when things have stood.
type aged struct {
	books
	board   ledger.Board
	asking  []ledger.Group
	intents []ledger.OpenIntents
}

func (a *aged) Board(context.Context, ledger.Cutoffs, time.Time) (ledger.Board, error) {
	return a.board, nil
}

func (a *aged) Asking(context.Context, ...closure.Reason) ([]ledger.Group, error) {
	return a.asking, nil
}

func (a *aged) OpenIntents(context.Context, time.Time) ([]ledger.OpenIntents, error) {
	return a.intents, nil
}

// Of what stands still, the oldest of each is shown; and zero, where there could be one and is none.
func TestAgesAreOfTheOldest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ago := func(h int) time.Time { return time.Now().Add(-time.Duration(h) * time.Hour) }
		b := newBench(t)
		b.src.Ledger = &aged{
			board: ledger.Board{Tallies: []ledger.Tally{
				{Lane: "withdrawal", State: closure.Running, Reason: closure.DayLimitUsed, Who: closure.Nobody, N: 3, Since: ago(500)},
				{Lane: "withdrawal", State: closure.Running, Reason: closure.AccountBlocked, Who: closure.Broker, N: 2, Since: ago(400)},
				{Lane: "withdrawal", State: closure.Running, Reason: closure.ServiceHeld, Who: closure.Operator, N: 1, Since: ago(10)},
				{Lane: "closing", State: closure.Failed, Reason: closure.CloseRefused, Who: closure.Operator, N: 1, Since: ago(900)},
			}},
			asking: []ledger.Group{
				{State: closure.Failed, Reason: closure.CloseRefused, N: 2, Since: ago(70)},
				{State: closure.Failed, Reason: "of a later version", N: 1, Since: ago(5)},
				{State: closure.Failed, Reason: "of another", N: 1, Since: ago(6)},
				{State: closure.Paused, Reason: closure.PausedByOperator, N: 1, Since: ago(60)},
				{State: closure.Running, Reason: closure.AccountBlocked, N: 2, Since: ago(400)},
			},
			intents: []ledger.OpenIntents{
				{Kind: closure.TransferIntent, State: "unknown", N: 2, Until: ago(1)},
				{Kind: closure.TransferIntent, State: "late", N: 1, Until: ago(90)},
				{Kind: closure.OrderIntent, State: "sending", N: 1, Until: ago(-1)},
			},
		}
		b.m.Watch(b.src)
		found := b.scrape()
		const hour = 3600
		wants(t, found, map[string]float64{
			"closeout_oldest_in_phase_seconds{phase=withdrawal}":                 500 * hour,
			"closeout_oldest_waiting_for_somebody_seconds{phase=withdrawal}":     400 * hour,
			"closeout_oldest_waiting_for_somebody_seconds{phase=closing}":        0,
			"closeout_oldest_stopped_seconds{state=failed,reason=close_refused}": 70 * hour,
			"closeout_oldest_stopped_seconds{state=failed,reason=other}":         6 * hour,
			"closeout_oldest_stopped_seconds{state=paused,reason=paused}":        60 * hour,
			"closeout_oldest_unknown_intent_seconds{kind=transfer}":              hour,
			"closeout_oldest_unknown_intent_seconds{kind=order}":                 0,
			"closeout_intents{kind=transfer,state=unknown}":                      2,
		})
		if n := len(found["closeout_oldest_stopped_seconds"].GetMetric()); n != 3 {
			t.Errorf("%d kinds of stops are shown, want 3: what runs has not stopped", n)
		}
	})
}
