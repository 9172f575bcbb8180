package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/alicebob/miniredis/v2"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"github.com/redis/go-redis/v9"
	"github.com/shopspring/decimal"
	"github.com/sirupsen/logrus"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"closeout/alpaca"
	"closeout/alpaca/sim"
	"closeout/bench"
	"closeout/closure"
	"closeout/handlers"
	"closeout/ledger"
	"closeout/mail"
	"closeout/server"
	"closeout/signin"
	"closeout/worker"
)

type benchCmd struct {
	store
	queueStore
	Closures    int  `default:"2000" help:"How many accounts are closed."`
	Concurrency int  `default:"20" help:"Visits at once, as a worker's."`
	JSON        bool `name:"json" help:"Print one line of JSON alone, for scripts."`
}

// Help is printed by closeout bench --help.
func (*benchCmd) Help() string {
	return "It closes accounts of a simulated broker in this process, by the whole service: door, worker, queue and ledger; and then does the floor: a bare Asynq chain of as many tasks, " +
		"with as many commits and the same reads of the broker, and nothing else; and once more with those commits in the service's ledger, which shows what of the difference is the ledger's. A business day takes ten seconds. CLOSEOUT_REDIS_URL and CLOSEOUT_DATABASE_URL name a Redis and a database made for this, " +
		"both empty; without the two it measures the embedded pair, miniredis and SQLite, in a folder that it removes."
}

// benchDay is how long a business day takes. The session must be well longer than the second to which Asynq rounds a timer up and the
// second until it looks: in a shorter day some closures come too late for each session whose beginning they wait for, for ever.
const benchDay = 10 * time.Second

// Run measures and prints.
func (c *benchCmd) Run(ctx context.Context, o output) (err error) {
	var bad complaints
	embedded := c.DatabaseURL == "" && c.RedisURL == ""
	if c.Closures < 10 || c.Closures > 10_000_000 {
		bad.add("--closures", "must lie between 10 and 10000000, is %d", c.Closures)
	}
	if c.Concurrency < 1 || c.Concurrency > 1000 {
		bad.add("--concurrency", "must lie between 1 and 1000, is %d", c.Concurrency)
	}
	var opts *redis.UniversalOptions
	if !embedded {
		opts = c.options(c.encryption, &bad)
		c.check(&bad)
	}
	if err := bad.err(); err != nil {
		return err
	}
	var rdb redis.UniversalClient
	database := c.DatabaseURL
	if embedded {
		dir, err := os.MkdirTemp("", "closeout-bench-")
		if err != nil {
			return fmt.Errorf("make a folder: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		mini := miniredis.NewMiniRedis()
		defer mini.Close()
		rdb = redis.NewClient(&redis.Options{Addr: "miniredis", DisableIdentity: true, Protocol: 2, Dialer: func(context.Context, string, string) (net.Conn, error) { return mini.Dial() }})
		database = "sqlite:" + filepath.Join(dir, "closeout.db")
	} else {
		rdb = redis.NewUniversalClient(opts)
	}
	b, err := c.stand(ctx, rdb, database, embedded)
	if err != nil {
		return errors.Join(err, rdb.Close())
	}
	defer func() { err = errors.Join(err, b.close()) }()
	say := func(what string) {
		if !c.JSON {
			_, _ = fmt.Fprintf(o.err, "%s …\n", what)
		}
	}
	found, err := bench.Run(ctx, b.o, say)
	if err != nil {
		return err
	}
	return c.print(o, b, found)
}

// stand is the whole service in this process, with the recorder between its parts.
type stand struct {
	o               bench.Options
	parts           *parts
	broker          *sim.Sim
	runner          *handlers.Runner
	redis, database string // what they are, in words
}

func (b *stand) close() error {
	return errors.Join(b.o.DB.Close(), b.parts.close(), b.broker.Close())
}

func (c *benchCmd) stand(ctx context.Context, rdb redis.UniversalClient, database string, embedded bool) (*stand, error) {
	s := settings{env: closure.Sandbox, policy: closure.DefaultPolicy(closure.Sandbox), clock: closure.ScaledClock(benchDay, demoBegins, time.Now()), calls: 10_000_000, log: logrus.New()}
	s.log.SetLevel(logrus.ErrorLevel)
	rec := &bench.Recorder{Clock: s.clock}
	s.told = rec.Told
	b := &stand{}
	var err error
	if b.broker, err = sim.Open(sim.Options{Now: s.clock.Now, Machine: s.clock.Machine, FixedClock: true, Key: demoKey, Secret: demoSecret, DailyLimit: s.policy.DailyLimit}); err != nil {
		return nil, err
	}
	const address = "http://broker.invalid"
	if b.parts, err = assemble(ctx, s, rdb, database, alpaca.Options{BaseURL: address, Key: demoKey, Secret: demoSecret, Transport: rec.Transport(b.broker.Transport())}); err != nil {
		return nil, err
	}
	door, err := b.parts.handler(server.DevKeys(), 1_000_000, signin.Settings{PublicURL: "http://127.0.0.1"})
	if err != nil {
		return nil, err
	}
	b.o = bench.Options{
		Closures: c.Closures, Redis: rdb, SQLite: strings.HasPrefix(database, "sqlite:"), Embedded: embedded,
		Transport: b.broker.Transport(), Broker: address, Key: demoKey, Secret: demoSecret, Recorder: rec,
	}
	if b.o.DB, err = beside(database); err != nil {
		return nil, err
	}
	if err := b.empty(ctx, rdb); err != nil {
		return nil, err
	}
	if err := b.describe(ctx, rdb); err != nil {
		return nil, err
	}
	var closed, letters atomic.Int64
	var stopped atomic.Pointer[handlers.Ended]
	timing := closure.DefaultTiming // production's: a sweep that comes too early inspects what is only late
	timing.Sweep = 2 * time.Second  // but letters go out sooner
	b.parts.timing = timing
	w := b.parts.worker(ctx, noMailer{}, c.Concurrency, "")
	ended, visited, posted := w.Runner.Ended, w.Runner.Visited, w.Runner.Posted
	w.Runner.Ended = func(e handlers.Ended) {
		ended(e)
		switch e.Outcome {
		case "done":
			closed.Add(1)
		case "fail", "error":
			stopped.CompareAndSwap(nil, &e)
		}
	}
	w.Runner.Visited = func(late time.Duration) { visited(late); rec.Visited(late) }
	w.Runner.Posted = func(l closure.Letter, r handlers.PostResult) {
		posted(l, r)
		if r == handlers.Sent {
			letters.Add(1)
		}
	}
	w.Runner.Queue = rec.Queue(w.Runner.Queue)
	w.Runner.Heard = func(context.Context) bool { return true } // looks are relaxed, as beside heard event streams
	b.runner, b.o.Asynq = w.Runner, worker.Config(ctx, w)
	b.o.Service = bench.Service{
		Accounts: b.accounts,
		Initiate: func(ctx context.Context, a bench.Account, later bool) error {
			wish := map[string]any{"ach_relationship_id": a.Bank, "confirm_liquidation": true, "confirm_irreversible": true}
			if later {
				wish["not_before"] = s.clock.Now().AddDate(0, 0, 89)
			}
			return post(ctx, door, "initiate", a, wish, http.StatusAccepted)
		},
		Cancel: func(ctx context.Context, a bench.Account) error {
			return post(ctx, door, "cancel", a, map[string]any{"reason": "measured"}, http.StatusOK)
		},
		Begin:  b.begin,
		Keep:   b.keep,
		Work:   func(ctx context.Context) error { return worker.Run(ctx, w) },
		Closed: func() int { return int(closed.Load()) },
		Stopped: func() error {
			if e := stopped.Load(); e != nil {
				return fmt.Errorf("a closure came to grief in %s: %s %s", e.Phase, e.Outcome, e.Reason)
			}
			return nil
		},
		Letters: func() int { return int(letters.Load()) },
		Lives:   b.lives,
	}
	return b, nil
}

// beside opens the ledger's database once more, as the ledger does.
func beside(database string) (*sql.DB, error) {
	if file, ok := strings.CutPrefix(database, "sqlite:"); ok {
		db, err := sql.Open("sqlite", "file:"+file+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=busy_timeout(5000)&_txlock=immediate")
		if err == nil {
			db.SetMaxOpenConns(1)
		}
		return db, err
	}
	db, err := sql.Open("pgx", database)
	if err == nil {
		db.SetMaxOpenConns(16)
		db.SetMaxIdleConns(16)
	}
	return db, err
}

// empty refuses servers on which something stands.
func (b *stand) empty(ctx context.Context, rdb redis.UniversalClient) error {
	found, err := b.parts.ledger.List(ctx, ledger.Filter{}, ledger.Page{Limit: 1})
	if err != nil {
		return err
	}
	if len(found) > 0 {
		return fmt.Errorf("%w: there are closures in the ledger", bench.ErrNotEmpty)
	}
	keys, err := rdb.Exists(ctx, "asynq:queues").Result()
	if err != nil {
		return err
	}
	if keys > 0 {
		return fmt.Errorf("%w: Redis has queues", bench.ErrNotEmpty)
	}
	return nil
}

// describe says on what it is measured.
func (b *stand) describe(ctx context.Context, rdb redis.UniversalClient) error {
	b.redis, b.database = "miniredis", "SQLite (synchronous FULL)"
	if !b.o.Embedded {
		info, err := rdb.Info(ctx).Result()
		if err != nil {
			return err
		}
		aof := "no AOF"
		if bench.Field(info, "aof_enabled") == "1" {
			aof = "AOF"
		}
		b.redis = fmt.Sprintf("Redis %s (%s)", bench.Field(info, "redis_version"), aof)
	}
	if b.o.SQLite {
		return nil
	}
	var version, fsync string
	err := b.o.DB.QueryRowContext(ctx, "SELECT current_setting('server_version'), current_setting('fsync')").Scan(&version, &fsync)
	version, _, _ = strings.Cut(version, " ")
	b.database = fmt.Sprintf("Postgres %s (fsync %s)", version, fsync)
	return err
}

// accounts are, in turn, cash alone, one stock, and three stocks of which one has an open order.
func (b *stand) accounts(n int) ([]bench.Account, error) {
	specs := make([]sim.Spec, n)
	dollars := decimal.NewFromInt
	for i := range specs {
		specs[i].Cash = decimal.New(int64(100_00+i%90_000), -2)
		if i%3 > 0 {
			specs[i].Positions = append(specs[i].Positions, sim.PositionSpec{Symbol: "AAPL", Qty: dollars(3), Price: dollars(180)})
		}
		if i%3 > 1 {
			specs[i].Positions = append(specs[i].Positions, sim.PositionSpec{Symbol: "MSFT", Qty: dollars(2), Price: dollars(410)}, sim.PositionSpec{Symbol: "VTI", Qty: decimal.New(15, -1), Price: dollars(250)})
			specs[i].Orders = []sim.OrderSpec{{Symbol: "MSFT", Qty: dollars(1), LimitPrice: dollars(900)}}
		}
	}
	ids, err := b.broker.AddAccounts(specs)
	if err != nil {
		return nil, err
	}
	out := make([]bench.Account, n)
	for i, id := range ids {
		truth, err := b.broker.Truth(id)
		if err != nil {
			return nil, err
		}
		out[i] = bench.Account{ID: id, Bank: truth.ACHRelationships[0].ID}
	}
	return out, nil
}

// post asks the API's door itself, without a network between.
func post(ctx context.Context, door http.Handler, verb string, a bench.Account, body any, want int) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://127.0.0.1/api/account-closure/"+verb+"/"+a.ID, bytes.NewReader(b))
	if err != nil {
		return err
	}
	r.RemoteAddr = "127.0.0.1:1"
	r.Header.Set("X-API-Key", "dev")
	r.Header.Set("Content-Type", "application/json")
	w := &answer{header: http.Header{}}
	door.ServeHTTP(w, r)
	if w.status != want {
		return fmt.Errorf("%s %s: answered %d: %s", verb, a.ID, w.status, w.body.String())
	}
	return nil
}

// answer keeps what a handler writes.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header { return a.header }
func (a *answer) WriteHeader(n int) {
	if a.status == 0 {
		a.status = n
	}
}

func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(b)
}

// begin writes a closure of an account into the ledger.
func (b *stand) begin(ctx context.Context, a bench.Account) error {
	_, _, err := b.parts.ledger.Create(ctx, ledger.Wish{AccountID: a.ID, RelationshipID: a.Bank, Actor: "key:bench"})
	return err
}

// keep reads an account's closure and writes it so many times, each with an event.
func (b *stand) keep(ctx context.Context, a bench.Account, times int) error {
	c, err := b.parts.ledger.OfAccount(ctx, a.ID)
	for range times {
		if err != nil {
			break
		}
		o := closure.Wait(0, closure.Selling, closure.Reasons[closure.Selling].Title)
		if c.Reason == closure.Selling { // another reason each time: what is as it was has no event
			o = closure.Wait(0, closure.OrdersOpen, closure.Reasons[closure.OrdersOpen].Title)
		}
		c, err = b.parts.ledger.Save(ctx, c, closure.Looked(b.parts.clock.Now(), o, closure.Look{}, nil), nil)
	}
	return err
}

// lives reads how long the closed ones took.
func (b *stand) lives(ctx context.Context) (out []time.Duration, err error) {
	for p := (ledger.Page{Limit: 500}); ; {
		page, err := b.parts.ledger.List(ctx, ledger.Filter{Statuses: []string{"COMPLETED"}}, p)
		if err != nil {
			return nil, err
		}
		for _, c := range page {
			out = append(out, b.parts.clock.Machine(c.EndedAt.Sub(c.CreatedAt)))
		}
		if len(page) < p.Limit {
			return out, nil
		}
		p.After = p.By.Position(page[len(page)-1])
	}
}

// noMailer takes every letter.
type noMailer struct{}

// Send implements handlers.Mailer.
func (noMailer) Send(context.Context, mail.Letter) error { return nil }

// measuredJSON is the outcome for scripts: one line. Null is not known.
type measuredJSON struct {
	Redis          string             `json:"redis"`
	Ledger         string             `json:"ledger"`
	Closures       int                `json:"closures"`
	Concurrency    int                `json:"concurrency"`
	PerSecond      float64            `json:"closures_per_second"`
	CPU            float64            `json:"cpu_ms_per_closure"`
	CPUOf          map[string]float64 `json:"cpu_ms_per_closure_of"`
	FloorPerSecond float64            `json:"floor_closures_per_second"`
	FloorCPU       float64            `json:"floor_cpu_ms_per_closure"`
	FloorCPUOf     map[string]float64 `json:"floor_cpu_ms_per_closure_of"`
	OfFloor        float64            `json:"closures_of_floor"`
	CPUOfFloor     float64            `json:"cpu_of_floor"`
	KeptPerSecond  float64            `json:"ledger_closures_per_second"`
	KeptCPU        float64            `json:"ledger_cpu_ms_per_closure"`
	KeptCPUOf      map[string]float64 `json:"ledger_cpu_ms_per_closure_of"`
	CPUOfKept      float64            `json:"cpu_of_ledger"`
	Visits         float64            `json:"visits_per_closure"`
	Timers         float64            `json:"timers_per_closure"`
	Commits        float64            `json:"ledger_commits_per_closure"`
	RoundTrips     float64            `json:"ledger_round_trips_per_closure"`
	Calls          float64            `json:"broker_calls_per_closure"`
	Writes         float64            `json:"broker_writes_per_closure"`
	LateP50        float64            `json:"timer_lateness_p50_ms"`
	LateP99        float64            `json:"timer_lateness_p99_ms"`
	LifeP50        float64            `json:"initiate_to_closed_p50_s"`
	LifeP99        float64            `json:"initiate_to_closed_p99_s"`
	RSS            float64            `json:"rss_mib"`
	RSSHighest     float64            `json:"rss_highest_mib"`
	RedisWaiting   *float64           `json:"redis_bytes_per_waiting"`
	LedgerWaiting  *float64           `json:"ledger_bytes_per_waiting"`
	LedgerClosed   *float64           `json:"ledger_bytes_per_closed"`
	Initiates      float64            `json:"initiates_per_second"`
	InitiateCPU    float64            `json:"cpu_ms_per_initiate"`
}
