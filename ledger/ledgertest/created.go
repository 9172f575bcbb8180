package ledgertest

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/propagation"

	"closeout/closure"
	"closeout/ledger"
)

var created = map[string]func(*bench){
	"ANewClosureIsAcceptedWithItsEventAndItsNotice": func(b *bench) {
		before := time.Now().Add(-time.Second)
		c := b.create("account-123456")
		want := closure.Closure{
			ID: c.ID, AccountID: "account-123456", Environment: closure.Sandbox, Confirmation: c.Confirmation,
			RelationshipID: "bank", Fingerprint: "f00d", UserID: "user", Email: "x@example.test", Cause: "moving on",
			Priority: closure.Normal, Actor: "key:test", Phase: closure.Liquidation, State: closure.Running, Version: 1,
			Token: c.Token, DueAt: c.CreatedAt, Reason: closure.Accepted, Why: closure.Reasons[closure.Accepted].Title,
			Seq: 1, HeadHash: c.HeadHash, CreatedAt: c.CreatedAt, UpdatedAt: c.CreatedAt, EnteredAt: c.CreatedAt,
		}
		if diff := cmp.Diff(want, c); diff != "" {
			b.Errorf("(-want +got)\n%s", diff)
		}
		if c.ID == "" || c.Token == "" || c.HeadHash == "" || c.CreatedAt.Before(before) || c.CreatedAt.After(time.Now().Add(time.Second)) {
			b.Errorf("id %q, token %q, head %q, created %s", c.ID, c.Token, c.HeadHash, c.CreatedAt)
		}
		if !strings.HasPrefix(c.Confirmation, "CLA-2") || !strings.HasSuffix(c.Confirmation, "-123456") {
			b.Errorf("the confirmation number is %q", c.Confirmation)
		}
		evs := b.events(c.ID)
		if len(evs) != 1 || evs[0].Kind != "accepted" || evs[0].Actor != "key:test" || evs[0].Seq != 1 || evs[0].Version != 1 {
			b.Errorf("its history: %+v", evs)
		}
		n, _, _, err := b.l.NextNotice(b.Context(), nil, time.Minute)
		if err != nil || n.Letter != closure.LetterInitiated || n.ClosureID != c.ID || n.Data.Confirmation != c.Confirmation {
			b.Errorf("its notice: %+v, %v", n, err)
		}
		other := b.create("another")
		if other.ID == c.ID || other.Token == c.Token {
			b.Error("two closures share an id or a token")
		}
		if got, err := b.l.OfAccount(b.Context(), "account-123456"); err != nil || got.ID != c.ID {
			b.Errorf("the account's closure is %s, want %s: %v", got.ID, c.ID, err)
		}
	},

	"AClosureKeepsTheTraceItCameBy": func(b *bench) {
		c, _, err := b.l.Create(traced(b.Context()), wish("a"))
		if err != nil || c.Trace != parent {
			b.Fatalf("it keeps %q, %v", c.Trace, err)
		}
		again, _, err := b.l.Create(b.Context(), wish("a"))
		if err != nil || again.Trace != parent {
			b.Errorf("asked for again it has %q, %v", again.Trace, err)
		}
		b.look(c, closure.Go(closure.Settlement, "sold"))
		if c = b.get(c.ID); c.Trace != parent {
			b.Errorf("after a visit it has %q", c.Trace)
		}
		for _, e := range b.events(c.ID) {
			if strings.Contains(string(e.Detail), "4bf92f35") {
				b.Errorf("the history, and so its hashes, know of the trace: %s", e.Detail)
			}
		}
	},

	"TheSameAccountAgainGetsTheClosureUnderWay": func(b *bench) {
		c := b.create("a")
		for name, change := range map[string]func(*ledger.Wish){
			"the same wish": func(*ledger.Wish) {},
			"another bank":  func(w *ledger.Wish) { w.RelationshipID = "other" }, // the caller compares, and refuses
			"another start": func(w *ledger.Wish) { w.NotBefore = time.Now().Add(time.Hour) },
		} {
			w := wish("a")
			change(&w)
			b.nothing(name, c.ID, nil, func() error {
				got, created, err := b.l.Create(b.Context(), w)
				if created || got.ID != c.ID || got.RelationshipID != "bank" || got.Token != c.Token {
					b.Errorf("%s: created %t, %s at the bank %q", name, created, got.ID, got.RelationshipID)
				}
				return err
			})
		}
		if n := b.count("closures"); n != 1 {
			b.Errorf("%d closures", n)
		}
	},

	"OnlyAnEndFreesTheAccount": func(b *bench) {
		for s, stop := range stops {
			account := "account-" + string(s)
			first := stop(b, b.create(account))
			second, created, err := b.l.Create(b.Context(), wish(account))
			if err != nil {
				b.Fatal(err)
			}
			if created != s.Ended() || (second.ID != first.ID) != s.Ended() {
				b.Errorf("a %s closure: another one was made: %t", s, created)
			}
			latest, err := b.l.OfAccount(b.Context(), account)
			if err != nil || latest.ID != second.ID {
				b.Errorf("a %s closure: the account's latest is %s, want %s: %v", s, latest.ID, second.ID, err)
			}
		}
	},

	"AHundredAtOnceMakeOne": func(b *bench) {
		ledgers := []*ledger.Ledger{b.l, b.open(closure.Sandbox)}
		n := 100
		ids := make([]string, n)
		var made atomic.Int32
		var fns []func()
		for i := range n {
			fns = append(fns, func() {
				c, created, err := ledgers[i%2].Create(b.Context(), wish("a"))
				if err != nil {
					b.Error(err)
				}
				if created {
					made.Add(1)
				}
				ids[i] = c.ID
			})
		}
		atOnce(fns...)
		for _, id := range ids {
			if id != ids[0] {
				b.Fatalf("two closures: %s and %s", ids[0], id)
			}
		}
		if made.Load() != 1 || b.count("closures") != 1 || b.count("events") != 1 || b.count("notices") != 1 {
			b.Errorf("%d say that they made it; %d closures, %d events, %d notices", made.Load(), b.count("closures"), b.count("events"), b.count("notices"))
		}
	},

	"ALaterStartIsWaitedFor": func(b *bench) {
		later, earlier := time.Now().Add(48*time.Hour), time.Now().Add(-48*time.Hour)
		w := wish("later")
		w.NotBefore, w.Priority = later, closure.Bulk
		c, _, err := b.l.Create(b.Context(), w)
		if err != nil {
			b.Fatal(err)
		}
		if c = b.get(c.ID); !c.DueAt.Equal(later.Truncate(time.Microsecond)) || c.Reason != closure.NotYet || c.Priority != closure.Bulk {
			b.Errorf("due %s for %s, %s", c.DueAt, c.Reason, c.Priority)
		}
		w = wish("earlier")
		w.NotBefore = earlier
		if c, _, err = b.l.Create(b.Context(), w); err != nil || c.DueAt.Before(earlier.Add(time.Hour)) || c.Reason != closure.Accepted {
			b.Errorf("a start in the past: due %s for %s: %v", c.DueAt, c.Reason, err)
		}
	},

	"AnUnknownPriorityIsRefusedAndNothingIsWritten": func(b *bench) {
		w := wish("a")
		w.Priority = "whenever"
		if _, created, err := b.l.Create(b.Context(), w); err == nil || created {
			b.Errorf("created %t, %v", created, err)
		}
		if b.count("closures")+b.count("events")+b.count("notices") != 0 {
			b.Error("something was written")
		}
	},

	"WhatDoesNotExistIsNotFound": func(b *bench) {
		ctx := b.Context()
		_, err := b.l.Get(ctx, "no")
		_, err2 := b.l.OfAccount(ctx, "no")
		_, _, err3 := b.l.Load(ctx, "no")
		_, err4 := b.l.Events(ctx, "no")
		_, err5 := b.l.Command(ctx, "no", func(closure.Closure, []closure.Intent) (closure.Change, error) {
			b.Error("something was decided")
			return closure.Change{}, nil
		})
		_, _, _, err6 := b.l.NextNotice(ctx, nil, time.Minute)
		c := b.create("a")
		_, _, err7 := b.l.Record(ctx, c, closure.Intent{ID: "no", ClosureID: c.ID}, answer())
		for n, err := range []error{err, err2, err3, err4, err5, err6} {
			if !errors.Is(err, ledger.ErrNotFound) {
				b.Errorf("question %d: %v", n+1, err)
			}
		}
		if !errors.Is(err7, ledger.ErrNotFound) {
			b.Errorf("an answer to no intent: %v", err7)
		}
		if got := b.events(c.ID); len(got) != 1 {
			b.Errorf("an answer to no intent left %d events", len(got))
		}
	},
}

// parent is the span that a request came by, and traced a request that did.
const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func traced(ctx context.Context) context.Context {
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": parent})
}
