package ledgertest

import (
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/go-cmp/cmp"

	"closeout/closure"
	"closeout/ledger"
)

// read follows the feed from a cursor until it has no more, in small pages, and returns the events' IDs.
func (b *bench) read(l *ledger.Ledger, after ledger.Cursor) (ids []string, last ledger.Cursor) {
	b.Helper()
	for {
		page, next, err := l.Feed(b.Context(), after, 3)
		if err != nil {
			b.Fatal(err)
		}
		if next == after {
			return ids, after
		}
		for _, t := range page {
			if t.Cursor <= after {
				b.Fatalf("the feed goes from %d back to %d", after, t.Cursor)
			}
			after = t.Cursor
			ids = append(ids, place(t.ClosureID, t.Seq))
		}
		after = next
	}
}

func place(closure string, seq int64) string { return fmt.Sprintf("%s/%d", closure, seq) }

// expected is what the closures' own histories say that a feed must have had.
func (b *bench) expected(closures ...string) []string {
	b.Helper()
	var want []string
	for _, id := range closures {
		for _, e := range b.events(id) {
			want = append(want, place(id, e.Seq))
		}
	}
	slices.Sort(want)
	return want
}

// holds demands that what was read is the closures' events, each once, and each closure's in their order.
func (b *bench) holds(read []string, closures ...string) {
	b.Helper()
	next := map[string]int64{}
	for _, at := range read {
		id, _, _ := strings.Cut(at, "/")
		next[id]++
		if at != place(id, next[id]) {
			b.Errorf("%s comes where event %d of its closure must come", at, next[id])
		}
	}
	if diff := cmp.Diff(b.expected(closures...), slices.Sorted(slices.Values(read))); diff != "" {
		b.Errorf("the feed is not the histories (-histories +feed)\n%s", diff)
	}
}

func (b *bench) sqlite() bool { return strings.HasPrefix(b.db.URL, "sqlite:") }

// append writes an event as some process would that has not committed yet, beside the ledger and as an older version does,
// which knows nothing of the feed.
func (b *bench) append(tx *sql.Tx, closure string, seq int) {
	b.Helper()
	if _, err := tx.ExecContext(b.Context(), "INSERT INTO events (closure_id, seq, at, kind, body, prev_hash, hash) VALUES ($1, $2, $3, 'x', '{}', '', $4)",
		closure, seq, time.Now().UTC(), strings.Repeat("0", 64)); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) begin() *sql.Tx {
	b.Helper()
	tx, err := b.db.SQL.BeginTx(b.Context(), nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = tx.Rollback() })
	return tx
}

// fed is what the feed of all closures' events promises.
var fed = map[string]func(*bench){
	"TheFeedIsAllHistoriesInTheirOrder": func(b *bench) {
		first, second := b.create("a"), b.create("b")
		first = b.look(first, closure.Wait(0, closure.Selling, "selling"))
		second = b.look(second, closure.Wait(0, closure.Selling, "selling"))
		read, end := b.read(b.l, 0)
		b.holds(read, first.ID, second.ID)
		first = b.look(first, closure.Fail(closure.OrderRefused, "no"))
		page, next, err := b.open(closure.Sandbox).Feed(b.Context(), end, 10)
		if err != nil || len(page) != 1 || next != page[0].Cursor {
			b.Fatalf("after the end: %d events, %v", len(page), err)
		}
		got := page[0]
		if got.ClosureID != first.ID || got.Seq != 3 || got.AccountID != "a" || got.Confirmation != first.Confirmation || got.State != closure.Failed || got.Text != "no" {
			b.Errorf("told %+v", got)
		}
		if got.Now == nil || got.Now.Reason != closure.OrderRefused || got.Now.Who != closure.Operator || !got.Now.DueAt.IsZero() {
			b.Errorf("how it stands: %+v", got.Now)
		}
		if of, _, err := b.l.FeedOf(b.Context(), "a", 0, 10); err != nil || len(of) != 3 || of[0].Now != nil || of[2].Cursor != got.Cursor {
			b.Errorf("of the account: %d events, %v", len(of), err)
		}
		if safe, written, err := b.l.FeedEnd(b.Context()); err != nil || safe != next || written != next {
			b.Errorf("the end is %d, written %d, want %d: %v", safe, written, next, err)
		}
		if before, err := b.l.FeedBefore(b.Context(), second); err != nil || before >= end {
			b.Errorf("before the second: %d, %v", before, err)
		} else if of, _, err := b.l.FeedOf(b.Context(), "b", before, 10); err != nil || len(of) != 2 || of[0].Seq != 1 {
			b.Errorf("from its first event on: %d events, %v", len(of), err)
		}
	},

	"AnIDNamesOneEventOfThisLedger": func(b *bench) {
		c := b.history()
		page, _, err := b.l.FeedOf(b.Context(), "a", 0, 10)
		if err != nil || len(page) != eventsInHistory {
			b.Fatalf("%d events, %v", len(page), err)
		}
		for _, t := range page {
			if at, account, err := b.open(closure.Sandbox).FeedAt(b.Context(), t.ID()); err != nil || at != t.Cursor || account != "a" {
				b.Errorf("%s is at %d of %q: %v", t.ID(), at, account, err)
			}
		}
		id := page[2].ID()
		cut := strings.LastIndexByte(id, '.') + 1
		for _, wrong := range []string{
			"", ".", "..", "0", "nonsense", id + ".", id + "0", " " + id, id[:cut], id[:cut] + strings.Repeat("0", 8), c.ID, c.ID + ".3", c.ID + ".7." + id[cut:],
			c.ID + ".03." + id[cut:], c.ID + ".-3." + id[cut:], c.ID + ".99999999999999999999." + id[cut:], "\x00.3." + id[cut:], "\xff.3." + id[cut:], strings.ToUpper(c.ID) + ".3." + id[cut:],
		} {
			if _, _, err := b.l.FeedAt(b.Context(), wrong); !errors.Is(err, ledger.ErrNotFound) {
				b.Errorf("%q: %v", wrong, err)
			}
		}
		// A ledger that was restored and went on otherwise has another event in that place.
		b.tamper("UPDATE events SET hash = $1 WHERE closure_id = $2 AND seq = 3", strings.Repeat("f", 64), c.ID)
		if _, _, err := b.l.FeedAt(b.Context(), id); !errors.Is(err, ledger.ErrNotFound) {
			b.Errorf("another history's id: %v", err)
		}
		live := b.open(closure.Live)
		if _, _, err := live.FeedAt(b.Context(), page[0].ID()); !errors.Is(err, ledger.ErrNotFound) {
			b.Errorf("in the other environment: %v", err)
		}
		other, next, err := live.Feed(b.Context(), 0, 100)
		if err != nil || len(other) != 0 || next < page[5].Cursor {
			b.Errorf("the other environment's feed has %d events up to %d, %v", len(other), next, err)
		}
	},

	"ADamagedEntryStandsInNobodysWay": func(b *bench) {
		c := b.history()
		b.tamper("UPDATE events SET body = 'gone' WHERE closure_id = $1 AND seq = 2", c.ID)
		page, _, err := b.l.FeedOf(b.Context(), "a", 0, 10)
		if err != nil || len(page) != eventsInHistory || page[1].Seq != 2 || !strings.Contains(page[1].Text, "damaged") {
			b.Errorf("%d events, %v", len(page), err)
		}
	},

	// A reader must not pass by a number that is taken and not committed yet, and must not wait for anything else.
	"WhoCommitsLaterIsNotMissed": func(b *bench) {
		if b.sqlite() { // it has one writer: the second would wait for the first
			return
		}
		slow, quick := b.create("slow"), b.create("quick")
		_, end := b.read(b.l, 0)
		elsewhere := b.begin() // a long transaction that writes, though no event: it holds up nothing
		if _, err := elsewhere.ExecContext(b.Context(), "CREATE TABLE elsewhere AS SELECT 1 AS a"); err != nil {
			b.Fatal(err)
		}
		held, dropped := b.begin(), b.begin()
		b.append(dropped, slow.ID, 98)
		if _, err := dropped.ExecContext(b.Context(), "SELECT set_config('closeout.feeding', 'nonsense', false)"); err != nil {
			b.Fatal(err)
		}
		b.append(held, slow.ID, 99)
		b.append(held, slow.ID, 100)
		b.look(quick, closure.Wait(0, closure.Selling, "selling"))
		if read, _ := b.read(b.l, end); len(read) != 0 {
			b.Errorf("read past transactions that have not ended: %v", read)
		}
		if safe, written, err := b.l.FeedEnd(b.Context()); err != nil || safe < end || safe >= written {
			b.Errorf("the end is %d, written %d: %v", safe, written, err)
		}
		if err := held.Commit(); err != nil {
			b.Fatal(err)
		}
		if read, _ := b.read(b.l, end); len(read) != 0 {
			b.Errorf("read past a transaction that has not ended: %v", read)
		}
		if err := dropped.Rollback(); err != nil {
			b.Fatal(err)
		}
		read, last := b.read(b.l, end)
		if want := []string{place(slow.ID, 99), place(slow.ID, 100), place(quick.ID, 2)}; !slices.Equal(read, want) {
			b.Errorf("read %v, want %v", read, want)
		}
		if safe, written, err := b.l.FeedEnd(b.Context()); err != nil || safe != written || safe < last {
			b.Errorf("in the end it is %d, written %d: %v", safe, written, err)
		}
	},

	// Several processes write, and their transactions end in any order, or not at all; readers follow meanwhile.
	"ManyWritersAreReadOnceEach": func(b *bench) {
		const writers, each = 6, 12
		ids := make([]string, writers)
		other := b.open(closure.Sandbox)
		for n := range ids {
			ids[n] = b.create(account(n)).ID
		}
		// Rows of the ledger's own would be in each other's way where this test commits late, so that it writes some itself:
		// events of these closures are in their order and under no lock that the others need.
		var strays []string
		for n := range 3 {
			strays = append(strays, b.create(account(100+n)).ID)
		}
		var writing atomic.Int32
		writing.Store(writers + 3)
		var wg sync.WaitGroup
		for n, id := range ids {
			wg.Go(func() {
				defer writing.Add(-1)
				l := b.l
				if n%2 == 0 {
					l = other
				}
				for i := range each {
					c, err := l.Get(b.Context(), id)
					if err == nil {
						look := closure.Looked(c.UpdatedAt.Add(time.Minute), closure.Wait(0, closure.Selling, fmt.Sprintf("%d are left", i)), closure.Look{}, nil)
						_, err = l.Save(b.Context(), c, look, nil)
					}
					if err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		for _, id := range strays {
			wg.Go(func() {
				defer writing.Add(-1)
				for seq := 2; seq < 2+each; seq++ {
					for commit := range 2 { // one that is given up, one that is not
						tx, err := b.db.SQL.BeginTx(b.Context(), nil)
						if err != nil {
							b.Error(err)
							return
						}
						b.append(tx, id, seq)
						if !b.sqlite() {
							_, err = tx.ExecContext(b.Context(), fmt.Sprintf("SELECT pg_sleep(%f)", rand.Float64()/50))
						}
						if err != nil {
							b.Error(err)
						}
						if commit == 0 {
							_ = tx.Rollback()
						} else if err := tx.Commit(); err != nil {
							b.Error(err)
						}
					}
				}
			})
		}
		read := make([][]string, 2)
		for n := range read {
			wg.Go(func() {
				var after ledger.Cursor
				for done := false; !done; {
					done = writing.Load() == 0
					var more []string
					more, after = b.read([]*ledger.Ledger{b.l, other}[n], after)
					read[n] = append(read[n], more...)
				}
			})
		}
		wg.Wait()
		if !slices.Equal(read[0], read[1]) {
			b.Errorf("two readers have read %d and %d events, not the same", len(read[0]), len(read[1]))
		}
		var own []string
		next := map[string]int{}
		for _, at := range read[0] {
			id, seq, _ := strings.Cut(at, "/")
			if !slices.Contains(strays, id) {
				own = append(own, at)
			} else if next[id]++; seq != fmt.Sprint(next[id]) {
				b.Errorf("%s comes where event %d must come", at, next[id])
			}
		}
		for _, id := range strays {
			if next[id] != each+1 {
				b.Errorf("%d events of a closure that has %d", next[id], each+1)
			}
		}
		b.holds(own, ids...)
		if len(own) != writers*(each+1) {
			b.Errorf("%d events", len(own))
		}
	},

	// Events of before the feed have their places too, and a process of an older version goes on writing.
	"WhatWasThereBeforeTheFeedIsInIt": func(b *bench) {
		c, other := b.history(), b.create("b")
		if err := b.db.Back(5); err != nil {
			b.Fatal(err)
		}
		tx := b.begin()
		b.append(tx, other.ID, 2)
		if err := tx.Commit(); err != nil {
			b.Fatal(err)
		}
		if _, to, err := ledger.Migrate(b.Context(), b.db.URL); err != nil || to < 6 {
			b.Fatalf("to %d: %v", to, err)
		}
		before, end := b.read(b.l, 0)
		tx = b.begin()
		b.append(tx, other.ID, 3)
		if err := tx.Commit(); err != nil {
			b.Fatal(err)
		}
		after, _ := b.read(b.l, end)
		if want := []string{place(other.ID, 3)}; !slices.Equal(after, want) {
			b.Errorf("then came %v, want %v", after, want)
		}
		mine := slices.DeleteFunc(slices.Clone(before), func(at string) bool { return !strings.HasPrefix(at, c.ID) })
		b.holds(mine, c.ID)
		if n := len(before); n != eventsInHistory+2+2 { // with those of the closure beside it
			b.Errorf("%d events of before", n)
		}
	},
}
