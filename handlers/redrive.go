package handlers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
	"github.com/sirupsen/logrus"
	"go.opentelemetry.io/otel/trace"

	"closeout/closure"
	"closeout/ledger"
	"closeout/tasks"
)

// RedriveLedger is what redrives need of the system of record: *ledger.Ledger.
type RedriveLedger interface {
	Redrive(ctx context.Context, id string) (ledger.Redrive, error)
	MoveRedrive(ctx context.Context, r ledger.Redrive) (ledger.Redrive, error)
	DueRedrives(ctx context.Context, before time.Time, limit int) ([]ledger.Redrive, error)
	Retries(ctx context.Context, redrive string, n, limit int, states ...ledger.RetryState) ([]ledger.Retry, error)
	Retry(ctx context.Context, redrive string, n int) (ledger.Retry, closure.Closure, error)
}

// Redrives carries out bulk retries, a bite at a time. All fields but Tracer must be set.
//
// What a bite does to a closure is one transaction under the redrive's row, which holds the rate as well: a bite may be lost,
// repeated, or carried out twice at once.
type Redrives struct {
	Ledger RedriveLedger
	Queue  BiteQueue
	Timing closure.Timing
	Log    *logrus.Logger
	Tracer trace.Tracer // nil: bites make no spans
}

// pace is machine time between two bites, where the rate gives each something to do.
const pace = 5 * time.Second

// RedriveTask is the task of a redrive's next bite.
func RedriveTask(r ledger.Redrive) tasks.Bite {
	return tasks.Bite{BitePayload: tasks.BitePayload{RedriveID: r.ID, Version: r.Version}, Type: tasks.Redrives, DueAt: r.DueAt}
}

func (d *Redrives) bites() bites[ledger.Redrive] {
	return bites[ledger.Redrive]{
		name: "redrive", load: d.Ledger.Redrive, due: d.Ledger.DueRedrives, work: d.work, move: d.Ledger.MoveRedrive, task: RedriveTask,
		ended: func(r ledger.Redrive) bool { return r.State.Ended() },
		now: func(r ledger.Redrive) ledger.Redrive {
			r.DueAt = time.Now()
			return r
		},
		queue: d.Queue, timing: d.Timing, log: d.Log, tracer: d.Tracer,
	}
}

// ProcessTask is the asynq handler of a redrive's bites.
func (d *Redrives) ProcessTask(ctx context.Context, t *asynq.Task) error {
	return processBite(ctx, t, d.Log, d.Bite)
}

// Bite resumes the redrive's next closures. nil acknowledges; every error is the ledger's, or the end of ctx.
func (d *Redrives) Bite(ctx context.Context, p tasks.BitePayload) error {
	return d.bites().bite(ctx, p)
}

// Sweep makes sure that a bite will come to each redrive that is due.
func (d *Redrives) Sweep(ctx context.Context) error { return d.bites().sweep(ctx) }

// portion is how many closures a bite resumes, and how soon the next may come, so that bites are neither many nor big.
func portion(perMinute int) (n int, every time.Duration) {
	n = max(1, perMinute*int(pace/time.Second)/60)
	return n, time.Minute * time.Duration(n) / time.Duration(perMinute)
}

// work resumes the redrive's next portion. What is skipped takes none of the rate.
func (d *Redrives) work(ctx context.Context, r ledger.Redrive) (ledger.Redrive, logrus.Fields, error) {
	share, every := portion(r.PerMinute)
	end := time.Now().Add(d.Timing.Drain / 4) // it must end within a drain
	retried, skipped, left, full := 0, 0, true, false
	for left && !full && retried < share && ctx.Err() == nil && time.Now().Before(end) {
		page, err := d.Ledger.Retries(ctx, r.ID, -1, 1, ledger.RetryWaiting)
		if err != nil {
			return r, nil, err
		}
		if left = len(page) > 0; !left {
			break
		}
		done, c, err := d.Ledger.Retry(ctx, r.ID, page[0].N)
		switch {
		case errors.Is(err, ledger.ErrTooSoon):
			full = true
		case err != nil: // stale: the redrive was aborted, or a second copy of this bite is at work and goes on
			return r, nil, err
		case done.State == ledger.RetryDone:
			retried++
			d.visit(ctx, c)
		default:
			skipped++
		}
	}
	next := r
	next.DueAt = r.DueAt.Add(every) // a bite that came late is no reason to be slow; the ledger holds the rate
	if now := time.Now(); next.DueAt.Before(now) {
		next.DueAt = now
	}
	if full {
		next.DueAt = time.Now().Add(every)
	}
	next.Why = fmt.Sprintf("no more than %s are retried in a minute", closure.Count(r.PerMinute, "closure"))
	if !left {
		next.State, next.Why = ledger.RedriveDone, ledger.AllDone
	}
	return next, logrus.Fields{"retried": retried, "skipped": skipped, "state": next.State}, nil
}

// visit schedules a resumed closure's visit: in the closure's trace, which is linked to the redrive's.
func (d *Redrives) visit(ctx context.Context, c closure.Closure) {
	ctx, span := startSpan(ctx, d.Tracer, "retry among many", c.Trace, trace.WithLinks(trace.LinkFromContext(ctx)))
	defer span.End()
	if err := d.Queue.Schedule(ctx, c); err != nil && !errors.Is(err, tasks.ErrConflict) {
		d.Log.WithField("closure", c.ID).WithError(err).Warn("could not schedule the visit of a retried closure; the sweep will")
	}
}
