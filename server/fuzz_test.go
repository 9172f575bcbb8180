package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"closeout/alpaca/sim"
	"closeout/server"
)

// hangsUp is a client that goes away as soon as something is flushed to it: a stream would never end.
type hangsUp struct {
	*httptest.ResponseRecorder
	cancel context.CancelFunc
}

// Flush implements http.Flusher.
func (h hangsUp) Flush() { h.cancel() }

// FuzzRoutes: whatever the method, address and headers, the answer is no 5xx, each refusal is a problem, nothing but
// initiate changes anything, and nobody without a key gets anything under /api.
func FuzzRoutes(f *testing.F) {
	b := newBench(f)
	id, bank := b.account(sim.Spec{})
	c := b.accepted(id, bank)
	for _, path := range []string{
		"/api/account-closure/progress/" + id, "/api/account-closure/progress/" + strings.ToUpper(id), "/api/job-status/" + c.ID,
		"/api/account-closure/check-readiness/" + id, "/api/account-closure/check-readiness/99999999-2222-4333-8444-555555555555",
		"/api/account-closure/events", "/api/account-closure/events/" + id + "?after=0", "/api/account-closure/events?after=" + c.ID + ".1.00000000",
		"/api/account-closure/initiate/" + id, "/api/job-status/%00", "/api/job-status/urn:uuid:0d18ae51-3c94-4511-b209-10", "/api/job-status/%7b" + c.ID[:34] + "%7D",
		"/api/job-status/" + c.ID + "/", "/api//job-status/" + c.ID, "/api/../health", "/%61pi/job-status/" + c.ID, "/API/job-status/" + c.ID, "/health", "/ready", "/openapi.json", "/openapi.yaml", "/monitoring",
		"/?a=%zz;b", "/api/account-closure/progress/0d18ae51-3c94-4511-b209-101e1666416\u212a", "*", "/schemas/Job.json", "/docs",
	} {
		f.Add("GET", path, secret, "application/json", "")
		f.Add("POST", path, "", "text/html, */*;q=0", "http://evil.example")
	}
	f.Add("HEAD", "/health", "Bearer x", "application/cbor", "null")
	f.Add("CONNECT", "/api", secret+secret, ";;;", "\x00")
	entries := func(tb testing.TB) int {
		tb.Helper()
		all, err := b.sim.Journal("")
		must(tb, err)
		return len(all)
	}
	before := entries(f)
	f.Fuzz(func(t *testing.T, method, path, key, accept, origin string) {
		u, err := url.ParseRequestURI(path)
		if err != nil {
			return
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.Method, r.URL, r.RequestURI = method, u, path
		r.Header = http.Header{"X-Api-Key": {key}, "Accept": {accept}, "Accept-Encoding": {accept}, "Origin": {origin}, "X-Request-Id": {key + origin}, "Content-Type": {accept}}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		w := hangsUp{httptest.NewRecorder(), cancel}
		b.handler.ServeHTTP(w, r.WithContext(ctx))
		if w.Code >= 500 {
			t.Fatalf("%s %q: %d %s", method, path, w.Code, w.Body)
		}
		if w.Code >= 400 {
			var p server.Problem
			if w.Header().Get("Content-Type") != "application/problem+json" || method != "HEAD" && (json.Unmarshal(w.Body.Bytes(), &p) != nil || p.Code == "" || p.Status != w.Code) {
				t.Fatalf("%s %q: %d %s %s", method, path, w.Code, w.Header().Get("Content-Type"), w.Body)
			}
		}
		if strings.HasPrefix(u.Path, "/api") && w.Code < 400 && key != secret && key != "other-"+secret {
			t.Fatalf("%s %q without a key: %d %s", method, path, w.Code, w.Body)
		}
		if len(w.Header().Get("X-Request-ID")) > 64 || strings.ContainsAny(w.Header().Get("X-Request-ID"), "\r\n <>\"") {
			t.Errorf("request id %q", w.Header().Get("X-Request-ID"))
		}
		b.tb = t
		if now, err := b.ledger.Get(t.Context(), c.ID); err != nil || now.Version != c.Version || now.Seq != c.Seq {
			t.Fatalf("%s %q changed the closure", method, path)
		}
		if b.rows() != 1 || entries(t) != before {
			t.Fatalf("%s %q wrote something", method, path)
		}
	})
}

// FuzzAPI: each route of the description, and what is near it, with any method, id, query, body and headers. No answer is a
// 5xx, each ends, each refusal is a problem that has changed nothing, and the same Idempotency-Key is the same answer.
func FuzzAPI(f *testing.F) {
	b := newBench(f)
	id, bank := b.account(sim.Spec{})
	c := b.accepted(id, bank)
	other, bank2 := b.account(sim.Spec{})
	keys := []string{secret, b.key("reader", server.ScopeRead), b.key("writer", server.ScopeWrite), "co_sandbox_unknown", ""}
	routes := b.routes(other, bank2)
	for n, r := range routes {
		for _, id := range []string{id, other, strings.ToUpper(id), c.ID, "42", "99999999-2222-4333-8444-555555555555", "%00", "..", ""} {
			f.Add(uint8(n), r.method, id, "", r.body, "", "application/json", uint8(0))
		}
		f.Add(uint8(n), r.method, id, "limit=-1&cursor=%ff&status=x&after=9999999999999999999", r.body, "k"+r.OperationID, "text/html", uint8(0))
		f.Add(uint8(n), r.method, id, "%zz", "{", "two words", "", uint8(1))
		f.Add(uint8(n), "POST", id, "", "[]", "k", "application/json", uint8(2))
		f.Add(uint8(n), "DELETE", id, "", "null", "k", "*/*", uint8(3))
		f.Add(uint8(n), "HEAD", id, "", "", "", "\x00", uint8(4))
		f.Add(uint8(n), r.method, id, "", strings.ReplaceAll(r.body, "true", "false"), strings.Repeat("k", 300), "application/json", uint8(0))
		f.Add(uint8(n), r.method, id, "", strings.ReplaceAll(r.body, ":", ":[")+"]", "k2", "application/cbor", uint8(0))
	}
	db := b.beside()
	before := b.digest(db)
	f.Fuzz(func(t *testing.T, n uint8, method, id, query, body, once, accept string, key uint8) {
		b.tb = t
		r := routes[int(n)%len(routes)]
		path := r.at(id, id)
		u, err := url.ParseRequestURI(path)
		if err != nil || !strings.HasPrefix(path, "/") {
			return
		}
		u.RawQuery = query
		presented := keys[int(key)%len(keys)]
		ask := func() *httptest.ResponseRecorder {
			req := httptest.NewRequest("GET", "/", strings.NewReader(body))
			req.Method, req.URL, req.RequestURI = method, u, path
			req.Header = http.Header{"X-Api-Key": {presented}, "Accept": {accept}, "Content-Type": {accept}, "Last-Event-Id": {once}}
			if once != "" {
				req.Header["Idempotency-Key"] = []string{once}
			}
			return b.serve(req, r.stream())
		}
		w := ask()
		told := fmt.Sprintf("%s %q, key %d, Idempotency-Key %q, body %q: %d %s", method, u, int(key)%len(keys), once, body, w.Code, w.Body)
		if w.Code >= 500 {
			t.Fatal(told)
		}
		now := b.digest(db)
		if w.Code >= 400 {
			var p server.Problem
			if w.Header().Get("Content-Type") != "application/problem+json" || method != "HEAD" && (json.Unmarshal(w.Body.Bytes(), &p) != nil || p.Code == "" || p.Status != w.Code) {
				t.Fatalf("no problem: %s", told)
			}
		}
		if (w.Code >= 400 || method == "GET" || method == "HEAD") && now != before {
			t.Fatalf("%s\nit was %s\nit is  %s", told, before, now)
		}
		if method == "POST" && w.Code < 300 && once != "" {
			if next := ask(); next.Code != w.Code || next.Body.String() != w.Body.String() || next.Header().Get("Idempotent-Replayed") != "true" || b.digest(db) != now {
				t.Fatalf("%s\nand then: %d %s", told, next.Code, next.Body)
			}
		}
		if presented == "" && w.Code < 400 && !r.open() {
			t.Fatalf("without a key: %s", told)
		}
		before = now
	})
}

// FuzzKeys: keys that are accepted can be sent in a header, have names and let no shorter secret in; a complaint shows
// nothing of a secret.
func FuzzKeys(f *testing.F) {
	for _, s := range []string{
		"backend=at-least-sixteen-characters", "a=0123456789abcdef,b=0123456789abcdeF", "a=0123456789abcdef,a=1123456789abcdef", "a=short", "=0123456789abcdef",
		"0123456789abcdef0123456789abcdef=a", "a=0123456789abcdef,", "a==0123456789abcdef", " a = 0123456789abcdef ", "a=0123456789abcdef\n", "é=0123456789abcdef", "a=0123456789abcdé\u2028f", "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		keys, err := server.ParseKeys(s)
		if err != nil {
			if len(keys.Names()) != 0 {
				t.Errorf("%q: keys %s beside %v", s, keys, err)
			}
			for field := range strings.SplitSeq(s, ",") {
				if _, secret, _ := strings.Cut(strings.TrimSpace(field), "="); len(secret) >= 8 && !strings.Contains("secret characters printable without", secret) && strings.Contains(err.Error(), secret) {
					t.Errorf("%q: the complaint shows the secret: %v", s, err)
				}
			}
			return
		}
		names := keys.Names()
		if len(names) != strings.Count(s, ",")+1 {
			t.Errorf("%q: %d keys", s, len(names))
		}
		for i, field := range strings.Split(s, ",") {
			name, secret, _ := strings.Cut(strings.TrimSpace(field), "=")
			if name != names[i] || len(secret) < 16 || strings.ContainsFunc(secret, func(r rune) bool { return r <= ' ' || r > '~' }) {
				t.Errorf("%q: accepted %q as %q", s, field, names[i])
			}
			if shown := fmt.Sprintf("%v %+v %#v", keys, keys, keys); strings.Contains(shown, secret) {
				t.Errorf("shows the secret: %s", shown)
			}
		}
	})
}
