package tasks_test

import (
	"context"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"

	"closeout/closure"
	"closeout/tasks"
)

// A worker is known by Asynq's heartbeat, with the closures in its hands, and by what it tells of itself while it is alive.
func TestWorkersAreKnownByTheirHeartbeatAndWhatTheyTell(t *testing.T) {
	t.Parallel()
	inBubble(t, closure.Clock{}, func(r *rig) {
		ctx := context.Background()
		if got, err := r.q.Workers(ctx); err != nil || got != nil {
			t.Fatalf("without any: %+v, %v", got, err)
		}
		hold := make(chan struct{})
		srv := asynq.NewServerFromRedisClient(r.rdb, asynq.Config{Concurrency: 3, Queues: tasks.Queues, LogLevel: asynq.FatalLevel})
		if err := srv.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error { <-hold; return nil })); err != nil {
			t.Fatal(err)
		}
		c := closure.Closure{ID: "c1", Phase: closure.Withdrawal, Version: 4, Token: "t", DueAt: time.Now(), Priority: closure.Normal}
		if err := r.q.Schedule(ctx, c); err != nil {
			t.Fatal(err)
		}
		for _, b := range []tasks.Bite{
			{BitePayload: tasks.BitePayload{BatchID: "b1", Version: 1}, Type: tasks.BatchChecks, DueAt: time.Now()},
			{BitePayload: tasks.BitePayload{RedriveID: "r1", Version: 2}, Type: tasks.Redrives, DueAt: time.Now()},
		} {
			if err := r.q.ScheduleBite(ctx, b); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(12 * time.Second)
		synctest.Wait()
		host, _ := os.Hostname()
		report := tasks.Report{
			Version: "1.2.3", At: time.Now().UTC().Round(0), Sweep: tasks.Sweep{At: time.Now().UTC().Round(0), Took: time.Second, Overdue: 3},
			Broker: tasks.Broker{Calls: map[string]uint64{"looks": 7}, Held: map[string]uint64{}, Limit: 1000, Left: 9},
		}
		if err := r.q.Tell(ctx, host, os.Getpid(), report, tasks.Lateness{}); err != nil {
			t.Fatal(err)
		}
		got, err := r.q.Workers(ctx)
		if err != nil || len(got) != 1 {
			t.Fatalf("%+v, %v", got, err)
		}
		w := got[0]
		if w.Host != host || w.PID != os.Getpid() || w.Concurrency != 3 || w.Status != "active" || len(w.Tasks) != 3 {
			t.Errorf("%+v", w)
		}
		inHand := map[string]tasks.Current{}
		for _, c := range w.Tasks {
			c.Started = time.Time{}
			inHand[c.Type] = c
		}
		want := map[string]tasks.Current{
			"closure:withdrawal": {ID: "c1/4.t", Type: "closure:withdrawal", Queue: "account_closure", ClosureID: "c1"},
			tasks.BatchChecks:    {ID: "b1/1", Type: tasks.BatchChecks, Queue: "account_closure_bulk", BatchID: "b1"},
			tasks.Redrives:       {ID: "r1/2", Type: tasks.Redrives, Queue: "account_closure_bulk", RedriveID: "r1"},
		}
		if diff := cmp.Diff(want, inHand); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(&report, w.Report); diff != "" {
			t.Error(diff)
		}
		time.Sleep(2 * time.Minute) // it tells nothing more
		if got, err := r.q.Workers(ctx); err != nil || len(got) != 1 || got[0].Report != nil {
			t.Errorf("a report of long ago: %+v, %v", got, err)
		}
		close(hold)
		srv.Shutdown()
		if got, err := r.q.Workers(ctx); err != nil || len(got) != 0 {
			t.Errorf("after its end: %+v, %v", got, err)
		}
	})
}

// What all workers count adds up, by the minute and by the hour, and is forgotten after a day.
func TestVisitsOfAllWorkersAddUp(t *testing.T) {
	t.Parallel()
	inBubble(t, closure.Clock{}, func(r *rig) {
		ctx := context.Background()
		tell := func(host string, late ...time.Duration) {
			t.Helper()
			var l tasks.Lateness
			for _, d := range late {
				l.Count(d)
			}
			if err := r.q.Tell(ctx, host, 1, tasks.Report{At: time.Now()}, l); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Until(time.Now().Truncate(time.Hour).Add(time.Hour)))
		tell("a", 0, time.Second)
		tell("b", time.Minute)
		time.Sleep(time.Minute)
		tell("a", time.Hour)
		minutes, err := r.q.Visits(ctx, time.Minute, 3)
		if err != nil || len(minutes) != 3 {
			t.Fatalf("%v, %v", minutes, err)
		}
		var counts []int64
		for _, m := range minutes {
			counts = append(counts, m.Visits())
		}
		if diff := cmp.Diff([]int64{0, 3, 1}, counts); diff != "" || !minutes[2].From.Equal(time.Now().Truncate(time.Minute)) {
			t.Errorf("from %s: %s", minutes[2].From, diff)
		}
		for percent, want := range map[int64]time.Duration{1: 250 * time.Millisecond, 34: time.Second, 95: 64 * time.Second} {
			if got, beyond, ok := minutes[1].Within(percent); got != want || beyond || !ok {
				t.Errorf("%d of 100 within %s, want %s", percent, got, want)
			}
		}
		hours, err := r.q.Visits(ctx, time.Hour, 24)
		if err != nil || hours[23].Visits() != 4 || hours[22].Visits() != 0 {
			t.Errorf("%+v, %v", hours, err)
		}
		time.Sleep(27 * time.Hour)
		if keys, err := r.rdb.Keys(ctx, "closeout:*").Result(); err != nil || len(keys) != 0 {
			t.Errorf("kept for ever: %v, %v", keys, err)
		}
	})
}

func TestLatenessIsToldApartByItsDoublings(t *testing.T) {
	t.Parallel()
	for late, want := range map[time.Duration]time.Duration{
		-time.Second: 250 * time.Millisecond, 0: 250 * time.Millisecond, 250 * time.Millisecond: 250 * time.Millisecond,
		250*time.Millisecond + 1: 500 * time.Millisecond, 500 * time.Millisecond: 500 * time.Millisecond, 501 * time.Millisecond: time.Second,
		time.Minute: 64 * time.Second, 65 * time.Second: 128 * time.Second,
	} {
		var l tasks.Lateness
		l.Count(late)
		if got, beyond, ok := l.Within(50); got != want || beyond || !ok {
			t.Errorf("%s counts as within %s (%t, %t), want %s", late, got, beyond, ok, want)
		}
	}
	var l tasks.Lateness
	if _, _, ok := l.Within(95); ok {
		t.Error("of no visit something is known")
	}
	l.Count(1000 * time.Hour)
	if _, beyond, ok := l.Within(95); !beyond || !ok {
		t.Error("the last step has an end")
	}
}

func TestWorkersWithoutRedis(t *testing.T) {
	t.Parallel()
	inBubble(t, closure.Clock{}, func(r *rig) {
		r.mini.SetError("LOADING Redis is loading the dataset in memory")
		defer r.mini.SetError("")
		if _, err := r.q.Workers(context.Background()); err == nil {
			t.Error("the workers were listed")
		}
		if _, err := r.q.Visits(context.Background(), time.Minute, 3); err == nil {
			t.Error("the visits were counted")
		}
		if err := r.q.Tell(context.Background(), "a", 1, tasks.Report{At: time.Now()}, tasks.Lateness{1}); err == nil {
			t.Error("it was told")
		}
	})
}
