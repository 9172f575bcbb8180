package closure_test

import (
	"testing"
	"time"

	"closeout/closure"
)

// A look that the broker's budget kept from being made writes no event, counts as nothing, and leaves no mark in the history:
// what the next one sees is compared with what was last seen.
func TestWaitingForTheBudgetIsNoEvent(t *testing.T) {
	t.Parallel()
	busy := closure.Looked(noon, closure.Unasked(time.Hour, closure.BrokerBusy, "busy"), closure.Look{Open: time.Hour, Day: "2026-11-18"}, nil)
	settling := closure.Looked(noon, closure.Wait(0, closure.Settling, "settling"), closure.Look{}, nil)
	for name, tt := range map[string]struct {
		before closure.Change
		then   closure.Change
		event  string // of the look after the budget; empty: none
	}{
		"NothingNew":      {settling, settling, ""},
		"SomethingNew":    {settling, closure.Looked(noon, closure.Wait(0, closure.Settling, "more has settled"), closure.Look{}, nil), "wait"},
		"OnTheWay":        {settling, closure.Looked(noon, closure.Go(closure.Withdrawal, "settled"), closure.Look{}, nil), "go"},
		"AfterItWentOn":   {closure.Looked(noon, closure.Go(closure.Withdrawal, "settled"), closure.Look{}, nil), closure.Looked(noon, closure.Wait(0, closure.TransferPending, "paid"), closure.Look{}, nil), "wait"},
		"OutageAfterThat": {settling, closure.Looked(noon, closure.Outage(time.Minute, "away"), closure.Look{}, nil), "wait"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			was := apply(t, fresh(closure.Settlement), tt.before)
			c := was
			for range 3 {
				next, ev, err := closure.Apply(c, busy, policy())
				if err != nil || ev != nil {
					t.Fatalf("%v, event %+v", err, ev)
				}
				if next.Version != c.Version+1 || !next.DueAt.Equal(noon.Add(time.Hour)) || next.Reason != closure.BrokerBusy {
					t.Fatalf("version %d, due %s, %s", next.Version, next.DueAt, next.Reason)
				}
				if next.Looks != was.Looks || next.Spent != was.Spent || next.Days != was.Days || !next.LastLook.Equal(was.LastLook) {
					t.Fatalf("it counted: %+v", next)
				}
				if next.Memo.HeldReason != was.Reason || next.Memo.HeldWhy != was.Why {
					t.Fatalf("it forgot that it waited for %s: %+v", was.Reason, next.Memo)
				}
				c = next
			}
			next, ev, err := closure.Apply(c, tt.then, policy())
			if err != nil {
				t.Fatal(err)
			}
			kind := ""
			if ev != nil {
				kind = ev.Kind
			}
			if kind != tt.event || next.Memo.HeldReason != "" || next.Memo.HeldWhy != "" {
				t.Errorf("event %q, want %q; still held: %+v", kind, tt.event, next.Memo)
			}
		})
	}
}
