package handlers_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/sirupsen/logrus"

	"closeout/alpaca"
	"closeout/alpaca/sim"
	"closeout/budget"
	"closeout/calendar"
	"closeout/closure"
	"closeout/handlers"
	"closeout/internal/servers"
	"closeout/ledger"
	"closeout/ledger/ledgertest"
	"closeout/tasks"
)

// What a visit that moves no money asks of others, counted exactly: each line is one round trip. Both of the budget's questions
// are asked by it because it is among the first of its process; of many in quick succession hardly one does
// (budget.TestAQuickProcessAsksSeldom).
func TestWhatAVisitAsks(t *testing.T) {
	t.Parallel()
	var ledgers, redises []string
	rdb := redis.NewClient(&redis.Options{Addr: servers.StartRedis(t).Addr})
	l := ledgertest.Open(t, servers.StartPostgres(t).Database(t), func(trip string) { ledgers = append(ledgers, trip) })
	w := newSettling(t, l, rdb)
	rdb.AddHook(asked{&redises})
	visit := func(what string, ofLedger []string) {
		t.Helper()
		ledgers, redises = nil, nil
		w.visit()
		for _, of := range []struct {
			who       string
			got, want []string
		}{
			{"the ledger", ledgers, ofLedger},
			{"Redis", redises, []string{"rate:closeout:budget:sandbox:looks", "rate:closeout:budget:sandbox", "asynq:{account_closure}"}},
			{"the broker", w.broker.asked, []string{"/account", "/orders", "/positions"}},
		} {
			if !slices.Equal(of.got, of.want) {
				t.Errorf("%s asks %s\n  %s\nand not\n  %s", what, of.who, strings.Join(of.got, "\n  "), strings.Join(of.want, "\n  "))
			}
		}
	}
	visit("a look that finds nothing new", []string{"SELECT closures, SELECT intents", "UPDATE closures"})
	w.say("the cash that can be withdrawn", `"cash_withdrawable":"400"`, `"cash_withdrawable":"300"`)
	visit("a look that finds something new", []string{"SELECT closures, SELECT intents", "UPDATE closures, INSERT events"})
}

// settling is a closure whose visits find that its money has not settled, and wait, with all of a worker that a visit meets.
type settling struct {
	testing.TB
	ledger *ledger.Ledger
	run    *handlers.Runner
	next   closure.Closure // as it was scheduled last
	broker *recorded
}

// newSettling has looked once already: what is made once, connections, prepared statements and scripts, is made. Every look
// after that finds nothing new.
func newSettling(tb testing.TB, l *ledger.Ledger, rdb redis.UniversalClient) *settling {
	tb.Helper()
	tb.Cleanup(func() { _ = rdb.Close() })
	broker, err := sim.Open(sim.Options{Key: "key", Secret: "secret"})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = broker.Close() })
	account, err := broker.AddAccount(sim.Spec{Cash: d("1000"), Unsettled: d("600")})
	if err != nil {
		tb.Fatal(err)
	}
	w := &settling{TB: tb, ledger: l, broker: &recorded{from: broker.Transport(), answers: map[string]answer{}}}
	log := logrus.New()
	log.SetFormatter(&logrus.JSONFormatter{TimestampFormat: time.RFC3339Nano})
	log.SetOutput(io.Discard)
	calls := budget.New(budget.Options{Redis: rdb, Name: "sandbox", PerMinute: 1_000_000_000, Probe: time.Minute, Log: log})
	client, err := alpaca.New(alpaca.Options{BaseURL: "http://broker.test", Key: "key", Secret: "secret", Transport: w.broker, Gate: calls})
	if err != nil {
		tb.Fatal(err)
	}
	cal := calendar.Rules()
	w.run = &handlers.Runner{
		Ledger: l, Queue: scheduled{tasks.NewQueue(rdb, closure.Clock{}, closure.DefaultTiming.Task), w}, Broker: client, Budget: calls,
		Calendar: func() *calendar.Calendar { return cal }, Policy: closure.DefaultPolicy(closure.Sandbox), Timing: closure.DefaultTiming, Log: log,
	}
	w.next = ledgertest.Settling(tb, l, account, "bank")
	w.visit()
	w.visit()
	return w
}

// visit carries out the visit that is scheduled.
func (w *settling) visit() {
	was := w.next
	w.broker.asked = w.broker.asked[:0]
	err := w.run.Visit(w.Context(), handlers.Delivery{Payload: tasks.PayloadOf(was)})
	if err != nil || w.next.Version != was.Version+1 || w.next.Reason != closure.Settling {
		w.Fatalf("the visit of %+v has scheduled %+v: %v", was, w.next, err)
	}
}

// say has the broker answer something else from now on.
func (w *settling) say(what, old, now string) {
	w.Helper()
	for path, a := range w.broker.answers {
		if bytes.Contains(a.body, []byte(old)) {
			a.body = bytes.ReplaceAll(a.body, []byte(old), []byte(now))
			w.broker.answers[path] = a
			return
		}
	}
	w.Fatalf("%s is in no answer: %v", what, w.broker.answers)
}

// scheduled is the queue, and keeps what was put in it last.
type scheduled struct {
	*tasks.Queue
	to *settling
}

func (s scheduled) Schedule(ctx context.Context, c closure.Closure) error {
	s.to.next = c
	return s.Queue.Schedule(ctx, c)
}

// recorded is a broker that answers as the simulator once has, at no cost of its own.
type recorded struct {
	from    http.RoundTripper
	answers map[string]answer // by path
	asked   []string          // in the last visit: the ends of paths
}

type answer struct {
	header http.Header
	body   []byte
}

// RoundTrip implements http.RoundTripper.
func (r *recorded) RoundTrip(req *http.Request) (*http.Response, error) {
	path := req.URL.Path
	r.asked = append(r.asked, path[strings.LastIndexByte(path, '/'):])
	a, ok := r.answers[path]
	if !ok {
		resp, err := r.from.RoundTrip(req)
		if err != nil {
			return nil, err
		}
		a.header = resp.Header
		if a.body, err = io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("answered %d: %w", resp.StatusCode, err)
		}
		r.answers[path] = a
	}
	return &http.Response{StatusCode: http.StatusOK, Header: a.header, Body: io.NopCloser(bytes.NewReader(a.body)), Request: req}, nil
}

// asked notes by the key which question a round trip to Redis is. What another process has heard of the broker's quota is asked
// for once a second, and so of no one visit.
type asked struct{ what *[]string }

func (asked) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (a asked) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if key := key(cmd); key != "closeout:budget:sandbox:quota" {
			*a.what = append(*a.what, key)
		}
		return next(ctx, cmd)
	}
}

func (a asked) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		keys := make([]string, len(cmds))
		for n, cmd := range cmds {
			keys[n] = key(cmd)
		}
		*a.what = append(*a.what, strings.Join(keys, ", "))
		return next(ctx, cmds)
	}
}

// key is the first key of a command or script; of Asynq's, only which queue's it is.
func key(cmd redis.Cmder) string {
	at := 1
	if strings.HasPrefix(cmd.Name(), "eval") {
		at = 3
	}
	name := fmt.Sprint(cmd.Args()[at])
	if queue, _, ok := strings.Cut(name, "}"); ok {
		return queue + "}"
	}
	return name
}
