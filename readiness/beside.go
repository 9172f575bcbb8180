package readiness

import (
	"fmt"
	"slices"
	"strings"

	"closeout/alpaca"
	"closeout/closure"
)

// Beside is one thing as the ledger has it, beside what the broker shows. Drift says what does not fit, in words; empty: it fits,
// or nothing can be said.
type Beside struct {
	What, Ours, Theirs string
	Drift              string
}

const notRead = "could not be read"

// Compare holds what the ledger has of a closure beside the account as the broker shows it. What could not be read is said so,
// and is no drift.
func Compare(c closure.Closure, intents []closure.Intent, v View) []Beside {
	rows := []Beside{besideStatus(c, v), besidePositions(c, v), besideCash(c, intents, v)}
	rows = append(rows, besideOrders(c, intents, v)...)
	return append(rows, besideTransfers(c, intents, v)...)
}

func besideStatus(c closure.Closure, v View) Beside {
	b := Beside{What: "Account", Ours: string(c.State) + " in " + string(c.Phase), Theirs: notRead}
	if !v.Knows(OfAccount) {
		return b
	}
	b.Theirs = strings.Join(append([]string{v.Status}, v.Blocks...), "; ")
	switch closed := alpaca.Closed(v.Status) || alpaca.Closed(v.TradingStatus); {
	case closed && c.State != closure.Closed && c.Phase != closure.Closing:
		b.Drift = "the broker says that the account is closed, and this service has not closed it"
	case !closed && c.State == closure.Closed:
		b.Drift = "the closure is done, and the broker does not say that the account is closed"
	case len(v.Blocks) > 0 && !c.State.Ended():
		b.Drift = strings.Join(v.Blocks, "; ")
	}
	return b
}

func besidePositions(c closure.Closure, v View) Beside {
	b := Beside{What: "Positions", Ours: "none are left", Theirs: notRead}
	over := c.Phase != closure.Liquidation || c.State == closure.Closed
	if !over {
		b.Ours = "being sold"
	}
	if !v.Knows(OfPositions) {
		return b
	}
	b.Theirs = "none"
	if len(v.Positions) > 0 {
		var all []string
		for _, p := range v.Positions {
			all = append(all, strings.TrimSpace(p.Side+" "+p.Qty.String()+" "+p.Symbol))
		}
		b.Theirs = strings.Join(all, ", ")
		if over {
			b.Drift = "positions are there, though the selling is over"
		}
	}
	return b
}

// besideCash compares cash only where the books say what must be left, and nothing is on its way that the balance may have, or not.
func besideCash(c closure.Closure, intents []closure.Intent, v View) Beside {
	b := Beside{What: "Cash", Ours: "not known before the first payout", Theirs: notRead}
	s, m := StatementOf(c, intents), MoneyOf(c, intents)
	moving := m.InFlight.IsPositive() || m.Unconfirmed.IsPositive()
	if s.Due != nil {
		b.Ours = "$" + closure.USD(closure.Cents(s.Due.Decimal)) + " should be left"
		if moving {
			b.Ours += " once the payouts on their way are booked"
		}
	}
	if v.Cash == nil {
		if v.Knows(OfBalances) {
			b.Theirs = "the broker leaves it out"
		}
		return b
	}
	b.Theirs = "$" + closure.USD(closure.Cents(v.Cash.Decimal))
	if v.Withdrawable != nil && !v.Withdrawable.Equal(v.Cash.Decimal) {
		b.Theirs += ", of which $" + closure.USD(closure.Cents(v.Withdrawable.Decimal)) + " can be withdrawn"
	}
	switch {
	case c.State == closure.Closed && v.Cash.Abs().GreaterThanOrEqual(closure.Cent):
		b.Drift = "there is cash in an account whose closure is done"
	case s.Due != nil && !moving && v.Cash.Sub(s.Due.Decimal).Abs().GreaterThanOrEqual(closure.Cent):
		b.Drift = "differs by $" + closure.USD(closure.Cents(v.Cash.Sub(s.Due.Decimal))) + ": a dividend, a fee, a deposit or a withdrawal that these books don't have"
	}
	return b
}

func besideOrders(c closure.Closure, intents []closure.Intent, v View) []Beside {
	ours := map[string]closure.Intent{}
	for _, i := range intents {
		if i.Kind == closure.OrderIntent {
			ours[i.BrokerID], ours[i.ClientOrderID] = i, i
		}
	}
	if !v.Knows(OfOrders) {
		return []Beside{{What: "Open orders", Ours: fmt.Sprintf("%s placed", closure.Count(countOf(intents, closure.OrderIntent), "order")), Theirs: notRead}}
	}
	if len(v.Orders) == 0 {
		return []Beside{{What: "Open orders", Ours: fmt.Sprintf("%s placed", closure.Count(countOf(intents, closure.OrderIntent), "order")), Theirs: "none open"}}
	}
	var rows []Beside
	for _, o := range v.Orders {
		b := Beside{What: "Order " + o.ID, Ours: "not of this service", Theirs: strings.TrimSpace(strings.ToLower(o.Side) + " " + o.Symbol + ", " + o.Status)}
		i, found := ours[o.ID]
		if !found && o.ClientOrderID != "" {
			i, found = ours[o.ClientOrderID]
		}
		switch {
		case found:
			b.Ours = string(i.State)
			if i.State == closure.IntentRefused || i.State == closure.IntentVoid {
				b.Drift = "the order is open, and the ledger has it as " + string(i.State)
			}
		case c.Phase != closure.Liquidation || c.State == closure.Closed:
			b.Drift = "an open order that this service did not place"
		}
		rows = append(rows, b)
	}
	return rows
}

func countOf(intents []closure.Intent, kind closure.IntentKind) (n int) {
	for _, i := range intents {
		if i.Kind == kind {
			n++
		}
	}
	return n
}

// besideTransfers has each payout of the ledger's, then each transfer of the broker's that goes out and is none of them.
func besideTransfers(c closure.Closure, intents []closure.Intent, v View) []Beside {
	var rows []Beside
	known := map[string]bool{}
	for _, i := range intents {
		if i.Kind != closure.TransferIntent {
			continue
		}
		known[i.BrokerID] = true
		rows = append(rows, besidePayout(i, intents, v))
	}
	if !v.Knows(OfTransfers) {
		if len(rows) == 0 {
			rows = append(rows, Beside{What: "Transfers", Ours: "no payout yet", Theirs: notRead})
		}
		return rows
	}
	for _, t := range v.Transfers {
		if !t.Outgoing || known[t.ID] {
			continue
		}
		b := Beside{What: "Transfer " + t.ID, Ours: "not of this closure", Theirs: listed(t)}
		before := false
		for _, i := range intents {
			_, was := i.Listed[t.ID]
			before = before || was
		}
		switch f, _ := (alpaca.Transfer{Status: t.Status}).Fate(); {
		case before, len(rows) == 0 && countOf(intents, closure.TransferIntent) == 0:
			b.Ours = "there before the first payout"
		case f == alpaca.Failed || f == alpaca.Returned:
		case c.State != closure.Canceled:
			b.Drift = "money went out, or is on its way, that this closure did not send"
		}
		rows = append(rows, b)
	}
	if len(rows) == 0 {
		rows = append(rows, Beside{What: "Transfers", Ours: "no payout yet", Theirs: "none out"})
	}
	return rows
}

func besidePayout(i closure.Intent, intents []closure.Intent, v View) Beside {
	amount := "unknown"
	if i.Amount.Valid {
		amount = "$" + closure.USD(i.Amount.Decimal)
	}
	b := Beside{What: "Payout of " + amount + " on " + i.Day(), Ours: string(i.State), Theirs: notRead}
	if i.Finished != "" {
		b.Ours += ", last seen " + i.Finished
	}
	if !v.Knows(OfTransfers) {
		return b
	}
	n := slices.IndexFunc(v.Transfers, func(t Transfer) bool { return i.BrokerID != "" && t.ID == i.BrokerID })
	made := i.State == closure.IntentSent || i.State == closure.IntentLate
	switch {
	case n >= 0:
		t := v.Transfers[n]
		b.Theirs = listed(t)
		switch {
		case !made:
			b.Drift = "the broker has the transfer, and the ledger has it as " + string(i.State)
		case t.Amount.Valid && i.Amount.Valid && !t.Amount.Decimal.Equal(i.Amount.Decimal):
			b.Drift = "the sums differ"
		case i.Finished != "" && !strings.EqualFold(i.Finished, t.Status):
			b.Drift = "its status has changed since the last look"
		}
	case made:
		b.Theirs, b.Drift = "not in the list", "the ledger has it as "+string(i.State)+", and the broker does not list it"
	default:
		b.Theirs = "not in the list"
		if i.State == closure.IntentSending || i.State == closure.IntentVoid {
			for _, t := range v.Transfers {
				if _, before := i.Listed[t.ID]; !before && t.Outgoing && t.RelationshipID == i.RelationshipID && t.Amount.Valid && i.Amount.Valid &&
					t.Amount.Decimal.Equal(i.Amount.Decimal) && !slices.ContainsFunc(intents, func(o closure.Intent) bool { return o.BrokerID == t.ID }) {
					b.Theirs, b.Drift = "perhaps "+listed(t), "the broker lists a transfer of this sum to this bank: it may be this payout"
				}
			}
		}
	}
	return b
}

func listed(t Transfer) string {
	amount := "an unknown sum"
	if t.Amount.Valid {
		amount = "$" + closure.USD(t.Amount.Decimal)
	}
	return t.ID + ": " + amount + ", " + t.Status
}
