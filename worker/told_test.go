package worker_test

import (
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"closeout/handlers"
)

// A worker's metrics are at its health address, and who counts is told of each sweep.
func TestAWorkerIsScrapedAtItsHealthAddress(t *testing.T) {
	t.Parallel()
	away := errors.New("the ledger is away")
	s := newShop(t, &books{err: away})
	told := make(chan error, 100)
	s.opts.Swept = func(began time.Time, _ handlers.Swept, err error) {
		if began.After(time.Now()) {
			t.Errorf("it began at %s", began)
		}
		told <- err
	}
	s.opts.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "up 1\n") })
	stop, ended := s.run()
	if err := <-told; !errors.Is(err, away) {
		t.Errorf("told of %v", err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.addr+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil || resp.StatusCode != http.StatusOK || string(body) != "up 1\n" {
		t.Errorf("%d %q %v", resp.StatusCode, body, err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}
