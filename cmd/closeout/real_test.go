package main

import (
	"cmp"
	"errors"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shopspring/decimal"

	"closeout/alpaca/sim"
	"closeout/closure"
	"closeout/internal/servers"
	"closeout/ledger"
)

// The twelve demos on separate processes, while workers are killed at random and started again: each reaches its end, and
// by the simulator's journal each cent is paid once.
func TestRealDemosWithWorkersKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 10*time.Second)
	w.serve()
	workers := make([]*program, 2)
	for n := range workers {
		workers[n], _ = w.worker()
	}
	for _, d := range demos {
		spec := d.spec
		spec.ID = d.id()
		w.account(spec)
	}
	seed := uint64(time.Now().UnixNano()) //nolint:gosec // any bits will do
	chance := rand.New(rand.NewPCG(seed, 0))
	began, kills, midVisit := time.Now(), 0, 0
	nextKill := began.Add(3 * time.Second)
	waiting := slices.Clone(demos)
	slices.SortStableFunc(waiting, func(a, b demo) int { return cmp.Compare(a.after, b.after) })
	open := map[string]demo{}
	for _, d := range demos {
		open[d.id()] = d
	}
	w.until("every demo has ended", func() bool {
		for len(waiting) > 0 && !w.clock.Now().Before(demoBegins.Add(waiting[0].after)) {
			w.initiate(waiting[0].id())
			waiting = waiting[1:]
		}
		if time.Now().After(nextKill) {
			n := chance.IntN(len(workers))
			if kills%3 == 1 && kills < 18 { // seldom would one be hit in a visit by chance
				workers[n].inVisit(time.Duration(chance.Int64N(int64(15 * time.Millisecond))))
			}
			workers[n].signal(syscall.SIGKILL)
			kills++
			if workers[n].midVisit() {
				midVisit++
			}
			workers[n], _ = w.worker()
			nextKill = time.Now().Add(2*time.Second + time.Duration(chance.Int64N(int64(8*time.Second))))
		}
		for id, d := range open {
			c, err := w.ledger.OfAccount(t.Context(), id)
			if errors.Is(err, ledger.ErrNotFound) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if c.State == closure.Running {
				continue
			}
			delete(open, id)
			intents, err := w.ledger.Intents(t.Context(), c.ID)
			if err != nil {
				t.Fatal(err)
			}
			if !d.end.reached(c, intents) {
				t.Errorf("%s ended %s (%s: %s), must end %s", d.name, c.State, c.Reason, c.Why, d.end)
			}
		}
		return len(open) == 0
	})
	t.Logf("seed %d: all ended after %s; workers were killed %d times, %d of them in the middle of a visit", seed, time.Since(began).Round(time.Second), kills, midVisit)
	for _, d := range demos {
		if paid := w.payouts(d.id()); !slices.Equal(paid, d.end.paid) {
			t.Errorf("%s: the journal has payouts %v, want %v", d.name, paid, d.end.paid)
		}
	}
}

// inVisit waits, not for long, until the process is so far in its next visit.
func (p *program) inVisit(so time.Duration) {
	for len(p.begun) > 0 {
		<-p.begun
	}
	select {
	case <-p.begun:
		<-time.After(so)
	case <-time.After(2 * time.Second):
	}
}

// midVisit says whether a dead process left visits that it had begun.
func (p *program) midVisit() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	in := 0
	for _, l := range p.said {
		switch l.Message {
		case "visit begins":
			in++
		case "visit":
			in--
		}
	}
	return in > 0
}

// slowly makes the simulator take its time over the first thing that every visit reads.
func (w *world) slowly(d time.Duration) {
	w.Helper()
	w.ask("PUT", w.broker+"/sim/chaos", sim.Chaos{Rules: []sim.Rule{{Method: "GET", Path: "/account", Probability: 1, Fault: sim.FaultSlow, Delay: sim.Duration(d)}}}, nil)
}

// visiting waits until one of two workers begins a visit of the closure.
func (w *world) visiting(id string, a, b *program) (busy, other *program) {
	w.Helper()
	limit := time.After(time.Minute)
	for {
		select {
		case l := <-a.begun:
			if l.Closure == id {
				return a, b
			}
		case l := <-b.begun:
			if l.Closure == id {
				return b, a
			}
		case <-limit:
			w.Fatalf("nobody visits %s", id)
		}
	}
}

// A worker that is told to stop in the middle of a visit finishes it and hands the closure on: nothing waits for a lease
// and nothing runs twice. One that is killed leaves it to the lease and the sweep.
func TestRealWorkerStoppedAndKilledInMidVisit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 24*time.Hour) // business time at its real speed, from the demo's first morning
	w.serve()
	a, healthA := w.worker()
	b, healthB := w.worker()
	health := map[*program]string{a: healthA, b: healthB}
	for _, p := range []*program{a, b} {
		if ok, said := w.ready(health[p], "30s"); !ok || said != "ready: asynq ok, ledger ok, redis ok" {
			t.Fatalf("%s: %s", p.name, said)
		}
	}

	account := w.account(sim.Spec{Cash: decimal.NewFromInt(100)})
	w.slowly(2500 * time.Millisecond)
	id := w.initiate(account)
	busy, other := w.visiting(id, a, b)
	told := time.Now()
	busy.signal(syscall.SIGTERM)
	if ok, said := w.ready(health[busy], "0s"); ok || said != "not ready: 503 Service Unavailable: asynq draining, ledger ok, redis ok" {
		t.Errorf("while it drains: %s", said)
	}
	if status := busy.ends(); status != 0 {
		t.Errorf("told to stop, it ended with status %d:\n%s", status, busy.tail(15))
	}
	drained := time.Now()
	w.slowly(time.Millisecond)
	w.until("the payout", func() bool { return len(w.payouts(account)) > 0 })
	t.Logf("SIGTERM: it ended after %s, and the closure was paid out by the other worker %s later", drained.Sub(told).Round(time.Millisecond), time.Since(drained).Round(time.Millisecond))
	seen := map[int64]bool{}
	last := line{}
	for _, l := range w.visits(id) {
		if l.Attempt != 1 || l.Outcome == "error" || seen[l.Version] {
			t.Errorf("this visit ran again, or is a second one: %s", l.text)
		}
		seen[l.Version] = true
		if l.by == busy {
			last = l
		}
	}
	if last.Version != 1 || !last.Time.After(told) {
		t.Errorf("the visit in hand did not finish after the signal: the stopped worker's last is %q", last.text)
	}
	for _, e := range w.events(id) {
		if e.Kind == "crash" || e.Kind == "reissue" {
			t.Errorf("the handing on left a trace: %s: %s", e.Kind, e.Text)
		}
	}

	c, _ := w.worker()
	second := w.account(sim.Spec{Cash: decimal.NewFromInt(200)})
	w.slowly(2500 * time.Millisecond)
	id = w.initiate(second)
	busy, other = w.visiting(id, other, c)
	busy.signal(syscall.SIGKILL)
	killed := time.Now()
	w.slowly(time.Millisecond)
	w.until("the other worker's visit", func() bool { return len(w.visits(id)) > 0 })
	t.Logf("SIGKILL: the closure moved again after %s", time.Since(killed).Round(time.Millisecond))
	w.until("the payout", func() bool { return len(w.payouts(second)) > 0 })
	for _, l := range w.visits(id) {
		if l.by != other {
			t.Errorf("a killed worker wrote %s", l.text)
		}
	}
	for account, want := range map[string]string{account: "100.00", second: "200.00"} {
		if paid := w.payouts(account); !slices.Equal(paid, []string{want}) {
			t.Errorf("paid %v, want %s once", paid, want)
		}
	}
}

func (w *world) events(id string) []ledger.Event {
	w.Helper()
	evs, err := w.ledger.Events(w.Context(), id)
	if err != nil {
		w.Fatal(err)
	}
	return evs
}

// A second signal cuts the drain short: the process ends at once with status 1, and the other worker has the task within
// seconds, without a lease running out.
func TestRealWorkerToldTwiceGivesItsVisitBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 24*time.Hour)
	w.serve()
	a, healthA := w.worker()
	account := w.account(sim.Spec{Cash: decimal.NewFromInt(100)})
	w.slowly(4 * time.Second)
	id := w.initiate(account)
	<-a.begun
	b, _ := w.worker()
	a.signal(syscall.SIGTERM)
	w.until("it has heard", func() bool { ok, _ := w.ready(healthA, "0s"); return !ok }) // two signals at once are one
	told := time.Now()
	a.signal(syscall.SIGTERM)
	if status := a.ends(); status != 1 || !strings.Contains(a.tail(5), "visits in hand") {
		t.Errorf("told twice, it ended with status %d:\n%s", status, a.tail(5))
	}
	ended := time.Now()
	w.slowly(time.Millisecond)
	w.until("the payout", func() bool { return len(w.payouts(account)) > 0 })
	t.Logf("it ended %s after the second signal, and the closure was paid out %s later", ended.Sub(told).Round(time.Millisecond), time.Since(ended).Round(time.Millisecond))
	for _, l := range w.visits(id) {
		if l.by == b && l.Attempt != 1 {
			t.Errorf("a retry was counted: %s", l.text)
		}
	}
	for _, e := range w.events(id) {
		if e.Kind == "crash" || e.Kind == "reissue" || e.Kind == "error" {
			t.Errorf("the handing on left a trace: %s: %s", e.Kind, e.Text)
		}
	}
	if paid := w.payouts(account); !slices.Equal(paid, []string{"100.00"}) {
		t.Errorf("paid %v", paid)
	}
}

// A server that starts while Redis is away accepts closures; they go on when it is back.
func TestRealServerStartsWithoutRedis(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 24*time.Hour)
	w.redis.Stop()
	w.serve()
	_, health := w.worker()
	if ok, said := w.ready(w.api+"/ready", "0s"); !ok || said != "ready: ledger ok, without redis" {
		t.Errorf("the server without Redis: %s", said)
	}
	account := w.account(sim.Spec{Cash: decimal.NewFromInt(100)})
	asked := time.Now()
	id := w.initiate(account)
	t.Logf("without Redis a 202 took %s", time.Since(asked).Round(time.Millisecond))
	if ok, said := w.ready(health, "0s"); ok || said != "not ready: 503 Service Unavailable: asynq starting, ledger ok, redis down" {
		t.Errorf("the worker without Redis: %s", said)
	}
	if visits := w.visits(id); len(visits) > 0 {
		t.Errorf("visited without Redis: %v", visits)
	}
	w.redis.Start()
	back := time.Now()
	w.until("the payout", func() bool { return len(w.payouts(account)) > 0 })
	t.Logf("the closure was paid out %s after Redis was back", time.Since(back).Round(time.Millisecond))
	if ok, said := w.ready(health, "30s"); !ok {
		t.Errorf("the worker with Redis back: %s", said)
	}
}

// A worker does not start on a Redis that would drop tasks.
func TestRealWorkerRefusesARedisThatEvicts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 24*time.Hour)
	evicts := servers.StartRedis(t, "--maxmemory-policy", "allkeys-lru")
	w.env = append(w.env, "CLOSEOUT_REDIS_URL="+evicts.URL)
	p := w.start("worker", "--health-addr", "127.0.0.1:0")
	if status := p.ends(); status != 1 || !strings.Contains(p.tail(5), "set it to noeviction") {
		t.Errorf("status %d:\n%s", status, p.tail(5))
	}
	out, err := exec.CommandContext(t.Context(), w.bin, "migrate", "--database-url", w.database).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "nothing was to be done") {
		t.Errorf("migrate: %s, %v", out, err)
	}
}
