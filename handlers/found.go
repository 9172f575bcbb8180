package handlers

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"closeout/alpaca"
	"closeout/calendar"
	"closeout/closure"
)

// FoundTransfer is the intent that a transfer of the broker's is adopted as. It says nothing of the cash of then, which nobody
// has read, so that no payout is planned from it: it counts as money that was asked for, as every listed transfer does. Its
// request is the one that makes such a transfer. origin says how it was found. The transfer must be an outgoing one whose
// amount is known.
func FoundTransfer(account string, t alpaca.Transfer, cal *calendar.Calendar, at time.Time, origin string) closure.Intent {
	return closure.Intent{
		Kind: closure.TransferIntent, State: closure.IntentSent, Subject: t.RelationshipID, RelationshipID: t.RelationshipID,
		Request: written(alpaca.PayOut(account, t.RelationshipID, t.Amount.Decimal)), Amount: t.Amount.NullDecimal, BankingDay: string(cal.BankingDay(t.CreatedAt)), BrokerID: t.ID,
		ClaimedAt: t.CreatedAt, Deadline: time.Now(), Answer: origin, AnsweredAt: at, Finished: strings.ToUpper(t.Status),
	}
}

// written is a request as a claim stores it.
func written(w alpaca.Write) json.RawMessage {
	body, err := json.Marshal(w)
	if err != nil { // of strings
		return json.RawMessage(`{}`)
	}
	return body
}

// FoundOrder is the intent that an order of the broker's is adopted as, which is one of the closure's by its client_order_id;
// ok is false where it is not.
func FoundOrder(c closure.Closure, o alpaca.Order, at time.Time, origin string) (i closure.Intent, ok bool) {
	rest, ours := strings.CutPrefix(o.ClientOrderID, c.ID+"-")
	cut := strings.LastIndexByte(rest, '-')
	if !ours || cut < 1 {
		return i, false
	}
	attempt, err := strconv.Atoi(rest[cut+1:])
	if err != nil || attempt < 1 {
		return i, false
	}
	p := alpaca.Position{AssetID: rest[:cut], Symbol: o.Symbol, AssetClass: o.AssetClass, Side: "long"}
	if strings.EqualFold(o.Side, "buy") {
		p.Side = "short"
	}
	i = closure.Intent{
		Kind: closure.OrderIntent, State: closure.IntentSent, Subject: rest[:cut], Attempt: attempt, ClientOrderID: o.ClientOrderID,
		Request:  written(alpaca.CloseOrder(c.AccountID, p, o.Qty.Decimal, o.ClientOrderID)),
		BrokerID: o.ID, Deadline: time.Now(), Answer: origin, ClaimedAt: at, AnsweredAt: at,
	}
	if submitted := cmp.Or(o.SubmittedAt, o.CreatedAt); submitted != nil {
		i.ClaimedAt = *submitted
	}
	return finished(i, o), true
}

// finished is an order's intent with what became of the order, once it has ended: how much was sold, and for how much.
func finished(i closure.Intent, o alpaca.Order) closure.Intent {
	if !o.Ended() {
		return i
	}
	i.Finished, i.FilledQty = strings.ToLower(o.Status), o.FilledQty.NullDecimal
	if o.FilledQty.Valid && o.FilledAvgPrice.Valid {
		p := o.FilledQty.Decimal.Mul(o.FilledAvgPrice.Decimal).Mul(alpaca.Multiplier(o.AssetClass))
		if strings.EqualFold(o.Side, "buy") {
			p = p.Neg()
		}
		i.Proceeds = decimal.NewNullDecimal(p)
	}
	return i
}

// LostTransfers are the payouts over a closure's bank, made at or after since, that no intent of the closure stands for or has
// seen listed at its claim. One that may be what an unknown or a given-up intent has made is left to that intent: the closure's
// next looks match it, and ask a person where the rules say so. One without an amount is left to the looks as well.
func LostTransfers(c closure.Closure, intents []closure.Intent, all []alpaca.Transfer, since time.Time) []alpaca.Transfer {
	b := Books{Transfers: all}
	known := map[string]bool{}
	for _, i := range intents {
		if i.Kind != closure.TransferIntent {
			continue
		}
		b.Intents = append(b.Intents, i)
		for id := range i.Listed {
			known[id] = true
		}
	}
	for _, state := range []closure.IntentState{closure.IntentSending, closure.IntentVoid} { // in the order of the looks
		for n, i := range b.Intents {
			if i.State != state {
				continue
			}
			if t, ok := b.match(i); ok {
				b.Intents[n].BrokerID = t.ID
			}
		}
	}
	own := b.claimed()
	byHand := slices.Clone(c.Memo.ByHand)
	return slices.DeleteFunc(slices.Clone(all), func(t alpaca.Transfer) bool {
		_, mine := own[t.ID]
		if mine || known[t.ID] || !t.Outgoing() || t.RelationshipID != c.RelationshipID || !t.Amount.Valid || t.CreatedAt.Before(since) {
			return true
		}
		n := slices.IndexFunc(byHand, func(p closure.HandPaid) bool { return p.Amount.Equal(t.Amount.Decimal) })
		if n >= 0 {
			byHand = slices.Delete(byHand, n, n+1)
		}
		return n >= 0
	})
}

// PaidOut sums those payouts of a closure, adopted ones included, that have arrived; back counts those that came back.
func PaidOut(intents []closure.Intent, all []alpaca.Transfer) (sum decimal.Decimal, back int) {
	return Books{Intents: intents, Transfers: all}.paid()
}
