package tasks_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/sirupsen/logrus"

	"closeout/closure"
	"closeout/tasks"
)

const timeout = 5 * time.Minute

// rig is a queue on a Redis of its own, inside a bubble of virtual time.
type rig struct {
	testing.TB
	mini *miniredis.Miniredis
	rdb  *redis.Client
	q    *tasks.Queue
	insp *asynq.Inspector
}

// inBubble carries a test out in virtual time, beginning in the middle of a second.
func inBubble(t *testing.T, clock closure.Clock, fn func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(1234567891 * time.Nanosecond)
		r := &rig{TB: t, mini: miniredis.NewMiniRedis()}
		r.mini.ClockTTL(true)
		r.rdb = r.dial()
		r.q = tasks.NewQueue(r.rdb, clock, timeout)
		r.insp = asynq.NewInspectorFromRedisClient(r.rdb)
		fn(r)
		_ = r.rdb.Close()
		r.mini.Close()
	})
}

// dial connects through a pipe. The address is a number: go-redis would look a name up, and no lookup may leave a bubble.
func (r *rig) dial() *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr: "127.0.0.1:6379", Protocol: 2, DisableIdentity: true, ReadTimeout: -1, WriteTimeout: -1,
		Dialer: func(context.Context, string, string) (net.Conn, error) { return r.mini.Dial() },
	})
}

// due is a closure that is due at a moment of business time.
func due(id string, at time.Time) closure.Closure {
	return closure.Closure{ID: id, Version: 3, Token: "t", Priority: closure.Normal, Phase: closure.Settlement, State: closure.Running, DueAt: at}
}

func (r *rig) schedule(c closure.Closure) {
	r.Helper()
	if err := r.q.Schedule(r.Context(), c); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) look(c closure.Closure) tasks.Seen {
	r.Helper()
	seen, err := r.q.Look(r.Context(), c)
	if err != nil {
		r.Fatal(err)
	}
	return seen
}

// serve runs a real Asynq server with a handler of the test's, until stop.
func (r *rig) serve(rdb *redis.Client, fn asynq.HandlerFunc) (stop func()) {
	r.Helper()
	log := logrus.New()
	log.SetOutput(io.Discard)
	srv := asynq.NewServerFromRedisClient(rdb, asynq.Config{
		Queues: tasks.Queues, DelayedTaskCheckInterval: time.Second, ShutdownTimeout: time.Second,
		RetryDelayFunc: func(int, error, *asynq.Task) time.Duration { return time.Hour }, Logger: log,
	})
	if err := srv.Start(fn); err != nil {
		r.Fatal(err)
	}
	return srv.Shutdown
}

// until lets virtual time pass until the condition holds.
func (r *rig) until(cond func() bool) {
	r.Helper()
	for range 1000 {
		if cond() {
			return
		}
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
	}
	r.Fatal("it never came to that")
}

const key = "asynq:{account_closure}:"

// scheduled is the moment for which Asynq holds a task back.
func (r *rig) scheduled(c closure.Closure) (time.Time, bool) {
	r.Helper()
	score, err := r.rdb.ZScore(r.Context(), key+"scheduled", tasks.PayloadOf(c).ID()).Result()
	if errors.Is(err, redis.Nil) {
		return time.Time{}, false
	}
	if err != nil {
		r.Fatal(err)
	}
	return time.Unix(int64(score), 0), true
}

func TestAVisitIsNeverEarlyAndLateByLessThanASecond(t *testing.T) {
	t.Parallel()
	start := time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC)
	for name, clock := range map[string]closure.Clock{
		"the real clock":      {},
		"a day in 20 seconds": closure.ScaledClock(20*time.Second, time.Date(2026, 11, 18, 14, 0, 0, 0, time.UTC), start.Add(-777*time.Millisecond)),
		"a day in 7 hours":    closure.ScaledClock(7*time.Hour+11, time.Date(2026, 11, 18, 14, 0, 0, 0, time.UTC), start),
	} {
		inBubble(t, clock, func(r *rig) {
			for n, wait := range []time.Duration{
				1, time.Microsecond, time.Millisecond, 432109 * time.Microsecond, 765432109, time.Second - 1, time.Second, time.Second + 1,
				90*time.Second + 1, time.Minute, 2 * time.Hour, 26*time.Hour + 3*time.Millisecond, 20 * 24 * time.Hour, 365 * 24 * time.Hour,
			} {
				c := due(fmt.Sprint("c", n), clock.Now().Add(wait))
				r.schedule(c)
				at, ok := r.scheduled(c)
				switch {
				case !ok:
					r.Errorf("%s: due in %s, and not held back", name, wait)
				case clock.At(at).Before(c.DueAt):
					r.Errorf("%s: due at %s, and looked at %s", name, c.DueAt, clock.At(at))
				case !clock.At(at.Add(-time.Second)).Before(c.DueAt):
					r.Errorf("%s: due at %s, and looked at %s: a second sooner would do", name, c.DueAt, clock.At(at))
				}
				if seen := r.look(c); seen.Condition != tasks.Scheduled || !seen.At.Equal(at) {
					r.Errorf("%s: due in %s: %+v, want it scheduled for %s", name, wait, seen, at)
				}
				time.Sleep(98_765_432 * time.Nanosecond)
			}
		})
	}
}

func TestWhatIsDueIsPendingAtOnce(t *testing.T) {
	t.Parallel()
	inBubble(t, closure.Clock{}, func(r *rig) {
		for n, since := range []time.Duration{0, 1, time.Hour, 200 * 365 * 24 * time.Hour} {
			c := due(fmt.Sprint("c", n), time.Now().Add(-since))
			r.schedule(c)
			if seen := r.look(c); seen.Condition != tasks.Waiting {
				r.Errorf("due for %s: %+v", since, seen)
			}
		}
	})
}

// Outside of the bubble Asynq reads the clock a little later than Schedule did.
func TestAVisitIsNeverEarlyOnARealClock(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	rdb := redis.NewClient(&redis.Options{Addr: m.Addr()})
	t.Cleanup(func() { _ = rdb.Close() })
	q := tasks.NewQueue(rdb, closure.Clock{}, timeout)
	for n := range 100 {
		c := due(fmt.Sprint("c", n), time.Now().Add(5*time.Second+time.Duration(n)*17*time.Millisecond))
		if err := q.Schedule(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		seen, err := q.Look(t.Context(), c)
		if err != nil || seen.Condition != tasks.Scheduled || seen.At.Before(c.DueAt) || seen.At.After(c.DueAt.Add(3*time.Second)) {
			t.Fatalf("due at %s: %+v, %v", c.DueAt, seen, err)
		}
	}
}

func TestATaskIsWhatTheClosureSays(t *testing.T) {
	t.Parallel()
	inBubble(t, closure.Clock{}, func(r *rig) {
		for _, p := range []closure.Priority{closure.Urgent, closure.Normal, closure.Bulk} {
			for _, s := range closure.Road {
				c := due(string(p)+"-"+string(s.Phase), time.Now())
				c.Priority, c.Phase = p, s.Phase
				r.schedule(c)
				info, err := r.insp.GetTaskInfo(tasks.QueueFor(p), tasks.PayloadOf(c).ID())
				if err != nil {
					r.Fatal(err)
				}
				if info.Type != tasks.TypeOf(s.Phase) || info.MaxRetry != tasks.MaxRetry || info.Timeout != timeout || info.Retention != 0 || !info.Deadline.IsZero() {
					r.Errorf("%s: %+v", c.ID, info)
				}
				if got, err := tasks.ParsePayload(info.Payload); err != nil || got != tasks.PayloadOf(c) {
					r.Errorf("%s carries %s: %v", c.ID, info.Payload, err)
				}
			}
		}
	})
}

// conditions brings a task into each condition in which it stands in the queue, and hands it to fn. What still runs ends
// with it.
func conditions(t *testing.T, fn func(r *rig, c closure.Closure, name string, want tasks.Seen)) {
	t.Helper()
	inBubble(t, closure.Clock{}, func(r *rig) {
		c := due("scheduled", time.Now().Add(time.Hour))
		r.schedule(c)
		at, _ := r.scheduled(c)
		fn(r, c, "scheduled", tasks.Seen{Condition: tasks.Scheduled, At: at})

		c = due("pending", time.Now())
		r.schedule(c)
		fn(r, c, "pending", tasks.Seen{Condition: tasks.Waiting})
		if err := r.insp.DeleteTask("account_closure", tasks.PayloadOf(c).ID()); err != nil {
			r.Fatal(err)
		}
		fn(r, c, "deleted", tasks.Seen{Condition: tasks.Missing})

		release := make(chan struct{})
		var begun atomic.Int32
		stop := r.serve(r.rdb, func(_ context.Context, task *asynq.Task) error {
			begun.Add(1)
			switch p, _ := tasks.ParsePayload(task.Payload()); p.ClosureID {
			case "retry":
				return errors.New("broken")
			case "archived":
				return fmt.Errorf("stopped: %w", asynq.SkipRetry)
			case "active":
				<-release
			}
			return nil
		})
		for n, id := range []string{"retry", "archived", "done", "active"} {
			c = due(id, time.Now())
			r.schedule(c)
			r.until(func() bool { return int(begun.Load()) > n })
			time.Sleep(time.Second)
			want := tasks.Seen{Condition: map[string]tasks.Condition{
				"retry": tasks.Waiting, "archived": tasks.Archived, "done": tasks.Missing, "active": tasks.Active,
			}[id]}
			fn(r, c, id, want)
		}
		close(release)
		stop()
	})
}

func TestLookSaysWhereATaskStands(t *testing.T) {
	t.Parallel()
	conditions(t, func(r *rig, c closure.Closure, name string, want tasks.Seen) {
		if got := r.look(c); got.Condition != want.Condition || got.Orphaned != want.Orphaned || !got.At.Equal(want.At) {
			r.Errorf("%s: %+v, want %+v", name, got, want)
		}
		other := c
		other.Version++
		if got := r.look(other); got.Condition != tasks.Missing {
			r.Errorf("%s, another version: %+v", name, got)
		}
		other = c
		other.Token = "u"
		if got := r.look(other); got.Condition != tasks.Missing {
			r.Errorf("%s, another token: %+v", name, got)
		}
	})
}

func TestATaskThatStandsInTheQueueIsAConflict(t *testing.T) {
	t.Parallel()
	conditions(t, func(r *rig, c closure.Closure, name string, want tasks.Seen) {
		if name == "done" || name == "deleted" {
			return // it stands there no more
		}
		for _, at := range []time.Time{c.DueAt, time.Now(), time.Now().Add(time.Hour)} {
			again := c
			again.DueAt = at
			if err := r.q.Schedule(r.Context(), again); !errors.Is(err, tasks.ErrConflict) {
				r.Errorf("%s, again for %s: %v", name, at, err)
			}
		}
		if got := r.look(c); got.Condition != want.Condition || !got.At.Equal(want.At) {
			r.Errorf("%s: after the conflict %+v, want %+v", name, got, want)
		}
		next := c
		next.Version, next.DueAt = c.Version+1, time.Now().Add(time.Hour) // another one goes in, even while the first runs
		r.schedule(next)
	})
}

// A task that somebody gave a retention, or a group, is none of ours to begin with, but it has our ID.
func TestLookKnowsWhatOthersMadeOfATask(t *testing.T) {
	t.Parallel()
	inBubble(t, closure.Clock{}, func(r *rig) {
		client := asynq.NewClientFromRedisClient(r.rdb)
		kept, grouped := due("kept", time.Now()), due("grouped", time.Now())
		enqueue := func(c closure.Closure, o asynq.Option) {
			if _, err := client.Enqueue(asynq.NewTask(tasks.TypeOf(c.Phase), nil), asynq.TaskID(tasks.PayloadOf(c).ID()), asynq.Queue("account_closure"), o); err != nil {
				r.Fatal(err)
			}
		}
		enqueue(kept, asynq.Retention(time.Hour))
		stop := r.serve(r.rdb, func(context.Context, *asynq.Task) error { return nil })
		r.until(func() bool {
			info, err := r.insp.GetTaskInfo("account_closure", tasks.PayloadOf(kept).ID())
			return err == nil && info.State == asynq.TaskStateCompleted
		})
		stop()
		if got := r.look(kept); got.Condition != tasks.Missing {
			r.Errorf("completed and kept: %+v", got)
		}
		enqueue(grouped, asynq.Group("g"))
		if got := r.look(grouped); got.Condition != tasks.Waiting {
			r.Errorf("in a group: %+v", got)
		}
	})
}

func TestATaskWhoseWorkerDiedIsOrphaned(t *testing.T) {
	t.Parallel()
	inBubble(t, closure.Clock{}, func(r *rig) {
		rdb, dead := r.dial(), cut{} // the worker's own connection
		rdb.AddHook(&dead)
		release, begun := make(chan struct{}), make(chan struct{})
		stop := r.serve(rdb, func(context.Context, *asynq.Task) error {
			close(begun)
			<-release
			return nil
		})
		c := due("c", time.Now())
		r.schedule(c)
		<-begun
		for range 3 { // the heartbeat keeps the lease
			time.Sleep(15 * time.Second)
			if got := r.look(c); got.Condition != tasks.Active || got.Orphaned {
				r.Fatalf("in work: %+v", got)
			}
		}
		dead.off.Store(true)
		if got := r.look(c); got.Condition != tasks.Active || got.Orphaned {
			r.Errorf("just cut off: %+v", got)
		}
		time.Sleep(31 * time.Second)
		if got := r.look(c); got.Condition != tasks.Active || !got.Orphaned {
			r.Errorf("half a minute after its worker was cut off: %+v", got)
		}
		close(release)
		stop()
		_ = rdb.Close()
	})
}

// cut is a connection that can be cut off: then every command fails after a while. (Asynq asks again without a pause.)
type cut struct{ off atomic.Bool }

var errCut = errors.New("cut off")

func (*cut) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *cut) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if c.off.Load() {
			time.Sleep(time.Second)
			cmd.SetErr(errCut)
			return errCut
		}
		return next(ctx, cmd)
	}
}

func (c *cut) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if c.off.Load() {
			time.Sleep(time.Second)
			return errCut
		}
		return next(ctx, cmds)
	}
}

// Asynq never takes up an active task that has lost its lease altogether, and doesn't list it as orphaned either.
func TestAnActiveTaskWithoutAnyLeaseIsOrphaned(t *testing.T) {
	t.Parallel()
	inBubble(t, closure.Clock{}, func(r *rig) {
		release, begun := make(chan struct{}), make(chan struct{})
		stop := r.serve(r.rdb, func(context.Context, *asynq.Task) error {
			close(begun)
			<-release
			return nil
		})
		c := due("c", time.Now())
		r.schedule(c)
		<-begun
		if err := r.rdb.ZRem(r.Context(), key+"lease", tasks.PayloadOf(c).ID()).Err(); err != nil {
			r.Fatal(err)
		}
		time.Sleep(time.Minute) // heartbeats extend a lease, and make none
		if got := r.look(c); got.Condition != tasks.Active || !got.Orphaned {
			r.Errorf("%+v", got)
		}
		close(release)
		stop()
	})
}

func TestAfterRedisWasEmptiedTheQueueIsFoundAgain(t *testing.T) {
	t.Parallel()
	inBubble(t, closure.Clock{}, func(r *rig) {
		never := due("never", time.Now())
		if got := r.look(never); got.Condition != tasks.Missing {
			r.Errorf("in a Redis that knows no queue yet: %+v", got)
		}
		c := due("c", time.Now().Add(time.Hour))
		r.schedule(c)
		r.mini.FlushAll()
		if got := r.look(c); got.Condition != tasks.Missing {
			r.Errorf("after it was emptied: %+v", got)
		}
		r.schedule(c)
		if got := r.look(c); got.Condition != tasks.Scheduled {
			r.Errorf("scheduled again: %+v", got)
		}
		// Emptied and scheduled before anybody has looked: the task is there and runs, though Asynq's client does not list
		// its queue a second time.
		r.mini.FlushAll()
		r.schedule(c)
		if queues, err := r.insp.Queues(); err != nil || len(queues) != 0 {
			r.Errorf("Asynq lists %v again by itself (%v): Register can go", queues, err)
		}
		if got := r.look(c); got.Condition != tasks.Scheduled {
			r.Errorf("in a queue that was not listed: %+v", got)
		}
		queues, err := r.insp.Queues()
		slices.Sort(queues)
		if want := slices.Sorted(maps.Keys(tasks.Queues)); err != nil || !slices.Equal(queues, want) {
			r.Errorf("the queues are %v, want %v: %v", queues, want, err)
		}
	})
}

func TestARedisThatDoesNotAnswerIsAnErrorAndNoCondition(t *testing.T) {
	t.Parallel()
	inBubble(t, closure.Clock{}, func(r *rig) {
		c := due("c", time.Now())
		r.schedule(c)
		if err := r.q.Ping(r.Context()); err != nil {
			r.Error(err)
		}
		r.mini.SetError("LOADING Redis is loading the dataset in memory")
		if err := r.q.Ping(r.Context()); err == nil {
			r.Error("it answers")
		}
		if err := r.q.Schedule(r.Context(), c); err == nil || errors.Is(err, tasks.ErrConflict) {
			r.Errorf("schedule: %v", err)
		}
		if seen, err := r.q.Look(r.Context(), c); err == nil {
			r.Errorf("look: %+v", seen)
		}
		r.mini.SetError("")
		if got := r.look(c); got.Condition != tasks.Waiting {
			r.Errorf("when it is back: %+v", got)
		}
	})
}

func TestManyMaySearchAndScheduleAtOnce(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	rdb := redis.NewClient(&redis.Options{Addr: m.Addr()})
	t.Cleanup(func() { _ = rdb.Close() })
	q := tasks.NewQueue(rdb, closure.Clock{}, timeout)
	c := due("c", time.Now().Add(time.Hour))
	var made atomic.Int32
	done := make(chan error)
	const n = 16
	for range n {
		go func() {
			err := q.Schedule(t.Context(), c)
			if err == nil {
				made.Add(1)
			}
			if err == nil || errors.Is(err, tasks.ErrConflict) {
				_, err = q.Look(t.Context(), c)
			}
			done <- err
		}()
	}
	for range n {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if made.Load() != 1 {
		t.Errorf("%d say that they put it there", made.Load())
	}
}

func TestAQueueIsUnpausedOnce(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	rdb := redis.NewClient(&redis.Options{Addr: m.Addr(), MaxRetries: -1})
	t.Cleanup(func() { _ = rdb.Close() })
	q := tasks.NewQueue(rdb, closure.Clock{}, timeout)
	for _, name := range []string{"account_closure", "account_closure_bulk"} {
		if err := asynq.NewInspectorFromRedisClient(rdb).PauseQueue(name); err != nil {
			t.Fatal(err)
		}
	}
	for n, want := range []error{nil, tasks.ErrNotPaused} {
		if err := q.Unpause(t.Context(), "account_closure"); !errors.Is(err, want) {
			t.Errorf("the time %d: %v, want %v", n, err, want)
		}
	}
	sizes, err := q.Sizes(t.Context())
	if err != nil || sizes[1].Paused || !sizes[2].Paused {
		t.Errorf("%+v, %v", sizes, err)
	}
	m.Close()
	if err := q.Unpause(t.Context(), "account_closure_bulk"); err == nil || errors.Is(err, tasks.ErrNotPaused) {
		t.Errorf("of a Redis that is gone: %v", err)
	}
}

// Asynq knows no queue that nobody has listed: of a Redis that is new, or was emptied, each is empty.
func TestTheSizesOfAnEmptyRedisAreKnown(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	rdb := redis.NewClient(&redis.Options{Addr: m.Addr(), MaxRetries: -1})
	t.Cleanup(func() { _ = rdb.Close() })
	q := tasks.NewQueue(rdb, closure.Clock{}, timeout)
	for range 2 {
		m.FlushAll()
		sizes, err := q.Sizes(t.Context())
		if err != nil || len(sizes) != len(tasks.Queues) || sizes[0].Name != "account_closure_urgent" || sizes[0].Pending != 0 {
			t.Errorf("%+v, %v", sizes, err)
		}
	}
	m.Close()
	if _, err := q.Sizes(t.Context()); err == nil {
		t.Error("the sizes of a Redis that is gone are known")
	}
}
