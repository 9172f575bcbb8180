package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shopspring/decimal"
	"github.com/sirupsen/logrus"
	"go.opentelemetry.io/otel/attribute"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"closeout/alpaca/sim"
	"closeout/calendar"
	"closeout/closure"
	"closeout/internal/lab"
	"closeout/readiness"
	"closeout/server"
)

// followed is a lab with a server before it, whose spans are kept.
type followed struct {
	*lab.Lab
	server http.Handler
	spans  *tracetest.SpanRecorder // nil: nothing is traced
	log    *bytes.Buffer
	key    string
	id     string // of the closure
}

// followTraces makes one inside a bubble. Close it before the bubble ends.
func followTraces(t *testing.T, traced bool) *followed {
	t.Helper()
	f := &followed{log: new(bytes.Buffer), key: "tr4ce-key-of-the-client-0123456789abcdef"}
	var tracer trace.Tracer
	if traced {
		f.spans = tracetest.NewSpanRecorder()
		tracer = sdk.NewTracerProvider(sdk.WithSpanProcessor(f.spans), sdk.WithoutPanicRecording()).Tracer("test")
	}
	f.Lab = lab.New(t, lab.Options{Tracer: tracer})
	f.Log.SetLevel(logrus.InfoLevel)
	f.Log.SetOutput(f.log)
	f.Log.SetFormatter(&logrus.JSONFormatter{})
	f.Log.AddHook(redaction{})
	f.Log.AddHook(traceIDs{})
	keys, err := server.ParseKeys("client=" + f.key)
	if err != nil {
		t.Fatal(err)
	}
	f.server, err = server.New(server.Options{
		Ledger: f.Ledger, Schedule: f.Schedule, Keys: keys, Policy: f.Policy, Log: f.Log, Tracer: tracer,
		Readiness: &readiness.Checker{Broker: f.Broker, Calendar: calendar.Rules, Policy: f.Policy},
	})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// ask makes a request of the API.
func (f *followed) ask(method, path, traceparent, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("X-API-Key", f.key)
	r.Header.Set("Content-Type", "application/json")
	if traceparent != "" {
		r.Header.Set("Traceparent", traceparent)
	}
	w := httptest.NewRecorder()
	f.server.ServeHTTP(w, r)
	return w
}

// initiate asks for the closing of a new account with everything planted that must not be found, and says what that is.
func (f *followed) initiate(traceparent string) (secrets []string) {
	t := f.TB
	t.Helper()
	account, err := f.Sim.AddAccount(sim.Spec{
		Cash: decimal.RequireFromString("4321.09"), GivenName: "Quintessa", FamilyName: "Vandermolen", Email: "quintessa@planted.example",
		Positions: []sim.PositionSpec{{Symbol: "ZTS", Qty: decimal.NewFromInt(7), Price: decimal.RequireFromString("163.57")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	banks, err := f.Broker.Relationships(t.Context(), account)
	if err != nil {
		t.Fatal(err)
	}
	secrets = append(f.planted("/v1/accounts/"+account), f.planted("/v1/accounts/"+account+"/ach_relationships")...)
	w := f.ask("POST", "/api/account-closure/initiate/"+account+"?note=planted-in-the-address", traceparent, fmt.Sprintf(`{"ach_relationship_id":%q,"confirm_liquidation":true,
		"confirm_irreversible":true,"user_id":"planted-user","email":"planted@mail.example","reason":"planted reason"}`, banks[0].ID))
	var job struct {
		ID string `json:"job_id"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &job); err != nil || w.Code != http.StatusAccepted {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	f.id = job.ID
	return append(secrets, account, banks[0].ID, f.key, "a2V5OnNlY3JldA", "planted", "Quintessa", "Vandermolen", "4321.09", "163.57", "ZTS")
}

// planted are the personal data that the broker answers with.
func (f *followed) planted(path string) (out []string) {
	f.TB.Helper()
	r := httptest.NewRequest("GET", "http://broker.test"+path, nil)
	r.SetBasicAuth("key", "secret")
	resp, err := f.Sim.Transport().RoundTrip(r)
	if err != nil {
		f.TB.Fatal(err)
	}
	defer resp.Body.Close()
	var v any
	if err := json.NewDecoder(resp.Body).Decode(&v); err != nil {
		f.TB.Fatal(err)
	}
	var walk func(key string, v any)
	walk = func(key string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, v := range v {
				walk(k, v)
			}
		case []any:
			for _, v := range v {
				walk(key, v)
			}
		case string:
			if slices.Contains([]string{"account_number", "bank_account_number", "bank_routing_number", "account_owner_name", "email_address", "phone_number", "tax_id", "date_of_birth"}, key) && v != "" {
				out = append(out, v)
			}
		}
	}
	walk("", v)
	if len(out) < 2 {
		f.TB.Fatalf("%s holds nothing to plant: %v", path, out)
	}
	return out
}

// ends lets the closure come to its end, and its letters go out.
func (f *followed) ends() closure.Closure {
	f.TB.Helper()
	c := f.Ends(f.id, 30*24*time.Hour)
	if c.State != closure.Closed {
		f.TB.Fatalf("ended %s: %s\n%s", c.State, c.Why, f.History(c.ID))
	}
	f.RunFor(time.Minute)
	return c
}

const (
	clientTrace  = "4bf92f3577b34da6a3ce929d0e0e4736"
	clientSpan   = "00f067aa0ba902b7"
	clientParent = "00-" + clientTrace + "-" + clientSpan + "-01"
)

// value is a span's attribute.
func value(s sdk.ReadOnlySpan, key string) attribute.Value {
	for _, a := range s.Attributes() {
		if string(a.Key) == key {
			return a.Value
		}
	}
	return attribute.Value{}
}

// tree checks that all spans are one trace, that of the client's request, and each stands where it belongs. It gives them by
// what they are of: the scope, and of our own, the first word of the name.
func (f *followed) tree() map[string][]sdk.ReadOnlySpan {
	f.TB.Helper()
	by, all := map[trace.SpanID]sdk.ReadOnlySpan{}, map[string][]sdk.ReadOnlySpan{}
	var post sdk.ReadOnlySpan
	for _, s := range f.spans.Ended() {
		by[s.SpanContext().SpanID()] = s
		kind := s.InstrumentationScope().Name
		if kind == "test" {
			kind, _, _ = strings.Cut(s.Name(), " ")
		}
		all[kind] = append(all[kind], s)
		if kind == "POST" {
			post = s
		}
	}
	if started := len(f.spans.Started()); started != len(f.spans.Ended()) {
		f.TB.Errorf("%d spans were begun and %d ended", started, len(f.spans.Ended()))
	}
	if post == nil || post.Parent().SpanID().String() != clientSpan || post.Name() != "POST /api/account-closure/initiate/:account_id" {
		f.TB.Fatalf("the request's span: %v", post)
	}
	if value(post, "closeout.closure").AsString() != f.id || value(post, "http.response.status_code").AsInt64() != 202 {
		f.TB.Errorf("the request's span says %v", post.Attributes())
	}
	own := post.SpanContext().SpanID()
	for kind, spans := range all {
		for _, s := range spans {
			if s.SpanContext().TraceID().String() != clientTrace {
				f.TB.Errorf("%s is of another trace", s.Name())
			}
			parent, known := by[s.Parent().SpanID()]
			switch kind {
			case "POST":
			case "visit", "letter", "rescue":
				if s.Parent().SpanID() != own {
					f.TB.Errorf("%s does not stand below the request", s.Name())
				}
			default:
				if !known || parent.InstrumentationScope().Name != "test" {
					f.TB.Errorf("%s stands below nothing", s.Name())
				} else if s.StartTime().Before(parent.StartTime()) || s.EndTime().After(parent.EndTime()) {
					f.TB.Errorf("%s outlasts %s", s.Name(), parent.Name())
				}
			}
		}
	}
	return all
}

func below(all []sdk.ReadOnlySpan, parent sdk.ReadOnlySpan) (names []string) {
	for _, s := range all {
		if s.Parent().SpanID() == parent.SpanContext().SpanID() {
			names = append(names, s.Name())
		}
	}
	return names
}

// One trace follows a closure over days: from the request, which goes on with its client's, through every visit and letter to
// each broker call, query and enqueue. It is the same after Redis was emptied on the way.
func TestOneTraceFollowsAClosure(t *testing.T) {
	t.Parallel()
	for _, emptied := range []bool{false, true} {
		t.Run(fmt.Sprintf("Redis emptied %t", emptied), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := followTraces(t, true)
				defer f.Close()
				secrets := f.initiate(clientParent)
				calls := f.Calls.Load()
				if emptied {
					f.RunFor(36 * time.Hour)
					if f.Get(f.id).Phase == closure.Liquidation {
						t.Fatal("nothing has happened yet")
					}
					f.FlushRedis()
				}
				c := f.ends()
				f.is(t, c, calls)
				f.keeps(t, secrets)
			})
		})
	}
}

func (f *followed) is(t *testing.T, c closure.Closure, before int64) {
	t.Helper()
	if !strings.HasPrefix(c.Trace, "00-"+clientTrace+"-") {
		t.Errorf("the row keeps %q", c.Trace)
	}
	all := f.tree()
	visits := all["visit"]
	if len(visits) != int(f.Visits.Load()) {
		t.Errorf("%d spans of %d visits", len(visits), f.Visits.Load())
	}
	phases := map[string]bool{}
	for _, v := range visits {
		phases[v.Name()] = true
		queries := below(all["closeout/ledger"], v)
		for _, want := range []string{"SELECT closures", "SELECT intents", "UPDATE closures"} {
			if !slices.Contains(queries, want) {
				t.Errorf("%s has no %s: %v", v.Name(), want, queries)
			}
		}
		if slices.Contains(queries, "INSERT events") != slices.Contains(queries, "COMMIT") { // an update alone needs no transaction
			t.Errorf("%s: %v", v.Name(), queries)
		}
		if value(v, "closeout.closure").AsString() != c.ID || value(v, "closeout.attempt").AsInt64() != 1 || value(v, "closeout.version").AsInt64() < 1 ||
			value(v, "closeout.account").AsString() != c.AccountID[len(c.AccountID)-6:] || value(v, "closeout.outcome").AsString() == "" {
			t.Errorf("%s says %v", v.Name(), v.Attributes())
		}
		done := value(v, "closeout.outcome").AsString() == "done"
		if next := below(all["closeout/tasks"], v); done != (len(next) == 0) {
			t.Errorf("%s, %s, schedules %v", v.Name(), value(v, "closeout.outcome").AsString(), next)
		}
		if len(below(all["closeout/alpaca"], v)) == 0 {
			t.Errorf("%s asked nothing of the broker", v.Name())
		}
	}
	for _, s := range closure.Road {
		if !phases["visit "+string(s.Phase)] {
			t.Errorf("no visit of %s among %v", s.Phase, slices.Sorted(maps.Keys(phases)))
		}
	}
	if span := visits[len(visits)-1].EndTime().Sub(visits[0].StartTime()); span < 48*time.Hour {
		t.Errorf("all visits within %s", span)
	}
	// The bank was looked up by the test before the request, twice by itself without the counted wire.
	if got := len(all["closeout/alpaca"]); got != int(f.Calls.Load())-1 {
		t.Errorf("%d spans of %d broker calls, %d of them before the visits", got, f.Calls.Load(), before)
	}
	writes := map[string]int{}
	for _, s := range all["closeout/alpaca"] {
		if value(s, "http.response.status_code").AsInt64() != 200 && value(s, "http.response.status_code").AsInt64() != 204 || value(s, "closeout.broker_request_id").AsString() == "" {
			t.Errorf("%s says %v", s.Name(), s.Attributes())
		}
		if !strings.HasPrefix(s.Name(), "GET ") {
			writes[s.Name()]++
		}
	}
	if want := map[string]int{"POST /v1/trading/accounts/{id}/orders": 1, "POST /v1/accounts/{id}/transfers": 1, "POST /v1/accounts/{id}/actions/close": 1}; !maps.Equal(writes, want) {
		t.Errorf("writes %v, want %v", writes, want)
	}
	if len(all["letter"]) < 2 {
		t.Errorf("%d letters", len(all["letter"]))
	}
	t.Logf("%d visits, %d broker calls, %d statements and commits, %d enqueued, %d letters: %d spans", len(visits), len(all["closeout/alpaca"]), len(all["closeout/ledger"]),
		len(all["closeout/tasks"]), len(all["letter"]), len(f.spans.Ended()))
	if n := strings.Count(f.log.String(), `"trace_id":"`+clientTrace+`"`); n < len(visits)+1 {
		t.Errorf("%d lines of the log name the trace, of %d visits and a request", n, len(visits))
	}
}

// keeps demands that none of the secrets stands in a span, wherever, and that the search would find one.
func (f *followed) keeps(t *testing.T, secrets []string) {
	t.Helper()
	told, err := json.Marshal(tracetest.SpanStubsFromReadOnlySpans(f.spans.Ended()))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range secrets {
		if bytes.Contains(bytes.ToLower(told), bytes.ToLower([]byte(s))) {
			t.Errorf("%q stands in a span", s)
		}
	}
	if !bytes.Contains(told, []byte(f.id)) || !bytes.Contains(told, []byte("UPDATE closeout.closures SET")) {
		t.Error("the spans are not told in full, so that nothing is shown")
	}
	t.Logf("%d secrets looked for in %d bytes of spans", len(secrets), len(told))
}

// Without a tracer the row keeps nothing, and tasks carry nothing. What traces cost, when they are on, is reported: this test
// runs alone, since allocations are the process's.
func TestNothingIsTracedUnlessItIsAskedFor(t *testing.T) {
	cost := func(traced bool) (c closure.Closure, mallocs uint64, spans int) {
		synctest.Test(t, func(t *testing.T) {
			f := followTraces(t, traced)
			defer f.Close()
			f.initiate(clientParent)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			f.HandOver()
			c = f.ends()
			runtime.ReadMemStats(&after)
			mallocs = after.Mallocs - before.Mallocs
			if f.spans != nil {
				spans = len(f.spans.Ended())
			}
			if strings.Contains(f.log.String(), "trace_id") != traced {
				t.Errorf("traced %t; the log: %s", traced, f.log)
			}
		})
		return c, mallocs, spans
	}
	cost(false) // what is made once in a process is no cost of either
	off, without, _ := cost(false)
	if off.Trace != "" {
		t.Errorf("the row keeps %q", off.Trace)
	}
	on, with, spans := cost(true)
	if on.Trace == "" {
		t.Error("the row keeps nothing though there is a trace")
	}
	t.Logf("a closure's life on the bench: %d allocations without traces, %d with %d spans", without, with, spans)
}

// A command's request has a trace of its own, which is linked to the closure's; a probe and a stream have none.
func TestCommandsAreLinkedToTheClosuresTrace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := followTraces(t, true)
		defer f.Close()
		f.initiate("")
		c := f.Get(f.id)
		before := len(f.spans.Ended())
		for _, path := range []string{"/health", "/ready", "/docs"} {
			f.ask("GET", path, "", "")
		}
		if got := len(f.spans.Ended()); got != before {
			t.Errorf("probes made %d spans", got-before)
		}
		if w := f.ask("POST", "/api/account-closure/pause/"+c.AccountID, "", `{"reason":"to see"}`); w.Code != http.StatusOK {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		var command sdk.ReadOnlySpan
		for _, s := range f.spans.Ended()[before:] {
			if strings.HasPrefix(s.Name(), "POST ") {
				command = s
			}
		}
		if command == nil || command.Name() != "POST /api/account-closure/pause/:account_id" || command.Parent().IsValid() {
			t.Fatalf("%v", command)
		}
		if links := command.Links(); len(links) != 1 || !strings.Contains(c.Trace, links[0].SpanContext.TraceID().String()) {
			t.Errorf("linked to %v, want %s", links, c.Trace)
		}
		for _, bad := range []string{"nonsense", "00-" + strings.Repeat("0", 32) + "-" + clientSpan + "-01", strings.Repeat("x", 5000)} {
			if w := f.ask("GET", "/api/job-status/"+c.ID, bad, ""); w.Code != http.StatusOK {
				t.Errorf("a client's traceparent %.20q: %d", bad, w.Code)
			}
		}
	})
}

func TestTracesAreAskedForByTheUsualVariables(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		env   map[string]string
		want  string
		wrong string
	}{
		{nil, "", ""},
		{map[string]string{"OTEL_SERVICE_NAME": "x", "OTEL_TRACES_SAMPLER": "always_on"}, "", ""},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, "http/protobuf", ""},
		{map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, "http/protobuf", ""},
		{map[string]string{"OTEL_TRACES_EXPORTER": "otlp"}, "http/protobuf", ""},
		{map[string]string{"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, "", ""},
		{map[string]string{"OTEL_SDK_DISABLED": "TRUE", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, "", ""},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "grpc", ""},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"}, "http/protobuf", ""},
		{map[string]string{"OTEL_TRACES_EXPORTER": "zipkin"}, "", "OTEL_TRACES_EXPORTER"},
		{map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, "", "OTEL_EXPORTER_OTLP_PROTOCOL"},
	} {
		var bad complaints
		got := tracingOf(func(name string) string { return c.env[name] }, &bad)
		if got.protocol != c.want || (len(bad) > 0) != (c.wrong != "") || c.wrong != "" && !strings.Contains(errors.Join(bad...).Error(), c.wrong) {
			t.Errorf("%v: %q, %v", c.env, got.protocol, bad)
		}
	}
}

// The last spans leave before the process ends.
func TestSpansAreFlushedAtTheEnd(t *testing.T) {
	var got bytes.Buffer
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/traces" {
			_, _ = got.ReadFrom(r.Body)
		}
	}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	t.Setenv("OTEL_SERVICE_NAME", "ours")
	var bad complaints
	log, told := logrus.New(), new(bytes.Buffer)
	log.SetOutput(told)
	tracer, flush, err := tracingOf(os.Getenv, &bad).start(t.Context(), closure.Sandbox, log)
	if err != nil || bad.err() != nil {
		t.Fatal(err, bad)
	}
	_, span := tracer.Start(t.Context(), "a span of the last moment")
	span.End()
	flush()
	for _, want := range []string{"a span of the last moment", "ours", "sandbox"} {
		if !strings.Contains(got.String(), want) {
			t.Errorf("the collector has no %q:\n%q\n%s", want, got.String(), told)
		}
	}
}

// A collector that is away, or never answers, holds nothing up and is told of once, be there ten times the spans that fit.
func TestACollectorThatIsAwayHoldsUpNothing(t *testing.T) {
	release := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer silent.Close()
	defer close(release)
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for _, c := range []struct{ name, url, says string }{{"silent", silent.URL, "the last spans are lost"}, {"gone", gone.URL, "can't be exported"}} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.url)
			log, told := logrus.New(), new(bytes.Buffer)
			log.SetOutput(told)
			hurry := make(chan struct{})
			ctx := context.WithValue(t.Context(), hurryKey{}, hurry)
			tracer, flush, err := tracingOf(os.Getenv, new(complaints)).start(ctx, closure.Sandbox, log)
			if err != nil {
				t.Fatal(err)
			}
			const spans = 20_000
			began := time.Now()
			for range spans {
				_, span := tracer.Start(t.Context(), "x")
				span.End()
			}
			made := time.Since(began)
			close(hurry) // told again to stop, or the end would wait its three seconds for the silent one
			began = time.Now()
			flush()
			t.Logf("%d spans in %s, given up after %s", spans, made, time.Since(began))
			if strings.Count(told.String(), c.says) != 1 || strings.Count(told.String(), "level=warning") > 2 {
				t.Errorf("the log says:\n%s", told)
			}
		})
	}
}
