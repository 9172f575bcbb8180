package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"closeout/closure"
)

// Mark names one event of the ledger, of any environment: who remembers the newest one knows later whether the ledger has lost
// it, which it has if it was restored to an earlier moment.
type Mark struct {
	ClosureID string    `json:"closure_id"`
	Seq       int64     `json:"seq"`
	Hash      string    `json:"hash"`
	At        time.Time `json:"at"` // business
}

// Newest is the mark of the newest event. The zero Mark: there is no event.
func (l *Ledger) Newest(ctx context.Context) (m Mark, err error) {
	err = l.db.QueryRowContext(ctx, "SELECT closure_id, seq, hash, at FROM closeout.events ORDER BY feed DESC LIMIT 1").Scan(&m.ClosureID, &m.Seq, &m.Hash, (*ts)(&m.At))
	if errors.Is(err, sql.ErrNoRows) {
		return m, nil
	}
	if err != nil {
		return m, fmt.Errorf("read the newest event: %w", err)
	}
	return m, nil
}

// Has says whether the ledger has the very event that a mark names, or has had it: what ended before a removal may be gone by it.
func (l *Ledger) Has(ctx context.Context, m Mark) (bool, error) {
	var n int
	err := l.db.QueryRowContext(ctx, "SELECT (SELECT count(*) FROM closeout.events WHERE closure_id = $1 AND seq = $2 AND hash = $3)"+
		" + (SELECT count(*) FROM closeout.removals WHERE ended_before > $4)", m.ClosureID, m.Seq, m.Hash, ts(m.At)).Scan(&n)
	if err != nil {
		return false, fmt.Errorf("look for an event: %w", err)
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
// are none where no such column is named.
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
