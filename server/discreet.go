package server

import (
	"context"
	"strings"

	"closeout/closure"
)

// An operator's words may hold a suspicion that the customer must not hear of, and a key without the scope operate is likely
// to be that of a backend which shows the customer what it reads. Such a key learns what was done, and not what was said of it.

// discreet is the closure as the request's key may see it.
func discreet(ctx context.Context, c closure.Closure) closure.Closure {
	if !allow(entryOf(ctx).scopes, ScopeOperate) {
		c.Why = withoutWords(c.Reason, c.Why)
	}
	return c
}

// withoutWords is why a closure stands where it stands, without what a person wrote.
func withoutWords(r closure.Reason, why string) string {
	switch r {
	case closure.PausedByOperator, closure.CanceledByRequest, closure.ServiceHeld, closure.Accepted: // the last one also after a resume
		return closure.Reasons[r].Title
	default:
		return why
	}
}

// eventWithoutWords is the line of an event, without what a person wrote.
func eventWithoutWords(kind, text string) string {
	if done, ok := map[string]string{"cancel": "cancelled", "pause": "held", "resume": "resumed", "wake": "woken", "resolve": "resolved"}[kind]; ok {
		return done + " by a person"
	}
	if held := closure.Reasons[closure.ServiceHeld].Title; strings.HasPrefix(text, held) {
		return held
	}
	return text
}
