package handlers

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"closeout/alpaca"
	"closeout/closure"
)

// batch is how many orders one claim may cover: each must be on the wire within seconds of it.
const batch = 10

// haltedAfter is how long, in open-market time, a market order may stay unfilled before it is taken for a halt, which uses
// up no limit; seldom is how soon one looks again where nothing is likely to move.
const (
	haltedAfter = 5 * time.Minute
	seldom      = 15 * time.Minute
)

// liquidation cancels what is open, waits until it is gone, sells each position, and waits until none is left.
func liquidation(ctx context.Context, v *Visit) (closure.Outcome, error) {
	a, o, ok, err := v.account(ctx)
	if err != nil || !ok {
		return o, err
	}
	if a.TradingBlocked {
		return closure.Park(0, closure.AccountBlocked, "the broker has blocked trading in the account"), nil
	}
	if a.TradeSuspendedByUser {
		return closure.Park(seldom, closure.TradeSuspended, closure.Reasons[closure.TradeSuspended].Title), nil
	}
	orders, err := v.Broker.OpenOrders(ctx, v.Closure.AccountID)
	if err != nil {
		return o, err
	}
	if o, ok, err := v.settleOrders(ctx, orders); err != nil || !ok {
		return o, err
	}
	own, others := v.split(orders)
	if len(others) > 0 {
		return v.cancelOrders(ctx, others)
	}
	if len(own) > 0 {
		return v.waitForFills(own), nil
	}
	positions, err := v.Broker.Positions(ctx, v.Closure.AccountID)
	if err != nil {
		return o, err
	}
	if len(positions) == 0 {
		return closure.Go(closure.Settlement, "no open order and no position is left"), nil
	}
	return v.sell(ctx, positions)
}

// settleOrders brings the order and cancel intents up to what the broker shows. ok is false when o must be waited for
// first: an answer on its way, or an unknown order that was just sent again.
func (v *Visit) settleOrders(ctx context.Context, open []alpaca.Order) (o closure.Outcome, ok bool, err error) {
	isOpen := map[string]bool{}
	for _, b := range open {
		isOpen[b.ID] = true
	}
	var again []Effect
	unlisted := false
	for _, i := range v.Intents {
		switch {
		case i.Kind != closure.OrderIntent && i.Kind != closure.CancelIntent:
		case i.State == closure.IntentSending && !i.Unknown(v.Wall):
			return v.onWire(i), false, nil
		case i.State == closure.IntentSending && i.Kind == closure.CancelIntent:
			i.State = closure.IntentVoid // asked again below if the order is still open: a second cancel does nothing more
			v.learn(i, "", nil)
		case i.State == closure.IntentSending:
			order, err := v.Broker.OrderByClientID(ctx, v.Closure.AccountID, i.ClientOrderID)
			if alpaca.NotFound(err) {
				again = append(again, Effect{Kind: i.Kind, Again: &i})
				continue
			}
			if err != nil {
				return o, false, err
			}
			i.State, i.BrokerID = closure.IntentSent, order.ID
			v.finish(i, order, "an order whose answer was lost was found by its client_order_id")
		case i.Kind == closure.OrderIntent && i.State == closure.IntentSent && i.Finished == "" && !isOpen[i.BrokerID]:
			order, err := v.Broker.Order(ctx, v.Closure.AccountID, i.BrokerID)
			if alpaca.NotFound(err) {
				unlisted = true
				continue
			}
			if err != nil {
				return o, false, err
			}
			v.finish(i, order, "")
		}
	}
	if unlisted { // its shares may be on sale: nothing more is sold until it shows
		return closure.Wait(0, closure.OrdersOpen, "the broker took a closing order and does not show it yet"), false, nil
	}
	if len(again) == 0 {
		return o, true, nil
	}
	if !v.Calendar.Open(v.Now) && !slices.ContainsFunc(again, func(e Effect) bool { return anyHour(*e.Again) }) {
		return v.untilOpen("an order whose outcome is unknown is sent again when the market opens"), false, nil
	}
	again = again[:min(len(again), batch)]
	if _, err := v.Do(ctx, fmt.Sprintf("send %s again that the broker does not have", closure.Count(len(again), "order")), again...); err != nil {
		return o, false, err
	}
	return closure.Wait(0, closure.Selling, "closing orders were sent again"), false, nil
}

// finish notes what became of an order once it has ended: how much was sold, and for how much.
func (v *Visit) finish(i closure.Intent, order alpaca.Order, text string) {
	if !order.Ended() {
		if text != "" {
			v.learn(i, text, nil)
		}
		return
	}
	i = finished(i, order)
	detail := map[string]any{"status": i.Finished, "symbol": order.Symbol}
	if i.Proceeds.Valid {
		detail["filled_qty"], detail["filled_avg_price"] = order.FilledQty.Decimal.String(), order.FilledAvgPrice.Decimal.String()
	}
	if text == "" {
		text = fmt.Sprintf("the order for %s ended: %s", order.Symbol, i.Finished)
	}
	v.learn(i, text, detail)
}

// split tells the closure's own closing orders from everybody else's.
func (v *Visit) split(orders []alpaca.Order) (own, others []alpaca.Order) {
	mine := map[string]bool{}
	for _, i := range v.Intents {
		if i.Kind == closure.OrderIntent {
			mine[i.ClientOrderID] = true
		}
	}
	for _, o := range orders {
		for _, live := range o.Live() {
			if mine[live.ClientOrderID] {
				own = append(own, live)
			} else {
				others = append(others, live)
			}
		}
	}
	return own, others
}

func (v *Visit) cancelOrders(ctx context.Context, orders []alpaca.Order) (closure.Outcome, error) {
	why := closure.Count(len(orders), "open order") + " must be gone before anything is sold"
	var ask []Effect
	for _, o := range orders {
		if strings.EqualFold(o.Status, "pending_cancel") || len(ask) == batch {
			continue
		}
		ask = append(ask, Effect{Kind: closure.CancelIntent, Write: alpaca.CancelOrder(v.Closure.AccountID, o.ID), Subject: o.ID})
	}
	if len(ask) > 0 {
		if _, err := v.Do(ctx, "cancel "+closure.Count(len(ask), "open order"), ask...); err != nil {
			return closure.Outcome{}, err
		}
	}
	if !v.Calendar.Open(v.Now) { // a dying order needs no market, and nothing can be sold before the bell
		return closure.Wait(seldom, closure.OrdersCanceling, why), nil
	}
	return closure.Wait(0, closure.OrdersCanceling, why), nil
}

func (v *Visit) waitForFills(own []alpaca.Order) closure.Outcome {
	var symbols []string
	halted, again, bell := false, true, true
	for _, o := range own {
		symbols = append(symbols, o.Symbol)
		again = again && v.idle(o.AssetID)
		crypto := alpaca.StatusIs(o.AssetClass, alpaca.Crypto)
		bell = bell && !crypto
		if o.CreatedAt == nil {
			continue
		}
		if v.Calendar.OpenTime(*o.CreatedAt, v.Now) > haltedAfter || crypto && v.Now.Sub(*o.CreatedAt) > haltedAfter {
			halted = true
		}
	}
	at := strings.Join(symbols, ", ")
	switch {
	case bell && !v.Calendar.Open(v.Now):
		return v.untilOpen("closing orders for " + at + " wait for the market")
	case halted:
		return halts(seldom, symbols)
	case again:
		return halts(0, symbols)
	}
	return closure.Wait(0, closure.OrdersOpen, "closing orders for "+at+" are at the market")
}

// idle says whether the last order for an asset lived through its session and nothing of it was filled: a halt that goes on,
// whose next session uses up no limit from its first minute.
func (v *Visit) idle(asset string) bool {
	for _, i := range slices.Backward(v.Intents) {
		if i.Kind == closure.OrderIntent && i.Subject == asset && i.Finished != "" {
			return i.Finished == "expired" && i.FilledQty.Valid && i.FilledQty.Decimal.IsZero()
		}
	}
	return false
}

// halts waits for what does not trade, in the same words however it was found out.
func halts(d time.Duration, symbols []string) closure.Outcome {
	return closure.Park(d, closure.Halted, strings.Join(symbols, ", ")+" does not trade although the market is open, probably a halt; the order stays and is tried again each session")
}

// untilOpen waits for the session, with the reason said. A little after the bell, so that the open's rush is over.
func (v *Visit) untilOpen(what string) closure.Outcome {
	open := v.Calendar.NextOpen(v.Now)
	return closure.WaitUntil(open.Add(time.Minute), closure.MarketClosed, fmt.Sprintf("%s; the market opens %s", what, newYork(open)))
}
