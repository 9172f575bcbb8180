package worker_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"closeout/tasks"
	"closeout/worker"
)

// A worker tells its version, its last sweep and how late visits began, also when it is told to stop; what could not be told of
// the visits is told later, and once.
func TestAWorkerTellsOfItself(t *testing.T) {
	t.Parallel()
	s := newShop(t, &books{err: errors.New("the ledger is away")})
	var mu sync.Mutex
	var told []tasks.Report
	var visits int64
	refuse := true
	beat := &worker.Beat{
		Version: "1.2.3", Broker: func() tasks.Broker { return tasks.Broker{PerMinute: 1000} },
		Tell: func(_ context.Context, host string, pid int, r tasks.Report, l tasks.Lateness) error {
			mu.Lock()
			defer mu.Unlock()
			if name, _ := os.Hostname(); host != name || pid != os.Getpid() {
				t.Errorf("it calls itself %s:%d", host, pid)
			}
			if refuse {
				refuse = false
				return errors.New("dial tcp: refused")
			}
			told = append(told, r)
			visits += l.Visits()
			return nil
		},
	}
	s.opts.Beat = beat
	beat.Visited(time.Second)
	beat.Visited(time.Minute)
	stop, ended := s.run()
	s.shows(http.StatusOK, map[string]string{"asynq": "ok"})
	beat.Visited(0)
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(told) == 0 || visits != 3 {
		t.Fatalf("told %d times, of %d visits", len(told), visits)
	}
	last := told[len(told)-1]
	if last.Version != "1.2.3" || last.Broker.PerMinute != 1000 || time.Since(last.At) > time.Minute {
		t.Errorf("%+v", last)
	}
	if sweep := last.Sweep; sweep.At.IsZero() || !sweep.Failed {
		t.Errorf("of its sweep: %+v", sweep)
	}
}
