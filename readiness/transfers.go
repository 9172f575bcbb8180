package readiness

import (
	"context"

	"github.com/shopspring/decimal"

	"closeout/alpaca"
)

// Transfer is one of an account's transfers as the broker lists it.
type Transfer struct {
	ID             string
	RelationshipID string
	Amount         decimal.NullDecimal
	Outgoing       bool
	Status         string
}

// Transfers lists an account's transfers, all of them. The error is ErrNoAccount, or an *UnreadableError.
func (c *Checker) Transfers(ctx context.Context, account string) ([]Transfer, error) {
	all, err := c.Broker.Transfers(ctx, account)
	if alpaca.NotFound(err) {
		return nil, ErrNoAccount
	}
	if err != nil {
		return nil, &UnreadableError{"the transfers", err}
	}
	out := make([]Transfer, len(all))
	for n, t := range all {
		out[n] = Transfer{t.ID, t.RelationshipID, t.Amount.NullDecimal, t.Outgoing(), t.Status}
	}
	return out, nil
}
