package metrics_test

import (
	"context"
	"database/sql"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/sirupsen/logrus/hooks/test"

	"closeout/budget"
	"closeout/calendar"
	"closeout/closure"
	"closeout/ledger"
	"closeout/metrics"
	"closeout/tasks"
)

// books is a ledger that answers when it likes.
type books struct {
	board func() error
	asked int
}

func (b *books) Board(context.Context, ledger.Cutoffs, time.Time) (ledger.Board, error) {
	b.asked++
	return ledger.Board{}, b.board()
}

func (*books) Asking(context.Context, ...closure.Reason) ([]ledger.Group, error) {
	return nil, nil
}
func (*books) Figures(context.Context) (ledger.Figures, error) { return ledger.Figures{}, nil }
func (*books) Hold(context.Context) (ledger.Hold, error)       { return ledger.Hold{}, nil }
func (*books) Pool() sql.DBStats                               { return sql.DBStats{} }
func (*books) OpenIntents(context.Context, time.Time) ([]ledger.OpenIntents, error) {
	return nil, nil
}

// line is a queue that answers when it likes.
type line struct{ err error }

func (l *line) Sizes(context.Context) ([]tasks.Size, error) {
	return []tasks.Size{{Name: "account_closure", Pending: 2, Scheduled: 7, Latency: time.Second, Paused: true, Processed: 5, Failed: 1}}, l.err
}

func (l *line) Workers(context.Context) ([]tasks.Worker, error) {
	return []tasks.Worker{
		{Report: &tasks.Report{Version: "1.2.3"}, Tasks: []tasks.Current{{}, {}}}, {Report: &tasks.Report{Version: "1.2.2"}}, {},
	}, l.err
}

func TestWhatCanNotBeReadIsMissingAndCountedAndTheRestIsShown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		log, _ := test.NewNullLogger()
		l, q := &books{board: func() error { return nil }}, &line{}
		rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1, Dialer: func(context.Context, string, string) (net.Conn, error) {
			return nil, errors.New("connection refused")
		}})
		defer func() { _ = rdb.Close() }()
		m := metrics.New("1.2.3", closure.Sandbox)
		m.Watch(metrics.Sources{
			Ledger: l, Queue: q, Redis: rdb, Budget: func() budget.State { return budget.State{PerMinute: 1000} }, Calendar: calendar.Rules,
			Policy: closure.DefaultPolicy(closure.Sandbox), Log: log,
		})
		found := scrape(t, m)
		wants(t, found, map[string]float64{
			"closeout_scrape_errors_total{source=redis}":                        1, // of this very scrape
			"closeout_scrape_errors_total{source=ledger}":                       0,
			"closeout_closures{phase=closing,state=running}":                    0,
			"closeout_workers{version=1.2.3}":                                   1,
			"closeout_workers{version=1.2.2}":                                   1,
			"closeout_workers{version=unknown}":                                 1,
			"closeout_worker_tasks":                                             2,
			"asynq_tasks_enqueued_total{queue=account_closure,state=scheduled}": 7,
			"asynq_queue_size{queue=account_closure}":                           9,
			"asynq_queue_latency_seconds{queue=account_closure}":                1,
			"asynq_queue_paused_total{queue=account_closure}":                   1,
			"asynq_tasks_processed_total{queue=account_closure}":                5,
		})
		if found["closeout_redis_evicts"] != nil || found["closeout_broker_quota_left"] != nil || found["closeout_ledger_broken_chains"] != nil {
			t.Error("what nobody knows is shown")
		}

		for range 10 { // within the life of a reading
			scrape(t, m)
			time.Sleep(time.Second)
		}
		if l.asked != 1 {
			t.Errorf("the ledger was asked %d times in eleven scrapes of ten seconds", l.asked)
		}

		hung := make(chan struct{})
		defer close(hung)
		l.board, q.err = func() error { <-hung; return errors.New("too late") }, errors.New("connection refused")
		time.Sleep(time.Minute)
		began := time.Now()
		found = scrape(t, m)
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("with a ledger that hangs it took %s", took)
		}
		for _, gone := range []string{"closeout_closures", "closeout_held", "closeout_due_visits", "asynq_queue_size", "closeout_workers"} {
			if found[gone] != nil {
				t.Errorf("%s is shown though it could not be read: %v", gone, found[gone])
			}
		}
		wants(t, found, map[string]float64{
			"closeout_scrape_errors_total{source=ledger}":  1,
			"closeout_scrape_errors_total{source=queues}":  1,
			"closeout_scrape_errors_total{source=workers}": 1,
			"closeout_broker_budget_per_minute":            1000,
			"closeout_crashes_total":                       0,
		})
	})
}

// A real ledger that was closed, and a Redis that is gone.
func TestWithoutLedgerAndRedisTheRestIsShown(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.m.Watch(b.src)
	if err := b.ledger.Close(); err != nil {
		t.Fatal(err)
	}
	b.mini.Close()
	began := time.Now()
	found := b.scrape()
	t.Logf("it took %s", time.Since(began))
	for _, source := range []string{"ledger", "queues", "workers", "redis"} {
		wants(t, found, map[string]float64{"closeout_scrape_errors_total{source=" + source + "}": 1})
	}
	wants(t, found, map[string]float64{"closeout_broker_budget_per_minute": 1000, "closeout_broker_calls_total{class=look}": 5, "closeout_broker_held_total{why=busy}": 4})
}

// Who asks too often is told so, and costs nothing.
func TestScrapesAreBounded(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	hung, begun := make(chan struct{}), make(chan struct{}, 100)
	b.src.Budget = func() budget.State { begun <- struct{}{}; <-hung; return budget.State{} }
	b.m.Watch(b.src)
	done := make(chan int)
	const more = 20
	for range more {
		go func() {
			w := httptest.NewRecorder()
			b.m.ServeHTTP(w, httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/metrics", strings.NewReader("")))
			done <- w.Code
		}()
	}
	codes := map[int]int{}
	for range more - 8 {
		codes[<-done]++
	}
	close(hung)
	for range 8 {
		codes[<-done]++
	}
	if codes[http.StatusServiceUnavailable] != more-8 || codes[http.StatusOK] != 8 {
		t.Errorf("%v", codes)
	}
}
