package calendar

import (
	"fmt"
	"math"
	"time"
	_ "time/tzdata" // a slim container image has no time zones, and every date here is a New York date
)

// NewYork is America/New_York, where every date and hour of this package is.
var NewYork = newYork()

func newYork() *time.Location {
	l, err := time.LoadLocation("America/New_York")
	if err != nil {
		panic(err) // the zones are compiled in: only a broken build comes here
	}
	return l
}

// Date is a day in New York, written 2006-01-02. Its order as a string is its order in time. A string that is no date stands
// for none: no calendar has it, it has no successor, and counting from or to it gives zero.
type Date string

// ParseDate reads a date written 2006-01-02, and nothing else.
func ParseDate(s string) (Date, error) {
	if Date(s).day() == noDay {
		return "", fmt.Errorf("a date is written 2006-01-02 and must exist, got %q", s)
	}
	return Date(s), nil
}

// DateOf is the date in New York at t.
func DateOf(t time.Time) Date { return dayOf(t).date() }

// Time is the midnight with which the date begins in New York; the zero time for a string that is no date.
func (d Date) Time() time.Time { return d.day().at(0, 0) }

// AddDays is n calendar days later, or earlier if n is negative.
func (d Date) AddDays(n int) Date {
	from := d.day()
	if from == noDay {
		return ""
	}
	return (from + day(n)).date()
}

// Weekday is the date's day of the week; Sunday for a string that is no date.
func (d Date) Weekday() time.Weekday {
	n := d.day()
	if n == noDay {
		return time.Sunday
	}
	return n.weekday()
}

// Before says whether d is earlier than e.
func (d Date) Before(e Date) bool { return d < e }

// After says whether d is later than e.
func (d Date) After(e Date) bool { return d > e }

func (d Date) day() day {
	t, err := time.Parse(time.DateOnly, string(d))
	if err != nil {
		return noDay
	}
	return day(t.Unix() / secondsOfDay)
}

// day is a date as a number, days since the first of January 1970: what the package counts with, so that walking over
// months of dates neither parses nor allocates.
type day int

const (
	secondsOfDay = 24 * 60 * 60
	noDay        = day(math.MinInt)
)

// The days that four digits of a year can write. Every search ends at these, whatever the sessions say.
var (
	firstDay = civil(0, time.January, 1)
	lastDay  = civil(9999, time.December, 31)
)

func civil(year int, month time.Month, dom int) day {
	return day(time.Date(year, month, dom, 0, 0, 0, 0, time.UTC).Unix() / secondsOfDay)
}

func dayOf(t time.Time) day { return civil(t.In(NewYork).Date()) }

func (n day) exists() bool { return n >= firstDay && n <= lastDay }

func (n day) civil() (int, time.Month, int) { return time.Unix(int64(n)*secondsOfDay, 0).UTC().Date() }

// weekday needs no calendar: the first of January 1970 was a Thursday. The second remainder makes earlier days positive.
func (n day) weekday() time.Weekday { return time.Weekday(((int(n)+4)%7 + 7) % 7) }

func (n day) weekend() bool { return n.weekday() == time.Saturday || n.weekday() == time.Sunday }

func (n day) date() Date {
	if !n.exists() {
		return ""
	}
	return Date(time.Unix(int64(n)*secondsOfDay, 0).UTC().Format(time.DateOnly))
}

// at is an hour of the day on New York's clocks. A change of the clocks skips or repeats none that matters here: it comes on
// a Sunday at two, when nothing opens, closes or is booked.
func (n day) at(hour, minute int) time.Time {
	if !n.exists() {
		return time.Time{}
	}
	year, month, dom := n.civil()
	return time.Date(year, month, dom, hour, minute, 0, 0, NewYork)
}

// next is the first day after n of which is holds; noDay if there is none.
func (n day) next(is func(day) bool) day {
	if !n.exists() {
		return noDay
	}
	for n++; n <= lastDay; n++ {
		if is(n) {
			return n
		}
	}
	return noDay
}

// previous is the last day before n of which is holds; noDay if there is none.
func (n day) previous(is func(day) bool) day {
	if !n.exists() {
		return noDay
	}
	for n--; n >= firstDay; n-- {
		if is(n) {
			return n
		}
	}
	return noDay
}

// between counts the days after a, up to and including b, of which is holds.
func between(a, b day, is func(day) bool) int {
	count := 0
	if !a.exists() || !b.exists() {
		return count
	}
	for n := a + 1; n <= b; n++ {
		if is(n) {
			count++
		}
	}
	return count
}
