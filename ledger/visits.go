package ledger

import (
	"context"
	"fmt"
	"time"

	"closeout/closure"
)

// Load reads a closure and then its intents. In this order no claim can slip between them unseen: a claim moves the row,
// so whoever read the row before it loses every later compare-and-set.
func (l *Ledger) Load(ctx context.Context, id string) (closure.Closure, []closure.Intent, error) {
	c, err := l.Get(ctx, id)
	if err != nil {
		return c, nil, err
	}
	is, err := l.Intents(ctx, id)
	return c, is, err
}

// Claim moves the row and writes the intents of one effect, in one durable transaction. Each intent's key is the version
// that the claim makes. Send is an intent that is new (no ID yet) or an unknown one that is to be sent again. ErrStale:
// somebody else moved first, or the account has another transfer on the wire or on this banking day; nothing may be sent.
// *HeldError: an operator holds everything; nothing may be sent. Any other error leaves it open whether the claim was written: nothing may be sent either.
func (l *Ledger) Claim(ctx context.Context, c closure.Closure, ch closure.Change, send []closure.Intent, ev closure.Event) (closure.Closure, []closure.Intent, error) {
	var next closure.Closure
	out := make([]closure.Intent, len(send))
	err := l.tx(ctx, func(tx *transaction) error {
		if err := l.notHeld(ctx, tx); err != nil {
			return err
		}
		c, err := l.still(ctx, tx, c)
		if err != nil {
			return err
		}
		if next, _, err = closure.Apply(c, ch, l.policy); err != nil {
			return err
		}
		if err := l.move(ctx, tx, c, &next); err != nil {
			return err
		}
		for n, i := range send {
			if i.Kind == closure.TransferIntent {
				if err := noneLate(ctx, tx, c.ID); err != nil {
					return err
				}
			}
			if i.ID != "" {
				if err := updateIntent(ctx, tx, closure.IntentSending, i); err != nil {
					return err
				}
				out[n] = i
				continue
			}
			i.ID = fmt.Sprintf("%s/%d/%d", c.ID, next.Version, n)
			i.ClosureID, i.Environment, i.AccountID = c.ID, c.Environment, c.AccountID
			i.Key, i.N, i.State = next.Version, n, closure.IntentSending
			if err := insertIntent(ctx, tx, i); err != nil {
				return err
			}
			out[n] = i
		}
		return l.write(ctx, tx, c, &next, &ev)
	})
	if err != nil {
		return c, nil, fmt.Errorf("claim: %w", err)
	}
	return next, out, nil
}

// noneLate refuses a transfer while one that was given up for lost has turned up: a person must look first.
func noneLate(ctx context.Context, tx *transaction, id string) error {
	var n int
	if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM closeout.intents WHERE closure_id = $1 AND state = 'late'", id).Scan(&n); err != nil {
		return err
	}
	if n > 0 {
		return fmt.Errorf("%w: a transfer given up for lost has turned up", ErrStale)
	}
	return nil
}

// Record writes the broker's answer on an intent by its id, whatever the row has become. An answer that the broker took a
// transfer, over an intent that was given up, makes it late. The intent as it then stands is returned.
func (l *Ledger) Record(ctx context.Context, answered closure.Intent, ev closure.Event) (closure.Intent, error) {
	out := answered
	err := l.tx(ctx, func(tx *transaction) error {
		c, err := l.lock(ctx, tx, answered.ClosureID)
		if err != nil {
			return err
		}
		now, err := scanIntent(tx.QueryRowContext(ctx, "SELECT "+intentColumns+" FROM closeout.intents WHERE id = $1", answered.ID))
		if err != nil {
			return err
		}
		switch {
		case now.State == closure.IntentSending && answered.State == closure.IntentRefused && !sameClaim(now, answered):
			// an order that another visit has claimed again meanwhile: this writer's refusal says nothing of that one's sending
			out = now
			return l.write(ctx, tx, c, &c, &ev)
		case now.State == closure.IntentSending:
		case now.State == closure.IntentVoid && answered.State == closure.IntentSent && now.Kind != closure.TransferIntent:
			// a cancellation or closing that came through after all: no money has moved unseen
		case now.State == closure.IntentVoid && answered.State == closure.IntentSent:
			out.State = closure.IntentLate
			ev.Kind, ev.Text = "late", "a transfer given up for lost was taken by the broker after all: "+ev.Text
		default: // adopted from a list meanwhile, or refused after it was given up: only the history learns of it
			out = now
			return l.write(ctx, tx, c, &c, &ev)
		}
		if err := updateIntent(ctx, tx, now.State, out); err != nil {
			return err
		}
		return l.write(ctx, tx, c, &c, &ev)
	})
	if err != nil {
		return answered, fmt.Errorf("record answer: %w", err)
	}
	return out, nil
}

// sameClaim says whether two readings of an intent are of the same claim: each sets a deadline of its own.
func sameClaim(a, b closure.Intent) bool {
	return a.Deadline.Truncate(time.Microsecond).Equal(b.Deadline.Truncate(time.Microsecond))
}

// lock takes the row for the rest of the transaction by updating it, and reads it.
func (l *Ledger) lock(ctx context.Context, tx *transaction, id string) (closure.Closure, error) {
	return l.scan(tx.QueryRowContext(ctx, "UPDATE closeout.closures SET seq = seq WHERE id = $1 RETURNING "+closureColumns, id))
}

// still locks the row and returns it as it is now, if it is at the version that the visit has read. What came since then
// without moving it, the mark of a wake or the error of an overlapping delivery, is in it and won't be written over.
func (l *Ledger) still(ctx context.Context, tx *transaction, c closure.Closure) (closure.Closure, error) {
	now, err := l.lock(ctx, tx, c.ID)
	if err != nil {
		return c, err
	}
	if now.Version != c.Version || now.Token != c.Token || now.State != c.State {
		return c, ErrStale
	}
	return now, nil
}

// Learned is an intent as a visit leaves it, and the state in which the visit found it.
type Learned struct {
	Was    closure.IntentState
	Intent closure.Intent
}

// Save ends a visit: the row as Apply says, what was learned of the intents, and the events, in one transaction.
// ErrStale: another visit or a command came first, and nothing was written.
func (l *Ledger) Save(ctx context.Context, c closure.Closure, ch closure.Change, learned []Learned, evs ...closure.Event) (closure.Closure, error) {
	var next closure.Closure
	err := l.tx(ctx, func(tx *transaction) error {
		c, err := l.still(ctx, tx, c)
		if err != nil {
			return err
		}
		var ev *closure.Event
		if next, ev, err = closure.Apply(c, ch, l.policy); err != nil {
			return err
		}
		if err := l.move(ctx, tx, c, &next); err != nil {
			return err
		}
		for _, i := range learned {
			if err := updateIntent(ctx, tx, i.Was, i.Intent); err != nil {
				return err
			}
		}
		all := make([]*closure.Event, 0, len(evs)+1)
		for i := range evs {
			all = append(all, &evs[i])
		}
		return l.write(ctx, tx, c, &next, append(all, ev)...)
	})
	if err != nil {
		return c, fmt.Errorf("save: %w", err)
	}
	return next, nil
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
	c, err := l.lock(ctx, tx, id)
	if err != nil {
		return c, err
	}
	is, err := l.intents(ctx, tx, id)
	if err != nil {
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
	if err := l.move(ctx, tx, c, &next); err != nil {
		return next, err
	}
	if i, ok := ch.Settled(); ok {
		for _, was := range is {
			if was.ID == i.ID {
				err = updateIntent(ctx, tx, was.State, i)
			}
		}
		if err != nil {
			return next, err
		}
	}
	found, settled := ch.Adoption()
	if err := l.adopt(ctx, tx, next, found, settled, is); err != nil {
		return next, err
	}
	if c.State == closure.Failed && ch.SeesLate() {
		if _, err := tx.ExecContext(ctx, "UPDATE closeout.intents SET state = 'sent' WHERE closure_id = $1 AND state = 'late'", id); err != nil {
			return next, err
		}
	}
	err = l.write(ctx, tx, c, &next, ev)
	return next, err
}
