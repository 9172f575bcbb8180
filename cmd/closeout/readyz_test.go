package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
)

func TestReadyzSaysInOneLineWhetherAProcessIsReady(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		status int
		body   string
		want   string
		exit   int
	}{
		"a server":               {200, `{"status":"ok","checked":["ledger","redis"]}`, "ready: ledger, redis ok", 0},
		"a server without Redis": {200, `{"status":"ok","checked":["ledger"],"without":["redis"]}`, "ready: ledger ok, without redis", 0},
		"without its ledger":     {503, `{"title":"Not ready","detail":"This does not answer: ledger."}`, "not ready: 503 Service Unavailable: This does not answer: ledger.", 1},
		"a worker":               {200, `{"asynq":"ok","ledger":"ok","redis":"ok"}`, "ready: asynq ok, ledger ok, redis ok", 0},
		"a worker that stops":    {503, `{"asynq":"draining","ledger":"ok","redis":"ok"}`, "not ready: 503 Service Unavailable: asynq draining, ledger ok, redis ok", 1},
		"something else":         {404, "not\nfound", "not ready: 404 Not Found: not found", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tt.status)
				_, _ = w.Write([]byte(tt.body))
			}))
			defer page.Close()
			var out, errs bytes.Buffer
			exit := run(t.Context(), []string{"readyz", "--url", page.URL + "/ready"}, &out, &errs)
			if exit != tt.exit || out.String() != tt.want+"\n" || errs.Len() > 0 {
				t.Errorf("exit %d: %q %q, want %d: %q", exit, out.String(), errs.String(), tt.exit, tt.want)
			}
		})
	}
}

// Without a URL the one that is there is asked: a server, or a worker where no server listens. A server that is not ready is no
// reason to ask a worker.
func TestReadyzAsksTheOneThatIsThere(t *testing.T) {
	t.Parallel()
	page := func(status int, body string) *url.URL {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}))
		t.Cleanup(s.Close)
		return &url.URL{Scheme: "http", Host: s.Listener.Addr().String(), Path: "/"}
	}
	gone := httptest.NewServer(nil)
	nobody := &url.URL{Scheme: "http", Host: gone.Listener.Addr().String(), Path: "/"}
	gone.Close()
	worker, stuck := page(200, `{"asynq":"ok"}`), page(503, `{"detail":"This does not answer: ledger."}`)
	for name, tt := range map[string]struct {
		pages []*url.URL
		ready bool
		said  string
	}{
		"a worker alone":            {[]*url.URL{nobody, worker}, true, "asynq ok"},
		"a server that is not fine": {[]*url.URL{stuck, worker}, false, "503 Service Unavailable: This does not answer: ledger."},
		"nobody":                    {[]*url.URL{nobody, nobody}, false, "no answer from " + nobody.String()},
	} {
		ready, said := askFirst(t.Context(), tt.pages)
		if ready != tt.ready || !strings.HasPrefix(said, tt.said) {
			t.Errorf("%s: %v, %q", name, ready, said)
		}
	}
}

func TestReadyzWaits(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = w.Write([]byte(`{"asynq":"ok"}`))
	}))
	var out, errs bytes.Buffer
	if exit := run(t.Context(), []string{"readyz", "--url", page.URL, "--wait", "1m"}, &out, &errs); exit != 0 || asked.Load() != 3 {
		t.Errorf("exit %d after %d questions: %s%s", exit, asked.Load(), out.String(), errs.String())
	}
	page.Close()
	out.Reset()
	if exit := run(t.Context(), []string{"readyz", "--url", strings.Replace(page.URL, "://", "://user:hunter2@", 1)}, &out, &errs); exit != 1 || !strings.HasPrefix(out.String(), "not ready: no answer") || strings.Contains(out.String(), "hunter2") {
		t.Errorf("nobody there: exit %d: %s", exit, out.String())
	}
	if exit := run(t.Context(), []string{"readyz", "--url", "ftp://x", "--wait", "-1s"}, &out, &errs); exit != 2 {
		t.Errorf("wrong settings: exit %d", exit)
	}
}

func TestMigrateSaysFromWhereToWhere(t *testing.T) {
	t.Parallel()
	database := "sqlite:" + t.TempDir() + "/closeout.db"
	for _, want := range []string{"went from version 0 to version", "nothing was to be done"} {
		var out, errs bytes.Buffer
		if exit := run(t.Context(), []string{"migrate", "--database-url", database}, &out, &errs); exit != 0 || !strings.Contains(out.String(), want) {
			t.Errorf("exit %d: %s%s, want %q", exit, out.String(), errs.String(), want)
		}
	}
	var out, errs bytes.Buffer
	if exit := run(t.Context(), []string{"migrate", "--database-url", "mysql://root:hunter2@x/y"}, &out, &errs); exit != 2 || strings.Contains(errs.String(), "hunter2") {
		t.Errorf("exit %d: %s", exit, errs.String())
	}
}
