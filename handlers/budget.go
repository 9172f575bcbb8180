package handlers

import (
	"context"
	"hash/fnv"
	"strconv"
	"time"

	"closeout/alpaca"
	"closeout/closure"
)

// Budget shares the broker's patience among all that ask it: *budget.Budget. Its errors are *alpaca.HeldError, or the
// context's.
type Budget interface {
	// Visit takes the calls that a look needs, or gives it a place in the queue of looks. inTurn: it had one.
	Visit(ctx context.Context, account string, calls int, inTurn bool) (context.Context, error)
	// Ask takes the calls of a visit that goes before that queue.
	Ask(ctx context.Context, account string, calls int) (context.Context, error)
	// Effects takes the calls of instructions, before anything is claimed for them.
	Effects(ctx context.Context, calls int) (context.Context, error)
}

// overdue is machine time after which a place in the queue of looks is lost: what stood still for long comes back in order,
// and not all at once.
const overdue = 10 * time.Minute

// begin takes from the budget what this visit needs to learn where the closure stands.
func (r *Runner) begin(ctx context.Context, v *Visit) (context.Context, error) {
	c := v.Closure
	switch {
	case r.Budget == nil:
		return ctx, nil
	case c.Priority == closure.Urgent || acts(c):
		return r.Budget.Ask(ctx, c.AccountID, v.reads())
	}
	inTurn := c.Reason == closure.BrokerBusy && r.Clock.Machine(v.Now.Sub(c.DueAt)) < overdue
	return r.Budget.Visit(ctx, c.AccountID, v.reads(), inTurn)
}

// acts says whether a visit is likely to do something, and not only to look: the closure has just gone on to this phase, or
// an instruction of it is on its way. So does the first visit of one that was asked for by itself: behind the looks of a batch
// it would stand for an hour.
func acts(c closure.Closure) bool {
	reason := waitsFor(c)
	if reason == closure.Accepted {
		return c.Priority != closure.Bulk
	}
	return reason == "" || reason == closure.Sending || reason == closure.UnknownOutcome
}

// waitsFor is the reason of the last wait that was not for the budget's sake.
func waitsFor(c closure.Closure) closure.Reason {
	if c.Reason == closure.BrokerBusy {
		return c.Memo.HeldReason
	}
	return c.Reason
}

// reads is how many calls a look of this kind makes until it knows what to do. What follows is part of doing it.
func (v *Visit) reads() int {
	switch v.Closure.Phase {
	case closure.Withdrawal:
		if v.glances() {
			return 2
		}
		return 7 // the transfers' two pages and the activities, twice, and the cash between them
	case closure.Closing:
		if len(v.intents(closure.CloseIntent, closure.IntentSent)) > 0 {
			return 1 // whether the account is closed
		}
		return 6 // the gate
	case closure.Liquidation, closure.Settlement:
	}
	return 3 // the account, its orders, its positions
}

// prepay takes the calls of instructions. It comes before everything else at the door: what is read may not grow old behind
// it, and between the claim and the socket nothing waits.
func (v *Visit) prepay(ctx context.Context, effects int) (context.Context, error) {
	if v.run.Budget == nil {
		return ctx, nil
	}
	return v.run.Budget.Effects(ctx, effects)
}

// held is the wait of a visit that was kept from asking the broker.
func (r *Runner) held(v *Visit, h *alpaca.HeldError) closure.Outcome {
	c := v.Closure
	pause := min(outagePause, r.Policy.Polls[c.Phase])
	switch h.Why {
	case alpaca.HoldOutage:
		return closure.Outage(patient(c, pause, r.Clock.Business(h.Age)), "the broker does not answer; trying again")
	case alpaca.HoldRefused:
		why := closure.Reasons[closure.CredentialsRefused].Title
		return closure.Unasked(patient(c, outagePause, r.Clock.Business(h.Age)), closure.CredentialsRefused, why)
	case alpaca.HoldBusy:
	}
	d := r.Clock.Business(h.For)
	if !h.Place { // to its place it comes on time
		d = spread(c, d, d)
	}
	return closure.Unasked(d, closure.BrokerBusy, closure.Reasons[closure.BrokerBusy].Title)
}

// longestPause is business time: how late a closure may hear that the broker is back.
const longestPause = 30 * time.Minute

// patient looks more seldom the longer nothing could be seen: a hundred thousand closures that wait out a night need not
// ask every few minutes whether it is over.
func patient(c closure.Closure, pause, age time.Duration) time.Duration {
	d := max(pause, min(age/8, longestPause*3/4))
	return spread(c, d, d/3)
}

// paced lets a poll come a little later, by another bit for each closure and look, so that what was begun together does not
// stay together. A moment that was set stays as it is.
func (r *Runner) paced(v *Visit, o closure.Outcome) closure.Outcome {
	if r.Budget == nil || !o.Waits() || !o.Until.IsZero() {
		return o
	}
	if o.Delay == 0 {
		o.Delay = r.Policy.Polls[v.Closure.Phase]
	}
	o.Delay = spread(v.Closure, o.Delay, o.Delay/20)
	return o
}

// spread adds up to more to d, by chance that this version of this closure always has the same of.
func spread(c closure.Closure, d, more time.Duration) time.Duration {
	h := fnv.New32a()
	_, _ = h.Write([]byte(c.ID + strconv.FormatInt(c.Version, 10)))
	x := h.Sum32() // of texts that differ little FNV's high bits differ little
	x ^= x >> 16
	x *= 0x45d9f3b
	x ^= x >> 16
	return d + time.Duration(float64(more)*float64(x)/(1<<32))
}
