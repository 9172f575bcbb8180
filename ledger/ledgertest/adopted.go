package ledgertest

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"closeout/closure"
	"closeout/ledger"
)

// there is a payout that the broker has and the ledger lacks.
func there(id, amount, day string) closure.Intent {
	i := pay(amount, day)
	i.State, i.BrokerID, i.Quiet, i.Listed, i.CashBefore, i.Request = closure.IntentSent, id, false, nil, money("0"), []byte(`{}`)
	i.CashBefore.Valid, i.Answer, i.Finished = false, "found at the broker", "COMPLETE"
	return i
}

func (b *bench) adopt(c closure.Closure, found ...closure.Intent) (closure.Closure, error) {
	return b.l.Command(b.Context(), c.ID, func(row closure.Closure, _ []closure.Intent) (closure.Change, error) {
		return closure.Reconciled(row.UpdatedAt, "ann", "restored", closure.Adoption{Found: found, Paid: money("5").Decimal}), nil
	})
}

var adopted = map[string]func(*bench){
	"WhatTheBrokerHasIsWrittenAsIntentsAndAnEvent": func(b *bench) {
		c := b.create("a")
		next, err := b.adopt(c, there("t1", "2", "2026-11-18"), there("t2", "3", "2026-11-19"))
		if err != nil {
			b.Fatal(err)
		}
		if next.Version <= c.Version || next.Memo.Reconciled != next.Version || next.Token == c.Token || next.Token == "" || next.State != closure.Running || next.Memo.Paid != "5.00" {
			b.Errorf("the row: version %d after %d, state %s, paid %q", next.Version, c.Version, next.State, next.Memo.Paid)
		}
		is := b.intents(c.ID)
		if len(is) != 2 {
			b.Fatalf("%d intents", len(is))
		}
		for n, i := range is {
			if i.Key != next.Version || i.N != n || i.State != closure.IntentSent || i.ClosureID != c.ID || i.AccountID != c.AccountID || i.BrokerID != fmt.Sprintf("t%d", n+1) || i.Quiet {
				b.Errorf("intent %d: %+v", n, i)
			}
		}
		evs := b.events(c.ID) // which checks the chain
		if last := evs[len(evs)-1]; last.Kind != "reconciled" || last.Actor != "ann" || last.Version != next.Version {
			b.Errorf("its event: %+v", last)
		}
		if _, _, err := try(b.Context(), b.l, c, pay("1", "2026-11-20")); !errors.Is(err, ledger.ErrStale) {
			b.Errorf("a claim of before: %v", err)
		}
	},

	// One of ours and one that was made by hand may lie on one day, and a given-up one keeps its own.
	"SeveralOnOneBankingDayAreTakenAndTheDayStaysTaken": func(b *bench) {
		c, is := b.claim(b.create("a"), pay("1", "2026-11-18"))
		c, _ = b.settle(c, is[0], closure.IntentVoid, "")
		next, err := b.adopt(c, there("t1", "2", "2026-11-18"), there("t2", "2", "2026-11-18"), there("t3", "2", "2026-11-19"))
		if err != nil {
			b.Fatal(err)
		}
		var days, plain []string
		for _, i := range b.intents(c.ID) {
			days, plain = append(days, i.BankingDay), append(plain, i.Day())
		}
		if want := []string{"2026-11-18", "2026-11-18 (2)", "2026-11-18 (3)", "2026-11-19"}; !slices.Equal(days, want) {
			b.Errorf("the days are %q, want %q", days, want)
		}
		if want := []string{"2026-11-18", "2026-11-18", "2026-11-18", "2026-11-19"}; !slices.Equal(plain, want) {
			b.Errorf("the plain days are %q, want %q", plain, want)
		}
		if _, _, err := try(b.Context(), b.l, next, pay("1", "2026-11-19")); !errors.Is(err, ledger.ErrStale) {
			b.Errorf("a claim on the day of an adopted one: %v", err)
		}
	},

	// One of several that is refused later leaves a gap, which must not be in the way of the next.
	"AfterAGapTheNextIsTakenAllTheSame": func(b *bench) {
		c, err := b.adopt(b.create("a"), there("t1", "1", "2026-11-18"), there("t2", "2", "2026-11-18"), there("t3", "3", "2026-11-18"))
		if err != nil {
			b.Fatal(err)
		}
		b.tamper("UPDATE intents SET state = 'refused' WHERE broker_id = $1", "t1")
		b.tamper("UPDATE intents SET state = 'refused' WHERE broker_id = $1", "t2")
		if _, err := b.adopt(c, there("t4", "4", "2026-11-18"), there("t5", "5", "2026-11-18"), there("t6", "6", "2026-11-18")); err != nil {
			b.Fatal(err)
		}
		var days []string
		for _, i := range b.intents(c.ID) {
			if i.State != closure.IntentRefused {
				days = append(days, i.BankingDay)
			}
		}
		if want := []string{"2026-11-18 (3)", "2026-11-18", "2026-11-18 (2)", "2026-11-18 (4)"}; !slices.Equal(days, want) {
			b.Errorf("the days are %q, want %q", days, want)
		}
	},

	"OneThatBelongsToAnotherIntentIsTakenByNobody": func(b *bench) {
		other, is := b.claim(b.create("other"), pay("1", "2026-11-18"))
		_, _ = b.settle(other, is[0], closure.IntentSent, "t1")
		c := b.create("a")
		b.nothing("a transfer of another closure's", c.ID, ledger.ErrTaken, func() error {
			_, err := b.adopt(c, there("t0", "1", "2026-11-17"), there("t1", "1", "2026-11-18"))
			return err
		})
	},

	"WhatIsAdoptedSettlesWhatWasUnknown": func(b *bench) {
		c, is := b.claim(b.create("a"), intent(closure.OrderIntent, "asset"))
		_, err := b.l.Command(b.Context(), c.ID, func(row closure.Closure, _ []closure.Intent) (closure.Change, error) {
			return closure.Reconciled(row.UpdatedAt, "ann", "restored", closure.Adoption{Settled: []closure.Intent{in(is[0], closure.IntentRefused, "")}}), nil
		})
		if err != nil {
			b.Fatal(err)
		}
		if got := b.intents(c.ID)[0].State; got != closure.IntentRefused {
			b.Errorf("it is %s", got)
		}
	},

	"AClosureThatHasStoppedTakesItInAndStaysOrGoesOn": func(b *bench) {
		for state, stop := range stops {
			c := stop(b, b.create("account-"+string(state)))
			next, err := b.adopt(c, there("t-"+string(state), "1", "2026-11-18"))
			switch _, refused := errors.AsType[*closure.NotAllowedError](err); {
			case state.Ended() != refused:
				b.Errorf("%s: %v", state, err)
			case !refused && (next.State != state || next.Version <= c.Version || next.Token == c.Token):
				b.Errorf("%s: it is %s at version %d after %d", state, next.State, next.Version, c.Version)
			}
		}
		c := b.save(b.create("back"), closure.WentBack(b.create("x").UpdatedAt))
		next, err := b.adopt(c)
		if err != nil || next.State != closure.Running || next.DueAt.IsZero() {
			b.Errorf("one whose ledger went back: %s, %v", next.State, err)
		}
	},

	// A person's look, long after the end, is no reason to miss what was removed; nor does one environment miss what is the other's.
	"WhatARemovalTookIsNotMissed": func(b *bench) {
		ago, live := b.ago(), b.open(closure.Live)
		c := ago.over("a", closure.Closed)
		if err := b.l.Note(b.Context(), c.ID, closure.Event{Kind: ledger.Looked, At: time.Now(), Actor: "ann", Text: "looked"}); err != nil {
			b.Fatal(err)
		}
		late, err := b.l.Newest(b.Context())
		if err != nil || late.ClosureID != c.ID || late.Over.IsZero() {
			b.Fatalf("%+v, %v", late, err)
		}
		if m, err := live.Newest(b.Context()); err != nil || m != (ledger.Mark{}) {
			b.Errorf("the other environment's newest event: %+v, %v", m, err)
		}
		last := b.create("b")
		if r := b.remove(100); r.Closures != 1 {
			b.Fatalf("removed %+v", r)
		}
		if lacking, err := b.l.Lacks(b.Context(), []ledger.Mark{late, ledger.MarkOf(last)}); err != nil || len(lacking) > 0 {
			b.Errorf("it misses %+v, %v", lacking, err)
		}
		if lacking, err := live.Lacks(b.Context(), []ledger.Mark{late}); err != nil || len(lacking) != 1 {
			b.Errorf("by the other environment's removals: %+v, %v", lacking, err)
		}
		other := late // of a closure that is there, and without that event
		other.ClosureID = last.ID
		if lacking, err := b.l.Lacks(b.Context(), []ledger.Mark{other}); err != nil || len(lacking) != 1 {
			b.Errorf("an event of a closure that was not removed: %+v, %v", lacking, err)
		}
	},

	"TheNewestEventIsKnownAndMissedOnceItIsGone": func(b *bench) {
		if m, err := b.l.Newest(b.Context()); err != nil || m != (ledger.Mark{}) {
			b.Fatalf("of an empty ledger: %+v, %v", m, err)
		}
		old := b.create("a")
		c := b.look(b.create("b"), closure.Wait(0, closure.Selling, "selling"))
		m, err := b.l.Newest(b.Context())
		if err != nil || m.ClosureID != c.ID || m.Hash != c.HeadHash {
			b.Fatalf("%+v, %v", m, err)
		}
		if of := ledger.MarkOf(c); of.Hash != m.Hash || of.Seq != m.Seq || !of.At.Truncate(time.Microsecond).Equal(m.At) || !of.Over.IsZero() {
			b.Errorf("the row says %+v, the feed %+v", of, m)
		}
		has := func(want bool) {
			b.Helper()
			many := slices.Repeat([]ledger.Mark{ledger.MarkOf(old)}, 20) // more than one statement asks for
			lacking, err := b.l.Lacks(b.Context(), append(many, m))
			if err != nil || len(lacking) > 1 || (len(lacking) == 0) != want {
				b.Errorf("it lacks %+v, %v", lacking, err)
			}
		}
		has(true)
		b.tamper("DELETE FROM events WHERE closure_id = $1 AND seq = $2", c.ID, m.Seq)
		has(false)
		if missing, err := b.l.Missing(b.Context(), []string{old.ID, "gone"}); err != nil || !slices.Equal(missing, []string{"gone"}) {
			b.Errorf("missing: %q, %v", missing, err)
		}
		open, err := b.l.Open(b.Context(), "", 1)
		if err != nil || len(open) != 1 {
			b.Fatalf("open: %d, %v", len(open), err)
		}
		if err := b.l.SignIns().CommitCtx(b.Context(), "token", []byte("x"), time.Now().Add(time.Hour)); err != nil {
			b.Fatal(err)
		}
		for _, want := range []int{1, 0} {
			if n, err := b.l.SignIns().EndAll(b.Context()); err != nil || n != want {
				b.Errorf("ended %d sessions, want %d: %v", n, want, err)
			}
		}
		if n, err := b.l.DueLetters(b.Context()); err != nil || n != 2 {
			b.Errorf("%d letters are due, %v", n, err)
		}
	},
}
