package handlers

import (
	"context"
	"time"

	"github.com/hibiken/asynq"
	"github.com/sirupsen/logrus"
	"go.opentelemetry.io/otel/trace"

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

// Readiness judges accounts: a readiness.Checker, which takes nothing from the budget by itself.
type Readiness interface {
	Check(ctx context.Context, account, relationship string) (readiness.Report, error)
	Finish(r readiness.Report, start time.Time) time.Time
}

// Batches carries out batches, a bite at a time. All fields but Budget and Tracer must be set.
//
// The ledger's rows are the truth: what a bite has learned of an account, or started, is written before the next. So a bite
// may be lost, repeated, or carried out twice at once: a row is started once, in the transaction of its closure, and to look
// at an account again changes nothing.
type Batches struct {
	Ledger    BatchLedger
	Queue     BiteQueue
	Readiness Readiness
	Budget    Budget // nil: the broker may be asked at any time
	Clock     closure.Clock
	Timing    closure.Timing
	Log       *logrus.Logger
	Tracer    trace.Tracer // nil: bites make no spans
}

// BatchTask is the task of a batch's next bite.
func BatchTask(b ledger.Batch) tasks.Bite {
	kind := tasks.BatchChecks
	if b.State == ledger.BatchStarting {
		kind = tasks.BatchStarts
	}
	return tasks.Bite{BitePayload: tasks.BitePayload{BatchID: b.ID, Version: b.Version}, Type: kind, DueAt: b.DueAt}
}

func (b *Batches) bites() bites[ledger.Batch] {
	return bites[ledger.Batch]{
		name: "batch", load: b.Ledger.Batch, due: b.Ledger.DueBatches, work: b.work, move: b.Ledger.MoveBatch, task: BatchTask,
		ended: func(b ledger.Batch) bool { return b.State.Ended() },
		now: func(b ledger.Batch) ledger.Batch {
			b.DueAt = time.Now()
			return b
		},
		queue: b.Queue, timing: b.Timing, log: b.Log, tracer: b.Tracer,
	}
}

// ProcessTask is the asynq handler of a batch's bites.
func (b *Batches) ProcessTask(ctx context.Context, t *asynq.Task) error {
	return processBite(ctx, t, b.Log, b.Bite)
}

// Bite carries the batch on for some seconds. nil acknowledges; every error is the ledger's, or the end of ctx.
func (b *Batches) Bite(ctx context.Context, p tasks.BitePayload) error { return b.bites().bite(ctx, p) }

// Sweep makes sure that a bite will come to each batch that is due.
func (b *Batches) Sweep(ctx context.Context) error { return b.bites().sweep(ctx) }

func (b *Batches) work(ctx context.Context, batch ledger.Batch) (ledger.Batch, logrus.Fields, error) {
	w := &bite{Batches: b, batch: batch, end: time.Now().Add(b.Timing.Drain / 4), seen: map[int]bool{}} // it must end within a drain
	next, err := w.work(ctx)
	return next, logrus.Fields{"checked": w.checked, "started": w.started, "state": next.State}, err
}
