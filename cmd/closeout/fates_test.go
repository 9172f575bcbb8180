package main

import (
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"closeout/calendar"
	"closeout/closure"
	"closeout/internal/lab"
)

// Each demo account reaches the end that is printed beside it, in virtual time over the real Asynq; and so it does when the
// worker is killed on the way, at every point there is: before and after each commit, each write at the broker and each
// enqueue. Looks that find nothing new, time and again, stand for those between them.
func TestFates(t *testing.T) {
	t.Parallel()
	for _, d := range demos {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			fate(t, d, nil)
			l := fate(t, d, (*lab.Lab).HandOver)
			trail := l.Trail
			alike := 0
			defer func() { t.Logf("%d points, %d of them in looks like those before and after", len(trail.Points), alike) }()
			step := 1
			if testing.Short() {
				step = 17
			}
			for k := 1; k <= len(trail.Points); k += step {
				if trail.Alike(k) {
					alike++
					continue
				}
				t.Run(strconv.Itoa(k), func(t *testing.T) {
					t.Parallel()
					l := fate(t, d, func(l *lab.Lab) { l.Kill(k, trail) })
					if want := trail.Points[k-1]; l.Killed != want {
						t.Errorf("killed %q, want it %q, as in the run without a kill", l.Killed, want)
					}
				})
			}
		})
	}
}

// fate plays one demo to its end, checks that, and returns the lab, which is closed.
func fate(t *testing.T, d demo, prepare func(*lab.Lab)) (l *lab.Lab) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l = lab.New(t, lab.Options{
			Start: demoBegins.Add(d.after).In(calendar.NewYork).Format("2006-01-02 15:04"),
			Policy: func(p *closure.Policy) { // fewer looks: each that finds nothing new is like the next
				p.Polls[closure.Settlement], p.Polls[closure.Withdrawal] = 9*time.Hour, 12*time.Hour
			},
		})
		defer l.Close()
		if prepare != nil {
			prepare(l)
		}
		c := l.Ends(l.Open(d.spec).ID, 40*24*time.Hour)
		intents, err := l.Ledger.Intents(t.Context(), c.ID)
		if err != nil {
			t.Fatal(err)
		}
		if !d.end.reached(c, intents) || !slices.Equal(l.Payouts(c.AccountID), d.end.paid) {
			t.Fatalf("killed %q: ended %s (%s: %s), paid %v; must end %s\n%s", l.Killed, c.State, c.Reason, c.Why, l.Payouts(c.AccountID), d.end, l.History(c.ID))
		}
	})
	return l
}
