package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/sirupsen/logrus"
	"go.opentelemetry.io/otel/trace"

	"closeout/alpaca"
	"closeout/budget"
	"closeout/closure"
	"closeout/console"
	"closeout/desk"
	"closeout/handlers"
	"closeout/ledger"
	"closeout/live"
	"closeout/mail"
	"closeout/metrics"
	"closeout/readiness"
	"closeout/server"
	"closeout/signin"
	"closeout/tasks"
	"closeout/worker"
)

// parts are what the server and the worker are made of.
type parts struct {
	settings
	timing  closure.Timing
	rdb     redis.UniversalClient
	ledger  *ledger.Ledger
	queue   *tasks.Queue
	budget  *budget.Budget
	broker  *alpaca.Client
	almanac *handlers.Almanac
	metrics *metrics.Metrics
	tracer  trace.Tracer // nil: no spans are made
	stop    func()       // ends what runs beside the doors
}

func assemble(ctx context.Context, s settings, rdb redis.UniversalClient, database string, broker alpaca.Options) (*parts, error) {
	worker.RepairAcks(rdb)
	p := &parts{settings: s, timing: closure.TimingOf(s.clock), rdb: rdb, metrics: metrics.New(version, s.env)}
	p.budget = budget.New(budget.Options{Redis: rdb, Name: string(s.env), PerMinute: s.calls, Probe: p.timing.Probe, Log: s.log})
	broker.Gate, broker.Asked = p.budget, p.metrics.Asked
	var err error
	if p.broker, err = alpaca.New(broker); err != nil {
		return nil, err
	}
	if p.ledger, err = ledger.Open(ctx, ledger.Options{URL: database, Environment: s.env, Policy: s.policy, Clock: s.clock, AccountStatus: s.status, AsIs: s.asIs, Told: s.told}); err != nil {
		return nil, err
	}
	if why := p.ledger.StatusHidden(); why != "" {
		s.log.Warn("CLOSEOUT_ACCOUNT_STATUS: " + why + ". Meanwhile the status of accounts whose rows are hidden is not set")
	}
	var flush func()
	if p.tracer, flush, err = s.traces.start(ctx, s.env, s.log); err != nil {
		return nil, errors.Join(err, p.ledger.Close())
	}
	p.queue = tasks.NewQueue(rdb, s.clock, p.timing.Task)
	p.almanac = &handlers.Almanac{Ledger: p.ledger, Clock: s.clock, Log: s.log}
	if !s.looks { // what the broker says is kept
		p.almanac.Broker = p.broker
	}
	p.metrics.Watch(metrics.Sources{
		Ledger: p.ledger, Queue: p.queue, Redis: rdb, Budget: p.budget.State, Calendar: p.almanac.Calendar, Clock: s.clock, Policy: s.policy, Log: s.log,
	})
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // it ends after the doors are closed
	var beside sync.WaitGroup
	beside.Go(func() { _ = p.almanac.Run(ctx) }) // it tells its troubles to the log, and the rules hold meanwhile
	beside.Go(func() {
		p.budget.Probe(ctx, func(ctx context.Context) error {
			_, err := p.broker.Clock(ctx)
			return err
		})
	})
	p.stop = func() { cancel(); beside.Wait(); flush() }
	return p, nil
}

// close comes last, when nothing uses the parts any more.
func (p *parts) close() error {
	p.stop()
	return errors.Join(p.ledger.Close(), p.rdb.Close())
}

// health asks what a worker needs.
func (p *parts) health(ctx context.Context) map[string]error {
	return pingAll(ctx, map[string]ping{"ledger": p.ledger.Ping, "redis": p.queue.Ping})
}

type ping = func(context.Context) error

// pingAll asks everything at once, within two seconds in all. What has not answered by then is down.
func pingAll(ctx context.Context, pings map[string]ping) map[string]error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	asked := map[string]chan error{}
	for what, ping := range pings {
		answer := make(chan error, 1)
		asked[what] = answer
		go func() { answer <- ping(ctx) }()
	}
	found := map[string]error{}
	for what, answer := range asked {
		select {
		case found[what] = <-answer:
		case <-ctx.Done():
			found[what] = ctx.Err()
		}
	}
	return found
}

func (p *parts) handler(keys server.Keys, perSecond int, people signin.Settings) (http.Handler, error) {
	hub := live.NewHub(live.Options{Feed: p.ledger, Log: p.log})
	ready := budgeted{p.checker(), p.budget}
	pages, err := console.New(console.Options{
		Ledger: p.ledger, Desk: p.desk(ready), Readiness: ready, Live: hub, System: p.queue, Calendar: p.almanac.Calendar, Clock: p.clock, Policy: p.policy, Seen: server.Seen, Log: p.log, Version: version,
		SignIn: people, Monitoring: shared{p.rdb},
		ScheduleRedrive: func(ctx context.Context, r ledger.Redrive) error {
			return p.queue.ScheduleBite(ctx, handlers.RedriveTask(r))
		},
	})
	if err != nil {
		return nil, err
	}
	return server.New(server.Options{
		Console: pages, Live: hub,
		Ledger: p.ledger, Schedule: p.queue.Schedule, Keys: keys, Limiter: server.NewLimiter(p.rdb, string(p.env), perSecond, p.log), Clock: p.clock, Policy: p.policy, Log: p.log, Version: version,
		Beside: func(ctx context.Context) map[string]error {
			found := pingAll(ctx, map[string]ping{"redis": p.queue.Ping})
			if err := p.budget.Err(); err != nil { // nothing is said of a broker that was not asked
				found["broker"] = err
			}
			return found
		},
		ScheduleBatch: func(ctx context.Context, b ledger.Batch) error {
			return p.queue.ScheduleBite(ctx, handlers.BatchTask(b))
		},
		Queues:    p.queue.Sizes,
		Metrics:   p.metrics,
		Answered:  p.metrics.Answered,
		Readiness: ready,
		Tracer:    p.tracer,
	})
}

// desk is the console's.
func (p *parts) desk(ready desk.Readiness) *desk.Desk {
	return &desk.Desk{
		Ledger: p.ledger, Readiness: ready, Clock: p.clock, Policy: p.policy,
		Schedule: func(ctx context.Context, c closure.Closure) {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
			defer cancel()
			if err := p.queue.Schedule(ctx, c); err != nil {
				p.log.WithError(err).WithField("closure", c.ID).Warn("a visit cannot be scheduled now; the sweep does it")
			}
		},
	}
}

func (p *parts) checker() *readiness.Checker {
	return &readiness.Checker{Broker: p.broker, Calendar: p.almanac.Calendar, Policy: p.policy, Clock: p.clock}
}

// budgeted takes the calls of a check at once: an account that is half read is calls for nothing.
type budgeted struct {
	*readiness.Checker
	budget *budget.Budget
}

// checkCalls is about how many calls a readiness check makes.
const checkCalls = 8

// Check implements server.Readiness.
func (b budgeted) Check(ctx context.Context, account, relationship string) (readiness.Report, error) {
	ctx, err := b.budget.Ask(ctx, account, checkCalls)
	if err != nil {
		return readiness.Report{}, &readiness.UnreadableError{What: "the account", Err: err}
	}
	return b.Checker.Check(ctx, account, relationship)
}

// viewCalls is about how many calls a view of an account takes.
const viewCalls = 6

// View implements console.Readiness.
func (b budgeted) View(ctx context.Context, account string) (readiness.View, error) {
	ctx, err := b.budget.Ask(ctx, account, viewCalls)
	if err != nil {
		return readiness.View{}, &readiness.UnreadableError{What: "the account", Err: err}
	}
	return b.Checker.View(ctx, account)
}

// Banks implements console.Readiness: one call.
func (b budgeted) Banks(ctx context.Context, account string) ([]readiness.LinkedBank, error) {
	ctx, err := b.budget.Ask(ctx, account, 1)
	if err != nil {
		return nil, &readiness.UnreadableError{What: "the bank relationships", Err: err}
	}
	return b.Checker.Banks(ctx, account)
}

// Transfers implements server.Readiness: a list and its empty page.
func (b budgeted) Transfers(ctx context.Context, account string) ([]readiness.Transfer, error) {
	ctx, err := b.budget.Ask(ctx, account, 2)
	if err != nil {
		return nil, &readiness.UnreadableError{What: "the transfers", Err: err}
	}
	return b.Checker.Transfers(ctx, account)
}

func (p *parts) worker(ctx context.Context, mailer handlers.Mailer, concurrency int, healthAddr string) worker.Options {
	beat := &worker.Beat{Tell: p.queue.Tell, Version: version, Broker: func() tasks.Broker { return standing(p.budget.State()) }}
	patrol := &worker.Patrol{Ledger: p.ledger, Sweep: p.timing.Sweep, Log: p.log}
	p.metrics.Patrol(func() (int, int64) { s := patrol.Stats(); return s.Broken, s.Events })
	memory := &worker.Memory{Ledger: p.ledger, Queue: p.queue, Log: p.log}
	return worker.Options{
		Metrics: p.metrics, Swept: p.metrics.Swept,
		Redis: p.rdb, Timing: p.timing, Concurrency: concurrency, Health: p.health, Broker: p.budget.Err, HealthAddr: healthAddr, Forget: p.ledger.Forget, Hurry: hurried(ctx), Log: p.log, Beat: beat,
		Patrol: patrol, Memory: memory,
		Runner: &handlers.Runner{
			Ledger: p.ledger, Queue: p.queue, Broker: p.broker, Budget: p.budget, Calendar: p.almanac.Calendar,
			Clock: p.clock, Policy: p.policy, Timing: p.timing, Post: handlers.Letters{Broker: p.broker, Mailer: mailer}, Log: p.log, Remember: memory.Claimed,
			Visited: func(late time.Duration) { beat.Visited(late); p.metrics.Began(late) }, Ended: p.metrics.Visited, Posted: p.metrics.Posted,
			Tracer: p.tracer,
		},
		Batches: &handlers.Batches{
			Ledger: p.ledger, Queue: p.queue, Readiness: p.checker(), Budget: p.budget, Clock: p.clock, Timing: p.timing, Log: p.log, Tracer: p.tracer,
		},
		Redrives: &handlers.Redrives{Ledger: p.ledger, Queue: p.queue, Timing: p.timing, Log: p.log, Tracer: p.tracer},
	}
}

// standing is the state of the budget in the words that people are shown.
func standing(s budget.State) tasks.Broker {
	b := tasks.Broker{
		Down: string(s.Why), Since: s.Since, PerMinute: s.PerMinute, Backlog: s.Backlog, Alone: s.Alone, Limit: s.Limit, Left: s.Left, Renewed: s.Renewed,
		Calls: map[string]uint64{"looks": s.Calls[budget.Look], "questions": s.Calls[budget.Asked], "money": s.Calls[budget.Money]}, Held: map[string]uint64{},
	}
	for why, n := range s.Held {
		b.Held[string(why)] = n
	}
	return b
}

// shared hands asynqmon the connection that is there already.
type shared struct{ rdb redis.UniversalClient }

var _ asynq.RedisConnOpt = shared{}

// MakeRedisClient implements asynq.RedisConnOpt.
func (s shared) MakeRedisClient() any { return s.rdb }

// serve answers HTTP on a listener until ctx ends, then lets the requests in hand finish.
func serve(ctx context.Context, ln net.Listener, h http.Handler) error {
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, WriteTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
	}
	if b, ok := h.(interface{ Hangup() }); ok { // streams never end by themselves
		srv.RegisterOnShutdown(b.Hangup)
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(ln) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	go func() {
		select {
		case <-hurried(ctx):
			cancel()
		case <-drain.Done():
		}
	}()
	if err := srv.Shutdown(drain); err != nil {
		return fmt.Errorf("stopped with requests in hand: %w", errors.Join(err, srv.Close()))
	}
	return nil
}

func listen(ctx context.Context, addr string) (net.Listener, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w (is another one running? choose another address by flag)", addr, err)
	}
	return ln, nil
}

// logMailer writes letters to the log instead of sending them: kind, subject and Message-ID, no address and no name.
type logMailer struct{ log *logrus.Logger }

// Send implements handlers.Mailer.
func (m logMailer) Send(_ context.Context, l mail.Letter) error {
	subject, _, _, err := mail.Render(l)
	if err != nil {
		return err
	}
	m.log.WithFields(logrus.Fields{"letter": l.Kind, "message_id": l.MessageID("closeout.invalid")}).Info("letter: " + subject)
	return nil
}
