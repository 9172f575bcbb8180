package budget_test

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"closeout/alpaca"
	"closeout/budget"
	"closeout/internal/servers"
)

// On a real Redis two processes' greedy callers share one budget, class before class; without it they go on by their shares,
// and nobody waits for it; and when it is back they share again.
func TestRealProcessesShareOneBudget(t *testing.T) {
	t.Parallel()
	server := servers.StartRedis(t)
	log := &lines{}
	const perMinute = 3000
	process := func() *budget.Budget {
		rdb := redis.NewClient(&redis.Options{Addr: server.Addr, ContextTimeoutEnabled: true, DialerRetries: 1})
		t.Cleanup(func() { _ = rdb.Close() })
		return budget.New(budget.Options{Redis: rdb, Name: "sandbox", PerMinute: perMinute, Probe: time.Second, Log: log.logger()})
	}
	processes := []*budget.Budget{process(), process()}

	// greedy has eight callers a process call for a while, and counts what they got.
	greedy := func(d time.Duration) (calls int, took time.Duration) {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		started := time.Now()
		var mu sync.Mutex
		var wg sync.WaitGroup
		for _, p := range processes {
			for range 8 {
				wg.Go(func() {
					for ctx.Err() == nil {
						visit, err := p.Visit(ctx, "a", 3, true)
						for n := 0; n < 3 && err == nil; n++ {
							var heard func(alpaca.Heard)
							if heard, err = p.Pass(visit, false, "/v1/clock"); err == nil {
								heard(alpaca.Heard{Status: http.StatusOK})
								mu.Lock()
								calls++
								mu.Unlock()
							}
						}
						if err != nil {
							time.Sleep(10 * time.Millisecond) // a caller of no patience
						}
					}
				})
			}
		}
		wg.Wait()
		return calls, time.Since(started)
	}
	most := func(perMinute int, took time.Duration) int {
		return perMinute/20 + int(took.Seconds()*float64(perMinute)/60)
	}

	calls, took := greedy(4 * time.Second)
	t.Logf("shared: %d calls in %s, at most %d are right", calls, took.Round(time.Millisecond), most(perMinute, took))
	if calls > most(perMinute, took) || calls < most(perMinute, took)/3 {
		t.Error("two processes did not share one budget")
	}
	if _, err := processes[1].Effects(t.Context(), 10); err != nil {
		t.Errorf("an instruction after that: %v", err)
	}

	server.Kill()
	calls, took = greedy(10 * time.Second) // they have had their shares, and wait for more
	t.Logf("without Redis: %d calls in %s, at most %d are right", calls, took.Round(time.Millisecond), 2*most(perMinute/10, took)+2*75)
	if calls == 0 || calls > 2*most(perMinute/10, took)+2*75 {
		t.Error("not two shares")
	}
	if !processes[0].State().Alone || !processes[1].State().Alone {
		t.Error("a process does not know that it is alone")
	}

	server.Start()
	for deadline := time.Now().Add(time.Minute); processes[0].State().Alone || processes[1].State().Alone; {
		if time.Now().After(deadline) {
			t.Fatal("Redis is back and not used")
		}
		_, _ = greedy(200 * time.Millisecond)
	}
	if log.count("is shared again") != 2 {
		t.Errorf("said so %d times", log.count("is shared again"))
	}
}
