package simulation

import (
	"context"
	"io"
	"runtime"
	"time"

	"github.com/sirupsen/logrus"

	"closeout/alpaca"
	"closeout/calendar"
	"closeout/closure"
	"closeout/handlers"
)

// process is one life of the server or of a worker: it has a clock of its own, and may die.
type process struct {
	l       *life
	n       int // 0: the server
	alive   bool
	off     time.Duration // by how much its clock is ahead
	clock   closure.Clock
	frozen  time.Time // it stands still until then
	threads map[*thread]bool
	run     *handlers.Runner
}

const threadsEach = 4 // a worker's concurrency

// begin starts a process anew.
func (l *life) begin(n int) *process {
	p := &process{l: l, n: n, alive: true, threads: map[*thread]bool{}}
	switch {
	case l.strikes("clock far off"):
		p.off = time.Duration(l.pick("clock far off", 600)-300) * time.Second
	case l.strikes("clocks"):
		p.off = time.Duration(l.pick("clocks", 59)-29) * time.Second
	}
	if p.off != 0 {
		p.clock = closure.ScaledClock(24*time.Hour, l.began.Add(p.off), l.began)
	}
	client, err := alpaca.New(alpaca.Options{BaseURL: "http://broker.test", Key: "key", Secret: "secret", Transport: wire{p, l.sim.Transport()}})
	if err != nil {
		panic(err)
	}
	b := broker{client, p}
	log := logrus.New()
	log.SetOutput(io.Discard)
	if l.Trace != nil {
		log.SetOutput(l.Trace)
		log.SetFormatter(&logrus.TextFormatter{DisableColors: true, TimestampFormat: "01-02 15:04:05"})
	}
	p.run = &handlers.Runner{
		Ledger: books{p, l.ledger}, Queue: line{p}, Broker: b, Calendar: func() *calendar.Calendar { return rules },
		Clock: p.clock, Policy: l.policy, Timing: l.timing, Log: log, Post: handlers.Letters{Broker: b, Mailer: post{p}},
		Heard: func(context.Context) bool { return l.hears() },
	}
	l.procs[n] = p
	return p
}

var rules = calendar.Rules()

// long is longer than a quarantine and the looks after it: whoever stood still for so long is taken for dead.
const long = 50 * time.Minute

// gate is a point: here a process may die or stand still, and another copy may come in between.
func (p *process) gate(at string) {
	p.mortal(at)
	l, th := p.l, p.l.cur
	th.points++
	switch {
	case th.job != nil && th.points == th.job.doom:
		l.tell("process %d dies in %s %s, as it was bound to", p.n, th.what, at)
		l.kill(p)
		runtime.Goexit()
	case th.points == th.stall:
		l.tell("%s stalls %s", th.what, at)
		l.copyOf(th)
		p.stand(l.between("overlap", time.Second, long))
	case l.strikes("pause"):
		l.tell("%s pauses %s", th.what, at)
		p.stand(l.between("pause", 100*time.Millisecond, long))
	case l.strikes("freeze"):
		d := l.between("freeze", time.Second, long)
		l.tell("process %d freezes for %s in %s %s", p.n, d, th.what, at)
		p.frozen = time.Now().Add(d)
		l.afterFreeze(p)
		p.stand(d)
	}
}

// mortal is a point at which nothing may happen but a death: between the last look at the clocks and the socket a pause
// is the risk that remains, which ARCHITECTURE names.
func (p *process) mortal(at string) {
	if !p.alive {
		runtime.Goexit()
	}
	if p.l.strikes("crash") {
		p.l.tell("process %d dies in %s %s", p.n, p.l.cur.what, at)
		if j := p.l.cur.job; j != nil && p.l.strikes("crashes again") {
			p.l.poison[j.m.payload.ClosureID] = closure.MaxCrashes
		}
		p.l.kill(p)
		runtime.Goexit()
	}
}

func (p *process) stand(d time.Duration) {
	th := p.l.cur
	if th.job != nil {
		p.l.keepUp(th)
	}
	p.l.pause(th, d)
}
