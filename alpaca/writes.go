package alpaca

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/shopspring/decimal"
)

// Write is a request that changes something. It is stored before it is sent, and sent byte for byte as stored, so that
// what the ledger says was asked is what was asked.
type Write struct {
	Method string          `json:"method"`
	Path   string          `json:"path"`
	Body   json.RawMessage `json:"body,omitempty"`
}

// String is for logs: without ids in full and without the body.
func (w Write) String() string { return w.Method + " " + shortPath(w.Path) }

// TransferRequest is the body of a payout, as the ledger reads it back to compare it with listed transfers.
type TransferRequest struct {
	TransferType   string `json:"transfer_type"`
	RelationshipID string `json:"relationship_id"`
	Direction      string `json:"direction"`
	Amount         string `json:"amount"` // two places
}

// OrderRequest is the body of an order. PositionIntent makes the broker refuse an order that would open a position.
type OrderRequest struct {
	Symbol         string `json:"symbol"`
	Qty            string `json:"qty"`
	Side           string `json:"side"`
	Type           string `json:"type"`
	TimeInForce    string `json:"time_in_force"`
	ClientOrderID  string `json:"client_order_id"`
	PositionIntent string `json:"position_intent,omitempty"`
}

// PayOut asks for an ACH transfer to the customer's bank. Anything below a cent is cut off, never rounded up.
func PayOut(account, relationshipID string, amount decimal.Decimal) Write {
	return Write{Method: http.MethodPost, Path: accountPath(account) + "/transfers", Body: encode(TransferRequest{
		TransferType:   "ach",
		RelationshipID: relationshipID,
		Direction:      "OUTGOING",
		Amount:         amount.Truncate(2).StringFixed(2),
	})}
}

// CloseOrder asks to close qty of a position at the market: a long one is sold, a short one bought back. Crypto trades at any
// hour and takes no day orders; it is named by its asset's id, since its symbol is written with a slash here and without one
// there, and it has no intent, since it can't be sold short.
func CloseOrder(account string, p Position, qty decimal.Decimal, clientOrderID string) Write {
	r := OrderRequest{
		Symbol:         p.Symbol,
		Qty:            qty.Abs().String(),
		Side:           "sell",
		Type:           "market",
		TimeInForce:    "day",
		ClientOrderID:  clientOrderID,
		PositionIntent: "sell_to_close",
	}
	switch {
	case StatusIs(p.AssetClass, Crypto):
		r.Symbol, r.TimeInForce, r.PositionIntent = p.AssetID, "gtc", ""
	case p.Short():
		r.Side, r.PositionIntent = "buy", "buy_to_close"
	}
	return Write{Method: http.MethodPost, Path: tradingPath(account) + "/orders", Body: encode(r)}
}

// CancelOrder asks to cancel one order. An accepted request is no cancelled order yet.
func CancelOrder(account, orderID string) Write {
	return Write{Method: http.MethodDelete, Path: tradingPath(account) + "/orders/" + url.PathEscape(orderID)}
}

// CloseAccount asks to close the account. Only reading ACCOUNT_CLOSED proves that it is.
func CloseAccount(account string) Write {
	return Write{Method: http.MethodPost, Path: accountPath(account) + "/actions/close"}
}

func encode(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil { // structs of strings always encode
		panic(fmt.Sprintf("encode %T: %v", v, err))
	}
	return b
}
