package budget_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"closeout/alpaca"
	"closeout/budget"
	"closeout/closure"
	"closeout/tasks"
	"closeout/worker"
)

// fair is a worker's Asynq with its queues and the shared budget, in virtual time. Its visits are stand-ins: they take their
// calls as the runner does, as a look or before the queue of looks, and then the broker's time.
type fair struct {
	testing.TB
	queue  *tasks.Queue
	budget *budget.Budget

	mu    sync.Mutex
	open  map[string]closure.Closure // present versions, by id
	waits map[closure.Priority][]time.Duration
	looks int // of bulk closures that were held
}

// visitsOfOne is how many visits a closure makes one right after the other: liquidation, settlement, withdrawal.
const visitsOfOne = 3

func (f *fair) put(ctx context.Context, c closure.Closure) {
	f.Helper()
	f.mu.Lock()
	f.open[c.ID] = c
	f.mu.Unlock()
	if err := f.queue.Schedule(ctx, c); err != nil {
		f.Error(err)
	}
}

func (f *fair) visit(ctx context.Context, t *asynq.Task) error {
	p, err := tasks.ParsePayload(t.Payload())
	if err != nil {
		return err
	}
	f.mu.Lock()
	c := f.open[p.ClosureID]
	f.mu.Unlock()
	if c.Priority != closure.Bulk || c.Looks > 0 { // as the runner asks for a first visit, and for one that has just gone on
		_, err = f.budget.Ask(ctx, c.ID, 3)
	} else {
		_, err = f.budget.Visit(ctx, c.ID, 3, c.Reason == closure.BrokerBusy)
	}
	if h, ok := errors.AsType[*alpaca.HeldError](err); ok {
		c.Version, c.Reason, c.LookBy = c.Version+1, closure.BrokerBusy, c.DueAt
		c.DueAt = time.Now().Add(h.For)
		f.mu.Lock()
		f.looks++
		f.mu.Unlock()
		f.put(ctx, c)
		return nil
	}
	if err != nil {
		return err
	}
	due := c.DueAt
	if !c.LookBy.IsZero() {
		due = c.LookBy // before it was held
	}
	f.mu.Lock()
	f.waits[c.Priority] = append(f.waits[c.Priority], time.Since(due))
	f.mu.Unlock()
	time.Sleep(400 * time.Millisecond) // the broker's time
	if c.Looks++; c.Looks < visitsOfOne {
		c.Version, c.Reason, c.LookBy, c.DueAt = c.Version+1, "", time.Time{}, time.Now()
		f.put(ctx, c)
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.open, c.ID)
	return nil
}

func (f *fair) left(p closure.Priority) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.open {
		if c.Priority == p {
			n++
		}
	}
	return n
}

// Thousands of bulk closures are due, and take minutes of the broker's budget and of every hand; an urgent one and a usual
// one come every five seconds. Each visit of an urgent one starts within seconds of its time all the same, and the bulk goes
// on meanwhile.
func TestACrowdOfBulkCannotStarveWhatIsUrgent(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	t.Parallel()
	virtual(t, func(b *bench) {
		const bulk, others = 3000, 16
		rdb := redis.NewClient(&redis.Options{
			Addr: "127.0.0.1:6379", Protocol: 2, DisableIdentity: true, ReadTimeout: -1, WriteTimeout: -1,
			Dialer: func(context.Context, string, string) (net.Conn, error) { return b.mini.Dial() },
		})
		f := &fair{TB: b.TB, open: map[string]closure.Closure{}, waits: map[closure.Priority][]time.Duration{}}
		f.queue = tasks.NewQueue(rdb, closure.Clock{}, closure.DefaultTiming.Task)
		f.budget = b.process(1000)
		one := func(p closure.Priority, n int) closure.Closure {
			return closure.Closure{ID: fmt.Sprintf("%s-%05d", p, n), Version: 1, Token: "t", Priority: p, Phase: closure.Liquidation, State: closure.Running, DueAt: time.Now()}
		}
		for n := range bulk {
			f.put(b.Context(), one(closure.Bulk, n))
		}
		srv := worker.Server(worker.Options{Redis: rdb, Timing: closure.DefaultTiming, Log: b.log.logger()})
		mux := asynq.NewServeMux()
		mux.HandleFunc(tasks.TypeOf(closure.Liquidation), f.visit)
		if err := srv.Start(mux); err != nil {
			b.Fatal(err)
		}
		began := time.Now()
		for n := range others {
			time.Sleep(5 * time.Second)
			f.put(b.Context(), one(closure.Urgent, n))
			f.put(b.Context(), one(closure.Normal, n))
		}
		for f.left(closure.Urgent) > 0 && time.Since(began) < time.Hour {
			time.Sleep(time.Second)
		}
		took, left := time.Since(began), f.left(closure.Bulk)
		srv.Shutdown()
		synctest.Wait()
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, p := range []closure.Priority{closure.Urgent, closure.Normal, closure.Bulk} {
			w := f.waits[p]
			if slices.Sort(w); len(w) == 0 {
				b.Errorf("%s: no visit at all", p)
				continue
			}
			b.Logf("%-6s %4d visits in %s; from due to begun: median %s, worst %s", p, len(w), took.Round(time.Second),
				w[len(w)/2].Round(time.Millisecond), w[len(w)-1].Round(time.Millisecond))
		}
		b.Logf("%d looks were given a later place; %d of %d bulk closures were still open", f.looks, left, bulk)
		if left == 0 {
			b.Error("the bulk was done too soon to be in anybody's way")
		}
		urgent := f.waits[closure.Urgent]
		if len(urgent) != others*visitsOfOne || urgent[len(urgent)-1] > 10*time.Second {
			b.Errorf("%d visits of urgent closures, the last began %s late", len(urgent), urgent[max(0, len(urgent)-1):])
		}
		if len(f.waits[closure.Bulk]) < 200 {
			b.Errorf("the bulk had only %d visits", len(f.waits[closure.Bulk]))
		}
		_ = rdb.Close()
	})
}
