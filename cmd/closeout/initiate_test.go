package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

const (
	one = "5eed0000-0000-4000-8000-0000000000a1"
	two = "5eed0000-0000-4000-8000-0000000000a2"
)

func ask(t *testing.T, url string, args ...string) (status int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	status = run(t.Context(), append([]string{"initiate", "--url", url, "--key", "dev", "--yes", "--every", "100ms"}, args...), &o, &e)
	return status, o.String(), e.String()
}

func TestInitiateAsksForEachAccountThoughTheProgressOfOneCanNotBeRead(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var asked []string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.Contains(r.URL.Path, "/check-readiness/"):
			_, _ = w.Write([]byte(`{"banks":[{"id":"b"}]}`))
		case r.Method == http.MethodPost:
			mu.Lock()
			asked = append(asked, r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:])
			mu.Unlock()
			w.WriteHeader(http.StatusAccepted)
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer s.Close()
	status, out, errs := ask(t, s.URL, one, two)
	if status != 0 || len(asked) != 2 {
		t.Errorf("status %d, asked %v\n%s%s", status, asked, out, errs)
	}
}

// A server that can't read the broker just now says when to ask again, and is asked again; one that refuses is not.
func TestInitiateAsksAgainWhenTheServerSaysSo(t *testing.T) {
	t.Parallel()
	asked := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			_, _ = w.Write([]byte(`{"account_id":"` + one + `","state":"running"}`))
			return
		}
		switch asked++; {
		case strings.HasSuffix(r.URL.Path, two):
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusConflict)
			_, _ = w.Write([]byte(`{"title":"no","code":"cannot_close"}`))
		case asked == 1:
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte(`{"title":"the broker cannot be read","code":"broker_unreadable"}`))
		default:
			w.WriteHeader(http.StatusAccepted)
		}
	}))
	defer s.Close()
	if status, out, errs := ask(t, s.URL, "--bank", "b", one); status != 0 || asked != 2 {
		t.Errorf("status %d, asked %d times\n%s%s", status, asked, out, errs)
	}
	if status, out, _ := ask(t, s.URL, "--bank", "b", two); status != 1 || asked != 3 || !strings.Contains(out, "cannot_close") {
		t.Errorf("refused: status %d, asked %d times\n%s", status, asked, out)
	}
}

func TestInitiateWaitsOnWhileTheServerIsAway(t *testing.T) {
	t.Parallel()
	looks := 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusAccepted)
			return
		}
		if looks++; looks < 4 {
			w.WriteHeader([]int{http.StatusServiceUnavailable, http.StatusTooManyRequests, http.StatusRequestTimeout}[looks-1])
			_, _ = w.Write([]byte(`{"title":"not now","code":"ledger_unavailable"}`))
			return
		}
		_, _ = w.Write([]byte(`{"account_id":"` + one + `","phase":"closing","state":"closed","money":{"paid":"1.00"}}`))
	}))
	defer s.Close()
	if status, out, errs := ask(t, s.URL, "--bank", "b", "--wait", one); status != 0 || !strings.Contains(out, "closed") {
		t.Errorf("status %d\n%s%s", status, out, errs)
	}
}

func TestInitiateTakesItsKeyNowhereElse(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("followed to %s with key %q", r.URL, r.Header.Get("X-API-Key"))
	}))
	defer elsewhere.Close()
	s := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	defer s.Close()
	if status, out, _ := ask(t, s.URL, "--bank", "b", one); status != 1 {
		t.Errorf("status %d: %s", status, out)
	}
}

func TestInitiateRefusesWhatIsNoListOfAccounts(t *testing.T) {
	t.Parallel()
	status, _, errs := ask(t, "http://127.0.0.1:1", one, one, "../secrets")
	if status != 2 || !strings.Contains(errs, "named twice") || !strings.Contains(errs, "number 3 is no account id") {
		t.Errorf("status %d: %s", status, errs)
	}
}
