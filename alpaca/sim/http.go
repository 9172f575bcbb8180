package sim

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	brokerBody   = 1 << 20
	controlBody  = 64 << 20
	jsonMimeType = "application/json; charset=utf-8"
)

// request is one call, however it came.
type request struct {
	method string
	path   string   // unescaped
	parts  []string // of the path, each unescaped
	query  url.Values
	header http.Header
	body   []byte
}

// response is one answer; body is encoded as JSON unless it is nil.
type response struct {
	status int
	body   any
	reset  time.Time
}

// errCut says that the connection breaks without an answer.
var errCut = errors.New("sim: connection cut")

// ServeHTTP answers over a socket. A fault that gives no answer aborts the connection.
func (s *Sim) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.serveStream(w, r) {
		return
	}
	limit := int64(brokerBody)
	if strings.HasPrefix(r.URL.Path, "/sim/") {
		limit = controlBody
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err != nil {
		body = nil // the request is refused as malformed
	}
	status, header, answer, err := s.answer(r.Context(), r, body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	for k, v := range header {
		w.Header()[k] = v
	}
	w.WriteHeader(status)
	_, _ = w.Write(answer)
}

// serve writes an answer.
func (s *Sim) serve(w http.ResponseWriter, resp response) {
	for k, v := range s.headers(resp) {
		w.Header()[k] = v
	}
	body, err := json.Marshal(resp.body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", jsonMimeType)
	w.WriteHeader(resp.status)
	_, _ = w.Write(body)
}

// Transport answers in this process: no socket, and no goroutine of its own but for an event stream.
func (s *Sim) Transport() http.RoundTripper { return transport{s} }

type transport struct{ s *Sim }

// RoundTrip answers the request, or fails as a network would.
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		read, err := io.ReadAll(io.LimitReader(r.Body, controlBody))
		if err := errors.Join(err, r.Body.Close()); err != nil {
			return nil, err
		}
		body = read
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	if resp, err := t.s.pipeStream(r); resp != nil || err != nil {
		return resp, err
	}
	status, header, answer, err := t.s.answer(r.Context(), r, body)
	if err != nil {
		return nil, err
	}
	header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	return &http.Response{
		Status: strconv.Itoa(status) + " " + http.StatusText(status), StatusCode: status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, Body: io.NopCloser(bytes.NewReader(answer)), ContentLength: int64(len(answer)), Request: r,
	}, nil
}

func (s *Sim) answer(ctx context.Context, r *http.Request, body []byte) (int, http.Header, []byte, error) {
	q := &request{method: r.Method, path: r.URL.Path, query: r.URL.Query(), header: r.Header, body: body}
	for part := range strings.SplitSeq(strings.Trim(r.URL.EscapedPath(), "/"), "/") {
		if u, err := url.PathUnescape(part); err == nil {
			part = u
		}
		q.parts = append(q.parts, part)
	}
	var resp response
	if q.parts[0] == "sim" {
		resp = s.control(q)
	} else {
		var err error
		if resp, err = s.faulty(ctx, q); err != nil {
			return 0, nil, nil, err
		}
	}
	header := s.headers(resp)
	if resp.body == nil {
		return resp.status, header, nil, nil
	}
	encoded, err := json.Marshal(resp.body)
	if err != nil {
		return 0, nil, nil, fmt.Errorf("encode the answer: %w", err)
	}
	header.Set("Content-Type", jsonMimeType)
	return resp.status, header, encoded, nil
}

func (s *Sim) headers(resp response) http.Header {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
	header := s.quota.headers(s.o.CallsPerMinute, resp.reset)
	header.Set("X-Request-ID", strings.ReplaceAll(uuid(s.o.Seed, " request ", s.requests), "-", ""))
	return header
}

// faulty answers a request to the broker, with the fault that the rules have for it.
func (s *Sim) faulty(ctx context.Context, q *request) (response, error) {
	if !s.count() {
		return failure(errThrottled), nil
	}
	if !s.authorized(q) {
		return failure(errNoAuth), nil
	}
	s.mu.Lock()
	rule := s.chaos.fault(q.method, q.path, callFaults)
	s.mu.Unlock()
	if rule.Fault != "" && s.o.Log != nil {
		s.o.Log.WithField("fault", rule.Fault).WithField("method", q.method).Debug("chaos")
	}
	switch rule.Fault {
	case FaultError, FaultThrottle:
		return rule.answer(), nil
	case FaultDrop:
		return response{}, errCut
	case FaultSlow:
		if err := sleep(ctx, rule.delay(time.Second)); err != nil {
			return response{}, err
		}
	}
	resp := s.broker(q, rule.hides())
	switch rule.Fault {
	case FaultErrorAfter:
		return rule.answer(), nil
	case FaultTimeoutAfter:
		if err := sleep(ctx, rule.delay(0)); err != nil {
			return response{}, err
		}
		return response{}, errCut
	}
	return resp, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Sim) authorized(q *request) bool {
	if s.o.Key == "" && s.o.Secret == "" {
		return true
	}
	key, secret, ok := (&http.Request{Header: q.header}).BasicAuth()
	same := subtle.ConstantTimeCompare([]byte(key), []byte(s.o.Key)) & subtle.ConstantTimeCompare([]byte(secret), []byte(s.o.Secret))
	return ok && same == 1
}

// failure turns any error into an answer with the broker's error body.
func failure(err error) response {
	var r *refusal
	if !errors.As(err, &r) {
		r = &refusal{status: http.StatusInternalServerError, code: 50010000, message: err.Error()}
	}
	body := map[string]any{"code": r.code, "message": r.message}
	for k, v := range r.extra {
		body[k] = v
	}
	return response{status: r.status, body: body}
}

func ok(body any) response { return response{status: http.StatusOK, body: body} }

var noContent = response{status: http.StatusNoContent}

func (q *request) decode(into any) error {
	if err := json.Unmarshal(q.body, into); err != nil {
		return malformed("request body format is invalid")
	}
	return nil
}
