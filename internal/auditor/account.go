package auditor

import (
	"maps"
	"slices"
	"time"

	"github.com/shopspring/decimal"

	"closeout/alpaca/sim"
)

var cent = decimal.New(1, -2)

// account is one account's journal, read once from its beginning.
type account struct {
	lines    []sim.Entry
	cash     []decimal.Decimal            // after each line
	booked   []decimal.Decimal            // after each line: the cash without what is on its way out
	held     []map[string]decimal.Decimal // positions after each line
	unsure   map[string]bool              // symbols whose quantities the journal does not tell
	closedAt int                          // the line of the closing over the API; -1: there is none
	truth    sim.Truth
}

func (a *audit) accountIDs() []string {
	ids := map[string]bool{}
	for id := range a.accounts {
		ids[id] = true
	}
	for id := range a.intents {
		ids[id] = true
	}
	return slices.Sorted(maps.Keys(ids))
}

func (a *audit) walkJournal() {
	lines := map[string][]sim.Entry{}
	for _, e := range a.Journal {
		lines[e.Account] = append(lines[e.Account], e)
		if e.Actor == "api" {
			a.Effects++
		}
	}
	for id := range a.Truths {
		if lines[id] == nil {
			lines[id] = []sim.Entry{}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(lines)) {
		a.accounts[id] = walk(lines[id], a.Truths[id])
		acct := a.accounts[id]
		if t, ok := a.Truths[id]; ok && len(acct.cash) > 0 && !acct.cash[len(acct.cash)-1].Equal(t.Cash) {
			a.found(BooksDoNotBalance, "", id, "the journal adds up to %s, the account has %s", acct.cash[len(acct.cash)-1], t.Cash)
		}
	}
}

// moved is by how much a line changes a position.
func moved(e sim.Entry) decimal.Decimal {
	q, err := decimal.NewFromString(e.Qty)
	if err != nil {
		return decimal.Zero
	}
	switch e.Kind {
	case "fill":
		if e.Note == "sell" {
			return q.Neg()
		}
		return q
	case "trade_bust", "position":
		return q
	case "sold_by_broker":
		return q.Neg()
	}
	return decimal.Zero
}

// walk adds a journal up. What the account held at the beginning follows from what it holds at the end.
func walk(lines []sim.Entry, truth sim.Truth) *account {
	acct := &account{lines: lines, unsure: map[string]bool{}, closedAt: -1, truth: truth}
	pos := map[string]decimal.Decimal{}
	for _, p := range truth.Positions {
		pos[p.Symbol] = p.Qty
	}
	for _, e := range lines {
		pos[e.Symbol] = pos[e.Symbol].Sub(moved(e))
		if e.Kind == "worthless" {
			acct.unsure[e.Symbol] = true
		}
	}
	cash, flying := decimal.Zero, map[string]decimal.Decimal{}
	for n, e := range lines {
		cash = cash.Add(e.Cash)
		amount, _ := decimal.NewFromString(e.Amount)
		switch e.Kind {
		case "transfer", "withdrawal":
			if e.Cash.IsZero() {
				flying[e.Key] = amount
			}
		case "debit", "return", "reject", "transfer_canceled":
			delete(flying, e.Key)
		case "close":
			if e.Actor == "api" {
				acct.closedAt = n
			}
		}
		if m := moved(e); !m.IsZero() {
			pos = maps.Clone(pos)
			pos[e.Symbol] = pos[e.Symbol].Add(m)
		}
		booked := cash
		for _, f := range flying {
			booked = booked.Sub(f)
		}
		acct.cash, acct.booked, acct.held = append(acct.cash, cash), append(acct.booked, booked), append(acct.held, pos)
	}
	return acct
}

// empty says what is left in the account at a line, or "".
func (acct *account) empty(n int) string {
	at := acct.lines[n].At
	if !acct.cash[n].Abs().LessThan(cent) || !acct.booked[n].Abs().LessThan(cent) {
		return "cash " + acct.cash[n].String() + ", " + acct.booked[n].String() + " without what is on its way"
	}
	for symbol, q := range acct.held[n] {
		if !q.IsZero() && !acct.unsure[symbol] {
			return q.String() + " of " + symbol
		}
	}
	ended := acct.ended(n)
	for _, t := range acct.truth.Transfers {
		if !t.CreatedAt.After(at) && !ended[t.ID] && acct.after(t.ID, n) {
			return "the transfer " + t.ID + " of " + t.Amount.String() + " is on its way"
		}
	}
	if id := acct.openOrder(n); id != "" {
		return "the order " + id + " is open"
	}
	return ""
}

// ended are the transfers that have come to an end by a line.
func (acct *account) ended(n int) map[string]bool {
	out := map[string]bool{}
	for _, e := range acct.lines[:n+1] {
		switch e.Kind {
		case "complete", "deposit", "return", "reject", "transfer_canceled":
			out[e.Key] = true
		}
	}
	return out
}

// after says whether a transfer ends after a line, or not at all. (A rejected deposit leaves no line before.)
func (acct *account) after(id string, n int) bool {
	for _, e := range acct.lines[n+1:] {
		if e.Key == id {
			return true
		}
	}
	for _, t := range acct.truth.Transfers {
		if t.ID == id {
			switch t.Status {
			case "COMPLETE", "REJECTED", "CANCELED", "RETURNED":
				return t.UpdatedAt.After(acct.lines[n].At)
			}
		}
	}
	return true
}

// openOrder is an order over the API that has not ended by a line.
func (acct *account) openOrder(n int) string {
	for id, rest := range acct.open(n) {
		if rest.IsPositive() {
			return id
		}
	}
	return ""
}

// open is what is left to fill of the orders over the API, after a line.
func (acct *account) open(n int) map[string]decimal.Decimal {
	rest := map[string]decimal.Decimal{}
	for _, e := range acct.lines[:n+1] {
		q, _ := decimal.NewFromString(e.Qty)
		switch e.Kind {
		case "order":
			rest[e.Key] = q
		case "fill":
			if _, ours := rest[e.Key]; ours {
				rest[e.Key] = rest[e.Key].Sub(q)
			}
		case "order_canceled", "order_expired", "order_rejected", "order_replaced", "trade_bust":
			delete(rest, e.Key)
		}
	}
	return rest
}

// changed says whether anything befell the account around a time, besides what this service asks for.
func (acct *account) changed(from, to time.Time) bool {
	for _, e := range acct.lines {
		if e.Actor != "api" && !e.At.Before(from) && !e.At.After(to) {
			return true
		}
	}
	for _, t := range acct.truth.Transfers {
		if t.Actor != "api" && !t.CreatedAt.Before(from) && !t.CreatedAt.After(to) {
			return true
		}
	}
	return false
}
