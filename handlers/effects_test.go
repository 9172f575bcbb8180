package handlers_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"closeout/alpaca/sim"
	"closeout/closure"
	"closeout/internal/lab"
)

const day = 24 * time.Hour

func chaos(l *lab.Lab, rules ...sim.Rule) {
	l.TB.Helper()
	if err := l.Sim.Chaos(sim.Chaos{Rules: rules}); err != nil {
		l.TB.Fatal(err)
	}
}

func kinds(l *lab.Lab, c closure.Closure) []string {
	l.TB.Helper()
	evs, err := l.Ledger.Events(l.TB.Context(), c.ID)
	if err != nil {
		l.TB.Fatal(err)
	}
	var out []string
	for _, e := range evs {
		out = append(out, e.Kind)
	}
	return out
}

func intentStates(l *lab.Lab, c closure.Closure, kind closure.IntentKind) (out []closure.IntentState) {
	l.TB.Helper()
	is, err := l.Ledger.Intents(l.TB.Context(), c.ID)
	if err != nil {
		l.TB.Fatal(err)
	}
	for _, i := range is {
		if i.Kind == kind {
			out = append(out, i.State)
		}
	}
	return out
}

// An answer that is lost, whatever the effect: nobody sends again, and the money arrives once.
func TestPayoutWhoseAnswerIsLost(t *testing.T) {
	t.Parallel()
	const path = "/v1/accounts/*/transfers"
	for name, tc := range map[string]struct {
		rule    sim.Rule
		unknown closure.Unknown
		state   closure.State
		reason  closure.Reason
		intents []closure.IntentState
		paid    []string
	}{
		"MadeAndNoAnswer": {
			rule:  sim.Rule{Fault: sim.FaultTimeoutAfter},
			state: closure.Closed, intents: []closure.IntentState{closure.IntentSent}, paid: []string{"900.00"},
		},
		"MadeAndServerError": {
			rule:  sim.Rule{Fault: sim.FaultErrorAfter, Status: 500},
			state: closure.Closed, intents: []closure.IntentState{closure.IntentSent}, paid: []string{"900.00"},
		},
		"MadeAndGatewayGaveUp": {
			rule:  sim.Rule{Fault: sim.FaultErrorAfter, Status: 408},
			state: closure.Closed, intents: []closure.IntentState{closure.IntentSent}, paid: []string{"900.00"},
		},
		"MadeAndListedLate": {
			rule:  sim.Rule{Fault: sim.FaultTimeoutAfter, Late: sim.Duration(20 * time.Minute)},
			state: closure.Closed, intents: []closure.IntentState{closure.IntentSent}, paid: []string{"900.00"},
		},
		"NeverMade": {
			rule:  sim.Rule{Fault: sim.FaultDrop},
			state: closure.Closed, intents: []closure.IntentState{closure.IntentVoid, closure.IntentSent}, paid: []string{"900.00"},
		},
		"NeverMadeAndAPersonIsAsked": {
			rule: sim.Rule{Fault: sim.FaultDrop}, unknown: closure.Ask,
			state: closure.Failed, reason: closure.UnknownTransfer, intents: []closure.IntentState{closure.IntentSending},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := lab.Options{Policy: func(p *closure.Policy) {
				if tc.unknown != "" {
					p.Unknown = tc.unknown
				}
			}}
			bench(t, o, func(l *lab.Lab) {
				tc.rule.Method, tc.rule.Path, tc.rule.Times = http.MethodPost, path, 1
				chaos(l, tc.rule)
				c := l.Ends(l.Open(sim.Spec{Cash: d("900")}).ID, month)
				wants(l, c, tc.state, tc.reason, tc.paid...)
				if got := intentStates(l, c, closure.TransferIntent); !slices.Equal(got, tc.intents) {
					l.TB.Errorf("intents %v, want %v\n%s", got, tc.intents, l.History(c.ID))
				}
			})
		})
	}
}

// Cash that leaves the balance only with the transfer's end, or on the morning after it: the same sums are paid.
func TestPayoutsUnderLaggingBalances(t *testing.T) {
	t.Parallel()
	for _, moves := range []string{sim.AtCreation, sim.AtComplete, sim.Late} {
		t.Run(moves, func(t *testing.T) {
			t.Parallel()
			bench(t, lab.Options{}, func(l *lab.Lab) {
				c := l.Ends(l.Open(sim.Spec{Cash: d("137512.43"), CashMoves: moves}).ID, month)
				wants(l, c, closure.Closed, "", "50000.00", "50000.00", "37512.43")
			})
		})
	}
}

// Two copies of one visit: while the first is paused between its claim and the socket, the second runs to its end.
func TestOverlappingVisitsPayOnce(t *testing.T) {
	t.Parallel()
	bench(t, lab.Options{}, func(l *lab.Lab) {
		var c closure.Closure
		overlaps := 0
		l.Before = func(*http.Request) {
			overlaps++
			for range 3 {
				if err := l.Deliver(l.Get(c.ID)); err != nil && !strings.Contains(err.Error(), "ledger") {
					l.TB.Errorf("the second copy: %v", err)
				}
			}
		}
		c = l.Open(threeStocks())
		wants(l, l.Ends(c.ID, month), closure.Closed, "", "7048.48")
		if overlaps < 5 {
			l.TB.Errorf("only %d overlaps", overlaps)
		}
	})
}

// A pause between claim and socket that is longer than the deadline: the write does not happen.
func TestAWriterThatSleptDoesNotWrite(t *testing.T) {
	t.Parallel()
	// The lab's client dials nothing, so the sleep is put where the claim commits.
	bench(t, lab.Options{}, func(l *lab.Lab) {
		slept := false
		l.AfterClaim = func(what string) {
			if !slept && strings.HasPrefix(what, "pay out") {
				slept = true
				time.Sleep(6 * time.Second)
			}
		}
		c := l.Ends(l.Open(sim.Spec{Cash: d("900")}).ID, month)
		wants(l, c, closure.Closed, "", "900.00")
		if got, want := intentStates(l, c, closure.TransferIntent), []closure.IntentState{closure.IntentRefused, closure.IntentSent}; !slices.Equal(got, want) {
			l.TB.Errorf("intents %v, want %v: the one that came too late is refused by ourselves", got, want)
		}
	})
}

// Waiting is not failing: an outage of eleven hours, in each phase, uses up nothing.
func TestAnOutageOfElevenHours(t *testing.T) {
	t.Parallel()
	lab.Long(t)
	for name, tc := range map[string]struct {
		after time.Duration
		rule  sim.Rule
	}{
		"AtOnce":           {0, sim.Rule{Fault: sim.FaultError, Status: 503}},
		"InSettlement":     {3 * time.Hour, sim.Rule{Fault: sim.FaultError, Status: 500}},
		"InWithdrawal":     {20 * time.Hour, sim.Rule{Fault: sim.FaultDrop}},
		"Throttled":        {time.Hour, sim.Rule{Fault: sim.FaultThrottle}},
		"CredentialsTaken": {time.Hour, sim.Rule{Fault: sim.FaultError, Status: 401}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bench(t, lab.Options{}, func(l *lab.Lab) {
				c := l.Open(threeStocks())
				if tc.after > 0 {
					l.RunFor(tc.after)
				}
				chaos(l, tc.rule)
				l.RunFor(11 * time.Hour)
				if now := l.Get(c.ID); now.State != closure.Running || now.Failures != 0 || now.FailuresInPhase != 0 {
					l.TB.Fatalf("after the outage: %s, %d failures: %s", now.State, now.FailuresInPhase, now.Why)
				}
				chaos(l)
				wants(l, l.Ends(c.ID, month), closure.Closed, "", "7048.48")
			})
		})
	}
}

// Redis is emptied every half day: minutes are lost, nothing else.
func TestRedisEmptied(t *testing.T) {
	t.Parallel()
	bench(t, lab.Options{}, func(l *lab.Lab) {
		c := l.Open(threeStocks())
		for range 12 {
			l.RunFor(12 * time.Hour)
			l.FlushRedis()
		}
		wants(l, l.Ends(c.ID, month), closure.Closed, "", "7048.48")
	})
}

func TestCancelBeforeAndAfterThePointOfNoReturn(t *testing.T) {
	t.Parallel()
	bench(t, lab.Options{Start: "2026-11-21 12:00"}, func(l *lab.Lab) { // a Saturday: nothing is sold before Monday
		c := l.Open(threeStocks())
		l.RunFor(time.Hour)
		cancel := func(c closure.Closure, is []closure.Intent) (closure.Change, error) {
			return closure.Cancel(time.Now(), "tester", "changed my mind", closure.PastNoReturn(is)), nil
		}
		next, err := l.Ledger.Command(l.TB.Context(), c.ID, cancel)
		if err != nil || next.State != closure.Canceled {
			l.TB.Fatalf("cancel on Saturday: %v, %s", err, next.State)
		}
		l.RunFor(4 * day)
		if got := l.Payouts(c.AccountID); len(got) != 0 || slices.Contains(kinds(l, c), "claim") {
			l.TB.Fatalf("something was sent after the cancel: %v", got)
		}

		c = l.Initiate(c.AccountID) // the account is free for a new closure
		l.RunFor(2 * time.Hour)
		_, err = l.Ledger.Command(l.TB.Context(), c.ID, cancel)
		if _, ok := errors.AsType[*closure.NotAllowedError](err); !ok {
			l.TB.Fatalf("cancel after the sale: %v", err)
		}
		wants(l, l.Ends(c.ID, month), closure.Closed, "", "7048.48")
	})
}

func TestPauseHoldsAndResumeGoesOn(t *testing.T) {
	t.Parallel()
	bench(t, lab.Options{}, func(l *lab.Lab) {
		c := l.Open(threeStocks())
		l.RunFor(2 * time.Hour)
		if _, err := l.Ledger.Command(l.TB.Context(), c.ID, func(closure.Closure, []closure.Intent) (closure.Change, error) {
			return closure.Pause(time.Now(), "tester", "wait"), nil
		}); err != nil {
			l.TB.Fatal(err)
		}
		l.RunFor(3 * day)
		if got := l.Payouts(c.AccountID); len(got) != 0 {
			l.TB.Fatalf("paid while paused: %v", got)
		}
		if _, err := l.Ledger.Command(l.TB.Context(), c.ID, func(closure.Closure, []closure.Intent) (closure.Change, error) {
			return closure.Resume(time.Now(), "tester", "go on"), nil
		}); err != nil {
			l.TB.Fatal(err)
		}
		wants(l, l.Ends(c.ID, month), closure.Closed, "", "7048.48")
	})
}

// An error is retried three times and then the row is dead, before Asynq's archive is told.
func TestErrorsUseUpRetriesAndEndDead(t *testing.T) {
	t.Parallel()
	bench(t, lab.Options{}, func(l *lab.Lab) {
		chaos(l, sim.Rule{Method: http.MethodGet, Path: "/v1/trading/accounts/*/positions", Fault: sim.FaultError, Status: 400})
		c := l.Ends(l.Open(threeStocks()).ID, month)
		wants(l, c, closure.Dead, closure.RetriesUsedUp)
		if c.Failures != closure.MaxRetries+1 {
			l.TB.Errorf("%d failures, want %d", c.Failures, closure.MaxRetries+1)
		}
	})
}
