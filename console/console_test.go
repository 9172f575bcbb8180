package console

import (
	"cmp"
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"closeout/signin"

	"closeout/closure"
	"closeout/desk"
	"closeout/ledger"
	"closeout/live"
)

// bench is a console over a ledger of its own.
type bench struct {
	*Console
	ledger *ledger.Ledger
	path   string
}

func newBench(tb testing.TB, change ...func(*Options)) *bench {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "ledger.db")
	policy := closure.DefaultPolicy(closure.Sandbox)
	l, err := ledger.Open(context.Background(), ledger.Options{URL: "sqlite:" + path, Environment: closure.Sandbox, Policy: policy})
	must(tb, err)
	tb.Cleanup(func() { _ = l.Close() })
	who := func(r *http.Request) signin.Person {
		return signin.Person{Name: "ada", Role: signin.Role(cmp.Or(r.Header.Get(asRole), string(signin.Operator)))}
	}
	d := &desk.Desk{Ledger: l, Schedule: func(context.Context, closure.Closure) {}, Policy: policy}
	o := Options{Ledger: l, Desk: d, Who: who, Live: live.NewHub(live.Options{Feed: l}), Policy: policy, Version: "test"}
	tb.Cleanup(o.Live.Close)
	for _, f := range change {
		f(&o)
	}
	k, err := New(o)
	must(tb, err)
	return &bench{k, l, path}
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// asRole is the header by which a test says as whom it asks; without it, as an operator.
const asRole = "Test-Role"

// do sends a request as a browser on this site would, with these pairs of headers.
func (b *bench) do(method, path string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	for n := 0; n+1 < len(headers); n += 2 {
		r.Header.Set(headers[n], headers[n+1])
	}
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	return w
}

func TestAnUnknownPageSaysSo(t *testing.T) {
	w := newBench(t).do("GET", "/nowhere")
	if w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "No such page") {
		t.Errorf("got %d\n%s", w.Code, w.Body)
	}
	if csp := w.Header().Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'; script-src 'self'") || strings.Contains(csp, "unsafe") {
		t.Errorf("Content-Security-Policy: %s", csp)
	}
}

func TestAssetsMayBeKept(t *testing.T) {
	b := newBench(t)
	page := b.do("GET", "/nowhere").Body.String()
	for _, kind := range []string{"console.", "htmx.min.", "hx-sse.min.", "icon."} {
		_, after, ok := strings.Cut(page, "/assets/"+kind)
		if !ok {
			t.Fatalf("the page has no %s", kind)
		}
		name, _, _ := strings.Cut(after, `"`)
		w := b.do("GET", "/assets/"+kind+name)
		if w.Code != http.StatusOK || !strings.Contains(w.Header().Get("Cache-Control"), "immutable") || w.Body.Len() < 100 {
			t.Errorf("%s: %d %v", kind, w.Code, w.Header())
		}
	}
	if w := b.do("GET", "/assets/console.000000000000.js"); w.Code != http.StatusNotFound {
		t.Errorf("an asset of another version: %d", w.Code)
	}
}

func TestAPageOfAnotherSiteMayPostNothing(t *testing.T) {
	w := newBench(t).do("POST", "/signout", "Sec-Fetch-Site", "cross-site")
	if w.Code != http.StatusForbidden {
		t.Errorf("got %d", w.Code)
	}
}
