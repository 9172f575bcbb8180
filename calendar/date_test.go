package calendar_test

import (
	"testing"
	"time"

	"closeout/calendar"
)

func TestDateOfIsTheDateInNewYork(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		utc  string
		want calendar.Date
	}{
		{"2026-11-24T04:59:59Z", "2026-11-23"},
		{"2026-11-24T05:00:00Z", "2026-11-24"},
		{"2026-07-01T03:59:59Z", "2026-06-30"},
		{"2026-07-01T04:00:00Z", "2026-07-01"},
		{"1969-12-31T12:00:00Z", "1969-12-31"},
	} {
		when, err := time.Parse(time.RFC3339, tt.utc)
		if err != nil {
			t.Fatal(err)
		}
		if got := calendar.DateOf(when); got != tt.want {
			t.Errorf("the date at %s is %s, want %s", tt.utc, got, tt.want)
		}
	}
}

func TestDate(t *testing.T) {
	t.Parallel()
	d := calendar.Date("2026-02-27")
	if got := d.AddDays(2); got != "2026-03-01" {
		t.Errorf("two days after %s is %s", d, got)
	}
	if got := d.AddDays(-58); got != "2025-12-31" {
		t.Errorf("58 days before %s is %s", d, got)
	}
	if got := d.Weekday(); got != time.Friday {
		t.Errorf("%s is a %s", d, got)
	}
	if got := calendar.Date("1969-12-28").Weekday(); got != time.Sunday {
		t.Errorf("28 December 1969 is a %s", got)
	}
	if got := d.Time().Format(time.RFC3339); got != "2026-02-27T00:00:00-05:00" {
		t.Errorf("%s begins at %s", d, got)
	}
	if !d.Before("2026-03-01") || d.After("2026-03-01") || d.Before(d) || d.After(d) {
		t.Error("dates are out of order")
	}
}

func TestWhatIsNoDate(t *testing.T) {
	t.Parallel()
	c := calendar.Rules()
	for _, d := range []calendar.Date{"", "soon", "2026-02-29", "2026-2-03", "2026-11-24 ", "12026-11-24", "-026-11-24"} {
		if _, err := calendar.ParseDate(string(d)); err == nil {
			t.Errorf("%q was read", d)
		}
		if !d.Time().IsZero() || d.AddDays(1) != "" || c.Trading(d) || c.Banking(d) || c.NextTrading(d) != "" || c.NextBanking(d) != "" || !c.BankingDayStart(d).IsZero() {
			t.Errorf("%q is on a calendar", d)
		}
	}
	if got := calendar.Date("9999-12-31").AddDays(1); got != "" {
		t.Errorf("the day after the last is %q", got)
	}
}

func FuzzParseDate(f *testing.F) {
	for _, s := range []string{"2026-11-24", "2024-02-29", "2023-02-29", "0000-01-01", "9999-12-31", "", "2026-11-24T00:00:00Z", "２０２６-11-24"} {
		f.Add(s)
	}
	c := calendar.Rules()
	f.Fuzz(func(t *testing.T, s string) {
		d, err := calendar.ParseDate(s)
		if err != nil {
			if d != "" {
				t.Errorf("%q is refused and read as %q", s, d)
			}
			return
		}
		if string(d) != s || calendar.DateOf(d.Time()) != d {
			t.Errorf("%q is read as %q, whose midnight is on %s", s, d, calendar.DateOf(d.Time()))
		}
		if next := d.AddDays(1); next != "" && (!next.After(d) || next.AddDays(-1) != d) {
			t.Errorf("the day after %s is %s", d, next)
		}
		// No date may stop a search or disagree with its session.
		if _, ok := c.Session(d); ok != c.Trading(d) {
			t.Errorf("%s has a session: %t", d, ok)
		}
	})
}
