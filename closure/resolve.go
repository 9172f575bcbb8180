package closure

import (
	"fmt"
	"slices"
	"time"

	"github.com/shopspring/decimal"
)

// ResolutionKind is what a person has done by hand, or found out.
type ResolutionKind string

// The resolutions. Each is somebody's word for what no reading of the broker can show.
const (
	PaidByHand    ResolutionKind = "paid_by_hand"   // money left the account another way
	AdoptTransfer ResolutionKind = "adopt_transfer" // an unknown payout is this transfer at the broker
	VoidTransfer  ResolutionKind = "void_transfer"  // an unknown payout was never made
	RelinkBank    ResolutionKind = "relink_bank"    // another bank is to be paid
)

// Resolution is a person's word about what was done by hand. The fields are those of its kind.
type Resolution struct {
	Kind        ResolutionKind
	Amount      decimal.Decimal // of PaidByHand: whole cents
	Reference   string          // of PaidByHand: what the payment is found by
	TransferID  string          // of AdoptTransfer
	IntentID    string          // of AdoptTransfer and VoidTransfer; "": the only one in question
	Bank        string          // of RelinkBank: an approved relationship of the account
	Fingerprint string          // of RelinkBank
	Checked     string          // what the broker said of it, for the history
}

// HandPaid is a payment that a person made and recorded. The books take it in as money that went out, for its sum and no
// more, until the next payout that is claimed in quiet: that one's cash is without it.
type HandPaid struct {
	Amount    decimal.Decimal `json:"amount"`
	Reference string          `json:"reference"`
	Key       int64           `json:"key"` // the version that its recording made
	Beside    Fields          `json:"-"`   // of a newer version
}

// Stand is what an account had when nothing in it moved, before the first payout: what payments by hand are measured
// against where no payout is. It is not changed once it is written.
type Stand struct {
	Cash   decimal.Decimal   `json:"cash"`
	Key    int64             `json:"key"` // the row's version at that look
	Listed map[string]string `json:"listed"`
	Beside Fields            `json:"-"` // of a newer version
}

// ByHandSum adds up what was recorded as paid by hand.
func (m Memo) ByHandSum() decimal.Decimal {
	sum := decimal.Zero
	for _, p := range m.ByHand {
		sum = sum.Add(p.Amount)
	}
	return sum
}

// Check says whether the resolution can be taken, by the row and the intents as they are in the command's transaction, and
// returns the intent as it leaves it where it is about one. wall is machine time.
func (r Resolution) Check(c Closure, intents []Intent, wall time.Time) (*Intent, error) {
	no := func(format string, args ...any) error {
		return &NotAllowedError{kResolve, c.State, fmt.Sprintf(format, args...)}
	}
	if err := c.stopped(kResolve); err != nil {
		return nil, err
	}
	about := r.Kind == AdoptTransfer || r.Kind == VoidTransfer
	for _, i := range intents {
		switch {
		case i.Kind != TransferIntent:
		case i.State == IntentSending && !i.Unknown(wall):
			return nil, no("the payout of $%s is on its way to the broker at this moment; its answer is there within a minute", USD(i.Amount.Decimal))
		case !about && (i.State == IntentSending || i.State == IntentLate):
			return nil, no("the outcome of the payout of $%s is not settled; adopt its transfer or void it first", USD(i.Amount.Decimal))
		}
	}
	switch r.Kind {
	case PaidByHand:
		if !r.Amount.Equal(Cents(r.Amount)) || r.Amount.LessThan(Cent) || r.Reference == "" {
			return nil, no("a payment by hand has a sum of whole cents and a reference")
		}
		if slices.ContainsFunc(c.Memo.ByHand, func(p HandPaid) bool { return p.Reference == r.Reference && p.Amount.Equal(r.Amount) }) {
			return nil, no("the payment of $%s by hand, reference %s, is recorded already; resume, or give a second one a reference of its own", USD(r.Amount), r.Reference)
		}
		quiet := func(i Intent) bool { return i.Kind == TransferIntent && i.State == IntentSent && i.Quiet }
		if c.Memo.Stand == nil && !slices.ContainsFunc(intents, quiet) {
			return nil, no("the account's cash was not read yet while nothing in it moved, so that nothing could tell whether the sum is right; resume, and record the payment when the closure has stopped in the withdrawal")
		}
	case RelinkBank:
		if r.Bank == "" || r.Fingerprint == "" {
			return nil, no("a bank has a relationship and a fingerprint")
		}
		if r.Bank == c.RelationshipID && r.Fingerprint == c.Fingerprint {
			return nil, no("the closure pays to this bank already; resume it")
		}
	case AdoptTransfer, VoidTransfer:
		i, err := r.intent(c, intents)
		if err != nil {
			return nil, err
		}
		if r.Kind == AdoptTransfer {
			return r.adopt(c, i, intents)
		}
		if i.State != IntentSending {
			return nil, no("the payout of $%s is %s; only one whose outcome is unknown can be voided", USD(i.Amount.Decimal), i.State)
		}
		if c.Reason != UnknownTransfer && i.AbsentAt.IsZero() {
			return nil, no("it is too early to say that the payout of $%s was not made: no list since its quarantine lacks it; resume, and the next looks tell", USD(i.Amount.Decimal))
		}
		i.State = IntentVoid
		return &i, nil
	default:
		return nil, no("nobody knows the resolution %q", r.Kind)
	}
	return nil, nil //nolint:nilnil // it is about no intent
}

// adopt is the intent with the broker's transfer, where that can be the one it made.
func (r Resolution) adopt(c Closure, i Intent, intents []Intent) (*Intent, error) {
	why := ""
	_, before := i.Listed[r.TransferID]
	switch {
	case r.TransferID == "":
		why = "an adoption names the broker's transfer"
	case before:
		why = fmt.Sprintf("the transfer was there before the payout of $%s was claimed", USD(i.Amount.Decimal))
	case i.BrokerID != "" && i.BrokerID != r.TransferID:
		why = fmt.Sprintf("the payout of $%s is another transfer at the broker", USD(i.Amount.Decimal))
	case slices.ContainsFunc(intents, func(o Intent) bool { return o.Kind == TransferIntent && o.ID != i.ID && o.BrokerID == r.TransferID }):
		why = "the transfer belongs to another payout of this closure"
	}
	if why != "" {
		return nil, &NotAllowedError{kResolve, c.State, why}
	}
	i.State, i.BrokerID = IntentSent, r.TransferID
	return &i, nil
}

// intent is the payout in question: the one named, or the only one that is unknown, late or given up, in this order.
func (r Resolution) intent(c Closure, intents []Intent) (Intent, error) {
	for _, s := range []IntentState{IntentSending, IntentLate, IntentVoid} {
		var found []Intent
		for _, i := range intents {
			if i.Kind == TransferIntent && i.State == s && (r.IntentID == "" || i.ID == r.IntentID) {
				found = append(found, i)
			}
		}
		switch len(found) {
		case 0:
		case 1:
			return found[0], nil
		default:
			return Intent{}, &NotAllowedError{kResolve, c.State, "several payouts are in question; name one by intent_id, as the history has it"}
		}
	}
	return Intent{}, &NotAllowedError{kResolve, c.State, "no payout of this closure is in question: each was answered, or refused"}
}

// Resolved takes in what Check has allowed and sets the closure going again. settled is the intent that Check returned.
func Resolved(at time.Time, actor, why string, r Resolution, settled *Intent) Change {
	detail := map[string]any{"resolution": r.Kind, "reason": why}
	text := ""
	switch r.Kind {
	case PaidByHand:
		detail["amount"], detail["reference"] = USD(r.Amount), r.Reference
		text = "$" + USD(r.Amount) + " paid by hand, reference " + r.Reference
	case RelinkBank:
		detail["ach_relationship_id"] = r.Bank
		text = "another bank is to be paid"
	case AdoptTransfer, VoidTransfer:
	}
	if settled != nil {
		detail["intent"], detail["intent_state"] = settled.ID, settled.State
		text = "the payout of $" + USD(settled.Amount.Decimal) + " was not made"
		if r.Kind == AdoptTransfer {
			detail["broker_id"] = settled.BrokerID
			text = "the payout of $" + USD(settled.Amount.Decimal) + " is the broker's transfer " + settled.BrokerID
		}
	}
	if r.Checked != "" {
		detail["checked"] = r.Checked
	}
	return Change{kind: kResolve, at: at, actor: actor, text: text + ": " + why, resolution: r, settled: settled, detail: detail}
}

// Settled is the intent that the change leaves as a person has said.
func (ch Change) Settled() (Intent, bool) {
	if ch.settled == nil {
		return Intent{}, false
	}
	return *ch.settled, true
}

// SeesLate says whether the change is somebody's word that they have seen the transfers which appeared late.
func (ch Change) SeesLate() bool { return ch.kind == kResume }

// resolve takes the resolution into the row.
func (c *Closure) resolve(ch Change) error {
	if err := c.stopped(ch.kind); err != nil {
		return err
	}
	c.goOn(ch.at, "resolved: "+ch.text)
	switch r := ch.resolution; r.Kind {
	case PaidByHand:
		c.Memo.ByHand = append(slices.Clone(c.Memo.ByHand), HandPaid{Amount: r.Amount, Reference: r.Reference, Key: c.Version})
	case RelinkBank:
		c.RelationshipID, c.Fingerprint = r.Bank, r.Fingerprint
	case AdoptTransfer, VoidTransfer:
	}
	return nil
}

// stopped refuses a command that only a closure takes which has stopped and not ended.
func (c *Closure) stopped(command string) error {
	switch {
	case c.State.Ended():
		return &NotAllowedError{command, c.State, fmt.Sprintf("the closure is %s", c.State)}
	case c.State == Running && command == kResolve:
		return &NotAllowedError{command, c.State, "the closure is running, and might send something meanwhile; pause it first"}
	case c.State == Running:
		return &NotAllowedError{command, c.State, "the closure is running; only a paused, failed or dead one can be resumed"}
	}
	return nil
}

// goOn sets a stopped closure going again: its failures, ways back and limit start afresh.
func (c *Closure) goOn(at time.Time, why string) {
	c.State, c.EndedAt = Running, time.Time{}
	c.Failures, c.FailuresInPhase, c.Crashes, c.LastError, c.Loops = 0, 0, 0, "", 0
	if c.Reason == ReturnedTwice { // a person has seen it
		c.Memo.Forgiven = c.Memo.CameBack
	}
	c.Memo.ExcessSince, c.Memo.Excess = time.Time{}, ""
	c.freshLimit()
	c.move(at)
	c.wait(Accepted, why)
}
