package simulation

import (
	"context"
	"errors"
	"time"

	"closeout/closure"
	"closeout/ledger"
	"closeout/mail"
	"closeout/tasks"
)

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

func (b books) Record(ctx context.Context, c closure.Closure, i closure.Intent, ev closure.Event) (closure.Closure, closure.Intent, error) {
	type recorded struct {
		c closure.Closure
		i closure.Intent
	}
	out, err := commit(b.p, "record", recorded{i: i}, func() (recorded, error) {
		row, out, err := b.Ledger.Record(context.WithoutCancel(ctx), c, shift(i, b.p.off), ev)
		if err == nil {
			b.p.l.noteAnswer(i, out, ev)
		}
		return recorded{row, shift(out, -b.p.off)}, err
	})
	return out.c, out.i, err
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

func (b books) Hasten(ctx context.Context, account string) (closure.Closure, bool, error) {
	type hastened struct {
		c     closure.Closure
		moved bool
	}
	out, err := commit(b.p, "wake", hastened{}, func() (hastened, error) {
		c, moved, err := b.Ledger.Hasten(context.WithoutCancel(ctx), account)
		switch {
		case err != nil:
		case moved:
			b.p.l.some("an event made a visit due")
			b.p.l.note(c)
		case !c.WokenAt.IsZero():
			b.p.l.some("an event met a due visit")
			b.p.l.note(c)
		}
		return hastened{c, moved}, err
	})
	return out.c, out.moved, err
}

func (b books) Overdue(ctx context.Context, before time.Time, after closure.Closure, limit int) ([]closure.Closure, error) {
	b.p.gate("before the sweep's list")
	if b.p.l.strikes("ledger down") {
		return nil, errLedger
	}
	return b.Ledger.Overdue(ctx, before, after, limit)
}

func (b books) NextNotice(ctx context.Context, sent *ledger.Notice, lease time.Duration) (ledger.Notice, closure.Closure, []closure.Intent, error) {
	b.p.gate("before a letter")
	if b.p.l.strikes("ledger down") {
		b.p.l.letterBy(time.Now().Add(lease))
		return ledger.Notice{}, closure.Closure{}, nil, errLedger
	}
	n, c, is, err := b.Ledger.NextNotice(ctx, sent, lease)
	if err == nil {
		b.p.l.letterBy(time.Now().Add(lease + time.Second)) // should this one not be delivered
	}
	return n, c, shifted(is, -b.p.off), err
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
