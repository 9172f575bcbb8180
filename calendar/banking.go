package calendar

import "time"

const (
	// cutoffHour is when the broker stops taking ACH instructions for the day, 14:00 New York by its documentation.
	cutoffHour = 14

	// The broker books the night between 02:15 and 02:30 New York; a quarter of an hour later that is surely done.
	bookedHour, bookedMinute = 2, 45
)

// nextDaySince is the first trade date that settles on the next settlement date; earlier ones took two.
var nextDaySince = civil(2024, time.May, 28)

// Banking says whether banks process payments on d: a weekday that is no holiday of the Federal Reserve.
func (c *Calendar) Banking(d Date) bool { return c.banking(d.day()) }

// NextBanking is the first banking day after d.
func (c *Calendar) NextBanking(d Date) Date { return d.day().next(c.banking).date() }

// AddBanking is the nth banking day after d, or before it if n is negative; d itself if n is zero.
func (c *Calendar) AddBanking(d Date, n int) Date {
	at := d.day()
	for ; n > 0; n-- {
		at = at.next(c.banking)
	}
	for ; n < 0; n++ {
		at = at.previous(c.banking)
	}
	return at.date()
}

// BankingBetween counts the banking days after a, up to and including b.
func (c *Calendar) BankingBetween(a, b Date) int { return between(a.day(), b.day(), c.banking) }

// BankingDay is the ACH day to which an instruction given at t belongs: its date, if that is a banking day and the cutoff is
// still ahead, otherwise the next banking day.
func (c *Calendar) BankingDay(t time.Time) Date {
	n := dayOf(t)
	if c.banking(n) && t.Before(n.at(cutoffHour, 0)) {
		return n.date()
	}
	return n.next(c.banking).date()
}

// BankingDayStart is the first instant whose BankingDay is d: the cutoff of the banking day before. For a date that is no
// banking day it is the start of the next one, which is also the earliest that money can be meant for d.
func (c *Calendar) BankingDayStart(d Date) time.Time {
	return d.day().previous(c.banking).at(cutoffHour, 0)
}

// Settlement is when a trade made on d settles. A date without a session counts as the next one with: that is when an order
// given on it trades.
//
// The broker's word comes first. Otherwise it is the next date, two of them for trades before 28 May 2024, that is both a
// trading and a banking day: settlement ends in money moving between banks, so that Columbus Day and Veterans Day settle
// nothing although the market trades, and what was traded on them and on the date before settles together.
func (c *Calendar) Settlement(d Date) Date {
	n := d.day()
	if !c.trading(n) {
		n = n.next(c.trading)
	}
	return c.settles(n).date()
}

// Morning is the latest moment, t included, at which the broker's booking of the morning is surely done, on a date that is
// both a trading and a banking day: only there has it booked trades and payments alike.
func (c *Calendar) Morning(t time.Time) time.Time {
	n := dayOf(t)
	if at := n.at(bookedHour, bookedMinute); c.settling(n) && !at.After(t) {
		return at
	}
	return n.previous(c.settling).at(bookedHour, bookedMinute)
}

// Watched is when a watch of n whole banking days over money that arrived at t is over: with the morning's booking after
// the last of them. Without a watch the booking after t is enough.
func (c *Calendar) Watched(t time.Time, n int) time.Time {
	if n == 0 {
		return c.NextMorning(t)
	}
	return c.NextMorning(c.AddBanking(DateOf(t), n).AddDays(1).Time())
}

// NextMorning is the first such moment after t.
func (c *Calendar) NextMorning(t time.Time) time.Time { return booked(t, c.settling) }

// NextBooking is the first moment after t at which the booking of a trading date is surely done: enough where settled cash
// is awaited and no payment is.
func (c *Calendar) NextBooking(t time.Time) time.Time { return booked(t, c.trading) }

func booked(t time.Time, is func(day) bool) time.Time {
	n := dayOf(t)
	if at := n.at(bookedHour, bookedMinute); is(n) && at.After(t) {
		return at
	}
	return n.next(is).at(bookedHour, bookedMinute)
}

func (c *Calendar) banking(n day) bool { return n.exists() && n.banks() }

// settling says whether trades settle on n.
func (c *Calendar) settling(n day) bool { return c.banking(n) && c.trading(n) }

// settles is when a trade of the trading day n settles.
func (c *Calendar) settles(n day) day {
	if said := c.sessions[n].Settles.day(); said != noDay {
		return said
	}
	due := n.next(c.settling)
	if n < nextDaySince {
		due = due.next(c.settling)
	}
	return due
}
