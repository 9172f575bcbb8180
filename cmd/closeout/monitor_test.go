package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/alicebob/miniredis/v2"

	"closeout/closure"
	"closeout/ledger"
)

// TestMonitorOfADemo: the folder of a demo is all that is named, its Redis is seen while it runs, and nobody without the folder's
// password sees it.
func TestMonitorOfADemo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	clock, err := keptClock(dir, "20s")
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(t.Context(), ledger.Options{URL: "sqlite:" + filepath.Join(dir, "closeout.db"), Environment: closure.Sandbox, Policy: closure.DefaultPolicy(closure.Sandbox), Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	mini := miniredis.NewMiniRedis()
	t.Cleanup(mini.Close)
	forget, err := openRedis(mini, dir, "onlyforthisstart")
	if err != nil {
		t.Fatal(err)
	}
	queue := func(want int) (stdout, stderr string) {
		t.Helper()
		var out, errs bytes.Buffer
		if got := run(t.Context(), []string{"monitor", "queue", "--data", dir}, &out, &errs); got != want {
			t.Errorf("status %d, want %d\n%s%s", got, want, &out, &errs)
		}
		return out.String(), errs.String()
	}
	if out, _ := queue(3); !strings.Contains(out, "account_closure_bulk") || !strings.Contains(out, "no worker") {
		t.Errorf("printed\n%s", out)
	}
	path := filepath.Join(dir, redisFile)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v: the password is for the folder's owner alone", info, err)
	}
	if err := os.WriteFile(path, []byte("redis://"+mini.Addr()+"/0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, errs := queue(1); strings.Contains(out, "account_closure_bulk") || !strings.Contains(errs, "NOAUTH") {
		t.Errorf("without the password: %s%s", out, errs)
	}
	forget()
	if _, errs := queue(1); !strings.Contains(errs, "the demo does not run") {
		t.Errorf("after its end: %s", errs)
	}
}

// heard is an output that calls back with each line.
type heard struct {
	mu   sync.Mutex
	rest []byte
	line func(string)
}

func (h *heard) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.rest = append(h.rest, b...)
	for {
		line, rest, ok := bytes.Cut(h.rest, []byte("\n"))
		if !ok {
			return len(b), nil
		}
		h.rest = rest
		h.line(string(line))
	}
}

// TestMonitorWatchTellsOfEachEventOnce: those of before it began, as many as were asked for, and those that come.
func TestMonitorWatchTellsOfEachEventOnce(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger.db")
	l, err := ledger.Open(t.Context(), ledger.Options{URL: "sqlite:" + path, Environment: closure.Sandbox, Policy: closure.DefaultPolicy(closure.Sandbox)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	create := func(account string) {
		if _, _, err := l.Create(t.Context(), ledger.Wish{AccountID: account, RelationshipID: "bank", Actor: "api:shop"}); err != nil {
			t.Error(err)
		}
	}
	for _, account := range []string{"one", "two", "three"} {
		create(account)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var accounts []string
	out := &heard{line: func(line string) {
		var w watched
		if err := json.Unmarshal([]byte(line), &w); err != nil || w.Kind != "accepted" || w.Actor != "api:shop" || w.Reason != closure.Accepted {
			t.Errorf("%s: %v", line, err)
		}
		switch accounts = append(accounts, w.AccountID); w.AccountID {
		case "three":
			create("four")
		case "four":
			cancel()
		}
	}}
	var errs bytes.Buffer
	status := run(ctx, []string{"monitor", "watch", "--json", "--last", "2", "--every", "100ms", "--database-url", "sqlite:" + path, "--redis-url", "redis://127.0.0.1:1/0"}, out, &errs)
	textual, stop := context.WithCancel(t.Context())
	defer stop()
	lines := &heard{line: func(line string) {
		if !strings.HasSuffix(line, " api:shop: closure accepted: "+strings.Fields(line)[4]) {
			t.Errorf("who did it is not told: %s", line)
		}
		stop()
	}}
	if got := run(textual, []string{"monitor", "watch", "--last", "1", "--every", "100ms", "--database-url", "sqlite:" + path, "--redis-url", "redis://127.0.0.1:1/0"}, lines, &errs); got != 0 {
		t.Errorf("status %d\n%s", got, &errs)
	}
	if got := strings.Join(accounts, " "); status != 0 || got != "two three four" {
		t.Errorf("status %d, told of %q\n%s", status, got, &errs)
	}
}
