package ledgertest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/go-cmp/cmp"

	"closeout/closure"
	"closeout/ledger"
)

// isHeld demands that an error is a hold's refusal and says of which hold.
func isHeld(b *bench, err error, want ledger.Hold) error {
	b.Helper()
	held, ok := errors.AsType[*ledger.HeldError](err)
	if !ok {
		return err
	}
	if diff := cmp.Diff(want, held.Hold, micro); diff != "" {
		b.Errorf("the refusal names another hold (-want +got)\n%s", diff)
	}
	return nil
}

func (b *bench) hold(l *ledger.Ledger, reason string) ledger.Hold {
	b.Helper()
	h, err := l.Hold(b.Context())
	if err == nil {
		h, err = l.HoldAll(b.Context(), h.Version, "operator:ann", reason)
	}
	if err != nil {
		b.Fatal(err)
	}
	return h
}

func (b *bench) release(l *ledger.Ledger, h ledger.Hold) ledger.Hold {
	b.Helper()
	h, err := l.ReleaseAll(b.Context(), h.Version, "operator:bob", "mended")
	if err != nil {
		b.Fatal(err)
	}
	return h
}

var allHeld = map[string]func(*bench){
	"NothingIsClaimedWhileEverythingIsHeld": func(b *bench) {
		other := b.open(closure.Sandbox) // another process
		sent, is := b.claim(b.create("sent"), intent(closure.OrderIntent, "s1"))
		h := b.hold(b.l, "the broker's books look wrong")
		for n, kind := range []closure.IntentKind{closure.CancelIntent, closure.OrderIntent, closure.TransferIntent, closure.CloseIntent} {
			c := b.create(account(n)) // new closures are accepted
			for name, l := range map[string]*ledger.Ledger{"this ledger": b.l, "another": other} {
				b.nothing(fmt.Sprintf("%s by %s", kind, name), c.ID, nil, func() error {
					_, is, err := try(b.Context(), l, c, intent(kind, "x"))
					if err == nil || is != nil {
						b.Errorf("%s was claimed by %s", kind, name)
					}
					return isHeld(b, err, h)
				})
			}
		}
		b.nothing("an unknown order once more", sent.ID, nil, func() error {
			_, _, err := try(b.Context(), b.l, sent, is[0])
			if err == nil {
				b.Error("it was claimed again")
			}
			return isHeld(b, err, h)
		})
		// What is on the wire is recorded, looks are saved, and people's commands are carried out.
		if got := b.record(in(is[0], closure.IntentSent, "o1")); got.State != closure.IntentSent {
			b.Errorf("the answer: %s", got.State)
		}
		sent = b.look(sent, closure.Wait(0, closure.OrdersOpen, "at the market"))
		sent = b.command(sent.ID, closure.Pause(sent.UpdatedAt, "ann", "hold it"))
		sent = b.command(sent.ID, closure.Resume(sent.UpdatedAt, "ann", "go on"))
		b.release(other, h)
		b.claim(sent, intent(closure.OrderIntent, "s2"))
	},

	"AHoldIsOfOneEnvironment": func(b *bench) {
		live := b.open(closure.Live)
		b.hold(b.l, "sandbox alone")
		if h, err := live.Hold(b.Context()); err != nil || h != (ledger.Hold{}) {
			b.Errorf("the other environment: %+v, %v", h, err)
		}
		c, _, err := live.Create(b.Context(), wish("a"))
		if err != nil {
			b.Fatal(err)
		}
		if _, _, err := try(b.Context(), live, c, intent(closure.OrderIntent, "s")); err != nil {
			b.Error(err)
		}
	},

	"EveryChangeOfAHoldIsKeptAndTheSecondOfTwoIsRefused": func(b *bench) {
		none, err := b.l.Hold(b.Context())
		if err != nil || none != (ledger.Hold{}) {
			b.Fatalf("at first: %+v, %v", none, err)
		}
		stale := func(what string, err error) {
			b.Helper()
			if !errors.Is(err, ledger.ErrStale) {
				b.Errorf("%s: %v", what, err)
			}
		}
		_, err = b.l.ReleaseAll(b.Context(), 0, "bob", "nothing is held")
		stale("a release of nothing", err)
		first := b.hold(b.l, "one\x00")
		if first.Version != 1 || !first.Held || first.Reason != "one\uFFFD" || first.Actor != "operator:ann" || time.Since(first.Since) > time.Minute {
			b.Errorf("%+v", first)
		}
		_, err = b.l.HoldAll(b.Context(), 0, "bob", "at the same time")
		stale("a second hold by an old page", err)
		_, err = b.l.HoldAll(b.Context(), 1, "bob", "again")
		stale("a second hold", err)
		second := b.release(b.l, first)
		third := b.hold(b.l, "two")
		_, err = b.l.ReleaseAll(b.Context(), first.Version, "bob", "of the first")
		stale("a release by an old page", err)
		now, err := b.l.Hold(b.Context())
		if diff := cmp.Diff(third, now, micro); err != nil || diff != "" {
			b.Errorf("%v (-returned +read)\n%s", err, diff)
		}
		all, err := b.l.HoldChanges(b.Context(), 10)
		if diff := cmp.Diff([]ledger.Hold{third, second, first}, all, micro); err != nil || diff != "" {
			b.Errorf("%v (-want +got)\n%s", err, diff)
		}
		if some, err := b.l.HoldChanges(b.Context(), 1); err != nil || len(some) != 1 || some[0].Version != 3 {
			b.Errorf("%+v, %v", some, err)
		}
	},

	// A claim that is at work when the hold comes is over before the hold is: what is counted then is all there will be.
	"OnceAHoldHasReturnedNoClaimIsMade": func(b *bench) {
		ledgers := []*ledger.Ledger{b.l, b.open(closure.Sandbox)}
		made, refused := 0, 0
		for round := range many() / 4 {
			var claims, late, no atomic.Int32
			var over atomic.Bool
			var begun, done sync.WaitGroup
			var all []closure.Closure // before any claim is made: SQLite has one writer, and no queue for those who wait
			for n := range 3 * len(ledgers) {
				all = append(all, b.create(fmt.Sprintf("account-%d-%d", round, n)))
			}
			for n, c := range all {
				begun.Add(1)
				done.Go(func() {
					l, told := ledgers[n%len(ledgers)], false
					for i := 0; ; i++ {
						after := over.Load()
						next, _, err := try(b.Context(), l, c, intent(closure.OrderIntent, fmt.Sprint(i)))
						switch _, ok := errors.AsType[*ledger.HeldError](err); {
						case err == nil && after:
							late.Add(1)
						case err == nil:
							c = next
							claims.Add(1)
						case ok:
							no.Add(1)
						case strings.Contains(err.Error(), "database is locked"): // SQLite's patience, on a busy disk: nothing was begun
							err = nil
						default:
							b.Error(err)
						}
						if !told {
							told = true
							begun.Done()
						}
						if err != nil || after || b.Failed() {
							return
						}
					}
				})
			}
			b.Cleanup(func() { // before the ledgers are closed, however the test ends
				over.Store(true)
				done.Wait()
			})
			begun.Wait()
			ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
			h, err := ledgers[0].HoldAll(ctx, int64(2*round), "ann", "now")
			for err != nil && ctx.Err() == nil && strings.Contains(err.Error(), "database is locked") { // as above
				h, err = ledgers[0].HoldAll(ctx, int64(2*round), "ann", "now")
			}
			cancel()
			over.Store(true)
			if err != nil {
				b.Fatal(err) // among other things: a stream of claims keeps it waiting
			}
			then := b.count("intents")
			done.Wait()
			if now := b.count("intents"); now != then || late.Load() > 0 {
				b.Fatalf("round %d: %d intents when the hold had returned, %d in the end; %d claims began after it and were made", round, then, now, late.Load())
			}
			made, refused = made+int(claims.Load()), refused+int(no.Load())
			b.release(ledgers[1], h)
		}
		b.Logf("%d claims were made, %d refused", made, refused)
	},

	"WhatWaitsForAHoldIsListedOnceItIsOver": func(b *bench) {
		h := b.hold(b.l, "a while")
		now := time.Now()
		waits := func(account string, r closure.Reason, d time.Duration) closure.Closure {
			return b.save(b.create(account), closure.Looked(now, closure.Park(d, r, "waits"), closure.Look{}, nil))
		}
		first, second := waits("a", closure.ServiceHeld, time.Hour), waits("b", closure.ServiceHeld, 2*time.Hour)
		waits("soon", closure.ServiceHeld, time.Second)
		waits("another", closure.AccountBlocked, time.Hour)
		stopped := waits("stopped", closure.ServiceHeld, time.Hour)
		b.command(stopped.ID, closure.Pause(now, "ann", "hold it"))
		ids := func(limit int) (out []string) {
			b.Helper()
			cs, err := b.l.Released(b.Context(), now.Add(time.Minute), limit)
			if err != nil {
				b.Fatal(err)
			}
			for _, c := range cs {
				out = append(out, c.ID)
			}
			return out
		}
		if got := ids(10); got != nil {
			b.Errorf("while it is held: %v", got)
		}
		b.release(b.l, h)
		if diff := cmp.Diff([]string{first.ID, second.ID}, ids(10)); diff != "" {
			b.Error(diff)
		}
		if diff := cmp.Diff([]string{first.ID}, ids(1)); diff != "" {
			b.Error(diff)
		}
		if cs, err := b.open(closure.Live).Released(b.Context(), now, 10); err != nil || cs != nil {
			b.Errorf("the other environment: %v, %v", cs, err)
		}
	},

	"FiguresSayWhatIsDueAndOwed": func(b *bench) {
		empty, err := b.l.Figures(b.Context())
		if err != nil || empty.Due != 0 || !empty.DueSince.IsZero() || empty.LettersOwed != 0 || !empty.OwedSince.IsZero() || empty.Bytes <= 0 || empty.Database == "" {
			b.Fatalf("of an empty ledger: %+v, %v", empty, err)
		}
		first := b.create("a")
		b.create("b")
		b.look(b.create("later"), closure.Wait(2*time.Hour, closure.Selling, "selling"))
		b.command(b.create("stopped").ID, closure.Pause(time.Now(), "ann", "hold it"))
		n, _, _, err := b.l.NextNotice(b.Context(), nil, time.Minute)
		if err == nil {
			err = b.l.NoticeLater(b.Context(), n, time.Minute, "no such address", true)
		}
		if err != nil {
			b.Fatal(err)
		}
		got, err := b.l.Figures(b.Context())
		if err != nil || got.Due != 2 || !got.DueSince.Equal(b.get(first.ID).DueAt) || got.LettersOwed != 3 || got.LettersFailed != 1 || got.OwedSince.IsZero() {
			b.Errorf("%+v, %v", got, err)
		}
		if got.FeedSafe != got.FeedWritten || got.FeedSafe <= empty.FeedSafe {
			b.Errorf("the feed: %d of %d", got.FeedSafe, got.FeedWritten)
		}
		other, err := b.open(closure.Live).Figures(b.Context())
		if err != nil || other.Due != 0 || other.LettersOwed != 0 || other.LettersFailed != 0 {
			b.Errorf("the other environment: %+v, %v", other, err)
		}
		if running, waiting, err := b.l.HoldReach(b.Context()); err != nil || running != 3 || waiting != 0 {
			b.Errorf("a hold would reach %d, and %d wait: %v", running, waiting, err)
		}
	},

	"WithoutTheHoldsRowNothingIsClaimed": func(b *bench) {
		c := b.create("a")
		b.tamper("DELETE FROM holds WHERE environment = 'sandbox'")
		b.nothing("a claim", c.ID, nil, func() error {
			if _, _, err := try(b.Context(), b.l, c, intent(closure.OrderIntent, "s")); err == nil {
				b.Error("it was made")
			}
			return nil
		})
	},
}
