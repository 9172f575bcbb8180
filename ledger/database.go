package ledger

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/url"
	"path"
	"strings"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

//go:embed migrations/*.sql
var migrations embed.FS

// schema qualifies the tables in every statement. On Postgres they live in a schema of their own, named in full because a
// search_path is lost on the way through a transaction pooler; SQLite has no schemas, and is given the text without it.
const schema = "closeout."

// database is a connection pool to either kind of database. Its statements, and its transactions', are written as
// Postgres reads them.
type database struct {
	*sql.DB
	sqlite bool
	told   func(statement string, alone bool) // of each round trip; nil: nobody is
}

// tell is called before each round trip.
func tell(told func(string, bool), statement string, alone bool) {
	if told != nil {
		told(statement, alone)
	}
}

// forUpdate, at the end of a query, locks its rows for the rest of the transaction, and has those read as they are once they are
// locked. SQLite, whose transactions are one at a time, has no such words, and is given the text without them.
const forUpdate = " FOR NO KEY UPDATE"

func text(q string, sqlite bool) string {
	if sqlite {
		return strings.TrimSuffix(strings.ReplaceAll(q, schema, ""), forUpdate)
	}
	return q
}

func (d *database) QueryRowContext(ctx context.Context, q string, args ...any) *sql.Row {
	tell(d.told, q, true)
	ctx, span := begin(ctx, q, d.sqlite)
	row := d.DB.QueryRowContext(ctx, text(q, d.sqlite), args...)
	end(span, row.Err())
	return row
}

func (d *database) QueryContext(ctx context.Context, q string, args ...any) (*sql.Rows, error) {
	tell(d.told, q, true)
	ctx, span := begin(ctx, q, d.sqlite)
	rows, err := d.DB.QueryContext(ctx, text(q, d.sqlite), args...)
	end(span, err)
	return rows, err
}

func (d *database) ExecContext(ctx context.Context, q string, args ...any) (sql.Result, error) {
	tell(d.told, q, true)
	ctx, span := begin(ctx, q, d.sqlite)
	r, err := d.DB.ExecContext(ctx, text(q, d.sqlite), args...)
	end(span, err)
	return r, err
}

// openDatabase opens the pool that a ledger's URL names. No error repeats the URL: it may hold a password.
func openDatabase(ctx context.Context, u string) (*database, error) {
	if file := sqliteFile(u); file != "" {
		return openSQLite(file)
	}
	return openPostgres(ctx, u)
}

// sqliteFile is the path in a URL sqlite:PATH; "" for any other.
func sqliteFile(u string) string {
	file, found := strings.CutPrefix(u, "sqlite:")
	if !found {
		return ""
	}
	return file
}

func parsePostgres(u string) (*pgx.ConnConfig, error) {
	if !strings.HasPrefix(u, "postgres://") && !strings.HasPrefix(u, "postgresql://") {
		return nil, errors.New("database URL: want postgres://… or sqlite:PATH")
	}
	cfg, err := pgx.ParseConfig(u)
	if err != nil {
		return nil, errors.New("database URL: is no postgres:// URL that can be read; special characters in a password must be percent-encoded, and the files of sslrootcert, sslcert and sslkey readable")
	}
	return cfg, nil
}

func openSQLite(file string) (*database, error) {
	// immediate: a transaction that reads and then writes takes its lock at BEGIN, or busy_timeout is never asked.
	dsn := (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: file}).EscapedPath()}).String() +
		"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=busy_timeout(5000)&_pragma=foreign_keys(1)" +
		"&_txlock=immediate&_time_format=sqlite"
	c, err := newConnector(dsn)
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(1) // SQLite has one writer anyway; waiting in the pool is fairer than busy_timeout
	return &database{DB: db, sqlite: true}, nil
}

// postgresConns is how many connections one process holds at the most: a visit needs one at a time, and few of twenty
// visits at once are at the ledger.
const postgresConns = 16

// openPostgres opens a pool, and refuses a server on which a claim could be lost or the newest row not be seen.
func openPostgres(ctx context.Context, u string) (*database, error) {
	cfg, err := parsePostgres(u)
	if err != nil {
		return nil, err
	}
	db := stdlib.OpenDB(*cfg)
	db.SetMaxOpenConns(postgresConns)
	db.SetMaxIdleConns(postgresConns)
	db.SetConnMaxIdleTime(5 * time.Minute)
	db.SetConnMaxLifetime(time.Hour) // so that connections spread again after a failover
	var version int
	var commit, isolation string
	var replica bool
	err = db.QueryRowContext(ctx, "SELECT current_setting('server_version_num')::int, current_setting('synchronous_commit'), current_setting('default_transaction_isolation'), pg_is_in_recovery()").
		Scan(&version, &commit, &isolation, &replica)
	if err == nil && cfg.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement {
		err = tryPooler(ctx, db)
	}
	switch {
	case isPooler(err):
		err = errors.New("open ledger: a transaction pooler stands before this Postgres and does not know the statements that were prepared; add default_query_exec_mode=exec to the parameters of its URL")
	case err != nil:
		err = fmt.Errorf("open ledger: %w", err)
	case version < 150000:
		err = fmt.Errorf("open ledger: this Postgres is version %d; at least 15 is needed", version/10000)
	case replica:
		err = errors.New("open ledger: this Postgres is a read replica; the ledger needs the primary")
	case commit == "off":
		err = errors.New("open ledger: synchronous_commit is off, so that a claim could be forgotten after its money was sent; set it to on for this role")
	case isolation != "read committed":
		err = fmt.Errorf("open ledger: default_transaction_isolation is %s, so that a claim could overlook a hold; set it to read committed for this role", isolation)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return &database{DB: db}, nil
}

// tryPooler finds out whether a transaction pooler stands before the database that does not know what pgx prepares. One
// connection asks something twice, and meanwhile another keeps the server's connection that first answered.
func tryPooler(ctx context.Context, db *sql.DB) error {
	one, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = one.Close() }()
	var n int
	ask := func() error { return one.QueryRowContext(ctx, "SELECT 1").Scan(&n) }
	if err := ask(); err != nil {
		return err
	}
	other, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = other.Rollback() }()
	if err := other.QueryRowContext(ctx, "SELECT 2").Scan(&n); err != nil {
		return err
	}
	return ask()
}

// isPooler says whether an error is of a prepared statement that another connection has, or has not.
func isPooler(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (e.Code == "26000" || e.Code == "42P05")
}

// migrate brings the schema up to date and says from which version to which.
func (d *database) migrate(ctx context.Context) (from, to int64, err error) {
	dir, err := migrationsFor(d.sqlite)
	if err != nil {
		return 0, 0, err
	}
	if d.sqlite {
		from, to, err = d.migrateSQLite(ctx, dir)
	} else {
		from, to, err = d.migratePostgres(ctx, dir)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("migrate ledger: %w", err)
	}
	return from, to, nil
}

// migrationsFor are the migrations as one of the databases is given them: the text is one, but for those that end in the
// name of the database that they are for.
func migrationsFor(sqlite bool) (fs.FS, error) {
	other := "_sqlite.sql"
	if sqlite {
		other = "_postgres.sql"
	}
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	out := fstest.MapFS{}
	for _, name := range names {
		if strings.HasSuffix(name, other) {
			continue
		}
		b, err := fs.ReadFile(migrations, name)
		if err != nil {
			return nil, err
		}
		out[path.Base(name)] = &fstest.MapFile{Data: []byte(text(string(b), sqlite))}
	}
	return out, nil
}

// recent refuses a schema that is older than this program, and changes nothing: goose, asked for the version, would make its table.
func (d *database) recent(ctx context.Context) error {
	dir, err := migrationsFor(d.sqlite)
	if err != nil {
		return err
	}
	names, err := fs.Glob(dir, "*.sql") // sorted
	if err != nil {
		return err
	}
	needs, err := goose.NumericComponent(names[len(names)-1])
	if err != nil {
		return err
	}
	there := "SELECT to_regclass('closeout.goose_db_version') IS NOT NULL"
	if d.sqlite {
		there = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'goose_db_version')"
	}
	var made bool
	var version int64
	if err = d.DB.QueryRowContext(ctx, there).Scan(&made); err == nil && made {
		err = d.QueryRowContext(ctx, "SELECT coalesce(max(version_id), 0) FROM closeout.goose_db_version").Scan(&version)
	}
	if err != nil {
		return fmt.Errorf("read the ledger's schema: %w", err)
	}
	if version < needs {
		return fmt.Errorf("%w: version %d, and this program needs %d; run closeout migrate, or the closeout of the servers' version", ErrOldSchema, version, needs)
	}
	return nil
}

func up(ctx context.Context, p *goose.Provider) (from, to int64, err error) {
	if from, err = p.GetDBVersion(ctx); err != nil {
		return 0, 0, err
	}
	if _, err = p.Up(ctx); err != nil {
		return 0, 0, err
	}
	to, err = p.GetDBVersion(ctx)
	return from, to, err
}

func (d *database) migrateSQLite(ctx context.Context, dir fs.FS) (from, to int64, err error) {
	names, err := fs.Glob(dir, "*.sql")
	if err != nil {
		return 0, 0, err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, d.DB, dir)
	if err != nil {
		return 0, 0, err
	}
	// Processes that start together migrate together. One that comes second at a migration fails, and asks again what is
	// left to do: at most once for each migration, and once for goose's own table. The question after those is answered.
	for range len(names) + 2 {
		if from, to, err = up(ctx, p); err == nil {
			return from, to, nil
		}
	}
	return 0, 0, err
}

// migrationLock is the key of the advisory lock under which one process at a time migrates; any number will do.
const migrationLock = 0x636c6f73656f7574

// migratePostgres migrates under a lock that a transaction of its own holds: unlike a session's, it is safe behind a
// transaction pooler and ends with its connection.
func (d *database) migratePostgres(ctx context.Context, dir fs.FS) (from, to int64, err error) {
	lock, err := d.migrationTurn(ctx)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = lock.Rollback() }() // nothing was written in it
	var there bool
	if err := d.QueryRowContext(ctx, "SELECT to_regnamespace('closeout') IS NOT NULL").Scan(&there); err != nil {
		return 0, 0, err
	}
	if !there { // asked first: a role that may use the schema need not be one that may make it
		if _, err := d.ExecContext(ctx, "CREATE SCHEMA closeout"); err != nil {
			return 0, 0, err
		}
	}
	p, err := goose.NewProvider(goose.DialectPostgres, d.DB, dir, goose.WithTableName(schema+"goose_db_version"))
	if err != nil {
		return 0, 0, err
	}
	return up(ctx, p)
}

// migrationTurn waits for the lock without holding a transaction: behind a pooler, those who wait could otherwise hold
// every connection that the one who migrates needs.
func (d *database) migrationTurn(ctx context.Context) (*sql.Tx, error) {
	for {
		tx, err := d.BeginTx(ctx, nil)
		if err != nil {
			return nil, err
		}
		var mine bool
		err = tx.QueryRowContext(ctx, "SELECT pg_try_advisory_xact_lock($1)", int64(migrationLock)).Scan(&mine)
		if err == nil && mine {
			return tx, nil
		}
		if err := errors.Join(err, tx.Rollback()); err != nil {
			return nil, err
		}
		t := time.NewTimer(100*time.Millisecond + rand.N(100*time.Millisecond))
		select {
		case <-ctx.Done():
			t.Stop()
			return nil, ctx.Err()
		case <-t.C:
		}
	}
}

// isUnique says whether the database refused a row because a unique index has its like.
func isUnique(err error) bool {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code == "23505"
	}
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || e.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY
	}
	return false
}
