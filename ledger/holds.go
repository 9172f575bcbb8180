package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"closeout/closure"
)

// Hold says whether an environment is held by an operator, and by whose last word. While it is held no claim is made: nothing
// new is sent to the broker. Everything else goes on: closures are accepted, visits look, answers are recorded.
type Hold struct {
	Version int64 // moves with every change
	Held    bool
	Reason  string
	Actor   string
	Since   time.Time // business; zero: it was never held
}

// HeldError is a claim's refusal while everything is held: nothing was written, and nothing may be sent.
type HeldError struct{ Hold Hold }

func (e *HeldError) Error() string {
	return fmt.Sprintf("everything is held by %s: %s", e.Hold.Actor, e.Hold.Reason)
}

const holdColumns = "version, held, reason, actor, since"

func scanHold(r row) (Hold, error) {
	var h Hold
	var held int
	if err := r.Scan(&h.Version, &held, &h.Reason, &h.Actor, (*ts)(&h.Since)); err != nil {
		return h, fmt.Errorf("read the hold: %w", err)
	}
	h.Held = held != 0
	return h, nil
}

// Hold says how this environment stands.
func (l *Ledger) Hold(ctx context.Context) (Hold, error) {
	return scanHold(l.db.QueryRowContext(ctx, "SELECT "+holdColumns+" FROM closeout.holds WHERE environment = $1", string(l.env)))
}

// HoldAll holds this environment. Once it returns, no claim is made any more; what was claimed in the seconds before may still
// be on its way to the broker. version is the one that the caller has seen: ErrStale says that somebody else came first, and
// that nothing was changed. Any other error beside a Hold that is held says that a claim of before was not seen to end.
func (l *Ledger) HoldAll(ctx context.Context, version int64, actor, reason string) (Hold, error) {
	h, err := l.setHold(ctx, Hold{Version: version, Held: true, Reason: reason, Actor: actor})
	if err == nil && !l.db.sqlite { // whose one writer is over with every claim of before
		err = l.outlastClaims(ctx)
	}
	return h, err
}

// ReleaseAll ends the hold. What waits for that is woken by the workers' next sweeps. ErrStale: somebody else came first.
func (l *Ledger) ReleaseAll(ctx context.Context, version int64, actor, reason string) (Hold, error) {
	return l.setHold(ctx, Hold{Version: version, Reason: reason, Actor: actor})
}

// setHold writes the row and its history, and waits for nobody: claims only read the row.
func (l *Ledger) setHold(ctx context.Context, h Hold) (Hold, error) {
	h.Since, h.Reason, h.Actor = l.clock.Now(), plain(h.Reason), plain(h.Actor)
	held, other := 0, 1
	if h.Held {
		held, other = 1, 0
	}
	err := l.tx(ctx, func(tx *transaction) error {
		err := one(tx.ExecContext(ctx, "UPDATE closeout.holds SET version = version + 1, held = $1, reason = $2, actor = $3, since = $4"+
			" WHERE environment = $5 AND version = $6 AND held = $7", held, h.Reason, h.Actor, ts(h.Since), string(l.env), h.Version, other))
		if err != nil {
			return err
		}
		h.Version++
		_, err = tx.ExecContext(ctx, "INSERT INTO closeout.hold_changes (environment, "+holdColumns+") VALUES ($1, $2, $3, $4, $5, $6)",
			string(l.env), h.Version, held, h.Reason, h.Actor, ts(h.Since))
		return err
	})
	if err != nil {
		return Hold{}, fmt.Errorf("change the hold: %w", err)
	}
	return h, nil
}

// HoldChanges are the latest changes of the hold, the newest first: who held or released, when, and why.
func (l *Ledger) HoldChanges(ctx context.Context, limit int) ([]Hold, error) {
	rows, err := l.db.QueryContext(ctx, "SELECT "+holdColumns+" FROM closeout.hold_changes WHERE environment = $1 ORDER BY version DESC LIMIT $2", string(l.env), limit)
	if err != nil {
		return nil, fmt.Errorf("read the hold's history: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var out []Hold
	for rows.Next() {
		h, err := scanHold(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, h)
	}
	return out, rows.Err()
}

// holdLock is the advisory lock that a claim shares until its transaction ends: 'ch' in the upper sixteen bits, then which
// environment. A row lock would be shared as well, but Postgres lets those who share it pass one who waits to change the row,
// for ever if claims are many; this lock has a queue.
func (l *Ledger) holdLock() int64 {
	n := int64(1)
	if l.env == closure.Live {
		n = 2
	}
	return 0x6368<<48 | n
}

// errHeld says that an environment is held.
var errHeld = errors.New("everything is held")

// notHeld are the conditions that refuse a claim while its environment is held. A claim that has read the row before the hold was
// written holds the lock by then, and the hold outlasts it. The lock and the read must be two statements: each sees what was
// committed before it (openPostgres demands read committed). SQLite has one writer at a time.
func (l *Ledger) notHeld() []write {
	hold := write{what: "look for a hold", q: "SELECT 1 FROM closeout.holds WHERE environment = $1 AND held = 0", args: []any{string(l.env)}, unmet: errHeld}
	if l.db.sqlite {
		return []write{hold}
	}
	return []write{{what: "lock out a hold", q: "SELECT pg_advisory_xact_lock_shared($1)", args: []any{l.holdLock()}}, hold}
}

// outlastClaims waits until every claim has ended that may have overlooked a hold.
func (l *Ledger) outlastClaims(ctx context.Context) error {
	err := l.tx(ctx, func(tx *transaction) error {
		_, err := tx.ExecContext(ctx, "SELECT pg_advisory_xact_lock($1)", l.holdLock())
		return err
	})
	if err != nil {
		return fmt.Errorf("everything is held from now on, but a claim that was at work then was not seen to end: %w", err)
	}
	return nil
}

// Released returns up to limit running closures that wait for a hold which is over, and would not look again until after the
// given business time.
func (l *Ledger) Released(ctx context.Context, after time.Time, limit int) ([]closure.Closure, error) {
	return l.list(ctx, "list what waits for a hold that is over", "SELECT "+closureColumns+" FROM closeout.closures"+
		" WHERE environment = $1 AND reason = $2 AND state = 'running' AND due_at > $3"+
		" AND NOT EXISTS (SELECT 1 FROM closeout.holds WHERE environment = $4 AND held <> 0) ORDER BY created_at, id LIMIT $5",
		string(l.env), string(closure.ServiceHeld), ts(after), string(l.env), limit)
}
