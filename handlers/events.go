package handlers

import (
	"context"
	"errors"
	"time"

	"closeout/closure"
	"closeout/ledger"
)

// Hasten makes the waiting visit of an account's closure due now, since something is said to have happened to the account.
// That is all that an event of the broker's ever does: the visit reads and decides as always.
func (r *Runner) Hasten(ctx context.Context, account string) error {
	c, moved, err := r.Ledger.Hasten(ctx, account)
	if err != nil {
		return err
	}
	if moved {
		r.schedule(ctx, c)
	}
	return nil
}

// relaxedWithdrawal is how long a payout on its way is left alone while its end would be heard of.
const relaxedWithdrawal = 12 * time.Hour

// putOff lets a look that only waits for its poll come later while events are heard: what settles is booked in the morning,
// and what a payout comes to is told. Every other wait knows its moment already, or is short for a reason.
func (r *Runner) putOff(ctx context.Context, v *Visit, o closure.Outcome) closure.Outcome {
	if r.Heard == nil || !o.Waits() {
		return o
	}
	booking := v.Calendar.NextBooking(v.Now)
	switch v.Closure.Phase {
	case closure.Settlement:
	case closure.Withdrawal:
		if later := v.Now.Add(relaxedWithdrawal); o.Reason != closure.NotWithdrawable || later.Before(booking) {
			booking = later
		}
	case closure.Liquidation, closure.Closing: // their looks are what moves them
		return o
	}
	if !r.Heard(ctx) {
		return o
	}
	return o.PutOff(booking)
}

// unheard brings back the looks that were put off once events are heard no more: those that would have been due by now.
func (r *Runner) unheard(ctx context.Context) error {
	if r.Heard != nil && r.Heard(ctx) {
		return nil
	}
	return r.putOffUntil(ctx, r.Clock.Now())
}

// Missed brings back every look that was put off, since something may have happened that nobody heard.
func (r *Runner) Missed(ctx context.Context) error {
	return r.putOffUntil(ctx, r.Clock.Now().AddDate(1, 0, 0))
}

// putOffUntil brings back the looks that would be due by a moment if they had not been put off.
func (r *Runner) putOffUntil(ctx context.Context, by time.Time) error {
	return r.bringBack(ctx, func() ([]closure.Closure, error) { return r.Ledger.PutOff(ctx, r.Clock.Now(), by, sweepPage) })
}

// bringBack makes the looks of a list due, page by page.
func (r *Runner) bringBack(ctx context.Context, some func() ([]closure.Closure, error)) error {
	for {
		page, err := some()
		if err != nil {
			return err
		}
		moved := 0
		for _, c := range page {
			next, err := r.Ledger.Save(ctx, c, closure.Hastened(r.Clock.Now()), nil)
			if errors.Is(err, ledger.ErrStale) || errors.Is(err, closure.ErrNotRunning) {
				continue // somebody else came first
			}
			if err != nil {
				return err
			}
			if next.Version != c.Version {
				moved++
				r.schedule(ctx, next)
			}
		}
		if len(page) < sweepPage || moved == 0 {
			return nil
		}
	}
}
