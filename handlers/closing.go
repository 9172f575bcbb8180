package handlers

import (
	"context"
	"fmt"
	"time"

	"closeout/alpaca"
	"closeout/closure"
)

// closing checks that nothing is left, by reads of this one visit, closes the account and reads that it is closed.
func closing(ctx context.Context, v *Visit) (closure.Outcome, error) {
	a, o, ok, err := v.account(ctx) // an account that reads ACCOUNT_CLOSED ends here: that is how a closing is confirmed
	if err != nil || !ok {
		return o, err
	}
	for _, i := range v.intents(closure.CloseIntent, closure.IntentSending) {
		if !i.Unknown(v.Wall) {
			return v.onWire(i), nil
		}
		i.State = closure.IntentVoid // the account reads open: a doubt is resolved by reading, and the gate is passed anew
		v.learn(i, "the closing was not carried out: the account is still open", nil)
	}
	if sent := v.intents(closure.CloseIntent, closure.IntentSent); len(sent) > 0 {
		return closure.Wait(0, closure.ClosingConfirm, closure.Reasons[closure.ClosingConfirm].Title), nil
	}
	if o, ok, err := v.gate(ctx, a); err != nil || !ok {
		return o, err
	}
	intents, err := v.Do(ctx, "close the account", Effect{
		Kind: closure.CloseIntent, Write: alpaca.CloseAccount(v.Closure.AccountID), Subject: v.Closure.AccountID,
	})
	if err != nil {
		return closure.Outcome{}, err
	}
	if i, ok := refused(intents); ok && !forNow(i) {
		return closure.Fail(closure.CloseRefused, "the broker refused to close the account: "+i.Answer), nil
	}
	return closure.Wait(0, closure.ClosingConfirm, closure.Reasons[closure.ClosingConfirm].Title), nil
}

// gate is promise 3: no position, no open order, no cash, nothing pending or unknown, and the money balances to the cent.
// Anything that is left sends the closure back to the phase that deals with it.
func (v *Visit) gate(ctx context.Context, a alpaca.TradingAccount) (closure.Outcome, bool, error) {
	if o, ok, err := v.nothingToSell(ctx); err != nil || !ok {
		return o, ok, err
	}
	if !a.AccruedFees.Valid {
		return closure.Outcome{}, false, fmt.Errorf("read trading account: the broker left out the accrued fees")
	}
	fees := a.AccruedFees.Decimal
	if a.PendingRegTAFFees.Valid { // those of the sales stand apart, where they are told at all
		fees = fees.Add(a.PendingRegTAFFees.Decimal)
	}
	if fees.GreaterThanOrEqual(closure.Cent) {
		return closure.Wait(0, closure.FeesAccrued, "fees of "+usd(fees)+" are accrued and not booked yet"), false, nil
	}
	// One list, asked for after the cash was read: what went out before the one shows in the other. Only a payout, whose sum
	// rests on the cash, wants a list on either side of it.
	asked := time.Now()
	l, err := v.list(ctx)
	if err != nil {
		return closure.Outcome{}, false, err
	}
	b := v.reading(a, l, asked)
	plan := b.plan()
	if plan.do != planEmpty {
		return closure.Go(closure.Withdrawal, "not ready to close: "+plan.why), false, nil
	}
	if gap := b.gap(); !gap.IsZero() {
		return v.unexplained(b, gap), false, nil
	}
	return closure.Outcome{}, true, nil
}
