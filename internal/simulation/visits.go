package simulation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"closeout/handlers"
	"closeout/tasks"
)

// job is one delivery in a worker's hands, as Asynq's processor keeps it.
type job struct {
	m      message
	ctx    context.Context
	cancel context.CancelFunc
	lease  time.Time // by the worker's clock
	kept   bool      // heartbeats are under way
	doom   int       // the worker dies at this point; 0: at none
	over   bool      // the processor is through with it, whatever the handler still does
	result error
}

// deliver lets a worker that is free take the next task.
func (l *life) deliver() {
	if l.redisDown() {
		l.at(l.redisBack.Add(l.within("poll", 1200*time.Millisecond)), l.deliver)
		return
	}
	p := l.free()
	if p == nil {
		return // a worker that comes back looks by itself
	}
	order := []string{"account_closure_urgent", "account_closure", "account_closure_bulk"}
	n := l.pick("queue", len(order))
	order = append(order[n:], order[:n]...)
	now := time.Now().Add(p.off)
	m, ok := l.queue.dequeue(order, now)
	if !ok {
		return
	}
	j := &job{m: m, lease: now.Add(leaseTime)}
	if l.strikes("archived") && l.queue.tasks[m.key].retried < tasks.MaxRetry {
		j.m.retried, l.queue.tasks[m.key].retried = tasks.MaxRetry, tasks.MaxRetry
		j.doom = 1 + l.pick("archived", 12)
		l.tell("the retries of %s are used up in Redis alone", m.key)
	}
	if l.strikes("duplicate") {
		again := *j
		again.over = true
		l.after(l.between("duplicate", time.Millisecond, 3*time.Minute), func() {
			if p := l.free(); p != nil {
				l.some("a task was delivered twice")
				l.visit(p, &again)
			}
		})
	}
	l.visit(p, j)
}

// free is a worker that can take a task.
func (l *life) free() *process {
	var free []*process
	for _, p := range l.procs[1:] {
		if p.alive && !time.Now().Before(p.frozen) && len(p.threads) < threadsEach {
			free = append(free, p)
		}
	}
	if len(free) == 0 {
		return nil
	}
	return free[l.pick("worker", len(free))]
}

// copyOf delivers a thread's task once more, to whoever is free.
func (l *life) copyOf(th *thread) {
	again := &job{m: th.job.m, over: true}
	l.after(0, func() {
		if p := l.free(); p != nil {
			l.some("two copies of a visit at once")
			l.visit(p, again)
		}
	})
}

func (l *life) visit(p *process, j *job) {
	j.ctx, j.cancel = context.WithTimeout(context.Background(), l.timing.Task)
	th := &thread{p: p, what: fmt.Sprintf("visit of %s v%d (process %d)", l.short(j.m.payload.ClosureID), j.m.payload.Version, p.n), job: j}
	if n := l.poison[j.m.payload.ClosureID]; n > 0 && l.live {
		l.poison[j.m.payload.ClosureID], j.doom = n-1, 1+l.pick("crashes again", 8)
	}
	if !j.over && l.strikes("overlap") {
		th.stall = 1 + l.pick("overlap", 45)
	}
	l.visits++
	if p.off != 0 {
		l.some("a visit by a clock that is off")
	}
	th.ended = func(finished bool) {
		j.cancel()
		if finished && !j.over {
			l.settle(th)
		}
	}
	l.start(th, func() { j.result = l.handle(p, j) })
}

// settle tells the queue how a delivery ended.
func (l *life) settle(th *thread) {
	p, j := th.p, th.job
	j.over = true
	if l.strikes("crash") {
		l.tell("process %d dies before it acknowledges %s", p.n, th.what)
		l.kill(p)
		return
	}
	if l.redisDown() || l.strikes("ack lost") { // Asynq's own repair does not come through: the lease runs out
		l.tell("the end of %s is not heard", th.what)
		l.watch(j.m.key)
		return
	}
	now := time.Now()
	leased := now.Add(p.off).Before(j.lease)
	at := now.Add(l.backoff(j.m.retried))
	err := l.queue.settle(j.m, leased, j.result, at.Add(p.off))
	switch {
	case err != nil:
		l.some("an acknowledgement found nothing")
	case !leased:
		l.watch(j.m.key)
	case j.result != nil:
		if errors.Is(j.result, handlers.ErrNotCounted) {
			l.some("an error that counts as nothing")
		}
		l.comes(at.Add(p.off))
	}
	if l.strikes("crash") {
		l.tell("process %d dies after it acknowledged %s", p.n, th.what)
		l.kill(p)
	}
}

// keepUp begins the heartbeats of a delivery that takes longer than no time, and what Asynq does at its timeout.
func (l *life) keepUp(th *thread) {
	j := th.job
	if j.kept || j.over {
		return
	}
	j.kept = true
	l.after(beatTime, func() { l.beat(th) })
	if end, ok := j.ctx.Deadline(); ok {
		l.at(end, func() { l.timeout(th) })
	}
}

func (l *life) beat(th *thread) {
	p, j := th.p, th.job
	if th.over || j.over || !p.alive {
		return
	}
	now := time.Now()
	if now.Before(p.frozen) {
		l.at(p.frozen, func() { l.beat(th) })
		return
	}
	if !now.Add(p.off).Before(j.lease) { // told so by its own clock: the visit is cancelled, and nothing is written to Redis
		j.over = true
		j.cancel()
		l.watch(j.m.key)
		return
	}
	if !l.redisDown() {
		l.queue.extend(j.m.key, now.Add(p.off))
		j.lease = now.Add(p.off + leaseTime)
	}
	l.after(beatTime, func() { l.beat(th) })
}

// timeout: Asynq neither stops nor awaits the handler; the task goes to the retries beside it.
func (l *life) timeout(th *thread) {
	p, j := th.p, th.job
	switch {
	case th.over || j.over || !p.alive:
	case time.Now().Before(p.frozen):
		l.at(p.frozen, func() { l.timeout(th) })
	default:
		l.some("a visit outlived its timeout")
		j.result = context.DeadlineExceeded
		l.settle(th)
	}
}

// watch waits until a lease has run out and some worker notices.
func (l *life) watch(key string) {
	t := l.queue.tasks[key]
	if t == nil || t.state != active || t.lease == 0 {
		return
	}
	look := l.within("recoverer", recovers)
	at := later(time.Unix(t.lease, 0).Add(leasePast+time.Second+look), time.Now().Add(look+time.Second))
	l.at(at, func() {
		for _, p := range l.procs[1:] {
			if p.alive && !time.Now().Before(p.frozen) && !l.redisDown() {
				l.recover(p)
				break
			}
		}
		l.watch(key)
	})
}

func (l *life) recover(p *process) {
	again, given := l.queue.recoverLost(time.Now().Add(p.off), l.backoff)
	if again > 0 {
		l.some("an expired lease was taken up")
		for _, key := range l.keys() {
			if t := l.queue.tasks[key]; t.state == retry {
				l.comes(time.Unix(t.at, 0))
			}
		}
	}
	if given > 0 {
		l.some("a task was archived by its lease")
	}
}

// backoff is the worker's: it doubles, with jitter.
func (l *life) backoff(retried int) time.Duration {
	d := l.timing.Backoff << min(retried, 5)
	return d/2 + l.within("backoff", d)
}

// comes sees to it that a task which falls due, by the workers' clocks, is delivered.
func (l *life) comes(at time.Time) {
	now := time.Now()
	var ahead time.Duration
	for _, p := range l.procs[1:] {
		ahead = max(ahead, p.off)
	}
	at = at.Add(-ahead)
	if at.Before(now) {
		at = now
	}
	at = at.Add(l.within("poll", 1200*time.Millisecond)) // the forwarder's and the processor's polling
	l.at(at, func() { l.forward(ahead) })
}

// keys are the queue's tasks in a stable order. The ids in them are made of chance, the accounts are not.
func (l *life) keys() []string {
	keys := slices.Collect(maps.Keys(l.queue.tasks))
	slices.SortFunc(keys, func(a, b string) int {
		x, y := l.queue.tasks[a].payload, l.queue.tasks[b].payload
		return cmp.Or(cmp.Compare(slices.Index(l.order, x.ClosureID), slices.Index(l.order, y.ClosureID)), cmp.Compare(x.Version, y.Version))
	})
	return keys
}

// forward makes pending what is due by a clock that is so far ahead, and hands it out.
func (l *life) forward(ahead time.Duration) {
	if l.redisDown() {
		l.at(l.redisBack.Add(l.within("poll", 1200*time.Millisecond)), func() { l.forward(ahead) })
		return
	}
	l.queue.forward(time.Now().Add(ahead))
	l.deliver()
}
