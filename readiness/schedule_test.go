package readiness_test

import (
	"context"
	"testing"
	"time"

	"github.com/shopspring/decimal"

	"closeout/alpaca"
	"closeout/closure"
	"closeout/readiness"
)

// The looks that notice an end take up to a poll of the withdrawal and one of the closing.
const looks = 2*time.Hour + time.Minute

func TestSchedule(t *testing.T) {
	sells := func(b *books) { b.positions = []alpaca.Position{stock("AAPL", "1", "100")} }
	cases := []struct {
		name, now, cash                 string
		change                          func(*books)
		watch                           int
		transfers                       int
		sell, payFrom, paidBy, finished string
	}{
		{
			name: "Veterans Day on the way: sold on Monday, paid on Tuesday, there on Thursday, watched until Monday evening", now: "2026-11-09 10:00", cash: "1000",
			change: sells, watch: 2, transfers: 1, sell: "2026-11-09 10:00", payFrom: "2026-11-10 02:45", paidBy: "2026-11-12 08:30", finished: "2026-11-17 02:45",
		},
		{
			name: "before the bell of the same day", now: "2026-03-02 07:00", cash: "0",
			change: sells, watch: 2, transfers: 1, sell: "2026-03-02 09:30", payFrom: "2026-03-03 02:45", paidBy: "2026-03-04 08:30", finished: "2026-03-09 02:45",
		},
		{
			name: "Saturday before a Monday holiday", now: "2026-01-17 12:00", cash: "0",
			change: sells, watch: 2, transfers: 1, sell: "2026-01-20 09:30", payFrom: "2026-01-21 02:45", paidBy: "2026-01-22 08:30", finished: "2026-01-27 02:45",
		},
		{
			name: "Wednesday evening before Thanksgiving: sold on the short Friday", now: "2026-11-25 17:00", cash: "0",
			change: sells, watch: 2, transfers: 1, sell: "2026-11-27 09:30", payFrom: "2026-11-30 02:45", paidBy: "2026-12-01 08:30", finished: "2026-12-04 02:45",
		},
		{
			name: "the short Friday after its early close", now: "2026-11-27 13:30", cash: "0",
			change: sells, watch: 0, transfers: 1, sell: "2026-11-30 09:30", payFrom: "2026-12-01 02:45", paidBy: "2026-12-02 08:30", finished: "2026-12-03 02:45",
		},
		{
			name: "sold the day before Columbus Day, when the market trades and banks are closed", now: "2026-10-09 12:00", cash: "0",
			change: sells, watch: 2, transfers: 1, sell: "2026-10-09 12:00", payFrom: "2026-10-13 02:45", paidBy: "2026-10-14 08:30", finished: "2026-10-19 02:45",
		},
		{
			name: "Good Friday: no market, but banks work", now: "2026-04-02 12:00", cash: "0",
			change: sells, watch: 1, transfers: 1, sell: "2026-04-02 12:00", payFrom: "2026-04-06 02:45", paidBy: "2026-04-07 08:30", finished: "2026-04-09 02:45",
		},
		{
			name: "over the change to summer time", now: "2026-03-06 15:00", cash: "0",
			change: sells, watch: 2, transfers: 1, sell: "2026-03-06 15:00", payFrom: "2026-03-09 02:45", paidBy: "2026-03-10 08:30", finished: "2026-03-13 02:45",
		},
		{
			name: "cash only, before the cutoff", now: "2026-03-02 13:59", cash: "50000.00",
			watch: 2, transfers: 1, payFrom: "2026-03-02 13:59", paidBy: "2026-03-03 08:30", finished: "2026-03-06 02:45",
		},
		{
			name: "cash only, after the cutoff", now: "2026-03-02 14:00", cash: "50000.00",
			watch: 2, transfers: 1, payFrom: "2026-03-02 14:00", paidBy: "2026-03-04 08:30", finished: "2026-03-09 02:45",
		},
		{
			name: "three transfers over the year's end", now: "2026-12-30 10:00", cash: "137512.43",
			watch: 2, transfers: 3, payFrom: "2026-12-30 10:00", paidBy: "2027-01-05 08:30", finished: "2027-01-08 02:45",
		},
		{
			name: "a cent more than the limit", now: "2026-03-02 10:00", cash: "50000.01",
			watch: 0, transfers: 2, payFrom: "2026-03-02 10:00", paidBy: "2026-03-04 08:30", finished: "2026-03-05 02:45",
		},
		{
			name: "the account's own limit is less", now: "2026-03-02 10:00", cash: "2500",
			change: func(b *books) { b.trading.Admin.DailyTransferLimit = usd("1000") },
			watch:  0, transfers: 3, payFrom: "2026-03-02 10:00", paidBy: "2026-03-05 08:30", finished: "2026-03-06 02:45",
		},
		{
			name: "the account's own limit is more", now: "2026-03-02 10:00", cash: "60000",
			change: func(b *books) { b.trading.Admin.DailyTransferLimit = usd("100000") },
			watch:  0, transfers: 2, payFrom: "2026-03-02 10:00", paidBy: "2026-03-04 08:30", finished: "2026-03-05 02:45",
		},
		{
			name: "cash that is not settled yet", now: "2026-03-06 17:00", cash: "1000",
			change: func(b *books) { b.trading.CashWithdrawable = usd("0") },
			watch:  0, transfers: 1, payFrom: "2026-03-09 02:45", paidBy: "2026-03-10 08:30", finished: "2026-03-11 02:45",
		},
		{
			name: "a withdrawal on its way", now: "2026-03-02 10:00", cash: "1000",
			change: func(b *books) {
				b.transfers = []alpaca.Transfer{{ID: "t", Direction: "OUTGOING", Status: "QUEUED", CreatedAt: time.Date(2026, 3, 2, 14, 0, 0, 0, time.UTC)}}
			},
			watch: 0, transfers: 1, payFrom: "2026-03-04 02:45", paidBy: "2026-03-05 08:30", finished: "2026-03-06 02:45",
		},
		{name: "nothing in it", now: "2026-03-07 10:00", cash: "0", watch: 2, finished: "2026-03-07 10:00"},
		{name: "less than a cent", now: "2026-03-07 10:00", cash: "0.009", watch: 2, finished: "2026-03-07 10:00"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			b := plain(tc.cash)
			if tc.change != nil {
				tc.change(b)
			}
			c := checker(b, ny(t, tc.now))
			c.Policy.ReturnWatch = tc.watch
			r, err := c.Check(context.Background(), account, bank)
			if err != nil {
				t.Fatal(err)
			}
			if r.Transfers != tc.transfers {
				t.Errorf("%d transfers, want %d", r.Transfers, tc.transfers)
			}
			about(t, "sells at", r.Sell, tc.sell)
			about(t, "pays from", r.PayFrom, tc.payFrom)
			about(t, "paid by", r.PaidBy, tc.paidBy)
			finished := r.Finished.Add(-looks)
			about(t, "finished", &finished, tc.finished)
		})
	}
}

// about allows for the second that the test itself takes.
func about(t *testing.T, what string, got *time.Time, want string) {
	t.Helper()
	switch {
	case got == nil && want == "":
	case got == nil || want == "":
		t.Errorf("%s: %v, want %q", what, got, want)
	case got.Sub(ny(t, want)).Abs() > 30*time.Second:
		t.Errorf("%s: %s, want %s", what, got.In(ny(t, want).Location()).Format("Mon 2006-01-02 15:04 MST"), want)
	}
}

func TestFinishOfOneThatStartsLater(t *testing.T) {
	b := plain("0")
	b.positions = []alpaca.Position{stock("AAPL", "1", "100")}
	c := checker(b, ny(t, "2026-11-09 10:00"))
	r, err := c.Check(context.Background(), account, bank)
	if err != nil {
		t.Fatal(err)
	}
	finish := c.Finish(r, ny(t, "2026-12-24 18:00")).Add(-looks) // sold on the 28th, paid on the 29th
	about(t, "finish", &finish, "2027-01-05 02:45")
	if early := c.Finish(r, ny(t, "2020-01-01 00:00")); !early.Equal(r.Finished) && early.Sub(r.Finished).Abs() > time.Minute {
		t.Errorf("a start in the past gives %s, want %s", early, r.Finished)
	}
}

// A closure that waits for a person from its beginning has no date that anybody could name.
func TestFinishIsNotKnownWhereSomebodyMustAct(t *testing.T) {
	b := plain("1000")
	b.trading.TransfersBlocked = true
	c := checker(b, ny(t, "2026-11-09 10:00"))
	r, err := c.Check(context.Background(), account, bank)
	if err != nil || !r.Ready {
		t.Fatalf("%+v, %v", r, err)
	}
	if finish := c.Finish(r, ny(t, "2026-11-09 10:00")); !finish.IsZero() {
		t.Errorf("the broker must act first, and yet it is finished %s", finish)
	}
}

func payout(amount string, before string, claimed time.Time, status string) closure.Intent {
	i := closure.Intent{
		Kind: closure.TransferIntent, State: closure.IntentSent, Amount: usd(amount).NullDecimal, Quiet: before != "",
		ClaimedAt: claimed, Finished: status,
	}
	if before != "" {
		i.CashBefore = usd(before).NullDecimal
	}
	return i
}

func TestExpect(t *testing.T) {
	running := func(p closure.Phase, entered string) closure.Closure {
		return closure.Closure{Phase: p, State: closure.Running, EnteredAt: ny(t, entered)}
	}
	sold := []closure.Intent{{Kind: closure.OrderIntent, State: closure.IntentSent, Proceeds: usd("60000").NullDecimal}}
	cases := []struct {
		name, now string
		closure   closure.Closure
		intents   []closure.Intent
		want      string // without the looks
	}{
		{"liquidation", "2026-03-02 10:00", running(closure.Liquidation, "2026-03-02 09:00"), nil, "2026-03-09 02:45"},
		{"settlement, two transfers", "2026-03-02 10:05", running(closure.Settlement, "2026-03-02 10:00"), sold, "2026-03-10 02:45"},
		{"the first payout made", "2026-03-03 10:00", running(closure.Withdrawal, "2026-03-03 03:00"), []closure.Intent{payout("50000", "60000", ny(t, "2026-03-03 03:00"), "QUEUED")}, "2026-03-10 02:45"},
		{"both made", "2026-03-04 10:00", running(closure.Withdrawal, "2026-03-03 03:00"), []closure.Intent{
			payout("50000", "60000", ny(t, "2026-03-03 03:00"), "COMPLETE"), payout("10000", "", ny(t, "2026-03-04 03:00"), ""),
		}, "2026-03-10 02:45"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			got := checker(plain("0"), ny(t, tc.now)).Expect(tc.closure, tc.intents).Add(-looks)
			about(t, "finish", &got, tc.want)
		})
	}

	c := checker(plain("0"), ny(t, "2026-03-02 10:00"))
	for _, s := range []closure.State{closure.Paused, closure.Failed, closure.Dead, closure.Canceled} {
		if got := c.Expect(closure.Closure{Phase: closure.Withdrawal, State: s}, nil); !got.IsZero() {
			t.Errorf("a closure that is %s is expected to finish on %s", s, got)
		}
	}
	if got := c.Expect(closure.Closure{Phase: closure.Withdrawal, State: closure.Running, Who: closure.Broker}, nil); !got.IsZero() {
		t.Errorf("a closure that waits for a person is expected to finish on %s", got)
	}
	for _, p := range []closure.Phase{closure.Liquidation, closure.Settlement, closure.Withdrawal, closure.Closing} {
		if got := c.Expect(running(p, "2026-02-02 10:00"), nil); !got.After(ny(t, "2026-03-02 10:00")) {
			t.Errorf("%s is expected to finish in the past: %s", p, got)
		}
	}
}

func TestMoneyOf(t *testing.T) {
	at := ny(t, "2026-03-03 03:00")
	sending := payout("7", "", at, "")
	sending.State = closure.IntentSending
	void := payout("9", "", at, "")
	void.State = closure.IntentVoid
	intents := []closure.Intent{
		{Kind: closure.OrderIntent, State: closure.IntentSent, Proceeds: usd("60.5").NullDecimal},
		{Kind: closure.OrderIntent, State: closure.IntentSent},
		payout("50", "60", at, "COMPLETE"), payout("10", "", at, "QUEUED"), payout("3", "", at, "RETURNED"), sending, void,
	}
	want := func(m readiness.Money, sold, paid, inFlight, unconfirmed string) {
		t.Helper()
		for what, pair := range map[string][2]string{
			"sold": {m.Sold.String(), sold}, "paid": {m.Paid.String(), paid}, "in flight": {m.InFlight.String(), inFlight}, "unconfirmed": {m.Unconfirmed.String(), unconfirmed},
		} {
			if !decimal.RequireFromString(pair[0]).Equal(decimal.RequireFromString(pair[1])) {
				t.Errorf("%s %s, want %s", what, pair[0], pair[1])
			}
		}
	}
	want(readiness.MoneyOf(closure.Closure{}, intents), "60.5", "50", "10", "7")
	want(readiness.MoneyOf(closure.Closure{Memo: closure.Memo{Paid: "40.00"}}, intents), "60.5", "40", "10", "7")
}
