package sim

import (
	"sync"
	"time"
	_ "time/tzdata" // New York time on machines without a zone database
)

// Market says when the exchanges and the banks work. Dates are "2006-01-02" in New York.
type Market interface {
	// Session gives the trading hours of a date; ok is false where there are none.
	Session(date string) (open, close time.Time, ok bool)
	// Banking says whether ACH moves on that date.
	Banking(date string) bool
}

// NewYork is the zone of every exchange and bank time.
var NewYork = func() *time.Location {
	l, err := time.LoadLocation("America/New_York")
	if err != nil { // tzdata is linked in
		panic(err)
	}
	return l
}()

// USMarket is the NYSE and the Federal Reserve by their standing rules, which have held for every regular year since
// 2022; days of mourning and storms are not in it.
var USMarket Market = rules{}

type rules struct{}

// Session follows the NYSE: a holiday on a Saturday is kept on the Friday before, but for New Year's Day.
func (rules) Session(date string) (open, closes time.Time, ok bool) {
	d, err := time.ParseInLocation(time.DateOnly, date, NewYork)
	if err != nil || weekend(d) {
		return open, closes, false
	}
	y, m, day := d.Date()
	if holidaysOf(y).nyse[date] {
		return open, closes, false
	}
	hour := 16
	switch {
	case m == time.November && d.Equal(nth(y, time.November, time.Thursday, 4).AddDate(0, 0, 1)), // the day after Thanksgiving
		m == time.December && day == 24,
		m == time.July && day == 3 && !weekend(d.AddDate(0, 0, 1)):
		hour = 13
	}
	return time.Date(y, m, day, 9, 30, 0, 0, NewYork), time.Date(y, m, day, hour, 0, 0, 0, NewYork), true
}

// Banking follows the Federal Reserve: a holiday on a Saturday is not made up for.
func (rules) Banking(date string) bool {
	d, err := time.ParseInLocation(time.DateOnly, date, NewYork)
	if err != nil || weekend(d) {
		return false
	}
	return !holidaysOf(d.Year()).fed[date]
}

type kept struct{ nyse, fed map[string]bool }

var years sync.Map // int → kept

func holidaysOf(y int) kept {
	if k, ok := years.Load(y); ok {
		return k.(kept)
	}
	k := kept{map[string]bool{}, map[string]bool{}}
	for _, h := range holidays(y) {
		k.nyse[h.keptByNYSE().Format(time.DateOnly)] = k.nyse[h.keptByNYSE().Format(time.DateOnly)] || h.nyse
		k.fed[h.keptByFed().Format(time.DateOnly)] = k.fed[h.keptByFed().Format(time.DateOnly)] || h.fed
	}
	years.Store(y, k)
	return k
}

type holiday struct {
	day       time.Time
	nyse, fed bool
	newYear   bool
}

func (h holiday) keptByFed() time.Time {
	if h.day.Weekday() == time.Sunday {
		return h.day.AddDate(0, 0, 1)
	}
	return h.day
}

func (h holiday) keptByNYSE() time.Time {
	if h.day.Weekday() == time.Saturday && !h.newYear {
		return h.day.AddDate(0, 0, -1)
	}
	return h.keptByFed()
}

func holidays(y int) []holiday {
	on := func(m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, NewYork) }
	both := func(d time.Time) holiday { return holiday{day: d, nyse: true, fed: true} }
	return []holiday{
		{day: on(time.January, 1), nyse: true, fed: true, newYear: true},
		both(nth(y, time.January, time.Monday, 3)),
		both(nth(y, time.February, time.Monday, 3)),
		{day: easter(y).AddDate(0, 0, -2), nyse: true},
		both(on(time.June, 1).AddDate(0, 0, -1-(int(on(time.June, 1).AddDate(0, 0, -1).Weekday())+6)%7)), // last Monday of May
		both(on(time.June, 19)),
		both(on(time.July, 4)),
		both(nth(y, time.September, time.Monday, 1)),
		{day: nth(y, time.October, time.Monday, 2), fed: true},
		{day: on(time.November, 11), fed: true},
		both(nth(y, time.November, time.Thursday, 4)),
		both(on(time.December, 25)),
	}
}

// nth gives the n-th such weekday of a month.
func nth(y int, m time.Month, w time.Weekday, n int) time.Time {
	first := time.Date(y, m, 1, 0, 0, 0, 0, NewYork)
	return first.AddDate(0, 0, (int(w)-int(first.Weekday())+7)%7+7*(n-1))
}

// easter is Gauss's rule in its Gregorian form.
func easter(y int) time.Time {
	a, b, c := y%19, y/100, y%100
	d, e := b/4, b%4
	g := (8*b + 13) / 25
	h := (19*a + b - d - g + 15) % 30
	i, k := c/4, c%4
	l := (32 + 2*e + 2*i - h - k) % 7
	m := (a + 11*h + 22*l) / 451
	month, day := (h+l-7*m+114)/31, (h+l-7*m+114)%31+1
	return time.Date(y, time.Month(month), day, 0, 0, 0, 0, NewYork)
}

func weekend(d time.Time) bool { return d.Weekday() == time.Saturday || d.Weekday() == time.Sunday }

// market joins the rules with the hours at which the broker books.
type market struct{ Market }

func dateOf(t time.Time) string { return t.In(NewYork).Format(time.DateOnly) }

// at gives a New York wall time on a date.
func at(date string, hour, minute int) time.Time {
	d, _ := time.ParseInLocation(time.DateOnly, date, NewYork)
	return time.Date(d.Year(), d.Month(), d.Day(), hour, minute, 0, 0, NewYork)
}

func nextDate(date string) string {
	d, _ := time.ParseInLocation(time.DateOnly, date, NewYork)
	return d.AddDate(0, 0, 1).Format(time.DateOnly)
}

// session gives the session that t is in, or else the next one.
func (m market) session(t time.Time) (open, closes time.Time) {
	date := dateOf(t)
	for range 400 {
		if o, c, ok := m.Session(date); ok && t.Before(c) {
			return o, c
		}
		date = nextDate(date)
	}
	panic("sim: the market never opens again")
}

func (m market) open(t time.Time) bool {
	o, c, ok := m.Session(dateOf(t))
	return ok && !t.Before(o) && t.Before(c)
}

// after gives the first date after the given one for which ok holds.
func after(date string, ok func(string) bool) string {
	for range 400 {
		if date = nextDate(date); ok(date) {
			return date
		}
	}
	panic("sim: no such day within a year")
}

func (m market) trades(date string) bool { _, _, ok := m.Session(date); return ok }

// settlement is T+1: the next day on which both the exchange and the banks work. What is sold on the Friday before
// Columbus Day settles on Tuesday, together with what is sold on that Monday.
func (m market) settlement(trade string) string {
	return after(trade, func(d string) bool { return m.trades(d) && m.Banking(d) })
}

// achDay is the banking day on which a transfer asked for at t is processed, and whose limit it uses.
func (m market) achDay(t time.Time) string {
	date := dateOf(t)
	if m.Banking(date) && t.Before(at(date, 14, 0)) {
		return date
	}
	return after(date, m.Banking)
}

// booking is the first 02:30 of a working day, of the exchange or the banks, after t.
func (m market) booking(t time.Time) time.Time {
	date := dateOf(t)
	for range 400 {
		if b := at(date, 2, 30); b.After(t) && (m.trades(date) || m.Banking(date)) {
			return b
		}
		date = nextDate(date)
	}
	panic("sim: no morning within a year")
}
