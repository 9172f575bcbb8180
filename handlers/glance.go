package handlers

import (
	"context"

	"closeout/alpaca"
	"closeout/closure"
)

// glance answers a look that can only find what is waited for: the account and the first page of its transfers, where the
// books take seven calls. It pays nothing, adopts nothing and gives nothing up. As soon as anything is not as the ledger knows
// it, ok is false and the books are read.
func (v *Visit) glance(ctx context.Context) (o closure.Outcome, ok bool, err error) {
	if !v.glances() {
		return o, false, nil
	}
	a, o, ok, err := v.account(ctx)
	if err != nil || !ok {
		return o, err == nil, err
	}
	if a.TransfersBlocked || a.Admin.OutgoingTransfersBlocked {
		return o, false, nil
	}
	b := v.known()
	if b.Transfers, err = v.Broker.FirstTransfers(ctx, v.Closure.AccountID); err != nil {
		return o, false, err
	}
	flying, ok := b.expected()
	if !ok || flying == nil && !closure.Cents(a.Cash.Decimal).IsZero() {
		return o, false, nil
	}
	v.follow(b)
	if flying != nil {
		return underWay(flying.Amount.Decimal), true, nil
	}
	over := b.watched()
	switch {
	case over.After(v.Now):
		return watching(over), true, nil
	case waitsFor(v.Closure) == closure.ReturnWatch:
		return v.nothingLeft(), true, nil // the gate reads everything else, and anew
	}
	return o, false, nil
}

// glances says whether the last look left nothing to wait for but a payout's arrival, or its return.
func (v *Visit) glances() bool {
	r := waitsFor(v.Closure)
	return v.memo.Excess == "" && (r == closure.TransferPending || r == closure.ReturnWatch)
}

// expected says whether the transfers are no others, and no different, than the ledger leads one to expect: nothing is
// unknown, each payout that was sent is in the page and is on its way or complete, nobody else's is younger than the claim
// in quiet, and that claim's cash is spent. flying is a payout that is on its way, if one is.
func (b Books) expected() (flying *alpaca.Transfer, ok bool) {
	base, ok := b.base()
	if !ok || b.left(base).GreaterThanOrEqual(closure.Cent) {
		return nil, false
	}
	unseen := b.claimed()
	for _, i := range b.Intents {
		if i.State != closure.IntentSent && i.State != closure.IntentRefused {
			return nil, false
		}
	}
	for _, t := range b.Transfers {
		_, mine := unseen[t.ID]
		fate, known := t.Fate()
		switch {
		case !t.Amount.Valid, !known, t.InReview():
			return nil, false
		case !mine && (!alpaca.StatusIs(t.Status, base.Listed[t.ID]) || !t.Ended()):
			return nil, false
		case !mine:
		case !t.Ended() && fate == alpaca.InFlight:
			if flying == nil {
				flying = &t
			}
		case fate != alpaca.Complete || t.UpdatedAt == nil || t.UpdatedAt.IsZero(): // one that came back; or its end is not known
			return nil, false
		}
		delete(unseen, t.ID)
	}
	return flying, len(unseen) == 0
}
