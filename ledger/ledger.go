// Package ledger is the system of record: closures, their chained events, the intents behind every effect, and the
// notices to customers. Each public method owns one transaction; the private functions own the SQL. The same SQL text
// runs on SQLite and on Postgres. It decides nothing about a closure: it asks closure.Apply and writes what that says.
package ledger

import (
	"context"
	"crypto/rand"
	"database/sql"
	"database/sql/driver"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strings"
	"time"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"closeout/closure"
)

//go:embed migrations/*.sql
var migrations embed.FS

var (
	// ErrNotFound says that there is no such row in this environment.
	ErrNotFound = errors.New("not found")
	// ErrStale says that the row has moved since it was read: somebody else's visit or command won.
	ErrStale = errors.New("the closure has moved on")
)

// Options says which ledger to open.
type Options struct {
	URL         string // sqlite:PATH
	Environment closure.Environment
	Policy      closure.Policy
	Clock       closure.Clock
}

// Ledger is an open ledger, safe for use by many goroutines.
type Ledger struct {
	db     *sql.DB
	env    closure.Environment
	policy closure.Policy
	clock  closure.Clock
}

// Open opens the ledger and brings its schema up to date.
func Open(ctx context.Context, o Options) (*Ledger, error) {
	path, ok := strings.CutPrefix(o.URL, "sqlite:")
	if !ok || path == "" {
		return nil, fmt.Errorf("database URL: want sqlite:PATH, got a URL with the scheme %q", scheme(o.URL))
	}
	// immediate: a transaction that reads and then writes takes its lock at BEGIN, or busy_timeout is never asked.
	dsn := (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath()}).String() +
		"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=busy_timeout(5000)&_pragma=foreign_keys(1)" +
		"&_txlock=immediate&_time_format=sqlite"
	c, err := newConnector(dsn)
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(1) // SQLite has one writer anyway; waiting in the pool is fairer than busy_timeout
	l := &Ledger{db: db, env: o.Environment, policy: o.Policy, clock: o.Clock}
	if err := l.migrate(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return l, nil
}

func scheme(u string) string {
	s, _, _ := strings.Cut(u, ":")
	return s
}

func (l *Ledger) migrate(ctx context.Context) error {
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, l.db, dir)
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	// Processes that start together migrate together. One that comes second at a migration fails, and asks again what is
	// left to do: at most once for each migration, and once for goose's own table.
	for range len(p.ListSources()) + 1 {
		if _, err = p.Up(ctx); err == nil {
			return nil
		}
	}
	return fmt.Errorf("migrate ledger: %w", err)
}

// Close closes the ledger.
func (l *Ledger) Close() error { return l.db.Close() }

// Ping says whether the ledger answers.
func (l *Ledger) Ping(ctx context.Context) error { return l.db.PingContext(ctx) }

// Environment is the one that this ledger serves; rows of the other are refused.
func (l *Ledger) Environment() closure.Environment { return l.env }

// tx runs fn in one transaction. An error of the commit itself means that nobody knows whether it took place.
func (l *Ledger) tx(ctx context.Context, fn func(tx *sql.Tx) error) error {
	tx, err := l.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	if err := fn(tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// isUnique says whether the database refused a row because a unique index has its like.
func isUnique(err error) bool {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || e.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY
	}
	return false
}

// one turns the count of changed rows into ErrStale when a compare-and-set changed none.
func one(r sql.Result, err error) error {
	if err != nil {
		return err
	}
	n, err := r.RowsAffected()
	if err != nil {
		return err
	}
	if n != 1 {
		return ErrStale
	}
	return nil
}

func newToken() string {
	b := make([]byte, 6)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// ts carries a time to and from both databases: UTC, cut to microseconds, NULL for the zero time. SQLite hands
// TIMESTAMPTZ back as text.
type ts time.Time

const tsLayout = "2006-01-02 15:04:05.999999999-07:00"

// Value implements driver.Valuer.
func (t ts) Value() (driver.Value, error) {
	v := time.Time(t)
	if v.IsZero() {
		return nil, nil
	}
	return v.Round(0).UTC().Truncate(time.Microsecond), nil
}

// Scan implements sql.Scanner.
func (t *ts) Scan(v any) error {
	switch v := v.(type) {
	case nil:
		*t = ts{}
	case time.Time:
		*t = ts(v.UTC())
	case string:
		p, err := time.Parse(tsLayout, v)
		if err != nil {
			return fmt.Errorf("read a time: %w", err)
		}
		*t = ts(p.UTC())
	default:
		return fmt.Errorf("read a time: unexpected %T", v)
	}
	return nil
}
