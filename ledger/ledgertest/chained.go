package ledgertest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"closeout/closure"
	"closeout/ledger"
)

// history is a closure with six events, and another one beside it.
func (b *bench) history() closure.Closure {
	b.Helper()
	b.look(b.create("beside"), closure.Wait(0, closure.Selling, "selling"))
	c := b.create("a")
	c, is := b.claim(c, intent(closure.OrderIntent, "s1"))
	b.record(in(is[0], closure.IntentSent, "o1"))
	c = b.look(c, closure.Wait(0, closure.Selling, "selling"))
	c = b.look(c, closure.Go(closure.Settlement, "sold"))
	return b.look(c, closure.Wait(0, closure.Settling, "settling"))
}

const eventsInHistory = 6

var chained = map[string]func(*bench){
	"ANoteIsAnEventThatMovesNothing": func(b *bench) {
		c := b.look(b.create("a"), closure.Wait(time.Hour, closure.Selling, "selling"))
		before := b.state(c.ID)
		if err := b.l.Note(b.Context(), c.ID, closure.Event{Kind: ledger.Looked, At: c.UpdatedAt, Actor: "operator:ann", Text: "looked"}); err != nil {
			b.Fatal(err)
		}
		after := b.state(c.ID)
		if n := len(after.Events); n != len(before.Events)+1 || after.Events[n-1].Kind != ledger.Looked || after.Events[n-1].Actor != "operator:ann" || after.Notices != before.Notices {
			b.Errorf("%+v", after.Events)
		}
		after.Closure.Seq, after.Closure.HeadHash = before.Closure.Seq, before.Closure.HeadHash
		if diff := cmp.Diff(before.Closure, after.Closure); diff != "" {
			b.Errorf("the row has moved (-before +after)\n%s", diff)
		}
		b.look(c, closure.Wait(time.Hour, closure.Selling, "a visit that was in hand goes on"))
		if err := b.l.Note(b.Context(), "nobody", closure.Event{Kind: ledger.Looked}); !errors.Is(err, ledger.ErrNotFound) {
			b.Errorf("of no closure: %v", err)
		}
		if err := b.open(closure.Live).Note(b.Context(), c.ID, closure.Event{Kind: ledger.Looked}); !errors.Is(err, ledger.ErrNotFound) {
			b.Errorf("from the other environment: %v", err)
		}
	},

	"EveryChangeIsChainedToTheOneBefore": func(b *bench) {
		c := b.history()
		evs := b.events(c.ID)
		if len(evs) != eventsInHistory || c.Seq != eventsInHistory {
			b.Fatalf("%d events, the row says %d", len(evs), c.Seq)
		}
		head := ""
		for n, e := range evs {
			seq := n + 1
			body := b.text("SELECT body FROM events WHERE closure_id = $1 AND seq = $2", c.ID, seq)
			prev := b.text("SELECT prev_hash FROM events WHERE closure_id = $1 AND seq = $2", c.ID, seq)
			if prev != head {
				b.Errorf("event %d follows %q, want %q", seq, prev, head)
			}
			if head = b.text("SELECT hash FROM events WHERE closure_id = $1 AND seq = $2", c.ID, seq); head != link(prev, body) {
				b.Errorf("event %d: the hash is not that of the stored bytes", seq)
			}
			var got ledger.Event
			if err := json.Unmarshal([]byte(body), &got); err != nil || got.Seq != int64(seq) || got.ClosureID != c.ID || e.Seq != got.Seq {
				b.Errorf("event %d: %s", seq, body)
			}
			if e.At.IsZero() || e.Actor == "" || e.Kind == "" || e.Text == "" || !e.Phase.Valid() || e.Version == 0 {
				b.Errorf("event %d is incomplete: %+v", seq, e)
			}
		}
		if c.HeadHash != head {
			b.Errorf("the row's head is %q, the last hash %q", c.HeadHash, head)
		}
	},

	"EachKindOfTamperingIsFoundAndNamed": func(b *bench) {
		c := b.history()
		one := " WHERE closure_id = $1 AND seq = $2"
		get := func(column string, seq int) string { return b.text("SELECT "+column+" FROM events"+one, c.ID, seq) }
		set := func(column string, seq int, value any) {
			b.tamper("UPDATE events SET "+column+" = $3"+one, c.ID, seq, value)
		}
		remove := func(seq int) { b.tamper("DELETE FROM events"+one, c.ID, seq) }
		swap := func(column string, x, y int) {
			vx, vy := get(column, x), get(column, y)
			set(column, x, vy)
			set(column, y, vx)
		}
		// rewrite changes an event and then everything that follows from it, as one would who knows how the chain is made.
		rewrite := func(seq int, from, to string) string {
			body := strings.Replace(get("body", seq), from, to, 1)
			prev := get("prev_hash", seq)
			for ; seq <= eventsInHistory; seq++ {
				set("body", seq, body)
				set("prev_hash", seq, prev)
				prev = link(prev, body)
				set("hash", seq, prev)
				if seq < eventsInHistory {
					body = get("body", seq+1)
				}
			}
			return prev
		}
		row := func(assign string, args ...any) {
			b.tamper("UPDATE closures SET "+assign+" WHERE id = $1", append([]any{c.ID}, args...)...)
		}
		var whole []map[string]any
		for _, tt := range []struct {
			name string
			do   func()
			seq  int64
		}{
			{"a byte of a body", func() { set("body", 3, strings.Replace(get("body", 3), "accepted", "accepteD", 1)) }, 3},
			{"a byte of the last body", func() { set("body", 6, strings.Replace(get("body", 6), "settling", "settlinG", 1)) }, 6},
			{"a body that is none", func() { set("body", 4, "gone") }, 4},
			{"an empty body", func() { set("body", 4, "") }, 4},
			{"a kind", func() { set("kind", 2, "order") }, 2},
			{"a time", func() { set("at", 2, odd.UTC()) }, 2},
			{"a hash", func() { set("hash", 5, strings.Repeat("0", 64)) }, 5},
			{"a link", func() { set("prev_hash", 5, strings.Repeat("0", 64)) }, 5},
			{"the first is deleted", func() { remove(1) }, 1},
			{"one in the middle is deleted", func() { remove(3) }, 3},
			{"the last is deleted", func() { remove(6) }, 6},
			{"the last two are deleted", func() { remove(6); remove(5) }, 5},
			{"all are deleted", func() {
				for seq := range eventsInHistory {
					remove(seq + 1)
				}
			}, 1},
			{"two bodies are swapped", func() { swap("body", 2, 4) }, 2},
			{"two entries are swapped", func() {
				for _, column := range []string{"kind", "body", "prev_hash", "hash"} {
					swap(column, 3, 5)
				}
			}, 3},
			{"two numbers are swapped", func() {
				set("seq", 3, 99)
				set("seq", 4, 3)
				b.tamper("UPDATE events SET seq = 4"+one, c.ID, 99)
			}, 3},
			{"one is renumbered", func() { set("seq", 6, 7) }, 6},
			{"another closure's is put in its place", func() {
				for _, column := range []string{"kind", "body", "prev_hash", "hash"} {
					set(column, 1, b.text("SELECT "+column+" FROM events WHERE closure_id <> $1 AND seq = 1", c.ID))
				}
			}, 1},
			{"the last is rewritten with its hash", func() { rewrite(6, `"actor":"`, `"actor":"not `) }, 6},
			{"one is rewritten with all that follows", func() { rewrite(2, `"actor":"`, `"actor":"not `) }, 6},
			{"a number in a body, with every hash", func() { row("head_hash = $2", rewrite(4, `"seq":4`, `"seq":5`)) }, 4},
			{"a kind in a body, with every hash", func() { row("head_hash = $2", rewrite(4, `"kind":"wait"`, `"kind":"look"`)) }, 4},
			{"a time in a body, with every hash", func() { row("head_hash = $2", rewrite(4, `"at":"2`, `"at":"3`)) }, 4},
			{"a closure's id in a body, with every hash", func() { row("head_hash = $2", rewrite(4, c.ID, "another")) }, 4},
			{"the last is deleted and the row's count with it", func() { remove(6); row("seq = $2", 5) }, 5},
			{"all are deleted and the row's count with them", func() {
				for seq := range eventsInHistory {
					remove(seq + 1)
				}
				row("seq = $2", 0)
			}, 1},
			{"the row's count is lowered", func() { row("seq = $2", 4) }, 5},
			{"the row's count is nothing", func() { row("seq = $2", 0) }, 1},
			{"the row's count is raised", func() { row("seq = $2", 7) }, 7},
			{"the row's head is another", func() { row("head_hash = $2", strings.Repeat("0", 64)) }, 6},
			{"one is added at the end", func() {
				body := strings.NewReplacer(`"seq":6`, `"seq":7`).Replace(get("body", 6))
				b.tamper("INSERT INTO events (closure_id, seq, at, kind, body, prev_hash, hash) SELECT closure_id, 7, at, kind, $1, hash, $2 FROM events WHERE closure_id = $3 AND seq = 6",
					body, link(get("hash", 6), body), c.ID)
			}, 7},
		} {
			if whole == nil {
				whole = b.dump(c.ID)
			}
			tt.do()
			_, err := b.l.Events(b.Context(), c.ID)
			bad, ok := errors.AsType[*ledger.ChainError](err)
			switch {
			case !ok:
				b.Errorf("%s: not found: %v", tt.name, err)
			case bad.Seq != tt.seq || bad.ClosureID != c.ID || !strings.Contains(bad.Error(), fmt.Sprintf("event %d of closure %s", tt.seq, c.ID)):
				b.Errorf("%s: %v, want it to name event %d", tt.name, bad, tt.seq)
			default:
				if v, err := b.l.Verify(b.Context(), "", 100); err != nil || v.Closures != 2 || !slices.Contains(v.Broken, *bad) {
					b.Errorf("%s: a walk along all finds %+v, %v; want %v", tt.name, v, err, bad)
				}
			}
			b.restore(c, whole)
			if n := len(b.events(c.ID)); n != eventsInHistory {
				b.Fatalf("%s: %d events after it was put right", tt.name, n)
			}
		}
	},

	"AppendsAtOnceMakeOneChain": func(b *bench) {
		c, is := b.claim(b.create("a"), intent(closure.OrderIntent, "s1"))
		other := b.open(closure.Sandbox)
		var fns []func()
		for n := range 10 {
			fns = append(fns, func() {
				l := b.l
				if n%2 == 0 {
					l = other
				}
				if _, _, err := l.Record(b.Context(), c, in(is[0], closure.IntentSent, "o1"), answer()); err != nil {
					b.Error(err)
				}
				if _, err := l.Events(b.Context(), c.ID); err != nil { // a history is whole at every moment
					b.Error(err)
				}
			})
		}
		atOnce(fns...)
		if evs := b.events(c.ID); len(evs) != 12 {
			b.Errorf("%d events", len(evs))
		}
	},

	"WhatCannotBeWrittenDownStopsTheChange": func(b *bench) {
		c := b.create("a")
		b.nothing("a detail that is no JSON", c.ID, nil, func() error {
			_, err := b.l.Save(b.Context(), c, looked(c, closure.Wait(0, closure.Selling, "selling")).With(func() {}), nil)
			if err == nil || errors.Is(err, ledger.ErrStale) {
				b.Errorf("%v", err)
			}
			return nil
		})
	},

	"AnEventsDetailIsKeptAsItWasWritten": func(b *bench) {
		c := b.create("a")
		c, err := b.l.Save(b.Context(), c, looked(c, closure.Wait(0, closure.Selling, "<selling> & „more“")).With(map[string]any{"calls": []string{"GET <x>"}}), nil)
		if err != nil {
			b.Fatal(err)
		}
		last := b.events(c.ID)[1]
		var d map[string][]string
		if err := json.Unmarshal(last.Detail, &d); err != nil || d["calls"][0] != "GET <x>" || last.Text != "<selling> & „more“" {
			b.Errorf("%s: %s, %v", last.Text, last.Detail, err)
		}
		if !last.At.Equal(c.UpdatedAt.Truncate(time.Microsecond)) {
			b.Errorf("at %s, want %s", last.At, c.UpdatedAt)
		}
	},
}

// link is the chain's rule, written a second time: the hash of the one before and the stored bytes.
func link(prev, body string) string {
	h := sha256.Sum256([]byte(prev + "\n" + body))
	return hex.EncodeToString(h[:])
}

var eventColumns = []string{"closure_id", "seq", "at", "kind", "body", "prev_hash", "hash"}

// dump copies a closure's stored events.
func (b *bench) dump(id string) (out []map[string]any) {
	b.Helper()
	rows, err := b.db.SQL.QueryContext(b.Context(), "SELECT "+strings.Join(eventColumns, ", ")+" FROM events WHERE closure_id = $1 ORDER BY seq", id)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		v := make([]any, len(eventColumns))
		p := make([]any, len(v))
		for i := range v {
			p[i] = &v[i]
		}
		if err := rows.Scan(p...); err != nil {
			b.Fatal(err)
		}
		row := map[string]any{}
		for i, name := range eventColumns {
			row[name] = v[i]
		}
		out = append(out, row)
	}
	if err := rows.Err(); err != nil {
		b.Fatal(err)
	}
	return out
}

// restore puts a closure's events and its row's head back.
func (b *bench) restore(c closure.Closure, events []map[string]any) {
	b.Helper()
	if _, err := b.db.SQL.ExecContext(b.Context(), "DELETE FROM events WHERE closure_id = $1", c.ID); err != nil {
		b.Fatal(err)
	}
	for _, e := range events {
		var args []any
		for _, name := range eventColumns {
			args = append(args, e[name])
		}
		b.tamper("INSERT INTO events ("+strings.Join(eventColumns, ", ")+") VALUES ($1, $2, $3, $4, $5, $6, $7)", args...)
	}
	b.tamper("UPDATE closures SET seq = $2, head_hash = $3 WHERE id = $1", c.ID, c.Seq, c.HeadHash)
}
