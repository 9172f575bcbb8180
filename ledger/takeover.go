package ledger

import (
	"context"
	"errors"
	"fmt"

	"closeout/closure"
)

// Takeover is a closure that an earlier system has begun.
type Takeover struct {
	Wish
	Phase        closure.Phase     // at which it goes on, by what the broker shows
	Confirmation string            // that the customer was given; empty: none, and one is made
	Over         closure.TakenOver // since when this service alone acts
	Why          string            // in words: the history's first line
	Detail       map[string]any    // of that line

	// Changes follow in the same transaction: what is adopted, and the end of a closure whose account is closed already.
	Changes []closure.Change
}

// TakeOver writes a closure that an earlier system has begun, with all that was found of it, in one transaction. An account that
// ever had a closure here is left alone: the latest of them is returned, and taken is false.
func (l *Ledger) TakeOver(ctx context.Context, t Takeover) (c closure.Closure, taken bool, err error) {
	born, err := l.newborn(ctx, t.Wish)
	if err != nil {
		return c, false, fmt.Errorf("take over: %w", err)
	}
	born.Phase, born.Memo.TakenOver = t.Phase, &t.Over
	if t.Confirmation != "" {
		born.Confirmation = t.Confirmation
	}
	if born.Reason == closure.NotYet {
		born.Why = "taken over from the earlier system; the first step waits until its last payout must be listed"
	}
	detail := map[string]any{"account_id": born.AccountID, "ach_relationship_id": born.RelationshipID, "reason": t.Cause, "priority": born.Priority}
	for k, v := range t.Detail {
		detail[k] = v
	}
	first, err := link(&born, closure.Event{Kind: "accepted", At: born.CreatedAt, Actor: t.Actor, Text: t.Why + ": " + born.Confirmation, Detail: detail})
	if err != nil {
		return c, false, fmt.Errorf("take over: %w", err)
	}
	err = l.tx(ctx, func(tx *transaction) error {
		c = born
		if err := l.insert(ctx, tx, &c, first, t.Wish); err != nil {
			return err
		}
		// Asked after the insert: a closure that stood in its way and has ended since is seen here.
		var n int
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM closeout.closures WHERE environment = $1 AND account_id = $2", string(l.env), c.AccountID).Scan(&n); err != nil {
			return err
		}
		if n != 1 {
			return errHadOne
		}
		for _, ch := range t.Changes {
			if c, err = l.command(ctx, tx, c.ID, func(closure.Closure, []closure.Intent) (closure.Change, error) { return ch, nil }); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, errOpen) || errors.Is(err, errHadOne) {
		c, err = l.OfAccount(ctx, t.AccountID) // an open one is the latest: none is made beside it
		return c, false, err
	}
	if err != nil {
		return closure.Closure{}, false, fmt.Errorf("take over: %w", err)
	}
	about(ctx, c)
	return c, true, nil
}

var errHadOne = errors.New("the account had a closure before")
