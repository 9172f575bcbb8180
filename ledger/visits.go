package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"closeout/closure"
)

// Load reads a closure and then its intents. In this order no claim can slip between them unseen: a claim moves the row,
// so whoever read the row before it loses every later compare-and-set.
func (l *Ledger) Load(ctx context.Context, id string) (c closure.Closure, is []closure.Intent, err error) {
	if err := l.db.reads(ctx, l.rowOf(id, "", &c), l.intentsOf(id, &is)); err != nil {
		return c, nil, fmt.Errorf("load: %w", err)
	}
	return c, is, nil
}

// rowOf is the read of a closure by its id. ErrNotFound: there is none in this environment.
func (l *Ledger) rowOf(id, locking string, to *closure.Closure) read {
	return read{
		q: "SELECT " + closureColumns + " FROM closeout.closures WHERE id = $1" + locking, args: []any{id}, none: ErrNotFound,
		row: func(r row) (err error) {
			*to, err = l.scan(r)
			return err
		},
	}
}

// Claim moves the row and writes the intents of one effect, in one durable transaction. Each intent's key is the version
// that the claim makes. Send is an intent that is new (no ID yet) or an unknown one that is to be sent again. ErrStale:
// somebody else moved first, or the account has another transfer on the wire or on this banking day; nothing may be sent.
// *HeldError: an operator holds everything; nothing may be sent. Any other error leaves it open whether the claim was written: nothing may be sent either.
func (l *Ledger) Claim(ctx context.Context, c closure.Closure, ch closure.Change, send []closure.Intent, ev closure.Event) (closure.Closure, []closure.Intent, error) {
	var out []closure.Intent
	next, err := l.upon(ctx, c, ch, func(c closure.Closure, next *closure.Closure, _ *closure.Event) (err error) {
		out, err = l.claim(ctx, c, next, send, ev)
		return err
	})
	if errors.Is(err, errHeld) {
		h, err2 := l.Hold(ctx)
		err = errors.Join(err, err2)
		if err2 == nil { // be it over by now: the next look claims
			err = &HeldError{h}
		}
	}
	if err != nil {
		return c, nil, fmt.Errorf("claim: %w", err)
	}
	return next, out, nil
}

// claim writes a claim, where the row is still what c says, nothing is held, and no transfer that was given up for lost has turned up,
// at which a person must look first.
func (l *Ledger) claim(ctx context.Context, c closure.Closure, next *closure.Closure, send []closure.Intent, ev closure.Event) ([]closure.Intent, error) {
	row, err := l.writes(c, next, nil, &ev)
	if err != nil {
		return nil, err
	}
	ws := append(l.notHeld(), row...)
	if slices.ContainsFunc(send, func(i closure.Intent) bool { return i.Kind == closure.TransferIntent }) {
		ws = append(ws, noneLate(c))
	}
	out := slices.Clone(send)
	for n := range out {
		i := &out[n]
		if i.ID != "" {
			ws = append(ws, updateIntent(closure.IntentSending, *i))
			continue
		}
		i.ID = fmt.Sprintf("%s/%d/%d", c.ID, next.Version, n)
		i.ClosureID, i.Environment, i.AccountID = c.ID, c.Environment, c.AccountID
		i.Key, i.N, i.State = next.Version, n, closure.IntentSending
		w, err := insertIntent(*i)
		if err != nil {
			return nil, err
		}
		ws = append(ws, w)
	}
	return out, l.db.write(ctx, ws...)
}

// noneLate is the condition that no transfer of a closure has turned up that was given up for lost.
func noneLate(c closure.Closure) write {
	return write{
		what: "look for late transfers", unmet: fmt.Errorf("%w: a transfer given up for lost has turned up", ErrStale),
		q: "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM closeout.intents WHERE closure_id = $1 AND state = 'late')", args: []any{c.ID},
	}
}

// Record writes the broker's answer on an intent by its id, whatever the row has become since the closure was read. An answer that the
// broker took a transfer, over an intent that was given up, makes it late. The row and the intent are returned as they then stand.
func (l *Ledger) Record(ctx context.Context, c closure.Closure, answered closure.Intent, ev closure.Event) (closure.Closure, closure.Intent, error) {
	out := answered
	err := l.answered(ctx, &c, answered, ev)
	if errors.Is(err, ErrStale) {
		c, out, err = l.answeredLater(ctx, answered, ev)
	}
	if err != nil {
		return c, answered, fmt.Errorf("record answer: %w", err)
	}
	return c, out, nil
}

// answered writes an answer where nothing has happened since the claim, as a rule. ErrStale: something has.
func (l *Ledger) answered(ctx context.Context, c *closure.Closure, answered closure.Intent, ev closure.Event) error {
	if c.ID != answered.ClosureID {
		return ErrStale
	}
	next := *c
	ws, err := l.appended(&next, &ev)
	if err != nil {
		return err
	}
	w := updateIntent(closure.IntentSending, answered)
	w.args = append(w.args, ts(answered.Deadline)) // each claim has a deadline of its own
	w.q += fmt.Sprintf(" AND deadline = $%d", len(w.args))
	if err := l.db.write(ctx, append(ws, w)...); err != nil {
		return err
	}
	*c = next
	return nil
}

// answeredLater writes an answer upon whatever row and intent have become.
func (l *Ledger) answeredLater(ctx context.Context, answered closure.Intent, ev closure.Event) (c closure.Closure, out closure.Intent, err error) {
	out = answered
	err = l.tx(ctx, func(tx *transaction) error {
		var now closure.Intent
		if err := tx.reads(ctx, l.rowOf(answered.ClosureID, forUpdate, &c), intentOf(answered.ID, &now)); err != nil {
			return err
		}
		switch {
		case now.State == closure.IntentSending && answered.State == closure.IntentRefused && !sameClaim(now, answered):
			// an order that another visit has claimed again meanwhile: this writer's refusal says nothing of that one's sending
			out = now
			return l.append(ctx, tx, &c, &ev)
		case now.State == closure.IntentSending:
		case now.State == closure.IntentVoid && answered.State == closure.IntentSent && now.Kind != closure.TransferIntent:
			// a cancellation or closing that came through after all: no money has moved unseen
		case now.State == closure.IntentVoid && answered.State == closure.IntentSent:
			out.State = closure.IntentLate
			ev.Kind, ev.Text = "late", "a transfer given up for lost was taken by the broker after all: "+ev.Text
		default: // adopted from a list meanwhile, or refused after it was given up: only the history learns of it
			out = now
			return l.append(ctx, tx, &c, &ev)
		}
		if err := l.append(ctx, tx, &c, &ev); err != nil { // the row, its event, the intents: everybody writes in this order
			return err
		}
		return tx.later(ctx, updateIntent(now.State, out))
	})
	return c, out, err
}

// sameClaim says whether two readings of an intent are of the same claim: each sets a deadline of its own.
func sameClaim(a, b closure.Intent) bool {
	return a.Deadline.Truncate(time.Microsecond).Equal(b.Deadline.Truncate(time.Microsecond))
}

// lock takes the row for the rest of the transaction, and reads it.
func (l *Ledger) lock(ctx context.Context, tx *transaction, id string) (c closure.Closure, err error) {
	err = tx.reads(ctx, l.rowOf(id, forUpdate, &c))
	return c, err
}

// moved says whether a row is another one than was read.
func moved(was, now closure.Closure) bool {
	return now.Version != was.Version || now.Token != was.Token || now.State != was.State
}

// Learned is an intent as a visit leaves it, and the state in which the visit found it.
type Learned struct {
	Was    closure.IntentState
	Intent closure.Intent
}

// Save ends a visit: the row as Apply says, what was learned of the intents, and the events, in one transaction.
// ErrStale: another visit or a command came first, and nothing was written.
func (l *Ledger) Save(ctx context.Context, c closure.Closure, ch closure.Change, learned []Learned, evs ...closure.Event) (closure.Closure, error) {
	next, err := l.upon(ctx, c, ch, func(c closure.Closure, next *closure.Closure, ev *closure.Event) error {
		return l.save(ctx, c, next, learned, evs, ev)
	})
	if err != nil {
		return c, fmt.Errorf("save: %w", err)
	}
	return next, nil
}

// upon has a change written upon a row as it was read, without a lock. Where an answer was recorded meanwhile, a wake marked or the
// error of an overlapping delivery noted, which don't move the row, it is done again upon what is there now, so that nothing of that
// is written over. ErrStale: the row has moved, or write has another reason to say so.
func (l *Ledger) upon(
	ctx context.Context, c closure.Closure, ch closure.Change, write func(from closure.Closure, next *closure.Closure, ev *closure.Event) error,
) (closure.Closure, error) {
	for from := c; ; {
		next, ev, err := closure.Apply(from, ch, l.policy)
		if err == nil {
			if err = write(from, &next, ev); err == nil || !errors.Is(err, ErrStale) {
				return next, err
			}
		}
		now, err2 := l.Get(ctx, c.ID)
		switch {
		case err2 != nil:
			return c, err2
		case moved(c, now), now.Seq <= from.Seq && now.HeadHash != from.HeadHash: // the latter: the ledger has lost what was read
			return c, ErrStale
		case now.Seq == from.Seq && now.WokenAt.Equal(from.WokenAt):
			return c, err
		}
		from = now
	}
}

func (l *Ledger) save(ctx context.Context, c closure.Closure, next *closure.Closure, learned []Learned, evs []closure.Event, last *closure.Event) error {
	all := make([]*closure.Event, 0, len(evs)+1)
	for i := range evs {
		all = append(all, &evs[i])
	}
	all = append(all, last)
	if l.status != nil && c.State != next.State { // the application's row is taken behind the closure's, by everybody
		return l.tx(ctx, func(tx *transaction) error {
			now, err := l.lock(ctx, tx, c.ID)
			if err == nil && moved(c, now) {
				err = ErrStale
			}
			if err != nil {
				return err
			}
			if err := l.put(ctx, tx, c, next, all...); err != nil {
				return err
			}
			return tx.later(ctx, updates(learned)...)
		})
	}
	ws, err := l.writes(c, next, nil, all...)
	if err != nil {
		return err
	}
	return l.db.write(ctx, slices.Concat(ws, updates(learned))...)
}

func updates(learned []Learned) []write {
	ws := make([]write, len(learned))
	for n, i := range learned {
		ws[n] = updateIntent(i.Was, i.Intent)
	}
	return ws
}

// Command locks the row, reads its intents and lets decide make the change, in one transaction: what it decides on can't
// move under it. A NotAllowedError of decide or of Apply is returned as it is; ErrTaken says that a transfer to be adopted is
// another intent's. The replies are written with the change.
func (l *Ledger) Command(
	ctx context.Context, id string, decide func(closure.Closure, []closure.Intent) (closure.Change, error), replies ...*Reply[closure.Closure],
) (closure.Closure, error) {
	var next closure.Closure
	err := l.tx(ctx, func(tx *transaction) (err error) {
		if next, err = l.command(ctx, tx, id, decide); err != nil {
			return err
		}
		return reply(ctx, l, tx, next, replies)
	})
	about(ctx, next)
	if err != nil {
		return next, fmt.Errorf("command: %w", err)
	}
	replied(replies)
	return next, nil
}

// command is Command within a transaction.
func (l *Ledger) command(
	ctx context.Context, tx *transaction, id string, decide func(closure.Closure, []closure.Intent) (closure.Change, error),
) (closure.Closure, error) {
	var c closure.Closure
	var is []closure.Intent
	if err := tx.reads(ctx, l.rowOf(id, forUpdate, &c), l.intentsOf(id, &is)); err != nil {
		return c, err
	}
	ch, err := decide(c, is)
	if err == nil {
		err = ch.Commanded(c, is)
	}
	if err != nil {
		return c, err
	}
	next, ev, err := closure.Apply(c, ch, l.policy)
	if err != nil {
		return next, err
	}
	if err := l.put(ctx, tx, c, &next, ev); err != nil {
		return next, err
	}
	found, settled := ch.Adoption()
	if i, ok := ch.Settled(); ok {
		settled = append(settled, i)
	}
	if err := l.adopt(ctx, tx, next, found, settled, is); err != nil {
		return next, err
	}
	if c.State == closure.Failed && ch.SeesLate() {
		if _, err := tx.ExecContext(ctx, "UPDATE closeout.intents SET state = 'sent' WHERE closure_id = $1 AND state = 'late'", id); err != nil {
			return next, err
		}
	}
	return next, tx.flush(ctx)
}
