package closure_test

import (
	"testing"
	"time"

	"closeout/closure"
)

// looks carries out one waiting look after another and returns the closure, or as it is when it stops.
func looks(tb testing.TB, c closure.Closure, n int, o closure.Outcome, l closure.Look) closure.Closure {
	tb.Helper()
	for range n {
		if c.State != closure.Running {
			return c
		}
		c = apply(tb, c, closure.Looked(c.DueAt, o, l, nil))
	}
	return c
}

var selling = closure.Wait(0, closure.Selling, "selling")

func TestALimitOfTimeCountsOpenTimeUpToTwoPolls(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		open  time.Duration
		spent time.Duration // after one look
		trips int           // at which look, 15 minutes being the limit
	}{
		{"a look each poll", 30 * time.Second, 30 * time.Second, 31},
		{"a look each minute", time.Minute, time.Minute, 16},
		{"looks that are rare count two polls", time.Hour, time.Minute, 16},
		{"an overflow of rareness counts two polls", 1<<63 - 1, time.Minute, 16},
		{"a closed market counts nothing", 0, 0, 0},
	} {
		c := fresh(closure.Liquidation)
		c = looks(t, c, 1, selling, closure.Look{Open: tt.open})
		if c.Spent != tt.spent || c.Looks != 1 {
			t.Errorf("%s: %s spent in %d looks, want %s", tt.name, c.Spent, c.Looks, tt.spent)
		}
		if tt.trips == 0 {
			if c = looks(t, c, 1000, selling, closure.Look{Open: tt.open}); c.State != closure.Running {
				t.Errorf("%s: %s after %d looks", tt.name, c.State, c.Looks)
			}
			continue
		}
		c = looks(t, c, tt.trips-2, selling, closure.Look{Open: tt.open})
		if c.State != closure.Running {
			t.Errorf("%s: %s after %d looks, %s spent", tt.name, c.State, c.Looks, c.Spent)
		}
		c = looks(t, c, 1, selling, closure.Look{Open: tt.open})
		if c.State != closure.Failed || c.Reason != closure.LimitReached {
			t.Errorf("%s: %s for %q after %d looks, %s spent", tt.name, c.State, c.Reason, c.Looks, c.Spent)
		}
		if c.Phase != closure.Liquidation || c.Who != closure.Operator {
			t.Errorf("%s: stopped in %s for the %s", tt.name, c.Phase, c.Who)
		}
	}
}

func TestALimitOfDaysCountsEachDayOnce(t *testing.T) {
	t.Parallel()
	settling := closure.Wait(0, closure.Settling, "settling")
	c := fresh(closure.Settlement)
	for _, tt := range []struct {
		day   string // "": no trading day
		days  int
		state closure.State
	}{
		{"2026-11-18", 1, closure.Running},
		{"2026-11-19", 2, closure.Running},
		{"2026-11-20", 3, closure.Running},
		{"", 3, closure.Running}, // the weekend
		{"2026-11-23", 4, closure.Failed},
	} {
		for range 24 { // looks on one day
			c = looks(t, c, 1, settling, closure.Look{Day: tt.day})
		}
		if c.Days != tt.days || c.State != tt.state {
			t.Fatalf("on %q: %d days counted and %s, want %d and %s", tt.day, c.Days, c.State, tt.days, tt.state)
		}
	}
	if c.Reason != closure.LimitReached {
		t.Errorf("stopped for %q", c.Reason)
	}
}

func TestALimitTripsOnlyAfterThreeLooks(t *testing.T) {
	t.Parallel()
	p := policy()
	p.Limits[closure.Settlement] = closure.Limit{Days: 1, Of: closure.TradingDays}
	p.Limits[closure.Closing] = closure.Limit{Time: time.Minute, Of: closure.BusinessTime}
	for phase, days := range map[closure.Phase][]string{
		closure.Settlement: {"2026-11-18", "2026-11-19", "2026-11-20"},
		closure.Closing:    {"", "", ""},
	} {
		c := fresh(phase)
		for n, day := range days {
			next, _, err := closure.Apply(c, closure.Looked(noon, selling, closure.Look{Open: time.Hour, Day: day}, nil), p)
			if err != nil {
				t.Fatal(err)
			}
			if c = next; (c.State == closure.Failed) != (n == 2) {
				t.Errorf("%s: %s after look %d, %s and %d days spent", phase, c.State, n+1, c.Spent, c.Days)
			}
		}
	}
}

func TestWhatIsNobodysFaultUsesUpNoLimit(t *testing.T) {
	t.Parallel()
	busy := closure.Look{Open: time.Hour, Day: "2026-11-18"}
	for _, step := range closure.Road {
		nearly := fresh(step.Phase) // one counted look from its limit
		nearly.Looks, nearly.Spent, nearly.Days, nearly.LastDay = 50, step.Limit.Time, step.Limit.Days, "2026-11-17"
		for name, ch := range map[string]closure.Change{
			"a closed market":   closure.Looked(noon, closure.WaitUntil(noon.Add(time.Hour), closure.MarketClosed, "closed"), busy, nil),
			"a blocked account": closure.Looked(noon, closure.Park(0, closure.AccountBlocked, "blocked"), busy, nil),
			"an outage":         closure.Looked(noon, closure.Outage(time.Minute, "no answer"), busy, nil),
			"an error":          closure.Stumbled(noon, "broken", 0, true),
			"a crash":           closure.Crashed(noon, 1),
			"a rescue":          closure.Reissued(noon, "late", false),
			"a wake":            closure.Wake(noon.Add(-time.Hour), "ann", "now"),
			"a claim":           closure.Claimed(noon, noon, "sell", false),
			"a pause":           closure.Pause(noon, "ann", "hold it"),
		} {
			got := apply(t, nearly, ch)
			if got.Spent != nearly.Spent || got.Days != nearly.Days || got.Reason == closure.LimitReached {
				t.Errorf("%s in %s: %s and %d days spent, %s", name, step.Phase, got.Spent, got.Days, got.Reason)
			}
		}
		if got := apply(t, nearly, closure.Looked(noon, selling, busy, nil)); got.Reason != closure.LimitReached {
			t.Errorf("a counted look in %s: %s, %s and %d days spent", step.Phase, got.State, got.Spent, got.Days)
		}
	}
}

func TestALimitStartsAfresh(t *testing.T) {
	t.Parallel()
	used := fresh(closure.Withdrawal)
	used.Looks, used.Spent, used.Days, used.LastDay, used.LastLook = 9, time.Hour, 4, "2026-11-18", noon
	stopped := used
	stopped.State, stopped.DueAt, stopped.EndedAt, stopped.Reason = closure.Failed, time.Time{}, noon, closure.LimitReached
	for name, c := range map[string]closure.Closure{
		"in the next phase": apply(t, used, looked(closure.Go(closure.Closing, "empty"))(noon)),
		"on the way back":   apply(t, used, looked(closure.Go(closure.Settlement, "cash"))(noon)),
		"after a resume":    apply(t, stopped, closure.Resume(noon, "ann", "looked")),
		"for each payout":   apply(t, used, closure.Claimed(noon, noon, "pay out", true)),
	} {
		if c.Looks != 0 || c.Spent != 0 || c.Days != 0 || c.LastDay != "" || !c.LastLook.IsZero() {
			t.Errorf("%s: %d looks, %s and %d days are still counted, the last on %q at %s", name, c.Looks, c.Spent, c.Days, c.LastDay, c.LastLook)
		}
	}
	if c := apply(t, used, closure.Claimed(noon, noon, "sell", false)); c.Looks != 9 || c.Days != 4 {
		t.Errorf("a claim that is no payout: %d looks and %d days", c.Looks, c.Days)
	}
}

// A look that waits for a person still is a look: the time until the next one is measured from it. An outage saw nothing.
func TestTheLastLookIsRememberedOverWaits(t *testing.T) {
	t.Parallel()
	c := looks(t, fresh(closure.Liquidation), 1, selling, closure.Look{Open: time.Second})
	if !c.LastLook.Equal(noon) {
		t.Fatalf("the last look was at %s", c.LastLook)
	}
	parked := apply(t, c, closure.Looked(noon.Add(time.Hour), closure.Park(0, closure.AccountBlocked, "blocked"), closure.Look{}, nil))
	if !parked.LastLook.Equal(noon.Add(time.Hour)) {
		t.Errorf("a parked look: the last one was at %s", parked.LastLook)
	}
	out := apply(t, c, closure.Looked(noon.Add(time.Hour), closure.Outage(time.Minute, "no answer"), closure.Look{}, nil))
	if !out.LastLook.Equal(noon) || out.Looks != c.Looks {
		t.Errorf("an outage counted as a look: the last one at %s, %d looks", out.LastLook, out.Looks)
	}
}
