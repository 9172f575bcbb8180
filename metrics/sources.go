package metrics

import (
	"context"
	"database/sql"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/sirupsen/logrus"

	"closeout/budget"
	"closeout/calendar"
	"closeout/closure"
	"closeout/ledger"
	"closeout/live"
	"closeout/readiness"
	"closeout/tasks"
)

// Ledger is what is read of the system of record: a *ledger.Ledger.
type Ledger interface {
	Board(ctx context.Context, slow ledger.Cutoffs, endedSince time.Time) (ledger.Board, error)
	Asking(ctx context.Context, noted ...closure.Reason) ([]ledger.Group, error)
	Figures(ctx context.Context) (ledger.Figures, error)
	OpenIntents(ctx context.Context, now time.Time) ([]ledger.OpenIntents, error)
	Hold(ctx context.Context) (ledger.Hold, error)
	Pool() sql.DBStats
}

// Queue is what is read of Asynq: a *tasks.Queue.
type Queue interface {
	Sizes(ctx context.Context) ([]tasks.Size, error)
	Workers(ctx context.Context) ([]tasks.Worker, error)
}

// Sources are what is read when somebody scrapes. All must be set.
type Sources struct {
	Ledger   Ledger
	Queue    Queue
	Redis    redis.UniversalClient
	Budget   func() budget.State
	Calendar func() *calendar.Calendar
	Clock    closure.Clock
	Policy   closure.Policy
	Log      *logrus.Logger
}

// A reading serves for so long, and is waited for so long: who scrapes is told the rest at once, and that it failed.
const (
	life     = 15 * time.Second
	patience = 2 * time.Second
)

// The sources, as the errors name them.
const (
	ofLedger  = "ledger"
	ofQueues  = "queues"
	ofWorkers = "workers"
	ofRedis   = "redis"
)

// books are what the ledger said at one moment of business and of machine time.
type books struct {
	board   ledger.Board
	asking  []ledger.Group
	figures ledger.Figures
	intents []ledger.OpenIntents
	hold    ledger.Hold
	at      time.Time
	wall    time.Time
}

// reader is the collector of all that is read at a scrape.
type reader struct {
	Sources
	version string
	failed  *prometheus.CounterVec

	books   live.Kept[books]
	sizes   live.Kept[[]tasks.Size]
	workers live.Kept[[]tasks.Worker]
	facts   live.Kept[tasks.Told]
}

// Watch shows what these sources say, from now on. It is called once.
func (m *Metrics) Watch(s Sources) {
	r := &reader{
		Sources: s, version: m.version,
		failed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "closeout_scrape_errors_total", Help: "Readings of a source that failed when somebody scraped; its series are missing then.",
		}, []string{"source"}),
		books:   live.Kept[books]{Life: life, Patience: patience},
		sizes:   live.Kept[[]tasks.Size]{Life: life, Patience: patience},
		workers: live.Kept[[]tasks.Worker]{Life: life, Patience: patience},
		facts:   live.Kept[tasks.Told]{Life: life, Patience: patience},
	}
	for _, of := range []string{ofLedger, ofQueues, ofWorkers, ofRedis} {
		r.failed.WithLabelValues(of)
	}
	m.registry.MustRegister(r)
}

// Describe implements prometheus.Collector.
func (r *reader) Describe(out chan<- *prometheus.Desc) {
	for _, d := range described {
		out <- d
	}
	r.failed.Describe(out)
}

// Collect implements prometheus.Collector. It reads everything at once, so that it takes no longer than the slowest source.
func (r *reader) Collect(out chan<- prometheus.Metric) {
	ctx := context.Background() // a scrape has none, and a reading bounds itself
	e := emit(out)
	var told [4]chan func()
	for n, read := range []func() func(){
		func() func() { return get(ctx, r, ofLedger, &r.books, r.readBooks, e.books(r)) },
		func() func() { return get(ctx, r, ofQueues, &r.sizes, r.Queue.Sizes, e.queues) },
		func() func() { return get(ctx, r, ofWorkers, &r.workers, r.Queue.Workers, e.workers(r.version)) },
		func() func() { return get(ctx, r, ofRedis, &r.facts, r.readFacts, e.facts) },
	} {
		told[n] = make(chan func(), 1)
		go func() { told[n] <- read() }()
	}
	e.budget(r.Budget())
	e.pools(r.Ledger.Pool(), r.Redis.PoolStats())
	for _, t := range told {
		(<-t)()
	}
	r.failed.Collect(out) // after the readings of this very scrape
}

// get makes a reading and says how to show it. One that failed is counted, and shows nothing.
func get[T any](ctx context.Context, r *reader, source string, k *live.Kept[T], read func(context.Context) (T, error), show func(T)) func() {
	v, err := k.Get(ctx, read)
	if err != nil {
		r.failed.WithLabelValues(source).Inc()
		r.Log.WithError(err).WithField("source", source).Debug("the metrics lack what could not be read") // health tells the log once
		return func() {}
	}
	return func() { show(v) }
}

func (r *reader) readBooks(ctx context.Context) (b books, err error) {
	b.at, b.wall = r.Clock.Now(), time.Now()
	if b.board, err = r.Ledger.Board(ctx, readiness.PastUsual(r.Calendar(), r.Policy, b.at), b.at); err != nil {
		return b, err
	}
	if b.asking, err = r.Ledger.Asking(ctx); err != nil {
		return b, err
	}
	if b.figures, err = r.Ledger.Figures(ctx); err != nil {
		return b, err
	}
	if b.intents, err = r.Ledger.OpenIntents(ctx, b.wall); err != nil {
		return b, err
	}
	b.hold, err = r.Ledger.Hold(ctx)
	return b, err
}

func (r *reader) readFacts(ctx context.Context) (tasks.Told, error) { return tasks.Ask(ctx, r.Redis) }
