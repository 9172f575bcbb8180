package calendar_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"closeout/calendar"
)

// The holidays that the New York Stock Exchange published, year by year. The day of mourning of 9 January 2025 is not among
// them: no rule foresees it, see TestWith.
var exchangeHolidays = map[int][]calendar.Date{
	2023: {"2023-01-02", "2023-01-16", "2023-02-20", "2023-04-07", "2023-05-29", "2023-06-19", "2023-07-04", "2023-09-04", "2023-11-23", "2023-12-25"},
	2024: {"2024-01-01", "2024-01-15", "2024-02-19", "2024-03-29", "2024-05-27", "2024-06-19", "2024-07-04", "2024-09-02", "2024-11-28", "2024-12-25"},
	2025: {"2025-01-01", "2025-01-20", "2025-02-17", "2025-04-18", "2025-05-26", "2025-06-19", "2025-07-04", "2025-09-01", "2025-11-27", "2025-12-25"},
	2026: {"2026-01-01", "2026-01-19", "2026-02-16", "2026-04-03", "2026-05-25", "2026-06-19", "2026-07-03", "2026-09-07", "2026-11-26", "2026-12-25"},
	2027: {"2027-01-01", "2027-01-18", "2027-02-15", "2027-03-26", "2027-05-31", "2027-06-18", "2027-07-05", "2027-09-06", "2027-11-25", "2027-12-24"},
}

// The days on which the exchange closes at 13:00, as published.
var exchangeEarly = map[int][]calendar.Date{
	2023: {"2023-07-03", "2023-11-24"},
	2024: {"2024-07-03", "2024-11-29", "2024-12-24"},
	2025: {"2025-07-03", "2025-11-28", "2025-12-24"},
	2026: {"2026-11-27", "2026-12-24"},
	2027: {"2027-11-26"},
}

// The weekdays on which the Federal Reserve Banks are closed, as published.
var bankHolidays = map[int][]calendar.Date{
	2023: {"2023-01-02", "2023-01-16", "2023-02-20", "2023-05-29", "2023-06-19", "2023-07-04", "2023-09-04", "2023-10-09", "2023-11-23", "2023-12-25"},
	2024: {"2024-01-01", "2024-01-15", "2024-02-19", "2024-05-27", "2024-06-19", "2024-07-04", "2024-09-02", "2024-10-14", "2024-11-11", "2024-11-28", "2024-12-25"},
	2025: {"2025-01-01", "2025-01-20", "2025-02-17", "2025-05-26", "2025-06-19", "2025-07-04", "2025-09-01", "2025-10-13", "2025-11-11", "2025-11-27", "2025-12-25"},
	2026: {"2026-01-01", "2026-01-19", "2026-02-16", "2026-05-25", "2026-06-19", "2026-09-07", "2026-10-12", "2026-11-11", "2026-11-26", "2026-12-25"},
	2027: {"2027-01-01", "2027-01-18", "2027-02-15", "2027-05-31", "2027-07-05", "2027-09-06", "2027-10-11", "2027-11-11", "2027-11-25"},
}

func TestRulesGiveThePublishedHolidays(t *testing.T) {
	t.Parallel()
	c := calendar.Rules()
	for year, want := range exchangeHolidays {
		got := weekdays(year, func(d calendar.Date) bool { return !c.Trading(d) })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("exchange holidays of %d (-published +rules):\n%s", year, diff)
		}
	}
	for year, want := range exchangeEarly {
		got := weekdays(year, func(d calendar.Date) bool {
			s, ok := c.Session(d)
			return ok && s.Close.Hour() == 13
		})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("early closes of %d (-published +rules):\n%s", year, diff)
		}
	}
	for year, want := range bankHolidays {
		got := weekdays(year, func(d calendar.Date) bool { return !c.Banking(d) })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("bank holidays of %d (-published +rules):\n%s", year, diff)
		}
	}
}

func TestNewYearOnEachWeekday(t *testing.T) {
	t.Parallel()
	c := calendar.Rules()
	for _, tt := range []struct {
		weekday time.Weekday
		newYear calendar.Date
		closed  calendar.Date // the weekday on which it is kept, "" for none
	}{
		{time.Sunday, "2017-01-01", "2017-01-02"},
		{time.Monday, "2018-01-01", "2018-01-01"},
		{time.Tuesday, "2019-01-01", "2019-01-01"},
		{time.Wednesday, "2020-01-01", "2020-01-01"},
		{time.Thursday, "2026-01-01", "2026-01-01"},
		{time.Friday, "2021-01-01", "2021-01-01"},
		{time.Saturday, "2022-01-01", ""},
	} {
		if got := tt.newYear.Weekday(); got != tt.weekday {
			t.Fatalf("%s is a %s, the table says %s", tt.newYear, got, tt.weekday)
		}
		for d := tt.newYear.AddDays(-3); d.Before(tt.newYear.AddDays(4)); d = d.AddDays(1) {
			weekend := d.Weekday() == time.Saturday || d.Weekday() == time.Sunday
			want := d != tt.closed && !weekend
			if c.Trading(d) != want || c.Banking(d) != want {
				t.Errorf("%s: trading %t, banking %t, want %t", d, c.Trading(d), c.Banking(d), want)
			}
		}
	}
}

func TestHolidaysThatAreOneCalendarsOnly(t *testing.T) {
	t.Parallel()
	c := calendar.Rules()
	for _, tt := range []struct {
		name             string
		dates            []calendar.Date
		trading, banking bool
	}{
		{"Good Friday", []calendar.Date{"2000-04-21", "2008-03-21", "2011-04-22", "2019-04-19", "2030-04-19", "2038-04-23", "2049-04-16", "2100-03-26"}, false, true},
		{"Columbus Day", []calendar.Date{"2022-10-10", "2024-10-14", "2026-10-12", "2029-10-08"}, true, false},
		{"Veterans Day", []calendar.Date{"2024-11-11", "2026-11-11"}, true, false},
		{"Veterans Day on a Sunday, the Monday", []calendar.Date{"2029-11-12", "2018-11-12"}, true, false},
		{"Veterans Day on a Saturday, the Friday", []calendar.Date{"2023-11-10", "2028-11-10"}, true, true},
		{"Independence Day on a Saturday, the Friday", []calendar.Date{"2026-07-03", "2020-07-03"}, false, true},
		{"Christmas on a Saturday, the Friday", []calendar.Date{"2021-12-24", "2027-12-24"}, false, true},
		{"Juneteenth on a Sunday, the Monday", []calendar.Date{"2022-06-20"}, false, false},
		{"Juneteenth before it was kept", []calendar.Date{"2019-06-19", "2020-06-19"}, true, true},
		{"Martin Luther King's birthday before the exchange kept it", []calendar.Date{"1997-01-20"}, true, false},
	} {
		for _, d := range tt.dates {
			if c.Trading(d) != tt.trading || c.Banking(d) != tt.banking {
				t.Errorf("%s, %s: trading %t, want %t; banking %t, want %t", tt.name, d, c.Trading(d), tt.trading, c.Banking(d), tt.banking)
			}
		}
	}
}

// TestEachYearIsSane catches a rule that goes wrong in a year that no table here names.
func TestEachYearIsSane(t *testing.T) {
	t.Parallel()
	c := calendar.Rules()
	for year := 1990; year <= 2100; year++ {
		closed := weekdays(year, func(d calendar.Date) bool { return !c.Trading(d) })
		if n := len(closed); n < 7 || n > 10 {
			t.Errorf("%d has %d exchange holidays on weekdays: %v", year, n, closed)
		}
		fridays := slices.DeleteFunc(closed, func(d calendar.Date) bool { return !c.Banking(d) || d.Weekday() != time.Friday })
		if len(fridays) == 0 {
			t.Errorf("%d has no Good Friday", year)
		}
		if n := len(weekdays(year, func(d calendar.Date) bool { return !c.Banking(d) })); n < 7 || n > 11 {
			t.Errorf("%d has %d bank holidays on weekdays", year, n)
		}
	}
}

// weekdays are those of the year, weekends left out, of which is holds.
func weekdays(year int, is func(calendar.Date) bool) []calendar.Date {
	var found []calendar.Date
	for d := calendar.DateOf(time.Date(year, time.January, 1, 12, 0, 0, 0, calendar.NewYork)); d.Time().Year() == year; d = d.AddDays(1) {
		if wd := d.Weekday(); wd != time.Saturday && wd != time.Sunday && is(d) {
			found = append(found, d)
		}
	}
	return found
}
