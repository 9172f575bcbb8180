package main

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"closeout/calendar"
	"closeout/closure"
	"closeout/internal/lab"
)

// Each demo account reaches the end that is printed beside it, in virtual time over the real Asynq; and so it does when the
// worker is killed on the way.
func TestFates(t *testing.T) {
	t.Parallel()
	for _, d := range demos {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			points := fate(t, d, 0)
			step := 7
			if testing.Short() {
				step = 29
			}
			for k := 1; k <= points; k += step {
				fate(t, d, k)
			}
		})
	}
}

// fate plays one demo, killed at point k, and returns how many points there were.
func fate(t *testing.T, d demo, k int) (points int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := lab.New(t, lab.Options{
			Start: demoBegins.Add(d.after).In(calendar.NewYork).Format("2006-01-02 15:04"),
			Policy: func(p *closure.Policy) { // fewer looks: each that finds nothing new is like the next
				p.Polls[closure.Settlement], p.Polls[closure.Withdrawal] = 9*time.Hour, 12*time.Hour
			},
		})
		defer l.Close()
		l.KillAt = k
		c := l.Ends(l.Open(d.spec).ID, 40*24*time.Hour)
		intents, err := l.Ledger.Intents(t.Context(), c.ID)
		if err != nil {
			t.Fatal(err)
		}
		if !d.end.reached(c, intents) || !slices.Equal(l.Payouts(c.AccountID), d.end.paid) {
			t.Fatalf("killed %q: ended %s (%s: %s), paid %v; must end %s\n%s", l.Killed, c.State, c.Reason, c.Why, l.Payouts(c.AccountID), d.end, l.History(c.ID))
		}
		points = l.Points
	})
	return points
}
