package ledgertest

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"closeout/closure"
	"closeout/ledger"
)

// ago is a bench nine years ago, on the same database.
func (b *bench) ago() *bench {
	b.Helper()
	return &bench{T: b.T, db: b.db, l: b.openAt(closure.Sandbox, closure.ScaledClock(24*time.Hour, longAgo(), time.Now()))}
}

// quiet sends a closure's letters.
func (b *bench) quiet(c closure.Closure) closure.Closure {
	b.Helper()
	if _, err := b.db.SQL.ExecContext(b.Context(), "UPDATE notices SET state = 'sent' WHERE closure_id = $1", c.ID); err != nil {
		b.Fatal(err)
	}
	return b.get(c.ID)
}

func longAgo() time.Time { return time.Now().UTC().Truncate(time.Microsecond).AddDate(-9, 0, 0) }

// seven years ago is where retention ends.
func sevenYears() time.Time { return time.Now().AddDate(-7, 0, 0) }

// over makes a closure that ended in a state, with an instruction that was carried out.
func (b *bench) over(account string, s closure.State) closure.Closure {
	b.Helper()
	c, is := b.claim(b.create(account), intent(closure.OrderIntent, "s1"))
	b.record(in(is[0], closure.IntentSent, "order-of-"+account))
	return b.quiet(stops[s](b, b.look(c, closure.Wait(0, closure.Selling, "selling"))))
}

// remove takes bites until nothing is left.
func (b *bench) remove(limit int) (all ledger.Removal) {
	b.Helper()
	for {
		r, err := b.l.Remove(b.Context(), sevenYears(), "cli:ann", all.Last, limit)
		if err != nil {
			b.Fatal(err)
		}
		if r.Nothing() {
			all.Last = ""
			return all
		}
		all.Add(r)
	}
}

// there says whether anything is left of a closure in the ledger's tables.
func (b *bench) there(id string) (n int) {
	b.Helper()
	for _, from := range []string{"events", "intents", "notices", "redrive_rows", "batch_rows"} {
		n += b.count(from+" WHERE closure_id = $1", id)
	}
	return n + b.count("closures WHERE id = $1", id)
}

var removed = map[string]func(*bench){
	"WhatIsLongOverGoesWholeAndNothingElse": func(b *bench) {
		ago := b.ago()
		gone := []closure.Closure{ago.over("closed", closure.Closed), ago.over("canceled", closure.Canceled)}
		var kept []closure.Closure
		for _, s := range []closure.State{closure.Paused, closure.Failed, closure.Dead} { // not over, whatever their age
			kept = append(kept, ago.over("old "+string(s), s))
		}
		kept = append(kept, stops[closure.Closed](b, b.create("young")), b.look(b.create("running"), closure.Wait(0, closure.Selling, "selling")))
		live := b.open(closure.Live)
		other, _, err := live.Create(b.Context(), wish("live"))
		if err != nil {
			b.Fatal(err)
		}
		before := map[string]state{}
		events := int64(0)
		for _, c := range kept {
			before[c.ID] = b.state(c.ID)
		}
		for _, c := range gone {
			events += c.Seq
		}
		want := ledger.Removal{Closures: 2, Events: events}
		r, err := b.l.Removable(b.Context(), sevenYears())
		r.Last = ""
		if diff := cmp.Diff(want, r); err != nil || diff != "" {
			b.Errorf("removable: %v (-want +got)\n%s", err, diff)
		}
		if diff := cmp.Diff(want, b.remove(1)); diff != "" {
			b.Errorf("removed (-want +got)\n%s", diff)
		}
		for _, c := range gone {
			if n := b.there(c.ID); n > 0 {
				b.Errorf("%s: %d rows are left", c.AccountID, n)
			}
		}
		for _, c := range kept {
			if diff := cmp.Diff(before[c.ID], b.state(c.ID)); diff != "" {
				b.Errorf("%s has changed (-before +after)\n%s", c.AccountID, diff)
			}
		}
		if v := b.verify(b.l, 100); v.Closures != len(kept) || len(v.Broken) > 0 {
			b.Errorf("afterwards: %+v", v)
		}
		if _, err := live.Get(b.Context(), other.ID); err != nil {
			b.Errorf("the other environment's: %v", err)
		}
		trace, err := b.l.Removals(b.Context(), 10)
		if err != nil || len(trace) != 2 || trace[0].Actor != "cli:ann" || trace[0].Closures != 1 || trace[0].Events+trace[1].Events != events || trace[0].Before.IsZero() || time.Since(trace[0].At) > time.Hour {
			b.Errorf("the trace: %+v, %v", trace, err)
		}
		if none, err := live.Removals(b.Context(), 10); err != nil || len(none) > 0 {
			b.Errorf("the other environment's trace: %+v, %v", none, err)
		}
	},

	"WhatSomethingRestsOnStays": func(b *bench) {
		b = b.ago()
		owed := b.over("owed", closure.Closed)
		b.tamper("UPDATE notices SET state = 'due' WHERE closure_id = $1", owed.ID)
		unsettled := b.over("unsettled", closure.Closed)
		b.tamper("UPDATE intents SET state = 'sending' WHERE closure_id = $1", unsettled.ID)
		late := b.over("late", closure.Canceled)
		b.tamper("UPDATE intents SET state = 'late' WHERE closure_id = $1", late.ID)
		again := b.over("again", closure.Canceled)
		second := b.create("again")
		retried := b.fail("retried", closure.OrderRefused)
		redrive := b.redrive(ledger.Filter{AccountID: "retried"}, 30)
		retried = b.quiet(b.command(retried.ID, closure.Cancel(retried.UpdatedAt, "ann", "never mind", false)))
		last := b.over("last of the feed", closure.Closed)
		for _, tt := range []struct {
			c    closure.Closure
			free func()
		}{
			{owed, func() { b.tamper("UPDATE notices SET state = 'sent' WHERE closure_id = $1", owed.ID) }},
			{unsettled, func() { b.tamper("UPDATE intents SET state = 'void' WHERE closure_id = $1", unsettled.ID) }},
			{late, func() { b.tamper("UPDATE intents SET state = 'void' WHERE closure_id = $1", late.ID) }},
			{last, func() { b.create("later") }},
			{again, func() { stops[closure.Canceled](b, second) }},
			{retried, func() { b.tamper("UPDATE redrives SET state = 'aborted' WHERE id = $1", redrive.ID) }},
		} {
			if all := b.remove(100); !all.Nothing() || b.there(tt.c.ID) == 0 {
				b.Fatalf("%s: %+v was removed", tt.c.AccountID, all)
			}
			tt.free()
			if r, err := b.l.Removable(b.Context(), sevenYears()); err != nil || r.Closures != 1 {
				b.Errorf("%s: %+v, %v", tt.c.AccountID, r, err)
			}
			if all := b.remove(100); all.Closures != 1 || b.there(tt.c.ID) > 0 {
				b.Errorf("%s: %+v was removed, %d rows are left", tt.c.AccountID, all, b.there(tt.c.ID))
			}
		}
	},

	"WhatItsHistoryDoesNotBearOutIsKeptAndNamed": func(b *bench) {
		ago := b.ago()
		changed := ago.over("changed", closure.Closed)
		failed := ago.over("failed", closure.Failed)
		young := b.quiet(stops[closure.Closed](b, b.create("young")))
		unread := ago.over("unread", closure.Canceled)
		gone := []closure.Closure{ago.over("closed", closure.Closed), ago.over("canceled", closure.Canceled)}
		b.create("last")
		b.tamper("UPDATE events SET body = replace(body, 'selling', 'sellinG') WHERE closure_id = $1", changed.ID)
		b.tamper("UPDATE closures SET state = 'closed' WHERE id = $1", failed.ID)
		b.tamper("UPDATE closures SET ended_at = $2 WHERE id = $1", young.ID, longAgo())
		b.tamper("UPDATE events SET at = 'infinity' WHERE closure_id = $1 AND seq = 2", unread.ID)
		kept := map[string]int64{changed.ID: 4, failed.ID: failed.Seq, young.ID: young.Seq, unread.ID: 2}
		named := func(what string, r ledger.Removal) {
			b.Helper()
			got := map[string]int64{}
			for _, k := range r.Kept {
				got[k.ClosureID] = k.Seq
			}
			if diff := cmp.Diff(kept, got); diff != "" || r.Closures != 2 || r.Events != gone[0].Seq+gone[1].Seq {
				b.Errorf("%s: %+v (-want +got)\n%s", what, r, diff)
			}
		}
		r, err := b.l.Removable(b.Context(), sevenYears())
		if err != nil {
			b.Fatal(err)
		}
		named("removable", r)
		before := b.verify(b.l, 100)
		if len(before.Broken) != 3 { // of the young one the end alone is another, by its row
			b.Errorf("before: %+v", before)
		}
		named("removed", b.remove(1))
		for id := range kept {
			if b.there(id) == 0 {
				b.Errorf("%s is gone", id)
			}
		}
		for _, c := range gone {
			if b.there(c.ID) > 0 {
				b.Errorf("%s is there", c.AccountID)
			}
		}
		after := b.verify(b.l, 100)
		if diff := cmp.Diff(before.Broken, after.Broken); diff != "" {
			b.Errorf("verify no longer finds what it found (-before +after)\n%s", diff)
		}
		if again := b.remove(100); again.Closures != 0 || len(again.Kept) != 4 {
			b.Errorf("again: %+v", again)
		}
		if trace, err := b.l.Removals(b.Context(), 10); err != nil || len(trace) != 2 {
			b.Errorf("a bite that removed nothing has left a trace: %+v, %v", trace, err)
		}
	},

	"WhatTurnsUpWhileALockIsWaitedForStays": func(b *bench) {
		ago := b.ago()
		owed, gone := ago.over("owed", closure.Closed), ago.over("gone", closure.Closed)
		b.create("last")
		tx, err := b.db.SQL.BeginTx(b.Context(), nil)
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = tx.Rollback() }() // after a commit it does nothing
		for _, q := range []string{"UPDATE closures SET seq = seq WHERE id = $1", "UPDATE notices SET state = 'due' WHERE closure_id = $1"} {
			if _, err := tx.ExecContext(b.Context(), q, owed.ID); err != nil {
				b.Fatal(err)
			}
		}
		done := make(chan ledger.Removal, 1)
		go func() {
			r, err := b.l.Remove(b.Context(), sevenYears(), "cli:ann", "", 100)
			if err != nil {
				b.Error(err)
			}
			done <- r
		}()
		if !strings.HasPrefix(b.db.URL, "sqlite:") { // whose one writer waits before it looks
			for b.count("pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") == 0 {
				runtime.Gosched()
			}
		}
		if err := tx.Commit(); err != nil {
			b.Fatal(err)
		}
		if r := <-done; r.Closures != 1 || b.there(owed.ID) == 0 || b.there(gone.ID) > 0 {
			b.Errorf("%+v was removed", r)
		}
	},

	"TheFeedGoesOnBehindWhatWasRead": func(b *bench) {
		b = b.ago()
		for n := range 3 {
			b.over(account(n), closure.Closed)
		}
		read, _, err := b.l.FeedEnd(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if all := b.remove(100); all.Closures != 2 {
			b.Errorf("%+v was removed", all)
		}
		c := b.create("new")
		told, _, err := b.l.Feed(b.Context(), read, 10)
		if err != nil || len(told) != 1 || told[0].ClosureID != c.ID {
			b.Errorf("after %d: %+v, %v", read, told, err)
		}
	},

	"BatchesAndBulkRetriesGoAfterTheirClosures": func(b *bench) {
		b = b.ago()
		batch := b.ready(b.batch(2, nil))
		var cs []closure.Closure
		for n := range 2 {
			c, _, err := begin(b.Context(), b.l, batch, n)
			if err != nil {
				b.Fatal(err)
			}
			cs = append(cs, c)
		}
		batch, err := b.l.Batch(b.Context(), batch.ID)
		if err != nil {
			b.Fatal(err)
		}
		batch.State = ledger.BatchDone
		if _, err = b.l.MoveBatch(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
		b.tamper("UPDATE batches SET ended_at = $2 WHERE id = $1", batch.ID, longAgo())
		b.quiet(stops[closure.Closed](b, cs[0]))
		failed := b.look(cs[1], closure.Fail(closure.OrderRefused, "no"))
		redrive := b.redrive(ledger.Filter{}, 30)
		b.retry(redrive.ID, 0)
		b.tamper("UPDATE redrives SET ended_at = $2 WHERE id = $1", redrive.ID, longAgo())

		if all := b.remove(100); all.Closures != 1 || all.Batches != 0 || all.Redrives != 1 {
			b.Errorf("%+v was removed", all)
		}
		rows := b.rows(batch.ID)
		if len(rows) != 2 || rows[0].ClosureID != "" || rows[0].Email != "" || rows[0].State != ledger.RowStarted || rows[1].ClosureID != failed.ID || rows[1].Email == "" {
			b.Errorf("the batch's rows: %+v", rows)
		}
		if n := b.count("redrive_rows"); n != 0 {
			b.Errorf("%d rows of bulk retries", n)
		}
		b.quiet(stops[closure.Closed](b, b.get(failed.ID)))
		b.create("later")
		if all := b.remove(100); all.Closures != 1 || all.Batches != 1 || b.count("batches") != 0 || b.count("batch_rows") != 0 {
			b.Errorf("%+v was removed", all)
		}
	},

	"TwoWhoRemoveAtOnceRemoveEachOnce": func(b *bench) {
		const n = 20
		b = b.ago()
		var ids []string
		for i := range n {
			ids = append(ids, b.over(account(i), closure.Closed).ID)
		}
		b.create("last")
		other := b.open(closure.Sandbox)
		count := make([]ledger.Removal, 2)
		var fns []func()
		for i, l := range []*ledger.Ledger{b.l, other} {
			fns = append(fns, func() {
				for {
					r, err := l.Remove(b.Context(), sevenYears(), fmt.Sprint(i), count[i].Last, 3)
					if err != nil {
						b.Error(err)
						return
					}
					if r.Nothing() {
						return
					}
					count[i].Add(r)
				}
			})
		}
		atOnce(append(fns, func() { // somebody looks at one of them
			_ = b.l.Note(b.Context(), ids[n-1], closure.Event{Kind: ledger.Looked, At: time.Now(), Actor: "operator:ann", Text: "looked"})
		})...)
		b.create("after") // the note may have been the feed's last event
		count[0].Add(b.remove(100))
		left := slices.DeleteFunc(ids, func(id string) bool { return b.there(id) == 0 })
		if count[0].Closures+count[1].Closures != n || len(left) > 0 {
			b.Errorf("%+v were removed, %v are left", count, left)
		}
	},
}
