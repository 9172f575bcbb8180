package handlers

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"closeout/alpaca"
	"closeout/closure"
)

// sold are the classes of assets that this service closes by a market order of the whole quantity. One that it has not heard
// of is left to a person: what its orders need is not known.
var sold = []string{alpaca.Equity, alpaca.Option, alpaca.Crypto}

// sell asks for one order a position, each with an id of its own for closure, asset and attempt. What is short is bought back
// first: the proceeds of the rest are not assumed for it, and neither do shares go that a sold option still needs. Crypto
// waits for no bell.
func (v *Visit) sell(ctx context.Context, positions []alpaca.Position) (closure.Outcome, error) {
	var ask []Effect
	var held, idle []string
	open := v.Calendar.Open(v.Now)
	short := slices.ContainsFunc(positions, alpaca.Position.Short)
	for _, p := range positions {
		crypto := alpaca.StatusIs(p.AssetClass, alpaca.Crypto)
		switch {
		case !slices.ContainsFunc(sold, func(class string) bool { return alpaca.StatusIs(p.AssetClass, class) }):
			return closure.Fail(closure.Unsupported, fmt.Sprintf("the account holds %s (%s)", p.Symbol, p.AssetClass)), nil
		case !p.Qty.Valid:
			return closure.Outcome{}, fmt.Errorf("read positions: the broker left out the quantity of %s", p.Symbol)
		case short && !p.Short() && !crypto:
		case p.QtyAvailable.Valid && p.QtyAvailable.Decimal.Abs().LessThan(p.Qty.Decimal.Abs()):
			held = append(held, p.Symbol)
		case len(ask) < batch && (open || crypto):
			ask = append(ask, v.close(p))
			if v.idle(p.AssetID) {
				idle = append(idle, p.Symbol)
			}
		}
	}
	switch {
	case len(ask) == 0 && !open:
		return v.untilOpen(closure.Count(len(positions), "position") + " to be sold"), nil
	case len(ask) == 0 && v.Closure.Spent > haltedAfter:
		return closure.Park(seldom, closure.SharesHeld, strings.Join(held, ", ")+": the broker holds shares back that no open order is for"), nil
	case len(ask) == 0:
		return closure.Wait(0, closure.Selling, "shares of "+strings.Join(held, ", ")+" are still held by orders that are going"), nil
	}
	intents, err := v.Do(ctx, fmt.Sprintf("sell %d of %s", len(ask), closure.Count(len(positions), "position")), ask...)
	if err != nil {
		return closure.Outcome{}, err
	}
	for _, i := range intents {
		if i.State == closure.IntentRefused && !forNow(i) && !heldByOrders(i) {
			return v.notSold(ctx, i), nil
		}
	}
	if len(idle) == len(ask) {
		return halts(0, idle), nil
	}
	return closure.Wait(0, closure.Selling, closure.Count(len(ask), "closing order")+" on the way"), nil
}

// close is the next attempt at one position.
func (v *Visit) close(p alpaca.Position) Effect {
	attempt := v.attempts(p.AssetID) + 1
	id := fmt.Sprintf("%s-%s-%d", v.Closure.ID, p.AssetID, attempt)
	return Effect{
		Kind: closure.OrderIntent, Write: alpaca.CloseOrder(v.Closure.AccountID, p, p.Qty.Decimal.Abs(), id),
		Subject: p.AssetID, Attempt: attempt, ClientOrderID: id,
	}
}

// notSold stops over an order that no waiting mends, and looks for what a person must mend: the broker's words alone are not
// made to be read by a machine. Where that can't be read either, the words must do.
func (v *Visit) notSold(ctx context.Context, i closure.Intent) closure.Outcome {
	words := "the broker refused a closing order: " + i.Answer
	if i.Status != 403 && i.Status != 422 {
		return closure.Fail(closure.OrderRefused, words)
	}
	if a, err := v.Broker.Asset(ctx, i.Subject); err == nil && alpaca.StatusIs(a.Status, "inactive") {
		return closure.Fail(closure.InactiveAsset, a.Symbol+" is inactive at the broker; "+words)
	}
	if subscribed, err := v.Broker.Subscribed(ctx, v.Closure.AccountID); err == nil && subscribed {
		return closure.Fail(closure.Rebalanced, closure.Reasons[closure.Rebalanced].Title+"; "+words)
	}
	return closure.Fail(closure.OrderRefused, words)
}

// heldByOrders is the one refusal of an order that time mends: shares that a dying order still holds.
func heldByOrders(i closure.Intent) bool {
	return strings.Contains(i.Answer, "insufficient qty available")
}

// anyHour says of an order that was asked for whether it needs no open market: only crypto's is no day order.
func anyHour(i closure.Intent) bool {
	var w alpaca.Write
	var r alpaca.OrderRequest
	return json.Unmarshal(i.Request, &w) == nil && json.Unmarshal(w.Body, &r) == nil && r.TimeInForce != "day"
}

// attempts counts the orders for an asset so far, whatever became of them.
func (v *Visit) attempts(asset string) int {
	n := 0
	for _, i := range v.Intents {
		if i.Kind == closure.OrderIntent && i.Subject == asset {
			n = max(n, i.Attempt)
		}
	}
	return n
}
