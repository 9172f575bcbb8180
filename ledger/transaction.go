package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// transaction is one transaction of a database. What it writes need not be waited for one by one: writes that each must change
// exactly one row are queued, and on Postgres sent together, before the next statement or the commit.
type transaction struct {
	*sql.Tx
	conn   *sql.Conn // that the Tx is on
	sqlite bool
	told   func(statement string, alone bool)
	queued []write
	failed error // the first write that did not do what it must; nothing is committed then
}

// write is a statement that must change exactly one row.
type write struct {
	what   string // in an error
	q      string
	args   []any
	unique error // what it means that a unique index has such a row already; nil: nothing that is foreseen
}

// read is a query, and what becomes of each of its rows.
type read struct {
	q    string
	args []any
	row  func(row) error
	none error // where there is no row; nil: that is no error
}

// said is what the database answered to a write, as an error: ErrStale where no row was changed.
func (w write) said(n int64, err error) error {
	switch {
	case err != nil && w.unique != nil && isUnique(err):
		return w.unique
	case err != nil:
		return fmt.Errorf("%s: %w", w.what, err)
	case n != 1:
		return ErrStale
	}
	return nil
}

// tx runs fn in one transaction. An error of the commit itself means that nobody knows whether it took place.
func (l *Ledger) tx(ctx context.Context, fn func(tx *transaction) error) error {
	return l.db.tx(ctx, fn)
}

func (d *database) tx(ctx context.Context, fn func(tx *transaction) error) error {
	tx, err := d.begin(ctx)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = errors.Join(tx.Rollback(), tx.conn.Close()) }() // after a commit the first does nothing
	if err := fn(tx); err != nil && tx.failed == nil {
		return err
	}
	if err := tx.flush(ctx); err != nil {
		return err
	}
	tell(tx.told, "COMMIT", false)
	_, span := begin(ctx, "COMMIT", d.sqlite)
	err = tx.Commit()
	end(span, err)
	if err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// write carries out writes in one transaction, of which a single one needs no words.
func (d *database) write(ctx context.Context, ws ...write) error {
	if len(ws) != 1 {
		return d.tx(ctx, func(tx *transaction) error { return tx.later(ctx, ws...) })
	}
	r, err := d.ExecContext(ctx, ws[0].q, ws[0].args...)
	var n int64
	if err == nil {
		n, err = r.RowsAffected()
	}
	return ws[0].said(n, err)
}

func (d *database) begin(ctx context.Context) (*transaction, error) {
	tell(d.told, "BEGIN", false)
	_, span := begin(ctx, "BEGIN", d.sqlite) // the wait for a connection is in it
	conn, err := d.Conn(ctx)
	if err != nil {
		end(span, err)
		return nil, err
	}
	tx, err := conn.BeginTx(ctx, nil)
	end(span, err)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &transaction{Tx: tx, conn: conn, sqlite: d.sqlite, told: d.told}, nil
}

// later queues writes, in their order. On SQLite, where nothing is far away, they are carried out at once. Any error is of them
// or of earlier ones.
func (t *transaction) later(ctx context.Context, ws ...write) error {
	t.queued = append(t.queued, ws...)
	if t.sqlite {
		return t.flush(ctx)
	}
	return t.failed
}

// flush sends what is queued.
func (t *transaction) flush(ctx context.Context) error {
	ws := t.queued
	t.queued = nil
	switch {
	case t.failed != nil || len(ws) == 0:
	case t.sqlite:
		for _, w := range ws {
			r, err := t.ExecContext(ctx, w.q, w.args...)
			var n int64
			if err == nil {
				n, err = r.RowsAffected()
			}
			if t.failed = w.said(n, err); t.failed != nil {
				break
			}
		}
	default:
		t.failed = t.send(ctx, ws)
	}
	return t.failed
}

// send sends writes in one round trip. The first that did not do what it must decides; those behind it may have been carried
// out, and are not committed.
func (t *transaction) send(ctx context.Context, ws []write) error {
	var b pgx.Batch
	texts := make([]string, len(ws))
	for n, w := range ws {
		b.Queue(w.q, w.args...)
		texts[n] = w.q
	}
	return together(ctx, t.conn, t.told, false, texts, &b, func(answers pgx.BatchResults) error {
		for _, w := range ws {
			tag, err := answers.Exec()
			if err := w.said(tag.RowsAffected(), err); err != nil {
				return err
			}
		}
		return nil
	})
}

// reads carries out queries in their order, each of which sees what was committed before it, on Postgres in one round trip.
func (d *database) reads(ctx context.Context, rs ...read) error {
	conn, err := d.Conn(ctx)
	if err != nil {
		return err
	}
	return errors.Join(reads(ctx, conn, conn, d.sqlite, d.told, true, rs), conn.Close())
}

// reads does so within the transaction.
func (t *transaction) reads(ctx context.Context, rs ...read) error {
	if err := t.flush(ctx); err != nil {
		return err
	}
	return reads(ctx, t.Tx, t.conn, t.sqlite, t.told, false, rs)
}

func reads(ctx context.Context, on queryer, conn *sql.Conn, sqlite bool, told func(string, bool), alone bool, rs []read) error {
	if sqlite {
		for _, r := range rs {
			tell(told, r.q, alone)
			if err := r.carryOut(ctx, on); err != nil {
				return err
			}
		}
		return nil
	}
	var b pgx.Batch
	texts := make([]string, len(rs))
	for n, r := range rs {
		b.Queue(r.q, r.args...)
		texts[n] = r.q
	}
	return together(ctx, conn, told, alone, texts, &b, func(answers pgx.BatchResults) error {
		for _, r := range rs {
			rows, err := answers.Query()
			if err != nil {
				return err
			}
			err = r.each(rows)
			rows.Close()
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// carryOut asks SQLite.
func (r read) carryOut(ctx context.Context, on queryer) error {
	ctx, span := begin(ctx, strings.TrimSuffix(r.q, forUpdate), true)
	rows, err := on.QueryContext(ctx, text(r.q, true), r.args...)
	end(span, err)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	if err := r.each(rows); err != nil {
		return err
	}
	return rows.Err()
}

// each hands on every row of the answer.
func (r read) each(rows interface {
	row
	Next() bool
	Err() error
},
) error {
	none := r.none
	for rows.Next() {
		none = nil
		if err := r.row(rows); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return none
}

// together sends a batch of statements in one round trip and hands their answers on. Outside a transaction the database makes
// them one.
func together(ctx context.Context, conn *sql.Conn, told func(string, bool), alone bool, texts []string, b *pgx.Batch, answered func(pgx.BatchResults) error) error {
	q := strings.Join(texts, ";\n")
	tell(told, q, alone)
	ctx, span := begin(ctx, q, false)
	var crash any
	err := conn.Raw(func(driver any) (err error) {
		answers := driver.(*stdlib.Conn).Conn().SendBatch(ctx, b) //nolint:forcetypeassert // openPostgres opens no other
		defer func() {
			crash = recover() // Raw would close the connection then, and wait for the transaction's end, for ever
			if err2 := answers.Close(); err == nil {
				err = err2
			}
		}()
		return answered(answers)
	})
	end(span, err)
	if crash != nil {
		panic(crash)
	}
	return err
}

// Any other statement of a transaction is behind what is queued. A write that fails there is told by the commit.

func (t *transaction) QueryRowContext(ctx context.Context, q string, args ...any) *sql.Row {
	_ = t.flush(ctx)
	tell(t.told, q, false)
	ctx, span := begin(ctx, q, t.sqlite)
	row := t.Tx.QueryRowContext(ctx, text(q, t.sqlite), args...)
	end(span, row.Err())
	return row
}

func (t *transaction) QueryContext(ctx context.Context, q string, args ...any) (*sql.Rows, error) {
	if err := t.flush(ctx); err != nil {
		return nil, err
	}
	tell(t.told, q, false)
	ctx, span := begin(ctx, q, t.sqlite)
	rows, err := t.Tx.QueryContext(ctx, text(q, t.sqlite), args...)
	end(span, err)
	return rows, err
}

func (t *transaction) ExecContext(ctx context.Context, q string, args ...any) (sql.Result, error) {
	if err := t.flush(ctx); err != nil {
		return nil, err
	}
	tell(t.told, q, false)
	ctx, span := begin(ctx, q, t.sqlite)
	r, err := t.Tx.ExecContext(ctx, text(q, t.sqlite), args...)
	end(span, err)
	return r, err
}
