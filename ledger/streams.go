package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"closeout/closure"
)

// Stream is how far one of the broker's event streams has been read.
type Stream struct {
	Topic   string
	Cursor  string    // "" before the first event
	HeardAt time.Time // machine time of the last sign of life; zero: never
}

// LeaseStream makes holder the one reader of a topic for d of machine time, if nobody else is, and says from where to read
// on. Whoever has the lease renews it by asking again. ErrStale: another process reads it.
func (l *Ledger) LeaseStream(ctx context.Context, topic, holder string, d time.Duration) (Stream, error) {
	now := time.Now()
	s := Stream{Topic: topic}
	err := l.db.QueryRowContext(ctx, "INSERT INTO closeout.streams AS s (environment, topic, cursor, holder, lease_until) VALUES ($1, $2, '', $3, $4)"+
		" ON CONFLICT (environment, topic) DO UPDATE SET holder = excluded.holder, lease_until = excluded.lease_until"+
		" WHERE s.holder = excluded.holder OR s.lease_until <= $5 RETURNING cursor, heard_at",
		string(l.env), topic, holder, ts(now.Add(d)), ts(now)).Scan(&s.Cursor, (*ts)(&s.HeardAt))
	if errors.Is(err, sql.ErrNoRows) {
		return s, ErrStale
	}
	if err != nil {
		return s, fmt.Errorf("lease stream %s: %w", topic, err)
	}
	return s, nil
}

// KeepStream writes down how far the topic's reader has come. ErrStale: it is the reader no more, and nothing was written.
func (l *Ledger) KeepStream(ctx context.Context, holder string, s Stream) error {
	return one(l.db.ExecContext(ctx, "UPDATE closeout.streams SET cursor = $1, heard_at = $2 WHERE environment = $3 AND topic = $4 AND holder = $5",
		plain(s.Cursor), ts(s.HeardAt), string(l.env), s.Topic, holder))
}

// ReleaseStream ends a lease, so that another process can take over at once. It is no error to have none.
func (l *Ledger) ReleaseStream(ctx context.Context, topic, holder string) error {
	_, err := l.db.ExecContext(ctx, "UPDATE closeout.streams SET lease_until = $1 WHERE environment = $2 AND topic = $3 AND holder = $4",
		ts(time.Now()), string(l.env), topic, holder)
	return err
}

// Streams are those that some process has ever read in this environment.
func (l *Ledger) Streams(ctx context.Context) ([]Stream, error) {
	rows, err := l.db.QueryContext(ctx, "SELECT topic, cursor, heard_at FROM closeout.streams WHERE environment = $1 ORDER BY topic", string(l.env))
	if err != nil {
		return nil, fmt.Errorf("read streams: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var out []Stream
	for rows.Next() {
		var s Stream
		if err := rows.Scan(&s.Topic, &s.Cursor, (*ts)(&s.HeardAt)); err != nil {
			return nil, fmt.Errorf("read streams: %w", err)
		}
		out = append(out, s)
	}
	return out, rows.Err()
}

// Hasten makes the waiting visit of an account's closure due now; see closure.Hastened. moved is false where that changes
// nothing: the account has no closure that is running, or its visit is due already. For an account without a closure this is
// one read by an index.
func (l *Ledger) Hasten(ctx context.Context, account string) (c closure.Closure, moved bool, err error) {
	if c, err = l.open(ctx, account); err != nil {
		if errors.Is(err, ErrNotFound) {
			return c, false, nil
		}
		return c, false, err
	}
	ch := closure.Hastened(l.clock.Now())
	next, _, err := closure.Apply(c, ch, l.policy)
	if errors.Is(err, closure.ErrNotRunning) || err == nil && next.Version == c.Version && next.WokenAt.Equal(c.WokenAt) {
		return c, false, nil // stopped, due soon enough, or marked: nothing that could be written
	}
	if err != nil {
		return c, false, err
	}
	err = l.tx(ctx, func(tx *transaction) error {
		now, err := l.lock(ctx, tx, c.ID)
		if err != nil {
			return err
		}
		if next, _, err = closure.Apply(now, ch, l.policy); err != nil {
			return err
		}
		moved = next.Version != now.Version
		return l.put(ctx, tx, now, &next)
	})
	if errors.Is(err, closure.ErrNotRunning) {
		return c, false, nil
	}
	if err != nil {
		return c, false, fmt.Errorf("hasten: %w", err)
	}
	return next, moved, nil
}

// PutOff returns up to limit running closures that wait longer because events are heard, and whose look would otherwise be
// due by a business time. Those that are due now are left out: they are visited anyway.
func (l *Ledger) PutOff(ctx context.Context, now, by time.Time, limit int) ([]closure.Closure, error) {
	return l.list(ctx, "list looks that were put off", "SELECT "+closureColumns+" FROM closeout.closures"+
		" WHERE state = 'running' AND look_by IS NOT NULL AND environment = $1 AND look_by < $2 AND due_at > $3 ORDER BY look_by, id LIMIT $4",
		string(l.env), ts(by), ts(now), limit)
}

func (l *Ledger) list(ctx context.Context, what, query string, args ...any) ([]closure.Closure, error) {
	rows, err := l.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	defer func() { _ = rows.Close() }()
	var out []closure.Closure
	for rows.Next() {
		c, err := l.scan(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, rows.Err()
}
