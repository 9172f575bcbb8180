package sim

import (
	"slices"
	"strings"
	"time"

	"github.com/shopspring/decimal"
)

// home is the session that a day order belongs to: the one it was placed in, or else the next.
func (s *Sim) home(o *order) (open, closes time.Time) { return s.market.session(o.Submitted) }

// price is what a fill costs.
func (a *account) price(o *order) decimal.Decimal {
	if p := a.position(o.Symbol); p != nil {
		return p.Price
	}
	return o.Price
}

// marketable says whether an order may fill at its price. Stop orders rest: prices here don't move by themselves.
func (a *account) marketable(o *order) bool {
	if o.Parent != "" {
		if parent := a.order(o.Parent); parent.open() {
			return false
		}
	}
	price := a.price(o)
	switch o.Type {
	case "market":
		return true
	case "limit":
		return o.Side == "sell" && !o.Limit.GreaterThan(price) || o.Side == "buy" && !o.Limit.LessThan(price)
	}
	return false
}

// fillsAt is when the order fills; zero if it does not, as things stand.
func (s *Sim) fillsAt(a *account, o *order) time.Time {
	if o.Partial || !a.marketable(o) {
		return time.Time{}
	}
	from := o.Submitted
	if p := a.position(o.Symbol); p != nil {
		if p.Halted && p.ResumesAt.IsZero() {
			return time.Time{}
		}
		if p.ResumesAt.After(from) {
			from = p.ResumesAt
		}
	}
	if o.Class == "crypto" {
		return from.Add(s.o.FillDelay)
	}
	if o.TIF == "day" {
		_, closes := s.home(o)
		if !from.Before(closes) {
			return time.Time{}
		}
	}
	for range 3 {
		open, closes := s.market.session(from)
		if open.After(from) {
			from = open
		}
		if fills := from.Add(s.o.FillDelay); fills.Before(closes) {
			return fills
		}
		if o.TIF == "day" {
			return time.Time{}
		}
		from = closes
	}
	return time.Time{}
}

func (s *Sim) expiresAt(o *order) time.Time {
	if o.TIF != "day" || o.Class == "crypto" {
		return time.Time{}
	}
	_, closes := s.home(o)
	return closes
}

// fill carries an order out, or the part of it that the position's spec wants.
func (v *visit) fill(o *order) {
	a, qty := v.a, o.rest()
	p := a.position(o.Symbol)
	closing := p != nil && (o.Side == "sell") == p.Qty.IsPositive()
	if closes(o) && (!closing || p.Qty.Abs().LessThan(qty)) {
		v.end(o, "rejected", "the position is no longer there")
		return
	}
	if closing && len(p.PartialFills) > 0 {
		fraction := p.PartialFills[0]
		p.PartialFills = p.PartialFills[1:]
		places := int32(9)
		if o.Qty.IsInteger() {
			places = 0
		}
		qty = qty.Mul(fraction).Truncate(places)
		o.Partial = true
		if !qty.IsPositive() {
			o.Updated = v.at
			return
		}
	}
	price := a.price(o)
	gross := qty.Mul(price).Mul(multiplier(o.Class)).Round(2)
	signed := gross
	if o.Side == "buy" {
		signed = gross.Neg()
	}
	o.FilledCash = o.FilledCash.Add(gross)
	total := o.AvgPrice.Mul(o.Filled).Add(price.Mul(qty))
	o.Filled = o.Filled.Add(qty)
	o.AvgPrice = total.DivRound(o.Filled, 9)
	o.Status, o.Updated = "filled", v.at
	if o.rest().IsPositive() {
		o.Status = "partially_filled"
	} else {
		o.Ended = v.at
	}
	v.move(signed, Entry{Kind: "fill", Key: o.ClientID, Symbol: o.Symbol, Qty: qty.String(), Note: o.Side})
	v.note(activity{Type: "FILL", Symbol: o.Symbol, Order: o.ID, Side: o.Side, Qty: qty, Price: price})
	fee := decimal.Zero
	if p != nil && p.Fee.IsPositive() {
		fee = p.Fee
		v.move(fee.Neg(), Entry{Kind: "fee", Key: o.ClientID, Symbol: o.Symbol})
		v.note(activity{Type: "FEE", Sub: "REG", Symbol: o.Symbol, Net: fee.Neg()})
	}
	if o.Side == "sell" && o.Class != "crypto" {
		until := at(v.s.market.settlement(dateOf(v.at)), 2, 30)
		a.Holds = append(a.Holds, hold{Amount: signed.Sub(fee), Until: until, Order: o.ID})
	}
	v.trade(o, qty, price)
	v.trigger(AfterFirstFill)
	if o.Status == "filled" {
		v.siblings(o)
	}
	if len(a.Positions) == 0 {
		v.trigger(AfterLastPosition)
	}
}

// trade moves the position.
func (v *visit) trade(o *order, qty, price decimal.Decimal) {
	a := v.a
	if o.Side == "sell" {
		qty = qty.Neg()
	}
	p := a.position(o.Symbol)
	if p == nil {
		a.Positions = append(a.Positions, position{Symbol: o.Symbol, Class: o.Class, Qty: qty, Price: price, Entry: price})
		return
	}
	p.Qty = p.Qty.Add(qty)
	if p.Qty.IsZero() {
		a.Positions = slices.DeleteFunc(a.Positions, func(q position) bool { return q.Symbol == o.Symbol })
	}
}

// siblings ends the other exit when one exit of a bracket has filled.
func (v *visit) siblings(o *order) {
	for i := range v.a.Orders {
		q := &v.a.Orders[i]
		if q.open() && q.ID != o.ID && (o.Parent != "" && (q.Parent == o.Parent || q.ID == o.Parent) || q.Parent == o.ID && q.Side == o.Side) {
			v.end(q, "canceled", "the other exit filled")
		}
	}
}

// cancel ends an order whose cancel was accepted, and with it those that hang together with it.
func (v *visit) cancel(o *order) {
	root := o.ID
	if o.Parent != "" {
		root = o.Parent
	}
	v.end(o, "canceled", "")
	for i := range v.a.Orders {
		if q := &v.a.Orders[i]; q.open() && q.Parent == root {
			v.end(q, "canceled", "")
		}
	}
}

func (v *visit) expire(o *order) {
	v.end(o, "expired", "")
	for i := range v.a.Orders {
		if q := &v.a.Orders[i]; q.open() && q.Parent == o.ID {
			v.end(q, "expired", "")
		}
	}
}

func (v *visit) end(o *order, status, why string) {
	o.Status, o.Updated, o.Ended = status, v.at, v.at
	v.book(Entry{Kind: "order_" + status, Key: o.ClientID, Symbol: o.Symbol, Qty: o.rest().String(), Note: why})
}

// closes says whether the order may only reduce a position.
func closes(o *order) bool { return strings.HasSuffix(o.Intent, "_to_close") }

// orderBody is the part of a CreateOrderRequest that the simulator knows.
type orderBody struct {
	Symbol         string `json:"symbol"`
	Qty            text   `json:"qty"`
	Notional       text   `json:"notional"`
	Side           string `json:"side"`
	Type           string `json:"type"`
	TimeInForce    string `json:"time_in_force"`
	LimitPrice     text   `json:"limit_price"`
	StopPrice      text   `json:"stop_price"`
	ClientOrderID  string `json:"client_order_id"`
	OrderClass     string `json:"order_class"`
	PositionIntent string `json:"position_intent"`
}

// place checks an order as the broker would and takes it on.
func (v *visit) place(b orderBody) (*order, error) {
	a := v.a
	qty, err := b.check()
	if err != nil {
		return nil, err
	}
	switch {
	case strings.EqualFold(a.Status, "ACCOUNT_CLOSED"):
		return nil, forbidden("account is closed")
	case a.AccountBlocked || a.TradingBlocked:
		return nil, forbidden("trading is blocked for this account")
	case a.TradeSuspended:
		return nil, forbidden("new orders are rejected by user request")
	case !slices.Contains([]string{"ACTIVE", "ACCOUNT_UPDATED"}, a.Status):
		return nil, forbidden("account is not active: %s", a.Status)
	case a.Rebalancing:
		return nil, forbidden("account is subscribed to a portfolio: manual trading is not allowed")
	}
	if b.ClientOrderID != "" && slices.ContainsFunc(a.Orders, func(o order) bool { return o.ClientID == b.ClientOrderID }) {
		return nil, &refusal{status: 422, code: 40010001, message: "client_order_id must be unique"}
	}
	var price decimal.Decimal
	var o order
	p := a.position(b.Symbol)
	switch known, ok := v.s.asset(b.Symbol); {
	case p != nil:
		o.Symbol, o.Class, price = p.Symbol, p.Class, p.Price
	case ok:
		o.Symbol, o.Class, price = known.Symbol, known.Class, known.Price
	default:
		return nil, invalid("asset %q not found", b.Symbol)
	}
	closing := p != nil && (b.Side == "sell") == p.Qty.IsPositive()
	if err := b.fits(o.Class, qty); err != nil {
		return nil, err
	}
	switch {
	case p != nil && p.Inactive:
		return nil, invalid("asset %s is not active", p.Symbol)
	case p != nil && p.Untradable && !closing:
		return nil, invalid("asset %s is not tradable", p.Symbol)
	case b.Side == "sell" || closing || strings.HasSuffix(b.PositionIntent, "_to_close"):
		if err := a.enough(p, closing, b.Symbol, qty); err != nil {
			return nil, err
		}
	case a.Cash.LessThan(qty.Mul(price).Mul(multiplier(o.Class))):
		return nil, forbidden("insufficient buying power")
	}
	o.ID = a.newID("order")
	o.ClientID = b.ClientOrderID
	if o.ClientID == "" {
		o.ClientID = a.newID("client order")
	}
	o.Side, o.Type, o.TIF, o.Intent = b.Side, b.Type, b.TimeInForce, b.PositionIntent
	o.Qty, o.Limit, o.Stop, o.Price = qty, b.LimitPrice.decimal(), b.StopPrice.decimal(), price
	o.Status, o.Submitted, o.Updated, o.VisibleAt = "accepted", v.at, v.at, v.visible()
	a.Orders = append(a.Orders, o)
	v.book(Entry{Kind: "order", Actor: "api", Key: o.ClientID, Amount: qty.Mul(price).Mul(multiplier(o.Class)).StringFixed(2), Symbol: o.Symbol, Qty: qty.String(), Note: o.Side})
	v.trigger(AfterFirstWrite)
	v.trigger(AfterFirstOrder)
	return &a.Orders[len(a.Orders)-1], nil
}

// enough refuses to sell what is not there, or is held by other orders.
func (a *account) enough(p *position, closing bool, symbol string, qty decimal.Decimal) error {
	have, free := decimal.Zero, decimal.Zero
	if closing {
		have, free = p.Qty.Abs(), a.available(p)
		symbol = p.Symbol
	}
	if qty.GreaterThan(free) {
		r := forbidden("insufficient qty available for order (requested: %s, available: %s)", qty, free)
		r.extra = map[string]any{"symbol": symbol, "existing_qty": have.String(), "held_for_orders": have.Sub(free).String(), "available": free.String()}
		return r
	}
	return nil
}

func (b *orderBody) check() (decimal.Decimal, error) {
	b.Side, b.Type, b.TimeInForce = strings.ToLower(b.Side), strings.ToLower(b.Type), strings.ToLower(b.TimeInForce)
	qty, err := decimal.NewFromString(string(b.Qty))
	switch {
	case b.Symbol == "":
		return qty, invalid("symbol is required")
	case b.Side != "buy" && b.Side != "sell":
		return qty, invalid("side must be buy or sell")
	case !slices.Contains([]string{"market", "limit", "stop", "stop_limit"}, b.Type):
		return qty, invalid("invalid order type")
	case !slices.Contains([]string{"day", "gtc", "ioc"}, b.TimeInForce):
		return qty, invalid("invalid time_in_force")
	case b.Notional != "":
		return qty, invalid("the simulator takes qty, not notional")
	case b.OrderClass != "" && b.OrderClass != "simple":
		return qty, invalid("the simulator takes only simple orders")
	case err != nil || !qty.IsPositive():
		return qty, invalid("qty must be greater than 0")
	case !qty.Equal(qty.Truncate(9)):
		return qty, invalid("qty must have no more than 9 decimal places")
	case len(b.ClientOrderID) > 128:
		return qty, invalid("client_order_id must have no more than 128 characters")
	case strings.HasSuffix(b.Type, "limit") && !b.LimitPrice.decimal().IsPositive():
		return qty, invalid("limit orders require a limit price")
	case b.PositionIntent != "" && !strings.HasPrefix(b.PositionIntent, b.Side+"_to_"):
		return qty, invalid("position_intent does not fit the side")
	}
	return qty, nil
}

// fits holds the rules that differ between kinds of assets.
func (b *orderBody) fits(class string, qty decimal.Decimal) error {
	switch {
	case class == "crypto" && b.TimeInForce == "day":
		return invalid("invalid crypto time_in_force")
	case class != "crypto" && b.TimeInForce == "ioc":
		return invalid("the simulator takes ioc for crypto only")
	case class == "us_option" && b.TimeInForce != "day":
		return invalid("options take day orders only")
	case class == "us_option" && !qty.IsInteger():
		return invalid("options cannot be traded in fractions")
	case class == "us_equity" && !qty.IsInteger() && b.TimeInForce != "day":
		return invalid("fractional orders must be DAY orders")
	}
	return nil
}

// askCancel takes a cancel on. The order is gone a little later, unless it fills before.
func (v *visit) askCancel(id string) error {
	o := v.a.order(id)
	switch {
	case o == nil:
		return notFound("order")
	case !o.open():
		return invalid("order is not cancelable: it is %s", o.Status)
	case !o.CancelAt.IsZero():
		return invalid("order is not cancelable: its cancel is pending")
	}
	o.Status, o.Updated = "pending_cancel", v.at
	o.CancelAsked, o.CancelAt = v.at, v.at.Add(v.s.o.CancelDelay)
	v.book(Entry{Kind: "cancel", Actor: "api", Key: o.ID, Symbol: o.Symbol, Qty: o.rest().String()})
	v.trigger(AfterFirstWrite)
	return nil
}
