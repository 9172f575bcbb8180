package calendar

import "time"

// The rules say what is published years ahead. They know nothing of the closures that no rule foresees (a storm, a day of
// mourning): those are in the broker's calendar, which is why it has the last word.
//
// Each is a question about one date, answered from its month and weekday: no table of years to build, keep or outgrow.

const (
	openHour, openMinute = 9, 30
	closeHour, earlyHour = 16, 13

	juneteenthSince = 2022 // the first year in which the exchanges and the Federal Reserve kept it
	kingSince       = 1998 // the first year in which the exchanges kept Martin Luther King's birthday
)

// trades says whether the New York Stock Exchange's rules have a session on n.
func (n day) trades() bool {
	if n.weekend() {
		return false
	}
	year, month, dom := n.civil()
	wd := n.weekday()
	switch month {
	case time.January:
		// A New Year on a Saturday is not kept on Friday: that would be the last day of the year's books.
		return !observed(dom, 1, wd, false) && (year < kingSince || !nth(dom, 3, wd, time.Monday))
	case time.February:
		return !nth(dom, 3, wd, time.Monday) // Washington's birthday
	case time.March, time.April:
		return n != goodFriday(year)
	case time.May:
		return wd != time.Monday || dom < 25 // Memorial Day is the last Monday
	case time.June:
		return year < juneteenthSince || !observed(dom, 19, wd, true)
	case time.July:
		return !observed(dom, 4, wd, true)
	case time.September:
		return !nth(dom, 1, wd, time.Monday) // Labor Day
	case time.November:
		return !nth(dom, 4, wd, time.Thursday) // Thanksgiving
	case time.December:
		return !observed(dom, 25, wd, true)
	default:
		return true
	}
}

// early says whether a day that trades closes at 13:00: before Independence Day, after Thanksgiving and on Christmas Eve.
// The third of July and Christmas Eve on a Friday do not trade at all, since the holiday then falls on a Saturday.
func (n day) early() bool {
	_, month, dom := n.civil()
	switch month {
	case time.July:
		return dom == 3
	case time.November:
		return nth(dom-1, 4, (n - 1).weekday(), time.Thursday)
	case time.December:
		return dom == 24
	default:
		return false
	}
}

// banks says whether the Federal Reserve Banks process payments on n.
func (n day) banks() bool {
	if n.weekend() {
		return false
	}
	year, month, dom := n.civil()
	wd := n.weekday()
	// A holiday on a Saturday is never kept on Friday: "For holidays falling on Saturday, Federal Reserve Banks and Branches
	// will be open the preceding Friday."
	switch month {
	case time.January:
		return !observed(dom, 1, wd, false) && !nth(dom, 3, wd, time.Monday)
	case time.February:
		return !nth(dom, 3, wd, time.Monday)
	case time.May:
		return wd != time.Monday || dom < 25
	case time.June:
		return year < juneteenthSince || !observed(dom, 19, wd, false)
	case time.July:
		return !observed(dom, 4, wd, false)
	case time.September:
		return !nth(dom, 1, wd, time.Monday)
	case time.October:
		return !nth(dom, 2, wd, time.Monday) // Columbus Day: the market is open
	case time.November:
		return !observed(dom, 11, wd, false) && !nth(dom, 4, wd, time.Thursday) // Veterans Day: the market is open
	case time.December:
		return !observed(dom, 25, wd, false)
	default:
		return true
	}
}

// observed says whether a weekday is the one on which a holiday of a fixed date is kept: its own, the Monday after a Sunday,
// and, where saturdays move as well, the Friday before a Saturday.
func observed(dom, holiday int, wd time.Weekday, saturdays bool) bool {
	return dom == holiday ||
		wd == time.Monday && dom == holiday+1 ||
		wd == time.Friday && dom == holiday-1 && saturdays
}

// nth says whether a day of the month is its nth such weekday.
func nth(dom, n int, wd, want time.Weekday) bool { return wd == want && dom > 7*(n-1) && dom <= 7*n }

// goodFriday is two days before Easter, by the Gregorian reckoning of Meeus, Jones and Butcher.
func goodFriday(year int) day {
	golden := year % 19
	century, rest := year/100, year%100
	f := (century + 8) / 25
	g := (century - f + 1) / 3
	epact := (19*golden + century - century/4 - g + 15) % 30
	l := (32 + 2*(century%4) + 2*(rest/4) - epact - rest%4) % 7
	m := (golden + 11*epact + 22*l) / 451
	month, dom := (epact+l-7*m+114)/31, (epact+l-7*m+114)%31+1
	return civil(year, time.Month(month), dom) - 2
}
