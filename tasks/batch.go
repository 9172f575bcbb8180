package tasks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"

	"closeout/closure"
)

// The task types of a batch's bites.
const (
	BatchChecks = "batch:check" // accounts are looked at
	BatchStarts = "batch:start" // closures are started
)

// BatchPayload is all that a bite's task carries. Nothing of the customers is in it.
type BatchPayload struct {
	BatchID string `json:"batch_id"`
	Version int64  `json:"version"`
}

// ID is the task's ID.
func (p BatchPayload) ID() string { return fmt.Sprintf("%s/%d", p.BatchID, p.Version) }

// Batch is the next bite of a batch.
type Batch struct {
	BatchPayload
	Starts bool
	DueAt  time.Time // machine time
}

// batchQueue carries all bites: they come behind everything that is urgent or usual.
var batchQueue = QueueFor(closure.Bulk)

// ParseBatchPayload reads a bite's payload.
func ParseBatchPayload(b []byte) (BatchPayload, error) {
	var p BatchPayload
	if err := json.Unmarshal(b, &p); err != nil {
		return p, fmt.Errorf("read task payload: %w", err)
	}
	if p.BatchID == "" || p.Version < 1 {
		return p, fmt.Errorf("read task payload: batch_id and version must both be given")
	}
	return p, nil
}

// ScheduleBatch enqueues a bite. ErrConflict: the task is there already.
func (q *Queue) ScheduleBatch(ctx context.Context, b Batch) error {
	body, err := json.Marshal(b.BatchPayload)
	if err != nil {
		return err
	}
	kind := BatchChecks
	if b.Starts {
		kind = BatchStarts
	}
	return q.enqueue(ctx, asynq.NewTask(kind, body), b.ID(), batchQueue, time.Until(b.DueAt))
}

// LookBatch says where the task of a bite stands.
func (q *Queue) LookBatch(ctx context.Context, b Batch) (Seen, error) {
	return q.look(ctx, batchQueue, b.ID())
}

// enqueue enqueues a task so that it does not run before wait is over: Asynq cuts a due time to whole seconds, so it is
// rounded up to the next.
func (q *Queue) enqueue(ctx context.Context, t *asynq.Task, id, queue string, wait time.Duration) error {
	opts := []asynq.Option{asynq.TaskID(id), asynq.Queue(queue), asynq.MaxRetry(MaxRetry), asynq.Timeout(q.timeout)}
	if now := time.Now(); wait > 0 {
		at := now.Add(wait)
		if whole := at.Truncate(time.Second); whole.Before(at) {
			at = whole.Add(time.Second)
		}
		opts = append(opts, asynq.ProcessIn(at.Sub(now)))
	}
	_, err := q.client.EnqueueContext(ctx, t, opts...)
	if errors.Is(err, asynq.ErrTaskIDConflict) {
		return ErrConflict
	}
	if err != nil {
		return fmt.Errorf("schedule %s: %w", id, err)
	}
	return nil
}
