// Package tasks says what travels on the queue: type names, payload, task IDs and queues, and it is the one place that
// turns a closure's business times into Asynq's delays. A leaf that the server, the handlers and the worker hold; it
// knows nothing of what a task does.
package tasks

import (
	"encoding/json"
	"fmt"
	"regexp"

	"closeout/closure"
)

// MaxRetry is Asynq's own net. The ledger's row decides earlier whether a closure is dead.
const MaxRetry = 10

// Payload is all that a task carries: which row, at which version. Nothing of the customer is in it. It is of closure.Format: a
// newer version that adds a member may leave "v" out, and older workers pass over the member; one that says "v":2 is given its
// tasks back.
type Payload struct {
	ClosureID string `json:"closure_id"`
	Version   int64  `json:"version"`
	Token     string `json:"token"`
}

// PayloadOf is the payload of a closure's present version.
func PayloadOf(c closure.Closure) Payload {
	return Payload{ClosureID: c.ID, Version: c.Version, Token: c.Token}
}

// ParsePayload reads a task's payload. closure.ErrNewer: it is of a newer version.
func ParsePayload(b []byte) (Payload, error) {
	var p Payload
	if err := read(b, &p); err != nil {
		return p, err
	}
	if p.ClosureID == "" || p.Version < 1 || p.Token == "" {
		return p, fmt.Errorf("read task payload: closure_id, version and token must all be given")
	}
	return p, nil
}

// read reads a payload into a pointer.
func read(b []byte, into any) error {
	if f := closure.FormatOf(b); f > closure.Format {
		return fmt.Errorf("read task payload: %w: it is of format %d", closure.ErrNewer, f)
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("read task payload: %w", err)
	}
	return nil
}

// TraceHeader is the header of a task that names the trace of its closure, where that has one. It comes from the closure's row
// each time, and so is there again after Redis was lost.
const TraceHeader = "traceparent"

// ID is the task's ID: versions may repeat after the ledger is restored, tokens never do.
func (p Payload) ID() string { return fmt.Sprintf("%s/%d.%s", p.ClosureID, p.Version, p.Token) }

// Shown is a task's ID for people: without the token, which nobody needs to see, and as asynqmon's pages here call the task.
func Shown(id string) string { return realID.ReplaceAllString(id, "$1.$2") }

var realID = regexp.MustCompile(`^([^/]+)/([0-9]+)(?:\.[0-9a-f]+)?$`)

// TypeOf is the task type of a phase.
func TypeOf(p closure.Phase) string { return "closure:" + string(p) }

// Queues are the queues and their weights: out of ten free workers six look at urgent work first.
var Queues = map[string]int{
	"account_closure_urgent": 6,
	"account_closure":        3,
	"account_closure_bulk":   1,
}

// QueueFor is the queue of a priority.
func QueueFor(p closure.Priority) string {
	switch p {
	case closure.Urgent:
		return "account_closure_urgent"
	case closure.Bulk:
		return "account_closure_bulk"
	case closure.Normal:
	}
	return "account_closure"
}
