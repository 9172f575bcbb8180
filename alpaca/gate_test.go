package alpaca

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// porter is a gate that writes down what it is asked and told.
type porter struct {
	shut  bool
	asked []string
	told  []Heard
}

func (p *porter) Pass(_ context.Context, write bool, path string) (func(Heard), error) {
	if write {
		path = "write " + path
	}
	p.asked = append(p.asked, path)
	if p.shut {
		return nil, &HeldError{Why: HoldBusy}
	}
	done := false
	return func(h Heard) {
		if !done {
			done = true
			p.told = append(p.told, h)
		}
	}, nil
}

type answers func(*http.Request) (*http.Response, error)

func (f answers) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func gated(tb testing.TB, p *porter, rt http.RoundTripper) *Client {
	tb.Helper()
	c, err := New(Options{BaseURL: "http://broker.test", Key: "k", Secret: "s", Transport: rt, Gate: p})
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func saying(status int) answers {
	return func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: http.Header{"X-Ratelimit-Remaining": {"7"}}, Body: io.NopCloser(strings.NewReader(`{"id":"t"}`))}, nil
	}
}

func TestAShutGateKeepsRequestsFromTheWire(t *testing.T) {
	t.Parallel()
	p := &porter{shut: true}
	c := gated(t, p, answers(func(*http.Request) (*http.Response, error) {
		t.Error("something was sent")
		return nil, errors.New("sent")
	}))
	_, err := c.TradingAccount(t.Context(), accountID)
	held, ok := errors.AsType[*HeldError](err)
	if !ok || held.Why != HoldBusy || !Unavailable(err) || Unauthorized(err) || NotFound(err) {
		t.Errorf("a read: %v", err)
	}
	if _, err := c.Dial(t.Context()); !errors.As(err, &held) {
		t.Errorf("a write: %v", err)
	}
	if want := []string{shortPath(tradingPath(accountID) + "/account"), "write CONNECT"}; !slices.Equal(p.asked, want) {
		t.Errorf("asked for %q, want %q", p.asked, want)
	}
}

// The gate hears of each request once: of a read with its answer, of a write at its end, and of a connection that was
// closed unused that nothing came of it.
func TestTheGateHearsOfEachRequestOnce(t *testing.T) {
	t.Parallel()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	fails := answers(func(*http.Request) (*http.Response, error) { return nil, net.ErrClosed })
	for name, tc := range map[string]struct {
		wire answers
		do   func(c *Client)
		want Heard
	}{
		"Read":          {saying(200), func(c *Client) { _, _ = c.Account(t.Context(), accountID) }, Heard{Status: 200}},
		"Refused":       {saying(401), func(c *Client) { _, _ = c.Account(t.Context(), accountID) }, Heard{Status: 401}},
		"NoAnswer":      {fails, func(c *Client) { _, _ = c.Account(t.Context(), accountID) }, Heard{}},
		"GivenUp":       {fails, func(c *Client) { _, _ = c.Account(gone, accountID) }, Heard{GivenUp: true}},
		"Write":         {saying(200), func(c *Client) { sent(t, c) }, Heard{Status: 200}},
		"WriteNoAnswer": {fails, func(c *Client) { sent(t, c) }, Heard{}},
		"Unused": {saying(200), func(c *Client) {
			s, err := c.Dial(t.Context())
			if err != nil {
				t.Error(err)
			}
			_ = s.Close()
		}, Heard{GivenUp: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &porter{}
			tc.do(gated(t, p, tc.wire))
			if len(p.asked) != 1 || len(p.told) != 1 {
				t.Fatalf("asked %q, told %+v", p.asked, p.told)
			}
			got := p.told[0]
			if got.Status != tc.want.Status || got.GivenUp != tc.want.GivenUp || (got.Header.Get("X-RateLimit-Remaining") == "7") != (got.Status != 0) {
				t.Errorf("told %+v, want %+v", got, tc.want)
			}
		})
	}
}

func sent(t *testing.T, c *Client) {
	t.Helper()
	s, err := c.Dial(t.Context())
	if err != nil {
		t.Error(err)
		return
	}
	_, _ = s.Send(t.Context(), payout)
	_ = s.Close()
}

// A real connection that can't be opened is heard of as no answer, before anything is claimed.
func TestTheGateHearsOfARefusedConnection(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	_ = ln.Close()
	p := &porter{}
	c, err := New(Options{BaseURL: "http://" + addr, Key: "k", Secret: "s", Gate: p})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Dial(t.Context()); !Unavailable(err) {
		t.Errorf("dialled: %v", err)
	}
	if len(p.told) != 1 || p.told[0].GivenUp || p.told[0].Status != 0 {
		t.Errorf("told %+v", p.told)
	}
}
