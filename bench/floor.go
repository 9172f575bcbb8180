package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
)

// floor is the least that could do the same: a chain of tasks, a row that says how far it is, and the same reads.
type floor struct {
	Options
	kept     bool // in the service's ledger, with its history, in place of the bare row
	counts   Counts
	accounts []Account
	reads    [][]string // by kind of account: the addresses, where {} stands for the account
	client   *asynq.Client
	sleep    time.Duration // of each timer
	done     atomic.Int64
	failed   atomic.Pointer[error]
}

// link is what one task carries.
type link struct {
	Closure int `json:"closure"`
	Step    int `json:"step"`
}

const (
	floorTask  = "bench:floor"
	floorQueue = "bench_floor" // its own: what the service has left in its queues is none of the floor's
)

// share is how many of a number of things for all closures one of them gets, so that all of them together get all of it.
func share(total, of, n int) int { return total*(n+1)/of - total*n/of }

func (f *floor) steps(closure int) int {
	return max(share(f.counts.Visits, f.counts.Closures, closure), 1)
}

// start writes a closure's row and enqueues its first step, as the door does.
func (f *floor) start(ctx context.Context, closure int) error {
	if err := f.begin(ctx, closure); err != nil {
		return err
	}
	return f.enqueue(ctx, link{closure, 0}, 0)
}

func (f *floor) begin(ctx context.Context, closure int) error {
	if f.kept {
		return f.Service.Begin(ctx, f.accounts[closure])
	}
	_, err := f.DB.ExecContext(ctx, f.text("INSERT INTO closeout.bench_floor (id, step, body) VALUES ($1, 0, $2)"), closure, body)
	return err
}

// commit writes so many times how far a chain is.
func (f *floor) commit(ctx context.Context, l link, times int) error {
	if f.kept {
		return f.Service.Keep(ctx, f.accounts[l.Closure], times)
	}
	for range times {
		if _, err := f.DB.ExecContext(ctx, f.text("UPDATE closeout.bench_floor SET step = $2, body = $3 WHERE id = $1"), l.Closure, l.Step+1, body); err != nil {
			return err
		}
	}
	return nil
}

// body is about as long as a closure's row.
var body = strings.Repeat("x", 600)

func (f *floor) text(q string) string {
	if f.SQLite {
		return strings.ReplaceAll(q, "closeout.", "")
	}
	return q
}

func (f *floor) enqueue(ctx context.Context, l link, wait time.Duration) error {
	payload, err := json.Marshal(l)
	if err != nil {
		return err
	}
	opts := []asynq.Option{asynq.TaskID(fmt.Sprintf("%d/%d", l.Closure, l.Step)), asynq.Queue(floorQueue), asynq.MaxRetry(10), asynq.Timeout(time.Minute)}
	if wait > 0 {
		opts = append(opts, asynq.ProcessIn(wait))
	}
	_, err = f.client.EnqueueContext(ctx, asynq.NewTask(floorTask, payload), opts...)
	return err
}

// ProcessTask is one step: its part of the reads, its part of the commits, and the next.
func (f *floor) ProcessTask(ctx context.Context, t *asynq.Task) error {
	err := f.step(ctx, t)
	if err != nil && ctx.Err() == nil {
		f.failed.CompareAndSwap(nil, &err)
	}
	return err
}

func (f *floor) step(ctx context.Context, t *asynq.Task) error {
	var l link
	if err := json.Unmarshal(t.Payload(), &l); err != nil {
		return err
	}
	steps := f.steps(l.Closure)
	reads := f.reads[l.Closure%len(f.reads)]
	for _, r := range reads[len(reads)*l.Step/steps : len(reads)*(l.Step+1)/steps] {
		if err := f.read(ctx, strings.ReplaceAll(r, "{}", f.accounts[l.Closure].ID)); err != nil {
			return err
		}
	}
	commits := share(f.counts.Commits, f.counts.Closures, l.Closure) - 1 // the start's
	if err := f.commit(ctx, l, share(commits, steps, l.Step)); err != nil {
		return err
	}
	if l.Step+1 == steps {
		f.done.Add(1)
		return nil
	}
	var wait time.Duration
	if share(share(f.counts.Timers, f.counts.Closures, l.Closure), steps, l.Step) > 0 {
		wait = f.sleep
	}
	return f.enqueue(ctx, link{l.Closure, l.Step + 1}, wait)
}

func (f *floor) read(ctx context.Context, uri string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, f.Broker+uri, nil)
	if err != nil {
		return err
	}
	req.SetBasicAuth(f.Key, f.Secret)
	resp, err := f.Transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// run carries as many chains as there were closures.
func (f *floor) run(ctx context.Context) error {
	for _, q := range []string{"DROP TABLE IF EXISTS closeout.bench_floor", "CREATE TABLE closeout.bench_floor (id INTEGER PRIMARY KEY, step INTEGER NOT NULL, body TEXT NOT NULL)"} {
		if _, err := f.DB.ExecContext(ctx, f.text(q)); err != nil {
			return fmt.Errorf("make the floor's table: %w", err)
		}
	}
	cfg := f.Asynq
	cfg.Queues = map[string]int{floorQueue: 1}
	srv := asynq.NewServerFromRedisClient(f.Redis, cfg)
	if err := srv.Start(f); err != nil {
		return err
	}
	defer srv.Shutdown()
	err := each(ctx, f.Closures, func(i int) error { return f.start(ctx, i) })
	if err != nil {
		return err
	}
	return until(ctx, func() (bool, error) {
		if err := f.failed.Load(); err != nil {
			return false, *err
		}
		return f.done.Load() == int64(f.Closures), nil
	})
}
