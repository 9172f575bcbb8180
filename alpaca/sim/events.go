package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shopspring/decimal"
)

// happenings are the event types, each with what it does. Event.happen and the checks of POST share this list.
var happenings = map[string]func(*visit, Event) error{
	"dividend":            func(v *visit, e Event) error { return v.income("DIV", e, e.Amount) },
	"interest":            func(v *visit, e Event) error { return v.income("INT", e, e.Amount) },
	"fee":                 func(v *visit, e Event) error { return v.income("FEE", e, e.Amount.Abs().Neg()) },
	"journal":             func(v *visit, e Event) error { return v.income("JNLC", e, e.Amount) },
	"deposit":             (*visit).deposit,
	"withdrawal":          (*visit).withdrawal,
	"wire":                func(v *visit, e Event) error { return v.income("CSW", e, e.Amount.Abs().Neg()) }, // in no list of transfers
	"ach_return":          func(v *visit, e Event) error { return v.undone(e, "RETURNED") },
	"ach_reject":          func(v *visit, e Event) error { return v.undone(e, "REJECTED") },
	"transfer_status":     (*visit).transferStatus,
	"trade_bust":          (*visit).bust,
	"position":            (*visit).arrive,
	"order":               (*visit).agentOrder,
	"price":               func(v *visit, e Event) error { return v.onPosition(e, func(p *position) { p.Price = e.Price }) },
	"halt":                (*visit).halt,
	"resume":              (*visit).resume,
	"inactive":            func(v *visit, e Event) error { return v.onPosition(e, func(p *position) { p.Inactive = true }) },
	"worthless":           (*visit).worthless,
	"block":               func(v *visit, e Event) error { return v.block(e, true) },
	"unblock":             func(v *visit, e Event) error { return v.block(e, false) },
	"status":              (*visit).status,
	"relationship_delete": (*visit).relationshipDelete,
	"relationship_create": (*visit).relationshipCreate,
	"relationship_status": (*visit).relationshipStatus,
	"rebalancing":         func(v *visit, e Event) error { v.a.Rebalancing = e.Status != "off"; return nil },
	"close":               (*visit).closedByOthers,
	"acats":               (*visit).acats,
	"book_fees":           (*visit).bookFees,
	"release":             (*visit).release,
	"unlock": func(v *visit, e Event) error {
		return v.onPosition(e, func(p *position) { p.Locked = decimal.Zero })
	},
}

// check says what is wrong with an event before it is taken on.
func (e Event) check() error {
	if happenings[e.Type] == nil {
		known := make([]string, 0, len(happenings))
		for name := range happenings {
			known = append(known, name)
		}
		slices.Sort(known)
		return invalid("unknown event %q; known are %s", e.Type, strings.Join(known, ", "))
	}
	if e.When != "" && !slices.Contains(triggers, e.When) {
		return invalid("unknown trigger %q; known are %s", e.When, strings.Join(triggers, ", "))
	}
	if e.When != "" && !e.At.IsZero() {
		return invalid("an event comes at a time or after a trigger, not both")
	}
	return nil
}

// schedule takes an event on, for now, for later, or for after its trigger.
func (v *visit) schedule(e Event) error {
	if err := e.check(); err != nil {
		return err
	}
	switch {
	case e.When != "" && !slices.Contains(v.a.Seen, e.When):
		v.a.Waiting = append(v.a.Waiting, e)
		return nil
	case e.At.IsZero():
		e.At = v.at.Add(time.Duration(e.After))
	}
	if e.At.After(v.at) {
		e.At, e.When = e.At.UTC(), ""
		v.a.Events = append(v.a.Events, e)
		return nil
	}
	return v.happen(e)
}

func (v *visit) happen(e Event) error { return happenings[e.Type](v, e) }

// later undoes something after a while.
func (v *visit) later(d Duration, e Event) {
	if d > 0 {
		e.At = v.at.Add(time.Duration(d))
		v.a.Events = append(v.a.Events, e)
	}
}

func (v *visit) income(kind string, e Event, amount decimal.Decimal) error {
	if amount.IsZero() {
		return invalid("%s needs an amount", e.Type)
	}
	v.move(amount, Entry{Kind: e.Type, Symbol: e.Symbol, Note: e.Reason})
	v.note(activity{Type: kind, Symbol: e.Symbol, Net: amount, Description: e.Reason})
	return nil
}

// bank is the relationship that an event means: the one it names, or the first.
func (v *visit) bank(id string) *relationship {
	for i := range v.a.Relationships {
		if r := &v.a.Relationships[i]; !r.Deleted && (id == "" || r.ID == id) {
			return r
		}
	}
	return nil
}

func (v *visit) deposit(e Event) error {
	if !e.Amount.IsPositive() {
		return invalid("a deposit needs an amount")
	}
	var from string
	if r := v.bank(e.Relationship); r != nil {
		from = r.ID
	}
	t := v.transfer(from, "INCOMING", e.Amount, "sim")
	if e.For > 0 {
		t.HoldUntil = v.at.Add(time.Duration(e.For))
	}
	if strings.EqualFold(e.Status, "COMPLETE") {
		t.Steps = []step{{v.at, "COMPLETE"}}
		v.step(t)
	}
	return nil
}

func (v *visit) withdrawal(e Event) error {
	if !e.Amount.IsPositive() {
		return invalid("a withdrawal needs an amount")
	}
	var to string
	if r := v.bank(e.Relationship); r != nil {
		to = r.ID
	}
	t := v.transfer(to, "OUTGOING", e.Amount, "sim")
	entry := Entry{Kind: "withdrawal", Amount: e.Amount.StringFixed(2), Key: t.ID, Day: t.Day}
	if v.mode() != AtCreation {
		v.book(entry)
		return nil
	}
	t.Moved = true
	v.move(e.Amount.Neg(), entry)
	return nil
}

// meant finds the transfer that an event names, or the latest payout that is not undone.
func (v *visit) meant(e Event) (*transfer, error) {
	for i := len(v.a.Transfers) - 1; i >= 0; i-- {
		t := &v.a.Transfers[i]
		if e.Transfer == t.ID || e.Transfer == "" && t.Direction == "OUTGOING" && (t.Status == "COMPLETE" || !t.ended()) {
			return t, nil
		}
	}
	return nil, notFound("transfer")
}

func (v *visit) undone(e Event, status string) error {
	t, err := v.meant(e)
	if err != nil {
		return err
	}
	if t.ended() && t.Status != "COMPLETE" || status == "REJECTED" && t.ended() {
		return invalid("the transfer is %s already", t.Status)
	}
	if e.Reason == "" {
		e.Reason = map[string]string{"RETURNED": "R02 account closed", "REJECTED": "rejected by the bank"}[status]
	}
	v.undo(t, status, e.Reason)
	return nil
}

// transferStatus sets any status. APPROVAL_PENDING and what Alpaca doesn't have stay until the next such event;
// QUEUED and PENDING set out anew.
func (v *visit) transferStatus(e Event) error {
	t, err := v.meant(e)
	if err != nil {
		return err
	}
	from := t.Status
	switch strings.ToUpper(e.Status) {
	case "RETURNED", "REJECTED", "CANCELED", "EXPIRED":
		v.undo(t, strings.ToUpper(e.Status), e.Reason)
	case "COMPLETE":
		t.Steps = []step{{v.at, "COMPLETE"}}
		v.step(t)
	case "QUEUED", "PENDING":
		t.Status, t.Updated = strings.ToUpper(e.Status), v.at
		day := t.Day
		t.plan(v.s.market, v.at)
		t.Day = day
		v.tellTransfer(t, from)
	case "":
		return invalid("transfer_status needs a status")
	default:
		t.Status, t.Updated, t.Reason, t.Steps = e.Status, v.at, e.Reason, nil
		v.tellTransfer(t, from)
	}
	return nil
}

// bust takes a fill back: the shares return, the money goes.
func (v *visit) bust(e Event) error {
	a := v.a
	for i := len(a.Orders) - 1; i >= 0; i-- {
		o := &a.Orders[i]
		if !o.Filled.IsPositive() || e.Order != "" && o.ID != e.Order || e.Symbol != "" && !strings.EqualFold(o.Symbol, e.Symbol) {
			continue
		}
		qty, back := o.Filled, o.FilledCash.Neg()
		if o.Side == "buy" {
			qty, back = qty.Neg(), back.Neg()
		}
		o.Filled, o.FilledCash, o.Status, o.Updated = decimal.Zero, decimal.Zero, "canceled", v.at
		a.Holds = slices.DeleteFunc(a.Holds, func(h hold) bool { return h.Order == o.ID })
		v.move(back, Entry{Kind: "trade_bust", Key: o.ClientID, Symbol: o.Symbol, Qty: qty.String()})
		return v.put(o.Symbol, o.Class, qty, o.AvgPrice)
	}
	return notFound("filled order")
}

func (v *visit) put(symbol, class string, qty, price decimal.Decimal) error {
	if p := v.a.position(symbol); p != nil {
		p.Qty = p.Qty.Add(qty)
		v.a.Positions = slices.DeleteFunc(v.a.Positions, func(p position) bool { return p.Qty.IsZero() })
		return nil
	}
	v.a.Positions = append(v.a.Positions, position{Symbol: symbol, Class: class, Qty: qty, Price: price, Entry: price})
	return nil
}

// arrive is a spin-off, a merger, a gift: shares that nobody ordered.
func (v *visit) arrive(e Event) error {
	if e.Symbol == "" || e.Qty.IsZero() || !e.Price.IsPositive() {
		return invalid("a position needs a symbol, a quantity and a price")
	}
	class := classOf(e.Symbol)
	v.book(Entry{Kind: "position", Symbol: e.Symbol, Qty: e.Qty.String(), Amount: e.Qty.Mul(e.Price).Mul(multiplier(class)).StringFixed(2), Note: e.Reason})
	return v.put(e.Symbol, class, e.Qty, e.Price)
}

// agentOrder is a market order that somebody other than this service places.
func (v *visit) agentOrder(e Event) error {
	spec := OrderSpec{Symbol: e.Symbol, Qty: e.Qty, Side: e.Side, Type: "market", TimeInForce: "day", Price: e.Price}
	if err := v.a.addOrder(v, spec); err != nil {
		return err
	}
	o := v.a.Orders[len(v.a.Orders)-1]
	v.book(Entry{Kind: "agent_order", Key: o.ClientID, Symbol: o.Symbol, Qty: o.Qty.String(), Note: o.Side})
	return nil
}

func (v *visit) onPosition(e Event, f func(*position)) error {
	p := v.a.position(e.Symbol)
	if p == nil {
		return notFound(fmt.Sprintf("position %q", e.Symbol))
	}
	f(p)
	v.book(Entry{Kind: e.Type, Symbol: p.Symbol, Note: e.Reason})
	return nil
}

func (v *visit) halt(e Event) error {
	return v.onPosition(e, func(p *position) {
		p.Halted, p.ResumesAt = true, time.Time{}
		v.later(e.For, Event{Type: "resume", Symbol: p.Symbol})
	})
}

func (v *visit) resume(e Event) error {
	return v.onPosition(e, func(p *position) { p.Halted, p.ResumesAt = false, v.at })
}

func (v *visit) worthless(e Event) error {
	if err := v.onPosition(e, func(*position) {}); err != nil {
		return err
	}
	v.a.Positions = slices.DeleteFunc(v.a.Positions, func(p position) bool { return strings.EqualFold(p.Symbol, e.Symbol) })
	return nil
}

func (v *visit) block(e Event, on bool) error {
	a := v.a
	switch e.What {
	case "", "transfers":
		a.TransfersBlocked = on
	case "outgoing":
		a.OutgoingBlocked = on
	case "withdrawable": // shown nowhere: a payout is refused
		a.NotWithdrawable = on
	case "suspend":
		a.TradeSuspended = on
	case "trading":
		a.TradingBlocked = on
	case "account":
		a.AccountBlocked = on
	default:
		return invalid("block what? transfers, outgoing, withdrawable, trading, suspend or account, not %q", e.What)
	}
	v.book(Entry{Kind: e.Type, Note: strings.TrimSpace(e.What + " " + e.Reason)})
	if on {
		v.later(e.For, Event{Type: "unblock", What: e.What})
	}
	return nil
}

func (v *visit) status(e Event) error {
	if e.Status == "" {
		return invalid("status needs a status")
	}
	if v.a.Status == "ACCOUNT_CLOSED" {
		return invalid("the account is closed: its status stays")
	}
	before := v.a.Status
	v.a.Status = strings.ToUpper(e.Status)
	v.book(Entry{Kind: "status", Note: before + " to " + v.a.Status})
	v.later(e.For, Event{Type: "status", Status: before})
	return nil
}

// closedByOthers is a closing by the broker's own people: what was left is sold and swept out, unless it is to be kept.
func (v *visit) closedByOthers(e Event) error {
	a := v.a
	if a.Status == "ACCOUNT_CLOSED" {
		return invalid("account is already closed")
	}
	for i := range a.Orders {
		if a.Orders[i].open() {
			v.end(&a.Orders[i], "canceled", "the account is closed by the broker")
		}
	}
	if !e.Keep {
		for i := range a.Transfers {
			if t := &a.Transfers[i]; t.Direction == "OUTGOING" && !t.Moved && (!t.ended() || t.Status == "COMPLETE") {
				v.debit(t) // on its way: not to be swept out as well
			}
		}
		for _, p := range a.Positions {
			v.move(p.worth().Round(2), Entry{Kind: "sold_by_broker", Symbol: p.Symbol, Qty: p.Qty.String()})
		}
		a.Positions = nil
		if !a.Cash.IsZero() {
			v.note(activity{Type: "JNLC", Net: a.Cash.Neg(), Description: "swept by the broker"})
			v.move(a.Cash.Neg(), Entry{Kind: "swept_by_broker"})
		}
	}
	a.Status = "ACCOUNT_CLOSED"
	v.book(Entry{Kind: "closed_by_broker", Note: e.Reason})
	return nil
}
