package metrics_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"closeout/alpaca"
	"closeout/alpaca/sim"
	"closeout/calendar"
	"closeout/closure"
	"closeout/console"
	"closeout/desk"
	"closeout/handlers"
	"closeout/readiness"
	"closeout/server"
	"closeout/signin"
)

// planted is what no label may have a part of.
var planted = []string{
	"5eed0000-0000-4000-8000-000000000001", "5EED0000-0000-4000-8000-000000000001", "3f2a8a5e0c1b4f6c", "ann.example@example.test", "021000021", "987654321",
	"co_live_abc_secret", "' OR 1=1 --", "{}", "Ann Example", "\xff\xfe", "%2e%2e", strings.Repeat("x", 300),
}

// looksPersonal finds what may be an id, a number of an account, an address or a secret, whatever was planted.
var looksPersonal = regexp.MustCompile(`[0-9a-fA-F]{8}-[0-9a-fA-F]{4}|\d{6}|@|co_live|\s`)

// Whatever clients, the broker and the ledger say, a label's value is one of a few.
func TestLabelsAreBounded(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.m.Watch(b.src)
	broker, err := sim.Open(sim.Options{Key: "key", Secret: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = broker.Close() })
	client, err := alpaca.New(alpaca.Options{BaseURL: "http://broker.test", Key: "key", Secret: "secret", Transport: broker.Transport(), Asked: b.m.Asked})
	if err != nil {
		t.Fatal(err)
	}
	checker := &readiness.Checker{Broker: client, Calendar: calendar.Rules, Policy: b.src.Policy}
	pages, err := console.New(console.Options{
		Ledger: b.ledger, Desk: &desk.Desk{Ledger: b.ledger, Policy: b.src.Policy}, Readiness: checker, System: b.queue, Seen: server.Seen, SignIn: signin.Settings{PublicURL: "http://example.test", OneClick: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	api, err := server.New(server.Options{
		Ledger: b.ledger, Schedule: b.queue.Schedule, Readiness: checker, Keys: server.DevKeys(), Console: pages, Metrics: b.m, Answered: b.m.Answered,
	})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(method, target string) {
		u, err := url.Parse("http://example.test" + target)
		if err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"", "dev"} {
			r := httptest.NewRequestWithContext(t.Context(), "GET", "http://example.test/", nil)
			r.Method, r.URL, r.RequestURI = method, u, target
			r.Header.Set("X-API-Key", key)
			r.Header.Set("X-Request-ID", planted[3])
			api.ServeHTTP(httptest.NewRecorder(), r)
		}
	}
	for _, page := range []string{"/", "/closures", "/attention", "/system", "/signin", "/health", "/ready", "/openapi.json", "/metrics"} {
		ask("GET", page)
	}
	for n, hostile := range planted {
		part := url.PathEscape(hostile)
		for _, path := range []string{
			"/", "/api/account-closure/progress/", "/api/job-status/", "/api/account-closure/case-file/", "/api/account-closure/", "/health/", "/docs/", "/metrics/",
			"/closures/", "/signin/", "/attention/", "/static/", "/monitoring/api/queues/", "/search/", "/redrives/",
		} {
			ask("GET", path+part)
			ask("POST", path+part)
		}
		ask("GET", "/search?q="+url.QueryEscape(hostile))
		ask("GET", "/api/account-closure?reason="+url.QueryEscape(hostile))
		ask("METHOD-"+string(rune('A'+n)), "/health")
		ctx := t.Context()
		_, _ = client.Account(ctx, hostile)
		_, _ = client.Relationships(ctx, hostile)
		_, _ = client.Order(ctx, hostile, hostile)
		_, _ = client.Asset(ctx, hostile)
		if s, err := client.Dial(ctx); err == nil {
			_, _ = s.Send(ctx, alpaca.Write{Method: http.MethodDelete, Path: "/v1/" + part + "/" + strings.Repeat(part+"/", n)})
			_ = s.Close()
		}
		b.m.Visited(handlers.Ended{Phase: closure.Closing, Result: handlers.Saved, Outcome: "wait", Reason: closure.Reason(hostile), Took: time.Second})
	}
	found := scrape(t, api)
	values := map[string][]string{}
	for name, f := range found {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				v := l.GetValue()
				for _, p := range planted {
					if p != "{}" && strings.Contains(v, p) {
						t.Errorf("%s has %s=%q", name, l.GetName(), v)
					}
				}
				if looksPersonal.MatchString(v) && l.GetName() != "goversion" && !strings.HasPrefix(name, "go_") {
					t.Errorf("%s has %s=%q", name, l.GetName(), v)
				}
				if !slices.Contains(values[l.GetName()], v) {
					values[l.GetName()] = append(values[l.GetName()], v)
				}
			}
		}
	}
	for label, most := range map[string]int{"route": 60, "method": 8, "endpoint": 20, "reason": len(closure.Reasons) + 2, "phase": 6} {
		if got := values[label]; len(got) == 0 || len(got) > most {
			t.Errorf("%d values of %s, at most %d are expected: %q", len(got), label, most, got)
		}
	}
	for _, want := range []string{"/api/account-closure/progress/:account_id", "/closures/{id}", "none"} {
		if !slices.Contains(values["route"], want) {
			t.Errorf("no request was counted for %s: %q", want, values["route"])
		}
	}
	for _, want := range []string{"/v1/accounts/{id}", "/v1/trading/accounts/{id}/orders/{id}", "/v1/assets/{id}", "other"} {
		if !slices.Contains(values["endpoint"], want) {
			t.Errorf("no request was counted for %s: %q", want, values["endpoint"])
		}
	}
	t.Logf("%d requests, %d routes, %d endpoints", int(sum(found, "closeout_http_requests_total")), len(values["route"]), len(values["endpoint"]))
}

// Monitors ask without a key; and what it says is of all closures together.
func TestTheServersMetricsWantNoKey(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.m.Watch(b.src)
	api, err := server.New(server.Options{Ledger: b.ledger, Schedule: b.queue.Schedule, Readiness: &readiness.Checker{Calendar: calendar.Rules}, Metrics: b.m})
	if err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		w := httptest.NewRecorder()
		api.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, "/metrics", nil))
		if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") {
			t.Errorf("%s: %d %v", method, w.Code, w.Header())
		}
	}
}
