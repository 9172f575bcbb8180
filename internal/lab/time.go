package lab

import (
	"math"
	"testing/synctest"
	"time"

	"github.com/hibiken/asynq"

	"closeout/closure"
	"closeout/tasks"
	"closeout/worker"
)

// Ends runs until the closure has left the running state, and returns it. It fails after limit of virtual time.
func (l *Lab) Ends(id string, limit time.Duration) closure.Closure {
	l.TB.Helper()
	l.RunUntil(limit, func() bool { return l.Get(id).State != closure.Running })
	return l.Get(id)
}

// RunUntil lets virtual time pass until done says so, and fails the test after limit. It starts a real Asynq server
// whenever something is due, waits until that is idle, stops it and travels to the next due time: idle polling would cost
// a minute of real time for each virtual day.
func (l *Lab) RunUntil(limit time.Duration, done func() bool) {
	l.TB.Helper()
	until := time.Now().Add(limit)
	for !done() {
		if time.Now().After(until) {
			l.TB.Fatalf("not done after %s of virtual time", limit)
		}
		l.Trail.turns = append(l.Trail.turns, turn{from: l.Points})
		if l.hands() && l.handOver(until) {
			continue
		}
		l.serve()
		if done() {
			return
		}
		next := l.next()
		if next.After(until) {
			next = until.Add(time.Second)
		}
		l.travel(next)
	}
}

// travel lets time pass until then, or until an event has made something due.
func (l *Lab) travel(until time.Time) {
	select { // what was scheduled before the queue came to rest was carried out, or is in until
	case <-l.rung:
	default:
	}
	wait := max(time.Until(until), time.Second)
	if l.deaf {
		wait = min(wait, time.Minute)
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-l.rung:
	}
}

// RunFor lets virtual time pass.
func (l *Lab) RunFor(d time.Duration) {
	l.TB.Helper()
	end := time.Now().Add(d)
	l.RunUntil(d+time.Minute, func() bool { return !time.Now().Before(end) })
}

// serve runs one sweep, delivers letters and runs a real Asynq server until nothing is left to do at this moment.
func (l *Lab) serve() {
	if l.cur.dead.Load() {
		_ = l.cur.rdb.Close()
		l.start()
	}
	p := l.cur
	l.guard(func() {
		began := time.Now()
		if s, err := p.run.Sweep(l.TB.Context()); l.swept != nil {
			l.swept(began, s, err)
		}
		_, _ = p.run.Deliver(l.TB.Context())
		if p.redrives != nil {
			_ = p.redrives.Sweep(l.TB.Context())
		}
	})
	if p.dead.Load() {
		return
	}
	srv := asynq.NewServerFromRedisClient(p.rdb, l.pace(worker.Config(l.TB.Context(), worker.Options{Redis: p.rdb, Runner: p.run, Timing: l.Timing, Log: l.Log, Concurrency: 4})))
	mux := worker.Mux(p.run)
	if p.redrives != nil {
		worker.MuxRedrives(mux, p.redrives)
	}
	if err := srv.Start(mux); err != nil {
		l.TB.Fatal(err)
	}
	began := time.Now()
	for synctest.Wait(); l.busy() && !p.dead.Load(); synctest.Wait() {
		if time.Since(began) > time.Hour {
			l.TB.Fatalf("the queue does not come to rest:\n%s", l.Redis.Dump())
		}
		time.Sleep(250 * time.Millisecond)
	}
	srv.Shutdown()
	synctest.Wait()
}

// pace has the server ask Redis as seldom as it can without being late: each question is a script, and scripts are what
// a lab spends most of its time on. What is due is forwarded after a second, and the next question finds it. Queues that
// nothing was ever put in are not asked.
func (l *Lab) pace(c asynq.Config) asynq.Config {
	c.TaskCheckInterval = 2 * c.DelayedTaskCheckInterval // Asynq takes half of it to one and a half
	used := map[string]int{}
	for _, q := range l.peek.SMembers(l.TB.Context(), "asynq:queues").Val() {
		used[q] = c.Queues[q]
	}
	if len(used) > 0 && !l.redrives { // whose bites put visits into other queues than their own
		c.Queues = used
	}
	return c
}

// guard carries fn out and ends quietly where it was killed.
func (l *Lab) guard(fn func()) {
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(killed); !ok {
				panic(p)
			}
		}
	}()
	fn()
}

func (l *Lab) key(q, what string) string { return "asynq:{" + q + "}:" + what }

// busy says whether a task is pending, in work under a living lease, or due.
func (l *Lab) busy() bool {
	now := float64(time.Now().Unix())
	for q := range tasks.Queues {
		if l.peek.LLen(l.TB.Context(), l.key(q, "pending")).Val() > 0 {
			return true
		}
		for _, lease := range l.scores(q, "lease") {
			if lease > now+20 { // one that is kept up; a dead worker's runs out on the way
				return true
			}
		}
		for _, due := range append(l.scores(q, "scheduled"), l.scores(q, "retry")...) {
			if due <= now {
				return true
			}
		}
	}
	return false
}

func (l *Lab) scores(q, set string) (out []float64) {
	for _, z := range l.peek.ZRangeWithScores(l.TB.Context(), l.key(q, set), 0, -1).Val() {
		out = append(out, z.Score)
	}
	return out
}

// next is when something is due: a task, a lease that a dead worker left behind, or the sweep of an overdue row.
func (l *Lab) next() time.Time {
	first := math.Inf(1)
	for q := range tasks.Queues {
		for set, slack := range map[string]float64{"scheduled": 0, "retry": 0, "lease": 32} {
			for _, score := range l.scores(q, set) {
				first = min(first, score+slack)
			}
		}
	}
	if c, ok := l.earliest(); ok {
		first = min(first, float64(c.DueAt.Add(l.Timing.Grace).Unix()+1))
	}
	if l.redrives {
		for _, r := range must(l.Ledger.DueRedrives(l.TB.Context(), time.Now().Add(100_000*time.Hour), 1))(l.TB) {
			first = min(first, float64(r.DueAt.Add(l.Timing.Grace).Unix()+1))
		}
	}
	if math.IsInf(first, 1) {
		return time.Now().Add(time.Hour)
	}
	return time.Unix(int64(first), 0)
}

// earliest is the running closure that is due first.
func (l *Lab) earliest() (closure.Closure, bool) {
	rows, err := l.Ledger.Overdue(l.TB.Context(), time.Now().Add(100_000*time.Hour), closure.Closure{}, 1)
	if err != nil {
		l.TB.Fatal(err)
	}
	if len(rows) == 0 {
		return closure.Closure{}, false
	}
	return rows[0], true
}
