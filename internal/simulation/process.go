package simulation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"runtime"
	"time"

	"github.com/sirupsen/logrus"

	"closeout/alpaca"
	"closeout/calendar"
	"closeout/closure"
	"closeout/handlers"
	"closeout/ledger"
	"closeout/mail"
	"closeout/tasks"
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

// books is the ledger as one process has it. A machine time in an intent is written by one process's clock and read by
// another's: that is where clocks that differ can do harm, so that is where they are made to differ.
type books struct {
	p *process
	*ledger.Ledger
}

var errLedger = errors.New("ledger: connection refused (simulated)")

var errCommit = errors.New("commit: connection reset (simulated)")

func shift(i closure.Intent, d time.Duration) closure.Intent {
	if !i.Deadline.IsZero() {
		i.Deadline = i.Deadline.Add(d)
	}
	if !i.AbsentAt.IsZero() {
		i.AbsentAt = i.AbsentAt.Add(d)
	}
	return i
}

func shifted(is []closure.Intent, d time.Duration) []closure.Intent {
	out := make([]closure.Intent, len(is))
	for n, i := range is {
		out[n] = shift(i, d)
	}
	return out
}

func (b books) Load(ctx context.Context, id string) (closure.Closure, []closure.Intent, error) {
	b.p.gate("before load")
	if b.p.l.strikes("ledger down") {
		return closure.Closure{}, nil, errLedger
	}
	c, is, err := b.Ledger.Load(ctx, id)
	b.p.gate("after load")
	return c, shifted(is, -b.p.off), err
}

// commit carries out one transaction, with what may become of its answer.
func commit[T any](p *process, name string, none T, do func() (T, error)) (T, error) {
	p.gate("before " + name)
	l := p.l
	switch {
	case l.strikes("ledger down"):
		return none, errLedger
	case l.strikes("commit late"):
		l.tell("%s: its %s commits late", l.cur.what, name)
		l.after(l.between("commit late", 10*time.Millisecond, 20*time.Second), func() { _, _ = do() })
		p.gate("after " + name)
		return none, errCommit
	case l.strikes("commit lost"):
		l.tell("%s: its %s commits unheard", l.cur.what, name)
		_, _ = do()
		p.gate("after " + name)
		return none, errCommit
	}
	out, err := do()
	if errors.Is(err, ledger.ErrStale) {
		l.some("a " + name + " came too late and was fenced")
	}
	p.gate("after " + name)
	return out, err
}

type claimed struct {
	c  closure.Closure
	is []closure.Intent
}

func (b books) Claim(ctx context.Context, c closure.Closure, ch closure.Change, send []closure.Intent, ev closure.Event) (closure.Closure, []closure.Intent, error) {
	out, err := commit(b.p, "claim", claimed{c: c}, func() (claimed, error) {
		next, is, err := b.Ledger.Claim(context.WithoutCancel(ctx), c, ch, shifted(send, b.p.off), ev)
		if err == nil {
			b.p.l.note(next)
			b.p.l.noteClaim(is)
		}
		return claimed{next, is}, err
	})
	if err == nil && b.p.l.strikes("sleeper") {
		b.p.l.tell("%s sleeps between its claim and its last look at the clocks", b.p.l.cur.what)
		b.p.stand(b.p.l.between("sleeper", 20*time.Minute, long))
	}
	return out.c, shifted(out.is, -b.p.off), err
}

func (b books) Record(ctx context.Context, i closure.Intent, ev closure.Event) (closure.Intent, error) {
	return commit(b.p, "record", i, func() (closure.Intent, error) {
		out, err := b.Ledger.Record(context.WithoutCancel(ctx), shift(i, b.p.off), ev)
		if err == nil {
			b.p.l.noteAnswer(i, out, ev)
		}
		return shift(out, -b.p.off), err
	})
}

func (b books) Save(ctx context.Context, c closure.Closure, ch closure.Change, learned []ledger.Learned, evs ...closure.Event) (closure.Closure, error) {
	return commit(b.p, "save", c, func() (closure.Closure, error) {
		moved := make([]ledger.Learned, len(learned))
		for n, k := range learned {
			moved[n] = ledger.Learned{Was: k.Was, Intent: shift(k.Intent, b.p.off)}
		}
		next, err := b.Ledger.Save(context.WithoutCancel(ctx), c, ch, moved, evs...)
		if err == nil {
			for _, k := range learned {
				b.p.l.noteLearned(k)
			}
			b.p.l.noteRescue(c, next)
			b.p.l.note(next)
		}
		return next, err
	})
}

func (b books) Overdue(ctx context.Context, before time.Time, after closure.Closure, limit int) ([]closure.Closure, error) {
	b.p.gate("before the sweep's list")
	if b.p.l.strikes("ledger down") {
		return nil, errLedger
	}
	return b.Ledger.Overdue(ctx, before, after, limit)
}

func (b books) LeaseNotice(ctx context.Context, lease time.Duration) (ledger.Notice, error) {
	b.p.gate("before a letter")
	if b.p.l.strikes("ledger down") {
		b.p.l.letterBy(time.Now().Add(lease))
		return ledger.Notice{}, errLedger
	}
	n, err := b.Ledger.LeaseNotice(ctx, lease)
	if err == nil {
		b.p.l.letterBy(time.Now().Add(lease + time.Second)) // should this one not be delivered
	}
	return n, err
}

func (b books) NoticeLater(ctx context.Context, n ledger.Notice, d time.Duration, cause string, giveUp bool) error {
	b.p.l.letterBy(time.Now().Add(d + time.Second))
	return b.Ledger.NoticeLater(ctx, n, d, cause, giveUp)
}

// line is the queue as one process has it.
type line struct{ p *process }

func (q line) Schedule(_ context.Context, c closure.Closure) error {
	p, l := q.p, q.p.l
	p.gate("before schedule")
	if l.redisDown() {
		return errNoServer
	}
	now := time.Now().Add(p.off)
	m, at := messageOf(c, p.clock, time.Now())
	err := l.queue.enqueue(m, at.Add(p.off), now)
	if err == nil {
		l.comes(at.Add(p.off))
	}
	if err == nil && l.strikes("enqueue lost") {
		err = errNoServer
	}
	p.gate("after schedule")
	return err
}

func (q line) Look(_ context.Context, c closure.Closure) (tasks.Seen, error) {
	q.p.gate("before look")
	if q.p.l.redisDown() {
		return tasks.Seen{}, errNoServer
	}
	m, _ := messageOf(c, q.p.clock, time.Now())
	seen := q.p.l.queue.look(m, time.Now().Add(q.p.off))
	q.p.l.looked = seen
	if !seen.At.IsZero() {
		seen.At = seen.At.Add(-q.p.off)
	}
	return seen, nil
}

// post is the mail system.
type post struct{ p *process }

func (s post) Send(_ context.Context, m mail.Letter) error {
	s.p.gate("before handing over a letter")
	if s.p.l.strikes("letter refused") {
		return errors.New("451 try again later (simulated)")
	}
	s.p.l.letters[m.ID]++
	s.p.gate("after handing over a letter")
	return nil
}

// broker is the client as one process has it.
type broker struct {
	*alpaca.Client
	p *process
}

func (b broker) Dial(ctx context.Context) (*alpaca.Sender, error) {
	b.p.gate("before dial")
	if b.p.l.strikes("dial refused") || b.p.l.outage(true) != 0 {
		return nil, &alpaca.ConnError{Method: "CONNECT", Path: "the broker", Cause: errors.New("connection refused (simulated)")}
	}
	s, err := b.Client.Dial(ctx)
	b.p.gate("after dial")
	return s, err
}

// wire is the network between a process and the broker.
type wire struct {
	p    *process
	next http.RoundTripper
}

var errCut = errors.New("connection reset by peer (simulated)")

func (w wire) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := w.trip(r)
	if resp != nil {
		date := time.Now()
		if d, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
			date = d
		}
		resp.Header.Set("Date", date.Add(-w.p.off).UTC().Format(http.TimeFormat))
	}
	w.p.gate("after " + r.Method)
	if ctx := r.Context(); ctx.Err() != nil { // the process stood still for longer than it waits for an answer
		return nil, ctx.Err()
	}
	return resp, err
}

func (w wire) trip(r *http.Request) (*http.Response, error) {
	p, l := w.p, w.p.l
	if r.Method != http.MethodGet {
		p.mortal("before " + r.Method)
		return w.write(r)
	}
	p.gate("before GET")
	switch status := l.outage(false); {
	case status == 1:
		return nil, errCut
	case status != 0:
		return answer(r, status), nil
	case l.strikes("read refused"):
		return answer(r, 503), nil
	case l.strikes("read broken"):
		return answer(r, 400), nil
	case l.strikes("throttled"):
		return answer(r, 429), nil
	case l.strikes("slow"):
		w.wait(r, l.between("slow", 100*time.Millisecond, 25*time.Second))
	}
	resp, err := w.next.RoundTrip(r)
	if err == nil && resp.StatusCode == http.StatusOK && l.strikes("left out") {
		err = leaveOut(resp)
	}
	return resp, err
}

var sums = regexp.MustCompile(`"(cash|cash_withdrawable|qty|amount)":"[^"]*"`)

// leaveOut takes the sums and quantities out of an answer, as a broker may that does not know them for the moment.
func leaveOut(resp *http.Response) error {
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	body = sums.ReplaceAll(body, []byte(`"$1":""`))
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return err
}

// write is one instruction on its way. What is late is so by less than the quarantine, as ARCHITECTURE assumes.
func (w wire) write(r *http.Request) (*http.Response, error) {
	l := w.p.l
	const late = 24 * time.Minute
	l.payout(r)
	wrong := func(k Kind) int { return []int{500, 502, 504, 408}[l.pick(k, 4)] }
	switch status := l.outage(false); {
	case status == 1:
		return nil, errCut
	case status != 0:
		return answer(r, status), nil
	case l.strikes("throttled"):
		return answer(r, 429), nil
	case l.strikes("write refused"):
		l.twin(r)
		return answer(r, wrong("write refused")), nil
	case l.strikes("write lost"):
		l.twin(r)
		w.wait(r, time.Minute)
		return nil, errCut
	case l.strikes("answer lost"):
		l.lost(w.send(r))
		l.twin(r)
		w.wait(r, time.Minute)
		return nil, errCut
	case l.strikes("answer wrong"):
		l.lost(w.send(r))
		l.twin(r)
		return answer(r, wrong("answer wrong")), nil
	case l.strikes("listed late"):
		if err := l.sim.Chaos(lateBy(l.between("listed late", time.Second, late))); err != nil {
			panic(err)
		}
		resp, err := w.send(r)
		_ = l.sim.Chaos(noChaos)
		if l.pick("listed late", 2) == 0 {
			l.lost(resp, err)
			return nil, errCut
		}
		return resp, err
	case l.strikes("arrives late"):
		copied := r.Clone(context.WithoutCancel(r.Context()))
		l.after(l.between("arrives late", time.Second, late), func() { l.lost(w.next.RoundTrip(copied)) })
		l.twin(r)
		w.wait(r, time.Minute)
		return nil, errCut
	case l.strikes("slow"):
		w.wait(r, l.between("slow", 100*time.Millisecond, 25*time.Second))
		if r.Context().Err() != nil {
			return nil, r.Context().Err()
		}
	}
	return w.send(r)
}

func (w wire) send(r *http.Request) (*http.Response, error) { return w.next.RoundTrip(r) }

// wait is for an answer, no longer than the caller has patience.
func (w wire) wait(r *http.Request, d time.Duration) {
	if end, ok := r.Context().Deadline(); ok {
		d = min(d, time.Until(end)+time.Millisecond)
	}
	if d > 0 {
		w.p.stand(d)
	}
}

func answer(r *http.Request, status int) *http.Response {
	return &http.Response{
		StatusCode: status, Status: fmt.Sprint(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Date": {time.Now().UTC().Format(http.TimeFormat)}}, Body: http.NoBody, Request: r,
	}
}
