package readiness_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/shopspring/decimal"

	"closeout/alpaca"
	"closeout/calendar"
	"closeout/closure"
	"closeout/readiness"
)

const (
	account  = "5b0a3a6e-4f0c-4a39-9a5e-0c3f5f1d7a01"
	bank     = "0e2b1cb0-3b80-4a7b-8f63-8a3c2f6a9d02"
	stranger = "77777777-3b80-4a7b-8f63-8a3c2f6a9d02"
)

// books is a broker that answers with what it was given; fail makes one of its reads fail.
type books struct {
	account   alpaca.Account
	trading   alpaca.TradingAccount
	positions []alpaca.Position
	orders    []alpaca.Order
	transfers []alpaca.Transfer
	banks     []alpaca.Relationship
	rebalance bool
	fail      string
	err       error
}

func (b *books) answer(read string) error {
	if b.fail == read {
		return b.err
	}
	return nil
}

func (b *books) Account(context.Context, string) (alpaca.Account, error) {
	return b.account, b.answer("account")
}

func (b *books) TradingAccount(context.Context, string) (alpaca.TradingAccount, error) {
	return b.trading, b.answer("balances")
}

func (b *books) Positions(context.Context, string) ([]alpaca.Position, error) {
	return b.positions, b.answer("positions")
}

func (b *books) OpenOrders(context.Context, string) ([]alpaca.Order, error) {
	return b.orders, b.answer("orders")
}

func (b *books) Transfers(context.Context, string) ([]alpaca.Transfer, error) {
	return b.transfers, b.answer("transfers")
}

func (b *books) Relationships(context.Context, string) ([]alpaca.Relationship, error) {
	return b.banks, b.answer("banks")
}

func usd(s string) alpaca.Number { return alpaca.Known(decimal.RequireFromString(s)) }

// plain is an active account with so much cash and an approved bank.
func plain(cash string) *books {
	b := &books{
		account: alpaca.Account{ID: account, Status: "ACTIVE", AccountType: "trading"},
		trading: alpaca.TradingAccount{ID: account, Status: "ACTIVE", Cash: usd(cash), CashWithdrawable: usd(cash)},
		banks:   []alpaca.Relationship{{ID: bank, AccountID: account, Status: "APPROVED", Fingerprint: "beef"}},
	}
	return b
}

func stock(symbol, qty, worth string) alpaca.Position {
	p := alpaca.Position{AssetID: symbol, Symbol: symbol, AssetClass: "us_equity", Side: "long", Qty: usd(qty)}
	if worth != "" {
		p.MarketValue = usd(worth)
	}
	return p
}

func refusal(status int) error { return &alpaca.Error{Status: status, Method: http.MethodGet} }

func ny(tb testing.TB, s string) time.Time {
	tb.Helper()
	t, err := time.ParseInLocation("2006-01-02 15:04", s, calendar.NewYork)
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

// frozen is a clock that hardly moves: a year of wall time for a day would be too fast, so a real clock is set back instead.
func frozen(at time.Time) closure.Clock { return closure.ScaledClock(24*time.Hour-1, at, time.Now()) }

func checker(b *books, now time.Time) *readiness.Checker {
	return &readiness.Checker{
		Broker: b, Calendar: calendar.Rules, Policy: closure.DefaultPolicy(closure.Sandbox), Clock: frozen(now),
	}
}

func (b *books) Subscribed(context.Context, string) (bool, error) {
	return b.rebalance, b.answer("subscriptions")
}
