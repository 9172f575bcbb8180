package sim

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shopspring/decimal"
)

// When a withdrawal leaves the balances that the broker shows.
const (
	AtCreation = "at_creation"
	AtComplete = "at_complete"
	Late       = "late" // on the morning's booking after it completed
)

var cent = decimal.New(1, -2)

// account is everything that is known of one account: what is stored, as JSON, and what time is worked out on. No field
// holds a pointer that two copies could share.
type account struct {
	ID          string
	Number      string
	Status      string
	AccountType string
	SubType     string
	Email       string
	GivenName   string
	FamilyName  string
	CreatedAt   time.Time

	Cash        decimal.Decimal
	AccruedFees decimal.Decimal
	DailyLimit  decimal.Decimal // zero: the simulator's
	CashMoves   string
	Rebalancing bool
	SaleFees    decimal.Decimal
	Held        decimal.Decimal
	Minimum     decimal.Decimal
	Interest    string

	TradingBlocked, TransfersBlocked, OutgoingBlocked, AccountBlocked bool
	TradeSuspended, NotWithdrawable                                   bool

	Holds         []hold
	Positions     []position
	Orders        []order
	Transfers     []transfer
	Relationships []relationship
	Activities    []activity
	Events        []Event // with At, in no order
	Waiting       []Event // with When
	Seen          []string
	Made          int // how many things have been made, for their ids
}

// hold is the part of the cash that cannot be withdrawn before Until.
type hold struct {
	Amount decimal.Decimal
	Until  time.Time
	Order  string
}

type position struct {
	Symbol, Class string
	Qty           decimal.Decimal // negative: short
	Price         decimal.Decimal
	Entry         decimal.Decimal
	Fee           decimal.Decimal
	Untradable    bool
	Inactive      bool
	Halted        bool
	ResumesAt     time.Time // of a halt: when it ends by itself; afterwards: since when it trades again
	PartialFills  []decimal.Decimal
	Locked        decimal.Decimal
}

type order struct {
	ID, ClientID  string
	Symbol, Class string // asset class
	Parent        string // id of the order that it is a leg of
	Side          string
	Type, TIF     string
	OrderClass    string
	Intent        string
	Qty, Filled   decimal.Decimal
	AvgPrice      decimal.Decimal
	Limit, Stop   decimal.Decimal
	Price         decimal.Decimal // of a fill, where the account holds none
	Status        string
	Partial       bool // has had its partial fill; the rest dies
	Submitted     time.Time
	Updated       time.Time
	CancelAsked   time.Time
	CancelAt      time.Time
	Ended         time.Time
	VisibleAt     time.Time
	Legs          int // how many there are, next to it in the list
	FilledCash    decimal.Decimal
}

type transfer struct {
	ID, Relationship  string
	Direction, Status string
	Reason            string
	Amount            decimal.Decimal
	Created, Updated  time.Time
	Steps             []step
	DebitAt           time.Time // a booking that is still to come
	Moved             bool      // the money has left, or reached, the cash
	Day               string
	HoldUntil         time.Time
	Actor             string
	VisibleAt         time.Time
}

type step struct {
	At     time.Time
	Status string
}

type relationship struct {
	ID, Status, Owner, Number, Routing, Kind, Nickname string
	Created, Updated, ApproveAt                        time.Time
	Deleted                                            bool
}

type activity struct {
	ID, Type, Sub, Symbol, Status, Description string
	Net                                        decimal.Decimal
	At                                         time.Time
	// Of a fill only.
	Order, Side string
	Qty, Price  decimal.Decimal
}

func (a *account) clone() *account {
	b := *a
	b.Holds = slices.Clone(a.Holds)
	b.Positions = slices.Clone(a.Positions)
	for i := range b.Positions {
		b.Positions[i].PartialFills = slices.Clone(b.Positions[i].PartialFills)
	}
	b.Orders = slices.Clone(a.Orders)
	b.Transfers = slices.Clone(a.Transfers)
	for i := range b.Transfers {
		b.Transfers[i].Steps = slices.Clone(b.Transfers[i].Steps)
	}
	b.Relationships = slices.Clone(a.Relationships)
	b.Activities = slices.Clone(a.Activities)
	b.Events = slices.Clone(a.Events)
	b.Waiting = slices.Clone(a.Waiting)
	b.Seen = slices.Clone(a.Seen)
	return &b
}

// uuid makes an id out of what it is the id of, so that a seed makes the same ids again.
func uuid(parts ...any) string {
	h := sha256.Sum256(fmt.Append(nil, parts...))
	h[6], h[8] = h[6]&0x0f|0x40, h[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", h[0:4], h[4:6], h[6:8], h[8:10], h[10:16])
}

func assetID(symbol string) string { return uuid("asset ", symbol) }

// newID names the next thing of this account.
func (a *account) newID(kind string) string {
	a.Made++
	return uuid(a.ID, " ", kind, " ", a.Made)
}

func (a *account) position(symbol string) *position {
	for i := range a.Positions {
		if p := &a.Positions[i]; strings.EqualFold(p.Symbol, symbol) || assetID(p.Symbol) == symbol {
			return p
		}
	}
	return nil
}

func (a *account) order(id string) *order {
	for i := range a.Orders {
		if a.Orders[i].ID == id {
			return &a.Orders[i]
		}
	}
	return nil
}

func (a *account) transfer(id string) *transfer {
	for i := range a.Transfers {
		if a.Transfers[i].ID == id {
			return &a.Transfers[i]
		}
	}
	return nil
}

func (a *account) relationship(id string) *relationship {
	for i := range a.Relationships {
		if r := &a.Relationships[i]; r.ID == id && !r.Deleted {
			return r
		}
	}
	return nil
}

func (o *order) open() bool { return !ended(o.Status) }

func ended(status string) bool {
	switch status {
	case "filled", "canceled", "expired", "rejected", "replaced":
		return true
	}
	return false
}

func (o *order) rest() decimal.Decimal { return o.Qty.Sub(o.Filled) }

// held is how many of a position are spoken for by open orders. The exits of one bracket hold the same shares once.
func (a *account) held(p *position) decimal.Decimal {
	side := "sell"
	if p.Qty.IsNegative() {
		side = "buy"
	}
	groups := map[string]decimal.Decimal{}
	for i := range a.Orders {
		o := &a.Orders[i]
		if !o.open() || o.Side != side || o.Symbol != p.Symbol {
			continue
		}
		group := o.ID
		if o.Parent != "" {
			group = o.Parent
			if parent := a.order(o.Parent); parent.Side != side && parent.open() {
				continue // exits of an entry that has not filled hold nothing
			}
		}
		groups[group] = decimal.Max(groups[group], o.rest())
	}
	sum := decimal.Zero
	for _, q := range groups {
		sum = sum.Add(q)
	}
	return sum
}

func (a *account) available(p *position) decimal.Decimal {
	return decimal.Max(decimal.Zero, p.Qty.Abs().Sub(a.held(p)).Sub(p.Locked).Sub(a.covering(p)))
}

// unsettled is the part of the cash that still waits for its settlement morning.
func (a *account) unsettled(now time.Time) decimal.Decimal {
	sum := decimal.Zero
	for _, h := range a.Holds {
		if h.Until.After(now) {
			sum = sum.Add(h.Amount)
		}
	}
	return sum
}

func (a *account) withdrawable(now time.Time) decimal.Decimal {
	return decimal.Max(decimal.Zero, a.Cash.Sub(a.unsettled(now)).Sub(a.Held))
}

func (t *transfer) ended() bool {
	switch t.Status {
	case "COMPLETE", "REJECTED", "CANCELED", "EXPIRED", "RETURNED":
		return true
	}
	return false
}

// pending is the sum that is on its way in one direction.
func (a *account) pending(direction string) decimal.Decimal {
	sum := decimal.Zero
	for i := range a.Transfers {
		if t := &a.Transfers[i]; t.Direction == direction && !t.ended() {
			sum = sum.Add(t.Amount)
		}
	}
	return sum
}

// marketValues are those of the long and of the short positions; the latter are negative.
func (a *account) marketValues() (long, short decimal.Decimal) {
	for _, p := range a.Positions {
		if v := p.worth().Round(2); v.IsNegative() {
			short = short.Add(v)
		} else {
			long = long.Add(v)
		}
	}
	return long, short
}
