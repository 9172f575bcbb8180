package ledgertest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/go-cmp/cmp"

	"closeout/closure"
	"closeout/ledger"
)

// redrive starts one.
func (b *bench) redrive(f ledger.Filter, perMinute int) ledger.Redrive {
	b.Helper()
	r, err := b.l.CreateRedrive(b.Context(), ledger.Redrive{Filter: f, Reason: "the broker has mended it", Actor: "operator:ann", PerMinute: perMinute})
	if err != nil {
		b.Fatal(err)
	}
	return r
}

func (b *bench) retries(redrive string, states ...ledger.RetryState) []ledger.Retry {
	b.Helper()
	rows, err := b.l.Retries(b.Context(), redrive, -1, 10_000, states...)
	if err != nil {
		b.Fatal(err)
	}
	return rows
}

// retry carries out one retry of a redrive, which must not fail.
func (b *bench) retry(redrive string, n int) ledger.Retry {
	b.Helper()
	row, _, err := b.l.Retry(b.Context(), redrive, n)
	if err != nil {
		b.Fatal(err)
	}
	return row
}

func (b *bench) counted(redrive string) string {
	b.Helper()
	r, err := b.l.Redrive(b.Context(), redrive)
	if err != nil {
		b.Fatal(err)
	}
	return fmt.Sprintf("%s: %d of %d, %d skipped", r.State, r.Retried, r.Total, r.Skipped)
}

// fail makes a closure that has failed for a reason.
func (b *bench) fail(account string, reason closure.Reason) closure.Closure {
	b.Helper()
	return b.look(b.create(account), closure.Fail(reason, "no"))
}

// multiply adds n closures like one, beside the ledger: each has its id and its account with a number behind it.
func (b *bench) multiply(c closure.Closure, n int) {
	b.Helper()
	rows, err := b.db.SQL.QueryContext(b.Context(), "SELECT * FROM closures WHERE id = $1", c.ID)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	if err := errors.Join(err, rows.Close(), rows.Err()); err != nil { // an open reading keeps the writer out
		b.Fatal(err)
	}
	values := slices.Clone(columns)
	for i, name := range columns {
		if name == "id" || name == "account_id" {
			values[i] = name + " || '-' || CAST(k AS TEXT)"
		}
	}
	b.tamper("INSERT INTO closures ("+strings.Join(columns, ", ")+") WITH RECURSIVE numbers(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM numbers WHERE k < $1)"+
		" SELECT "+strings.Join(values, ", ")+" FROM closures, numbers WHERE id = $2", n, c.ID)
}

var redriven = map[string]func(*bench){
	"WhatHasStoppedIsFoundOnce": func(b *bench) {
		failed := b.fail("failed", closure.OrderRefused)
		dead := stops[closure.Dead](b, b.create("dead"))
		other := b.fail("other", closure.BankGone)
		each := b.fail("each", closure.Unexplained)
		b.create("running")
		for _, s := range []closure.State{closure.Paused, closure.Canceled, closure.Closed} {
			stops[s](b, b.create(string(s)))
		}
		r := b.redrive(ledger.Filter{}, 30)
		got, err := b.l.Redrive(b.Context(), r.ID)
		if err != nil || got.State != ledger.RedriveRunning || got.Total != 4 || got.Skipped != 1 || got.Left() != 3 || got.Reason != "the broker has mended it" ||
			got.Actor != "operator:ann" || got.PerMinute != 30 || got.Version != 1 || !got.EndedAt.IsZero() {
			b.Errorf("%+v, %v", got, err)
		}
		var found []string
		for n, row := range b.retries(r.ID) {
			if row.N != n || (row.State == ledger.RetrySkipped) != (row.ClosureID == each.ID) || (row.Why != "") != (row.ClosureID == each.ID) {
				b.Errorf("row %d: %+v", n, row)
			}
			found = append(found, row.ClosureID)
		}
		if want := []string{failed.ID, dead.ID, other.ID, each.ID}; !slices.Equal(found, want) { // the oldest first
			b.Errorf("found %v, want %v", found, want)
		}
		f := ledger.Filter{Reason: closure.BankGone, Statuses: []string{"failed", "running"}}
		narrow := b.redrive(f, 30)
		if rows := b.retries(narrow.ID); len(rows) != 1 || rows[0].ClosureID != other.ID || rows[0].Reason != closure.BankGone {
			b.Errorf("of one reason: %+v", rows)
		}
		if got, err := b.l.Redrive(b.Context(), narrow.ID); err != nil || got.Filter.String() != f.String() {
			b.Errorf("the filter came back as %q: %v", got.Filter, err)
		}
		if b.fail("late", closure.OrderRefused); b.counted(r.ID) != "running: 0 of 4, 1 skipped" {
			b.Errorf("what came later was counted: %s", b.counted(r.ID))
		}
		latest, err := b.l.Redrives(b.Context(), 10)
		if err != nil || len(latest) != 2 || latest[0].ID != narrow.ID {
			b.Errorf("the latest: %+v, %v", latest, err)
		}
		live := b.open(closure.Live)
		if _, err := live.Redrive(b.Context(), r.ID); !errors.Is(err, ledger.ErrNotFound) {
			b.Errorf("the other environment sees it: %v", err)
		}
		if _, _, err := live.Retry(b.Context(), r.ID, 0); !errors.Is(err, ledger.ErrStale) {
			b.Errorf("the other environment carries it out: %v", err)
		}
		// Nothing that may be retried: nothing is written.
		for _, f := range []ledger.Filter{{Reason: closure.AccountGone}, {Reason: closure.Unexplained}, {Statuses: []string{"paused"}}} {
			if _, err := b.l.CreateRedrive(b.Context(), ledger.Redrive{Filter: f, Reason: "x", Actor: "x", PerMinute: 1}); !errors.Is(err, ledger.ErrNothing) {
				b.Errorf("%s: %v", f, err)
			}
		}
		for _, rate := range []int{0, -1, ledger.MostPerMinute + 1} {
			if _, err := b.l.CreateRedrive(b.Context(), ledger.Redrive{Reason: "x", Actor: "x", PerMinute: rate}); err == nil {
				b.Errorf("%d a minute", rate)
			}
		}
		if n := b.count("redrives"); n != 2 {
			b.Errorf("%d redrives", n)
		}
	},

	// What a person has seen in a preview is what they have decided on, and not as many others.
	"WhatIsRetriedIsWhatWasShown": func(b *bench) {
		var cs []closure.Closure
		for n := range 3 {
			cs = append(cs, b.fail(account(n), closure.OrderRefused))
		}
		again := func(c closure.Closure) closure.Closure {
			return b.command(c.ID, closure.Resume(c.UpdatedAt, "bob", "seen"))
		}
		start := func(shown string) (ledger.Redrive, error) {
			return b.l.CreateRedrive(b.Context(), ledger.Redrive{Reason: "x", Actor: "x", PerMinute: 600, Shown: shown})
		}
		digest := func(n int) string {
			b.Helper()
			got, shown, err := b.l.Retriable(b.Context(), ledger.Filter{})
			if err != nil || got != n || shown == "" {
				b.Fatalf("%d would be retried, want %d; the digest %q, %v", got, n, shown, err)
			}
			return shown
		}
		for _, tt := range []struct {
			what    string
			n, left int
			happens func()
		}{
			{"one more", 3, 4, func() { b.fail("more", closure.OrderRefused) }},
			{"one that has moved", 4, 4, func() { b.look(again(cs[1]), closure.Fail(closure.OrderRefused, "again")) }},
			{"another instead", 4, 4, func() { again(cs[0]); b.fail("instead", closure.OrderRefused) }},
			{"one less", 4, 3, func() { again(cs[2]) }},
		} {
			shown := digest(tt.n)
			tt.happens()
			if r, err := start(shown); !errors.Is(err, ledger.ErrStale) || r.Left() != tt.left {
				b.Errorf("%s: %d left, %v", tt.what, r.Left(), err)
			}
		}
		if n := b.count("redrives") + b.count("redrive_rows"); n != 0 {
			b.Errorf("what was refused has written %d rows", n)
		}
		shown := digest(3)
		b.fail("each", closure.Unexplained) // which is not retried among many
		if digest(3) != shown {
			b.Error("what a person must look at is in the digest")
		}
		if n, some, err := b.l.Retriable(b.Context(), ledger.Filter{AccountID: "instead"}); err != nil || n != 1 || some == shown {
			b.Errorf("of a filter: %d, %v", n, err)
		}
		if r, err := start(shown); err != nil || r.Total != 4 || r.Skipped != 1 {
			b.Errorf("as shown: %+v, %v", r, err)
		}
		// And however many they are.
		last := b.fail("last", closure.OrderRefused)
		b.multiply(last, 2_000)
		shown = digest(2_004)
		b.tamper("UPDATE closures SET version = version + 1 WHERE id = $1", last.ID+"-1000")
		if r, err := start(shown); !errors.Is(err, ledger.ErrStale) || r.Left() != 2_004 {
			b.Errorf("one of many has moved: %d left, %v", r.Left(), err)
		}
		if r, err := start(digest(2_004)); err != nil || r.Left() != 2_004 {
			b.Errorf("as many as were shown: %d, %v", r.Left(), err)
		}
		if _, err := start(""); err != nil {
			b.Errorf("where nothing was shown, whatever matches is meant: %v", err)
		}
	},

	"EachIsRetriedOnceWhoeverTries": func(b *bench) {
		c := b.fail("a", closure.OrderRefused)
		b.fail("b", closure.OrderRefused) // so that it goes on
		ledgers := []*ledger.Ledger{b.l, b.open(closure.Sandbox)}
		r := b.redrive(ledger.Filter{}, 600)
		var done atomic.Int32
		var fns []func()
		for i := range many() {
			fns = append(fns, func() {
				row, next, err := ledgers[i%2].Retry(b.Context(), r.ID, 0)
				switch {
				case err == nil && row.State == ledger.RetryDone && next.State == closure.Running:
					done.Add(1)
				case !errors.Is(err, ledger.ErrStale):
					b.Errorf("retried: %+v, %v", row, err)
				}
			})
		}
		atOnce(fns...)
		now := b.get(c.ID)
		if done.Load() != 1 || now.State != closure.Running || now.Version != c.Version+1 || now.Token == c.Token || b.counted(r.ID) != "running: 1 of 2, 0 skipped" {
			b.Fatalf("%d have retried it: %+v; %s", done.Load(), now, b.counted(r.ID))
		}
		evs := b.events(c.ID)
		last := evs[len(evs)-1]
		if len(evs) != 3 || last.Kind != "resume" || last.Actor != "operator:ann" || !strings.Contains(last.Text, "the broker has mended it") ||
			!strings.Contains(last.Text, r.ID) || !strings.Contains(string(last.Detail), r.ID) {
			b.Errorf("its history says %+v", last)
		}
		// It fails again: this redrive has had it.
		b.look(now, closure.Fail(closure.OrderRefused, "no"))
		if _, _, err := b.l.Retry(b.Context(), r.ID, 0); !errors.Is(err, ledger.ErrStale) {
			b.Errorf("a second time: %v", err)
		}
	},

	"WhatHasMovedIsSkippedAndSaysSo": func(b *bench) {
		var cs []closure.Closure
		for n := range 5 {
			cs = append(cs, b.fail(account(n), closure.TransferFailed))
		}
		r := b.redrive(ledger.Filter{Reason: closure.TransferFailed}, 600)
		b.command(cs[0].ID, closure.Resume(cs[0].UpdatedAt, "bob", "seen"))
		b.look(b.command(cs[1].ID, closure.Resume(cs[1].UpdatedAt, "bob", "seen")), closure.Fail(closure.TransferFailed, "again")) // newer than the start
		b.command(cs[2].ID, closure.Cancel(cs[2].UpdatedAt, "bob", "never mind", false))
		b.tamper("UPDATE closures SET reason = 'bank_gone' WHERE id = $1", cs[3].ID) // no filter's field moves without the version; if one did
		for n := range 4 {
			before := b.get(cs[n].ID)
			row := b.retry(r.ID, n)
			if row.State != ledger.RetrySkipped || !strings.Contains(row.Why, "moved") {
				b.Errorf("%d: %+v", n, row)
			}
			// Its history says so, and nothing else has changed.
			evs := b.events(cs[n].ID)
			last := evs[len(evs)-1]
			if last.Kind != ledger.PassedOver || last.Actor != closure.Worker || !strings.Contains(last.Text, row.Why) || !strings.Contains(string(last.Detail), r.ID) {
				b.Errorf("%d: the history says %+v", n, last)
			}
			before.Seq, before.HeadHash = before.Seq+1, b.get(cs[n].ID).HeadHash
			if diff := cmp.Diff(before, b.get(cs[n].ID)); diff != "" {
				b.Errorf("%d: passed over, and changed\n%s", n, diff)
			}
		}
		if row := b.retry(r.ID, 4); row.State != ledger.RetryDone {
			b.Errorf("what has not moved: %+v", row)
		}
		if got := b.counted(r.ID); got != "done: 1 of 5, 4 skipped" {
			b.Error(got)
		}
		if now, err := b.l.Retried(b.Context(), r.ID); err != nil || len(now) != 1 || now[closure.Running] != 1 {
			b.Errorf("what was retried is %v: %v", now, err)
		}
		if r, err := b.l.Redrive(b.Context(), r.ID); err != nil || r.EndedAt.IsZero() || r.Why != ledger.AllDone {
			b.Errorf("it ended %+v: %v", r, err)
		}
		if rows := b.retries(r.ID, ledger.RetrySkipped); len(rows) != 4 || rows[2].Why == "" || rows[2].DoneAt.IsZero() || rows[2].Now != closure.Canceled || rows[2].AccountID != account(2) {
			b.Errorf("skipped: %+v", rows)
		}
	},

	// Whatever it stopped for, a transfer that appeared late is for a person to look at.
	"ALateTransferIsNotSeenByARedrive": func(b *bench) {
		c, is := b.claim(b.create("a"), pay("10", "2026-11-18"))
		c, i := b.settle(c, is[0], closure.IntentVoid, "")
		c = b.look(c, closure.Fail(closure.OrderRefused, "no"))
		r := b.redrive(ledger.Filter{}, 600)
		b.record(in(i, closure.IntentSent, "t9"))
		if b.intents(c.ID)[0].State != closure.IntentLate {
			b.Fatal("the transfer is not late")
		}
		if row := b.retry(r.ID, 0); row.State != ledger.RetrySkipped || row.Why == "" {
			b.Errorf("%+v", row)
		}
		if b.intents(c.ID)[0].State != closure.IntentLate || b.get(c.ID).State != closure.Failed {
			b.Error("a redrive was taken for somebody's word that they have seen the transfer")
		}
	},

	"AfterAnAbortNothingIsResumed": func(b *bench) {
		for n := range 13 {
			b.fail(account(n), closure.OrderRefused)
		}
		ledgers := []*ledger.Ledger{b.l, b.open(closure.Sandbox)}
		r := b.redrive(ledger.Filter{}, 600)
		b.retry(r.ID, 0)
		var after atomic.Int32
		fns := []func(){func() {
			got, ended, err := b.l.AbortRedrive(b.Context(), r.ID, "enough")
			if err != nil || !ended || got.State != ledger.RedriveAborted || got.Why != "enough" || got.EndedAt.IsZero() {
				b.Errorf("aborted: %+v, %t, %v", got, ended, err)
			}
			after.Store(int32(b.count("redrive_rows WHERE state = 'retried'")))
		}}
		for n := range 11 {
			fns = append(fns, func() {
				if _, _, err := ledgers[n%2].Retry(b.Context(), r.ID, n+1); err != nil && !errors.Is(err, ledger.ErrStale) {
					b.Error(err)
				}
			})
		}
		atOnce(fns...)
		retried, running := b.count("redrive_rows WHERE state = 'retried'"), b.count("closures WHERE state = 'running'")
		if int(after.Load()) != retried || running != retried {
			b.Errorf("%d were retried when the abort was answered, %d in the end; %d run", after.Load(), retried, running)
		}
		if _, _, err := b.l.Retry(b.Context(), r.ID, 12); !errors.Is(err, ledger.ErrStale) || b.count("closures WHERE state = 'running'") != running {
			b.Errorf("after the abort: %v", err)
		}
		if _, ended, err := b.l.AbortRedrive(b.Context(), r.ID, "again"); err != nil || ended {
			b.Errorf("aborted twice: %t, %v", ended, err)
		}
		if _, err := b.l.MoveRedrive(b.Context(), r); !errors.Is(err, ledger.ErrStale) {
			b.Errorf("moved after its end: %v", err)
		}
		if _, _, err := b.l.AbortRedrive(b.Context(), "no", ""); !errors.Is(err, ledger.ErrNotFound) {
			b.Errorf("aborted what there is not: %v", err)
		}
		if due, err := b.l.DueRedrives(b.Context(), time.Now().Add(time.Hour), 10); err != nil || len(due) != 0 {
			b.Errorf("it is due: %+v, %v", due, err)
		}
	},

	"NoMoreInAMinuteThanItMay": func(b *bench) {
		for n := range 8 {
			b.fail(account(n), closure.OrderRefused)
		}
		r := b.redrive(ledger.Filter{}, 3)
		var done, tooSoon atomic.Int32
		var fns []func()
		for n := range 8 {
			fns = append(fns, func() {
				switch _, _, err := b.l.Retry(b.Context(), r.ID, n); {
				case err == nil:
					done.Add(1)
				case errors.Is(err, ledger.ErrTooSoon):
					tooSoon.Add(1)
				default:
					b.Error(err)
				}
			})
		}
		atOnce(fns...)
		if done.Load() != 3 || tooSoon.Load() != 5 || b.count("closures WHERE state = 'running'") != 3 {
			b.Errorf("%d were retried, %d refused", done.Load(), tooSoon.Load())
		}
		b.tamper("UPDATE redrive_rows SET done_at = $1 WHERE done_at IS NOT NULL", time.Now().Add(-time.Minute-time.Second).UTC()) // a minute later
		if row := b.retry(r.ID, b.retries(r.ID, ledger.RetryWaiting)[0].N); row.State != ledger.RetryDone {
			b.Errorf("a minute later: %+v", row)
		}
	},

	"BitesRaceAndOneMovesTheRedrive": func(b *bench) {
		b.fail("a", closure.OrderRefused)
		r := b.redrive(ledger.Filter{}, 3)
		if due, err := b.l.DueRedrives(b.Context(), time.Now().Add(time.Second), 10); err != nil || len(due) != 1 || due[0].ID != r.ID {
			b.Errorf("due: %+v, %v", due, err)
		}
		if due, err := b.l.DueRedrives(b.Context(), time.Now().Add(-time.Hour), 10); err != nil || len(due) != 0 {
			b.Errorf("due an hour ago: %+v, %v", due, err)
		}
		var moved atomic.Int32
		atOnce(slices.Repeat([]func(){func() {
			if next, err := b.l.MoveRedrive(b.Context(), r); err == nil && next.Version == r.Version+1 {
				moved.Add(1)
			} else if !errors.Is(err, ledger.ErrStale) {
				b.Error(err)
			}
		}}, 4)...)
		if moved.Load() != 1 {
			b.Errorf("%d bites moved it", moved.Load())
		}
	},
}
