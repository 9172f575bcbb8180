package auditor

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/shopspring/decimal"

	"closeout/alpaca/sim"
)

// payouts: each transfer over the API is wanted by exactly one intent, with its sum and to its bank, and none was for more
// than the customer had.
func (a *audit) payouts(id string) {
	acct := a.accounts[id]
	if acct == nil {
		acct = walk(nil, sim.Truth{})
	}
	banks := map[string]sim.TruthTransfer{}
	for _, t := range acct.truth.Transfers {
		banks[t.ID] = t
	}
	made, foreign := map[string]sim.Entry{}, map[string]sim.Entry{}
	for n, e := range acct.lines {
		switch {
		case e.Kind == "transfer" && e.Actor == "api":
			made[e.Key] = e
			a.covered(id, acct, n)
		case e.Kind == "withdrawal":
			foreign[e.Key] = e
		}
	}
	wanted := map[string]intent{}
	var adopted []intent // of a withdrawal by the customer
	for _, i := range a.of(id, "transfer") {
		if i.brokerID == "" {
			if i.state == "sent" || i.state == "late" {
				a.found(MissingTransfer, i.closure, id, "intent %s names none", i.id)
			}
			continue
		}
		if other, twice := wanted[i.brokerID]; twice {
			a.found(TransferOfTwo, i.closure, id, "%s is claimed by %s and %s", i.brokerID, other.id, i.id)
		}
		wanted[i.brokerID] = i
		e, ok := made[i.brokerID]
		if w, theirs := foreign[i.brokerID]; !ok && theirs && a.mistakable(i, w, banks[w.Key]) {
			adopted = append(adopted, i)
			a.Tolerated[ForeignAdopted]++
			continue
		}
		switch {
		case !ok:
			a.found(MissingTransfer, i.closure, id, "intent %s names %s", i.id, i.brokerID)
		case a.adopted(i) && sameSum(e.Amount, i.amount) && banks[e.Key].RelationshipID == i.bank: // nobody here asked for it
		case !sameSum(e.Amount, i.amount) || i.asked().Amount != e.Amount:
			a.found(WrongPayout, i.closure, id, "intent %s is for %s, %s was paid", i.id, i.amount.Decimal, e.Amount)
		case banks[e.Key].RelationshipID != i.bank || i.asked().RelationshipID != i.bank || a.bankOf(i.closure, i.key) != i.bank:
			a.found(WrongBank, i.closure, id, "intent %s", i.id)
		case e.At.Before(i.claimedAt.Add(-a.Slack)):
			a.found(UnwantedTransfer, i.closure, id, "%s was made before intent %s was claimed", e.Key, i.id)
		}
	}
	a.unmatched(id, made, wanted, adopted)
}

// covered: a payout was for no more than the customer had. What they withdrew by themselves after it was claimed and before
// it reached the broker could be known to nobody but the broker.
func (a *audit) covered(id string, acct *account, n int) {
	e := acct.lines[n]
	amount, _ := decimal.NewFromString(e.Amount)
	if n == 0 || !amount.GreaterThan(acct.booked[n-1]) {
		return
	}
	i, ok := first(a.of(id, "transfer"), func(i intent) bool { return i.brokerID == e.Key })
	if !ok {
		i, ok = first(a.of(id, "transfer"), func(i intent) bool {
			return sameSum(e.Amount, i.amount) && !e.At.Before(i.claimedAt.Add(-a.Slack)) && !e.At.After(i.claimedAt.Add(a.Unknown))
		})
	}
	crossed := decimal.Zero
	for _, w := range acct.lines[:n] {
		if ok && w.Kind == "withdrawal" && !w.At.Before(i.claimedAt.Add(-a.Slack)) {
			own, _ := decimal.NewFromString(w.Amount)
			crossed = crossed.Add(own)
		}
	}
	if crossed.IsPositive() && !amount.GreaterThan(acct.booked[n-1].Add(crossed)) {
		a.Tolerated[Crossed]++
		return
	}
	a.found(Overpaid, "", id, "%s was paid out of %s", e.Amount, acct.booked[n-1])
}

// unmatched deals with the transfers over the API that no intent names.
func (a *audit) unmatched(id string, made map[string]sim.Entry, wanted map[string]intent, adopted []intent) {
	used := map[string]bool{}
	for _, e := range a.accounts[id].linesOr() {
		if made[e.Key].Seq != e.Seq || e.Kind != "transfer" {
			continue
		}
		if _, ok := wanted[e.Key]; ok {
			continue
		}
		fits := func(i intent) bool {
			return !used[i.id] && sameSum(e.Amount, i.amount) && !e.At.Before(i.claimedAt.Add(-a.Slack)) && !e.At.After(i.claimedAt.Add(a.Unknown))
		}
		if i, ok := first(a.of(id, "transfer"), func(i intent) bool { return i.state == "sending" && i.brokerID == "" && fits(i) }); ok {
			used[i.id] = true // its outcome is unknown, and a list will tell
			continue
		}
		if i, ok := first(adopted, fits); ok { // the other half of a mistaken adoption
			used[i.id] = true
			continue
		}
		if i, ok := first(a.of(id, "transfer"), func(i intent) bool { return (i.state == "void" || i.state == "refused") && fits(i) }); ok {
			used[i.id] = true
			a.found(GivenUpYetMade, i.closure, id, "intent %s is %s, and %s of %s was made", i.id, i.state, e.Key, e.Amount)
			continue
		}
		a.found(UnwantedTransfer, "", id, "%s of %s at %s", e.Key, e.Amount, e.At)
	}
}

// mistakable: nobody could tell the customer's own withdrawal from the payout whose answer was lost. Same sum, same bank,
// made in the very minutes in which the answer was missing; or at any time after a list had lacked the payout: one that was
// given up for lost is looked for in each later list.
func (a *audit) mistakable(i intent, e sim.Entry, t sim.TruthTransfer) bool {
	return !i.heard() && sameSum(e.Amount, i.amount) && t.RelationshipID == i.bank &&
		!e.At.Before(i.claimedAt.Add(-a.Slack)) && (!i.absentAt.IsZero() || !e.At.After(i.claimedAt.Add(a.Unknown+a.Slack)))
}

// orders: each order and cancel over the API is wanted by an intent, is the very one that it asked for, and none goes
// beyond the position.
func (a *audit) orders(id string) {
	acct := a.accounts[id]
	byClient, cancels, closes := map[string]intent{}, map[string]bool{}, false
	for _, i := range a.intents[id] {
		switch i.kind {
		case "order":
			byClient[i.clientID] = i
		case "cancel":
			cancels[i.subject] = true
		case "close":
			closes = true
		}
	}
	for n, e := range acct.linesOr() {
		if e.Kind == "fill" {
			a.fill(id, acct, n, byClient)
		}
		if e.Actor != "api" {
			continue
		}
		switch e.Kind {
		case "order":
			a.order(id, acct, n, byClient)
		case "cancel":
			if !cancels[e.Key] && a.lost(e.At) {
				a.Tolerated[OfLostTime]++
			} else if !cancels[e.Key] {
				a.found(UnwantedCancel, "", id, "%s", e.Key)
			}
		case "close":
			if !closes && a.lost(e.At) {
				a.Tolerated[OfLostTime]++
			} else if !closes {
				a.found(UnwantedClosing, "", id, "at %s", e.At)
			}
		case "transfer":
		default:
			a.found(ForeignEffect, "", id, "%s %s", e.Kind, e.Key)
		}
	}
}

func (a *audit) order(id string, acct *account, n int, wanted map[string]intent) {
	e := acct.lines[n]
	i, ok := wanted[e.Key]
	if !ok {
		a.found(UnwantedOrder, "", id, "%s for %s %s", e.Key, e.Qty, e.Symbol)
		return
	}
	if b := i.asked(); b.Symbol != e.Symbol || !sameText(b.Qty, e.Qty) || !strings.EqualFold(b.Side, e.Note) || i.state == "refused" {
		a.found(WrongOrder, i.closure, id, "intent %s (%s) asks to %s %s %s, the broker was told to %s %s %s", i.id, i.state, b.Side, b.Qty, b.Symbol, e.Note, e.Qty, e.Symbol)
	}
	if acct.unsure[e.Symbol] {
		return
	}
	asked, _ := decimal.NewFromString(e.Qty)
	for _, f := range acct.lines[:n] {
		if f.Kind == "order" && f.Symbol == e.Symbol {
			asked = asked.Add(acct.open(n - 1)[f.Key])
		}
	}
	have := acct.held[n][e.Symbol]
	if asked.GreaterThan(have.Abs()) || have.IsNegative() != (e.Note == "buy") {
		a.found(BeyondPosition, i.closure, id, "to %s %s of %s %s", e.Note, asked, have, e.Symbol)
	}
}

// fill: an order of ours may bring a position to zero and not to its other side.
func (a *audit) fill(id string, acct *account, n int, wanted map[string]intent) {
	e := acct.lines[n]
	i, ours := wanted[e.Key]
	if left := acct.held[n][e.Symbol]; ours && !acct.unsure[e.Symbol] && (e.Note == "sell" && left.IsNegative() || e.Note == "buy" && left.IsPositive()) {
		a.found(BeyondPosition, i.closure, id, "after %s of %s %s there are %s", e.Note, e.Qty, e.Symbol, left)
	}
}

// closings: an account is closed only when nothing is left in it at that instant, and is not asked to be closed before.
func (a *audit) closings(id string) {
	acct := a.accounts[id]
	if acct == nil {
		return
	}
	if n := acct.closedAt; n >= 0 {
		if left := acct.empty(n); left != "" {
			a.found(ClosedFull, "", id, "%s", left)
		}
		for _, c := range a.closures {
			if c.account == id && c.state == "closed" && a.ours(&c) {
				a.told(&c, acct)
			}
		}
	}
	for _, i := range a.of(id, "close") {
		if i.state != "refused" || i.status != 422 { // what the simulator answers for an account that is not empty; others are outages
			continue
		}
		if acct.changed(i.claimedAt.Add(-a.Slack), i.claimedAt.Add(a.Slack)) {
			a.Tolerated[LandedAtGate]++
			continue
		}
		a.found(ClosingAskedFull, i.closure, id, "intent %s was answered %d", i.id, i.status)
	}
}

// told: what the customer is told was paid is what has arrived by the closing.
func (a *audit) told(c *closure, acct *account) {
	said, ok := c.paid()
	if !ok {
		return
	}
	arrived, there := decimal.Zero, map[string]bool{}
	mine := map[string]bool{}
	for _, i := range c.intents {
		if i.kind == "transfer" && i.brokerID != "" {
			mine[i.brokerID] = true
		}
	}
	for _, e := range acct.lines[:acct.closedAt+1] {
		amount, _ := decimal.NewFromString(e.Amount)
		switch {
		case !mine[e.Key]:
		case e.Kind == "complete":
			arrived, there[e.Key] = arrived.Add(amount), true
		case e.Kind == "return" && there[e.Key]:
			arrived = arrived.Sub(amount)
		}
	}
	if !arrived.Equal(said) {
		a.found(WrongPaid, c.id, c.account, "it says %s, and %s has arrived", said, arrived)
	}
}

func (a *audit) of(account, kind string) []intent {
	var out []intent
	for _, i := range a.intents[account] {
		if i.kind == kind {
			out = append(out, i)
		}
	}
	return out
}

// bankOf is the bank that a closure was to pay at a claim: the one of the request, or the one that a person has linked
// since, by the history; "" where the row names another than the history's last.
func (a *audit) bankOf(closureID string, key int64) (bank string) {
	for _, c := range a.closures {
		if c.id != closureID {
			continue
		}
		last := ""
		for _, e := range c.events {
			var b struct {
				Detail struct {
					Bank string `json:"ach_relationship_id"`
				} `json:"detail"`
			}
			if json.Unmarshal([]byte(e.body), &b) != nil || b.Detail.Bank == "" {
				continue
			}
			if last = b.Detail.Bank; e.version < key {
				bank = last
			}
		}
		if last != c.bank {
			return ""
		}
	}
	return bank
}

// adopted says whether an intent stands for what this service has not claimed.
func (a *audit) adopted(i intent) bool {
	return slices.ContainsFunc(a.closures, func(c closure) bool { return c.id == i.closure && c.adopted[i.key] })
}

func (acct *account) linesOr() []sim.Entry {
	if acct == nil {
		return nil
	}
	return acct.lines
}

func first(is []intent, ok func(intent) bool) (intent, bool) {
	for _, i := range is {
		if ok(i) {
			return i, true
		}
	}
	return intent{}, false
}

func sameSum(text string, d decimal.NullDecimal) bool {
	t, err := decimal.NewFromString(text)
	return err == nil && d.Valid && t.Equal(d.Decimal)
}

func sameText(x, y string) bool {
	a, err1 := decimal.NewFromString(x)
	b, err2 := decimal.NewFromString(y)
	return err1 == nil && err2 == nil && a.Equal(b)
}
