package ledgertest

import (
	"slices"

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
}
