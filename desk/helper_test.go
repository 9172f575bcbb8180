package desk_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/shopspring/decimal"

	"closeout/closure"
	"closeout/desk"
	"closeout/ledger"
	"closeout/readiness"
)

// The ids of the broker's that the tests name.
const (
	anAccount  = "9f2b8a10-1111-4c6e-8b6a-000000000001"
	aBank      = "9f2b8a10-2222-4c6e-8b6a-000000000002"
	another    = "9f2b8a10-3333-4c6e-8b6a-000000000003" // bank
	aTransfer  = "9f2b8a10-4444-4c6e-8b6a-000000000004"
	itsAccount = "9f2b8a10-5555-4c6e-8b6a-000000000005"
)

// broker is what the desk knows of the broker.
type broker struct {
	report    readiness.Report
	transfers []readiness.Transfer
	err       error
}

func (b *broker) Check(context.Context, string, string) (readiness.Report, error) {
	return b.report, b.err
}

func (b *broker) Transfers(context.Context, string) ([]readiness.Transfer, error) {
	return b.transfers, b.err
}

// bench is a desk before a ledger of its own.
type bench struct {
	*testing.T
	*desk.Desk
	path      string
	broker    *broker
	scheduled []closure.Closure
}

func newBench(t *testing.T) *bench {
	t.Helper()
	policy := closure.DefaultPolicy(closure.Sandbox)
	path := filepath.Join(t.TempDir(), "closeout.db")
	l, err := ledger.Open(t.Context(), ledger.Options{URL: "sqlite:" + path, Environment: closure.Sandbox, Policy: policy})
	must(t, err)
	t.Cleanup(func() { must(t, l.Close()) })
	b := &bench{T: t, path: path, broker: &broker{}}
	b.Desk = &desk.Desk{
		Ledger: l, Readiness: b.broker, Policy: policy,
		Schedule: func(_ context.Context, c closure.Closure) { b.scheduled = append(b.scheduled, c) },
		Way:      func(command, account string) string { return "do " + command + " at " + account },
	}
	return b
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func (b *bench) create(account string) closure.Closure {
	b.Helper()
	c, _, err := b.Ledger.Create(b.Context(), ledger.Wish{
		AccountID: account, RelationshipID: aBank, Fingerprint: "f00d", UserID: "user-7", Cause: "moving on", Actor: "api:shop",
	})
	must(b, err)
	return c
}

func (b *bench) look(c closure.Closure, o closure.Outcome) closure.Closure {
	b.Helper()
	next, err := b.Ledger.Save(b.Context(), c, closure.Looked(time.Now(), o, closure.Look{}, nil), nil)
	must(b, err)
	return next
}

// claim claims a payout of $900 in quiet, and leaves it without an answer for so long.
func (b *bench) claim(c closure.Closure, ago time.Duration) (closure.Closure, closure.Intent) {
	b.Helper()
	at := time.Now().Add(-ago)
	usd := decimal.NewNullDecimal(decimal.NewFromInt(900))
	next, is, err := b.Ledger.Claim(b.Context(), c, closure.Claimed(at, at, "pay out $900.00", true), []closure.Intent{{
		Kind: closure.TransferIntent, Amount: usd, CashBefore: usd, RelationshipID: aBank, BankingDay: at.Format(time.DateOnly),
		Request: []byte(`{"method":"POST","path":"/v1/accounts/` + c.AccountID + `/transfers","body":{"relationship_id":"` + aBank + `"}}`),
		Quiet:   true, Listed: map[string]string{itsAccount: "COMPLETE"}, ClaimedAt: at, Deadline: at.Add(30 * time.Second),
	}}, closure.Event{Kind: "claim", At: at, Actor: closure.Worker, Text: "pay out $900.00 to " + aBank})
	must(b, err)
	return next, is[0]
}

// answered claims a payout that the broker took.
func (b *bench) answered(c closure.Closure, transfer string) closure.Closure {
	b.Helper()
	c, i := b.claim(c, time.Minute)
	i.State, i.BrokerID, i.Status, i.Answer, i.AnsweredAt = closure.IntentSent, transfer, 200, "QUEUED, "+transfer, time.Now()
	_, _, err := b.Ledger.Record(b.Context(), c, i, closure.Event{Kind: "answer", At: time.Now(), Actor: closure.Worker, Text: "200: " + transfer})
	must(b, err)
	return c
}

// The closures that commands meet.
var (
	waits = func(b *bench) closure.Closure {
		return b.look(b.create(anAccount), closure.Wait(time.Hour, closure.Selling, "selling"))
	}
	due    = func(b *bench) closure.Closure { return b.create(anAccount) }
	paused = func(b *bench) closure.Closure {
		c := waits(b)
		_, err := b.Command(b.Context(), c, desk.Pause, desk.Ask{Actor: "operator:ann", Why: "a suspicion"})
		must(b, err)
		b.scheduled = nil
		return b.get(c.ID)
	}
	failed = func(b *bench) closure.Closure {
		return b.look(b.create(anAccount), closure.Fail(closure.BankGone, "the bank is gone"))
	}
	closed   = func(b *bench) closure.Closure { return b.look(b.create(anAccount), closure.Done("closed")) }
	canceled = func(b *bench) closure.Closure {
		c := b.create(anAccount)
		_, err := b.Command(b.Context(), c, desk.Cancel, desk.Ask{Actor: "operator:ann", Why: "never mind"})
		must(b, err)
		return b.get(c.ID)
	}
	paying = func(b *bench) closure.Closure {
		c, _ := b.claim(b.create(anAccount), 0)
		return c
	}
	paid     = func(b *bench) closure.Closure { return b.answered(b.create(anAccount), aTransfer) }
	stopPaid = func(b *bench) closure.Closure {
		return b.look(paid(b), closure.Fail(closure.Unexplained, "$5.00 too much"))
	}
	inDoubt = func(b *bench) closure.Closure { // it has stopped over a payout of which nobody knows
		c, _ := b.claim(b.create(anAccount), time.Hour)
		return b.look(c, closure.Fail(closure.UnknownTransfer, "in no list"))
	}
	tooEarly = func(b *bench) closure.Closure { // it is paused, and the payout was looked for in no list
		c, _ := b.claim(b.create(anAccount), time.Hour)
		_, err := b.Command(b.Context(), c, desk.Pause, desk.Ask{Actor: "operator:ann", Why: "wait"})
		must(b, err)
		return b.get(c.ID)
	}
)

func (b *bench) get(id string) closure.Closure {
	b.Helper()
	c, err := b.Ledger.Get(b.Context(), id)
	must(b, err)
	return c
}

// state is all that the ledger has of a closure.
type state struct {
	Closure closure.Closure
	Intents []closure.Intent
	Events  []ledger.Event
	Letters []ledger.SentLetter
}

func (b *bench) state(id string) (s state) {
	b.Helper()
	var err error
	s.Closure, s.Intents, err = b.Ledger.Load(b.Context(), id)
	must(b, err)
	s.Events, err = b.Ledger.Events(b.Context(), id)
	must(b, err)
	s.Letters, err = b.Ledger.Letters(b.Context(), id)
	must(b, err)
	return s
}

// refuses demands that what is asked is refused in these words, and leaves everything as it was.
func (b *bench) refuses(c closure.Closure, code, detail, hint string, ask func() error) *desk.Refusal {
	b.Helper()
	before, scheduled := b.state(c.ID), len(b.scheduled)
	err := ask()
	no, ok := errors.AsType[*desk.Refusal](err)
	if !ok {
		b.Fatalf("no refusal, but %v", err)
	}
	if no.Code != code || no.Title == "" || !strings.Contains(no.Detail, detail) || !strings.Contains(no.Hint, hint) || !strings.Contains(no.Error(), no.Detail) {
		b.Errorf("%s (%s): %q, hint %q\nwant %s: …%s…, hint …%s…", no.Code, no.Title, no.Detail, no.Hint, code, detail, hint)
	}
	for _, text := range []string{no.Detail, no.Hint} {
		if !strings.HasSuffix(text, ".") || text[:1] != strings.ToUpper(text[:1]) {
			b.Errorf("%q is no sentence", text)
		}
	}
	if diff := cmp.Diff(before, b.state(c.ID)); diff != "" {
		b.Errorf("refused, and still written (-before +after)\n%s", diff)
	}
	if len(b.scheduled) != scheduled {
		b.Error("refused, and still a visit was asked for")
	}
	return no
}
