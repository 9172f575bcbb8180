// Package metrics turns what the other rooms tell and know into series for Prometheus. They know nothing of it: they have hooks,
// which cmd/closeout joins to the methods here, and figures, which are read when somebody scrapes. No label is of an account, a
// closure, a key or a person, and each has few values.
package metrics

import (
	"cmp"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"closeout/alpaca"
	"closeout/closure"
	"closeout/handlers"
	"closeout/server"
)

// Metrics is what one process counts, and answers GET /metrics with it. Its methods are the other rooms' hooks; they are safe
// for use by several goroutines.
type Metrics struct {
	version  string
	registry *prometheus.Registry
	page     http.Handler

	outcomes     *prometheus.CounterVec
	visits       *prometheus.CounterVec
	visitTook    *prometheus.HistogramVec
	late         prometheus.Histogram
	errors       *prometheus.CounterVec
	crashes      prometheus.Counter
	adoptions    prometheus.Counter
	rescues      *prometheus.CounterVec
	overdue      *prometheus.GaugeVec
	swept        *prometheus.GaugeVec
	sweepTook    *prometheus.GaugeVec
	sweepsFailed prometheus.Counter
	letters      *prometheus.CounterVec
	asked        *prometheus.CounterVec
	askTook      *prometheus.HistogramVec
	requests     *prometheus.CounterVec
	requestTook  *prometheus.HistogramVec
	broken       *prometheus.GaugeVec
	verified     prometheus.Counter
}

// Buckets, in seconds: of what a person waits for, of what the broker and a visit take, and of how late a visit may begin.
var (
	quick = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 15}
	slow  = []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 20, 60, 180}
	days  = []float64{.25, .5, 1, 2, 5, 10, 30, 60, 120, 300, 900, 3600, 4 * 3600, 24 * 3600}
)

// atOnce is how many scrapes are answered at the same time: anybody may ask.
const atOnce = 8

// New makes the metrics of a process, with what it will count. Watch adds what it can read.
func New(version string, env closure.Environment) *Metrics {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	f := promauto.With(r)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	// A gauge that was never set is not shown: zero would be an answer.
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return f.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	}
	histograms := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return f.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
	}
	m := &Metrics{
		version:  version,
		registry: r,

		outcomes:  counters("closeout_outcomes_total", "What visits came to: go, wait, fail, done, error; the reason is that of a wait or a stop.", "phase", "outcome", "reason"),
		visits:    counters("closeout_visits_total", "Visits that have ended: saved, error (noted on the row), lost (another came first), ledger (out of reach), cut_short.", "phase", "result"),
		visitTook: histograms("closeout_visit_duration_seconds", "How long visits took, of machine time.", slow, "phase"),
		late: f.NewHistogram(prometheus.HistogramOpts{
			Name: "closeout_timer_lateness_seconds", Help: "How long after they were due visits began, of machine time.", Buckets: days,
		}),
		errors:    counters("closeout_visit_errors_total", "Errors that were noted on a closure's row.", "phase"),
		crashes:   counter("closeout_crashes_total", "Runs of a step that ended without a word, as the next run or the sweep noted them."),
		adoptions: counter("closeout_adoptions_total", "Payouts whose answer was lost and that were found in the broker's list."),

		rescues:      counters("closeout_sweep_rescues_total", "Closures that the sweep had to help: rescheduled had no task, reissued had one that was stuck, archived or late.", "kind"),
		overdue:      gauge("closeout_sweep_overdue", "Overdue closures that the last sweep found."),
		swept:        gauge("closeout_sweep_last_seconds", "When the last sweep ended that reached its end, in seconds since 1970."),
		sweepTook:    gauge("closeout_sweep_duration_seconds", "How long the last sweep took."),
		sweepsFailed: counter("closeout_sweep_failures_total", "Sweeps that stopped early."),

		letters: counters("closeout_letters_total", "Letters that were sent, or that could not be handed over: later will be tried again, given_up not.", "kind", "result"),

		asked:   counters("closeout_broker_requests_total", "Requests to the broker, by the pattern of their path; status error had no answer.", "method", "endpoint", "status"),
		askTook: histograms("closeout_broker_request_duration_seconds", "How long the broker took to answer, or not to.", slow, "method", "endpoint"),

		requests:    counters("closeout_http_requests_total", "Requests answered, by the pattern of their route.", "route", "method", "status"),
		requestTook: histograms("closeout_http_request_duration_seconds", "How long requests took; without streams, which last as long as somebody listens.", quick, "route", "method"),

		broken:   gauge("closeout_ledger_broken_chains", "Closures whose history was found changed, by this worker's last patrol."),
		verified: counter("closeout_ledger_verified_events_total", "Events whose hash this worker's patrol has recomputed."),
	}
	build := gauge("closeout_build_info", "1; the labels say what runs.", "version", "goversion", "environment")
	build.WithLabelValues(version, runtime.Version(), string(env)).Set(1)
	m.begin()
	m.page = promhttp.HandlerFor(r, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: atOnce})
	return m
}

// begin shows the counters of which an increase is watched from zero on: of one that begins with its first event, Prometheus
// would not see that event.
func (m *Metrics) begin() {
	for _, s := range closure.Road {
		m.errors.WithLabelValues(string(s.Phase))
		for _, r := range handlers.Results {
			m.visits.WithLabelValues(string(s.Phase), string(r))
		}
	}
	for _, kind := range []string{"rescheduled", "reissued"} {
		m.rescues.WithLabelValues(kind)
	}
	for _, l := range closure.Letters {
		for _, r := range handlers.Posts {
			m.letters.WithLabelValues(string(l), string(r))
		}
	}
}

// ServeHTTP implements http.Handler.
func (m *Metrics) ServeHTTP(w http.ResponseWriter, r *http.Request) { m.page.ServeHTTP(w, r) }

// Began counts a visit that began so much machine time after it was due: a handlers.Runner's Visited.
func (m *Metrics) Began(late time.Duration) { m.late.Observe(late.Seconds()) }

// Visited counts a visit that has ended: a handlers.Runner's Ended.
func (m *Metrics) Visited(v handlers.Ended) {
	phase := string(cmp.Or(v.Phase, "unknown"))
	m.visits.WithLabelValues(phase, string(v.Result)).Inc()
	m.visitTook.WithLabelValues(phase).Observe(v.Took.Seconds())
	if v.Outcome != "" {
		m.outcomes.WithLabelValues(phase, v.Outcome, known(v.Reason)).Inc()
	}
	if v.Result == handlers.Stumbled {
		m.errors.WithLabelValues(phase).Inc()
	}
	if v.Crashed {
		m.crashes.Inc()
	}
	m.adoptions.Add(float64(v.Adopted))
}

// known is a reason as a label: whatever the ledger has, it is one of those that there are.
func known(r closure.Reason) string {
	if _, ok := closure.Reasons[r]; !ok && r != "" {
		return "other"
	}
	return string(r)
}

// Swept takes in what a sweep found and did: a worker's Swept.
func (m *Metrics) Swept(began time.Time, s handlers.Swept, err error) {
	now := time.Now()
	m.rescues.WithLabelValues("rescheduled").Add(float64(s.Rescheduled))
	m.rescues.WithLabelValues("reissued").Add(float64(s.Reissued))
	m.crashes.Add(float64(s.Crashed))
	m.sweepTook.WithLabelValues().Set(now.Sub(began).Seconds())
	if err != nil { // what it found is not all that there is
		m.sweepsFailed.Inc()
		return
	}
	m.overdue.WithLabelValues().Set(float64(s.Overdue))
	m.swept.WithLabelValues().Set(float64(now.UnixMilli()) / 1000)
}

// Posted counts what became of a letter: a handlers.Runner's Posted.
func (m *Metrics) Posted(l closure.Letter, r handlers.PostResult) {
	m.letters.WithLabelValues(string(l), string(r)).Inc()
}

// Asked counts a request to the broker: an alpaca.Client's Asked.
func (m *Metrics) Asked(a alpaca.Asked) {
	status := "error"
	if a.Status > 0 {
		status = strconv.Itoa(a.Status)
	}
	m.asked.WithLabelValues(a.Method, a.Endpoint, status).Inc()
	m.askTook.WithLabelValues(a.Method, a.Endpoint).Observe(a.Took.Seconds())
}

// Answered counts a request that was answered: a server's Answered.
func (m *Metrics) Answered(a server.Answered) {
	method := a.Method
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
	default: // a client may call its method as it likes
		method = "other"
	}
	route := a.Route
	if _, path, ok := strings.Cut(route, " "); ok { // as http.ServeMux writes it
		route = path
	}
	m.requests.WithLabelValues(route, method, strconv.Itoa(a.Status)).Inc()
	if !a.Stream {
		m.requestTook.WithLabelValues(route, method).Observe(a.Took.Seconds())
	}
}

// Patrolled takes in what a patrol of the ledger's chains has found: how many events it has recomputed since it last told, and
// how many closures it knows whose history was changed.
func (m *Metrics) Patrolled(events, broken int) {
	m.verified.Add(float64(events))
	m.broken.WithLabelValues().Set(float64(broken))
}
