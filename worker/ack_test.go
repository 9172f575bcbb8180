package worker_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"closeout/closure"
	"closeout/tasks"
	"closeout/worker"
)

// dial connects to a Redis inside a bubble, through a pipe. The address is a number: go-redis would look a name up, and no
// lookup may leave a bubble.
func dial(m *miniredis.Miniredis) *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr: "127.0.0.1:6379", Protocol: 2, DisableIdentity: true, ReadTimeout: -1, WriteTimeout: -1,
		Dialer: func(context.Context, string, string) (net.Conn, error) { return m.Dial() },
	})
}

var errReset = errors.New("connection reset by peer")

// failOnce fails the first script that names the task once it is armed, before Redis has it.
type failOnce struct {
	task  string
	armed atomic.Bool
	lost  atomic.Int32
}

func (*failOnce) DialHook(next redis.DialHook) redis.DialHook { return next }

func (f *failOnce) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		names := func(a any) bool {
			s, _ := a.(string)
			return strings.HasSuffix(s, ":t:"+f.task)
		}
		if strings.HasPrefix(cmd.Name(), "eval") && slices.ContainsFunc(cmd.Args(), names) && f.armed.CompareAndSwap(true, false) {
			f.lost.Add(1)
			cmd.SetErr(errReset)
			return errReset
		}
		return next(ctx, cmd)
	}
}

func (*failOnce) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// lostAck lets a visit succeed whose acknowledgement is lost once on its way to Redis, and hands over what came of it
// after a while: how often the visit ran, and whether Redis still has the task.
func lostAck(t *testing.T, repair bool, while time.Duration) (runs int, there bool) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := miniredis.NewMiniRedis()
		m.ClockTTL(true)
		rdb := dial(m)
		if repair {
			worker.RepairAcks(rdb)
		}
		c := closure.Closure{ID: "c", Version: 1, Token: "t", Priority: closure.Normal, Phase: closure.Liquidation, State: closure.Running, DueAt: time.Now()}
		id := tasks.PayloadOf(c).ID()
		fault := &failOnce{task: id}
		rdb.AddHook(fault)

		var ran atomic.Int32
		srv := worker.Server(worker.Options{Redis: rdb, Timing: closure.DefaultTiming, Log: silent()})
		if err := srv.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error {
			fault.armed.Store(ran.Add(1) == 1)
			return nil
		})); err != nil {
			t.Fatal(err)
		}
		if err := tasks.NewQueue(rdb, closure.Clock{}, closure.DefaultTiming.Task).Schedule(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		time.Sleep(while)
		synctest.Wait()
		if fault.lost.Load() != 1 {
			t.Errorf("%d acknowledgements were lost, want 1", fault.lost.Load())
		}
		runs, there = int(ran.Load()), m.Exists("asynq:{account_closure}:t:"+id)
		srv.Shutdown()
		_ = rdb.Close()
		m.Close()
	})
	return runs, there
}

// Asynq asks again every five seconds for what failed, and takes a task up anew a minute after its lease began.
func TestALostAcknowledgementIsMadeUpFor(t *testing.T) {
	t.Parallel()
	if runs, there := lostAck(t, true, 8*time.Second); runs != 1 || there {
		t.Errorf("the visit ran %d times, and its task is still in Redis: %t", runs, there)
	}
}

// This is why RepairAcks is there. Once it fails, Asynq has mended its syncer, and the repair can go.
func TestWithoutTheRepairALostAcknowledgementMakesTheVisitRunAgain(t *testing.T) {
	t.Parallel()
	if runs, _ := lostAck(t, false, 2*time.Minute+closure.DefaultTiming.Backoff*2); runs < 2 {
		t.Errorf("the visit ran %d times", runs)
	}
}

func TestAScriptWhoseContextIsOverReachesRedis(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	plain, repaired := redis.NewClient(&redis.Options{Addr: m.Addr()}), redis.NewClient(&redis.Options{Addr: m.Addr()})
	t.Cleanup(func() { _, _ = plain.Close(), repaired.Close() })
	worker.RepairAcks(repaired)
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	expired, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Hour))
	defer cancel()
	script := redis.NewScript(`return redis.call("INCR", KEYS[1])`)
	for name, ctx := range map[string]context.Context{"cancelled": canceled, "out of time": expired} {
		m.FlushAll()
		if err := script.Run(ctx, plain, []string{"k"}).Err(); !errors.Is(err, ctx.Err()) {
			t.Errorf("%s, without the repair: %v", name, err)
		}
		for _, run := range []func() *redis.Cmd{
			func() *redis.Cmd { return script.Run(ctx, repaired, []string{"k"}) },
			func() *redis.Cmd { return script.Eval(ctx, repaired, []string{"k"}) },
			func() *redis.Cmd { return script.EvalSha(ctx, repaired, []string{"k"}) },
		} {
			if err := run().Err(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if got, err := m.Get("k"); err != nil || got != "3" {
			t.Errorf("%s: %q of 3 scripts reached Redis: %v", name, got, err)
		}
		// Everything else still ends with its context, and so does what is sent together.
		if err := repaired.Set(ctx, "other", "1", 0).Err(); !errors.Is(err, ctx.Err()) || m.Exists("other") {
			t.Errorf("%s, a plain command: %v", name, err)
		}
		if _, err := repaired.Pipelined(ctx, func(p redis.Pipeliner) error { return p.Set(ctx, "other", "1", 0).Err() }); !errors.Is(err, ctx.Err()) || m.Exists("other") {
			t.Errorf("%s, a pipeline: %v", name, err)
		}
	}
	if got, err := script.Run(t.Context(), repaired, []string{"k"}).Int(); err != nil || got != 4 {
		t.Errorf("with a living context: %d, %v", got, err)
	}
}

// deadline notes the deadline with which a command goes on to Redis.
type deadline struct{ left time.Duration }

func (*deadline) DialHook(next redis.DialHook) redis.DialHook { return next }

func (d *deadline) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, _ redis.Cmder) error {
		d.left = -1
		if at, ok := ctx.Deadline(); ok {
			d.left = time.Until(at)
		}
		return ctx.Err()
	}
}

func (*deadline) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func TestTheRepairGivesAFewSecondsAndNoMore(t *testing.T) {
	t.Parallel()
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"}) // never dialled: the second hook answers
	t.Cleanup(func() { _ = rdb.Close() })
	var d deadline
	worker.RepairAcks(rdb)
	rdb.AddHook(&d)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := rdb.Eval(over, "return 1", nil).Err(); err != nil || d.left <= 0 || d.left > 5*time.Second {
		t.Errorf("it has %s left: %v", d.left, err)
	}
	if err := rdb.Eval(t.Context(), "return 1", nil).Err(); err != nil || d.left != -1 {
		t.Errorf("a living context was changed: %s left, %v", d.left, err)
	}
}

// A Redis that refuses is not asked for tasks thousands of times a second; nothing else waits.
func TestARefusedQuestionForTasksIsFollowedByAPause(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := miniredis.NewMiniRedis()
		defer m.Close()
		rdb := dial(m)
		defer func() { _ = rdb.Close() }()
		worker.RepairAcks(rdb)
		m.SetError("OOM command not allowed")
		for _, tc := range []struct {
			keys []string
			want bool
		}{
			{[]string{"asynq:{q}:pending", "asynq:{q}:paused", "asynq:{q}:active", "asynq:{q}:lease"}, true},
			{[]string{"asynq:{q}:active", "asynq:{q}:lease", "asynq:{q}:t:1"}, false},
		} {
			asked := time.Now()
			err := rdb.EvalSha(t.Context(), "sha", tc.keys).Err()
			if took := time.Since(asked); err == nil || (took > 0) != tc.want {
				t.Errorf("the script on %s took %s, %v", tc.keys[0], took, err)
			}
		}
	})
}
