package worker_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"closeout/closure"
	"closeout/internal/servers"
	"closeout/tasks"
	"closeout/worker"
)

// TestRealClusterCarriesTheQueue: each primary must be fit, an acknowledgement that is lost on its way into the cluster is made up
// for, and what a step of one queue, which is one slot, costs its master is measured: that is why no queue is sharded.
func TestRealClusterCarriesTheQueue(t *testing.T) {
	t.Parallel()
	cluster := servers.StartRedisCluster(t)
	var addrs []string
	for _, m := range cluster.Masters {
		addrs = append(addrs, m.Addr)
	}
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs})
	t.Cleanup(func() { _ = rdb.Close() })
	worker.RepairAcks(rdb)
	if warnings, err := worker.Fit(t.Context(), rdb); err != nil || len(warnings) > 0 {
		t.Errorf("a good cluster: %v, %v", warnings, err)
	}

	const steps = 2000
	q := tasks.NewQueue(rdb, closure.Clock{}, time.Minute)
	holder := redis.NewClient(&redis.Options{Addr: cluster.Holder(t, tasks.QueueFor(closure.Normal)).Addr})
	t.Cleanup(func() { _ = holder.Close() })
	used := func() (seconds float64) {
		told, err := tasks.Ask(t.Context(), holder)
		if err != nil {
			t.Fatal(err)
		}
		user, _ := strconv.ParseFloat(told[0]["used_cpu_user"], 64)
		system, _ := strconv.ParseFloat(told[0]["used_cpu_sys"], 64)
		return user + system
	}
	var unlucky string
	for n := range steps {
		c := closure.Closure{ID: fmt.Sprint("c", n), Version: 1, Token: "t", Priority: closure.Normal, Phase: closure.Liquidation, State: closure.Running}
		unlucky = tasks.PayloadOf(c).ID()
		if err := q.Schedule(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	fault := &failOnce{task: unlucky}
	rdb.AddHook(fault)
	var ran atomic.Int32
	over := make(chan struct{})
	srv := worker.Server(worker.Options{Redis: rdb, Timing: closure.DefaultTiming, Concurrency: 20, Log: silent()})
	before, began := used(), time.Now()
	if err := srv.Start(asynq.HandlerFunc(func(_ context.Context, task *asynq.Task) error {
		p, err := tasks.ParsePayload(task.Payload())
		if err == nil && p.ID() == unlucky {
			fault.armed.Store(true)
		}
		if ran.Add(1) == steps {
			close(over)
		}
		return err
	})); err != nil {
		t.Fatal(err)
	}
	select {
	case <-over:
	case <-time.After(time.Minute):
		t.Fatalf("%d of %d steps", ran.Load(), steps)
	}
	took, cost := time.Since(began), used()-before
	gone := time.NewTicker(100 * time.Millisecond)
	defer gone.Stop()
	for limit := time.After(time.Minute); ; {
		left, err := holder.Exists(t.Context(), "asynq:{"+tasks.QueueFor(closure.Normal)+"}:t:"+unlucky).Result()
		if err != nil {
			t.Fatal(err)
		}
		if left == 0 {
			break
		}
		select {
		case <-gone.C:
		case <-limit:
			t.Fatal("the task whose acknowledgement was lost is still there")
		}
	}
	srv.Shutdown()
	if ran.Load() != steps || fault.lost.Load() != 1 {
		t.Errorf("%d steps ran, want %d; %d acknowledgements were lost", ran.Load(), steps, fault.lost.Load())
	}
	t.Logf("one queue, one slot: %.0f steps a second on this machine now; a step takes %.0f µs of its master's CPU", steps/took.Seconds(), cost/steps*1e6)

	bad := redis.NewClient(&redis.Options{Addr: addrs[1]})
	t.Cleanup(func() { _ = bad.Close() })
	if err := bad.ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err(); err != nil {
		t.Fatal(err)
	}
	_, err := worker.Fit(t.Context(), rdb)
	if !errors.Is(err, worker.ErrUnfit) || !strings.Contains(err.Error(), "of the cluster "+addrs[1]) || strings.Contains(err.Error(), addrs[0]) {
		t.Errorf("one primary that evicts: %v", err)
	}
	told, err := tasks.Ask(t.Context(), rdb)
	if evicts, known := told.Evicts(); err != nil || len(told) != 3 || !evicts || !known {
		t.Errorf("%d tell, one evicts: %t, %t, %v", len(told), evicts, known, err)
	}
	cluster.Masters[2].Kill()
	if err := q.Ping(t.Context()); err == nil || !strings.Contains(err.Error(), addrs[2]) {
		t.Errorf("one primary is down, and the ping says %v", err)
	}
}
