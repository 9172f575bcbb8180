package ledgertest

import (
	"errors"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"

	"closeout/closure"
	"closeout/ledger"
)

// over is a lease that has run out as soon as it is given, so that no test must wait for one.
const over = -time.Second

var noticed = map[string]func(*bench){
	"EachLetterIsOwedByTheChangeThatCallsForIt": func(b *bench) {
		w := wish("a")
		w.Expected = time.Date(2027, time.January, 26, 2, 46, 0, 0, time.UTC)
		c, _, err := b.l.Create(b.Context(), w)
		if err != nil {
			b.Fatal(err)
		}
		c = b.look(c, closure.Wait(0, closure.Selling, "selling"))
		memo := closure.Memo{Paid: "12.30"}
		c, err = b.l.Save(b.Context(), c, closure.Looked(c.UpdatedAt, closure.Fail(closure.BankGone, "the bank is gone"), closure.Look{}, &memo), nil)
		if err != nil {
			b.Fatal(err)
		}
		c = b.command(c.ID, closure.Resume(c.UpdatedAt, "ann", "linked again"))
		c = b.look(c, closure.Done("paid out"))
		want := []ledger.Notice{
			{Letter: closure.LetterInitiated, Data: ledger.NoticeData{Confirmation: c.Confirmation, Reason: closure.Accepted, Why: closure.Reasons[closure.Accepted].Title, Expected: w.Expected}},
			{Letter: closure.LetterActionNeeded, Data: ledger.NoticeData{Confirmation: c.Confirmation, Reason: closure.BankGone, Why: "the bank is gone", Paid: "12.30"}},
			{Letter: closure.LetterCompleted, Data: ledger.NoticeData{Confirmation: c.Confirmation, Why: "paid out", Paid: "12.30"}},
		}
		var seq int64
		ids := map[string]bool{}
		for n, w := range want {
			got := b.lease(time.Minute)
			if got.Seq <= seq || got.ClosureID != c.ID || ids[got.ID] || got.Attempts != 1 || got.Lease == "" || got.CreatedAt.IsZero() {
				b.Errorf("notice %d: %+v", n, got)
			}
			seq, ids[got.ID] = got.Seq, true
			if diff := cmp.Diff(w, ledger.Notice{Letter: got.Letter, Data: got.Data}); diff != "" {
				b.Errorf("notice %d (-want +got)\n%s", n, diff)
			}
			b.sent(got)
		}
		b.none()
	},

	// Who can't write a letter would give it up: the workers of the version that owes it deliver it, and in order.
	"ALetterOfANewerVersionIsLeftToItsWorkers": func(b *bench) {
		c := b.create("a")
		b.sent(b.lease(time.Hour))
		b.tamper("UPDATE notices SET kind = 'reminder', state = 'due' WHERE closure_id = $1", c.ID)
		b.look(c, closure.Done("paid out"))
		b.none()
		b.tamper("UPDATE notices SET state = 'sent' WHERE kind = 'reminder'")
		if n := b.lease(time.Hour); n.Letter != closure.LetterCompleted {
			b.Errorf("then comes %s", n.Letter)
		}
	},

	"AClosuresLettersGoInOrderAndHoldBackNobodyElses": func(b *bench) {
		c := b.create("a")
		c = b.look(c, closure.Done("paid out"))
		other := b.create("another")
		first := b.lease(time.Hour)
		second := b.lease(time.Hour)
		if first.ClosureID != c.ID || first.Letter != closure.LetterInitiated || second.ClosureID != other.ID {
			b.Fatalf("%+v, then %+v", first, second)
		}
		b.none() // the closed one's second letter waits for its first
		b.later(first, over, false)
		if again := b.lease(time.Hour); again.ID != first.ID || again.Attempts != 2 {
			b.Fatalf("%+v", again)
		} else {
			b.sent(again)
		}
		if last := b.lease(time.Hour); last.Letter != closure.LetterCompleted || last.ClosureID != c.ID {
			b.Errorf("%+v", last)
		}
	},

	// What waits for an earlier letter of its closure stands first among all that is due, and may be more than is looked at at once.
	"ManyLettersThatWaitHoldBackNobodyElses": func(b *bench) {
		const closures = 45 // more than two pages of letters
		first := map[string]ledger.Notice{}
		for n := range closures {
			b.look(b.create(account(n)), closure.Done("paid out"))
			for len(first) <= n { // those before it wait already
				l := b.lease(time.Hour)
				first[l.ClosureID] = l
			}
		}
		b.none()
		other := b.create("another")
		n := b.lease(time.Hour)
		if n.ClosureID != other.ID {
			b.Fatalf("%+v", n)
		}
		another := b.create("yet another")
		if n, c, _, err := b.l.NextNotice(b.Context(), &n, time.Hour); err != nil || n.ClosureID != another.ID || c.ID != another.ID {
			b.Fatalf("%+v of %+v: %v", n, c, err)
		}
		if got := b.count("notices WHERE state = 'sent'"); got != 1 {
			b.Errorf("%d are noted as sent", got)
		}
		b.none()
		for _, n := range first { // the mail server is away: all of it is due later, in its order
			b.later(n, 2*time.Hour, false)
		}
		early := "notices a JOIN notices b ON b.closure_id = a.closure_id AND b.seq > a.seq WHERE b.due_at < a.due_at"
		if got := b.count(early); got != 0 {
			b.Errorf("%d letters are due before the one that they wait for", got)
		}
	},

	"ALeaseIsHeldByOneUntilItRunsOut": func(b *bench) {
		b.create("a")
		first := b.lease(over)
		second := b.lease(time.Hour)
		if second.ID != first.ID || second.Lease == first.Lease || second.Attempts != 2 {
			b.Fatalf("%+v, then %+v", first, second)
		}
		if err := b.l.NoticeSent(b.Context(), first); !errors.Is(err, ledger.ErrStale) {
			b.Errorf("sent under a lease that another has: %v", err)
		}
		if err := b.l.NoticeLater(b.Context(), first, over, "busy", false); !errors.Is(err, ledger.ErrStale) {
			b.Errorf("put back under a lease that another has: %v", err)
		}
		b.none()
		b.sent(second)
		b.none()
		if got := b.text("SELECT state FROM notices"); got != "sent" {
			b.Errorf("it is %s", got)
		}
	},

	"ALeaseThatRanOutAndNobodyTookMayStillBeAnswered": func(b *bench) {
		b.create("a")
		b.sent(b.lease(over))
		b.none()
	},

	"ALetterPutBackIsTriedLater": func(b *bench) {
		b.create("a")
		n := b.lease(time.Hour)
		b.later(n, time.Hour, false)
		b.none()
		if got := b.text("SELECT last_error FROM notices"); got != "busy" {
			b.Errorf("its last error is %q", got)
		}
		if err := b.l.NoticeSent(b.Context(), n); !errors.Is(err, ledger.ErrStale) {
			b.Errorf("sent after it was put back: %v", err)
		}
	},

	"ALetterGivenUpHoldsBackNothing": func(b *bench) {
		c := b.look(b.create("a"), closure.Done("paid out"))
		b.later(b.lease(time.Hour), over, true)
		n := b.lease(time.Hour)
		if n.ClosureID != c.ID || n.Letter != closure.LetterCompleted {
			b.Errorf("%+v", n)
		}
		b.sent(n)
		b.none()
		if got := b.text("SELECT state FROM notices WHERE kind = 'initiated'"); got != "failed" {
			b.Errorf("the one given up is %s", got)
		}
	},

	"ManyDeliverersAtOnceTakeEachLetterOnce": func(b *bench) {
		const letters = 20
		for n := range letters {
			b.create(account(n))
		}
		ledgers := []*ledger.Ledger{b.l, b.open(closure.Sandbox)}
		var mu sync.Mutex
		taken := map[string]int{}
		var fns []func()
		for i := range 4 {
			fns = append(fns, func() {
				var sent *ledger.Notice
				for {
					n, _, _, err := ledgers[i%2].NextNotice(b.Context(), sent, time.Hour)
					if errors.Is(err, ledger.ErrNotFound) {
						return
					}
					if err != nil {
						b.Error(err)
						return
					}
					mu.Lock()
					taken[n.ID]++
					mu.Unlock()
					sent = &n
				}
			})
		}
		atOnce(fns...)
		if len(taken) != letters {
			b.Errorf("%d letters were taken of %d", len(taken), letters)
		}
		for id, times := range taken {
			if times != 1 {
				b.Errorf("%s was taken %d times", id, times)
			}
		}
		if n := b.count("notices WHERE state = 'sent'"); n != letters {
			b.Errorf("%d are noted as sent", n)
		}
	},

	"ALetterComesWithItsClosureAndIntents": func(b *bench) {
		b.create("another")
		c, _ := b.claim(b.create("a"), pay("1", "2026-11-18"), intent(closure.OrderIntent, "s"))
		for range 2 {
			n, got, is, err := b.l.NextNotice(b.Context(), nil, time.Hour)
			if err != nil || n.ClosureID != got.ID {
				b.Fatalf("%+v of %+v: %v", n, got, err)
			}
			if diff := cmp.Diff(b.state(got.ID), state{got, is, b.events(got.ID), 1}); diff != "" || got.ID == c.ID && len(is) != 2 {
				b.Errorf("%d intents (-stored +leased)\n%s", len(is), diff)
			}
		}
	},

	// The letter that comes next may be the one that waited for this.
	"ALetterIsNotedAsSentWithTheNextOnesLease": func(b *bench) {
		c := b.look(b.create("a"), closure.Done("paid out"))
		first := b.lease(time.Hour)
		second, of, _, err := b.l.NextNotice(b.Context(), &first, time.Hour)
		if err != nil || second.Letter != closure.LetterCompleted || second.ClosureID != c.ID || of.ID != c.ID || second.Lease == first.Lease {
			b.Fatalf("%+v of %+v: %v", second, of, err)
		}
		letters := func(want ...string) {
			b.Helper()
			got, err := b.l.Letters(b.Context(), c.ID)
			for n, l := range got {
				if l.State != want[n] || l.SentAt.IsZero() == (l.State == "sent") || l.Attempts != 1 {
					b.Errorf("letter %d: %+v, want %s", n+1, l, want[n])
				}
			}
			if err != nil || len(got) != len(want) {
				b.Errorf("%d letters, %v", len(got), err)
			}
		}
		letters("sent", "due")
		b.noneAfter(b.l, second)
		letters("sent", "sent")
	},

	"ANoteThatComesTooLateKeepsNoLetterBack": func(b *bench) {
		c := b.create("a")
		late := b.lease(over)
		again := b.lease(time.Hour)
		if again.ID != late.ID {
			b.Fatalf("%+v", again)
		}
		other := b.create("another")
		next, _, _, err := b.l.NextNotice(b.Context(), &late, time.Hour)
		if err != nil || next.ClosureID != other.ID {
			b.Fatalf("%+v, %v", next, err)
		}
		b.noneAfter(b.l, late)
		if got := b.text("SELECT state FROM notices WHERE closure_id = $1", c.ID); got != "due" {
			b.Errorf("noted under a lease that another has: it is %s", got)
		}
		b.sent(again)
	},

	// As a lease that was given back would, which is the first that is due again.
	"ALetterWhoseClosureCannotBeReadHoldsBackNobodyElses": func(b *bench) {
		b.create("a")
		first := b.lease(time.Hour)
		broken := b.create("broken")
		b.tamper("UPDATE closures SET memo = 'no memo' WHERE id = $1", broken.ID)
		other := b.create("another")
		if n, _, _, err := b.l.NextNotice(b.Context(), &first, time.Hour); err == nil || errors.Is(err, ledger.ErrNotFound) {
			b.Fatalf("%+v, %v", n, err)
		}
		if got := b.text("SELECT state FROM notices WHERE id = $1", first.ID); got != "sent" {
			b.Errorf("the one before is %s", got)
		}
		if n := b.lease(time.Hour); n.ClosureID != other.ID {
			b.Errorf("%+v", n)
		}
		b.none()
	},

	"ALetterIsNotedWhereTheNextIsAnotherEnvironments": func(b *bench) {
		live := b.open(closure.Live)
		if _, _, err := live.Create(b.Context(), wish("a")); err != nil {
			b.Fatal(err)
		}
		mine, _, _, err := live.NextNotice(b.Context(), nil, time.Hour)
		if err != nil {
			b.Fatal(err)
		}
		c := b.create("a")
		b.noneAfter(live, mine)
		if got := b.text("SELECT state FROM notices WHERE id = $1", mine.ID); got != "sent" {
			b.Errorf("live's is %s", got)
		}
		if n := b.lease(time.Hour); n.ClosureID != c.ID || n.Attempts != 1 {
			b.Errorf("the sandbox's: %+v", n)
		}
	},
}

// lease takes the letter that must be due.
func (b *bench) lease(d time.Duration) ledger.Notice {
	b.Helper()
	n, _, _, err := b.l.NextNotice(b.Context(), nil, d)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

func (b *bench) sent(n ledger.Notice) {
	b.Helper()
	if err := b.l.NoticeSent(b.Context(), n); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) later(n ledger.Notice, d time.Duration, giveUp bool) {
	b.Helper()
	if err := b.l.NoticeLater(b.Context(), n, d, "busy", giveUp); err != nil {
		b.Fatal(err)
	}
}

// none demands that no letter is due.
func (b *bench) none() {
	b.Helper()
	if n, _, _, err := b.l.NextNotice(b.Context(), nil, time.Hour); !errors.Is(err, ledger.ErrNotFound) {
		b.Errorf("a letter is due: %+v, %v", n, err)
	}
}

// noneAfter demands that none is due when a letter is noted as sent.
func (b *bench) noneAfter(l *ledger.Ledger, sent ledger.Notice) {
	b.Helper()
	if n, _, _, err := l.NextNotice(b.Context(), &sent, time.Hour); !errors.Is(err, ledger.ErrNotFound) {
		b.Errorf("a letter is due: %+v, %v", n, err)
	}
}
