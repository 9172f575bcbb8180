package readiness

import (
	"context"

	"closeout/alpaca"
)

// LinkedBank is an ACH relationship of an account, as a person tells it from others.
type LinkedBank struct {
	ID       string
	Kind     string // CHECKING or SAVINGS; "" where the broker left it out
	Ends     string // how the bank account's number ends; "" where that would be much of it
	Status   string
	Approved bool // money may be sent over it
}

// Banks lists the account's ACH relationships, those of every status. The error is ErrNoAccount, or an *UnreadableError.
func (c *Checker) Banks(ctx context.Context, account string) ([]LinkedBank, error) {
	all, err := c.Broker.Relationships(ctx, account)
	if alpaca.NotFound(err) {
		return nil, ErrNoAccount
	}
	if err != nil {
		return nil, &UnreadableError{"the bank relationships", err}
	}
	out := make([]LinkedBank, len(all))
	for n, b := range all {
		out[n] = LinkedBank{b.ID, b.Kind, b.Ends, b.Status, b.Approved()}
	}
	return out, nil
}
