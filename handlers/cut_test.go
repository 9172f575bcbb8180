package handlers_test

import (
	"context"
	"errors"
	"testing"

	"closeout/alpaca"
	"closeout/calendar"
	"closeout/closure"
	"closeout/handlers"
	"closeout/internal/lab"
	"closeout/tasks"
)

// cutting is a broker during whose answer the worker is told that there is no more time.
type cutting struct {
	*alpaca.Client
	cut context.CancelFunc
}

func (b cutting) Positions(ctx context.Context, id string) ([]alpaca.Position, error) {
	b.cut()
	return b.Client.Positions(ctx, id)
}

// noted is a queue that only notes what it was asked for.
type noted struct{ scheduled []closure.Closure }

func (n *noted) Schedule(_ context.Context, c closure.Closure) error {
	n.scheduled = append(n.scheduled, c)
	return nil
}

func (*noted) Look(context.Context, closure.Closure) (tasks.Seen, error) { return tasks.Seen{}, nil }

// A visit that is cut short leaves its row as it was: no error, no version. Asynq puts its task back.
func TestAVisitThatIsCutShortIsNoError(t *testing.T) {
	t.Parallel()
	bench(t, lab.Options{}, func(l *lab.Lab) {
		c := l.Open(threeStocks())
		ctx, cut := context.WithCancel(l.TB.Context())
		q := &noted{}
		run := &handlers.Runner{
			Ledger: l.Ledger, Queue: q, Broker: cutting{l.Broker, cut}, Calendar: calendar.Rules, Policy: l.Policy, Timing: l.Timing, Log: l.Log,
		}
		err := run.Visit(ctx, handlers.Delivery{Payload: tasks.PayloadOf(c)})
		if !errors.Is(err, context.Canceled) {
			l.TB.Errorf("the visit ended with %v", err)
		}
		if now := l.Get(c.ID); now.Version != c.Version || now.Failures != 0 || now.LastError != "" || now.Seq != c.Seq {
			l.TB.Errorf("it left a trace: %+v", now)
		}
		if len(q.scheduled) != 0 {
			l.TB.Errorf("it was scheduled beside its own task: %v", q.scheduled)
		}
		wants(l, l.Ends(c.ID, month), closure.Closed, "", "7048.48")
	})
}
