package main

import (
	"flag"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

var (
	upgradeFrom     = flag.String("from", "", "the git ref of the version that TestRealUpgrade begins with; without one it begins with this tree's own, which needs no history")
	upgradeClosures = flag.Int("upgraded", 30, "closures of TestRealUpgrade")
)

// An older version runs on real servers with closures under way. The schema is migrated, the server and the workers are replaced
// one by one, the server and a worker are put back to the older version on the newer schema, and replaced again; closures are asked
// for all the while. All end closed, nobody complains, and the auditor finds nothing.
func TestRealUpgrade(t *testing.T) {
	day := 6 * time.Second
	newer := built(t)
	older := newer
	if *upgradeFrom != "" {
		day, older = 20*time.Second, builtFrom(t, *upgradeFrom)
	}
	c := &chaos{world: newGround(t, day), done: map[string]int{}}
	c.env = append(c.env, "CLOSEOUT_SETTLEMENT_POLL=4h", "CLOSEOUT_WITHDRAWAL_POLL=4h", "CLOSEOUT_LOG_LEVEL=info")
	c.bin = older
	c.migrated("the older version makes the schema")
	c.server = c.start("server", "--addr", "127.0.0.1:0")
	c.api = "http://" + c.server.listens()
	for range 2 {
		w, _ := c.worker()
		c.workers = append(c.workers, w)
	}
	accounts := c.accounts(*upgradeClosures, *upgradeFrom != "")
	began := time.Now()
	acknowledged := make(chan []string, 1)
	go func() { acknowledged <- c.initiateAll(accounts, 6*day) }()
	c.rest(t.Context(), 2*day)

	c.bin = newer
	c.migrated("the newer version migrates beside it")
	c.rest(t.Context(), day/2)
	c.replaceServer()
	for n := range c.workers {
		c.rest(t.Context(), day/2)
		c.replaceWorker(n)
	}
	c.rest(t.Context(), day)
	c.bin = older
	c.migrated("the older version finds the newer schema")
	c.replaceWorker(0)
	c.replaceServer()
	c.rest(t.Context(), day)
	c.bin = newer
	c.replaceServer()
	c.replaceWorker(0)

	ids := <-acknowledged
	c.opens(c.postgres, c.database)
	db := c.postgres.Open(t, c.database+"&search_path=closeout")
	limit := time.Now().Add(30 * time.Duration(1+*upgradeClosures/100) * day)
	for left := -1; left != 0; {
		if err := db.QueryRowContext(t.Context(), "SELECT (SELECT count(*) FROM closures WHERE state = 'running') + (SELECT count(*) FROM notices WHERE state = 'due')").Scan(&left); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(limit) {
			t.Fatalf("%d closures or letters are still under way", left)
		}
		c.rest(t.Context(), time.Second)
	}
	var otherwise int
	if err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM closures WHERE state <> 'closed'").Scan(&otherwise); err != nil {
		t.Fatal(err)
	}
	if otherwise > 0 {
		t.Errorf("%d closures did not end closed:\n%s", otherwise, c.stopped())
	}
	c.silent()
	c.judge(accounts, ids, time.Since(began))
}

// migrated runs the program's migration, as a job before a rollout does.
func (c *chaos) migrated(what string) {
	c.Helper()
	cmd := exec.CommandContext(c.Context(), c.bin, "migrate")
	cmd.Env = c.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		c.Fatalf("%s: %v: %s", what, err, out)
	}
	c.Logf("%s: %s", what, strings.TrimSpace(string(out)))
}

// replaceServer ends the server as an orchestrator does, and starts the program of now in its place.
func (c *chaos) replaceServer() {
	c.Helper()
	c.server.signal(syscall.SIGTERM)
	if status := c.server.ends(); status != 0 {
		c.Errorf("a server that was told to end ended with %d:\n%s", status, c.server.tail(5))
	}
	c.server = c.start("server", "--addr", strings.TrimPrefix(c.api, "http://"))
	c.server.listens()
	c.done["server replaced"]++
}

// replaceWorker does so with a worker.
func (c *chaos) replaceWorker(n int) {
	c.Helper()
	c.workers[n].signal(syscall.SIGTERM)
	if status := c.workers[n].ends(); status != 0 {
		c.Errorf("a worker that was told to end ended with %d:\n%s", status, c.workers[n].tail(5))
	}
	c.workers[n], _ = c.worker()
	c.done["worker replaced"]++
}

// silent demands that no process has complained of what it met.
func (c *chaos) silent() {
	c.Helper()
	for _, p := range c.all {
		p.mu.Lock()
		for _, l := range p.said {
			if strings.Contains(l.text, `"level":"error"`) || strings.Contains(l.text, `"level":"fatal"`) || strings.Contains(l.text, "panic") {
				c.Errorf("%s said %s", p.name, l.text)
			}
		}
		p.mu.Unlock()
	}
}

// builtFrom is the program of a version of before, out of git.
func builtFrom(tb testing.TB, ref string) string {
	tb.Helper()
	dir := tb.TempDir()
	archive := exec.CommandContext(tb.Context(), "git", "-C", "../..", "archive", "--format=tar", ref)
	unpack := exec.CommandContext(tb.Context(), "tar", "-x", "-C", dir)
	var err error
	if unpack.Stdin, err = archive.StdoutPipe(); err != nil {
		tb.Fatal(err)
	}
	if err := archive.Start(); err != nil {
		tb.Fatal(err)
	}
	if out, err := unpack.CombinedOutput(); err != nil {
		tb.Fatalf("unpack %s: %v\n%s", ref, err, out)
	}
	if err := archive.Wait(); err != nil {
		tb.Fatalf("git archive %s: %v; is it in this clone's history?", ref, err)
	}
	bin := filepath.Join(tb.TempDir(), "closeout")
	build := exec.CommandContext(tb.Context(), "go", "build", "-o", bin, "./cmd/closeout")
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		tb.Fatalf("build %s: %v\n%s", ref, err, out)
	}
	return bin
}
