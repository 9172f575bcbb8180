package ledgertest

import (
	"slices"
	"strings"

	"closeout/closure"
	"closeout/ledger"
)

// verify walks along all histories, in pages of a size.
func (b *bench) verify(l *ledger.Ledger, size int) (all ledger.Verified) {
	b.Helper()
	for after := ""; ; {
		v, err := l.Verify(b.Context(), after, size)
		if err != nil {
			b.Fatal(err)
		}
		all.Closures, all.Events, all.Broken = all.Closures+v.Closures, all.Events+v.Events, append(all.Broken, v.Broken...)
		if v.Closures < size {
			return all
		}
		after = v.Last
	}
}

var verified = map[string]func(*bench){
	"AWalkIsAlongAllOfThisEnvironmentInPages": func(b *bench) {
		var ids []string
		for n := range 7 {
			c := b.create(account(n))
			for range n {
				c = b.look(c, closure.Wait(0, closure.Selling, "selling"))
			}
			ids = append(ids, c.ID)
		}
		live := b.open(closure.Live)
		if _, _, err := live.Create(b.Context(), wish("elsewhere")); err != nil {
			b.Fatal(err)
		}
		events := int64(b.count("events WHERE closure_id IN (SELECT id FROM closures WHERE environment = 'sandbox')"))
		for _, size := range []int{1, 2, 7, 100} {
			if v := b.verify(b.l, size); v.Closures != 7 || v.Events != events || len(v.Broken) > 0 {
				b.Errorf("in pages of %d: %+v, want 7 closures with %d events", size, v, events)
			}
		}
		if v := b.verify(live, 10); v.Closures != 1 || v.Events != 1 {
			b.Errorf("the other environment: %+v", v)
		}
		if n, err := b.l.Histories(b.Context()); err != nil || n != 7 {
			b.Errorf("%d histories, %v", n, err)
		}
		slices.Sort(ids)
		for n, id := range append(ids, "") {
			if at, err := b.l.HistoryAt(b.Context(), n); err != nil || at != id {
				b.Errorf("number %d is %s, %v; want %s", n, at, err, id)
			}
		}
	},

	"EachBrokenClosureIsNamedOnce": func(b *bench) {
		var cs []closure.Closure
		for n := range 5 {
			c := b.look(b.create(account(n)), closure.Wait(0, closure.Selling, "selling"))
			cs = append(cs, b.look(c, closure.Go(closure.Settlement, "sold")))
		}
		b.tamper("UPDATE events SET body = 'x' WHERE closure_id = $1", cs[1].ID)
		b.tamper("DELETE FROM events WHERE closure_id = $1", cs[2].ID)
		b.tamper("UPDATE closures SET head_hash = 'x' WHERE id = $1", cs[4].ID)
		for _, size := range []int{1, 2, 100} {
			v := b.verify(b.l, size)
			got := map[string]int64{}
			for _, bad := range v.Broken {
				got[bad.ClosureID] = bad.Seq
			}
			if v.Closures != 5 || len(v.Broken) != 3 || got[cs[1].ID] != 1 || got[cs[2].ID] != 1 || got[cs[4].ID] != cs[4].Seq {
				b.Errorf("in pages of %d: %+v", size, v)
			}
		}
	},

	"WhatCannotBeReadIsNamedAndHidesNothing": func(b *bench) {
		c := b.history()
		last := b.look(b.create("last"), closure.Wait(0, closure.Selling, "selling"))
		b.tamper("UPDATE events SET body = 'x' WHERE closure_id = $1 AND seq = 2", last.ID)
		whole := b.dump(c.ID)
		one := " WHERE closure_id = $1 AND seq = 3"
		type damage struct {
			do  string
			seq int64
		}
		damages := []damage{
			{"UPDATE events SET at = 'infinity'" + one, 3},
			{"UPDATE events SET at = '-infinity'" + one, 3},
		}
		if strings.HasPrefix(b.db.URL, "sqlite:") { // whose columns hold anything
			damages = append(damages,
				damage{"UPDATE events SET at = 'garbage'" + one, 3}, damage{"UPDATE events SET at = 5" + one, 3}, damage{"UPDATE events SET at = x'00'" + one, 3},
				damage{"UPDATE events SET seq = 'x'" + one, 3}, damage{"UPDATE events SET seq = 2.5" + one, 3}, damage{"UPDATE events SET seq = 'x' WHERE closure_id = $1 AND seq = 6", 6},
				damage{"UPDATE events SET body = 5" + one, 3}, damage{"UPDATE events SET body = x'ff'" + one, 3}, damage{"UPDATE events SET hash = 1.5" + one, 3},
				damage{"UPDATE events SET kind = x'00'" + one, 3}, damage{"UPDATE events SET prev_hash = 0" + one, 3},
				damage{"UPDATE closures SET seq = 'x' WHERE id = $1", 6}, damage{"UPDATE closures SET seq = 5.5 WHERE id = $1", 6}, damage{"UPDATE closures SET head_hash = x'00' WHERE id = $1", 6},
			)
		}
		for _, d := range damages {
			b.tamper(d.do, c.ID)
			for _, size := range []int{1, 100} {
				v := b.verify(b.l, size)
				if v.Closures != 3 || len(v.Broken) != 2 || v.Broken[0].ClosureID != c.ID || v.Broken[0].Seq != d.seq || v.Broken[1].ClosureID != last.ID || v.Broken[1].Seq != 2 {
					b.Errorf("%s, in pages of %d: %+v", d.do, size, v)
				}
			}
			b.restore(c, whole)
		}
		if v := b.verify(b.l, 100); len(v.Broken) != 1 {
			b.Errorf("all is put right: %+v", v)
		}
	},

	"ARowThatSaysOtherwiseThanItsLastEventIsNamed": func(b *bench) {
		c := stops[closure.Failed](b, b.create("a"))
		b.tamper("UPDATE closures SET state = 'closed' WHERE id = $1", c.ID)
		want := []ledger.ChainError{{ClosureID: c.ID, Seq: c.Seq, Why: "by it the closure is failed in liquidation, by its row closed in liquidation"}}
		if v := b.verify(b.l, 100); !slices.Equal(v.Broken, want) {
			b.Errorf("the state: %+v", v)
		}
		b.tamper("UPDATE closures SET state = 'failed', phase = 'closing' WHERE id = $1", c.ID)
		want[0].Why = "by it the closure is failed in liquidation, by its row failed in closing"
		if v := b.verify(b.l, 100); !slices.Equal(v.Broken, want) {
			b.Errorf("the phase: %+v", v)
		}
		if _, err := b.l.Events(b.Context(), c.ID); err == nil || err.Error() != want[0].Error() {
			b.Errorf("its history alone: %v", err)
		}
	},

	"EventsWhoseClosureIsGoneAreNamedOnce": func(b *bench) {
		var ids []string
		for n := range 5 {
			ids = append(ids, b.look(b.create(account(n)), closure.Wait(0, closure.Selling, "selling")).ID)
		}
		live := b.open(closure.Live)
		if !strings.HasPrefix(b.db.URL, "sqlite:") {
			if _, err := b.db.SQL.ExecContext(b.Context(), "ALTER TABLE closures DISABLE TRIGGER ALL"); err != nil { // so that a row can go alone
				b.Fatal(err)
			}
		}
		for _, id := range []string{ids[0], ids[2], ids[4]} {
			b.tamper("DELETE FROM closures WHERE id = $1", id)
		}
		b.tamper("DELETE FROM events WHERE closure_id = $1 AND seq = 1", ids[4])
		var want []ledger.ChainError
		for n, seq := range map[int]int64{0: 1, 2: 1, 4: 2} {
			want = append(want, ledger.ChainError{ClosureID: ids[n], Seq: seq, Why: "there is no such closure"})
		}
		slices.SortFunc(want, func(a, b ledger.ChainError) int { return strings.Compare(a.ClosureID, b.ClosureID) })
		for _, l := range []*ledger.Ledger{b.l, live} {
			for _, size := range []int{1, 2, 100} {
				if v := b.verify(l, size); !slices.Equal(v.Broken, want) {
					b.Errorf("%s in pages of %d: %+v", l.Environment(), size, v)
				}
			}
		}
		if astray, err := live.Astray(b.Context()); err != nil || !astray {
			b.Errorf("astray in an empty environment: %v, %v", astray, err)
		}
		if astray, err := b.l.Astray(b.Context()); err != nil || astray {
			b.Errorf("astray where closures are: %v, %v", astray, err)
		}
	},
}
