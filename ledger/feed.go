package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"closeout/closure"
)

// Cursor is a place in the feed of all closures' events: that of the last event that was read. The zero value is the
// beginning. It is for the processes on one ledger; what a client is given is an event's ID.
type Cursor int64

// Told is an event as the feed tells it.
type Told struct {
	Event
	Cursor       Cursor
	AccountID    string
	Confirmation string
	Now          *Standing // how the closure stands; nil if the event is not its last any more

	hash string
}

// Standing is how a closure stands after its last event.
type Standing struct {
	Reason closure.Reason
	Why    string
	Who    closure.Who
	DueAt  time.Time // zero: it does not run
}

// hashed is how much of an event's hash its ID holds: enough to notice that a ledger was restored and went on otherwise.
const hashed = 8

// ID names the event to clients, who come back with it to any server: FeedAt knows its place. It is the closure's id, the
// event's number and the beginning of its hash.
func (t Told) ID() string {
	return t.ClosureID + "." + strconv.FormatInt(t.Seq, 10) + "." + t.hash[:min(hashed, len(t.hash))]
}

const toldColumns = "e.feed, e.closure_id, e.seq, e.at, e.kind, e.body, e.hash, c.environment, c.account_id, c.confirmation, c.seq, c.reason, c.why, c.who, c.due_at" +
	" FROM closeout.events e JOIN closeout.closures c ON c.id = e.closure_id"

// Feed returns the events of all closures after a cursor, in one order for all processes, which keeps each closure's own:
// nothing ever appears before what somebody has read. It looks at up to limit events and returns those of this environment,
// and the cursor to go on from. Where that has not moved, there is nothing more for now.
func (l *Ledger) Feed(ctx context.Context, after Cursor, limit int) ([]Told, Cursor, error) {
	safe, _, err := l.FeedEnd(ctx)
	if err != nil || safe <= after {
		return nil, after, err
	}
	return l.told(ctx, after, "SELECT "+toldColumns+" WHERE e.feed > $1 AND e.feed <= $2 ORDER BY e.feed LIMIT $3", int64(after), int64(safe), limit)
}

// FeedOf is Feed for the closures of one account.
func (l *Ledger) FeedOf(ctx context.Context, account string, after Cursor, limit int) ([]Told, Cursor, error) {
	safe, _, err := l.FeedEnd(ctx)
	if err != nil || safe <= after {
		return nil, after, err
	}
	// + 0: from the account's few closures, and never along the whole feed until enough of them are found.
	return l.told(ctx, after, "SELECT "+toldColumns+" WHERE c.environment = $1 AND c.account_id = $2 AND e.feed + 0 > $3 AND e.feed + 0 <= $4 ORDER BY e.feed + 0 LIMIT $5",
		string(l.env), account, int64(after), int64(safe), limit)
}

// FeedEnd says how far the feed can be read now, and how far it is written by transactions that have perhaps not ended.
func (l *Ledger) FeedEnd(ctx context.Context) (safe, written Cursor, err error) {
	q := "SELECT safe, taken FROM closeout.feed_end()"
	if l.db.sqlite { // its one writer is seen when it is done
		q = "SELECT coalesce(max(feed), 1), coalesce(max(feed), 1) FROM closeout.events"
	}
	if err := l.db.QueryRowContext(ctx, q).Scan(&safe, &written); err != nil {
		return 0, 0, fmt.Errorf("read the feed's end: %w", err)
	}
	return safe, written, nil
}

// FeedAt is the place of the event that an ID names, and whose it is. ErrNotFound: no event of this ledger has that ID.
func (l *Ledger) FeedAt(ctx context.Context, id string) (at Cursor, account string, err error) {
	part := strings.Split(id, ".")
	if len(part) != 3 || len(part[2]) != hashed {
		return 0, "", ErrNotFound
	}
	seq, err := strconv.ParseInt(part[1], 10, 64)
	if err != nil || strconv.FormatInt(seq, 10) != part[1] || plain(id) != id {
		return 0, "", ErrNotFound
	}
	var hash string
	err = l.db.QueryRowContext(ctx, "SELECT e.feed, e.hash, c.account_id FROM closeout.events e JOIN closeout.closures c ON c.id = e.closure_id"+
		" WHERE e.closure_id = $1 AND e.seq = $2 AND c.environment = $3", part[0], seq, string(l.env)).Scan(&at, &hash, &account)
	switch {
	case errors.Is(err, sql.ErrNoRows), err == nil && !strings.HasPrefix(hash, part[2]):
		return 0, "", ErrNotFound
	case err != nil:
		return 0, "", fmt.Errorf("look up an event: %w", err)
	}
	return at, account, nil
}

// FeedLast is the last event of the feed up to a place. ErrNotFound: there is none.
func (l *Ledger) FeedLast(ctx context.Context, upTo Cursor) (Told, error) {
	t, _, err := scanTold(l.db.QueryRowContext(ctx, "SELECT "+toldColumns+" WHERE c.environment = $1 AND e.feed <= $2 ORDER BY e.feed DESC LIMIT 1", string(l.env), int64(upTo)))
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return t, ErrNotFound
	case err != nil:
		return t, fmt.Errorf("look up the last event: %w", err)
	}
	return t, nil
}

// FeedBefore is the place before a closure's first event.
func (l *Ledger) FeedBefore(ctx context.Context, c closure.Closure) (Cursor, error) {
	var first Cursor
	if err := l.db.QueryRowContext(ctx, "SELECT min(feed) FROM closeout.events WHERE closure_id = $1", c.ID).Scan(&first); err != nil {
		return 0, fmt.Errorf("look up the first event of closure %s: %w", c.ID, err)
	}
	return first - 1, nil
}

func (l *Ledger) told(ctx context.Context, after Cursor, query string, args ...any) ([]Told, Cursor, error) {
	rows, err := l.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, after, fmt.Errorf("read the feed: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var out []Told
	last := after
	for rows.Next() {
		t, env, err := scanTold(rows)
		if err != nil {
			return nil, after, fmt.Errorf("read the feed: %w", err)
		}
		last = t.Cursor
		if env == l.env {
			out = append(out, t)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, after, fmt.Errorf("read the feed: %w", err)
	}
	return out, last, nil
}

// scanTold reads an event and the environment that it belongs to. One that was tampered with until it can't be read is told
// as such: it must not stand in the way of all that follow.
func scanTold(r row) (t Told, env closure.Environment, err error) {
	var id, kind, body string
	var seq, latest int64
	var at time.Time
	var now Standing
	if err := r.Scan(&t.Cursor, &id, &seq, (*ts)(&at), &kind, &body, &t.hash, &env, &t.AccountID, &t.Confirmation, &latest,
		&now.Reason, &now.Why, &now.Who, (*ts)(&now.DueAt)); err != nil {
		return t, env, err
	}
	if json.Unmarshal([]byte(body), &t.Event) != nil {
		t.Event = Event{At: at, Kind: kind, Actor: closure.Worker, Text: "this entry of the history is damaged: it cannot be read"}
	}
	t.ClosureID, t.Seq = id, seq
	if seq == latest {
		t.Now = &now
	}
	return t, env, nil
}
