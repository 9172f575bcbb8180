package readiness

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"closeout/alpaca"
	"closeout/calendar"
	"closeout/closure"
)

// Broker is what a check reads of the broker; an alpaca.Client has it.
type Broker interface {
	Account(ctx context.Context, id string) (alpaca.Account, error)
	TradingAccount(ctx context.Context, id string) (alpaca.TradingAccount, error)
	Positions(ctx context.Context, id string) ([]alpaca.Position, error)
	OpenOrders(ctx context.Context, id string) ([]alpaca.Order, error)
	Transfers(ctx context.Context, id string) ([]alpaca.Transfer, error)
	Relationships(ctx context.Context, id string) ([]alpaca.Relationship, error)
	Subscribed(ctx context.Context, id string) (bool, error)
}

// Checker judges accounts. All its fields are needed; it is safe for use by several goroutines.
type Checker struct {
	Broker   Broker
	Calendar func() *calendar.Calendar // the latest
	Policy   closure.Policy
	Clock    closure.Clock
}

// Check reads the account and says what its closure will need. relationship is the bank to be paid; where it is "" the
// account alone is judged, and it needs an approved bank. The error is ErrNoAccount, or an *UnreadableError where anything
// could not be read. Nothing is changed anywhere.
func (c *Checker) Check(ctx context.Context, account, relationship string) (Report, error) {
	r := Report{AccountID: account, Obstacles: []Obstacle{}}
	a, err := c.Broker.Account(ctx, account)
	if alpaca.NotFound(err) {
		return r, ErrNoAccount
	}
	if err != nil {
		return r, &UnreadableError{"the account", err}
	}
	r.AccountStatus = a.Status
	if !r.judgeAccount(a) {
		return r, nil
	}
	trading, err := c.Broker.TradingAccount(ctx, account)
	if err != nil {
		return r, &UnreadableError{"the account's balances", err}
	}
	if !trading.Cash.Valid {
		return r, &UnreadableError{"the account's cash", fmt.Errorf("the broker left it out")}
	}
	positions, err := c.Broker.Positions(ctx, account)
	if err != nil {
		return r, &UnreadableError{"the positions", err}
	}
	orders, err := c.Broker.OpenOrders(ctx, account)
	if err != nil {
		return r, &UnreadableError{"the open orders", err}
	}
	transfers, err := c.Broker.Transfers(ctx, account)
	if err != nil {
		return r, &UnreadableError{"the transfers", err}
	}
	banks, err := c.Broker.Relationships(ctx, account)
	if err != nil {
		return r, &UnreadableError{"the bank relationships", err}
	}
	subscribed, err := c.Broker.Subscribed(ctx, account)
	if err != nil {
		return r, &UnreadableError{"the rebalancing subscriptions", err}
	}

	now := c.Clock.Now()
	h := &Holdings{Orders: len(orders), Cash: USD{trading.Cash.Decimal}}
	if err := h.sell(positions); err != nil {
		return r, err
	}
	h.unsettled = trading.CashWithdrawable.Valid && trading.CashWithdrawable.Decimal.LessThan(trading.Cash.Decimal)
	h.DailyLimit = USD{c.dailyLimit(trading)}
	h.Transfers = howMany(h.Estimate.Decimal, h.DailyLimit.Decimal)
	r.Holdings = h
	r.judgeBlocks(trading)
	r.judgePositions(positions)
	if subscribed {
		r.add(Obstacle{
			Code: Rebalancing, Text: closure.Reasons[closure.Rebalanced].Title, Who: closure.Operator, Blocking: true,
			Hint: "Cancel its rebalancing runs and delete the subscription at the broker, then try again.",
		})
	}
	r.judgeCash()
	r.judgeTransfers(transfers, trading, c.Calendar(), now)
	r.judgeBanks(banks, relationship)
	r.Ready = len(r.Blocking()) == 0
	s := c.schedule(now, *h)
	r.Schedule = &s
	return r, nil
}

// sell values the positions. A price that the broker leaves out is unknown: such a position is counted, not valued.
func (h *Holdings) sell(positions []alpaca.Position) error {
	h.Estimate, h.Count = h.Cash, len(positions)
	for _, p := range positions {
		if !p.Qty.Valid {
			return &UnreadableError{"the quantity of " + p.Symbol, fmt.Errorf("the broker left it out")}
		}
		s := Sale{Symbol: p.Symbol, Side: strings.ToLower(p.Side), Qty: p.Qty.Decimal.Abs()}
		if v, ok := value(p); ok {
			s.Value = &USD{v}
			h.Estimate = USD{h.Estimate.Add(v)}
		} else {
			h.Unpriced++
		}
		h.Positions = append(h.Positions, s)
	}
	return nil
}

// value is what closing the position brings in, by the broker's market value or its last price; what a short costs is
// negative, whichever sign the broker gives it.
func value(p alpaca.Position) (decimal.Decimal, bool) {
	var v decimal.Decimal
	switch {
	case p.MarketValue.Valid:
		v = p.MarketValue.Decimal.Abs()
	case p.CurrentPrice.Valid:
		v = p.CurrentPrice.Decimal.Mul(p.Qty.Decimal).Mul(alpaca.Multiplier(p.AssetClass)).Abs()
	default:
		return v, false
	}
	if p.Short() {
		v = v.Neg()
	}
	return v, true
}

// dailyLimit is the policy's, or the account's own where the broker set one that is less.
func (c *Checker) dailyLimit(a alpaca.TradingAccount) decimal.Decimal {
	own := a.Admin.DailyTransferLimit
	if own.Valid && own.Decimal.IsPositive() {
		return closure.Least(c.Policy.DailyLimit, own.Decimal)
	}
	return c.Policy.DailyLimit
}

// howMany transfers a sum takes; none for less than a cent.
func howMany(sum, limit decimal.Decimal) int {
	sum = closure.Cents(sum)
	if sum.LessThan(closure.Cent) || limit.LessThan(closure.Cent) {
		return 0
	}
	return int(sum.Div(closure.Cents(limit)).Ceil().IntPart())
}

// arrival is when a transfer that was asked for at t is with its receiver: the next banking morning after its banking day.
func arrival(cal *calendar.Calendar, t time.Time) time.Time {
	return bankMorning(cal.NextBanking(cal.BankingDay(t)))
}

// bankMorning is about when banks show what arrived overnight, half past eight in New York.
func bankMorning(d calendar.Date) time.Time {
	t := d.Time()
	return time.Date(t.Year(), t.Month(), t.Day(), 8, 30, 0, 0, calendar.NewYork)
}
