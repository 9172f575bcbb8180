package handlers_test

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"closeout/alpaca"
	"closeout/calendar"
	"closeout/closure"
	"closeout/handlers"
	"closeout/ledger"
)

// keptDays is a ledger's almanac in memory.
type keptDays []ledger.Day

func (k *keptDays) Days(context.Context) ([]ledger.Day, error)          { return *k, nil }
func (k *keptDays) SaveDays(_ context.Context, days []ledger.Day) error { *k = days; return nil }

// FuzzAlmanac: whatever hours the broker's calendar has, a day that it lists and the rules know trades, for less than a
// whole day, and settles later; nothing that it lists closes or opens another.
func FuzzAlmanac(f *testing.F) {
	for _, s := range [][3]string{
		{"09:30", "16:00", "2026-12-03"}, {"09:30", "13:00", ""}, {"0930", "1600", "2026-12-01"}, {"9:30 AM", "4:00 PM", "tomorrow"},
		{"16:00", "09:30", "0000-00-00"}, {"09:30:00", "16:00:00", "9999-12-31"}, {"00:00", "24:00", "2026-12-03"}, {"\x00", "-", "2026-12-06"},
	} {
		f.Add(s[0], s[1], s[2])
	}
	f.Fuzz(func(t *testing.T, opens, closes, settles string) {
		if opens == "" || closes == "" {
			return // the client takes no such day
		}
		log := logrus.New()
		log.SetOutput(io.Discard)
		clock := closure.ScaledClock(24*time.Hour-time.Nanosecond, time.Date(2026, 12, 1, 15, 0, 0, 0, time.UTC), time.Now())
		broker := &toldCalendar{days: []alpaca.CalendarDay{
			{Date: "2026-12-01", Open: "09:30", Close: "16:00"}, {Date: "2026-12-02", Open: opens, Close: closes, SettlementDate: settles}, {Date: "2026-12-04", Open: "09:30", Close: "16:00"},
		}}
		a := &handlers.Almanac{Ledger: &keptDays{}, Broker: broker, Clock: clock, Log: log}
		if err := a.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		c := a.Calendar()
		s, ok := c.Session("2026-12-02")
		if !ok || !s.Open.Before(s.Close) || s.Close.Sub(s.Open) >= 24*time.Hour || calendar.DateOf(s.Open) != "2026-12-02" {
			t.Errorf("%q to %q: %+v, %t", opens, closes, s, ok)
		}
		if !c.Trading("2026-12-01") || c.Trading("2026-12-03") || !c.Trading("2026-12-04") {
			t.Errorf("%q to %q changed another day", opens, closes)
		}
		if d := c.Settlement("2026-12-02"); !d.After("2026-12-02") {
			t.Errorf("settles %q: on %q", settles, d)
		}
	})
}
