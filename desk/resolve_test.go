package desk_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"

	"closeout/closure"
	"closeout/desk"
	"closeout/readiness"
)

func dollars(n int64) decimal.Decimal { return decimal.NewFromInt(n) }

var (
	byHand = desk.Word{Kind: closure.PaidByHand, Amount: "5.00", Reference: "wire 7"}
	adopt  = desk.Word{Kind: closure.AdoptTransfer, TransferID: aTransfer}
	void   = desk.Word{Kind: closure.VoidTransfer}
	relink = desk.Word{Kind: closure.RelinkBank, RelationshipID: another}
)

// listed is a transfer as the broker lists it.
func listed(id string, sum int64, bank string) readiness.Transfer {
	return readiness.Transfer{ID: id, RelationshipID: bank, Amount: decimal.NewNullDecimal(dollars(sum)), Outgoing: true, Status: "QUEUED"}
}

func (b *bench) resolve(c closure.Closure, w desk.Word, a desk.Ask) (desk.After, error) {
	b.Helper()
	r, faults := w.Resolution()
	if len(faults) > 0 {
		b.Fatalf("the word has faults: %v", faults)
	}
	return b.Resolve(b.Context(), c, r, a)
}

func TestResolutionsAreRefusedInWords(t *testing.T) {
	t.Parallel()
	obstacle := func(code string) readiness.Report {
		return readiness.Report{Holdings: &readiness.Holdings{}, Obstacles: []readiness.Obstacle{
			{Code: readiness.AccountBlocked, Text: "The account is blocked.", Blocking: true},
			{Code: code, Text: "The bank is not there.", Hint: "Link it.", Blocking: true},
		}}
	}
	for _, tt := range []struct {
		name               string
		given              func(*bench) closure.Closure
		word               desk.Word
		broker             broker
		code, detail, hint string
	}{
		{"WhileItRuns", waits, byHand, broker{}, desk.NotStopped, "pause it first", "Do pause at " + anAccount + ", do what is to be done by hand, then record it"},
		{"RelinkWhileItRuns", waits, relink, broker{}, desk.NotStopped, "pause it first", "Do pause at"},
		{"AfterTheEnd", closed, byHand, broker{}, desk.ClosureEnded, "is closed", "initiate"},
		{"RelinkAfterTheEnd", canceled, relink, broker{}, desk.ClosureEnded, "is canceled", "initiate"},
		{"WithoutAMeasure", failed, byHand, broker{}, desk.CannotResolve, "cash was not read yet", "case file"},
		{"PaidByHandBesideADoubt", inDoubt, byHand, broker{}, desk.CannotResolve, "The outcome of the payout of $900.00 is not settled", "case file"},
		{"AdoptWhereNothingIsInQuestion", failed, adopt, broker{}, desk.CannotResolve, "No payout of this closure is in question", "case file"},
		{"AdoptWhatIsNotListed", inDoubt, adopt, broker{transfers: []readiness.Transfer{listed(another, 900, aBank)}}, desk.TransferUnlisted, "lacks this one", "Check the id"},
		{"AdoptAnotherSum", inDoubt, adopt, broker{transfers: []readiness.Transfer{listed(aTransfer, 899, aBank)}}, desk.CannotResolve, "not a payout of $900.00", "paid_by_hand"},
		{"AdoptToAnotherBank", inDoubt, adopt, broker{transfers: []readiness.Transfer{listed(aTransfer, 900, another)}}, desk.CannotResolve, "not a payout of $900.00", "paid_by_hand"},
		{"AdoptWhatWasListedBefore", inDoubt, desk.Word{Kind: closure.AdoptTransfer, TransferID: itsAccount}, broker{}, desk.CannotResolve, "was there before the payout", "case file"},
		{"AdoptAnothers", func(b *bench) closure.Closure {
			b.answered(b.create(itsAccount), aTransfer)
			return inDoubt(b)
		}, adopt, broker{transfers: []readiness.Transfer{listed(aTransfer, 900, aBank)}}, desk.TransferTaken, "belongs to another payout", "Compare"},
		{"VoidTooEarly", tooEarly, void, broker{}, desk.CannotResolve, "It is too early to say", "case file"},
		{"VoidWhatWasAnswered", stopPaid, void, broker{}, desk.CannotResolve, "No payout of this closure is in question", "case file"},
		{"VoidWhatTheBrokerLists", inDoubt, void, broker{transfers: []readiness.Transfer{listed(aTransfer, 900, aBank)}}, desk.TransferListed, "the payout of $900.00 may have made: " + aTransfer + ", queued", "Do adopt_transfer at " + anAccount},
		{"RelinkToTheSameBank", failed, desk.Word{Kind: closure.RelinkBank, RelationshipID: aBank}, broker{report: readiness.Report{Bank: &readiness.Bank{ID: aBank, Fingerprint: "f00d"}}}, desk.CannotResolve, "pays to this bank already", "case file"},
		{"RelinkToABankThatIsUnknown", failed, relink, broker{report: obstacle(readiness.BankUnknown)}, desk.BankRefused, "The bank is not there.", "Link it."},
		{"RelinkToABankThatIsNotApproved", failed, relink, broker{report: obstacle(readiness.BankNotApproved)}, desk.BankRefused, "The bank is not there.", "Link it."},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			*b.broker = tt.broker
			c := tt.given(b)
			no := b.refuses(c, tt.code, tt.detail, tt.hint, func() error {
				_, err := b.resolve(c, tt.word, asked)
				return err
			})
			if (no.Code == desk.BankRefused) != (len(no.Obstacles) == 1) { // what is no bank's is nothing to a relinking
				t.Errorf("its obstacles: %+v", no.Obstacles)
			}
		})
	}
}

func TestAStaleResolutionDoesNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := inDoubt(b)
	ask := asked
	ask.Seen = c.Seq - 1
	no := b.refuses(c, desk.Moved, "more has happened", "Read what happened", func() error {
		_, err := b.resolve(c, void, ask)
		return err
	})
	if len(no.Meanwhile) != 1 || no.Meanwhile[0].Kind != "failed" {
		t.Errorf("meanwhile %+v", no.Meanwhile)
	}
}

func TestResolutionsAreRecorded(t *testing.T) {
	t.Parallel()
	away := &readiness.UnreadableError{What: "the transfers", Err: errors.New("503")}
	for _, tt := range []struct {
		name   string
		given  func(*bench) closure.Closure
		word   desk.Word
		broker broker
		text   string // of the event
		detail string
		intent closure.IntentState
	}{
		{"PaidByHand", stopPaid, byHand, broker{}, "$5.00 paid by hand, reference wire 7: ", `"amount":"5.00"`, closure.IntentSent},
		{"Adopt", inDoubt, adopt, broker{transfers: []readiness.Transfer{listed(strings.ToUpper(aTransfer), 900, aBank)}}, "the payout of $900.00 is the broker's transfer " + aTransfer, "compared with the broker's list", closure.IntentSent},
		{"AdoptWhileTheBrokerIsAway", inDoubt, adopt, broker{err: away}, "the payout of $900.00 is the broker's transfer " + aTransfer, "could not be read", closure.IntentSent},
		{"Void", inDoubt, void, broker{transfers: []readiness.Transfer{listed(itsAccount, 900, aBank), listed(aTransfer, 100, aBank)}}, "the payout of $900.00 was not made: ", "compared with the broker's list", closure.IntentVoid},
		{"VoidWhileTheBrokerIsAway", inDoubt, void, broker{err: away}, "the payout of $900.00 was not made: ", "could not be read", closure.IntentVoid},
		{"Relink", failed, relink, broker{report: readiness.Report{Bank: &readiness.Bank{ID: another, Fingerprint: "beef"}}}, "another bank is to be paid: ", another, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			*b.broker = tt.broker
			c := tt.given(b)
			out, err := b.resolve(c, tt.word, asked)
			must(t, err)
			now := b.state(c.ID)
			last := now.Events[len(now.Events)-1]
			if !out.Changed || now.Closure.State != closure.Running || len(b.scheduled) != 1 || b.scheduled[0].Version != now.Closure.Version {
				t.Errorf("it is %s, %d visits", now.Closure.State, len(b.scheduled))
			}
			if last.Kind != "resolve" || last.Actor != asked.Actor || !strings.HasPrefix(last.Text, tt.text) || !strings.Contains(last.Text, asked.Why) || !strings.Contains(string(last.Detail), tt.detail) {
				t.Errorf("the history says %q by %s, %s", last.Text, last.Actor, last.Detail)
			}
			if tt.intent != "" && (now.Intents[0].State != tt.intent || out.Intents[0].State != tt.intent) {
				t.Errorf("the payout is %s, and was answered as %s", now.Intents[0].State, out.Intents[0].State)
			}
			switch tt.word.Kind {
			case closure.PaidByHand:
				if len(now.Closure.Memo.ByHand) != 1 || !now.Closure.Memo.ByHand[0].Amount.Equal(dollars(5)) {
					t.Errorf("the books have %+v", now.Closure.Memo.ByHand)
				}
			case closure.AdoptTransfer:
				if now.Intents[0].BrokerID != aTransfer {
					t.Errorf("adopted %q", now.Intents[0].BrokerID)
				}
			case closure.RelinkBank:
				if now.Closure.RelationshipID != another || now.Closure.Fingerprint != "beef" {
					t.Errorf("the bank is %s, %s", now.Closure.RelationshipID, now.Closure.Fingerprint)
				}
			case closure.VoidTransfer:
			}
		})
	}
}

// A bank that can't be read is none: no word stands for it.
func TestABankThatCannotBeReadIsNotRelinked(t *testing.T) {
	t.Parallel()
	for what, away := range map[string]broker{
		"unreadable":     {err: &readiness.UnreadableError{What: "the banks", Err: errors.New("503")}},
		"gone":           {err: readiness.ErrNoAccount},
		"without a bank": {report: readiness.Report{Holdings: &readiness.Holdings{}}},
	} {
		b := newBench(t)
		*b.broker = away
		c := failed(b)
		_, err := b.resolve(c, relink, asked)
		if err == nil || away.err != nil && !errors.Is(err, away.err) {
			t.Errorf("%s: %v", what, err)
		}
		if now := b.get(c.ID); now.Version != c.Version || now.RelationshipID != aBank || len(b.scheduled) > 0 {
			t.Errorf("%s: it has changed", what)
		}
	}
}

func TestAWordHasTheFieldsOfItsKind(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		word desk.Word
		want string // the faults' fields, sorted
	}{
		{byHand, ""},
		{adopt, ""},
		{void, ""},
		{relink, ""},
		{desk.Word{Kind: closure.VoidTransfer, IntentID: "c/1/0"}, ""},
		{desk.Word{Kind: closure.PaidByHand}, "amount reference"},
		{desk.Word{Kind: closure.PaidByHand, Amount: "five", Reference: "x"}, "amount"},
		{desk.Word{Kind: closure.PaidByHand, Amount: "0.001", Reference: "x"}, "amount"},
		{desk.Word{Kind: closure.PaidByHand, Amount: "-5", Reference: "x"}, "amount"},
		{desk.Word{Kind: closure.PaidByHand, Amount: "5", Reference: "a\nb"}, "reference"},
		{desk.Word{Kind: closure.PaidByHand, Amount: "5", Reference: "x", TransferID: aTransfer, IntentID: "c/1/0", RelationshipID: aBank}, "ach_relationship_id intent_id transfer_id"},
		{desk.Word{Kind: closure.AdoptTransfer}, "transfer_id"},
		{desk.Word{Kind: closure.AdoptTransfer, TransferID: "7"}, "transfer_id"},
		{desk.Word{Kind: closure.VoidTransfer, Amount: "5"}, "amount"},
		{desk.Word{Kind: closure.RelinkBank}, "ach_relationship_id"},
		{desk.Word{Kind: closure.RelinkBank, RelationshipID: "a bank"}, "ach_relationship_id"},
	} {
		r, faults := tt.word.Resolution()
		var fields []string
		for _, f := range faults {
			fields = append(fields, f.Field)
			if f.Message == "" {
				t.Errorf("%+v: nothing is said of %s", tt.word, f.Field)
			}
		}
		slices.Sort(fields)
		if got := strings.Join(fields, " "); got != tt.want || r.Kind != tt.word.Kind {
			t.Errorf("%+v: %q, want %q", tt.word, got, tt.want)
		}
	}
	if r, _ := (desk.Word{Kind: closure.AdoptTransfer, TransferID: strings.ToUpper(aTransfer)}).Resolution(); r.TransferID != aTransfer {
		t.Errorf("the id is kept as %s", r.TransferID)
	}
}

func TestAReasonIsOneLineThatSaysSomething(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"the customer asked": "", " the customer asked\n": "", "ü": "", strings.Repeat("ü", desk.MostReason): "",
		"": "must say something", " \t\n": "must say something", "a\nb": "control characters", "a\x00b": "control characters", "a\u202eb": "control characters",
		"a\xffb": "must be text", strings.Repeat("x", desk.MostReason+1): fmt.Sprintf("may have %d letters at the most", desk.MostReason),
	} {
		reason, wrong := desk.Reason(text)
		if (want == "") != (wrong == "") || !strings.Contains(wrong, want) || reason != strings.TrimSpace(text) {
			t.Errorf("%.20q: %q, %q", text, reason, wrong)
		}
	}
}

func TestWhatIsInFlightIsNamed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := paying(b)
	if in := desk.InFlightOf(b.state(c.ID).Intents); len(in) != 1 || in[0].Kind != closure.TransferIntent || in[0].Text != "the payout of $900.00 is on its way to the broker" || in[0].Since.IsZero() {
		t.Errorf("%+v", in)
	}
	b = newBench(t)
	c = stopPaid(b)
	if in := desk.InFlightOf(b.state(c.ID).Intents); in == nil || len(in) != 0 {
		t.Errorf("once it was answered: %+v", in)
	}
	order := closure.Intent{Kind: closure.OrderIntent, State: closure.IntentSending, Deadline: time.Now().Add(time.Minute), Request: []byte(`{"body":{"symbol":"T","qty":"9","side":"sell"}}`)}
	for want, i := range map[string]closure.Intent{
		"the order to sell 9 T": order, "the order to close a position": {Kind: closure.OrderIntent}, "the closing of the account": {Kind: closure.CloseIntent},
		"the cancellation of an order": {Kind: closure.CancelIntent},
	} {
		if got := strings.Join(strings.Fields(desk.Instructed(i)), " "); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
