package alpaca

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestErrorsAreForPeople(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"code":40310000,"message":"insufficient qty available","existing_qty":"10","available":0}`: "broker answered 403 (40310000) to GET /v1/trading/accounts/…1b1326/positions: insufficient qty available [request req-1]",
		`{"code":"40310000","message":"mail ada@example.com about 123456789"}`:                       "broker answered 403 (40310000) to GET /v1/trading/accounts/…1b1326/positions: mail *** about *** [request req-1]",
		`{"code":null,"message":null}`: "broker answered 403 to GET /v1/trading/accounts/…1b1326/positions [request req-1]",
		`"forbidden"`:                  "broker answered 403 to GET /v1/trading/accounts/…1b1326/positions: forbidden [request req-1]",
		"<html>\n <b>no</b></html>":    "broker answered 403 to GET /v1/trading/accounts/…1b1326/positions: 24 bytes that are no JSON [request req-1]",
	} {
		c := clientOf(t, func(*http.Request) (*http.Response, error) { return says(403, body), nil })
		if _, err := c.Positions(t.Context(), accountID); err == nil || err.Error() != want {
			t.Errorf("%s:\n got %v\nwant %s", body, err, want)
		}
	}
	c := clientOf(t, func(*http.Request) (*http.Response, error) { return says(502, strings.Repeat("wörld ", 1000)), nil })
	if _, err := c.Positions(t.Context(), accountID); err == nil || len(err.Error()) > 400 {
		t.Errorf("a long body: %v", err)
	}
}

func TestErrorTellsWhenToComeBack(t *testing.T) {
	t.Parallel()
	c := clientOf(t, func(*http.Request) (*http.Response, error) {
		resp := says(429, `{"code":42910000,"message":"slow down"}`)
		resp.Header.Set("X-RateLimit-Reset", "1700000000")
		return resp, nil
	})
	_, err := c.Clock(t.Context())
	e, ok := errors.AsType[*Error](err)
	if !ok || e.RateLimitReset.Unix() != 1_700_000_000 || !Unavailable(err) {
		t.Errorf("%+v", err)
	}
}

func TestRedact(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"write to ada.morgan+x@example.co.uk, please":       "write to ***, please",
		"account 123456 and 1234567":                        "account 123456 and ***",
		"relationship 3dcb795c-3ccc-402a-abb9-07e26a1b1326": "relationship 3dcb795c-3ccc-402a-abb9-07e26a1b1326",
		"token eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.abc":    "token ***.abc",
		"ssn 123-45-6789":                                   "ssn ***",
		"on 2026-11-23 at $137512.43":                       "on 2026-11-23 at $137512.43",
		"requested: 10, available: 0":                       "requested: 10, available: 0",
		"redis://:hunter2@redis.example:6379/0 refused":     "redis://***:6379/0 refused",
		"postgres://u:p,q(r)@db/x and smtps://a:b@c":        "postgres://***/x and smtps://***",
		"call (555) 010-4477, or 555.010.4477":              "call ***, or ***",
		"of 77 Wyvern Hollow Lane, Fresno":                  "of ***, Fresno",
		"3 shares on the way; 12 looks at the place":        "3 shares on the way; 12 looks at the place",
		"": "",
		(&Error{Status: 422, Code: 42210000, Method: "POST", Path: "/v1/x", Message: "of 12345678", RequestID: "0123456789abcdef0123456789abcdef"}).Error(): "broker answered 422 (42210000) to POST /v1/x: of *** [request 0123456789abcdef0123456789abcdef]",
		"answered 422 (12345678) [request 440011229988]": "answered 422 (***) [request ***]",
	} {
		if got := Redact(in); got != want {
			t.Errorf("Redact(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestUnavailable(t *testing.T) {
	t.Parallel()
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	expired, done := context.WithTimeout(context.Background(), -time.Second)
	defer done()
	for _, row := range []struct {
		name string
		err  error
		want bool
	}{
		{"500", &Error{Status: 500}, true},
		{"503, wrapped", fmt.Errorf("read: %w", &Error{Status: 503}), true},
		{"429", &Error{Status: 429}, true},
		{"400", &Error{Status: 400}, false},
		{"401", &Error{Status: 401}, false},
		{"403", &Error{Status: 403}, false},
		{"404", &Error{Status: 404}, false},
		{"422", &Error{Status: 422}, false},
		{"301", &Error{Status: 301}, false},
		{"refused", &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, true},
		{"reset", fmt.Errorf("read: %w", syscall.ECONNRESET), true},
		{"DNS", &url.Error{Op: "Get", Err: &net.DNSError{Err: "no such host"}}, true},
		{"unexpected EOF", io.ErrUnexpectedEOF, true},
		{"deadline", context.DeadlineExceeded, true},
		{"canceled", context.Canceled, false},
		{"canceled by the caller", newConnError(canceled, "GET", "/", context.Canceled), false},
		{"timed out for the caller", newConnError(expired, "GET", "/", context.DeadlineExceeded), true},
		{"EOF instead of an answer", newConnError(context.Background(), "GET", "/", io.EOF), true},
		{"unreadable", &AnswerError{Cause: io.ErrUnexpectedEOF}, false},
		{"something else", errors.New("no"), false},
		{"nothing", nil, false},
	} {
		if got := Unavailable(row.err); got != row.want {
			t.Errorf("%s: %v", row.name, got)
		}
	}
	if !NotFound(&Error{Status: 404}) || NotFound(&Error{Status: 410}) || NotFound(nil) {
		t.Error("NotFound")
	}
	if !Unauthorized(&Error{Status: 401, Method: "POST"}) || !Unauthorized(&Error{Status: 403, Method: "GET"}) || Unauthorized(&Error{Status: 403, Method: "POST"}) {
		t.Error("Unauthorized")
	}
}
