package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/shopspring/decimal"
	"github.com/sirupsen/logrus"

	"closeout/budget"
	"closeout/closure"
	"closeout/ledger"
	"closeout/server"
)

// common are the settings of every process. They are read as text and checked all at once, so that a wrong start names
// everything that is wrong with it. Secrets have no default, which help would print.
type common struct {
	Environment string `env:"CLOSEOUT_ENVIRONMENT" default:"sandbox" help:"sandbox or live. It is part of every closure; a process refuses the other's rows."`
	LogLevel    string `env:"CLOSEOUT_LOG_LEVEL" default:"info" help:"error, warn, info or debug."`
	LogFormat   string `env:"CLOSEOUT_LOG_FORMAT" default:"text" help:"text or json."`

	ACHDailyLimit   string `name:"ach-daily-limit" env:"CLOSEOUT_ACH_DAILY_LIMIT" default:"50000" help:"Dollars that may leave one account by ACH on one banking day."`
	UnknownTransfer string `env:"CLOSEOUT_UNKNOWN_TRANSFER" help:"ask or auto: who decides about a transfer that no list shows after its quarantine. Default: ask with live, auto with sandbox."`
	ReturnWatch     string `env:"CLOSEOUT_RETURN_WATCH" default:"2" help:"Banking days between the last payout's arrival and the closing."`

	LiquidationPoll  string `env:"CLOSEOUT_LIQUIDATION_POLL" help:"Time between looks, such as 30s." group:"Policy"`
	LiquidationLimit string `env:"CLOSEOUT_LIQUIDATION_LIMIT" help:"Open-market time, such as 15m." group:"Policy"`
	SettlementPoll   string `env:"CLOSEOUT_SETTLEMENT_POLL" help:"Such as 1h." group:"Policy"`
	SettlementLimit  string `env:"CLOSEOUT_SETTLEMENT_LIMIT" help:"Trading days, such as 3." group:"Policy"`
	WithdrawalPoll   string `env:"CLOSEOUT_WITHDRAWAL_POLL" help:"Such as 2h." group:"Policy"`
	WithdrawalLimit  string `env:"CLOSEOUT_WITHDRAWAL_LIMIT" help:"Banking days for each transfer, such as 5." group:"Policy"`
	ClosingPoll      string `env:"CLOSEOUT_CLOSING_POLL" help:"Such as 1m." group:"Policy"`
	ClosingLimit     string `env:"CLOSEOUT_CLOSING_LIMIT" help:"Business time, such as 1h." group:"Policy"`
}

// store is where the ledger is.
type store struct {
	encryption
	DatabaseURL string `env:"CLOSEOUT_DATABASE_URL" secret:"" help:"postgres://user:password@host/database?sslmode=verify-full, or sqlite:PATH where all processes share one machine. Through a transaction pooler add ?default_query_exec_mode=exec."`
}

func (s store) check(bad *complaints) {
	s.encryption.check(bad)
	scheme, rest, _ := strings.Cut(s.DatabaseURL, ":")
	if scheme != "postgres" && scheme != "postgresql" && scheme != "sqlite" || rest == "" { // it may hold a password: not repeated
		bad.add("CLOSEOUT_DATABASE_URL", "must be given, as postgres://user:password@host/database?sslmode=verify-full or sqlite:PATH")
		return
	}
	hosts, err := ledger.Hosts(s.DatabaseURL)
	if err != nil {
		bad.add("CLOSEOUT_DATABASE_URL", "%v", err)
	}
	if s.clear(plainPostgres, hosts) {
		bad.add("CLOSEOUT_DATABASE_URL", "would go over the network unencrypted: add sslmode=verify-full, with sslrootcert=FILE for an authority of your own; or say CLOSEOUT_PLAINTEXT=postgres")
	}
}

// queueStore is where the queue is.
type queueStore struct {
	RedisURL string `env:"CLOSEOUT_REDIS_URL" secret:"" help:"rediss://user:password@host:6379/0, by Sentinel rediss-sentinel://user:password@host1:26379,host2:26379/0?master=NAME (&sentinel_username=… and &sentinel_password=… are Sentinel's own), a cluster rediss-cluster://user:password@host1:6379,host2:6379; with redis instead of rediss in clear, on this machine. For TLS ?ca_file=FILE, ?cert_file=FILE&key_file=FILE and ?server_name=NAME."`
}

// options returns how to reach it; nil where that is not known.
func (q queueStore) options(e encryption, bad *complaints) *redis.UniversalOptions {
	if q.RedisURL == "" {
		bad.add("CLOSEOUT_REDIS_URL", "must be given, such as redis://127.0.0.1:6379/0 (miniredis is for closeout dev alone)")
		return nil
	}
	return redisAt("CLOSEOUT_REDIS_URL", q.RedisURL, e, bad)
}

// redisAt says how to reach the Redis that a setting names; nil where that is not known.
func redisAt(setting, address string, e encryption, bad *complaints) *redis.UniversalOptions {
	o, err := parseRedis(address)
	if err != nil {
		bad.add(setting, "%v", err)
		return nil
	}
	switch {
	case e.clear(plainRedis, redisHosts(o)):
		bad.add(setting, "would go over the network unencrypted: write rediss and have Redis speak TLS; or say CLOSEOUT_PLAINTEXT=redis")
	case (o.MasterName != "" || o.IsClusterMode) && o.TLSConfig == nil && !slices.Contains(e.Plaintext, plainRedis):
		keepIn(o)
	}
	o.ContextTimeoutEnabled = true // a 202 and a health check have no time for a Redis that does not answer
	o.DialerRetries = 1            // a command is tried again anyway, each time with a new dial
	return o
}

// remote are the settings of processes that use real servers.
type remote struct {
	store
	queueStore
	Day          string `env:"CLOSEOUT_DAY" help:"Scaled clock, 20s@<virtual origin>@<wall origin>; refused with live."`
	AlpacaURL    string `env:"CLOSEOUT_ALPACA_URL" help:"The Broker API, https://broker-api.sandbox.alpaca.markets for the sandbox."`
	AlpacaKey    string `env:"CLOSEOUT_ALPACA_KEY" secret:"" help:"Broker API key."`
	AlpacaSecret string `env:"CLOSEOUT_ALPACA_SECRET" secret:"" help:"Broker API secret."`
	AlpacaCalls  int    `name:"alpaca-calls-per-minute" env:"CLOSEOUT_ALPACA_CALLS_PER_MINUTE" help:"Calls that all processes together may make at the broker in a minute. Alpaca's limit is the correspondent's and not published: the log names it as the broker tells it; leave what your other software needs. Default: 200, and 100000 with a scaled clock."`

	AccountStatus string `env:"CLOSEOUT_ACCOUNT_STATUS" help:"Column of your own that follows the closure, on the same Postgres: table=user_onboarding key=alpaca_account_id column=status. It is set to pending_closure, then closed; cancel restores it."`
}

// Calls a minute where nothing is set: the lowest limit that Alpaca has published for any of its APIs, and what the simulator
// shows.
const (
	fewCalls  = 200
	demoCalls = 100_000
)

// The broker's two hosts.
const (
	liveHost    = "broker-api.alpaca.markets"
	sandboxHost = "broker-api.sandbox.alpaca.markets"
)

// settingsError is a start refused for its settings, one complaint a line.
type settingsError struct{ complaints error }

func (e *settingsError) Error() string {
	return "these settings do not work:\n  " + strings.ReplaceAll(e.complaints.Error(), "\n", "\n  ")
}

func (e *settingsError) Unwrap() error { return e.complaints }

// complaints gathers everything that is wrong.
type complaints []error

func (c *complaints) add(setting, format string, args ...any) {
	*c = append(*c, fmt.Errorf(setting+": "+format, args...))
}

func (c complaints) err() error {
	if len(c) == 0 {
		return nil
	}
	return &settingsError{errors.Join(c...)}
}

// settings are the checked form of common.
type settings struct {
	env    closure.Environment
	policy closure.Policy
	clock  closure.Clock
	calls  int                   // at the broker, a minute, by all processes
	status *ledger.AccountStatus // nil: none
	log    *logrus.Logger
	traces tracing
	told   func(statement string, alone bool) // of each round trip to the ledger; nil: nobody is
	asIs   bool                               // the ledger's schema is left as it is
	looks  bool                               // and nothing else is written into it either
}

func (c common) check(bad *complaints) settings {
	s := settings{env: closure.Environment(c.Environment), log: logrus.New()}
	if s.env != closure.Sandbox && s.env != closure.Live {
		bad.add("CLOSEOUT_ENVIRONMENT", "must be sandbox or live, is %q", c.Environment)
		s.env = closure.Sandbox
	}
	s.policy = c.policy(s.env, bad)
	s.traces = tracingOf(os.Getenv, bad)
	level, err := logrus.ParseLevel(c.LogLevel)
	if err != nil {
		bad.add("CLOSEOUT_LOG_LEVEL", "must be error, warn, info or debug, is %q", c.LogLevel)
	}
	s.log.SetLevel(level)
	s.log.AddHook(redaction{})
	theLog.Store(s.log)
	switch c.LogFormat {
	case "text":
		s.log.SetFormatter(&logrus.TextFormatter{FullTimestamp: true})
	case "json":
		s.log.SetFormatter(&logrus.JSONFormatter{TimestampFormat: time.RFC3339Nano})
	default:
		bad.add("CLOSEOUT_LOG_FORMAT", "must be text or json, is %q", c.LogFormat)
	}
	return s
}

// policy reads the business settings; an empty one keeps the road's default.
func (c common) policy(env closure.Environment, bad *complaints) closure.Policy {
	p := closure.DefaultPolicy(env)
	n := len(*bad)
	for _, f := range []struct {
		phase             closure.Phase
		poll, limit, name string
	}{
		{closure.Liquidation, c.LiquidationPoll, c.LiquidationLimit, "LIQUIDATION"},
		{closure.Settlement, c.SettlementPoll, c.SettlementLimit, "SETTLEMENT"},
		{closure.Withdrawal, c.WithdrawalPoll, c.WithdrawalLimit, "WITHDRAWAL"},
		{closure.Closing, c.ClosingPoll, c.ClosingLimit, "CLOSING"},
	} {
		if f.poll != "" {
			d, err := time.ParseDuration(f.poll)
			if err != nil {
				bad.add("CLOSEOUT_"+f.name+"_POLL", "want a duration such as 30s or 2h, got %q", f.poll)
			}
			p.Polls[f.phase] = d
		}
		if f.limit == "" {
			continue
		}
		l := p.Limits[f.phase]
		if l.Days > 0 {
			days, err := strconv.Atoi(f.limit)
			if err != nil || days < 1 || days > 100 {
				bad.add("CLOSEOUT_"+f.name+"_LIMIT", "want a number of %s between 1 and 100, got %q", l.Of, f.limit)
			}
			l.Days = max(days, 1)
		} else {
			d, err := time.ParseDuration(f.limit)
			if err != nil {
				bad.add("CLOSEOUT_"+f.name+"_LIMIT", "want a duration of %s such as 15m, got %q", l.Of, f.limit)
			}
			l.Time = d
		}
		p.Limits[f.phase] = l
	}
	limit, err := decimal.NewFromString(c.ACHDailyLimit)
	if err != nil {
		bad.add("CLOSEOUT_ACH_DAILY_LIMIT", "want dollars such as 50000, got %q", c.ACHDailyLimit)
	}
	p.DailyLimit = limit
	if p.ReturnWatch, err = strconv.Atoi(c.ReturnWatch); err != nil {
		bad.add("CLOSEOUT_RETURN_WATCH", "want a number of banking days, got %q", c.ReturnWatch)
	}
	if c.UnknownTransfer != "" {
		p.Unknown = closure.Unknown(c.UnknownTransfer)
	}
	if len(*bad) == n { // what could not be read was named already
		if err := p.Validate(); err != nil {
			*bad = append(*bad, err)
		}
	}
	return p
}

// check looks at the addresses and credentials of the real servers. Sandbox and live must not be mixed.
func (r remote) check(s *settings, bad *complaints) *redis.UniversalOptions {
	env := s.env
	clock, err := closure.ParseClock(r.Day)
	switch {
	case err != nil:
		bad.add("CLOSEOUT_DAY", "%v", err)
	case r.Day != "" && env == closure.Live:
		bad.add("CLOSEOUT_DAY", "a scaled clock is for demos; it is refused with the live environment")
	}
	s.clock = clock
	switch s.calls = r.AlpacaCalls; {
	case s.calls == 0 && clock.Scaled():
		s.calls = demoCalls
	case s.calls == 0:
		s.calls = fewCalls
	case s.calls < budget.Least || s.calls > 10_000_000:
		bad.add("CLOSEOUT_ALPACA_CALLS_PER_MINUTE", "must lie between %d and 10000000, is %d", budget.Least, s.calls)
	}
	opts := r.options(r.encryption, bad)
	r.store.check(bad)
	if strings.HasPrefix(r.DatabaseURL, "sqlite:") && r.AccountStatus != "" {
		bad.add("CLOSEOUT_ACCOUNT_STATUS", "names a table on Postgres; with a sqlite: ledger there is none")
	}
	if r.AccountStatus != "" {
		if s.status, err = ledger.ParseAccountStatus(r.AccountStatus); err != nil {
			bad.add("CLOSEOUT_ACCOUNT_STATUS", "%v", err)
		}
	}
	if r.AlpacaKey == "" {
		bad.add("CLOSEOUT_ALPACA_KEY", "must be given")
	}
	if r.AlpacaSecret == "" {
		bad.add("CLOSEOUT_ALPACA_SECRET", "must be given")
	}
	u, err := url.Parse(r.AlpacaURL)
	host := ""
	if err == nil {
		host = strings.ToLower(strings.TrimSuffix(u.Hostname(), ".")) // names that DNS takes for the same
	}
	switch {
	case r.AlpacaURL == "":
		bad.add("CLOSEOUT_ALPACA_URL", "must be given, such as https://%s", sandboxHost)
	case err != nil || host == "" || (u.Scheme != "https" && u.Scheme != "http") || u.User != nil:
		bad.add("CLOSEOUT_ALPACA_URL", "is no https:// URL without a user")
	case env == closure.Live && (u.Scheme != "https" || host != liveHost):
		bad.add("CLOSEOUT_ALPACA_URL", "the live environment takes https://%s alone, no sandbox and no simulator", liveHost)
	case env == closure.Sandbox && host == liveHost:
		bad.add("CLOSEOUT_ALPACA_URL", "%s is the live broker; set CLOSEOUT_ENVIRONMENT=live to use it", liveHost)
	case r.Day != "" && !loopback(host):
		bad.add("CLOSEOUT_DAY", "a scaled clock and its short quarantine are for a simulator on this machine; CLOSEOUT_ALPACA_URL is another's")
	case u.Scheme == "http" && !loopback(host):
		bad.add("CLOSEOUT_ALPACA_URL", "plain http is only for a simulator on this machine")
	}
	return opts
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// apiKeys reads the bootstrap keys, if there are any. The demo's key is refused here.
func apiKeys(s string, bad *complaints) server.Keys {
	if s == "" {
		return server.Keys{}
	}
	keys, err := server.ParseKeys(s)
	if err != nil {
		bad.add("CLOSEOUT_API_KEYS", "%v", err)
	}
	return keys
}
