package ledgertest

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"closeout/closure"
	"closeout/ledger"
)

var commanded = map[string]func(*bench){
	"ACommandDecidesOnTheRowAndTheIntentsAsTheyAre": func(b *bench) {
		old := b.create("a")
		c, is := b.claim(old, intent(closure.CancelIntent, "o"))
		c, err := b.l.Command(b.Context(), old.ID, func(row closure.Closure, intents []closure.Intent) (closure.Change, error) {
			if diff := cmp.Diff(c, row, micro); diff != "" {
				b.Errorf("the row\n%s", diff)
			}
			if diff := cmp.Diff(is, intents); diff != "" {
				b.Errorf("the intents\n%s", diff)
			}
			return closure.Cancel(row.UpdatedAt, "ann", "never mind", closure.PastNoReturn(intents)), nil
		})
		if err != nil || c.State != closure.Canceled {
			b.Fatalf("%s: %v", c.State, err)
		}
		if diff := cmp.Diff(c, b.get(c.ID), micro); diff != "" {
			b.Errorf("(-returned +read)\n%s", diff)
		}
		evs := b.events(c.ID)
		if last := evs[len(evs)-1]; last.Kind != "cancel" || last.Actor != "ann" || last.Text != "never mind" || last.State != closure.Canceled {
			b.Errorf("its event: %+v", last)
		}
	},

	"ARefusedCommandSaysWhyAndWritesNothing": func(b *bench) {
		c, _ := b.claim(b.create("a"), pay("1", "2026-11-18"))
		past := func(row closure.Closure, intents []closure.Intent) (closure.Change, error) {
			return closure.Cancel(row.UpdatedAt, "ann", "never mind", closure.PastNoReturn(intents)), nil
		}
		own := errors.New("not you")
		b.nothing("by Apply", c.ID, nil, func() error {
			_, err := b.l.Command(b.Context(), c.ID, past)
			if no, ok := errors.AsType[*closure.NotAllowedError](err); !ok || no.Command != "cancel" || no.State != closure.Running {
				b.Errorf("%v", err)
			}
			return nil
		})
		b.nothing("by the one who decides", c.ID, own, func() error {
			_, err := b.l.Command(b.Context(), c.ID, func(closure.Closure, []closure.Intent) (closure.Change, error) {
				return closure.Pause(c.UpdatedAt, "ann", "hold it"), own
			})
			return err
		})
	},

	"CancelAndClaimAtOnceAreNeverBothDone": func(b *bench) {
		race(b, func(c closure.Closure, intents []closure.Intent) closure.Change {
			return closure.Cancel(c.UpdatedAt, "ann", "never mind", closure.PastNoReturn(intents))
		}, func(c closure.Closure, sending bool) {
			if (c.State == closure.Canceled) == sending {
				b.Fatalf("the closure is %s and a transfer on the wire: %t", c.State, sending)
			}
		})
	},

	// A pause may come after a claim; what must not be is a claim after a pause.
	"NothingIsClaimedAfterAPause": func(b *bench) {
		race(b, func(c closure.Closure, _ []closure.Intent) closure.Change {
			return closure.Pause(c.UpdatedAt, "ann", "hold it")
		}, func(c closure.Closure, _ bool) {
			evs := b.events(c.ID)
			if c.State != closure.Paused || evs[len(evs)-1].Kind != "pause" {
				b.Fatalf("the closure is %s, its last event %q", c.State, evs[len(evs)-1].Kind)
			}
		})
	},

	"AResolutionSettlesItsIntentWithTheRow": func(b *bench) {
		c, is := b.claim(b.create("a"), pay("1", "2026-11-18"))
		c = b.look(c, closure.Fail(closure.UnknownTransfer, "in no list"))
		later := is[0].Deadline.Add(time.Second)
		resolve := func(id string, r closure.Resolution) (closure.Closure, error) {
			return b.l.Command(b.Context(), id, func(row closure.Closure, intents []closure.Intent) (closure.Change, error) {
				settled, err := r.Check(row, intents, later)
				return closure.Resolved(row.UpdatedAt, "ann", "asked the broker", r, settled), err
			})
		}
		b.nothing("another word first", c.ID, nil, func() error {
			if _, err := resolve(c.ID, closure.Resolution{Kind: closure.RelinkBank, Bank: "other", Fingerprint: "beef"}); err == nil {
				b.Error("another bank was linked while a transfer is unknown")
			}
			return nil
		})
		adopt := closure.Resolution{Kind: closure.AdoptTransfer, TransferID: "t1"}
		next, err := resolve(c.ID, adopt)
		if err != nil || next.State != closure.Running {
			b.Fatalf("%s, %v", next.State, err)
		}
		if got := b.intents(c.ID)[0]; got.State != closure.IntentSent || got.BrokerID != "t1" {
			b.Errorf("the intent is %s as %q", got.State, got.BrokerID)
		}
		evs := b.events(c.ID)
		if last := evs[len(evs)-1]; last.Kind != "resolve" || last.Actor != "ann" || last.State != closure.Running {
			b.Errorf("its event: %+v", last)
		}
		other, is2 := b.claim(b.create("another"), pay("1", "2026-11-18"))
		later = is2[0].Deadline.Add(time.Second)
		other = b.look(other, closure.Fail(closure.UnknownTransfer, "in no list"))
		b.nothing("the transfer of another closure", other.ID, ledger.ErrTaken, func() error {
			_, err := resolve(other.ID, adopt)
			return err
		})
	},

	"ARelinkedBankIsTheRowsFromThenOn": func(b *bench) {
		c := b.look(b.create("a"), closure.Fail(closure.BankGone, "is gone"))
		c = b.command(c.ID, closure.Resolved(c.UpdatedAt, "ann", "a new bank", closure.Resolution{Kind: closure.RelinkBank, Bank: "other", Fingerprint: "beef"}, nil))
		c = b.look(c, closure.Wait(time.Hour, closure.Selling, "selling"))
		if got := b.get(c.ID); got.RelationshipID != "other" || got.Fingerprint != "beef" || c.RelationshipID != "other" {
			b.Errorf("it pays to %s (%s)", got.RelationshipID, got.Fingerprint)
		}
	},

	"WhatWasPaidByHandIsKeptWithTheRow": func(b *bench) {
		c := b.look(b.create("a"), closure.Fail(closure.BankGone, "is gone"))
		r := closure.Resolution{Kind: closure.PaidByHand, Amount: money("12.30").Decimal, Reference: "wire 7"}
		c = b.command(c.ID, closure.Resolved(c.UpdatedAt, "ann", "wired", r, nil))
		want := []closure.HandPaid{{Amount: money("12.3").Decimal, Reference: "wire 7", Key: c.Version}}
		if diff := cmp.Diff(want, b.get(c.ID).Memo.ByHand); diff != "" {
			b.Error(diff)
		}
	},

	"WakesAtOnceLoseNothing": func(b *bench) {
		c := b.look(b.create("a"), closure.Wait(time.Hour, closure.Selling, "selling"))
		at := c.UpdatedAt.Add(time.Minute)
		var fns []func()
		for range 8 {
			fns = append(fns, func() {
				if _, err := b.l.Command(b.Context(), c.ID, func(closure.Closure, []closure.Intent) (closure.Change, error) {
					return closure.Wake(at, "stream", "an event"), nil
				}); err != nil {
					b.Error(err)
				}
			})
		}
		atOnce(fns...)
		// The first makes it due; the others find it due.
		if got := b.get(c.ID); got.Version != c.Version+1 || !got.DueAt.Equal(at.Truncate(time.Microsecond)) || got.WokenAt.IsZero() {
			b.Errorf("version %d after %d, due %s, woken %s", got.Version, c.Version, got.DueAt, got.WokenAt)
		}
		said := 0
		for _, e := range b.events(c.ID) {
			if e.Kind == "wake" {
				said++
			}
		}
		if said != len(fns) {
			b.Errorf("the history has %d of %d wakes", said, len(fns))
		}
	},
}

// race lets a command and a claim meet, again and again, each by a ledger of its own, and shows how it ended.
func race(b *bench, change func(closure.Closure, []closure.Intent) closure.Change, ended func(c closure.Closure, sending bool)) {
	b.Helper()
	other := b.open(closure.Sandbox)
	commands, claims := 0, 0
	for n := range many() {
		c := b.create(account(n))
		var refused *closure.NotAllowedError
		command := func() {
			_, err := b.l.Command(b.Context(), c.ID, func(c closure.Closure, is []closure.Intent) (closure.Change, error) { return change(c, is), nil })
			if err != nil && !errors.As(err, &refused) {
				b.Error(err)
			}
			if err == nil {
				commands++
			}
		}
		claim := func() {
			_, _, err := try(b.Context(), other, c, pay("1", "2026-11-18"))
			if err != nil && !errors.Is(err, ledger.ErrStale) {
				b.Error(err)
			}
			if err == nil {
				claims++
			}
		}
		if n%2 == 0 {
			command, claim = claim, command
		}
		atOnce(command, claim)
		ended(b.get(c.ID), len(b.intents(c.ID)) == 1)
	}
	if testing.Verbose() {
		b.Logf("%d commands and %d claims were done", commands, claims)
	}
}
