package sim

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/shopspring/decimal"
)

// text is a decimal as clients send it: a JSON string or a number.
type text string

func (t *text) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, (*string)(t))
	}
	var n json.Number
	if err := json.Unmarshal(b, &n); err != nil {
		return err
	}
	*t = text(n)
	return nil
}

func (t text) decimal() decimal.Decimal {
	d, _ := decimal.NewFromString(string(t))
	return d
}

// transferBody is the part of a CreateTransferRequest that the simulator knows.
type transferBody struct {
	TransferType   string          `json:"transfer_type"`
	RelationshipID string          `json:"relationship_id"`
	BankID         string          `json:"bank_id"`
	Direction      string          `json:"direction"`
	Amount         text            `json:"amount"`
	Additional     json.RawMessage `json:"additional_information"`
}

// codeDailyLimit refuses a payout over the day's limit. Alpaca publishes no code for it: this one is our choice.
const codeDailyLimit = 42210007

// ask checks a transfer as the broker would and takes it on.
func (v *visit) ask(b transferBody) (*transfer, error) {
	a := v.a
	amount, err := b.check()
	if err != nil {
		return nil, err
	}
	outgoing := b.Direction == "OUTGOING"
	switch {
	case strings.EqualFold(a.Status, "ACCOUNT_CLOSED"):
		return nil, forbidden("account is closed")
	case outgoing && (a.TransfersBlocked || a.OutgoingBlocked || a.NotWithdrawable || a.AccountBlocked || a.Status != "ACTIVE"):
		return nil, forbidden("withdrawals are not permitted for this account: its withdrawable_status is not allowed")
	case !outgoing && (a.TransfersBlocked || a.AccountBlocked || a.Status != "ACTIVE"):
		return nil, forbidden("deposits are not permitted for this account: its depositable_status is not allowed")
	}
	r := a.relationship(b.RelationshipID)
	switch {
	case r == nil:
		return nil, invalid("invalid relationship_id")
	case r.Status != "APPROVED":
		return nil, invalid("ACH relationship is not approved: %s", r.Status)
	case !outgoing:
		t := v.transfer(b.RelationshipID, "INCOMING", amount, "api")
		v.book(Entry{Kind: "deposit_asked", Actor: "api", Amount: amount.StringFixed(2), Key: t.ID})
		return t, nil
	case a.Minimum.IsPositive() && !amount.GreaterThan(a.Minimum):
		return nil, &refusal{status: 422, code: 40010001, message: "withdrawal amount must be greater than " + a.Minimum.StringFixed(2)}
	case amount.GreaterThan(a.withdrawable(v.at)):
		return nil, forbidden("insufficient cash available for withdrawal (requested: %s, available: %s)", amount, a.withdrawable(v.at))
	}
	limit, day := v.limit(), v.s.market.achDay(v.at)
	if used := a.paidOut(day); used.Add(amount).GreaterThan(limit) {
		r := invalid("daily transfer limit exceeded for %s: limit %s, used %s", day, limit.StringFixed(2), used.StringFixed(2))
		r.code = codeDailyLimit
		return nil, r
	}
	t := v.transfer(b.RelationshipID, "OUTGOING", amount, "api")
	e := Entry{Kind: "transfer", Actor: "api", Amount: amount.StringFixed(2), Key: t.ID, Day: t.Day}
	if v.mode() == AtCreation {
		t.Moved = true
		v.move(amount.Neg(), e)
	} else {
		v.book(e)
	}
	v.trigger(AfterFirstWrite)
	v.trigger(AfterFirstPayout, t.ID)
	return t, nil
}

func (b *transferBody) check() (decimal.Decimal, error) {
	b.Direction = strings.ToUpper(b.Direction)
	amount, err := decimal.NewFromString(string(b.Amount))
	switch {
	case b.Direction != "INCOMING" && b.Direction != "OUTGOING":
		return amount, invalid("direction must be either incoming or outgoing")
	case b.TransferType == "wire":
		return amount, invalid("the simulator knows no wires")
	case b.TransferType != "ach":
		return amount, invalid("transfer_type must be either ach or wire")
	case b.BankID != "":
		return amount, invalid("bank_id should be empty for ach transfer")
	case len(b.Additional) > 0 && string(b.Additional) != "null":
		return amount, invalid("only wire transfer type can provide additional information for the transfer")
	case b.RelationshipID == "":
		return amount, invalid("invalid relationship_id")
	case err != nil || !amount.IsPositive():
		return amount, invalid("amount must be greater than 0.00")
	case !amount.Equal(amount.Truncate(2)):
		return amount, invalid("amount must have no more than two decimal places")
	}
	return amount, nil
}

func (v *visit) limit() decimal.Decimal {
	if v.a.DailyLimit.IsPositive() {
		return v.a.DailyLimit
	}
	return v.s.o.DailyLimit
}

func (v *visit) mode() string {
	if v.a.CashMoves != "" {
		return v.a.CashMoves
	}
	return v.s.o.CashMoves
}

// paidOut is how much of a banking day's limit is used. A transfer that never left gives its part back; one that came
// back does not.
func (a *account) paidOut(day string) decimal.Decimal {
	sum := decimal.Zero
	for i := range a.Transfers {
		t := &a.Transfers[i]
		if t.Direction == "OUTGOING" && t.Day == day && t.Status != "REJECTED" && t.Status != "CANCELED" && t.Status != "EXPIRED" {
			sum = sum.Add(t.Amount)
		}
	}
	return sum
}

// transfer makes one and plans its journey. Money has not moved yet.
func (v *visit) transfer(relationship, direction string, amount decimal.Decimal, actor string) *transfer {
	t := transfer{
		ID: v.a.newID("transfer"), Relationship: relationship, Direction: direction, Status: "QUEUED",
		Amount: amount, Created: v.at, Updated: v.at, Actor: actor, VisibleAt: v.visible(),
	}
	t.plan(v.s.market, v.at)
	v.a.Transfers = append(v.a.Transfers, t)
	v.tellTransfer(&t, "")
	return &v.a.Transfers[len(v.a.Transfers)-1]
}

// plan sets the journey of a transfer that starts out now: pending soon, sent to clearing after the cutoff of its
// banking day, complete on the next banking day's morning.
func (t *transfer) plan(m market, now time.Time) {
	t.Day = m.achDay(now)
	pending := now.Add(5 * time.Minute)
	sent := at(t.Day, 14, 5)
	if !sent.After(pending) {
		sent = pending.Add(time.Minute)
	}
	t.Steps = []step{
		{pending.UTC(), "PENDING"},
		{sent.UTC(), "SENT_TO_CLEARING"},
		{at(after(t.Day, m.Banking), 8, 30).UTC(), "COMPLETE"},
	}
}

// step takes a transfer one station further.
func (v *visit) step(t *transfer) {
	from := t.Status
	t.Status, t.Updated = t.Steps[0].Status, v.at
	v.tellTransfer(t, from)
	t.Steps = t.Steps[1:]
	if t.Status != "COMPLETE" {
		return
	}
	t.Steps = nil
	if t.Direction == "INCOMING" {
		t.Moved = true
		v.move(t.Amount, Entry{Kind: "deposit", Key: t.ID})
		v.note(activity{Type: "CSD", Net: t.Amount, Description: "ACH deposit"})
		return
	}
	v.book(Entry{Kind: "complete", Key: t.ID, Amount: t.Amount.StringFixed(2)})
	v.note(activity{Type: "CSW", Net: t.Amount.Neg(), Description: "ACH withdrawal"})
	if !t.Moved {
		switch v.mode() {
		case Late:
			t.DebitAt = v.s.market.booking(v.at).UTC()
		default:
			v.debit(t)
		}
	}
	if t.Actor == "api" {
		v.trigger(AfterFirstPayoutComplete, t.ID)
		if v.a.Cash.LessThan(cent) || t.DebitAt.After(v.at) && v.a.Cash.Sub(t.Amount).LessThan(cent) {
			v.trigger(AfterLastPayoutComplete, t.ID)
		}
	}
}

// debit takes the money of a withdrawal out of the cash where that was put off.
func (v *visit) debit(t *transfer) {
	t.DebitAt, t.Moved = time.Time{}, true
	v.move(t.Amount.Neg(), Entry{Kind: "debit", Key: t.ID, Amount: t.Amount.StringFixed(2)})
}

// undo ends a transfer before or after its end: it never left, or it comes back.
func (v *visit) undo(t *transfer, status, reason string) {
	from, completed := t.Status, t.Status == "COMPLETE"
	t.Status, t.Reason, t.Updated = status, reason, v.at
	v.tellTransfer(t, from)
	t.Steps, t.DebitAt = nil, time.Time{}
	back := decimal.Zero
	if t.Moved {
		back = t.Amount
		if t.Direction == "INCOMING" {
			back = back.Neg()
		}
		t.Moved = false
	}
	kind := map[string]string{"RETURNED": "return", "REJECTED": "reject", "CANCELED": "transfer_canceled", "EXPIRED": "transfer_expired"}[status]
	v.move(back, Entry{Kind: kind, Key: t.ID, Amount: t.Amount.StringFixed(2), Note: reason})
	if completed {
		net, name := t.Amount, "CSW"
		if t.Direction == "INCOMING" {
			net, name = net.Neg(), "CSD"
		}
		v.note(activity{Type: name, Net: net, Description: "ACH transfer returned"})
	}
}

// askUndo takes the wish to cancel a transfer on, while it has not been sent.
func (v *visit) askUndo(id string) error {
	t := v.a.transfer(id)
	switch {
	case t == nil:
		return notFound("transfer")
	case t.Status != "QUEUED" && t.Status != "APPROVAL_PENDING" && t.Status != "PENDING":
		return invalid("transfer cannot be canceled: it is %s", t.Status)
	}
	v.undo(t, "CANCELED", "canceled on request")
	v.lines[len(v.lines)-1].Actor = "api"
	v.trigger(AfterFirstWrite)
	return nil
}

// note books an activity, as customers see it on their statement.
func (v *visit) note(n activity) {
	n.At, n.ID, n.Status = v.at, v.at.In(NewYork).Format("20060102150405000")+"::"+v.a.newID("activity"), "executed"
	v.a.Activities = append(v.a.Activities, n)
}

// close ends the account if nothing is left in it.
func (v *visit) close() error {
	a := v.a
	refuse := func(code int, format string, args ...any) error {
		r := invalid(format, args...)
		r.code = code
		return r
	}
	openOrders := slices.ContainsFunc(a.Orders, func(o order) bool { return o.open() })
	inFlight := slices.ContainsFunc(a.Transfers, func(t transfer) bool { return !t.ended() || !t.DebitAt.IsZero() })
	// Alpaca publishes no codes for these: they are our choice.
	switch {
	case a.Status == "ACCOUNT_CLOSED":
		return refuse(42210010, "account is already closed")
	case len(a.Positions) > 0:
		return refuse(42210011, "account has open positions: %d", len(a.Positions))
	case openOrders:
		return refuse(42210012, "account has open orders")
	case inFlight:
		return refuse(42210014, "account has pending transfers")
	case !a.Cash.Abs().LessThan(cent):
		return refuse(42210013, "account has a cash balance of %s", a.Cash.StringFixed(2))
	}
	a.Status = "ACCOUNT_CLOSED"
	v.book(Entry{Kind: "close", Actor: "api", Amount: a.Cash.String(), Key: a.ID})
	v.trigger(AfterFirstWrite)
	return nil
}
