package handlers_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"closeout/alpaca"
	"closeout/alpaca/sim"
	"closeout/closure"
	"closeout/internal/lab"
	"closeout/ledger"
)

// purse is a budget that refuses as it is told to, and notes what it is asked.
type purse struct {
	refuse  func(what string) *alpaca.HeldError // nil: it has enough
	mu      sync.Mutex
	asked   []string
	prepaid atomic.Int64 // instructions
}

func (p *purse) take(ctx context.Context, what string) (context.Context, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, what)
	if p.refuse != nil {
		if held := p.refuse(what); held != nil {
			return ctx, held
		}
	}
	return ctx, nil
}

func (p *purse) Visit(ctx context.Context, _ string, _ int, inTurn bool) (context.Context, error) {
	if inTurn {
		return p.take(ctx, "turn")
	}
	return p.take(ctx, "look")
}

func (p *purse) Ask(ctx context.Context, _ string, _ int) (context.Context, error) {
	return p.take(ctx, "ask")
}

func (p *purse) Effects(ctx context.Context, calls int) (context.Context, error) {
	next, err := p.take(ctx, "effects")
	if err == nil {
		p.prepaid.Add(int64(calls))
	}
	return next, err
}

func busy(d time.Duration, place bool) *alpaca.HeldError {
	return &alpaca.HeldError{Why: alpaca.HoldBusy, For: d, Place: place}
}

// What finds no budget waits, and that is all: the same payouts, the same history, no failure and no limit used, whatever
// is refused and however often.
func TestABusyBrokerIsNoNews(t *testing.T) {
	t.Parallel()
	kindsOf := func(p *purse) (kinds []string, visits int64) {
		bench(t, lab.Options{Budget: p}, func(l *lab.Lab) {
			c := l.Ends(l.Open(threeStocks()).ID, month)
			wants(l, c, closure.Closed, "", "7048.48")
			evs, err := l.Ledger.Events(l.TB.Context(), c.ID)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range evs {
				kinds = append(kinds, e.Kind+" "+e.Text[:min(len(e.Text), 12)])
			}
			if p.prepaid.Load() != 5 { // three orders, a payout, the closing
				t.Errorf("%d instructions were paid for", p.prepaid.Load())
			}
			visits = l.Visits.Load()
		})
		return kinds, visits
	}
	plain, few := kindsOf(&purse{})
	turns := 0
	places, more := kindsOf(&purse{refuse: func(what string) *alpaca.HeldError {
		if what == "look" { // every look is queued, and its turn comes
			return busy(7*time.Minute, true)
		}
		if what == "turn" {
			turns++
		}
		return nil
	}})
	if !slices.Equal(plain, places) {
		t.Errorf("with a queue of looks the history is\n%s\nwithout\n%s", strings.Join(places, "\n"), strings.Join(plain, "\n"))
	}
	if turns == 0 || more <= few {
		t.Errorf("%d turns, %d visits; without a queue %d", turns, more, few)
	}
	n := map[string]int{}
	odd, _ := kindsOf(&purse{refuse: func(what string) *alpaca.HeldError {
		if n[what]++; n[what]%3 != 0 { // two of three are turned away, at the door for instructions, too
			return busy(20*time.Second, false)
		}
		return nil
	}})
	if !slices.Equal(plain, odd) {
		t.Errorf("turned away now and then the history is\n%s\nwithout\n%s", strings.Join(odd, "\n"), strings.Join(plain, "\n"))
	}
}

// An instruction is paid for before it is claimed: one that can't be paid for leaves no intent and no claim, and the reads
// behind one that had to wait for it are made anew.
func TestInstructionsArePaidForBeforeTheyAreClaimed(t *testing.T) {
	t.Parallel()
	bench(t, lab.Options{Budget: &purse{}}, func(l *lab.Lab) {
		p := l.Budget.(*purse)
		c := l.Open(sim.Spec{Cash: d("900")})
		denied := 0
		p.refuse = func(what string) *alpaca.HeldError {
			if what != "effects" || denied == 5 {
				return nil
			}
			denied++
			if is, err := l.Ledger.Intents(l.TB.Context(), c.ID); err != nil || len(is) > 0 {
				l.TB.Errorf("before it is paid for there is %v, %v", is, err)
			}
			return busy(20*time.Second, false)
		}
		c = l.Ends(c.ID, month)
		wants(l, c, closure.Closed, "", "900.00")
		if denied != 5 || slices.Index(kinds(l, c), "claim") < 0 {
			l.TB.Errorf("denied %d times: %v", denied, kinds(l, c))
		}

		waited := false // longer than what was read stays fresh
		p.refuse = func(what string) *alpaca.HeldError {
			if what == "effects" && !waited {
				waited = true
				time.Sleep(l.Timing.Fresh + time.Second)
			}
			return nil
		}
		c = l.Open(sim.Spec{Cash: d("800")})
		c = l.Ends(c.ID, month)
		wants(l, c, closure.Closed, "", "800.00")
		if !waited || !strings.Contains(l.History(c.ID), "too old to act on") {
			l.TB.Errorf("waited %v\n%s", waited, l.History(c.ID))
		}
	})
}

// Urgent closures, and those that have just gone on, go before the queue; a place that was missed by far is lost.
func TestWhoGoesBeforeTheQueue(t *testing.T) {
	t.Parallel()
	bench(t, lab.Options{Budget: &purse{}}, func(l *lab.Lab) {
		p := l.Budget.(*purse)
		c := l.Open(sim.Spec{Cash: d("900")})
		visit := func() string {
			l.TB.Helper()
			p.asked = nil
			if err := l.Deliver(l.Get(c.ID)); err != nil {
				l.TB.Fatal(err)
			}
			return p.asked[0]
		}
		if got := visit(); got != "ask" {
			l.TB.Errorf("an accepted closure: %s", got)
		}
		if got := visit(); got != "ask" || l.Get(c.ID).Phase == closure.Liquidation {
			l.TB.Errorf("it has just gone on to %s: %s", l.Get(c.ID).Phase, got)
		}
		l.RunUntil(month, func() bool { return l.Get(c.ID).Reason == closure.TransferPending })
		p.refuse = func(string) *alpaca.HeldError { return busy(time.Minute, true) }
		if got := visit(); got != "look" {
			l.TB.Errorf("it waits for its payout: %s", got)
		}
		if now := l.Get(c.ID); now.Reason != closure.BrokerBusy || time.Until(now.DueAt).Round(time.Millisecond) != time.Minute {
			l.TB.Errorf("%s, due in %s", now.Reason, time.Until(now.DueAt))
		}
		time.Sleep(time.Minute)
		if got := visit(); got != "turn" {
			l.TB.Errorf("its turn has come: %s", got)
		}
		time.Sleep(12 * time.Minute)
		if got := visit(); got != "look" {
			l.TB.Errorf("it missed its turn by eleven minutes: %s", got)
		}
	})
}

// While the broker is away or refuses our credentials, a closure says so once, with who must act, and looks ever more
// seldom, but not more seldom than twice an hour.
func TestWhileNobodyAsksAClosureSaysWhy(t *testing.T) {
	t.Parallel()
	for why, want := range map[alpaca.Hold]struct {
		reason closure.Reason
		who    closure.Who
	}{alpaca.HoldOutage: {closure.BrokerOutage, closure.Nobody}, alpaca.HoldRefused: {closure.CredentialsRefused, closure.Operator}} {
		t.Run(string(why), func(t *testing.T) {
			t.Parallel()
			bench(t, lab.Options{Budget: &purse{}}, func(l *lab.Lab) {
				began := time.Now()
				l.Budget.(*purse).refuse = func(string) *alpaca.HeldError {
					return &alpaca.HeldError{Why: why, For: 30 * time.Second, Age: time.Since(began)}
				}
				c := l.Open(threeStocks())
				l.RunFor(11 * time.Hour)
				now := l.Get(c.ID)
				if now.State != closure.Running || now.Reason != want.reason || now.Who != want.who || now.Looks != 0 || now.Failures != 0 {
					l.TB.Errorf("%s %s (%s), %d looks", now.State, now.Reason, now.Who, now.Looks)
				}
				if got := slices.Compact(kinds(l, c)); !slices.Equal(got, []string{"accepted", "wait"}) {
					l.TB.Errorf("events: %v", got)
				}
				if next := time.Until(now.DueAt); next > 30*time.Minute {
					l.TB.Errorf("looks again only in %s", next)
				}
				if v := l.Visits.Load(); v < 20 || v > 90 {
					l.TB.Errorf("%d visits in eleven hours", v)
				}
				l.Budget.(*purse).refuse = nil
				wants(l, l.Ends(c.ID, month), closure.Closed, "", "7048.48")
			})
		})
	}
}

// An instruction that is refused for our credentials was certainly not carried out, and is no refusal of the payout: it is
// made when they are accepted.
func TestAPayoutRefusedForOurCredentialsIsMadeLater(t *testing.T) {
	t.Parallel()
	bench(t, lab.Options{}, func(l *lab.Lab) {
		chaos(l, sim.Rule{Method: "POST", Path: "/v1/accounts/*/transfers", Fault: sim.FaultError, Status: 401, Times: 2})
		c := l.Ends(l.Open(sim.Spec{Cash: d("900")}).ID, month)
		wants(l, c, closure.Closed, "", "900.00")
		if got, want := intentStates(l, c, closure.TransferIntent), []closure.IntentState{closure.IntentRefused, closure.IntentRefused, closure.IntentSent}; !slices.Equal(got, want) {
			l.TB.Errorf("intents %v, want %v", got, want)
		}
	})
}

// The first visit of a closure that was asked for by itself goes before the queue of looks; a batch's stand in it.
func TestTheFirstVisitOfABatchsClosureIsALook(t *testing.T) {
	t.Parallel()
	for priority, want := range map[closure.Priority]string{closure.Urgent: "ask", closure.Normal: "ask", closure.Bulk: "look"} {
		p := &purse{refuse: func(string) *alpaca.HeldError { return busy(time.Minute, true) }}
		bench(t, lab.Options{Budget: p}, func(l *lab.Lab) {
			c, _, err := l.Ledger.Create(l.TB.Context(), ledger.Wish{AccountID: "a", RelationshipID: "bank", Priority: priority, Actor: "lab"})
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Deliver(c); err != nil || !slices.Equal(p.asked, []string{want}) {
				t.Errorf("%s: it asked for %v: %v", priority, p.asked, err)
			}
			p.asked = nil
			again := map[string]string{"ask": "ask", "look": "turn"}[want]
			time.Sleep(2 * time.Minute)
			if err := l.Deliver(l.Get(c.ID)); err != nil || !slices.Equal(p.asked, []string{again}) {
				t.Errorf("%s, held before: it asked for %v: %v", priority, p.asked, err)
			}
		})
	}
}
