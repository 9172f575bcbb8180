package server_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"closeout/alpaca/sim"
	"closeout/closure"
	"closeout/internal/servers"
	"closeout/ledger"
	"closeout/readiness"
	"closeout/server"
	"closeout/tasks"
)

// onPostgres opens a ledger on an empty database.
func onPostgres(tb testing.TB, url string) *ledger.Ledger {
	tb.Helper()
	l, err := ledger.Open(tb.Context(), ledger.Options{URL: url, Environment: closure.Sandbox, Policy: closure.DefaultPolicy(closure.Sandbox)})
	must(tb, err)
	tb.Cleanup(func() { _ = l.Close() })
	return l
}

// TestRealHundredInitiatesAreOneClosure: over two servers on one Postgres, as TestHundredInitiatesAreOneClosure and
// TestAHundredWithOneKey do it on SQLite.
func TestRealHundredInitiatesAreOneClosure(t *testing.T) {
	pg := servers.StartPostgres(t)
	for name, header := range map[string][]string{"without a key": nil, "with one key": {"Idempotency-Key", "k"}} {
		t.Run(name, func(t *testing.T) {
			url := pg.Database(t)
			one := newBench(t, func(o *server.Options) { o.Ledger = onPostgres(t, url) })
			var other server.Options
			two := newBench(t, func(o *server.Options) { o.Ledger = onPostgres(t, url); other = *o })
			id, bank := one.account(sim.Spec{})
			other.Readiness = one.readiness // one broker
			var err error
			two.handler, err = server.New(other)
			must(t, err)

			var wg sync.WaitGroup
			var mu sync.Mutex
			statuses, texts, jobs, fresh := map[int]int{}, map[string]bool{}, map[string]bool{}, 0
			for n := range 100 {
				wg.Go(func() {
					a := []*bench{one, two}[n%2].do("POST", "/api/account-closure/initiate/"+id, wish(bank), header...)
					mu.Lock()
					defer mu.Unlock()
					statuses[a.status]++
					if a.status == http.StatusConflict {
						a.problem(409, "idempotency_key_in_flight")
						return
					}
					var got server.Initiated
					a.into(&got)
					texts[a.text], jobs[got.JobID] = true, true
					if a.header.Get("Idempotent-Replayed") == "" {
						fresh++
					}
				})
			}
			wg.Wait()
			visits := len(one.scheduled) + len(two.scheduled)
			switch {
			case len(jobs) != 1 || visits != 1:
				t.Errorf("statuses %v, jobs %v, %d visits", statuses, jobs, visits)
			case header == nil && (statuses[202] != 1 || statuses[200] != 99):
				t.Errorf("statuses %v", statuses)
			case header != nil && (statuses[202]+statuses[409] != 100 || len(texts) != 1 || fresh != 1):
				t.Errorf("statuses %v, %d answers, %d of them not replayed", statuses, len(texts), fresh)
			}
			t.Logf("statuses %v", statuses)
		})
	}
}

// judged answers for the broker at once with what it said of one account.
type judged struct {
	server.Readiness
	report readiness.Report
}

func (r *judged) Check(_ context.Context, account, _ string) (readiness.Report, error) {
	out := r.report
	out.AccountID = account
	return out, nil
}

// BenchmarkRealInitiates is how many closures a server accepts in a second, over HTTP, with its key in the ledger, its limit
// and its queue in a real Redis and a Postgres that writes through to the disk; the broker answers at once. Beside it, in
// turns, so many single-row commits as the same connections can make: what the database gives at most.
func BenchmarkRealInitiates(b *testing.B) {
	for name, keyed := range map[string]bool{"plain": false, "keyed": true} {
		b.Run(name, func(b *testing.B) { benchmarkInitiates(b, keyed) })
	}
}

func benchmarkInitiates(b *testing.B, keyed bool) {
	b.Helper()
	const (
		callers = 32
		turn    = 400 // initiates, and then commits
	)
	pg := servers.StartPostgres(b, "fsync=on", "full_page_writes=on")
	url := pg.Database(b)
	l := onPostgres(b, url)
	db := pg.Open(b, url)
	db.SetMaxOpenConns(16) // as the ledger's
	db.SetMaxIdleConns(16)
	_, err := db.ExecContext(b.Context(), "CREATE TABLE raw (id TEXT PRIMARY KEY, body TEXT NOT NULL)")
	must(b, err)
	rdb := redis.NewClient(&redis.Options{Addr: servers.StartRedis(b).Addr, ContextTimeoutEnabled: true})
	b.Cleanup(func() { _ = rdb.Close() })

	bench := newBench(b, func(o *server.Options) {
		o.Ledger = l
		o.Schedule = tasks.NewQueue(rdb, o.Clock, closure.DefaultTiming.Task).Schedule
		o.Limiter = server.NewLimiter(rdb, "bench", 1_000_000, o.Log)
		o.Log = nil
	})
	id, bank := bench.account(sim.Spec{})
	report, err := bench.readiness.Check(b.Context(), id, bank)
	must(b, err)
	secret, k, err := server.MakeKey(l.Environment(), "bench", []server.Scope{server.ScopeWrite}, "bench")
	must(b, err)
	_, err = l.CreateKey(b.Context(), k)
	must(b, err)
	bench.options.Readiness = &judged{bench.readiness, report}
	handler, err := server.New(bench.options)
	must(b, err)
	srv := httptest.NewServer(handler)
	b.Cleanup(srv.Close)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: callers}}
	b.Cleanup(client.CloseIdleConnections)

	initiate := func() error {
		body := []byte(wish(bank))
		req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, srv.URL+"/api/account-closure/initiate/"+uuid.NewString(), bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("X-API-Key", secret)
		if keyed {
			req.Header.Set("Idempotency-Key", uuid.NewString())
		}
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		defer func() { _ = res.Body.Close() }()
		text, err := io.ReadAll(res.Body)
		if err == nil && res.StatusCode != http.StatusAccepted {
			err = fmt.Errorf("%d %s", res.StatusCode, text)
		}
		return err
	}
	commit := func() error {
		_, err := db.ExecContext(b.Context(), "INSERT INTO raw (id, body) VALUES ($1, $2)", uuid.NewString(), wish(bank))
		return err
	}
	rounds := func(n int, do func() error) time.Duration {
		var left atomic.Int64
		left.Store(int64(n))
		var wg sync.WaitGroup
		started := time.Now()
		for range callers {
			wg.Go(func() {
				for left.Add(-1) >= 0 {
					if err := do(); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		return time.Since(started)
	}
	rounds(callers, initiate) // connections are made, statements prepared
	rounds(callers, commit)
	var initiating, committing time.Duration
	b.ResetTimer()
	for done := 0; done < b.N; done += turn {
		n := min(turn, b.N-done)
		initiating += rounds(n, initiate)
		b.StopTimer()
		committing += rounds(n, commit)
		b.StartTimer()
	}
	per := func(d time.Duration) float64 { return float64(b.N) / d.Seconds() }
	b.ReportMetric(per(initiating), "initiates/s")
	b.ReportMetric(per(committing), "commits/s")
	b.ReportMetric(committing.Seconds()/initiating.Seconds(), "of_commits")
}
