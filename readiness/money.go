package readiness

import (
	"time"

	"github.com/shopspring/decimal"

	"closeout/alpaca"
	"closeout/closure"
)

// book is what the transfer intents say of the money.
type book struct {
	base      decimal.Decimal // cash before the latest payout made in quiet
	sinceBase decimal.Decimal // payouts made since then, it included
	last      time.Time       // the last payout
	inFlight  bool
}

func bookOf(intents []closure.Intent) book {
	var b book
	for _, i := range intents {
		if i.Kind != closure.TransferIntent || !i.Irreversible() || !i.Amount.Valid {
			continue
		}
		if i.Quiet && i.CashBefore.Valid {
			b.base, b.sinceBase = i.CashBefore.Decimal, decimal.Zero
		}
		b.sinceBase = b.sinceBase.Add(i.Amount.Decimal)
		b.last = later(b.last, i.ClaimedAt)
		b.inFlight = b.inFlight || fate(i) == alpaca.InFlight
	}
	return b
}

func proceeds(intents []closure.Intent) decimal.Decimal {
	var sum decimal.Decimal
	for _, i := range intents {
		if i.Kind == closure.OrderIntent && i.Proceeds.Valid {
			sum = sum.Add(i.Proceeds.Decimal)
		}
	}
	return sum
}

// Money is where the customer's money is, as far as a closure's own books say.
type Money struct {
	Sold        USD `json:"sold" doc:"Dollars that the sales brought in"`
	Paid        USD `json:"paid" doc:"Dollars of payouts that have arrived and were not returned"`
	InFlight    USD `json:"in_flight" doc:"Dollars of payouts on their way"`
	Unconfirmed USD `json:"unconfirmed" doc:"Dollars of payouts of which nobody knows yet whether the broker took them"`
}

// MoneyOf adds up a closure's intents. What has arrived is the sum of the last look where there was one.
func MoneyOf(cl closure.Closure, intents []closure.Intent) Money {
	m := Money{Sold: USD{proceeds(intents)}}
	for _, i := range intents {
		if i.Kind != closure.TransferIntent || !i.Amount.Valid {
			continue
		}
		switch {
		case i.State == closure.IntentSending:
			m.Unconfirmed = USD{m.Unconfirmed.Add(i.Amount.Decimal)}
		case i.State != closure.IntentSent && i.State != closure.IntentLate:
		case fate(i) == alpaca.Complete:
			m.Paid = USD{m.Paid.Add(i.Amount.Decimal)}
		case fate(i) == alpaca.InFlight:
			m.InFlight = USD{m.InFlight.Add(i.Amount.Decimal)}
		}
	}
	if d, err := decimal.NewFromString(cl.Memo.Paid); err == nil {
		m.Paid = USD{d}
	}
	return m
}

// fate is what became of the transfer that an intent made, by its last status seen.
func fate(i closure.Intent) alpaca.Fate {
	f, _ := alpaca.Transfer{Status: i.Finished}.Fate()
	return f
}
