package readiness_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"closeout/alpaca"
	"closeout/closure"
	"closeout/readiness"
)

// drifts are what does not fit, and what each row says.
func drifts(rows []readiness.Beside) (out []string, all string) {
	var b strings.Builder
	for _, r := range rows {
		b.WriteString(r.What + ": " + r.Ours + " | " + r.Theirs + "\n")
		if r.Drift != "" {
			out = append(out, r.Drift)
		}
	}
	return out, b.String()
}

func TestOursBesideTheBrokers(t *testing.T) {
	at := ny(t, "2026-11-18 10:00")
	sent := func(id, status string) closure.Intent {
		i := payout("900", "900", at, status)
		i.ID, i.BrokerID, i.RelationshipID, i.BankingDay, i.Listed = "i", id, bank, "2026-11-18", map[string]string{}
		return i
	}
	in := func(s closure.IntentState) closure.Intent {
		i := sent("", "")
		i.State = s
		return i
	}
	out := func(id, status, amount string) alpaca.Transfer {
		return alpaca.Transfer{ID: id, Direction: "OUTGOING", Status: status, Amount: usd(amount), RelationshipID: bank}
	}
	for name, tt := range map[string]struct {
		closure closure.Closure
		intents []closure.Intent
		broker  func(*books)
		drift   string // empty: all fits
		says    string
	}{
		"selling":               {closure.Closure{Phase: closure.Liquidation, State: closure.Running}, nil, func(b *books) { b.positions = []alpaca.Position{stock("AAPL", "3", "30")} }, "", "long 3 AAPL"},
		"positions afterwards":  {closure.Closure{Phase: closure.Withdrawal, State: closure.Running}, nil, func(b *books) { b.positions = []alpaca.Position{stock("AAPL", "3", "30")} }, "though the selling is over", "long 3 AAPL"},
		"closed there":          {closure.Closure{Phase: closure.Settlement, State: closure.Running}, nil, func(b *books) { b.account.Status = "account_closed" }, "this service has not closed it", "ACCOUNT_CLOSED"},
		"not closed there":      {closure.Closure{Phase: closure.Closing, State: closure.Closed}, nil, func(b *books) { b.trading.Cash = usd("0") }, "does not say that the account is closed", "ACTIVE"},
		"cash that stayed":      {closure.Closure{Phase: closure.Closing, State: closure.Closed}, nil, func(b *books) { b.account.Status = "ACCOUNT_CLOSED" }, "there is cash", "$900.00"},
		"blocked":               {closure.Closure{Phase: closure.Withdrawal, State: closure.Running}, nil, func(b *books) { b.trading.TransfersBlocked = true }, "transfers are blocked", ""},
		"ours, as it was":       {closure.Closure{Phase: closure.Withdrawal, State: closure.Running}, []closure.Intent{sent("t", "QUEUED")}, func(b *books) { b.transfers = []alpaca.Transfer{out("t", "QUEUED", "900")} }, "", "t: $900.00, QUEUED"},
		"ours, further":         {closure.Closure{Phase: closure.Withdrawal, State: closure.Running}, []closure.Intent{sent("t", "QUEUED")}, func(b *books) { b.transfers = []alpaca.Transfer{out("t", "COMPLETE", "900")} }, "its status has changed", "COMPLETE"},
		"ours, another sum":     {closure.Closure{Phase: closure.Withdrawal, State: closure.Running}, []closure.Intent{sent("t", "QUEUED")}, func(b *books) { b.transfers = []alpaca.Transfer{out("t", "QUEUED", "90")} }, "the sums differ", ""},
		"ours, unlisted":        {closure.Closure{Phase: closure.Withdrawal, State: closure.Running}, []closure.Intent{sent("t", "QUEUED")}, nil, "does not list it", "not in the list"},
		"refused, and unlisted": {closure.Closure{Phase: closure.Withdrawal, State: closure.Running}, []closure.Intent{in(closure.IntentRefused)}, nil, "", "refused"},
		"unknown, perhaps made": {closure.Closure{Phase: closure.Withdrawal, State: closure.Running}, []closure.Intent{in(closure.IntentSending)}, func(b *books) { b.transfers = []alpaca.Transfer{out("x", "QUEUED", "900")} }, "it may be this payout", "perhaps x"},
		"another's, later":      {closure.Closure{Phase: closure.Withdrawal, State: closure.Running}, []closure.Intent{sent("t", "QUEUED")}, func(b *books) { b.transfers = []alpaca.Transfer{out("t", "QUEUED", "900"), out("x", "QUEUED", "7")} }, "did not send", "not of this closure"},
		"another's, before":     {closure.Closure{Phase: closure.Withdrawal, State: closure.Running}, nil, func(b *books) { b.transfers = []alpaca.Transfer{out("x", "COMPLETE", "7")} }, "", "there before"},
		"an order of ours": {closure.Closure{Phase: closure.Liquidation, State: closure.Running}, []closure.Intent{{Kind: closure.OrderIntent, State: closure.IntentSent, BrokerID: "o"}}, func(b *books) {
			b.orders = []alpaca.Order{{ID: "o", Symbol: "AAPL", Side: "SELL", Status: "new"}}
		}, "", "sell AAPL, new"},
		"an order of nobody's": {closure.Closure{Phase: closure.Settlement, State: closure.Running}, nil, func(b *books) { b.orders = []alpaca.Order{{ID: "o", Symbol: "AAPL", Status: "new"}} }, "did not place", "not of this service"},
		"a dividend after all": {closure.Closure{Phase: closure.Withdrawal, State: closure.Running}, []closure.Intent{sent("t", "COMPLETE")}, func(b *books) {
			b.transfers, b.trading.Cash = []alpaca.Transfer{out("t", "COMPLETE", "900")}, usd("5")
		}, "differs by $5.00", "$0.00 should be left"},
	} {
		t.Run(name, func(t *testing.T) {
			b := plain("900")
			if tt.broker != nil {
				tt.broker(b)
			}
			v, err := checker(b, at).View(context.Background(), account)
			if err != nil || len(v.Unreadable) > 0 {
				t.Fatalf("%v, %v", err, v.Unreadable)
			}
			found, all := drifts(readiness.Compare(tt.closure, tt.intents, v))
			if tt.drift == "" && len(found) > 0 || tt.drift != "" && !strings.Contains(strings.Join(found, "; "), tt.drift) {
				t.Errorf("drift %q, want %q\n%s", found, tt.drift, all)
			}
			if !strings.Contains(all, tt.says) {
				t.Errorf("nobody says %q:\n%s", tt.says, all)
			}
		})
	}
}

// What could not be read is no drift and no zero, whichever part it is, and the others are shown all the same.
func TestAViewSaysWhatCouldNotBeRead(t *testing.T) {
	c := closure.Closure{Phase: closure.Withdrawal, State: closure.Running}
	i := payout("900", "900", time.Now(), "QUEUED")
	i.BrokerID = "t"
	for read, part := range map[string]readiness.Part{
		"account": readiness.OfAccount, "balances": readiness.OfBalances, "positions": readiness.OfPositions, "orders": readiness.OfOrders, "transfers": readiness.OfTransfers,
	} {
		b := plain("900")
		b.transfers = []alpaca.Transfer{{ID: "t", Direction: "OUTGOING", Status: "QUEUED", Amount: usd("900")}}
		b.fail, b.err = read, refusal(503)
		v, err := checker(b, ny(t, "2026-11-18 10:00")).View(context.Background(), account)
		if err != nil || v.Knows(part) || len(v.Unreadable) != 1 {
			t.Fatalf("%s: %v, %v", read, err, v.Unreadable)
		}
		found, all := drifts(readiness.Compare(c, []closure.Intent{i}, v))
		if len(found) > 0 || strings.Count(all, "could not be read") != 1 {
			t.Errorf("%s: %q\n%s", read, found, all)
		}
	}
	b := plain("900")
	b.fail, b.err = "account", refusal(404)
	if _, err := checker(b, ny(t, "2026-11-18 10:00")).View(context.Background(), account); !errors.Is(err, readiness.ErrNoAccount) {
		t.Errorf("an account that is gone: %v", err)
	}
	b = plain("900")
	b.trading.Cash = alpaca.Number{}
	v, err := checker(b, ny(t, "2026-11-18 10:00")).View(context.Background(), account)
	if err != nil || v.Cash != nil {
		t.Errorf("cash that was left out: %v, %v", v.Cash, err)
	}
	if _, all := drifts(readiness.Compare(c, nil, v)); !strings.Contains(all, "the broker leaves it out") {
		t.Error(all)
	}
}
