package ledger

import (
	"context"
	"errors"

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
