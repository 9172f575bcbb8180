package readiness

import (
	"time"

	"closeout/calendar"
	"closeout/closure"
)

// DaysOf says which days count in a phase: the market's where something is sold or settles, the banks' where money is on its way.
func DaysOf(cal *calendar.Calendar, p closure.Phase) (is func(calendar.Date) bool) {
	if p == closure.Liquidation || p == closure.Settlement {
		return cal.Trading
	}
	return cal.Banking
}

// Usual is how many of a phase's days closures stay in it when all goes well, and one more. A payout above the daily limit
// takes a day for each part, so that a large account is past it with nothing wrong: it is a place to look first, no more.
func Usual(policy closure.Policy, p closure.Phase) int {
	switch p {
	case closure.Settlement:
		return 2 // T+1
	case closure.Withdrawal:
		return 2 + policy.ReturnWatch // a payout arrives on the next day, and is watched
	case closure.Liquidation, closure.Closing:
	}
	return 1
}

// PastUsual says of each phase since when a closure must be in it to have been there longer than usual.
func PastUsual(cal *calendar.Calendar, policy closure.Policy, now time.Time) map[closure.Phase]time.Time {
	out := map[closure.Phase]time.Time{}
	for _, s := range closure.Road {
		is := DaysOf(cal, s.Phase)
		d := calendar.DateOf(now)
		for n, back := 0, 0; back < 60; back++ { // no calendar is without a day for that long
			if is(d) {
				n++
			}
			if n > Usual(policy, s.Phase) {
				break
			}
			d = d.AddDays(-1)
		}
		out[s.Phase] = d.Time()
	}
	return out
}
