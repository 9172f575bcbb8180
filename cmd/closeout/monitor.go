package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/term"

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
	Hold    monitorHoldCmd    `cmd:"" help:"Hold everything: nothing new is sent to the broker; without --apply it only says what that means."`
	Release monitorReleaseCmd `cmd:"" help:"End the hold; without --apply it only says what that means."`
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
	rdb    redis.UniversalClient
	queue  *tasks.Queue
	away   error    // why there is no Redis to ask, if it is known
	unread []string // what could not be read, and why
	asks   bool     // something asks for a person
	astray bool     // the named environment has no closure, and the other has
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
	s := &sight{output: o, json: m.JSON, color: tty(o) != nil, actor: "operator:cli:" + username(), clock: clock, away: away, rdb: redis.NewUniversalClient(opts)}
	s.queue = tasks.NewQueue(s.rdb, clock, closure.TimingOf(clock).Task)
	from := m.ledgerOptions()
	from.Clock, from.AsIs = clock, true
	s.ledger, err = ledger.Open(ctx, from)
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
	case s.astray:
		return nothingFound
	case s.asks:
		return asksForPerson
	case len(s.unread) > 0:
		return errQuiet
	}
	return nil
}

// settings are the servers' addresses, by the environment or by a demo's folder.
func (m *monitorCmd) settings() (*redis.UniversalOptions, closure.Clock, error) {
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
		m.check(&bad)
	}
	opts := m.options(m.encryption, &bad)
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

// empty says, also in words, whether the named environment has no closure while the other has: what is named by default is the
// sandbox, and nothing of it asks for anybody.
func (s *sight) empty(ctx context.Context) bool {
	astray, err := s.ledger.Astray(ctx)
	if err != nil {
		s.missing("the ledger", err)
	}
	if astray {
		_, _ = fmt.Fprintf(s.err, "the %s environment of this ledger has no closure, and the other has: name it by --environment or CLOSEOUT_ENVIRONMENT\n", s.ledger.Environment())
	}
	s.astray = astray
	return astray
}

// askRedis asks Redis for something, within a time; Asynq's inspector knows no context.
func askRedis[T any](ctx context.Context, s *sight, what string, ask func(context.Context) (T, error)) (T, bool) {
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

// username is who gave a command, for the history. The image knows no users: there USER says it, if somebody sets it.
func username() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return cmp.Or(os.Getenv("USER"), "unknown")
}
