package tasks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Size is how much is in one queue, at this moment.
type Size struct {
	Name      string
	Weight    int           // workers take from queues in the ratio of their weights
	Pending   int           // due, and waiting for a worker
	Active    int           // in a worker's hands
	Scheduled int           // due later
	Retry     int           // after an error, due later
	Archived  int           // given up; the rows say so
	Completed int           // done, and kept for a while
	Latency   time.Duration // machine time for which the oldest pending task has waited
	Paused    bool          // by somebody, in Asynq

	Bytes             int64 // of Redis, about: Asynq looks at a few of each kind
	Processed, Failed int64 // since Redis was last emptied
}

// ErrNotPaused says that workers take from the queue already.
var ErrNotPaused = errors.New("the queue is not paused")

// Unpause lets workers take again from a queue that somebody paused in Asynq; they do within seconds.
func (q *Queue) Unpause(ctx context.Context, name string) error {
	sizes, err := q.Sizes(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(sizes, func(s Size) bool { return s.Name == name && s.Paused }) {
		return ErrNotPaused
	}
	if err := q.inspector.UnpauseQueue(name); err != nil {
		return fmt.Errorf("unpause the queue %s: %w", name, err)
	}
	return nil
}

// Sizes asks for every queue, the weightiest first.
func (q *Queue) Sizes(ctx context.Context) ([]Size, error) {
	// A queue that is not listed has no size by Asynq, whatever is in it: Redis was emptied, or nothing has run yet.
	listed, err := q.inspector.Queues()
	if err == nil && len(listed) < len(Queues) {
		err = Register(ctx, q.rdb)
	}
	if err != nil {
		return nil, fmt.Errorf("look at the queues: %w", err)
	}
	var out []Size
	for _, name := range slices.SortedFunc(maps.Keys(Queues), func(a, b string) int { return cmp.Compare(Queues[b], Queues[a]) }) {
		info, err := q.inspector.GetQueueInfo(name)
		if err != nil {
			return nil, fmt.Errorf("look at the queue %s: %w", name, err)
		}
		out = append(out, Size{
			Name: name, Weight: Queues[name], Pending: info.Pending, Active: info.Active, Scheduled: info.Scheduled, Retry: info.Retry,
			Archived: info.Archived, Completed: info.Completed, Latency: info.Latency, Paused: info.Paused,
			Bytes: info.MemoryUsage, Processed: int64(info.ProcessedTotal), Failed: int64(info.FailedTotal),
		})
	}
	return out, nil
}
