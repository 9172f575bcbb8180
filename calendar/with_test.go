package calendar_test

import (
	"sync"
	"testing"
	"time"

	"closeout/calendar"
)

// session is one of the broker's; hours are New York time, "09:30".
func session(tb testing.TB, d calendar.Date, opens, closes string, settles calendar.Date) calendar.Session {
	tb.Helper()
	return calendar.Session{Date: d, Open: at(tb, string(d)+" "+opens), Close: at(tb, string(d)+" "+closes), Settles: settles}
}

func TestWith(t *testing.T) {
	t.Parallel()
	rules := calendar.Rules()
	week := []calendar.Session{
		session(t, "2025-01-06", "09:30", "16:00", ""),
		session(t, "2025-01-07", "09:30", "16:00", "2025-01-10"), // the broker's settlement date stands, odd as it may be
		session(t, "2025-01-08", "09:30", "12:15", ""),           // a close that no rule has
		session(t, "2025-01-10", "09:30", "16:00", "2025-01-10"), // settles before it trades: derived instead
		session(t, "2025-01-13", "09:30", "10:00", ""),           // outside the range: the rules stand
	}
	c := rules.With(week, "2025-01-04", "2025-01-12")

	// The ninth of January 2025 was a day of mourning: the market was closed, the banks were open.
	if c.Trading("2025-01-09") || !c.Banking("2025-01-09") || !rules.Trading("2025-01-09") {
		t.Error("the day of mourning is closed to trading alone, and to the new calendar alone")
	}
	same(t, "the next opening", c.NextOpen(at(t, "2025-01-08 12:15")), at(t, "2025-01-10 09:30"))
	same(t, "the last close of the range", c.NextClose(at(t, "2025-01-08 09:30")), at(t, "2025-01-08 12:15"))
	same(t, "the first opening behind the range", c.NextOpen(at(t, "2025-01-10 09:30")), at(t, "2025-01-13 09:30"))
	same(t, "the close behind the range", c.NextClose(at(t, "2025-01-12 00:00")), at(t, "2025-01-13 16:00"))
	if got, want := c.OpenTime(at(t, "2025-01-06 12:00"), at(t, "2025-01-10 10:00")), 4*time.Hour+390*time.Minute+165*time.Minute+30*time.Minute; got != want {
		t.Errorf("open for %s, want %s", got, want)
	}
	for trade, want := range map[calendar.Date]calendar.Date{
		"2025-01-06": "2025-01-07",
		"2025-01-07": "2025-01-10",
		"2025-01-08": "2025-01-10", // nothing settles on the ninth
		"2025-01-09": "2025-01-13", // trades on the tenth
		"2025-01-10": "2025-01-13",
	} {
		if got := c.Settlement(trade); got != want {
			t.Errorf("%s settles on %s, want %s", trade, got, want)
		}
	}
}

func TestWithASessionOnADayThatTheRulesClose(t *testing.T) {
	t.Parallel()
	c := calendar.Rules().With([]calendar.Session{session(t, "2026-11-21", "10:00", "11:00", "")}, "2026-11-21", "2026-11-21")
	if !c.Open(at(t, "2026-11-21 10:30")) || c.Banking("2026-11-21") {
		t.Error("the Saturday that the broker names trades, and is still no banking day")
	}
}

func TestWithGarbledSessions(t *testing.T) {
	t.Parallel()
	c := calendar.Rules().With([]calendar.Session{
		{Date: "2026-11-23"},                           // no hours
		session(t, "2026-11-24", "16:00", "09:30", ""), // closes before it opens
		{Date: "2026-11-25", Open: at(t, "2026-11-25 09:30"), Close: at(t, "2026-11-26 09:30")}, // ends on another date
		{Date: "2026-11-26"}, // no hours, on Thanksgiving
		{Date: "27 November", Open: at(t, "2026-11-27 09:30"), Close: at(t, "2026-11-27 13:00")},
	}, "2026-11-23", "2026-11-27")
	for _, d := range []calendar.Date{"2026-11-23", "2026-11-24", "2026-11-25"} {
		s, ok := c.Session(d)
		if !ok {
			t.Errorf("%s does not trade", d)
			continue
		}
		same(t, "the opening by the rules", s.Open, at(t, string(d)+" 09:30"))
		same(t, "the close by the rules", s.Close, at(t, string(d)+" 16:00"))
	}
	for _, d := range []calendar.Date{"2026-11-26", "2026-11-27"} {
		if c.Trading(d) {
			t.Errorf("%s trades", d)
		}
	}
	if got := calendar.Rules().With(nil, "2026-11-27", "2026-11-23"); !got.Trading("2026-11-24") {
		t.Error("a range that ends before it begins closes a date")
	}
	if got := calendar.Rules().With(nil, "", "2026-11-23"); !got.Trading("2026-11-23") {
		t.Error("a range without a beginning closes a date")
	}
}

func TestWithLaterRanges(t *testing.T) {
	t.Parallel()
	first := calendar.Rules().With([]calendar.Session{session(t, "2026-11-23", "09:30", "11:00", "")}, "2026-11-23", "2026-11-24")
	c := first.
		With([]calendar.Session{session(t, "2026-12-01", "09:30", "12:00", "")}, "2026-12-01", "2026-12-01"). // apart from the first
		With([]calendar.Session{session(t, "2026-11-24", "09:30", "12:30", "")}, "2026-11-24", "2026-11-25")  // over its end
	for d, closes := range map[calendar.Date]string{"2026-11-23": "11:00", "2026-11-24": "12:30", "2026-11-27": "13:00", "2026-12-01": "12:00"} {
		s, ok := c.Session(d)
		if !ok {
			t.Errorf("%s does not trade", d)
			continue
		}
		same(t, "the close of "+string(d), s.Close, at(t, string(d)+" "+closes))
	}
	if c.Trading("2026-11-25") || !c.Trading("2026-11-30") {
		t.Error("the 25th is closed by the newest range, the 30th is left to the rules")
	}
	if c.With(nil, "2026-11-23", "2026-11-23").Trading("2026-11-23") {
		t.Error("a session that the broker no longer names still trades")
	}
	if first.Trading("2026-11-24") || !first.Trading("2026-12-01") {
		t.Error("the earlier calendar has changed")
	}
}

func TestACalendarThatIsClosedForEver(t *testing.T) {
	t.Parallel()
	c := calendar.Rules().With(nil, "0000-01-01", "9999-12-31")
	now := at(t, "2026-11-24 12:00")
	for what, got := range map[string]time.Time{"opening": c.NextOpen(now), "close": c.NextClose(now), "morning": c.Morning(now), "booking": c.NextBooking(now)} {
		if !got.IsZero() {
			t.Errorf("the %s is %s, want none", what, got)
		}
	}
	if c.OpenTime(now, now.AddDate(1, 0, 0)) != 0 || c.NextTrading("2026-11-24") != "" || c.Settlement("2026-11-24") != "" {
		t.Error("something trades")
	}
}

func TestCalendarsAreReadConcurrently(t *testing.T) {
	t.Parallel()
	c := calendar.Rules().With([]calendar.Session{session(t, "2026-11-24", "09:30", "16:00", "")}, "2026-11-23", "2026-11-25")
	now := at(t, "2026-11-24 12:00")
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			c.With(nil, "2026-11-24", "2026-11-30")
			if !c.Open(now) || c.OpenTime(now, now.AddDate(0, 1, 0)) == 0 || c.Settlement("2026-11-24") == "" {
				t.Error("the calendar has changed")
			}
		})
	}
	readers.Wait()
}
