package main

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"closeout/alpaca/sim"
	"closeout/calendar"
	"closeout/closure"
	"closeout/internal/lab"
)

// hearing is one way in which the broker's event streams may serve a closure, or not.
type hearing struct {
	name    string
	options lab.Options
	chaos   []sim.Rule
}

// hearings: without events, with them, with relaxed looks, and with streams that lag, break, lose, repeat and lie.
var hearings = []hearing{
	{name: "off"},
	{name: "on", options: lab.Options{Events: true}},
	{name: "relaxed", options: lab.Options{Events: true, Relaxed: true}},
	{"lagging", lab.Options{Events: true, Relaxed: true}, []sim.Rule{
		{Path: "/**/events/**", Fault: sim.FaultLag, Delay: sim.Duration(40 * time.Minute), Probability: 0.5},
	}},
	{"lying", lab.Options{Events: true, Relaxed: true}, []sim.Rule{
		{Path: "/**/events/**", Fault: sim.FaultLie, Probability: 0.002},
		{Path: "/**/events/**", Fault: sim.FaultLose, Probability: 0.3},
		{Path: "/**/events/**", Fault: sim.FaultRepeat, Probability: 0.3},
		{Path: "/**/events/**", Fault: sim.FaultError, Probability: 0.3},
	}},
}

// Whatever is heard of the broker's events, each demo account reaches the end that is printed beside it, with the same
// payouts: events change the speed, and nothing else. How often the broker is asked is told, and held to bounds where looks
// are relaxed.
func TestFatesWhateverIsHeard(t *testing.T) {
	t.Parallel()
	all := append(slices.Clone(demos), demo{
		name: "five stocks",
		spec: sim.Spec{Cash: dollars("100"), Positions: []sim.PositionSpec{
			stock("AAPL", "10", "231.40"), stock("VTI", "12", "290.05"), stock("F", "66", "12.10"), stock("KO", "20", "62.15"), stock("PEP", "5", "150"),
		}},
		end: end{closure.Closed, "", []string{"8686.20"}, "sold, settled, paid"},
	})
	bounds := map[string]int64{"cash only": 30, "five stocks": 50, "large sum": 80} // of relaxed looks
	for n, d := range all {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			for m, h := range hearings {
				if testing.Short() && (n+m)%12 != 0 {
					continue
				}
				calls, took := heardFate(t, d, h)
				t.Logf("%-10s %3d calls of the broker, %5.1f days", h.name, calls, took.Hours()/24)
				if most := bounds[d.name]; h.name == "relaxed" && most > 0 && calls > most {
					t.Errorf("%d calls of the broker with relaxed looks, at most %d are allowed", calls, most)
				}
			}
		})
	}
}

func heardFate(t *testing.T, d demo, h hearing) (calls int64, took time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o := h.options
		o.Start = demoBegins.Add(d.after).In(calendar.NewYork).Format("2006-01-02 15:04")
		l := lab.New(t, o)
		defer l.Close()
		if err := l.Sim.Chaos(sim.Chaos{Seed: 7, Rules: h.chaos}); err != nil {
			t.Fatal(err)
		}
		if h.options.Events {
			l.RunFor(10 * time.Second) // the streams are heard
		}
		began := time.Now()
		c := l.Ends(l.Open(d.spec).ID, 40*24*time.Hour)
		calls, took = l.Calls.Load(), time.Since(began)
		intents, err := l.Ledger.Intents(t.Context(), c.ID)
		if err != nil {
			t.Fatal(err)
		}
		if !d.end.reached(c, intents) || !slices.Equal(l.Payouts(c.AccountID), d.end.paid) {
			t.Fatalf("%s: ended %s (%s: %s), paid %v; must end %s\n%s", h.name, c.State, c.Reason, c.Why, strings.Join(l.Payouts(c.AccountID), " "), d.end, l.History(c.ID))
		}
	})
	return calls, took
}
