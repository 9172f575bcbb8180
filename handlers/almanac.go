package handlers

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"closeout/alpaca"
	"closeout/calendar"
	"closeout/closure"
	"closeout/ledger"
)

// Almanac is the calendar that everything runs by: the broker's sessions as the ledger keeps them, and the rules beyond.
// The broker is asked about once a business day; while it can't be reached, what was kept before holds.
type Almanac struct {
	Ledger Days
	Broker CalendarReader // nil: only what other processes have kept is read
	Clock  closure.Clock
	Log    *logrus.Logger

	now atomic.Pointer[calendar.Calendar]
}

// Days is where the almanac is kept.
type Days interface {
	Days(ctx context.Context) ([]ledger.Day, error)
	SaveDays(ctx context.Context, days []ledger.Day) error
}

// CalendarReader is who knows the sessions.
type CalendarReader interface {
	Calendar(ctx context.Context, from, to string) ([]alpaca.CalendarDay, error)
}

// How far the almanac looks: back over any open closure, ahead over any expected finish.
const (
	almanacBack  = 30
	almanacAhead = 400
)

// Calendar is the present calendar; before the first reading, the rules alone.
func (a *Almanac) Calendar() *calendar.Calendar {
	if c := a.now.Load(); c != nil {
		return c
	}
	return calendar.Rules()
}

// Run keeps the almanac up to date until ctx ends.
func (a *Almanac) Run(ctx context.Context) error {
	for {
		if err := a.Refresh(ctx); err != nil && ctx.Err() == nil {
			a.Log.WithError(err).Warn("the calendar was not refreshed; the kept one and the rules hold")
		}
		t := time.NewTimer(max(a.Clock.Machine(24*time.Hour), 5*time.Second))
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
		case <-t.C:
		}
	}
}

// Refresh asks the broker, keeps what it says in the ledger, and reads the kept calendar from there.
func (a *Almanac) Refresh(ctx context.Context) error {
	failed := a.fetch(ctx)
	days, err := a.Ledger.Days(ctx)
	if err != nil {
		return err
	}
	if len(days) > 0 {
		a.now.Store(kept(days))
	}
	return failed
}

func (a *Almanac) fetch(ctx context.Context) error {
	if a.Broker == nil {
		return nil
	}
	today := calendar.DateOf(a.Clock.Now())
	from, to := today.AddDays(-almanacBack), today.AddDays(almanacAhead)
	told, err := a.Broker.Calendar(ctx, string(from), string(to))
	if err != nil {
		return fmt.Errorf("ask the broker for its calendar: %w", err)
	}
	sessions := map[calendar.Date]alpaca.CalendarDay{}
	last := from
	for _, s := range told {
		d, err := calendar.ParseDate(s.Date)
		if err != nil {
			return fmt.Errorf("read the broker's calendar: %w", err)
		}
		sessions[d] = s
		if d.After(last) {
			last = d
		}
	}
	// Beyond its last session the broker has said nothing: a calendar that ends early does not close the market.
	var days []ledger.Day
	for d := from; !d.After(last) && len(sessions) > 0; d = d.AddDays(1) {
		s := sessions[d]
		days = append(days, ledger.Day{Date: d, Opens: s.Open, Closes: s.Close, Settles: calendar.Date(s.SettlementDate)})
	}
	return a.save(ctx, days)
}

// save keeps what is news: of four hundred days that is one, most of the time.
func (a *Almanac) save(ctx context.Context, days []ledger.Day) error {
	there, err := a.Ledger.Days(ctx)
	if err != nil {
		return err
	}
	old := map[ledger.Day]bool{}
	for _, d := range there {
		old[d] = true
	}
	days = slices.DeleteFunc(days, func(d ledger.Day) bool { return old[d] })
	if len(days) == 0 {
		return nil
	}
	return a.Ledger.SaveDays(ctx, days)
}

// kept makes a calendar of the kept days: each run of dates without a gap is authoritative.
func kept(days []ledger.Day) *calendar.Calendar {
	c := calendar.Rules()
	for len(days) > 0 {
		n := 1
		for n < len(days) && days[n].Date == days[n-1].Date.AddDays(1) {
			n++
		}
		var sessions []calendar.Session
		for _, d := range days[:n] {
			if d.Opens == "" && d.Closes == "" {
				continue // no session
			}
			// Bells that can't be read are no times: the day is one of trading all the same, at the rules' hours.
			sessions = append(sessions, calendar.Session{Date: d.Date, Open: bell(d.Date, d.Opens), Close: bell(d.Date, d.Closes), Settles: d.Settles})
		}
		c = c.With(sessions, days[0].Date, days[n-1].Date)
		days = days[n:]
	}
	return c
}

// bell is a time of day in New York; zero for one that can't be read.
func bell(d calendar.Date, at string) time.Time {
	t, err := time.ParseInLocation("2006-01-02 15:04", string(d)+" "+at, calendar.NewYork)
	if err != nil {
		return time.Time{}
	}
	return t
}
