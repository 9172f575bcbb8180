// Package ledger is the system of record: closures, their chained events, the intents behind every effect, and the
// notices to customers. Each public method owns one transaction; the private functions own the SQL. The same SQL text
// runs on Postgres and on SQLite. It decides nothing about a closure: it asks closure.Apply and writes what that says.
package ledger

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"

	"closeout/closure"
)

var (
	// ErrNotFound says that there is no such row in this environment.
	ErrNotFound = errors.New("not found")
	// ErrStale says that the row has moved since it was read: somebody else's visit or command won.
	ErrStale = errors.New("the closure has moved on")
	// ErrTaken is an ErrStale: one of the broker's transfers belongs to another intent.
	ErrTaken = fmt.Errorf("%w: another intent has this transfer", ErrStale)
	// ErrOldSchema says that the ledger's schema is older than this program needs.
	ErrOldSchema = errors.New("the ledger's schema is too old")
)

// Options says which ledger to open.
type Options struct {
	URL         string // sqlite:PATH or postgres://…
	Environment closure.Environment
	Policy      closure.Policy
	Clock       closure.Clock
	// AccountStatus, if set, is the application's own column that says what an account's state is; Postgres alone.
	AccountStatus *AccountStatus
	// AsIs leaves the schema as it is, for whoever only looks, or stands beside servers of another version. ErrOldSchema: it is
	// older than this program. A newer one is read: migrations only add, until nothing reads what they replace.
	AsIs bool
	// Told is told of each round trip to the database: its statement, and whether that stands alone or within a transaction, whose
	// BEGIN and COMMIT are told too. Nil: nobody is.
	Told func(statement string, alone bool)
}

// Ledger is an open ledger, safe for use by many goroutines.
type Ledger struct {
	db     *database
	env    closure.Environment
	policy closure.Policy
	clock  closure.Clock
	status *statusColumn // nil: none is kept
}

// Open opens the ledger and brings its schema up to date, unless Options.AsIs. Any number of processes may do so at once.
func Open(ctx context.Context, o Options) (*Ledger, error) {
	db, err := openDatabase(ctx, o.URL)
	if err != nil {
		return nil, err
	}
	db.told = o.Told
	l := &Ledger{db: db, env: o.Environment, policy: o.Policy, clock: o.Clock}
	if o.AsIs {
		err = db.recent(ctx)
	} else {
		_, _, err = db.migrate(ctx)
	}
	if err == nil && o.AccountStatus != nil {
		l.status, err = o.AccountStatus.find(ctx, db)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return l, nil
}

// Migrate brings the schema of a ledger up to date and says from which version to which.
func Migrate(ctx context.Context, url string) (from, to int64, err error) {
	db, err := openDatabase(ctx, url)
	if err != nil {
		return 0, 0, err
	}
	from, to, err = db.migrate(ctx)
	return from, to, errors.Join(err, db.Close())
}

// Close closes the ledger.
func (l *Ledger) Close() error { return l.db.Close() }

// Ping says whether the ledger answers.
func (l *Ledger) Ping(ctx context.Context) error { return l.db.PingContext(ctx) }

// Pool says how the connections to the database do.
func (l *Ledger) Pool() sql.DBStats { return l.db.Stats() }

// Environment is the one that this ledger serves; rows of the other are refused.
func (l *Ledger) Environment() closure.Environment { return l.env }

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
