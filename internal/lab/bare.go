package lab

import (
	"container/heap"
	"context"
	"fmt"
	"strconv"
	"time"

	"closeout/closure"
	"closeout/ledger"
	"closeout/tasks"
)

// Drive lets virtual time pass in a bare lab: each closure is visited when it is due.
func (l *Lab) Drive(d time.Duration) {
	l.TB.Helper()
	end := time.Now().Add(d)
	for len(l.due) > 0 && !l.due[0].DueAt.After(end) {
		c := heap.Pop(&l.due).(closure.Closure)
		time.Sleep(time.Until(c.DueAt))
		if err := l.Deliver(c); err != nil && l.Get(c.ID).State == closure.Running {
			l.TB.Fatalf("visit of %s: %v", c.ID, err)
		}
		time.Sleep(time.Millisecond) // which a visit takes at least: one that is due at once again must not stop the clock
	}
	time.Sleep(time.Until(end))
}

// dues is a bare lab's queue: the closures that were scheduled, the one that is due first in front.
type dues []closure.Closure

func (q *dues) Schedule(_ context.Context, c closure.Closure) error {
	heap.Push(q, c)
	return nil
}

// Look answers a sweep, and a bare lab has none: nothing is ever lost in it.
func (q *dues) Look(context.Context, closure.Closure) (tasks.Seen, error) { return tasks.Seen{}, nil }

func (q dues) Len() int           { return len(q) }
func (q dues) Less(i, j int) bool { return q[i].DueAt.Before(q[j].DueAt) }
func (q dues) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *dues) Push(c any)        { *q = append(*q, c.(closure.Closure)) }
func (q *dues) Pop() any {
	last := len(*q) - 1
	c := (*q)[last]
	*q = (*q)[:last]
	return c
}

// shelf is a bare lab's ledger: rows that the real one has accepted, kept in memory from then on. It keeps the promises
// that visits rest on (compare-and-set, Apply, a claim before its intents, one transfer a banking day), and none of
// those about disks.
type shelf struct {
	*ledger.Ledger
	policy closure.Policy
	rows   map[string]*row
}

type row struct {
	closure.Closure
	intents []closure.Intent
	events  []closure.Event
}

func (s *shelf) Load(ctx context.Context, id string) (closure.Closure, []closure.Intent, error) {
	r, ok := s.rows[id]
	if !ok {
		c, err := s.Ledger.Get(ctx, id)
		if err != nil {
			return c, nil, err
		}
		r = &row{Closure: c}
		s.rows[id] = r
	}
	return r.Closure, append([]closure.Intent(nil), r.intents...), nil
}

func (s *shelf) Get(ctx context.Context, id string) (closure.Closure, error) {
	c, _, err := s.Load(ctx, id)
	return c, err
}

// apply changes the row where it is still the one that the visit has read.
func (s *shelf) apply(c closure.Closure, ch closure.Change) (*row, *closure.Event, error) {
	r := s.rows[c.ID]
	if r.Version != c.Version || r.Token != c.Token || r.State != c.State {
		return nil, nil, ledger.ErrStale
	}
	next, ev, err := closure.Apply(r.Closure, ch, s.policy)
	if err != nil {
		return nil, nil, err
	}
	if next.Version != c.Version {
		next.Token = strconv.FormatInt(next.Version, 10)
	}
	r.Closure = next
	return r, ev, nil
}

func (s *shelf) Claim(_ context.Context, c closure.Closure, ch closure.Change, send []closure.Intent, ev closure.Event) (closure.Closure, []closure.Intent, error) {
	r, _, err := s.apply(c, ch)
	if err != nil {
		return c, nil, err
	}
	for n, i := range send {
		for _, o := range r.intents {
			if i.ID != "" || i.Kind == closure.TransferIntent && o.Kind == i.Kind && o.State != closure.IntentRefused && (o.State == closure.IntentSending || o.BankingDay == i.BankingDay) {
				return c, nil, fmt.Errorf("a bare lab does not know of sending again: %+v after %+v", i, o)
			}
		}
		i.ID = fmt.Sprintf("%s/%d/%d", c.ID, r.Version, n)
		i.ClosureID, i.Environment, i.AccountID = c.ID, c.Environment, c.AccountID
		i.Key, i.N, i.State = r.Version, n, closure.IntentSending
		send[n] = i
	}
	r.intents = append(r.intents, send...)
	r.events = append(r.events, ev)
	return r.Closure, send, nil
}

// command is what an operator asks: decided and applied on the row as it is, and due when it says.
func (s *shelf) command(ctx context.Context, id string, decide Decide) (closure.Closure, error) {
	if _, _, err := s.Load(ctx, id); err != nil {
		return closure.Closure{}, err
	}
	r := s.rows[id]
	ch, err := decide(r.Closure, r.intents)
	if err != nil {
		return r.Closure, err
	}
	r, ev, err := s.apply(r.Closure, ch)
	if err != nil {
		return closure.Closure{}, err
	}
	if i, ok := ch.Settled(); ok {
		for n := range r.intents {
			if r.intents[n].ID == i.ID {
				r.intents[n] = i
			}
		}
	}
	if ev != nil {
		r.events = append(r.events, *ev)
	}
	return r.Closure, nil
}

func (s *shelf) Record(_ context.Context, _ closure.Closure, i closure.Intent, ev closure.Event) (closure.Closure, closure.Intent, error) {
	r := s.rows[i.ClosureID]
	r.events = append(r.events, ev)
	return r.Closure, i, r.learn(closure.IntentSending, i)
}

func (s *shelf) Save(_ context.Context, c closure.Closure, ch closure.Change, learned []ledger.Learned, evs ...closure.Event) (closure.Closure, error) {
	r, ev, err := s.apply(c, ch)
	if err != nil {
		return c, err
	}
	for _, i := range learned {
		if err := r.learn(i.Was, i.Intent); err != nil {
			return c, err
		}
	}
	r.events = append(r.events, evs...)
	if ev != nil {
		r.events = append(r.events, *ev)
	}
	return r.Closure, nil
}

func (r *row) learn(was closure.IntentState, i closure.Intent) error {
	for n := range r.intents {
		if o := &r.intents[n]; o.ID == i.ID && o.State == was {
			*o = i
			return nil
		}
	}
	return ledger.ErrStale
}

// History is the row's events, one line each.
func (r *row) History() (lines string) {
	for n, e := range r.events {
		lines += fmt.Sprintf("%3d %s %s: %s\n", n+1, newYork(e.At), e.Kind, e.Text)
	}
	return lines
}
