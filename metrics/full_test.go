package metrics_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/redis/go-redis/v9"
	"github.com/shopspring/decimal"

	"closeout/alpaca"
	"closeout/alpaca/sim"
	"closeout/budget"
	"closeout/calendar"
	"closeout/closure"
	"closeout/handlers"
	"closeout/internal/lab"
	"closeout/metrics"
	"closeout/readiness"
	"closeout/server"
	"closeout/tasks"
)

const month = 31 * 24 * time.Hour

// sum adds up all series of a name.
func sum(found map[string]*dto.MetricFamily, name string) (v float64) {
	for _, m := range found[name].GetMetric() {
		v += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
	}
	return v
}

// A month of the service in virtual time, with the real Asynq: one closure is done though a payout's answer was lost, one has
// failed, one is under way. Every series of testdata/names.txt is shown, by the server, without a key, and its values are those
// of what has happened.
func TestAMonthOfTheServiceIsCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := metrics.New("1.2.3", closure.Sandbox)
		l := lab.New(t, lab.Options{
			Events: true, Asked: m.Asked, Swept: m.Swept,
			Hooks: func(r *handlers.Runner) { r.Visited, r.Ended, r.Posted = m.Began, m.Visited, m.Posted },
		})
		defer l.Close()
		rdb := redis.NewClient(&redis.Options{
			Addr: "127.0.0.1:1", Protocol: 2, DisableIdentity: true, ReadTimeout: -1, WriteTimeout: -1,
			Dialer: func(context.Context, string, string) (net.Conn, error) { return l.Redis.Dial() },
		})
		defer func() { _ = rdb.Close() }()
		rdb.AddHook(informed{})
		queue := tasks.NewQueue(rdb, closure.Clock{}, l.Timing.Task)
		calls := budget.New(budget.Options{Redis: rdb, Name: "sandbox", PerMinute: 1000, Probe: time.Minute, Log: l.Log})
		broker, err := alpaca.New(alpaca.Options{BaseURL: "http://broker.test", Key: "key", Secret: "secret", Transport: l.Sim.Transport(), Gate: calls})
		if err != nil {
			t.Fatal(err)
		}
		m.Watch(metrics.Sources{Ledger: l.Ledger, Queue: queue, Redis: rdb, Budget: calls.State, Calendar: calendar.Rules, Policy: l.Policy, Log: l.Log})
		api, err := server.New(server.Options{
			Ledger: l.Ledger, Schedule: queue.Schedule, Readiness: &readiness.Checker{Broker: broker, Calendar: calendar.Rules, Policy: l.Policy},
			Keys: server.DevKeys(), Metrics: m, Answered: m.Answered,
		})
		if err != nil {
			t.Fatal(err)
		}

		lost := sim.Chaos{Rules: []sim.Rule{{Method: http.MethodPost, Path: "/v1/accounts/*/transfers", Probability: 1, Fault: sim.FaultErrorAfter, Status: 502, Times: 1}}}
		if err := l.Sim.Chaos(lost); err != nil {
			t.Fatal(err)
		}
		done := l.Ends(l.Open(sim.Spec{Cash: decimal.NewFromInt(900)}).ID, month)
		if done.State != closure.Closed {
			t.Fatalf("%s: %s\n%s", done.State, done.Why, l.History(done.ID))
		}
		refused := sim.Chaos{Rules: []sim.Rule{{Method: http.MethodPost, Path: "/v1/accounts/*/transfers", Probability: 1, Fault: sim.FaultError, Status: 422}}}
		if err := l.Sim.Chaos(refused); err != nil {
			t.Fatal(err)
		}
		failed := l.Ends(l.Open(sim.Spec{Cash: decimal.NewFromInt(50)}).ID, month)
		if failed.State != closure.Failed {
			t.Fatalf("%s: %s\n%s", failed.State, failed.Why, l.History(failed.ID))
		}
		if err := l.Sim.Chaos(sim.Chaos{}); err != nil {
			t.Fatal(err)
		}
		open := l.Open(sim.Spec{Cash: decimal.NewFromInt(70)})
		l.RunFor(10 * time.Hour)
		if now := l.Get(open.ID); now.Phase != closure.Withdrawal || now.State != closure.Running {
			t.Fatalf("the third stands at %s, %s: %s", now.Phase, now.State, now.Why)
		}
		if _, err := broker.Account(t.Context(), open.AccountID); err != nil { // the budget hears of the broker's quota
			t.Fatal(err)
		}
		m.Patrol(func() (int, int64) { return 0, 12 })
		api.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/health", nil))

		found := scrape(t, api)
		kept, err := os.ReadFile("testdata/names.txt")
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Fields(string(kept)) {
			name, _, _ := strings.Cut(line, "{")
			for _, part := range []string{"_bucket", "_count", "_sum"} {
				if family := strings.TrimSuffix(name, part); found[family].GetType() == dto.MetricType_HISTOGRAM {
					name = family
				}
			}
			if found[name] == nil && !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_") {
				t.Errorf("%s is not shown", name)
			}
		}
		wants(t, found, map[string]float64{
			"closeout_outcomes_total{phase=closing,outcome=done,reason=}":                                 1,
			"closeout_outcomes_total{phase=withdrawal,outcome=fail,reason=" + string(failed.Reason) + "}": 1,
			"closeout_outcomes_total{phase=withdrawal,outcome=go,reason=}":                                1,
			"closeout_adoptions_total":                                                     1,
			"closeout_crashes_total":                                                       0,
			"closeout_letters_total{kind=completed,result=sent}":                           1,
			"closeout_letters_total{kind=failed,result=sent}":                              1,
			"closeout_letters_total{kind=initiated,result=sent}":                           3,
			"closeout_closures{phase=withdrawal,state=running}":                            1,
			"closeout_closures{phase=withdrawal,state=failed}":                             1,
			"closeout_closures{phase=withdrawal,state=dead}":                               0,
			"closeout_stopped_closures{state=failed,reason=" + string(failed.Reason) + "}": 1,
			"closeout_intents{kind=transfer,state=unknown}":                                0,
			"closeout_money_unknown_closures{phase=withdrawal}":                            0,
			"closeout_held":         0,
			"closeout_letters_owed": 0,
			"closeout_broker_requests_total{method=POST,endpoint=/v1/accounts/{id}/transfers,status=502}":     1,
			"closeout_broker_requests_total{method=POST,endpoint=/v1/accounts/{id}/actions/close,status=204}": 1,
			"closeout_http_requests_total{route=/health,method=GET,status=200}":                               1,
			"closeout_build_info{version=1.2.3,goversion=" + runtime.Version() + ",environment=sandbox}":      1,
			"closeout_scrape_errors_total{source=ledger}":                                                     0,
			"closeout_scrape_errors_total{source=queues}":                                                     0,
			"closeout_scrape_errors_total{source=workers}":                                                    0,
			"closeout_scrape_errors_total{source=redis}":                                                      0,
			"closeout_workers{version=1.2.3}":                                                                 0, // the lab's stops when there is nothing to do
			"closeout_redis_evicts":                                                                           0,
			"closeout_redis_persists":                                                                         1,
			"closeout_redis_evicted_keys_total":                                                               3,
			"closeout_broker_breaker_open":                                                                    0,
			"closeout_broker_calls_total{class=asked}":                                                        1,
			"closeout_sweep_failures_total":                                                                   0,
			"asynq_tasks_enqueued_total{queue=account_closure,state=scheduled}":                               1,
			"asynq_tasks_enqueued_total{queue=account_closure,state=archived}":                                1,
			"asynq_queue_paused_total{queue=account_closure}":                                                 0,
		})
		visits := sum(found, "closeout_visits_total")
		if visits < 10 || visits != sum(found, "closeout_visit_duration_seconds") {
			t.Errorf("%v visits, %v of them timed", visits, sum(found, "closeout_visit_duration_seconds"))
		}
		if tasks := sum(found, "asynq_tasks_processed_total"); tasks < visits || tasks > visits+3 { // one whose row was moved by an event is no visit
			t.Errorf("%v visits, and Asynq has processed %v tasks", visits, tasks)
		}
		if late := sum(found, "closeout_timer_lateness_seconds"); late != visits {
			t.Errorf("%v visits have begun, and %v have ended", late, visits)
		}
		if in, there := value(found, "closeout_money_in_flight_dollars", "phase=withdrawal"); !there || in < 50 || in > 120 {
			t.Errorf("$%v in flight", in)
		}
		if age, there := value(found, "closeout_oldest_in_phase_seconds", "phase=withdrawal"); !there || age <= 0 || age > (11*time.Hour).Seconds() {
			t.Errorf("the oldest has been there for %v s", age)
		}
		for _, topic := range []string{"trades", "funding", "accounts"} {
			if s, there := value(found, "closeout_event_stream_silence_seconds", "topic="+topic); !there || s > 600 {
				t.Errorf("%s: silent for %v s (there: %t)", topic, s, there)
			}
		}
		if at, there := value(found, "closeout_sweep_last_seconds"); !there || at < float64(time.Now().Add(-month).Unix()) || at > float64(time.Now().Unix()+1) {
			t.Errorf("the last sweep was at %v", at)
		}
		t.Logf("%v visits, %v requests to the broker, %d names", visits, sum(found, "closeout_broker_requests_total"), len(found))
	})
}
