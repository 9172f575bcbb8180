package handlers_test

import (
	"cmp"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"closeout/alpaca"
	"closeout/alpaca/sim"
	"closeout/closure"
	"closeout/handlers"
	"closeout/internal/lab"
	"closeout/ledger"
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
		if len(l.Letters) != 2 || l.Letters[1].Kind != mail.ActionNeeded || l.Letters[1].Hint == "" || l.Letters[1].Hint != closure.Reasons[closure.BankGone].Tell {
			l.TB.Fatalf("letters: %+v", l.Letters)
		}
	})
}

// box keeps what was sent.
type box struct{ letters []mail.Letter }

func (b *box) Send(_ context.Context, l mail.Letter) error {
	b.letters = append(b.letters, l)
	return nil
}

// unreachable is a broker that can't be asked for the customer's name.
type unreachable struct{}

func (unreachable) Account(context.Context, string) (alpaca.Account, error) {
	return alpaca.Account{}, errors.New("no answer")
}

func TestWhatALetterSaysOfItsNotice(t *testing.T) {
	t.Parallel()
	expected := time.Date(2027, time.January, 26, 7, 46, 0, 0, time.UTC)
	for name, tt := range map[string]struct {
		letter closure.Letter
		data   ledger.NoticeData
		says   string
		not    string
	}{
		"the first, with a date":            {closure.LetterInitiated, ledger.NoticeData{Expected: expected}, "about Tuesday, January 26, 2027", ""},
		"the first, without":                {closure.LetterInitiated, ledger.NoticeData{}, "We have started", "xpect"},
		"the customer must act":             {closure.LetterActionNeeded, ledger.NoticeData{Reason: closure.BankGone}, "Link that bank account again", "initiate"},
		"stopped, which means something":    {closure.LetterFailed, ledger.NoticeData{Reason: closure.TransferRefused}, "could not be made", "resume"},
		"stopped, which would mean nothing": {closure.LetterFailed, ledger.NoticeData{Reason: closure.CrashesWorker, Why: "5 runs in a row"}, "our staff have to", "Why:"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got box
			tt.data.Confirmation = "CLA-1"
			n := ledger.Notice{ID: "n", Letter: tt.letter, Data: tt.data}
			if err := (handlers.Letters{Broker: unreachable{}, Mailer: &got}).Send(t.Context(), n, closure.Closure{Email: "ada@customer.example"}, nil); err != nil {
				t.Fatal(err)
			}
			_, text, _, err := mail.Render(got.letters[0])
			if err != nil {
				t.Fatal(err)
			}
			if text = strings.Join(strings.Fields(text), " "); !strings.Contains(text, tt.says) || tt.not != "" && strings.Contains(text, tt.not) {
				t.Errorf("want %q, and no %q, in\n%s", tt.says, tt.not, text)
			}
		})
	}
}

// drawer is a ledger that owes letters, and writes down what happens to them. What is leased under an error fails with it.
type drawer struct {
	handlers.Ledger // nothing else is asked of it
	owed            []string
	fails           map[string]error
	log             []string
	handing         func() // with each letter; nil: nothing
}

func (d *drawer) NextNotice(_ context.Context, sent *ledger.Notice, _ time.Duration) (n ledger.Notice, c closure.Closure, is []closure.Intent, err error) {
	if sent != nil {
		d.log = append(d.log, "noted "+sent.ID)
	}
	if len(d.owed) == 0 {
		return n, c, nil, ledger.ErrNotFound
	}
	n.ID, d.owed = d.owed[0], d.owed[1:]
	d.log = append(d.log, "leased "+n.ID)
	return n, closure.Closure{ID: "of " + n.ID}, []closure.Intent{{ID: "in " + n.ID}}, d.fails["leased "+n.ID]
}

func (d *drawer) NoticeSent(ctx context.Context, n ledger.Notice) error {
	d.log = append(d.log, "noted alone "+n.ID)
	return cmp.Or(d.fails["noted alone "+n.ID], ctx.Err())
}

func (d *drawer) NoticeLater(_ context.Context, n ledger.Notice, _ time.Duration, _ string, _ bool) error {
	d.log = append(d.log, "later "+n.ID)
	return nil
}

// Send implements Post.
func (d *drawer) Send(_ context.Context, n ledger.Notice, c closure.Closure, is []closure.Intent) error {
	if c.ID != "of "+n.ID || len(is) != 1 || is[0].ID != "in "+n.ID {
		return errors.New("not this letter's closure")
	}
	d.log = append(d.log, "sent "+n.ID)
	if d.handing != nil {
		d.handing()
	}
	return d.fails["sent "+n.ID]
}

// A worker that ends while a letter is handed over notes it all the same: it would go out again.
func TestTheLastLetterOfAWorkerIsNoted(t *testing.T) {
	t.Parallel()
	ctx, end := context.WithCancel(t.Context())
	d := &drawer{owed: []string{"a", "b"}, handing: end}
	n, err := (&handlers.Runner{Ledger: d, Post: d, Timing: closure.DefaultTiming, Log: logrus.New()}).Deliver(ctx)
	if got := strings.Join(d.log, ", "); n != 1 || !errors.Is(err, context.Canceled) || err.Error() != context.Canceled.Error() || got != "leased a, sent a, noted alone a" {
		t.Errorf("%d letters, %v: %s", n, err, got)
	}
}

// A letter that was handed over is noted with the next one's lease, and so before that one is handed over; one that was not is not.
func TestALetterIsNotedWithTheNextOnesLease(t *testing.T) {
	t.Parallel()
	down := errors.New("no answer")
	for name, tt := range map[string]struct {
		fails   map[string]error
		letters int
		want    string
		err     string
	}{
		"all go": {nil, 3, "leased a, sent a, noted a, leased b, sent b, noted b, leased c, sent c, noted c", ""},
		"one is refused": {
			map[string]error{"sent b": down},
			2, "leased a, sent a, noted a, leased b, sent b, later b, leased c, sent c, noted c", "",
		},
		"the last is refused": {
			map[string]error{"sent c": down},
			2, "leased a, sent a, noted a, leased b, sent b, noted b, leased c, sent c, later c", "",
		},
		"the first can't be leased": {map[string]error{"leased a": down}, 0, "leased a", "no answer"},
		"the second can't be leased": {
			map[string]error{"leased b": down},
			1, "leased a, sent a, noted a, leased b, noted alone a", "no answer",
		},
		"nor noted, as another has it": {
			map[string]error{"leased b": down, "noted alone a": ledger.ErrStale},
			1, "leased a, sent a, noted a, leased b, noted alone a", "no answer",
		},
		"nor noted": {
			map[string]error{"leased b": down, "noted alone a": down},
			1, "leased a, sent a, noted a, leased b, noted alone a", "no answer\nnote a letter as sent: no answer",
		},
		"the one behind a refused can't be leased": {
			map[string]error{"sent a": down, "leased b": down},
			0, "leased a, sent a, later a, leased b", "no answer",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := logrus.New()
			log.SetOutput(io.Discard)
			d := &drawer{owed: []string{"a", "b", "c"}, fails: tt.fails}
			n, err := (&handlers.Runner{Ledger: d, Post: d, Timing: closure.DefaultTiming, Log: log}).Deliver(t.Context())
			said := ""
			if err != nil {
				said = err.Error()
			}
			if got := strings.Join(d.log, ", "); got != tt.want || n != tt.letters || said != tt.err {
				t.Errorf("%d letters, %q: %s\nwant %d, %q: %s", n, said, got, tt.letters, tt.err, tt.want)
			}
		})
	}
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
