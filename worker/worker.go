// Package worker is the engine room: the Asynq server, its mux derived from closure.Road, the retry policy, the sweep's
// ticker and the health page. It decides nothing about a closure.
package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
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
	Timing      closure.Timing
	Concurrency int // visits at once; 0: 20
	Health      func(ctx context.Context) map[string]error
	HealthAddr  string // "" opens none
	Log         *logrus.Logger
}

const defaultConcurrency = 20

// Mux routes each phase's task type to the runner. The road is the list: a phase can't be forgotten.
func Mux(r *handlers.Runner) *asynq.ServeMux {
	mux := asynq.NewServeMux()
	for _, s := range closure.Road {
		mux.HandleFunc(tasks.TypeOf(s.Phase), r.ProcessTask)
	}
	return mux
}

// Server makes the Asynq server, not yet started.
func Server(o Options) *asynq.Server { return asynq.NewServerFromRedisClient(o.Redis, Config(o)) }

// Config is what the server is made with. The lab sets another pace.
func Config(o Options) asynq.Config {
	n := o.Concurrency
	if n == 0 {
		n = defaultConcurrency
	}
	return asynq.Config{
		Concurrency:              n,
		Queues:                   tasks.Queues,
		TaskCheckInterval:        200 * time.Millisecond,
		DelayedTaskCheckInterval: time.Second,
		ShutdownTimeout:          o.Timing.Drain,
		RetryDelayFunc:           backoff(o.Timing.Backoff),
		IsFailure:                func(err error) bool { return !errors.Is(err, handlers.ErrNotCounted) },
		Logger:                   o.Log,
		LogLevel:                 asynq.WarnLevel,
	}
}

// backoff doubles from the first delay, with jitter so that a thousand closures don't come back together.
func backoff(first time.Duration) asynq.RetryDelayFunc {
	return func(n int, _ error, _ *asynq.Task) time.Duration {
		d := first << min(n, 5)
		return d/2 + rand.N(d)
	}
}

// Run works until ctx ends, then gives the visits in hand the drain's time to finish. It returns an error only where it
// could not start.
func Run(ctx context.Context, o Options) error {
	srv := Server(o)
	if err := srv.Start(Mux(o.Runner)); err != nil {
		return fmt.Errorf("start asynq: %w", err)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer srv.Shutdown()
	if o.HealthAddr != "" {
		stop, err := serveHealth(ctx, o)
		if err != nil {
			return err
		}
		defer stop()
	}
	wg.Go(func() { sweeps(ctx, o) })
	<-ctx.Done()
	return nil
}

// sweeps runs a sweep at once and then about every Timing.Sweep, jittered, so that many workers don't sweep in step.
func sweeps(ctx context.Context, o Options) {
	for {
		s, err := o.Runner.Sweep(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			o.Log.WithError(err).Warn("the sweep stopped early; the next one goes on")
		case s.Rescheduled+s.Reissued > 0:
			o.Log.WithFields(logrus.Fields{"overdue": s.Overdue, "rescheduled": s.Rescheduled, "reissued": s.Reissued}).Info("sweep")
		}
		t := time.NewTimer(o.Timing.Sweep*3/4 + rand.N(o.Timing.Sweep/2))
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

// serveHealth answers GET /health with 200 while everything the worker needs answers, with 503 and what is down otherwise.
func serveHealth(ctx context.Context, o Options) (stop func(), err error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", o.HealthAddr)
	if err != nil {
		return nil, fmt.Errorf("open the health page on %s: %w", o.HealthAddr, err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, req *http.Request) {
		status, body := http.StatusOK, map[string]string{}
		for what, err := range o.Health(req.Context()) {
			body[what] = "ok"
			if err != nil {
				status, body[what] = http.StatusServiceUnavailable, "down"
			}
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body)
	})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second}
	go func() {
		if err := srv.Serve(ln); err != nil && !errors.Is(err, http.ErrServerClosed) {
			o.Log.WithError(err).Error("the health page stopped")
		}
	}()
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		_ = srv.Shutdown(ctx)
	}, nil
}
