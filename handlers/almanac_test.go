package handlers_test

import (
	"context"
	"errors"
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

type toldCalendar struct {
	days []alpaca.CalendarDay
	err  error
}

func (c *toldCalendar) Calendar(context.Context, string, string) ([]alpaca.CalendarDay, error) {
	return c.days, c.err
}

func TestAlmanac(t *testing.T) {
	t.Parallel()
	clock := closure.ScaledClock(24*time.Hour-time.Nanosecond, time.Date(2026, 12, 1, 15, 0, 0, 0, time.UTC), time.Now())
	open := func() *ledger.Ledger {
		l, err := ledger.Open(t.Context(), ledger.Options{URL: "sqlite:" + t.TempDir() + "/l.db", Environment: closure.Sandbox, Policy: closure.DefaultPolicy(closure.Sandbox), Clock: clock})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		return l
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	l := open()
	// A day of mourning on Wednesday 2 December that no rule knows, and an early close on the day after.
	broker := &toldCalendar{days: []alpaca.CalendarDay{
		{Date: "2026-12-01", Open: "09:30", Close: "16:00", SettlementDate: "2026-12-03"},
		{Date: "2026-12-03", Open: "09:30", Close: "12:15", SettlementDate: "2026-12-04"},
	}}
	a := &handlers.Almanac{Ledger: l, Broker: broker, Clock: clock, Log: log}
	if !a.Calendar().Trading("2026-12-02") {
		t.Fatal("before anything is read the rules hold")
	}
	if err := a.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	check := func(what string, c *calendar.Calendar) {
		t.Helper()
		if c.Trading("2026-12-02") {
			t.Errorf("%s: the market is open on the broker's holiday", what)
		}
		s, ok := c.Session("2026-12-03")
		if got := s.Close.In(calendar.NewYork).Format("15:04"); !ok || got != "12:15" {
			t.Errorf("%s: Thursday closes %s, want 12:15", what, got)
		}
		if !c.Trading("2026-12-04") || !c.Banking("2026-12-02") {
			t.Errorf("%s: what the broker said nothing of follows the rules", what)
		}
	}
	check("fresh", a.Calendar())

	broker.err = errors.New("down")
	b := &handlers.Almanac{Ledger: l, Broker: broker, Clock: clock, Log: log}
	if err := b.Refresh(t.Context()); err == nil {
		t.Error("a broker that is down is told")
	}
	check("after a restart while the broker is down", b.Calendar())

	server := &handlers.Almanac{Ledger: l, Clock: clock, Log: log}
	if err := server.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	check("a process that only reads the ledger", server.Calendar())
}
