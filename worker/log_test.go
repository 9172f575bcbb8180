package worker_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/hibiken/asynq"
	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"

	"closeout/closure"
	"closeout/tasks"
	"closeout/worker"
)

// A closure that stops is no fault of the worker's, and its log has none; a task that is given up otherwise is one.
func TestTheLogTellsAStoppedClosureFromATaskGivenUp(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		err  error
		want string // in the one line at warning level or above; "": there is none
	}{
		"a closure that stopped": {fmt.Errorf("failed: bank_gone: %w", asynq.SkipRetry), ""},
		"retries used up":        {errors.New("broken"), "used up"},
	} {
		synctest.Test(t, func(t *testing.T) {
			m := miniredis.NewMiniRedis()
			m.ClockTTL(true)
			rdb := dial(m)
			worker.RepairAcks(rdb)
			log, lines := test.NewNullLogger()
			srv := worker.Server(worker.Options{Redis: rdb, Timing: closure.ShortTiming, Log: log})
			if err := srv.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error { return tt.err })); err != nil {
				t.Fatal(err)
			}
			c := closure.Closure{ID: "c", Version: 1, Token: "t", Priority: closure.Urgent, Phase: closure.Closing, State: closure.Running, DueAt: time.Now()}
			if err := tasks.NewQueue(rdb, closure.Clock{}, closure.ShortTiming.Task).Schedule(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			inspector := asynq.NewInspectorFromRedisClient(rdb)
			archived := func() bool {
				info, err := inspector.GetTaskInfo(tasks.QueueFor(c.Priority), tasks.PayloadOf(c).ID())
				return err == nil && info.State == asynq.TaskStateArchived
			}
			for began := time.Now(); !archived(); time.Sleep(time.Second) {
				if time.Since(began) > time.Hour {
					t.Fatalf("%s: not archived after an hour", name)
				}
			}
			srv.Shutdown()
			var got []string
			for _, e := range lines.AllEntries() {
				if e.Level <= logrus.WarnLevel {
					got = append(got, e.Message+" "+fmt.Sprint(e.Data))
				}
			}
			if tt.want == "" && len(got) > 0 || tt.want != "" && (len(got) != 1 || !strings.Contains(got[0], tt.want) || !strings.Contains(got[0], "broken")) {
				t.Errorf("%s: the log has %q, want %q", name, got, tt.want)
			}
			_ = rdb.Close()
			m.Close()
		})
	}
}
