package ledgertest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"closeout/closure"
	"closeout/ledger"
)

func request(s string) [sha256.Size]byte { return sha256.Sum256([]byte(s)) }

// reserve takes a key that must be free.
func (b *bench) reserve(key string) *ledger.Reservation {
	b.Helper()
	r, err := b.l.Reserve(b.Context(), "shop", key, request("body"))
	if err != nil || r.Answer() != nil {
		b.Fatalf("the key %s: %v, %v", key, r, err)
	}
	return r
}

// told demands that the request is answered already, with this.
func (b *bench) told(key string, status int, location, body string) {
	b.Helper()
	r, err := b.l.Reserve(b.Context(), "shop", key, request("body"))
	if err != nil || r.Answer() == nil {
		b.Fatalf("the key %s has no answer: %v", key, err)
	}
	if a := r.Answer(); a.Status != status || a.Location != location || string(a.Body) != body {
		b.Errorf("the key %s is answered %d %q %s, want %d %q %s", key, a.Status, a.Location, a.Body, status, location, body)
	}
}

// refused demands that the key can't be had for a request.
func (b *bench) refused(key, body string, want error) {
	b.Helper()
	if r, err := b.l.Reserve(b.Context(), "shop", key, request(body)); !errors.Is(err, want) {
		b.Errorf("the key %s for %s: %v, %v, want %v", key, body, r, err, want)
	}
}

// saying is a reply that tells the closure's id.
func saying(r *ledger.Reservation) *ledger.Reply[closure.Closure] {
	return &ledger.Reply[closure.Closure]{To: r, Say: func(c closure.Closure) (ledger.Answer, error) {
		return ledger.Answer{Status: 202, Location: "/job/" + c.ID, Body: fmt.Appendf(nil, "%s at %d\n", c.ID, c.Version)}, nil
	}}
}

func (b *bench) late(key, column string) {
	b.Helper()
	b.tamper("UPDATE idempotency_keys SET "+column+" = $1 WHERE key_hash = $2", time.Now().UTC().Add(-time.Second), fmt.Sprintf("%x", request(key)))
}

var answered = map[string]func(*bench){
	"TheAnswerIsWrittenWithTheChange": func(b *bench) {
		r := b.reserve("k")
		b.refused("k", "body", ledger.ErrInFlight)
		c, created, err := b.l.Create(b.Context(), wish("a"), saying(r))
		if err != nil || !created || r.Answer() == nil {
			b.Fatalf("created %t, %v", created, err)
		}
		b.told("k", 202, "/job/"+c.ID, c.ID+" at 1\n")
		if n := b.count("idempotency_keys WHERE key_hash <> $1", fmt.Sprintf("%x", request("k"))); n != 0 {
			b.Error("the key itself is kept")
		}

		r = b.reserve("pause")
		next, err := b.l.Command(b.Context(), c.ID, func(c closure.Closure, _ []closure.Intent) (closure.Change, error) {
			return closure.Pause(c.UpdatedAt.Add(time.Minute), "ann", "hold it"), nil
		}, saying(r), nil)
		if err != nil || next.State != closure.Paused {
			b.Fatalf("%s: %v", next.State, err)
		}
		b.told("pause", 202, "/job/"+c.ID, fmt.Sprintf("%s at %d\n", c.ID, next.Version))
	},

	"NeitherWithoutTheOther": func(b *bench) {
		broken := errors.New("broken")
		r := b.reserve("k")
		_, created, err := b.l.Create(b.Context(), wish("a"), &ledger.Reply[closure.Closure]{To: r, Say: func(closure.Closure) (ledger.Answer, error) {
			return ledger.Answer{}, broken
		}})
		if !errors.Is(err, broken) || created || r.Answer() != nil {
			b.Errorf("created %t, %v", created, err)
		}
		if n := b.count("closures") + b.count("events") + b.count("notices"); n != 0 {
			b.Error("a closure without its answer")
		}
		w := wish("a")
		w.Priority = "whenever" // the row is refused before the answer
		if _, _, err := b.l.Create(b.Context(), w, saying(r)); err == nil || r.Answer() != nil {
			b.Errorf("an answer without its closure: %v", err)
		}
		b.refused("k", "body", ledger.ErrInFlight)

		c := b.create("b")
		r = b.reserve("pause")
		b.nothing("a command whose answer can't be made", c.ID, broken, func() error {
			_, err := b.l.Command(b.Context(), c.ID, func(c closure.Closure, _ []closure.Intent) (closure.Change, error) {
				return closure.Pause(c.UpdatedAt, "ann", "hold it"), nil
			}, &ledger.Reply[closure.Closure]{To: r, Say: func(closure.Closure) (ledger.Answer, error) { return ledger.Answer{}, broken }})
			return err
		})
		if b.count("idempotency_keys WHERE status <> 0") != 0 {
			b.Error("an answer without its change")
		}
	},

	"AClosureThatWasOpenAlreadyWritesNoAnswer": func(b *bench) {
		c := b.create("a")
		r := b.reserve("k")
		got, created, err := b.l.Create(b.Context(), wish("a"), saying(r))
		if err != nil || created || got.ID != c.ID || r.Answer() != nil {
			b.Errorf("created %t, %v", created, err)
		}
		if err := b.l.Answer(b.Context(), r, ledger.Answer{Status: 200, Body: []byte("open")}); err != nil {
			b.Fatal(err)
		}
		b.told("k", 200, "", "open")
	},

	"AnotherRequestIsRefused": func(b *bench) {
		r := b.reserve("k")
		b.refused("k", "another body", ledger.ErrOtherRequest)
		if err := b.l.Answer(b.Context(), r, ledger.Answer{Status: 200}); err != nil {
			b.Fatal(err)
		}
		b.refused("k", "another body", ledger.ErrOtherRequest)
		for what, other := range map[string]func() (*ledger.Reservation, error){
			"another client": func() (*ledger.Reservation, error) {
				return b.l.Reserve(b.Context(), "ops", "k", request("another body"))
			},
			"another environment": func() (*ledger.Reservation, error) {
				return b.open(closure.Live).Reserve(b.Context(), "shop", "k", request("another body"))
			},
		} {
			if r, err := other(); err != nil || r.Answer() != nil {
				b.Errorf("%s has the same key: %v", what, err)
			}
		}
	},

	"AReleasedKeyIsFree": func(b *bench) {
		r := b.reserve("k")
		if err := b.l.Release(b.Context(), r); err != nil {
			b.Fatal(err)
		}
		again, err := b.l.Reserve(b.Context(), "shop", "k", request("another body"))
		if err != nil {
			b.Fatal(err)
		}
		if err := b.l.Release(b.Context(), r); err != nil { // once more, by the one that has it no longer
			b.Fatal(err)
		}
		b.refused("k", "another body", ledger.ErrInFlight)
		if err := b.l.Answer(b.Context(), again, ledger.Answer{Status: 200}); err != nil {
			b.Fatal(err)
		}
		if err := b.l.Release(b.Context(), again); err != nil {
			b.Fatal(err)
		}
		if b.count("idempotency_keys WHERE status = 200") != 1 {
			b.Error("an answer was released")
		}
	},

	// A server that dies between its reservation and its commit leaves a lease, and nothing else. One that was only slow must
	// not come after whoever took its place.
	"ALeaseEndsAndItsHolderCanChangeNothingMore": func(b *bench) {
		slow := b.reserve("k")
		b.late("k", "lease_until")
		b.refused("k", "another body", ledger.ErrOtherRequest)
		quick := b.reserve("k")
		if _, created, err := b.l.Create(b.Context(), wish("a"), saying(slow)); !errors.Is(err, ledger.ErrInFlight) || created || b.count("closures") != 0 {
			b.Errorf("a request that has lost its key: created %t, %v", created, err)
		}
		c, created, err := b.l.Create(b.Context(), wish("a"), saying(quick))
		if err != nil || !created {
			b.Fatal(err)
		}
		if err := b.l.Answer(b.Context(), slow, ledger.Answer{Status: 500}); !errors.Is(err, ledger.ErrInFlight) {
			b.Errorf("an answer over another's: %v", err)
		}
		b.late("k", "lease_until") // an answer outlives its lease
		b.told("k", 202, "/job/"+c.ID, c.ID+" at 1\n")
	},

	"ADayLaterTheKeyIsForgotten": func(b *bench) {
		for n := range 5 {
			key := fmt.Sprint("old", n)
			if err := b.l.Answer(b.Context(), b.reserve(key), ledger.Answer{Status: 200}); err != nil {
				b.Fatal(err)
			}
			b.late(key, "expires_at")
		}
		if _, err := b.l.Reserve(b.Context(), "shop", "old0", request("another body")); err != nil {
			b.Errorf("a key of yesterday's: %v", err)
		}
		b.reserve("new")
		for n, want := range []int{3, 1, 0} {
			if got, err := b.l.Forget(b.Context(), 3); err != nil || got != want {
				b.Errorf("round %d forgot %d, %v, want %d", n, got, err, want)
			}
		}
		if n := b.count("idempotency_keys"); n != 2 {
			b.Errorf("%d are left", n)
		}
		kept := ledger.AnswersKept
		if n := b.count("idempotency_keys WHERE expires_at > $1 AND expires_at < $2", time.Now().UTC().Add(kept-time.Minute), time.Now().UTC().Add(kept+time.Minute)); n != 2 {
			b.Errorf("%d are kept for a day", n)
		}
	},

	"AHundredWithOneKeyHaveOneAnswer": func(b *bench) {
		ledgers := []*ledger.Ledger{b.l, b.open(closure.Sandbox)}
		var won, busy atomic.Int32
		bodies := make([]string, 100)
		var fns []func()
		for i := range bodies {
			fns = append(fns, func() {
				l := ledgers[i%2]
				r, err := l.Reserve(b.Context(), "shop", "k", request("body"))
				switch {
				case errors.Is(err, ledger.ErrInFlight):
					busy.Add(1)
					return
				case err != nil:
					b.Error(err)
					return
				case r.Answer() == nil:
					won.Add(1)
					if _, created, err := l.Create(b.Context(), wish("a"), saying(r)); err != nil || !created {
						b.Errorf("created %t, %v", created, err)
						return
					}
				}
				bodies[i] = string(r.Answer().Body)
			})
		}
		atOnce(fns...)
		seen := map[string]bool{}
		for _, body := range bodies {
			if body != "" {
				seen[body] = true
			}
		}
		if won.Load() != 1 || len(seen) != 1 || b.count("closures") != 1 {
			b.Errorf("%d winners, %d answers, %d closures", won.Load(), len(seen), b.count("closures"))
		}
		b.Logf("%d were told that it is at work", busy.Load())
	},

	// Keys that are taken up again while they are being forgotten.
	"WhatIsForgottenIsOverAndNotAnew": func(b *bench) {
		for range many() {
			if err := b.l.Answer(b.Context(), b.reserve("k"), ledger.Answer{Status: 200}); err != nil {
				b.Fatal(err)
			}
			b.late("k", "expires_at")
			var r *ledger.Reservation
			other := b.open(closure.Sandbox)
			atOnce(
				func() { _, _ = other.Forget(context.WithoutCancel(b.Context()), 10) },
				func() { r = b.reserve("k") },
			)
			if err := b.l.Answer(b.Context(), r, ledger.Answer{Status: 201}); err != nil {
				b.Fatalf("a new request was forgotten: %v", err)
			}
			b.tamper("DELETE FROM idempotency_keys")
		}
	},
}
