package ledger

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// transaction is one transaction of a database. What it writes need not be waited for one by one: writes that each must change
// exactly one row are queued, and on Postgres sent together, before the next statement or with the commit. There its beginning
// goes with its first statements, and it takes no words at all where it is nothing but writes.
type transaction struct {
	queryer // what carries out a statement within it
	db      *database
	conn    *sql.Conn
	begun   bool
	queued  []write
	failed  error // the first write that did not do what it must; nothing is committed then
}

// read is a statement that answers with rows, and what becomes of each.
type read struct {
	q    string
	args []any
	row  func(row) error
	none error // where there is no row; nil: that is no error
}

// tx runs fn in one transaction. An error that is no answer of the database, as of a connection or a time that ran out, means that
// nobody knows whether it took place.
func (l *Ledger) tx(ctx context.Context, fn func(tx *transaction) error) error {
	return l.db.tx(ctx, fn)
}

func (d *database) tx(ctx context.Context, fn func(tx *transaction) error) error {
	tx, err := d.begin(ctx)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer tx.end()
	if err := fn(tx); err != nil && tx.failed == nil {
		return err
	}
	return tx.commit(ctx)
}

// write carries out writes in one transaction, of which a single one needs no words.
func (d *database) write(ctx context.Context, ws ...write) error {
	if len(ws) != 1 {
		return d.tx(ctx, func(tx *transaction) error { return tx.later(ctx, ws...) })
	}
	return ws[0].carryOut(ctx, d)
}

const (
	beginning = "BEGIN"
	ending    = "COMMIT"
)

// begin takes a connection, and begins the transaction of a SQLite. That of a Postgres begins with its first statement.
func (d *database) begin(ctx context.Context) (*transaction, error) {
	if d.sqlite {
		tell(d.told, beginning, false)
	}
	_, span := begin(ctx, beginning, d.sqlite) // the wait for a connection is in it
	conn, err := d.Conn(ctx)
	t := &transaction{queryer: conn, db: d, conn: conn, begun: d.sqlite}
	if err == nil && d.sqlite {
		if t.queryer, err = conn.BeginTx(ctx, nil); err != nil {
			err = errors.Join(err, conn.Close())
		}
	}
	end(span, err)
	return t, err
}

// commit ends the transaction.
func (t *transaction) commit(ctx context.Context) error {
	if !t.db.sqlite {
		return t.send(ctx, true)
	}
	if err := t.flush(ctx); err != nil {
		return err
	}
	tell(t.db.told, ending, false)
	_, span := begin(ctx, ending, true)
	err := t.queryer.(*sql.Tx).Commit() //nolint:forcetypeassert // begin has begun it
	end(span, err)
	if err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// rollbackPatience is how long a Postgres may take to hear that a transaction is given up; its connection is given up then.
const rollbackPatience = 5 * time.Second

// end gives the connection back, and the transaction up if it was not committed.
func (t *transaction) end() {
	if tx, ok := t.queryer.(*sql.Tx); ok {
		_ = tx.Rollback() // after a commit it does nothing
	} else {
		_ = t.conn.Raw(func(driver any) error { return giveUp(driver.(*stdlib.Conn).Conn().PgConn()) }) //nolint:forcetypeassert // openPostgres opens no other
	}
	_ = t.conn.Close()
}

func giveUp(c *pgconn.PgConn) error {
	if c.IsClosed() || c.TxStatus() == 'I' {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), rollbackPatience)
	defer cancel()
	if _, err := c.Exec(ctx, "ROLLBACK").ReadAll(); err != nil {
		return driver.ErrBadConn // the pool closes it
	}
	return nil
}

// later queues writes, in their order. On SQLite, where nothing is far away, they are carried out at once. Any error is of them
// or of earlier ones.
func (t *transaction) later(ctx context.Context, ws ...write) error {
	t.queued = append(t.queued, ws...)
	if t.db.sqlite {
		return t.flush(ctx)
	}
	return t.failed
}

// flush sends what is queued.
func (t *transaction) flush(ctx context.Context) error {
	if !t.db.sqlite {
		return t.send(ctx, false)
	}
	ws := t.queued
	t.queued = nil
	for _, w := range ws {
		if t.failed != nil {
			break
		}
		t.failed = w.carryOut(ctx, t)
	}
	return t.failed
}

// send sends a Postgres what is queued, and with it the commit if that is all, in one round trip. The first write that did not do
// what it must decides: the server carries out nothing behind it.
func (t *transaction) send(ctx context.Context, last bool) error {
	ws := t.queued
	t.queued = nil
	if t.failed != nil || len(ws) == 0 && (!last || !t.begun) {
		return t.failed
	}
	b := batch{conn: t.conn, told: t.db.told, alone: last && !t.begun} // which the server makes a transaction
	if !b.alone {
		t.first(&b)
	}
	for _, w := range ws {
		b.add(w.q, w.must(), w.args, func(answers pgx.BatchResults) error {
			tag, err := answers.Exec()
			return w.said(tag.RowsAffected(), err)
		})
	}
	if last && t.begun {
		b.add(ending, ending, nil, func(answers pgx.BatchResults) error {
			tag, err := answers.Exec()
			if err == nil && tag.String() != ending {
				err = fmt.Errorf("the database answered %s", tag)
			}
			if err != nil {
				return fmt.Errorf("commit: %w", err)
			}
			return nil
		})
	}
	t.failed = b.send(ctx)
	return t.failed
}

// first puts the transaction's beginning before a batch, if it has not begun.
func (t *transaction) first(b *batch) {
	if t.begun {
		return
	}
	b.add(beginning, beginning, nil, func(answers pgx.BatchResults) error {
		if _, err := answers.Exec(); err != nil {
			return fmt.Errorf("begin: %w", err)
		}
		t.begun = true
		return nil
	})
}

// reads carries out queries in their order, each of which sees what was committed before it, on Postgres in one round trip.
func (d *database) reads(ctx context.Context, rs ...read) error {
	conn, err := d.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // also where a row's taker panics
	return d.ask(ctx, conn, batch{conn: conn, told: d.told, alone: true}, rs)
}

// together carries out statements in their order in one transaction, on Postgres in one round trip. What they write stays written
// though a row of their answers can't be read.
func (d *database) together(ctx context.Context, rs ...read) error {
	if !d.sqlite {
		return d.reads(ctx, rs...)
	}
	var unread error
	for n := range rs {
		each := rs[n].row
		rs[n].row = func(r row) error {
			unread = errors.Join(unread, each(r))
			return nil
		}
	}
	err := d.tx(ctx, func(tx *transaction) error { return tx.reads(ctx, rs...) })
	return errors.Join(err, unread)
}

// reads does so within the transaction.
func (t *transaction) reads(ctx context.Context, rs ...read) error {
	if err := t.flush(ctx); err != nil {
		return err
	}
	b := batch{conn: t.conn, told: t.db.told}
	if !t.db.sqlite {
		t.first(&b)
	}
	return t.db.ask(ctx, t.queryer, b, rs)
}

func (d *database) ask(ctx context.Context, on queryer, b batch, rs []read) error {
	for _, r := range rs {
		if d.sqlite {
			tell(d.told, r.q, b.alone)
			if err := r.carryOut(ctx, on); err != nil {
				return err
			}
			continue
		}
		b.add(r.q, r.q, r.args, func(answers pgx.BatchResults) error {
			rows, err := answers.Query()
			if err != nil {
				return err
			}
			defer rows.Close()
			return r.each(rows)
		})
	}
	if d.sqlite {
		return nil
	}
	return b.send(ctx)
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

// batch are statements that a Postgres is sent in one round trip. Outside a transaction the server makes them one.
type batch struct {
	conn     *sql.Conn
	told     func(string, bool)
	alone    bool // whether it is outside a transaction
	texts    []string
	queued   pgx.Batch
	answered []func(pgx.BatchResults) error
}

// mostAtOnce is for how many statements there is room at once; few batches have more.
const mostAtOnce = 6

// add puts a statement at the end: what is told of it, its text, and what becomes of its answer.
func (b *batch) add(told, text string, args []any, answered func(pgx.BatchResults) error) {
	if b.texts == nil {
		b.texts, b.answered = make([]string, 0, mostAtOnce), make([]func(pgx.BatchResults) error, 0, mostAtOnce)
	}
	b.texts = append(b.texts, told)
	b.queued.Queue(text, args...)
	b.answered = append(b.answered, answered)
}

// send sends it, and hands on the answers. The first error is the batch's.
func (b *batch) send(ctx context.Context) error {
	q := strings.Join(b.texts, ";\n")
	tell(b.told, q, b.alone)
	ctx, span := begin(ctx, q, false)
	var crash any
	err := b.conn.Raw(func(driver any) (err error) {
		answers := driver.(*stdlib.Conn).Conn().SendBatch(ctx, &b.queued) //nolint:forcetypeassert // openPostgres opens no other
		defer func() {
			crash = recover() // Raw would close the connection then, and wait for the transaction's end, for ever
			if err2 := answers.Close(); err == nil {
				err = err2
			}
		}()
		for _, answered := range b.answered {
			if err := answered(answers); err != nil {
				return err
			}
		}
		return nil
	})
	end(span, err)
	if crash != nil {
		panic(crash)
	}
	return err
}

// Any other statement of a transaction is behind what is queued. A write that fails there is told by the commit.

func (t *transaction) QueryRowContext(ctx context.Context, q string, args ...any) *sql.Row {
	if t.before(ctx) != nil { // the row must bear an error, and nothing be carried out outside the transaction
		gone, cancel := context.WithCancel(ctx)
		cancel()
		return t.queryer.QueryRowContext(gone, text(q, t.db.sqlite), args...)
	}
	tell(t.db.told, q, false)
	ctx, span := begin(ctx, q, t.db.sqlite)
	row := t.queryer.QueryRowContext(ctx, text(q, t.db.sqlite), args...)
	end(span, row.Err())
	return row
}

func (t *transaction) QueryContext(ctx context.Context, q string, args ...any) (*sql.Rows, error) {
	if err := t.before(ctx); err != nil {
		return nil, err
	}
	tell(t.db.told, q, false)
	ctx, span := begin(ctx, q, t.db.sqlite)
	rows, err := t.queryer.QueryContext(ctx, text(q, t.db.sqlite), args...)
	end(span, err)
	return rows, err
}

func (t *transaction) ExecContext(ctx context.Context, q string, args ...any) (sql.Result, error) {
	if err := t.before(ctx); err != nil {
		return nil, err
	}
	tell(t.db.told, q, false)
	ctx, span := begin(ctx, q, t.db.sqlite)
	r, err := t.queryer.ExecContext(ctx, text(q, t.db.sqlite), args...)
	end(span, err)
	return r, err
}

// before sends what must be there before a statement that is waited for.
func (t *transaction) before(ctx context.Context) error {
	if err := t.flush(ctx); err != nil || t.begun {
		return err
	}
	b := batch{conn: t.conn, told: t.db.told}
	t.first(&b)
	t.failed = b.send(ctx)
	return t.failed
}
