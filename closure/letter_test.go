package closure_test

import (
	"testing"

	"closeout/closure"
)

func TestLettersForChanges(t *testing.T) {
	t.Parallel()
	in := func(s closure.State, r closure.Reason) closure.Closure {
		return closure.Closure{ID: "c", State: s, Reason: r, Who: closure.Reasons[r].Who}
	}
	for _, tt := range []struct {
		name          string
		before, after closure.Closure
		want          closure.Letter
	}{
		{"a new closure", closure.Closure{}, in(closure.Running, closure.Accepted), closure.LetterInitiated},
		{"an ordinary wait", in(closure.Running, closure.Accepted), in(closure.Running, closure.Settling), ""},
		{"a wait for the customer", in(closure.Running, closure.Settling), in(closure.Running, closure.BankGone), closure.LetterActionNeeded},
		{"the same wait for the customer", in(closure.Running, closure.BankGone), in(closure.Running, closure.BankGone), ""},
		{"a stop that the customer can mend", in(closure.Running, closure.Settling), in(closure.Failed, closure.BankGone), closure.LetterActionNeeded},
		{"the stop after such a wait", in(closure.Running, closure.BankGone), in(closure.Failed, closure.BankGone), closure.LetterActionNeeded},
		{"another thing for the customer", in(closure.Failed, closure.BankGone), in(closure.Failed, closure.ReturnedTwice), closure.LetterActionNeeded},
		{"a stop for the operator", in(closure.Running, closure.Settling), in(closure.Failed, closure.LimitReached), closure.LetterFailed},
		{"a death", in(closure.Running, closure.Settling), in(closure.Dead, closure.RetriesUsedUp), closure.LetterFailed},
		{"a pause", in(closure.Running, closure.Settling), in(closure.Paused, closure.PausedByOperator), ""},
		{"a resume", in(closure.Failed, closure.BankGone), in(closure.Running, closure.Accepted), ""},
		{"the end", in(closure.Running, closure.ClosingConfirm), in(closure.Closed, ""), closure.LetterCompleted},
		{"a cancellation", in(closure.Failed, closure.BankGone), in(closure.Canceled, closure.CanceledByRequest), closure.LetterCanceled},
		{"nothing at all", in(closure.Closed, ""), in(closure.Closed, ""), ""},
	} {
		if got := closure.LetterFor(tt.before, tt.after); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// Of every change of state that the road knows the customer hears, but for pause and resume; and hears once.
func TestEveryEndIsTold(t *testing.T) {
	t.Parallel()
	for from, tos := range closure.Leads() {
		for _, to := range tos {
			got := closure.LetterFor(closure.Closure{ID: "c", State: from}, closure.Closure{ID: "c", State: to})
			if want := from != to && to != closure.Running && to != closure.Paused; want != (got != "") {
				t.Errorf("from %s to %s the letter is %q", from, to, got)
			}
		}
	}
}
