package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/pressly/goose/v3"

	"closeout/closure"
)

// ListQuery is the list's one query, for the test that asks how Postgres carries it out.
func (l *Ledger) ListQuery(f Filter, p Page) (q string, args []any) { return l.listQuery(f, p) }

// BoardQuery is the board's.
func (l *Ledger) BoardQuery(slow Cutoffs) (q string, args []any) { return l.boardQuery(slow) }

// ListsQuery is several lists'.
func (l *Ledger) ListsQuery(fs []Filter, p Page) (q string, args []any) { return l.listsQuery(fs, p) }

// AskingQuery is what needs a person.
func (l *Ledger) AskingQuery(noted ...closure.Reason) (q string, args []any) {
	return l.askingQuery(noted)
}

// Back undoes the migrations after a version.
func Back(ctx context.Context, url string, version int64) error {
	db, err := openDatabase(ctx, url)
	if err != nil {
		return err
	}
	dir, err := migrationsFor(db.sqlite)
	if err != nil {
		return errors.Join(err, db.Close())
	}
	dialect, name := goose.DialectSQLite3, "goose_db_version"
	if !db.sqlite {
		dialect, name = goose.DialectPostgres, schema+"goose_db_version"
	}
	p, err := goose.NewProvider(dialect, db.DB, dir, goose.WithTableName(name))
	if err == nil {
		_, err = p.DownTo(ctx, version)
	}
	return errors.Join(err, db.Close())
}

// History is a closure of n chained events, as they are stored, that nobody has written yet.
func History(account string, n int) (c closure.Closure, out []any) {
	id, _ := uuid.NewV7() // fails only without randomness
	at := time.Date(2026, time.November, 18, 15, 0, 0, 0, time.UTC)
	c = closure.Closure{ID: id.String(), AccountID: account, Phase: closure.Settlement, State: closure.Running, Version: 1, CreatedAt: at}
	for i := range n {
		e, err := link(&c, closure.Event{
			Kind: "wait", At: at.Add(time.Duration(i) * time.Hour), Actor: closure.Worker, Text: fmt.Sprintf("looked %d times; trades settle on the next settlement day (T+1)", i),
			Detail: map[string]any{"calls": []map[string]any{{"method": "GET", "path": "/v1/trading/accounts/" + account + "/account", "status": 200, "request_id": "b1994d544bd24ed296e0cbe2f0e3d26b"}}},
		})
		if err != nil {
			panic(err) // the detail is text
		}
		out = append(out, e)
	}
	return c, out
}

// InsertHistory writes one, beside the ledger.
func InsertHistory(ctx context.Context, tx *sql.Tx, c closure.Closure, history []any) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO closures (id, environment, account_id, confirmation, relationship_id, fingerprint, user_id, email, cause, priority, actor, phase,"+
		" state, version, token, due_at, reason, why, who, failures, failures_in_phase, crashes, noted_retries, last_error, looks, spent_ns, days, last_day, loops, memo, seq, head_hash,"+
		" created_at, updated_at) VALUES ($1, 'sandbox', $2, '', '', '', '', '', '', 'normal', '', 'settlement', 'running', 1, 't', $3, 'settling', '', '', 0, 0, 0, 0, '', 0, 0, 0, '', 0,"+
		" '{}', $4, $5, $6, $7)", c.ID, c.AccountID, ts(c.CreatedAt), c.Seq, c.HeadHash, ts(c.CreatedAt), ts(c.CreatedAt))
	if err != nil {
		return err
	}
	var values []string
	var args []any
	for _, e := range history {
		e := e.(entry)
		values = append(values, "("+places(len(args)+1, 7)+")")
		args = append(args, e.closureID, e.seq, e.at, e.kind, e.body, e.prevHash, e.hashed)
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO events (closure_id, seq, at, kind, body, prev_hash, hash) VALUES "+strings.Join(values, ", "), args...)
	return err
}

// LeaseQuery is how the first letter that is due is leased.
func (l *Ledger) LeaseQuery() (q string, args []any) {
	now := time.Now()
	return l.leaseQuery(newToken(), now, now.Add(time.Minute), noticePlace{due: time.Unix(0, 0)})
}

// LeasedQueries are how what it is written from is read then.
func (l *Ledger) LeasedQueries() (qs []string, args [][]any) {
	for _, r := range l.ofLeased(newToken(), time.Now(), nil, nil) {
		qs, args = append(qs, r.q), append(args, r.args)
	}
	return qs, args
}
