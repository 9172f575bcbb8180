package ledgertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"closeout/closure"
	"closeout/ledger"
)

// batch writes one of n rows.
func (b *bench) batch(n int, change func(*ledger.Batch)) ledger.Batch {
	b.Helper()
	rows := make([]ledger.BatchRow, n)
	for i := range rows {
		rows[i] = ledger.BatchRow{N: i, AccountID: account(i), RelationshipID: "bank", Email: "x@example.test", Obstacles: "[]"}
	}
	batch := ledger.Batch{Actor: "key:test", Cause: "the firm ends", Priority: closure.Bulk}
	if change != nil {
		change(&batch)
	}
	batch, err := b.l.CreateBatch(b.Context(), batch, rows)
	if err != nil {
		b.Fatal(err)
	}
	return batch
}

// ready notes that the rows can be closed, and has the batch start.
func (b *bench) ready(batch ledger.Batch) ledger.Batch {
	b.Helper()
	rows, err := b.l.RowsToDo(b.Context(), batch.ID, ledger.RowWaiting, 10_000)
	if err != nil {
		b.Fatal(err)
	}
	for _, r := range rows {
		r.State, r.Fingerprint = ledger.RowReady, "f00d"
		if err := b.l.NoteRow(b.Context(), batch.ID, ledger.RowWaiting, r); err != nil {
			b.Fatal(err)
		}
	}
	batch.State = ledger.BatchStarting
	if batch, err = b.l.MoveBatch(b.Context(), batch); err != nil {
		b.Fatal(err)
	}
	return batch
}

func (b *bench) rows(batch string, states ...ledger.RowState) []ledger.BatchRow {
	b.Helper()
	rows, err := b.l.BatchRows(b.Context(), batch, -1, 10_000, states...)
	if err != nil {
		b.Fatal(err)
	}
	return rows
}

// begin starts a row by a ledger.
func begin(ctx context.Context, l *ledger.Ledger, batch ledger.Batch, n int) (closure.Closure, bool, error) {
	w := wish(account(n))
	w.BatchID, w.BatchRow, w.Priority = batch.ID, n, closure.Bulk
	return l.Create(ctx, w)
}

var batched = map[string]func(*bench){
	"ABatchIsWrittenWithItsRows": func(b *bench) {
		const n = 523 // in several statements
		batch := b.batch(n, func(b *ledger.Batch) { b.DryRun = true })
		got, err := b.l.Batch(b.Context(), batch.ID)
		if err != nil || got.State != ledger.BatchChecking || got.Total != n || got.Cause != "the firm ends" || got.Actor != "key:test" ||
			!got.DryRun || got.Partial || got.Priority != closure.Bulk || got.Version != 1 || !got.EndedAt.IsZero() {
			b.Errorf("%+v, %v", got, err)
		}
		rows := b.rows(batch.ID)
		if len(rows) != n {
			b.Fatalf("%d rows", len(rows))
		}
		for i, r := range rows {
			if r.N != i || r.AccountID != account(i) || r.State != ledger.RowWaiting || r.Email != "x@example.test" {
				b.Fatalf("row %d: %+v", i, r)
			}
		}
		page, err := b.l.BatchRows(b.Context(), batch.ID, 99, 10, ledger.RowWaiting, ledger.RowReady)
		if err != nil || len(page) != 10 || page[0].N != 100 {
			b.Errorf("a page: %+v, %v", page, err)
		}
		if _, err := b.open(closure.Live).Batch(b.Context(), batch.ID); !errors.Is(err, ledger.ErrNotFound) {
			b.Errorf("the other environment sees it: %v", err)
		}
		if b.batch(1, func(b *ledger.Batch) { b.Partial = true }).State != ledger.BatchStarting {
			b.Error("a partial batch may start at once")
		}
	},

	"ARowIsStartedOnce": func(b *bench) {
		ledgers := []*ledger.Ledger{b.l, b.open(closure.Sandbox)}
		batch := b.ready(b.batch(1, nil))
		var made atomic.Int32
		var fns []func()
		for i := range many() {
			fns = append(fns, func() {
				c, created, err := begin(b.Context(), ledgers[i%2], batch, 0)
				if err != nil || c.ID == "" {
					b.Errorf("started: %v", err)
				}
				if created {
					made.Add(1)
				}
			})
		}
		atOnce(fns...)
		row := b.rows(batch.ID)[0]
		if made.Load() != 1 || b.count("closures") != 1 || row.State != ledger.RowStarted {
			b.Fatalf("%d made it, %d closures, the row is %s", made.Load(), b.count("closures"), row.State)
		}
		c := b.get(row.ClosureID)
		if c.BatchID != batch.ID || c.AccountID != account(0) || c.Priority != closure.Bulk {
			b.Errorf("its closure: %+v", c)
		}
		if evs := b.events(c.ID); len(evs) != 1 || !strings.Contains(b.text("SELECT body FROM events WHERE closure_id = $1", c.ID), batch.ID) {
			b.Errorf("its history does not name the batch: %+v", evs)
		}
		// The account is free again: the row has had its closure, and gets no second one.
		stops[closure.Canceled](b, c)
		if _, created, err := begin(b.Context(), b.l, batch, 0); created || !errors.Is(err, ledger.ErrStale) {
			b.Errorf("a second closure of the row: created %t, %v", created, err)
		}
		if b.count("closures") != 1 {
			b.Error("a refused start left a closure")
		}
	},

	"OnlyAStartingBatchStarts": func(b *bench) {
		batch := b.batch(2, nil)
		if _, created, err := begin(b.Context(), b.l, batch, 0); created || !errors.Is(err, ledger.ErrStale) {
			b.Errorf("while it checks: created %t, %v", created, err)
		}
		batch = b.ready(batch)
		if _, created, err := begin(b.Context(), b.l, batch, 0); !created || err != nil {
			b.Errorf("while it starts: created %t, %v", created, err)
		}
		canceled, ended, err := b.l.CancelBatch(b.Context(), batch.ID, "enough")
		if err != nil || !ended || canceled.State != ledger.BatchCanceled || canceled.Why != "enough" || canceled.EndedAt.IsZero() {
			b.Errorf("canceled: %+v, %t, %v", canceled, ended, err)
		}
		if _, created, err := begin(b.Context(), b.l, batch, 1); created || !errors.Is(err, ledger.ErrStale) {
			b.Errorf("once it was canceled: created %t, %v", created, err)
		}
		if _, ended, err := b.l.CancelBatch(b.Context(), batch.ID, "again"); err != nil || ended {
			b.Errorf("canceled twice: %t, %v", ended, err)
		}
		if _, err := b.l.MoveBatch(b.Context(), batch); !errors.Is(err, ledger.ErrStale) {
			b.Errorf("moved after its end: %v", err)
		}
		if _, _, err := b.l.CancelBatch(b.Context(), "no", ""); !errors.Is(err, ledger.ErrNotFound) {
			b.Errorf("canceled what there is not: %v", err)
		}
		if b.count("closures") != 1 || b.count("events") != 1 || b.count("notices") != 1 {
			b.Error("a refused start left something behind")
		}
	},

	"BitesRaceAndOneMovesTheBatch": func(b *bench) {
		ledgers := []*ledger.Ledger{b.l, b.open(closure.Sandbox)}
		batch := b.batch(1, nil)
		for range many() {
			var moved atomic.Int32
			var next ledger.Batch
			atOnce(slices.Repeat([]func(){func() {
				got, err := ledgers[moved.Load()%2].MoveBatch(b.Context(), batch)
				if err == nil {
					moved.Add(1)
					next = got
				} else if !errors.Is(err, ledger.ErrStale) {
					b.Error(err)
				}
			}}, 4)...)
			if moved.Load() != 1 || next.Version != batch.Version+1 {
				b.Fatalf("%d bites moved it from %d to %d", moved.Load(), batch.Version, next.Version)
			}
			batch = next
		}
	},

	"RowsAreNotedOnceAndCounted": func(b *bench) {
		batch := b.batch(4, nil)
		rows := b.rows(batch.ID)
		r := rows[0]
		r.Tries = 3
		if err := b.l.NoteRow(b.Context(), batch.ID, ledger.RowWaiting, r); err != nil {
			b.Fatal(err)
		}
		r = rows[1]
		r.State, r.Obstacles = ledger.RowRefused, `[{"code":"no_bank"}]`
		if err := b.l.NoteRow(b.Context(), batch.ID, ledger.RowWaiting, r); err != nil {
			b.Fatal(err)
		}
		if err := b.l.NoteRow(b.Context(), batch.ID, ledger.RowWaiting, r); !errors.Is(err, ledger.ErrStale) {
			b.Errorf("noted twice: %v", err)
		}
		todo, err := b.l.RowsToDo(b.Context(), batch.ID, ledger.RowWaiting, 10)
		if err != nil || len(todo) != 3 || todo[0].N != 2 || todo[2].N != 0 {
			b.Errorf("to do: %+v, %v", todo, err)
		}
		counts, err := b.l.CountRows(b.Context(), batch.ID)
		if err != nil || fmt.Sprint(counts) != "map[refused:1 waiting:3]" {
			b.Errorf("counted %v, %v", counts, err)
		}
		if got := b.rows(batch.ID, ledger.RowRefused); len(got) != 1 || got[0].Obstacles != r.Obstacles {
			b.Errorf("refused: %+v", got)
		}
	},

	"DueBatchesAreFoundAndClosuresCounted": func(b *bench) {
		first, second, over := b.batch(3, nil), b.batch(1, nil), b.batch(1, nil)
		if _, _, err := b.l.CancelBatch(b.Context(), over.ID, "enough"); err != nil {
			b.Fatal(err)
		}
		due, err := b.l.DueBatches(b.Context(), time.Now().Add(time.Second), 10)
		if err != nil || len(due) != 2 || due[0].ID != first.ID || due[1].ID != second.ID {
			b.Errorf("due: %+v, %v", due, err)
		}
		if due, err = b.l.DueBatches(b.Context(), time.Now().Add(-time.Hour), 10); err != nil || len(due) != 0 {
			b.Errorf("due an hour ago: %+v, %v", due, err)
		}
		first = b.ready(first)
		for n := range 3 {
			c, _, err := begin(b.Context(), b.l, first, n)
			if err != nil {
				b.Fatal(err)
			}
			if n == 0 {
				stops[closure.Closed](b, c)
			}
		}
		b.create("of no batch")
		counted, err := b.l.CountClosures(b.Context(), first.ID)
		if err != nil || fmt.Sprint(counted) != "[{closed liquidation 1} {running liquidation 2}]" {
			b.Errorf("counted %v, %v", counted, err)
		}
		var accounts []string
		for n := range 450 {
			accounts = append(accounts, account(n))
		}
		open, err := b.l.OpenOf(b.Context(), accounts)
		if err != nil || len(open) != 2 || open[account(1)] == "" || open[account(2)] == "" {
			b.Errorf("open: %v, %v", open, err)
		}
		if open, err = b.l.OpenOf(b.Context(), nil); err != nil || len(open) != 0 {
			b.Errorf("of none: %v, %v", open, err)
		}
	},
}
