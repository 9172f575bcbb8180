package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/sirupsen/logrus"

	"closeout/closure"
	"closeout/handlers"
	"closeout/tasks"
	"closeout/worker"
)

// shop is a worker on a miniredis with a health page.
type shop struct {
	testing.TB
	opts  worker.Options
	mini  *miniredis.Miniredis
	rdb   *redis.Client
	open  chan string   // the page's address, each time it opens
	begun chan struct{} // closed once the visit of busy is at work
	addr  string

	mu     sync.Mutex
	health map[string]error
}

// Levels and Fire make the shop a logrus.Hook that learns the page's address.
func (s *shop) Levels() []logrus.Level { return logrus.AllLevels }

func (s *shop) Fire(e *logrus.Entry) error {
	if addr, ok := e.Data["addr"].(string); ok {
		s.open <- addr
	}
	return nil
}

func newShop(t *testing.T, b *books) *shop {
	t.Helper()
	s := &shop{TB: t, mini: miniredis.RunT(t), open: make(chan string, 1)}
	s.rdb = redis.NewClient(&redis.Options{Addr: s.mini.Addr()})
	t.Cleanup(func() { _ = s.rdb.Close() })
	worker.RepairAcks(s.rdb)
	log := silent()
	log.AddHook(s)
	s.opts = worker.Options{
		Redis: s.rdb, Timing: closure.ShortTiming, Log: log, HealthAddr: "127.0.0.1:0",
		Runner: &handlers.Runner{Ledger: b, Queue: s.queue(), Timing: closure.ShortTiming, Log: silent()},
		Health: func(context.Context) map[string]error {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.health
		},
	}
	return s
}

func (s *shop) queue() *tasks.Queue {
	return tasks.NewQueue(s.rdb, closure.Clock{}, closure.ShortTiming.Task)
}

// run starts the worker. stop tells it to stop.
func (s *shop) run() (stop context.CancelFunc, ended <-chan error) {
	s.Helper()
	ctx, cancel := context.WithCancel(s.Context())
	done, over := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(over)
		done <- worker.Run(ctx, s.opts)
	}()
	s.Cleanup(func() { cancel(); <-over }) // before the connection is closed: Asynq's subscriber would panic
	s.addr = <-s.open
	return cancel, done
}

// shows waits until the page shows something.
func (s *shop) shows(status int, want map[string]string) {
	s.Helper()
	var got string
	for range 500 {
		code, body, err := get(s.Context(), "http://"+s.addr+"/health")
		if err == nil && code == status && cmp.Equal(want, body) {
			return
		}
		got = fmt.Sprint(code, " ", body, " ", err)
		time.Sleep(20 * time.Millisecond) // another process would also have to ask again
	}
	s.Fatalf("the page never showed %d %v; at last %s", status, want, got)
}

func get(ctx context.Context, url string) (status int, body map[string]string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	err = json.NewDecoder(resp.Body).Decode(&body)
	return resp.StatusCode, body, err
}

func TestTheHealthPageSaysWhatIsDown(t *testing.T) {
	t.Parallel()
	s := newShop(t, &books{})
	s.health = map[string]error{"ledger": nil, "redis": nil}
	// While another has the address, the worker does not start.
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	taken := s.opts
	taken.HealthAddr = ln.Addr().String()
	if err := worker.Run(t.Context(), taken); err == nil {
		t.Error("it runs without its health page")
	}
	stop, ended := s.run()
	s.shows(http.StatusOK, map[string]string{"asynq": "ok", "ledger": "ok", "redis": "ok"})
	s.mu.Lock()
	s.health = map[string]error{"ledger": nil, "redis": errors.New("dial tcp 10.0.0.7: refused")}
	s.mu.Unlock()
	s.shows(http.StatusServiceUnavailable, map[string]string{"asynq": "ok", "ledger": "ok", "redis": "down"})
	if code, body, err := get(t.Context(), "http://"+s.addr+"/alive"); err != nil || code != http.StatusOK || body["asynq"] != "ok" {
		t.Errorf("with Redis down a new start would not help: %d %v %v", code, body, err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if c, err := new(net.Dialer).DialContext(t.Context(), "tcp", s.addr); err == nil {
		_ = c.Close()
		t.Error("the page is still open after the worker has ended")
	}
}

// A broker that is away, or that refuses our credentials, is shown in words and makes no worker unhealthy.
func TestTheHealthPageShowsTheBrokersCondition(t *testing.T) {
	t.Parallel()
	s := newShop(t, &books{})
	var refused atomic.Bool
	s.opts.Broker = func() error {
		if refused.Load() {
			return errors.New("has refused this service's credentials for 1m0s")
		}
		return nil
	}
	stop, ended := s.run()
	s.shows(http.StatusOK, map[string]string{"asynq": "ok"})
	refused.Store(true)
	s.shows(http.StatusOK, map[string]string{"asynq": "ok", "broker": "has refused this service's credentials for 1m0s"})
	refused.Store(false)
	s.shows(http.StatusOK, map[string]string{"asynq": "ok"})
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestAWorkerWaitsForItsRedisAndSaysSo(t *testing.T) {
	t.Parallel()
	s := newShop(t, &books{})
	there := make(chan error)
	s.opts.Fit = func(ctx context.Context) ([]string, error) {
		select {
		case err := <-there:
			return nil, err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	stop, ended := s.run()
	s.shows(http.StatusServiceUnavailable, map[string]string{"asynq": "starting"})
	there <- errors.New("connection refused")
	s.shows(http.StatusServiceUnavailable, map[string]string{"asynq": "starting"})
	there <- nil
	s.shows(http.StatusOK, map[string]string{"asynq": "ok"})
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	// One that is told to stop while it waits ends in good order; an unfit Redis ends the start.
	stop, ended = s.run()
	there <- errors.New("connection refused")
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	_, ended = s.run()
	there <- worker.ErrUnfit
	if err := <-ended; !errors.Is(err, worker.ErrUnfit) {
		t.Errorf("on an unfit Redis: %v", err)
	}
}

// busy is a closure whose visit is in hand until release, or until it is cut short.
func (s *shop) busy(b *books) (c closure.Closure, release func()) {
	s.Helper()
	begun, released := make(chan struct{}), make(chan struct{})
	s.begun = begun
	b.load = func(ctx context.Context) error {
		close(begun)
		select {
		case <-released:
		case <-ctx.Done():
		}
		return nil
	}
	c = closure.Closure{ID: "c", Version: 1, Token: "t", Priority: closure.Normal, Phase: closure.Closing, State: closure.Running, DueAt: time.Now()}
	if err := s.queue().Schedule(s.Context(), c); err != nil {
		s.Fatal(err)
	}
	return c, sync.OnceFunc(func() { <-begun; close(released) })
}

func TestAStoppingWorkerFinishesItsVisitAndIsNotReadyMeanwhile(t *testing.T) {
	t.Parallel()
	b := &books{}
	s := newShop(t, b)
	c, release := s.busy(b)
	stop, ended := s.run()
	s.active(c)
	stop()
	s.shows(http.StatusServiceUnavailable, map[string]string{"asynq": "draining"})
	next := c
	next.ID = "next"
	if err := s.queue().Schedule(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		t.Fatalf("it ended under its visit: %v", err)
	default:
	}
	release()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	for id, want := range map[string]tasks.Condition{c.ID: tasks.Missing, next.ID: tasks.Waiting} {
		c.ID = id
		if seen, err := s.queue().Look(t.Context(), c); err != nil || seen.Condition != want {
			t.Errorf("task of %s: %+v, %v", id, seen, err)
		}
	}
}

// active waits until a worker has the task, and its visit has begun.
func (s *shop) active(c closure.Closure) {
	s.Helper()
	for range 500 {
		if seen, err := s.queue().Look(s.Context(), c); err == nil && seen.Condition == tasks.Active {
			<-s.begun
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	s.Fatal("no worker took the task")
}

func TestAWorkerThatIsToldTwiceGivesItsVisitBack(t *testing.T) {
	t.Parallel()
	b := &books{}
	s := newShop(t, b)
	hurry := make(chan struct{})
	s.opts.Hurry, s.opts.Timing.Drain = hurry, time.Hour
	c, _ := s.busy(b)
	stop, ended := s.run()
	s.active(c)
	stop()
	s.shows(http.StatusServiceUnavailable, map[string]string{"asynq": "draining"})
	close(hurry)
	if err := <-ended; !errors.Is(err, worker.ErrCutShort) {
		t.Errorf("it ended with %v", err)
	}
	info, err := asynq.NewInspectorFromRedisClient(s.rdb).GetTaskInfo(tasks.QueueFor(c.Priority), tasks.PayloadOf(c).ID())
	if err != nil || info.State != asynq.TaskStateRetry || info.Retried != 0 || time.Until(info.NextProcessAt) > 0 {
		t.Errorf("its task must be due at once, without a retry counted: %+v, %v", info, err)
	}
}

// When the drain is over Asynq puts the task back, at the head of its queue.
func TestAVisitThatOutlivesTheDrainIsGivenBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := miniredis.NewMiniRedis()
		m.ClockTTL(true)
		rdb := dial(m)
		worker.RepairAcks(rdb)
		var cut time.Time
		b := &books{load: func(ctx context.Context) error {
			<-ctx.Done()
			cut = time.Now()
			time.Sleep(time.Second) // the last moment: it writes down what it did
			return nil
		}}
		q := tasks.NewQueue(rdb, closure.Clock{}, closure.DefaultTiming.Task)
		c := closure.Closure{ID: "c", Version: 1, Token: "t", Priority: closure.Normal, Phase: closure.Closing, State: closure.Running, DueAt: time.Now()}
		if err := q.Schedule(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			ended <- worker.Run(ctx, worker.Options{
				Redis: rdb, Timing: closure.DefaultTiming, Log: silent(),
				Runner: &handlers.Runner{Ledger: b, Queue: q, Timing: closure.DefaultTiming, Log: silent()},
			})
		}()
		time.Sleep(5 * time.Second)
		told := time.Now()
		stop()
		if err := <-ended; !errors.Is(err, worker.ErrCutShort) {
			t.Errorf("it ended with %v", err)
		}
		if took := cut.Sub(told); took < closure.DefaultTiming.Drain || took > closure.DefaultTiming.Drain+time.Second {
			t.Errorf("the visit was cut short after %s", took)
		}
		if took := time.Since(cut); took < time.Second || took > 5*time.Second {
			t.Errorf("%s after the cut it ended; the visit took one second more", took)
		}
		info, err := asynq.NewInspectorFromRedisClient(rdb).GetTaskInfo(tasks.QueueFor(c.Priority), tasks.PayloadOf(c).ID())
		if err != nil || info.State != asynq.TaskStatePending || info.Retried != 0 {
			t.Errorf("%+v, %v", info, err)
		}
		_ = rdb.Close()
		m.Close()
	})
}

// away makes every command fail, as a Redis out of reach does.
type away struct{ failOnce }

func (a *away) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if a.armed.Load() {
			time.Sleep(time.Second)
			cmd.SetErr(errReset)
			return errReset
		}
		return next(ctx, cmd)
	}
}

func TestThePulseIsThatOfThisProcessesAsynq(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := miniredis.NewMiniRedis()
		m.ClockTTL(true)
		rdb, other := dial(m), dial(m)
		p := worker.Watch(rdb, 1)
		gone := &away{}
		rdb.AddHook(gone)
		another := worker.Server(worker.Options{Redis: other, Timing: closure.DefaultTiming, Log: silent()})
		if err := another.Start(asynq.NotFoundHandler()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if err := p.Err(); err == nil {
			t.Error("another process's Asynq was taken for this one's")
		}
		another.Shutdown()
		srv := worker.Server(worker.Options{Redis: rdb, Timing: closure.DefaultTiming, Log: silent(), Concurrency: 1})
		release := make(chan struct{})
		if err := srv.Start(p.Counted(asynq.HandlerFunc(func(context.Context, *asynq.Task) error { <-release; return nil }))); err != nil {
			t.Fatal(err)
		}
		alive := func(when string) {
			t.Helper()
			for range 60 {
				time.Sleep(time.Second)
				if err := p.Err(); err != nil || !p.Alive() {
					t.Errorf("%s: %v, alive: %v", when, err, p.Alive())
				}
			}
		}
		alive("idle")
		m.FlushAll()
		alive("after FLUSHALL")
		c := closure.Closure{ID: "c", Version: 1, Token: "t", Priority: closure.Normal, Phase: closure.Closing, State: closure.Running, DueAt: time.Now()}
		if err := tasks.NewQueue(other, closure.Clock{}, closure.DefaultTiming.Task).Schedule(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		alive("its one hand full")
		close(release)
		alive("idle again")
		gone.armed.Store(true)
		time.Sleep(20 * time.Second)
		if err := p.Err(); err == nil {
			t.Error("it counts as at work though its Redis is away")
		}
		time.Sleep(130 * time.Second)
		if !p.Alive() {
			t.Error("it would be started again because its Redis is away")
		}
		gone.armed.Store(false)
		time.Sleep(10 * time.Second)
		alive("with its Redis back")
		srv.Shutdown()
		time.Sleep(20 * time.Second)
		if err := p.Err(); err == nil {
			t.Error("it counts as at work after it was stopped")
		}
		if time.Sleep(105 * time.Second); p.Alive() {
			t.Error("nothing beats any more, and it would not be started again")
		}
		_, _ = rdb.Close(), other.Close()
		m.Close()
	})
}
