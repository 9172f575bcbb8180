package readiness

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"closeout/alpaca"
)

// View is an account as the broker shows it at one moment. What could not be read is not known, and stands in Unreadable.
type View struct {
	At            time.Time // business time
	Status        string    // of the account; "": not known
	TradingStatus string
	Blocks        []string // in words
	Cash          *USD
	Withdrawable  *USD
	PendingOut    *USD
	Positions     []Sale
	Orders        []OpenOrder
	Transfers     []Transfer

	Unreadable map[Part]*UnreadableError
}

// Part is one of the things that a view reads.
type Part string

// The parts of a view.
const (
	OfAccount   Part = "the account"
	OfBalances  Part = "the account's balances"
	OfPositions Part = "the positions"
	OfOrders    Part = "the open orders"
	OfTransfers Part = "the transfers"
)

// OpenOrder is an order that may still fill.
type OpenOrder struct {
	ID, ClientOrderID, Symbol, Side, Status string
	Qty, Filled                             decimal.NullDecimal
}

// Knows says whether a part was read.
func (v View) Knows(p Part) bool { return v.Unreadable[p] == nil }

// View reads the account for somebody who looks at it. The error is ErrNoAccount; what can't be read is said in the view.
func (c *Checker) View(ctx context.Context, account string) (View, error) {
	v := View{At: c.Clock.Now(), Unreadable: map[Part]*UnreadableError{}}
	read := func(p Part, err error) bool {
		if err != nil {
			v.Unreadable[p] = &UnreadableError{string(p), err}
		}
		return err == nil
	}
	a, err := c.Broker.Account(ctx, account)
	if alpaca.NotFound(err) {
		return v, ErrNoAccount
	}
	if read(OfAccount, err) {
		v.Status = strings.ToUpper(a.Status)
	}
	if t, err := c.Broker.TradingAccount(ctx, account); read(OfBalances, err) {
		v.TradingStatus, v.Cash, v.Withdrawable, v.PendingOut = strings.ToUpper(t.Status), sum(t.Cash), sum(t.CashWithdrawable), sum(t.PendingTransferOut)
		for says, is := range map[string]bool{
			"the account is blocked": t.AccountBlocked, "transfers are blocked": t.TransfersBlocked || t.Admin.OutgoingTransfersBlocked,
			"trading is blocked": t.TradingBlocked, "trading is suspended by the account's own setting": t.TradeSuspendedByUser,
		} {
			if is {
				v.Blocks = append(v.Blocks, says)
			}
		}
		slices.Sort(v.Blocks)
	}
	if ps, err := c.Broker.Positions(ctx, account); read(OfPositions, err) {
		var h Holdings
		if err := h.sell(ps); err != nil {
			err, _ := errors.AsType[*UnreadableError](err)
			v.Unreadable[OfPositions] = err
		}
		v.Positions = h.Positions
	}
	if os, err := c.Broker.OpenOrders(ctx, account); read(OfOrders, err) {
		for _, o := range os {
			for _, o := range o.Live() {
				v.Orders = append(v.Orders, OpenOrder{o.ID, o.ClientOrderID, o.Symbol, o.Side, o.Status, o.Qty.NullDecimal, o.FilledQty.NullDecimal})
			}
		}
	}
	ts, err := c.Transfers(ctx, account)
	if un, ok := errors.AsType[*UnreadableError](err); ok {
		v.Unreadable[OfTransfers] = un
	} else if err != nil {
		v.Unreadable[OfTransfers] = &UnreadableError{string(OfTransfers), err}
	}
	v.Transfers = ts
	return v, nil
}

func sum(n alpaca.Number) *USD {
	if !n.Valid {
		return nil
	}
	return &USD{n.Decimal}
}
