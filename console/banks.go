package console

import (
	"context"
	"errors"

	"closeout/closure"
	"closeout/readiness"
)

// bankChoice are the banks that a closure can be relinked to, as the broker has them, or why there is no choice.
type bankChoice struct {
	Asked    bool // the person has asked for it
	Approved []bankOption
	Others   []bankOption // money can't be sent there
	Says     string
}

// bankOption is a bank as a person tells it from others.
type bankOption struct {
	readiness.LinkedBank
	Now bool // it is the one that the closure pays to now
}

// banksOf asks the broker for an account's banks: where a person has pressed for it, and by no page by itself.
func (k *Console) banksOf(ctx context.Context, c closure.Closure) bankChoice {
	out := bankChoice{Asked: true}
	if k.Readiness == nil {
		out.Says = "This console has no way to the broker. Write the id."
		return out
	}
	all, err := k.banks.at(ctx, c, k.Readiness.Banks)
	switch {
	case errors.Is(err, readiness.ErrNoAccount):
		out.Says = "The broker does not know the account."
	case err != nil:
		k.Log.WithError(err).Info("an account's banks can't be read for a page")
		out.Says = "The broker can’t be read just now. Try again in a minute, or write the id."
	}
	for _, b := range all {
		one := bankOption{b, b.ID == c.RelationshipID}
		if b.Approved {
			out.Approved = append(out.Approved, one)
		} else {
			out.Others = append(out.Others, one)
		}
	}
	if err == nil && len(out.Approved) == 0 {
		out.Says = "The account has no approved bank at the broker. The customer must link one, and the broker approve it."
	}
	return out
}
