package calendar_test

import (
	"testing"
	"time"

	"closeout/calendar"
)

// at reads a New York time, "2026-11-25 15:59".
func at(tb testing.TB, s string) time.Time {
	tb.Helper()
	t, err := time.ParseInLocation("2006-01-02 15:04", s, calendar.NewYork)
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

func same(tb testing.TB, what string, got, want time.Time) {
	tb.Helper()
	if !got.Equal(want) {
		tb.Errorf("%s is %s, want %s", what, got.In(calendar.NewYork), want)
	}
}

func TestBells(t *testing.T) {
	t.Parallel()
	c := calendar.Rules()
	for _, tt := range []struct {
		at        string
		open      bool
		nextOpen  string
		nextClose string
	}{
		{"2026-11-24 09:29", false, "2026-11-24 09:30", "2026-11-24 16:00"},
		{"2026-11-24 09:30", true, "2026-11-25 09:30", "2026-11-24 16:00"},
		{"2026-11-24 15:59", true, "2026-11-25 09:30", "2026-11-24 16:00"},
		{"2026-11-24 16:00", false, "2026-11-25 09:30", "2026-11-25 16:00"},
		{"2026-11-25 17:00", false, "2026-11-27 09:30", "2026-11-27 13:00"}, // Thanksgiving is on the 26th
		{"2026-11-26 12:00", false, "2026-11-27 09:30", "2026-11-27 13:00"},
		{"2026-11-27 13:00", false, "2026-11-30 09:30", "2026-11-30 16:00"}, // the early close, then a weekend
		{"2026-04-02 16:00", false, "2026-04-06 09:30", "2026-04-06 16:00"}, // Good Friday
		{"2026-10-12 10:00", true, "2026-10-13 09:30", "2026-10-12 16:00"},  // Columbus Day
		{"2026-12-31 16:00", false, "2027-01-04 09:30", "2027-01-04 16:00"},
	} {
		now := at(t, tt.at)
		if got := c.Open(now); got != tt.open {
			t.Errorf("open at %s: %t", tt.at, got)
		}
		same(t, "the next opening after "+tt.at, c.NextOpen(now), at(t, tt.nextOpen))
		same(t, "the next close after "+tt.at, c.NextClose(now), at(t, tt.nextClose))
	}
}

// The bell rings at 9:30 in New York whatever the clocks did on the Sunday before.
func TestBellsAcrossAChangeOfTheClocks(t *testing.T) {
	t.Parallel()
	c := calendar.Rules()
	for _, tt := range []struct {
		friday, before, after string
	}{
		{"2026-03-06 16:00", "14:30", "13:30"}, // forward on Sunday, 8 March
		{"2026-10-30 16:00", "13:30", "14:30"}, // back on Sunday, 1 November
	} {
		friday := at(t, tt.friday)
		opened, _ := c.Session(calendar.DateOf(friday))
		if got := opened.Open.UTC().Format("15:04"); got != tt.before {
			t.Errorf("before the change it opens at %s UTC, want %s", got, tt.before)
		}
		opens := c.NextOpen(friday)
		if got := opens.UTC().Format("15:04"); got != tt.after {
			t.Errorf("after the change it opens at %s UTC, want %s", got, tt.after)
		}
		if got, want := c.OpenTime(friday.AddDate(0, 0, -1), friday.AddDate(0, 0, 3)), 13*time.Hour; got != want {
			t.Errorf("from Thursday's close to Monday's it is open for %s, want %s", got, want)
		}
		same(t, "the morning booking", c.NextMorning(friday), opens.Add(-6*time.Hour-45*time.Minute))
	}
}

func TestOpenTime(t *testing.T) {
	t.Parallel()
	c := calendar.Rules()
	for _, tt := range []struct {
		from, to string
		want     time.Duration
	}{
		{"2026-11-24 10:00", "2026-11-24 10:15", 15 * time.Minute},
		{"2026-11-24 08:00", "2026-11-24 20:00", 6*time.Hour + 30*time.Minute},
		{"2026-11-24 16:00", "2026-11-25 09:30", 0},
		{"2026-11-25 15:00", "2026-11-30 10:00", 5 * time.Hour}, // an hour, nothing on Thanksgiving, three and a half, half an hour
		{"2026-11-24 10:15", "2026-11-24 10:00", 0},
		{"2026-01-01 00:00", "2027-01-01 00:00", 249*(6*time.Hour+30*time.Minute) + 2*(3*time.Hour+30*time.Minute)},
	} {
		if got := c.OpenTime(at(t, tt.from), at(t, tt.to)); got != tt.want {
			t.Errorf("open from %s to %s for %s, want %s", tt.from, tt.to, got, tt.want)
		}
	}
}

func TestSettlement(t *testing.T) {
	t.Parallel()
	c := calendar.Rules()
	for _, tt := range []struct {
		name          string
		trade, settle calendar.Date
	}{
		{"the next day", "2026-11-23", "2026-11-24"},
		{"over a weekend", "2026-11-20", "2026-11-23"},
		{"over Thanksgiving", "2026-11-25", "2026-11-27"},
		{"over Good Friday, although banks are open", "2026-04-02", "2026-04-06"},
		{"two settlements stack behind Columbus Day: the Friday before", "2026-10-09", "2026-10-13"},
		{"two settlements stack behind Columbus Day: the day itself", "2026-10-12", "2026-10-13"},
		{"two settlements stack behind Veterans Day: the day before", "2026-11-10", "2026-11-12"},
		{"two settlements stack behind Veterans Day: the day itself", "2026-11-11", "2026-11-12"},
		{"a Saturday trades on Monday", "2026-11-21", "2026-11-24"},
		{"the last trade date that took two days", "2024-05-24", "2024-05-29"},
		{"the first that takes one", "2024-05-28", "2024-05-29"},
		{"no date", "", ""},
	} {
		if got := c.Settlement(tt.trade); got != tt.settle {
			t.Errorf("%s: %s settles on %q, want %q", tt.name, tt.trade, got, tt.settle)
		}
	}
}

func TestSessionSaysWhenItSettles(t *testing.T) {
	t.Parallel()
	c := calendar.Rules()
	s, ok := c.Session("2026-11-25")
	if !ok || s.Date != "2026-11-25" || s.Settles != "2026-11-27" {
		t.Errorf("the session of 25 November 2026 is %+v", s)
	}
	if s, ok := c.Session("2026-11-26"); ok || s != (calendar.Session{}) {
		t.Errorf("Thanksgiving has the session %+v", s)
	}
}

func TestBankingDay(t *testing.T) {
	t.Parallel()
	c := calendar.Rules()
	for _, tt := range []struct {
		at   string
		want calendar.Date
	}{
		{"2026-11-24 00:00", "2026-11-24"},
		{"2026-11-24 13:59", "2026-11-24"},
		{"2026-11-24 14:00", "2026-11-25"},
		{"2026-11-25 14:00", "2026-11-27"}, // Thanksgiving
		{"2026-11-27 13:30", "2026-11-27"}, // banks work all day while the market closes early
		{"2026-11-27 14:00", "2026-11-30"},
		{"2026-10-09 15:00", "2026-10-13"}, // Columbus Day
		{"2026-10-12 10:00", "2026-10-13"},
		{"2026-04-03 10:00", "2026-04-03"}, // Good Friday
		{"2026-03-08 02:30", "2026-03-09"}, // an hour that the clocks skipped
	} {
		if got := c.BankingDay(at(t, tt.at)); got != tt.want {
			t.Errorf("the banking day at %s is %s, want %s", tt.at, got, tt.want)
		}
	}
	same(t, "the start of the banking day after Columbus Day", c.BankingDayStart("2026-10-13"), at(t, "2026-10-09 14:00"))
	same(t, "the start of a Sunday, which is no banking day", c.BankingDayStart("2026-11-22"), c.BankingDayStart("2026-11-23"))
}

func TestCountingDays(t *testing.T) {
	t.Parallel()
	c := calendar.Rules()
	for _, tt := range []struct {
		from calendar.Date
		n    int
		want calendar.Date
	}{
		{"2026-11-24", 0, "2026-11-24"},
		{"2026-11-22", 0, "2026-11-22"},
		{"2026-11-24", 2, "2026-11-27"},
		{"2026-11-22", 1, "2026-11-23"},
		{"2026-11-27", -2, "2026-11-24"},
		{"2026-10-09", 1, "2026-10-13"},
		{"", 3, ""},
		{"9999-12-31", 1, ""},
	} {
		if got := c.AddBanking(tt.from, tt.n); got != tt.want {
			t.Errorf("%d banking days after %q is %q, want %q", tt.n, tt.from, got, tt.want)
		}
	}
	for _, tt := range []struct {
		a, b             calendar.Date
		trading, banking int
	}{
		{"2026-10-09", "2026-10-13", 2, 1}, // Columbus Day trades
		{"2026-04-02", "2026-04-06", 1, 2}, // Good Friday banks
		{"2026-11-25", "2026-11-25", 0, 0},
		{"2026-11-25", "2026-11-24", 0, 0},
		{"", "2026-11-24", 0, 0},
		{"2025-12-31", "2026-12-31", 251, 251},
	} {
		if got := c.TradingBetween(tt.a, tt.b); got != tt.trading {
			t.Errorf("%d trading days between %q and %q, want %d", got, tt.a, tt.b, tt.trading)
		}
		if got := c.BankingBetween(tt.a, tt.b); got != tt.banking {
			t.Errorf("%d banking days between %q and %q, want %d", got, tt.a, tt.b, tt.banking)
		}
	}
}

func TestMornings(t *testing.T) {
	t.Parallel()
	c := calendar.Rules()
	for _, tt := range []struct {
		at                          string
		last, nextMorning, nextBook string
	}{
		{"2026-11-24 02:44", "2026-11-23 02:45", "2026-11-24 02:45", "2026-11-24 02:45"},
		{"2026-11-24 02:45", "2026-11-24 02:45", "2026-11-25 02:45", "2026-11-25 02:45"},
		{"2026-11-25 12:00", "2026-11-25 02:45", "2026-11-27 02:45", "2026-11-27 02:45"}, // Thanksgiving
		{"2026-10-10 12:00", "2026-10-09 02:45", "2026-10-13 02:45", "2026-10-12 02:45"}, // Columbus Day books trades alone
		{"2026-04-03 12:00", "2026-04-02 02:45", "2026-04-06 02:45", "2026-04-06 02:45"}, // Good Friday books no trades
	} {
		now := at(t, tt.at)
		same(t, "the last morning at "+tt.at, c.Morning(now), at(t, tt.last))
		same(t, "the next morning after "+tt.at, c.NextMorning(now), at(t, tt.nextMorning))
		same(t, "the next booking after "+tt.at, c.NextBooking(now), at(t, tt.nextBook))
	}
}

func TestWatched(t *testing.T) {
	t.Parallel()
	c := calendar.Rules()
	for _, tc := range []struct {
		arrived string
		days    int
		over    string
	}{
		{"2026-11-17 08:30", 2, "2026-11-20 02:45"}, // Tuesday; Wednesday and Thursday are watched
		{"2026-11-24 08:30", 2, "2026-11-30 02:45"}, // Wednesday, Friday: Thanksgiving is no banking day
		{"2026-11-17 08:30", 0, "2026-11-18 02:45"},
	} {
		same(t, tc.arrived, c.Watched(at(t, tc.arrived), tc.days), at(t, tc.over))
	}
}
