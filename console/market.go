package console

import (
	"fmt"
	"time"

	"closeout/calendar"
)

// market is how the market and the banks stand, in words.
type market struct {
	Open      bool
	Market    string // "open until 16:00"
	BanksOpen bool
	Banks     string
	Now       time.Time
}

// usualClose is when a whole session ends, in New York.
const usualClose = 16

// marketAt says how the market and the banks stand at a moment.
func marketAt(cal *calendar.Calendar, now time.Time) market {
	m := market{Open: cal.Open(now), Now: now}
	today := calendar.DateOf(now)
	if m.Open {
		m.Market = "open until " + clock(cal.NextClose(now))
		if early(cal.NextClose(now)) {
			m.Market += ", an early close"
		}
	} else {
		m.Market = "closed"
		if opens := cal.NextOpen(now); !opens.IsZero() {
			m.Market += ", opens " + dayAndClock(opens, today)
			if ends := cal.NextClose(opens); early(ends) {
				m.Market += ", closes early " + clock(ends)
			}
		}
	}
	if m.BanksOpen = cal.Banking(today); m.BanksOpen {
		m.Banks = "open today"
		if cal.BankingDay(now) != today {
			m.Banks += ", past the cut-off for payouts"
		}
	} else {
		m.Banks = "closed today, open " + cal.NextBanking(today).Time().Format("Mon 2 Jan")
	}
	return m
}

func early(t time.Time) bool { return t.In(calendar.NewYork).Hour() < usualClose }

func clock(t time.Time) string { return t.In(calendar.NewYork).Format("15:04") }

func dayAndClock(t time.Time, today calendar.Date) string {
	if calendar.DateOf(t) == today {
		return fmt.Sprintf("today %s", clock(t))
	}
	return t.In(calendar.NewYork).Format("Mon 2 Jan 15:04")
}
