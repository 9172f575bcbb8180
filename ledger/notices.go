package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
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

func (l *Ledger) addNotice(ctx context.Context, tx *transaction, c closure.Closure, letter closure.Letter, expected time.Time) error {
	data, err := json.Marshal(NoticeData{Confirmation: c.Confirmation, Reason: c.Reason, Why: c.Why, Paid: c.Memo.Paid, Expected: expected.Round(0).UTC()})
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO closeout.notices (id, closure_id, seq, kind, data, state, due_at, lease, attempts, last_error, created_at)"+
		" VALUES ($1, $2, $3, $4, $5, 'due', $6, '', 0, '', $7)",
		fmt.Sprintf("%s/%d/%s", c.ID, c.Seq, letter), c.ID, c.Seq, string(letter), string(data), ts(time.Now()), ts(c.UpdatedAt))
	if err != nil {
		return fmt.Errorf("write notice: %w", err)
	}
	return nil
}

// knownLetters are the kinds of letters that this version can write. What a newer one owes, its own workers deliver.
var knownLetters = func() string {
	kinds := make([]string, len(closure.Letters))
	for n, k := range closure.Letters {
		kinds[n] = "'" + string(k) + "'"
	}
	return strings.Join(kinds, ", ")
}()

// LeaseNotice takes the next notice that is due for delivery, for the given machine time. A closure's notices go in order:
// one that is still owed holds back the later ones. ErrNotFound: none is due.
func (l *Ledger) LeaseNotice(ctx context.Context, lease time.Duration) (Notice, error) {
	var n Notice
	var data string
	now := time.Now()
	token := newToken()
	// The scalar subqueries are looked up by key, letter by letter in the index's order, whatever the planner thinks: before
	// the first ANALYZE of a new table it would rather join everything with everything.
	err := l.db.QueryRowContext(ctx, "UPDATE closeout.notices SET lease = $1, due_at = $2, attempts = attempts + 1 WHERE id = ("+
		"SELECT a.id FROM closeout.notices a WHERE a.state = 'due' AND a.due_at <= $3"+
		" AND (SELECT c.environment FROM closeout.closures c WHERE c.id = a.closure_id) = $4"+
		" AND a.kind IN ("+knownLetters+")"+
		" AND (SELECT min(b.seq) FROM closeout.notices b WHERE b.closure_id = a.closure_id AND b.state = 'due') = a.seq"+
		" ORDER BY a.due_at, a.id LIMIT 1) AND state = 'due' AND due_at <= $5"+
		" RETURNING id, closure_id, seq, kind, data, attempts, created_at",
		token, ts(now.Add(lease)), ts(now), string(l.env), ts(now)).
		Scan(&n.ID, &n.ClosureID, &n.Seq, &n.Letter, &data, &n.Attempts, (*ts)(&n.CreatedAt))
	if err == sql.ErrNoRows { //nolint:errorlint // Row.Scan returns it bare
		return n, ErrNotFound
	}
	if err != nil {
		return n, fmt.Errorf("lease notice: %w", err)
	}
	n.Lease = token
	if err := json.Unmarshal([]byte(data), &n.Data); err != nil {
		return n, fmt.Errorf("read notice %s: %w", n.ID, err)
	}
	return n, nil
}

// NoticeSent notes that the letter was handed over. ErrStale: the lease had run out, and another may have sent it too.
func (l *Ledger) NoticeSent(ctx context.Context, n Notice) error {
	return one(l.db.ExecContext(ctx, "UPDATE closeout.notices SET state = 'sent', sent_at = $1 WHERE id = $2 AND lease = $3", ts(l.clock.Now()), n.ID, n.Lease))
}

// NoticeLater puts a letter that could not be handed over back, to be tried again after d of machine time; giveUp ends it.
func (l *Ledger) NoticeLater(ctx context.Context, n Notice, d time.Duration, cause string, giveUp bool) error {
	state := "due"
	if giveUp {
		state = "failed"
	}
	return one(l.db.ExecContext(ctx, "UPDATE closeout.notices SET state = $1, due_at = $2, last_error = $3, lease = '' WHERE id = $4 AND lease = $5",
		state, ts(time.Now().Add(d)), cause, n.ID, n.Lease))
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
