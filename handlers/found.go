package handlers

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"closeout/alpaca"
	"closeout/calendar"
	"closeout/closure"
)

// FoundTransfer is the intent that a transfer of the broker's is adopted as. It says nothing of the cash of then, which nobody
// has read, so that no payout is planned from it: it counts as money that was asked for, as every listed transfer does. origin
// says how it was found. The transfer must be an outgoing one whose amount is known.
func FoundTransfer(t alpaca.Transfer, cal *calendar.Calendar, at time.Time, origin string) closure.Intent {
	return closure.Intent{
		Kind: closure.TransferIntent, State: closure.IntentSent, Subject: t.RelationshipID, RelationshipID: t.RelationshipID,
		Request: json.RawMessage(`{}`), Amount: t.Amount.NullDecimal, BankingDay: string(cal.BankingDay(t.CreatedAt)), BrokerID: t.ID,
		ClaimedAt: t.CreatedAt, Deadline: time.Now(), Answer: origin, AnsweredAt: at, Finished: strings.ToUpper(t.Status),
	}
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
	return slices.DeleteFunc(slices.Clone(all), func(t alpaca.Transfer) bool {
		_, mine := own[t.ID]
		return mine || known[t.ID] || !t.Outgoing() || t.RelationshipID != c.RelationshipID || !t.Amount.Valid || t.CreatedAt.Before(since)
	})
}

// PaidOut sums those payouts of a closure, adopted ones included, that have arrived; back counts those that came back.
func PaidOut(intents []closure.Intent, all []alpaca.Transfer) (sum decimal.Decimal, back int) {
	return Books{Intents: intents, Transfers: all}.paid()
}
