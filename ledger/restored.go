package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"closeout/closure"
)

// Mark names one event of the ledger: who remembers the newest ones knows later whether the ledger has lost one, which it has if
// it was restored to an earlier moment.
type Mark struct {
	ClosureID string    `json:"closure_id"`
	Seq       int64     `json:"seq"`
	Hash      string    `json:"hash"`
	At        time.Time `json:"at"`            // business
	Over      time.Time `json:"over,omitzero"` // business: when the closure had ended before the event, as before a person's look; zero: it had not
}

// MarkOf is the mark of a closure's last event.
func MarkOf(c closure.Closure) Mark {
	m := Mark{ClosureID: c.ID, Seq: c.Seq, Hash: c.HeadHash, At: c.UpdatedAt}
	if c.State.Ended() {
		m.Over = c.EndedAt
	}
	return m
}

// lookBack is how far back the feed is looked at for the newest event of one environment beside a busy other.
const lookBack = 10_000

// Newest is the mark of the newest event of this environment. The zero Mark: there is none among the last ones of the ledger.
func (l *Ledger) Newest(ctx context.Context) (m Mark, err error) {
	var state closure.State
	var ended time.Time
	err = l.db.QueryRowContext(ctx, "SELECT e.closure_id, e.seq, e.hash, e.at, c.state, c.ended_at FROM closeout.events e JOIN closeout.closures c ON c.id = e.closure_id"+
		" WHERE c.environment = $1 AND e.feed > (SELECT coalesce(max(feed), 0) FROM closeout.events) - $2 ORDER BY e.feed DESC LIMIT 1", string(l.env), lookBack).
		Scan(&m.ClosureID, &m.Seq, &m.Hash, (*ts)(&m.At), &state, (*ts)(&ended))
	if errors.Is(err, sql.ErrNoRows) {
		return m, nil
	}
	if err != nil {
		return m, fmt.Errorf("read the newest event: %w", err)
	}
	if state.Ended() {
		m.Over = ended
	}
	return m, nil
}

// marksAtOnce is how many marks one statement looks for.
const marksAtOnce = 16

var hasMarks = "SELECT hash FROM closeout.events WHERE (closure_id, seq, hash) IN (VALUES " + func() string {
	each := make([]string, marksAtOnce)
	for n := range each {
		each[n] = fmt.Sprintf("($%d, CAST($%d AS BIGINT), $%d)", 3*n+1, 3*n+2, 3*n+3)
	}
	return strings.Join(each, ", ")
}() + ")"

// Lacks are those of some marks whose very events this ledger neither has nor, as far as it knows, has had: what ended before a
// removal may be gone by it.
func (l *Ledger) Lacks(ctx context.Context, marks []Mark) (lacking []Mark, err error) {
	for some := range slices.Chunk(marks, marksAtOnce) {
		var args []any
		for n := range marksAtOnce { // one statement, however many are asked for
			m := some[min(n, len(some)-1)]
			args = append(args, m.ClosureID, m.Seq, m.Hash)
		}
		has := map[string]bool{}
		err := l.each(ctx, "look for events", func(rows *sql.Rows) error {
			var hash string
			err := rows.Scan(&hash)
			has[hash] = true
			return err
		}, hasMarks, args...)
		if err != nil {
			return nil, err
		}
		for _, m := range some {
			if has[m.Hash] {
				continue
			}
			gone, err := l.removed(ctx, m)
			if err != nil {
				return nil, err
			}
			if !gone {
				lacking = append(lacking, m)
			}
		}
	}
	return lacking, nil
}

// removed says whether a mark's closure may be gone by a removal: it went whole, and had ended before what was removed then.
func (l *Ledger) removed(ctx context.Context, m Mark) (bool, error) {
	over := m.At
	if !m.Over.IsZero() {
		over = m.Over
	}
	var n int
	err := l.db.QueryRowContext(ctx, "SELECT count(*) FROM closeout.removals WHERE environment = $1 AND ended_before > $2"+
		" AND NOT EXISTS (SELECT 1 FROM closeout.closures WHERE id = $3)", string(l.env), ts(over), m.ClosureID).Scan(&n)
	if err != nil {
		return false, fmt.Errorf("look for a removal: %w", err)
	}
	return n > 0, nil
}

// Open returns up to limit closures of this environment that have not ended, in the order of their ids, after the given one.
func (l *Ledger) Open(ctx context.Context, after string, limit int) ([]closure.Closure, error) {
	return l.list(ctx, "list open closures", "SELECT "+closureColumns+" FROM closeout.closures"+
		" WHERE environment = $1 AND state NOT IN ('closed', 'canceled') AND id > $2 ORDER BY id LIMIT $3", string(l.env), after, limit)
}

// Missing are those of some ids of which no environment of this ledger has a closure.
func (l *Ledger) Missing(ctx context.Context, ids []string) (missing []string, err error) {
	for _, id := range ids {
		var n int
		if err := l.db.QueryRowContext(ctx, "SELECT count(*) FROM closeout.closures WHERE id = $1", id).Scan(&n); err != nil {
			return nil, fmt.Errorf("look for a closure: %w", err)
		}
		if n == 0 {
			missing = append(missing, id)
		}
	}
	return missing, nil
}

// PendingWithout are up to limit accounts whose own status column says that a closure is pending, while none is open here. There
// are none where no such column is named. Where rows may be hidden from this service, an error says so beside those that were found.
func (l *Ledger) PendingWithout(ctx context.Context, limit int) (accounts []string, err error) {
	if l.status == nil {
		return nil, nil
	}
	err = l.each(ctx, "look for accounts with a pending closure", func(rows *sql.Rows) error {
		var account string
		if err := rows.Scan(&account); err != nil {
			return err
		}
		accounts = append(accounts, account)
		return nil
	}, l.status.pending, string(l.env), limit)
	if err == nil && l.status.hidden != "" {
		err = errors.New(l.status.hidden)
	}
	return accounts, err
}

// EndAll ends every session, and says how many: those that were ended in time that a restored ledger lost are back.
func (s SignIns) EndAll(ctx context.Context) (int, error) {
	r, err := s.l.db.ExecContext(ctx, "UPDATE closeout.sessions SET ended = 1, data = '' WHERE environment = $1 AND ended = 0 AND expires_at > $2", string(s.l.env), ts(time.Now()))
	if err != nil {
		return 0, fmt.Errorf("end the sessions: %w", err)
	}
	n, err := r.RowsAffected()
	return int(n), err
}

// DueLetters are how many letters are to be sent.
func (l *Ledger) DueLetters(ctx context.Context) (n int, err error) {
	err = l.db.QueryRowContext(ctx, "SELECT count(*) FROM closeout.notices n JOIN closeout.closures c ON c.id = n.closure_id WHERE c.environment = $1 AND n.state = 'due'", string(l.env)).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count the letters: %w", err)
	}
	return n, nil
}
