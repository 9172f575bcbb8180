package handlers_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"closeout/alpaca/sim"
	"closeout/closure"
	"closeout/internal/lab"
)

// resolve records what a person did, as the server does.
func resolve(l *lab.Lab, id string, r closure.Resolution) (closure.Closure, error) {
	l.TB.Helper()
	return l.Command(id, func(c closure.Closure, is []closure.Intent) (closure.Change, error) {
		settled, err := r.Check(c, is, time.Now())
		return closure.Resolved(time.Now(), "operator", "done by hand", r, settled), err
	})
}

func resolved(l *lab.Lab, id string, r closure.Resolution) {
	l.TB.Helper()
	if _, err := resolve(l, id, r); err != nil {
		l.TB.Fatalf("%v\n%s", err, l.History(id))
	}
}

func refusedFor(l *lab.Lab, id string, r closure.Resolution, words string) {
	l.TB.Helper()
	before := l.Get(id)
	if _, err := resolve(l, id, r); err == nil || !strings.Contains(err.Error(), words) {
		l.TB.Fatalf("%s: %v, want %q", r.Kind, err, words)
	}
	if after := l.Get(id); after.Version != before.Version || after.Seq != before.Seq {
		l.TB.Errorf("a refused %s was written", r.Kind)
	}
}

func byHand(sum string) closure.Resolution {
	return closure.Resolution{Kind: closure.PaidByHand, Amount: d(sum), Reference: "WIRE 20261125-7"}
}

// gone is an account whose bank is deleted while its stock is sold: the payout stops before anything is sent.
func gone(l *lab.Lab) closure.Closure {
	l.TB.Helper()
	spec := sim.Spec{Cash: d("75"), Positions: []sim.PositionSpec{holds("PEP", "5", "150")}, Events: []sim.Event{
		{Type: "relationship_delete", When: sim.AfterFirstOrder},
	}}
	c := l.Ends(l.Open(spec).ID, month)
	wants(l, c, closure.Failed, closure.BankGone)
	return c
}

// TestPaidByHand is about money that left the account by a wire: the books take in what was recorded, to the cent.
func TestPaidByHand(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		moves []sim.Event // at the broker, before it is recorded
		sums  []string    // recorded
		then  []sim.Event // afterwards
		end   closure.State
		says  string
	}{
		"TheWholeSumInNoList":      {moves: []sim.Event{{Type: "wire", Amount: d("825")}}, sums: []string{"825"}, end: closure.Closed, says: "$825.00 by hand"},
		"InTheListOfTransfers":     {moves: []sim.Event{{Type: "withdrawal", Amount: d("825")}}, sums: []string{"825"}, end: closure.Closed, says: "$825.00 by hand"},
		"AsAJournal":               {moves: []sim.Event{{Type: "journal", Amount: d("-825")}}, sums: []string{"825"}, end: closure.Closed, says: "$825.00 by hand"},
		"InTwoParts":               {moves: []sim.Event{{Type: "wire", Amount: d("800")}, {Type: "wire", Amount: d("25")}}, sums: []string{"800", "25"}, end: closure.Closed, says: "$825.00 by hand"},
		"ACentTooLittle":           {moves: []sim.Event{{Type: "wire", Amount: d("825")}}, sums: []string{"824.99"}, end: closure.Failed, says: "$0.01 less"},
		"ACentTooMuch":             {moves: []sim.Event{{Type: "wire", Amount: d("825")}}, sums: []string{"825.01"}, end: closure.Failed, says: "$0.01 more"},
		"NothingLeft":              {sums: []string{"825"}, end: closure.Failed, says: "$825.00 more"},
		"LeftAfterTheRecording":    {sums: []string{"825"}, then: []sim.Event{{Type: "wire", Amount: d("825"), After: hours(3)}}, end: closure.Closed, says: "$825.00 by hand"},
		"TwiceInTheList":           {moves: []sim.Event{{Type: "wire", Amount: d("412.50")}, {Type: "withdrawal", Amount: d("412.50")}}, sums: []string{"412.50"}, end: closure.Failed, says: "$412.50 less"},
		"MoreLeftThanWasRecorded":  {moves: []sim.Event{{Type: "wire", Amount: d("700")}}, sums: []string{"500"}, end: closure.Failed, says: "$200.00 less"},
		"LessLeftThanWasRecorded":  {moves: []sim.Event{{Type: "wire", Amount: d("500")}}, sums: []string{"700"}, end: closure.Failed, says: "$200.00 more"},
		"ADividendCameInMeanwhile": {moves: []sim.Event{{Type: "wire", Amount: d("825")}, {Type: "dividend", Amount: d("1.25")}}, sums: []string{"825"}, end: closure.Failed, says: "is gone"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bench(t, lab.Options{}, func(l *lab.Lab) {
				c := gone(l)
				event(l, c, tc.moves...)
				for n, sum := range tc.sums {
					if n > 0 {
						if _, err := l.Command(c.ID, func(closure.Closure, []closure.Intent) (closure.Change, error) {
							return closure.Pause(time.Now(), "operator", "one more"), nil
						}); err != nil {
							l.TB.Fatal(err)
						}
					}
					resolved(l, c.ID, byHand(sum))
				}
				event(l, c, tc.then...)
				c = l.Ends(c.ID, month)
				wants(l, c, tc.end, "")
				if !strings.Contains(c.Why, tc.says) {
					l.TB.Errorf("it says %q, want %q\n%s", c.Why, tc.says, l.History(c.ID))
				}
				if tc.end == closure.Failed && tc.says != "is gone" && c.Reason != closure.Unexplained {
					l.TB.Errorf("failed for %s: %s", c.Reason, c.Why)
				}
			})
		})
	}
}

// A payment by hand beside payouts of ours: while the first is on its way, only the rest may follow.
func TestPaidByHandBesideAPayout(t *testing.T) {
	t.Parallel()
	bench(t, lab.Options{}, func(l *lab.Lab) {
		c := l.Open(sim.Spec{Cash: d("80000"), CashMoves: sim.Late})
		l.RunUntil(month, func() bool { return len(l.Payouts(c.AccountID)) == 1 })
		if _, err := l.Command(c.ID, func(closure.Closure, []closure.Intent) (closure.Change, error) {
			return closure.Pause(time.Now(), "operator", "the rest goes by wire"), nil
		}); err != nil {
			l.TB.Fatal(err)
		}
		resolved(l, c.ID, byHand("30000"))
		event(l, c, sim.Event{Type: "wire", Amount: d("30000"), After: days(2)}) // the broker is slow to book it
		c = l.Ends(c.ID, month)
		wants(l, c, closure.Closed, "", "50000.00")
	})
}

// A wire that is slower than the morning's booking stops the closure over money that the books hold for gone. Whoever resumes
// it does not pay that money once more.
func TestWhatIsPaidByHandIsNotAllowedByResuming(t *testing.T) {
	t.Parallel()
	bench(t, lab.Options{}, func(l *lab.Lab) {
		c := l.Open(sim.Spec{Cash: d("900"), TransfersBlocked: true})
		l.RunUntil(month, func() bool { return l.Get(c.ID).Reason == closure.TransfersBlocked })
		command := func(change closure.Change) {
			l.TB.Helper()
			if _, err := l.Command(c.ID, func(closure.Closure, []closure.Intent) (closure.Change, error) { return change, nil }); err != nil {
				l.TB.Fatal(err)
			}
		}
		command(closure.Pause(time.Now(), "operator", "it goes by wire"))
		resolved(l, c.ID, byHand("900"))
		event(l, c, sim.Event{Type: "unblock"})
		for range 2 {
			wants(l, l.Ends(c.ID, month), closure.Failed, closure.Unexplained)
			command(closure.Resume(time.Now(), "operator", "go on"))
		}
		event(l, c, sim.Event{Type: "wire", Amount: d("900")})
		wants(l, l.Ends(c.ID, month), closure.Closed, "")
	})
}

func TestARecordedPaymentNeedsSomethingToBeMeasuredBy(t *testing.T) {
	t.Parallel()
	bench(t, lab.Options{}, func(l *lab.Lab) {
		c := l.Open(sim.Spec{Cash: d("75")})
		refusedFor(l, c.ID, byHand("75"), "pause it first")
		if _, err := l.Command(c.ID, func(closure.Closure, []closure.Intent) (closure.Change, error) {
			return closure.Pause(time.Now(), "operator", "hold it"), nil
		}); err != nil {
			l.TB.Fatal(err)
		}
		refusedFor(l, c.ID, byHand("75"), "was not read yet")
		refusedFor(l, c.ID, byHand("75.001"), "whole cents")
		refusedFor(l, c.ID, closure.Resolution{Kind: closure.VoidTransfer}, "no payout of this closure is in question")
	})
}

// lostPayout is a closure that stopped over a payout of $900 whose answer was lost; the policy asks a person.
func lostPayout(t *testing.T, rule sim.Rule, f func(l *lab.Lab, c closure.Closure)) {
	t.Helper()
	bench(t, lab.Options{Policy: func(p *closure.Policy) { p.Unknown = closure.Ask }}, func(l *lab.Lab) {
		rule.Method, rule.Path, rule.Times = http.MethodPost, transfers, 1
		chaos(l, rule)
		c := l.Ends(l.Open(sim.Spec{Cash: d("900")}).ID, month)
		wants(l, c, closure.Failed, closure.UnknownTransfer, l.Payouts(c.AccountID)...)
		f(l, c)
	})
}

func TestAnUnknownPayoutIsVoidedByAPerson(t *testing.T) {
	t.Parallel()
	lostPayout(t, sim.Rule{Fault: sim.FaultDrop}, func(l *lab.Lab, c closure.Closure) {
		refusedFor(l, c.ID, byHand("900"), "is not settled")
		refusedFor(l, c.ID, closure.Resolution{Kind: closure.RelinkBank, Bank: "b", Fingerprint: "f"}, "is not settled")
		resolved(l, c.ID, closure.Resolution{Kind: closure.VoidTransfer})
		wants(l, l.Ends(c.ID, month), closure.Closed, "", "900.00")
	})
}

// The broker made it and does not list it until a person has asked: they adopt it by its id, and it is not paid again.
func TestAnUnknownPayoutIsAdoptedByAPerson(t *testing.T) {
	t.Parallel()
	lostPayout(t, sim.Rule{Fault: sim.FaultTimeoutAfter, Late: days(3)}, func(l *lab.Lab, c closure.Closure) {
		truth, err := l.Sim.Truth(c.AccountID)
		if err != nil || len(truth.Transfers) != 1 {
			l.TB.Fatalf("%v, %d transfers", err, len(truth.Transfers))
		}
		resolved(l, c.ID, closure.Resolution{Kind: closure.AdoptTransfer, TransferID: truth.Transfers[0].ID})
		wants(l, l.Ends(c.ID, month), closure.Closed, "", "900.00")
	})
}

func TestAnotherBankIsLinkedByAPerson(t *testing.T) {
	t.Parallel()
	bench(t, lab.Options{}, func(l *lab.Lab) {
		c := gone(l)
		event(l, c, sim.Event{Type: "relationship_create"})
		banks, err := l.Broker.Relationships(l.TB.Context(), c.AccountID)
		if err != nil || len(banks) != 1 {
			l.TB.Fatalf("%v, %d banks", err, len(banks))
		}
		refusedFor(l, c.ID, closure.Resolution{Kind: closure.RelinkBank, Bank: c.RelationshipID, Fingerprint: c.Fingerprint}, "pays to this bank already")
		resolved(l, c.ID, closure.Resolution{Kind: closure.RelinkBank, Bank: banks[0].ID, Fingerprint: banks[0].Fingerprint})
		l.RunUntil(14*day, func() bool {
			b, _ := l.Sim.Truth(c.AccountID)
			return len(b.ACHRelationships) > 0 && l.Get(c.ID).State != closure.Running
		})
		wants(l, l.Ends(c.ID, month), closure.Closed, "", "825.00")
		if got := l.Get(c.ID).RelationshipID; got != banks[0].ID {
			l.TB.Errorf("it pays to %s", got)
		}
	})
}
