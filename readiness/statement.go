package readiness

import (
	"math"

	"github.com/shopspring/decimal"

	"closeout/alpaca"
	"closeout/closure"
)

// Verdict says what a statement comes to.
type Verdict string

// The verdicts.
const (
	Balanced   Verdict = "balanced"
	Gap        Verdict = "gap"
	Unfinished Verdict = "unfinished"
	NotKnown   Verdict = "unknown"
)

// Statement is a closure's money, line by line. A sum that is null is not known.
type Statement struct {
	Beside      *USD    `json:"cash_beside_sales" doc:"Dollars: What the account had when the first payout was claimed, less what the sales until then brought in, and with what was paid by hand until then: cash of before, dividends, less fees"`
	Sold        *USD    `json:"sold" doc:"Dollars: What the sales brought in"`
	PaidOut     USD     `json:"paid_out" doc:"Dollars: All payouts that the broker took"`
	CameBack    USD     `json:"came_back" doc:"Dollars: Of these, what the bank returned or the broker did not carry out"`
	ByHand      USD     `json:"paid_by_hand" doc:"Dollars: What a person has paid another way, by their word"`
	Unconfirmed USD     `json:"unconfirmed" doc:"Dollars: Payouts of which nobody knows yet whether the broker took them; in no other line"`
	Due         *USD    `json:"should_be_left" doc:"Dollars: cash_beside_sales + sold - paid_out + came_back - paid_by_hand"`
	Left        *USD    `json:"left" doc:"Dollars: 0.00 where the account was read empty before this service closed it"`
	Difference  *USD    `json:"difference" doc:"Dollars: left - should_be_left: what came in or went out after the first payout beside sales and payouts"`
	Verdict     Verdict `json:"verdict" enum:"balanced,gap,unfinished,unknown" doc:"balanced to the cent, a gap that the difference says, unfinished as the closure is not over, or unknown as a sum is missing"`
	Text        string  `json:"text" doc:"The verdict in words"`
}

// StatementOf adds up what a closure's books say. It asks nobody: what the books do not have, such as a dividend between two
// payouts, is in the difference.
func StatementOf(c closure.Closure, intents []closure.Intent) Statement {
	s := Statement{ByHand: USD{c.Memo.ByHandSum()}}
	var first closure.Intent // the first payout in quiet: then the cash can be believed
	closed := false
	for _, i := range intents {
		switch i.Kind {
		case closure.TransferIntent:
			switch {
			case !i.Amount.Valid:
			case i.State == closure.IntentSending:
				s.Unconfirmed = USD{s.Unconfirmed.Add(i.Amount.Decimal)}
			case i.State == closure.IntentSent, i.State == closure.IntentLate:
				s.PaidOut = USD{s.PaidOut.Add(i.Amount.Decimal)}
				if f := fate(i); f == alpaca.Failed || f == alpaca.Returned {
					s.CameBack = USD{s.CameBack.Add(i.Amount.Decimal)}
				}
				if first.ID == "" && i.Quiet && i.CashBefore.Valid {
					first = i
				}
			}
		case closure.CloseIntent:
			closed = closed || i.Irreversible()
		case closure.OrderIntent, closure.CancelIntent:
		}
	}
	if stand := c.Memo.Stand; first.ID == "" && stand != nil && s.ByHand.IsPositive() { // all of it went another way
		first = closure.Intent{ID: "stand", Key: stand.Key, CashBefore: decimal.NewNullDecimal(stand.Cash), Listed: stand.Listed}
	}
	sold, known := soldUntil(intents, math.MaxInt64)
	if known {
		s.Sold = &USD{sold}
	}
	if before, known := soldUntil(intents, first.Key); known && first.ID != "" {
		beside := first.CashBefore.Decimal.Sub(before)
		for _, p := range c.Memo.ByHand {
			if p.Key <= first.Key { // that cash is without it
				beside = beside.Add(p.Amount)
			}
		}
		s.Beside = &USD{beside.Add(goneBefore(first, intents))}
	}
	if s.Sold != nil && s.Beside != nil {
		s.Due = &USD{s.Beside.Add(sold).Sub(s.PaidOut.Decimal).Add(s.CameBack.Decimal).Sub(s.ByHand.Decimal)}
	}
	if c.State == closure.Closed && closed {
		s.Left = &USD{decimal.Zero}
	}
	if s.Due != nil && s.Left != nil {
		s.Difference = &USD{s.Left.Sub(s.Due.Decimal)}
	}
	s.judge(c, closed)
	return s
}

// goneBefore sums the payouts of an earlier system that the cash of the first payout here is without: those that had left by its
// list, and had not come back.
func goneBefore(first closure.Intent, intents []closure.Intent) (sum decimal.Decimal) {
	for _, i := range intents {
		status, listed := first.Listed[i.BrokerID]
		if i.Kind != closure.TransferIntent || i.Key >= first.Key || !listed || !i.Amount.Valid {
			continue
		}
		if f, _ := (alpaca.Transfer{Status: status}).Fate(); f == alpaca.Complete || f == alpaca.InFlight {
			sum = sum.Add(i.Amount.Decimal)
		}
	}
	return sum
}

// soldUntil is what the orders claimed up to a version of the row brought in; known is false where the broker's word on one
// is missing.
func soldUntil(intents []closure.Intent, key int64) (sum decimal.Decimal, known bool) {
	known = true
	for _, i := range intents {
		if i.Kind != closure.OrderIntent || i.Key > key {
			continue
		}
		switch {
		case i.Proceeds.Valid:
			sum = sum.Add(i.Proceeds.Decimal)
		case i.State == closure.IntentRefused, i.State == closure.IntentVoid, i.FilledQty.Valid && i.FilledQty.Decimal.IsZero():
		default:
			known = false
		}
	}
	return sum, known
}

func (s *Statement) judge(c closure.Closure, closed bool) {
	switch {
	case c.State == closure.Canceled:
		s.Verdict, s.Text = Unfinished, "The closure was cancelled before anything irreversible was sent."
	case c.State != closure.Closed:
		s.Verdict, s.Text = Unfinished, "The closure is not over: what is left is not known yet."
	case !closed:
		s.Verdict, s.Text = NotKnown, "The account was closed by someone else: what was left then is not known here."
	case s.Sold != nil && s.Sold.IsZero() && s.PaidOut.IsZero() && s.Unconfirmed.IsZero() && s.ByHand.IsZero():
		s.Verdict, s.Text = Balanced, "Nothing was sold, nothing was paid out, and the account was read empty before it was closed."
	case s.Difference == nil || !s.Unconfirmed.IsZero():
		s.Verdict, s.Text = NotKnown, "A sum is missing in the books, so that they can't be balanced: unknown is not zero."
	case closure.Cents(s.Difference.Decimal).IsZero():
		s.Verdict, s.Text = Balanced, "It balances to the cent: what was there and what was sold is what was paid out, and nothing is left."
	default:
		s.Verdict, s.Text = Gap, "It does not balance by these books alone: the difference came in or went out after the first payout, as a dividend, interest, a deposit or a fee does. The broker's list of activities says which."
		if s.ByHand.IsPositive() {
			s.Text += " Or another sum left the account than was recorded as paid by hand."
		}
	}
}
