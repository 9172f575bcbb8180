package handlers

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"closeout/alpaca"
	"closeout/closure"
)

// withdrawal pays out by ACH until no cash is left, and watches for returns.
func withdrawal(ctx context.Context, v *Visit) (closure.Outcome, error) {
	for _, i := range v.intents(closure.TransferIntent, closure.IntentSending) {
		if !i.Unknown(v.Wall) {
			return v.onWire(i), nil
		}
	}
	if o, ok, err := v.glance(ctx); err != nil || ok {
		return o, err
	}
	b, o, ok, err := v.books(ctx)
	if err != nil || !ok {
		return o, err
	}
	v.follow(b)
	v.believe(b)
	b.Memo = v.memo
	p := b.plan()
	switch p.do {
	case planFail:
		return v.unlessSellable(ctx, p.outcome)
	case planWait:
		return p.outcome, nil
	case planQuarantine:
		return closure.WaitUntil(v.business(p.intent.Deadline.Add(v.Timing.Quarantine+time.Second)), closure.UnknownOutcome, p.why), nil
	case planAdopt, planLate:
		return v.adopt(p), nil
	case planAbsent:
		if p.intent.AbsentAt.IsZero() {
			p.intent.AbsentAt = b.Asked
			v.learn(p.intent, "a payout whose answer was lost is not in the list; looking once more", nil)
		}
		return closure.WaitUntil(v.business(p.intent.AbsentAt.Add(v.Timing.Between+time.Second)), closure.UnknownOutcome, p.why), nil
	case planVoid:
		p.intent.State = closure.IntentVoid
		v.learn(p.intent, fmt.Sprintf("the payout of %s was never made: two lists after the quarantine lack it, and the cash has not moved", usd(p.intent.Amount.Decimal)), nil)
		return closure.Wait(v.short(), closure.UnknownOutcome, "an unknown payout turned out not to have been made"), nil
	case planExcess:
		return v.unexplained(b, p.gap), nil
	case planEmpty:
		return v.nothingLeft(), nil
	case planPay:
		return v.payOut(ctx, p.payout)
	}
	return closure.Outcome{}, fmt.Errorf("withdrawal: no plan")
}

func (v *Visit) nothingLeft() closure.Outcome {
	return closure.Go(closure.Closing, "no cash is left; paid out "+v.paid())
}

// unlessSellable goes back to the liquidation before an account that owes money is given up: a trade that was busted after
// its payout left the debt, and the shares that cover it.
func (v *Visit) unlessSellable(ctx context.Context, o closure.Outcome) (closure.Outcome, error) {
	if o.Reason != closure.NegativeCash {
		return o, nil
	}
	back, ok, err := v.nothingToSell(ctx)
	if err != nil || !ok {
		return back, err
	}
	return o, nil
}

// believe keeps what the account has while nothing in it moves and nothing was paid yet: a payment by hand is measured
// against it. Once one is recorded it stays, or a wrong sum would be taken for right at the next look.
func (v *Visit) believe(b Books) {
	if _, ok := b.base(); ok {
		v.memo.Stand = nil
		return
	}
	quiet, _ := b.quiet()
	if !quiet || len(v.memo.ByHand) > 0 || slices.ContainsFunc(b.Intents, func(i closure.Intent) bool {
		return i.State == closure.IntentSending || i.State == closure.IntentLate
	}) {
		return
	}
	listed := b.listed()
	if s := v.memo.Stand; s != nil && s.Cash.Equal(b.Cash) && maps.Equal(s.Listed, listed) &&
		!slices.ContainsFunc(v.Intents, func(i closure.Intent) bool { return i.Kind == closure.OrderIntent && i.Key > s.Key }) {
		return // as it was
	}
	v.memo.Stand = &closure.Stand{Cash: b.Cash, Key: v.Closure.Version, Listed: listed}
}

// follow notes what became of the closure's payouts since the last look.
func (v *Visit) follow(b Books) {
	sum, back := b.paid()
	v.memo.Paid, v.memo.CameBack = closure.USD(sum), back
	status := map[string]alpaca.Transfer{}
	for _, t := range b.Transfers {
		status[t.ID] = t
	}
	for _, i := range b.Intents {
		t, ok := status[i.BrokerID]
		if !ok || i.BrokerID == "" || i.State != closure.IntentSent || strings.EqualFold(t.Status, i.Finished) {
			continue
		}
		i.Finished = strings.ToUpper(t.Status)
		detail := map[string]any{"status": i.Finished, "amount": closure.USD(t.Amount.Decimal)}
		if t.Reason != "" {
			detail["reason"] = alpaca.Redact(t.Reason)
		}
		text := fmt.Sprintf("the payout of %s is %s at the broker", usd(t.Amount.Decimal), i.Finished)
		if _, known := t.Fate(); !known {
			text += ", a status that is not documented: it counts as on its way"
		}
		v.learn(i, text, detail)
	}
}

// adopt writes the broker's id on an intent whose answer was lost. One that had been given up becomes late, and a person
// must look before anything further is sent.
func (v *Visit) adopt(p plan) closure.Outcome {
	i := p.intent
	i.BrokerID = p.transfer.ID
	if p.do == planLate {
		i.State = closure.IntentLate
		v.learn(i, "a payout given up for lost is in the list", nil)
		return closure.Fail(closure.LateTransfer, fmt.Sprintf("the payout of %s that was given up for lost was made after all", usd(i.Amount.Decimal)))
	}
	i.State = closure.IntentSent
	v.learn(i, fmt.Sprintf("the payout of %s whose answer was lost is in the list: adopted", usd(i.Amount.Decimal)), nil)
	return closure.Wait(v.short(), closure.TransferPending, "a payout whose answer was lost was found")
}

// unexplained notes a sum that the books do not explain, and stops if it is still there after the next morning's booking. What
// is noted is what a person allows by resuming; but money that was recorded as paid by hand and is still in the account may yet
// leave it, and nobody's resuming pays that a second time.
func (v *Visit) unexplained(b Books, gap decimal.Decimal) closure.Outcome {
	if v.memo.ExcessSince.IsZero() {
		v.memo.ExcessSince = v.Now
	}
	allowed := gap
	if start, ok := b.start(); ok && gap.IsPositive() {
		allowed = gap.Sub(closure.Least(gap, b.unlisted(start)))
	}
	v.memo.Excess = allowed.String()
	what := usd(gap) + " more"
	if gap.IsNegative() {
		what = usd(gap.Neg()) + " less"
	}
	if sum := v.memo.ByHandSum(); sum.IsPositive() {
		what = usd(sum) + " was recorded as paid by hand; " + what
	}
	if m := v.Calendar.NextMorning(v.memo.ExcessSince); m.After(v.Now) {
		return closure.WaitUntil(m, closure.ExcessNoted, fmt.Sprintf("%s is in the account than the books explain; looking again after the booking of %s", what, newYork(m)))
	}
	return closure.Fail(closure.Unexplained, what+" is in the account than the books explain")
}

// payOut checks the pinned bank and sends one transfer. Where positions or orders have appeared, a busted trade may have
// taken back money that the books still count: what is left of it is known when they are sold.
func (v *Visit) payOut(ctx context.Context, p Payout) (closure.Outcome, error) {
	if o, ok, err := v.nothingToSell(ctx); err != nil || !ok {
		return o, err
	}
	banks, err := v.Broker.Relationships(ctx, v.Closure.AccountID)
	if err != nil {
		return closure.Outcome{}, err
	}
	if why := v.pinned(banks); why != "" {
		return closure.Fail(closure.BankGone, "the bank chosen at the request "+why), nil
	}
	p.Bank = v.Closure.RelationshipID
	intents, err := v.Do(ctx, "pay out "+usd(p.Amount), Effect{
		Kind: closure.TransferIntent, Write: alpaca.PayOut(v.Closure.AccountID, p.Bank, p.Amount), Subject: p.Bank, Payout: &p,
	})
	if err != nil {
		return closure.Outcome{}, err
	}
	if i, ok := refused(intents); ok {
		if forNow(i) {
			return closure.Outage(v.short(), "the payout was not taken: "+i.Answer), nil
		}
		return notPaid(i, p.Amount), nil
	}
	if intents[0].State == closure.IntentSending {
		return v.onWire(intents[0]), nil
	}
	if p.Left.GreaterThanOrEqual(closure.Cent) {
		return dayUsed(Books{Calendar: v.Calendar}.nextPayout(intents[0]), p.Left), nil
	}
	return underWay(p.Amount), nil
}

// notPaid stops over a payout that no waiting mends. The two words are those of the broker's description of this request.
func notPaid(i closure.Intent, amount decimal.Decimal) closure.Outcome {
	why := "the broker refused the payout of " + usd(amount) + ": " + i.Answer
	switch {
	case i.Status == 422 && strings.Contains(i.Answer, "withdrawal amount must be greater than"):
		return closure.Fail(closure.BelowMinimum, why)
	case i.Status == 403 && strings.Contains(i.Answer, "withdrawals are not permitted"):
		return closure.Fail(closure.NotPermitted, why)
	}
	return closure.Fail(closure.TransferRefused, why)
}

// pinned says what is wrong with the one bank that may be paid, or "".
func (v *Visit) pinned(banks []alpaca.Relationship) string {
	for _, b := range banks {
		if b.ID != v.Closure.RelationshipID {
			continue
		}
		switch {
		case !b.Approved():
			return "is not approved any more (" + b.Status + ")"
		case b.Fingerprint != v.Closure.Fingerprint:
			return "has other numbers than at the request"
		}
		return ""
	}
	return "is gone"
}
