package server_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"closeout/alpaca/sim"
	"closeout/server"
)

// What the tests of every route read from the description, so that a new route is tested without being named here.
type (
	described struct {
		Paths      map[string]map[string]operation
		Components struct{ Schemas map[string]schema }
	}
	operation struct {
		OperationID string                `json:"operationId"`
		Security    []map[string][]string `json:"security"`
		RequestBody struct {
			Content map[string]struct{ Schema schema }
		} `json:"requestBody"`
		Parameters []struct {
			Name string
			Doc  string `json:"description"`
		}
		Responses map[string]struct {
			Content map[string]json.RawMessage
		}
	}
	schema struct {
		Ref        string `json:"$ref"`
		AnyOf      []any  `json:"anyOf"`
		Doc        string `json:"description"`
		Type       any
		Format     string
		Enum       []any
		MinLength  int `json:"minLength"`
		Minimum    *float64
		Items      *schema
		Properties map[string]schema
	}
	route struct {
		operation
		method, path string
		body         string // one that the description allows, made up
	}
)

func (r route) open() bool    { return len(r.Security) == 1 && len(r.Security[0]) == 0 }
func (r route) stream() bool  { return r.Responses["200"].Content["text/event-stream"] != nil }
func (r route) scope() string { return r.Security[0]["key"][0] }

// at is the route's address with these in the place of its parameters, {job_id} aside.
func (r route) at(id, job string) string {
	path := strings.ReplaceAll(r.path, "{job_id}", job)
	for {
		before, rest, found := strings.Cut(path, "{")
		if !found {
			return path
		}
		_, after, _ := strings.Cut(rest, "}")
		path = before + id + after
	}
}

// routes are all that are described. Bodies are made up with an account and its bank.
func (b *bench) routes(account, bank string) []route {
	b.tb.Helper()
	var d described
	b.do("GET", "/openapi.json", "", "X-API-Key", "").into(&d)
	var make func(name string, s schema, depth int) any
	make = func(name string, s schema, depth int) any {
		if s.Ref != "" {
			s = d.Components.Schemas[s.Ref[strings.LastIndex(s.Ref, "/")+1:]]
		}
		if len(s.Enum) > 0 {
			return s.Enum[0]
		}
		switch kind := fmt.Sprint(s.Type); {
		case strings.Contains(kind, "object"):
			out := map[string]any{}
			for name, p := range s.Properties {
				if depth < 5 {
					out[name] = make(name, p, depth+1)
				}
			}
			return out
		case strings.Contains(kind, "array"):
			return []any{make(name, *s.Items, depth+1)}
		case strings.Contains(kind, "boolean"):
			return true
		case strings.Contains(kind, "integer"), strings.Contains(kind, "number"):
			if s.Minimum != nil {
				return *s.Minimum
			}
			return 1
		case strings.Contains(name, "relationship"):
			return bank
		case s.Format == "uuid" || strings.Contains(name, "account"):
			return account
		case s.Format == "date-time":
			return "2026-01-02T15:04:05Z"
		case s.Format == "email":
			return "jo@example.com"
		}
		return "x" + strings.Repeat("x", max(s.MinLength-1, 0))
	}
	var all []route
	for _, path := range slices.Sorted(maps.Keys(d.Paths)) {
		for _, method := range slices.Sorted(maps.Keys(d.Paths[path])) {
			r := route{operation: d.Paths[path][method], method: strings.ToUpper(method), path: path}
			if c, ok := r.RequestBody.Content["application/json"]; ok {
				body, err := json.Marshal(make("", c.Schema, 0))
				must(b.tb, err)
				r.body = string(body)
			}
			all = append(all, r)
		}
	}
	if len(all) < 6 {
		b.tb.Fatalf("only %d routes are described", len(all))
	}
	return all
}

// serve answers a request, for a stream only what comes at once. A handler that does not end is a failure.
func (b *bench) serve(r *http.Request, stream bool) *httptest.ResponseRecorder {
	b.tb.Helper()
	patience := 30 * time.Second
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	w := &answering{ResponseRecorder: httptest.NewRecorder(), begun: make(chan struct{})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.handler.ServeHTTP(w, r.WithContext(ctx))
	}()
	if stream {
		select {
		case <-done:
		case <-w.begun:
			time.AfterFunc(20*time.Millisecond, cancel) // then the client hangs up
		}
	}
	over := time.NewTimer(time.Minute)
	defer over.Stop()
	select {
	case <-done:
	case <-over.C:
		b.tb.Fatalf("%s %q hangs", r.Method, r.URL)
	}
	return w.ResponseRecorder
}

// answering is a recorder that tells when an answer has begun: a client that hung up earlier, on a busy machine, would be told
// that the ledger does not answer.
type answering struct {
	*httptest.ResponseRecorder
	once  sync.Once
	begun chan struct{}
}

func (a *answering) Flush() {
	a.ResponseRecorder.Flush()
	a.once.Do(func() { close(a.begun) })
}

// digest is all that a refused request must leave as it is: how many rows each table has, how far each closure has come,
// and what the broker was asked for. What belongs to the keys themselves is left out.
func (b *bench) digest(db *sql.DB) string {
	b.tb.Helper()
	var list string
	must(b.tb, db.QueryRowContext(context.Background(), "SELECT group_concat(name, ' ') FROM (SELECT name FROM sqlite_master"+
		" WHERE type = 'table' AND name NOT IN ('api_keys', 'idempotency_keys') ORDER BY name)").Scan(&list))
	tables := strings.Fields(list)
	var out strings.Builder
	for _, name := range tables {
		var n int
		must(b.tb, db.QueryRowContext(context.Background(), "SELECT count(*) FROM "+name).Scan(&n))
		fmt.Fprintf(&out, "%s %d, ", name, n)
	}
	var moved sql.NullString
	must(b.tb, db.QueryRowContext(context.Background(), "SELECT group_concat(id || '/' || version || '/' || seq || '/' || state) FROM closures").Scan(&moved))
	entries, err := b.sim.Journal("")
	must(b.tb, err)
	fmt.Fprintf(&out, "%s, %d at the broker", moved.String, len(entries))
	return out.String()
}

// beside is a way into the ledger's file.
func (b *bench) beside() *sql.DB {
	b.tb.Helper()
	db, err := sql.Open("sqlite", "file:"+b.path+"?_pragma=busy_timeout(5000)&_time_format=sqlite")
	must(b.tb, err)
	b.tb.Cleanup(func() { _ = db.Close() })
	return db
}

// TestEveryRouteIsGuarded: whatever is described under /api refuses, in this order, who has no key, a wrong or a revoked one,
// one without the scope that the description names, and a body of 10 MB; and nothing is changed.
func TestEveryRouteIsGuarded(t *testing.T) {
	b := newBench(t)
	id, bank := b.account(sim.Spec{})
	revoked, none := b.key("gone", server.ScopeOperate), b.key("none")
	must(t, b.ledger.RevokeKey(t.Context(), "gone"))
	keys := map[string]string{}
	for n, s := range server.Scopes {
		keys[string(s)] = b.key(fmt.Sprintf("scope-%d", n), s)
	}
	db := b.beside()
	before := b.digest(db)
	for _, r := range b.routes(id, bank) {
		path := r.at(id, id)
		if r.open() {
			if strings.HasPrefix(r.path, "/api") {
				t.Errorf("%s %s is open to all", r.method, r.path)
			}
			continue
		}
		b.do(r.method, path, r.body, "X-API-Key", "").problem(401, "no_key")
		b.do(r.method, path, r.body, "X-API-Key", secret+"x").problem(401, "wrong_key")
		b.do(r.method, path, r.body, "X-API-Key", revoked).problem(401, "key_revoked")
		if p := b.do(r.method, path, r.body, "X-API-Key", none).problem(403, "scope_missing"); !strings.Contains(p.Detail, r.scope()) {
			t.Errorf("%s %s: %s", r.method, r.path, p.Detail)
		}
		for _, s := range server.Scopes {
			if string(s) != r.scope() && s != server.ScopeOperate {
				b.do(r.method, path, r.body, "X-API-Key", keys[string(s)]).problem(403, "scope_missing")
			}
		}
		large := b.do(r.method, path, strings.Repeat(" ", 10<<20), "X-API-Key", keys[r.scope()])
		large.problem(413, "body_too_large")
		if large.header.Get("Connection") != "close" {
			t.Errorf("%s %s wants all of a body that is too large", r.method, r.path)
		}
	}
	if after := b.digest(db); after != before {
		t.Errorf("it was %s, it is %s", before, after)
	}
}

// TestEveryFieldIsExplained: what a field is, and in what unit, stands in the description. An object explains itself by its
// fields; the shapes of the earlier system mean what they meant there.
func TestEveryFieldIsExplained(t *testing.T) {
	b := newBench(t)
	var d described
	b.do("GET", "/openapi.json", "", "X-API-Key", "").into(&d)
	for name, s := range d.Components.Schemas {
		for field, p := range s.Properties {
			if p.Doc == "" && p.Ref == "" && len(p.AnyOf) == 0 && !strings.HasPrefix(name, "Earlier") {
				t.Errorf("%s.%s has no doc", name, field)
			}
		}
	}
	for path, operations := range d.Paths {
		for method, op := range operations {
			for _, p := range op.Parameters {
				if p.Doc == "" {
					t.Errorf("%s %s: the parameter %s has no doc", method, path, p.Name)
				}
			}
		}
	}
}
