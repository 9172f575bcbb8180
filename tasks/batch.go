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

// The task types of bites: of work for many accounts that is carried out in parts.
const (
	BatchChecks = "batch:check"   // accounts are looked at
	BatchStarts = "batch:start"   // closures are started
	Redrives    = "redrive:retry" // closures that have stopped are resumed
)

// BitePayload is all that a bite's task carries: whose it is, and at which version. Nothing of the customers is in it.
type BitePayload struct {
	BatchID   string `json:"batch_id,omitempty"`
	RedriveID string `json:"redrive_id,omitempty"`
	Version   int64  `json:"version"`
}

// Of is the id of what the bite is of.
func (p BitePayload) Of() string { return p.BatchID + p.RedriveID }

// ID is the task's ID.
func (p BitePayload) ID() string { return fmt.Sprintf("%s/%d", p.Of(), p.Version) }

// Bite is the next part of a batch or of a redrive.
type Bite struct {
	BitePayload
	Type  string
	DueAt time.Time // machine time
}

// biteQueue carries all bites: they come behind everything that is urgent or usual.
var biteQueue = QueueFor(closure.Bulk)

// ParseBitePayload reads a bite's payload. closure.ErrNewer: it is of a newer version.
func ParseBitePayload(b []byte) (BitePayload, error) {
	var p BitePayload
	if err := read(b, &p); err != nil {
		return p, err
	}
	if (p.BatchID == "") == (p.RedriveID == "") || p.Version < 1 {
		return p, fmt.Errorf("read task payload: batch_id or redrive_id, and version, must be given")
	}
	return p, nil
}

// ScheduleBite enqueues a bite. ErrConflict: the task is there already.
func (q *Queue) ScheduleBite(ctx context.Context, b Bite) error {
	body, err := json.Marshal(b.BitePayload)
	if err != nil {
		return err
	}
	return q.enqueue(ctx, asynq.NewTask(b.Type, body), b.ID(), biteQueue, time.Until(b.DueAt))
}

// LookBite says where the task of a bite stands.
func (q *Queue) LookBite(ctx context.Context, b Bite) (Seen, error) {
	return q.look(ctx, biteQueue, b.ID())
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
	_, span := begin(ctx, t.Type(), queue, wait)
	_, err := q.client.EnqueueContext(ctx, t, opts...)
	end(span, err)
	if errors.Is(err, asynq.ErrTaskIDConflict) {
		return ErrConflict
	}
	if err != nil {
		return fmt.Errorf("schedule %s: %w", id, err)
	}
	return nil
}
