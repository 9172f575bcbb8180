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

// NextNotice takes the next notice that is due for delivery, for the given machine time, with its closure and the closure's intents.
// A closure's notices go in order: one that is still owed holds back the later ones. What was handed over before, if anything, is
// noted as sent with it, unless its lease had run out and another has it. ErrNotFound: that is noted, and none is due. After any other
// error it may be noted or not.
func (l *Ledger) NextNotice(ctx context.Context, sent *Notice, lease time.Duration) (n Notice, c closure.Closure, is []closure.Intent, err error) {
	now := time.Now()
	for after := (noticePlace{due: time.Unix(0, 0)}); ; sent = nil {
		n, c, is, err = l.leaseNotice(ctx, sent, now, lease, after)
		if !errors.Is(err, ErrNotFound) {
			return n, c, is, err
		}
		// None of this page: all of them wait for an earlier letter, are another environment's, or another worker was quicker.
		if after, err = l.noticePageEnd(ctx, now, after); err != nil {
			return n, c, is, err
		}
	}
}

// noticePlace is where a notice stands among those that are due.
type noticePlace struct {
	due time.Time
	id  string
}

const noticesFrom = "FROM closeout.notices WHERE state = 'due' AND due_at <= $1 AND (due_at, id) > ($2, $3)"

// leaseNotice notes what was sent, and leases the first that may go of the page after a place. The note comes first: the next may be
// the one that waited for it. ErrNotFound: there is none.
func (l *Ledger) leaseNotice(
	ctx context.Context, sent *Notice, now time.Time, lease time.Duration, after noticePlace,
) (n Notice, c closure.Closure, is []closure.Intent, err error) {
	var rs []read
	if sent != nil {
		q, args := l.sentQuery(*sent)
		rs = append(rs, read{q: q, args: args}) // it answers with no row
	}
	n.Lease = newToken()
	until := now.Add(lease)
	q, args := l.leaseQuery(n.Lease, now, until, after)
	rs = append(rs, read{q: q, args: args, row: n.scan})
	err = l.db.together(ctx, append(rs, l.ofLeased(n.Lease, until, &c, &is)...)...)
	switch {
	case err != nil:
		return n, c, nil, fmt.Errorf("lease notice: %w", err)
	case n.ID == "":
		return n, c, nil, ErrNotFound
	case c.ID != n.ClosureID: // a letter is written from nothing else
		return n, c, nil, fmt.Errorf("lease notice: %s came without its closure", n.ID)
	}
	return n, c, is, nil
}

// scan reads what leaseQuery returns.
func (n *Notice) scan(r row) error {
	var data string
	if err := r.Scan(&n.ID, &n.ClosureID, &n.Seq, &n.Letter, &data, &n.Attempts, (*ts)(&n.CreatedAt)); err != nil {
		return fmt.Errorf("read notice: %w", err)
	}
	if err := json.Unmarshal([]byte(data), &n.Data); err != nil {
		return fmt.Errorf("read notice %s: %w", n.ID, err)
	}
	return nil
}

func (l *Ledger) leaseQuery(token string, now, until time.Time, after noticePlace) (q string, args []any) {
	// But for the page itself, the state is compared as an expression, so that the index of all that are due can't be taken to find one
	// letter or one closure's: the planner likes it as long as it believes that few are due, and then goes along all of it each time.
	//
	// Whether a letter may go is one expression that is there or not, of which the planner believes that it mostly is; that is so. Of three
	// comparisons it believes that hardly any holds, and that the whole page is looked at: what that costs by its reckoning grows with the
	// table, and it plans the statement anew each time, which costs more than to carry it out.
	q = "UPDATE closeout.notices SET lease = $4, due_at = $5, attempts = attempts + 1 WHERE id = (" +
		"SELECT a.id FROM (SELECT id, closure_id, seq, kind, due_at " + noticesFrom + fmt.Sprintf(" ORDER BY due_at, id LIMIT %d) a", noticePage) +
		" WHERE CASE WHEN a.kind IN (" + knownLetters + ") AND (SELECT c.environment FROM closeout.closures c WHERE c.id = a.closure_id) = $6" +
		" AND (SELECT min(b.seq) FROM closeout.notices b WHERE b.closure_id = a.closure_id AND b.state || '' = 'due') = a.seq THEN 1 END IS NOT NULL" +
		" ORDER BY a.due_at, a.id LIMIT 1) AND state || '' = 'due' AND due_at <= $7" +
		" RETURNING id, closure_id, seq, kind, data, attempts, created_at"
	return q, []any{ts(now), ts(after.due), after.id, token, ts(until), string(l.env), ts(now)}
}

// ofLeased are the reads of the closure whose letter was just leased, and of its intents. The letter is found by the end of its lease,
// for which there is an index, as for a lease there is none.
func (l *Ledger) ofLeased(token string, until time.Time, c *closure.Closure, is *[]closure.Intent) []read {
	const id = "(SELECT closure_id FROM closeout.notices WHERE state = 'due' AND due_at = $1 AND lease = $2)"
	return []read{
		{q: "SELECT " + closureColumns + " FROM closeout.closures WHERE id = " + id, args: []any{ts(until), token}, row: func(r row) (err error) {
			*c, err = l.scan(r)
			return err
		}},
		{
			q:    "SELECT " + intentColumns + " FROM closeout.intents WHERE closure_id = " + id + " AND environment = $3 ORDER BY key, n",
			args: []any{ts(until), token, string(l.env)}, row: into(is),
		},
	}
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

// NoticeSent notes that the letter was handed over, where that can't go with the next one's lease. ErrStale: the lease had run out, and
// another may have sent it too.
func (l *Ledger) NoticeSent(ctx context.Context, n Notice) error {
	q, args := l.sentQuery(n)
	return one(l.db.ExecContext(ctx, q, args...))
}

func (l *Ledger) sentQuery(n Notice) (q string, args []any) {
	return "UPDATE closeout.notices SET state = 'sent', sent_at = $1 WHERE id = $2 AND lease = $3", []any{ts(l.clock.Now()), n.ID, n.Lease}
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
