package desk

import (
	"errors"

	"closeout/closure"
	"closeout/ledger"
	"closeout/readiness"
)

// The codes of refusals. Scripts may rely on them.
const (
	ClosureEnded     = "closure_ended"
	PastNoReturn     = "past_no_return"
	NotRunning       = "not_running"
	NotStopped       = "not_stopped"
	CannotResolve    = "cannot_resolve"
	TransferTaken    = "transfer_taken"
	TransferUnlisted = "transfer_not_listed"
	TransferListed   = "transfer_listed"
	Moved            = "moved"
	BankRefused      = "bank_refused"
)

// titles are the codes in words.
var titles = map[string]string{
	ClosureEnded:     "the closure is over",
	PastNoReturn:     "the closure cannot be called off any more",
	NotRunning:       "the closure has stopped",
	NotStopped:       "the closure is running",
	CannotResolve:    "this cannot be recorded as it is",
	TransferTaken:    "the transfer belongs to another payout",
	TransferUnlisted: "the broker does not list the transfer",
	TransferListed:   "the broker lists a transfer that fits",
	Moved:            "the closure has moved on",
	BankRefused:      "the bank cannot be paid",
}

// Refusal is a command that was not carried out, in words: nothing was changed.
type Refusal struct {
	Code      string // stable
	Title     string // the code in words; the same for each refusal of the code
	Detail    string // what is wrong
	Hint      string // what can be done instead
	ClosureID string

	Obstacles []readiness.Obstacle // of BankRefused: everything that stands in the way
	Meanwhile []ledger.Event       // of Moved: what has happened since
}

func (r *Refusal) Error() string { return r.Code + ": " + r.Detail }

func refusal(code string, c closure.Closure, detail, hint string) *Refusal {
	return &Refusal{Code: code, Title: titles[code], Detail: detail, Hint: hint, ClosureID: c.ID}
}

func moved(c closure.Closure, meanwhile []ledger.Event) *Refusal {
	r := refusal(Moved, c, "Nothing was done: more has happened to the closure than you had seen.", "Read what happened, and ask again if it is still what you want.")
	r.Meanwhile = meanwhile
	return r
}

// refused turns a command that was not carried out into words, with what one can do instead. What is no refusal stays as it is.
func (d *Desk) refused(err error, c closure.Closure, intents []closure.Intent) error {
	if errors.Is(err, ledger.ErrTaken) {
		return refusal(TransferTaken, closure.Closure{}, "The transfer belongs to another payout of this service.", "Compare its sum, its bank and its time with the payout in question.")
	}
	no, ok := errors.AsType[*closure.NotAllowedError](err)
	if !ok {
		return err
	}
	switch {
	case errors.Is(err, closure.ErrNewer):
		return refusal(Moved, c, closure.Sentence(no.Why), "Nothing was done, and nothing is wrong with it.")
	case no.State.Ended():
		return refusal(ClosureEnded, c, "The account's latest closure is "+string(no.State)+".", "Nothing can be changed of it. An account that is open can be given a new closure by initiate.")
	case no.Command == string(Cancel):
		detail := "It can't be called off any more: an instruction was sent that can't be undone."
		if i, ok := NoReturn(intents); ok {
			detail = "It can't be called off any more: " + Instructed(i) + " " + Became(i) + ", and can't be undone."
		}
		return refusal(PastNoReturn, c, detail, "Hold it before anything further is sent: "+d.way("pause", c)+".")
	case no.Command == "resolve" && no.State == closure.Running:
		return refusal(NotStopped, c, closure.Sentence(no.Why), closure.Sentence(d.way("pause", c)+", do what is to be done by hand, then record it"))
	case no.Command == "resolve":
		return refusal(CannotResolve, c, closure.Sentence(no.Why), "The case file has the payouts with their intents; progress says what the closure waits for.")
	}
	return refusal(NotRunning, c, closure.Sentence(no.Why), "It sends nothing as it is. "+closure.Capital(d.way("resume", c))+" sets it going again, resolve records first what was done by hand.")
}

// NoReturn is the first instruction that can't be undone, as far as anyone knows. ok is false before the point of no return.
func NoReturn(intents []closure.Intent) (i closure.Intent, ok bool) {
	for _, i := range intents {
		if i.Irreversible() {
			return i, true
		}
	}
	return i, false
}
