package ledgertest

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/google/go-cmp/cmp"

	"closeout/closure"
	"closeout/ledger"
)

var heard = map[string]func(*bench){
	"AStreamHasOneReaderUntilItsLeaseEnds": func(b *bench) {
		lease := func(holder string, d time.Duration, want error) ledger.Stream {
			b.Helper()
			s, err := b.l.LeaseStream(b.Context(), "trades", holder, d)
			if !errors.Is(err, want) {
				b.Fatalf("lease for %s: %v, want %v", holder, err, want)
			}
			return s
		}
		if s := lease("one", time.Hour, nil); s != (ledger.Stream{Topic: "trades"}) {
			b.Errorf("a stream that nobody has read: %+v", s)
		}
		lease("two", time.Hour, ledger.ErrStale)
		lease("one", time.Hour, nil)
		if _, err := b.l.LeaseStream(b.Context(), "funding", "two", time.Hour); err != nil {
			b.Errorf("another topic: %v", err)
		}
		if _, err := b.open(closure.Live).LeaseStream(b.Context(), "trades", "two", time.Hour); err != nil {
			b.Errorf("the other environment: %v", err)
		}
		at := ledger.Stream{Topic: "trades", Cursor: "01G112NTT0XAXKDZK3AABK68TH", HeardAt: time.Now().UTC().Truncate(time.Microsecond)}
		if err := b.l.KeepStream(b.Context(), "two", at); !errors.Is(err, ledger.ErrStale) {
			b.Errorf("kept by another: %v", err)
		}
		if err := b.l.KeepStream(b.Context(), "one", at); err != nil {
			b.Error(err)
		}
		lease("one", over, nil)
		if s := lease("two", time.Hour, nil); s != at {
			b.Errorf("taken over at %+v, want %+v", s, at)
		}
		lease("one", time.Hour, ledger.ErrStale)
		if err := b.l.KeepStream(b.Context(), "one", ledger.Stream{Topic: "trades"}); !errors.Is(err, ledger.ErrStale) {
			b.Errorf("kept by the former reader: %v", err)
		}
		if err := b.l.ReleaseStream(b.Context(), "trades", "one"); err != nil {
			b.Error(err)
		}
		lease("one", time.Hour, ledger.ErrStale) // it had none to release
		if err := b.l.ReleaseStream(b.Context(), "trades", "two"); err != nil {
			b.Error(err)
		}
		if s := lease("three", time.Hour, nil); s != at {
			b.Errorf("after its release at %+v, want %+v", s, at)
		}
		all, err := b.l.Streams(b.Context())
		if diff := cmp.Diff([]ledger.Stream{{Topic: "funding"}, at}, all); err != nil || diff != "" {
			b.Errorf("%v\n%s", err, diff)
		}
	},

	"OfManyReadersAtOnceOneGetsTheStream": func(b *bench) {
		for n := range many() {
			topic := fmt.Sprintf("topic-%d", n)
			if n%2 == 1 { // one that is there already, and free
				if _, err := b.l.LeaseStream(b.Context(), topic, "zero", over); err != nil {
					b.Fatal(err)
				}
			}
			var got atomic.Int32
			var fns []func()
			for i := range 4 {
				l := b.l
				fns = append(fns, func() {
					_, err := l.LeaseStream(b.Context(), topic, fmt.Sprint(i), time.Hour)
					if err == nil {
						got.Add(1)
					} else if !errors.Is(err, ledger.ErrStale) {
						b.Error(err)
					}
				})
			}
			if atOnce(fns...); got.Load() != 1 {
				b.Errorf("%d readers have it", got.Load())
			}
		}
	},

	"AnEventMakesAWaitingVisitDueAndLeavesNoLine": func(b *bench) {
		c := b.look(b.create("a"), closure.Wait(2*time.Hour, closure.TransferPending, "on its way"))
		events := len(b.events(c.ID))
		before := time.Now()
		next, moved, err := b.l.Hasten(b.Context(), "a")
		if err != nil || !moved || next.Version != c.Version+1 || next.Token == c.Token {
			b.Fatalf("moved %t to version %d: %v", moved, next.Version, err)
		}
		if next.DueAt.Before(before.Truncate(time.Microsecond)) || next.DueAt.After(time.Now()) {
			b.Errorf("due at %s", next.DueAt)
		}
		if diff := cmp.Diff(next, b.get(c.ID), micro); diff != "" {
			b.Errorf("(-returned +read)\n%s", diff)
		}
		if n := len(b.events(c.ID)); n != events {
			b.Errorf("%d lines more", n-events)
		}
		if _, err := b.l.Save(b.Context(), c, closure.Looked(time.Now(), closure.Wait(0, closure.TransferPending, "on its way"), closure.Look{}, nil), nil); !errors.Is(err, ledger.ErrStale) {
			b.Errorf("the version before it: %v", err)
		}
	},

	"AStormOfEventsLetsADueVisitBe": func(b *bench) {
		c := b.create("a")
		for n := range 5 {
			next, moved, err := b.l.Hasten(b.Context(), "a")
			if err != nil || moved || next.Version != c.Version {
				b.Fatalf("event %d: moved %t: %v", n, moved, err)
			}
		}
		marked := b.get(c.ID)
		if marked.WokenAt.IsZero() {
			b.Fatal("it is not marked")
		}
		now := time.Now()
		c, err := b.l.Save(b.Context(), c, closure.Looked(now, closure.Wait(2*time.Hour, closure.TransferPending, "on its way"), closure.Look{}, nil), nil)
		if err != nil || c.DueAt.After(now.Add(5*time.Second)) || !c.WokenAt.IsZero() {
			b.Errorf("after the visit it is due at %s (%s): %v", c.DueAt, now, err)
		}
	},

	"AnEventOfAnAccountWithoutARunningClosureIsNothing": func(b *bench) {
		for state, stop := range stops {
			c := stop(b, b.create(string(state)))
			b.nothing(string(state), c.ID, nil, func() error {
				if _, moved, err := b.l.Hasten(b.Context(), string(state)); moved || err != nil {
					b.Errorf("%s: moved %t: %v", state, moved, err)
				}
				return nil
			})
		}
		if _, moved, err := b.l.Hasten(b.Context(), "nobody"); moved || err != nil {
			b.Errorf("nobody: moved %t: %v", moved, err)
		}
		c := b.look(b.create("a"), closure.Wait(time.Hour, closure.TransferPending, "on its way"))
		b.nothing("of the other environment", c.ID, nil, func() error {
			if _, moved, err := b.open(closure.Live).Hasten(b.Context(), "a"); moved || err != nil {
				b.Errorf("moved %t: %v", moved, err)
			}
			return nil
		})
	},

	"LooksThatWerePutOffAreFoundByWhenTheyWouldBeDue": func(b *bench) {
		now := time.Now()
		put := func(account string, poll, until time.Duration) closure.Closure {
			c := b.create(account)
			c = b.look(c, closure.Go(closure.Settlement, "sold"))
			c.UpdatedAt = now.Add(poll - time.Hour - time.Minute) // its next look is due an hour after this one
			return b.look(c, closure.Wait(0, closure.Settling, "settling").PutOff(now.Add(until)))
		}
		late := put("late", -time.Minute, 6*time.Hour)
		soon := put("soon", time.Minute, 6*time.Hour)
		put("due", -time.Minute, -time.Second)
		b.look(b.create("plain"), closure.Wait(9*time.Hour, closure.Settling, "settling"))
		found := func(by time.Time) (ids []string) {
			cs, err := b.l.PutOff(b.Context(), now, by, 10)
			if err != nil {
				b.Fatal(err)
			}
			for _, c := range cs {
				ids = append(ids, c.ID)
			}
			return ids
		}
		if diff := cmp.Diff([]string{late.ID}, found(now)); diff != "" {
			b.Error(diff)
		}
		if diff := cmp.Diff([]string{late.ID, soon.ID}, found(now.Add(time.Hour))); diff != "" {
			b.Error(diff)
		}
		if want := now.Add(6 * time.Hour).Truncate(time.Microsecond); !b.get(late.ID).DueAt.Equal(want.UTC()) {
			b.Errorf("due at %s, want %s", b.get(late.ID).DueAt, want)
		}
		if _, moved, err := b.l.Hasten(b.Context(), "late"); !moved || err != nil {
			b.Errorf("moved %t: %v", moved, err)
		}
		if diff := cmp.Diff([]string(nil), found(now)); diff != "" {
			b.Error(diff)
		}
	},
}
