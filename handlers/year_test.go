package handlers_test

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"closeout/alpaca/sim"
	"closeout/calendar"
	"closeout/closure"
	"closeout/internal/lab"
)

// A closure initiated at any hour of a year finishes, with the right sum; at every moment before, it is running and says
// why it waits. None fails for the calendar's sake: not over weekends and holidays of the market, the banks or one of the
// two, early closes, or changes of the clocks. Each hour has an account of each kind every other day.
//
// The polls are such that looks fall into the hours between midnight and the booking: each trading day has closures whose
// limits count it, as they would with the default polls.
func TestEachHourOfAYear(t *testing.T) {
	t.Parallel()
	every := time.Hour
	if testing.Short() {
		every = 37 * time.Hour // meets every hour of the day and every day of the week
	}
	var closures atomic.Int64
	for month := time.January; month <= time.December; month++ {
		t.Run(month.String(), func(t *testing.T) {
			t.Parallel()
			o := lab.Options{Start: newYork(2026, month).Format("2006-01-02 15:04"), Bare: true, Policy: func(p *closure.Policy) {
				p.Polls[closure.Settlement], p.Polls[closure.Withdrawal] = 8*time.Hour, 8*time.Hour
			}}
			bench(t, o, func(l *lab.Lab) {
				var open []closure.Closure
				for next := newYork(2026, month); next.Before(newYork(2026, month+1)); next = next.Add(every) {
					local := next.In(calendar.NewYork)
					spec := sim.Spec{Cash: d("160.50")}
					if (local.Hour()+local.Day())%2 == 0 {
						spec = sim.Spec{Cash: d("100"), Positions: []sim.PositionSpec{{Symbol: "F", Qty: d("5"), Price: d("12.10")}}}
					}
					open = append(open, l.Open(spec))
					closures.Add(1)
					l.Drive(every)
					open = slices.DeleteFunc(open, func(c closure.Closure) bool { return ended(l, c) })
				}
				for left := 20; left > 0 && len(open) > 0; left-- {
					l.Drive(day)
					open = slices.DeleteFunc(open, func(c closure.Closure) bool { return ended(l, c) })
				}
				for _, c := range open {
					l.TB.Errorf("%s: not closed after twenty days\n%s", initiated(c), l.History(c.ID))
				}
			})
		})
	}
	t.Cleanup(func() { t.Logf("%d closures", closures.Load()) })
}

// ended checks a closure as it stands: closed and paid, or running for a stated reason.
func ended(l *lab.Lab, was closure.Closure) bool {
	l.TB.Helper()
	c := l.Get(was.ID)
	switch {
	case c.State == closure.Closed:
		wants(l, c, closure.Closed, "", "160.50")
		return true
	case c.State != closure.Running:
		l.TB.Errorf("%s: %s in %s: %s\n%s", initiated(c), c.State, c.Phase, c.Why, l.History(c.ID))
		return true
	case c.Why == "", c.Reason != "" && closure.Reasons[c.Reason].Title == "":
		l.TB.Errorf("%s: waits in %s without a reason that is on the list: %q %q", initiated(c), c.Phase, c.Reason, c.Why)
	case !c.DueAt.After(time.Now()):
		l.TB.Errorf("%s: was due at %s and nobody came", initiated(c), c.DueAt)
	}
	return false
}

func initiated(c closure.Closure) string {
	return "initiated " + c.CreatedAt.In(calendar.NewYork).Format("Mon 2006-01-02 15:04 MST")
}

func newYork(year int, month time.Month) time.Time {
	return time.Date(year, month, 1, 0, 0, 0, 0, calendar.NewYork)
}
