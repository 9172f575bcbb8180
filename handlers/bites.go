package handlers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
	"github.com/sirupsen/logrus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"closeout/closure"
	"closeout/ledger"
	"closeout/tasks"
)

// BiteQueue carries bites, and the visits that they ask for.
type BiteQueue interface {
	Schedule(ctx context.Context, c closure.Closure) error
	ScheduleBite(ctx context.Context, b tasks.Bite) error
	LookBite(ctx context.Context, b tasks.Bite) (tasks.Seen, error)
}

// bites is how work for many accounts is carried out, a bite at a time: a batch, a redrive. The work's row is the outbox, as a
// closure's is: it says when the next bite is due, and one that was lost comes by the sweep.
type bites[W any] struct {
	name string // of the work, in the log

	load func(ctx context.Context, id string) (W, error)
	due  func(ctx context.Context, before time.Time, limit int) ([]W, error)
	// work carries the work on for some seconds and says how it goes on, and what was done, for the log.
	work func(ctx context.Context, w W) (next W, did logrus.Fields, err error)
	move func(ctx context.Context, w W) (W, error)

	task  func(w W) tasks.Bite
	ended func(w W) bool
	now   func(w W) W // the same, due now

	queue  BiteQueue
	timing closure.Timing
	log    *logrus.Logger
	tracer trace.Tracer // nil: none
}

// processBite is the asynq handler of bites.
func processBite(ctx context.Context, t *asynq.Task, log *logrus.Logger, bite func(context.Context, tasks.BitePayload) error) error {
	p, err := tasks.ParseBitePayload(t.Payload())
	if errors.Is(err, closure.ErrNewer) {
		return GiveBack(log, t.Type(), "a newer payload")
	}
	if err != nil {
		log.WithError(err).Warn("a task that is none of ours is archived")
		return fmt.Errorf("%w: %w", err, asynq.SkipRetry)
	}
	return bite(ctx, p)
}

// bite carries one out, as a trace of its own. nil acknowledges; every error is the ledger's, or the end of ctx.
func (b bites[W]) bite(ctx context.Context, p tasks.BitePayload) error {
	ctx, span := startSpan(ctx, b.tracer, "bite "+b.name, "", trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(attribute.String("closeout."+b.name, p.Of()), attribute.Int64("closeout.version", p.Version)))
	defer span.End()
	err := b.carryOut(ctx, p)
	if err != nil {
		span.SetStatus(codes.Error, "")
	}
	return err
}

func (b bites[W]) carryOut(ctx context.Context, p tasks.BitePayload) error {
	w, err := b.load(ctx, p.Of())
	if errors.Is(err, ledger.ErrNotFound) {
		b.log.WithField(b.name, p.Of()).Warn("a task names a " + b.name + " that this ledger does not have; dropped")
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotCounted, err)
	}
	if b.ended(w) {
		return nil
	}
	if p.Version != b.task(w).Version {
		b.schedule(ctx, w)
		return nil
	}
	next, did, err := b.work(ctx, w)
	if err == nil {
		next, err = b.move(ctx, next)
	}
	if errors.Is(err, ledger.ErrStale) {
		return nil // another bite, or whoever ended the work, came first
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotCounted, err)
	}
	b.log.WithContext(ctx).WithFields(logrus.Fields{b.name: p.Of(), "version": p.Version, "next_in": max(time.Until(b.task(next).DueAt), 0).Round(time.Second).String()}).
		WithFields(did).Info("bite")
	if !b.ended(next) {
		b.schedule(ctx, next)
	}
	return nil
}

// schedule enqueues the next bite. What fails here is found by the sweep.
func (b bites[W]) schedule(ctx context.Context, w W) {
	if err := b.queue.ScheduleBite(ctx, b.task(w)); err != nil && !errors.Is(err, tasks.ErrConflict) {
		b.log.WithField(b.name, b.task(w).Of()).WithError(err).Warn("could not schedule the next bite; the sweep will")
	}
}

// sweep makes sure that a bite will come to each work that is due.
func (b bites[W]) sweep(ctx context.Context) error {
	due, err := b.due(ctx, time.Now().Add(-b.timing.Grace), sweepPage)
	if err != nil {
		return err
	}
	var failed []error
	for _, w := range due {
		if err := b.rescue(ctx, w); err != nil {
			if failed = append(failed, err); len(failed) == sweepErrors {
				break
			}
		}
	}
	return errors.Join(failed...)
}

func (b bites[W]) rescue(ctx context.Context, w W) error {
	task := b.task(w)
	err := b.queue.ScheduleBite(ctx, task)
	if err == nil || !errors.Is(err, tasks.ErrConflict) {
		return err
	}
	seen, err := b.queue.LookBite(ctx, task)
	if err != nil {
		return err
	}
	overdue := time.Since(task.DueAt)
	stuck := seen.Condition == tasks.Archived ||
		seen.Condition == tasks.Active && seen.Orphaned && overdue > b.timing.Task+b.timing.Orphan ||
		seen.Condition == tasks.Scheduled && seen.At.After(time.Now().Add(b.timing.Grace))
	if !stuck {
		return nil
	}
	next, err := b.move(ctx, b.now(w))
	if errors.Is(err, ledger.ErrStale) {
		return nil
	}
	if err != nil {
		return err
	}
	b.log.WithFields(logrus.Fields{b.name: task.Of(), "version": b.task(next).Version}).Warn("a " + b.name + " was rescued by the sweep: its task was stuck")
	b.schedule(ctx, next)
	return nil
}
