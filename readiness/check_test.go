package readiness_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"closeout/alpaca"
	"closeout/closure"
	"closeout/readiness"
)

func TestCheckAnAccountThatIsReady(t *testing.T) {
	b := plain("1000.50")
	b.positions = []alpaca.Position{stock("AAPL", "3", "600.255"), stock("MSFT", "1.5", ""), stock("TSLA", "-2", "-400")}
	b.positions[1].CurrentPrice = usd("100")
	b.positions[2].Side = "short"
	b.orders = []alpaca.Order{{ID: "1"}, {ID: "2"}}
	r, err := checker(b, ny(t, "2026-11-16 10:00")).Check(context.Background(), account, strings.ToUpper(bank))
	if err != nil {
		t.Fatal(err)
	}
	if !r.Ready || len(r.Obstacles) != 0 {
		t.Fatalf("ready = %v, obstacles %+v", r.Ready, r.Obstacles)
	}
	if got := closure.USD(r.Estimate.Decimal); got != "1350.76" && got != "1350.755" {
		t.Errorf("estimate %s, want 1000.50 + 600.255 + 150 - 400", got)
	}
	if r.Transfers != 1 || r.Orders != 2 || r.Count != 3 {
		t.Errorf("%d transfers, %d orders, %d positions", r.Transfers, r.Orders, r.Count)
	}
	if r.Bank == nil || r.Bank.Fingerprint != "beef" {
		t.Errorf("bank %+v", r.Bank)
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"cash_balance":"1000.50"`, `"estimated_payout":"1350.75"`, `"qty":"1.5"`, `"value":"-400.00"`, `"positions_count":3`, `"expected_finish":"2026-`, `"obstacles":[]`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the JSON lacks %s: %s", want, text)
		}
	}
	if strings.Contains(string(text), "beef") {
		t.Errorf("the JSON shows the bank's fingerprint: %s", text)
	}
}

func TestObstacles(t *testing.T) {
	now := ny(t, "2026-11-16 10:00")
	hold := now.Add(72 * time.Hour)
	cases := map[string]struct {
		change   func(*books)
		bank     string
		want     []string
		blocking bool
		who      closure.Who
	}{
		"closed":           {func(b *books) { b.account.Status = "account_closed" }, bank, []string{readiness.AlreadyClosed}, true, ""},
		"not active":       {func(b *books) { b.account.Status = "ACCOUNT_UPDATED" }, bank, []string{readiness.NotActive}, true, closure.Broker},
		"trading status":   {func(b *books) { b.trading.Status = "LIMITED" }, bank, []string{readiness.NotActive}, true, closure.Broker},
		"trading closed":   {func(b *books) { b.trading.Status = "ACCOUNT_CLOSED" }, bank, []string{readiness.AlreadyClosed}, true, ""},
		"IRA":              {func(b *books) { b.account.AccountType = "IRA" }, bank, []string{readiness.UnsupportedType}, true, closure.Operator},
		"custodial":        {func(b *books) { b.account.AccountType = "custodial" }, bank, []string{readiness.UnsupportedType}, true, closure.Operator},
		"donor advised":    {func(b *books) { b.account.AccountType = "donor_advised" }, bank, []string{readiness.UnsupportedType}, true, closure.Operator},
		"rebalancing":      {func(b *books) { b.rebalance = true }, bank, []string{readiness.Rebalancing}, true, closure.Operator},
		"roth":             {func(b *books) { b.account.AccountType, b.account.SubType = "", "roth" }, bank, []string{readiness.UnsupportedType}, true, closure.Operator},
		"a minor's":        {func(b *books) { b.account.AccountType, b.account.CustodialType = "", "CustodianTypeUTMA" }, bank, []string{readiness.UnsupportedType}, true, closure.Operator},
		"of a new type":    {func(b *books) { b.account.AccountType = "trust" }, bank, []string{readiness.UnsupportedType}, true, closure.Operator},
		"of no type":       {func(b *books) { b.account.AccountType = "" }, bank, nil, false, ""},
		"interest":         {func(b *books) { b.account.CashInterest.USD.Status = "ACTIVE" }, bank, []string{readiness.CashInterest}, true, closure.Operator},
		"interest leaving": {func(b *books) { b.account.CashInterest.USD.Status = "PENDING_CHANGE" }, bank, []string{readiness.CashInterest}, true, closure.Operator},
		"interest left":    {func(b *books) { b.account.CashInterest.USD.Status = "INACTIVE" }, bank, nil, false, ""},
		"options":          {hold1("us_option"), bank, nil, false, ""},
		"crypto":           {hold1("crypto"), bank, nil, false, ""},
		"perpetuals":       {hold1("crypto_perp"), bank, []string{readiness.UnsupportedAsset}, true, closure.Operator},
		"something new":    {hold1("moon_dust"), bank, []string{readiness.UnsupportedAsset}, true, closure.Operator},
		"no class":         {hold1(""), bank, []string{readiness.UnsupportedAsset}, true, closure.Operator},
		"other's bank":     {func(b *books) { b.banks[0].AccountID = stranger }, bank, []string{readiness.BankUnknown}, true, closure.Customer},
		"unknown bank":     {func(*books) {}, stranger, []string{readiness.BankUnknown}, true, closure.Customer},
		"queued bank":      {func(b *books) { b.banks[0].Status = "QUEUED" }, bank, []string{readiness.BankNotApproved}, true, closure.Customer},
		"canceled bank":    {func(b *books) { b.banks[0].Status = "CANCEL_REQUESTED" }, bank, []string{readiness.BankNotApproved}, true, closure.Customer},
		"no bank at all":   {func(b *books) { b.banks = nil }, "", []string{readiness.NoBank}, true, closure.Customer},
		"no bank asked":    {func(*books) {}, "", nil, false, ""},
		"owes money":       {func(b *books) { b.trading.Cash = usd("-25.10") }, bank, []string{readiness.NegativeCash}, true, closure.Operator},
		"owes too much":    {owes("-1000", "400"), bank, []string{readiness.NegativeCash}, true, closure.Operator},
		"margin, covered":  {owes("-1000", "4000"), bank, []string{readiness.CashOwed}, false, ""},
		"margin, no price": {owes("-1000", ""), bank, []string{readiness.PositionsUnpriced, readiness.CashOwed}, false, ""},
		"half a cent":      {func(b *books) { b.trading.Cash = usd("-0.005") }, bank, nil, false, ""},
		"account blocked":  {func(b *books) { b.trading.AccountBlocked = true }, bank, []string{readiness.AccountBlocked}, false, closure.Broker},
		"transfers":        {func(b *books) { b.trading.TransfersBlocked = true }, bank, []string{readiness.TransfersBlocked}, false, closure.Broker},
		"outgoing":         {func(b *books) { b.trading.Admin.OutgoingTransfersBlocked = true }, bank, []string{readiness.TransfersBlocked}, false, closure.Broker},
		"trading blocked":  {func(b *books) { b.trading.TradingBlocked = true }, bank, []string{readiness.TradingBlocked}, false, closure.Broker},
		"suspended":        {func(b *books) { b.trading.TradeSuspendedByUser = true }, bank, []string{readiness.TradeSuspended}, false, closure.Operator},
		"deposit":          {moves("INCOMING", "QUEUED", nil), bank, []string{readiness.DepositPending}, false, ""},
		"deposit held":     {moves("INCOMING", "COMPLETE", &hold), bank, []string{readiness.DepositPending}, false, ""},
		"deposit unlisted": {func(b *books) { b.trading.PendingTransferIn = usd("5") }, bank, []string{readiness.DepositPending}, false, ""},
		"withdrawal":       {moves("OUTGOING", "SENT_TO_CLEARING", nil), bank, []string{readiness.TransferUnderWay}, false, ""},
		"new status":       {moves("OUTGOING", "TELEPORTING", nil), bank, []string{readiness.TransferUnderWay}, false, ""},
		"old deposit":      {moves("INCOMING", "COMPLETE", nil), bank, nil, false, ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b := plain("1000")
			tc.change(b)
			r, err := checker(b, now).Check(context.Background(), account, tc.bank)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, o := range r.Obstacles {
				got = append(got, o.Code)
				if o.Blocking && (o.Hint == "" || o.Text == "") {
					t.Errorf("%s says neither what is wrong nor what to do: %+v", o.Code, o)
				}
			}
			if !slices.Equal(got, tc.want) {
				t.Fatalf("obstacles %q, want %q", got, tc.want)
			}
			if r.Ready == tc.blocking {
				t.Errorf("ready = %v with %+v", r.Ready, r.Obstacles)
			}
			if len(tc.want) > 0 {
				if last := r.Obstacles[len(r.Obstacles)-1]; last.Who != tc.who {
					t.Errorf("%q must act, want %q", last.Who, tc.who)
				}
			}
		})
	}
}

func hold1(class string) func(*books) {
	return func(b *books) {
		p := stock("THING", "1", "10")
		p.AssetClass = class
		b.positions = append(b.positions, stock("AAPL", "1", "10"), p)
	}
}

func owes(cash, worth string) func(*books) {
	return func(b *books) {
		b.trading.Cash = usd(cash)
		b.positions = []alpaca.Position{stock("AAPL", "1", worth)}
	}
}

func moves(direction, status string, hold *time.Time) func(*books) {
	return func(b *books) {
		b.transfers = []alpaca.Transfer{{ID: "t", Direction: direction, Status: status, HoldUntil: hold, CreatedAt: time.Date(2026, 11, 13, 15, 0, 0, 0, time.UTC)}}
	}
}

// TestUnreadable: unknown is never zero, whichever read fails.
func TestUnreadable(t *testing.T) {
	for _, read := range []string{"account", "balances", "positions", "orders", "transfers", "banks", "subscriptions"} {
		for _, status := range []int{401, 403, 404, 429, 500, 503} {
			if read == "account" && status == 404 {
				continue
			}
			b := plain("1000")
			b.fail, b.err = read, refusal(status)
			r, err := checker(b, ny(t, "2026-11-16 10:00")).Check(context.Background(), account, bank)
			if _, ok := errors.AsType[*readiness.UnreadableError](err); !ok {
				t.Errorf("%s answered %d: %v, want an UnreadableError", read, status, err)
			}
			if r.Ready {
				t.Errorf("%s answered %d and the account counts as ready", read, status)
			}
		}
	}
	for name, change := range map[string]func(*books){
		"cash left out":     func(b *books) { b.trading.Cash = alpaca.Number{} },
		"quantity left out": func(b *books) { b.positions = []alpaca.Position{{Symbol: "X", AssetClass: "us_equity"}} },
	} {
		b := plain("1000")
		change(b)
		if _, err := checker(b, ny(t, "2026-11-16 10:00")).Check(context.Background(), account, bank); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestNoSuchAccount(t *testing.T) {
	b := plain("1000")
	b.fail, b.err = "account", refusal(404)
	if _, err := checker(b, time.Now()).Check(context.Background(), account, bank); !errors.Is(err, readiness.ErrNoAccount) {
		t.Fatalf("got %v", err)
	}
}

// TestClosedAccountIsNotReadFurther: what can't be read of it any more must not hide that it is closed.
func TestClosedAccountIsNotReadFurther(t *testing.T) {
	b := plain("1000")
	b.account.Status, b.fail, b.err = "ACCOUNT_CLOSED", "balances", refusal(500)
	c := checker(b, ny(t, "2026-11-16 10:00"))
	r, err := c.Check(context.Background(), account, bank)
	if err != nil || r.Ready || r.Holdings != nil {
		t.Fatalf("%+v, %v", r, err)
	}
	if text, err := json.Marshal(r); err != nil || strings.Contains(string(text), "positions_count") {
		t.Errorf("%s, %v: what was not read must not look like nothing", text, err)
	}
	if !c.Finish(r, time.Now()).IsZero() {
		t.Error("an account that can't be closed has an expected finish")
	}
}
