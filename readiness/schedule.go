package readiness

import (
	"slices"
	"time"

	"closeout/calendar"
	"closeout/closure"
)

// Schedule is when a closure gets where, if nothing comes between: business time, by both calendars.
type Schedule struct {
	Sell     *time.Time `json:"sells_at,omitempty" doc:"When the market takes the sales; absent if nothing is to be sold"`
	PayFrom  *time.Time `json:"pays_from,omitempty" doc:"When the cash can be withdrawn; absent if nothing is to be paid"`
	PaidBy   *time.Time `json:"paid_by,omitempty" doc:"When the last transfer has arrived"`
	Finished time.Time  `json:"expected_finish" required:"false" doc:"When the account is closed"`
}

// Finish is the expected finish of a closure that starts at the given time, such as its not_before. It is zero where nobody
// can tell: the report has no holdings, or somebody must act first.
func (c *Checker) Finish(r Report, start time.Time) time.Time {
	if r.Holdings == nil || slices.ContainsFunc(r.Obstacles, func(o Obstacle) bool { return o.Who != closure.Nobody }) {
		return time.Time{}
	}
	return c.schedule(later(start, c.Clock.Now()), *r.Holdings).Finished
}

// schedule walks the road: sell at the next open market, settle on T+1, pay once a banking day, watch, close.
func (c *Checker) schedule(start time.Time, h Holdings) Schedule {
	cal := c.Calendar()
	var s Schedule
	at := start
	switch {
	case h.Count > 0:
		sell := start
		if !cal.Open(sell) {
			sell = cal.NextOpen(sell)
		}
		s.Sell = &sell
		at = settled(cal, sell)
	case h.unsettled:
		at = settled(cal, start)
	}
	at = later(at, h.quiet)
	if h.Transfers == 0 {
		s.Finished = c.closed(at)
		return s
	}
	s.PayFrom = new(at)
	paid := paidBy(cal, at, h.Transfers)
	s.PaidBy = &paid
	s.Finished = c.closed(cal.Watched(paid, c.Policy.ReturnWatch))
	return s
}

// settled is when the proceeds of a trade at t can be withdrawn: after the morning's booking of its settlement date.
func settled(cal *calendar.Calendar, t time.Time) time.Time {
	return cal.NextMorning(cal.Settlement(calendar.DateOf(t)).Time())
}

// paidBy is when the last of n transfers has arrived, of which the first is made at t and each further one on the next
// banking day.
func paidBy(cal *calendar.Calendar, t time.Time, n int) time.Time {
	last := cal.AddBanking(cal.BankingDay(t), n-1)
	return bankMorning(cal.NextBanking(last))
}

// closed allows for the looks that notice an end: a closure sees it within a poll, and confirms its closing in another.
func (c *Checker) closed(t time.Time) time.Time {
	return t.Add(c.Policy.Polls[closure.Withdrawal] + c.Policy.Polls[closure.Closing])
}

// Expect is when a closure that is under way will be finished, judged from the ledger alone, so that it can be said while
// the broker is away. It is zero where nobody can tell: the closure stopped, or waits for a person. What is left to pay is
// taken from the books of the transfers made so far, or from the proceeds of the sales before the first one.
func (c *Checker) Expect(cl closure.Closure, intents []closure.Intent) time.Time {
	if cl.State == closure.Closed {
		return cl.EndedAt
	}
	if cl.State != closure.Running || cl.Who != closure.Nobody {
		return time.Time{}
	}
	cal, now := c.Calendar(), later(c.Clock.Now(), cl.NotBefore)
	switch cl.Phase {
	case closure.Liquidation:
		return c.schedule(now, Holdings{Count: 1, Transfers: 1}).Finished
	case closure.Settlement:
		at := later(settled(cal, cl.EnteredAt), now)
		return c.closed(cal.Watched(paidBy(cal, at, max(1, howMany(proceeds(intents), c.Policy.DailyLimit))), c.Policy.ReturnWatch))
	case closure.Withdrawal:
		return c.expectPaid(cal, now, cl, intents)
	case closure.Closing:
		return later(now, cl.DueAt).Add(c.Policy.Polls[closure.Closing])
	}
	return time.Time{}
}

// expectPaid is Expect within the withdrawal.
func (c *Checker) expectPaid(cal *calendar.Calendar, now time.Time, cl closure.Closure, intents []closure.Intent) time.Time {
	b := bookOf(intents)
	left := b.base.Sub(b.sinceBase)
	if b.last.IsZero() { // nothing was sent yet
		return c.closed(cal.Watched(paidBy(cal, now, max(1, howMany(proceeds(intents), c.Policy.DailyLimit))), c.Policy.ReturnWatch))
	}
	paid := arrival(cal, b.last)
	if n := howMany(left, c.Policy.DailyLimit); n > 0 {
		next := cal.BankingDayStart(cal.NextBanking(cal.BankingDay(b.last)))
		paid = paidBy(cal, later(now, next), n)
	}
	if cl.Reason != closure.ReturnWatch && b.inFlight && paid.Before(now) { // slower than it should be
		paid = arrival(cal, now)
	}
	return later(c.closed(cal.Watched(paid, c.Policy.ReturnWatch)), now.Add(c.Policy.Polls[closure.Withdrawal]))
}
