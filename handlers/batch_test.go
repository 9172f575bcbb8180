package handlers_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"closeout/alpaca"
	"closeout/alpaca/sim"
	"closeout/calendar"
	"closeout/closure"
	"closeout/handlers"
	"closeout/ledger"
	"closeout/readiness"
	"closeout/tasks"
)

// errKilled is what a process that is killed at a point dies of.
var errKilled = errors.New("killed here")

// plant is a ledger, a broker and a queue of bites for batches, without Asynq and without time.
type plant struct {
	testing.TB
	ledger  *ledger.Ledger
	sim     *sim.Sim
	broker  *alpaca.Client
	batches *handlers.Batches

	mu     sync.Mutex
	queued []tasks.Bite
	visits map[string]int
	points int
	killAt int // 0: never
	dead   bool
}

func newPlant(tb testing.TB) *plant {
	tb.Helper()
	p := &plant{TB: tb, visits: map[string]int{}}
	var err error
	p.ledger, err = ledger.Open(tb.Context(), ledger.Options{
		URL: "sqlite:" + filepath.Join(tb.TempDir(), "ledger.db"), Environment: closure.Sandbox, Policy: closure.DefaultPolicy(closure.Sandbox),
	})
	p.must(err)
	tb.Cleanup(func() { _ = p.ledger.Close() })
	p.sim, err = sim.Open(sim.Options{Key: "key", Secret: "secret"})
	p.must(err)
	tb.Cleanup(func() { _ = p.sim.Close() })
	p.broker, err = alpaca.New(alpaca.Options{BaseURL: "http://broker.test", Key: "key", Secret: "secret", Transport: p.sim.Transport()})
	p.must(err)
	log := logrus.New()
	log.SetLevel(logrus.PanicLevel)
	p.batches = &handlers.Batches{
		Ledger: deadly{p.ledger, p}, Queue: p, Timing: closure.ShortTiming, Log: log,
		Readiness: &readiness.Checker{Broker: p.broker, Calendar: calendar.Rules, Policy: closure.DefaultPolicy(closure.Sandbox)},
	}
	return p
}

func (p *plant) must(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

// point is where a process can be killed: before or after a write, and before a task is enqueued. What is killed does nothing
// any more.
func (p *plant) point() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return errKilled
	}
	if p.points++; p.points == p.killAt {
		p.dead = true
		return errKilled
	}
	return nil
}

// deadly is a ledger in whose calls a process can be killed.
type deadly struct {
	*ledger.Ledger
	p *plant
}

func around[T any](p *plant, do func() (T, error)) (T, error) {
	var none T
	if err := p.point(); err != nil {
		return none, err
	}
	v, err := do()
	if err != nil {
		return v, err
	}
	if err := p.point(); err != nil {
		return none, err
	}
	return v, nil
}

func (d deadly) MoveBatch(ctx context.Context, b ledger.Batch) (ledger.Batch, error) {
	return around(d.p, func() (ledger.Batch, error) { return d.Ledger.MoveBatch(ctx, b) })
}

func (d deadly) NoteRow(ctx context.Context, batch string, was ledger.RowState, r ledger.BatchRow) error {
	_, err := around(d.p, func() (bool, error) { return true, d.Ledger.NoteRow(ctx, batch, was, r) })
	return err
}

func (d deadly) Create(ctx context.Context, w ledger.Wish, replies ...*ledger.Reply[closure.Closure]) (closure.Closure, bool, error) {
	type made struct {
		c       closure.Closure
		created bool
	}
	m, err := around(d.p, func() (made, error) {
		c, created, err := d.Ledger.Create(ctx, w, replies...)
		return made{c, created}, err
	})
	return m.c, m.created, err
}

func (p *plant) Schedule(_ context.Context, c closure.Closure) error {
	if err := p.point(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.visits[c.ID]++
	return nil
}

func (p *plant) ScheduleBite(_ context.Context, b tasks.Bite) error {
	if err := p.point(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, q := range p.queued {
		if q.ID() == b.ID() {
			return tasks.ErrConflict
		}
	}
	p.queued = append(p.queued, b)
	return nil
}

func (p *plant) LookBite(context.Context, tasks.Bite) (tasks.Seen, error) {
	return tasks.Seen{Condition: tasks.Waiting}, nil
}

// run carries out bites, with so many copies of each, until none is queued. After a kill the task is gone as with a Redis
// that was emptied, and the sweep of a new process finds the batch.
func (p *plant) run(copies int) {
	p.Helper()
	for range 1000 {
		if p.dead {
			p.dead, p.killAt, p.queued = false, 0, nil
		}
		if len(p.queued) == 0 {
			timing := p.batches.Timing
			p.batches.Timing.Grace = -time.Minute // so that the sweep finds what is due now
			err := p.batches.Sweep(p.Context())
			p.batches.Timing = timing
			if errors.Is(err, errKilled) {
				continue
			}
			if p.must(err); len(p.queued) == 0 {
				return
			}
		}
		b := p.queued[0]
		p.queued = p.queued[1:]
		var wg sync.WaitGroup
		for range copies {
			wg.Go(func() {
				if err := p.batches.Bite(p.Context(), b.BitePayload); err != nil && !errors.Is(err, errKilled) {
					p.Error(err)
				}
			})
		}
		wg.Wait()
	}
	p.Fatal("the batch never ends")
}

// rows are n accounts that can be closed.
func (p *plant) rows(n int) (rows []ledger.BatchRow) {
	p.Helper()
	for i := range n {
		id, err := p.sim.AddAccount(sim.Spec{Cash: d("100")})
		p.must(err)
		banks, err := p.broker.Relationships(p.Context(), id)
		p.must(err)
		rows = append(rows, ledger.BatchRow{N: i, AccountID: id, RelationshipID: banks[0].ID, Obstacles: "[]"})
	}
	return rows
}

func (p *plant) create(b ledger.Batch, rows []ledger.BatchRow) string {
	p.Helper()
	b.Priority, b.Actor = closure.Bulk, "test"
	b, err := p.ledger.CreateBatch(p.Context(), b, rows)
	p.must(err)
	return b.ID
}

// ended demands how a batch ended, its rows' states, and that each started row has a closure of its own.
func (p *plant) ended(id string, want ledger.BatchState, counts string) {
	p.Helper()
	b, err := p.ledger.Batch(p.Context(), id)
	p.must(err)
	n, err := p.ledger.CountRows(p.Context(), id)
	p.must(err)
	if b.State != want || fmt.Sprint(n) != counts {
		p.Errorf("the batch is %s (%s) with %v, want %s with %s", b.State, b.Why, n, want, counts)
	}
	rows, err := p.ledger.BatchRows(p.Context(), id, -1, 1000, ledger.RowStarted)
	p.must(err)
	seen := map[string]bool{}
	for _, r := range rows {
		c, err := p.ledger.Get(p.Context(), r.ClosureID)
		if err != nil || c.AccountID != r.AccountID || c.BatchID != id || seen[c.ID] || c.Fingerprint == "" {
			p.Errorf("row %d has the closure %+v: %v", r.N, c, err)
		}
		seen[c.ID] = true
	}
	all, err := p.ledger.List(p.Context(), ledger.Filter{BatchID: id}, ledger.Page{Limit: 1000})
	if err != nil || len(all) != len(rows) {
		p.Errorf("%d closures of %d rows: %v", len(all), len(rows), err)
	}
}

// A worker that is killed at any point, with Redis emptied at that moment, costs nothing: each account is started once.
func TestABatchSurvivesAKillAtEveryPoint(t *testing.T) {
	for _, partial := range []bool{false, true} {
		kills, p := 0, newPlant(t)
		for at := 1; ; at++ {
			id := p.create(ledger.Batch{Partial: partial}, p.rows(3))
			p.points, p.killAt = 0, at
			p.run(1)
			p.ended(id, ledger.BatchDone, "map[started:3]")
			if p.killAt != 0 {
				break // it was never reached
			}
			if kills = at; t.Failed() {
				t.Fatalf("killed at point %d, partial %t", at, partial)
			}
		}
		t.Logf("partial %t: killed at each of %d points", partial, kills)
		if kills < 12 {
			t.Errorf("only %d points", kills)
		}
	}
}

func TestTwoCopiesOfABiteDoNoHarm(t *testing.T) {
	p := newPlant(t)
	id := p.create(ledger.Batch{}, p.rows(20))
	p.run(3)
	p.ended(id, ledger.BatchDone, "map[started:20]")
	for c, n := range p.visits {
		if n != 1 {
			t.Errorf("closure %s was scheduled %d times", c, n)
		}
	}
	p = newPlant(t)
	id = p.create(ledger.Batch{Partial: true}, p.rows(20))
	p.run(3)
	p.ended(id, ledger.BatchDone, "map[started:20]")
}

// A broker that does not answer is waited for, and nothing is refused for it; one account that can't be read is, in the end.
func TestABatchWaitsOutTheBrokersSilence(t *testing.T) {
	p := newPlant(t)
	rows := p.rows(10)
	id := p.create(ledger.Batch{}, rows)
	p.must(p.sim.Chaos(sim.Chaos{Rules: []sim.Rule{{Method: "GET", Probability: 1, Fault: sim.FaultError, Status: 503}}}))
	for range 30 {
		b, err := p.ledger.Batch(t.Context(), id)
		p.must(err)
		before := time.Now()
		p.must(p.batches.Bite(t.Context(), handlers.BatchTask(b).BitePayload))
		if b, err = p.ledger.Batch(t.Context(), id); err != nil || b.State != ledger.BatchChecking || b.DueAt.Before(before.Add(closure.ShortTiming.Probe/2)) {
			t.Fatalf("in the silence: %+v, %v", b, err)
		}
	}
	n, err := p.ledger.CountRows(t.Context(), id)
	if p.must(err); n[ledger.RowWaiting] != 10 {
		t.Errorf("in the silence: %v", n)
	}
	p.must(p.sim.Chaos(sim.Chaos{Rules: []sim.Rule{{Method: "GET", Path: rows[4].AccountID, Probability: 1, Fault: sim.FaultError, Status: 418}}}))
	p.queued = nil
	p.run(1)
	p.ended(id, ledger.BatchRefused, "map[ready:9 refused:1]")
	bad, err := p.ledger.BatchRows(t.Context(), id, -1, 10, ledger.RowRefused)
	if p.must(err); len(bad) != 1 || bad[0].N != 4 || bad[0].Tries < 5 {
		t.Errorf("refused: %+v", bad)
	}
}

// held refuses calls as a budget does that is used up.
type heldBudget struct {
	handlers.Budget
	mu     sync.Mutex
	left   int
	inTurn []bool
}

func (h *heldBudget) Visit(ctx context.Context, _ string, calls int, inTurn bool) (context.Context, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.inTurn = append(h.inTurn, inTurn)
	if h.left < calls && !inTurn {
		return ctx, &alpaca.HeldError{Why: alpaca.HoldBusy, For: 40 * time.Second, Place: true}
	}
	h.left -= calls
	return ctx, nil
}

// A bite ends where the budget does, keeps its place in the queue of looks, and takes it up when its turn has come.
func TestABatchKeepsItsPlaceInTheQueueOfLooks(t *testing.T) {
	p := newPlant(t)
	budget := &heldBudget{left: 16}
	p.batches.Budget = budget
	id := p.create(ledger.Batch{DryRun: true}, p.rows(5))
	b, err := p.ledger.Batch(t.Context(), id)
	p.must(err)
	p.must(p.batches.Bite(t.Context(), handlers.BatchTask(b).BitePayload))
	b, err = p.ledger.Batch(t.Context(), id)
	if p.must(err); !b.Placed || time.Until(b.DueAt) < 30*time.Second || b.Why == "" {
		t.Errorf("held: %+v", b)
	}
	n, err := p.ledger.CountRows(t.Context(), id)
	if p.must(err); n[ledger.RowReady] != 2 {
		t.Errorf("sixteen calls checked %v", n)
	}
	budget.inTurn = nil
	p.must(p.batches.Bite(t.Context(), handlers.BatchTask(b).BitePayload))
	if !budget.inTurn[0] || len(budget.inTurn) != 2 || budget.inTurn[1] {
		t.Errorf("in turn: %v", budget.inTurn)
	}
}
