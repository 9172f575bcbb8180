package budget

import (
	"errors"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/sony/gobreaker/v2"

	"closeout/alpaca"
)

// The breaker opens after so many calls in a row without a usable answer, about so many accounts: one account that the
// broker can't show is not the broker's outage.
const (
	silentCalls    = 5
	silentAccounts = 3
)

var (
	errSilent  = errors.New("no usable answer")
	errGivenUp = errors.New("given up by ourselves")
)

// outage is the breaker: while it is open nobody asks, and one call now and then tries whether the broker is back.
type outage struct {
	breaker *gobreaker.TwoStepCircuitBreaker[struct{}]
	log     *logrus.Logger
	probe   time.Duration

	mu     sync.Mutex
	silent map[string]bool // accounts of the present row of failures
	since  time.Time       // of its first
	open   bool
}

func newOutage(o Options) *outage {
	w := &outage{log: o.Log, probe: o.Probe, silent: map[string]bool{}}
	w.breaker = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name: "broker", MaxRequests: 1, Timeout: o.Probe,
		ReadyToTrip:   w.trips,
		IsExcluded:    func(err error) bool { return errors.Is(err, errGivenUp) },
		OnStateChange: w.changed,
	})
	return w
}

func (w *outage) trips(c gobreaker.Counts) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return c.ConsecutiveFailures >= silentCalls && len(w.silent) >= silentAccounts
}

func (w *outage) changed(_ string, _, to gobreaker.State) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case to == gobreaker.StateOpen && !w.open:
		w.open = true
		w.log.Warn("the broker does not answer: closures wait, and one call in " + w.probe.String() + " tries it")
	case to == gobreaker.StateClosed:
		w.open = false
		w.log.WithField("after", time.Since(w.since).Round(time.Second).String()).Info("the broker answers again")
		clear(w.silent)
	}
}

// stand says whether asking makes sense at all.
func (w *outage) stand() error {
	if w.breaker.State() != gobreaker.StateOpen {
		return nil
	}
	return w.error()
}

func (w *outage) error() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return &alpaca.HeldError{Why: alpaca.HoldOutage, For: w.probe, Age: time.Since(w.since)}
}

// pass lets a call through, and wants to hear what came of it.
func (w *outage) pass() (answered func(h alpaca.Heard, who string), err error) {
	done, err := w.breaker.Allow()
	if err != nil {
		return nil, w.error()
	}
	return func(h alpaca.Heard, who string) {
		switch {
		case h.GivenUp:
			done(errGivenUp)
		case h.Status == 0 || h.Status >= 500:
			w.mu.Lock()
			if len(w.silent) == 0 {
				w.since = time.Now()
			}
			w.silent[who] = true
			w.mu.Unlock()
			done(errSilent)
		default:
			w.mu.Lock()
			if !w.open { // otherwise the breaker's closing reads since when
				clear(w.silent)
			}
			w.mu.Unlock()
			done(nil)
		}
	}, nil
}

// down is since when the broker has not answered, where the breaker has opened over it.
func (w *outage) down() (since time.Time, is bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.since, w.open
}
