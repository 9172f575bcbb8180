// Package auditor judges what the service has done, by two witnesses alone: the journal and the truth of the simulated
// broker, and the rows of the ledger. It reads SQL and adds money up by itself, and shares no code with what it judges: a
// mistake in the handlers or the ledger is not made again here.
//
// It tolerates what ARCHITECTURE names as residual risk, narrowly, and counts it. Everything else that does not add up is
// a Finding.
package auditor

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"closeout/alpaca/sim"
)

// Evidence is what the auditor is shown beside the ledger.
type Evidence struct {
	Journal []sim.Entry          // of all accounts, in order
	Truths  map[string]sim.Truth // by account, taken before the journal was read
	// Acknowledged are the ids of closures that a client was told of.
	Acknowledged []string
	// Quiet is when faults had been over for long enough that everything must have come to an end, or wait with a reason;
	// in business time. Zero: it has not, and what is under way is not held against anyone.
	Quiet time.Time
	// Slack is by how much the clocks of workers and broker may differ, in business time. Zero means two minutes.
	Slack time.Duration
	// LostTimes are those that a restore of the ledger lost: from the moment it was restored to until it was reconciled. An order of
	// others that was cancelled then, or the account that was closed, has no intent any more; payouts and orders must have.
	LostTimes []Span
	// Unknown is how long an instruction's outcome may stay unknown, in business time: deadline, quarantine and the looks
	// after it. Zero means forty minutes.
	Unknown time.Duration
}

// Span is a stretch of business time.
type Span struct{ From, To time.Time }

func (a *audit) lost(at time.Time) bool {
	return slices.ContainsFunc(a.LostTimes, func(s Span) bool { return !at.Before(s.From.Add(-a.Slack)) && !at.After(s.To) })
}

// Kind is a kind of finding. Each has a test in which it is found.
type Kind string

// What can be found.
const (
	Lost              Kind = "an acknowledged closure is not in the ledger"
	TwoOpen           Kind = "an account has two closures under way"
	BrokenChain       Kind = "the history was broken"
	ClaimAfterStop    Kind = "something was claimed while the closure was stopped"
	Unclaimed         Kind = "an intent has no claim in the history"
	EffectOfCanceled  Kind = "a cancelled closure has done something irreversible"
	UnwantedTransfer  Kind = "a payout that no intent wanted"
	TransferOfTwo     Kind = "a payout that several intents claim"
	MissingTransfer   Kind = "an intent says that it paid, and the broker has no such payout"
	GivenUpYetMade    Kind = "a payout that the ledger calls refused or void was made"
	WrongPayout       Kind = "a payout differs from its intent"
	WrongBank         Kind = "a payout went to another bank than the one chosen"
	Overpaid          Kind = "more was paid out than the customer had"
	UnwantedOrder     Kind = "an order that no intent wanted"
	WrongOrder        Kind = "an order differs from its intent"
	BeyondPosition    Kind = "an order goes beyond the position"
	UnwantedCancel    Kind = "an order was cancelled that no intent meant"
	UnwantedClosing   Kind = "an account was closed that no intent meant"
	ForeignEffect     Kind = "an instruction that this service never gives"
	ClosedFull        Kind = "an account was closed that was not empty"
	ClosingAskedFull  Kind = "the closing was asked for while the account was not empty"
	NotClosed         Kind = "the ledger says closed, and the broker doesn't"
	WrongPaid         Kind = "the sum that the customer is told is not what was paid"
	NoReason          Kind = "a closure has stopped or waits without a reason"
	Forgotten         Kind = "a closure is due and nobody comes"
	Unresolved        Kind = "an outcome is still unknown although the closure has ended"
	MissingLetter     Kind = "a letter is missing"
	BooksDoNotBalance Kind = "the journal and the account's cash differ"
)

// Kinds lists every kind.
var Kinds = []Kind{
	Lost, TwoOpen, BrokenChain, ClaimAfterStop, Unclaimed, EffectOfCanceled, UnwantedTransfer,
	TransferOfTwo, MissingTransfer, GivenUpYetMade, WrongPayout, WrongBank, Overpaid,
	UnwantedOrder, WrongOrder, BeyondPosition, UnwantedCancel, UnwantedClosing, ForeignEffect,
	ClosedFull, ClosingAskedFull, NotClosed, WrongPaid, NoReason, Forgotten, Unresolved, MissingLetter, BooksDoNotBalance,
}

// Finding is something that must not be.
type Finding struct {
	Kind    Kind
	Closure string
	Account string
	Text    string
}

func (f Finding) String() string {
	return fmt.Sprintf("%s: %s (closure %s, account %s)", f.Kind, f.Text, f.Closure, f.Account)
}

// The residual risks that the auditor lets pass, and counts.
const (
	ForeignAdopted = "a withdrawal by the customer of the same sum, in the minutes of a lost answer, was taken for ours"
	Crossed        = "a withdrawal by the customer crossed a payout on its way, and the broker took both"
	OfLostTime     = "a cancellation or a closing of the time that a restored ledger lost"
	LandedAtGate   = "something landed in the account between the gate's read and the closing"
)

// Report is what an audit has found.
type Report struct {
	Findings  []Finding
	Tolerated map[string]int // residual risks, counted
	Closures  int
	Events    int
	Effects   int // instructions in the journal
}

// Kinds are the kinds found, each once.
func (r Report) Kinds() []Kind {
	var out []Kind
	for _, f := range r.Findings {
		if !slices.Contains(out, f.Kind) {
			out = append(out, f.Kind)
		}
	}
	return out
}

type audit struct {
	Evidence
	Report
	closures []closure
	intents  map[string][]intent // by account, in the order of their claims
	accounts map[string]*account
}

// Audit judges the ledger behind db. On Postgres the connection's search path leads to its schema. An error means that the
// audit itself could not be done.
func Audit(ctx context.Context, db *sql.DB, e Evidence) (Report, error) {
	if e.Slack == 0 {
		e.Slack = 2 * time.Minute
	}
	if e.Unknown == 0 {
		e.Unknown = 40 * time.Minute
	}
	a := &audit{Evidence: e, intents: map[string][]intent{}, accounts: map[string]*account{}}
	a.Tolerated = map[string]int{}
	if err := a.read(ctx, db); err != nil {
		return Report{}, fmt.Errorf("read the ledger: %w", err)
	}
	a.walkJournal()
	a.acknowledged()
	for i := range a.closures {
		c := &a.closures[i]
		a.history(c)
		a.state(c)
		a.letters(c)
	}
	for _, id := range a.accountIDs() {
		a.payouts(id)
		a.orders(id)
		a.closings(id)
	}
	return a.Report, nil
}

func (a *audit) found(k Kind, closure, account, format string, args ...any) {
	a.Findings = append(a.Findings, Finding{k, closure, account, fmt.Sprintf(format, args...)})
}

// acknowledged: nothing that was answered with 202 is lost, and no account has two closures under way.
func (a *audit) acknowledged() {
	have, open := map[string]bool{}, map[string]string{}
	for _, c := range a.closures {
		have[c.id] = true
		if c.ended() {
			continue
		}
		if other := open[c.account]; other != "" {
			a.found(TwoOpen, c.id, c.account, "the other is %s", other)
		}
		open[c.account] = c.id
	}
	for _, id := range a.Acknowledged {
		if !have[id] {
			a.found(Lost, id, "", "a client was told of it")
		}
	}
}

// state: every closure has ended, or waits or has stopped with a reason.
func (a *audit) state(c *closure) {
	if c.state == "closed" {
		if t, ok := a.Truths[c.account]; ok && t.Status != "ACCOUNT_CLOSED" {
			a.found(NotClosed, c.id, c.account, "the account is %s", t.Status)
		}
	}
	if !c.ended() && c.reason == "" && !a.Quiet.IsZero() || c.state != "closed" && c.state != "running" && (c.reason == "" || c.why == "") {
		a.found(NoReason, c.id, c.account, "%s in %s", c.state, c.phase)
	}
	if c.state == "running" && !a.Quiet.IsZero() && c.due.Before(a.Quiet) {
		a.found(Forgotten, c.id, c.account, "due at %s, and it is %s", c.due, a.Quiet)
	}
	for _, i := range c.intents {
		if c.state == "closed" && i.kind == "transfer" && i.state == "sending" && a.ours(c) {
			a.found(Unresolved, c.id, c.account, "intent %s", i.id)
		}
		if c.state == "canceled" && i.kind != "cancel" && (i.state == "sending" || i.state == "sent" || i.state == "late") {
			a.found(EffectOfCanceled, c.id, c.account, "%s intent %s is %s", i.kind, i.id, i.state)
		}
	}
}

// ours says whether it was this closure that closed the account, and not somebody else.
func (a *audit) ours(c *closure) bool {
	acct := a.accounts[c.account]
	return acct != nil && acct.closedAt >= 0 && slices.ContainsFunc(c.intents, func(i intent) bool { return i.kind == "close" })
}

// letters: the first letter is owed from the beginning, the last with the end.
func (a *audit) letters(c *closure) {
	var want []string
	over, told := c.takenOver()
	if !over {
		want = append(want, "initiated")
	}
	switch c.state {
	case "closed":
		if !told {
			want = append(want, "completed")
		}
	case "canceled":
		want = append(want, "canceled")
	}
	for _, kind := range want {
		if !slices.ContainsFunc(c.notices, func(n notice) bool { return n.kind == kind }) {
			a.found(MissingLetter, c.id, c.account, "%q was never written", kind)
		}
	}
	if a.Quiet.IsZero() {
		return
	}
	for _, n := range c.notices {
		if n.state == "due" && n.due.Before(a.Quiet) {
			a.found(MissingLetter, c.id, c.account, "%q is still owed", n.kind)
		}
	}
}
