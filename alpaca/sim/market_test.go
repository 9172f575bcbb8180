package sim_test

import (
	"strings"
	"testing"
	"time"

	"closeout/alpaca/sim"
)

// The days on which exchanges and banks do not work as on others, as both publish them.
const (
	nyseClosed = `2025-01-01 2025-01-20 2025-02-17 2025-04-18 2025-05-26 2025-06-19 2025-07-04 2025-09-01 2025-11-27 2025-12-25
		2026-01-01 2026-01-19 2026-02-16 2026-04-03 2026-05-25 2026-06-19 2026-07-03 2026-09-07 2026-11-26 2026-12-25
		2027-01-01 2027-01-18 2027-02-15 2027-03-26 2027-05-31 2027-06-18 2027-07-05 2027-09-06 2027-11-25 2027-12-24
		2028-01-17 2028-02-21 2028-04-14 2028-05-29 2028-06-19 2028-07-04 2028-09-04 2028-11-23 2028-12-25`
	nyseEarly = `2025-07-03 2025-11-28 2025-12-24 2026-11-27 2026-12-24 2027-11-26 2028-07-03 2028-11-24`
	fedClosed = `2025-01-01 2025-01-20 2025-02-17 2025-05-26 2025-06-19 2025-07-04 2025-09-01 2025-10-13 2025-11-11 2025-11-27 2025-12-25
		2026-01-01 2026-01-19 2026-02-16 2026-05-25 2026-06-19 2026-09-07 2026-10-12 2026-11-11 2026-11-26 2026-12-25
		2027-01-01 2027-01-18 2027-02-15 2027-05-31 2027-07-05 2027-09-06 2027-10-11 2027-11-11 2027-11-25
		2028-01-17 2028-02-21 2028-05-29 2028-06-19 2028-07-04 2028-09-04 2028-10-09 2028-11-23 2028-12-25`
)

func set(dates string) map[string]bool {
	m := map[string]bool{}
	for d := range strings.FieldsSeq(dates) {
		m[d] = true
	}
	return m
}

func TestMarketKnowsEachDayOfFourYears(t *testing.T) {
	t.Parallel()
	closed, early, fed := set(nyseClosed), set(nyseEarly), set(fedClosed)
	for d := time.Date(2025, 1, 1, 12, 0, 0, 0, time.UTC); d.Year() < 2029; d = d.AddDate(0, 0, 1) {
		date, weekend := d.Format(time.DateOnly), d.Weekday() == time.Saturday || d.Weekday() == time.Sunday
		open, closes, ok := sim.USMarket.Session(date)
		if ok != (!weekend && !closed[date]) {
			t.Errorf("%s: a session: %v", date, ok)
		}
		if ok {
			want := date + " 09:30 to 16:00"
			if early[date] {
				want = date + " 09:30 to 13:00"
			}
			if got := open.Format("2006-01-02 15:04") + closes.Format(" to 15:04"); got != want {
				t.Errorf("%s, want %s", got, want)
			}
		}
		if banking := sim.USMarket.Banking(date); banking != (!weekend && !fed[date]) {
			t.Errorf("%s: a banking day: %v", date, banking)
		}
	}
	if _, _, ok := sim.USMarket.Session("no date"); ok || sim.USMarket.Banking("") {
		t.Error("takes any text for a date")
	}
}

func TestClockAndCalendarAgree(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ now, open, next, close string }{
		{"2026-11-24 12:00", "true", "2026-11-25 09:30", "2026-11-24 16:00"},
		{"2026-11-25 16:00", "false", "2026-11-27 09:30", "2026-11-27 13:00"}, // Thanksgiving, then an early close
		{"2026-11-27 12:59", "true", "2026-11-30 09:30", "2026-11-27 13:00"},
		{"2026-10-31 12:00", "false", "2026-11-02 09:30", "2026-11-02 16:00"}, // summer time ends between
		{"2026-11-30 09:29", "false", "2026-11-30 09:30", "2026-11-30 16:00"},
	} {
		b := newBox(t, row.now, sim.Options{})
		c, err := b.client.Clock(t.Context())
		if err != nil || !c.NextOpen.Equal(newYork(t, row.next)) || !c.NextClose.Equal(newYork(t, row.close)) || c.IsOpen != (row.open == "true") || !c.Timestamp.Equal(b.now) {
			t.Errorf("%s: %+v, %v", row.now, c, err)
		}
	}
	b := newBox(t, "2026-11-24 12:00", sim.Options{})
	days, err := b.client.Calendar(t.Context(), "2026-10-09", "2026-10-14")
	if err != nil || len(days) != 4 || days[0].SettlementDate != "2026-10-13" || days[1].Date != "2026-10-12" || days[1].SettlementDate != "2026-10-13" {
		t.Errorf("Columbus Day: %+v, %v", days, err)
	}
	days, err = b.client.Calendar(t.Context(), "2026-11-25", "2026-11-27")
	if err != nil || len(days) != 2 || days[0].SettlementDate != "2026-11-27" || days[1].Close != "13:00" || days[1].SettlementDate != "2026-11-30" {
		t.Errorf("Thanksgiving: %+v, %v", days, err)
	}
}
