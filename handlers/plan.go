package handlers

import (
	"fmt"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"closeout/alpaca"
	"closeout/calendar"
	"closeout/closure"
)

// planKind says what the books call for.
type planKind int

const (
	planWait       planKind = iota + 1 // outcome says for what
	planFail                           // outcome says why
	planQuarantine                     // intent's outcome is unknown, and it is too early for a list to decide it
	planAdopt                          // transfer is what intent made
	planLate                           // transfer is what intent, given up for lost, made after all
	planAbsent                         // intent is not in this list; one more list must lack it
	planVoid                           // intent is in neither of the two lists
	planExcess                         // gap: the cash does not balance
	planPay                            // payout
	planEmpty                          // no money is left, and the return watch is over
)

type plan struct {
	do       planKind
	why      string
	outcome  closure.Outcome
	intent   closure.Intent
	transfer alpaca.Transfer
	gap      decimal.Decimal
	payout   Payout
}

func waitFor(o closure.Outcome) plan { return plan{do: planWait, outcome: o, why: o.Why} }
func failFor(r closure.Reason, why string) plan {
	return plan{do: planFail, outcome: closure.Fail(r, why), why: why}
}

// plan decides what the books call for: the rule of the quiet base, which the protocol's model checks. Its order matters:
// first what is not known, then what others did, then the cash.
func (b Books) plan() plan {
	if p, ok := b.unknowns(); ok {
		return p
	}
	if p, ok := b.others(); ok {
		return p
	}
	quiet, pending := b.quiet()
	cash := closure.Cents(b.Cash)
	if cash.LessThan(closure.Cent) {
		return b.empty(cash, quiet, pending)
	}
	room := cash
	if !quiet {
		base, ok := b.base()
		if !ok {
			return waitFor(pending)
		}
		// The first claim's cash was sure; of it, what the broker has not been asked for since may go, less what was lost.
		// A sale since then means that a trade was undone or shares came in: then only quiet tells what the cash is worth.
		room = b.left(base)
		if b.SoldSince || room.LessThan(closure.Cent) {
			return waitFor(pending)
		}
	} else if gap := b.gap(); gap.IsPositive() {
		return plan{do: planExcess, gap: gap, why: usd(gap) + " more is in the account than the books explain"}
	} else if start, ok := b.start(); ok && gap.IsNegative() && b.byHand(start).IsPositive() {
		// otherwise less than expected is what is left to pay; but a person's word stands for its sum and no other
		return plan{do: planExcess, gap: gap, why: usd(gap.Neg()) + " less is in the account than the books and what was paid by hand explain"}
	}
	return b.pay(cash, room, quiet)
}

// unknowns deals with intents whose outcome is not certain: nothing is paid while there is one.
func (b Books) unknowns() (plan, bool) {
	if p, ok := b.takenOver(); ok {
		return p, true
	}
	var sending bool
	for _, i := range b.Intents {
		switch i.State {
		case closure.IntentLate:
			return failFor(closure.LateTransfer, fmt.Sprintf("the payout of %s that was given up for lost was made after all", usd(i.Amount.Decimal))), true
		case closure.IntentSending:
			sending = true
		case closure.IntentSent, closure.IntentRefused, closure.IntentVoid:
		}
	}
	for _, i := range b.Intents { // unknown ones before void ones: a transfer that fits both is rather the unknown's
		if i.State == closure.IntentSending {
			return b.unknown(i), true
		}
	}
	for _, i := range b.Intents {
		if i.State != closure.IntentVoid || sending {
			continue
		}
		if t, ok := b.match(i); ok {
			return plan{do: planLate, intent: i, transfer: t, why: "a transfer given up for lost is in the list"}, true
		}
	}
	return plan{}, false
}

// takenOver waits until the last payout that an earlier system may have asked for is in the list, as every unknown one is waited
// for: until then nothing is paid, and no account is empty.
func (b Books) takenOver() (plan, bool) {
	t := b.Memo.TakenOver
	if t == nil || b.Asked.After(t.Wall.Add(b.Timing.Quarantine)) {
		return plan{}, false
	}
	return plan{do: planQuarantine, intent: closure.Intent{Deadline: t.Wall}, why: "a payout that the earlier system asked for last may not be listed yet"}, true
}

func (b Books) unknown(i closure.Intent) plan {
	if !b.Asked.After(i.Deadline.Add(b.Timing.Quarantine)) { // a list asked for before its end proves nothing
		return plan{do: planQuarantine, intent: i, why: fmt.Sprintf("the outcome of the payout of %s is not known; nobody sends it again", usd(i.Amount.Decimal))}
	}
	if t, ok := b.match(i); ok {
		return plan{do: planAdopt, intent: i, transfer: t, why: "an unknown payout is in the list"}
	}
	if b.moved(i) {
		return failFor(closure.UnknownTransfer, fmt.Sprintf("the payout of %s is in no list, yet the cash or the pending sum has moved", usd(i.Amount.Decimal)))
	}
	if i.AbsentAt.IsZero() || b.Asked.Before(i.AbsentAt.Add(b.Timing.Between)) {
		return plan{do: planAbsent, intent: i, why: "an unknown payout is not in the list"}
	}
	if b.Unknown == closure.Ask {
		return failFor(closure.UnknownTransfer, fmt.Sprintf("the payout of %s is in neither of two lists after its quarantine", usd(i.Amount.Decimal)))
	}
	return plan{do: planVoid, intent: i, why: "an unknown payout is in neither of two lists"}
}

// others waits for what the lists show of transfers that this service can't account for yet, and stops at payouts that
// keep coming back.
func (b Books) others() (plan, bool) {
	own := b.claimed()
	listed := map[string]bool{}
	for _, t := range b.Transfers {
		listed[t.ID] = true
		if !t.Amount.Valid {
			return waitFor(closure.Wait(0, closure.ListChanged, "the broker left out the amount of a transfer")), true
		}
		if _, mine := own[t.ID]; mine || !t.Outgoing() || b.old(t) {
			continue
		}
		if t.InReview() {
			return waitFor(inReview(t)), true
		}
		if t.Ended() {
			return waitFor(b.morningAfter(b.ended(t), "a withdrawal that this service did not ask for")), true
		}
		return waitFor(closure.Wait(0, closure.ForeignTransfer,
			fmt.Sprintf("a withdrawal of %s that this service did not ask for is %s", usd(t.Amount.Decimal), strings.ToLower(t.Status)))), true
	}
	for id, i := range own {
		if i.State == closure.IntentSent && !listed[id] {
			return waitFor(closure.Wait(0, closure.TransferUnlisted, fmt.Sprintf("the broker took the payout of %s and does not list it yet", usd(i.Amount.Decimal)))), true
		}
	}
	if _, back := b.paid(); back-b.Memo.Forgiven > 1 {
		return failFor(closure.ReturnedTwice, "payouts were returned or rejected twice"), true
	}
	return plan{}, false
}

// empty is an account without a cent: it is done when everything has ended, is booked, and the return watch is over.
func (b Books) empty(cash decimal.Decimal, quiet bool, pending closure.Outcome) plan {
	if !quiet {
		return waitFor(pending)
	}
	if cash.IsNegative() {
		return failFor(closure.NegativeCash, "the account owes "+usd(cash.Neg()))
	}
	if over := b.watched(); over.After(b.Now) {
		return waitFor(watching(over))
	}
	return plan{do: planEmpty, why: "no money is left"}
}

// watched is when the return watch over the payouts that have arrived ends; zero where none has.
func (b Books) watched() time.Time {
	own := b.claimed()
	var last time.Time
	for _, t := range b.Transfers {
		_, mine := own[t.ID]
		if f, _ := t.Fate(); mine && f == alpaca.Complete && b.ended(t).After(last) {
			last = b.ended(t)
		}
	}
	if last.IsZero() {
		return last
	}
	return b.Calendar.Watched(last, b.ReturnWatch)
}

func watching(over time.Time) closure.Outcome {
	return closure.WaitUntil(over, closure.ReturnWatch, "paid; watching for a return until "+newYork(over))
}

// pay sizes the next payout by what the banking day still allows.
func (b Books) pay(cash, room decimal.Decimal, quiet bool) plan {
	day := b.Calendar.BankingDay(b.Now)
	rest := b.DayLimit
	if rest.IsZero() {
		return waitFor(closure.Park(0, closure.TransfersBlocked, closure.Reasons[closure.TransfersBlocked].Title))
	}
	for _, i := range b.Intents {
		if i.State == closure.IntentRefused {
			continue
		}
		if next := b.nextPayout(i); next.After(b.Now) {
			return b.tomorrow(next, cash)
		}
	}
	if t := b.Memo.TakenOver; t != nil { // as if it had asked for a payout at that very moment
		if next := b.nextPayout(closure.Intent{BankingDay: string(b.Calendar.BankingDay(t.At)), ClaimedAt: t.At}); next.After(b.Now) {
			next = next.Add(time.Minute)
			return waitFor(closure.WaitUntil(next, closure.DayLimitUsed, fmt.Sprintf("%s is left; the banking day of the takeover is the earlier system's, the next payout may go %s", usd(cash), newYork(next))))
		}
	}
	for _, t := range b.Transfers {
		if f, _ := t.Fate(); t.Outgoing() && f != alpaca.Failed && b.Calendar.BankingDay(t.CreatedAt) == day {
			rest = rest.Sub(t.Amount.Decimal)
		}
	}
	if rest.LessThan(closure.Cent) {
		return b.tomorrow(b.Calendar.BankingDayStart(b.Calendar.NextBanking(day)), cash)
	}
	free := closure.Cents(b.Free)
	if free.LessThan(closure.Cent) && quiet { // nothing is on its way, and nothing settles
		return waitFor(closure.Wait(0, closure.CashHeld, fmt.Sprintf("%s is in the account and none of it can be withdrawn", usd(cash))))
	}
	if free.LessThan(closure.Cent) {
		return waitFor(closure.Wait(0, closure.NotWithdrawable, fmt.Sprintf("%s is in the account and none of it can be withdrawn yet", usd(cash))))
	}
	amount := closure.Cents(closure.Least(free, room, cash, rest))
	return plan{do: planPay, why: "pay out " + usd(amount), payout: Payout{
		Amount: amount, Day: day, CashBefore: b.Cash, Quiet: quiet, Listed: b.listed(), Left: closure.Least(room, cash).Sub(amount),
	}}
}

// nextPayout is when another payout may follow a claim. It keeps its banking day, void or not, and its calendar day:
// whichever of the two the broker counts by, one a day.
func (b Books) nextPayout(i closure.Intent) time.Time {
	banking := b.Calendar.BankingDayStart(b.Calendar.NextBanking(calendar.Date(i.Day())))
	if day := calendar.DateOf(i.ClaimedAt).AddDays(1).Time(); day.After(banking) {
		return day
	}
	return banking
}

func (b Books) tomorrow(t time.Time, cash decimal.Decimal) plan { return waitFor(dayUsed(t, cash)) }

func dayUsed(t time.Time, cash decimal.Decimal) closure.Outcome {
	t = t.Add(time.Minute)
	return closure.WaitUntil(t, closure.DayLimitUsed, fmt.Sprintf("%s is left; this banking day's transfer is made, the next may go %s", usd(cash), newYork(t)))
}
