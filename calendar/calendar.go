package calendar

import (
	"maps"
	"time"
)

// Session is one day of trading.
type Session struct {
	Date        Date
	Open, Close time.Time
	Settles     Date // when trades made that day settle; "" derives it
}

// Calendar answers when the market trades and when banks work. It never changes once made, so that any number of goroutines
// may read it.
type Calendar struct {
	known    []span          // where the broker's sessions have the last word; disjoint
	sessions map[day]Session // the sessions within known
}

// span is a range of days, both ends included.
type span struct{ from, to day }

// Rules is the calendar of the rule table alone.
func Rules() *Calendar { return &Calendar{} }

// With is the calendar in which the broker's sessions decide every date from from to to, both included: a date in the range
// without a session is closed, whatever the rules say. Sessions outside the range are left out; ranges given earlier stay
// known where the new one does not reach. A session whose hours make no sense (not on its date, or closing before it opens)
// is replaced by that of the rules, if they have one: a garbled answer must not open the market.
func (c *Calendar) With(sessions []Session, from, to Date) *Calendar {
	fresh := span{from.day(), to.day()}
	if fresh.from == noDay || fresh.to == noDay || fresh.to < fresh.from {
		return c
	}
	n := &Calendar{sessions: make(map[day]Session, len(c.sessions)+len(sessions))}
	maps.Copy(n.sessions, c.sessions)
	maps.DeleteFunc(n.sessions, func(d day, _ Session) bool { return fresh.has(d) })
	for _, s := range sessions {
		d := s.Date.day()
		if !fresh.has(d) {
			continue
		}
		if dayOf(s.Open) != d || dayOf(s.Close) != d || !s.Open.Before(s.Close) {
			open, end, ok := d.hours()
			if !ok {
				continue
			}
			s.Open, s.Close = open, end
		}
		if s.Settles.day() <= d {
			s.Settles = ""
		}
		n.sessions[d] = s
	}
	// Ranges that meet become one, so that a calendar refreshed daily for years does not grow by a range a day.
	for _, k := range c.known {
		if k.to < fresh.from-1 || k.from > fresh.to+1 {
			n.known = append(n.known, k)
			continue
		}
		fresh = span{min(k.from, fresh.from), max(k.to, fresh.to)}
	}
	n.known = append(n.known, fresh)
	return n
}

func (s span) has(d day) bool { return s.from <= d && d <= s.to }

// Session is the session of d, if d has one.
func (c *Calendar) Session(d Date) (Session, bool) {
	n := d.day()
	open, end, ok := c.hours(n)
	if !ok {
		return Session{}, false
	}
	return Session{Date: d, Open: open, Close: end, Settles: c.settles(n).date()}, true
}

// Trading says whether the market trades on d.
func (c *Calendar) Trading(d Date) bool { return c.trading(d.day()) }

// NextTrading is the first trading date after d.
func (c *Calendar) NextTrading(d Date) Date { return d.day().next(c.trading).date() }

// TradingBetween counts the trading dates after a, up to and including b.
func (c *Calendar) TradingBetween(a, b Date) int { return between(a.day(), b.day(), c.trading) }

// Open says whether the market is open at t. At the bell that opens it is open, at the bell that closes it is not.
func (c *Calendar) Open(t time.Time) bool {
	open, end, ok := c.hours(dayOf(t))
	return ok && !t.Before(open) && t.Before(end)
}

// NextOpen is when the first session opens that opens after t: while the market is open, that of the next trading date.
func (c *Calendar) NextOpen(t time.Time) time.Time {
	n := dayOf(t)
	if open, _, ok := c.hours(n); ok && open.After(t) {
		return open
	}
	open, _, _ := c.hours(n.next(c.trading))
	return open
}

// NextClose is when the first session closes that closes after t: while the market is open, that of today.
func (c *Calendar) NextClose(t time.Time) time.Time {
	n := dayOf(t)
	if _, end, ok := c.hours(n); ok && end.After(t) {
		return end
	}
	_, end, _ := c.hours(n.next(c.trading))
	return end
}

// OpenTime is how long the market is open between from and to; zero if to is not after from.
func (c *Calendar) OpenTime(from, to time.Time) time.Duration {
	var sum time.Duration
	if !to.After(from) {
		return sum
	}
	first, last := max(dayOf(from), firstDay), min(dayOf(to), lastDay)
	for n := first; n <= last; n++ {
		if n != first && n != last {
			sum += c.length(n)
			continue
		}
		// Only the days at the two ends can be cut: every session lies within its own date.
		if open, end, ok := c.hours(n); ok {
			if open.Before(from) {
				open = from
			}
			if end.After(to) {
				end = to
			}
			sum += max(0, end.Sub(open))
		}
	}
	return sum
}

func (c *Calendar) trading(n day) bool {
	if c.knows(n) {
		_, ok := c.sessions[n]
		return ok
	}
	return n.exists() && n.trades()
}

func (c *Calendar) knows(n day) bool {
	for _, k := range c.known {
		if k.has(n) {
			return true
		}
	}
	return false
}

// hours are the session's bells; false on a day without one.
func (c *Calendar) hours(n day) (opens, closes time.Time, ok bool) {
	if c.knows(n) {
		s, ok := c.sessions[n]
		return s.Open, s.Close, ok
	}
	return n.hours()
}

// hours are the session's bells by the rules alone.
func (n day) hours() (opens, closes time.Time, ok bool) {
	if !n.exists() || !n.trades() {
		return time.Time{}, time.Time{}, false
	}
	return n.at(openHour, openMinute), n.at(n.closing(), 0), true
}

func (n day) closing() int {
	if n.early() {
		return earlyHour
	}
	return closeHour
}

// length is how long the day's session lasts. It asks for no time zone, since no session spans a change of the clocks: that
// keeps months of them cheap.
func (c *Calendar) length(n day) time.Duration {
	if c.knows(n) {
		s := c.sessions[n]
		return s.Close.Sub(s.Open)
	}
	if !n.trades() {
		return 0
	}
	return time.Duration(n.closing()-openHour)*time.Hour - openMinute*time.Minute
}
