package simulation

import (
	"container/heap"
	"fmt"
	"runtime"
	"runtime/debug"
	"testing/synctest"
	"time"
)

// engine is the one that gives turns. What is to come stands on its agenda.
type engine struct {
	agenda agenda
	seq    int
	cur    *thread
	back   chan struct{} // the turn comes back
	paused map[*thread]bool
	panics []string
}

// thread is a piece of the service's own code in progress: a visit, a sweep, a command.
type thread struct {
	p      *process
	what   string
	resume chan struct{}
	points int
	stall  int                 // pause at this point, and deliver a copy; 0: none
	job    *job                // of a visit
	ended  func(finished bool) // called by the engine, if the process still lives

	over, finished bool
}

type entry struct {
	at  time.Time
	seq int
	do  func()
}

type agenda []entry

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	return a[i].at.Before(a[j].at) || a[i].at.Equal(a[j].at) && a[i].seq < a[j].seq
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(entry)) }
func (a *agenda) Pop() any {
	last := len(*a) - 1
	x := (*a)[last]
	(*a)[last] = entry{}
	*a = (*a)[:last]
	return x
}

func newEngine() *engine {
	return &engine{back: make(chan struct{}), paused: map[*thread]bool{}}
}

func (e *engine) at(t time.Time, do func()) {
	e.seq++
	heap.Push(&e.agenda, entry{t, e.seq, do})
}

func (e *engine) after(d time.Duration, do func()) { e.at(time.Now().Add(d), do) }

// turn does the next thing on the agenda.
func (e *engine) turn() {
	next := heap.Pop(&e.agenda).(entry)
	if d := time.Until(next.at); d > 0 {
		time.Sleep(d)
		synctest.Wait() // timers that are due at this moment, such as a context's, have struck before anything else happens
	}
	next.do()
}

// start gives the turn to new work of a process until that pauses or ends.
func (e *engine) start(th *thread, fn func()) {
	th.resume = make(chan struct{})
	th.p.threads[th] = true
	e.run(th, func() {
		go func() {
			defer func() {
				if x := recover(); x != nil {
					e.panics = append(e.panics, fmt.Sprintf("%s: panic: %v\n%s", th.what, x, debug.Stack()))
				}
				th.over = true
				e.back <- struct{}{}
			}()
			fn()
			th.finished = true
		}()
	})
}

// run gives the turn to a thread by kick, and takes it back.
func (e *engine) run(th *thread, kick func()) {
	was := e.cur
	e.cur = th
	kick()
	<-e.back
	e.cur = was
	if th.over {
		delete(th.p.threads, th)
		if th.ended != nil && th.p.alive {
			th.ended(th.finished)
		}
	}
}

// pause gives the turn back for a while. A process that has died meanwhile gets no further.
func (e *engine) pause(th *thread, d time.Duration) {
	e.paused[th] = true
	e.after(d, func() { e.wake(th) })
	e.back <- struct{}{}
	<-th.resume
	if !th.p.alive {
		runtime.Goexit()
	}
}

func (e *engine) wake(th *thread) {
	if !e.paused[th] {
		return
	}
	if th.p.alive && time.Now().Before(th.p.frozen) {
		e.at(th.p.frozen, func() { e.wake(th) })
		return
	}
	delete(e.paused, th)
	e.run(th, func() { th.resume <- struct{}{} })
}

// reap lets the paused work of a dead process end.
func (e *engine) reap(p *process) {
	for th := range p.threads {
		if e.paused[th] {
			delete(e.paused, th)
			e.run(th, func() { th.resume <- struct{}{} })
		}
	}
}
