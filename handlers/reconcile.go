package handlers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"closeout/alpaca"
	"closeout/calendar"
	"closeout/closure"
	"closeout/ledger"
)

// Finder is what a reconciliation asks of the broker. It sends nothing.
type Finder interface {
	Account(ctx context.Context, id string) (alpaca.Account, error)
	Transfers(ctx context.Context, id string) ([]alpaca.Transfer, error)
	OrdersSince(ctx context.Context, id string, after time.Time) ([]alpaca.Order, error)
}

// Commands is what it asks of the ledger.
type Commands interface {
	Hold(ctx context.Context) (ledger.Hold, error)
	HoldAll(ctx context.Context, version int64, actor, reason string) (ledger.Hold, error)
	Load(ctx context.Context, id string) (closure.Closure, []closure.Intent, error)
	Command(
		ctx context.Context, id string, decide func(closure.Closure, []closure.Intent) (closure.Change, error), replies ...*ledger.Reply[closure.Closure],
	) (closure.Closure, error)
}

// Reconciler takes in what the broker has and a restored ledger lacks, after its Begin. No worker may be at work. All fields but
// Budget are needed.
type Reconciler struct {
	Ledger   Commands
	Broker   Finder
	Budget   Budget // nil: the broker may be asked at any time
	Calendar func() *calendar.Calendar
	Clock    closure.Clock
	Timing   closure.Timing
	Actor    string
	Why      string // for the history, in one line
}

// Reconciled is what came, or would come, of one closure.
type Reconciled struct {
	Before, After closure.Closure
	Payouts       []closure.Intent // adopted
	Orders        []closure.Intent // adopted
	Settled       []closure.Intent // known ones whose outcome the broker's lists tell
	Sum           decimal.Decimal  // of the adopted payouts
	Closed        bool             // the account is closed at the broker
	Open          int              // instructions of which nobody knows the outcome still: the next looks tell, or ask
	Unread        []string         // payouts of the broker's that could not be taken in, and why
	Same          bool             // nothing was found, and nothing has moved since the last reconciliation
}

// reconcileMargin is how far before the closure's beginning the broker's clock may have dated what the closure asked for. How far
// the ledger went back is not asked: nobody may know it for certain, and a row may have been touched since.
const reconcileMargin = 2 * time.Minute

// calls that a closure's reconciliation makes: its account, two pages of transfers, its orders.
const reconcileCalls = 4

// Begin holds everything, unless it is held already, and returns when what was on the wire before has had its quarantine: a list
// that is asked for earlier proves nothing of it. waits is told until when, by machine time. It is for a person to release.
func (r *Reconciler) Begin(ctx context.Context, waits func(until time.Time)) (ledger.Hold, error) {
	h, err := r.Ledger.Hold(ctx)
	if err == nil && !h.Held {
		h, err = r.Ledger.HoldAll(ctx, h.Version, r.Actor, "closeout ledger reconcile: "+r.Why)
	}
	if err != nil {
		return h, err
	}
	waits(time.Now().Add(r.Timing.Quarantine))
	t := time.NewTimer(r.Timing.Quarantine)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return h, ctx.Err()
	case <-t.C:
		return h, nil
	}
}

// Look reads what the broker has and says what would be taken in. It changes nothing.
func (r *Reconciler) Look(ctx context.Context, id string) (Reconciled, error) {
	return r.reconcile(ctx, id, false)
}

// Take reads what the broker has and takes it in: the row gets a new version in any case, unless nothing was found and nothing
// has happened to it since it was reconciled before.
func (r *Reconciler) Take(ctx context.Context, id string) (Reconciled, error) {
	return r.reconcile(ctx, id, true)
}

// Accept ends the reconciliation of a closure without what was done for it, by a person's word: failure is in the way for good.
// Nothing is done for the closure by itself any more.
func (r *Reconciler) Accept(ctx context.Context, id string, failure error) (out Reconciled, err error) {
	same := errors.New("nothing to do")
	after, err := r.Ledger.Command(ctx, id, func(c closure.Closure, _ []closure.Intent) (closure.Change, error) {
		out.Before, out.After = c, c
		if c.Unreconciled() {
			out.Same = true
			return closure.Change{}, same
		}
		return closure.Unreconciled(r.Clock.Now(), r.Actor, r.Why, text(failure)), nil
	})
	if errors.Is(err, same) {
		return out, nil
	}
	if err == nil {
		out.After = after
	}
	return out, err
}

// Lasting says whether a person may accept that a closure can't be reconciled for this failure: a broker that does not answer at all, or
// refuses the key, and what a newer version must deal with are to be mended first, and then there may be no failure.
func Lasting(failure error) bool {
	e, answered := errors.AsType[*alpaca.Error](failure)
	return !errors.Is(failure, ErrNotCounted) && !alpaca.Unavailable(failure) && !errors.Is(failure, closure.ErrNewer) && !errors.Is(failure, context.Canceled) &&
		(!answered || e.Status != http401)
}

const http401 = 401

func (r *Reconciler) reconcile(ctx context.Context, id string, take bool) (out Reconciled, err error) {
	c, intents, err := r.Ledger.Load(ctx, id)
	if err != nil {
		return out, fmt.Errorf("%w: %w", ErrNotCounted, err)
	}
	since := c.CreatedAt.Add(-reconcileMargin)
	if r.Budget != nil {
		if ctx, err = r.Budget.Ask(ctx, c.AccountID, reconcileCalls); err != nil {
			return out, err
		}
	}
	s, err := r.see(ctx, c.AccountID, since)
	if err != nil {
		return out, err
	}
	if !take {
		out, _ = r.compare(c, intents, s)
		return out, nil
	}
	same := errors.New("nothing to do")
	after, err := r.Ledger.Command(ctx, id, func(c closure.Closure, intents []closure.Intent) (closure.Change, error) {
		var a closure.Adoption
		if out, a = r.compare(c, intents, s); out.Same {
			return closure.Change{}, same
		}
		return closure.Reconciled(r.Clock.Now(), r.Actor, r.Why, a), nil
	})
	if errors.Is(err, same) {
		return out, nil
	}
	if err != nil {
		return out, err
	}
	out.After = after
	return out, nil
}

// sight is what the broker shows of an account.
type sight struct {
	asked     time.Time // machine
	since     time.Time // business
	closed    bool
	transfers []alpaca.Transfer
	orders    []alpaca.Order
}

func (r *Reconciler) see(ctx context.Context, account string, since time.Time) (s sight, err error) {
	s.asked, s.since = time.Now(), since
	a, err := r.Broker.Account(ctx, account)
	if err != nil {
		return s, err
	}
	s.closed = alpaca.Closed(a.Status)
	if s.transfers, err = r.Broker.Transfers(ctx, account); err != nil {
		return s, err
	}
	s.orders, err = r.Broker.OrdersSince(ctx, account, since)
	if s.closed && alpaca.NotFound(err) { // a closed account may have no trading side any more
		err = nil
	}
	return s, err
}

// compare says what of what was seen the ledger lacks.
func (r *Reconciler) compare(c closure.Closure, intents []closure.Intent, s sight) (Reconciled, closure.Adoption) {
	out := Reconciled{Before: c, After: c, Closed: s.closed}
	at, origin := r.Clock.Now(), "found at the broker by a reconciliation after a restore"
	intents = slices.Clone(intents)
	was := slices.Clone(intents)
	r.settlePayouts(intents, s)
	for _, t := range LostTransfers(c, intents, s.transfers, s.since) {
		i := FoundTransfer(c.AccountID, t, r.Calendar(), at, origin)
		out.Payouts, out.Sum = append(out.Payouts, i), out.Sum.Add(i.Amount.Decimal)
	}
	out.Orders = settleOrders(c, intents, s, at, origin)
	for n, i := range intents {
		if i.State != was[n].State || i.BrokerID != was[n].BrokerID || i.Finished != was[n].Finished {
			out.Settled = append(out.Settled, i)
		}
		if i.State == closure.IntentSending {
			out.Open++
		}
	}
	for _, t := range s.transfers {
		if t.Outgoing() && !t.Amount.Valid && !t.CreatedAt.Before(s.since) {
			out.Unread = append(out.Unread, fmt.Sprintf("the broker left out the amount of the transfer %s", t.ID))
		}
	}
	a := closure.Adoption{Found: slices.Concat(out.Payouts, out.Orders), Settled: out.Settled}
	a.Paid, a.CameBack = PaidOut(slices.Concat(intents, out.Payouts), s.transfers)
	out.Same = len(a.Found) == 0 && len(a.Settled) == 0 && c.Memo.Reconciled != 0 && c.Version == c.Memo.Reconciled
	return out, a
}

// settlePayouts finds the transfers of unknown payouts, by the rule of the looks, and what became of those of a closed account,
// at which no look comes any more.
func (r *Reconciler) settlePayouts(intents []closure.Intent, s sight) {
	b := Books{Transfers: s.transfers, Intents: slices.Clone(intents)}
	for n, i := range intents {
		if i.Kind != closure.TransferIntent || i.State != closure.IntentSending || !s.asked.After(i.Deadline.Add(r.Timing.Quarantine)) {
			continue
		}
		if t, ok := b.match(i); ok {
			intents[n].State, intents[n].BrokerID = closure.IntentSent, t.ID
			b.Intents[n] = intents[n]
		}
	}
	if !s.closed {
		return
	}
	for n, i := range intents {
		at := slices.IndexFunc(s.transfers, func(t alpaca.Transfer) bool { return i.BrokerID != "" && t.ID == i.BrokerID })
		if i.Kind == closure.TransferIntent && i.State == closure.IntentSent && at >= 0 {
			intents[n].Finished = strings.ToUpper(s.transfers[at].Status)
		}
	}
}

// settleOrders notes what became of the closure's orders and returns those that the ledger lacks. An order whose outcome is
// unknown was never made where a later attempt at its asset is there: that was asked for when this one was settled.
func settleOrders(c closure.Closure, intents []closure.Intent, s sight, at time.Time, origin string) (found []closure.Intent) {
	latest := map[string]int{} // attempts by asset
	known := map[string]int{}
	for n, i := range intents {
		if i.Kind == closure.OrderIntent {
			known[i.ClientOrderID] = n
			latest[i.Subject] = max(latest[i.Subject], i.Attempt)
		}
	}
	for _, o := range slices.Backward(s.orders) { // the oldest first
		if n, ok := known[o.ClientOrderID]; ok {
			if i := intents[n]; i.State == closure.IntentSending || i.State == closure.IntentSent && i.Finished == "" {
				i.State, i.BrokerID = closure.IntentSent, o.ID
				intents[n] = finished(i, o)
			}
			continue
		}
		if i, ours := FoundOrder(c, o, at, origin); ours {
			found = append(found, i)
			latest[i.Subject] = max(latest[i.Subject], i.Attempt)
		}
	}
	for n, i := range intents {
		if i.Kind == closure.OrderIntent && i.State == closure.IntentSending && i.Attempt < latest[i.Subject] {
			intents[n].State, intents[n].Answer = closure.IntentRefused, "never made: a later order for the same asset was, in the time that the ledger lost"
		}
	}
	return found
}
