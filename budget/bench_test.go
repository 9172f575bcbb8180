package budget_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/sirupsen/logrus"

	"closeout/alpaca"
	"closeout/budget"
)

// bench is a Redis in virtual time, and budgets on it as processes have them.
type bench struct {
	testing.TB
	mini *miniredis.Miniredis
	log  *lines
	away atomic.Bool // Redis refuses connections
	done []func()

	questions questions
}

// virtual runs a test in a bubble with a bench of its own.
func virtual(t *testing.T, f func(b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{TB: t, mini: miniredis.NewMiniRedis(), log: &lines{}}
		b.mini.ClockTTL(true)
		f(b)
		for _, end := range b.done {
			end()
		}
		b.mini.Close()
	})
}

// process is a budget with a connection of its own.
func (b *bench) process(perMinute int) *budget.Budget {
	rdb := redis.NewClient(&redis.Options{
		Addr: "127.0.0.1:1", Protocol: 2, DisableIdentity: true, MaxRetries: -1, ContextTimeoutEnabled: true,
		Dialer: func(context.Context, string, string) (net.Conn, error) {
			if b.away.Load() {
				return nil, net.ErrClosed
			}
			return b.mini.Dial()
		},
	})
	rdb.AddHook(&b.questions)
	b.done = append(b.done, func() { _ = rdb.Close() })
	return budget.New(budget.Options{Redis: rdb, Name: "sandbox", PerMinute: perMinute, Probe: 30 * time.Second, Log: b.log.logger()})
}

// cut takes Redis away from everybody, open connections included.
func (b *bench) cut() {
	b.away.Store(true)
	for _, end := range b.done {
		end()
	}
	b.done = nil
}

// flood has so many hands look without end, each look of three calls, until stop is called.
func (b *bench) flood(p *budget.Budget, hands int) (stop func()) {
	ctx, cancel := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	for range hands {
		wg.Go(func() {
			for ctx.Err() == nil {
				if _, err := p.Visit(ctx, "flood", 3, true); err != nil {
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	time.Sleep(time.Minute)
	return func() { cancel(); wg.Wait() }
}

// lines keeps the log.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) logger() *logrus.Logger {
	log := logrus.New()
	log.SetOutput(l)
	log.SetFormatter(&logrus.TextFormatter{DisableColors: true, DisableTimestamp: true})
	return log
}

func (l *lines) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), s)
}

// book writes down when calls were made.
type book struct {
	mu    sync.Mutex
	calls []time.Time
}

func (k *book) note() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.calls = append(k.calls, time.Now())
}

// busiest is the most calls in any sixty seconds, wherever they begin. The calls are in order.
func (k *book) busiest() (most int) {
	from := 0
	for i, at := range k.calls {
		for !at.Before(k.calls[from].Add(time.Minute)) {
			from++
		}
		most = max(most, i-from+1)
	}
	return most
}

// make makes one call through a budget, which is answered so.
func (b *bench) make(ctx context.Context, p *budget.Budget, write bool, path string, h alpaca.Heard) error {
	heard, err := p.Pass(ctx, write, path)
	if err != nil {
		return err
	}
	heard(h)
	return nil
}

var fine = alpaca.Heard{Status: http.StatusOK}

// quota is an answer that tells of the broker's own limit.
func quota(status, limit, left int, reset time.Time) alpaca.Heard {
	return alpaca.Heard{Status: status, Header: http.Header{
		"X-Ratelimit-Limit": {strconv.Itoa(limit)}, "X-Ratelimit-Remaining": {strconv.Itoa(left)},
		"X-Ratelimit-Reset": {strconv.FormatInt(reset.Unix(), 10)}, "Date": {time.Now().UTC().Format(http.TimeFormat)},
	}}
}

// held is the hold that an error tells of; it fails for any other error.
func (b *bench) held(err error, why alpaca.Hold) alpaca.HeldError {
	b.Helper()
	h, ok := err.(*alpaca.HeldError) //nolint:errorlint // nobody wraps it here
	if !ok || h.Why != why {
		b.Fatalf("got %v, want a hold: %s", err, why)
	}
	return *h
}

var _ io.Writer = (*lines)(nil)
