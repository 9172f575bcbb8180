package ledgertest

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/go-cmp/cmp"

	"closeout/closure"
	"closeout/ledger"
)

var saved = map[string]func(*bench){
	"ASaveWritesRowIntentsAndEventsTogether": func(b *bench) {
		c, is := b.claim(b.create("a"), intent(closure.OrderIntent, "s1"), intent(closure.OrderIntent, "s2"))
		found := in(is[0], closure.IntentSent, "o1")
		found.Finished, found.FilledQty, found.Proceeds = "filled", money("3.000000001"), money("99.99")
		noted := closure.Event{Kind: "order", At: c.UpdatedAt, Actor: closure.Worker, Text: "found"}
		next, err := b.l.Save(b.Context(), c, closure.Looked(c.UpdatedAt, closure.Wait(0, closure.Selling, "selling"), closure.Look{}, nil),
			[]ledger.Learned{{Was: closure.IntentSending, Intent: found}, {Was: closure.IntentSending, Intent: in(is[1], closure.IntentVoid, "")}}, noted, noted)
		if err != nil {
			b.Fatal(err)
		}
		if next.Version != c.Version+1 || next.Token == c.Token || next.Reason != closure.Selling {
			b.Errorf("version %d, token %q, %s", next.Version, next.Token, next.Reason)
		}
		if diff := cmp.Diff([]closure.Intent{found, in(is[1], closure.IntentVoid, "")}, b.intents(c.ID)); diff != "" {
			b.Error(diff)
		}
		var kinds []string
		for _, e := range b.events(c.ID) {
			kinds = append(kinds, e.Kind)
		}
		if diff := cmp.Diff([]string{"accepted", "claim", "order", "order", "wait"}, kinds); diff != "" {
			b.Error(diff)
		}
	},

	"ALookThatFindsNothingNewMovesTheRowWithoutAnEvent": func(b *bench) {
		c := b.look(b.create("a"), closure.Wait(0, closure.Selling, "selling"))
		before := len(b.events(c.ID))
		next := b.look(c, closure.Wait(0, closure.Selling, "selling"))
		if next.Version != c.Version+1 || next.Looks != 2 || len(b.events(c.ID)) != before || next.Seq != c.Seq || next.HeadHash != c.HeadHash {
			b.Errorf("version %d, %d looks, %d events", next.Version, next.Looks, len(b.events(c.ID)))
		}
	},

	// As a visit finds it that lives across a restore of the ledger: the same number of events, and the last one is not the one it read.
	"AHistoryThatIsAnotherIsNotWrittenBehind": func(b *bench) {
		read := b.look(b.create("a"), closure.Wait(0, closure.Selling, "selling"))
		read.HeadHash = strings.Repeat("0", len(read.HeadHash))
		b.nothing("a look", read.ID, ledger.ErrStale, func() error {
			_, err := b.l.Save(b.Context(), read, closure.Looked(read.UpdatedAt, closure.Wait(0, closure.Settling, "settling"), closure.Look{}, nil), nil)
			return err
		})
		b.nothing("a claim", read.ID, ledger.ErrStale, func() error {
			_, _, err := b.l.Claim(b.Context(), read, closure.Claimed(read.UpdatedAt, read.UpdatedAt.Add(time.Minute), "sell", false),
				[]closure.Intent{intent(closure.OrderIntent, "s1")}, closure.Event{Kind: "claim", At: read.UpdatedAt, Actor: closure.Worker, Text: "sell"})
			return err
		})
	},

	"AStaleSaveWritesNothing": func(b *bench) {
		for name, ch := range map[string]func(closure.Closure) closure.Change{
			"a look": func(c closure.Closure) closure.Change {
				return closure.Looked(c.UpdatedAt, closure.Go(closure.Settlement, "sold"), closure.Look{}, nil)
			},
			"an end": func(c closure.Closure) closure.Change {
				return closure.Looked(c.UpdatedAt, closure.Done("done"), closure.Look{}, nil)
			},
			"an error":   func(c closure.Closure) closure.Change { return closure.Stumbled(c.UpdatedAt, "broken", 0, true) },
			"a crash":    func(c closure.Closure) closure.Change { return closure.Crashed(c.UpdatedAt, 1) },
			"a rescue":   func(c closure.Closure) closure.Change { return closure.Reissued(c.UpdatedAt, "late", false) },
			"a stop":     func(c closure.Closure) closure.Change { return closure.WentBack(c.UpdatedAt) },
			"a bad road": func(c closure.Closure) closure.Change { return looked(c, closure.Go(closure.Closing, "shortcut")) },
		} {
			old, is := b.claim(b.create("account-"+name), intent(closure.OrderIntent, "s1"))
			now := b.look(old, closure.Wait(0, closure.Selling, "selling"))
			save := func(c closure.Closure) error {
				_, err := b.l.Save(b.Context(), c, ch(c), []ledger.Learned{{Was: closure.IntentSending, Intent: in(is[0], closure.IntentSent, "o1")}},
					closure.Event{Kind: "order", At: c.UpdatedAt, Actor: closure.Worker, Text: "found"})
				return err
			}
			b.nothing(name+" on an older row", old.ID, ledger.ErrStale, func() error { return save(old) })
			for s, stop := range stops {
				if s == closure.Canceled || s == closure.Paused {
					held := now
					stopped := stop(b, held)
					b.nothing(name+" on a "+string(s)+" row", old.ID, ledger.ErrStale, func() error { return save(held) })
					b.nothing(name+" of a "+string(s)+" closure", old.ID, closure.ErrNotRunning, func() error { return save(stopped) })
					if s == closure.Canceled {
						break
					}
					now = b.command(old.ID, closure.Resume(stopped.UpdatedAt, "ann", "go on"))
				}
			}
		}
	},

	"AStaleIntentWritesNothingAtAll": func(b *bench) {
		c, is := b.claim(b.create("a"), intent(closure.OrderIntent, "s1"), intent(closure.OrderIntent, "s2"))
		sent := b.record(in(is[1], closure.IntentSent, "o2")) // its answer came after the visit had read it
		save := func(learned ...ledger.Learned) error {
			_, err := b.l.Save(b.Context(), c, looked(c, closure.Go(closure.Settlement, "sold")), learned,
				closure.Event{Kind: "order", At: c.UpdatedAt, Actor: closure.Worker, Text: "found"})
			return err
		}
		first := ledger.Learned{Was: closure.IntentSending, Intent: in(is[0], closure.IntentSent, "o1")}
		b.nothing("another state", c.ID, ledger.ErrStale, func() error {
			return save(first, ledger.Learned{Was: closure.IntentSending, Intent: in(is[1], closure.IntentVoid, "")})
		})
		gone := in(sent, closure.IntentVoid, "")
		gone.ID = "no"
		b.nothing("no such intent", c.ID, ledger.ErrStale, func() error {
			return save(first, ledger.Learned{Was: closure.IntentSent, Intent: gone})
		})
		if err := save(first, ledger.Learned{Was: closure.IntentSent, Intent: sent}); err != nil {
			b.Errorf("as the ledger has them: %v", err)
		}
	},

	"WhatApplyRefusesWritesNothing": func(b *bench) {
		c := b.create("a")
		b.nothing("a way that the road does not have", c.ID, nil, func() error {
			if _, err := b.l.Save(b.Context(), c, looked(c, closure.Go(closure.Closing, "shortcut")), nil); err == nil || errors.Is(err, ledger.ErrStale) {
				b.Errorf("%v", err)
			}
			if _, err := b.l.Save(b.Context(), c, looked(c, closure.Outcome{}), nil); err == nil || errors.Is(err, ledger.ErrStale) {
				b.Errorf("%v", err)
			}
			return nil
		})
	},

	// A wake that comes while a visit is under way is only marked. The visit has read the row before, and its save must
	// still heed the mark, or what woke it is not looked at before the next poll.
	"AWakeThatCameDuringTheVisitMakesTheNextOneDueNow": func(b *bench) {
		for name, save := range map[string]func(closure.Closure) closure.Closure{
			"a look that waits": func(c closure.Closure) closure.Closure {
				return b.look(c, closure.Wait(time.Hour, closure.Selling, "selling"))
			},
			"an error, then a look": func(c closure.Closure) closure.Closure {
				c = b.save(c, closure.Stumbled(c.UpdatedAt, "broken", 0, true))
				return b.look(c, closure.Wait(time.Hour, closure.Selling, "selling"))
			},
			"a way back": func(c closure.Closure) closure.Closure {
				c = b.look(c, closure.Go(closure.Settlement, "sold"))
				b.command(c.ID, closure.Wake(c.DueAt.Add(time.Second), "stream", "an event"))
				return b.look(c, closure.Go(closure.Liquidation, "shares"))
			},
		} {
			c := b.create("account-" + name)
			at := c.DueAt.Add(time.Second)
			marked := b.command(c.ID, closure.Wake(at, "ann", "look again"))
			said := b.events(c.ID)
			if marked.Version != c.Version || !marked.WokenAt.Equal(at) || len(said) != 2 || said[1].Actor != "ann" || said[1].Text != "look again" {
				b.Fatalf("%s: version %d, marked %s, the history says %+v", name, marked.Version, marked.WokenAt, said)
			}
			next := save(c) // which chains its own event to the wake's, of which the visit does not know
			if next.DueAt.After(next.UpdatedAt) || !next.WokenAt.IsZero() {
				b.Errorf("%s: saved at %s, due %s: the wake is lost", name, next.UpdatedAt, next.DueAt)
			}
			if all := b.events(c.ID); int64(len(all)) != b.get(c.ID).Seq || len(all) <= len(said) {
				b.Errorf("%s: %d events, the row counts %d", name, len(all), b.get(c.ID).Seq)
			}
		}
	},

	// A visit goes on from the row that its answer's record has returned: with the error that an overlapping delivery has noted.
	"AnErrorNotedBesideAnAnswerIsCounted": func(b *bench) {
		c, is := b.claim(b.create("a"), intent(closure.OrderIntent, "s"))
		b.save(c, closure.Stumbled(c.UpdatedAt, "another delivery's", 0, true))
		row, _, err := b.l.Record(b.Context(), c, in(is[0], closure.IntentSent, "o1"), answer())
		if err != nil || row.Version != c.Version || row.Failures != 1 {
			b.Fatalf("%+v, %v", row, err)
		}
		if last := b.save(row, closure.Stumbled(c.UpdatedAt, "its own", 0, true)); last.Failures != 2 || b.get(c.ID).Failures != 2 {
			b.Errorf("%d errors were counted", last.Failures)
		}
	},

	// The broker's events mark a row without a line in its history.
	"AMarkThatNoHistoryTellsIsHeededBySaves": func(b *bench) {
		c := b.create("a")
		marked, moved, err := b.l.Hasten(b.Context(), "a")
		if err != nil || moved || marked.WokenAt.IsZero() || marked.Seq != c.Seq {
			b.Fatalf("%+v, moved %t, %v", marked, moved, err)
		}
		next := b.look(c, closure.Wait(time.Hour, closure.Selling, "selling"))
		if next.DueAt.After(marked.WokenAt.Add(time.Minute)) || !next.WokenAt.IsZero() {
			b.Errorf("marked at %s, saved at %s, due %s: the wake is lost", marked.WokenAt, next.UpdatedAt, next.DueAt)
		}
	},

	// A delivery whose worker was taken for dead may still run beside the next one. Neither moves the row by its error, so
	// both may write: no error must be lost, or the closure would be retried for longer than it may.
	"ErrorsOfOverlappingVisitsAreAllCounted": func(b *bench) {
		c := b.create("a")
		crashed := b.save(c, closure.Crashed(c.UpdatedAt, 1))
		b.save(crashed, closure.Stumbled(c.UpdatedAt, "second", 1, true))
		got := b.save(c, closure.Stumbled(c.UpdatedAt, "first", 0, true))
		if got.Failures != 2 || got.FailuresInPhase != 2 || got.Crashes != 1 || got.NotedRetries != 2 {
			b.Errorf("%d failures, %d in the phase, %d crashes, %d retries noted", got.Failures, got.FailuresInPhase, got.Crashes, got.NotedRetries)
		}
		var fns []func()
		var dead atomic.Int32
		at := b.create("another")
		for n := range closure.MaxRetries + 3 {
			fns = append(fns, func() {
				switch next, err := b.l.Save(b.Context(), at, closure.Stumbled(at.UpdatedAt, fmt.Sprint(n), n, true), nil); {
				case err == nil && next.State == closure.Dead:
					dead.Add(1)
				case err != nil && !errors.Is(err, ledger.ErrStale):
					b.Error(err)
				}
			})
		}
		atOnce(fns...)
		if got := b.get(at.ID); dead.Load() != 1 || got.State != closure.Dead || got.Failures != closure.MaxRetries+1 {
			b.Errorf("%d visits found it dead; it is %s after %d failures", dead.Load(), got.State, got.Failures)
		}
	},
}

func looked(c closure.Closure, o closure.Outcome) closure.Change {
	return closure.Looked(c.UpdatedAt, o, closure.Look{}, nil)
}
