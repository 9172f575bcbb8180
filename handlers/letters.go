package handlers

import (
	"context"
	"strings"

	"closeout/alpaca"
	"closeout/closure"
	"closeout/ledger"
	"closeout/mail"
)

// Letters writes the letters that are owed and hands them to a mailer. Names and addresses are asked of the broker at that
// moment: no notice holds them.
type Letters struct {
	Broker interface {
		Account(ctx context.Context, id string) (alpaca.Account, error)
	}
	Mailer Mailer
}

// Mailer takes a finished letter: *mail.SMTP in production.
type Mailer interface {
	Send(ctx context.Context, l mail.Letter) error
}

// Send implements Post. An address given at initiate goes before the broker's; with one, a broker that does not answer
// costs the name and not the letter.
func (p Letters) Send(ctx context.Context, n ledger.Notice, c closure.Closure, intents []closure.Intent) error {
	to := mail.Recipient{Address: c.Email}
	a, err := p.Broker.Account(ctx, c.AccountID)
	switch {
	case err == nil:
		to.Name = strings.TrimSpace(a.Identity.GivenName + " " + a.Identity.FamilyName)
		if to.Address == "" {
			to.Address = a.Contact.EmailAddress
		}
	case to.Address == "":
		return err
	}
	return p.Mailer.Send(ctx, letter(n, c, intents, to))
}

// letter says what the notice says, with the payouts as they stand. Our own words for operators stay out of it: of a reason
// the customer is told what its row tells customers.
func letter(n ledger.Notice, c closure.Closure, intents []closure.Intent, to mail.Recipient) mail.Letter {
	l := mail.Letter{
		ID: n.ID, Kind: mail.Kind(n.Letter), To: to, Confirmation: n.Data.Confirmation, AccountTail: tail(c.AccountID),
		Paid: n.Data.Paid, Requested: c.CreatedAt,
	}
	switch n.Letter {
	case closure.LetterCompleted:
		l.Completed = c.EndedAt
	case closure.LetterCanceled:
		l.Completed = c.EndedAt
	case closure.LetterActionNeeded:
		l.Why, l.Hint = closure.Reasons[n.Data.Reason].Title, closure.Reasons[n.Data.Reason].Tell
	case closure.LetterFailed:
		l.Why = closure.Reasons[n.Data.Reason].Tell
	case closure.LetterInitiated:
		l.Expected = n.Data.Expected
		return l
	}
	for _, i := range intents {
		if i.Kind == closure.TransferIntent && i.State == closure.IntentSent {
			l.Transfers = append(l.Transfers, mail.Transfer{Amount: closure.USD(i.Amount.Decimal), At: i.ClaimedAt, Status: i.Finished})
		}
	}
	return l
}
