package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"closeout/alpaca/sim"
	"closeout/bench"
	"closeout/internal/servers"
	"closeout/ledger"
	"closeout/server"
)

var dueAtOnce = flag.Int("due", 10_000, "TestRealBench: how many visits are due at once at the most, beside 100 and 1000")

var benchClosures = flag.Int("bench", 0, "closures of TestRealBench, on real servers, on the embedded pair and with 1, 2 and 4 workers; 0: few of them, on real servers alone")

// The bench on servers of its own, which sync to the disk as production's do. What it finds is reported; here it must only be
// whole: everything known is a number above zero.
func TestRealBench(t *testing.T) {
	n := *benchClosures
	r, pg := servers.StartRedis(t), servers.StartPostgres(t, "fsync=on", "full_page_writes=on")
	if n == 0 { // a machine that does other things tells nothing of the rest
		measure(t, 20, "CLOSEOUT_REDIS_URL="+r.URL, "CLOSEOUT_DATABASE_URL="+pg.Database(t))
		drain(t, 100, pg.Database(t), r.Addr)
		return
	}
	measure(t, n, "CLOSEOUT_REDIS_URL="+r.URL, "CLOSEOUT_DATABASE_URL="+pg.Database(t))
	measure(t, n)
	for _, due := range []int{100, 1000, *dueAtOnce} {
		drain(t, due, pg.Database(t), r.Addr)
	}
	prompt(t)
	scale(t, n/4)
}

// drain has so many visits fall due in one second under a worker of 20 hands, and says how late they are carried out.
func drain(t *testing.T, n int, database, addr string) {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: addr})
	if err := rdb.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	c := &benchCmd{Concurrency: 20}
	b, err := c.stand(t.Context(), rdb, database, false)
	if err != nil {
		t.Fatal(err)
	}
	accounts, err := b.accounts(n)
	if err != nil {
		t.Fatal(err)
	}
	due := time.Now().Add(3*time.Second + time.Duration(n)*3*time.Millisecond)
	var making errgroup.Group
	making.SetLimit(8)
	for _, a := range accounts {
		making.Go(func() error {
			made, _, err := b.parts.ledger.Create(t.Context(), ledger.Wish{AccountID: a.ID, RelationshipID: a.Bank, NotBefore: b.parts.clock.At(due), Actor: "key:bench"})
			if err != nil {
				return err
			}
			return b.parts.queue.Schedule(t.Context(), made)
		})
	}
	if err := making.Wait(); err != nil {
		t.Fatal(err)
	}
	if time.Now().After(due) {
		t.Fatalf("%d closures could not be made before they were due", n)
	}
	var mu sync.Mutex
	var late []time.Duration
	told := b.runner.Visited
	all := make(chan struct{})
	b.runner.Visited = func(d time.Duration) {
		told(d)
		mu.Lock()
		defer mu.Unlock()
		if late = append(late, d); len(late) == n { // what follows upon them stands behind them
			close(all)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.o.Service.Work(ctx) }()
	select {
	case <-all:
	case err := <-ended:
		t.Fatal(err)
	}
	took := time.Since(due)
	stop()
	if err := errors.Join(<-ended, b.close()); err != nil {
		t.Error(err)
	}
	late = late[:n]
	slices.Sort(late)
	t.Logf("%d visits due at once: p50 %s and p99 %s late, all begun after %s, %.0f a second", n, late[n/2].Round(time.Millisecond), late[n*99/100].Round(time.Millisecond), took.Round(time.Millisecond), float64(n)/took.Seconds())
}

// prompt says how soon a step that need not wait follows the one before on an idle system, and what a worker costs that has nothing
// to do.
func prompt(t *testing.T) {
	t.Helper()
	w := newWorld(t, benchDay)
	w.env = append(w.env, "CLOSEOUT_LOG_LEVEL=info", "CLOSEOUT_EVENTS=off")
	w.serve()
	p := w.start("worker", "--health-addr", "127.0.0.1:0")
	p.listens()
	idle := func() time.Duration {
		used, ok := bench.Used(p.cmd.Process.Pid)
		if !ok {
			t.Skip("no /proc")
		}
		return used
	}
	const watched = 20 * time.Second
	before, began := idle(), time.Now()
	w.until("some seconds of nothing to do", func() bool { return time.Since(began) > watched })
	t.Logf("a worker with nothing to do uses %.2f %% of a core", 100*(idle()-before).Seconds()/time.Since(began).Seconds())
	var accounts []string
	for i := range 40 {
		accounts = append(accounts, w.account(sim.Spec{Cash: dollars(cashOf(i))}))
		job := w.initiate(accounts[i])
		w.until("the first steps of "+job, func() bool { return len(w.visits(job)) >= 2 })
	}
	var gaps []time.Duration
	p.mu.Lock()
	last := map[string]line{}
	for _, l := range p.said {
		if l.Message != "visit" {
			continue
		}
		took, err := time.ParseDuration(l.Took)
		if err != nil {
			t.Fatal(err)
		}
		if was, ok := last[l.Closure]; ok && was.NextIn == "0s" {
			gaps = append(gaps, l.Time.Add(-took).Sub(was.Time))
		}
		last[l.Closure] = l
	}
	p.mu.Unlock()
	slices.Sort(gaps)
	if len(gaps) < 20 {
		t.Fatalf("%d steps followed without a wait", len(gaps))
	}
	t.Logf("a step that need not wait follows the one before after %s at p50 and %s at p99 (%d steps)", gaps[len(gaps)/2].Round(time.Millisecond), gaps[len(gaps)*99/100].Round(time.Millisecond), len(gaps))
}

func measure(t *testing.T, closures int, env ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), built(t), "bench", fmt.Sprintf("--closures=%d", closures))
	cmd.Env = env
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, said.String())
	}
	t.Logf("\n%s", out)
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	var found map[string]any
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &found); err != nil {
		t.Fatalf("the last line is no JSON: %v", err)
	}
	for _, name := range []string{
		"closures_per_second", "cpu_ms_per_closure", "broker_calls_per_closure", "timer_lateness_p99_ms", "rss_mib", "redis_bytes_per_waiting", "closures_of_floor", "cpu_of_floor", "cpu_of_ledger",
	} {
		if v, known := found[name].(float64); !(known && v > 0) && (len(env) > 0 || name != "redis_bytes_per_waiting") {
			t.Errorf("%s is %v", name, found[name])
		}
	}
}

// scale adds workers, as processes, to a broker that takes a tenth of a second for each answer, so that hands are what is scarce
// and not this machine's cores: so it is in production. Each number of workers closes as many accounts in the same run, and what
// counts is the time in which more visits are due than there are hands: until each closure has had its first.
func scale(t *testing.T, n int) {
	t.Helper()
	w := newWorld(t, benchDay)
	w.env = append(w.env, "CLOSEOUT_SETTLEMENT_POLL=12h", "CLOSEOUT_WITHDRAWAL_POLL=12h", "CLOSEOUT_LOG_LEVEL=info", "CLOSEOUT_EVENTS=off", "CLOSEOUT_API_RATE=1000000")
	w.serve()
	var alone float64
	for _, workers := range []int{1, 2, 4} {
		var accounts []string
		for i := range n {
			accounts = append(accounts, w.account(sim.Spec{Cash: dollars(cashOf(i))}))
			w.initiate(accounts[i])
		}
		w.ask("PUT", w.broker+"/sim/chaos", sim.Chaos{Rules: []sim.Rule{{Method: "GET", Path: "/v1/**", Probability: 1, Fault: sim.FaultSlow, Delay: sim.Duration(100 * time.Millisecond)}}}, nil)
		var all []*program
		for range workers {
			p := w.start("worker", "--health-addr", "127.0.0.1:0", "--concurrency", "10")
			p.listens()
			all = append(all, p)
		}
		w.until("the end of all closures", func() bool {
			var list server.ListPage
			w.ask("GET", w.api+"/api/account-closure?status=PROCESSING,PENDING,RETRYING&limit=1", nil, &list)
			return len(list.Closures) == 0
		})
		var visits []line
		for _, p := range all {
			p.signal(syscall.SIGTERM)
			p.ends()
			p.mu.Lock()
			for _, l := range p.said {
				if l.Message == "visit" {
					visits = append(visits, l)
				}
			}
			p.mu.Unlock()
		}
		slices.SortFunc(visits, func(a, b line) int { return a.Time.Compare(b.Time) })
		looked, busy := map[string]bool{}, 0
		for len(looked) < n && busy < len(visits) {
			looked[visits[busy].Closure] = true
			busy++
		}
		from, to := visits[busy/10], visits[busy*9/10] // at either end some hands have nothing to do
		rate := float64(busy*9/10-busy/10) / to.Time.Sub(from.Time).Seconds()
		if alone == 0 {
			alone = rate
		}
		t.Logf("%d workers of 10 hands, %d closures, %d visits until each had its first, of %d: %.1f visits a second, %.2f of one worker's", workers, n, busy, len(visits), rate, rate/alone)
		for _, a := range accounts {
			if paid := w.payouts(a); len(paid) != 1 {
				t.Errorf("account %s was paid %v", a, paid)
			}
		}
		w.ask("DELETE", w.broker+"/sim/chaos", nil, nil)
	}
}
