package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"closeout/alpaca/sim"
	"closeout/internal/servers"
	"closeout/server"
)

var benchClosures = flag.Int("bench", 0, "closures of TestRealBench, on real servers, on the embedded pair and with 1, 2 and 4 workers; 0: not at all")

// The bench on servers of its own, which sync to the disk as production's do. What it finds is reported; here it must only be
// whole: everything known is a number above zero.
func TestRealBench(t *testing.T) {
	n := *benchClosures
	if n == 0 {
		t.Skip("takes minutes, and tells nothing of a machine that does other things: make bench")
	}
	r, pg := servers.StartRedis(t), servers.StartPostgres(t, "fsync=on", "full_page_writes=on")
	measure(t, n, "CLOSEOUT_REDIS_URL="+r.URL, "CLOSEOUT_DATABASE_URL="+pg.Database(t))
	measure(t, n)
	scale(t, n/4)
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
		"closures_per_second", "cpu_ms_per_closure", "broker_calls_per_closure", "timer_lateness_p99_ms", "rss_mib", "redis_bytes_per_waiting", "closures_of_floor", "cpu_of_floor",
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
