package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/redis/go-redis/v9"
	"golang.org/x/term"

	"closeout/calendar"
	"closeout/closure"
	"closeout/ledger"
	"closeout/tasks"
)

// monitorCmd looks at the service from beside it: it reads the ledger and Redis themselves, so that it works while no server
// does, and inside any container of the service.
type monitorCmd struct {
	keyStore
	queueStore
	Day  string `env:"CLOSEOUT_DAY" help:"The scaled clock that the service runs on, if it does."`
	Data string `placeholder:"DIR" help:"The data folder of a closeout dev: look at the demo that runs on it, instead of at the servers above."`
	JSON bool   `name:"json" help:"Print JSON, for scripts."`

	Status  monitorStatusCmd  `cmd:"" help:"Say how a closure stands: why it waits, until when, who must act, its money, its last events, its task in the queue."`
	Queue   monitorQueueCmd   `cmd:"" help:"Show what is in the queues, the workers, and what they have in hand."`
	Stats   monitorStatsCmd   `cmd:"" help:"Count the closures, what asks for a person, unknown outcomes, and how the workers do."`
	Cleanup monitorCleanupCmd `cmd:"" help:"Remove what retention allows; without --apply it only says what that would be."`
	Retry   monitorRetryCmd   `cmd:"" help:"Resume closures that have stopped; without --apply it only says which."`
	Watch   monitorWatchCmd   `cmd:"" help:"Follow what happens: a live screen on a terminal, otherwise a line for each event."`
}

// Help is printed by closeout monitor --help.
func (*monitorCmd) Help() string {
	return "Exit status: 0 nothing asks for a person · 1 it failed, or something could not be read (what could be is shown) · " +
		"2 wrong usage or settings · 3 something asks for a person · 4 there is nothing of this name."
}

// exitStatus ends the program with a status of its own, after all was told.
type exitStatus int

func (exitStatus) Error() string { return "" }

// Exit statuses beside 0, 1 and 2.
const (
	asksForPerson exitStatus = 3
	nothingFound  exitStatus = 4
)

// sight is what monitor sees.
type sight struct {
	output
	json   bool
	color  bool
	actor  string
	clock  closure.Clock
	ledger *ledger.Ledger // nil: it could not be opened
	rdb    *redis.Client
	queue  *tasks.Queue
	away   error    // why there is no Redis to ask, if it is known
	unread []string // what could not be read, and why
	asks   bool     // something asks for a person
}

// answering is how long each server may take to answer a question.
const answering = 5 * time.Second

// look opens what there is to see, runs a command on it, and turns what it found into an exit status.
func (m *monitorCmd) look(ctx context.Context, o output, do func(ctx context.Context, s *sight) error) (err error) {
	opts, clock, err := m.settings()
	if err != nil {
		return err
	}
	var away error
	if m.Data != "" && m.RedisURL == noRedis {
		away = errors.New("the demo does not run, and its Redis ended with it")
	}
	s := &sight{output: o, json: m.JSON, color: tty(o) != nil, actor: "operator:cli:" + username(), clock: clock, away: away, rdb: redis.NewClient(opts)}
	s.queue = tasks.NewQueue(s.rdb, clock, closure.TimingOf(clock).Task)
	env := closure.Environment(m.Environment)
	s.ledger, err = ledger.Open(ctx, ledger.Options{URL: m.DatabaseURL, Environment: env, Policy: closure.DefaultPolicy(env), Clock: clock})
	if err != nil {
		s.ledger = nil
		s.missing("the ledger", err)
	}
	defer func() {
		err = errors.Join(err, s.rdb.Close())
		if s.ledger != nil {
			err = errors.Join(err, s.ledger.Close())
		}
	}()
	if err := do(ctx, s); err != nil {
		return err
	}
	for _, what := range s.unread {
		_, _ = fmt.Fprintln(o.err, "not read: "+what)
	}
	switch {
	case s.asks:
		return asksForPerson
	case len(s.unread) > 0:
		return errQuiet
	}
	return nil
}

// settings are the servers' addresses, by the environment or by a demo's folder.
func (m *monitorCmd) settings() (*redis.Options, closure.Clock, error) {
	var bad complaints
	var clock closure.Clock
	if m.Data != "" {
		d, err := demoAt(m.Data)
		if err != nil {
			bad.add("--data", "%v", err)
			return nil, clock, bad.err()
		}
		m.DatabaseURL, m.RedisURL, m.Environment, clock = d.database, d.redis, string(closure.Sandbox), d.clock
	} else {
		var err error
		if clock, err = closure.ParseClock(m.Day); err != nil {
			bad.add("CLOSEOUT_DAY", "%v", err)
		}
		m.keyStore.check(&bad)
	}
	opts := m.queueStore.check(m.encryption, &bad)
	m.exists(&bad)
	if len(bad) > 0 && m.Data == "" {
		bad.add("--data", "names the folder of a running closeout dev instead of both, such as --data .closeout")
	}
	if err := bad.err(); err != nil {
		return nil, clock, err
	}
	redis.SetLogger(mute{}) // what could not be read is told once
	opts.MaxRetries = -1    // a person waits for the answer
	opts.DialTimeout, opts.ReadTimeout, opts.PoolTimeout = answering, answering, answering
	return opts, clock, nil
}

// mute is a logger for go-redis.
type mute struct{}

// Printf logs nothing.
func (mute) Printf(context.Context, string, ...any) {}

// exists refuses a file that is not there: it would be made, and a ledger without anything in it be looked at.
func (s store) exists(bad *complaints) {
	if file, ok := strings.CutPrefix(s.DatabaseURL, "sqlite:"); ok && file != "" {
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			bad.add("CLOSEOUT_DATABASE_URL", "there is no ledger %s", file)
		}
	}
}

// missing notes that something could not be read.
func (s *sight) missing(what string, err error) {
	if errors.Is(err, context.DeadlineExceeded) || os.IsTimeout(err) {
		err = errors.New("no answer")
	}
	s.unread = append(s.unread, what+": "+closure.OneLine(err.Error()))
}

// needLedger is for commands that are nothing without the ledger.
func (s *sight) needLedger() error {
	if s.ledger == nil {
		return errors.New(s.unread[0])
	}
	return nil
}

// inRedis asks Redis for something, within a time; Asynq's inspector knows no context.
func inRedis[T any](ctx context.Context, s *sight, what string, ask func(context.Context) (T, error)) (T, bool) {
	if s.away != nil {
		var none T
		s.missing(what+", in Redis", s.away)
		return none, false
	}
	ctx, cancel := context.WithTimeout(ctx, 2*answering)
	defer cancel()
	type answer struct {
		v   T
		err error
	}
	asked := make(chan answer, 1)
	go func() {
		v, err := ask(ctx)
		asked <- answer{v, err}
	}()
	var a answer
	select {
	case a = <-asked:
	case <-ctx.Done():
		a.err = ctx.Err()
	}
	if a.err != nil {
		s.missing(what+", in Redis", a.err)
	}
	return a.v, a.err == nil
}

// print writes a value as JSON, or else by a function as text.
func (s *sight) print(v any, write func(p *page)) error {
	if s.json {
		e := json.NewEncoder(s.out)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(v)
	}
	p := &page{now: s.clock.Now(), color: s.color}
	write(p)
	_, err := fmt.Fprint(s.out, p.String())
	return err
}

// page is text for people.
type page struct {
	strings.Builder
	now   time.Time // business
	color bool
}

// pair writes a line that begins with what it is about; without a value it writes none.
func (p *page) pair(name, format string, args ...any) {
	if value := printable(fmt.Sprintf(format, args...)); value != "" {
		fmt.Fprintf(p, "%-11s %s\n", name, value)
	}
}

// title begins a part.
func (p *page) title(format string, args ...any) {
	if p.Len() > 0 {
		p.WriteString("\n")
	}
	fmt.Fprintf(p, format+"\n", args...)
}

// table writes rows; without any it writes none.
func (p *page) table(head table.Row, rows []table.Row) {
	if len(rows) > 0 {
		fmt.Fprintln(p, columns(head, rows))
	}
}

// paint colours a word on a terminal.
func (p *page) paint(c text.Colors, word string) string {
	if !p.color {
		return word
	}
	return c.Sprint(word)
}

func (p *page) state(s closure.State) string { return p.paint(colorOf(string(s)), string(s)) }

// when is a business time, as a clock in New York shows it, and how far away it is.
func (p *page) when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	far := "in " + span(t.Sub(p.now))
	if !t.After(p.now) {
		far = span(p.now.Sub(t)) + " ago"
	}
	return t.In(calendar.NewYork).Format("Mon 02 Jan 2006 15:04") + " ET, " + far
}

// columns is a table without frames, the same on a terminal and in a file.
func columns(head table.Row, rows []table.Row) string {
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.Style().Options = table.OptionsNoBordersAndSeparators
	t.Style().Format.Header = 0
	t.Style().Box.PaddingLeft, t.Style().Box.PaddingRight = "", "  "
	t.AppendHeader(head)
	t.AppendRows(rows)
	var out []string
	for l := range strings.SplitSeq(t.Render(), "\n") {
		out = append(out, strings.TrimRight(l, " "))
	}
	return strings.Join(out, "\n")
}

// span is a time in its two largest units, such as 3d 4h.
func span(d time.Duration) string {
	d = max(d, 0)
	switch days := int(d / (24 * time.Hour)); {
	case days >= 100:
		return fmt.Sprintf("%dd", days)
	case days > 0:
		return fmt.Sprintf("%dd %dh", days, int(d.Hours())%24)
	case d >= time.Hour:
		return fmt.Sprintf("%dh %dm", int(d.Hours()), int(d.Minutes())%60)
	case d >= time.Minute:
		return fmt.Sprintf("%dm %ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%ds", int(d.Seconds()))
}

// stamp is a time for scripts; nil where there is none.
func stamp(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// tty is the output, if it is a terminal that can be drawn on.
func tty(o output) *os.File {
	f, ok := o.out.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	return f
}

func username() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "unknown"
}

// demoPlace is where a closeout dev keeps what others can look at.
type demoPlace struct {
	database, redis string
	clock           closure.Clock
}

// redisFile holds, in a demo's folder, the URL of its Redis while it runs.
const redisFile = "redis.url"

// noRedis stands for the Redis of a demo that does not run.
const noRedis = "redis://127.0.0.1:1/0"

// openRedis lets programs beside a demo look at its Redis, on a free port of this machine. The URL, with a password made for this
// start, is for whoever may read the folder.
func openRedis(mini *miniredis.Miniredis, dir, password string) (forget func(), err error) {
	mini.RequireAuth(password)
	if err := mini.StartAddr("127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("open the embedded Redis: %w", err)
	}
	path := filepath.Join(dir, redisFile)
	if err := os.WriteFile(path, []byte("redis://:"+password+"@"+mini.Addr()+"/0\n"), 0o600); err != nil {
		return nil, fmt.Errorf("say where the embedded Redis is: %w", err)
	}
	return func() { _ = os.Remove(path) }, nil
}

// demoAt reads a demo's folder.
func demoAt(dir string) (d demoPlace, err error) {
	file := filepath.Join(dir, "closeout.db")
	if _, err := os.Stat(file); err != nil {
		return d, fmt.Errorf("%s is no data folder of closeout dev: it has no closeout.db", dir)
	}
	d.database = "sqlite:" + file
	if d.clock, err = readClock(filepath.Join(dir, "clock.json")); err != nil {
		return d, err
	}
	b, err := os.ReadFile(filepath.Join(dir, redisFile))
	if errors.Is(err, fs.ErrNotExist) {
		d.redis = noRedis // what is in the ledger can be read
		return d, nil
	}
	d.redis = strings.TrimSpace(string(b))
	return d, err
}
