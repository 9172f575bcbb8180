package handlers

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"closeout/alpaca"
	"closeout/calendar"
	"closeout/closure"
)

// Books is what an account's payouts are planned from: one reading of the broker beside the ledger's intents. It is a value:
// planning reads no clock and asks nobody.
type Books struct {
	Cash        decimal.Decimal
	Free        decimal.Decimal // cash_withdrawable
	PendingOut  decimal.NullDecimal
	DayLimit    decimal.Decimal
	Transfers   []alpaca.Transfer // every one, both directions, in the order of their making
	Inflows     []alpaca.Activity // dividends, interest, journals and the like: money that came in by no transfer
	Outflows    []alpaca.Activity // fees and the like
	ListSince   time.Time         // business: since when the list has looked like this
	Asked       time.Time         // machine: when the first list was asked for
	Now         time.Time         // business
	Intents     []closure.Intent  // of transfers, in the order of their claims
	Proceeds    decimal.Decimal   // of orders claimed since the base
	SoldSince   bool              // orders were claimed since the base
	Memo        closure.Memo
	Calendar    *calendar.Calendar
	ReturnWatch int
	Unknown     closure.Unknown
	Timing      closure.Timing
}

// books reads list, cash, and the list again, as a payout wants it. Where the two lists differ something is moving, and ok is
// false.
func (v *Visit) books(ctx context.Context) (b Books, o closure.Outcome, ok bool, err error) {
	asked := time.Now()
	first, err := v.list(ctx)
	if err != nil {
		return b, o, false, err
	}
	a, o, ok, err := v.account(ctx)
	if err != nil || !ok {
		return b, o, ok, err
	}
	second, err := v.list(ctx)
	if err != nil {
		return b, o, false, err
	}
	if first.digest() != second.digest() {
		return b, closure.Wait(v.short(), closure.ListChanged, closure.Reasons[closure.ListChanged].Title), false, nil
	}
	return v.reading(a, second, asked), o, true, nil
}

// reading sets what was read beside what the ledger knows, and notes since when the list has looked like this.
func (v *Visit) reading(a alpaca.TradingAccount, l listing, asked time.Time) Books {
	if d := l.digest(); d != v.memo.ListDigest {
		v.memo.ListDigest, v.memo.ListSince = d, v.Now
	}
	b := v.known()
	b.Cash, b.Free, b.PendingOut = a.Cash.Decimal, a.CashWithdrawable.Decimal, a.PendingTransferOut.NullDecimal
	b.Transfers, b.Inflows, b.Outflows = l.transfers, l.inflows, l.outflows
	b.ListSince, b.Asked, b.DayLimit = v.memo.ListSince, asked, v.Policy.DailyLimit
	if own := a.Admin.DailyTransferLimit; own.Valid && own.Decimal.IsPositive() {
		b.DayLimit = closure.Least(b.DayLimit, own.Decimal)
	}
	if a.TransfersBlocked || a.Admin.OutgoingTransfersBlocked {
		b.DayLimit = decimal.Zero
	}
	return b
}

// known is the ledger's side of the books.
func (v *Visit) known() Books {
	b := Books{
		Now: v.Now, Memo: v.memo, Calendar: v.Calendar, ReturnWatch: v.Policy.ReturnWatch, Unknown: v.Policy.Unknown, Timing: v.Timing,
	}
	for _, i := range v.Intents {
		if i.Kind == closure.TransferIntent {
			b.Intents = append(b.Intents, i)
		}
	}
	base, ok := b.start()
	for _, i := range v.Intents {
		if !ok || i.Kind != closure.OrderIntent || i.Key <= base.Key {
			continue
		}
		b.SoldSince = true
		if i.Proceeds.Valid {
			b.Proceeds = b.Proceeds.Add(i.Proceeds.Decimal)
		}
	}
	return b
}

// short is a wait for something that moves at this moment.
func (v *Visit) short() time.Duration { return min(time.Minute, v.Policy.Polls[v.Closure.Phase]) }

type listing struct {
	transfers         []alpaca.Transfer
	inflows, outflows []alpaca.Activity
}

// inflowsSince is how far before the closure's beginning activities are still of interest: beyond any morning's booking.
const inflowsSince = 10 * 24 * time.Hour

func (v *Visit) list(ctx context.Context) (l listing, err error) {
	if l.transfers, err = v.Broker.Transfers(ctx, v.Closure.AccountID); err != nil {
		return l, err
	}
	all, err := v.Broker.Activities(ctx, v.Closure.AccountID, v.Closure.CreatedAt.Add(-inflowsSince))
	if err != nil {
		return l, err
	}
	for _, a := range all {
		switch {
		case strings.EqualFold(a.Status, "canceled"), alpaca.StatusIs(a.Type, "CSD"), alpaca.StatusIs(a.Type, "CSW"):
			// withdrawn, or a transfer told a second time
		case a.NetAmount.Valid && a.NetAmount.Decimal.IsNegative():
			l.outflows = append(l.outflows, a)
		default: // an unknown amount is an inflow that explains nothing and still wants its morning
			l.inflows = append(l.inflows, a)
		}
	}
	return l, nil
}

// digest names the list: which transfers and activities there are, in which states.
func (l listing) digest() string {
	h := sha256.New()
	for _, t := range l.transfers {
		_, _ = io.WriteString(h, t.ID+" "+strings.ToUpper(t.Status)+" "+t.Amount.Decimal.String()+"\n")
	}
	for _, a := range slices.Concat(l.inflows, l.outflows) {
		_, _ = io.WriteString(h, a.ID+" "+strings.ToUpper(a.Status)+" "+a.NetAmount.Decimal.String()+"\n")
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// listed is the list as a claim writes it down.
func (b Books) listed() map[string]string {
	m := map[string]string{}
	for _, t := range b.Transfers {
		m[t.ID] = strings.ToUpper(t.Status)
	}
	for _, a := range slices.Concat(b.Inflows, b.Outflows) {
		m[a.ID] = "ACTIVITY"
	}
	return m
}

// claimed are the broker's transfers that an intent of this closure stands for.
func (b Books) claimed() map[string]closure.Intent {
	m := map[string]closure.Intent{}
	for _, i := range b.Intents {
		if i.BrokerID != "" {
			m[i.BrokerID] = i
		}
	}
	return m
}

// base is the latest claim made in quiet: its cash can be believed.
func (b Books) base() (closure.Intent, bool) {
	for _, i := range slices.Backward(b.Intents) {
		if i.Quiet && i.State == closure.IntentSent {
			return i, true
		}
	}
	return closure.Intent{}, false
}

// start is what the money is counted from: the base or, where a person has paid by hand before there was any payout, what
// the account had at the last look before that.
func (b Books) start() (closure.Intent, bool) {
	if base, ok := b.base(); ok || b.Memo.Stand == nil || len(b.Memo.ByHand) == 0 {
		return base, ok
	}
	s := b.Memo.Stand
	return closure.Intent{Key: s.Key, CashBefore: decimal.NewNullDecimal(s.Cash), Listed: s.Listed, Quiet: true}, true
}

// byHand sums what was recorded as paid by hand since the start.
func (b Books) byHand(start closure.Intent) decimal.Decimal {
	sum := decimal.Zero
	for _, p := range b.Memo.ByHand {
		if p.Key > start.Key {
			sum = sum.Add(p.Amount)
		}
	}
	return sum
}

// unlisted is the part of byHand that no list shows. A payment that is listed, as a withdrawal that others made or as a
// journal, is in the books already; each of those stands for one.
func (b Books) unlisted(start closure.Intent) decimal.Decimal {
	var listed []decimal.Decimal
	own := b.claimed()
	for _, t := range b.Transfers {
		_, mine := own[t.ID]
		_, known := start.Listed[t.ID]
		if f, _ := t.Fate(); !mine && !known && t.Outgoing() && (f == alpaca.Complete || f == alpaca.InFlight) {
			listed = append(listed, t.Amount.Decimal)
		}
	}
	for _, a := range b.Outflows {
		if _, known := start.Listed[a.ID]; !known && !alpaca.StatusIs(a.Type, "FEE") {
			listed = append(listed, a.NetAmount.Decimal.Neg())
		}
	}
	sum := decimal.Zero
	for _, p := range b.Memo.ByHand {
		if p.Key <= start.Key {
			continue
		}
		if n := slices.IndexFunc(listed, p.Amount.Equal); n >= 0 {
			listed = slices.Delete(listed, n, n+1)
			continue
		}
		sum = sum.Add(p.Amount)
	}
	return sum
}

// ended is when a transfer ended, in business time: by its updated_at, or not before the list has looked like this.
func (b Books) ended(t alpaca.Transfer) time.Time {
	if t.UpdatedAt != nil && !t.UpdatedAt.IsZero() {
		return *t.UpdatedAt
	}
	return b.ListSince
}

// booked says whether a morning's booking has passed since t.
func (b Books) booked(t time.Time) bool { return !b.Calendar.NextMorning(t).After(b.Now) }

// old says whether a transfer has ended and is in the cash.
func (b Books) old(t alpaca.Transfer) bool { return t.Ended() && b.booked(b.ended(t)) }

// quiet says whether the cash can be believed: every listed transfer has ended, and a morning's booking has passed since
// each end and each inflow. If not, pending says until when to wait, if that is known, and for what.
func (b Books) quiet() (ok bool, pending closure.Outcome) {
	own := b.claimed()
	for _, t := range b.Transfers {
		switch {
		case t.InReview():
			return false, inReview(t)
		case !t.Ended():
			if _, mine := own[t.ID]; mine {
				return false, underWay(t.Amount.Decimal)
			}
			return false, closure.Wait(0, closure.ForeignTransfer, fmt.Sprintf("a transfer of %s that this service did not ask for is %s", usd(t.Amount.Decimal), strings.ToLower(t.Status)))
		case t.HoldUntil != nil && t.HoldUntil.After(b.Now):
			return false, closure.WaitUntil(*t.HoldUntil, closure.AwaitingHold, "a deposit is held by the broker until "+newYork(*t.HoldUntil))
		case !b.old(t):
			return false, b.morningAfter(b.ended(t), "a transfer that has ended")
		}
	}
	for _, a := range slices.Concat(b.Inflows, b.Outflows) {
		if at := b.activityAt(a); !b.booked(at) {
			return false, b.morningAfter(at, "a booking ("+a.Type+")")
		}
	}
	return true, pending
}

// underWay waits for a payout of ours. It does not name the status: follow tells each one once, and a wait that changed with
// it would tell it again.
func underWay(amount decimal.Decimal) closure.Outcome {
	return closure.Wait(0, closure.TransferPending, "the payout of "+usd(amount)+" is on its way")
}

// inReview waits for the broker's people, who take what time they take.
func inReview(t alpaca.Transfer) closure.Outcome {
	return closure.Park(0, closure.TransferReview, "the broker looks at a transfer of "+usd(t.Amount.Decimal)+" by hand")
}

func (b Books) morningAfter(t time.Time, what string) closure.Outcome {
	m := b.Calendar.NextMorning(t)
	return closure.WaitUntil(m, closure.AwaitingMorning, fmt.Sprintf("%s is in the cash for certain after the morning's booking, %s", what, newYork(m)))
}

func (b Books) activityAt(a alpaca.Activity) time.Time {
	if a.CreatedAt != nil {
		return *a.CreatedAt
	}
	return b.ListSince
}

// left is what of the base's cash may still be paid: the broker has not been asked for it since, it was not lost, and nobody
// has paid it by hand.
func (b Books) left(base closure.Intent) decimal.Decimal {
	return closure.Cents(base.CashBefore.Decimal.Sub(b.outSince(base)).Sub(b.lostSince(base)).Sub(b.byHand(base)))
}

// outSince sums the OUTGOING transfers that the base's list did not have. Whoever asked for them and whatever became of
// them: what came back is paid in the next quiet.
func (b Books) outSince(base closure.Intent) decimal.Decimal {
	sum := decimal.Zero
	for _, t := range b.Transfers {
		if _, known := base.Listed[t.ID]; t.Outgoing() && !known {
			sum = sum.Add(t.Amount.Decimal)
		}
	}
	return sum
}

// lostSince sums what the lists show to have lowered the base's cash by no payout: fees and the like, and deposits that
// the base counted and that came to nothing.
func (b Books) lostSince(base closure.Intent) decimal.Decimal {
	sum := decimal.Zero
	for _, a := range b.Outflows {
		if _, known := base.Listed[a.ID]; !known {
			sum = sum.Sub(a.NetAmount.Decimal)
		}
	}
	for _, t := range b.Transfers {
		was := alpaca.Transfer{Status: base.Listed[t.ID]}
		before, _ := was.Fate()
		if f, _ := t.Fate(); !t.Outgoing() && before == alpaca.Complete && f != alpaca.Complete {
			sum = sum.Add(t.Amount.Decimal)
		}
	}
	return sum
}

// gap is how much the cash lies above (positive) or below what the books explain since the base. Only in quiet does it
// mean anything. What a person allowed by resuming is no gap, nor is what one has paid by hand.
func (b Books) gap() decimal.Decimal {
	base, ok := b.start()
	if !ok {
		return decimal.Zero
	}
	want := base.CashBefore.Decimal.Add(b.Proceeds).Sub(b.unlisted(base))
	for _, t := range b.Transfers {
		was, known := base.Listed[t.ID]
		f, _ := t.Fate()
		gone := f == alpaca.Complete || f == alpaca.InFlight
		before := alpaca.Transfer{Status: was}
		wasFate, _ := before.Fate()
		wasGone := known && (wasFate == alpaca.Complete || wasFate == alpaca.InFlight)
		switch {
		case gone == wasGone:
		case gone && t.Outgoing(), !gone && !t.Outgoing():
			want = want.Sub(t.Amount.Decimal)
		default:
			want = want.Add(t.Amount.Decimal)
		}
	}
	for _, a := range slices.Concat(b.Inflows, b.Outflows) {
		if _, known := base.Listed[a.ID]; !known && a.NetAmount.Valid {
			want = want.Add(a.NetAmount.Decimal)
		}
	}
	gap := b.Cash.Sub(want)
	if allowed, err := decimal.NewFromString(b.Memo.Allowed); err == nil {
		gap = gap.Sub(allowed)
	}
	return closure.Cents(gap)
}

// paid sums this closure's payouts that have arrived; back counts those that came back or were rejected.
func (b Books) paid() (sum decimal.Decimal, back int) {
	own := b.claimed()
	for _, t := range b.Transfers {
		if _, mine := own[t.ID]; !mine {
			continue
		}
		switch f, _ := t.Fate(); f {
		case alpaca.Complete:
			sum = sum.Add(t.Amount.Decimal)
		case alpaca.Failed, alpaca.Returned:
			back++
		case alpaca.InFlight:
		}
	}
	return sum, back
}

// match is the transfer that an intent without an answer may have made: not listed at its claim, no other intent's, the
// same relationship, amount and direction; the earliest of several.
func (b Books) match(i closure.Intent) (alpaca.Transfer, bool) {
	own := b.claimed()
	for _, t := range b.Transfers {
		_, mine := own[t.ID]
		_, known := i.Listed[t.ID]
		if !mine && !known && t.Outgoing() && t.RelationshipID == i.RelationshipID && t.Amount.Valid && t.Amount.Decimal.Equal(i.Amount.Decimal) {
			return t, true
		}
	}
	return alpaca.Transfer{}, false
}

// moved says whether cash or pending show that something left the account which no list has: then an absent transfer is
// not known to be absent. Only transfers that were listed at the claim and not surely booked then may explain a drop.
func (b Books) moved(i closure.Intent) bool {
	slack := decimal.Zero
	flying := decimal.Zero
	base, hasBase := b.base()
	for _, t := range b.Transfers {
		_, known := i.Listed[t.ID]
		_, atBase := base.Listed[t.ID]
		if t.Outgoing() && known && !i.Quiet && hasBase && !atBase {
			slack = slack.Add(t.Amount.Decimal)
		}
		if t.Outgoing() && !t.Ended() {
			flying = flying.Add(t.Amount.Decimal)
		}
	}
	if b.Cash.LessThan(i.CashBefore.Decimal.Sub(slack)) {
		return true
	}
	return b.PendingOut.Valid && b.PendingOut.Decimal.GreaterThan(flying)
}
