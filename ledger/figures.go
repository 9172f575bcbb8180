package ledger

import (
	"context"
	"fmt"
	"time"

	"closeout/closure"
)

// Figures are how the ledger itself does, for people to see.
type Figures struct {
	Database string // SQLite or Postgres, with its version
	Bytes    int64  // of the tables and their indexes; of SQLite: of the file

	Due      int       // running closures whose visit is due, up to MostCounted
	DueSince time.Time // business time for which the oldest of them has been due; zero: none is

	LettersOwed   int       // up to MostCounted
	OwedSince     time.Time // business; zero: none is owed
	LettersFailed int       // given up, up to MostCounted

	FeedSafe, FeedWritten Cursor // how far the feed of events can be read, and how far it is written
	Streams               []Stream
}

// MostCounted is where counting ends: one more means more.
const MostCounted = 10_000

// Figures reads them, by a few queries that are answered by indexes.
func (l *Ledger) Figures(ctx context.Context) (Figures, error) {
	var f Figures
	env, now := string(l.env), ts(l.clock.Now())
	// The environment stands on the closure alone, which a letter's is found by its key.
	of := "(SELECT c.environment FROM closeout.closures c WHERE c.id = n.closure_id) = $"
	q := "SELECT" +
		" (SELECT count(*) FROM (SELECT 1 FROM closeout.closures WHERE environment = $1 AND state = 'running' AND due_at <= $2 LIMIT 10001) d)," +
		" (SELECT min(due_at) FROM closeout.closures WHERE environment = $3 AND state = 'running' AND due_at <= $4)," +
		" (SELECT count(*) FROM (SELECT 1 FROM closeout.notices n WHERE n.state = 'due' AND " + of + "5 LIMIT 10001) o)," +
		" (SELECT min(n.created_at) FROM closeout.notices n WHERE n.state = 'due' AND " + of + "6)," +
		" (SELECT count(*) FROM (SELECT 1 FROM closeout.notices n WHERE n.state = 'failed' AND " + of + "7 LIMIT 10001) g)"
	err := l.db.QueryRowContext(ctx, q, env, now, env, now, env, env, env).
		Scan(&f.Due, (*ts)(&f.DueSince), &f.LettersOwed, (*ts)(&f.OwedSince), &f.LettersFailed)
	if err != nil {
		return f, fmt.Errorf("count what is due: %w", err)
	}
	if f.FeedSafe, f.FeedWritten, err = l.FeedEnd(ctx); err != nil {
		return f, err
	}
	if f.Streams, err = l.Streams(ctx); err != nil {
		return f, err
	}
	q = "SELECT 'Postgres ' || current_setting('server_version'), (SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c" +
		" JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'closeout' AND c.relkind = 'r')"
	if l.db.sqlite {
		q = "SELECT 'SQLite ' || sqlite_version(), (SELECT p.page_count * s.page_size FROM pragma_page_count() p, pragma_page_size() s)"
	}
	if err := l.db.QueryRowContext(ctx, q).Scan(&f.Database, &f.Bytes); err != nil {
		return f, fmt.Errorf("ask for the ledger's size: %w", err)
	}
	return f, nil
}

// Astray says whether this environment has no closure while the other has: most likely the wrong one was named.
func (l *Ledger) Astray(ctx context.Context) (astray bool, err error) {
	other := closure.Live
	if l.env == closure.Live {
		other = closure.Sandbox
	}
	err = l.db.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM closeout.closures WHERE environment = $1) AND NOT EXISTS (SELECT 1 FROM closeout.closures WHERE environment = $2)",
		string(other), string(l.env)).Scan(&astray)
	if err != nil {
		err = fmt.Errorf("look whether there are closures: %w", err)
	}
	return astray, err
}

// HoldReach says how many closures are running, and how many of them wait for a hold: whom a hold stops, and whom its end wakes.
func (l *Ledger) HoldReach(ctx context.Context) (running, waiting int, err error) {
	err = l.db.QueryRowContext(ctx, "SELECT (SELECT count(*) FROM closeout.closures WHERE environment = $1 AND state = 'running'),"+
		" (SELECT count(*) FROM closeout.closures WHERE environment = $2 AND reason = 'service_held' AND state = 'running')", string(l.env), string(l.env)).
		Scan(&running, &waiting)
	if err != nil {
		err = fmt.Errorf("count whom a hold reaches: %w", err)
	}
	return running, waiting, err
}
