package handlers_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"closeout/alpaca/sim"
	"closeout/calendar"
	"closeout/closure"
	"closeout/internal/lab"
)

// brokerCase is one of the broker's cases as docs/broker-cases.md numbers them: an account, what befalls it, and what the
// service must make of it.
type brokerCase struct {
	name  string // its number first
	start string // New York time; "": a Wednesday at ten
	spec  sim.Spec
	rules []sim.Rule // of the broker's misbehaviour, from the beginning
	skew  time.Duration

	// act, if set, is carried out while the closure runs; ends is called after it.
	act func(l *lab.Lab, c closure.Closure)

	waits []closure.Reason // which it must be seen to wait for, in any order
	end   closure.State    // "": closed
	stop  closure.Reason   // of a stop
	says  string           // words in the stop's or the end's why

	// mend is what a person has done at the broker before they resume: then the closure must end closed.
	mend []sim.Event
	paid []string // at the end of all
	// check, if set, looks at the broker's journal of the account.
	check func(l *lab.Lab, j journal)
}

type journal []sim.Entry

// of are the entries of some kinds.
func (j journal) of(kinds ...string) (out journal) {
	for _, e := range j {
		if slices.Contains(kinds, e.Kind) {
			out = append(out, e)
		}
	}
	return out
}

// words are what entries say, in order: "buy CALL", "sell AAPL".
func (j journal) words() (out []string) {
	for _, e := range j {
		out = append(out, strings.TrimSpace(e.Note+" "+e.Symbol))
	}
	return out
}

func (j journal) days() (out []string) {
	for _, e := range j {
		out = append(out, e.Day)
	}
	return out
}

func (j journal) qtys() (out []string) {
	for _, e := range j {
		out = append(out, e.Qty)
	}
	return out
}

// between checks that all entries fall into a span of New York time.
func (j journal) between(tb testing.TB, from, to string) {
	tb.Helper()
	if len(j) == 0 {
		tb.Error("the journal has no such entry")
	}
	for _, e := range j {
		if at := e.At.In(calendar.NewYork).Format("2006-01-02 15:04"); at < from || at > to {
			tb.Errorf("%s of %s at %s, want between %s and %s", e.Kind, e.Symbol, at, from, to)
		}
	}
}

func same(tb testing.TB, what string, got []string, want ...string) {
	tb.Helper()
	if !slices.Equal(got, want) {
		tb.Errorf("%s: %q, want %q", what, got, want)
	}
}

// watch drives a bare lab until done says so, and keeps which reasons the closure waits for. A wait must say what it is for,
// and who must act where its reason has somebody.
func watch(l *lab.Lab, id string, seen map[closure.Reason]bool, limit time.Duration, done func(closure.Closure) bool) closure.Closure {
	l.TB.Helper()
	for end := time.Now().Add(limit); ; l.Drive(2 * time.Minute) {
		c := l.Get(id)
		if done(c) {
			return c
		}
		if time.Now().After(end) {
			l.TB.Fatalf("not done after %s: %s in %s: %s\n%s", limit, c.State, c.Phase, c.Why, l.History(id))
		}
		if c.State == closure.Running && !seen[c.Reason] {
			seen[c.Reason] = true
			if info := closure.Reasons[c.Reason]; c.Why == "" || info.Title == "" || c.Who != info.Who || c.Who != closure.Nobody && info.Hint == "" {
				l.TB.Errorf("waits for %q: %q, who must act %q, hint %q", c.Reason, c.Why, c.Who, info.Hint)
			}
		}
	}
}

func stopped(c closure.Closure) bool { return c.State != closure.Running }

// event befalls the account now.
func event(l *lab.Lab, c closure.Closure, es ...sim.Event) {
	l.TB.Helper()
	for _, e := range es {
		if err := l.Sim.Event(c.AccountID, e); err != nil {
			l.TB.Fatal(err)
		}
	}
}

func resume(l *lab.Lab, id string) {
	l.TB.Helper()
	if _, err := l.Command(id, func(closure.Closure, []closure.Intent) (closure.Change, error) {
		return closure.Resume(time.Now(), "tester", "mended"), nil
	}); err != nil {
		l.TB.Fatal(err)
	}
}

// TestBrokerCases lives through the cases that docs/broker-cases.md decides, in virtual time, over the simulated broker.
func TestBrokerCases(t *testing.T) {
	t.Parallel()
	for _, bc := range brokerCases() {
		t.Run(bc.name, func(t *testing.T) {
			t.Parallel()
			bench(t, lab.Options{Bare: true, Start: bc.start}, func(l *lab.Lab) { bc.live(l) })
		})
	}
}

func brokerCases() []brokerCase { return slices.Concat(sellingCases, payingCases, closingCases) }

const sixWeeks = 42 * day

func (bc brokerCase) live(l *lab.Lab) {
	l.TB.Helper()
	if bc.skew != 0 {
		l.Answered = func(_ *http.Request, header http.Header) {
			header.Set("Date", time.Now().Add(bc.skew).UTC().Format(http.TimeFormat))
		}
	}
	c := l.Open(bc.spec)
	chaos(l, bc.rules...)
	seen := map[closure.Reason]bool{}
	if bc.act != nil {
		bc.act(l, c)
	}
	c = watch(l, c.ID, seen, sixWeeks, stopped)
	for _, r := range bc.waits {
		if !seen[r] {
			l.TB.Errorf("was never seen to wait for %s, but for %v\n%s", r, seen, l.History(c.ID))
		}
	}
	end := bc.end
	if end == "" {
		end = closure.Closed
	}
	if c.State != end || c.Reason != bc.stop && end != closure.Closed || !strings.Contains(c.Why, bc.says) {
		l.TB.Fatalf("ended %s (%s: %s), want %s %s %q\n%s", c.State, c.Reason, c.Why, end, bc.stop, bc.says, l.History(c.ID))
	}
	if end == closure.Failed && (c.Who == closure.Nobody || closure.Reasons[c.Reason].Hint == "") {
		l.TB.Errorf("the stop says neither who must act nor what to do: %q", c.Who)
	}
	if bc.mend != nil {
		chaos(l)
		event(l, c, bc.mend...)
		resume(l, c.ID)
		c = watch(l, c.ID, seen, sixWeeks, stopped)
		end = closure.Closed
	}
	wants(l, c, end, "", bc.paid...)
	entries, err := l.Sim.Journal(c.AccountID)
	if err != nil {
		l.TB.Fatal(err)
	}
	if bc.check != nil {
		bc.check(l, entries)
	}
}

func holds(symbol, qty, price string) sim.PositionSpec {
	return sim.PositionSpec{Symbol: symbol, Qty: d(qty), Price: d(price)}
}

func hours(n int) sim.Duration { return sim.Duration(time.Duration(n) * time.Hour) }
func days(n int) sim.Duration  { return hours(24 * n) }
