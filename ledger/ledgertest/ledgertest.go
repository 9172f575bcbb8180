// Package ledgertest is the one conformance suite of the ledger: what the service rests on, whatever the database. A
// test calls Run with a way to make empty databases of one kind.
package ledgertest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/shopspring/decimal"
	"go.opentelemetry.io/otel/trace"

	"closeout/closure"
	"closeout/ledger"
)

// Database is one empty database: the URL that ledgers are opened by, as often as a test likes, and a way in beside them,
// to count rows and to tamper with them.
type Database struct {
	URL string
	SQL *sql.DB

	// Back undoes the migrations after a version.
	Back func(version int64) error

	// Asked, if set, is told each statement of the ledger that a test has asked it, as it is written. It may be called by
	// several goroutines at once.
	Asked func(statement string)
}

// Run holds ledgers to the suite. fresh makes an empty database for each test and removes it with the test.
func Run(t *testing.T, fresh func(t *testing.T) Database) {
	t.Helper()
	for _, group := range []map[string]func(*bench){created, stored, claimed, recorded, saved, commanded, noticed, chained, heard, answered, keyed, listed, batched, fed, signed, boarded, redriven, asking, allHeld, verified, removed, adopted, takenOver} {
		for name, fn := range group {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				b := &bench{T: t, db: fresh(t)}
				b.l = b.open(closure.Sandbox)
				fn(b)
			})
		}
	}
}

// bench is what one test works with: a ledger on a database of its own.
type bench struct {
	*testing.T
	db Database
	l  *ledger.Ledger
}

// Context is a test's, in which statements are listened to.
func (b *bench) Context() context.Context {
	if b.db.Asked == nil {
		return b.T.Context()
	}
	return trace.ContextWithSpan(b.T.Context(), listener{say: b.db.Asked})
}

// many is how often a race is tried.
func many() int {
	if testing.Short() {
		return 8
	}
	return 25
}

// open opens another ledger on the database, as another process would.
func (b *bench) open(env closure.Environment) *ledger.Ledger {
	b.Helper()
	return b.openAt(env, closure.Clock{})
}

// openAt opens one with a business time of its own.
func (b *bench) openAt(env closure.Environment, clock closure.Clock) *ledger.Ledger {
	b.Helper()
	l, err := ledger.Open(b.Context(), ledger.Options{URL: b.db.URL, Environment: env, Policy: closure.DefaultPolicy(env), Clock: clock})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := l.Close(); err != nil {
			b.Error(err)
		}
	})
	return l
}

func wish(account string) ledger.Wish {
	return ledger.Wish{
		AccountID: account, RelationshipID: "bank", Fingerprint: "f00d", UserID: "user", Email: "x@example.test",
		Cause: "moving on", Actor: "key:test",
	}
}

// create makes a closure of an account that has none under way.
func (b *bench) create(account string) closure.Closure {
	b.Helper()
	c, created, err := b.l.Create(b.Context(), wish(account))
	if err != nil || !created {
		b.Fatalf("create: %v, created %t", err, created)
	}
	return c
}

func (b *bench) get(id string) closure.Closure {
	b.Helper()
	c, err := b.l.Get(b.Context(), id)
	if err != nil {
		b.Fatal(err)
	}
	return c
}

func (b *bench) intents(id string) []closure.Intent {
	b.Helper()
	is, err := b.l.Intents(b.Context(), id)
	if err != nil {
		b.Fatal(err)
	}
	return is
}

func (b *bench) events(id string) []ledger.Event {
	b.Helper()
	evs, err := b.l.Events(b.Context(), id)
	if err != nil {
		b.Fatal(err)
	}
	return evs
}

// look saves a visit that ends with an outcome, a minute after the last change.
func (b *bench) look(c closure.Closure, o closure.Outcome, learned ...ledger.Learned) closure.Closure {
	b.Helper()
	return b.save(c, closure.Looked(c.UpdatedAt.Add(time.Minute), o, closure.Look{}, nil), learned...)
}

func (b *bench) save(c closure.Closure, ch closure.Change, learned ...ledger.Learned) closure.Closure {
	b.Helper()
	next, err := b.l.Save(b.Context(), c, ch, learned)
	if err != nil {
		b.Fatal(err)
	}
	return next
}

// command carries out a command that must be allowed.
func (b *bench) command(id string, ch closure.Change) closure.Closure {
	b.Helper()
	c, err := b.l.Command(b.Context(), id, func(closure.Closure, []closure.Intent) (closure.Change, error) { return ch, nil })
	if err != nil {
		b.Fatal(err)
	}
	return c
}

// pay is the intent of a payout, with what matters for the rules between intents.
func pay(amount, day string) closure.Intent {
	at := time.Date(2026, time.November, 18, 15, 0, 0, 0, time.UTC)
	return closure.Intent{
		Kind: closure.TransferIntent, Subject: "bank", Request: []byte(`{"method":"POST"}`), Amount: money(amount), RelationshipID: "bank",
		BankingDay: day, CashBefore: money("1000.5"), Quiet: true, Listed: map[string]string{"t0": "COMPLETE"},
		ClaimedAt: at, Deadline: at.Add(30 * time.Second),
	}
}

func intent(kind closure.IntentKind, subject string) closure.Intent {
	at := time.Date(2026, time.November, 18, 15, 0, 0, 0, time.UTC)
	return closure.Intent{Kind: kind, Subject: subject, Request: []byte(`{}`), ClaimedAt: at, Deadline: at.Add(30 * time.Second)}
}

func money(s string) decimal.NullDecimal {
	return decimal.NewNullDecimal(decimal.RequireFromString(s))
}

// try claims intents by a ledger.
func try(ctx context.Context, l *ledger.Ledger, c closure.Closure, send ...closure.Intent) (closure.Closure, []closure.Intent, error) {
	at := c.UpdatedAt.Add(time.Minute)
	payout := len(send) > 0 && send[0].Kind == closure.TransferIntent
	return l.Claim(ctx, c, closure.Claimed(at, at.Add(30*time.Second), "send", payout), send,
		closure.Event{Kind: "claim", At: at, Actor: closure.Worker, Text: "send", Detail: map[string]any{"n": len(send)}})
}

// claim claims intents that must be let through.
func (b *bench) claim(c closure.Closure, send ...closure.Intent) (closure.Closure, []closure.Intent) {
	b.Helper()
	next, is, err := try(b.Context(), b.l, c, send...)
	if err != nil {
		b.Fatal(err)
	}
	return next, is
}

// record writes an answer that must be taken, and returns what the ledger then says of it.
func (b *bench) record(i closure.Intent) closure.Intent {
	b.Helper()
	c, err := b.l.Get(b.Context(), i.ClosureID)
	if err != nil {
		b.Fatal(err)
	}
	_, out, err := b.l.Record(b.Context(), c, i, answer())
	if err != nil {
		b.Fatal(err)
	}
	return out
}

func answer() closure.Event {
	return closure.Event{Kind: "answer", At: time.Now(), Actor: closure.Worker, Text: "POST transfers: accepted", Detail: map[string]any{"status": 200}}
}

// in is an intent with another state and broker's id.
func in(i closure.Intent, s closure.IntentState, brokerID string) closure.Intent {
	i.State, i.BrokerID = s, brokerID
	return i
}

// settle ends an intent by a saved look.
func (b *bench) settle(c closure.Closure, i closure.Intent, s closure.IntentState, brokerID string) (closure.Closure, closure.Intent) {
	b.Helper()
	next := b.look(c, closure.Wait(0, closure.TransferPending, "found out: "+string(s)), ledger.Learned{Was: i.State, Intent: in(i, s, brokerID)})
	return next, in(i, s, brokerID)
}

// state is all that the ledger holds of a closure.
type state struct {
	Closure closure.Closure
	Intents []closure.Intent
	Events  []ledger.Event
	Notices int
}

func (b *bench) state(id string) state {
	b.Helper()
	return state{b.get(id), b.intents(id), b.events(id), b.count("notices WHERE closure_id = $1", id)}
}

// nothing demands that fn fails with an error and leaves nothing behind in a closure's rows.
func (b *bench) nothing(what, id string, want error, fn func() error) {
	b.Helper()
	before := b.state(id)
	if err := fn(); !errors.Is(err, want) {
		b.Errorf("%s: %v, want %v", what, err, want)
	}
	if diff := cmp.Diff(before, b.state(id)); diff != "" {
		b.Errorf("%s: refused, and still written (-before +after)\n%s", what, diff)
	}
}

// count counts rows, beside the ledger.
func (b *bench) count(from string, args ...any) int {
	b.Helper()
	var n int
	if err := b.db.SQL.QueryRowContext(b.Context(), "SELECT count(*) FROM "+from, args...).Scan(&n); err != nil {
		b.Fatal(err)
	}
	return n
}

// tamper changes rows, beside the ledger.
func (b *bench) tamper(query string, args ...any) {
	b.Helper()
	r, err := b.db.SQL.ExecContext(b.Context(), query, args...)
	if err != nil {
		b.Fatal(err)
	}
	if n, err := r.RowsAffected(); err != nil || n == 0 {
		b.Fatalf("%s: %d rows, %v", query, n, err)
	}
}

// text reads one value, beside the ledger.
func (b *bench) text(query string, args ...any) string {
	b.Helper()
	var s string
	if err := b.db.SQL.QueryRowContext(b.Context(), query, args...).Scan(&s); err != nil {
		b.Fatal(err)
	}
	return s
}

// atOnce runs the functions together and waits for them.
func atOnce(fns ...func()) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for _, fn := range fns {
		wg.Go(func() {
			<-start
			fn()
		})
	}
	close(start)
	wg.Wait()
}

// stops are the ways of a running closure to each state that is not running.
var stops = map[closure.State]func(*bench, closure.Closure) closure.Closure{
	closure.Paused: func(b *bench, c closure.Closure) closure.Closure {
		return b.command(c.ID, closure.Pause(c.UpdatedAt, "ann", "hold it"))
	},
	closure.Canceled: func(b *bench, c closure.Closure) closure.Closure {
		return b.command(c.ID, closure.Cancel(c.UpdatedAt, "ann", "never mind", false))
	},
	closure.Failed: func(b *bench, c closure.Closure) closure.Closure {
		return b.look(c, closure.Fail(closure.OrderRefused, "no"))
	},
	closure.Dead: func(b *bench, c closure.Closure) closure.Closure {
		for n := range closure.MaxRetries + 1 {
			c = b.save(c, closure.Stumbled(c.UpdatedAt, "broken", n, true))
		}
		return c
	},
	closure.Closed: func(b *bench, c closure.Closure) closure.Closure {
		return b.look(c, closure.Done("paid out and closed"))
	},
}

func account(n int) string { return fmt.Sprintf("account-%04d", n) }
