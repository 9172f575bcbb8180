package closure_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/shopspring/decimal"

	"closeout/closure"
)

// answer is what becomes of a change in a state: the state afterwards, or one of the two refusals.
type answer string

const (
	notRunning answer = "not running" // a visit that meets it acknowledges
	notAllowed answer = "not allowed" // a command, refused in words
)

// happening is one row of the table of all that can happen to a closure.
type happening struct {
	maker string // the function that makes the change; each of them has a row
	what  string // as the diagram names it
	make  func(at time.Time) closure.Change
	prep  func(*closure.Closure)
	on    map[closure.State]answer
}

// adoption is of one payout of $2 that has arrived.
func adoption() closure.Adoption {
	two := decimal.NewFromInt(2)
	return closure.Adoption{Found: []closure.Intent{{Kind: closure.TransferIntent, BrokerID: "t", Amount: decimal.NewNullDecimal(two)}}, Paid: two}
}

// fromRunning is the answer of what only a running closure takes.
func fromRunning(to closure.State, otherwise answer) map[closure.State]answer {
	on := map[closure.State]answer{closure.Running: answer(to)}
	for _, s := range closure.States {
		if s != closure.Running {
			on[s] = otherwise
		}
	}
	return on
}

func looked(o closure.Outcome) func(time.Time) closure.Change {
	return func(at time.Time) closure.Change { return closure.Looked(at, o, closure.Look{}, nil) }
}

// happenings is every change in every variety that makes a difference to the state.
func happenings() []happening {
	on := func(running, paused, failed, dead, closed, canceled answer) map[closure.State]answer {
		return map[closure.State]answer{
			closure.Running: running, closure.Paused: paused, closure.Failed: failed, closure.Dead: dead,
			closure.Closed: closed, closure.Canceled: canceled,
		}
	}
	runs := answer(closure.Running)
	stays := on(runs, answer(closure.Paused), answer(closure.Failed), answer(closure.Dead), notAllowed, notAllowed)
	gone := answer(closure.Canceled)
	return []happening{
		{
			maker: "Looked", what: "wait", make: looked(closure.Wait(0, closure.Selling, "selling")),
			on: fromRunning(closure.Running, notRunning),
		},
		{
			maker: "Looked", what: "wait until", make: looked(closure.WaitUntil(noon.Add(48*time.Hour), closure.MarketClosed, "closed")),
			on: fromRunning(closure.Running, notRunning),
		},
		{
			maker: "Looked", what: "park", make: looked(closure.Park(time.Hour, closure.AccountBlocked, "blocked")),
			on: fromRunning(closure.Running, notRunning),
		},
		{
			maker: "Looked", what: "broker outage", make: looked(closure.Outage(time.Minute, "no answer")),
			on: fromRunning(closure.Running, notRunning),
		},
		{
			maker: "Looked", what: "refusal", make: looked(closure.Fail(closure.BankGone, "gone")),
			on: fromRunning(closure.Failed, notRunning),
		},
		{
			maker: "Looked", what: "limit",
			make: func(at time.Time) closure.Change {
				return closure.Looked(at, closure.Wait(0, closure.Selling, "selling"), closure.Look{Open: time.Hour, Day: "2026-11-18"}, nil)
			},
			prep: func(c *closure.Closure) { c.Looks, c.Spent, c.Days = 20, 1000*time.Hour, 1000 },
			on:   fromRunning(closure.Failed, notRunning),
		},
		{
			maker: "Looked", what: "done", make: looked(closure.Done("paid out and closed")),
			on: fromRunning(closure.Closed, notRunning),
		},
		{
			maker: "Claimed", what: "claim",
			make: func(at time.Time) closure.Change { return closure.Claimed(at, at.Add(time.Minute), "sell", false) },
			on:   fromRunning(closure.Running, notRunning),
		},
		{
			maker: "Claimed", what: "claim of a payout",
			make: func(at time.Time) closure.Change { return closure.Claimed(at, at.Add(time.Minute), "pay", true) },
			on:   fromRunning(closure.Running, notRunning),
		},
		{
			maker: "Stumbled", what: "error",
			make: func(at time.Time) closure.Change { return closure.Stumbled(at, "broken", 0, true) },
			on:   fromRunning(closure.Running, notRunning),
		},
		{
			maker: "Stumbled", what: "an error too many",
			make: func(at time.Time) closure.Change { return closure.Stumbled(at, "broken", 3, true) },
			prep: func(c *closure.Closure) { c.Failures = closure.MaxRetries },
			on:   fromRunning(closure.Dead, notRunning),
		},
		{
			maker: "Crashed", what: "crash",
			make: func(at time.Time) closure.Change { return closure.Crashed(at, 1) },
			on:   fromRunning(closure.Running, notRunning),
		},
		{
			maker: "Crashed", what: "a crash too many",
			make: func(at time.Time) closure.Change { return closure.Crashed(at, 5) },
			prep: func(c *closure.Closure) { c.Crashes = closure.MaxCrashes - 1 },
			on:   fromRunning(closure.Dead, notRunning),
		},
		{
			maker: "WentBack", what: "the ledger went back", make: closure.WentBack,
			on: fromRunning(closure.Failed, notRunning),
		},
		{
			maker: "Reissued", what: "sweep",
			make: func(at time.Time) closure.Change { return closure.Reissued(at, "its task was late", false) },
			on:   fromRunning(closure.Running, notRunning),
		},
		{
			maker: "Reissued", what: "a crash too many",
			make: func(at time.Time) closure.Change { return closure.Reissued(at, "its task was archived", true) },
			prep: func(c *closure.Closure) { c.Crashes = closure.MaxCrashes - 1 },
			on:   fromRunning(closure.Dead, notRunning),
		},
		{
			maker: "Cancel", what: "cancel",
			make: func(at time.Time) closure.Change { return closure.Cancel(at, "ann", "never mind", false) },
			on:   on(gone, gone, gone, gone, notAllowed, notAllowed),
		},
		{
			maker: "Cancel", what: "cancel past the point of no return",
			make: func(at time.Time) closure.Change { return closure.Cancel(at, "ann", "never mind", true) },
			on:   on(notAllowed, notAllowed, notAllowed, notAllowed, notAllowed, notAllowed),
		},
		{
			maker: "Pause", what: "pause",
			make: func(at time.Time) closure.Change { return closure.Pause(at, "ann", "hold it") },
			on:   fromRunning(closure.Paused, notAllowed),
		},
		{
			maker: "Resume", what: "resume",
			make: func(at time.Time) closure.Change { return closure.Resume(at, "ann", "go on") },
			on:   on(notAllowed, runs, runs, runs, notAllowed, notAllowed),
		},
		{
			maker: "Resolved", what: "resolve",
			make: func(at time.Time) closure.Change {
				return closure.Resolved(at, "ann", "wired", closure.Resolution{Kind: closure.PaidByHand, Amount: closure.Cent, Reference: "X"}, nil)
			},
			on: on(notAllowed, runs, runs, runs, notAllowed, notAllowed),
		},
		{
			maker: "Adopted", what: "adoption",
			make: func(at time.Time) closure.Change { return closure.Adopted(at, "ann", "moved over", adoption()) },
			on:   stays,
		},
		{
			maker: "Reconciled", what: "reconciliation",
			make: func(at time.Time) closure.Change {
				return closure.Reconciled(at, "ann", "restored", closure.Adoption{})
			},
			on: stays,
		},
		{
			maker: "Reconciled", what: "reconcile",
			make: func(at time.Time) closure.Change { return closure.Reconciled(at, "ann", "restored", adoption()) },
			prep: func(c *closure.Closure) { c.Reason, c.Who = closure.LedgerWentBack, closure.Operator },
			on:   on(runs, answer(closure.Paused), runs, answer(closure.Dead), notAllowed, notAllowed),
		},
		{
			maker: "Unreconciled", what: "not reconciled",
			make: func(at time.Time) closure.Change {
				return closure.Unreconciled(at, "ann", "restored", "the broker answered 404")
			},
			on: on(answer(closure.Failed), answer(closure.Paused), answer(closure.Failed), answer(closure.Dead), notAllowed, notAllowed),
		},
		{
			maker: "Wake", what: "wake",
			make: func(at time.Time) closure.Change { return closure.Wake(at, "ann", "look now") },
			on:   fromRunning(closure.Running, notAllowed),
		},
		{
			maker: "Hastened", what: "event of the broker's",
			make: closure.Hastened,
			on:   fromRunning(closure.Running, notRunning),
		},
	}
}

// told says what Apply answered, in the words of the table.
func told(after closure.Closure, err error) answer {
	var no *closure.NotAllowedError
	switch {
	case err == nil:
		return answer(after.State)
	case errors.As(err, &no):
		return notAllowed
	case errors.Is(err, closure.ErrNotRunning):
		return notRunning
	}
	return answer(err.Error())
}

func TestEveryChangeInEveryStateIsTakenOrRefused(t *testing.T) {
	t.Parallel()
	reached := map[closure.State]map[closure.State]bool{}
	for _, h := range happenings() {
		for _, step := range closure.Road {
			for _, s := range closure.States {
				name := fmt.Sprintf("%s of a %s closure in %s", h.what, s, step.Phase)
				before := stand(t, s, step.Phase)
				if h.prep != nil {
					h.prep(&before)
				}
				after, ev, err := closure.Apply(before, h.make(noon.Add(time.Minute)).With("detail"), policy())
				if want, got := h.on[s], told(after, err); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
					continue
				}
				if err != nil {
					if diff := cmp.Diff(before, after); diff != "" || ev != nil {
						t.Errorf("%s was refused and still changed something; event %v\n%s", name, ev, diff)
					}
					continue
				}
				if reached[s] == nil {
					reached[s] = map[closure.State]bool{}
				}
				if s == closure.Running || s != after.State { // what leaves it where it is, is no way
					reached[s][after.State] = true
				}
				wholesome(t, name, before, after, ev)
			}
		}
	}
	// The table of the state axis says what Apply does: no more, and no less.
	for _, from := range closure.States {
		for _, to := range closure.States {
			if leads := slices.Contains(closure.Leads()[from], to); leads != reached[from][to] {
				t.Errorf("from %s to %s: the table says %t, Apply %t", from, to, leads, reached[from][to])
			}
		}
		if from.Ended() != (len(reached[from]) == 0) {
			t.Errorf("%s: ended is %t, and it leads to %d states", from, from.Ended(), len(reached[from]))
		}
	}
}

// wholesome is what holds of every change that was taken.
func wholesome(tb testing.TB, name string, before, after closure.Closure, ev *closure.Event) {
	tb.Helper()
	if after.Phase != before.Phase {
		tb.Errorf("%s: the phase became %s", name, after.Phase)
	}
	if (after.State == closure.Running) == after.DueAt.IsZero() {
		tb.Errorf("%s: %s and due %s", name, after.State, after.DueAt)
	}
	if stopped := after.State != closure.Running && after.State != closure.Paused; stopped == after.EndedAt.IsZero() {
		tb.Errorf("%s: %s and ended %s", name, after.State, after.EndedAt)
	}
	if _, ok := closure.Reasons[after.Reason]; !ok && after.State != closure.Closed {
		tb.Errorf("%s: the reason %q has no row", name, after.Reason)
	}
	if after.Who != closure.Reasons[after.Reason].Who {
		tb.Errorf("%s: %q must act, for %s", name, after.Who, after.Reason)
	}
	if after.Version != before.Version && after.Token != "" {
		tb.Errorf("%s: the version moved and kept its token", name)
	}
	if before.State != after.State && (ev == nil || after.Version <= before.Version) {
		tb.Errorf("%s: the state changed with the event %v and version %d after %d", name, ev, after.Version, before.Version)
	}
	if ev != nil && (ev.Kind == "" || ev.Actor == "" || ev.At.IsZero() || ev.Text == "" || ev.Detail != "detail") {
		tb.Errorf("%s: the event is incomplete: %+v", name, *ev)
	}
}

func TestTheTableOfChangesHasARowForEach(t *testing.T) {
	t.Parallel()
	var got []string
	for _, h := range happenings() {
		got = append(got, h.maker)
		if len(h.on) != len(closure.States) {
			t.Errorf("%s: %d states are answered for, of %d", h.what, len(h.on), len(closure.States))
		}
	}
	slices.Sort(got)
	if diff := cmp.Diff(makers(t, "Change"), slices.Compact(got)); diff != "" {
		t.Errorf("the changes of the source and those of the table (-source +table)\n%s", diff)
	}
}

func TestTheZeroChangeAndTheZeroOutcomeAreErrors(t *testing.T) {
	t.Parallel()
	for name, ch := range map[string]closure.Change{
		"a change of no kind":   {},
		"a look of no outcome":  closure.Looked(noon, closure.Outcome{}, closure.Look{}, nil),
		"a way to nowhere":      closure.Looked(noon, closure.Go("", "lost"), closure.Look{}, nil),
		"a way off the road":    closure.Looked(noon, closure.Go("heaven", "lost"), closure.Look{}, nil),
		"a way to where one is": closure.Looked(noon, closure.Go(closure.Settlement, "lost"), closure.Look{}, nil),
	} {
		before := fresh(closure.Settlement)
		after, ev, err := closure.Apply(before, ch, policy())
		if err == nil || errors.Is(err, closure.ErrNotRunning) {
			t.Errorf("%s: no error of its own: %v", name, err)
		}
		if diff := cmp.Diff(before, after); diff != "" || ev != nil {
			t.Errorf("%s: was refused and still changed something; event %v\n%s", name, ev, diff)
		}
	}
}

func TestEventsSayWhatHappened(t *testing.T) {
	t.Parallel()
	running, due := stand(t, closure.Running, closure.Withdrawal), fresh(closure.Withdrawal)
	worn := due // at the last of everything
	worn.Failures, worn.Crashes, worn.Loops = closure.MaxRetries, closure.MaxCrashes-1, closure.MaxLoops-1
	worn.Looks, worn.Days = 9, 5
	at := noon.Add(time.Minute)
	for _, tt := range []struct {
		name   string
		before closure.Closure
		change closure.Change
		kind   string // "": no event
		text   string // a part of it
	}{
		{"a wait for something new", due, looked(closure.Wait(0, closure.Selling, "selling 3"))(at), "wait", "selling 3"},
		{"a wait for the same", running, looked(closure.Wait(0, closure.Selling, "selling"))(at), "", ""},
		{"a wait for the same reason in other words", running, looked(closure.Wait(0, closure.Selling, "selling 2"))(at), "wait", "selling 2"},
		{"an outage", due, looked(closure.Outage(time.Minute, "no answer"))(at), "wait", "no answer"},
		{"a way on", due, looked(closure.Go(closure.Closing, "empty"))(at), "go", "empty"},
		{"a way back", due, looked(closure.Go(closure.Liquidation, "shares"))(at), "go", "shares"},
		{"a refusal", due, looked(closure.Fail(closure.BankGone, "gone"))(at), "failed", "gone"},
		{"an end", due, looked(closure.Done("all of it"))(at), "closed", "all of it"},
		{"a claim", due, closure.Claimed(at, at.Add(time.Minute), "pay out", true), "claim", "pay out"},
		{"an error", due, closure.Stumbled(at, "broken", 0, true), "error", "broken"},
		{"the last error", worn, closure.Stumbled(at, "broken", 3, true), "dead", "failed 4 times in a row: broken"},
		{"the last crash", worn, closure.Crashed(at, 1), "dead", "5 runs in a row ended without a word"},
		{"the last rescue", worn, closure.Reissued(at, "its task was archived", true), "dead", "5 runs in a row ended without a word"},
		{"the last look", worn, closure.Looked(at, selling, closure.Look{Day: "2026-11-18"}, nil), "failed", "withdrawal took more than 5 banking days: selling"},
		{"the last way back", worn, looked(closure.Go(closure.Liquidation, "shares"))(at), "failed", "went back 10 times, the last time from withdrawal to liquidation: shares"},
		{"a crash", due, closure.Crashed(at, 1), "crash", "1 in a row"},
		{"a restored ledger", due, closure.WentBack(at), "failed", "restored"},
		{"a rescue", due, closure.Reissued(at, "its task was late", false), "reissue", "its task was late"},
		{"a pause", due, closure.Pause(at, "ann", "hold it"), "pause", "hold it"},
		{"a cancellation", due, closure.Cancel(at, "ann", "never mind", false), "cancel", "never mind"},
		{"a wake", running, closure.Wake(at, "ann", "look now"), "wake", "look now"},
		{"a wake of what is due", due, closure.Wake(at, "ann", "look now"), "wake", "look now"},
		{"a wake without a reason", due, closure.Wake(at, "ann", ""), "wake", ""},
		{"an event of the broker's", running, closure.Hastened(at), "", ""},
		{"an event that meets what is due", due, closure.Hastened(at), "", ""},
	} {
		after, ev, err := closure.Apply(tt.before, tt.change.With(map[string]int{"calls": 3}), policy())
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if ev == nil {
			if tt.kind != "" {
				t.Errorf("%s: no event, want %q", tt.name, tt.kind)
			}
			continue
		}
		if ev.Kind != tt.kind || !strings.Contains(ev.Text, tt.text) || tt.kind == "" {
			t.Errorf("%s: the event %q: %q, want %q: %q", tt.name, ev.Kind, ev.Text, tt.kind, tt.text)
		}
		if !ev.At.Equal(at) || ev.Actor == "" || cmp.Diff(map[string]int{"calls": 3}, ev.Detail) != "" {
			t.Errorf("%s: the event is at %s by %q with %v", tt.name, ev.At, ev.Actor, ev.Detail)
		}
		if !after.UpdatedAt.Equal(at) {
			t.Errorf("%s: updated at %s", tt.name, after.UpdatedAt)
		}
	}
}

func TestTheFirstVisitIsTheStart(t *testing.T) {
	t.Parallel()
	at := noon.Add(time.Minute)
	for name, ch := range map[string]closure.Change{
		"a look":   looked(selling)(at),
		"a claim":  closure.Claimed(at, at, "sell", false),
		"an error": closure.Stumbled(at, "broken", 0, true),
	} {
		c := apply(t, fresh(closure.Liquidation), ch)
		if !c.StartedAt.Equal(at) {
			t.Errorf("%s: started %s", name, c.StartedAt)
		}
		if again := apply(t, c, closure.Stumbled(at.Add(time.Hour), "broken", 0, true)); !again.StartedAt.Equal(at) {
			t.Errorf("%s: started again at %s", name, again.StartedAt)
		}
	}
	if c := apply(t, fresh(closure.Liquidation), closure.Reissued(at, "late", false)); !c.StartedAt.IsZero() {
		t.Errorf("a rescue is no visit, and started it at %s", c.StartedAt)
	}
}

func TestRefusalsSayWhy(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		state  closure.State
		change closure.Change
		want   string
	}{
		{closure.Closed, closure.Cancel(noon, "ann", "", false), "cannot cancel: the closure is closed already"},
		{closure.Running, closure.Cancel(noon, "ann", "", true), "pause holds the closure"},
		{closure.Failed, closure.Pause(noon, "ann", ""), "cannot pause: the closure is failed; only a running one can be paused"},
		{closure.Paused, closure.Wake(noon, "ann", ""), "cannot wake: the closure is paused"},
		{closure.Running, closure.Resume(noon, "ann", ""), "cannot resume: the closure is running; only a paused, failed or dead one can be resumed"},
	} {
		_, _, err := closure.Apply(stand(t, tt.state, closure.Withdrawal), tt.change, policy())
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v, want it to say %q", err, tt.want)
		}
		if no, ok := errors.AsType[*closure.NotAllowedError](err); !ok || no.State != tt.state {
			t.Errorf("%v does not carry the state %s", err, tt.state)
		}
	}
}
