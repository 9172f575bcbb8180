package handlers

import (
	"testing"
	"time"

	"github.com/shopspring/decimal"

	"closeout/alpaca"
	"closeout/calendar"
	"closeout/closure"
)

func dollars(s string) decimal.Decimal { return decimal.RequireFromString(s) }

// reading is an account with $900 on a Wednesday morning, quiet, nothing asked for yet.
func reading() Books {
	now := time.Date(2026, 11, 18, 11, 0, 0, 0, calendar.NewYork)
	return Books{
		Cash: dollars("900"), Free: dollars("900"), DayLimit: dollars("50000"), ListSince: now.Add(-time.Hour), Asked: now, Now: now,
		Calendar: calendar.Rules(), ReturnWatch: 2, Unknown: closure.Auto, Timing: closure.DefaultTiming,
	}
}

// out is a transfer of $900 from the account, made a minute ago.
func (b Books) out(id string) alpaca.Transfer {
	return alpaca.Transfer{ID: id, RelationshipID: "bank", Direction: "OUTGOING", Status: "QUEUED", Amount: alpaca.Known(dollars("900")), CreatedAt: b.Now.Add(-time.Minute)}
}

// lost is a payout of $900 whose answer never came, its quarantine just over, lacking in a list that was asked for then.
func (b Books) lost() closure.Intent {
	return closure.Intent{
		ID: "lost", Key: 7, Kind: closure.TransferIntent, State: closure.IntentSending, RelationshipID: "bank", Quiet: true,
		Amount: decimal.NewNullDecimal(dollars("900")), CashBefore: decimal.NewNullDecimal(dollars("900")), BankingDay: "2026-11-18",
		ClaimedAt: b.Now.Add(-40 * time.Minute), Deadline: b.Asked.Add(-b.Timing.Quarantine - b.Timing.Between - time.Second),
		AbsentAt: b.Asked.Add(-b.Timing.Between), Listed: map[string]string{},
	}
}

// Each case is a condition that money depends on, and the reading of which it alone decides.
func TestPlan(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		books func(b *Books)
		do    planKind
		why   closure.Reason // of a wait or a failure
		pays  string
	}{
		"WhatIsThereIsPaid": {func(*Books) {}, planPay, "", "900"},
		"WhatIsListedIsAdopted": {func(b *Books) {
			b.Intents, b.Transfers = []closure.Intent{b.lost()}, []alpaca.Transfer{b.out("t")}
		}, planAdopt, "", ""},
		"WhatWasListedAtTheClaimIsNotAdopted": {func(b *Books) {
			i := b.lost()
			i.Listed["t"] = "QUEUED"
			b.Intents, b.Transfers = []closure.Intent{i}, []alpaca.Transfer{b.out("t")}
		}, planVoid, "", ""},
		"WhatAnotherIntentMadeIsNotAdopted": {func(b *Books) {
			other := b.lost()
			other.ID, other.State, other.BrokerID = "other", closure.IntentSent, "t"
			b.Intents, b.Transfers = []closure.Intent{other, b.lost()}, []alpaca.Transfer{b.out("t")}
		}, planVoid, "", ""},
		"AnotherSumIsNotAdopted": {func(b *Books) {
			tr := b.out("t")
			tr.Amount = alpaca.Known(dollars("899.99"))
			b.Intents, b.Transfers = []closure.Intent{b.lost()}, []alpaca.Transfer{tr}
		}, planVoid, "", ""},
		"AnotherBankIsNotAdopted": {func(b *Books) {
			tr := b.out("t")
			tr.RelationshipID = "other bank"
			b.Intents, b.Transfers = []closure.Intent{b.lost()}, []alpaca.Transfer{tr}
		}, planVoid, "", ""},
		"ADepositIsNotAdopted": {func(b *Books) {
			tr := b.out("t")
			tr.Direction = "INCOMING"
			b.Intents, b.Transfers = []closure.Intent{b.lost()}, []alpaca.Transfer{tr}
		}, planVoid, "", ""},
		"OneListIsNotEnoughToVoid": {func(b *Books) {
			i := b.lost()
			i.AbsentAt = time.Time{}
			b.Intents = []closure.Intent{i}
		}, planAbsent, "", ""},
		"TwoListsWithinAMinuteAreNotEnoughToVoid": {func(b *Books) {
			i := b.lost()
			i.AbsentAt = b.Asked.Add(time.Second - b.Timing.Between)
			b.Intents = []closure.Intent{i}
		}, planAbsent, "", ""},
		"TwoListsVoid":       {func(b *Books) { b.Intents = []closure.Intent{b.lost()} }, planVoid, "", ""},
		"TwoListsAskAPerson": {func(b *Books) { b.Intents, b.Unknown = []closure.Intent{b.lost()}, closure.Ask }, planFail, closure.UnknownTransfer, ""},
		"CashThatMovedIsNotVoid": {func(b *Books) {
			b.Intents, b.Cash = []closure.Intent{b.lost()}, dollars("899.99")
		}, planFail, closure.UnknownTransfer, ""},
		"APendingSumThatNoListHasIsNotVoid": {func(b *Books) {
			b.Intents, b.PendingOut = []closure.Intent{b.lost()}, decimal.NewNullDecimal(dollars("900"))
		}, planFail, closure.UnknownTransfer, ""},
		"NothingIsPaidInQuarantine": {func(b *Books) {
			i := b.lost()
			i.Deadline = b.Asked.Add(-b.Timing.Quarantine)
			b.Intents = []closure.Intent{i}
		}, planQuarantine, "", ""},
		"NothingIsPaidInTheQuarantineOfATakeover": {func(b *Books) {
			at := b.Asked.Add(-b.Timing.Quarantine)
			b.Memo.TakenOver = &closure.TakenOver{At: b.Now.AddDate(0, 0, -3), Wall: at} // the day of the takeover is long over
		}, planQuarantine, "", ""},
		"WhatIsThereIsPaidAfterTheQuarantineOfATakeover": {func(b *Books) {
			at := b.Asked.Add(-b.Timing.Quarantine - time.Second)
			b.Memo.TakenOver = &closure.TakenOver{At: b.Now.AddDate(0, 0, -3), Wall: at}
		}, planPay, "", "900"},
		"AVoidThatIsListedAfterAllStops": {func(b *Books) {
			i := b.lost()
			i.State = closure.IntentVoid
			b.Intents, b.Transfers = []closure.Intent{i}, []alpaca.Transfer{b.out("t")}
		}, planLate, "", ""},
		"AVoidKeepsItsBankingDay": {func(b *Books) {
			i := b.lost()
			i.State, i.ClaimedAt = closure.IntentVoid, b.Now.AddDate(0, 0, -1) // yesterday, after the cutoff
			b.Intents = []closure.Intent{i}
		}, planWait, closure.DayLimitUsed, ""},
		"AVoidKeepsItsCalendarDay": {func(b *Books) {
			i := b.lost()
			i.State, i.BankingDay = closure.IntentVoid, "2026-11-17"
			b.Intents = []closure.Intent{i}
		}, planWait, closure.DayLimitUsed, ""},
		"WhatTheBrokerRefusedKeepsNoDay": {func(b *Books) {
			i := b.lost()
			i.State = closure.IntentRefused
			b.Intents = []closure.Intent{i}
		}, planPay, "", "900"},
		"WhatOthersSentUsesUpTheDay": {func(b *Books) { // this morning's, and not booked yet by its own words
			tr := b.out("t")
			done := b.Now.Add(-48 * time.Hour)
			tr.Status, tr.UpdatedAt, tr.Amount = "COMPLETE", &done, alpaca.Known(dollars("49400"))
			b.Transfers = []alpaca.Transfer{tr}
		}, planPay, "", "600"},
		"AWithdrawalOfOthersIsWaitedFor": {func(b *Books) { b.Transfers = []alpaca.Transfer{b.out("t")} }, planWait, closure.ForeignTransfer, ""},
		"AnEndWantsItsMorning": {func(b *Books) {
			tr, done := b.out("t"), b.Now.Add(-time.Minute)
			tr.Direction, tr.Status, tr.UpdatedAt = "INCOMING", "COMPLETE", &done
			b.Transfers = []alpaca.Transfer{tr}
		}, planWait, closure.AwaitingMorning, ""},
		"AnInflowWantsItsMorning": {func(b *Books) {
			at := b.Now.Add(-time.Minute)
			b.Inflows = []alpaca.Activity{{ID: "a", Type: "DIV", NetAmount: alpaca.Known(dollars("1")), CreatedAt: &at}}
		}, planWait, closure.AwaitingMorning, ""},
		"AHeldDepositIsWaitedFor": {func(b *Books) {
			tr, done, held := b.out("t"), b.Now.Add(-48*time.Hour), b.Now.Add(time.Hour)
			tr.Direction, tr.Status, tr.UpdatedAt, tr.HoldUntil = "INCOMING", "COMPLETE", &done, &held
			b.Transfers = []alpaca.Transfer{tr}
		}, planWait, closure.AwaitingHold, ""},
		"AnAmountLeftOutIsNotZero": {func(b *Books) {
			tr := b.out("t")
			tr.Amount = alpaca.Number{}
			b.Transfers = []alpaca.Transfer{tr}
		}, planWait, closure.ListChanged, ""},
		"NoMoreThanCanBeWithdrawn": {func(b *Books) { b.Free = dollars("12.345") }, planPay, "", "12.34"},
		"NoMoreThanTheDaysLimit":   {func(b *Books) { b.DayLimit = dollars("500") }, planPay, "", "500"},
		"ABlockIsNoLimitOfZero":    {func(b *Books) { b.DayLimit = decimal.Zero }, planWait, closure.TransfersBlocked, ""},
		"HalfACentIsNothing":       {func(b *Books) { b.Cash, b.Free = dollars("0.005"), dollars("0.005") }, planEmpty, "", ""},
		"ACentIsSomething":         {func(b *Books) { b.Cash, b.Free = dollars("0.01"), dollars("0.01") }, planPay, "", "0.01"},
		"ADebtIsNotEmpty":          {func(b *Books) { b.Cash = dollars("-0.01") }, planFail, closure.NegativeCash, ""},
		"ExcessIsNotPaid": {func(b *Books) {
			i, tr, done := b.lost(), b.out("t"), b.Now.Add(-72*time.Hour)
			i.State, i.BrokerID, i.ClaimedAt, i.BankingDay = closure.IntentSent, "t", done, "2026-11-13"
			tr.Status, tr.UpdatedAt, tr.CreatedAt = "COMPLETE", &done, done
			b.Intents, b.Transfers = []closure.Intent{i}, []alpaca.Transfer{tr}
		}, planExcess, "", ""},
		"WhatCameBackIsPaidAgain": {func(b *Books) {
			i, tr, done := b.lost(), b.out("t"), b.Now.Add(-72*time.Hour)
			i.State, i.BrokerID, i.ClaimedAt, i.BankingDay = closure.IntentSent, "t", done, "2026-11-13"
			tr.Status, tr.UpdatedAt, tr.CreatedAt = "RETURNED", &done, done
			b.Intents, b.Transfers = []closure.Intent{i}, []alpaca.Transfer{tr}
		}, planPay, "", "900"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := reading()
			tc.books(&b)
			p := b.plan()
			if p.do != tc.do || p.outcome.Reason != tc.why {
				t.Fatalf("plan %d (%s: %s), want %d (%s)", p.do, p.outcome.Reason, p.why, tc.do, tc.why)
			}
			if tc.pays != "" && !p.payout.Amount.Equal(dollars(tc.pays)) {
				t.Errorf("pays %s, want %s", p.payout.Amount, tc.pays)
			}
		})
	}
}
