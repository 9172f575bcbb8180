package metrics_test

import (
	"context"
	"errors"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/redis/go-redis/v9"
	"github.com/sirupsen/logrus"

	"closeout/alpaca"
	"closeout/budget"
	"closeout/calendar"
	"closeout/closure"
	"closeout/handlers"
	"closeout/ledger"
	"closeout/metrics"
	"closeout/server"
	"closeout/tasks"
)

var update = flag.Bool("update", false, "write testdata/names.txt anew instead of comparing it")

// info is what the Redis of these tests answers to INFO, of which miniredis knows little.
const info = "# Server\r\nredis_version:7.2.4\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\nevicted_keys:3\r\nused_memory:1048576\r\n"

// informed answers INFO by itself.
type informed struct{}

func (informed) DialHook(next redis.DialHook) redis.DialHook { return next }

func (informed) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if c, ok := cmd.(*redis.StringCmd); ok && cmd.Name() == "info" {
			if err := next(ctx, redis.NewStatusCmd(ctx, "ping")); err != nil {
				cmd.SetErr(err)
				return err
			}
			c.SetVal(info)
			return nil
		}
		return next(ctx, cmd)
	}
}

func (informed) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// bench is the metrics of a process with a ledger and a Redis of its own.
type bench struct {
	*testing.T
	m      *metrics.Metrics
	mini   *miniredis.Miniredis
	ledger *ledger.Ledger
	queue  *tasks.Queue
	state  budget.State
	src    metrics.Sources
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{T: t, mini: miniredis.RunT(t), state: budget.State{
		PerMinute: 1000, Limit: 1000, Left: 900, Backlog: 3 * time.Second,
		Calls: map[budget.Class]uint64{budget.Look: 5, budget.Asked: 2, budget.Money: 1}, Held: map[alpaca.Hold]uint64{alpaca.HoldBusy: 4},
	}}
	rdb := redis.NewClient(&redis.Options{Addr: b.mini.Addr(), MaxRetries: -1})
	rdb.AddHook(informed{})
	t.Cleanup(func() { _ = rdb.Close() })
	policy := closure.DefaultPolicy(closure.Sandbox)
	var err error
	b.ledger, err = ledger.Open(t.Context(), ledger.Options{URL: "sqlite:" + filepath.Join(t.TempDir(), "closeout.db"), Environment: closure.Sandbox, Policy: policy})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.ledger.Close() })
	b.queue = tasks.NewQueue(rdb, closure.Clock{}, time.Minute)
	b.m = metrics.New("1.2.3", closure.Sandbox)
	log := logrus.New()
	log.SetOutput(t.Output())
	b.src = metrics.Sources{
		Ledger: b.ledger, Queue: b.queue, Redis: rdb, Budget: func() budget.State { return b.state }, Calendar: calendar.Rules, Policy: policy, Log: log,
	}
	return b
}

// scrape asks for the metrics as Prometheus does.
func (b *bench) scrape() map[string]*dto.MetricFamily {
	b.Helper()
	return scrape(b, b.m)
}

func scrape(tb testing.TB, h http.Handler) map[string]*dto.MetricFamily {
	tb.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(tb.Context(), http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		tb.Fatalf("%d: %s", w.Code, w.Body)
	}
	p := expfmt.NewTextParser(model.UTF8Validation)
	found, err := p.TextToMetricFamilies(w.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return found
}

// value is a series' value, of those with these labels. ok is false where there is none.
func value(found map[string]*dto.MetricFamily, name string, labels ...string) (v float64, ok bool) {
	for _, m := range found[name].GetMetric() {
		var got []string
		for _, l := range m.GetLabel() {
			got = append(got, l.GetName()+"="+l.GetValue())
		}
		slices.Sort(got)
		want := slices.Sorted(slices.Values(labels))
		if !slices.Equal(got, want) {
			continue
		}
		if h := m.GetHistogram(); h != nil {
			return float64(h.GetSampleCount()), true
		}
		return m.GetGauge().GetValue() + m.GetCounter().GetValue(), true
	}
	return 0, false
}

// wants demands values.
func wants(tb testing.TB, found map[string]*dto.MetricFamily, want map[string]float64) {
	tb.Helper()
	for series, v := range want {
		name, labels, _ := strings.Cut(strings.TrimSuffix(series, "}"), "{")
		var pairs []string
		if labels != "" {
			pairs = strings.Split(labels, ",")
		}
		if got, ok := value(found, name, pairs...); !ok || got != v {
			tb.Errorf("%s is %v (there: %t), want %v", series, got, ok, v)
		}
	}
}

// told lets every hook tell something.
func (b *bench) told() {
	b.m.Began(3 * time.Second)
	b.m.Visited(handlers.Ended{Phase: closure.Settlement, Result: handlers.Saved, Outcome: "wait", Reason: closure.Settling, Took: time.Second, Adopted: 1})
	b.m.Visited(handlers.Ended{Phase: closure.Closing, Result: handlers.Stumbled, Outcome: "error", Took: time.Second, Crashed: true})
	b.m.Swept(time.Now().Add(-time.Second), handlers.Swept{Overdue: 5, Rescheduled: 2, Reissued: 3, Crashed: 1}, nil)
	b.m.Swept(time.Now(), handlers.Swept{Overdue: 1}, errors.New("the ledger is away"))
	b.m.Posted(closure.LetterCompleted, handlers.Sent)
	b.m.Asked(alpaca.Asked{Method: "GET", Endpoint: "/v1/accounts/{id}", Status: 200, Took: time.Second})
	b.m.Asked(alpaca.Asked{Method: "GET", Endpoint: "/v1/accounts/{id}", Took: time.Second})
	b.m.Answered(server.Answered{Route: "/health", Method: "GET", Status: 200, Took: time.Millisecond})
	b.m.Answered(server.Answered{Route: "GET /events", Method: "GET", Status: 200, Took: time.Hour, Stream: true})
	b.m.Patrolled(100, 1)
}

// stop creates a closure and fails it.
func (b *bench) stop(account string) {
	b.Helper()
	c := b.create(account)
	if _, err := b.ledger.Save(b.Context(), c, closure.Looked(time.Now(), closure.Fail(closure.BankGone, "no"), closure.Look{}, nil), nil); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) create(account string) closure.Closure {
	b.Helper()
	c, _, err := b.ledger.Create(b.Context(), ledger.Wish{AccountID: account, RelationshipID: "bank", Fingerprint: "print", Actor: "test"})
	if err != nil {
		b.Fatal(err)
	}
	return c
}

// TestNames holds what a process shows to testdata/names.txt, one line a series, name{label,label}: rules and dashboards are
// checked against it. Go's and the process's own are in it as far as this machine has them, and not compared.
func TestNames(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.stop("a")
	if _, err := b.ledger.LeaseStream(t.Context(), "trades", "me", time.Minute); err != nil {
		t.Fatal(err)
	}
	b.m.Watch(b.src)
	b.told()
	var got []string
	for name, f := range b.scrape() {
		var labels []string
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if !slices.Contains(labels, l.GetName()) {
					labels = append(labels, l.GetName())
				}
			}
		}
		slices.Sort(labels)
		line := func(name string, labels ...string) {
			if len(labels) > 0 {
				name += "{" + strings.Join(labels, ",") + "}"
			}
			got = append(got, name)
		}
		switch f.GetType() {
		case dto.MetricType_HISTOGRAM, dto.MetricType_GAUGE_HISTOGRAM:
			line(name+"_bucket", slices.Sorted(slices.Values(append(slices.Clone(labels), "le")))...)
			line(name+"_count", labels...)
			line(name+"_sum", labels...)
		case dto.MetricType_SUMMARY:
			line(name, slices.Sorted(slices.Values(append(slices.Clone(labels), "quantile")))...)
			line(name+"_count", labels...)
			line(name+"_sum", labels...)
		case dto.MetricType_COUNTER, dto.MetricType_GAUGE, dto.MetricType_UNTYPED:
			line(name, labels...)
		}
	}
	slices.Sort(got)
	path := filepath.Join("testdata", "names.txt")
	if *update {
		if err := os.WriteFile(path, []byte(strings.Join(got, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	ours := func(lines []string) []string {
		return slices.DeleteFunc(slices.Clone(lines), func(l string) bool {
			return strings.HasPrefix(l, "go_") || strings.HasPrefix(l, "process_")
		})
	}
	if got, want := ours(got), ours(strings.Fields(string(kept))); !slices.Equal(got, want) {
		t.Errorf("the series have changed: run go test -run TestNames ./metrics -update, and mend deploy/\ngot  %s\nwant %s", got, want)
	}
}

// misnamed are Asynq's names, which public dashboards use: gauges that are called totals.
var misnamed = []string{"asynq_tasks_enqueued_total", "asynq_queue_paused_total"}

func TestPromlintFindsNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.stop("a")
	b.m.Watch(b.src)
	b.told()
	var all []*dto.MetricFamily
	for _, f := range b.scrape() {
		all = append(all, f)
	}
	problems, err := promlint.NewWithMetricFamilies(all).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if !slices.Contains(misnamed, p.Metric) {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

