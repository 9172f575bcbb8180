package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// Options say what is measured, and on what.
type Options struct {
	Closures int
	Asynq    asynq.Config // of the worker, for the floor's

	Redis    redis.UniversalClient
	DB       *sql.DB // a way of the bench's own into the ledger's database
	SQLite   bool
	Embedded bool // Redis is in this process

	Transport   http.RoundTripper // to the simulated broker, unrecorded
	Broker      string            // its address
	Key, Secret string

	Recorder *Recorder
	Service  Service
}

// Service is the whole of it, in this process.
type Service struct {
	// Accounts makes so many accounts at the simulated broker, of three kinds in turn, each with an approved bank.
	Accounts func(n int) ([]Account, error)
	// Initiate asks the API's door to close an account; later: not yet for months. Cancel takes that back.
	Initiate func(ctx context.Context, a Account, later bool) error
	Cancel   func(ctx context.Context, a Account) error
	// Begin writes a closure of an account into the ledger, and Keep reads it and writes it so many times, each with an event: the ledger
	// alone.
	Begin func(ctx context.Context, a Account) error
	Keep  func(ctx context.Context, a Account, times int) error
	// Work is a worker's life, until ctx ends.
	Work func(ctx context.Context) error
	// Closed is how many closures are done by now, and Letters how many of their letters have gone out, two of each.
	Closed, Letters func() int
	// Stopped is an error once a closure has come to another end.
	Stopped func() error
	// Lives is how long each closed closure took from its acceptance to its end, in machine time.
	Lives func(ctx context.Context) ([]time.Duration, error)
}

// Account is one of the simulated broker's.
type Account struct{ ID, Bank string }

// kinds is how many kinds of accounts there are.
const kinds = 3

// Counts is what was done, of all closures together.
type Counts struct{ Closures, Visits, Timers, Commits, Statements, Calls, Writes int }

// Measured is one of the two: the service, or the floor.
type Measured struct {
	Took time.Duration
	CPU  CPU
}

// Outcome is all that was found.
type Outcome struct {
	Counts
	Service, Floor     Measured
	Kept               Measured         // the floor that keeps its rows in the service's ledger
	Lives, Late        [2]time.Duration // p50 and p99
	WaitingRedis       *float64         // bytes a waiting closure; nil: not known
	WaitingLedger      *float64
	ClosedLedger       *float64 // bytes a closed closure
	Resident, Highest  int64    // this process's memory in bytes
	Accepted           Measured // the initiates of closures that wait
	WaitingClosures    int
	SleptOnAverage     time.Duration
	RoundTripsPerVisit float64
}

// ErrNotEmpty refuses servers on which something stands: the bench makes thousands of closures.
var ErrNotEmpty = errors.New("the bench wants a database and a Redis of its own, both empty")

// waiting is how many closures wait while bytes are counted.
const waiting = 2000

// Run measures the service and then the floor.
func Run(ctx context.Context, o Options, say func(string)) (out Outcome, err error) {
	m, err := newMeter(ctx, o)
	if err != nil {
		return out, err
	}
	if err := o.wait(ctx, &out, m, say); err != nil {
		return out, fmt.Errorf("measure what waits: %w", err)
	}
	accounts, err := o.Service.Accounts(o.Closures)
	if err != nil {
		return out, err
	}
	say(fmt.Sprintf("closing %d accounts", o.Closures))
	reads, err := o.close(ctx, &out, m, accounts)
	if err != nil {
		return out, fmt.Errorf("measure the service: %w", err)
	}
	out.Resident, out.Highest = Resident()
	if err := o.judge(ctx, &out); err != nil {
		return out, err
	}
	say(fmt.Sprintf("the floor: %d chains of %.1f tasks, %.1f commits and %.1f calls", o.Closures, out.Per(out.Visits), out.Per(out.Commits), out.Per(out.Calls)))
	if out.Floor, err = o.floor(ctx, m, out, reads, false); err != nil {
		return out, fmt.Errorf("measure the floor: %w", err)
	}
	say("the same chains in the service's ledger")
	if out.Kept, err = o.floor(ctx, m, out, reads, true); err != nil {
		return out, fmt.Errorf("measure the ledger: %w", err)
	}
	return out, nil
}

// floor measures as many chains as there were closures, on accounts of their own.
func (o Options) floor(ctx context.Context, m meter, out Outcome, reads [][]string, kept bool) (Measured, error) {
	accounts, err := o.Service.Accounts(o.Closures)
	if err != nil {
		return Measured{}, err
	}
	f := &floor{Options: o, kept: kept, counts: out.Counts, accounts: accounts, reads: reads, client: asynq.NewClientFromRedisClient(o.Redis), sleep: out.SleptOnAverage}
	return measured(ctx, m, f.run)
}

// judge reads how long the closures lived.
func (o Options) judge(ctx context.Context, out *Outcome) error {
	lives, err := o.Service.Lives(ctx)
	if err != nil {
		return err
	}
	if len(lives) != o.Closures {
		return fmt.Errorf("%d of %d closures are closed", len(lives), o.Closures)
	}
	out.Lives = [2]time.Duration{quantile(lives, 0.5), quantile(lives, 0.99)}
	out.Late = [2]time.Duration{o.Recorder.Late(0.5), o.Recorder.Late(0.99)}
	return nil
}

// Per is a number of things, for one closure.
func (c Counts) Per(n int) float64 { return float64(n) / float64(c.Closures) }

// wait initiates closures that start in years, and sees what each of them holds.
func (o Options) wait(ctx context.Context, out *Outcome, m meter, say func(string)) error {
	n := min(o.Closures, waiting)
	say(fmt.Sprintf("initiating %d closures that wait", n))
	accounts, err := o.Service.Accounts(n + 100)
	if err != nil {
		return err
	}
	initiate := func(accounts []Account) func(context.Context) error {
		return func(ctx context.Context) error {
			return each(ctx, len(accounts), func(i int) error { return o.Service.Initiate(ctx, accounts[i], true) })
		}
	}
	if err := initiate(accounts[n:])(ctx); err != nil { // pools, caches and the first pages of tables are there before the counting
		return err
	}
	r1, l1, err := Stored(ctx, o)
	if err != nil {
		return err
	}
	if out.Accepted, err = measured(ctx, m, initiate(accounts[:n])); err != nil {
		return err
	}
	r2, l2, err := Stored(ctx, o)
	if err != nil {
		return err
	}
	out.WaitingClosures, out.WaitingRedis, out.WaitingLedger = n, between(r1, r2, n), between(l1, l2, n)
	if err := each(ctx, len(accounts), func(i int) error { return o.Service.Cancel(ctx, accounts[i]) }); err != nil {
		return err
	}
	// Their letters are none of the closed ones' costs.
	_, err = o.beside(ctx, m, func(ctx context.Context, works func() error) error {
		return until(ctx, func() (bool, error) { return o.Service.Letters() >= 2*len(accounts), works() })
	})
	return err
}

// beside does something beside a worker, whose end meanwhile is an error.
func (o Options) beside(ctx context.Context, m meter, do func(ctx context.Context, works func() error) error) (Measured, error) {
	work, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- o.Service.Work(work) }()
	out, err := measured(ctx, m, func(ctx context.Context) error {
		return do(ctx, func() error {
			select {
			case err := <-ended:
				ended <- err
				return fmt.Errorf("the worker ended: %w", err)
			default:
				return nil
			}
		})
	})
	stop()
	return out, errors.Join(err, <-ended)
}

func between(before, after *int64, n int) *float64 {
	if before == nil || after == nil {
		return nil
	}
	d := float64(*after-*before) / float64(n)
	return &d
}

// close initiates all closures beside a worker, and waits for the last one's end.
func (o Options) close(ctx context.Context, out *Outcome, m meter, accounts []Account) (reads [][]string, err error) {
	rec := o.Recorder
	middle := len(accounts) / 2 / kinds * kinds // of each kind one that starts when everything is under way
	var watched []string
	for i := range min(kinds, len(accounts)) {
		watched = append(watched, accounts[middle+i].ID)
	}
	rec.Watch(watched...)
	rec.forget()
	_, before, err := Stored(ctx, o)
	if err != nil {
		return nil, err
	}
	began, took, letters := time.Now(), time.Duration(0), o.Service.Letters()
	out.Service, err = o.beside(ctx, m, func(ctx context.Context, works func() error) error {
		if err := each(ctx, len(accounts), func(i int) error { return o.Service.Initiate(ctx, accounts[i], false) }); err != nil {
			return err
		}
		return until(ctx, func() (bool, error) {
			if o.Service.Closed() >= len(accounts) && took == 0 {
				took = time.Since(began)
			}
			if err := errors.Join(works(), o.Service.Stopped()); err != nil {
				return false, err
			}
			return took > 0 && o.Service.Letters()-letters >= 2*len(accounts), nil // the letters go out beside, and cost what they cost
		})
	})
	if err != nil {
		return nil, err
	}
	out.Service.Took = took
	out.Counts = rec.counts(len(accounts))
	out.SleptOnAverage = time.Duration(float64(rec.slept.Load()) / float64(max(out.Timers, 1)))
	out.RoundTripsPerVisit = float64(out.Statements) / float64(max(out.Visits, 1))
	_, after, err := Stored(ctx, o)
	out.ClosedLedger = between(before, after, len(accounts))
	for _, a := range watched {
		reads = append(reads, rec.template(a))
	}
	return reads, err
}

// measured does something and says what it took.
func measured(ctx context.Context, m meter, do func(context.Context) error) (Measured, error) {
	before, err := m.read(ctx)
	if err != nil {
		return Measured{}, err
	}
	began := time.Now()
	if err := do(ctx); err != nil {
		return Measured{}, err
	}
	took := time.Since(began)
	after, err := m.read(ctx)
	return Measured{Took: took, CPU: after.since(before)}, err
}

// clients is how many requests are under way at once.
const clients = 8

// each does something for 0 to n-1, some at a time, until one goes wrong.
func each(ctx context.Context, n int, do func(i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := do(i); err != nil {
					cancel(err)
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// until asks again and again.
func until(ctx context.Context, done func() (bool, error)) error {
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-again.C:
		}
	}
}
