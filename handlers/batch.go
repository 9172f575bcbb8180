package handlers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
	"github.com/sirupsen/logrus"

	"closeout/closure"
	"closeout/ledger"
	"closeout/readiness"
	"closeout/tasks"
)

// BatchLedger is what batches need of the system of record: *ledger.Ledger.
type BatchLedger interface {
	Batch(ctx context.Context, id string) (ledger.Batch, error)
	MoveBatch(ctx context.Context, b ledger.Batch) (ledger.Batch, error)
	DueBatches(ctx context.Context, before time.Time, limit int) ([]ledger.Batch, error)
	RowsToDo(ctx context.Context, batch string, s ledger.RowState, limit int) ([]ledger.BatchRow, error)
	NoteRow(ctx context.Context, batch string, was ledger.RowState, r ledger.BatchRow) error
	CountRows(ctx context.Context, batch string) (map[ledger.RowState]int, error)
	Create(ctx context.Context, w ledger.Wish, replies ...*ledger.Reply[closure.Closure]) (closure.Closure, bool, error)
}

// BatchQueue carries bites, and the first visits of what they start.
type BatchQueue interface {
	Schedule(ctx context.Context, c closure.Closure) error
	ScheduleBatch(ctx context.Context, b tasks.Batch) error
	LookBatch(ctx context.Context, b tasks.Batch) (tasks.Seen, error)
}

// Readiness judges accounts: a readiness.Checker, which takes nothing from the budget by itself.
type Readiness interface {
	Check(ctx context.Context, account, relationship string) (readiness.Report, error)
	Finish(r readiness.Report, start time.Time) time.Time
}

// Batches carries out batches, a bite at a time. All fields but Budget must be set.
//
// The ledger's rows are the truth: what a bite has learned of an account, or started, is written before the next. So a bite
// may be lost, repeated, or carried out twice at once: a row is started once, in the transaction of its closure, and to look
// at an account again changes nothing.
type Batches struct {
	Ledger    BatchLedger
	Queue     BatchQueue
	Readiness Readiness
	Budget    Budget // nil: the broker may be asked at any time
	Clock     closure.Clock
	Timing    closure.Timing
	Log       *logrus.Logger
}

// BatchTask is the task of a batch's next bite.
func BatchTask(b ledger.Batch) tasks.Batch {
	return tasks.Batch{BatchPayload: tasks.BatchPayload{BatchID: b.ID, Version: b.Version}, Starts: b.State == ledger.BatchStarting, DueAt: b.DueAt}
}

// ProcessTask is the asynq handler of bites.
func (b *Batches) ProcessTask(ctx context.Context, t *asynq.Task) error {
	p, err := tasks.ParseBatchPayload(t.Payload())
	if err != nil {
		b.Log.WithError(err).Warn("a task that is none of ours is archived")
		return fmt.Errorf("%w: %w", err, asynq.SkipRetry)
	}
	return b.Bite(ctx, p)
}

// Bite carries the batch on for some seconds. nil acknowledges; every error is the ledger's, or the end of ctx.
func (b *Batches) Bite(ctx context.Context, p tasks.BatchPayload) error {
	batch, err := b.Ledger.Batch(ctx, p.BatchID)
	if errors.Is(err, ledger.ErrNotFound) {
		b.Log.WithField("batch", p.BatchID).Warn("a task names a batch that this ledger does not have; dropped")
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotCounted, err)
	}
	if batch.State.Ended() {
		return nil
	}
	if p.Version != batch.Version {
		b.schedule(ctx, batch)
		return nil
	}
	w := &bite{Batches: b, batch: batch, end: time.Now().Add(b.Timing.Drain / 4), seen: map[int]bool{}} // it must end within a drain
	next, err := w.work(ctx)
	if err == nil {
		next, err = b.Ledger.MoveBatch(ctx, next)
	}
	if errors.Is(err, ledger.ErrStale) {
		return nil // another bite, or a cancellation, came first
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotCounted, err)
	}
	b.Log.WithFields(logrus.Fields{
		"batch": batch.ID, "version": batch.Version, "checked": w.checked, "started": w.started, "state": next.State,
		"next_in": max(time.Until(next.DueAt), 0).Round(time.Second).String(),
	}).Info("bite")
	if !next.State.Ended() {
		b.schedule(ctx, next)
	}
	return nil
}

// schedule enqueues the next bite. What fails here is found by the sweep.
func (b *Batches) schedule(ctx context.Context, batch ledger.Batch) {
	if err := b.Queue.ScheduleBatch(ctx, BatchTask(batch)); err != nil && !errors.Is(err, tasks.ErrConflict) {
		b.Log.WithField("batch", batch.ID).WithError(err).Warn("could not schedule the next bite; the sweep will")
	}
}

// Sweep makes sure that a bite will come to each batch that is due: the batch's row is the outbox, as a closure's is.
func (b *Batches) Sweep(ctx context.Context) error {
	due, err := b.Ledger.DueBatches(ctx, time.Now().Add(-b.Timing.Grace), sweepPage)
	if err != nil {
		return err
	}
	var failed []error
	for _, batch := range due {
		if err := b.rescue(ctx, batch); err != nil {
			if failed = append(failed, err); len(failed) == sweepErrors {
				break
			}
		}
	}
	return errors.Join(failed...)
}

func (b *Batches) rescue(ctx context.Context, batch ledger.Batch) error {
	err := b.Queue.ScheduleBatch(ctx, BatchTask(batch))
	if err == nil || !errors.Is(err, tasks.ErrConflict) {
		return err
	}
	seen, err := b.Queue.LookBatch(ctx, BatchTask(batch))
	if err != nil {
		return err
	}
	overdue := time.Since(batch.DueAt)
	stuck := seen.Condition == tasks.Archived ||
		seen.Condition == tasks.Active && seen.Orphaned && overdue > b.Timing.Task+b.Timing.Orphan ||
		seen.Condition == tasks.Scheduled && seen.At.After(time.Now().Add(b.Timing.Grace))
	if !stuck {
		return nil
	}
	batch.DueAt = time.Now()
	next, err := b.Ledger.MoveBatch(ctx, batch)
	if errors.Is(err, ledger.ErrStale) {
		return nil
	}
	if err != nil {
		return err
	}
	b.Log.WithFields(logrus.Fields{"batch": batch.ID, "version": next.Version}).Warn("a batch was rescued by the sweep: its task was stuck")
	b.schedule(ctx, next)
	return nil
}
