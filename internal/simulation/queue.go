package simulation

import (
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/hibiken/asynq"

	"closeout/closure"
	"closeout/handlers"
	"closeout/tasks"
)

// queue is a model of Asynq on Redis, as far as this service uses it: what stands where, task IDs, leases, retries and the
// archive. TestQueueConformance holds it to the real one. Like Redis it cuts due times and leases to whole seconds, and
// like Asynq's scripts it knows a task by its ID alone: whoever acknowledges an ID acknowledges what stands under it now.
type queue struct {
	tasks   map[string]*task
	pending map[string][]string // by queue, the next one first
}

type task struct {
	message
	state taskState
	at    int64 // scheduled, retry: Unix seconds for which it is held back
	lease int64 // active: Unix seconds; 0 where it has none
}

// message is what a delivery carries. A copy in a worker's hands keeps the count of the moment it was handed out.
type message struct {
	key     string
	queue   string
	phase   closure.Phase
	payload tasks.Payload
	retried int
}

type taskState int

const (
	scheduled taskState = iota + 1
	pending
	active
	retry
	archived
)

// Asynq's own figures, which this service does not set.
const (
	leaseTime = 30 * time.Second
	beatTime  = 5 * time.Second
	leasePast = 30 * time.Second // a lease must have run out so long ago before its task is taken up again
	recovers  = time.Minute      // between two looks for such tasks
)

var (
	errGone     = errors.New("NOT FOUND") // as Asynq's scripts answer
	errNoServer = errors.New("redis: connection refused")
)

func newQueue() *queue {
	return &queue{tasks: map[string]*task{}, pending: map[string][]string{}}
}

// enqueue puts a task there, due at once or at a time. It conflicts while anything stands under its ID, archived included.
func (q *queue) enqueue(m message, at, now time.Time) error {
	if q.tasks[m.key] != nil {
		return tasks.ErrConflict
	}
	t := &task{message: m}
	q.tasks[m.key] = t
	if at.After(now) {
		t.state, t.at = scheduled, at.Unix()
		return nil
	}
	q.push(t)
	return nil
}

func (q *queue) push(t *task) {
	t.state, t.at, t.lease = pending, 0, 0
	q.pending[t.queue] = append(q.pending[t.queue], t.key)
}

// forward makes what is due pending and says how many that were.
func (q *queue) forward(now time.Time) int {
	n := 0
	for _, key := range slices.Sorted(maps.Keys(q.tasks)) {
		if t := q.tasks[key]; (t.state == scheduled || t.state == retry) && t.at <= now.Unix() {
			q.push(t)
			n++
		}
	}
	return n
}

// dequeue hands the oldest pending task of the first queue that has one to a worker.
func (q *queue) dequeue(order []string, now time.Time) (message, bool) {
	for _, name := range order {
		if line := q.pending[name]; len(line) > 0 {
			q.pending[name] = line[1:]
			t := q.tasks[line[0]]
			t.state, t.lease = active, now.Add(leaseTime).Unix()
			return t.message, true
		}
	}
	return message{}, false
}

// held is the active task under an ID; without a lease, Asynq's scripts take it for gone.
func (q *queue) held(key string) (*task, error) {
	t := q.tasks[key]
	if t == nil || t.state != active || t.lease == 0 {
		return nil, errGone
	}
	return t, nil
}

func (q *queue) done(key string) error {
	if _, err := q.held(key); err != nil {
		return err
	}
	delete(q.tasks, key)
	return nil
}

// again puts a task to the retries. What it will carry is the message that was handed out, one failure further.
func (q *queue) again(m message, at time.Time, counts bool) error {
	t, err := q.held(m.key)
	if err != nil {
		return err
	}
	if counts {
		m.retried++
	}
	t.message, t.state, t.at, t.lease = m, retry, at.Unix(), 0
	return nil
}

func (q *queue) archive(m message) error {
	t, err := q.held(m.key)
	if err != nil {
		return err
	}
	t.message, t.state, t.lease = m, archived, 0
	return nil
}

// extend is a heartbeat. A lease that is gone is not made anew.
func (q *queue) extend(key string, now time.Time) {
	if t := q.tasks[key]; t != nil && t.lease != 0 {
		t.lease = now.Add(leaseTime).Unix()
	}
}

// settle is what Asynq's processor does with the end of a delivery. A worker whose lease has run out writes nothing.
func (q *queue) settle(m message, leased bool, result error, retryAt time.Time) error {
	switch {
	case !leased:
		return nil
	case result == nil:
		return q.done(m.key)
	case m.retried >= tasks.MaxRetry || errors.Is(result, asynq.SkipRetry):
		return q.archive(m)
	}
	return q.again(m, retryAt, counts(result))
}

// counts is the worker's IsFailure.
func counts(err error) bool { return !errors.Is(err, handlers.ErrNotCounted) }

// recoverLost takes up tasks whose workers have been silent for long enough. It does not see one that has no lease.
func (q *queue) recoverLost(now time.Time, delay func(retried int) time.Duration) (again, given int) {
	for _, key := range slices.Sorted(maps.Keys(q.tasks)) {
		t := q.tasks[key]
		if t.state != active || t.lease == 0 || t.lease > now.Add(-leasePast).Unix() {
			continue
		}
		if t.retried >= tasks.MaxRetry {
			_ = q.archive(t.message)
			given++
			continue
		}
		_ = q.again(t.message, now.Add(delay(t.retried)), true)
		again++
	}
	return again, given
}

// flush empties Redis.
func (q *queue) flush() {
	clear(q.tasks)
	clear(q.pending)
}

// look is tasks.Queue.Look. That a queue must be listed for Asynq to look into it does not show: Look lists it again.
func (q *queue) look(m message, now time.Time) tasks.Seen {
	t := q.tasks[m.key]
	if t == nil {
		return tasks.Seen{Condition: tasks.Missing}
	}
	switch t.state {
	case scheduled:
		return tasks.Seen{Condition: tasks.Scheduled, At: time.Unix(t.at, 0)}
	case pending, retry:
		return tasks.Seen{Condition: tasks.Waiting}
	case active:
		return tasks.Seen{Condition: tasks.Active, Orphaned: t.lease <= now.Unix()}
	case archived:
		return tasks.Seen{Condition: tasks.Archived}
	}
	return tasks.Seen{}
}

// messageOf is the task that tasks.Queue makes of a closure's present version, and when it is due. Asynq cuts that to
// whole seconds, so it is rounded up.
func messageOf(c closure.Closure, clock closure.Clock, now time.Time) (message, time.Time) {
	p := tasks.PayloadOf(c)
	m := message{queue: tasks.QueueFor(c.Priority), phase: c.Phase, payload: p}
	m.key = m.queue + " " + p.ID()
	at := now
	if wait := clock.Machine(c.DueAt.Sub(clock.At(now))); wait > 0 {
		at = now.Add(wait)
		if whole := at.Truncate(time.Second); whole.Before(at) {
			at = whole.Add(time.Second)
		}
	}
	return m, at
}
