package ledgertest

import (
	"errors"
	"slices"
	"sync"
	"time"

	"closeout/closure"
	"closeout/ledger"
)

func takeover(account string, changes ...closure.Change) ledger.Takeover {
	w := wish(account)
	w.NotBefore = odd.AddDate(10, 0, 0)
	return ledger.Takeover{
		Wish: w, Phase: closure.Withdrawal, Confirmation: "CLA-20261101000000-abcdef", Why: "taken over", Detail: map[string]any{"broker": "ACTIVE"},
		Over: closure.TakenOver{At: odd.UTC(), Wall: odd.UTC()}, Changes: changes,
	}
}

var takenOver = map[string]func(*bench){
	"AClosureIsTakenOverWithWhatWasFoundOrNotAtAll": func(b *bench) {
		found := closure.Adoption{Found: []closure.Intent{there("t1", "5", "2026-11-18")}, Paid: money("5").Decimal}
		c, taken, err := b.l.TakeOver(b.Context(), takeover("a", closure.Adopted(odd, "ann", "moved over", found)))
		if err != nil || !taken {
			b.Fatal(taken, err)
		}
		read := b.get(c.ID)
		if read.Phase != closure.Withdrawal || read.State != closure.Running || read.Confirmation != "CLA-20261101000000-abcdef" || read.Memo.TakenOver == nil ||
			read.Memo.Paid != "5.00" || read.Version != 2 || !read.DueAt.Equal(read.NotBefore) || read.Reason != closure.NotYet {
			b.Errorf("the row: %+v", read)
		}
		if is := b.intents(c.ID); len(is) != 1 || is[0].BrokerID != "t1" || is[0].Key != 2 {
			b.Errorf("intents: %+v", is)
		}
		var kinds []string
		for _, e := range b.events(c.ID) {
			kinds = append(kinds, e.Kind)
		}
		if !slices.Equal(kinds, []string{"accepted", "adopted"}) {
			b.Errorf("events: %v", kinds)
		}
		if letters, err := b.l.Letters(b.Context(), c.ID); err != nil || len(letters) != 0 {
			b.Errorf("letters: %v %v", letters, err)
		}
		if _, _, err := b.l.TakeOver(b.Context(), takeover("b", closure.Adopted(odd, "ann", "moved over", found))); !errors.Is(err, ledger.ErrTaken) {
			b.Errorf("a transfer that another closure has: %v", err)
		}
		if _, err := b.l.OfAccount(b.Context(), "b"); !errors.Is(err, ledger.ErrNotFound) {
			b.Errorf("what can't be adopted is written in part: %v", err)
		}
	},

	"OneThatIsClosedAlreadyIsRecordedAndToldOnlyWhereNobodyHas": func(b *bench) {
		for account, told := range map[string]bool{"a": true, "b": false} {
			t := takeover(account, closure.Looked(time.Now(), closure.Done("closed before"), closure.Look{}, nil))
			t.NotBefore, t.Over.Told = time.Time{}, told
			c, taken, err := b.l.TakeOver(b.Context(), t)
			if err != nil || !taken || c.State != closure.Closed || b.get(c.ID).State != closure.Closed {
				b.Fatalf("%s %v %v", c.State, taken, err)
			}
			letters, err := b.l.Letters(b.Context(), c.ID)
			if err != nil || (len(letters) == 0) != told {
				b.Errorf("told %v: letters %v %v", told, letters, err)
			}
		}
	},

	// Open, closed or canceled, asked for here or taken over.
	"AnAccountThatEverHadAClosureHereIsLeftAlone": func(b *bench) {
		open := b.create("a")
		canceled := b.create("b")
		canceled, err := b.l.Command(b.Context(), canceled.ID, func(closure.Closure, []closure.Intent) (closure.Change, error) {
			return closure.Cancel(time.Now(), "ann", "no", false), nil
		})
		if err != nil {
			b.Fatal(err)
		}
		done := takeover("c", closure.Looked(time.Now(), closure.Done("closed before"), closure.Look{}, nil))
		closed, _, err := b.l.TakeOver(b.Context(), done)
		if err != nil {
			b.Fatal(err)
		}
		for _, was := range []closure.Closure{open, canceled, closed} {
			c, taken, err := b.l.TakeOver(b.Context(), takeover(was.AccountID))
			if err != nil || taken || c.ID != was.ID || c.State != was.State {
				b.Errorf("%s: %v %v, closure %s %s", was.State, taken, err, c.ID, c.State)
			}
		}
	},

	"OfManyTakeoversAtOnceOneIsWritten": func(b *bench) {
		var wg sync.WaitGroup
		var mu sync.Mutex
		ids, written := map[string]bool{}, 0
		for range 8 {
			wg.Go(func() {
				c, taken, err := b.l.TakeOver(b.Context(), takeover("a"))
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					b.Error(err)
				}
				if ids[c.ID] = true; taken {
					written++
				}
			})
		}
		wg.Wait()
		if written != 1 || len(ids) != 1 {
			b.Errorf("%d were written, and told of %d", written, len(ids))
		}
	},
}
