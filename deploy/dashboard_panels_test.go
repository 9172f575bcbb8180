package deploy_test

// row is a row of the dashboard.
type row struct {
	title  string
	panels []panel
}

// panel draws queries over time, each with the legend of its lines; as stat it says the last value, red from bad on.
type panel struct {
	title, unit, says string
	shows             [][2]string
	stat              bool
	bad               float64
}

const (
	count, perSecond, seconds, dollars, bytesOf, share = "short", "ops", "s", "currencyUSD", "bytes", "percentunit"
)

// dashboard is all that it shows. {E stands for the environment and [R] for Grafana's interval. What is read from the ledger or
// from Redis is shown by each process alike: a maximum over processes, never a sum.
var dashboard = []row{
	{"Closures and money", []panel{
		{stat: true, title: "Under way", unit: count, shows: [][2]string{{`sum(max by (phase, state) (closeout_closures{E,state="running"}))`, "running"}}},
		{stat: true, title: "Failed or dead", unit: count, bad: 1, says: "Each waits for a person: the console's page Attention.", shows: [][2]string{{`sum(max by (state, reason) (closeout_stopped_closures{E})) or vector(0)`, "stopped"}}},
		{stat: true, title: "Past the usual time", unit: count, shows: [][2]string{{`sum(max by (phase) (closeout_closures_past_usual_time{E}))`, "slow"}}},
		{stat: true, title: "Money in flight", unit: dollars, says: "What the last look at each account saw; where none was made it is not known and not in it.", shows: [][2]string{{`sum(max by (phase) (closeout_money_in_flight_dollars{E}))`, "inside"}}},
		{stat: true, title: "Payouts on their way", unit: dollars, shows: [][2]string{{`max(closeout_payouts_on_their_way_dollars{E})`, "on the way"}}},
		{stat: true, title: "Held", unit: count, bad: 1, says: "1: an operator holds everything.", shows: [][2]string{{`max(closeout_held{E})`, "held"}}},
		{title: "Closures by phase", unit: count, shows: [][2]string{{`sum by (phase) (max by (phase, state) (closeout_closures{E}))`, "{{phase}}"}}},
		{title: "The oldest in each phase", unit: seconds, shows: [][2]string{{`max by (phase) (closeout_oldest_in_phase_seconds{E})`, "{{phase}}"}}},
		{title: "Money in flight by phase", unit: dollars, shows: [][2]string{{`max by (phase) (closeout_money_in_flight_dollars{E})`, "{{phase}}"}}},
		{title: "Closures whose money is not known", unit: count, says: "They are in none of the sums.", shows: [][2]string{{`max by (phase) (closeout_money_unknown_closures{E})`, "{{phase}}"}}},
		{title: "Past the usual time by phase", unit: count, shows: [][2]string{{`max by (phase) (closeout_closures_past_usual_time{E})`, "{{phase}}"}}},
		{title: "What visits come to, an hour", unit: count, shows: [][2]string{{`sum by (outcome) (increase(closeout_outcomes_total{E,outcome=~"go|fail|done"}[1h]))`, "{{outcome}}"}}},
		{title: "Waits by reason, the ten most", unit: perSecond, shows: [][2]string{{`topk(10, sum by (reason) (rate(closeout_outcomes_total{E,outcome="wait"}[R])))`, "{{reason}}"}}},
	}},
	{"What needs a person", []panel{
		{title: "Stopped, by reason", unit: count, says: "The runbook has a section for each.", shows: [][2]string{{`max by (state, reason) (closeout_stopped_closures{E})`, "{{state}}: {{reason}}"}}},
		{title: "Stopped, the oldest by reason", unit: seconds, says: "Paused ones as well.", shows: [][2]string{{`max by (state, reason) (closeout_oldest_stopped_seconds{E})`, "{{state}}: {{reason}}"}}},
		{title: "Running and waiting for somebody, the oldest", unit: seconds, says: "Since it entered its phase.", shows: [][2]string{{`max by (phase) (closeout_oldest_waiting_for_somebody_seconds{E})`, "{{phase}}"}}},
		{title: "The oldest unknown instruction", unit: seconds, says: "The quarantine is half an hour.", shows: [][2]string{{`max by (kind) (closeout_oldest_unknown_intent_seconds{E})`, "{{kind}}"}}},
		{title: "Instructions whose outcome is open", unit: count, says: "unknown: nobody knows; late: given up for lost, and then made.", shows: [][2]string{{`max by (kind, state) (closeout_intents{E})`, "{{kind}} {{state}}"}}},
		{title: "Letters owed", unit: count, shows: [][2]string{{`max(closeout_letters_owed{E})`, "owed"}, {`max(closeout_letters_given_up{E})`, "given up"}, {`sum by (result) (increase(closeout_letters_total{E}[1h]))`, "{{result}}, an hour"}}},
		{title: "The oldest letter owed", unit: seconds, shows: [][2]string{{`max(closeout_letters_owed_oldest_seconds{E})`, "owed for"}}},
		{title: "Histories found changed", unit: count, shows: [][2]string{{`max(closeout_ledger_broken_chains{E})`, "broken chains"}}},
		{title: "Events verified", unit: perSecond, shows: [][2]string{{`sum(rate(closeout_ledger_verified_events_total{E}[R]))`, "by the patrol"}}},
	}},
	{"Visits and lateness", []panel{
		{title: "Visits by result", unit: perSecond, shows: [][2]string{{`sum by (result) (rate(closeout_visits_total{E}[R]))`, "{{result}}"}}},
		{title: "How late visits begin", unit: seconds, shows: [][2]string{
			{`histogram_quantile(0.5, sum by (le) (rate(closeout_timer_lateness_seconds_bucket{E}[R])))`, "half"},
			{`histogram_quantile(0.99, sum by (le) (rate(closeout_timer_lateness_seconds_bucket{E}[R])))`, "99 of 100"},
		}},
		{title: "How long visits take, 99 of 100", unit: seconds, shows: [][2]string{{`histogram_quantile(0.99, sum by (phase, le) (rate(closeout_visit_duration_seconds_bucket{E}[R])))`, "{{phase}}"}}},
		{title: "Errors noted on closures", unit: perSecond, shows: [][2]string{{`sum by (phase) (rate(closeout_visit_errors_total{E}[R]))`, "{{phase}}"}}},
		{title: "Crashes, adoptions, an hour", unit: count, says: "Adoptions: payouts whose answer was lost and that were found in the broker's list.", shows: [][2]string{
			{`sum(increase(closeout_crashes_total{E}[1h]))`, "crashes"},
			{`sum(increase(closeout_adoptions_total{E}[1h]))`, "adoptions"},
		}},
		{title: "Visits that are due", unit: count, shows: [][2]string{{`max(closeout_due_visits{E})`, "due"}, {`max(closeout_due_visit_oldest_seconds{E})`, "the oldest for (s)"}}},
	}},
	{"Broker and budget", []panel{
		{title: "Requests by status", unit: perSecond, shows: [][2]string{{`sum by (status) (rate(closeout_broker_requests_total{E}[R]))`, "{{status}}"}}},
		{title: "Answers, 99 of 100, by endpoint", unit: seconds, shows: [][2]string{{`histogram_quantile(0.99, sum by (method, endpoint, le) (rate(closeout_broker_request_duration_seconds_bucket{E}[R])))`, "{{method}} {{endpoint}}"}}},
		{title: "Calls a minute, and the budget", unit: count, shows: [][2]string{
			{`sum by (class) (rate(closeout_broker_calls_total{E}[R])) * 60`, "{{class}}"},
			{`max(closeout_broker_budget_per_minute{E})`, "budget"},
			{`sum(closeout_broker_budget_alone{E})`, "processes that don't share it"},
		}},
		{title: "How far ahead the queue of looks is taken", unit: seconds, shows: [][2]string{{`max(closeout_broker_budget_backlog_seconds{E})`, "backlog"}}},
		{title: "The broker's own quota", unit: count, shows: [][2]string{{`min(closeout_broker_quota_left{E})`, "left"}, {`max(closeout_broker_quota_limit{E})`, "limit"}}},
		{title: "Calls held back", unit: perSecond, shows: [][2]string{{`sum by (why) (rate(closeout_broker_held_total{E}[R]))`, "{{why}}"}}},
		{title: "Breaker open, credentials refused", unit: count, says: "How many processes see it so.", shows: [][2]string{
			{`sum(closeout_broker_breaker_open{E})`, "breaker open"},
			{`sum(closeout_broker_credentials_refused{E})`, "credentials refused"},
		}},
		{title: "Event streams, silent for", unit: seconds, shows: [][2]string{{`min by (topic) (closeout_event_stream_silence_seconds{E})`, "{{topic}}"}}},
	}},
	{"Queue and workers", []panel{
		{title: "Workers by version", unit: count, shows: [][2]string{{`max by (version) (closeout_workers{E})`, "{{version}}"}, {`max(closeout_worker_tasks{E})`, "tasks in hand"}}},
		{title: "Tasks by queue and state", unit: count, shows: [][2]string{{`max by (queue, state) (asynq_tasks_enqueued_total{E})`, "{{queue}} {{state}}"}}},
		{title: "The oldest task that waits", unit: seconds, shows: [][2]string{{`max by (queue) (asynq_queue_latency_seconds{E})`, "{{queue}}"}}},
		{title: "Tasks processed and failed", unit: perSecond, shows: [][2]string{
			{`max by (queue) (rate(asynq_tasks_processed_total{E}[R]))`, "{{queue}} processed"},
			{`max by (queue) (rate(asynq_tasks_failed_total{E}[R]))`, "{{queue}} failed"},
		}},
		{title: "Queues paused in Asynq", unit: count, shows: [][2]string{{`max by (queue) (asynq_queue_paused_total{E})`, "{{queue}}"}}},
		{title: "Since the last sweep", unit: seconds, shows: [][2]string{{`time() - max(closeout_sweep_last_seconds{E})`, "any worker"}, {`max(closeout_sweep_duration_seconds{E})`, "it took"}}},
		{title: "What the sweep brings back, an hour", unit: count, shows: [][2]string{
			{`sum by (kind) (increase(closeout_sweep_rescues_total{E}[1h]))`, "{{kind}}"},
			{`sum(increase(closeout_sweep_failures_total{E}[1h]))`, "sweeps that failed"},
			{`max(closeout_sweep_overdue{E})`, "overdue"},
		}},
	}},
	{"API", []panel{
		{title: "Requests by status", unit: perSecond, shows: [][2]string{{`sum by (status) (rate(closeout_http_requests_total{E}[R]))`, "{{status}}"}}},
		{title: "Errors of the server", unit: share, shows: [][2]string{{`sum(rate(closeout_http_requests_total{E,route!~"/metrics|/health|/ready",status=~"5.."}[R])) / sum(rate(closeout_http_requests_total{E,route!~"/metrics|/health|/ready"}[R]))`, "5xx"}}},
		{title: "Answers, 99 of 100, the ten slowest routes", unit: seconds, shows: [][2]string{{`topk(10, histogram_quantile(0.99, sum by (method, route, le) (rate(closeout_http_request_duration_seconds_bucket{E}[R]))))`, "{{method}} {{route}}"}}},
	}},
	{"Stores and processes", []panel{
		{title: "Connections to the ledger", unit: count, shows: [][2]string{
			{`sum by (instance) (closeout_ledger_pool_in_use{E})`, "{{instance}} in use"},
			{`sum by (instance) (closeout_ledger_pool_open{E})`, "{{instance}} open"},
		}},
		{title: "Waiting for one, at any moment", unit: count, shows: [][2]string{{`sum by (instance) (rate(closeout_ledger_pool_wait_seconds_total{E}[R]))`, "{{instance}}"}}},
		{title: "Connections to Redis", unit: count, shows: [][2]string{
			{`sum by (instance) (closeout_redis_pool_open{E})`, "{{instance}}"},
			{`sum by (instance) (increase(closeout_redis_pool_timeouts_total{E}[R]))`, "{{instance}} timeouts"},
		}},
		{title: "Redis: memory", unit: bytesOf, shows: [][2]string{{`max(closeout_redis_memory_bytes{E})`, "used"}, {`max by (queue) (asynq_queue_memory_usage_approx_bytes{E})`, "{{queue}}"}}},
		{title: "The ledger's size", unit: bytesOf, shows: [][2]string{{`max(closeout_ledger_size_bytes{E})`, "tables and indexes"}}},
		{title: "Redis: may it carry the queue", unit: count, says: "Evicts must be 0, persists 1.", shows: [][2]string{
			{`max(closeout_redis_evicts{E})`, "evicts"},
			{`min(closeout_redis_persists{E})`, "persists"},
			{`max(increase(closeout_redis_evicted_keys_total{E}[1h]))`, "keys evicted, an hour"},
		}},
		{title: "Sources that /metrics could not read, an hour", unit: count, shows: [][2]string{{`sum by (source) (increase(closeout_scrape_errors_total{E}[1h]))`, "{{source}}"}}},
		{title: "Memory of processes", unit: bytesOf, shows: [][2]string{{`process_resident_memory_bytes{E} and on (job, instance) closeout_build_info{E}`, "{{instance}}"}}},
		{title: "CPU", unit: count, shows: [][2]string{{`rate(process_cpu_seconds_total{E}[R]) and on (job, instance) closeout_build_info{E}`, "{{instance}}"}}},
		{title: "Goroutines", unit: count, shows: [][2]string{{`go_goroutines{E} and on (job, instance) closeout_build_info{E}`, "{{instance}}"}}},
	}},
}
