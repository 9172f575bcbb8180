package worker_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shopspring/decimal"
	"github.com/sirupsen/logrus"

	"closeout/alpaca"
	"closeout/alpaca/sim"
	"closeout/closure"
	"closeout/ledger"
	"closeout/worker"
)

// ears is one process that reads the streams of the rig's broker.
type ears struct {
	*worker.Streams
	dead   atomic.Bool // its ledger answers no more
	opened atomic.Int32
	fails  atomic.Int32 // so many wakes fail
	warned atomic.Int32

	mu     sync.Mutex
	woken  []string
	missed int
	stop   func()
}

func (e *ears) heard() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.woken)
}

type streamRig struct {
	*testing.T
	sim    *sim.Sim
	ledger *ledger.Ledger
	ids    []string
	all    []*ears
}

// streaming runs a test in a bubble with a simulator of two accounts and a ledger.
func streaming(t *testing.T, f func(r *streamRig)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "closeout.db")
	synctest.Test(t, func(t *testing.T) {
		r := &streamRig{T: t}
		var err error
		if r.sim, err = sim.Open(sim.Options{}); err != nil {
			t.Fatal(err)
		}
		cash := sim.Spec{Cash: decimal.NewFromInt(100)}
		if r.ids, err = r.sim.AddAccounts([]sim.Spec{cash, cash}); err != nil {
			t.Fatal(err)
		}
		if r.ledger, err = ledger.Open(t.Context(), ledger.Options{URL: "sqlite:" + path, Environment: closure.Sandbox, Policy: closure.DefaultPolicy(closure.Sandbox)}); err != nil {
			t.Fatal(err)
		}
		f(r)
		for _, e := range r.all {
			e.stop()
		}
		if err := errors.Join(r.ledger.Close(), r.sim.Close()); err != nil {
			t.Fatal(err)
		}
	})
}

// tripper counts the streams that are opened.
type tripper struct {
	e    *ears
	next http.RoundTripper
}

func (w tripper) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.Contains(r.URL.Path, "/trades") {
		w.e.opened.Add(1)
	}
	return w.next.RoundTrip(r)
}

var errDead = errors.New("dead")

// mortal is a ledger that a dead process can't ask.
type mortal struct {
	*ledger.Ledger
	e *ears
}

func (m mortal) LeaseStream(ctx context.Context, topic, holder string, d time.Duration) (ledger.Stream, error) {
	if m.e.dead.Load() {
		return ledger.Stream{}, errDead
	}
	return m.Ledger.LeaseStream(ctx, topic, holder, d)
}

func (m mortal) KeepStream(ctx context.Context, holder string, s ledger.Stream) error {
	if m.e.dead.Load() {
		return errDead
	}
	return m.Ledger.KeepStream(ctx, holder, s)
}

func (m mortal) ReleaseStream(ctx context.Context, topic, holder string) error {
	if m.e.dead.Load() {
		return errDead
	}
	return m.Ledger.ReleaseStream(ctx, topic, holder)
}

// Fire counts the warnings.
func (e *ears) Fire(*logrus.Entry) error { e.warned.Add(1); return nil }

// Levels are those of Fire.
func (e *ears) Levels() []logrus.Level { return []logrus.Level{logrus.WarnLevel} }

// begin starts a process, and gives it time to find its place.
func (r *streamRig) begin(holder string) *ears {
	r.Helper()
	e := &ears{}
	broker, err := alpaca.New(alpaca.Options{BaseURL: "http://broker.test", Key: "k", Secret: "s", Transport: tripper{e, r.sim.Transport()}})
	if err != nil {
		r.Fatal(err)
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	log.AddHook(e)
	e.Streams = &worker.Streams{
		Broker: broker, Ledger: mortal{r.ledger, e}, Holder: holder, Log: log,
		Hasten: func(_ context.Context, account string) error {
			if e.fails.Add(-1) >= 0 {
				return errDead
			}
			e.mu.Lock()
			defer e.mu.Unlock()
			e.woken = append(e.woken, account)
			return nil
		},
		Missed: func(context.Context) error {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.missed++
			return nil
		},
	}
	ctx, cancel := context.WithCancel(r.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		e.Run(ctx)
	}()
	e.stop = sync.OnceFunc(func() { cancel(); <-done })
	r.all = append(r.all, e)
	time.Sleep(5 * time.Second)
	return e
}

// happens lets something befall an account that its streams tell of.
func (r *streamRig) happens(n int) {
	r.Helper()
	if err := r.sim.Event(r.ids[n], sim.Event{Type: "block", What: "account"}); err != nil {
		r.Fatal(err)
	}
}

func (r *streamRig) wants(what string, e *ears, woken ...int) {
	r.Helper()
	synctest.Wait()
	var want []string
	for _, n := range woken {
		want = append(want, r.ids[n])
	}
	if got := e.heard(); !slices.Equal(got, want) {
		r.Errorf("%s: woken %v, want %v", what, got, want)
	}
}

func TestOneProcessReadsEachStreamAndAnotherTakesOver(t *testing.T) {
	t.Parallel()
	streaming(t, func(r *streamRig) {
		one := r.begin("one")
		two := r.begin("two")
		r.happens(0)
		r.wants("the reader", one, 0)
		r.wants("the other", two)
		if two.opened.Load() != 0 {
			r.Error("two processes read one stream")
		}
		time.Sleep(20 * time.Second) // the cursor is written down
		one.dead.Store(true)
		one.stop()
		r.happens(1) // nobody hears it
		time.Sleep(time.Minute)
		r.wants("who took over, from where the dead one was", two, 1)
	})
}

func TestAReaderThatStopsHandsOverAtOnce(t *testing.T) {
	t.Parallel()
	streaming(t, func(r *streamRig) {
		one := r.begin("one")
		two := r.begin("two")
		r.happens(0)
		synctest.Wait()
		one.stop()
		r.happens(1)
		time.Sleep(15 * time.Second) // sooner than a lease ends
		r.wants("who stopped", one, 0)
		r.wants("who took over", two, 1)
	})
}

func TestAReaderWhoseLedgerIsGoneStopsBeforeItsLeaseEnds(t *testing.T) {
	t.Parallel()
	streaming(t, func(r *streamRig) {
		one := r.begin("one")
		time.Sleep(10 * time.Second)
		one.dead.Store(true)
		time.Sleep(29 * time.Second)
		r.happens(0)
		r.wants("a process without a lease", one)
	})
}

func TestTheCursorMovesWhenTheWakeIsDone(t *testing.T) {
	t.Parallel()
	streaming(t, func(r *streamRig) {
		one := r.begin("one")
		r.happens(0)
		r.wants("the first event", one, 0)
		one.fails.Store(2)
		r.happens(1)
		time.Sleep(30 * time.Second)
		r.wants("an event whose wake failed twice", one, 0, 1)
	})
}

func TestWhatTheBrokerDroppedIsReadAgain(t *testing.T) {
	t.Parallel()
	streaming(t, func(r *streamRig) {
		one := r.begin("one")
		r.happens(0)
		synctest.Wait()
		if err := r.sim.Chaos(sim.Chaos{Rules: []sim.Rule{{Path: "/v1/events/**", Fault: sim.FaultLose, Times: 1}}}); err != nil {
			r.Fatal(err)
		}
		r.happens(1)
		r.wants("dropped", one, 0)
		time.Sleep(10 * time.Second)
		r.wants("and read again", one, 0, 1)
		if one.missed != 3 { // of each topic's first connection, and of the two topics without an event none since
			r.Errorf("%d times something may have been missed", one.missed)
		}
	})
}

func TestWithoutACursorABreakMayHaveHiddenSomething(t *testing.T) {
	t.Parallel()
	streaming(t, func(r *streamRig) {
		one := r.begin("one")
		r.sim.Hangup()
		time.Sleep(10 * time.Second)
		one.stop()
		if one.missed < 6 {
			r.Errorf("%d times something may have been missed", one.missed)
		}
	})
}

func TestARefusedStreamIsLeftAloneForAnHour(t *testing.T) {
	t.Parallel()
	streaming(t, func(r *streamRig) {
		if err := r.sim.Chaos(sim.Chaos{Rules: []sim.Rule{{Path: "/**/events/**", Fault: sim.FaultError, Status: http.StatusForbidden}}}); err != nil {
			r.Fatal(err)
		}
		one := r.begin("one")
		time.Sleep(40 * time.Minute)
		if one.opened.Load() != 1 || one.warned.Load() != 3 {
			r.Errorf("asked %d times, warned %d times", one.opened.Load(), one.warned.Load())
		}
		if err := r.sim.Chaos(sim.Chaos{}); err != nil {
			r.Fatal(err)
		}
		time.Sleep(40 * time.Minute)
		r.happens(0)
		r.wants("after it", one, 0)
	})
}

func TestACursorThatTheBrokerDoesNotKnowIsGivenUp(t *testing.T) {
	t.Parallel()
	streaming(t, func(r *streamRig) {
		if _, err := r.ledger.LeaseStream(r.Context(), "accounts", "zero", time.Hour); err != nil {
			r.Fatal(err)
		}
		if err := errors.Join(r.ledger.KeepStream(r.Context(), "zero", ledger.Stream{Topic: "accounts", Cursor: "forgotten"}), r.ledger.ReleaseStream(r.Context(), "accounts", "zero")); err != nil {
			r.Fatal(err)
		}
		time.Sleep(time.Second)
		one := r.begin("one")
		r.happens(0)
		r.wants("from then on", one, 0)
	})
}

func TestHeardMeansEveryTopicLately(t *testing.T) {
	t.Parallel()
	streaming(t, func(r *streamRig) {
		look := r.begin("a process that never gets a turn")
		look.stop()
		time.Sleep(10 * time.Second)
		if err := r.sim.Chaos(sim.Chaos{Rules: []sim.Rule{{Path: "/v2/events/funding/**", Fault: sim.FaultError, Status: http.StatusNotFound}}}); err != nil {
			r.Fatal(err)
		}
		time.Sleep(5 * time.Minute)
		one := r.begin("one")
		time.Sleep(time.Minute)
		if look.Heard(r.Context()) {
			r.Error("heard without one of the topics")
		}
		one.stop()
		if err := r.sim.Chaos(sim.Chaos{}); err != nil {
			r.Fatal(err)
		}
		two := r.begin("two")
		time.Sleep(time.Minute)
		if !look.Heard(r.Context()) {
			r.Error("not heard, though another process reads all topics")
		}
		two.stop()
		time.Sleep(4 * time.Minute)
		if look.Heard(r.Context()) {
			r.Error("heard, four minutes after the reader stopped")
		}
	})
}
