package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// closes serves closures that have each been accepted and are closed at their third look; looked is called before each.
func closes(t *testing.T, looked func(n int)) string {
	t.Helper()
	looks := make(chan map[string]int, 1)
	looks <- map[string]int{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			w.WriteHeader(http.StatusAccepted)
			return
		}
		account := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		m := <-looks
		m[account]++
		n := m[account]
		looks <- m
		looked(n)
		if n < 3 {
			_, _ = w.Write([]byte(`{"account_id":"` + account + `","phase":"settlement","state":"running","expected_finish":"2026-12-04T07:46:00Z","money":{"paid":"0.00"},` +
				`"waiting":{"reason":"settling","why":"it settles","until":"2026-11-30T07:45:00Z","who_must_act":""}}`))
			return
		}
		_, _ = w.Write([]byte(`{"account_id":"` + account + `","phase":"closing","state":"closed","money":{"paid":"1.00"}}`))
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// A script gets a line for each change and none for a look that found nothing new.
func TestFollowingTellsScriptsEachChangeOnce(t *testing.T) {
	t.Parallel()
	url := closes(t, func(int) {})
	status, out, errs := ask(t, url, "--bank", "b", "--wait", "--json", one)
	if status != 0 {
		t.Fatalf("status %d\n%s%s", status, out, errs)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var states []string
	for _, l := range lines {
		var v progressView
		if err := json.Unmarshal([]byte(l), &v); err != nil {
			t.Fatalf("%q: %v", l, err)
		}
		states = append(states, v.State)
	}
	if strings.Join(states, " ") != "running closed" {
		t.Errorf("told %v in\n%s", states, out)
	}
}

func TestCtrlCEndsTheAsking(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { cancel() }))
	defer s.Close()
	var out, errs bytes.Buffer
	status := run(ctx, []string{"initiate", "--url", s.URL, "--key", "dev", "--yes", one, two}, &out, &errs)
	if status != 1 || out.Len() > 0 || !strings.Contains(errs.String(), "account 1 of 2, "+one) {
		t.Errorf("status %d\n%s%s", status, out.String(), errs.String())
	}
}

func TestFollowingEndsAtCtrlCAndTheClosuresGoOn(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	url := closes(t, func(n int) {
		if n == 2 {
			cancel()
		}
	})
	var out, errs bytes.Buffer
	status := run(ctx, []string{"initiate", "--url", url, "--key", "dev", "--yes", "--every", "100ms", "--bank", "b", "--wait", one}, &out, &errs)
	if status != 1 || !strings.Contains(errs.String(), errStopped.Error()) || strings.Contains(out.String(), "canceled") {
		t.Errorf("status %d\n%s%s", status, out.String(), errs.String())
	}
}
