package metrics

import (
	"cmp"
	"database/sql"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"closeout/alpaca"
	"closeout/budget"
	"closeout/closure"
	"closeout/ledger"
	"closeout/tasks"
)

// described are the series that are read; describe adds one.
var described []*prometheus.Desc

func describe(name, help string, labels ...string) *prometheus.Desc {
	d := prometheus.NewDesc(name, help, labels, nil)
	described = append(described, d)
	return d
}

// Of the ledger, about all closures of this environment. Ages are of business time where days matter, and of machine time where
// this service is late.
var (
	closures   = describe("closeout_closures", "Closures that are not over; phase start: accepted for later.", "phase", "state")
	pastUsual  = describe("closeout_closures_past_usual_time", "Running closures that have been in their phase for longer than usual, as the board counts.", "phase")
	oldest     = describe("closeout_oldest_in_phase_seconds", "How long the running closure that has been in the phase the longest has been there, of business time.", "phase")
	oldestAsks = describe("closeout_oldest_waiting_for_somebody_seconds", "The same, of those for which a person or the broker must act before they go on.", "phase")
	oldestStop = describe("closeout_oldest_stopped_seconds", "How long ago the first of the closures that have failed, are dead or paused stopped, of business time.", "state", "reason")
	oldestLost = describe("closeout_oldest_unknown_intent_seconds", "For how long the oldest unknown instruction has been one, of machine time.", "kind")
	money      = describe("closeout_money_in_flight_dollars", "What the accounts of closures that are not over hold, where it is known.", "phase")
	unknown    = describe("closeout_money_unknown_closures", "Closures that are not over whose money is not known, and in no sum.", "phase")
	onTheirWay = describe("closeout_payouts_on_their_way_dollars", "Payouts on their way, of closures that are not over, where it is known.")
	stopped    = describe("closeout_stopped_closures", "Closures that have failed or are dead.", "state", "reason")
	intents    = describe("closeout_intents", "Instructions to the broker: sending; unknown: nobody knows whether they were carried out; late: given up, and then carried out.", "kind", "state")
	due        = describe("closeout_due_visits", "Running closures whose visit is due, counted up to 10001.")
	dueOldest  = describe("closeout_due_visit_oldest_seconds", "For how long the oldest of them has been due, of machine time.")
	owed       = describe("closeout_letters_owed", "Letters that are owed, counted up to 10001.")
	owedOldest = describe("closeout_letters_owed_oldest_seconds", "For how long the oldest of them has been owed, of machine time.")
	givenUp    = describe("closeout_letters_given_up", "Letters that could not be delivered, counted up to 10001.")
	silence    = describe("closeout_event_stream_silence_seconds", "How long ago a stream of the broker's events was last heard, of machine time; +Inf: never.", "topic")
	held       = describe("closeout_held", "1 while an operator holds everything: nothing is sent to the broker.")
	size       = describe("closeout_ledger_size_bytes", "The ledger's tables and indexes; of SQLite, the file.")
)

// Of Redis. Asynq's have the names of asynq/x/metrics, which public dashboards use.
var (
	enqueued     = describe("asynq_tasks_enqueued_total", "Number of tasks enqueued; broken down by queue and state.", "queue", "state")
	queueSize    = describe("asynq_queue_size", "Number of tasks in a queue.", "queue")
	queueLatency = describe("asynq_queue_latency_seconds", "Number of seconds the oldest pending task is waiting in pending state to be processed.", "queue")
	queueMemory  = describe("asynq_queue_memory_usage_approx_bytes", "Number of memory used by a given queue (approximated number by sampling).", "queue")
	processed    = describe("asynq_tasks_processed_total", "Number of tasks processed (both succeeded and failed); broken down by queue.", "queue")
	tasksFailed  = describe("asynq_tasks_failed_total", "Number of tasks failed; broken down by queue.", "queue")
	queuePaused  = describe("asynq_queue_paused_total", "1 while the queue is paused.", "queue")

	workers     = describe("closeout_workers", "Workers whose heartbeat is heard; of this process's version there may be 0.", "version")
	workerTasks = describe("closeout_worker_tasks", "Tasks in their hands.")

	evicts      = describe("closeout_redis_evicts", "1 if a full Redis would drop what the queue needs.")
	evicted     = describe("closeout_redis_evicted_keys_total", "Keys that Redis has dropped because it was full.")
	redisMemory = describe("closeout_redis_memory_bytes", "Memory that Redis uses.")
	persists    = describe("closeout_redis_persists", "1 if Redis keeps an append-only file.")
)

// Of this process.
var (
	perMinute  = describe("closeout_broker_budget_per_minute", "Calls to the broker that all processes together may make in any minute.")
	backlog    = describe("closeout_broker_budget_backlog_seconds", "How far ahead the queue of looks was taken up when this process last asked.")
	alone      = describe("closeout_broker_budget_alone", "1 while this process keeps to a share of the budget because Redis does not answer.")
	quotaLimit = describe("closeout_broker_quota_limit", "The broker's own limit of calls, as it was last told.")
	quotaLeft  = describe("closeout_broker_quota_left", "Calls left of it then.")
	calls      = describe("closeout_broker_calls_total", "Calls made, by what they were for.", "class")
	heldBack   = describe("closeout_broker_held_total", "Calls and visits that were held back.", "why")
	breaker    = describe("closeout_broker_breaker_open", "1 while nobody asks the broker, since it does not answer.")
	refused    = describe("closeout_broker_credentials_refused", "1 while nobody asks the broker, since it refuses the credentials.")

	poolOpen      = describe("closeout_ledger_pool_open", "Connections to the database.")
	poolInUse     = describe("closeout_ledger_pool_in_use", "Of these, those at work.")
	poolIdle      = describe("closeout_ledger_pool_idle", "Of these, those that wait.")
	poolWaits     = describe("closeout_ledger_pool_waits_total", "Times that one had to be waited for.")
	poolWaited    = describe("closeout_ledger_pool_wait_seconds_total", "How long they were waited for.")
	redisOpen     = describe("closeout_redis_pool_open", "Connections to Redis.")
	redisIdle     = describe("closeout_redis_pool_idle", "Of these, those that wait.")
	redisStale    = describe("closeout_redis_pool_stale_total", "Connections that were thrown away because they were of no use any more.")
	redisMisses   = describe("closeout_redis_pool_misses_total", "Times that no idle connection was found.")
	redisTimeouts = describe("closeout_redis_pool_timeouts_total", "Times that one was waited for in vain.")
)

// emit sends series to whoever scrapes.
type emit chan<- prometheus.Metric

func (e emit) gauge(d *prometheus.Desc, v float64, labels ...string) {
	e <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (e emit) counter(d *prometheus.Desc, v float64, labels ...string) {
	e <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
}

func (e emit) is(d *prometheus.Desc, so bool, labels ...string) {
	v := 0.0
	if so {
		v = 1
	}
	e.gauge(d, v, labels...)
}

// standing is how many closures are in a lane and a state, or have stopped for a reason.
type standing struct{ a, b string }

// lane is what the board says of a lane.
type lane struct {
	n, slow int
	age     float64
	asks    float64 // of those that wait for somebody
	ledger.Money
}

// known says whether anything is known of its money: the sum of nothing is not zero.
func (l *lane) known() bool { return l.n == 0 || l.Unknown < l.n }

// books shows what the ledger said. Each phase and state is shown with zero as well: what is missing is not known.
func (e emit) books(r *reader) func(books) {
	return func(b books) {
		n, stops, lanes, all := map[standing]int{}, map[standing]int{}, map[ledger.Lane]*lane{}, lane{}
		for _, ln := range ledger.Lanes() {
			lanes[ln] = &lane{}
			for _, s := range []closure.State{closure.Running, closure.Paused, closure.Failed, closure.Dead} {
				if ln != ledger.StartLane || s == closure.Running {
					n[standing{string(ln), string(s)}] = 0
				}
			}
		}
		for _, t := range b.board.Tallies {
			n[standing{string(t.Lane), string(t.State)}] += t.N
			in := lanes[t.Lane]
			for _, l := range []*lane{in, &all} {
				l.n += t.N
				l.slow += t.Slow
				l.Add(t.Money)
			}
			switch t.State {
			case closure.Running:
				if !t.Since.IsZero() {
					in.age = max(in.age, b.at.Sub(t.Since).Seconds())
					if t.Who != closure.Nobody {
						in.asks = max(in.asks, b.at.Sub(t.Since).Seconds())
					}
				}
			case closure.Failed, closure.Dead:
				stops[standing{string(t.State), known(t.Reason)}] += t.N
			case closure.Paused, closure.Closed, closure.Canceled:
			}
		}
		for s, count := range n {
			e.gauge(closures, float64(count), s.a, s.b)
		}
		for s, count := range stops {
			e.gauge(stopped, float64(count), s.a, s.b)
		}
		for ln, l := range lanes {
			e.gauge(unknown, float64(l.Unknown), string(ln))
			if l.known() {
				e.gauge(money, l.Worth.InexactFloat64(), string(ln))
			}
			if ln != ledger.StartLane {
				e.gauge(pastUsual, float64(l.slow), string(ln))
				e.gauge(oldest, l.age, string(ln))
				e.gauge(oldestAsks, l.asks, string(ln))
			}
		}
		if all.known() {
			e.gauge(onTheirWay, all.OnWay.InexactFloat64())
		}
		e.stopped(b)
		e.open(b.intents, b.wall)
		e.figures(r, b)
		e.is(held, b.hold.Held)
	}
}

// stopped shows since when nothing has happened. What a reason unknown to this version stands for is one series.
func (e emit) stopped(b books) {
	ages := map[standing]float64{}
	for _, g := range b.asking {
		if s := (standing{string(g.State), known(g.Reason)}); g.State != closure.Running {
			ages[s] = max(ages[s], b.at.Sub(g.Since).Seconds())
		}
	}
	for s, age := range ages {
		e.gauge(oldestStop, age, s.a, s.b)
	}
}

// open shows the instructions that have not come to their end.
func (e emit) open(found []ledger.OpenIntents, now time.Time) {
	n, lost := map[standing]int{}, map[closure.IntentKind]float64{}
	for _, kind := range []closure.IntentKind{closure.CancelIntent, closure.OrderIntent, closure.TransferIntent, closure.CloseIntent} {
		n[standing{string(kind), "sending"}], n[standing{string(kind), "unknown"}], lost[kind] = 0, 0, 0
	}
	n[standing{string(closure.TransferIntent), "late"}] = 0
	for _, o := range found {
		n[standing{string(o.Kind), o.State}] += o.N
		if o.State == "unknown" {
			lost[o.Kind] = max(lost[o.Kind], now.Sub(o.Until).Seconds())
		}
	}
	for kind, age := range lost {
		e.gauge(oldestLost, age, string(kind))
	}
	for s, count := range n {
		e.gauge(intents, float64(count), s.a, s.b)
	}
}

func (e emit) figures(r *reader, b books) {
	f := b.figures
	late := func(d *prometheus.Desc, none bool, age float64) {
		if none {
			age = 0
		}
		e.gauge(d, max(age, 0))
	}
	e.gauge(due, float64(f.Due))
	late(dueOldest, f.DueSince.IsZero(), r.Clock.Machine(b.at.Sub(f.DueSince)).Seconds())
	e.gauge(owed, float64(f.LettersOwed))
	late(owedOldest, f.OwedSince.IsZero(), r.Clock.Machine(b.at.Sub(f.OwedSince)).Seconds())
	e.gauge(givenUp, float64(f.LettersFailed))
	e.gauge(size, float64(f.Bytes))
	for _, s := range f.Streams {
		age := math.Inf(1)
		if !s.HeardAt.IsZero() {
			age = max(b.wall.Sub(s.HeardAt).Seconds(), 0)
		}
		e.gauge(silence, age, s.Topic)
	}
}

func (e emit) queues(sizes []tasks.Size) {
	for _, s := range sizes {
		for state, n := range map[string]int{
			"active": s.Active, "archived": s.Archived, "completed": s.Completed, "pending": s.Pending, "retry": s.Retry, "scheduled": s.Scheduled,
		} {
			e.gauge(enqueued, float64(n), s.Name, state)
		}
		e.gauge(queueSize, float64(s.Active+s.Archived+s.Pending+s.Retry+s.Scheduled), s.Name)
		e.gauge(queueLatency, s.Latency.Seconds(), s.Name)
		e.gauge(queueMemory, float64(s.Bytes), s.Name)
		e.counter(processed, float64(s.Processed), s.Name)
		e.counter(tasksFailed, float64(s.Failed), s.Name)
		e.is(queuePaused, s.Paused, s.Name)
	}
}

func (e emit) workers(own string) func([]tasks.Worker) {
	return func(found []tasks.Worker) {
		n, inHand := map[string]int{own: 0}, 0
		for _, w := range found {
			version := "unknown"
			if w.Report != nil {
				version = cmp.Or(w.Report.Version, version)
			}
			n[version]++
			inHand += len(w.Tasks)
		}
		for version, count := range n {
			e.gauge(workers, float64(count), version)
		}
		e.gauge(workerTasks, float64(inHand))
	}
}

// facts shows what Redis tells; what it keeps to itself is missing.
func (e emit) facts(f tasks.Told) {
	if so, known := f.Evicts(); known {
		e.is(evicts, so)
	}
	if so, known := f.Persists(); known {
		e.is(persists, so)
	}
	if n, known := f.Number("evicted_keys"); known {
		e.counter(evicted, float64(n))
	}
	if n, known := f.Number("used_memory"); known {
		e.gauge(redisMemory, float64(n))
	}
}

func (e emit) budget(s budget.State) {
	e.gauge(perMinute, float64(s.PerMinute))
	e.gauge(backlog, s.Backlog.Seconds())
	e.is(alone, s.Alone)
	if s.Limit > 0 {
		e.gauge(quotaLimit, float64(s.Limit))
		e.gauge(quotaLeft, float64(s.Left))
	}
	for _, class := range slices.Sorted(maps.Keys(s.Calls)) {
		e.counter(calls, float64(s.Calls[class]), class.String())
	}
	for _, why := range slices.Sorted(maps.Keys(s.Held)) {
		e.counter(heldBack, float64(s.Held[why]), string(why))
	}
	e.is(breaker, s.Why == alpaca.HoldOutage)
	e.is(refused, s.Why == alpaca.HoldRefused)
}

func (e emit) pools(l sql.DBStats, r *redis.PoolStats) {
	e.gauge(poolOpen, float64(l.OpenConnections))
	e.gauge(poolInUse, float64(l.InUse))
	e.gauge(poolIdle, float64(l.Idle))
	e.counter(poolWaits, float64(l.WaitCount))
	e.counter(poolWaited, l.WaitDuration.Seconds())
	e.gauge(redisOpen, float64(r.TotalConns))
	e.gauge(redisIdle, float64(r.IdleConns))
	e.counter(redisStale, float64(r.StaleConns))
	e.counter(redisMisses, float64(r.Misses))
	e.counter(redisTimeouts, float64(r.Timeouts))
}

// patrol is the collector of what a patrol has found.
type patrol func() (broken int, events int64)

var (
	brokenChains = prometheus.NewDesc("closeout_ledger_broken_chains", "Closures whose history this worker's patrol found to be changed.", nil, nil)
	verified     = prometheus.NewDesc("closeout_ledger_verified_events_total", "Events that this worker's patrol has verified.", nil, nil)
)

// Describe implements prometheus.Collector.
func (p patrol) Describe(out chan<- *prometheus.Desc) { out <- brokenChains; out <- verified }

// Collect implements prometheus.Collector. Before the first event was verified nobody knows whether any history is broken.
func (p patrol) Collect(out chan<- prometheus.Metric) {
	broken, events := p()
	emit(out).counter(verified, float64(events))
	if events > 0 {
		emit(out).gauge(brokenChains, float64(broken))
	}
}
