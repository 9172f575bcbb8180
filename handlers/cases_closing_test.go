package handlers_test

import (
	"net/http"
	"time"

	"closeout/alpaca/sim"
	"closeout/closure"
	"closeout/internal/lab"
)

func closedOnce(l *lab.Lab, j journal) {
	l.TB.Helper()
	if n := len(j.of("close")); n != 1 {
		l.TB.Errorf("the account was closed %d times", n)
	}
}

// closingCases are those of the closing and of the process, 32 to 42, as far as a broker is needed to live through them.
var closingCases = []brokerCase{
	{
		name: "32_SharesArriveBeforeTheGate",
		spec: sim.Spec{Cash: d("500"), Events: []sim.Event{
			{Type: "position", Symbol: "SPIN", Qty: d("2"), Price: d("10"), When: sim.AfterLastPayoutComplete, After: hours(40)},
		}},
		paid:  []string{"500.00", "20.00"},
		check: closedOnce,
	},
	{
		name: "32_UnreadableIsNotEmpty",
		spec: sim.Spec{Cash: d("500")},
		act: func(l *lab.Lab, c closure.Closure) {
			paidOut(l, c)
			chaos(l, sim.Rule{Method: http.MethodGet, Path: "/v1/trading/accounts/*/positions", Fault: sim.FaultError, Status: 500})
			l.Drive(6 * day) // the return watch, and then a day before the gate
			if now := l.Get(c.ID); now.State != closure.Running || now.Reason != closure.BrokerOutage || now.Phase != closure.Closing {
				l.TB.Errorf("%s in %s: %s: %s", now.State, now.Phase, now.Reason, now.Why)
			}
			if truth, err := l.Sim.Truth(c.AccountID); err != nil || truth.Status != "ACTIVE" {
				l.TB.Errorf("closed without a look at the positions: %s, %v", truth.Status, err)
			}
			chaos(l)
		},
		paid:  []string{"500.00"},
		check: closedOnce,
	},
	{
		name:  "33_AnswerToTheCloseLost",
		spec:  sim.Spec{Cash: d("500")},
		rules: []sim.Rule{{Method: http.MethodPost, Path: closings, Fault: sim.FaultTimeoutAfter, Times: 1}},
		paid:  []string{"500.00"},
		check: closedOnce,
	},
	{
		name:  "33_CloseThatNeverArrived",
		spec:  sim.Spec{Cash: d("500")},
		rules: []sim.Rule{{Method: http.MethodPost, Path: closings, Fault: sim.FaultDrop, Times: 1}},
		paid:  []string{"500.00"},
		check: closedOnce,
	},
	{
		name: "33_ClosedBySomeoneElse",
		spec: sim.Spec{Cash: d("60"), Positions: []sim.PositionSpec{holds("T", "9", "20")}, Events: []sim.Event{{Type: "close", When: sim.AfterFirstFill, After: hours(4)}}},
		says: "closed at the broker by someone else",
	},
	{
		name:  "34_StatusRejected",
		spec:  sim.Spec{Cash: d("60"), Positions: []sim.PositionSpec{holds("T", "9", "20")}, Events: []sim.Event{{Type: "status", Status: "REJECTED", After: hours(5), For: days(14)}}},
		waits: []closure.Reason{closure.AccountNotActive},
		paid:  []string{"240.00"},
	},
	{
		name:  "34_StatusNobodyHasHeardOf",
		spec:  sim.Spec{Cash: d("60"), Events: []sim.Event{{Type: "status", Status: "HIBERNATING", For: days(1)}}},
		waits: []closure.Reason{closure.AccountNotActive},
		paid:  []string{"60.00"},
	},
	{
		name: "35_ChangedTheirMind", start: "2026-11-21 12:00", // a Saturday: nothing is sold before Monday
		spec: sim.Spec{Cash: d("60"), Positions: []sim.PositionSpec{holds("T", "9", "20")}},
		act: func(l *lab.Lab, c closure.Closure) {
			l.Drive(time.Hour)
			if _, err := l.Command(c.ID, func(_ closure.Closure, is []closure.Intent) (closure.Change, error) {
				return closure.Cancel(time.Now(), "tester", "changed my mind", closure.PastNoReturn(is)), nil
			}); err != nil {
				l.TB.Error(err)
			}
			l.Drive(4 * day)
		},
		end: closure.Canceled, stop: closure.CanceledByRequest,
		check: func(l *lab.Lab, j journal) {
			if n := len(j.of("order", "transfer", "close")); n > 0 {
				l.TB.Errorf("%d instructions after the cancel", n)
			}
		},
	},
	{
		name: "41_WakesAreOnlyLooks", // events wake, and a closure that hears none, or too many, goes the same way
		spec: sim.Spec{Cash: d("60"), Positions: []sim.PositionSpec{holds("T", "9", "20")}},
		act: func(l *lab.Lab, c closure.Closure) {
			for range 60 {
				l.Drive(90 * time.Minute)
				if _, err := l.Command(c.ID, func(closure.Closure, []closure.Intent) (closure.Change, error) {
					return closure.Wake(time.Now(), "tester", "an event"), nil
				}); err != nil {
					l.TB.Fatal(err)
				}
			}
		},
		paid: []string{"240.00"},
	},
	{
		name: "42_ClocksApart", skew: 5 * time.Minute,
		spec: sim.Spec{Cash: d("60"), Positions: []sim.PositionSpec{holds("T", "9", "20")}},
		act: func(l *lab.Lab, c closure.Closure) {
			l.Drive(2 * day)
			if now := l.Get(c.ID); now.State != closure.Running || now.Reason != closure.ClockSkew || now.Who != closure.Operator {
				l.TB.Errorf("%s: %s: %s", now.State, now.Reason, now.Why)
			}
			if entries, err := l.Sim.Journal(c.AccountID); err != nil || len(journal(entries).of("order", "transfer")) > 0 {
				l.TB.Errorf("something was sent while the clocks were apart: %v", err)
			}
			l.Answered = nil
		},
		paid: []string{"240.00"},
	},
	{
		name: "42_MatchedWithoutTheTimes", skew: 50 * time.Second, // lists, not clocks, tell whose a transfer is
		spec:  sim.Spec{Cash: d("900")},
		rules: []sim.Rule{{Method: http.MethodPost, Path: transfers, Fault: sim.FaultTimeoutAfter, Times: 1}},
		waits: []closure.Reason{closure.UnknownOutcome},
		paid:  []string{"900.00"},
	},
}
