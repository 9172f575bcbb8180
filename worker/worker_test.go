package worker_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/hibiken/asynq"
	"github.com/sirupsen/logrus"

	"closeout/closure"
	"closeout/handlers"
	"closeout/ledger"
	"closeout/tasks"
	"closeout/worker"
)

func silent() *logrus.Logger {
	l := logrus.New()
	l.SetOutput(io.Discard)
	return l
}

func TestEveryPhaseOfTheRoadIsRouted(t *testing.T) {
	t.Parallel()
	r := &handlers.Runner{Log: silent()}
	mux := worker.Mux(r)
	for _, s := range closure.Road {
		task := asynq.NewTask(tasks.TypeOf(s.Phase), []byte("no payload"))
		h, pattern := mux.Handler(task)
		if pattern != tasks.TypeOf(s.Phase) {
			t.Errorf("%s is routed by %q", s.Phase, pattern)
		}
		// That the runner has it shows in its refusal: a payload that can't be read is archived at once.
		if err := h.ProcessTask(t.Context(), task); !errors.Is(err, asynq.SkipRetry) {
			t.Errorf("%s: %v", s.Phase, err)
		}
	}
	for _, typ := range []string{"closure", "closure:", "closure:heaven", "liquidation", "notify"} {
		if _, pattern := mux.Handler(asynq.NewTask(typ, nil)); pattern != "" {
			t.Errorf("%q is routed by %q", typ, pattern)
		}
	}
}

func TestBitesAreRouted(t *testing.T) {
	t.Parallel()
	mux := asynq.NewServeMux()
	worker.MuxBatches(mux, &handlers.Batches{Log: silent()})
	worker.MuxRedrives(mux, &handlers.Redrives{Log: silent()})
	for _, typ := range []string{tasks.BatchChecks, tasks.BatchStarts, tasks.Redrives} {
		task := asynq.NewTask(typ, []byte("no payload"))
		h, pattern := mux.Handler(task)
		if err := h.ProcessTask(t.Context(), task); pattern != typ || !errors.Is(err, asynq.SkipRetry) {
			t.Errorf("%s is routed by %q: %v", typ, pattern, err)
		}
	}
}

func TestARetryWaitsTwiceAsLongEachTimeGiveOrTakeAHalf(t *testing.T) {
	t.Parallel()
	for _, first := range []time.Duration{closure.DefaultTiming.Backoff, closure.ShortTiming.Backoff} {
		wait := worker.Backoff(first, time.Hour)
		for n := range 2 * tasks.MaxRetry {
			d := first << min(n, 5)
			least, most := time.Duration(1<<63-1), time.Duration(0)
			for range 500 {
				got := wait(n, nil, nil)
				least, most = min(least, got), max(most, got)
			}
			if least < d/2 || most >= d+d/2 {
				t.Errorf("retry %d after %s: between %s and %s, want %s to %s", n, first, least, most, d/2, d+d/2)
			}
			if most-least < d/2 {
				t.Errorf("retry %d after %s: all between %s and %s: a thousand closures would come back together", n, first, least, most)
			}
		}
	}
}

// What the ledger could not be asked or told is no failure of the closure's: Asynq retries it for as long as it takes.
func TestAnErrorOfTheLedgerIsNotCounted(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		err     error
		retried int
	}{
		"the ledger out of reach": {fmt.Errorf("%w: no route to host", handlers.ErrNotCounted), 0},
		"any other error":         {errors.New("broken"), 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			m := miniredis.NewMiniRedis()
			m.ClockTTL(true)
			rdb := dial(m)
			srv := worker.Server(worker.Options{Redis: rdb, Timing: closure.DefaultTiming, Log: silent()})
			ran := make(chan struct{}, 1)
			if err := srv.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error {
				ran <- struct{}{}
				return tt.err
			})); err != nil {
				t.Fatal(err)
			}
			c := closure.Closure{ID: "c", Version: 1, Token: "t", Priority: closure.Urgent, Phase: closure.Closing, State: closure.Running, DueAt: time.Now()}
			if err := tasks.NewQueue(rdb, closure.Clock{}, closure.DefaultTiming.Task).Schedule(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			<-ran
			synctest.Wait()
			info, err := asynq.NewInspectorFromRedisClient(rdb).GetTaskInfo(tasks.QueueFor(c.Priority), tasks.PayloadOf(c).ID())
			if err != nil || info.State != asynq.TaskStateRetry || info.Retried != tt.retried {
				t.Errorf("%s: %+v, %v", name, info, err)
			}
			srv.Shutdown()
			_ = rdb.Close()
			m.Close()
		})
	}
}

// What only a newer version can carry out is given back as often as it comes, about once a sweep, and uses up no retry: a newer
// worker finds it as it was.
func TestWhatANewerVersionMustCarryOutIsGivenBack(t *testing.T) {
	t.Parallel()
	newer := map[string]*asynq.Task{
		"a type":                              asynq.NewTask("letters:post", []byte("{}")),
		"a type that begins with a known one": asynq.NewTask(tasks.TypeOf(closure.Withdrawal)+"_by_wire", []byte(`{"closure_id":"c","version":1,"token":"t"}`)),
		"a payload":                           asynq.NewTask(tasks.TypeOf(closure.Withdrawal), []byte(`{"v":2,"closure":{"id":"c"}}`)),
		"a bite's payload":                    asynq.NewTask(tasks.BatchStarts, []byte(`{"v":2,"of":"b"}`)),
		"a row":                               asynq.NewTask(tasks.TypeOf(closure.Withdrawal), []byte(`{"closure_id":"c","version":1,"token":"t","more":[1]}`)),
	}
	synctest.Test(t, func(t *testing.T) {
		m := miniredis.NewMiniRedis()
		m.ClockTTL(true)
		rdb := dial(m)
		var given atomic.Int32
		log := silent()
		log.AddHook(heard(func(e *logrus.Entry) {
			if strings.Contains(e.Message, "given back") {
				given.Add(1)
			}
		}))
		mux := worker.Mux(&handlers.Runner{Ledger: newerRow{}, Log: log, Timing: closure.DefaultTiming})
		worker.MuxBatches(mux, &handlers.Batches{Log: log})
		srv := worker.Server(worker.Options{Redis: rdb, Timing: closure.DefaultTiming, Log: log})
		if err := srv.Start(mux); err != nil {
			t.Fatal(err)
		}
		client := asynq.NewClientFromRedisClient(rdb)
		for name, task := range newer {
			if _, err := client.EnqueueContext(t.Context(), task, asynq.TaskID(name), asynq.Queue("account_closure"), asynq.MaxRetry(tasks.MaxRetry)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(4 * time.Minute)
		if n := int(given.Load()); n < 3*len(newer) || n > 16*len(newer) {
			t.Errorf("%d tasks were given back %d times in 4 minutes", len(newer), n)
		}
		srv.Shutdown()
		for name := range newer {
			info, err := asynq.NewInspectorFromRedisClient(rdb).GetTaskInfo("account_closure", name)
			if err != nil || info.State != asynq.TaskStateRetry && info.State != asynq.TaskStatePending || info.Retried != 0 { // it may have been due again at the end
				t.Errorf("%s: %+v, %v", name, info, err)
			}
		}
		_ = rdb.Close()
		m.Close()
	})
}

// newerRow is a ledger whose one closure is in a phase of a newer version.
type newerRow struct{ handlers.Ledger }

func (newerRow) Load(context.Context, string) (closure.Closure, []closure.Intent, error) {
	return closure.Closure{ID: "c", Version: 1, Token: "t", Phase: "wiring", State: closure.Running}, nil, nil
}

// heard is a hook of the log.
type heard func(*logrus.Entry)

func (heard) Levels() []logrus.Level { return logrus.AllLevels }

func (h heard) Fire(e *logrus.Entry) error {
	h(e)
	return nil
}

func TestTwentyVisitsRunAtOnceUnlessItIsToldOtherwise(t *testing.T) {
	t.Parallel()
	for told, want := range map[int]int{0: 20, 3: 3} {
		synctest.Test(t, func(t *testing.T) {
			m := miniredis.NewMiniRedis()
			m.ClockTTL(true)
			rdb := dial(m)
			q := tasks.NewQueue(rdb, closure.Clock{}, closure.DefaultTiming.Task)
			for n := range 25 {
				c := closure.Closure{ID: fmt.Sprint(n), Version: 1, Token: "t", Priority: closure.Bulk, Phase: closure.Closing, DueAt: time.Now()}
				if err := q.Schedule(t.Context(), c); err != nil {
					t.Fatal(err)
				}
			}
			var begun atomic.Int32
			release := make(chan struct{})
			srv := worker.Server(worker.Options{Redis: rdb, Timing: closure.DefaultTiming, Concurrency: told, Log: silent()})
			if err := srv.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error {
				begun.Add(1)
				<-release
				return nil
			})); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Second)
			if got := int(begun.Load()); got != want {
				t.Errorf("told %d, it runs %d visits at once, want %d", told, got, want)
			}
			close(release)
			srv.Shutdown()
			_ = rdb.Close()
			m.Close()
		})
	}
}

// books is a ledger in which nothing is ever overdue or owed. It says when it was asked.
type books struct {
	handlers.Ledger // nothing else is asked of it
	err             error
	asked           func()
	load            func(context.Context) error // what a visit's reading of its row comes to; nil: there is no such row
}

func (b *books) Load(ctx context.Context, _ string) (closure.Closure, []closure.Intent, error) {
	err := ledger.ErrNotFound
	if b.load != nil {
		err = errors.Join(err, b.load(ctx))
	}
	return closure.Closure{}, nil, err
}

func (b *books) PutOff(context.Context, time.Time, time.Time, int) ([]closure.Closure, error) {
	return nil, nil
}

func (b *books) Released(context.Context, time.Time, int) ([]closure.Closure, error) { return nil, nil }

func (b *books) Overdue(context.Context, time.Time, closure.Closure, int) ([]closure.Closure, error) {
	if b.asked != nil {
		b.asked()
	}
	return nil, b.err
}

func (b *books) NextNotice(context.Context, *ledger.Notice, time.Duration) (ledger.Notice, closure.Closure, []closure.Intent, error) {
	return ledger.Notice{}, closure.Closure{}, nil, ledger.ErrNotFound
}

func TestAWorkerSweepsAtOnceAndThenAboutEverySoOften(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]error{"a ledger that answers": nil, "a ledger that does not": errors.New("no route to host")} {
		synctest.Test(t, func(t *testing.T) {
			m := miniredis.NewMiniRedis()
			m.ClockTTL(true)
			rdb := dial(m)
			worker.RepairAcks(rdb)
			started := time.Now()
			var mu sync.Mutex
			var at []time.Duration
			b := &books{err: fault, asked: func() {
				mu.Lock()
				defer mu.Unlock()
				at = append(at, time.Since(started))
			}}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error)
			go func() {
				ended <- worker.Run(ctx, worker.Options{
					Redis: rdb, Runner: &handlers.Runner{Ledger: b, Timing: closure.ShortTiming, Log: silent()}, Timing: closure.ShortTiming, Log: silent(),
				})
			}()
			const sweeps = 12
			time.Sleep(sweeps * closure.ShortTiming.Sweep)
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if len(at) < sweeps*4/5 || len(at) > sweeps*4/3+1 || at[0] > time.Second {
				t.Errorf("%s: swept at %s", name, at)
			}
			alike := true
			for n := range at[1:] {
				gap := at[n+1] - at[n]
				if gap < closure.ShortTiming.Sweep*3/4 || gap > closure.ShortTiming.Sweep*5/4 {
					t.Errorf("%s: %s between two sweeps", name, gap)
				}
				alike = alike && gap == at[1]-at[0]
			}
			if alike {
				t.Errorf("%s: all workers sweep in step: %s", name, at)
			}
			_ = rdb.Close()
			m.Close()
		})
	}
}
