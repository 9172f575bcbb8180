package server_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"github.com/sirupsen/logrus"

	"closeout/alpaca"
	"closeout/alpaca/sim"
	"closeout/calendar"
	"closeout/closure"
	"closeout/ledger"
	"closeout/readiness"
	"closeout/server"
	"closeout/tasks"
)

const secret = "0123456789-test-secret"

// bench is a server with a real ledger, the real readiness check and a simulated broker.
type bench struct {
	tb      testing.TB
	handler http.Handler
	ledger  *ledger.Ledger
	path    string
	sim     *sim.Sim
	log     *safeBuffer

	options   server.Options
	readiness server.Readiness

	work func() // has the batches carried out; nil but for a bench that is working

	mu        sync.Mutex
	scheduled []closure.Closure
	queueErr  error
	health    map[string]error
}

type safeBuffer struct {
	mu sync.Mutex
	bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.String()
}

func newBench(tb testing.TB, change ...func(*server.Options)) *bench {
	tb.Helper()
	ctx := context.Background()
	b := &bench{tb: tb, path: filepath.Join(tb.TempDir(), "ledger.db"), log: &safeBuffer{}}
	policy := closure.DefaultPolicy(closure.Sandbox)
	var err error
	b.ledger, err = ledger.Open(ctx, ledger.Options{URL: "sqlite:" + b.path, Environment: closure.Sandbox, Policy: policy})
	must(tb, err)
	tb.Cleanup(func() { _ = b.ledger.Close() })
	b.sim, err = sim.Open(sim.Options{Key: "key", Secret: "secret"})
	must(tb, err)
	tb.Cleanup(func() { _ = b.sim.Close() })
	client, err := alpaca.New(alpaca.Options{BaseURL: "http://broker.test", Key: "key", Secret: "secret", Transport: b.sim.Transport()})
	must(tb, err)
	keys, err := server.ParseKeys("shop=" + secret + ",other=other-" + secret)
	must(tb, err)
	log := logrus.New()
	log.SetOutput(b.log)
	log.SetFormatter(&logrus.JSONFormatter{})
	log.SetLevel(logrus.DebugLevel)
	o := server.Options{
		Ledger: b.ledger, Readiness: &readiness.Checker{Broker: client, Calendar: calendar.Rules, Policy: policy},
		Schedule: func(_ context.Context, c closure.Closure) error {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.scheduled = append(b.scheduled, c)
			return b.queueErr
		},
		Keys: keys, Policy: policy, Log: log, Version: "test",
		Beside: func(context.Context) map[string]error { return b.health },
		Queues: func(context.Context) ([]tasks.Size, error) {
			return []tasks.Size{
				{Name: "account_closure_urgent", Weight: 6},
				{Name: "account_closure", Weight: 3, Pending: 2, Active: 20, Scheduled: 1840, Latency: 1500 * time.Millisecond},
				{Name: "account_closure_bulk", Weight: 1, Scheduled: 9120, Archived: 1},
			}, nil
		},
	}
	for _, f := range change {
		f(&o)
	}
	b.options, b.readiness = o, o.Readiness
	b.handler, err = server.New(o)
	must(tb, err)
	return b
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// account makes one with an approved bank, and gives the ids of both.
func (b *bench) account(spec sim.Spec) (id, bank string) {
	b.tb.Helper()
	if spec.Cash.IsZero() {
		spec.Cash = decimal.RequireFromString("1234.56")
	}
	id, err := b.sim.AddAccount(spec)
	must(b.tb, err)
	truth, err := b.sim.Truth(id)
	must(b.tb, err)
	if len(truth.ACHRelationships) > 0 {
		bank = truth.ACHRelationships[0].ID
	}
	return id, bank
}

// answer is what came back.
type answer struct {
	tb     testing.TB
	status int
	header http.Header
	text   string
}

func (b *bench) do(method, path, body string, header ...string) answer {
	b.tb.Helper()
	return b.with(context.Background(), method, path, body, header...)
}

func (b *bench) with(ctx context.Context, method, path, body string, header ...string) answer {
	b.tb.Helper()
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req := httptest.NewRequestWithContext(ctx, method, path, r)
	req.Header.Set("X-API-Key", secret)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Del(header[i])
		if header[i+1] != "" {
			req.Header.Set(header[i], header[i+1])
		}
	}
	w := httptest.NewRecorder()
	b.handler.ServeHTTP(w, req)
	b.foreseen(ctx, method, req.URL.Path, w.Code)
	return answer{b.tb, w.Code, w.Header(), w.Body.String()}
}

// foreseeing is the description once more, for foreseen alone.
var foreseeing struct {
	sync.Once
	described
}

// foreseen asserts that the description has this status at the operation, so that every test of a refusal is one of the
// description too.
func (b *bench) foreseen(ctx context.Context, method, path string, status int) {
	b.tb.Helper()
	foreseeing.Do(func() {
		w := httptest.NewRecorder()
		b.handler.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/openapi.json", nil))
		must(b.tb, json.Unmarshal(w.Body.Bytes(), &foreseeing.described))
	})
	for template, operations := range foreseeing.Paths {
		op, ok := operations[strings.ToLower(method)]
		if !ok || !fits(template, path) {
			continue
		}
		_, here := op.Responses[strconv.Itoa(status)]
		_, any := op.Responses["default"]
		if !here && !any {
			b.tb.Errorf("%s %s answers %d, which its description lacks", method, template, status)
		}
	}
}

// fits says whether a path is one of a template's, such as /batch/{id}.
func fits(template, path string) bool {
	want, have := strings.Split(template, "/"), strings.Split(path, "/")
	return slices.EqualFunc(want, have, func(w, h string) bool { return w == h || strings.HasPrefix(w, "{") && h != "" })
}

func (a answer) into(v any) {
	a.tb.Helper()
	if err := json.Unmarshal([]byte(a.text), v); err != nil {
		a.tb.Fatalf("%d %s: %v", a.status, a.text, err)
	}
}

// problem asserts that the answer is a well-formed problem of this status and code.
func (a answer) problem(status int, code string) server.Problem {
	a.tb.Helper()
	if a.status != status || a.header.Get("Content-Type") != "application/problem+json" {
		a.tb.Fatalf("answered %d %s %s, want a problem with %d %s", a.status, a.header.Get("Content-Type"), a.text, status, code)
	}
	var p server.Problem
	a.into(&p)
	if p.Code != code || p.Status != status || p.Title == "" || p.Type != "urn:closeout:problem:"+code || p.RequestID == "" || p.RequestID != a.header.Get("X-Request-ID") {
		a.tb.Fatalf("the problem is %s, want the code %s", a.text, code)
	}
	if p.Detail == "" || p.Hint == "" {
		a.tb.Errorf("the problem does not say what is wrong and what to do next: %s", a.text)
	}
	if p.Retryable != (a.header.Get("Retry-After") != "") {
		a.tb.Errorf("retryable is %v and Retry-After %q", p.Retryable, a.header.Get("Retry-After"))
	}
	return p
}

func wish(bank string, more ...string) string {
	return `{"ach_relationship_id":"` + bank + `","confirm_liquidation":true,"confirm_irreversible":true` + strings.Join(more, "") + `}`
}

func (b *bench) initiate(account, body string) answer {
	b.tb.Helper()
	return b.do("POST", "/api/account-closure/initiate/"+account, body)
}

// rows counts the closures in the ledger's file.
func (b *bench) rows() int {
	b.tb.Helper()
	db, err := sql.Open("sqlite", b.path)
	must(b.tb, err)
	defer func() { _ = db.Close() }()
	var n int
	must(b.tb, db.QueryRow("SELECT count(*) FROM closures").Scan(&n))
	return n
}

// untouched asserts that nothing was promised and nothing was asked of the broker.
func (b *bench) untouched(account string) {
	b.tb.Helper()
	if n := b.rows(); n != 0 {
		b.tb.Errorf("%d closures were written", n)
	}
	if len(b.scheduled) != 0 {
		b.tb.Errorf("%d visits were scheduled", len(b.scheduled))
	}
	entries, err := b.sim.Journal(account)
	must(b.tb, err)
	for _, e := range entries {
		if e.Actor == "api" {
			b.tb.Errorf("the broker was asked for %s", e.Kind)
		}
	}
}

// accepted initiates and gives the closure.
func (b *bench) accepted(account, bank string, more ...string) closure.Closure {
	b.tb.Helper()
	if a := b.initiate(account, wish(bank, more...)); a.status != http.StatusAccepted {
		b.tb.Fatalf("answered %d %s, want 202", a.status, a.text)
	}
	c, err := b.ledger.OfAccount(context.Background(), account)
	must(b.tb, err)
	return c
}

// look ends a visit of the closure with an outcome.
func (b *bench) look(c closure.Closure, o closure.Outcome) closure.Closure {
	b.tb.Helper()
	next, err := b.ledger.Save(context.Background(), c, closure.Looked(time.Now(), o, closure.Look{}, nil), nil)
	must(b.tb, err)
	return next
}

var errDown = errors.New("dial tcp 10.0.0.7:6379: connection refused")
