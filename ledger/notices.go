package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"closeout/closure"
)

// Notice is a letter that is owed to a customer. It holds no name, address or bank number: the one who delivers it asks
// the broker for those.
type Notice struct {
	ID        string
	ClosureID string
	Seq       int64
	Letter    closure.Letter
	Data      NoticeData
	Lease     string
	Attempts  int
	CreatedAt time.Time // business
}

// NoticeData is what the letter says of the closure at the moment it was owed.
type NoticeData struct {
	Confirmation string         `json:"confirmation"`
	Reason       closure.Reason `json:"reason,omitempty"`
	Why          string         `json:"why,omitempty"`
	Paid         string         `json:"paid,omitempty"`
	Expected     time.Time      `json:"expected,omitzero"` // of the first letter: the finish that was expected; zero: not known
}

// newNotice is the write of a letter that is owed since the closure's last event.
func newNotice(c closure.Closure, letter closure.Letter, expected time.Time) (write, error) {
	data, err := json.Marshal(NoticeData{Confirmation: c.Confirmation, Reason: c.Reason, Why: c.Why, Paid: c.Memo.Paid, Expected: expected.Round(0).UTC()})
	return write{
		what: "write notice",
		q: "INSERT INTO closeout.notices (id, closure_id, seq, kind, data, state, due_at, lease, attempts, last_error, created_at)" +
			" VALUES ($1, $2, $3, $4, $5, 'due', $6, '', 0, '', $7)",
		args: []any{fmt.Sprintf("%s/%d/%s", c.ID, c.Seq, letter), c.ID, c.Seq, string(letter), string(data), ts(time.Now()), ts(c.UpdatedAt)},
	}, err
}

// knownLetters are the kinds of letters that this version can write. What a newer one owes, its own workers deliver.
var knownLetters = func() string {
	kinds := make([]string, len(closure.Letters))
	for n, k := range closure.Letters {
		kinds[n] = "'" + string(k) + "'"
	}
	return strings.Join(kinds, ", ")
}()

// noticePage is how many of the letters that are due are looked at in one statement. It bounds what a statement can cost, whatever
// the planner makes of it: before the first ANALYZE of a table it orders its joins as it likes.
const noticePage = 20

// LeaseNotice takes the next notice that is due for delivery, for the given machine time. A closure's notices go in order:
// one that is still owed holds back the later ones. ErrNotFound: none is due.
func (l *Ledger) LeaseNotice(ctx context.Context, lease time.Duration) (Notice, error) {
	now := time.Now()
	for after := (noticePlace{due: time.Unix(0, 0)}); ; {
		n, err := l.leaseNotice(ctx, now, lease, after)
		if !errors.Is(err, ErrNotFound) {
			return n, err
		}
		// None of this page: all of them wait for an earlier letter, are another environment's, or another worker was quicker.
		if after, err = l.noticePageEnd(ctx, now, after); err != nil {
			return n, err
		}
	}
}

// noticePlace is where a notice stands among those that are due.
type noticePlace struct {
	due time.Time
	id  string
}

const noticesFrom = "FROM closeout.notices WHERE state = 'due' AND due_at <= $1 AND (due_at, id) > ($2, $3)"

// leaseNotice leases the first that may go of the page after a place. ErrNotFound: there is none.
func (l *Ledger) leaseNotice(ctx context.Context, now time.Time, lease time.Duration, after noticePlace) (Notice, error) {
	var n Notice
	var data string
	n.Lease = newToken()
	q, args := l.leaseQuery(n.Lease, now, lease, after)
	err := l.db.QueryRowContext(ctx, q, args...).Scan(&n.ID, &n.ClosureID, &n.Seq, &n.Letter, &data, &n.Attempts, (*ts)(&n.CreatedAt))
	if err == sql.ErrNoRows { //nolint:errorlint // Row.Scan returns it bare
		return n, ErrNotFound
	}
	if err != nil {
		return n, fmt.Errorf("lease notice: %w", err)
	}
	if err := json.Unmarshal([]byte(data), &n.Data); err != nil {
		return n, fmt.Errorf("read notice %s: %w", n.ID, err)
	}
	return n, nil
}

func (l *Ledger) leaseQuery(token string, now time.Time, lease time.Duration, after noticePlace) (q string, args []any) {
	// But for the page itself, the state is compared as an expression, so that the index of all that are due can't be taken to find one
	// letter or one closure's: the planner likes it as long as it believes that few are due, and then goes along all of it each time.
	q = "UPDATE closeout.notices SET lease = $4, due_at = $5, attempts = attempts + 1 WHERE id = (" +
		"SELECT a.id FROM (SELECT id, closure_id, seq, kind, due_at " + noticesFrom + fmt.Sprintf(" ORDER BY due_at, id LIMIT %d) a", noticePage) +
		" WHERE a.kind IN (" + knownLetters + ") AND (SELECT c.environment FROM closeout.closures c WHERE c.id = a.closure_id) = $6" +
		" AND (SELECT min(b.seq) FROM closeout.notices b WHERE b.closure_id = a.closure_id AND b.state || '' = 'due') = a.seq" +
		" ORDER BY a.due_at, a.id LIMIT 1) AND state || '' = 'due' AND due_at <= $7" +
		" RETURNING id, closure_id, seq, kind, data, attempts, created_at"
	return q, []any{ts(now), ts(after.due), after.id, token, ts(now.Add(lease)), string(l.env), ts(now)}
}

// noticePageEnd is where the page after a place ends. ErrNotFound: no notice stands behind it.
func (l *Ledger) noticePageEnd(ctx context.Context, now time.Time, after noticePlace) (end noticePlace, err error) {
	err = l.db.QueryRowContext(ctx, "SELECT due_at, id "+noticesFrom+fmt.Sprintf(" ORDER BY due_at, id LIMIT 1 OFFSET %d", noticePage-1),
		ts(now), ts(after.due), after.id).Scan((*ts)(&end.due), &end.id)
	if err == sql.ErrNoRows { //nolint:errorlint // Row.Scan returns it bare
		return end, ErrNotFound
	}
	if err != nil {
		return end, fmt.Errorf("lease notice: %w", err)
	}
	return end, nil
}

// NoticeSent notes that the letter was handed over. ErrStale: the lease had run out, and another may have sent it too.
func (l *Ledger) NoticeSent(ctx context.Context, n Notice) error {
	return one(l.db.ExecContext(ctx, "UPDATE closeout.notices SET state = 'sent', sent_at = $1 WHERE id = $2 AND lease = $3", ts(l.clock.Now()), n.ID, n.Lease))
}

// NoticeLater puts a letter that could not be handed over back, to be tried again after d of machine time; giveUp ends it. The
// closure's later letters, which wait for it, are due no sooner: they would stand before all others' meanwhile.
func (l *Ledger) NoticeLater(ctx context.Context, n Notice, d time.Duration, cause string, giveUp bool) error {
	state, at := "due", time.Now().Add(d)
	if giveUp {
		state = "failed"
	}
	err := one(l.db.ExecContext(ctx, "UPDATE closeout.notices SET state = $1, due_at = $2, last_error = $3, lease = '' WHERE id = $4 AND lease = $5",
		state, ts(at), cause, n.ID, n.Lease))
	if err != nil || giveUp {
		return err
	}
	_, err = l.db.ExecContext(ctx, "UPDATE closeout.notices SET due_at = $1 WHERE closure_id = $2 AND seq > $3 AND state = 'due' AND due_at < $4",
		ts(at), n.ClosureID, n.Seq, ts(at))
	return err
}

// SentLetter is what became of a letter that was owed.
type SentLetter struct {
	Letter    closure.Letter
	State     string // due, sent or failed
	Attempts  int
	CreatedAt time.Time // business
	SentAt    time.Time // business; zero: not yet, or never
}

// Letters are a closure's letters, in the order in which they were owed.
func (l *Ledger) Letters(ctx context.Context, id string) ([]SentLetter, error) {
	rows, err := l.db.QueryContext(ctx, "SELECT kind, state, attempts, created_at, sent_at FROM closeout.notices WHERE closure_id = $1 ORDER BY seq, kind", id)
	if err != nil {
		return nil, fmt.Errorf("read letters: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var out []SentLetter
	for rows.Next() {
		var s SentLetter
		if err := rows.Scan(&s.Letter, &s.State, &s.Attempts, (*ts)(&s.CreatedAt), (*ts)(&s.SentAt)); err != nil {
			return nil, fmt.Errorf("read letters: %w", err)
		}
		out = append(out, s)
	}
	return out, rows.Err()
}
