package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/rogpeppe/go-internal/testscript"

	"closeout/alpaca/sim"
	"closeout/closure"
	"closeout/internal/servers"
	"closeout/ledger"
)

// world is the service as it is deployed: the built program in separate processes, on a real Redis and a real Postgres.
type world struct {
	testing.TB
	bin      string
	env      []string
	clock    closure.Clock
	redis    *servers.Redis
	postgres *servers.Postgres
	ledger   *ledger.Ledger // the test's own eyes
	database string
	sim      *program
	data     string // the simulator's folder
	broker   string // the simulator's address
	api, key string
	all      []*program
}

const worldKey = "0123456789abcdef"

// TestMain also is the programs that the scripts run.
func TestMain(m *testing.M) { testscript.Main(suite{m}, scriptCommands) }

type suite struct{ *testing.M }

// Run runs the tests.
func (s suite) Run() int {
	text.DisableColors() // what the tests of the board compare are words
	status := s.M.Run()
	_ = os.RemoveAll(binDir)
	return status
}

var (
	binDir string
	build  = sync.OnceValues(func() (bin string, err error) {
		if binDir, err = os.MkdirTemp("", "closeout-built-"); err != nil {
			return "", err
		}
		bin = filepath.Join(binDir, "closeout")
		out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput() //nolint:noctx // for all tests
		if err != nil {
			err = fmt.Errorf("build: %w\n%s", err, out)
		}
		return bin, err
	})
)

// built is the program as it ships, built once for all tests.
func built(tb testing.TB) string {
	tb.Helper()
	bin, err := build()
	if err != nil {
		tb.Fatal(err)
	}
	return bin
}

// newWorld builds the program and starts the servers and the simulator, with a day of that length. The first day is the
// demo's. through, if given, says at which address the service's processes find what listens at another.
func newWorld(t *testing.T, day time.Duration, through ...func(name, addr string) string) *world {
	t.Helper()
	w := newGround(t, day, through...)
	w.opens(w.postgres, w.database)
	return w
}

// newGround is a world whose ledger is nobody's yet, and has no schema.
func newGround(t *testing.T, day time.Duration, through ...func(name, addr string) string) *world {
	t.Helper()
	r, pg := servers.StartRedis(t), servers.StartPostgres(t)
	database := pg.Database(t)
	seen := func(name, addr, url string) string {
		for _, f := range through {
			url = strings.Replace(url, addr, f(name, addr), 1)
		}
		return url
	}
	w := worldOn(t, closure.ScaledClock(day, demoBegins, time.Now()), seen("redis", r.Addr, r.URL), seen("postgres", pg.Addr, database), func(addr, url string) string { return seen("broker", addr, url) })
	w.redis, w.postgres, w.database = r, pg, database
	return w
}

// worldOn starts the simulator for servers that are there already; theirs are the URLs that the service's processes are given.
// broker says where these find the simulator.
func worldOn(t *testing.T, clock closure.Clock, redis, database string, broker func(addr, url string) string) *world {
	t.Helper()
	w := &world{TB: t, bin: built(t), clock: clock, data: t.TempDir(), key: worldKey}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "CLOSEOUT_") {
			w.env = append(w.env, e)
		}
	}
	w.env = append(w.env, "CLOSEOUT_DAY="+w.clock.String(), "CLOSEOUT_LOG_FORMAT=json", "CLOSEOUT_LOG_LEVEL=debug")
	w.sim = w.start("simulator", "--addr", "127.0.0.1:0", "--data", w.data)
	addr := w.sim.listens()
	w.broker = "http://" + addr
	w.env = append(w.env, "CLOSEOUT_REDIS_URL="+redis, "CLOSEOUT_DATABASE_URL="+database,
		"CLOSEOUT_API_KEYS=test="+worldKey, "CLOSEOUT_ALPACA_URL="+broker(addr, w.broker),
		"CLOSEOUT_ALPACA_KEY="+demoKey, "CLOSEOUT_ALPACA_SECRET="+demoSecret)
	return w
}

// opens gives the test its own eyes on the ledger, past whatever stands before the database, and migrates it.
func (w *world) opens(pg *servers.Postgres, database string) {
	w.Helper()
	w.postgres, w.database = pg, database
	var err error
	w.ledger, err = ledger.Open(w.Context(), ledger.Options{URL: database, Environment: closure.Sandbox, Policy: closure.DefaultPolicy(closure.Sandbox), Clock: w.clock})
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = w.ledger.Close() })
}

// program is one process of the service.
type program struct {
	tb   testing.TB
	name string
	cmd  *exec.Cmd
	addr chan string
	done chan struct{}

	mu    sync.Mutex
	said  []line
	begun chan line // its visits as they begin
}

// line is one line of a process's log.
type line struct {
	Time    time.Time `json:"time"`
	Message string    `json:"msg"`
	Addr    string    `json:"addr"`
	Closure string    `json:"closure"`
	Version int64     `json:"version"`
	Outcome string    `json:"outcome"`
	Attempt int       `json:"attempt"`
	NextIn  string    `json:"next_in"`
	Took    string    `json:"took"`
	by      *program
	text    string
}

var spoken = regexp.MustCompile(`listens on http://(\S+)`)

// start starts a process, which is killed with the test.
func (w *world) start(args ...string) *program {
	w.Helper()
	p := &program{tb: w.TB, name: fmt.Sprintf("%s %d", args[0], len(w.all)), addr: make(chan string, 1), done: make(chan struct{}), begun: make(chan line, 10_000)}
	p.cmd = exec.Command(w.bin, args...) //nolint:noctx // the cleanup kills it
	p.cmd.Env = w.env
	out, err := p.cmd.StderrPipe()
	if err != nil {
		w.Fatal(err)
	}
	if args[0] == "simulator" || args[0] == "dev" {
		if out, err = p.cmd.StdoutPipe(); err != nil {
			w.Fatal(err)
		}
	}
	if err := p.cmd.Start(); err != nil {
		w.Fatal(err)
	}
	go func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			p.hears(s.Text())
		}
		_ = p.cmd.Wait()
		close(p.done)
	}()
	w.all = append(w.all, p)
	w.Cleanup(func() {
		p.signal(syscall.SIGKILL)
		if w.Failed() {
			w.Logf("%s said at last:\n%s", p.name, p.tail(15))
		}
	})
	return p
}

func (p *program) hears(text string) {
	l := line{by: p, text: text}
	if json.Unmarshal([]byte(text), &l) != nil {
		if m := spoken.FindStringSubmatch(text); m != nil {
			l.Addr = m[1]
		}
	}
	if l.Addr != "" {
		p.addr <- l.Addr
	}
	p.mu.Lock()
	p.said = append(p.said, l)
	p.mu.Unlock()
	if l.Message == "visit begins" {
		p.begun <- l
	}
}

// listens waits for the address that the process says it listens on.
func (p *program) listens() string {
	p.tb.Helper()
	select {
	case addr := <-p.addr:
		return addr
	case <-p.done:
	case <-time.After(time.Minute):
	}
	p.tb.Fatalf("%s does not listen:\n%s", p.name, p.tail(15))
	return ""
}

func (p *program) tail(n int) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var b strings.Builder
	for _, l := range p.said[max(0, len(p.said)-n):] {
		b.WriteString(l.text + "\n")
	}
	return b.String()
}

// signal sends a signal; after SIGKILL it waits for the end.
func (p *program) signal(s syscall.Signal) {
	_ = p.cmd.Process.Signal(s)
	if s == syscall.SIGKILL {
		<-p.done
	}
}

// ends waits for the process's end and returns its exit status.
func (p *program) ends() int {
	p.tb.Helper()
	select {
	case <-p.done:
	case <-time.After(time.Minute):
		p.tb.Fatalf("%s does not end:\n%s", p.name, p.tail(15))
	}
	return p.cmd.ProcessState.ExitCode()
}

// visits are the visits of a closure that ended, of all processes, as their logs tell.
func (w *world) visits(id string) (out []line) {
	for _, p := range w.all {
		p.mu.Lock()
		for _, l := range p.said {
			if l.Message == "visit" && l.Closure == id {
				out = append(out, l)
			}
		}
		p.mu.Unlock()
	}
	return out
}

// until asks again and again until it is so; the limit is for a test that would hang.
func (w *world) until(what string, so func() bool) {
	w.Helper()
	w.within(6*time.Minute, what, so)
}

// within is until for what takes long by its nature.
func (w *world) within(limit time.Duration, what string, so func() bool) {
	w.Helper()
	over := time.After(limit)
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for !so() {
		select {
		case <-over:
			w.Fatalf("in %s it never came to this: %s", limit, what)
		case <-again.C:
		}
	}
}

// ready asks with the program itself, as a container's health check does.
func (w *world) ready(url, wait string) (ok bool, said string) {
	w.Helper()
	out, err := exec.CommandContext(w.Context(), w.bin, "readyz", "--url", url, "--wait", wait).CombinedOutput()
	return err == nil, strings.TrimSpace(string(out))
}

func (w *world) serve() {
	w.Helper()
	w.api = "http://" + w.start("server", "--addr", "127.0.0.1:0").listens()
}

// worker starts a worker and returns where its health page is.
func (w *world) worker() (p *program, health string) {
	w.Helper()
	p = w.start("worker", "--health-addr", "127.0.0.1:0")
	return p, "http://" + p.listens() + "/health"
}

// ask sends JSON and reads the answer into a value.
func (w *world) ask(method, url string, body, into any) int {
	w.Helper()
	var send io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			w.Fatal(err)
		}
		send = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(w.Context(), method, url, send)
	if err != nil {
		w.Fatal(err)
	}
	req.Header.Set("X-API-Key", w.key)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && into != nil && resp.StatusCode < 300 {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		w.Fatalf("%s %s: %d %s: %v", method, url, resp.StatusCode, text, err)
	}
	return resp.StatusCode
}

// account makes an account at the simulator and returns its id.
func (w *world) account(s sim.Spec) string {
	w.Helper()
	var made struct {
		IDs []string `json:"ids"`
	}
	w.ask("POST", w.broker+"/sim/accounts", map[string]any{"accounts": []sim.Spec{s}}, &made)
	if len(made.IDs) != 1 {
		w.Fatalf("the simulator made %v", made.IDs)
	}
	return made.IDs[0]
}

// initiate asks for an account's closing and returns the closure's id. It must be accepted.
func (w *world) initiate(account string) string {
	w.Helper()
	var truth sim.Truth
	w.ask("GET", w.broker+"/sim/accounts/"+account, nil, &truth)
	var job struct {
		JobID string `json:"job_id"`
	}
	status := w.ask("POST", w.api+"/api/account-closure/initiate/"+account,
		map[string]any{"ach_relationship_id": truth.ACHRelationships[0].ID, "confirm_liquidation": true, "confirm_irreversible": true}, &job)
	if status != http.StatusAccepted {
		w.Fatalf("initiate %s answered %d", account, status)
	}
	return job.JobID
}

// payouts are an account's payouts by the simulator's journal, which is on disk before a payout is answered.
func (w *world) payouts(account string) (paid []string) {
	w.Helper()
	var journal struct {
		Entries []sim.Entry `json:"entries"`
	}
	w.ask("GET", w.broker+"/sim/journal?account="+account, nil, &journal)
	for _, e := range journal.Entries {
		if e.Kind == "transfer" {
			paid = append(paid, e.Amount)
		}
	}
	return paid
}
