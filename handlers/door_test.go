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

// A payout is planned from a list that is at most ten seconds old when it is claimed: a broker that answers slowly is
// asked again.
func TestReadsThatAreTooOldAreNotActedOn(t *testing.T) {
	t.Parallel()
	bench(t, lab.Options{}, func(l *lab.Lab) {
		c := l.Open(sim.Spec{Cash: d("900")})
		chaos(l, sim.Rule{Method: http.MethodGet, Path: "/v1/accounts/*/ach_relationships", Fault: sim.FaultSlow, Delay: sim.Duration(11 * time.Second), Times: 1})
		var listed time.Time
		l.Answered = func(r *http.Request, _ http.Header) {
			if strings.HasSuffix(r.URL.Path, "/transfers") {
				listed = time.Now()
			}
		}
		l.AfterClaim = func(what string) {
			if age := time.Since(listed); strings.HasPrefix(what, "pay out") && age > l.Timing.Fresh {
				l.TB.Errorf("%s by a list that is %s old", what, age)
			}
		}
		wants(l, l.Ends(c.ID, month), closure.Closed, "", "900.00")
	})
}

// While the broker's clock is not ours, or the broker doesn't tell its time, nothing is asked for, and an operator is told.
func TestClocksThatDifferSendNothing(t *testing.T) {
	t.Parallel()
	lab.Long(t)
	for name, date := range map[string]func() string{
		"Ahead":  func() string { return time.Now().Add(90 * time.Second).UTC().Format(http.TimeFormat) },
		"Behind": func() string { return time.Now().Add(-90 * time.Second).UTC().Format(http.TimeFormat) },
		"NoDate": func() string { return "" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bench(t, lab.Options{}, func(l *lab.Lab) {
				l.Answered = func(_ *http.Request, header http.Header) { header.Set("Date", date()) }
				c := l.Open(threeStocks())
				l.RunFor(2 * time.Hour)
				now := l.Get(c.ID)
				if now.State != closure.Running || now.Reason != closure.ClockSkew || slices.Contains(kinds(l, c), "claim") {
					l.TB.Fatalf("%s (%s: %s)\n%s", now.State, now.Reason, now.Why, l.History(c.ID))
				}
				l.Answered = nil
				wants(l, l.Ends(c.ID, month), closure.Closed, "", "7048.48")
			})
		})
	}
}

// A payout uses up the limit of the banking day that its claim names, wherever the day's end falls: between the books and
// the claim, or between the claim and the socket.
func TestAPayoutKeepsToItsBankingDay(t *testing.T) {
	t.Parallel()
	patient := lab.Options{Start: "2026-11-18 13:50", Timing: func(t *closure.Timing) {
		t.Fresh, t.ToWire, t.Deadline, t.Quarantine, t.Task = time.Hour, time.Hour, 2*time.Hour, 7*time.Hour, 3*time.Hour
	}}
	cutoff := time.Date(2026, 11, 18, 14, 0, 1, 0, calendar.NewYork)
	for name, pause := range map[string]func(l *lab.Lab, sleep func()){
		"WhileTheBooksAreRead": func(l *lab.Lab, sleep func()) {
			l.Answered = func(r *http.Request, header http.Header) {
				if strings.HasSuffix(r.URL.Path, "/ach_relationships") {
					sleep()
					header.Set("Date", time.Now().UTC().Format(http.TimeFormat)) // the answer was long, the clocks are right
				}
			}
		},
		"BeforeTheSocket": func(l *lab.Lab, sleep func()) {
			l.AfterClaim = func(what string) {
				if strings.HasPrefix(what, "pay out") {
					sleep()
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bench(t, patient, func(l *lab.Lab) {
				c := l.Open(sim.Spec{Cash: d("900")})
				slept := false
				pause(l, func() {
					if left := time.Until(cutoff); left > 0 {
						time.Sleep(left)
						slept = true
					}
				})
				c = l.Ends(c.ID, month)
				wants(l, c, closure.Closed, "", "900.00")
				if !slept {
					l.TB.Fatal("no payout was asked for before the cutoff")
				}
				is, err := l.Ledger.Intents(l.TB.Context(), c.ID)
				if err != nil {
					l.TB.Fatal(err)
				}
				named := ""
				for _, i := range is {
					if i.Kind == closure.TransferIntent && i.State == closure.IntentSent {
						named = i.BankingDay
					}
				}
				entries, err := l.Sim.Journal(c.AccountID)
				if err != nil {
					l.TB.Fatal(err)
				}
				for _, e := range entries {
					if e.Kind == "transfer" && e.Day != named {
						l.TB.Errorf("the payout of the banking day %s was claimed for %s\n%s", e.Day, named, l.History(c.ID))
					}
				}
			})
		})
	}
}

// What lands in the account when the withdrawal is done already is seen at the gate, each by the read that shows it.
func TestTheGateSendsBackWhatIsLeft(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		event sim.Event
		paid  []string
	}{
		"APosition":   {sim.Event{Type: "position", Symbol: "AAPL", Qty: d("1"), Price: d("200")}, []string{"900.00", "200.00"}},
		"AnOrder":     {sim.Event{Type: "order", Symbol: "AAPL", Qty: d("1"), Price: d("200"), Side: "buy"}, []string{"900.00"}},
		"ADividend":   {sim.Event{Type: "dividend", Amount: d("5")}, []string{"900.00", "5.00"}},
		"ADeposit":    {sim.Event{Type: "deposit", Amount: d("5")}, []string{"900.00", "5.00"}},
		"AnACHReturn": {sim.Event{Type: "ach_return"}, []string{"900.00", "900.00"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bench(t, lab.Options{}, func(l *lab.Lab) {
				landed := false
				l.Saved = func(c closure.Closure) {
					if c.Phase != closure.Closing || landed {
						return
					}
					landed = true
					if err := l.Sim.Event(c.AccountID, tc.event); err != nil {
						l.TB.Error(err)
					}
				}
				c := l.Open(sim.Spec{Cash: d("900")})
				asked := false
				l.AfterClaim = func(what string) {
					truth, err := l.Sim.Truth(c.AccountID)
					if what != "close the account" || err != nil {
						return
					}
					asked = true
					if !truth.Cash.IsZero() || len(truth.Positions) > 0 {
						l.TB.Errorf("the closing was asked for with %s and %d positions in the account", truth.Cash, len(truth.Positions))
					}
				}
				wants(l, l.Ends(c.ID, 2*month), closure.Closed, "", tc.paid...)
				if !landed || !asked {
					l.TB.Error("the gate was not put to the test")
				}
			})
		})
	}
}

// While one of the gate's reads fails the account is not closed; and fees that the broker has not booked yet hold it open.
func TestTheGateWantsEachOfItsReads(t *testing.T) {
	t.Parallel()
	lab.Long(t)
	for name, path := range map[string]string{
		"Account":   "/v1/trading/accounts/*/account",
		"Orders":    "/v1/trading/accounts/*/orders",
		"Positions": "/v1/trading/accounts/*/positions",
		"Transfers": "/v1/accounts/*/transfers", "Activities": "/v1/accounts/activities",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bench(t, lab.Options{}, func(l *lab.Lab) {
				c := l.Open(sim.Spec{Cash: d("900")})
				l.Saved = func(c closure.Closure) {
					if c.Phase == closure.Closing {
						chaos(l, sim.Rule{Method: http.MethodGet, Path: path, Fault: sim.FaultError, Status: 500})
					}
				}
				l.RunUntil(month, func() bool { return l.Get(c.ID).Phase == closure.Closing })
				l.RunFor(5 * time.Hour)
				truth, err := l.Sim.Truth(c.AccountID)
				if now := l.Get(c.ID); err != nil || truth.Status != "ACTIVE" || now.State != closure.Running || now.Phase != closure.Closing {
					l.TB.Fatalf("with a read that fails: %s in %s, the account %s: %v\n%s", now.State, now.Phase, truth.Status, err, l.History(c.ID))
				}
				l.Saved = nil
				chaos(l)
				wants(l, l.Ends(c.ID, month), closure.Closed, "", "900.00")
			})
		})
	}
	t.Run("Fees", func(t *testing.T) {
		t.Parallel()
		bench(t, lab.Options{}, func(l *lab.Lab) {
			c := l.Ends(l.Open(sim.Spec{Cash: d("900"), Fees: d("5")}).ID, month)
			wants(l, c, closure.Failed, "", "900.00")
			if c.Phase != closure.Closing || !strings.Contains(c.Why, "$5.00") {
				l.TB.Errorf("%s in %s: %s", c.Reason, c.Phase, c.Why)
			}
		})
	})
}
