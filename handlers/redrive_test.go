package handlers_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"closeout/alpaca/sim"
	"closeout/closure"
	"closeout/internal/lab"
	"closeout/ledger"
)

// stoppedHere opens so many closures of accounts with cash, and stops each before its first visit for a reason that the world
// knows nothing of: resumed, they are closed.
func stoppedHere(l *lab.Lab, n int, reason closure.Reason) (ids []string) {
	l.TB.Helper()
	for i := range n {
		c := l.Open(sim.Spec{Cash: d(fmt.Sprintf("%d.50", 100+i))})
		if _, err := l.Ledger.Save(l.TB.Context(), c, closure.Looked(time.Now(), closure.Fail(reason, "as it happens"), closure.Look{}, nil), nil); err != nil {
			l.TB.Fatal(err)
		}
		ids = append(ids, c.ID)
	}
	return ids
}

// redrive starts one, as the console does; its first bite comes by the sweep.
func redrive(l *lab.Lab, f ledger.Filter, perMinute int) ledger.Redrive {
	l.TB.Helper()
	r, err := l.Ledger.CreateRedrive(l.TB.Context(), ledger.Redrive{Filter: f, Reason: "mended", Actor: "operator:ann", PerMinute: perMinute})
	if err != nil {
		l.TB.Fatal(err)
	}
	return r
}

func now(l *lab.Lab, id string) ledger.Redrive {
	l.TB.Helper()
	r, err := l.Ledger.Redrive(l.TB.Context(), id)
	if err != nil {
		l.TB.Fatal(err)
	}
	return r
}

// resumed are the moments at which a redrive has resumed a closure, from its history.
func resumed(l *lab.Lab, redrive, id string) (out []time.Time) {
	l.TB.Helper()
	evs, err := l.Ledger.Events(l.TB.Context(), id)
	if err != nil {
		l.TB.Fatal(err)
	}
	for _, e := range evs {
		if e.Kind == "resume" && strings.Contains(e.Text, redrive) {
			out = append(out, e.At)
		}
	}
	return out
}

// What is retried goes on to its end, no faster than it may, and what fails again is not tried again.
func TestARedriveKeepsItsRateAndTriesEachOnce(t *testing.T) {
	t.Parallel()
	lab.Long(t)
	bench(t, lab.Options{Redrives: true}, func(l *lab.Lab) {
		const perMinute = 24
		ids := stoppedHere(l, 36, closure.OrderRefused)
		each := stoppedHere(l, 1, closure.Unexplained)[0]
		again := ids[7] // its bank is gone
		event(l, l.Get(again), sim.Event{Type: "relationship_delete"})
		r := redrive(l, ledger.Filter{}, perMinute)
		l.RunUntil(time.Hour, func() bool { return now(l, r.ID).State.Ended() })
		if r = now(l, r.ID); r.State != ledger.RedriveDone || r.Retried != 36 || r.Skipped != 1 || r.Left() != 0 {
			l.TB.Fatalf("it ended %+v", r)
		}
		var all []time.Time
		for _, id := range ids {
			all = append(all, resumed(l, r.ID, id)...)
		}
		if len(all) != 36 || len(resumed(l, r.ID, each)) != 0 {
			l.TB.Fatalf("%d were resumed, and %d that a person must look at", len(all), len(resumed(l, r.ID, each)))
		}
		took := all[35].Sub(all[0])
		for n := perMinute; n < len(all); n++ {
			if d := all[n].Sub(all[n-perMinute]); d < time.Minute {
				l.TB.Errorf("%d were resumed within %s", perMinute+1, d)
			}
		}
		l.TB.Logf("36 closures at %d a minute took %s", perMinute, took)
		if took > 2*time.Minute {
			l.TB.Error("that is slow")
		}
		wants(l, l.Ends(ids[0], month), closure.Closed, "", "100.50")
		if c := l.Get(again); c.State != closure.Failed || len(resumed(l, r.ID, again)) != 1 {
			l.TB.Errorf("what failed again is %s, resumed %d times", c.State, len(resumed(l, r.ID, again)))
		}
	})
}

// A worker that is killed at any point, with Redis emptied at that moment, retries nothing twice and loses nothing.
func TestARedriveSurvivesAKillAtEveryPoint(t *testing.T) {
	t.Parallel()
	step := 1
	if testing.Short() {
		step = 7
	}
	for at, reached := 1, true; reached; at += step {
		reached = false
		bench(t, lab.Options{Redrives: true}, func(l *lab.Lab) {
			ids := stoppedHere(l, 2, closure.OrderRefused)
			r := redrive(l, ledger.Filter{}, 12)
			killed := false
			l.KillAt = l.Points + at
			l.RunUntil(24*time.Hour, func() bool {
				if l.Killed != "" && !killed {
					killed = true
					l.FlushRedis()
				}
				return now(l, r.ID).State.Ended()
			})
			reached = killed
			if r = now(l, r.ID); r.State != ledger.RedriveDone || r.Retried != 2 || r.Skipped != 0 {
				l.TB.Fatalf("killed %s: it ended %+v", l.Killed, r)
			}
			for _, id := range ids {
				if n := len(resumed(l, r.ID, id)); n != 1 {
					l.TB.Errorf("killed %s: a closure was resumed %d times", l.Killed, n)
				}
			}
			if l.KillAt = 0; !killed {
				wants(l, l.Ends(ids[1], month), closure.Closed, "", "101.50")
				l.TB.Logf("killed at %d points", (at-1)/step)
			}
		})
		if t.Failed() || at > 400 {
			t.Fatalf("killed at point %d", at)
		}
	}
}

// Redis is emptied between bites, with the next one's task in it: the sweep brings the redrive back.
func TestARedriveOutlivesAnEmptiedRedis(t *testing.T) {
	t.Parallel()
	bench(t, lab.Options{Redrives: true}, func(l *lab.Lab) {
		stoppedHere(l, 4, closure.OrderRefused)
		r := redrive(l, ledger.Filter{}, 2)
		for n := 1; n < 4; n++ {
			l.RunUntil(time.Hour, func() bool { return now(l, r.ID).Retried >= n })
			l.FlushRedis()
		}
		l.RunUntil(time.Hour, func() bool { return now(l, r.ID).State.Ended() })
		if r = now(l, r.ID); r.State != ledger.RedriveDone || r.Retried != 4 {
			l.TB.Errorf("%+v", r)
		}
	})
}

// Once an abort was answered nothing further is resumed, whatever is in Redis.
func TestAnAbortedRedriveStops(t *testing.T) {
	t.Parallel()
	bench(t, lab.Options{Redrives: true}, func(l *lab.Lab) {
		ids := stoppedHere(l, 5, closure.OrderRefused)
		r := redrive(l, ledger.Filter{}, 2)
		l.RunUntil(time.Hour, func() bool { return now(l, r.ID).Retried == 2 })
		if _, ended, err := l.Ledger.AbortRedrive(l.TB.Context(), r.ID, "aborted by operator:bob: enough"); err != nil || !ended {
			l.TB.Fatal(ended, err)
		}
		l.RunFor(time.Hour)
		if r = now(l, r.ID); r.State != ledger.RedriveAborted || r.Retried != 2 || r.Left() != 3 {
			l.TB.Errorf("%+v", r)
		}
		for n, id := range ids {
			if (l.Get(id).State == closure.Failed) != (n >= 2) {
				l.TB.Errorf("closure %d is %s", n, l.Get(id).State)
			}
		}
	})
}
