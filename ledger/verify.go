package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// thread checks a closure's stored events, one after the other.
type thread struct {
	id   string
	n    int64  // how many there were
	head string // hash of the last
}

// next reads the entry that must follow.
func (c *thread) next(e entry) (Event, *ChainError) {
	var ev Event
	if err := json.Unmarshal([]byte(e.body), &ev); err != nil {
		return ev, &ChainError{c.id, e.seq, "its body is not readable"}
	}
	switch {
	case e.seq != c.n+1:
		return ev, &ChainError{c.id, c.n + 1, "it is missing"}
	case e.prevHash != c.head:
		return ev, &ChainError{c.id, e.seq, "the hash that it was linked to is not that of the entry before it"}
	case chainHash(c.head, []byte(e.body)) != e.hashed:
		return ev, &ChainError{c.id, e.seq, "its body is not the one that its hash was made of"}
	case ev.Seq != e.seq || ev.ClosureID != c.id || ev.Kind != e.kind || !ev.At.Equal(time.Time(e.at)):
		return ev, &ChainError{c.id, e.seq, "its columns and its body disagree"}
	}
	c.n, c.head = e.seq, e.hashed
	return ev, nil
}

// end holds the last entry to what the row keeps.
func (c *thread) end(count int64, head string) *ChainError {
	switch {
	case c.n == 0:
		return &ChainError{c.id, 1, "it is missing"}
	case c.n < count:
		return &ChainError{c.id, c.n + 1, "it is missing at the end"}
	case c.n > count:
		return &ChainError{c.id, count + 1, "the row does not count it"}
	case c.head != head:
		return &ChainError{c.id, c.n, "its hash is not the one that the row keeps"}
	}
	return nil
}

// Verified is what a walk along the chains of events came to.
type Verified struct {
	Closures int
	Events   int64
	Broken   []ChainError // of each closure whose history is broken, where it first is
	Last     string       // the last closure that was walked along; empty: there was none
}

// Verify walks along the histories of up to limit closures of this environment, in the order of their ids, after the given
// one. Whatever their length, no more than one event is in memory; each closure is seen as of one moment.
func (l *Ledger) Verify(ctx context.Context, after string, limit int) (Verified, error) {
	var v Verified
	var walk thread
	var count int64
	var head string
	broken := false
	leave := func() {
		if walk.id == "" || broken {
			return
		}
		if bad := walk.end(count, head); bad != nil {
			v.Broken = append(v.Broken, *bad)
		}
	}
	// The environment is written so that no index that begins with it is the way to the closures: they are read in the order of
	// their ids.
	err := l.each(ctx, "walk along the events", func(rows *sql.Rows) error {
		var id, theHead string
		var theCount int64
		var e entry
		var seq sql.NullInt64
		var kind, body, prev, hash sql.NullString
		if err := rows.Scan(&id, &theCount, &theHead, &seq, &e.at, &kind, &body, &prev, &hash); err != nil {
			return err
		}
		if id != walk.id {
			leave()
			walk, count, head, broken = thread{id: id}, theCount, theHead, false
			v.Closures++
			v.Last = id
		}
		if !seq.Valid { // a closure without events
			return nil
		}
		v.Events++
		if broken {
			return nil
		}
		e.seq, e.kind, e.body, e.prevHash, e.hashed = seq.Int64, kind.String, body.String, prev.String, hash.String
		if _, bad := walk.next(e); bad != nil {
			v.Broken, broken = append(v.Broken, *bad), true
		}
		return nil
	}, "SELECT c.id, c.seq, c.head_hash, e.seq, e.at, e.kind, e.body, e.prev_hash, e.hash"+
		" FROM (SELECT id, seq, head_hash FROM closeout.closures WHERE environment || '' = $1 AND id > $2 ORDER BY id LIMIT $3) c"+
		" LEFT JOIN closeout.events e ON e.closure_id = c.id ORDER BY c.id, e.seq", string(l.env), after, limit)
	if err != nil {
		return v, fmt.Errorf("verify: %w", err)
	}
	leave()
	return v, nil
}

// Histories says how many closures there are to verify.
func (l *Ledger) Histories(ctx context.Context) (closures int, err error) {
	err = l.db.QueryRowContext(ctx, "SELECT count(*) FROM closeout.closures WHERE environment = $1", string(l.env)).Scan(&closures)
	if err != nil {
		return 0, fmt.Errorf("count the closures: %w", err)
	}
	return closures, nil
}

// HistoryAt is the id of the closure that so many come before in the order in which Verify walks; empty: there is none.
func (l *Ledger) HistoryAt(ctx context.Context, n int) (id string, err error) {
	err = l.db.QueryRowContext(ctx, "SELECT id FROM closeout.closures WHERE environment || '' = $1 ORDER BY id LIMIT 1 OFFSET $2", string(l.env), n).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look for a place to begin at: %w", err)
	}
	return id, nil
}
