package desk

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"closeout/calendar"
	"closeout/closure"
)

// Waiting is why a closure does not go on, until when, and who can change that.
type Waiting struct {
	Reason closure.Reason `json:"reason" doc:"Stable"`
	Why    string         `json:"why"`
	Until  *time.Time     `json:"until" doc:"When it looks again; null if it has stopped"`
	Who    closure.Who    `json:"who_must_act" doc:"customer, operator or broker; empty if time will do"`
	Hint   string         `json:"hint,omitempty" doc:"What they can do"`
}

// WaitingOf is nil for a closure that is over.
func WaitingOf(c closure.Closure) *Waiting {
	if c.State.Ended() {
		return nil
	}
	info, known := closure.Reasons[c.Reason]
	w := &Waiting{Reason: c.Reason, Why: c.Why, Who: c.Who, Hint: info.Hint}
	if !known && c.State != closure.Running {
		w.Hint = fmt.Sprintf("This version does not know the reason %q: a newer one wrote it. Read the history, and use a console of that version.", c.Reason)
	}
	if c.State == closure.Running {
		if !c.DueAt.IsZero() {
			w.Until = new(c.DueAt.UTC().Truncate(time.Second))
		}
		if c.Failures > 0 {
			w.Why += "; the last try ended with an error and is repeated: " + c.LastError
		}
	}
	return w
}

// InFlight is an instruction without an answer yet.
type InFlight struct {
	Kind  closure.IntentKind `json:"kind" enum:"cancel,order,transfer,close" doc:"cancel, order, transfer or close"`
	Text  string             `json:"text" doc:"What was asked of the broker and what is known of it, in words"`
	Since time.Time          `json:"since" doc:"When it was written down, before it was sent"`
}

// InFlightOf are the instructions that the broker may be carrying out, or whose outcome nobody knows yet.
func InFlightOf(intents []closure.Intent) []InFlight {
	out := []InFlight{}
	for _, i := range intents {
		if i.State == closure.IntentSending {
			out = append(out, InFlight{i.Kind, Instructed(i) + " " + Became(i), i.ClaimedAt})
		}
	}
	return out
}

// Next is what happens next to a closure, in words. now is business time.
func Next(c closure.Closure, now time.Time) string {
	switch c.State {
	case closure.Running:
		if c.DueAt.After(now) {
			return "It looks at the account " + when(c.DueAt) + "."
		}
		return "It looks at the account now, and goes on."
	case closure.Paused:
		return "Nothing new is sent until it is resumed. Open orders may still fill, and payouts on their way arrive."
	case closure.Canceled:
		return "Nothing: the account stays open."
	case closure.Closed:
		return "Nothing: the account is closed."
	case closure.Failed, closure.Dead:
		return "Nothing until a person resumes it."
	}
	return ""
}

// when is a moment in the words of whoever reads an answer: New York's, where the markets and banks are.
func when(t time.Time) string {
	return t.In(calendar.NewYork).Format("on Jan 2 at 15:04 New York time")
}

// Instructed is what an intent asks of the broker, in words without a bank.
func Instructed(i closure.Intent) string {
	switch i.Kind {
	case closure.TransferIntent:
		return "the payout of $" + closure.USD(i.Amount.Decimal)
	case closure.CloseIntent:
		return "the closing of the account"
	case closure.CancelIntent:
		return "the cancellation of an order"
	case closure.OrderIntent:
	}
	var w struct {
		Body struct{ Symbol, Qty, Side string }
	}
	_ = json.Unmarshal(i.Request, &w) // what can't be read has no particulars
	return strings.TrimSpace(fmt.Sprintf("the order to %s %s %s", cmp.Or(w.Body.Side, "close"), w.Body.Qty, cmp.Or(w.Body.Symbol, "a position")))
}

// Became is what is known of an intent that was not refused.
func Became(i closure.Intent) string {
	switch {
	case i.Unknown(time.Now()):
		return "may have been carried out: nobody knows its outcome yet"
	case i.State == closure.IntentSending:
		return "is on its way to the broker"
	}
	return "was taken by the broker " + when(i.ClaimedAt)
}

// Line says what is wrong with a text that a history has one line for; empty: nothing.
func Line(text string) string {
	switch {
	case strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }):
		return "must not contain control characters, line breaks included"
	case strings.TrimSpace(text) == "":
		return "must say something"
	case !utf8.ValidString(text):
		return "must be text"
	}
	return ""
}

// MostReason is how many letters a person's reason may have.
const MostReason = 500

// Reason reads why a person, or a client, wants something done, as it stands in the history afterwards. wrong says what is
// wrong with it, as Line does; empty: nothing.
func Reason(text string) (reason, wrong string) {
	reason = strings.TrimSpace(text)
	if wrong = Line(reason); wrong == "" && utf8.RuneCountInString(reason) > MostReason {
		wrong = fmt.Sprintf("may have %d letters at the most", MostReason)
	}
	return reason, wrong
}
