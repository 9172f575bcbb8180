package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
)

// page is GET /health: 200 while everything this worker needs answers and it takes tasks, 503 and what is down otherwise,
// so that an orchestrator also sees a worker that is stopping. What stands in the way at the broker is shown beside it.
type page struct {
	o     Options
	pulse *pulse

	mu   sync.Mutex
	down map[string]bool // as last told to the log
}

func (p *page) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	found := map[string]error{"asynq": p.pulse.err()}
	if p.o.Health != nil {
		maps.Copy(found, p.o.Health(req.Context()))
	}
	status, body := http.StatusOK, map[string]string{}
	for what, err := range found {
		body[what] = "ok"
		if err != nil {
			status, body[what] = http.StatusServiceUnavailable, "down"
		}
	}
	switch p.pulse.stage.Load() {
	case starting:
		body["asynq"] = "starting"
	case draining:
		body["asynq"] = "draining"
	default:
		p.tell(found)
	}
	if p.o.Broker != nil {
		if err := p.o.Broker(); err != nil { // nothing is said of a broker that was not asked
			body["broker"] = err.Error()
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// tell logs what has gone down or come back since the last look: the page shows no causes.
func (p *page) tell(found map[string]error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for what, err := range found {
		switch {
		case err != nil && !p.down[what]:
			p.o.Log.WithError(err).Warn("health: " + what + " is down")
		case err == nil && p.down[what]:
			p.o.Log.Info("health: " + what + " is back")
		}
		p.down[what] = err != nil
	}
}

// serveAlive is GET /alive: 503 only for a worker that should be started again.
func serveAlive(pulse *pulse) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		status, said := http.StatusOK, "ok"
		if !pulse.alive() {
			status, said = http.StatusServiceUnavailable, "stuck"
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]string{"asynq": said})
	}
}

// serveHealth opens the page, and the one that says whether a new start would help. It answers before Asynq starts and until the last visit has ended.
func serveHealth(ctx context.Context, o Options, pulse *pulse) (stop func(), err error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", o.HealthAddr)
	if err != nil {
		return nil, fmt.Errorf("open the health page on %s: %w", o.HealthAddr, err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /health", &page{o: o, pulse: pulse, down: map[string]bool{}})
	mux.Handle("GET /alive", serveAlive(pulse))
	if o.Metrics != nil {
		mux.Handle("GET /metrics", o.Metrics)
	}
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second}
	go func() {
		if err := srv.Serve(ln); err != nil && !errors.Is(err, http.ErrServerClosed) {
			o.Log.WithError(err).Error("the health page stopped")
		}
	}()
	o.Log.WithFields(logrus.Fields{"addr": ln.Addr().String()}).Info("health page")
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		_ = srv.Shutdown(ctx)
	}, nil
}
