package handlers

import (
	"context"
	"errors"
	"time"

	"closeout/closure"
)

// Ended is a visit that has ended, for whoever counts them.
type Ended struct {
	Phase   closure.Phase // in which it looked; "": the ledger did not say
	Result  Result
	Outcome string         // what became of the closure: go, wait, fail, done or error; "": nothing was written
	Reason  closure.Reason // of a wait or a stop
	Took    time.Duration  // machine time
	Crashed bool           // an earlier run was noted as a crash
	Adopted int            // payouts whose answer was lost and that were found
}

// Result says in which way a visit ended.
type Result string

// The results.
const (
	Saved      Result = "saved"     // the look was written down
	Stumbled   Result = "error"     // an error was, and counts
	Lost       Result = "lost"      // another visit or a command came first; nothing was written
	LedgerAway Result = "ledger"    // it could not be asked or told
	CutShort   Result = "cut_short" // the worker was told to stop
)

// Results are all of them.
var Results = []Result{Saved, Stumbled, Lost, LedgerAway, CutShort}

// PostResult says what became of a letter.
type PostResult string

// The results of posting.
const (
	Sent    PostResult = "sent"
	Later   PostResult = "later"    // it could not be handed over, and is tried again
	GivenUp PostResult = "given_up" // for good
)

// Posts are all of them.
var Posts = []PostResult{Sent, Later, GivenUp}

// ended tells of a visit: what it was before, what it has become, and what the queue is told.
func (r *Runner) ended(e Ended, was, next closure.Closure, err error) {
	if r.Ended == nil {
		return
	}
	e.Phase = was.Phase
	switch {
	case errors.Is(err, ErrNotCounted):
		e.Result = LedgerAway
	case errors.Is(err, context.Canceled):
		e.Result = CutShort
	case next.Failures > was.Failures || next.State == closure.Dead:
		e.Result, e.Outcome, e.Reason = Stumbled, "error", ""
		if next.State == closure.Dead {
			e.Reason = next.Reason
		}
	case next.Version == was.Version:
		e.Result = Lost
	default:
		e.Result = Saved
		e.Outcome, e.Reason = became(was, next)
	}
	if e.Result != Saved && e.Result != Stumbled {
		e.Adopted = 0
	}
	r.Ended(e)
}

// became says in a word where a look has led, by the row: a wait that a limit ended is a stop.
func became(was, next closure.Closure) (outcome string, reason closure.Reason) {
	switch {
	case next.State == closure.Closed:
		return "done", ""
	case next.State != closure.Running:
		return "fail", next.Reason
	case next.Phase != was.Phase:
		return "go", ""
	}
	return "wait", next.Reason
}

// adopted counts the payouts that this visit has found whose answer was lost.
func (v *Visit) adopted() (n int) {
	for _, l := range v.learned {
		if l.Intent.Kind == closure.TransferIntent && l.Was == closure.IntentSending && l.Intent.State == closure.IntentSent {
			n++
		}
	}
	return n
}

// posted tells what became of a letter.
func (r *Runner) posted(l closure.Letter, p PostResult) {
	if r.Posted != nil {
		r.Posted(l, p)
	}
}
