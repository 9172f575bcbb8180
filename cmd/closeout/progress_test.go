package main

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestHalfAnHoursWaitIsToldEveryFiveMinutes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		p := &progress{to: &said}
		p.countDown(t.Context(), time.Now().Add(30*time.Minute), "the quarantine")
		p.done()
		want := "the quarantine: 25m0s left\nthe quarantine: 20m0s left\nthe quarantine: 15m0s left\nthe quarantine: 10m0s left\nthe quarantine: 5m0s left\nthe quarantine: 0s left\n"
		if diff := cmp.Diff(want, said.String()); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		p := &progress{to: &said, live: true}
		p.countDown(t.Context(), time.Now().Add(time.Minute), "the quarantine")
		p.done()
		if n := strings.Count(said.String(), "\r"); n < 59 || strings.Contains(said.String(), "\n") || !strings.HasSuffix(said.String(), "\r") {
			t.Errorf("on a terminal: %d times, %q", n, said.String())
		}
	})
}
