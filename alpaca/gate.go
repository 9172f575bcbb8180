package alpaca

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Gate stands before the broker: it may hold a request back, and it hears of each that was made. budget.Budget is the one
// there is.
type Gate interface {
	// Pass is asked before a request is made, and for a write before its connection is opened; path names it as errors do.
	// Its error, a *HeldError, comes in the request's place. What it returns is called with what came of the request; of
	// several calls the first counts.
	Pass(ctx context.Context, write bool, path string) (heard func(Heard), err error)
}

// Heard is what came of a request.
type Heard struct {
	Status  int         // 0: no answer
	Header  http.Header // of the answer
	GivenUp bool        // by ourselves, or nothing was sent at all: it says nothing of the broker
}

// Hold is why a request was held back.
type Hold string

// The reasons to hold requests back.
const (
	HoldBusy    Hold = "busy"    // the budget of calls is used up for now
	HoldOutage  Hold = "outage"  // the broker has not answered for a while
	HoldRefused Hold = "refused" // the broker refuses our credentials
)

// HeldError is a request that was not made.
type HeldError struct {
	Why Hold
	For time.Duration // machine time after which asking again makes sense
	Age time.Duration // for how long things have been so; 0: not known
	// Place says that a place in the queue of looks was given out: it is due after For.
	Place bool
}

// Error is written for people.
func (e *HeldError) Error() string {
	switch e.Why {
	case HoldOutage:
		return "the broker has not answered for a while and is not asked now"
	case HoldRefused:
		return "the broker refuses this service's credentials and is not asked now"
	case HoldBusy:
	}
	return fmt.Sprintf("the budget of calls to the broker is used up for about %s", e.For.Round(time.Second))
}

// pass asks the gate, where there is one; path is a short one.
func (c *Client) pass(ctx context.Context, write bool, path string) (func(Heard), error) {
	if c.gate == nil {
		return func(Heard) {}, nil
	}
	return c.gate.Pass(ctx, write, path)
}

// heard makes of what came of a request what the gate is told.
func heard(ctx context.Context, resp *http.Response, err error) Heard {
	if resp != nil && err == nil {
		return Heard{Status: resp.StatusCode, Header: resp.Header}
	}
	return Heard{GivenUp: errors.Is(ctx.Err(), context.Canceled)}
}
