package desk

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/shopspring/decimal"

	"closeout/closure"
	"closeout/ledger"
	"closeout/readiness"
)

// Word is a person's word on what was done by hand, as they wrote it down.
type Word struct {
	Kind           closure.ResolutionKind
	Amount         string
	Reference      string
	TransferID     string
	IntentID       string
	RelationshipID string
}

// Fault is one thing that is wrong with what was written, and in which field, by its name in the API.
type Fault struct{ Field, Message string }

// Resolution reads the word: each kind has its fields, and no other.
func (w Word) Resolution() (r closure.Resolution, faults []Fault) {
	r = closure.Resolution{
		Kind: w.Kind, Reference: w.Reference, TransferID: strings.ToLower(w.TransferID), IntentID: w.IntentID, Bank: strings.ToLower(w.RelationshipID),
	}
	fault := func(field, message string) { faults = append(faults, Fault{field, message}) }
	field := func(name, value string, needed, allowed bool) {
		switch {
		case needed && value == "":
			fault(name, "is needed for "+string(w.Kind))
		case value != "" && !needed && !allowed:
			fault(name, "does not belong to "+string(w.Kind))
		}
	}
	hand, adopt, void := r.Kind == closure.PaidByHand, r.Kind == closure.AdoptTransfer, r.Kind == closure.VoidTransfer
	field("amount", w.Amount, hand, false)
	field("reference", w.Reference, hand, false)
	field("transfer_id", w.TransferID, adopt, false)
	field("intent_id", w.IntentID, false, adopt || void)
	field("ach_relationship_id", w.RelationshipID, r.Kind == closure.RelinkBank, false)
	if w.Amount != "" {
		var err error
		if r.Amount, err = decimal.NewFromString(w.Amount); err != nil || r.Amount.LessThan(closure.Cent) {
			fault("amount", "must be a sum of dollars, at least 0.01")
		}
	}
	if w.Reference != "" {
		if wrong := Line(w.Reference); wrong != "" {
			fault("reference", wrong)
		}
	}
	for name, id := range map[string]string{"transfer_id": r.TransferID, "ach_relationship_id": r.Bank} {
		if id != "" && uuid.Validate(id) != nil {
			fault(name, "must be an id of the broker's")
		}
	}
	return r, faults
}

// Resolve records what was done by hand and sets the closure going again. A bank to be relinked is read at the broker first, and
// so is the list of transfers, where it can be read. The error is a *Refusal, the readiness check's, or the ledger's.
func (d *Desk) Resolve(ctx context.Context, c closure.Closure, r closure.Resolution, a Ask, replies ...*ledger.Reply[After]) (After, error) {
	var listed []readiness.Transfer
	var err error
	readable := false
	switch r.Kind {
	case closure.RelinkBank:
		if c.State == closure.Running || c.State.Ended() {
			break // it is refused without asking the broker
		}
		if r.Fingerprint, err = d.approved(ctx, c, r.Bank); err != nil {
			return After{}, err
		}
	case closure.AdoptTransfer, closure.VoidTransfer:
		listed, err = d.Readiness.Transfers(ctx, c.AccountID)
		readable = err == nil
		r.Checked = "compared with the broker's list"
		if !readable {
			r.Checked = "the broker's list could not be read"
		}
	case closure.PaidByHand:
	}
	return d.carryOut(ctx, c.ID, a, func(c closure.Closure, is []closure.Intent) (closure.Change, []closure.Intent, error) {
		settled, err := r.Check(c, is, time.Now())
		if err == nil && readable {
			err = d.compare(r, c, *settled, is, listed)
		}
		if err != nil {
			return closure.Change{}, is, err
		}
		after := slices.Clone(is)
		for n := range after {
			if settled != nil && after[n].ID == settled.ID {
				after[n] = *settled
			}
		}
		return closure.Resolved(d.Clock.Now(), a.Actor, a.Why, r, settled), after, nil
	}, replies)
}

// approved is the fingerprint of a bank that the account has and the broker has approved, read now.
func (d *Desk) approved(ctx context.Context, c closure.Closure, bank string) (fingerprint string, err error) {
	report, err := d.Readiness.Check(ctx, c.AccountID, bank)
	if err != nil {
		return "", err
	}
	var ofBank []readiness.Obstacle
	for _, o := range report.Blocking() {
		if report.Holdings == nil || o.Code == readiness.BankUnknown || o.Code == readiness.BankNotApproved {
			ofBank = append(ofBank, o)
		}
	}
	if len(ofBank) > 0 {
		no := refusal(BankRefused, c, ofBank[0].Text, ofBank[0].Hint)
		no.Obstacles = ofBank
		return "", no
	}
	if report.Bank == nil {
		return "", errors.New("readiness: no obstacle, and no bank")
	}
	return report.Bank.Fingerprint, nil
}

// compare holds a person's word on a payout against the broker's list.
func (d *Desk) compare(r closure.Resolution, c closure.Closure, i closure.Intent, intents []closure.Intent, listed []readiness.Transfer) error {
	fits := func(t readiness.Transfer) bool {
		return t.Outgoing && t.RelationshipID == i.RelationshipID && t.Amount.Valid && t.Amount.Decimal.Equal(i.Amount.Decimal)
	}
	if r.Kind == closure.AdoptTransfer {
		n := slices.IndexFunc(listed, func(t readiness.Transfer) bool { return strings.EqualFold(t.ID, r.TransferID) })
		switch {
		case n < 0:
			return refusal(TransferUnlisted, c, "The broker's list of the account's transfers lacks this one.",
				"Check the id. A broker that is slow to list may show it later; then ask again.")
		case !fits(listed[n]):
			return refusal(CannotResolve, c, fmt.Sprintf("The transfer is not a payout of $%s to the bank of %s.", closure.USD(i.Amount.Decimal), Instructed(i)),
				"Adopt the transfer that the payout has made; money that left another way is recorded as paid_by_hand.")
		}
		return nil
	}
	for _, t := range listed {
		_, before := i.Listed[t.ID]
		if !before && fits(t) && !slices.ContainsFunc(intents, func(o closure.Intent) bool { return o.BrokerID == t.ID }) {
			return refusal(TransferListed, c, "The broker lists a transfer that "+Instructed(i)+" may have made: "+t.ID+", "+strings.ToLower(t.Status)+".",
				"If it is the one, adopt it: a void would pay the sum once more. "+closure.Capital(d.way(string(closure.AdoptTransfer), c))+".")
		}
	}
	return nil
}
