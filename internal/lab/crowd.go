package lab

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/sirupsen/logrus"

	"closeout/alpaca"
	"closeout/alpaca/sim"
	"closeout/calendar"
	"closeout/closure"
	"closeout/handlers"
	"closeout/ledger"
	"closeout/tasks"
)

// Crowd is very many closures in the hands of several worker processes at once, in virtual time: the handlers, the client
// and the simulator are real, and rows and queue are a bare lab's. It is for tests about how much is asked of the broker.
type Crowd struct {
	TB     testing.TB
	Sim    *sim.Sim
	Policy closure.Policy
	Timing closure.Timing

	// Wire stands between the clients and the simulator. Gate gives each process its budget; nil: none.
	Wire func(http.RoundTripper) http.RoundTripper
	Gate func(process int) (alpaca.Gate, handlers.Budget)

	// Saved is told of each row that has moved; the crowd stands still meanwhile.
	Saved func(before, after closure.Closure)

	mu     sync.Mutex
	shelf  shelf
	due    dues
	kick   chan struct{}
	visits int
	errs   []error
}

// NewCrowd makes a crowd of nobody, at the present virtual time. Its fields may be set until Run.
func NewCrowd(tb testing.TB, o sim.Options) *Crowd {
	tb.Helper()
	o.Key, o.Secret = "key", "secret"
	c := &Crowd{TB: tb, Sim: must(sim.Open(o))(tb), Policy: closure.DefaultPolicy(closure.Sandbox), Timing: closure.DefaultTiming, kick: make(chan struct{}, 1)}
	c.shelf = shelf{policy: c.Policy, rows: map[string]*row{}}
	return c
}

// Add puts a closure of an account of the simulator's in a phase, due at a time. It pays to the account's bank, if there is
// one: reading that may take virtual time, where the simulator has a limit.
func (c *Crowd) Add(account string, phase closure.Phase, due time.Time) {
	c.TB.Helper()
	var bank alpaca.Relationship
	if len(must(c.Sim.Truth(account))(c.TB).ACHRelationships) > 0 {
		client := must(alpaca.New(alpaca.Options{BaseURL: "http://broker.test", Key: "key", Secret: "secret", Transport: c.Sim.Transport()}))(c.TB)
		banks, err := client.Relationships(c.TB.Context(), account)
		for ; alpaca.Unavailable(err); banks, err = client.Relationships(c.TB.Context(), account) {
			time.Sleep(time.Minute)
		}
		bank = must(banks, err)(c.TB)[0]
	}
	now := time.Now().UTC()
	row := &row{Closure: closure.Closure{
		ID: fmt.Sprintf("c%06d", len(c.shelf.rows)), AccountID: account, Environment: closure.Sandbox, Priority: closure.Normal,
		RelationshipID: bank.ID, Fingerprint: bank.Fingerprint, Phase: phase, State: closure.Running, Version: 1, Token: "1",
		DueAt: due.UTC(), Reason: closure.Settling, Why: "as it was", CreatedAt: now, UpdatedAt: now, StartedAt: now, EnteredAt: now,
	}}
	c.shelf.rows[row.ID] = row
	heap.Push(&c.due, row.Closure)
}

// Rows are the closures as they stand.
func (c *Crowd) Rows() (out []closure.Closure) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.shelf.rows {
		out = append(out, r.Closure)
	}
	return out
}

// Visits is how many there were.
func (c *Crowd) Visits() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.visits
}

// Events are all that stands in the histories.
func (c *Crowd) Events() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.shelf.rows {
		n += len(r.events)
	}
	return n
}

// Run lets processes with so many hands each carry out what is due, for so long.
func (c *Crowd) Run(processes, hands int, d time.Duration) {
	c.TB.Helper()
	end := time.Now().Add(d)
	jobs := make(chan closure.Closure)
	var wg sync.WaitGroup
	for p := range processes {
		run := c.process(p)
		for range hands {
			wg.Go(func() {
				for job := range jobs {
					c.visit(run, job)
				}
			})
		}
	}
	for {
		job, at := c.next()
		if at.After(end) {
			break
		}
		wait := time.NewTimer(time.Until(at))
		select {
		case <-wait.C:
			if job, ok := c.pop(job); ok {
				jobs <- job
			}
		case <-c.kick: // something else may be due before it
		}
		wait.Stop()
	}
	time.Sleep(time.Until(end))
	close(jobs)
	wg.Wait()
	if len(c.errs) > 0 {
		c.TB.Errorf("%d visits ended in errors, the first: %v", len(c.errs), c.errs[0])
	}
}

// next is what is due first, and when the queue would hand it out: Asynq knows whole seconds.
func (c *Crowd) next() (closure.Closure, time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.due) == 0 {
		return closure.Closure{}, time.Now().Add(time.Hour)
	}
	return c.due[0], c.due[0].DueAt.Add(time.Second - 1).Truncate(time.Second)
}

func (c *Crowd) pop(want closure.Closure) (closure.Closure, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.due) == 0 || c.due[0].ID != want.ID {
		return want, false
	}
	return heap.Pop(&c.due).(closure.Closure), true
}

func (c *Crowd) process(n int) *handlers.Runner {
	log := logrus.New()
	log.SetLevel(logrus.PanicLevel)
	cal := calendar.Rules()
	run := &handlers.Runner{Ledger: crowded{nil, c}, Queue: crowded{nil, c}, Calendar: func() *calendar.Calendar { return cal }, Policy: c.Policy, Timing: c.Timing, Log: log}
	o := alpaca.Options{BaseURL: "http://broker.test", Key: "key", Secret: "secret", Transport: c.Sim.Transport()}
	if c.Wire != nil {
		o.Transport = c.Wire(o.Transport)
	}
	if c.Gate != nil {
		o.Gate, run.Budget = c.Gate(n)
	}
	run.Broker = must(alpaca.New(o))(c.TB)
	return run
}

func (c *Crowd) visit(run *handlers.Runner, job closure.Closure) {
	err := run.Visit(context.WithoutCancel(c.TB.Context()), handlers.Delivery{Payload: tasks.PayloadOf(job)})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.visits++
	if err != nil && !errors.Is(err, asynq.SkipRetry) { // a stopped closure is the test's to find
		c.errs = append(c.errs, err)
	}
}

// crowded is the crowd's ledger and queue: a bare lab's, for one at a time.
type crowded struct {
	*ledger.Ledger // what a crowd has no use for
	c              *Crowd
}

func (s crowded) Load(ctx context.Context, id string) (closure.Closure, []closure.Intent, error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.c.shelf.Load(ctx, id)
}

func (s crowded) Claim(ctx context.Context, c closure.Closure, ch closure.Change, send []closure.Intent, ev closure.Event) (closure.Closure, []closure.Intent, error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.c.shelf.Claim(ctx, c, ch, send, ev)
}

func (s crowded) Record(ctx context.Context, c closure.Closure, i closure.Intent, ev closure.Event) (closure.Closure, closure.Intent, error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.c.shelf.Record(ctx, c, i, ev)
}

func (s crowded) Save(ctx context.Context, c closure.Closure, ch closure.Change, learned []ledger.Learned, evs ...closure.Event) (closure.Closure, error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	next, err := s.c.shelf.Save(ctx, c, ch, learned, evs...)
	if err == nil && s.c.Saved != nil {
		s.c.Saved(c, next)
	}
	return next, err
}

func (s crowded) Schedule(ctx context.Context, c closure.Closure) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if err := s.c.due.Schedule(ctx, c); err != nil {
		return err
	}
	if s.c.due[0].ID == c.ID {
		select {
		case s.c.kick <- struct{}{}:
		default:
		}
	}
	return nil
}

func (s crowded) Look(context.Context, closure.Closure) (tasks.Seen, error) { return tasks.Seen{}, nil }
