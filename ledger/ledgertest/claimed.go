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

var claimed = map[string]func(*bench){
	"AClaimMovesTheRowAndWritesItsIntentsAndItsEvent": func(b *bench) {
		c := b.create("a")
		next, is := b.claim(c, intent(closure.OrderIntent, "s1"), intent(closure.OrderIntent, "s2"))
		if next.Version != c.Version+1 || next.Token == c.Token || next.Token == "" || next.Reason != closure.Sending || next.StartedAt.IsZero() {
			b.Errorf("the row: version %d, token %q, %s", next.Version, next.Token, next.Reason)
		}
		if diff := cmp.Diff(next, b.get(c.ID), micro); diff != "" {
			b.Errorf("the row (-returned +read)\n%s", diff)
		}
		for n, i := range is {
			if i.State != closure.IntentSending || i.Key != next.Version || i.N != n || i.ClosureID != c.ID || i.AccountID != "a" || i.Environment != closure.Sandbox {
				b.Errorf("intent %d: %+v", n, i)
			}
		}
		if diff := cmp.Diff(is, b.intents(c.ID)); diff != "" || is[0].ID == is[1].ID {
			b.Errorf("the intents (-returned +read)\n%s", diff)
		}
		evs := b.events(c.ID)
		if last := evs[len(evs)-1]; len(evs) != 2 || last.Kind != "claim" || last.Version != next.Version || string(last.Detail) != `{"n":2}` {
			b.Errorf("the event: %+v", last)
		}
	},

	"AClaimOnARowThatMovedWritesNothing": func(b *bench) {
		for n, kind := range []closure.IntentKind{closure.CancelIntent, closure.OrderIntent, closure.TransferIntent, closure.CloseIntent} {
			old := b.create(account(n))
			moved := b.look(old, closure.Wait(0, closure.Selling, "selling"))
			token := moved
			token.Token = old.Token
			version := moved
			version.Version++
			for name, c := range map[string]closure.Closure{"an older row": old, "another token": token, "a version to come": version} {
				b.nothing(name, c.ID, ledger.ErrStale, func() error {
					_, is, err := try(b.Context(), b.l, c, intent(kind, "x"))
					if is != nil {
						b.Errorf("%s: intents were returned", name)
					}
					return err
				})
			}
		}
	},

	"AClaimOnARowThatIsNotRunningWritesNothing": func(b *bench) {
		for s, stop := range stops {
			old := b.create("account-" + string(s))
			stopped := stop(b, old)
			for name, tt := range map[string]struct {
				c    closure.Closure
				want error
			}{
				"as it was": {old, ledger.ErrStale},
				"as it is":  {stopped, closure.ErrNotRunning},
			} {
				b.nothing(fmt.Sprintf("a %s closure, %s", s, name), old.ID, tt.want, func() error {
					_, _, err := try(b.Context(), b.l, tt.c, pay("1", "2026-11-18"))
					return err
				})
			}
		}
	},

	"OfManyClaimsAtOnceOneIsMade": func(b *bench) {
		ledgers := []*ledger.Ledger{b.l, b.open(closure.Sandbox)}
		for n := range many() {
			c := b.create(account(n))
			var won atomic.Int32
			var fns []func()
			for i := range 4 {
				fns = append(fns, func() {
					switch _, _, err := try(b.Context(), ledgers[i%2], c, intent(closure.OrderIntent, "s")); {
					case err == nil:
						won.Add(1)
					case !errors.Is(err, ledger.ErrStale):
						b.Error(err)
					}
				})
			}
			atOnce(fns...)
			if is := b.intents(c.ID); won.Load() != 1 || len(is) != 1 || b.get(c.ID).Version != c.Version+1 {
				b.Fatalf("%d claims were made, %d intents written", won.Load(), len(is))
			}
		}
	},

	"OneTransferOfAnAccountIsOnTheWire": func(b *bench) {
		c, is := b.claim(b.create("a"), pay("1", "2026-11-18"))
		b.nothing("a second of the same closure", c.ID, ledger.ErrStale, func() error {
			_, _, err := try(b.Context(), b.l, c, pay("1", "2026-11-19"))
			return err
		})
		b.nothing("two in one claim", c.ID, ledger.ErrStale, func() error {
			_, _, err := try(b.Context(), b.l, c, intent(closure.CancelIntent, "o"), pay("1", "2026-11-20"))
			return err
		})
		if _, is := b.claim(b.create("another"), pay("1", "2026-11-18")); len(is) != 1 {
			b.Error("another account's transfer was refused")
		}
		// The closure ends with its transfer unanswered; the account gets another one.
		b.look(c, closure.Done("closed by somebody else"))
		second := b.create("a")
		b.nothing("one of the account's next closure", second.ID, ledger.ErrStale, func() error {
			_, _, err := try(b.Context(), b.l, second, pay("1", "2026-11-19"))
			return err
		})
		b.record(in(is[0], closure.IntentSent, "t1"))
		b.claim(second, pay("1", "2026-11-19"))
	},

	"OneTransferOfAnAccountIsMadeOnABankingDay": func(b *bench) {
		for _, tt := range []struct {
			state closure.IntentState
			free  bool
		}{
			{closure.IntentSent, false},
			{closure.IntentVoid, false}, // a void keeps its day: it may have been made after all
			{closure.IntentRefused, true},
		} {
			account := "account-" + string(tt.state)
			c, is := b.claim(b.create(account), pay("1", "2026-11-18"))
			c, _ = b.settle(c, is[0], tt.state, "")
			again := func(c closure.Closure) error {
				_, _, err := try(b.Context(), b.l, c, pay("2", "2026-11-18"))
				return err
			}
			if tt.free {
				if err := again(c); err != nil {
					b.Errorf("after a %s one: %v", tt.state, err)
				}
				continue
			}
			b.nothing(fmt.Sprintf("after a %s one", tt.state), c.ID, ledger.ErrStale, func() error { return again(c) })
			b.look(c, closure.Done("closed"))
			second := b.create(account)
			b.nothing(fmt.Sprintf("after a %s one of an earlier closure", tt.state), second.ID, ledger.ErrStale, func() error { return again(second) })
			b.claim(second, pay("2", "2026-11-19"))
		}
	},

	"ALateTransferKeepsItsDayAndBlocksTheNextUntilAPersonResumes": func(b *bench) {
		c, is := b.claim(b.create("a"), pay("1", "2026-11-18"))
		c, void := b.settle(c, is[0], closure.IntentVoid, "")
		if late := b.record(in(is[0], closure.IntentSent, "t1")); late.State != closure.IntentLate {
			b.Fatalf("it is %s", late.State)
		}
		b.nothing("a transfer on another day", c.ID, ledger.ErrStale, func() error {
			_, _, err := try(b.Context(), b.l, c, pay("1", "2026-11-19"))
			return err
		})
		c, _ = b.claim(c, intent(closure.CancelIntent, "o")) // what moves no money may go on
		c = b.look(c, closure.Fail(closure.LateTransfer, "made after all"))
		c = b.command(c.ID, closure.Resume(c.UpdatedAt, "ann", "compared"))
		if got := b.intents(c.ID)[0]; got.State != closure.IntentSent || got.BrokerID != "t1" || got.ID != void.ID {
			b.Errorf("after the resume it is %s as %q", got.State, got.BrokerID)
		}
		b.nothing("a transfer on its day", c.ID, ledger.ErrStale, func() error {
			_, _, err := try(b.Context(), b.l, c, pay("1", "2026-11-18"))
			return err
		})
		b.claim(c, pay("1", "2026-11-19"))
	},

	"ALateTransferStaysLateOverAPause": func(b *bench) {
		c, is := b.claim(b.create("a"), pay("1", "2026-11-18"))
		c, _ = b.settle(c, is[0], closure.IntentVoid, "")
		c = b.command(c.ID, closure.Pause(c.UpdatedAt, "ann", "hold it"))
		b.record(in(is[0], closure.IntentSent, "t1"))
		c = b.command(c.ID, closure.Resume(c.UpdatedAt, "ann", "go on")) // of the pause; nobody has seen the transfer
		if got := b.intents(c.ID)[0]; got.State != closure.IntentLate {
			b.Errorf("it is %s", got.State)
		}
	},

	"EachOfTheBrokersTransfersBelongsToOneIntent": func(b *bench) {
		c, is := b.claim(b.create("a"), pay("1", "2026-11-18"))
		b.record(in(is[0], closure.IntentSent, "t1"))
		c, is = b.claim(c, pay("1", "2026-11-19"))
		b.nothing("an answer with another's transfer", c.ID, ledger.ErrStale, func() error {
			_, _, err := b.l.Record(b.Context(), c, in(is[0], closure.IntentSent, "t1"), answer())
			return err
		})
		b.nothing("the adoption of another's transfer", c.ID, ledger.ErrStale, func() error {
			_, err := b.l.Save(b.Context(), c, closure.Looked(c.UpdatedAt, closure.Wait(0, closure.TransferPending, "found"), closure.Look{}, nil),
				[]ledger.Learned{{Was: closure.IntentSending, Intent: in(is[0], closure.IntentSent, "t1")}})
			return err
		})
		other, is2 := b.claim(b.create("another"), pay("1", "2026-11-18"))
		b.nothing("another account's", other.ID, ledger.ErrStale, func() error {
			_, _, err := b.l.Record(b.Context(), other, in(is2[0], closure.IntentSent, "t1"), answer())
			return err
		})
		b.record(in(is[0], closure.IntentSent, "t2"))
		b.record(in(is2[0], closure.IntentSent, "")) // an answer without an id is no transfer's
		// Orders have ids of their own kind.
		o, orders := b.claim(b.create("orders"), intent(closure.OrderIntent, "s1"), intent(closure.OrderIntent, "s2"))
		b.record(in(orders[0], closure.IntentSent, "t1"))
		b.record(in(orders[1], closure.IntentSent, "t1"))
		if got := b.get(o.ID); got.Version != o.Version {
			b.Error("an answer moved the row")
		}
	},

	"AnUnknownOrderIsSentAgainAsTheSameIntent": func(b *bench) {
		c, is := b.claim(b.create("a"), intent(closure.OrderIntent, "s1"))
		again := is[0]
		again.Deadline = again.Deadline.Add(time.Hour)
		next, is2 := b.claim(c, again)
		if next.Version != c.Version+1 || len(is2) != 1 || is2[0].ID != is[0].ID {
			b.Errorf("version %d, intents %+v", next.Version, is2)
		}
		got := b.intents(c.ID)
		if len(got) != 1 || !got[0].Deadline.Equal(again.Deadline) || got[0].State != closure.IntentSending || got[0].Key != is[0].Key {
			b.Errorf("%+v", got)
		}
		for _, known := range []closure.Closure{b.get(c.ID), c} { // the row as it is, and as the older visit knows it
			_, out, err := b.l.Record(b.Context(), known, in(is[0], closure.IntentRefused, ""), answer())
			if now := b.intents(c.ID)[0]; err != nil || out.State != closure.IntentSending || now.State != closure.IntentSending {
				b.Errorf("ARefusal of the older claim leaves %s and %s: %v", out.State, now.State, err)
			}
		}
		b.record(in(is[0], closure.IntentSent, "o1"))
		b.nothing("once its answer is known", c.ID, ledger.ErrStale, func() error {
			_, _, err := try(b.Context(), b.l, next, again)
			return err
		})
	},

	"ABatchIsClaimedWholeOrNotAtAll": func(b *bench) {
		c := b.create("a")
		b.nothing("a batch whose last is refused", c.ID, ledger.ErrStale, func() error {
			_, _, err := try(b.Context(), b.l, c, pay("1", "2026-11-18"), pay("1", "2026-11-19"))
			return err
		})
		bad := intent("theft", "x")
		b.nothing("a batch with what no intent may be", c.ID, nil, func() error {
			_, _, err := try(b.Context(), b.l, c, intent(closure.OrderIntent, "s1"), bad)
			if err == nil || errors.Is(err, ledger.ErrStale) {
				b.Errorf("a kind that does not exist: %v", err)
			}
			return nil
		})
	},

	"AClaimKeepsTheWakeThatCameSinceTheRowWasRead": func(b *bench) {
		c := b.create("a")
		b.command(c.ID, closure.Wake(c.DueAt.Add(time.Second), "stream", "an event")) // it is due: marked only
		next, _ := b.claim(c, intent(closure.CancelIntent, "o"))
		if next.WokenAt.IsZero() || !next.DueAt.After(next.WokenAt) {
			b.Fatalf("woken %s, due %s", next.WokenAt, next.DueAt)
		}
		saved := b.look(next, closure.Wait(time.Hour, closure.Selling, "selling"))
		if saved.DueAt.After(saved.UpdatedAt) || !saved.WokenAt.IsZero() {
			b.Errorf("saved: due %s, woken %s: the wake is lost", saved.DueAt, saved.WokenAt)
		}
	},
}
