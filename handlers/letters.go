package handlers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/shopspring/decimal"
	"github.com/sirupsen/logrus"

	"closeout/alpaca"
	"closeout/closure"
	"closeout/ledger"
	"closeout/mail"
)

// Post hands a letter over to whoever delivers it.
type Post interface {
	Send(ctx context.Context, n ledger.Notice, c closure.Closure, intents []closure.Intent) error
}

const (
	letterAttempts = 12
	lastNote       = 5 * time.Second // that a worker which ends takes at the most to note its last letter
)

// Deliver hands over the letters that are owed, each under a lease, in order for each closure, and says how many. A letter
// is delivered at least once; its message ID is the notice's, so that a mail system can drop the second. Any number of
// workers may deliver at once.
func (r *Runner) Deliver(ctx context.Context) (letters int, err error) {
	var sent *ledger.Notice // not noted yet
	for ctx.Err() == nil {
		n, c, intents, err := r.Ledger.NextNotice(ctx, sent, r.Timing.Lease)
		if errors.Is(err, ledger.ErrNotFound) {
			return letters, nil
		}
		if err != nil {
			return letters, errors.Join(err, r.noteAlone(ctx, sent))
		}
		sent = nil
		if err := r.post(ctx, n, c, intents); err != nil {
			giveUp := n.Attempts >= letterAttempts || !mail.Temporary(err)
			if giveUp {
				r.posted(n.Letter, GivenUp)
			} else {
				r.posted(n.Letter, Later)
			}
			r.Log.WithFields(logrus.Fields{"closure": n.ClosureID, "letter": n.Letter, "attempt": n.Attempts, "given_up": giveUp}).
				WithError(errors.New(text(err))).Warn("could not hand over a letter")
			if err := r.Ledger.NoticeLater(ctx, n, r.Timing.Lease<<min(n.Attempts, 6), text(err), giveUp); err != nil && !errors.Is(err, ledger.ErrStale) {
				return letters, fmt.Errorf("put a letter back: %w", err)
			}
			continue
		}
		letters++
		r.posted(n.Letter, Sent)
		sent = &n
	}
	return letters, errors.Join(ctx.Err(), r.noteAlone(ctx, sent))
}

// noteAlone notes a letter as sent where the next could not be leased, or is not to be: whatever was in the way of that, be it this
// worker's end, need not be in the way of this, and a letter that is not noted goes out again.
func (r *Runner) noteAlone(ctx context.Context, sent *ledger.Notice) error {
	if sent == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastNote)
	defer cancel()
	if err := r.Ledger.NoticeSent(ctx, *sent); err != nil && !errors.Is(err, ledger.ErrStale) {
		return fmt.Errorf("note a letter as sent: %w", err)
	}
	return nil
}

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
	if l.Paid == closure.USD(decimal.Zero) && c.Memo.ByHandSum().IsPositive() {
		l.Paid = "" // the customer was paid another way: nothing by ACH is not nothing
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
