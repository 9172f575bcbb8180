package closure

import (
	"fmt"
	"strings"
	"time"

	"github.com/shopspring/decimal"
)

// Adoption is what the broker has of a closure's doing and the ledger lacks: after a restore, or from a system before this one.
// Nothing was sent to find it out.
type Adoption struct {
	// Found becomes intents of the closure, made by Found… of handlers: with neither id nor key, which the ledger gives.
	Found []Intent

	// Settled are intents of the closure that the found ones leave in another state.
	Settled []Intent

	// Paid is the sum of the closure's payouts that have arrived, and CameBack how many did not, the found ones counted.
	Paid     decimal.Decimal
	CameBack int

	// Over is set where an earlier system was at work after the takeover, which counts anew from then on.
	Over *TakenOver
}

// Adopted takes in what a system before this one has done at the broker.
func Adopted(at time.Time, actor, why string, a Adoption) Change {
	return adoption(kAdopt, at, actor, why, a)
}

// leap is the least by which a reconciliation moves a row's version, which then is the seconds since 1970 at the least: beyond any
// that the lost time can have reached, so that no task of then is newer than the row, which would stop it. A version moves by one
// with each look and so more slowly than seconds do, so that this holds too where the lost time had a reconciliation of its own.
const leap = 1_000_000

// Reconciled takes in what this service did at the broker after the moment to which the ledger was restored. It gives the row
// a new version and token in any case, so that no task of the lost time is this row's. A closure that stopped because its
// ledger went back goes on.
func Reconciled(at time.Time, actor, why string, a Adoption) Change {
	return adoption(kReconcile, at, actor, why, a)
}

// Unreconciled is a person's word that what was done for a closure in the lost time can't be had, and that the reconciliation is over
// without it. The closure stops, or stays stopped, and nothing is done for it by itself any more. failure says what was in the way.
func Unreconciled(at time.Time, actor, why, failure string) Change {
	return Change{
		kind: kUnreconciled, at: at, actor: actor, text: "not reconciled, and accepted by a person: " + failure + ": " + why,
		detail: map[string]any{"reason": why, "failure": failure},
	}
}

func adoption(kind string, at time.Time, actor, why string, a Adoption) Change {
	found, settled := []map[string]any{}, []map[string]any{}
	sum, payouts, others := decimal.Zero, 0, 0
	for _, i := range a.Found {
		d := map[string]any{"kind": i.Kind, "broker_id": i.BrokerID, "status": i.Finished}
		if i.Kind == TransferIntent {
			d["amount"], d["banking_day"], d["ach_relationship_id"] = USD(i.Amount.Decimal), i.BankingDay, i.RelationshipID
			sum, payouts = sum.Add(i.Amount.Decimal), payouts+1
		} else {
			d["subject"], d["client_order_id"] = i.Subject, i.ClientOrderID
			others++
		}
		found = append(found, d)
	}
	for _, i := range a.Settled {
		settled = append(settled, map[string]any{"intent": i.ID, "kind": i.Kind, "intent_state": i.State, "broker_id": i.BrokerID, "status": i.Finished})
	}
	var words []string
	if payouts > 0 {
		words = append(words, fmt.Sprintf("%s of $%s", Count(payouts, "payout"), USD(sum)))
	}
	if others > 0 {
		words = append(words, Count(others, "other instruction"))
	}
	if len(settled) > 0 {
		words = append(words, "what became of "+Count(len(settled), "known instruction"))
	}
	text := "nothing was found at the broker that the ledger lacks"
	if len(words) > 0 {
		text = "adopted from the broker: " + strings.Join(words, " and ")
	}
	return Change{
		kind: kind, at: at, actor: actor, text: text + ": " + why, adoption: &a,
		detail: map[string]any{"reason": why, "adopted": found, "settled": settled},
	}
}

// Adoption is what the change takes in from the broker.
func (ch Change) Adoption() (found, settled []Intent) {
	if ch.adoption == nil {
		return nil, nil
	}
	return ch.adoption.Found, ch.adoption.Settled
}

// adopt takes the adoption into the row. What is adopted starts the phase's limit afresh, as a claim does.
func (c *Closure) adopt(ch Change) error {
	if c.State.Ended() {
		return &NotAllowedError{ch.kind, c.State, fmt.Sprintf("the closure is %s, and takes in nothing any more", c.State)}
	}
	if len(ch.adoption.Found) > 0 {
		c.freshLimit()
		c.Memo.ExcessSince, c.Memo.Excess = time.Time{}, ""
	}
	c.Memo.Paid, c.Memo.CameBack = USD(ch.adoption.Paid), ch.adoption.CameBack
	if ch.adoption.Over != nil {
		c.Memo.TakenOver = ch.adoption.Over
	}
	switch {
	case c.State == Running:
		c.move(ch.at)
	case ch.kind == kReconcile && c.State == Failed && c.Reason == LedgerWentBack:
		c.goOn(ch.at, ch.text)
	default:
		c.Version++
		c.Token, c.NotedRetries = "", 0
	}
	if ch.kind == kReconcile {
		c.leap(ch.at)
	}
	return nil
}

// leap takes the row beyond every task of the lost time.
func (c *Closure) leap(at time.Time) {
	c.Version = max(c.Version+leap, at.Unix())
	c.Memo.Reconciled = c.Version
}

// unreconciled stops what ran. What stood still stays as it is, for another reason: whoever resumes it must know.
func (c *Closure) unreconciled(ch Change) error {
	if c.State.Ended() {
		return &NotAllowedError{ch.kind, c.State, fmt.Sprintf("the closure is %s, and nothing is in question any more", c.State)}
	}
	if c.State == Running {
		c.stop(Failed, ch.at, NotReconciled, ch.text)
	} else {
		c.Version++
		c.Token, c.NotedRetries = "", 0
		c.wait(NotReconciled, ch.text)
	}
	c.leap(ch.at)
	return nil
}

// Unreconciled says whether a person has accepted that the closure could not be reconciled, and nothing has happened to it since.
func (c Closure) Unreconciled() bool {
	return c.Reason == NotReconciled && c.Version == c.Memo.Reconciled
}
