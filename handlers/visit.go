package handlers

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/shopspring/decimal"

	"closeout/alpaca"
	"closeout/calendar"
	"closeout/closure"
	"closeout/ledger"
	"closeout/readiness"
)

// Reader is the part of the broker that a phase may use: it can look, and nothing else.
type Reader interface {
	Account(ctx context.Context, id string) (alpaca.Account, error)
	TradingAccount(ctx context.Context, id string) (alpaca.TradingAccount, error)
	Positions(ctx context.Context, id string) ([]alpaca.Position, error)
	OpenOrders(ctx context.Context, id string) ([]alpaca.Order, error)
	Order(ctx context.Context, account, orderID string) (alpaca.Order, error)
	OrderByClientID(ctx context.Context, account, clientOrderID string) (alpaca.Order, error)
	Transfers(ctx context.Context, id string) ([]alpaca.Transfer, error)
	FirstTransfers(ctx context.Context, id string) ([]alpaca.Transfer, error)
	Activities(ctx context.Context, id string, after time.Time) ([]alpaca.Activity, error)
	Relationships(ctx context.Context, id string) ([]alpaca.Relationship, error)
	Asset(ctx context.Context, symbolOrID string) (alpaca.Asset, error)
	Subscribed(ctx context.Context, id string) (bool, error)
}

// Phase carries out one phase's part of a visit. It returns the instruction; an error is a fault to be retried, and one
// that says that the broker is out of reach becomes a wait.
type Phase func(ctx context.Context, v *Visit) (closure.Outcome, error)

// Visit is what a phase works with: the closure and its intents as loaded, the broker to read, and one door for effects.
type Visit struct {
	Closure  closure.Closure
	Intents  []closure.Intent
	Now      time.Time // business time at the start
	Wall     time.Time // machine time at the start
	Broker   Reader
	Calendar *calendar.Calendar
	Policy   closure.Policy
	Timing   closure.Timing

	run     *Runner
	calls   *alpaca.Calls
	done    bool // the one effect of this visit was asked for
	learned map[string]ledger.Learned
	events  []closure.Event
	memo    closure.Memo
}

// account reads the trading account and stops the phase where nothing can be done: an account that is closed ends the
// closure, one that is blocked waits for whoever can lift the block. ok is false when o is the phase's outcome.
func (v *Visit) account(ctx context.Context) (a alpaca.TradingAccount, o closure.Outcome, ok bool, err error) {
	id := v.Closure.AccountID
	if a, err = v.Broker.TradingAccount(ctx, id); err != nil {
		if alpaca.Unavailable(err) {
			return a, o, false, err
		}
		// A closed account may no longer have a trading side; its status is still to be had.
		acct, err2 := v.Broker.Account(ctx, id)
		if err2 != nil {
			return a, o, false, err
		}
		if !alpaca.Closed(acct.Status) {
			return a, o, false, err
		}
		return a, v.reconcile(alpaca.TradingAccount{Status: acct.Status}), false, nil
	}
	v.memo.Worth = ""
	if a.Equity.Valid {
		v.memo.Worth = closure.USD(closure.Cents(a.Equity.Decimal))
	}
	switch {
	case alpaca.Closed(a.Status):
		return a, v.reconcile(a), false, nil
	case a.AccountBlocked:
		return a, closure.Park(0, closure.AccountBlocked, closure.Reasons[closure.AccountBlocked].Title), false, nil
	case !alpaca.StatusIs(a.Status, "ACTIVE"):
		return a, closure.Park(0, closure.AccountNotActive, "the account's status is "+a.Status), false, nil
	case !a.Cash.Valid:
		return a, o, false, fmt.Errorf("read trading account: the broker left out the cash")
	case !a.CashWithdrawable.Valid:
		return a, o, false, fmt.Errorf("read trading account: the broker left out the withdrawable cash")
	}
	return a, o, true, nil
}

// reconcile ends a closure whose account is closed already, by us or by somebody else.
func (v *Visit) reconcile(a alpaca.TradingAccount) closure.Outcome {
	for _, i := range v.Intents {
		if i.Kind == closure.CloseIntent && (i.State == closure.IntentSent || i.State == closure.IntentSending) {
			return closure.Done("the account is closed; paid out " + v.paid())
		}
	}
	by := "was closed at the broker by someone else"
	if v.Closure.Memo.Reconciled != 0 { // the ledger can't know
		by = "is closed at the broker, by this service in the time that the restored ledger lost or by someone else"
	}
	why := "the account " + by + "; reconciled, paid out " + v.paid()
	if a.Cash.Valid && !closure.Cents(a.Cash.Decimal).IsZero() {
		why += "; the closed account still shows " + usd(a.Cash.Decimal) + " of cash"
	}
	return closure.Done(why)
}

func (v *Visit) paid() string {
	paid := "$0.00"
	if v.memo.Paid != "" {
		paid = "$" + v.memo.Paid
	}
	if sum := v.memo.ByHandSum(); sum.IsPositive() {
		paid += ", and " + usd(sum) + " by hand"
	}
	return paid
}

// learn keeps what was found out about an intent until the visit is saved.
func (v *Visit) learn(i closure.Intent, text string, detail map[string]any) {
	for n := range v.Intents {
		if v.Intents[n].ID == i.ID {
			was := v.Intents[n].State
			if l, ok := v.learned[i.ID]; ok {
				was = l.Was
			}
			v.learned[i.ID] = ledger.Learned{Was: was, Intent: i}
			v.Intents[n] = i
		}
	}
	if text != "" {
		v.note(string(i.Kind), text, withIntent(i, detail))
	}
}

// countMoney notes, for people, what the account holds and what of it is on its way: what was read, less what this visit,
// which found the row at version began, has sent since.
func (v *Visit) countMoney(began int64) {
	m := readiness.MoneyOf(v.Closure, v.Intents)
	v.memo.OnWay = closure.USD(m.InFlight.Add(m.Unconfirmed.Decimal))
	worth, err := decimal.NewFromString(v.memo.Worth)
	if err != nil {
		return
	}
	for _, i := range v.intents(closure.TransferIntent, closure.IntentSending, closure.IntentSent) {
		if i.Key > began && i.Amount.Valid {
			worth = worth.Sub(i.Amount.Decimal)
		}
	}
	v.memo.Worth = closure.USD(worth)
}

func (v *Visit) note(kind, text string, detail map[string]any) {
	v.events = append(v.events, closure.Event{Kind: kind, At: v.Now, Actor: closure.Worker, Text: text, Detail: detail})
}

func withIntent(i closure.Intent, detail map[string]any) map[string]any {
	d := map[string]any{"intent": i.ID, "intent_state": i.State}
	if i.BrokerID != "" {
		d["broker_id"] = i.BrokerID
	}
	maps.Copy(d, detail)
	return d
}

// intents are those of a kind that are in one of the states.
func (v *Visit) intents(kind closure.IntentKind, states ...closure.IntentState) []closure.Intent {
	var out []closure.Intent
	for _, i := range v.Intents {
		if i.Kind == kind && slices.Contains(states, i.State) {
			out = append(out, i)
		}
	}
	return out
}

// business turns a machine time to come into the business time at which the clock will show it.
func (v *Visit) business(wall time.Time) time.Time { return v.run.Clock.At(wall) }

// onWire waits for the answer of an intent that may still be on its way.
func (v *Visit) onWire(i closure.Intent) closure.Outcome {
	return closure.WaitUntil(v.business(i.Deadline), closure.Sending, "waiting for the broker's answer to an instruction")
}

func usd(d decimal.Decimal) string { return "$" + closure.USD(d) }
