package handlers

import (
	"context"
	"errors"
	"slices"
	"strings"

	"closeout/alpaca"
	"closeout/closure"
	"closeout/legacy"
)

// shown is an account as the broker shows it.
type shown struct {
	words     string // in words
	phase     closure.Phase
	transfers []alpaca.Transfer
	found     []alpaca.Transfer // the earlier system's payouts for this closing
	bank      string            // the fingerprint of the bank that it names; "": the broker has it no more
}

// look reads what decides the phase. Where anything can't be read, nothing is known.
func (t *Takeovers) look(ctx context.Context, a legacy.Account) (s shown, err error) {
	trading, err := t.Broker.TradingAccount(ctx, a.ID)
	if err != nil {
		return s, err
	}
	if !trading.Cash.Valid || !trading.CashWithdrawable.Valid {
		return s, errors.New("the broker left out the cash")
	}
	positions, err := t.Broker.Positions(ctx, a.ID)
	if err != nil {
		return s, err
	}
	orders, err := t.Broker.OpenOrders(ctx, a.ID)
	if err != nil {
		return s, err
	}
	if s.transfers, err = t.Broker.Transfers(ctx, a.ID); err != nil {
		return s, err
	}
	banks, err := t.Broker.Relationships(ctx, a.ID)
	if err != nil {
		return s, err
	}
	for _, b := range banks {
		if b.ID == a.Bank {
			s.bank = b.Fingerprint
		}
	}
	if s.found, err = t.payouts(a, s.transfers, a.Bank); err != nil {
		return s, err
	}
	s.judge(trading, len(positions), len(orders))
	return s, nil
}

// payouts are those of the broker's transfers that belong to the closing: over its bank, out of the account, made since it was
// asked for, or on their way where nobody says when that was; and those that the earlier system names.
func (t *Takeovers) payouts(a legacy.Account, all []alpaca.Transfer, bank string) ([]alpaca.Transfer, error) {
	since, named := a.Began(), a.Transfers()
	if !since.IsZero() {
		since = t.Clock.At(since).Add(-t.Timing.Skew)
	}
	var found []alpaca.Transfer
	for _, tr := range all {
		belongs := bank != "" && tr.RelationshipID == bank && (!since.IsZero() && !tr.CreatedAt.Before(since) || since.IsZero() && !tr.Ended())
		if !tr.Outgoing() || !belongs && !slices.Contains(named, tr.ID) {
			continue
		}
		if !tr.Amount.Valid {
			return nil, errors.New("the broker left out the amount of a transfer")
		}
		found = append(found, tr)
	}
	return found, nil
}

// judge says at which phase the closure goes on. Each phase looks at everything that it rests on by itself, so that one that is
// named too early passes on at once, and one too late goes back.
func (s *shown) judge(a alpaca.TradingAccount, positions, orders int) {
	cash, free := closure.Cents(a.Cash.Decimal), closure.Cents(a.CashWithdrawable.Decimal)
	due := cash
	if a.PendingTransferOut.Valid {
		due = closure.Cents(cash.Sub(a.PendingTransferOut.Decimal))
	}
	flying, arrived := 0, 0
	for _, t := range s.found {
		switch f, _ := t.Fate(); f {
		case alpaca.InFlight:
			flying++
		case alpaca.Complete:
			arrived++
		case alpaca.Failed, alpaca.Returned:
		}
	}
	switch {
	case positions+orders > 0:
		s.phase = closure.Liquidation
	case cash.IsNegative(), free.LessThan(due):
		s.phase = closure.Settlement
	case cash.GreaterThanOrEqual(closure.Cent), flying+arrived > 0: // one that has arrived is watched for a return
		s.phase = closure.Withdrawal
	default:
		s.phase = closure.Closing
	}
	words := []string{strings.ToUpper(a.Status)}
	for _, n := range []struct {
		n    int
		what string
	}{{positions, "position"}, {orders, "open order"}} {
		if n.n > 0 {
			words = append(words, closure.Count(n.n, n.what))
		}
	}
	words = append(words, usd(cash)+" of cash")
	if !free.Equal(cash) {
		words = append(words, usd(free)+" can be withdrawn")
	}
	if flying > 0 {
		words = append(words, closure.Count(flying, "payout")+" on the way")
	}
	if arrived > 0 {
		words = append(words, closure.Count(arrived, "payout")+" arrived")
	}
	if came := len(s.found) - flying - arrived; came > 0 {
		words = append(words, closure.Count(came, "payout")+" came back or never left")
	}
	s.words = strings.Join(words, ", ")
}

// unlisted is a payout that the earlier system names and the broker does not list.
func (s shown) unlisted(a legacy.Account) string {
	for _, id := range a.Transfers() {
		if !slices.ContainsFunc(s.transfers, func(t alpaca.Transfer) bool { return t.ID == id }) {
			return id
		}
	}
	return ""
}
