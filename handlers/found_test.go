package handlers

import (
	"slices"
	"testing"
	"time"

	"closeout/alpaca"
	"closeout/closure"
)

// Each case is a condition by which a transfer at the broker is, or is not, one that the ledger lacks.
func TestWhatTheLedgerLacksIsFound(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(b *Books)
		want   []string
	}{
		"APayoutOverTheBank":       {func(*Books) {}, []string{"t"}},
		"WhateverBecameOfIt":       {func(b *Books) { b.Transfers[0].Status = "RETURNED" }, []string{"t"}},
		"NotOverAnotherBank":       {func(b *Books) { b.Transfers[0].RelationshipID = "other" }, nil},
		"NotADeposit":              {func(b *Books) { b.Transfers[0].Direction = "INCOMING" }, nil},
		"NotOneWithoutASum":        {func(b *Books) { b.Transfers[0].Amount = alpaca.Number{} }, nil},
		"NotOneOfBefore":           {func(b *Books) { b.Transfers[0].CreatedAt = b.Now.Add(-2 * time.Hour) }, nil},
		"NotWhatAnIntentStandsFor": {func(b *Books) { b.Intents = ours(b, closure.IntentSent, "t") }, nil},
		"NotWhatWasListedAtAClaim": {func(b *Books) { b.Intents = ours(b, closure.IntentSent, "u", "t") }, nil},
		"NotWhatAnUnknownOneMayBe": {func(b *Books) { b.Intents = ours(b, closure.IntentSending, "") }, nil},
		"NotWhatAGivenUpOneMayBe":  {func(b *Books) { b.Intents = ours(b, closure.IntentVoid, "") }, nil},
		"ButWhatARefusedOneCantBe": {func(b *Books) { b.Intents = ours(b, closure.IntentRefused, "") }, []string{"t"}},
		"ASecondOneIsNotTheUnknown's": {func(b *Books) {
			b.Intents, b.Transfers = ours(b, closure.IntentSending, ""), append(b.Transfers, b.out("t2"))
		}, []string{"t2"}},
	} {
		b := reading()
		b.Transfers = []alpaca.Transfer{b.out("t")}
		tc.change(&b)
		var got []string
		for _, f := range LostTransfers(closure.Closure{RelationshipID: "bank"}, b.Intents, b.Transfers, b.Now.Add(-time.Hour)) {
			got = append(got, f.ID)
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

func ours(b *Books, s closure.IntentState, id string, listed ...string) []closure.Intent {
	i := b.lost()
	i.State, i.BrokerID = s, id
	for _, l := range listed {
		i.Listed[l] = "QUEUED"
	}
	return []closure.Intent{i}
}

// An adopted payout counts as one that was made: for the day, for the sum, for the return watch. It is no base.
func TestAnAdoptedPayoutCountsAndIsNoBase(t *testing.T) {
	t.Parallel()
	b := reading()
	paid := b.out("t")
	b.Transfers = []alpaca.Transfer{paid}
	b.Intents = []closure.Intent{FoundTransfer(paid, b.Calendar, b.Now, "found")}
	if _, ok := b.base(); ok {
		t.Error("it is a base, though nobody read the cash")
	}
	if p := b.plan(); p.do != planWait || p.outcome.Reason != closure.TransferPending {
		t.Errorf("while it is on its way: %d, %s", p.do, p.why)
	}
	arrived := b.Now.Add(-24 * time.Hour)
	b.Transfers[0].Status, b.Transfers[0].UpdatedAt = "COMPLETE", &arrived
	b.Cash, b.Free = dollars("0"), dollars("0")
	if p := b.plan(); p.do != planWait || p.outcome.Reason != closure.ReturnWatch {
		t.Errorf("once it has arrived: %d, %s", p.do, p.why)
	}
	b.Cash, b.Free = dollars("10"), dollars("10")
	if p := b.plan(); p.do != planWait || p.outcome.Reason != closure.DayLimitUsed {
		t.Errorf("what is left waits for the next day: %d, %s", p.do, p.why)
	}
}
