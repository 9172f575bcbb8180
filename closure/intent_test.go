package closure_test

import (
	"testing"
	"time"

	"closeout/closure"
)

func TestWhatCannotBeTakenBack(t *testing.T) {
	t.Parallel()
	kinds, states := constants(t, "IntentKind"), constants(t, "IntentState")
	if len(kinds) != 4 || len(states) != 5 {
		t.Fatalf("%d kinds and %d states: decide what cannot be taken back, and say so here", len(kinds), len(states))
	}
	done := map[closure.IntentState]bool{closure.IntentSending: true, closure.IntentSent: true, closure.IntentLate: true}
	for _, k := range kinds {
		for _, s := range states {
			i := closure.Intent{Kind: closure.IntentKind(k), State: closure.IntentState(s)}
			want := i.Kind != closure.CancelIntent && done[i.State]
			if got := i.Irreversible(); got != want {
				t.Errorf("a %s that is %s: irreversible %t, want %t", k, s, got, want)
			}
			cancel := closure.Intent{Kind: closure.CancelIntent, State: closure.IntentSent}
			if got := closure.PastNoReturn([]closure.Intent{cancel, i, cancel}); got != want {
				t.Errorf("with a %s that is %s: past the point of no return %t, want %t", k, s, got, want)
			}
		}
	}
	if closure.PastNoReturn(nil) {
		t.Error("a closure without intents is past the point of no return")
	}
}

func TestAnIntentIsUnknownOnlyAfterItsDeadline(t *testing.T) {
	t.Parallel()
	for _, s := range constants(t, "IntentState") {
		i := closure.Intent{State: closure.IntentState(s), Deadline: noon}
		if i.Unknown(noon) {
			t.Errorf("%s: unknown at its deadline", s)
		}
		if got := i.Unknown(noon.Add(time.Nanosecond)); got != (i.State == closure.IntentSending) {
			t.Errorf("%s: unknown after its deadline: %t", s, got)
		}
	}
}
