package worker_test

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"closeout/alpaca"
	"closeout/calendar"
	"closeout/closure"
	"closeout/handlers"
	"closeout/internal/servers"
	"closeout/ledger"
	"closeout/tasks"
	"closeout/worker"
)

// shelf is a ledger and a runner on a real Redis, with times short enough to wait for. Its broker answers nothing, so that
// a visit is a wait.
type shelf struct {
	testing.TB
	rdb  *redis.Client
	q    *tasks.Queue
	run  *handlers.Runner
	time closure.Timing
	n    int
}

func newShelf(t *testing.T) *shelf {
	t.Helper()
	s := &shelf{TB: t, time: closure.ShortTiming}
	s.time.Grace, s.time.Task, s.time.Orphan, s.time.Sweep = 0, time.Second, time.Second, 500*time.Millisecond
	s.rdb = redis.NewClient(&redis.Options{Addr: servers.StartRedis(t).Addr})
	t.Cleanup(func() { _ = s.rdb.Close() })
	worker.RepairAcks(s.rdb)
	l, err := ledger.Open(t.Context(), ledger.Options{
		URL: "sqlite:" + filepath.Join(t.TempDir(), "closeout.db"), Environment: closure.Sandbox, Policy: closure.DefaultPolicy(closure.Sandbox),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	broker, err := alpaca.New(alpaca.Options{BaseURL: "http://127.0.0.1:1", Key: "key", Secret: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	s.q = tasks.NewQueue(s.rdb, closure.Clock{}, s.time.Task)
	s.run = &handlers.Runner{
		Ledger: l, Queue: s.q, Broker: broker, Calendar: calendar.Rules, Policy: closure.DefaultPolicy(closure.Sandbox), Timing: s.time,
		Post: silence{}, Log: silent(),
	}
	return s
}

type silence struct{}

func (silence) Send(context.Context, ledger.Notice, closure.Closure, []closure.Intent) error {
	return nil
}

// closure makes one that is due.
func (s *shelf) closure() closure.Closure {
	s.Helper()
	s.n++
	c, _, err := s.run.Ledger.(*ledger.Ledger).Create(s.Context(), ledger.Wish{
		AccountID: fmt.Sprintf("5eed0000-0000-4000-8000-%012d", s.n), RelationshipID: "bank", Fingerprint: "print", Actor: "test",
	})
	if err != nil {
		s.Fatal(err)
	}
	return c
}

func (s *shelf) load(c closure.Closure) closure.Closure {
	s.Helper()
	now, _, err := s.run.Ledger.Load(s.Context(), c.ID)
	if err != nil {
		s.Fatal(err)
	}
	return now
}

func (s *shelf) sweep() handlers.Swept {
	s.Helper()
	swept, err := s.run.Sweep(s.Context())
	if err != nil {
		s.Fatal(err)
	}
	return swept
}

// worker runs an Asynq server on the shelf until the test ends.
func (s *shelf) worker() {
	s.Helper()
	srv := worker.Server(worker.Options{Redis: s.rdb, Timing: s.time, Log: silent()})
	if err := srv.Start(worker.Mux(s.run)); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(srv.Shutdown)
}

func (s *shelf) until(what string, so func() bool) {
	s.Helper()
	limit := time.After(2 * time.Minute)
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for !so() {
		select {
		case <-limit:
			s.Fatalf("it never came to this: %s", what)
		case <-again.C:
		}
	}
}

// An active task without a lease is one that Asynq never takes up again. The sweep does, once its visit can't be alive any
// more, and not before.
func TestRealAnOrphanIsRescued(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	c := s.closure()
	if err := s.q.Schedule(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	key, id := "asynq:{"+tasks.QueueFor(c.Priority)+"}:", tasks.PayloadOf(c).ID()
	if err := s.rdb.LMove(t.Context(), key+"pending", key+"active", "RIGHT", "LEFT").Err(); err != nil {
		t.Fatal(err)
	}
	if err := s.rdb.HSet(t.Context(), key+"t:"+id, "state", "active").Err(); err != nil {
		t.Fatal(err)
	}
	if seen, err := s.q.Look(t.Context(), c); err != nil || seen.Condition != tasks.Active || !seen.Orphaned {
		t.Fatalf("%+v, %v", seen, err)
	}
	if swept := s.sweep(); time.Since(c.DueAt) < s.time.Task+s.time.Orphan && swept.Reissued > 0 {
		t.Error("it was taken from a visit that may be alive")
	}
	s.worker()
	s.until("the sweep gives the orphan a new version", func() bool { return s.sweep().Reissued == 1 })
	if took := time.Since(c.DueAt); took < s.time.Task+s.time.Orphan {
		t.Errorf("re-issued after %s", took)
	}
	s.until("its visit", func() bool { return s.load(c).Version > c.Version+1 })
	if now := s.load(c); now.State != closure.Running || now.Reason != closure.BrokerOutage {
		t.Errorf("it stands at %s (%s)", now.State, now.Reason)
	}
}

// A worker that died with a task which has no retry left: Asynq's recoverer archives it and asks nobody. The row is still
// running, and the sweep sets it going again.
func TestRealATaskArchivedByItsLeaseIsRescued(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	c := s.closure()
	p := tasks.PayloadOf(c)
	body, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	client := asynq.NewClientFromRedisClient(s.rdb)
	queue := tasks.QueueFor(c.Priority)
	if _, err := client.EnqueueContext(t.Context(), asynq.NewTask(tasks.TypeOf(c.Phase), body), asynq.TaskID(p.ID()), asynq.Queue(queue), asynq.MaxRetry(0)); err != nil {
		t.Fatal(err)
	}
	key := "asynq:{" + queue + "}:"
	for _, err := range []error{
		s.rdb.LMove(t.Context(), key+"pending", key+"active", "RIGHT", "LEFT").Err(),
		s.rdb.HSet(t.Context(), key+"t:"+p.ID(), "state", "active").Err(),
		s.rdb.ZAdd(t.Context(), key+"lease", redis.Z{Score: float64(time.Now().Add(-time.Minute).Unix()), Member: p.ID()}).Err(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s.worker() // its recoverer runs at the start
	s.until("the recoverer archives it", func() bool {
		seen, err := s.q.Look(t.Context(), c)
		return err == nil && seen.Condition == tasks.Archived
	})
	if now := s.load(c); now.Version != c.Version || now.State != closure.Running {
		t.Fatalf("the row has heard of it: %+v", now)
	}
	if swept := s.sweep(); swept.Reissued != 1 {
		t.Errorf("%+v", swept)
	}
	s.until("its visit", func() bool { return s.load(c).Version > c.Version+1 })
	if now := s.load(c); now.State != closure.Running {
		t.Errorf("it stands at %s (%s)", now.State, now.Why)
	}
}

// After FLUSHALL two sweeps set every due closure going, and Asynq's inspector sees the queues again.
func TestRealFlushedQueueIsRebuilt(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	var all []closure.Closure
	for range 200 {
		c := s.closure()
		if err := s.q.Schedule(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	if err := s.rdb.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	first, second := s.sweep(), s.sweep()
	if first.Rescheduled+second.Rescheduled != len(all) || first.Reissued+second.Reissued > 0 {
		t.Errorf("two sweeps: %+v, %+v", first, second)
	}
	inspector := asynq.NewInspectorFromRedisClient(s.rdb)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	flushed := time.Now()
	go func() {
		ended <- worker.Run(ctx, worker.Options{Redis: s.rdb, Runner: s.run, Timing: s.time, Log: silent()})
	}()
	s.until("every closure has moved", func() bool {
		return !slices.ContainsFunc(all, func(c closure.Closure) bool { return s.load(c).Version == c.Version })
	})
	t.Logf("%d closures moved within %s of FLUSHALL", len(all), time.Since(flushed).Round(time.Millisecond))
	// Emptied once more under a running worker: its Asynq client lists no queue a second time.
	if err := s.rdb.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	s.until("the queues are listed", func() bool {
		queues, err := inspector.Queues()
		return err == nil && len(queues) == len(tasks.Queues)
	})
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
