package auditor_test

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"closeout/alpaca/sim"
	"closeout/closure"
	"closeout/internal/auditor"
	"closeout/internal/lab"
	"closeout/worker"
)

const month = 31 * 24 * time.Hour

// fates are accounts whose closures meet all that a restore may lose: a cancelled order, sales, three payouts, a return.
var fates = map[string]sim.Spec{
	"ThreePayouts": {
		Cash:      d("131000.25"),
		Positions: []sim.PositionSpec{{Symbol: "AAPL", Qty: d("10"), Price: d("231.40")}, {Symbol: "VTI", Qty: d("12.5"), Price: d("290.05")}},
		Orders:    []sim.OrderSpec{{Symbol: "AAPL", Qty: d("3")}},
	},
	"CashAlone": {Cash: d("1234.56")},
}

// life is a lab with one closure, and a backup of its ledger from the n-th moment at which the ledger has just written something
// new: a claim whose instruction is not sent yet, or a visit's end.
type life struct {
	*lab.Lab
	c      closure.Closure
	backup string
	taken  time.Time
	n, at  int
	seq    int64
}

func begin(t *testing.T, s sim.Spec, at int) *life {
	t.Helper()
	l := &life{Lab: lab.New(t, lab.Options{Policy: func(p *closure.Policy) { // few looks: each that finds nothing new is like the next
		p.Polls[closure.Settlement], p.Polls[closure.Withdrawal] = 9*time.Hour, 12*time.Hour
	}}), at: at}
	look := func() {
		if l.backup != "" || l.c.ID == "" {
			return
		}
		if c := l.Get(l.c.ID); c.Seq != l.seq {
			l.seq = c.Seq
			if l.n++; l.n == at {
				l.backup, l.taken = l.Backup(), time.Now()
			}
		}
	}
	l.AfterClaim = func(string) { look() }
	l.Saved = func(closure.Closure) { look() }
	l.c = l.Open(s)
	return l
}

// audited demands that the closure has ended well and that the auditor finds nothing.
func (l *life) audited(lost auditor.Span) {
	l.TB.Helper()
	c := l.Get(l.c.ID)
	truth, err := l.Sim.Truth(c.AccountID)
	if err != nil {
		l.TB.Fatal(err)
	}
	if c.State != closure.Closed || truth.Status != "ACCOUNT_CLOSED" || !truth.Cash.IsZero() || len(truth.Positions) != 0 {
		l.TB.Fatalf("it is %s (%s: %s), the account %s with %s\n%s", c.State, c.Reason, c.Why, truth.Status, truth.Cash, l.History(c.ID))
	}
	for _, f := range l.audit(lost).Findings {
		l.TB.Errorf("%s", f)
	}
	if l.TB.Failed() {
		l.TB.Log(l.History(c.ID))
	}
}

// audit shows the auditor all that there is.
func (l *life) audit(lost auditor.Span) auditor.Report {
	l.TB.Helper()
	truth, err := l.Sim.Truth(l.c.AccountID)
	if err != nil {
		l.TB.Fatal(err)
	}
	journal, err := l.Sim.Journal("")
	if err != nil {
		l.TB.Fatal(err)
	}
	db, err := sql.Open("sqlite", "file:"+l.Path)
	if err != nil {
		l.TB.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	report, err := auditor.Audit(l.TB.Context(), db, auditor.Evidence{
		Journal: journal, Truths: map[string]sim.Truth{l.c.AccountID: truth}, Acknowledged: []string{l.c.ID}, LostTimes: []auditor.Span{lost},
	})
	if err != nil {
		l.TB.Fatal(err)
	}
	return report
}

// moments is how many moments a life has.
func moments(t *testing.T, s sim.Spec) (n int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := begin(t, s, -1)
		defer l.Close()
		l.Ends(l.c.ID, month)
		l.audited(auditor.Span{})
		n = l.n
	})
	return n
}

// The restore drill: the ledger goes back to each moment of a life, while the broker went on for hours, days or to the end, with
// a Redis that is newer or empty. Once it is reconciled the life ends well, and nothing was done twice.
func TestAfterARestoreNothingIsDoneTwice(t *testing.T) {
	t.Parallel()
	began, lives, step := time.Now(), 0, 1
	if testing.Short() {
		step = 5
	}
	t.Run("Drill", func(t *testing.T) {
		for name, spec := range fates {
			last := moments(t, spec)
			t.Logf("%s has %d moments", name, last)
			for at := 1; at <= last; at += step {
				for n, ahead := range []time.Duration{5 * time.Minute, 30 * time.Hour, 4 * 24 * time.Hour, month} {
					lives++
					t.Run(fmt.Sprintf("%s/%d/%s", name, at, ahead), func(t *testing.T) {
						t.Parallel()
						synctest.Test(t, func(t *testing.T) { drill(t, spec, at, ahead, (at+n)%2 == 0) })
					})
				}
			}
		}
	})
	t.Logf("%d restores in %s", lives, time.Since(began).Round(time.Millisecond))
}

func drill(t *testing.T, s sim.Spec, at int, ahead time.Duration, emptied bool) {
	t.Helper()
	l := begin(t, s, at)
	defer l.Close()
	l.RunUntil(2*month, func() bool { return l.backup != "" })
	if ahead == month {
		l.RunUntil(month, func() bool { return l.Get(l.c.ID).State != closure.Running })
	} else {
		l.RunFor(ahead)
	}
	if emptied {
		l.FlushRedis()
	}
	l.Restore(l.backup)
	if _, err := l.Reconcile(); err != nil {
		t.Fatal(err)
	}
	lost := auditor.Span{From: l.taken, To: time.Now()}
	again, err := l.Reconcile() // whoever runs it a second time
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range again {
		if !r.Same {
			t.Errorf("the second time it took in %d payouts, %d orders, %d outcomes", len(r.Payouts), len(r.Orders), len(r.Settled))
		}
	}
	l.RunUntil(2*month, func() bool { return l.Get(l.c.ID).State != closure.Running })
	l.audited(lost)
}

// What was on the wire when the last worker stopped may be in no list for a while, and is in no restored ledger at all. Only the
// quarantine stands before its being paid twice.
func TestAPayoutThatNoListShowsYetIsNotPaidAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := begin(t, sim.Spec{Cash: d("1234.56")}, -1)
		defer l.Close()
		if err := l.Sim.Chaos(sim.Chaos{Rules: []sim.Rule{{Method: "POST", Path: "/v1/accounts/*/transfers", Probability: 1, Fault: sim.FaultLate, Delay: sim.Duration(20 * time.Minute)}}}); err != nil {
			t.Fatal(err)
		}
		saved := l.Saved
		l.Saved = func(c closure.Closure) { // the last moment before the claim
			saved(c)
			if c.Phase == closure.Withdrawal && l.backup == "" {
				l.backup, l.taken = l.Backup(), time.Now()
			}
		}
		l.RunUntil(month, func() bool { return len(l.Payouts(l.c.AccountID)) == 1 })
		l.Restore(l.backup)
		took, err := l.Reconcile()
		if err != nil {
			t.Fatal(err)
		}
		if len(took) != 1 || len(took[0].Payouts) != 1 {
			t.Errorf("it took in %d closures, and not the payout of one", len(took))
		}
		lost := auditor.Span{From: l.taken, To: time.Now()}
		l.RunUntil(2*month, func() bool { return l.Get(l.c.ID).State != closure.Running })
		if paid := l.Payouts(l.c.AccountID); len(paid) != 1 {
			t.Errorf("paid %v", paid)
		}
		l.audited(lost)
	})
}

// A standby that lacks the last seconds is promoted: the claim of a payout that went out is gone with them, no list shows the
// payout yet, and no sweep has come by since. A worker that starts notices, and one that runs sends nothing and holds everything.
func TestALedgerWithoutItsLastSecondsSendsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := begin(t, sim.Spec{Cash: d("1234.56")}, -1)
		defer l.Close()
		if err := l.Sim.Chaos(sim.Chaos{Rules: []sim.Rule{{Method: "POST", Path: "/v1/accounts/*/transfers", Probability: 1, Fault: sim.FaultLate, Delay: sim.Duration(20 * time.Minute)}}}); err != nil {
			t.Fatal(err)
		}
		saved := l.Saved
		l.Saved = func(c closure.Closure) { // the last moment before the claim
			saved(c)
			if c.Phase == closure.Withdrawal && l.backup == "" {
				l.backup, l.taken = l.Backup(), time.Now()
			}
		}
		l.RunUntil(month, func() bool { return len(l.Payouts(l.c.AccountID)) == 1 })
		l.Restore(l.backup)
		if err := l.Memory().Check(t.Context()); !errors.Is(err, worker.ErrLedgerWentBack) {
			t.Errorf("a worker that starts: %v", err)
		}
		l.RunFor(10 * time.Minute)
		if paid := l.Payouts(l.c.AccountID); len(paid) != 1 {
			t.Errorf("paid %v", paid)
		}
		if h, err := l.Ledger.Hold(t.Context()); err != nil || !h.Held || h.Actor != closure.Worker {
			t.Errorf("nothing is held: %+v, %v", h, err)
		}
		if _, err := l.Reconcile(); err != nil {
			t.Fatal(err)
		}
		lost := auditor.Span{From: l.taken, To: time.Now()}
		l.RunUntil(2*month, func() bool { return l.Get(l.c.ID).State != closure.Running })
		l.audited(lost)
	})
}

// The ledger has lost a closure whole, and it is asked for again. What was done for the lost one is nobody's in the ledger, and adopts
// nothing: the account's cash and positions are what the broker says, a payout of others that is on its way is waited for, and what was
// on the wire has had its quarantine. So nothing is sold or paid twice, and no banking day sees two payouts.
func TestALostClosureThatIsAskedForAgainDoesNothingTwice(t *testing.T) {
	t.Parallel()
	for what, kinds := range map[string][]auditor.Kind{"order": {auditor.UnwantedOrder}, "transfer": {auditor.UnwantedOrder, auditor.UnwantedTransfer}} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := &life{Lab: lab.New(t, lab.Options{})}
				defer l.Close()
				if err := l.Sim.Chaos(sim.Chaos{Rules: []sim.Rule{{Method: "POST", Path: "/v1/**/" + what + "s", Probability: 1, Fault: sim.FaultLate, Delay: sim.Duration(20 * time.Minute), Times: 1}}}); err != nil {
					t.Fatal(err)
				}
				spec := fates["ThreePayouts"]
				spec.Orders = nil
				backup := l.Backup()
				lost := l.Open(spec)
				l.RunUntil(month, func() bool {
					journal, err := l.Sim.Journal(lost.AccountID)
					return err != nil || slices.ContainsFunc(journal, func(e sim.Entry) bool { return e.Kind == what })
				})
				l.Restore(backup)
				if _, err := l.Reconcile(); err != nil {
					t.Fatal(err)
				}
				l.c = l.Initiate(lost.AccountID)
				c := l.Ends(l.c.ID, 2*month)
				truth, err := l.Sim.Truth(c.AccountID)
				if err != nil || c.State != closure.Closed || truth.Status != "ACCOUNT_CLOSED" || !truth.Cash.IsZero() || len(truth.Positions) != 0 {
					t.Fatalf("it is %s (%s: %s), the account %s with %s, %v\n%s", c.State, c.Reason, c.Why, truth.Status, truth.Cash, err, l.History(c.ID))
				}
				report := l.audit(auditor.Span{})
				for _, f := range report.Findings {
					if !slices.Contains(kinds, f.Kind) { // those that the lost closure's are
						t.Errorf("%s", f)
					}
				}
				if paid := l.Payouts(c.AccountID); len(paid) != 3 {
					t.Errorf("paid %v\n%s", paid, l.History(c.ID))
				}
			})
		})
	}
}

// Who forgets to reconcile: a task that Redis still has is newer than its row, which stops. The reconciliation sets it going
// again, and no task of the lost time stops it once more.
func TestATaskOfTheLostTimeStopsWhatWasNotReconciledAndNothingElse(t *testing.T) {
	t.Parallel()
	for _, reconciledFirst := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			l := begin(t, fates["ThreePayouts"], 9)
			defer l.Close()
			l.RunUntil(month, func() bool { return l.backup != "" })
			l.RunFor(2 * 24 * time.Hour)
			newer := l.Get(l.c.ID)
			l.Restore(l.backup)
			if !reconciledFirst {
				if err := l.Deliver(newer); err == nil {
					t.Error("the task of the lost time was acknowledged")
				}
				if c := l.Get(l.c.ID); c.State != closure.Failed || c.Reason != closure.LedgerWentBack {
					t.Fatalf("it is %s, %s", c.State, c.Reason)
				}
			}
			if _, err := l.Reconcile(); err != nil {
				t.Fatal(err)
			}
			lost := auditor.Span{From: l.taken, To: time.Now()}
			if err := l.Deliver(newer); err != nil {
				t.Errorf("a task of the lost time after the reconciliation: %v", err)
			}
			if c := l.Get(l.c.ID); c.State != closure.Running {
				t.Fatalf("it is %s, %s", c.State, c.Reason)
			}
			l.RunUntil(2*month, func() bool { return l.Get(l.c.ID).State != closure.Running })
			l.audited(lost)
		})
	}
}
