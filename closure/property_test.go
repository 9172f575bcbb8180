package closure_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"closeout/closure"
)

// machine drives a closure through anything that can happen to it, in any order, and keeps its own count beside.
type machine struct {
	c      closure.Closure
	policy closure.Policy
	now    time.Time

	errors, inPhase, crashes, backs int           // as design §3 counts them
	looks, days                     int           // of the limit
	spent                           time.Duration // of the limit
	lastDay                         string
}

func newMachine(rt *rapid.T) *machine {
	m := &machine{c: fresh(closure.Liquidation), policy: policy(), now: noon}
	m.policy.Limits[closure.Liquidation] = closure.Limit{Time: 3 * time.Minute, Of: closure.OpenMarket}
	m.policy.Limits[closure.Settlement] = closure.Limit{Days: 1, Of: closure.TradingDays}
	m.policy.Limits[closure.Withdrawal] = closure.Limit{Days: 2, Of: closure.BankingDays}
	m.policy.Limits[closure.Closing] = closure.Limit{Time: 2 * time.Minute, Of: closure.BusinessTime}
	if rapid.IntRange(0, 3).Draw(rt, "later") == 0 {
		m.c.NotBefore = noon.Add(48 * time.Hour)
		m.c.DueAt = m.c.NotBefore
	}
	return m
}

// pass lets time go by: as it is until the closure is due, or not so long.
func (m *machine) pass(rt *rapid.T) {
	d := time.Duration(rapid.SampledFrom([]int{0, 1, 60, 3600, 24 * 3600}).Draw(rt, "seconds")) * time.Second
	if rapid.Bool().Draw(rt, "until due") && m.c.DueAt.After(m.now) {
		d = m.c.DueAt.Sub(m.now)
	}
	m.now = m.now.Add(d)
}

// do applies a change and checks what holds of every change. took is false where it was refused.
func (m *machine) do(rt *rapid.T, ch closure.Change) (before closure.Closure, took bool) {
	before = m.c
	after, ev, err := closure.Apply(before, ch, m.policy)
	if err != nil {
		if !cmp.Equal(before, after) || ev != nil {
			rt.Fatalf("refused (%v), and still changed\n%s", err, cmp.Diff(before, after))
		}
		_, command := errors.AsType[*closure.NotAllowedError](err)
		if !command && !errors.Is(err, closure.ErrNotRunning) && !strings.Contains(err.Error(), "the road does not lead") {
			rt.Fatal(err)
		}
		return before, false
	}
	switch {
	case before.State.Ended():
		rt.Fatalf("a %s closure became %s", before.State, after.State)
	case after.Version < before.Version:
		rt.Fatalf("version %d after %d", after.Version, before.Version)
	case after.Version == before.Version && after.Token != before.Token, after.Version > before.Version && after.Token != "":
		rt.Fatalf("version %d after %d, and the token is %q", after.Version, before.Version, after.Token)
	case !slices.Contains(closure.Leads()[before.State], after.State):
		rt.Fatalf("%s became %s", before.State, after.State)
	case before.State != after.State && ev == nil:
		rt.Fatalf("%s became %s without an event", before.State, after.State)
	case before.Phase != after.Phase && (ev == nil || ev.Kind != "go"):
		rt.Fatalf("from %s to %s by %v", before.Phase, after.Phase, ev)
	}
	// A visit saves upon the row that it has read where version, history and mark are still the same: all that changes shows there.
	if marked := before; after.Version == before.Version && ev == nil {
		marked.WokenAt, marked.UpdatedAt = after.WokenAt, after.UpdatedAt
		if diff := cmp.Diff(marked, after); diff != "" {
			rt.Fatalf("more than the mark of a wake changed, and neither version nor history tells\n%s", diff)
		}
	}
	if after.Token == "" {
		after.Token = fmt.Sprintf("t%d", after.Version)
	}
	m.c = after
	return before, true
}

// moved demands that the version grew, or that it did not.
func (m *machine) moved(rt *rapid.T, before closure.Closure, want bool) {
	if got := m.c.Version > before.Version; got != want {
		rt.Fatalf("version %d after %d", m.c.Version, before.Version)
	}
}

// stopped demands that the closure stopped for the reason, or that it still runs.
func (m *machine) stopped(rt *rapid.T, want bool, s closure.State, r closure.Reason) {
	switch {
	case want && (m.c.State != s || m.c.Reason != r):
		rt.Fatalf("it is %s for %q, and must be %s for %q", m.c.State, m.c.Reason, s, r)
	case !want && m.c.State != closure.Running:
		rt.Fatalf("it is %s for %q, too early: %s", m.c.State, m.c.Reason, m.c.Why)
	}
}

// due demands the due time, moved to the wake that the row was marked with and never before the time asked for.
func (m *machine) due(rt *rapid.T, before closure.Closure, want time.Time) {
	if !before.WokenAt.IsZero() && before.WokenAt.Before(want) {
		want = before.WokenAt
	}
	if want.Before(m.c.NotBefore) {
		want = m.c.NotBefore
	}
	if !m.c.DueAt.Equal(want) || !m.c.WokenAt.IsZero() {
		rt.Fatalf("due %s, woken %s; want %s", m.c.DueAt, m.c.WokenAt, want)
	}
}

// saw counts a successful look.
func (m *machine) saw() { m.errors, m.crashes, m.looks = 0, 0, m.looks+1 }

func (m *machine) freshLimit() { m.looks, m.spent, m.days, m.lastDay = 0, 0, 0, "" }

// wait is a look that waits. counted says whether it uses up the limit.
func (m *machine) wait(rt *rapid.T, o closure.Outcome, counted bool, due time.Time) {
	l := closure.Look{Open: time.Duration(rapid.IntRange(0, 200).Draw(rt, "open")) * time.Second}
	if rapid.Bool().Draw(rt, "a day that counts") {
		l.Day = m.now.Format(time.DateOnly)
	}
	before, took := m.do(rt, closure.Looked(m.now, o, l, nil))
	if !took {
		return
	}
	m.saw()
	over := false
	if limit := m.policy.Limits[m.c.Phase]; counted {
		m.spent += min(l.Open, 2*m.policy.Polls[m.c.Phase])
		if l.Day != "" && l.Day != m.lastDay {
			m.days, m.lastDay = m.days+1, l.Day
		}
		over = m.looks >= 3 && (limit.Days > 0 && m.days > limit.Days || limit.Days == 0 && m.spent > limit.Time)
	}
	m.moved(rt, before, true)
	m.stopped(rt, over, closure.Failed, closure.LimitReached)
	if !over {
		m.due(rt, before, due)
	}
}

func (m *machine) actions() map[string]func(*rapid.T) {
	do := func(fn func(*rapid.T)) func(*rapid.T) {
		return func(rt *rapid.T) {
			m.pass(rt)
			fn(rt)
		}
	}
	return map[string]func(*rapid.T){
		"wait": do(func(rt *rapid.T) {
			d := time.Duration(rapid.IntRange(1, 7200).Draw(rt, "delay")) * time.Second
			m.wait(rt, closure.Wait(d, closure.Selling, "selling"), true, m.now.Add(d))
		}),
		"wait a poll": do(func(rt *rapid.T) {
			m.wait(rt, closure.Wait(0, closure.Selling, "selling"), true, m.now.Add(m.policy.Polls[m.c.Phase]))
		}),
		"wait until": do(func(rt *rapid.T) {
			at := m.now.Add(17 * time.Hour)
			m.wait(rt, closure.WaitUntil(at, closure.MarketClosed, "closed"), false, at)
		}),
		"park": do(func(rt *rapid.T) {
			m.wait(rt, closure.Park(0, closure.AccountBlocked, "blocked"), false, m.now.Add(m.policy.Polls[m.c.Phase]))
		}),
		"outage": do(func(rt *rapid.T) {
			l := closure.Look{Open: time.Hour, Day: m.now.Format(time.DateOnly)}
			before, took := m.do(rt, closure.Looked(m.now, closure.Outage(time.Minute, "no answer"), l, nil))
			if took { // that no counter has changed, the check below sees
				m.moved(rt, before, true)
				m.stopped(rt, false, "", "")
				m.due(rt, before, m.now.Add(time.Minute))
			}
		}),
		"go": do(func(rt *rapid.T) {
			to := rapid.SampledFrom(closure.Road).Draw(rt, "to")
			before, took := m.do(rt, closure.Looked(m.now, closure.Go(to.Phase, "why"), closure.Look{}, nil))
			if took != (before.State == closure.Running && slices.Contains(closure.StepOf(before.Phase).Next, to.Phase)) {
				rt.Fatalf("a %s closure, from %s to %s: taken %t", before.State, before.Phase, to.Phase, took)
			}
			if !took {
				return
			}
			m.saw()
			due := m.now
			if number(to.Phase) < number(before.Phase) {
				m.backs++
				due = m.now.Add(m.policy.Polls[to.Phase])
			}
			m.moved(rt, before, true)
			if m.stopped(rt, m.backs >= closure.MaxLoops, closure.Failed, closure.TooManyLoops); m.c.State == closure.Running {
				m.inPhase = 0
				m.freshLimit()
				m.due(rt, before, due)
			}
			if want := to.Phase; m.c.State == closure.Running && m.c.Phase != want {
				rt.Fatalf("in %s, want %s", m.c.Phase, want)
			}
		}),
		"fail": do(func(rt *rapid.T) {
			if before, took := m.do(rt, looked(closure.Fail(closure.BankGone, "gone"))(m.now)); took {
				m.saw()
				m.moved(rt, before, true)
				m.stopped(rt, true, closure.Failed, closure.BankGone)
			}
		}),
		"done": do(func(rt *rapid.T) {
			if rapid.IntRange(0, 9).Draw(rt, "at last") != 0 {
				return
			}
			if before, took := m.do(rt, looked(closure.Done("closed"))(m.now)); took {
				m.saw()
				m.moved(rt, before, true)
				m.stopped(rt, true, closure.Closed, "")
			}
		}),
		"claim": do(func(rt *rapid.T) {
			payout := rapid.Bool().Draw(rt, "payout")
			before, took := m.do(rt, closure.Claimed(m.now, m.now.Add(30*time.Second), "send", payout))
			if !took {
				return
			}
			if payout {
				m.freshLimit()
			}
			m.moved(rt, before, true)
			m.stopped(rt, false, "", "")
			if want := m.now.Add(30 * time.Second); !m.c.WokenAt.Equal(before.WokenAt) || m.c.DueAt.Before(want) || m.c.Reason != closure.Sending {
				rt.Fatalf("due %s, woken %s before and %s after, %s", m.c.DueAt, before.WokenAt, m.c.WokenAt, m.c.Reason)
			}
		}),
		"error": do(func(rt *rapid.T) {
			retried := rapid.IntRange(0, 9).Draw(rt, "retried")
			before, took := m.do(rt, closure.Stumbled(m.now, "broken", retried, rapid.Bool().Draw(rt, "noted")))
			if !took {
				return
			}
			m.errors++
			m.inPhase++
			dead := m.errors == 4 || m.inPhase == 20
			m.moved(rt, before, dead)
			m.stopped(rt, dead, closure.Dead, closure.RetriesUsedUp)
			if !dead && !m.c.DueAt.Equal(before.DueAt) {
				rt.Fatalf("an error moved the row from %s to %s", before.DueAt, m.c.DueAt)
			}
		}),
		"crash": do(func(rt *rapid.T) {
			before, took := m.do(rt, closure.Crashed(m.now, rapid.IntRange(1, 9).Draw(rt, "retried")))
			if !took {
				return
			}
			m.crashes++
			m.moved(rt, before, m.crashes == 5)
			m.stopped(rt, m.crashes == 5, closure.Dead, closure.CrashesWorker)
		}),
		"rescue": do(func(rt *rapid.T) {
			crashed := rapid.Bool().Draw(rt, "crashed")
			before, took := m.do(rt, closure.Reissued(m.now, "late", crashed))
			if !took {
				return
			}
			if crashed {
				m.crashes++
			}
			m.moved(rt, before, true)
			if m.stopped(rt, m.crashes == 5, closure.Dead, closure.CrashesWorker); m.crashes < 5 {
				m.due(rt, before, m.now)
			}
		}),
		"ledger went back": do(func(rt *rapid.T) {
			if rapid.IntRange(0, 4).Draw(rt, "a restore") != 0 {
				return
			}
			if before, took := m.do(rt, closure.WentBack(m.now)); took {
				m.moved(rt, before, true)
				m.stopped(rt, true, closure.Failed, closure.LedgerWentBack)
			}
		}),
		"cancel": do(func(rt *rapid.T) {
			if rapid.IntRange(0, 9).Draw(rt, "at last") != 0 {
				return
			}
			past := rapid.Bool().Draw(rt, "past")
			before, took := m.do(rt, closure.Cancel(m.now, "ann", "never mind", past))
			if took != (!past && !before.State.Ended()) {
				rt.Fatalf("a %s closure, past the point of no return %t: taken %t", before.State, past, took)
			}
			if took {
				m.moved(rt, before, true)
				m.stopped(rt, true, closure.Canceled, closure.CanceledByRequest)
			}
		}),
		"pause": do(func(rt *rapid.T) {
			before, took := m.do(rt, closure.Pause(m.now, "ann", "hold it"))
			if took != (before.State == closure.Running) {
				rt.Fatalf("a %s closure: taken %t", before.State, took)
			}
			if took {
				m.moved(rt, before, true)
				m.stopped(rt, true, closure.Paused, closure.PausedByOperator)
			}
		}),
		"resume": do(func(rt *rapid.T) {
			before, took := m.do(rt, closure.Resume(m.now, "ann", "go on"))
			if took != slices.Contains([]closure.State{closure.Paused, closure.Failed, closure.Dead}, before.State) {
				rt.Fatalf("a %s closure: taken %t", before.State, took)
			}
			if took {
				m.errors, m.inPhase, m.crashes, m.backs = 0, 0, 0, 0
				m.freshLimit()
				m.moved(rt, before, true)
				m.stopped(rt, false, "", "")
				m.due(rt, before, m.now)
			}
		}),
		"resolve": do(func(rt *rapid.T) {
			r := rapid.SampledFrom([]closure.Resolution{
				{Kind: closure.PaidByHand, Amount: closure.Cent, Reference: "X"}, {Kind: closure.RelinkBank, Bank: "other", Fingerprint: "beef"}, {Kind: closure.VoidTransfer},
			}).Draw(rt, "resolution")
			before, took := m.do(rt, closure.Resolved(m.now, "ann", "by hand", r, nil))
			if took != slices.Contains([]closure.State{closure.Paused, closure.Failed, closure.Dead}, before.State) {
				rt.Fatalf("a %s closure: taken %t", before.State, took)
			}
			if !took {
				return
			}
			m.errors, m.inPhase, m.crashes, m.backs = 0, 0, 0, 0
			m.freshLimit()
			m.moved(rt, before, true)
			m.stopped(rt, false, "", "")
			m.due(rt, before, m.now)
			if relinked := m.c.RelationshipID != before.RelationshipID; relinked && r.Kind != closure.RelinkBank {
				rt.Fatalf("%s changed the bank", r.Kind)
			}
			if more := len(m.c.Memo.ByHand) - len(before.Memo.ByHand); more != 0 && r.Kind != closure.PaidByHand || more != 1 && r.Kind == closure.PaidByHand {
				rt.Fatalf("%s recorded %d payments", r.Kind, more)
			}
			if m.c.Memo.Allowed != before.Memo.Allowed {
				rt.Fatalf("%s allowed %s after %s", r.Kind, m.c.Memo.Allowed, before.Memo.Allowed)
			}
		}),
		"wake": do(func(rt *rapid.T) {
			before, took := m.do(rt, closure.Wake(m.now, "ann", "now"))
			if !took {
				return
			}
			if waiting := before.DueAt.After(m.now); waiting {
				m.moved(rt, before, true)
				m.due(rt, before, m.now)
			} else if m.moved(rt, before, false); !m.c.WokenAt.Equal(m.now) || !m.c.DueAt.Equal(before.DueAt) {
				rt.Fatalf("a due one: woken %s, due %s", m.c.WokenAt, m.c.DueAt)
			}
		}),
		"": m.check,
	}
}

// check is what holds at every moment.
func (m *machine) check(rt *rapid.T) {
	c := m.c
	running := c.State == closure.Running
	switch {
	case running == c.DueAt.IsZero():
		rt.Fatalf("%s, and due %s", c.State, c.DueAt)
	case running && c.DueAt.Before(c.NotBefore):
		rt.Fatalf("due %s, before %s", c.DueAt, c.NotBefore)
	case (running || c.State == closure.Paused) != c.EndedAt.IsZero():
		rt.Fatalf("%s, and ended %s", c.State, c.EndedAt)
	case !running && !c.WokenAt.IsZero():
		rt.Fatalf("%s, and woken %s", c.State, c.WokenAt)
	case !c.Phase.Valid():
		rt.Fatalf("in %q", c.Phase)
	case c.Who != closure.Reasons[c.Reason].Who:
		rt.Fatalf("%q must act, for %s", c.Who, c.Reason)
	case c.Failures != m.errors || c.FailuresInPhase != m.inPhase || c.Crashes != m.crashes || c.Loops != m.backs:
		rt.Fatalf("%d failures, %d in this phase, %d crashes, %d ways back; want %d, %d, %d, %d",
			c.Failures, c.FailuresInPhase, c.Crashes, c.Loops, m.errors, m.inPhase, m.crashes, m.backs)
	case c.Looks != m.looks || c.Spent != m.spent || c.Days != m.days:
		rt.Fatalf("%d looks, %s and %d days counted; want %d, %s, %d", c.Looks, c.Spent, c.Days, m.looks, m.spent, m.days)
	case running && (c.Failures > closure.MaxRetries || c.FailuresInPhase >= closure.MaxFailuresInPhase || c.Crashes >= closure.MaxCrashes || c.Loops >= closure.MaxLoops):
		rt.Fatalf("it runs with %d failures, %d in this phase, %d crashes, %d ways back", c.Failures, c.FailuresInPhase, c.Crashes, c.Loops)
	case c.JobStatus() == "UNKNOWN":
		rt.Fatal("its job status is not known")
	}
}

func TestPropertyAClosureKeepsItsPromisesWhateverHappens(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		m := newMachine(rt)
		rt.Repeat(m.actions())
	})
}

// Errors alone: dead at the fourth in a row, or at the twentieth of a phase however many looks lie between.
func TestPropertyErrorsAreCountedTwice(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		c := fresh(closure.Closing)
		inARow, inPhase := 0, 0
		for c.State == closure.Running {
			if rapid.IntRange(0, 2).Draw(rt, "look") == 0 {
				c, inARow = apply(rt, c, looked(closure.Park(0, closure.AccountBlocked, "blocked"))(noon)), 0
				continue
			}
			c = apply(rt, c, closure.Stumbled(noon, "broken", inARow, true))
			inARow, inPhase = inARow+1, inPhase+1
		}
		if c.State != closure.Dead || c.Reason != closure.RetriesUsedUp || (inARow != 4 && inPhase != 20) || inARow > 4 || inPhase > 20 {
			rt.Fatalf("%s for %s after %d errors in a row and %d in the phase", c.State, c.Reason, inARow, inPhase)
		}
	})
}
