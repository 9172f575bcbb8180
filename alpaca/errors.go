package alpaca

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"
)

// Error is the broker's refusal: an answer whose status is not a success.
type Error struct {
	Status  int
	Code    int    // Alpaca's own, such as 40310000; 0 where the answer has none
	Message string // redacted already
	// RequestID is what Alpaca's support asks for.
	RequestID string
	Method    string
	Path      string // with its UUIDs shortened
	// RateLimitReset says when the quota is renewed, by the broker's clock; zero where the answer does not say so.
	RateLimitReset time.Time
}

// Error is written for people.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "broker answered %d", e.Status)
	if e.Code != 0 {
		fmt.Fprintf(&b, " (%d)", e.Code)
	}
	fmt.Fprintf(&b, " to %s %s", e.Method, shortPath(e.Path))
	if e.Message != "" {
		b.WriteString(": " + Redact(e.Message))
	}
	if e.RequestID != "" {
		b.WriteString(" [request " + e.RequestID + "]")
	}
	return b.String()
}

// ConnError is a request that brought no whole answer.
type ConnError struct {
	Method, Path string
	Cause        error
	// Given up by the caller, not by the broker or the network.
	Canceled bool
}

// Error is written for people.
func (e *ConnError) Error() string {
	return fmt.Sprintf("no answer to %s %s: %s", e.Method, e.Path, Redact(e.Cause.Error()))
}

// Unwrap gives the cause.
func (e *ConnError) Unwrap() error { return e.Cause }

func newConnError(caller context.Context, method, path string, err error) *ConnError {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // it repeats the address, account and all
	}
	return &ConnError{Method: method, Path: shortPath(path), Cause: err, Canceled: errors.Is(caller.Err(), context.Canceled)}
}

// AnswerError is a success whose body we cannot read: the broker is there, and it or we are mistaken about the format.
type AnswerError struct {
	Method, Path, RequestID string
	Cause                   error
}

// Error is written for people.
func (e *AnswerError) Error() string {
	s := fmt.Sprintf("cannot read the answer to %s %s: %s", e.Method, e.Path, cut(Redact(e.Cause.Error()), 200)) // it may quote a value as long as the answer
	if e.RequestID != "" {
		s += " [request " + e.RequestID + "]"
	}
	return s
}

// Unwrap gives the cause.
func (e *AnswerError) Unwrap() error { return e.Cause }

func newAnswerError(resp *http.Response, method, path string, err error) *AnswerError {
	e := &AnswerError{Method: method, Path: shortPath(path), Cause: err}
	if resp != nil {
		e.RequestID = requestID(resp)
	}
	return e
}

// Unavailable says that the broker could not be asked at all just now: 5xx, 429, no whole answer, or a gate that held the
// request back. It is a reason to wait. A call that its own caller canceled is not: that says nothing of the broker.
func Unavailable(err error) bool {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Status >= 500 || e.Status == http.StatusTooManyRequests
	}
	if e, ok := errors.AsType[*ConnError](err); ok {
		return !e.Canceled
	}
	if _, ok := errors.AsType[*HeldError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*AnswerError](err); ok || errors.Is(err, context.Canceled) {
		return false
	}
	if _, ok := errors.AsType[net.Error](err); ok { // DNS, dialling and timeouts, context.DeadlineExceeded among them
		return true
	}
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// NotFound says that the broker knows no such thing.
func NotFound(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Status == http.StatusNotFound
}

// Unauthorized says that the broker does not accept our key, or not for this: 401, or 403 on a read. A 403 to a write
// is a refusal of that write.
func Unauthorized(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && (e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden && e.Method == http.MethodGet)
}

// decodeError reads {"code": number|string, "message": string}. What is no JSON is not quoted: it is no answer of the
// broker's but a page of something before it, which can hold whatever was asked for.
func decodeError(resp *http.Response, method, path string, body []byte) *Error {
	e := &Error{Status: resp.StatusCode, RequestID: requestID(resp), Method: method, Path: shortPath(path)}
	if s, err := strconv.ParseInt(resp.Header.Get("X-Ratelimit-Reset"), 10, 64); err == nil && s > 0 {
		e.RateLimitReset = time.Unix(s, 0)
	}
	var fields struct {
		Code    json.RawMessage `json:"code"`
		Message json.RawMessage `json:"message"`
	}
	var text string
	switch {
	case json.Unmarshal(body, &fields) == nil:
		e.Code, _ = strconv.Atoi(strings.Trim(string(fields.Code), `" `))
		if json.Unmarshal(fields.Message, &e.Message) != nil && string(fields.Message) != "null" {
			e.Message = string(fields.Message)
		}
	case json.Unmarshal(body, &text) == nil: // the description gives a bare string to some 403s
		e.Message = text
	default:
		e.Message = fmt.Sprintf("%d bytes that are no JSON", len(body))
	}
	e.Message = cut(Redact(e.Message), 200) // in this order: half of a number is not known for one
	return e
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

func requestID(resp *http.Response) string { return cut(resp.Header.Get("X-Request-Id"), 64) }

// requestForm is the id of a request as Alpaca gives it.
const requestForm = `[0-9a-f]{32}`

var (
	// spared is what has the form of a secret and is none: our books' names, and what Alpaca's support asks for, as Error writes it.
	spared     = regexp.MustCompile(uuids.String() + `|\banswered [45]\d\d \([45]\d{7}\)|\[request ` + requestForm + `\]`)
	requestIDs = regexp.MustCompile(`^` + requestForm + `$`)
	uuids      = regexp.MustCompile(`\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b`)
	secrets    = regexp.MustCompile(`[^\s/@"'<>]*:[^\s/@"'<>]*(?:@+[^\s@"'<>(),;:/]+)+` + // user, password and host of a URL
		`|[^\s@"'<>(),;:]+(?:@+[^\s@"'<>(),;:]+)+` + // e-mail
		`|\b\d{3}-\d{2}-\d{4}\b` + // social security number
		`|\(?\b\d{3}\)?[ .-]\d{3}[ .-]\d{4}\b` + // telephone
		`|\b\d+ (?:[A-Z][A-Za-z.']* ){1,3}(?:S(?i:t|treet)|A(?i:ve|venue)|R(?i:d|oad)|D(?i:r|rive)|L(?i:n|ane)|B(?i:lvd|oulevard)|C(?i:t|ourt)|P(?i:l|lace)|T(?i:er|errace)|W(?i:ay))\b` + // street
		`|[A-Za-z0-9_+=-]{24,}` + // tokens
		`|\d{7,}`) // bank and account numbers
)

// leastToken is the length of the shortest of secrets that has neither a digit nor an @.
const leastToken = 24

// Redact masks what must not be logged or stored: e-mail addresses, the users and passwords of URLs, runs of seven and more
// digits, social security and telephone numbers, streets with their number, and long tokens. UUIDs stay, which are names
// within our own books, and of an Error the broker's code and the request's id. A person's name has no form of its own and is
// not recognized.
func Redact(s string) string {
	if len(s) < leastToken && !strings.ContainsAny(s, "@0123456789") { // as most that is logged; to look through it costs more than to write it
		return s
	}
	for { // what is masked can leave an address beside it
		masked := mask(s)
		if masked == s {
			return s
		}
		s = masked
	}
}

func mask(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		at := spared.FindStringIndex(s)
		if at == nil {
			at = []int{len(s), len(s)}
		}
		b.WriteString(secrets.ReplaceAllString(s[:at[0]], "***"))
		b.WriteString(s[at[0]:at[1]])
		s = s[at[1]:]
	}
	return b.String()
}

// shownID is a request's id as others may see it.
func shownID(resp *http.Response) string {
	id := requestID(resp)
	if requestIDs.MatchString(id) {
		return id
	}
	return Redact(id)
}

// shortPath keeps of each UUID its last six digits, which is enough to recognize an account and too little to use it.
func shortPath(path string) string {
	path, _, _ = strings.Cut(path, "?")
	return uuids.ReplaceAllStringFunc(path, func(id string) string { return "…" + id[len(id)-6:] })
}
