package handlers

import (
	"context"
	"errors"
	"time"

	"github.com/sirupsen/logrus"

	"closeout/closure"
	"closeout/ledger"
	"closeout/tasks"
)

// Swept is what one sweep found and did.
type Swept struct {
	Overdue     int // running rows past their due time and the grace
	Rescheduled int // whose task was missing
	Reissued    int // whose task was stuck, archived or late: they got a new version
	Crashed     int // of these, those whose task had ended without a word
}

const sweepPage = 200

// sweepErrors ends a sweep: so many rows failing means that Redis or the ledger is away.
const sweepErrors = 5

// Sweep looks at every running row that is overdue by more than the grace and makes sure that a task will come to it: the
// row is the outbox, and Redis may have lost anything. Any number of workers may sweep at once.
func (r *Runner) Sweep(ctx context.Context) (Swept, error) {
	var s Swept
	cutoff := r.Clock.At(time.Now().Add(-r.Timing.Grace))
	var after closure.Closure
	var failed []error
	for {
		page, err := r.Ledger.Overdue(ctx, cutoff, after, sweepPage)
		if err != nil {
			return s, err
		}
		for _, c := range page {
			s.Overdue++
			after = c
			if err := r.rescue(ctx, c, &s); err != nil { // one row must not hold up those behind it
				if failed = append(failed, err); len(failed) == sweepErrors {
					return s, errors.Join(failed...)
				}
			}
		}
		if len(page) < sweepPage {
			break
		}
	}
	return s, errors.Join(append(failed, r.unheard(ctx), r.released(ctx))...)
}

// rescue makes sure of one overdue row. A task that is merely pending is never issued again: a backlog would grow by it.
func (r *Runner) rescue(ctx context.Context, c closure.Closure, s *Swept) error {
	if closure.Newer(c) != "" {
		return nil // the sweeps of newer workers see to it
	}
	err := r.Queue.Schedule(ctx, c)
	if err == nil {
		s.Rescheduled++
		return nil
	}
	if !errors.Is(err, tasks.ErrConflict) {
		return err
	}
	seen, err := r.Queue.Look(ctx, c)
	if err != nil {
		return err
	}
	overdue := r.Clock.Machine(r.Clock.Now().Sub(c.DueAt))
	switch seen.Condition {
	case tasks.Missing, tasks.Waiting:
		return nil // a missing one ended between the two questions: the next sweep sees what became of the row
	case tasks.Scheduled:
		if !seen.At.After(time.Now().Add(r.Timing.Grace)) {
			return nil
		}
		return r.reissue(ctx, c, "its task was scheduled later than the row is due", false, s)
	case tasks.Active:
		if !seen.Orphaned || overdue < r.Timing.Task+r.Timing.Orphan {
			return nil
		}
		return r.reissue(ctx, c, "its task is active and no worker has it", true, s)
	case tasks.Archived:
		return r.reissue(ctx, c, "its task was archived without the ledger having heard of it", true, s)
	}
	return nil
}

func (r *Runner) reissue(ctx context.Context, c closure.Closure, why string, crashed bool, s *Swept) error {
	ctx, span := startSpan(ctx, r.Tracer, "rescue", c.Trace)
	defer span.End()
	next, err := r.Ledger.Save(ctx, c, closure.Reissued(r.Clock.Now(), why, crashed), nil)
	if errors.Is(err, ledger.ErrStale) || errors.Is(err, closure.ErrNotRunning) {
		return nil // somebody else's visit or sweep came first
	}
	if err != nil {
		return err
	}
	s.Reissued++
	if crashed {
		s.Crashed++
	}
	r.Log.WithContext(ctx).WithFields(logrus.Fields{"closure": c.ID, "version": next.Version, "state": next.State}).Warn("rescued by the sweep: " + why)
	if next.State == closure.Running {
		r.schedule(ctx, next)
	}
	return nil
}
