// Package lab is the bench on which the whole service is tested in virtual time: the real Asynq on miniredis, the real
// handlers, a real ledger on SQLite, and the simulator behind the real client, all inside a testing/synctest bubble. It
// can kill the worker at any numbered point, as a process is killed: nothing after that point is carried out, and what
// Redis had leased stays leased.
package lab

import (
	"context"
	"net"
	"net/http"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/sirupsen/logrus"
	"go.opentelemetry.io/otel/trace"

	"closeout/alpaca"
	"closeout/alpaca/sim"
	"closeout/calendar"
	"closeout/closure"
	"closeout/handlers"
	"closeout/internal/servers"
	"closeout/ledger"
	"closeout/mail"
	"closeout/tasks"
	"closeout/worker"
)

// Labs make much garbage and keep little: collecting it as often as usual would take a third of their time.
func init() { debug.SetGCPercent(800) }

// Options changes what a lab is made of. The zero value is production's policy and timing in the sandbox.
type Options struct {
	Start  string // New York time, "2006-01-02 15:04"; default Wednesday 2026-11-18 10:00
	Policy func(*closure.Policy)
	Timing func(*closure.Timing)
	Sim    func(*sim.Options)
	Budget handlers.Budget // nil: none

	// Bare leaves out Redis, Asynq and SQL: the handlers, the client and the simulator remain, and Drive moves the
	// closures. It is for tests of thousands of closures that are about the calendar and the money alone.
	Bare bool

	Events  bool // the broker's event streams are read
	Relaxed bool // and looks are put off while they are heard

	Redrives bool // bulk retries are carried out

	// Found puts a ledger of before in its place, before it is opened; the simulator's goes by Sim and its Path. Nil: all is new.
	Found func(ledger string)

	Tracer trace.Tracer // of visits and letters; nil: none

	// Who counts what the rooms tell of themselves sets these; each may be nil.
	Hooks func(*handlers.Runner)
	Asked func(alpaca.Asked)
	Swept func(began time.Time, s handlers.Swept, err error)
}

// Lab is one bench. Make it, and everything that uses it, inside a bubble.
type Lab struct {
	TB     testing.TB
	Sim    *sim.Sim
	Ledger *ledger.Ledger
	Broker *alpaca.Client
	Redis  *miniredis.Miniredis
	Policy closure.Policy
	Timing closure.Timing
	Budget handlers.Budget
	Log    *logrus.Logger
	Path   string       // of the ledger's file
	Visits atomic.Int64 // deliveries that reached the runner's ledger
	Calls  atomic.Int64 // of the broker since the last Initiate, without its event streams

	// KillAt ends the worker at that point, counted from 1; 0: never. Points are counted over the lab's whole life.
	KillAt int
	Points int
	Killed string // where the last kill struck
	Trail  Trail

	Letters []mail.Letter // delivered, in order

	// Before, if set, is called before each write reaches the broker: what a test does in it happens while the writer is
	// paused between its claim and the socket.
	Before func(r *http.Request)
	// AfterClaim, if set, is called when a claim has committed and nothing is sent yet.
	AfterClaim func(what string)

	// Forgets is why no claim can be remembered just now; nil: each is.
	Forgets atomic.Pointer[error]
	// Saved, if set, is called with what a visit has saved, before the next one can begin.
	Saved func(c closure.Closure)
	// Answered, if set, is called with each answer of the broker, whose header it may change.
	Answered func(r *http.Request, header http.Header)

	mu   sync.Mutex
	cur  *process
	peek *redis.Client // the lab's own eyes: miniredis's direct functions hand out its maps
	open bool

	due   dues // of a bare lab
	shelf *shelf

	handUntil int // so many points, see Kill; negative: hand nothing over

	rung    chan struct{} // something was scheduled while the lab was travelling
	streams *worker.Streams
	relaxed bool
	deaf    bool

	redrives bool
	hooks    func(*handlers.Runner)
	swept    func(time.Time, handlers.Swept, error)
	tracer   trace.Tracer
	quiet    func() // ends the reading of streams
}

// New makes a lab and travels to its start.
func New(tb testing.TB, o Options) *Lab {
	tb.Helper()
	if o.Start == "" {
		o.Start = "2026-11-18 10:00"
	}
	at, err := time.ParseInLocation("2006-01-02 15:04", o.Start, calendar.NewYork)
	if err != nil {
		tb.Fatal(err)
	}
	time.Sleep(time.Until(at))
	l := &Lab{
		TB: tb, handUntil: -1, rung: make(chan struct{}, 1), quiet: func() {}, Budget: o.Budget, redrives: o.Redrives, hooks: o.Hooks, swept: o.Swept, tracer: o.Tracer,
		Policy: closure.DefaultPolicy(closure.Sandbox), Timing: closure.DefaultTiming, Log: logrus.New(),
	}
	l.Log.SetLevel(logrus.PanicLevel) // silence that costs nothing
	if testing.Verbose() {
		l.Log.SetLevel(logrus.InfoLevel)
		l.Log.SetOutput(writer{tb})
		l.Log.SetFormatter(&logrus.TextFormatter{DisableColors: true, TimestampFormat: "01-02 15:04:05"})
	}
	if o.Policy != nil {
		o.Policy(&l.Policy)
	}
	if o.Timing != nil {
		o.Timing(&l.Timing)
	}
	so := sim.Options{Key: "key", Secret: "secret", Heartbeat: time.Minute} // each costs a lab time
	if o.Sim != nil {
		o.Sim(&so)
	}
	l.Sim = must(sim.Open(so))(tb)
	l.Broker = must(alpaca.New(alpaca.Options{BaseURL: "http://broker.test", Key: "key", Secret: "secret", Transport: wire{l, l.Sim.Transport()}, Asked: o.Asked}))(tb)
	l.Path = filepath.Join(servers.MemoryDir(tb), "closeout.db")
	if o.Found != nil {
		o.Found(l.Path)
	}
	l.Ledger = must(ledger.Open(tb.Context(), ledger.Options{URL: "sqlite:" + l.Path, Environment: closure.Sandbox, Policy: l.Policy}))(tb)
	if o.Bare {
		l.shelf = &shelf{l.Ledger, l.Policy, map[string]*row{}}
	} else {
		l.Redis = miniredis.NewMiniRedis()
		l.Redis.ClockTTL(true)
		l.peek = l.dial()
	}
	if o.Events {
		l.listen(tb.Context(), o.Relaxed)
	}
	l.start()
	l.open = true
	return l
}

// Close stops everything; a bubble must not end before.
func (l *Lab) Close() {
	if !l.open {
		return
	}
	l.open = false
	l.quiet()
	if l.Redis != nil {
		_ = l.cur.rdb.Close()
		_ = l.peek.Close()
		l.Redis.Close()
	}
	_ = l.Ledger.Close()
	_ = l.Sim.Close()
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(tb testing.TB) T {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
		return v
	}
}

func (l *Lab) dial() *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr: "127.0.0.1:1", Protocol: 2, DisableIdentity: true, ReadTimeout: -1, WriteTimeout: -1,
		Dialer: func(context.Context, string, string) (net.Conn, error) { return l.Redis.Dial() },
	})
}

// start begins a new life of the worker, with connections of its own.
func (l *Lab) start() {
	p := &process{}
	cal := calendar.Rules()
	p.run = &handlers.Runner{
		Broker: l.Broker, Budget: l.Budget, Calendar: func() *calendar.Calendar { return cal }, Policy: l.Policy, Timing: l.Timing, Log: l.Log,
		Post: handlers.Letters{Broker: l.Broker, Mailer: post{l}}, Tracer: l.tracer,
	}
	if l.relaxed {
		p.run.Heard = l.streams.Heard
	}
	if l.hooks != nil {
		l.hooks(p.run)
	}
	l.cur = p
	if l.shelf != nil {
		p.run.Ledger, p.run.Queue = l.shelf, &l.due
		return
	}
	p.rdb = l.dial()
	worker.RepairAcks(p.rdb)
	p.rdb.AddHook(p)
	q := tasks.NewQueue(p.rdb, closure.Clock{}, l.Timing.Task)
	p.run.Ledger, p.run.Queue = points{l, p, l.Ledger}, queue{l, p, q}
	p.memory = &worker.Memory{Ledger: l.Ledger, Queue: q, Log: l.Log}
	p.run.Remember = func(ctx context.Context, c closure.Closure) error {
		if err := l.Forgets.Load(); err != nil {
			return *err
		}
		return p.memory.Claimed(ctx, c)
	}
	if l.redrives {
		p.redrives = &handlers.Redrives{Ledger: retries{points{l, p, l.Ledger}}, Queue: queue{l, p, tasks.NewQueue(p.rdb, closure.Clock{}, l.Timing.Task)}, Timing: l.Timing, Log: l.Log, Tracer: l.tracer}
	}
}

// Initiate asks for the closing of a simulator's account, as the server does once it has found it ready.
func (l *Lab) Initiate(account string) closure.Closure {
	l.TB.Helper()
	banks := must(l.Broker.Relationships(l.TB.Context(), account))(l.TB)
	if len(banks) == 0 {
		l.TB.Fatalf("account %s has no bank", account)
	}
	l.Calls.Store(0)
	c, created, err := l.Ledger.Create(l.TB.Context(), ledger.Wish{
		AccountID: account, RelationshipID: banks[0].ID, Fingerprint: banks[0].Fingerprint, Actor: "lab",
	})
	if err != nil || !created {
		l.TB.Fatalf("create: %v, created %v", err, created)
	}
	l.guard(func() { _ = l.Schedule(l.TB.Context(), c) }) // a server killed here leaves the rest to the sweep
	return c
}

// Schedule asks for a closure's visit, as the server does.
func (l *Lab) Schedule(ctx context.Context, c closure.Closure) error {
	return l.cur.run.Queue.Schedule(ctx, c)
}

// Open makes an account and asks for its closing.
func (l *Lab) Open(s sim.Spec) closure.Closure {
	l.TB.Helper()
	return l.Initiate(must(l.Sim.AddAccount(s))(l.TB))
}

// Get reads a closure.
func (l *Lab) Get(id string) closure.Closure {
	l.TB.Helper()
	if l.shelf != nil {
		return must(l.shelf.Get(l.TB.Context(), id))(l.TB)
	}
	return must(l.Ledger.Get(l.TB.Context(), id))(l.TB)
}

// Deliver carries out one visit of the closure's present version at this moment, as a second copy of a task would.
func (l *Lab) Deliver(c closure.Closure) error {
	return l.cur.run.Visit(context.WithoutCancel(l.TB.Context()), handlers.Delivery{Payload: tasks.PayloadOf(c), Trace: c.Trace})
}

// FlushRedis empties Redis, as FLUSHALL does.
func (l *Lab) FlushRedis() { l.peek.FlushAll(l.TB.Context()) }
