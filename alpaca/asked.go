package alpaca

import (
	"context"
	"net/http"
	"strings"
	"time"
)

// Asked is a request that was made, for whoever counts them.
type Asked struct {
	Method   string
	Endpoint string // the pattern of its path: whatever names an account, an order or an asset is {id}
	Status   int    // 0: no answer
	Took     time.Duration
}

// words are those of this client's paths. What is none of them is an id.
var words = func() map[string]bool {
	out := map[string]bool{}
	for _, w := range strings.Fields("v1 v2 accounts trading account positions orders orders:by_client_order_id transfers ach_relationships activities " +
		"actions close rebalancing subscriptions assets clock calendar events trades funding status") {
		out[w] = true
	}
	return out
}()

// deepest is how many parts the longest path of this client has.
const deepest = 7

// endpoint is the pattern of a path.
func endpoint(path string) string {
	path, _, _ = strings.Cut(path, "?")
	parts := strings.Split(strings.Trim(path, "/"), "/")
	if len(parts) > deepest {
		return "other"
	}
	for n, p := range parts {
		if !words[p] {
			parts[n] = "{id}"
		}
	}
	return "/" + strings.Join(parts, "/")
}

// asked notes a request that was made, by its short path, and tells whoever counts them.
func (c *Client) asked(ctx context.Context, req *http.Request, path string, resp *http.Response, started time.Time) {
	record(ctx, req, path, resp, started)
	if c.tell == nil {
		return
	}
	a := Asked{Method: req.Method, Endpoint: endpoint(path), Took: time.Since(started)}
	if resp != nil {
		a.Status = resp.StatusCode
	}
	c.tell(a)
}
