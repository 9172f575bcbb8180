package alpaca

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// Call is one request that was made, as an event or a log line may show it.
type Call struct {
	Method    string        `json:"method"`
	Path      string        `json:"path"`   // UUIDs shortened, no query
	Status    int           `json:"status"` // 0: no answer
	RequestID string        `json:"request_id,omitempty"`
	Took      time.Duration `json:"took"`
	At        time.Time     `json:"at"` // when it was sent, by the machine's clock

	// Skew is how far the broker's clock is ahead of the machine's, where SkewKnown. The Date header has whole seconds.
	Skew      time.Duration `json:"-"`
	SkewKnown bool          `json:"-"`
}

// Calls is what was asked of the broker during one piece of work, in order of the answers.
type Calls struct {
	mu    sync.Mutex
	calls []Call
}

// List gives a copy of the calls so far.
func (c *Calls) List() []Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Call(nil), c.calls...)
}

// Skew is that of the latest call whose answer told the broker's time.
func (c *Calls) Skew() (time.Duration, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := len(c.calls) - 1; i >= 0; i-- {
		if c.calls[i].SkewKnown {
			return c.calls[i].Skew, true
		}
	}
	return 0, false
}

type callsKey struct{}

// Record makes every request under the returned context note itself in the returned Calls.
func Record(ctx context.Context) (context.Context, *Calls) {
	calls := new(Calls)
	return context.WithValue(ctx, callsKey{}, calls), calls
}

func record(ctx context.Context, req *http.Request, path string, resp *http.Response, started time.Time) {
	leaveSpan(ctx, req.Method, path, resp, started)
	calls, ok := ctx.Value(callsKey{}).(*Calls)
	if !ok {
		return
	}
	now := time.Now()
	call := Call{Method: req.Method, Path: path, Took: now.Sub(started), At: started}
	if resp != nil {
		call.Status, call.RequestID = resp.StatusCode, requestID(resp)
		if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
			call.Skew, call.SkewKnown = date.Sub(now), true
		}
	}
	calls.mu.Lock()
	defer calls.mu.Unlock()
	calls.calls = append(calls.calls, call)
}
