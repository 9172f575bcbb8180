package handlers

import (
	"testing"

	"github.com/shopspring/decimal"

	"closeout/alpaca"
	"closeout/closure"
)

// paidOut is an account whose $900 were paid out in quiet an hour ago; the payout is on its way, beside an old deposit.
func paidOut() Books {
	b := reading()
	i := b.lost()
	i.State, i.BrokerID, i.Listed = closure.IntentSent, "t", map[string]string{"old": "COMPLETE"}
	old := b.out("old")
	old.Direction, old.Status = "INCOMING", "COMPLETE"
	b.Intents, b.Transfers = []closure.Intent{i}, []alpaca.Transfer{old, b.out("t")}
	return b
}

// A glance answers only where everything is as the ledger leads one to expect; each case is one thing that is not.
func TestAGlanceIsForWhatIsExpected(t *testing.T) {
	t.Parallel()
	arrived := func(b *Books) { b.Transfers[1].Status, b.Transfers[1].UpdatedAt = "COMPLETE", &b.Now }
	for name, flying := range map[string]func(b *Books){"OnItsWay": func(*Books) {}, "Arrived": arrived} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := paidOut()
			flying(&b)
			f, ok := b.expected()
			if !ok || (f != nil) != (name == "OnItsWay") || f != nil && f.ID != "t" {
				t.Errorf("expected says %v, %v", f, ok)
			}
		})
	}
	for name, odd := range map[string]func(b *Books){
		"NoBase":      func(b *Books) { b.Intents[0].Quiet = false },
		"CashWasLeft": func(b *Books) { b.Intents[0].CashBefore = decimal.NewNullDecimal(dollars("900.01")) },
		"Unknown":     func(b *Books) { b.Intents = append(b.Intents, b.lost()) },
		"AVoid":       func(b *Books) { i := b.lost(); i.State = closure.IntentVoid; b.Intents = append(b.Intents, i) },
		"ALate":       func(b *Books) { i := b.lost(); i.State = closure.IntentLate; b.Intents = append(b.Intents, i) },
		"Another": func(b *Books) {
			x := b.out("x")
			x.Direction, x.Status = "INCOMING", "COMPLETE"
			b.Transfers = append(b.Transfers, x)
		},
		"TheOldCameBack": func(b *Books) { b.Transfers[0].Status = "RETURNED" },
		"NotListed": func(b *Books) {
			i := b.Intents[0]
			i.ID, i.BrokerID, i.Quiet = "next", "u", false
			b.Intents = append(b.Intents, i)
		},
		"InReview":         func(b *Books) { b.Transfers[1].Status = "APPROVAL_PENDING" },
		"AStatusOfNobody":  func(b *Books) { b.Transfers[1].Status = "TELEPORTED" },
		"Returned":         func(b *Books) { arrived(b); b.Transfers[1].Status = "RETURNED" },
		"Rejected":         func(b *Books) { arrived(b); b.Transfers[1].Status = "REJECTED" },
		"NobodyKnowsWhen":  func(b *Books) { arrived(b); b.Transfers[1].UpdatedAt = nil },
		"AnAmountIsHidden": func(b *Books) { b.Transfers[0].Amount = alpaca.Number{} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := paidOut()
			odd(&b)
			if f, ok := b.expected(); ok {
				t.Errorf("was expected, with %v on its way", f)
			}
		})
	}
}
