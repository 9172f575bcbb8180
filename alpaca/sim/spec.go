package sim

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/shopspring/decimal"
)

// Spec describes an account to be made: the JSON of POST /sim/accounts. Everything but the cash has a default, and
// that is zero.
type Spec struct {
	// ID makes the request repeatable: an account that is there already is left as it is. Empty: made from seed and count.
	ID          string          `json:"id,omitempty"`
	Cash        decimal.Decimal `json:"cash"`
	Positions   []PositionSpec  `json:"positions,omitempty"`
	Orders      []OrderSpec     `json:"orders,omitempty"`
	ACH         string          `json:"ach,omitempty"`          // approved (the default), queued (and stays so), none
	Status      string          `json:"status,omitempty"`       // ACTIVE
	AccountType string          `json:"account_type,omitempty"` // trading
	SubType     string          `json:"account_sub_type,omitempty"`
	Email       string          `json:"email,omitempty"`
	GivenName   string          `json:"given_name,omitempty"`
	FamilyName  string          `json:"family_name,omitempty"`
	Fees        decimal.Decimal `json:"accrued_fees,omitzero"`
	// SaleFees are fees of sales that are booked later, as pending_reg_taf_fees.
	SaleFees decimal.Decimal `json:"pending_reg_taf_fees,omitzero"`
	// CashInterest is the status of the account's cash interest program: ACTIVE, PENDING_CHANGE, INACTIVE; empty: none.
	CashInterest string `json:"cash_interest,omitempty"`
	// Held is the part of the cash that the broker lets nobody withdraw until a release.
	Held decimal.Decimal `json:"held,omitzero"`
	// MinimumPayout is what a withdrawal must be greater than.
	MinimumPayout decimal.Decimal `json:"minimum_payout,omitzero"`

	// CashMoves says when a withdrawal leaves cash and cash_withdrawable: at_creation, at_complete, or late (on the
	// morning after it completed). Empty: as the simulator's Options say.
	CashMoves string `json:"cash_moves,omitempty"`
	// DailyLimit overrides the simulator's, and shows in admin_configurations.
	DailyLimit decimal.Decimal `json:"daily_limit,omitzero"`
	// Unsettled is the part of Cash that comes from sales of the day before and settles on the next settlement morning.
	Unsettled decimal.Decimal `json:"unsettled,omitzero"`

	TradingBlocked   bool    `json:"trading_blocked,omitempty"`
	TransfersBlocked bool    `json:"transfers_blocked,omitempty"`
	AccountBlocked   bool    `json:"account_blocked,omitempty"`
	TradeSuspended   bool    `json:"trade_suspended_by_user,omitempty"`
	Rebalancing      bool    `json:"rebalancing,omitempty"` // subscribed to a portfolio: orders by hand are refused
	Events           []Event `json:"events,omitempty"`
}

// PositionSpec is something the account holds. A negative quantity is a short position.
type PositionSpec struct {
	Symbol     string          `json:"symbol"`
	Qty        decimal.Decimal `json:"qty"`
	Price      decimal.Decimal `json:"price"`
	AssetClass string          `json:"asset_class,omitempty"` // us_equity, us_option, crypto
	Tradable   *bool           `json:"tradable,omitempty"`    // false: may only be closed
	Inactive   bool            `json:"inactive,omitempty"`    // delisted: can't be closed either
	Halted     bool            `json:"halted,omitempty"`      // orders rest until it resumes
	Resumes    Duration        `json:"resumes,omitzero"`      // how long after the account's making it resumes by itself
	Locked     decimal.Decimal `json:"locked,omitzero"`       // so many of them can't be traded until an unlock

	// PartialFills are the fractions that the first orders for this position fill before the rest of them expires.
	PartialFills []decimal.Decimal `json:"partial_fills,omitempty"`
	// Fee is taken from the proceeds of each fill.
	Fee decimal.Decimal `json:"fee,omitzero"`
}

// OrderSpec is an order that is there already. Without prices that say otherwise, a limit or stop order rests.
type OrderSpec struct {
	Symbol      string          `json:"symbol"`
	Qty         decimal.Decimal `json:"qty"`
	Side        string          `json:"side,omitempty"`          // sell
	Type        string          `json:"type,omitempty"`          // limit
	TimeInForce string          `json:"time_in_force,omitempty"` // gtc
	Class       string          `json:"class,omitempty"`         // simple, bracket, oco
	Price       decimal.Decimal `json:"price,omitzero"`          // what a fill would cost, where the account holds none
	LimitPrice  decimal.Decimal `json:"limit_price,omitzero"`
	StopPrice   decimal.Decimal `json:"stop_price,omitzero"`
	TakeProfit  decimal.Decimal `json:"take_profit,omitzero"`
	StopLoss    decimal.Decimal `json:"stop_loss,omitzero"`
	// Filled says of a bracket's entry that it has filled, so that its two exits are open and hold the shares. By
	// default it has if the account holds that many.
	Filled *bool `json:"filled,omitempty"`
}

// Event is something that befalls an account, now, at a time, after a while, or after a trigger.
type Event struct {
	Type string `json:"type"`
	// At is a business time; After counts from the account's making, from now, or from the trigger in When.
	At    time.Time `json:"at,omitzero"`
	After Duration  `json:"after,omitzero"`
	When  string    `json:"when,omitempty"`

	Amount       decimal.Decimal `json:"amount,omitzero"`
	Symbol       string          `json:"symbol,omitempty"`
	Qty          decimal.Decimal `json:"qty,omitzero"`
	Price        decimal.Decimal `json:"price,omitzero"`
	Side         string          `json:"side,omitempty"`
	Transfer     string          `json:"transfer,omitempty"` // id; empty: the latest payout
	Order        string          `json:"order,omitempty"`    // id; empty: the latest filled
	Relationship string          `json:"relationship,omitempty"`
	Status       string          `json:"status,omitempty"`
	What         string          `json:"what,omitempty"` // block: transfers (the default), outgoing, withdrawable, trading, suspend, account
	For          Duration        `json:"for,omitzero"`   // block, halt, status: undone by itself after this; deposit: held for so long
	Reason       string          `json:"reason,omitempty"`
	// Keep leaves positions and cash in an account that somebody else closes; otherwise they are sold and swept out.
	Keep bool `json:"keep,omitempty"`
}

// The triggers of Event.When.
const (
	AfterFirstRead           = "after_first_read"            // the account was first read over the API
	AfterFirstWrite          = "after_first_write"           // the first order, cancel or payout asked over the API
	AfterFirstOrder          = "after_first_order"           // the first order placed over the API
	AfterFirstFill           = "after_first_fill"            // the first fill, partial ones included
	AfterLastPosition        = "after_last_position"         // the last position is gone
	AfterFirstPayout         = "after_first_payout"          // the first payout was accepted
	AfterFirstPayoutComplete = "after_first_payout_complete" // the first payout reached COMPLETE
	AfterLastPayoutComplete  = "after_last_payout_complete"  // a payout reached COMPLETE and less than a cent is left
)

var triggers = []string{
	AfterFirstRead, AfterFirstWrite, AfterFirstOrder, AfterFirstFill, AfterLastPosition,
	AfterFirstPayout, AfterFirstPayoutComplete, AfterLastPayoutComplete,
}

// Entry is one line of the journal. Amount is what the line is about; Cash is by how much it changed the account's
// cash, so that an account's cash is always the sum of its Cash.
type Entry struct {
	Seq     int64           `json:"seq"`
	At      time.Time       `json:"at"` // business time
	Account string          `json:"account"`
	Kind    string          `json:"kind"`
	Amount  string          `json:"amount"`
	Cash    decimal.Decimal `json:"cash"`
	Key     string          `json:"key"`   // client_order_id, transfer id, order id, relationship id
	Actor   string          `json:"actor"` // api: asked over the Broker API; sim: befell the account
	Symbol  string          `json:"symbol,omitempty"`
	Qty     string          `json:"qty,omitempty"`
	Note    string          `json:"note,omitempty"`
	Day     string          `json:"day,omitempty"` // of a payout: the banking day whose limit it uses
}

// Duration is written "26h", "90m", "2d", or as a number of seconds.
type Duration time.Duration

// UnmarshalJSON reads each of the ways to write one.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var seconds float64
	if json.Unmarshal(b, &seconds) == nil {
		*d = Duration(seconds * float64(time.Second))
		return nil
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("a duration is text such as \"26h\": %s", b)
	}
	if s == "" {
		*d = 0
		return nil
	}
	days, rest, found := strings.Cut(s, "d")
	if !found {
		days, rest = "0", s
	}
	if rest == "" {
		rest = "0s"
	}
	var n float64
	if _, err := fmt.Sscanf(days, "%g", &n); err != nil {
		return fmt.Errorf("a duration is text such as \"26h\" or \"2d\": %q", s)
	}
	parsed, err := time.ParseDuration(rest)
	if err != nil {
		return fmt.Errorf("a duration is text such as \"26h\" or \"2d\": %q", s)
	}
	*d = Duration(time.Duration(n*24*float64(time.Hour)) + parsed)
	return nil
}

// MarshalJSON writes "26h0m0s".
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// IsZero lets omitzero leave it out.
func (d Duration) IsZero() bool { return d == 0 }
