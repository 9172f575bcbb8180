package sim

import (
	"time"

	"github.com/shopspring/decimal"
)

// Truth is all that there is to know of an account, what the broker hides or shows late included.
type Truth struct {
	ID                 string          `json:"id"`
	Status             string          `json:"status"`
	AccountType        string          `json:"account_type"`
	Email              string          `json:"email"`
	Now                time.Time       `json:"now"`
	Cash               decimal.Decimal `json:"cash"`
	CashWithdrawable   decimal.Decimal `json:"cash_withdrawable"`
	PendingTransferIn  decimal.Decimal `json:"pending_transfer_in"`
	PendingTransferOut decimal.Decimal `json:"pending_transfer_out"`
	// Booked is the cash once every withdrawal that the balances do not show yet is taken out.
	Booked           decimal.Decimal     `json:"booked"`
	Positions        []TruthPosition     `json:"positions"`
	Orders           []TruthOrder        `json:"orders"`
	Transfers        []TruthTransfer     `json:"transfers"`
	ACHRelationships []TruthRelationship `json:"ach_relationships"`
	Activities       []TruthActivity     `json:"activities"`
	TradingBlocked   bool                `json:"trading_blocked"`
	TransfersBlocked bool                `json:"transfers_blocked"`
	AccountBlocked   bool                `json:"account_blocked"`
	Rebalancing      bool                `json:"rebalancing"`
	Events           []Event             `json:"events"` // still to come, or waiting for their trigger
}

// TruthPosition is something the account holds.
type TruthPosition struct {
	Symbol     string          `json:"symbol"`
	AssetID    string          `json:"asset_id"`
	AssetClass string          `json:"asset_class"`
	Qty        decimal.Decimal `json:"qty"`
	Available  decimal.Decimal `json:"qty_available"`
	Price      decimal.Decimal `json:"price"`
	Halted     bool            `json:"halted"`
	Tradable   bool            `json:"tradable"`
}

// TruthOrder is an order of any status, legs as rows of their own.
type TruthOrder struct {
	ID            string          `json:"id"`
	ClientOrderID string          `json:"client_order_id"`
	Parent        string          `json:"parent,omitempty"`
	Symbol        string          `json:"symbol"`
	Side          string          `json:"side"`
	Type          string          `json:"type"`
	Status        string          `json:"status"`
	Qty           decimal.Decimal `json:"qty"`
	FilledQty     decimal.Decimal `json:"filled_qty"`
	SubmittedAt   time.Time       `json:"submitted_at"`
}

// TruthTransfer is a transfer of any status and origin.
type TruthTransfer struct {
	ID             string          `json:"id"`
	RelationshipID string          `json:"relationship_id"`
	Direction      string          `json:"direction"`
	Status         string          `json:"status"`
	Reason         string          `json:"reason,omitempty"`
	Amount         decimal.Decimal `json:"amount"`
	CreatedAt      time.Time       `json:"created_at"`
	UpdatedAt      time.Time       `json:"updated_at"`
	Day            string          `json:"day"`   // the banking day whose limit it uses
	Moved          bool            `json:"moved"` // the cash shows it
	Actor          string          `json:"actor"` // api or sim
}

// TruthRelationship is an ACH relationship, deleted ones included.
type TruthRelationship struct {
	ID      string `json:"id"`
	Status  string `json:"status"`
	Owner   string `json:"account_owner_name"`
	Deleted bool   `json:"deleted,omitempty"`
}

// TruthActivity is a line of the customer's statement.
type TruthActivity struct {
	ID     string          `json:"id"`
	Type   string          `json:"activity_type"`
	Symbol string          `json:"symbol,omitempty"`
	Net    decimal.Decimal `json:"net_amount"`
	At     time.Time       `json:"at"`
}

// Truth brings the account up to date and tells everything about it.
func (s *Sim) Truth(id string) (Truth, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, now, err := s.look(id)
	if err != nil {
		return Truth{}, err
	}
	t := Truth{
		ID: a.ID, Status: a.Status, AccountType: a.AccountType, Email: a.Email, Now: now, Cash: a.Cash, CashWithdrawable: a.withdrawable(now),
		PendingTransferIn: a.pending("INCOMING"), PendingTransferOut: a.pending("OUTGOING"), Booked: a.Cash,
		TradingBlocked: a.TradingBlocked, TransfersBlocked: a.TransfersBlocked || a.OutgoingBlocked, AccountBlocked: a.AccountBlocked,
		Rebalancing: a.Rebalancing, Events: append(append([]Event{}, a.Events...), a.Waiting...),
		Positions: []TruthPosition{}, Orders: []TruthOrder{}, Transfers: []TruthTransfer{}, ACHRelationships: []TruthRelationship{}, Activities: []TruthActivity{},
	}
	for i := range a.Positions {
		p := &a.Positions[i]
		t.Positions = append(t.Positions, TruthPosition{
			p.Symbol, assetID(p.Symbol), p.Class, p.Qty, a.available(p), p.Price,
			p.Halted && (p.ResumesAt.IsZero() || p.ResumesAt.After(now)), !p.Untradable && !p.Inactive,
		})
	}
	for _, o := range a.Orders {
		t.Orders = append(t.Orders, TruthOrder{o.ID, o.ClientID, o.Parent, o.Symbol, o.Side, o.Type, o.Status, o.Qty, o.Filled, o.Submitted})
	}
	for _, f := range a.Transfers {
		t.Transfers = append(t.Transfers, TruthTransfer{
			f.ID, f.Relationship, f.Direction, f.Status, f.Reason, f.Amount, f.Created, f.Updated, f.Day, f.Moved, f.Actor,
		})
		if f.Direction == "OUTGOING" && !f.Moved && (!f.ended() || f.Status == "COMPLETE") {
			t.Booked = t.Booked.Sub(f.Amount)
		}
	}
	for _, r := range a.Relationships {
		t.ACHRelationships = append(t.ACHRelationships, TruthRelationship{r.ID, r.Status, r.Owner, r.Deleted})
	}
	for _, n := range a.Activities {
		t.Activities = append(t.Activities, TruthActivity{n.ID, n.Type, n.Symbol, n.Net, n.At})
	}
	return t, nil
}
