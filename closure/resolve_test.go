package closure_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/shopspring/decimal"

	"closeout/closure"
)

// question is a payout of $900 whose outcome nobody knows, an hour after its claim.
func question() closure.Intent {
	return closure.Intent{
		ID: "c/7/0", Kind: closure.TransferIntent, State: closure.IntentSending, Amount: decimal.NewNullDecimal(decimal.NewFromInt(900)),
		Listed: map[string]string{"old": "COMPLETE"}, Deadline: noon.Add(-time.Hour), Quiet: true,
	}
}

func in(s closure.IntentState, id string) closure.Intent {
	i := question()
	i.ID, i.State, i.BrokerID = "c/3/0", s, id
	return i
}

func TestResolutionsAreRefusedInWords(t *testing.T) {
	t.Parallel()
	adopt, void := closure.Resolution{Kind: closure.AdoptTransfer, TransferID: "new"}, closure.Resolution{Kind: closure.VoidTransfer}
	hand := closure.Resolution{Kind: closure.PaidByHand, Amount: decimal.NewFromInt(900), Reference: "wire 7"}
	relink := closure.Resolution{Kind: closure.RelinkBank, Bank: "other", Fingerprint: "beef"}
	named := func(r closure.Resolution, id string) closure.Resolution { r.TransferID = id; return r }
	due := question()
	due.Deadline = noon.Add(time.Second)
	for _, tt := range []struct {
		name    string
		state   closure.State
		r       closure.Resolution
		intents []closure.Intent
		want    string // "": it is taken
	}{
		{"while it runs", closure.Running, relink, nil, "pause it first"},
		{"when it is over", closure.Closed, relink, nil, "the closure is closed"},
		{"another bank", closure.Failed, relink, nil, ""},
		{"no bank", closure.Failed, closure.Resolution{Kind: closure.RelinkBank}, nil, "a relationship and a fingerprint"},
		{"another bank while a payout is unknown", closure.Failed, relink, []closure.Intent{question()}, "not settled"},
		{"another bank while a payout is late", closure.Failed, relink, []closure.Intent{in(closure.IntentLate, "t")}, "not settled"},
		{"another bank while a payout is under way", closure.Failed, relink, []closure.Intent{in(closure.IntentSent, "t")}, ""},
		{"anything while an answer is due", closure.Paused, void, []closure.Intent{due}, "on its way"},
		{"by hand after a payout", closure.Failed, hand, []closure.Intent{in(closure.IntentSent, "t")}, ""},
		{"by hand after a refused one", closure.Failed, hand, []closure.Intent{in(closure.IntentRefused, "")}, "was not read yet"},
		{"nothing by hand", closure.Failed, closure.Resolution{Kind: closure.PaidByHand, Reference: "x"}, nil, "whole cents"},
		{"by hand without a reference", closure.Failed, closure.Resolution{Kind: closure.PaidByHand, Amount: closure.Cent}, nil, "a reference"},
		{"a void", closure.Failed, void, []closure.Intent{question()}, "too early"},
		{"a void of what was sent", closure.Failed, void, []closure.Intent{in(closure.IntentVoid, "")}, "only one whose outcome is unknown"},
		{"an adoption", closure.Failed, adopt, []closure.Intent{question()}, ""},
		{"an adoption of what was given up", closure.Failed, adopt, []closure.Intent{in(closure.IntentVoid, "")}, ""},
		{"an adoption without a transfer", closure.Failed, named(adopt, ""), []closure.Intent{question()}, "names the broker's transfer"},
		{"an adoption of what was listed", closure.Failed, named(adopt, "old"), []closure.Intent{question()}, "was there before"},
		{"an adoption of another's", closure.Failed, adopt, []closure.Intent{in(closure.IntentSent, "new"), question()}, "another payout of this closure"},
		{"an adoption of a late one under another id", closure.Failed, adopt, []closure.Intent{in(closure.IntentLate, "t")}, "another transfer at the broker"},
		{"an adoption of a late one", closure.Failed, named(adopt, "t"), []closure.Intent{in(closure.IntentLate, "t")}, ""},
		{"an adoption where nothing is in question", closure.Failed, adopt, []closure.Intent{in(closure.IntentSent, "t")}, "no payout of this closure"},
		{"an unknown kind", closure.Failed, closure.Resolution{Kind: "pray"}, nil, "nobody knows"},
	} {
		settled, err := tt.r.Check(stand(t, tt.state, closure.Withdrawal), tt.intents, noon)
		if tt.want == "" && err == nil {
			if settled != nil && (settled.State != closure.IntentSent || settled.BrokerID != tt.r.TransferID) {
				t.Errorf("%s: leaves it %s as %q", tt.name, settled.State, settled.BrokerID)
			}
			continue
		}
		if no, ok := errors.AsType[*closure.NotAllowedError](err); !ok || tt.want == "" || !strings.Contains(no.Why, tt.want) || no.Command != "resolve" {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

// A void is taken where the closure stopped over the payout, or a list since its quarantine lacks it.
// What was recorded once is no second payment, whoever asks again and however late.
func TestAPaymentByHandIsRecordedOnce(t *testing.T) {
	t.Parallel()
	c := stand(t, closure.Failed, closure.Withdrawal)
	c.Memo.ByHand = []closure.HandPaid{{Amount: decimal.RequireFromString("900.00"), Reference: "wire 7", Key: 1}}
	for _, tt := range []struct{ amount, reference, want string }{
		{"900", "wire 7", "is recorded already"}, {"900", "wire 8", ""}, {"900.01", "wire 7", ""},
	} {
		r := closure.Resolution{Kind: closure.PaidByHand, Amount: decimal.RequireFromString(tt.amount), Reference: tt.reference}
		_, err := r.Check(c, []closure.Intent{in(closure.IntentSent, "t")}, noon)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("$%s, %s: %v, want %q", tt.amount, tt.reference, err, tt.want)
		}
	}
}

func TestAVoidNeedsToHaveBeenLookedFor(t *testing.T) {
	t.Parallel()
	void, c := closure.Resolution{Kind: closure.VoidTransfer}, fresh(closure.Withdrawal)
	absent := question()
	absent.AbsentAt = noon.Add(-time.Minute)
	asked := apply(t, c, looked(closure.Fail(closure.UnknownTransfer, "in no list"))(noon))
	paused := apply(t, c, closure.Pause(noon, "ann", "hold it"))
	for _, tt := range []struct {
		c closure.Closure
		i closure.Intent
	}{{asked, question()}, {paused, absent}} {
		if settled, err := void.Check(tt.c, []closure.Intent{tt.i}, noon); err != nil || settled.State != closure.IntentVoid {
			t.Errorf("%s: %v, %v", tt.c.State, settled, err)
		}
	}
}

func TestAResolutionTakesItsWordAndNoMore(t *testing.T) {
	t.Parallel()
	before := fresh(closure.Withdrawal)
	before.Memo = closure.Memo{Excess: "-900", ExcessSince: noon, Allowed: "1"}
	before = apply(t, before, looked(closure.Fail(closure.Unexplained, "less"))(noon))
	after := apply(t, before, closure.Resolved(noon, "ann", "wired", closure.Resolution{Kind: closure.PaidByHand, Amount: decimal.NewFromInt(900), Reference: "X"}, nil))
	want := closure.Memo{Allowed: "1", ByHand: []closure.HandPaid{{Amount: decimal.NewFromInt(900), Reference: "X", Key: after.Version}}}
	if diff := cmp.Diff(want, after.Memo); diff != "" {
		t.Errorf("what is missing was paid by hand, and is not allowed as well (-want +got)\n%s", diff)
	}
	if len(before.Memo.ByHand) != 0 || after.State != closure.Running || after.Phase != before.Phase {
		t.Errorf("%+v", after)
	}
}
