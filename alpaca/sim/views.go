package sim

import (
	"slices"
	"strings"
	"time"

	"github.com/shopspring/decimal"
)

// stamp writes a time as the broker does; the zero time is null.
type stamp struct{ time.Time }

func (t stamp) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	return []byte(`"` + t.UTC().Format(time.RFC3339Nano) + `"`), nil
}

// maybe writes a decimal, or null where it is zero.
type maybe struct{ decimal.Decimal }

func (m maybe) MarshalJSON() ([]byte, error) {
	if m.IsZero() {
		return []byte("null"), nil
	}
	return []byte(`"` + m.String() + `"`), nil
}

func (s *Sim) accountView(a *account) map[string]any {
	long, short := a.marketValues()
	view := map[string]any{
		"id": a.ID, "account_number": a.Number, "status": a.Status, "crypto_status": "INACTIVE", "currency": "USD",
		"last_equity": a.Cash.Add(long).Add(short).StringFixed(2), "created_at": stamp{a.CreatedAt},
		"account_type": a.AccountType, "account_name": a.GivenName + " " + a.FamilyName, "enabled_assets": []string{"us_equity"},
		"contact": map[string]any{
			"email_address": a.Email, "phone_number": "+15555555555", "street_address": []string{"20 N San Mateo Dr"},
			"city": "San Mateo", "state": "CA", "postal_code": "94401", "country": "USA",
		},
		"identity": map[string]any{
			"given_name": a.GivenName, "family_name": a.FamilyName, "date_of_birth": "1970-01-01", "tax_id_type": "USA_SSN",
			"country_of_citizenship": "USA", "country_of_birth": "USA", "country_of_tax_residence": "USA",
			"funding_source": []string{"employment_income"},
		},
		"allow_instant_ach": false, "instant_ach_blocked": false,
	}
	if a.SubType != "" {
		view["account_sub_type"] = a.SubType
	}
	if a.Interest != "" {
		view["cash_interest"] = map[string]any{"USD": map[string]any{"status": a.Interest, "apr_tier_name": "standard"}}
	}
	return view
}

func (s *Sim) tradingView(a *account, now time.Time) map[string]any {
	long, short := a.marketValues()
	value := long.Add(short)
	equity := a.Cash.Add(value)
	power := decimal.Max(decimal.Zero, a.Cash).String()
	unsettled := a.unsettled(now)
	admin := map[string]any{"allow_instant_ach": false, "outgoing_transfers_blocked": a.OutgoingBlocked, "incoming_transfers_blocked": false}
	if a.DailyLimit.IsPositive() {
		admin["acct_daily_transfer_limit"] = a.DailyLimit.String()
	}
	open, closes := s.market.session(now.AddDate(0, 0, -5))
	for o, c := s.market.session(closes); !c.After(now); o, c = s.market.session(closes) {
		open, closes = o, c
	}
	return map[string]any{
		"id": a.ID, "account_number": a.Number, "status": a.Status, "crypto_status": "INACTIVE", "currency": "USD",
		"admin_configurations": admin, "user_configurations": nil,
		"cash": a.Cash.String(), "cash_withdrawable": a.withdrawable(now).String(),
		"cash_transferable":   decimal.Max(decimal.Zero, a.Cash.Sub(unsettled)).String(),
		"pending_transfer_in": a.pending("INCOMING").String(), "pending_transfer_out": a.pending("OUTGOING").String(),
		"accrued_fees": a.AccruedFees.String(), "pending_reg_taf_fees": a.SaleFees.String(),
		"buying_power": power, "regt_buying_power": power, "effective_buying_power": power, "non_marginable_buying_power": power,
		"options_buying_power": power, "multiplier": "1", "shorting_enabled": false, "sma": "0", "memoposts": "0", "intraday_adjustments": "0",
		"portfolio_value": equity.String(), "equity": equity.String(), "last_equity": equity.String(),
		"long_market_value": long.String(), "short_market_value": short.String(), "position_market_value": long.Add(short.Abs()).String(),
		"initial_margin": "0", "maintenance_margin": "0", "last_maintenance_margin": "0", "last_initial_margin": "0",
		"trading_blocked": a.TradingBlocked, "transfers_blocked": a.TransfersBlocked, "account_blocked": a.AccountBlocked,
		"trade_suspended_by_user": a.TradeSuspended, "created_at": stamp{a.CreatedAt}, "clearing_broker": "ALPACA_APCA",
		"balance_asof": open.Format(time.DateOnly), "previous_close": closes.Format(time.RFC3339),
		"options_approved_level": 0, "options_trading_level": 0,
	}
}

func (a *account) positionViews() []map[string]any {
	views := []map[string]any{}
	for i := range a.Positions {
		views = append(views, a.positionView(&a.Positions[i]))
	}
	return views
}

func (a *account) positionView(p *position) map[string]any {
	side := "long"
	if p.Qty.IsNegative() {
		side = "short"
	}
	value, cost := p.worth(), p.Qty.Mul(p.Entry).Mul(multiplier(p.Class))
	gain, part := value.Sub(cost), decimal.Zero
	if !cost.IsZero() {
		part = gain.DivRound(cost.Abs(), 6)
	}
	return map[string]any{
		"asset_id": assetID(p.Symbol), "symbol": p.Symbol, "exchange": exchange(p.Class), "asset_class": p.Class, "asset_marginable": false,
		"qty": p.Qty.String(), "qty_available": a.availableView(p), "side": side,
		"avg_entry_price": p.Entry.String(), "cost_basis": cost.String(), "market_value": value.String(), "current_price": p.Price.String(),
		"lastday_price": p.Price.String(), "change_today": "0", "unrealized_pl": gain.String(), "unrealized_plpc": part.String(),
		"unrealized_intraday_pl": "0", "unrealized_intraday_plpc": "0",
	}
}

func (a *account) availableView(p *position) string {
	if p.Qty.IsNegative() {
		return a.available(p).Neg().String()
	}
	return a.available(p).String()
}

func exchange(class string) string {
	switch class {
	case "crypto":
		return "CRYPTO"
	case "us_option":
		return "OPRA"
	}
	return "NASDAQ"
}

type orderView struct {
	ID             string      `json:"id"`
	ClientOrderID  string      `json:"client_order_id"`
	CreatedAt      stamp       `json:"created_at"`
	UpdatedAt      stamp       `json:"updated_at"`
	SubmittedAt    stamp       `json:"submitted_at"`
	FilledAt       stamp       `json:"filled_at"`
	ExpiredAt      stamp       `json:"expired_at"`
	CanceledAt     stamp       `json:"canceled_at"`
	FailedAt       stamp       `json:"failed_at"`
	ReplacedAt     stamp       `json:"replaced_at"`
	CancelAskedAt  stamp       `json:"cancel_requested_at"`
	ReplacedBy     *string     `json:"replaced_by"`
	Replaces       *string     `json:"replaces"`
	AssetID        string      `json:"asset_id"`
	Symbol         string      `json:"symbol"`
	AssetClass     string      `json:"asset_class"`
	Notional       *string     `json:"notional"`
	Qty            string      `json:"qty"`
	FilledQty      string      `json:"filled_qty"`
	FilledAvgPrice maybe       `json:"filled_avg_price"`
	OrderClass     string      `json:"order_class"`
	OrderType      string      `json:"order_type"`
	Type           string      `json:"type"`
	Side           string      `json:"side"`
	TimeInForce    string      `json:"time_in_force"`
	LimitPrice     maybe       `json:"limit_price"`
	StopPrice      maybe       `json:"stop_price"`
	Status         string      `json:"status"`
	ExtendedHours  bool        `json:"extended_hours"`
	PositionIntent string      `json:"position_intent,omitempty"`
	TrailPercent   *string     `json:"trail_percent"`
	TrailPrice     *string     `json:"trail_price"`
	HWM            *string     `json:"hwm"`
	Legs           []orderView `json:"legs,omitempty"` // absent, not null: a leg may have none at all
}

func (s *Sim) orderView(a *account, o *order, now time.Time, nested bool) orderView {
	v := orderView{
		ID: o.ID, ClientOrderID: o.ClientID, CreatedAt: stamp{o.Submitted}, UpdatedAt: stamp{o.Updated}, SubmittedAt: stamp{o.Submitted},
		CancelAskedAt: stamp{o.CancelAsked}, AssetID: assetID(o.Symbol), Symbol: o.Symbol, AssetClass: o.Class,
		Qty: o.Qty.String(), FilledQty: o.Filled.String(), FilledAvgPrice: maybe{o.AvgPrice}, OrderClass: o.OrderClass,
		OrderType: o.Type, Type: o.Type, Side: o.Side, TimeInForce: o.TIF, LimitPrice: maybe{o.Limit}, StopPrice: maybe{o.Stop},
		Status: o.Status, PositionIntent: o.Intent,
	}
	if o.Status == "accepted" && o.Parent == "" && !o.Submitted.After(now) {
		if open, _ := s.home(o); !open.After(now) || o.Class == "crypto" {
			v.Status = "new"
		}
	}
	switch o.Status {
	case "filled":
		v.FilledAt = stamp{o.Ended}
	case "canceled":
		v.CanceledAt = stamp{o.Ended}
	case "expired":
		v.ExpiredAt = stamp{o.Ended}
	case "rejected":
		v.FailedAt = stamp{o.Ended}
	}
	if nested && o.Parent == "" {
		for i := range a.Orders {
			if leg := &a.Orders[i]; leg.Parent == o.ID {
				v.Legs = append(v.Legs, s.orderView(a, leg, now, false))
			}
		}
	}
	return v
}

type transferView struct {
	ID             string  `json:"id"`
	RelationshipID string  `json:"relationship_id,omitempty"`
	AccountID      string  `json:"account_id"`
	Type           string  `json:"type"`
	Status         string  `json:"status"`
	Reason         *string `json:"reason"`
	Amount         string  `json:"amount"`
	Direction      string  `json:"direction"`
	CreatedAt      stamp   `json:"created_at"`
	UpdatedAt      stamp   `json:"updated_at"`
	ExpiresAt      stamp   `json:"expires_at"`
	HoldUntil      *stamp  `json:"hold_until,omitempty"`
	Additional     *string `json:"additional_information"`
	InstantAmount  string  `json:"instant_amount"`
	Currency       string  `json:"currency"`
}

func (a *account) transferView(t *transfer) transferView {
	v := transferView{
		ID: t.ID, RelationshipID: t.Relationship, AccountID: a.ID, Type: "ach", Status: t.Status, Amount: t.Amount.String(),
		Direction: t.Direction, CreatedAt: stamp{t.Created}, UpdatedAt: stamp{t.Updated}, ExpiresAt: stamp{t.Created.AddDate(0, 0, 7)},
		InstantAmount: "0", Currency: "USD",
	}
	if t.Reason != "" {
		v.Reason = &t.Reason
	}
	if !t.HoldUntil.IsZero() {
		v.HoldUntil = &stamp{t.HoldUntil}
	}
	return v
}

type bankView struct {
	ID        string `json:"id"`
	AccountID string `json:"account_id"`
	CreatedAt stamp  `json:"created_at"`
	UpdatedAt stamp  `json:"updated_at"`
	Status    string `json:"status"`
	Owner     string `json:"account_owner_name"`
	Kind      string `json:"bank_account_type"`
	Number    string `json:"bank_account_number"`
	Routing   string `json:"bank_routing_number"`
	Nickname  string `json:"nickname,omitempty"`
}

func (a *account) bankView(r *relationship) bankView {
	return bankView{r.ID, a.ID, stamp{r.Created}, stamp{r.Updated}, r.Status, r.Owner, r.Kind, r.Number, r.Routing, r.Nickname}
}

func (a *account) bankViews(statuses string) []bankView {
	want := strings.FieldsFunc(strings.ToUpper(statuses), func(r rune) bool { return r == ',' })
	views := []bankView{}
	for i := range a.Relationships {
		if r := &a.Relationships[i]; !r.Deleted && (len(want) == 0 || slices.Contains(want, r.Status)) {
			views = append(views, a.bankView(r))
		}
	}
	return views
}

type activityView struct {
	ID          string `json:"id"`
	AccountID   string `json:"account_id"`
	Type        string `json:"activity_type"`
	Sub         string `json:"activity_sub_type,omitempty"`
	Date        string `json:"date,omitempty"`
	CreatedAt   *stamp `json:"created_at,omitempty"`
	NetAmount   string `json:"net_amount,omitempty"`
	Currency    string `json:"currency,omitempty"`
	Description string `json:"description,omitempty"`
	Status      string `json:"status,omitempty"`
	Symbol      string `json:"symbol,omitempty"`

	OrderID         string `json:"order_id,omitempty"`
	Side            string `json:"side,omitempty"`
	Qty             string `json:"qty,omitempty"`
	Price           string `json:"price,omitempty"`
	TransactionTime *stamp `json:"transaction_time,omitempty"`
	FillType        string `json:"type,omitempty"`
}

func (a *account) activityView(n *activity) activityView {
	v := activityView{ID: n.ID, AccountID: a.ID, Type: n.Type, Symbol: n.Symbol}
	booked := &stamp{n.At}
	if n.Type == "FILL" {
		v.OrderID, v.Side, v.Qty, v.Price, v.TransactionTime, v.FillType = n.Order, n.Side, n.Qty.String(), n.Price.String(), booked, "fill"
		return v
	}
	v.Sub, v.Date, v.CreatedAt, v.NetAmount, v.Currency = n.Sub, dateOf(n.At), booked, n.Net.String(), "USD"
	v.Description, v.Status = n.Description, n.Status
	return v
}
