package worker_test

import (
	"context"
	"database/sql"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/shopspring/decimal"

	"closeout/alpaca"
	"closeout/alpaca/sim"
	"closeout/calendar"
	"closeout/closure"
	"closeout/handlers"
	"closeout/internal/servers"
	"closeout/ledger"
	"closeout/mail"
	"closeout/tasks"
	"closeout/worker"
)

// site is a worker's surroundings on real servers, with the simulated broker in this process.
type site struct {
	testing.TB
	rdb    *redis.Client
	ledger *ledger.Ledger
	sim    *sim.Sim
	broker *alpaca.Client
	db     *sql.DB // a way in beside the ledger
}

func newSite(tb testing.TB) *site {
	tb.Helper()
	r, pg := servers.StartRedis(tb), servers.StartPostgres(tb)
	url := pg.Database(tb)
	opts, err := redis.ParseURL(r.URL)
	if err != nil {
		tb.Fatal(err)
	}
	s := &site{TB: tb, rdb: redis.NewClient(opts), db: pg.Open(tb, url+"&search_path=closeout")}
	tb.Cleanup(func() { _ = s.rdb.Close() })
	worker.RepairAcks(s.rdb)
	if s.sim, err = sim.Open(sim.Options{Key: "key", Secret: "secret"}); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.sim.Close() })
	if s.broker, err = alpaca.New(alpaca.Options{BaseURL: "http://broker.test", Key: "key", Secret: "secret", Transport: s.sim.Transport()}); err != nil {
		tb.Fatal(err)
	}
	if s.ledger, err = ledger.Open(tb.Context(), ledger.Options{URL: url, Environment: closure.Sandbox, Policy: closure.DefaultPolicy(closure.Sandbox)}); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.ledger.Close() })
	return s
}

// runner is what a worker with this clock runs.
func (s *site) runner(clock closure.Clock) *handlers.Runner {
	cal := calendar.Rules()
	return &handlers.Runner{
		Ledger: s.ledger, Queue: tasks.NewQueue(s.rdb, clock, closure.ShortTiming.Task), Broker: s.broker, Calendar: func() *calendar.Calendar { return cal },
		Clock: clock, Policy: closure.DefaultPolicy(closure.Sandbox), Timing: closure.ShortTiming, Log: silent(),
		Post: handlers.Letters{Broker: s.broker, Mailer: mailbox{}},
	}
}

func (s *site) serve(r *handlers.Runner) (stop func()) {
	s.Helper()
	srv := worker.Server(worker.Options{Redis: s.rdb, Timing: closure.ShortTiming, Log: silent()})
	if err := srv.Start(worker.Mux(r)); err != nil {
		s.Fatal(err)
	}
	return srv.Shutdown
}

// wait makes n closures that start at a time to come, spread over two months, and schedules them as the server does.
func (s *site) wait(n int, r *handlers.Runner) {
	s.Helper()
	soon := time.Now().Add(24 * time.Hour)
	s.each(n, func(i int) error {
		return s.open(r, fmt.Sprintf("waiting-%08d", i), soon.Add(time.Duration(i)*(60*24*time.Hour/time.Duration(n))))
	})
}

func (s *site) open(r *handlers.Runner, account string, start time.Time) error {
	c, created, err := s.ledger.Create(s.Context(), ledger.Wish{AccountID: account, RelationshipID: "bank", NotBefore: start, Actor: "test"})
	if err != nil || !created {
		return fmt.Errorf("create %s: %w, created %t", account, err, created)
	}
	return r.Queue.Schedule(s.Context(), c)
}

// each carries fn out for 0 to n-1, sixteen at a time.
func (s *site) each(n int, fn func(i int) error) {
	s.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && !s.Failed(); i = int(next.Add(1)) - 1 {
				if err := fn(i); err != nil {
					s.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if s.Failed() {
		s.FailNow()
	}
}

// number is one number from the database.
func (s *site) number(q string) int {
	s.Helper()
	var n int
	if err := s.db.QueryRowContext(s.Context(), q).Scan(&n); err != nil {
		s.Fatal(err)
	}
	return n
}

// until asks again and again, and gives up after a minute.
func (s *site) until(what string, done func() bool) {
	s.Helper()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for limit := time.Now().Add(time.Minute); !done(); <-again.C {
		if time.Now().After(limit) {
			s.Fatalf("%s: not within a minute", what)
		}
	}
}

// queued is how many tasks stand in the queues, in whatever condition.
func (s *site) queued() int {
	s.Helper()
	n := 0
	for q := range tasks.Queues {
		info, err := asynq.NewInspectorFromRedisClient(s.rdb).GetQueueInfo(q)
		if err != nil {
			continue // a queue that no task was ever in
		}
		n += info.Size
	}
	return n
}

// redisBytes is what Redis says it uses.
func (s *site) redisBytes() int {
	s.Helper()
	info, err := s.rdb.Info(s.Context(), "memory").Result()
	if err != nil {
		s.Fatal(err)
	}
	for line := range strings.Lines(info) {
		if v, ok := strings.CutPrefix(line, "used_memory:"); ok {
			n, err := strconv.Atoi(strings.TrimSpace(v))
			if err != nil {
				s.Fatal(err)
			}
			return n
		}
	}
	s.Fatal("no used_memory in INFO")
	return 0
}

func (s *site) ledgerBytes() int {
	s.Helper()
	return s.number("SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class WHERE relnamespace = 'closeout'::regnamespace AND relkind = 'r'")
}

func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc) //nolint:gosec // no machine has so much
}

// Redis is emptied under a living worker with ten thousand waiting closures, some of them due: those move again within two
// sweeps, and none is lost.
func TestRealRedisIsEmptiedUnderTenThousandWaitingClosures(t *testing.T) {
	const waiting, due = 10_000, 500
	s := newSite(t)
	r := s.runner(closure.Clock{})
	stop := s.serve(r)
	idle := runtime.NumGoroutine()
	s.wait(waiting-due, r)
	s.until("the pools come to rest", func() bool { return runtime.NumGoroutine() <= idle+20 }) // no goroutine a closure

	accounts := make([]string, due)
	for i := range accounts {
		id, err := s.sim.AddAccount(sim.Spec{Cash: decimal.NewFromInt(100)})
		if err != nil {
			t.Fatal(err)
		}
		accounts[i] = id
	}
	const moved = "SELECT count(*) FROM closures WHERE account_id NOT LIKE 'waiting-%' AND version > 1"
	s.each(due, func(i int) error { return s.open(r, accounts[i], time.Now().Add(2*time.Second)) })
	if err := s.rdb.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	flushed, before := time.Now(), s.number(moved)
	s.until("the due closures are overdue", func() bool { return time.Since(flushed) > closure.ShortTiming.Grace+3*time.Second })
	for n := range 2 {
		began := time.Now()
		swept, err := r.Sweep(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("sweep %d took %s: %+v", n+1, time.Since(began).Round(time.Millisecond), swept)
	}
	began := time.Now()
	s.until("every due closure moves", func() bool { return s.number(moved) == due })
	t.Logf("%d of %d due closures had moved before Redis was emptied; the others had moved %s after the second sweep", before, due, time.Since(began).Round(10*time.Millisecond))
	stop()

	// The rest is not due for weeks, and nobody needs it in Redis before. Two months later it is all there.
	later := s.runner(closure.ScaledClock(24*time.Hour, time.Now().Add(100*24*time.Hour), time.Now()))
	if err := s.rdb.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	for range 2 {
		if _, err := later.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	running := s.number("SELECT count(*) FROM closures WHERE state = 'running'")
	if got := s.queued(); got != running || running < waiting-due {
		t.Errorf("%d closures are running and %d stand in the queues", running, got)
	}
	t.Logf("two sweeps with %d due closures took %s", running, time.Since(began).Round(time.Millisecond))
}

// What a hundred thousand waiting closures cost while nothing is due.
func BenchmarkAHundredThousandWaitingClosures(b *testing.B) {
	const waiting = 100_000
	s := newSite(b)
	r := s.runner(closure.Clock{})
	defer s.serve(r)()
	s.wait(100, r) // so that pools and caches are there before the counting
	goroutines, memory, inRedis, inLedger := runtime.NumGoroutine(), heap(), s.redisBytes(), s.ledgerBytes()
	s.each(waiting, func(i int) error {
		return s.open(r, fmt.Sprintf("many-%08d", i), time.Now().Add(time.Duration(24*60+i)*time.Minute))
	})
	s.until("the pools come to rest", func() bool { return runtime.NumGoroutine() <= goroutines+20 })
	for b.Loop() { // a sweep that finds nothing due
		if _, err := r.Sweep(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(runtime.NumGoroutine()-goroutines), "more-goroutines")
	b.ReportMetric(float64(heap()-memory)/1024, "more-heap-KiB")
	b.ReportMetric(float64(s.redisBytes()-inRedis)/waiting, "redis-B/closure")
	b.ReportMetric(float64(s.ledgerBytes()-inLedger)/waiting, "ledger-B/closure")
}

// mailbox takes every letter and keeps none.
type mailbox struct{}

// Send implements handlers.Mailer.
func (mailbox) Send(context.Context, mail.Letter) error { return nil }
