package tasks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"closeout/closure"
)

// ErrConflict says that a task with this ID stands in the queue already: scheduled, pending, active, retrying or archived.
var ErrConflict = errors.New("the queue has this task already")

// Condition is where a task stands.
type Condition int

// The conditions that the sweep tells apart.
const (
	Missing   Condition = iota
	Waiting             // pending, or waiting for a retry
	Scheduled           // for the time in Seen.At
	Active              // a worker has it, or had it: see Seen.Orphaned
	Archived
)

// Seen is what the queue says of a task.
type Seen struct {
	Condition Condition
	At        time.Time // machine time for which it is scheduled
	Orphaned  bool      // active, and no worker holds a lease on it
}

// Queue enqueues visits on Asynq and says what became of them.
type Queue struct {
	rdb       redis.UniversalClient
	clock     closure.Clock
	timeout   time.Duration
	inspector *asynq.Inspector
	client    *asynq.Client
}

// NewQueue makes a queue on a Redis connection that the caller owns. timeout is machine time for one visit.
func NewQueue(rdb redis.UniversalClient, clock closure.Clock, timeout time.Duration) *Queue {
	return &Queue{
		rdb: rdb, clock: clock, timeout: timeout,
		inspector: asynq.NewInspectorFromRedisClient(rdb), client: asynq.NewClientFromRedisClient(rdb),
	}
}

// Schedule enqueues the visit of the closure's present version, due at its due time. It never runs early. ErrConflict: the
// task is there already.
func (q *Queue) Schedule(ctx context.Context, c closure.Closure) error {
	p := PayloadOf(c)
	body, err := json.Marshal(p)
	if err != nil {
		return err
	}
	var headers map[string]string
	if c.Trace != "" {
		headers = map[string]string{TraceHeader: c.Trace}
	}
	return q.enqueue(ctx, asynq.NewTaskWithHeaders(TypeOf(c.Phase), body, headers), p.ID(), QueueFor(c.Priority), q.clock.Machine(c.DueAt.Sub(q.clock.Now())))
}

// Look says where the task of the closure's present version stands.
func (q *Queue) Look(ctx context.Context, c closure.Closure) (Seen, error) {
	return q.look(ctx, QueueFor(c.Priority), PayloadOf(c).ID())
}

func (q *Queue) look(ctx context.Context, queue, id string) (Seen, error) {
	info, err := q.inspector.GetTaskInfo(queue, id)
	if errors.Is(err, asynq.ErrQueueNotFound) { // Redis was emptied; the task may be there again
		if err := Register(ctx, q.rdb); err != nil {
			return Seen{}, err
		}
		info, err = q.inspector.GetTaskInfo(queue, id)
	}
	switch {
	case errors.Is(err, asynq.ErrTaskNotFound):
		return Seen{Condition: Missing}, nil
	case err != nil:
		return Seen{}, fmt.Errorf("look at task %s: %w", id, err)
	}
	switch info.State {
	case asynq.TaskStatePending, asynq.TaskStateRetry, asynq.TaskStateAggregating:
		return Seen{Condition: Waiting}, nil
	case asynq.TaskStateScheduled:
		return Seen{Condition: Scheduled, At: info.NextProcessAt}, nil
	case asynq.TaskStateArchived:
		return Seen{Condition: Archived}, nil
	case asynq.TaskStateCompleted:
		return Seen{Condition: Missing}, nil
	case asynq.TaskStateActive:
		orphaned, err := q.orphaned(ctx, queue, id)
		return Seen{Condition: Active, Orphaned: orphaned}, err
	}
	return Seen{}, fmt.Errorf("look at task %s: unknown state %v", id, info.State)
}

// orphaned reads an active task's lease. Asynq's own listing calls a task orphaned whose lease has run out, but not one
// that has no lease at all, which Asynq never takes up again.
func (q *Queue) orphaned(ctx context.Context, queue, id string) (bool, error) {
	until, err := q.rdb.ZScore(ctx, "asynq:{"+queue+"}:lease", id).Result()
	if errors.Is(err, redis.Nil) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("read the lease of task %s: %w", id, err)
	}
	return until <= float64(time.Now().Unix()), nil
}

// Register lists the queues where Asynq's inspector looks for them. An Asynq client lists a queue once in its life: after
// Redis was emptied it enqueues, and the inspector, asynqmon and what counts on them see no queue until somebody lists it.
func Register(ctx context.Context, rdb redis.UniversalClient) error {
	if err := rdb.SAdd(ctx, "asynq:queues", slices.Collect(maps.Keys(Queues))).Err(); err != nil {
		return fmt.Errorf("list the queues: %w", err)
	}
	return nil
}

// Ping says whether Redis answers: of a cluster each primary, as each has queues.
func (q *Queue) Ping(ctx context.Context) error {
	return each(ctx, q.rdb, func(ctx context.Context, rdb redis.UniversalClient, _ string) error { return rdb.Ping(ctx).Err() })
}
