package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Removal is how much is removed, or could be, because its time is over.
type Removal struct {
	Closures int
	Events   int64
	Batches  int
	Redrives int

	// Kept is what its row says may go, and its history does not bear out: each where it is broken, where it leaves the closure
	// unfinished, or where it ended later. It is evidence.
	Kept []ChainError
	Last string // the last closure that was looked at: the next bite begins after it

	// Of a removal that took place:
	At     time.Time // machine
	Actor  string
	Before time.Time // business: all of it had ended before
}

// Nothing says whether there is nothing in it.
func (r Removal) Nothing() bool {
	return r.Closures == 0 && r.Batches == 0 && r.Redrives == 0 && len(r.Kept) == 0
}

// Add takes in what another bite has removed.
func (r *Removal) Add(o Removal) {
	r.Closures, r.Events, r.Batches, r.Redrives = r.Closures+o.Closures, r.Events+o.Events, r.Batches+o.Batches, r.Redrives+o.Redrives
	r.Kept, r.Last = append(r.Kept, o.Kept...), o.Last
}

// A closure goes whole or not at all, so that no chain of what remains is broken. Kept, whatever their age: what is not over,
// with failed, dead and paused among it; what an unfinished closure of the same account stands beside; what has a letter that is
// owed, an instruction that nobody has settled, or a bulk retry that is running; and the closure of the feed's last event,
// whose place SQLite would give out again.
const removableClosure = "c.environment = ? AND c.state IN ('closed', 'canceled') AND c.ended_at < ?" +
	" AND NOT EXISTS (SELECT 1 FROM closeout.closures o WHERE o.environment = c.environment AND o.account_id = c.account_id AND o.state NOT IN ('closed', 'canceled'))" +
	" AND NOT EXISTS (SELECT 1 FROM closeout.notices n WHERE n.closure_id = c.id AND n.state = 'due')" +
	" AND NOT EXISTS (SELECT 1 FROM closeout.intents i WHERE i.closure_id = c.id AND i.state IN ('sending', 'late'))" +
	" AND NOT EXISTS (SELECT 1 FROM closeout.redrive_rows r JOIN closeout.redrives d ON d.id = r.redrive_id WHERE r.closure_id = c.id AND d.state = 'running')" +
	" AND c.id <> coalesce((SELECT closure_id FROM closeout.events ORDER BY feed DESC LIMIT 1), '')"

// beside is what has rows of its own, about several closures.
type beside struct{ table, rows, key, is string }

// A batch goes after the last of its closures. What a bulk retry has done to a closure stands in the closure's history.
var (
	oldBatches = beside{"batches", "batch_rows", "batch_id", "b.environment = ? AND b.state NOT IN ('checking', 'starting') AND b.ended_at < ?" +
		" AND NOT EXISTS (SELECT 1 FROM closeout.closures c WHERE c.batch_id = b.id AND c.batch_id <> '')"}
	oldRedrives = beside{"redrives", "redrive_rows", "redrive_id", "b.environment = ? AND b.state <> 'running' AND b.ended_at < ?"}
)

// page is how many closures are looked at by one statement.
const page = 200

// Removable says what Remove would remove of what had ended before a business time, in all, and what it would keep. It walks
// along each history that would go.
func (l *Ledger) Removable(ctx context.Context, before time.Time) (r Removal, err error) {
	for n := page; n == page; {
		w := &where{}
		w.and(removableClosure, string(l.env), ts(before))
		w.and("c.id > ? ORDER BY c.id LIMIT ?", r.Last, page)
		gone, kept := 0, len(r.Kept)
		err := l.sift(ctx, l.db, w, before, &r, func(string) { gone++ })
		if err != nil {
			return r, fmt.Errorf("count what can be removed: %w", err)
		}
		r.Closures += gone
		n = gone + len(r.Kept) - kept
	}
	if r.Batches, err = l.countBeside(ctx, oldBatches, before); err != nil {
		return r, err
	}
	if r.Redrives, err = l.countBeside(ctx, oldRedrives, before); err != nil {
		return r, err
	}
	return r, nil
}

// sift tells which of the closures that a condition names may go, by their histories: their rows can be changed more easily.
// Of those it counts the events, and notes the others.
func (l *Ledger) sift(ctx context.Context, q queryer, w *where, before time.Time, r *Removal, goes func(id string)) error {
	return walk(ctx, q, w.text.String(), w.args, nil, func(t *thread) {
		r.Last = t.id
		switch {
		case t.bad != nil:
			r.Kept = append(r.Kept, *t.bad)
		case t.ended.Seq == 0:
			r.Kept = append(r.Kept, ChainError{t.id, t.n, "by it the closure is not over, by its row it is"})
		case !t.ended.At.Before(before):
			r.Kept = append(r.Kept, ChainError{t.id, t.ended.Seq, "by it the closure ended " + t.ended.At.Format("2006-01-02") + ", by its row long before"})
		default:
			r.Events += t.read
			goes(t.id)
		}
	})
}

// Remove takes a bite out of what had ended before a business time, in one transaction: up to limit closures with all that is of
// them, in the order of their ids after the given one, and once none is left, batches and bulk retries. A closure whose history
// does not say the same as its row is kept. What was removed stands in Removals. Nothing in it: nothing is left.
func (l *Ledger) Remove(ctx context.Context, before time.Time, actor, after string, limit int) (Removal, error) {
	r := Removal{At: time.Now().UTC(), Actor: plain(actor), Before: before, Last: after}
	id, err := uuid.NewV7()
	if err != nil {
		return r, fmt.Errorf("make an id: %w", err)
	}
	err = l.tx(ctx, func(tx *transaction) error {
		if err := l.removeClosures(ctx, tx, before, limit, &r); err != nil {
			return err
		}
		if r.Closures == 0 && len(r.Kept) == 0 {
			few := max(1, limit/100) // each may have ten thousand rows
			if r.Batches, err = l.removeBeside(ctx, tx, oldBatches, before, few); err != nil {
				return err
			}
			if r.Redrives, err = l.removeBeside(ctx, tx, oldRedrives, before, few); err != nil {
				return err
			}
		}
		if r.Closures == 0 && r.Batches == 0 && r.Redrives == 0 {
			return nil
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO closeout.removals (id, environment, at, actor, ended_before, closures, events, batches, redrives) VALUES ("+places(1, 9)+")",
			id.String(), string(l.env), ts(r.At), r.Actor, ts(before), r.Closures, r.Events, r.Batches, r.Redrives)
		return err
	})
	if err != nil {
		return Removal{}, fmt.Errorf("remove what is over: %w", err)
	}
	return r, nil
}

// removeClosures removes closures with all that is of them. Each row is locked first: a note that somebody looked would stand
// in its way otherwise, or be lost.
func (l *Ledger) removeClosures(ctx context.Context, tx *transaction, before time.Time, limit int, r *Removal) error {
	w := &where{}
	w.and(removableClosure, string(l.env), ts(before))
	w.and("c.id > ? ORDER BY c.id LIMIT ?", r.Last, limit)
	locked, err := l.ids(ctx, tx, "UPDATE closeout.closures SET seq = seq WHERE id IN (SELECT c.id FROM closeout.closures c WHERE "+w.text.String()+") RETURNING id", w.args...)
	if err != nil || len(locked) == 0 {
		return err
	}
	// What a lock was waited for may have changed what the closure rests on: all is asked again, now that the rows stand still.
	w = &where{}
	w.and(removableClosure, string(l.env), ts(before))
	w.and("c.id IN ("+strings.TrimSuffix(strings.Repeat("?, ", len(locked)), ", ")+")", locked...)
	var ids []any
	if err := l.sift(ctx, tx, w, before, r, func(id string) { ids = append(ids, id) }); err != nil || len(ids) == 0 {
		return err
	}
	these := " IN (" + places(1, len(ids)) + ")"
	_, err = tx.ExecContext(ctx, "UPDATE closeout.batch_rows SET closure_id = '', relationship_id = '', user_id = '', email = '' WHERE closure_id <> '' AND closure_id"+these, ids...)
	if err != nil {
		return err
	}
	for _, from := range []string{"redrive_rows", "notices", "intents", "events"} {
		if _, err := tx.ExecContext(ctx, "DELETE FROM closeout."+from+" WHERE closure_id"+these, ids...); err != nil {
			return err
		}
	}
	_, err = tx.ExecContext(ctx, "DELETE FROM closeout.closures WHERE id"+these, ids...)
	r.Closures = len(ids)
	return err
}

func (l *Ledger) countBeside(ctx context.Context, of beside, before time.Time) (n int, err error) {
	w := &where{}
	w.and(of.is, string(l.env), ts(before))
	if err := l.db.QueryRowContext(ctx, "SELECT count(*) FROM closeout."+of.table+" b WHERE "+w.text.String(), w.args...).Scan(&n); err != nil {
		return 0, fmt.Errorf("count the %s that can be removed: %w", of.table, err)
	}
	return n, nil
}

func (l *Ledger) removeBeside(ctx context.Context, tx *transaction, of beside, before time.Time, limit int) (int, error) {
	w := &where{}
	w.and(of.is, string(l.env), ts(before))
	ids, err := l.ids(ctx, tx, fmt.Sprintf("UPDATE closeout.%s SET version = version WHERE id IN (SELECT b.id FROM closeout.%s b WHERE %s ORDER BY b.ended_at, b.id LIMIT $%d) RETURNING id",
		of.table, of.table, w.text.String(), len(w.args)+1), append(w.args, limit)...)
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	these := " IN (" + places(1, len(ids)) + ")"
	if _, err := tx.ExecContext(ctx, "DELETE FROM closeout."+of.rows+" WHERE "+of.key+these, ids...); err != nil {
		return 0, err
	}
	_, err = tx.ExecContext(ctx, "DELETE FROM closeout."+of.table+" WHERE id"+these, ids...)
	return len(ids), err
}

func (l *Ledger) ids(ctx context.Context, tx *transaction, q string, args ...any) (out []any, err error) {
	rows, err := tx.QueryContext(ctx, q, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		out = append(out, id)
	}
	return out, rows.Err()
}

// Removals are up to limit bites that were taken, the newest first.
func (l *Ledger) Removals(ctx context.Context, limit int) (out []Removal, err error) {
	err = l.each(ctx, "list removals", func(rows *sql.Rows) error {
		var r Removal
		err := rows.Scan((*ts)(&r.At), &r.Actor, (*ts)(&r.Before), &r.Closures, &r.Events, &r.Batches, &r.Redrives)
		out = append(out, r)
		return err
	}, "SELECT at, actor, ended_before, closures, events, batches, redrives FROM closeout.removals WHERE environment = $1 ORDER BY at DESC, id DESC LIMIT $2", string(l.env), limit)
	return out, err
}

// Expired counts the remembered requests and the sessions whose time is over, which Forget removes.
func (l *Ledger) Expired(ctx context.Context) (n int, err error) {
	now := ts(time.Now())
	err = l.db.QueryRowContext(ctx, "SELECT (SELECT count(*) FROM closeout.idempotency_keys WHERE expires_at <= $1) + (SELECT count(*) FROM closeout.sessions WHERE expires_at <= $2)", now, now).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count what is over: %w", err)
	}
	return n, nil
}
