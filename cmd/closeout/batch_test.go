package main

import (
	"flag"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"closeout/alpaca/sim"
	"closeout/ledger"
	"closeout/server"
)

var batchSize = flag.Int("batch", 0, "accounts of TestRealBatch, with a day of 120 s; 0: the short form, 200 and a day of 4 s")

// A batch of cash-only accounts on real servers and processes: a dry run, then the start, then each closure to its end. In the
// middle of the start a worker is killed and Redis is emptied: nothing is lost, and each account is paid out once.
func TestRealBatch(t *testing.T) {
	n, day := 200, 4*time.Second
	if *batchSize > 0 {
		n, day = *batchSize, 2*time.Minute
	}
	w := newWorld(t, day)
	w.env = append(w.env, "CLOSEOUT_SETTLEMENT_POLL=12h", "CLOSEOUT_WITHDRAWAL_POLL=12h", "CLOSEOUT_LOG_LEVEL=info")
	w.serve()
	first, _ := w.worker()
	w.worker()
	rows := w.rowsOf(n)
	base := w.api + "/api/account-closure/batch"
	body := map[string]any{"accounts": rows, "dry_run": true, "reason": "the firm ends"}
	began := time.Now()
	took := func() time.Duration { return time.Since(began).Round(100 * time.Millisecond) }
	post := func(what string) string {
		var a server.Accepted
		if status := w.ask("POST", base, body, &a); status != http.StatusAccepted {
			t.Fatalf("the %s answered %d", what, status)
		}
		t.Logf("%s of %d accounts: accepted after %s", what, n, took())
		return a.BatchID
	}
	progress := func(id string) (p server.BatchProgress) {
		w.ask("GET", base+"/"+id+"?limit=1", nil, &p)
		return p
	}

	dry := post("dry run")
	var p server.BatchProgress
	w.until("the end of the dry run", func() bool { p = progress(dry); return p.Finished })
	t.Logf("dry run done after %s: %s", took(), p.Why)
	if p.Rows.Ready != n || p.Closures.Total != 0 {
		t.Fatalf("the dry run came to %+v", p)
	}

	body = map[string]any{"accounts": rows, "confirm_liquidation": true, "confirm_irreversible": true, "reason": "the firm ends"}
	began = time.Now()
	id := post("batch")
	w.until("some are checked", func() bool { p = progress(id); return p.Rows.Waiting < n })
	first.signal(syscall.SIGKILL)
	w.flush()
	w.worker()
	w.until("some are started", func() bool { p = progress(id); return p.Rows.Started > 0 })
	t.Logf("checked after %s, with a worker killed and Redis emptied at %d of %d", took(), n-p.Rows.Waiting, n)
	w.flush()
	w.within(time.Hour, "all are started", func() bool { p = progress(id); return p.State == ledger.BatchDone })
	t.Logf("all started after %s", took())
	if p.Rows.Started != n || p.Closures.Total != n {
		t.Fatalf("the batch came to %+v", p)
	}
	limit := time.Now().Add(25 * day)
	for said := time.Now(); !p.Finished; p = progress(id) {
		if time.Since(said) > day/2 {
			said = time.Now()
			t.Logf("after %s: %v, %v", took(), p.Closures.ByState, p.Closures.ByPhase)
		}
		if time.Now().After(limit) {
			t.Fatalf("not finished: %+v", p.Closures)
		}
		<-time.After(500 * time.Millisecond)
	}
	t.Logf("all closed after %s, that is %.1f days of %s", took(), float64(time.Since(began))/float64(day), day)
	if p.Closures.ByState["closed"] != n {
		t.Errorf("they ended %v", p.Closures.ByState)
	}
	var journal struct {
		Entries []sim.Entry `json:"entries"`
	}
	w.ask("GET", w.broker+"/sim/journal", nil, &journal)
	paid := map[string][]string{}
	for _, e := range journal.Entries {
		if e.Kind == "transfer" {
			paid[e.Account] = append(paid[e.Account], e.Amount)
		}
	}
	for i, r := range rows {
		if got := paid[r.AccountID]; len(got) != 1 || got[0] != cashOf(i) {
			t.Errorf("account %d was paid %v, want %s once", i, got, cashOf(i))
		}
	}
}

func cashOf(i int) string { return fmt.Sprintf("%d.%02d", 100+i, i%100) }

// flush empties Redis.
func (w *world) flush() {
	w.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: w.redis.Addr})
	defer func() { _ = rdb.Close() }()
	if err := rdb.FlushAll(w.Context()).Err(); err != nil {
		w.Fatal(err)
	}
}

// rowsOf makes accounts of cash alone, and gives them as a batch has them.
func (w *world) rowsOf(n int) []server.BatchAccountBody {
	w.Helper()
	specs := make([]sim.Spec, n)
	for i := range specs {
		specs[i] = sim.Spec{ID: fmt.Sprintf("ba7c4000-0000-4000-8000-%012d", i), Cash: dollars(cashOf(i))}
	}
	w.ask("POST", w.broker+"/sim/accounts", map[string]any{"accounts": specs}, nil)
	rows := make([]server.BatchAccountBody, n)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				var truth sim.Truth
				if err := call(w.Context(), "GET", w.broker+"/sim/accounts/"+specs[i].ID, nil, &truth); err != nil {
					w.Error(err)
					return
				}
				rows[i] = server.BatchAccountBody{
					AccountID: specs[i].ID, RelationshipID: truth.ACHRelationships[0].ID, UserID: fmt.Sprint(i), Email: fmt.Sprintf("customer-%d@example.test", i),
				}
			}
		})
	}
	wg.Wait()
	if w.Failed() {
		w.FailNow()
	}
	return rows
}
