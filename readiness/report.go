package readiness

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/shopspring/decimal"

	"closeout/closure"
)

// ErrNoAccount says that the broker knows no account of this id.
var ErrNoAccount = errors.New("the broker knows no such account")

// UnreadableError says that something could not be read at the broker. Nothing is known then: unknown is never zero, so one
// failed read makes the whole report unreadable.
type UnreadableError struct {
	What string // what could not be read, as "the positions"
	Err  error
}

// Error is written for the log: it has the broker's words, redacted.
func (e *UnreadableError) Error() string {
	return fmt.Sprintf("%s cannot be read at the broker: %v", e.What, e.Err)
}

// Unwrap gives the cause.
func (e *UnreadableError) Unwrap() error { return e.Err }

// USD is a sum of dollars. In JSON it is a string with two places, cut to cents; null where a pointer to it is nil, which
// means that the sum is unknown.
type USD struct{ decimal.Decimal }

// MarshalJSON writes "1234.50".
func (u USD) MarshalJSON() ([]byte, error) {
	return json.Marshal(closure.USD(closure.Cents(u.Decimal)))
}

// Sale is one position that will be sold, or bought back where it is short.
type Sale struct {
	Symbol string          `json:"symbol"`
	Side   string          `json:"side,omitempty" doc:"long or short"`
	Qty    decimal.Decimal `json:"qty"`
	Value  *USD            `json:"value" doc:"About how many dollars its sale brings in; negative for a short; null if the broker gives no price"`
}

// Bank is an ACH relationship of the account. Its fingerprint is for the ledger and never leaves the service.
type Bank struct {
	ID          string `json:"id" doc:"The ACH relationship's id at the broker"`
	Status      string `json:"status" doc:"At the broker, such as APPROVED"`
	Fingerprint string `json:"-"`
}

// Obstacle is something that stands in the way.
type Obstacle struct {
	Code     string      `json:"code" doc:"Stable"`
	Text     string      `json:"text" doc:"What stands in the way, in words"`
	Hint     string      `json:"hint,omitempty" doc:"What can be done about it"`
	Who      closure.Who `json:"who_must_act,omitempty" doc:"customer, operator or broker; absent if time will do"`
	Blocking bool        `json:"blocking" doc:"Whether initiate refuses; otherwise the closure is accepted and waits"`
}

// Holdings are what was read of the account's contents.
type Holdings struct {
	Positions []Sale `json:"positions,omitempty" doc:"What will be sold, or bought back where it is short"`
	Count     int    `json:"positions_count" required:"false" doc:"How many positions there are"`
	Orders    int    `json:"orders_count" required:"false" doc:"Open orders, which will be cancelled"`
	Cash      USD    `json:"cash_balance" required:"false"`
	Estimate  USD    `json:"estimated_payout" required:"false" doc:"About what will be paid out: the cash and the positions at their present prices"`
	Unpriced  int    `json:"unpriced_positions,omitempty" doc:"Positions without a price, whose proceeds come on top"`
	Transfers int    `json:"transfers" required:"false" doc:"How many ACH transfers that takes by the daily limit"`

	// DailyLimit is what may leave the account on one banking day: the policy's, or the account's own where that is less.
	DailyLimit USD `json:"daily_limit" required:"false" doc:"Dollars that may leave on one banking day: this service's limit, or the account's own where that is less"`

	unsettled bool      // some cash is not withdrawable yet
	quiet     time.Time // when transfers that are on their way have ended and are booked; zero: none is
}

// Report is what a closure of an account will need. Where the account's status already forbids a closure the rest is not
// read, and Holdings and Schedule are nil.
type Report struct {
	AccountID     string     `json:"account_id"`
	AccountStatus string     `json:"account_status"`
	Ready         bool       `json:"ready" doc:"Whether initiate would accept: no obstacle is blocking"`
	Obstacles     []Obstacle `json:"obstacles" doc:"What stands in the way, and what the closure will wait for"`
	Banks         []Bank     `json:"banks,omitempty" doc:"The approved ACH relationships"`
	*Holdings
	*Schedule

	// Bank is the relationship that was asked for, if the account has it.
	Bank *Bank `json:"-"`
}

// Blocking are the obstacles for which initiate refuses.
func (r Report) Blocking() []Obstacle {
	var out []Obstacle
	for _, o := range r.Obstacles {
		if o.Blocking {
			out = append(out, o)
		}
	}
	return out
}

func (r *Report) add(o Obstacle) { r.Obstacles = append(r.Obstacles, o) }
