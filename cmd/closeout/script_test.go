package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/shopspring/decimal"

	"closeout/alpaca/sim"
	"closeout/closure"
	"closeout/internal/servers"
	"closeout/ledger"
	"closeout/tasks"
)

var update = flag.Bool("update", false, "write what the scripts print into them")

//go:generate go test -run TestScript -update .

// TestScript runs the program as a shell does, by the scripts of testdata/script. `make generate` writes what they print into
// them. Beside the program they have commands of their own: seed fills a ledger, tamper changes a byte of a history, falsify a row.
func TestScript(t *testing.T) {
	t.Parallel()
	testscript.Run(t, scripts("testdata/script", func(*testscript.Env) error { return nil }))
}

// TestScriptOnPostgres runs the scripts that need one, and the application's own table in it: the command owner gives it statements as its
// owner. The program has the role closeout, and LOOKER leads there as a role that has nothing yet.
func TestScriptOnPostgres(t *testing.T) {
	t.Parallel()
	pg := servers.StartPostgres(t)
	admin := pg.Open(t, pg.URL("postgres", "postgres"))
	if _, err := admin.ExecContext(t.Context(), "CREATE ROLE closeout LOGIN; CREATE ROLE looker LOGIN"); err != nil {
		t.Fatal(err)
	}
	p := scripts("testdata/postgres", func(e *testscript.Env) error {
		name := filepath.Base(e.WorkDir)
		if _, err := admin.ExecContext(context.Background(), `CREATE DATABASE "`+name+`" OWNER closeout`); err != nil {
			return err
		}
		e.Setenv("ADMIN", pg.URL("postgres", name))
		e.Setenv("CLOSEOUT_DATABASE_URL", pg.URL("closeout", name))
		e.Setenv("LOOKER", pg.URL("looker", name))
		return nil
	})
	p.Cmds["owner"] = func(ts *testscript.TestScript, _ bool, args []string) {
		db, err := sql.Open("pgx", ts.Getenv("ADMIN"))
		ts.Check(err)
		defer func() { _ = db.Close() }()
		for _, statement := range args {
			_, err := db.ExecContext(context.Background(), statement)
			ts.Check(err)
		}
	}
	testscript.Run(t, p)
}

// scripts are those of a folder, each with a Redis and a broker of its own.
func scripts(dir string, more func(*testscript.Env) error) testscript.Params {
	return testscript.Params{
		Dir: dir, RequireExplicitExec: true, RequireUniqueNames: true, UpdateScripts: *update,
		Setup: func(e *testscript.Env) error {
			mini := miniredis.NewMiniRedis()
			if err := mini.StartAddr("127.0.0.1:0"); err != nil {
				return err
			}
			e.Defer(mini.Close)
			e.Setenv("REDIS", "redis://"+mini.Addr()+"/0")
			broker, err := sim.Open(sim.Options{Key: demoKey, Secret: demoSecret}) // that knows no account
			if err != nil {
				return err
			}
			listens := httptest.NewServer(broker)
			e.Defer(func() { listens.Close(); _ = broker.Close() })
			e.Setenv("BROKER", listens.URL)
			e.Setenv("CLOSEOUT_DAY", closure.ScaledClock(24*time.Hour, scriptsBegin, time.Now()).String())
			e.Setenv("NO_COLOR", "1")
			return more(e)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "scrub": scrub, "begun": begun, "broker": broker, "redis": redisDoes, "job": job},
	}
}

// scriptsBegin is business time at the start of each script: a Wednesday's morning in New York.
var scriptsBegin = time.Date(2026, time.November, 18, 15, 0, 20, 0, time.UTC)

// exits runs a command that must end with a status.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		got = e.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("%v: status %d, want %d", args[1:], got, want)
	}
}

// accidents are what differs between two runs.
var accidents = []struct {
	of *regexp.Regexp
	to string
}{
	{regexp.MustCompile(`CLA-\d{14}-`), "CLA-TIME-"},
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}(/[0-9]+)?(\.[0-9a-f]{12})?`), "ID"},
	{regexp.MustCompile(`"[0-9a-f]{64}"`), `"HASH"`},
	{regexp.MustCompile(`request [0-9a-f]{32}`), "request ID"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`), "UTC"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\dZ`), "MOMENT"},
	{regexp.MustCompile(`cli:[^\s"]+`), "cli:USER"},
	{regexp.MustCompile(`\b\d\d:\d\d(:\d\d)?\b`), "CLOCK"},
	{regexp.MustCompile(`\b(\d+[dhm] )?\d+[hms] ago\b`), "SPAN ago"},
	{regexp.MustCompile(`\bin (\d+[dhm] )?\d+[hms]\b`), "in SPAN"},
	{regexp.MustCompile(`in \d+(\.\d+)?m?s, \d+ a second`), "in SPAN, RATE a second"},
	{regexp.MustCompile(`"(seconds|events_per_second)": ?[0-9.e+-]+`), `"$1":N`},
	{regexp.MustCompile(`SQLite [0-9.]+, [0-9.]+ MiB`), "SQLite VERSION, SIZE"},
	{regexp.MustCompile(`"database(_bytes)?": [^,\n]+`), `"database$1": X`},
	{regexp.MustCompile(`\\u003c`), "<"},
	{regexp.MustCompile(` +\n`), "\n"},
	{regexp.MustCompile(`  +`), "  "}, // columns are as wide as what was in them
}

// scrub writes the last output to a file without the accidents of this run.
func scrub(ts *testscript.TestScript, _ bool, args []string) {
	text := ts.ReadFile(args[0])
	for _, a := range accidents {
		text = a.of.ReplaceAllString(text, a.to)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text), 0o600))
}

// begun waits until a ledger has a bulk retry, and puts its id into REDRIVE.
func begun(ts *testscript.TestScript, _ bool, args []string) {
	db, err := sql.Open("sqlite", "file:"+ts.MkAbs(args[0])+"?_pragma=busy_timeout(60000)")
	ts.Check(err)
	defer func() { _ = db.Close() }()
	for t := time.NewTicker(20 * time.Millisecond); ; <-t.C {
		id := ""
		err := db.QueryRowContext(context.Background(), "SELECT id FROM redrives").Scan(&id)
		if err == nil {
			t.Stop()
			ts.Setenv("REDRIVE", id)
			return
		}
		if !errors.Is(err, sql.ErrNoRows) {
			ts.Check(err)
		}
	}
}

// broker starts a simulated one, which has accounts of so many dollars, and sets what leads to it: BANK_1 and so on are their banks,
// LEGACY is a Redis without anything, and TWO_DAYS_AGO and AN_HOUR_AGO are times.
func broker(ts *testscript.TestScript, _ bool, args []string) {
	clock, err := closure.ParseClock(ts.Getenv("CLOSEOUT_DAY"))
	ts.Check(err)
	s, err := sim.Open(sim.Options{Now: clock.Now, Machine: clock.Machine, FixedClock: true, Key: "key", Secret: "secret"})
	ts.Check(err)
	ts.Defer(func() { _ = s.Close() })
	for n, cash := range args {
		id, err := s.AddAccount(sim.Spec{ID: fmt.Sprintf("5eed0000-0000-4000-8000-0000000000%02d", n+1), Email: "zq.broker@planted.example", Cash: decimal.RequireFromString(cash)})
		ts.Check(err)
		truth, err := s.Truth(id)
		ts.Check(err)
		ts.Setenv(fmt.Sprintf("BANK_%d", n+1), truth.ACHRelationships[0].ID)
	}
	srv := httptest.NewServer(s)
	ts.Defer(srv.Close)
	mini := miniredis.NewMiniRedis()
	ts.Check(mini.StartAddr("127.0.0.1:0"))
	ts.Defer(mini.Close)
	for name, value := range map[string]string{
		"CLOSEOUT_ALPACA_URL": srv.URL, "CLOSEOUT_ALPACA_KEY": "key", "CLOSEOUT_ALPACA_SECRET": "secret", "LEGACY": "redis://" + mini.Addr() + "/0",
		"TWO_DAYS_AGO": time.Now().Add(-48 * time.Hour).UTC().Format(time.RFC3339), "AN_HOUR_AGO": time.Now().Add(-time.Hour).UTC().Format(time.RFC3339),
	} {
		ts.Setenv(name, value)
	}
}

// redisDoes gives a Redis a command.
func redisDoes(ts *testscript.TestScript, _ bool, args []string) {
	o, err := redis.ParseURL(args[0])
	ts.Check(err)
	rdb := redis.NewClient(o)
	defer func() { _ = rdb.Close() }()
	command := make([]any, 0, len(args))
	for _, a := range args[1:] {
		command = append(command, a)
	}
	ts.Check(rdb.Do(context.Background(), command...).Err())
}

// job puts the id of the closure of an account that ends so into JOB, of the seeded ledger; ALL: of each, with commas between them.
func job(ts *testscript.TestScript, _ bool, args []string) {
	db, err := sql.Open("sqlite", "file:"+ts.MkAbs("seeded.db"))
	ts.Check(err)
	defer func() { _ = db.Close() }()
	ids := ""
	ts.Check(db.QueryRowContext(context.Background(), "SELECT group_concat(id) FROM closures WHERE ?1 = 'ALL' OR account_id LIKE '%' || ?1", args[0]).Scan(&ids))
	ts.Setenv("JOB", ids)
}

// seeded makes the accounts of the scripts: 01 runs, 02 and 03 have failed for one reason, 04 asks for a person by itself, 05 is
// dead, 06 is paused, 07 waits for a payout that nobody knows of, 08 was closed nine years ago, 09 a moment ago.
func seeded(ctx context.Context, path, redisURL string) error {
	now, err := closure.ParseClock(os.Getenv("CLOSEOUT_DAY"))
	if err != nil {
		return err
	}
	options := ledger.Options{URL: "sqlite:" + path, Environment: closure.Sandbox, Policy: closure.DefaultPolicy(closure.Sandbox), Clock: now}
	today, err := ledger.Open(ctx, options)
	if err != nil {
		return err
	}
	defer func() { _ = today.Close() }()
	options.Clock = closure.ScaledClock(24*time.Hour, scriptsBegin.AddDate(-9, 0, 2), time.Now())
	past, err := ledger.Open(ctx, options)
	if err != nil {
		return err
	}
	defer func() { _ = past.Close() }()
	l, clock := past, options.Clock
	look := func(c closure.Closure, o closure.Outcome, paid string) closure.Closure {
		c, failed := l.Save(ctx, c, closure.Looked(clock.Now(), o, closure.Look{}, &closure.Memo{Worth: "1000.00", OnWay: "0", Paid: paid}), nil)
		err = errors.Join(err, failed)
		return c
	}
	begin := func(n int, cause string) closure.Closure {
		c, _, failed := l.Create(ctx, ledger.Wish{
			AccountID: fmt.Sprintf("5eed0000-0000-4000-8000-0000000000%02d", n), RelationshipID: "7e1a7107-0000-4000-8000-000000000001", Fingerprint: "f00d",
			Cause: cause, Actor: "api:shop",
		})
		err = errors.Join(err, failed)
		return c
	}
	toPay := func(n int) closure.Closure {
		c := look(begin(n, ""), closure.Go(closure.Settlement, "nothing is left to sell"), "")
		return look(c, closure.Go(closure.Withdrawal, "$825.00 can be withdrawn"), "")
	}
	command := func(c closure.Closure, ch closure.Change) {
		_, failed := l.Command(ctx, c.ID, func(closure.Closure, []closure.Intent) (closure.Change, error) { return ch, nil })
		err = errors.Join(err, failed)
	}
	look(begin(8, "moved away"), closure.Done("the account is closed; paid out $1000.00"), "1000.00")
	l, clock = today, now
	settling := look(begin(1, "moving on"), closure.Go(closure.Settlement, "nothing is left to sell"), "")
	settling = look(settling, closure.Wait(time.Hour, closure.Settling, "trades settle on the next settlement day (T+1)"), "")
	for n, reason := range []closure.Reason{2: closure.BankGone, 3: closure.BankGone, 4: closure.Unexplained} {
		if reason == "" {
			continue
		}
		look(toPay(n), closure.Fail(reason, closure.Reasons[reason].Title), "")
	}
	dead := begin(5, "")
	for n := range closure.MaxRetries + 1 {
		next, failed := l.Save(ctx, dead, closure.Stumbled(clock.Now(), "the broker's answer has no end", n, true), nil)
		dead, err = next, errors.Join(err, failed)
	}
	command(begin(6, ""), closure.Pause(clock.Now(), "operator:ann", "the customer called"))
	paying := toPay(7)
	at := clock.Now()
	_, _, failed := l.Claim(ctx, paying, closure.Claimed(at, at.Add(30*time.Second), "pay $825.00 out", true), []closure.Intent{{
		Kind: closure.TransferIntent, Subject: "bank", Request: []byte(`{}`), Amount: decimal.NewNullDecimal(decimal.RequireFromString("825")), RelationshipID: "bank",
		BankingDay: "2026-11-18", Quiet: true, ClaimedAt: at, Deadline: time.Now().Add(-time.Minute),
	}}, closure.Event{Kind: "claim", At: at, Actor: closure.Worker, Text: "pay $825.00 out"})
	err = errors.Join(err, failed)
	look(begin(9, "a friend's advice"), closure.Done("the account is closed; paid out $1000.00"), "1000.00")
	if err != nil {
		return err
	}
	if redisURL != "" {
		o, err := redis.ParseURL(redisURL)
		if err != nil {
			return err
		}
		rdb := redis.NewClient(o)
		defer func() { _ = rdb.Close() }()
		if err := tasks.NewQueue(rdb, clock, time.Minute).Schedule(ctx, settling); err != nil {
			return err
		}
	}
	return onFile(ctx, path, "UPDATE notices SET state = 'sent'")
}

func onFile(ctx context.Context, path, statements string, args ...any) error {
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(60000)")
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, statements, args...)
	return errors.Join(err, db.Close())
}

// scriptCommands are what scripts can run: the program, and what never ships.
var scriptCommands = map[string]func(){
	"closeout": main,
	"seed": func() { // FILE [REDIS]
		redisURL := ""
		if len(os.Args) > 2 {
			redisURL = os.Args[2]
		}
		done(seeded(context.Background(), os.Args[1], redisURL))
	},
	"falsify": func() { // FILE ACCOUNT ASSIGNMENT, of the row
		done(onFile(context.Background(), os.Args[1], "UPDATE closures SET "+os.Args[3]+" WHERE account_id LIKE '%' || ?", os.Args[2]))
	},
	"pause": func() { // REDIS QUEUE, as Asynq's own tools do
		done(paused(context.Background(), os.Args[1], os.Args[2]))
	},
	"sql": func() { // FILE STATEMENTS
		done(onFile(context.Background(), os.Args[1], os.Args[2]))
	},
	"tamper": func() { // FILE ACCOUNT EVENT FROM TO
		done(onFile(context.Background(), os.Args[1], "UPDATE events SET body = replace(body, ?, ?) WHERE seq = ? AND closure_id = (SELECT id FROM closures WHERE account_id LIKE '%' || ?)",
			os.Args[4], os.Args[5], os.Args[3], os.Args[2]))
	},
}

func paused(ctx context.Context, redisURL, queue string) error {
	o, err := redis.ParseURL(redisURL)
	if err != nil {
		return err
	}
	rdb := redis.NewClient(o)
	defer func() { _ = rdb.Close() }()
	return errors.Join(tasks.Register(ctx, rdb), asynq.NewInspectorFromRedisClient(rdb).PauseQueue(queue))
}

func done(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
