package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// thread is a closure's row and its stored events, checked one after the other. Whatever a column holds is taken: what can't be
// read is damage like any other, and must not hide what comes after it.
type thread struct {
	id           string
	count        any // as the row keeps it
	head         string
	phase, state string

	read  int64 // events, whatever was wrong with them
	n     int64 // that followed
	last  Event
	hash  string // of the last
	ended Event  // by which the closure came to the end that it is at; the zero event: it is at none
	bad   *ChainError
}

// stored is an event's row as it was found.
type stored struct {
	seq, at                    any
	kind, body, prevHash, hash sql.NullString
}

// next reads the event that must follow; false: it does not, or none of before did.
func (t *thread) next(s stored) (ev Event, follows bool) {
	t.read++
	if t.bad != nil {
		return ev, false
	}
	var at ts
	seq, numbered := s.seq.(int64)
	broken := func(seq int64, why string) { t.bad = &ChainError{t.id, seq, why} }
	switch {
	case !numbered:
		broken(t.n+1, "its number is not readable")
	case json.Unmarshal([]byte(s.body.String), &ev) != nil:
		broken(seq, "its body is not readable")
	case seq != t.n+1:
		broken(t.n+1, "it is missing")
	case s.prevHash.String != t.hash:
		broken(seq, "the hash that it was linked to is not that of the entry before it")
	case chainHash(t.hash, []byte(s.body.String)) != s.hash.String:
		broken(seq, "its body is not the one that its hash was made of")
	case at.Scan(s.at) != nil || ev.Seq != seq || ev.ClosureID != t.id || ev.Kind != s.kind.String || !ev.At.Equal(time.Time(at)):
		broken(seq, "its columns and its body disagree")
	default:
		t.n, t.last, t.hash = seq, ev, s.hash.String
		if !ev.State.Ended() {
			t.ended = Event{}
		} else if t.ended.Seq == 0 {
			t.ended = ev
		}
		return ev, true
	}
	return ev, false
}

// end holds the last event to what the row says.
func (t *thread) end() {
	if t.bad != nil {
		return
	}
	count, counted := t.count.(int64)
	broken := func(seq int64, why string) { t.bad = &ChainError{t.id, seq, why} }
	switch {
	case t.n == 0:
		broken(1, "it is missing")
	case !counted:
		broken(t.n, "the row's count of events is not readable")
	case t.n < count:
		broken(t.n+1, "it is missing at the end")
	case t.n > count:
		broken(count+1, "the row does not count it")
	case t.hash != t.head:
		broken(t.n, "its hash is not the one that the row keeps")
	case string(t.last.State) != t.state || string(t.last.Phase) != t.phase:
		broken(t.n, fmt.Sprintf("by it the closure is %s in %s, by its row %s in %s", t.last.State, t.last.Phase, t.state, t.phase))
	}
}

// walk goes along the histories of the closures c that a condition names, in the order of their ids. Whatever their length, no
// more than one event is in memory; one statement sees each row and its history as of one moment, on either database. event,
// if it is not nil, is told each event that follows from the one before, over each closure when its history was read.
func walk(ctx context.Context, q queryer, which string, args []any, event func(Event), over func(*thread)) error {
	// An infinite time is no time to Postgres's driver, which gives up the whole walk at it.
	rows, err := q.QueryContext(ctx, "SELECT c.id, c.seq, c.head_hash, c.phase, c.state, e.seq, NULLIF(NULLIF(e.at, 'infinity'), '-infinity'), e.kind, e.body, e.prev_hash, e.hash"+
		" FROM (SELECT c.id, c.seq, c.head_hash, c.phase, c.state FROM closeout.closures c WHERE "+which+") c"+
		" LEFT JOIN closeout.events e ON e.closure_id = c.id ORDER BY c.id, e.seq", args...)
	if err != nil {
		return fmt.Errorf("walk along the events: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var t *thread
	leave := func() {
		if t != nil {
			t.end()
			over(t)
		}
	}
	var row thread
	for rows.Next() {
		var e stored
		if err := rows.Scan(&row.id, &row.count, &row.head, &row.phase, &row.state, &e.seq, &e.at, &e.kind, &e.body, &e.prevHash, &e.hash); err != nil {
			return fmt.Errorf("walk along the events: %w", err)
		}
		if t == nil || row.id != t.id {
			leave()
			next := row
			t = &next
		}
		if e.seq == nil { // a closure without events
			continue
		}
		if ev, follows := t.next(e); follows && event != nil {
			event(ev)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("walk along the events: %w", err)
	}
	leave()
	return nil
}

// Verified is what a walk along the chains of events came to.
type Verified struct {
	Closures int
	Events   int64
	Broken   []ChainError // of each closure whose history is broken, where it first is; events of no closure among them
	Last     string       // the last closure that was walked along; empty: there was none
}

// Verify walks along the histories of up to limit closures of this environment, in the order of their ids, after the given
// one, and holds each closure's phase and state to its last event. Whatever their length, no more than one event is in memory;
// each closure is seen as of one moment. Events whose closure is gone are of no environment: either finds them.
func (l *Ledger) Verify(ctx context.Context, after string, limit int) (Verified, error) {
	var v Verified
	// The environment is written so that no index that begins with it is the way to the closures: they are read in the order of
	// their ids.
	err := walk(ctx, l.db, "c.environment || '' = $1 AND c.id > $2 ORDER BY c.id LIMIT $3", []any{string(l.env), after, limit}, nil, func(t *thread) {
		v.Closures, v.Events, v.Last = v.Closures+1, v.Events+t.read, t.id
		if t.bad != nil {
			v.Broken = append(v.Broken, *t.bad)
		}
	})
	if err != nil {
		return v, fmt.Errorf("verify: %w", err)
	}
	upTo := v.Last
	if v.Closures < limit {
		upTo = ""
	}
	orphans, err := l.orphans(ctx, after, upTo)
	if err != nil {
		return v, fmt.Errorf("verify: %w", err)
	}
	v.Broken = append(v.Broken, orphans...)
	return v, nil
}

// orphans are the first events of closures that are not there, between two ids; empty: to the end.
func (l *Ledger) orphans(ctx context.Context, after, upTo string) (out []ChainError, err error) {
	w := &where{}
	w.and("e.closure_id > ?", after)
	if upTo != "" {
		w.and("e.closure_id <= ?", upTo)
	}
	err = l.each(ctx, "look for events of no closure", func(rows *sql.Rows) error {
		var id string
		var seq any
		if err := rows.Scan(&id, &seq); err != nil {
			return err
		}
		n, _ := seq.(int64)
		out = append(out, ChainError{id, n, "there is no such closure"})
		return nil
	}, "SELECT e.closure_id, min(e.seq) FROM closeout.events e WHERE "+w.text.String()+
		" AND NOT EXISTS (SELECT 1 FROM closeout.closures c WHERE c.id = e.closure_id) GROUP BY e.closure_id ORDER BY e.closure_id", w.args...)
	return out, err
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
