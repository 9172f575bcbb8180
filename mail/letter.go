package mail

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// Kind is which letter it is. Its values are those of closure.Letter, which a test compares: mail.Kind(n.Letter) converts.
type Kind string

// The kinds of letters.
const (
	Initiated    Kind = "initiated"
	ActionNeeded Kind = "action_needed"
	Failed       Kind = "failed"
	Completed    Kind = "completed"
	Canceled     Kind = "canceled"
)

// Kinds are all kinds of letters, in the order in which a customer may meet them.
func Kinds() []Kind { return []Kind{Initiated, ActionNeeded, Failed, Completed, Canceled} }

// Letter is all that a letter says. What is left empty is not mentioned; only Kind and Confirmation are needed to render
// one, and to send it also ID and To.Address.
type Letter struct {
	// ID is the notice's: the Message-ID is made of it alone, so that a mail system can drop a second copy.
	ID   string
	Kind Kind
	To   Recipient

	Confirmation string // what the customer quotes
	AccountTail  string // the last six characters of the account's id, never more

	// Paid is the sum of the payouts that the broker calls complete, as a decimal: "137512.43". "0.00" says that nothing
	// was paid; "" says that the sum is not known, and then no sum is named.
	Paid string
	// Transfers are the payouts one by one, in the order in which they are to be listed.
	Transfers []Transfer

	Requested time.Time // when the closing was asked for
	Expected  time.Time // about when it should be finished
	Completed time.Time // when the account was closed, or the closing canceled

	// Why and Hint, what happened and what they can do, are for the customer's eyes: nothing that tells an operator what to do.
	Why  string
	Hint string
}

// Recipient is whom a letter is for.
type Recipient struct {
	Address string
	Name    string // as one says it: "Ada Lovelace"; may be empty
}

// Transfer is one payout.
type Transfer struct {
	Amount string // a decimal: "50000.00"
	At     time.Time
	Status string // as the broker writes it, in any case; one that is not known reads "in progress"
}

// MessageID is the same each time for the same letter: <32 hexadecimal digits@domain>.
func (l Letter) MessageID(domain string) string {
	sum := sha256.Sum256([]byte(l.ID))
	return "<" + hex.EncodeToString(sum[:16]) + "@" + domain + ">"
}

// Example is a letter of that kind with everything filled in, for previews and tests; its people and sums are invented.
func Example(kind Kind) Letter {
	at := func(day, hour, minute int) time.Time {
		return time.Date(2026, time.March, day, hour, minute, 0, 0, newYork)
	}
	l := Letter{
		ID: "example/1/" + string(kind), Kind: kind, To: Recipient{Address: "ada@customer.example", Name: "Ada Lovelace"},
		Confirmation: "CLA-20260302150400-4f2a9c", AccountTail: "4f2a9c", Requested: at(2, 10, 4),
	}
	first := Transfer{Amount: "50000.00", At: at(4, 9, 31), Status: "COMPLETE"}
	switch kind {
	case Initiated:
		l.Expected = at(9, 16, 0)
	case ActionNeeded:
		l.Paid = "50000.00"
		l.Transfers = []Transfer{
			first,
			{Amount: "37512.43", At: at(5, 9, 30), Status: "RETURNED"},
			{Amount: "37512.43", At: at(10, 9, 30), Status: "RETURNED"},
		}
		l.Why = "the bank returned the money twice"
		l.Hint = "Ask your bank why it does not take the money, then contact us about another way to be paid."
	case Failed:
		l.Paid, l.Transfers = "0.00", []Transfer{{Amount: "50000.00", At: at(4, 9, 31), Status: "REJECTED"}}
		l.Why = "the payout to your bank account was not carried out; the money is still in your account"
	case Completed:
		l.Completed, l.Paid = at(10, 9, 45), "137512.43"
		l.Transfers = []Transfer{
			first,
			{Amount: "50000.00", At: at(5, 9, 30), Status: "COMPLETE"},
			{Amount: "37512.43", At: at(6, 9, 30), Status: "COMPLETE"},
		}
	case Canceled:
		l.Completed = at(2, 11, 20)
	}
	return l
}
