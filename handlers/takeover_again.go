package handlers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"closeout/alpaca"
	"closeout/closure"
	"closeout/legacy"
)

// again is about an account that has, or had, a closure here: nothing is begun anew. Of one that was taken over, a payout of the
// earlier system that was listed only afterwards is adopted. Where the earlier system has worked on since, as its records show or
// whoever calls knows, both would pay one account out: the closure is paused, and its takeover counts anew.
func (t *Takeovers) again(ctx context.Context, c closure.Closure, a legacy.Account, worked bool) (Taken, error) {
	out := Taken{Fate: HaveIt, Closure: c, Phase: c.Phase, Why: fmt.Sprintf("it has a closure here: %s in %s", c.State, c.Phase)}
	over := c.Memo.TakenOver
	if over != nil && !over.Touched.IsZero() && a.Touched().After(over.Touched) {
		worked = true
	}
	if c.State.Ended() || over == nil {
		return t.besides(c, a, worked, out), nil
	}
	ctx, err := t.pay(ctx, c.AccountID, 2)
	if err != nil {
		return t.unread(ctx, err)
	}
	all, err := t.Broker.Transfers(ctx, c.AccountID)
	if err != nil {
		return t.unread(ctx, err)
	}
	belongs, err := t.payouts(a, all, c.RelationshipID)
	if err != nil {
		return t.unread(ctx, err)
	}
	renewed := t.since(a)
	renewed.Told = over.Told
	last := t.Clock.At(over.Wall.Add(t.Timing.Quarantine))
	if worked {
		last = renewed.At
	}
	late := func(intents []closure.Intent) []alpaca.Transfer {
		return slices.DeleteFunc(LostTransfers(c, intents, all, time.Time{}), func(tr alpaca.Transfer) bool {
			return tr.CreatedAt.After(last) || !slices.ContainsFunc(belongs, func(b alpaca.Transfer) bool { return b.ID == tr.ID })
		})
	}
	intents, err := t.Ledger.Intents(ctx, c.ID)
	if err != nil {
		return Taken{}, err
	}
	found := late(intents)
	if len(found) == 0 && !worked {
		return out, nil
	}
	out.Fate, out.Adopted = AdoptedNow, len(found)
	out.Why = closure.Count(len(found), "payout") + " of the earlier system was not listed when it was taken over"
	if worked {
		out.Fate, out.Hint = ForPerson, stopIt+"run the import again, and then resume the closure."
		out.Why = "the earlier system has worked on it since it was taken over; the closure is paused, so that not both pay it out"
	}
	if !t.Apply {
		out.Why = strings.Replace(out.Why, "is paused", "would be paused", 1)
		return out, nil
	}
	if worked {
		if err := t.pause(ctx, c.ID); err != nil {
			return Taken{}, err
		}
	}
	out.Closure, err = t.Ledger.Command(ctx, c.ID, func(_ closure.Closure, intents []closure.Intent) (closure.Change, error) {
		found = late(intents)
		if len(found) == 0 && !worked {
			return closure.Change{}, errNoneLate
		}
		why, ad := origin+", listed late", t.adoption(c.AccountID, intents, found, all)
		if worked {
			why, ad.Over = "the earlier system worked on after the takeover, which counts anew from now", &renewed
		}
		return closure.Adopted(t.Clock.Now(), t.Actor, why, ad), nil
	})
	if errors.Is(err, errNoneLate) {
		out.Closure, out.Fate, out.Adopted = c, HaveIt, 0
		return out, nil
	}
	return out, err
}

var errNoneLate = errors.New("nothing is to be adopted any more")

// pause holds a closure. One that does not run sends nothing as it is.
func (t *Takeovers) pause(ctx context.Context, id string) error {
	_, err := t.Ledger.Command(ctx, id, func(c closure.Closure, _ []closure.Intent) (closure.Change, error) {
		if c.State != closure.Running {
			return closure.Change{}, errNotRunning
		}
		return closure.Pause(t.Clock.Now(), t.Actor, "the earlier system has worked on it since it was taken over: stop it and run the import again before you resume this"), nil
	})
	if errors.Is(err, errNotRunning) {
		return nil
	}
	return err
}

var errNotRunning = errors.New("the closure does not run")

// besides is about an account whose closure here is over, or was asked for here while the earlier system has it, too.
func (t *Takeovers) besides(c closure.Closure, a legacy.Account, worked bool, out Taken) Taken {
	since := c.CreatedAt
	if c.State.Ended() {
		since = c.EndedAt
		out.Why = fmt.Sprintf("it had a closure here: %s on %s", c.State, c.EndedAt.Format("2 January 2006"))
	}
	if c.Memo.TakenOver == nil && !a.Touched().IsZero() {
		worked = worked || t.Clock.At(a.Touched()).After(since)
	}
	switch {
	case !worked || a.Stands() != legacy.Open:
	case c.State == closure.Canceled:
		out.Fate, out.Why = ForPerson, out.Why+", and the earlier system has gone on with the closing since"
		out.Hint = "Ask the customer. If the account is to be closed, stop the earlier system, and " + byAPI
	case !c.State.Ended():
		out.Fate, out.Why = ForPerson, out.Why+", and the earlier system has worked on it since"
		out.Hint = "Pause the closure. " + stopIt + "wait for an hour, compare the account's transfers, then resume it."
	}
	return out
}
