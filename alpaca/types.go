package alpaca

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shopspring/decimal"
)

// Number is a decimal that the broker may leave out. Alpaca sends money and quantities as JSON strings, at times as
// numbers; a field that is absent, null or "" is unknown, which is never the same as zero.
type Number struct{ decimal.NullDecimal }

// Known makes a Number that has a value.
func Known(d decimal.Decimal) Number { return Number{decimal.NewNullDecimal(d)} }

// UnmarshalJSON accepts "1.5", 1.5, null and "".
func (n *Number) UnmarshalJSON(b []byte) error {
	if bytes.Equal(b, []byte(`""`)) || bytes.Equal(b, []byte("null")) {
		*n = Number{}
		return nil
	}
	if err := n.NullDecimal.UnmarshalJSON(b); err != nil {
		return err
	}
	if e := n.Decimal.Exponent(); n.Valid && (e > 30 || e < -30) { // written out it would fill the memory
		return fmt.Errorf("no sum of money or shares has an exponent of %d", e)
	}
	return nil
}

// MarshalJSON writes a string, or null where the value is unknown.
func (n Number) MarshalJSON() ([]byte, error) {
	if !n.Valid {
		return []byte("null"), nil
	}
	return json.Marshal(n.Decimal.String())
}

// Account is the part of GET /v1/accounts/{id} that this service uses. Names are in identity, not in contact.
type Account struct {
	ID            string    `json:"id"`
	AccountNumber string    `json:"account_number"`
	Status        string    `json:"status"`
	CryptoStatus  string    `json:"crypto_status"`
	Currency      string    `json:"currency"`
	AccountType   string    `json:"account_type"`           // trading, custodial, donor_advised, ira; absent in some answers
	SubType       string    `json:"account_sub_type"`       // of an ira alone: traditional, roth
	CustodialType string    `json:"custodial_account_type"` // of a custodial one alone
	CreatedAt     time.Time `json:"created_at"`
	Contact       struct {
		EmailAddress string `json:"email_address"`
	} `json:"contact"`
	Identity struct {
		GivenName  string `json:"given_name"`
		FamilyName string `json:"family_name"`
	} `json:"identity"`
	CashInterest struct {
		USD struct {
			Status string `json:"status"` // ACTIVE, INACTIVE, PENDING_CHANGE; absent where nobody ever enrolled the account
		} `json:"USD"`
	} `json:"cash_interest"`
}

// TradingAccount is the part of GET /v1/trading/accounts/{id}/account that this service uses. The four blocks stand in every
// answer by Alpaca's description, so that one without them, or with null, is no answer: see Client.TradingAccount. What is in
// admin_configurations overrides a default, and is absent where nobody set it.
type TradingAccount struct {
	ID                   string `json:"id"`
	Status               string `json:"status"`
	Cash                 Number `json:"cash"`
	CashWithdrawable     Number `json:"cash_withdrawable"`
	PendingTransferIn    Number `json:"pending_transfer_in"`
	PendingTransferOut   Number `json:"pending_transfer_out"`
	AccruedFees          Number `json:"accrued_fees"`
	PendingRegTAFFees    Number `json:"pending_reg_taf_fees"` // of sales, still to be booked; optional
	Equity               Number `json:"equity"`
	LongMarketValue      Number `json:"long_market_value"`
	TradingBlocked       bool   `json:"trading_blocked"`
	TransfersBlocked     bool   `json:"transfers_blocked"`
	AccountBlocked       bool   `json:"account_blocked"`
	TradeSuspendedByUser bool   `json:"trade_suspended_by_user"`
	Admin                struct {
		DailyTransferLimit       Number `json:"acct_daily_transfer_limit"`
		OutgoingTransfersBlocked bool   `json:"outgoing_transfers_blocked"`
	} `json:"admin_configurations"`
}

// StatusIs compares two of the broker's enum values, which it does not always write in the same case.
func StatusIs(have, want string) bool { return strings.EqualFold(have, want) }

// Closed says whether this status is the end of an account: ACCOUNT_CLOSED; there is no status CLOSED.
func Closed(status string) bool { return StatusIs(status, "ACCOUNT_CLOSED") }

// Position is one row of GET /v1/trading/accounts/{id}/positions.
type Position struct {
	AssetID      string `json:"asset_id"`
	Symbol       string `json:"symbol"`
	AssetClass   string `json:"asset_class"` // us_equity, us_option, crypto, ...
	Side         string `json:"side"`        // long, short
	Qty          Number `json:"qty"`
	QtyAvailable Number `json:"qty_available"`
	MarketValue  Number `json:"market_value"`
	CurrentPrice Number `json:"current_price"`
}

// Short says whether the position is closed by buying.
func (p Position) Short() bool {
	return StatusIs(p.Side, "short") || p.Qty.Valid && p.Qty.Decimal.IsNegative()
}

// The classes of assets that this service sells.
const (
	Equity = "us_equity"
	Option = "us_option"
	Crypto = "crypto"
)

// Multiplier is how many times its price one unit of a class costs: an option's contract is for a hundred shares. A contract
// that corporate actions have changed may be for another number; the books then don't balance, and a person is asked.
func Multiplier(class string) decimal.Decimal {
	if StatusIs(class, Option) {
		return decimal.NewFromInt(100)
	}
	return decimal.NewFromInt(1)
}

// Asset is the part of GET /v1/assets/{symbol_or_asset_id} that this service uses.
type Asset struct {
	ID       string `json:"id"`
	Symbol   string `json:"symbol"`
	Status   string `json:"status"` // active, inactive: then it is neither bought nor sold
	Tradable bool   `json:"tradable"`
}

// Order is the part of Alpaca's Order that this service uses.
type Order struct {
	ID             string     `json:"id"`
	ClientOrderID  string     `json:"client_order_id"`
	AssetID        string     `json:"asset_id"`
	Symbol         string     `json:"symbol"`
	AssetClass     string     `json:"asset_class"`
	Side           string     `json:"side"`
	Status         string     `json:"status"`
	Qty            Number     `json:"qty"`
	FilledQty      Number     `json:"filled_qty"`
	FilledAvgPrice Number     `json:"filled_avg_price"`
	CreatedAt      *time.Time `json:"created_at"`
	SubmittedAt    *time.Time `json:"submitted_at"`
	UpdatedAt      *time.Time `json:"updated_at"`
	Legs           []Order    `json:"legs"`
}

// named says whether the order and each of its legs has an id: one without would be cancelled at the address of all orders.
func (o Order) named() bool {
	return o.ID != "" && !slices.ContainsFunc(o.Legs, func(leg Order) bool { return !leg.named() })
}

// Live gives what there is to cancel of the order: itself while it is open (its legs go with it), afterwards those legs
// that are still open, as those of a bracket whose entry has filled.
func (o Order) Live() []Order {
	if !o.Ended() {
		return []Order{o}
	}
	var live []Order
	for _, leg := range o.Legs {
		live = append(live, leg.Live()...)
	}
	return live
}

// Ended says whether the order can no longer fill. A status that we don't know counts as open: unknown is in flight.
func (o Order) Ended() bool {
	switch strings.ToLower(o.Status) {
	case "filled", "canceled", "expired", "rejected", "replaced":
		return true
	}
	return false
}

// Transfer is the part of Alpaca's Transfer that this service uses.
type Transfer struct {
	ID             string     `json:"id"`
	AccountID      string     `json:"account_id"`
	RelationshipID string     `json:"relationship_id"`
	BankID         string     `json:"bank_id"`
	Type           string     `json:"type"`
	Status         string     `json:"status"`
	Reason         string     `json:"reason"`
	Amount         Number     `json:"amount"`
	Direction      string     `json:"direction"`
	CreatedAt      time.Time  `json:"created_at"`
	UpdatedAt      *time.Time `json:"updated_at"`
	HoldUntil      *time.Time `json:"hold_until"`
}

// Outgoing says whether the money leaves the account.
func (t Transfer) Outgoing() bool { return StatusIs(t.Direction, "OUTGOING") }

// Fate is what a transfer's status means for the money, over the union of every status that Alpaca's descriptions, SDKs
// and event samples name, in any case.
type Fate int

// The fates of a transfer.
const (
	InFlight Fate = iota // on its way, or a status that nobody told us of
	Complete             // arrived, though RETURNED can still follow
	Failed               // never left, or will not: REJECTED, CANCELED, EXPIRED
	Returned             // left and came back
)

// Fate reads the status. known is false for a status that none of the broker's descriptions has: it counts as in
// flight and deserves an alert.
func (t Transfer) Fate() (f Fate, known bool) {
	switch strings.ToUpper(t.Status) {
	case "COMPLETE", "COMPLETED", "SETTLED", "EXECUTED":
		return Complete, true
	case "REJECTED", "CANCELED", "CANCELLED", "EXPIRED":
		return Failed, true
	case "RETURNED":
		return Returned, true
	case "QUEUED", "APPROVAL_PENDING", "PENDING", "SENT_TO_CLEARING", "APPROVED":
		return InFlight, true
	}
	return InFlight, false
}

// InReview says whether the broker's people have yet to let the transfer go.
func (t Transfer) InReview() bool { return StatusIs(t.Status, "APPROVAL_PENDING") }

// Ended says whether the transfer's fate is one of the three ends.
func (t Transfer) Ended() bool { f, _ := t.Fate(); return f != InFlight }

// Relationship is an ACH relationship. The bank's numbers come back in full from the broker; they are kept out of this
// type but for a fingerprint of sixteen bits, enough to notice a change, too few to find the number again, and the four last
// letters of a long number, by which people tell their banks apart.
type Relationship struct {
	ID          string    `json:"id"`
	AccountID   string    `json:"account_id"`
	Status      string    `json:"status"` // QUEUED, APPROVED, REJECTED, PENDING, CANCEL_REQUESTED
	CreatedAt   time.Time `json:"created_at"`
	Kind        string    `json:"bank_account_type"`
	Fingerprint string    `json:"-"`
	Ends        string    `json:"-"`
}

// Approved says whether money may be sent over it. There is no status ACTIVE.
func (r Relationship) Approved() bool { return StatusIs(r.Status, "APPROVED") }

// Activity is one non-trade activity: dividends, interest, fees, journals and the like.
type Activity struct {
	ID        string     `json:"id"`
	AccountID string     `json:"account_id"`
	Type      string     `json:"activity_type"`
	SubType   string     `json:"activity_sub_type"`
	NetAmount Number     `json:"net_amount"`
	Date      string     `json:"date"`
	CreatedAt *time.Time `json:"created_at"`
	Status    string     `json:"status"` // executed, correct, canceled
	Symbol    string     `json:"symbol"`
}

// ClockState is GET /v1/clock.
type ClockState struct {
	Timestamp time.Time `json:"timestamp"`
	IsOpen    bool      `json:"is_open"`
	NextOpen  time.Time `json:"next_open"`
	NextClose time.Time `json:"next_close"`
}

// CalendarDay is one session of GET /v1/calendar; open and close are New York wall time, "09:30".
type CalendarDay struct {
	Date           string `json:"date"`
	Open           string `json:"open"`
	Close          string `json:"close"`
	SettlementDate string `json:"settlement_date"`
}
