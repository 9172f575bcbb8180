package closure_test

import (
	"testing"
	"time"

	"closeout/closure"
)

func TestOutcomesInOneWord(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		o     closure.Outcome
		want  string
		waits bool
	}{
		{closure.Go(closure.Settlement, "sold"), "go settlement", false},
		{closure.Wait(time.Minute, closure.Selling, "selling"), "wait selling", true},
		{closure.WaitUntil(noon, closure.MarketClosed, "closed"), "wait market_closed", true},
		{closure.Park(0, closure.AccountBlocked, "blocked"), "wait account_blocked", true},
		{closure.Outage(time.Minute, "no answer"), "wait broker_outage", true},
		{closure.Fail(closure.BankGone, "gone"), "fail bank_gone", false},
		{closure.Done("paid"), "done", false},
		{closure.Outcome{}, "none", false},
	} {
		if tt.o.String() != tt.want || tt.o.Waits() != tt.waits {
			t.Errorf("%q, waits %t; want %q, %t", tt.o, tt.o.Waits(), tt.want, tt.waits)
		}
	}
}
