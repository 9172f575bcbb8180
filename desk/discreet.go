package desk

import (
	"regexp"
	"strings"

	"closeout/closure"
)

// An operator's words may hold a suspicion that the customer must not hear of, and a key without the scope operate is likely
// to be that of a backend which shows the customer what it reads. Such a key learns what was done, and not what was said of it.

// WithoutWords is why a closure stands where it stands, without what a person wrote.
func WithoutWords(r closure.Reason, why string) string {
	switch r {
	case closure.PausedByOperator, closure.CanceledByRequest, closure.ServiceHeld, closure.Accepted: // the last one also after a resume
		return closure.Reasons[r].Title
	default:
		return why
	}
}

// EventWithoutWords is the line of an event, without what a person wrote.
func EventWithoutWords(kind, text string) string {
	if done, ok := map[string]string{"cancel": "cancelled", "pause": "held", "resume": "resumed", "wake": "woken", "resolve": "resolved"}[kind]; ok {
		return done + " by a person"
	}
	if held := closure.Reasons[closure.ServiceHeld].Title; strings.HasPrefix(text, held) {
		return held
	}
	return text
}

var uuidInText = regexp.MustCompile(`[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}`)

// WithoutIDs cuts the ids in a text to their ends, but for those that the reader has anyway.
func WithoutIDs(text string, known ...string) string {
	return uuidInText.ReplaceAllStringFunc(text, func(id string) string {
		for _, k := range known {
			if strings.EqualFold(id, k) {
				return id
			}
		}
		return "…" + id[len(id)-6:]
	})
}
