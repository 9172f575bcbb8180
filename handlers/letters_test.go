package handlers_test

import (
	"testing"
	"time"

	"closeout/alpaca/sim"
	"closeout/closure"
	"closeout/internal/lab"
	"closeout/mail"
)

// Each letter goes once, in order, with the real sums.
func TestLettersOfAClosure(t *testing.T) {
	t.Parallel()
	bench(t, lab.Options{}, func(l *lab.Lab) {
		c := l.Ends(l.Open(sim.Spec{Cash: d("60000"), Email: "ada@customer.example", GivenName: "Ada", FamilyName: "Lovelace"}).ID, month)
		wants(l, c, closure.Closed, "", "50000.00", "10000.00")
		l.RunFor(10 * time.Minute)
		if len(l.Letters) != 2 || l.Letters[0].Kind != mail.Initiated || l.Letters[1].Kind != mail.Completed {
			l.TB.Fatalf("letters: %+v", l.Letters)
		}
		done := l.Letters[1]
		if done.Paid != "60000.00" || len(done.Transfers) != 2 || done.Completed.IsZero() {
			l.TB.Errorf("the last letter: %+v", done)
		}
		if done.To != (mail.Recipient{Address: "ada@customer.example", Name: "Ada Lovelace"}) {
			l.TB.Errorf("to %+v", done.To)
		}
	})
}

func TestLetterWhenTheCustomerMustAct(t *testing.T) {
	t.Parallel()
	bench(t, lab.Options{}, func(l *lab.Lab) {
		s := threeStocks()
		s.Events = []sim.Event{{Type: "relationship_delete", When: sim.AfterFirstOrder}}
		wants(l, l.Ends(l.Open(s).ID, month), closure.Failed, closure.BankGone)
		l.RunFor(10 * time.Minute)
		if len(l.Letters) != 2 || l.Letters[1].Kind != mail.ActionNeeded || l.Letters[1].Hint == "" {
			l.TB.Fatalf("letters: %+v", l.Letters)
		}
	})
}

// The mail room knows each letter that a closure can call for.
func TestKindsOfLettersAreTheClosures(t *testing.T) {
	t.Parallel()
	for _, k := range []closure.Letter{closure.LetterInitiated, closure.LetterActionNeeded, closure.LetterFailed, closure.LetterCompleted, closure.LetterCanceled} {
		if _, _, _, err := mail.Render(mail.Letter{Kind: mail.Kind(k), Confirmation: "CLA-1"}); err != nil {
			t.Errorf("%s: %v", k, err)
		}
	}
}
