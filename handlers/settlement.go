package handlers

import (
	"context"
	"fmt"
	"time"

	"closeout/calendar"
	"closeout/closure"
)

// settlement waits until what was sold can be withdrawn: T+1 by the broker's own count, not by ours.
func settlement(ctx context.Context, v *Visit) (closure.Outcome, error) {
	a, o, ok, err := v.account(ctx)
	if err != nil || !ok {
		return o, err
	}
	cash, free := closure.Cents(a.Cash.Decimal), closure.Cents(a.CashWithdrawable.Decimal)
	// What is on its way out may still be counted in the cash, or not: the withdrawal's books tell the two apart.
	due := cash
	if a.PendingTransferOut.Valid {
		due = closure.Cents(cash.Sub(a.PendingTransferOut.Decimal))
	}
	if !cash.IsNegative() && free.GreaterThanOrEqual(due) { // the withdrawal looks for positions and orders before each payout
		return closure.Go(closure.Withdrawal, fmt.Sprintf("%s can be withdrawn", usd(free))), nil
	}
	if o, ok, err := v.nothingToSell(ctx); err != nil || !ok {
		return o, err
	}
	if cash.IsNegative() {
		return closure.Fail(closure.NegativeCash, "the account owes "+usd(cash.Neg())), nil
	}
	// Everything had been sold when this phase was entered. What its settlement has not freed, time may not free either.
	if t := v.Calendar.NextMorning(v.Calendar.Settlement(calendar.DateOf(v.Closure.EnteredAt)).Time()); !t.After(v.Now) {
		return closure.Wait(0, closure.CashHeld, fmt.Sprintf("%s of %s can be withdrawn, though what was sold has settled on %s", usd(free), usd(cash), newYork(t))), nil
	}
	return closure.Wait(0, closure.Settling, fmt.Sprintf("%s of %s can be withdrawn; the rest settles, the next booking is %s",
		usd(free), usd(cash), newYork(v.Calendar.NextBooking(v.Now)))), nil
}

// nothingToSell goes back to the liquidation where orders or positions have appeared.
func (v *Visit) nothingToSell(ctx context.Context) (o closure.Outcome, ok bool, err error) {
	orders, err := v.Broker.OpenOrders(ctx, v.Closure.AccountID)
	if err != nil {
		return o, false, err
	}
	positions, err := v.Broker.Positions(ctx, v.Closure.AccountID)
	if err != nil {
		return o, false, err
	}
	if len(orders) > 0 || len(positions) > 0 {
		return closure.Go(closure.Liquidation, fmt.Sprintf("%s and %s in the account again", closure.Count(len(orders), "order"), closure.Count(len(positions), "position"))), false, nil
	}
	return o, true, nil
}

// newYork writes a moment as people at the market say it.
func newYork(t time.Time) string { return t.In(calendar.NewYork).Format("Mon 2 Jan 15:04 MST") }
