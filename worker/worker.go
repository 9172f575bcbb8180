// Package worker is the engine room: the Asynq server, its mux derived from closure.Road, the retry policy, the sweep's
// ticker and the health page. It decides nothing about a closure.
package worker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/sirupsen/logrus"

	"closeout/closure"
	"closeout/handlers"
	"closeout/tasks"
)

// Options says what a worker runs on.
type Options struct {
	Redis       redis.UniversalClient // the caller's; RepairAcks must have been called on it
	Runner      *handlers.Runner
	Batches     *handlers.Batches  // nil: batches are left to other workers
	Redrives    *handlers.Redrives // nil: bulk retries are, too
	Streams     *Streams           // nil: the broker's event streams are not read
	Timing      closure.Timing
	Concurrency int // visits at once; 0: 20

	// Fit is asked before Asynq starts, again and again until it has no error but ErrUnfit, which ends the start. What it
	// warns of is logged. Nil: this Redis needs no question.
	Fit func(ctx context.Context) (warnings []string, err error)

	// Memory is asked before Asynq starts and by each sweep whether the ledger went back; then no worker starts. Nil: nobody looks.
	Memory *Memory

	// Forget removes up to limit remembered requests and sessions whose time is over, and says how many. Each sweep ends with it.
	// Nil: nobody does.
	Forget func(ctx context.Context, limit int) (int, error)

	// Patrol walks along the histories beside the sweep. Nil: nobody does.
	Patrol *Patrol

	// Beat tells of this worker to people. Nil: it stays unknown beyond what Asynq tells.
	Beat *Beat

	// Swept is told of each sweep that has ended. Nil: nobody is.
	Swept func(began time.Time, s handlers.Swept, err error)

	// Hurry cuts the drain short once it is closed. This field is optional.
	Hurry <-chan struct{}

	Health     func(ctx context.Context) map[string]error // what must work beside Asynq, within two seconds
	HealthAddr string                                     // "" opens none
	Metrics    http.Handler                               // answers GET /metrics beside it; nil: there is none
	// Broker says why the broker is not asked at all, if it is not. The health page shows it, and a worker is healthy all the
	// same: no restart mends the broker or our credentials, and one would take down what waits in order. Nil: not shown.
	Broker func() error
	Log    *logrus.Logger
}

const defaultConcurrency = 20

// Mux routes each phase's task type to the runner. The road is the list: a phase can't be forgotten. A type that it does not
// know, a newer version's, is given back: Asynq would use up its retries, and take one that begins with a known type for that.
func Mux(r *handlers.Runner) *asynq.ServeMux {
	mux := asynq.NewServeMux()
	mux.Use(func(next asynq.Handler) asynq.Handler {
		return asynq.HandlerFunc(func(ctx context.Context, t *asynq.Task) error {
			if _, exactly := mux.Handler(t); exactly != t.Type() {
				return handlers.GiveBack(r.Log, t.Type(), "an unknown type")
			}
			return next.ProcessTask(ctx, t)
		})
	})
	for _, s := range closure.Road {
		mux.HandleFunc(tasks.TypeOf(s.Phase), r.ProcessTask)
	}
	return mux
}

// MuxRedrives routes the bites of bulk retries.
func MuxRedrives(mux *asynq.ServeMux, d *handlers.Redrives) {
	mux.HandleFunc(tasks.Redrives, d.ProcessTask)
}

// MuxBatches routes the bites of batches.
func MuxBatches(mux *asynq.ServeMux, b *handlers.Batches) {
	mux.HandleFunc(tasks.BatchChecks, b.ProcessTask)
	mux.HandleFunc(tasks.BatchStarts, b.ProcessTask)
}

// Server makes the Asynq server, not yet started.
func Server(o Options) *asynq.Server {
	return asynq.NewServerFromRedisClient(o.Redis, Config(context.Background(), o))
}

// Config is what the server is made with; its visits are cut short when base ends. The lab sets another pace.
func Config(base context.Context, o Options) asynq.Config {
	return asynq.Config{
		Concurrency:              o.concurrency(),
		Queues:                   tasks.Queues,
		TaskCheckInterval:        160 * time.Millisecond, // half of it to one and a half: a step that follows at once is taken up within a quarter of a second
		DelayedTaskCheckInterval: time.Second,
		ShutdownTimeout:          o.Timing.Drain,
		RetryDelayFunc:           backoff(o.Timing.Backoff, o.Timing.Sweep),
		IsFailure: func(err error) bool {
			return !errors.Is(err, handlers.ErrNotCounted) && !errors.Is(err, closure.ErrNewer) && !errors.Is(err, context.Canceled)
		},
		ErrorHandler: givenUp(o.Log),
		BaseContext:  func() context.Context { return base },
		Logger:       quiet{o.Log},
		LogLevel:     asynq.WarnLevel,
	}
}

func (o Options) concurrency() int {
	if o.Concurrency == 0 {
		return defaultConcurrency
	}
	return o.Concurrency
}

// backoff doubles from the first delay, with jitter so that a thousand closures don't come back together. A visit that was
// cut short goes to the next worker at once; one for a newer version comes again about once a sweep, however many older workers
// are still there.
func backoff(first, sweep time.Duration) asynq.RetryDelayFunc {
	return func(n int, err error, _ *asynq.Task) time.Duration {
		if errors.Is(err, context.Canceled) {
			return 0
		}
		d := first << min(n, 5)
		if errors.Is(err, closure.ErrNewer) {
			d = sweep
		}
		return d/2 + rand.N(d)
	}
}

// ErrCutShort says that a worker ended with visits in hand. Every visit is crash-safe: Asynq or the sweep gives it to
// another worker. Asynq may still run; the process should end now and leave the Redis connection to its end.
var ErrCutShort = errors.New("stopped with visits in hand; they are carried out by another worker")

// Run works until ctx ends, then stops taking tasks and gives the visits in hand the drain's time to finish. It waits for a
// Redis that does not answer yet; the health page is open meanwhile. Its errors: it could not start, or ErrCutShort.
func Run(ctx context.Context, o Options) error {
	p := &pulse{hands: int64(o.concurrency())}
	if o.HealthAddr != "" {
		stop, err := serveHealth(ctx, o, p)
		if err != nil {
			return err
		}
		defer stop()
	}
	if err := fit(ctx, o); err != nil || ctx.Err() != nil {
		return err
	}
	if err := whole(ctx, o); err != nil || ctx.Err() != nil {
		return err
	}
	o.Redis.AddHook(p)
	p.tried.Store(time.Now().UnixNano())
	base, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	srv := asynq.NewServerFromRedisClient(o.Redis, Config(base, o))
	mux := Mux(o.Runner)
	if o.Batches != nil {
		MuxBatches(mux, o.Batches)
	}
	if o.Redrives != nil {
		MuxRedrives(mux, o.Redrives)
	}
	if err := srv.Start(p.counted(mux)); err != nil {
		return fmt.Errorf("start asynq: %w", err)
	}
	p.stage.Store(working)
	o.Log.Info("working")
	p.open.Go(func() { every(ctx, o.Timing.Sweep, func() { sweep(ctx, o) }) })
	p.open.Go(func() { every(ctx, o.Timing.Sweep, func() { letters(ctx, o) }) }) // apart: a slow mail server must hold up no sweep
	if o.Batches != nil {
		p.open.Go(func() { every(ctx, o.Timing.Sweep, func() { bites(ctx, o, "batches", o.Batches.Sweep) }) })
	}
	if o.Redrives != nil {
		p.open.Go(func() { every(ctx, o.Timing.Sweep, func() { bites(ctx, o, "bulk retries", o.Redrives.Sweep) }) })
	}
	if o.Patrol != nil {
		p.open.Go(func() { every(ctx, o.Timing.Sweep, func() { patrol(ctx, o) }) })
	}
	if o.Streams != nil {
		p.open.Go(func() { o.Streams.Run(ctx) })
	}
	if o.Beat != nil {
		p.open.Go(func() { o.Beat.run(ctx) })
	}
	<-ctx.Done()
	p.stage.Store(draining)
	return drain(o, p, srv, cut)
}

// fit waits until Redis is found fit. A worker that ended instead would be started again and again.
func fit(ctx context.Context, o Options) error {
	if o.Fit == nil {
		return nil
	}
	return insist(ctx, o.Log, "waiting for Redis", ErrUnfit, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, lastMoment)
		defer cancel()
		warnings, err := o.Fit(ctx)
		if err == nil {
			for _, w := range warnings {
				o.Log.Warn(w)
			}
		}
		return err
	})
}

// whole waits until it is known that the ledger did not go back. One that did ends the start: what it lost may be sent again.
func whole(ctx context.Context, o Options) error {
	if o.Memory == nil {
		return nil
	}
	return insist(ctx, o.Log, "waiting to know whether the ledger went back", ErrLedgerWentBack, o.Memory.Check)
}

// insist asks again and again, until there is no error, or the one that is final, or ctx ends. Each new error is told once.
func insist(ctx context.Context, log *logrus.Logger, waiting string, final error, ask func(context.Context) error) error {
	for wait, said := time.Second, ""; ; wait = min(2*wait, 10*time.Second) {
		err := ask(ctx)
		if err == nil || errors.Is(err, final) {
			return err
		}
		if err.Error() != said && ctx.Err() == nil {
			said = err.Error()
			log.WithError(err).Warn(waiting)
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		}
	}
}

// lastMoment is what a visit that was cut short gets to write down what it did: enough for the broker's usual answer to an
// instruction on the wire, which is unknown otherwise.
const lastMoment = 5 * time.Second

// drain stops Asynq. It takes no task from here on; its heartbeat goes on, and with it the leases of the visits in hand.
// After Timing.Drain Asynq puts back the tasks that are left, and their visits are cut short; so it is when o.Hurry is closed.
func drain(o Options, p *pulse, srv *asynq.Server, cut context.CancelFunc) error {
	stopped, idle := make(chan struct{}), make(chan struct{})
	go func() {
		srv.Shutdown()
		close(stopped)
		p.open.Wait() // Asynq has given up waiting for a visit that was cut short, and the ledger must not be closed under it
		close(idle)
	}()
	over := time.NewTimer(o.Timing.Drain + lastMoment) // beyond Asynq's own limit: its Redis does not answer
	defer over.Stop()
	select {
	case <-stopped:
	case <-o.Hurry:
		o.Log.Warn("told again to stop: the visits in hand are cut short")
	case <-over.C:
	}
	left := p.inHand.Load()
	cut()
	last := time.NewTimer(lastMoment)
	defer last.Stop()
	select {
	case <-idle:
		if left == 0 {
			return nil
		}
	case <-last.C:
	}
	return fmt.Errorf("%w (%d)", ErrCutShort, left)
}

// every does something at once and then again and again, jittered, so that many workers don't do it in step.
func every(ctx context.Context, d time.Duration, do func()) {
	for {
		do()
		t := time.NewTimer(d*3/4 + rand.N(d/2))
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

func sweep(ctx context.Context, o Options) {
	if err := tasks.Register(ctx, o.Redis); err != nil && ctx.Err() == nil {
		o.Log.WithError(err).Warn("the queues may not be listed in Asynq's console")
	}
	if o.Memory != nil { // before anything is made due: of a ledger that went back nothing may be sent
		if err := o.Memory.round(ctx); err != nil && ctx.Err() == nil {
			o.Log.WithError(err).Warn("whether the ledger went back is not known; the next sweep asks again")
		}
	}
	began := time.Now()
	s, err := o.Runner.Sweep(ctx)
	if o.Beat != nil && ctx.Err() == nil {
		o.Beat.swept(began, s, err)
	}
	if o.Swept != nil && ctx.Err() == nil {
		o.Swept(began, s, err)
	}
	switch {
	case ctx.Err() != nil:
	case err != nil:
		o.Log.WithError(err).Warn("the sweep stopped early; the next one goes on")
	case s.Rescheduled+s.Reissued > 0:
		o.Log.WithFields(logrus.Fields{"overdue": s.Overdue, "rescheduled": s.Rescheduled, "reissued": s.Reissued}).Info("sweep")
	}
	if o.Forget == nil {
		return
	}
	if err := forget(ctx, o.Forget); err != nil && ctx.Err() == nil {
		o.Log.WithError(err).Warn("requests of more than a day ago, and sessions that are over, are kept longer; the next sweep goes on")
	}
}

// forget removes what is over, in bites: what is left over waits for the next sweep.
func forget(ctx context.Context, some func(context.Context, int) (int, error)) error {
	const bite, bites = 500, 20
	for range bites {
		if n, err := some(ctx, bite); err != nil || n < bite {
			return err
		}
	}
	return nil
}

func letters(ctx context.Context, o Options) {
	if _, err := o.Runner.Deliver(ctx); err != nil && ctx.Err() == nil {
		o.Log.WithError(err).Warn("the delivery of letters stopped early; the next one goes on")
	}
}

func bites(ctx context.Context, o Options, of string, sweep func(context.Context) error) {
	if err := sweep(ctx); err != nil && ctx.Err() == nil {
		o.Log.WithError(err).Warn("the sweep of " + of + " stopped early; the next one goes on")
	}
}
