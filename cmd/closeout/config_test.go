package main

import (
	"bytes"
	"context"
	"net/http/httptest"
	"strings"
	"testing"

	"closeout/closure"
	"closeout/ledger"
	"closeout/readiness"
	"closeout/server"
)

// start runs the program with an environment and says how it ended. Nothing that should be refused gets as far as a socket.
func start(t *testing.T, env map[string]string, args ...string) (status int, stderr string) {
	t.Helper()
	for k, v := range env {
		t.Setenv(k, v)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // a start that is wrongly accepted ends at once
	var out, errs bytes.Buffer
	status = run(ctx, args, &out, &errs)
	return status, errs.String()
}

// command runs a command to its end.
func command(t *testing.T, args ...string) (status int, said string) {
	t.Helper()
	var both bytes.Buffer
	status = run(t.Context(), args, &both, &both)
	return status, both.String()
}

func TestAWrongStartNamesEveryWrongSettingAtOnce(t *testing.T) {
	status, said := start(t, map[string]string{
		"CLOSEOUT_ENVIRONMENT": "production", "CLOSEOUT_SETTLEMENT_POLL": "hourly", "CLOSEOUT_WITHDRAWAL_LIMIT": "never",
		"CLOSEOUT_ACH_DAILY_LIMIT": "lots", "CLOSEOUT_LOG_LEVEL": "shout", "CLOSEOUT_DAY": "20s",
		"CLOSEOUT_REDIS_URL": "redis://user:hunter2@[", "CLOSEOUT_ALPACA_URL": "ftp://x", "CLOSEOUT_ALPACA_SECRET": "topsecretvalue", "CLOSEOUT_ALPACA_CALLS_PER_MINUTE": "29",
		"CLOSEOUT_API_KEYS": "client=short", "CLOSEOUT_API_RATE": "5", "CLOSEOUT_DATABASE_URL": "mysql://root:hunter2@db/x", "CLOSEOUT_ACCOUNT_STATUS": "user_onboarding",
		"CLOSEOUT_PUBLIC_URL": "http://closeout.firm.example/path", "CLOSEOUT_OPERATORS": "ann:hunter2", "CLOSEOUT_OIDC_ISSUER": "http://accounts.firm.example", "CLOSEOUT_OIDC_CLAIM": " ", "CLOSEOUT_OIDC_VIEWERS": " ,",
	}, "server")
	if status != 2 {
		t.Errorf("status %d, want 2", status)
	}
	for _, setting := range []string{
		"CLOSEOUT_ENVIRONMENT", "CLOSEOUT_SETTLEMENT_POLL", "CLOSEOUT_WITHDRAWAL_LIMIT", "CLOSEOUT_ACH_DAILY_LIMIT", "CLOSEOUT_LOG_LEVEL",
		"CLOSEOUT_DAY", "CLOSEOUT_REDIS_URL", "CLOSEOUT_DATABASE_URL", "CLOSEOUT_ALPACA_URL", "CLOSEOUT_ALPACA_KEY", "CLOSEOUT_API_KEYS",
		"CLOSEOUT_ACCOUNT_STATUS", "CLOSEOUT_ALPACA_CALLS_PER_MINUTE", "CLOSEOUT_API_RATE", "CLOSEOUT_PUBLIC_URL", "CLOSEOUT_OPERATORS", "CLOSEOUT_OIDC_ISSUER",
		"CLOSEOUT_OIDC_CLIENT_ID", "CLOSEOUT_OIDC_CLIENT_SECRET", "CLOSEOUT_OIDC_CLAIM", "CLOSEOUT_OIDC_OPERATORS, CLOSEOUT_OIDC_VIEWERS",
	} {
		if !strings.Contains(said, setting+":") {
			t.Errorf("%s is wrong and not named:\n%s", setting, said)
		}
	}
	for _, secret := range []string{"hunter2", "topsecretvalue", "short"} {
		if strings.Contains(said, secret) {
			t.Errorf("the complaint shows %q", secret)
		}
	}
}

func TestLiveRefusesWhatMakesADemo(t *testing.T) {
	good := map[string]string{
		"CLOSEOUT_ENVIRONMENT": "live", "CLOSEOUT_REDIS_URL": "redis://127.0.0.1:1/0", "CLOSEOUT_DATABASE_URL": "sqlite:/nonexistent/x.db",
		"CLOSEOUT_ALPACA_URL": "https://" + liveHost, "CLOSEOUT_ALPACA_KEY": "k", "CLOSEOUT_ALPACA_SECRET": "s", "CLOSEOUT_API_KEYS": "client=0123456789abcdef",
	}
	for name, tc := range map[string]struct{ setting, value string }{
		"the simulator":   {"CLOSEOUT_ALPACA_URL", "http://127.0.0.1:9000"},
		"the sandbox":     {"CLOSEOUT_ALPACA_URL", "https://" + sandboxHost},
		"a scaled clock":  {"CLOSEOUT_DAY", "20s@2026-11-18T15:00:00Z@2026-11-18T15:00:00Z"},
		`the key "dev"`:   {"CLOSEOUT_API_KEYS", "client=dev"},
		"miniredis":       {"CLOSEOUT_REDIS_URL", ""},
		"nothing of that": {},
	} {
		t.Run(name, func(t *testing.T) {
			env := map[string]string{}
			for k, v := range good {
				env[k] = v
			}
			if tc.setting != "" {
				env[tc.setting] = tc.value
			}
			status, said := start(t, env, "server")
			if tc.setting == "" { // refused for its database folder only, after the settings were accepted
				if status != 1 || strings.Contains(said, "settings do not work") {
					t.Errorf("good settings: status %d: %s", status, said)
				}
				return
			}
			if status != 2 || !strings.Contains(said, tc.setting+":") {
				t.Errorf("status %d: %s", status, said)
			}
		})
	}
	t.Run("the demo itself", func(t *testing.T) {
		status, said := start(t, map[string]string{"CLOSEOUT_ENVIRONMENT": "live"}, "dev", "--data", t.TempDir())
		if status != 2 {
			t.Errorf("status %d: %s", status, said)
		}
		for _, what := range []string{"simulator", "miniredis", `key "dev"`, "scaled clock", "whoever clicks"} {
			if !strings.Contains(said, what) {
				t.Errorf("%s is not named:\n%s", what, said)
			}
		}
	})
}

func TestAScaledClockStaysOnThisMachine(t *testing.T) {
	status, said := start(t, map[string]string{
		"CLOSEOUT_DAY": "20s@2026-11-18T15:00:00Z@2026-11-18T15:00:00Z", "CLOSEOUT_ALPACA_URL": "https://" + sandboxHost,
	}, "worker")
	if status != 2 || !strings.Contains(said, "CLOSEOUT_DAY: a scaled clock") {
		t.Errorf("status %d: %s", status, said)
	}
}

func TestSandboxRefusesTheLiveBroker(t *testing.T) {
	for _, u := range []string{"https://" + liveHost, "https://Broker-API.Alpaca.markets:443/", "https://" + liveHost + "."} {
		status, said := start(t, map[string]string{"CLOSEOUT_ALPACA_URL": u}, "worker")
		if status != 2 || !strings.Contains(said, "is the live broker") {
			t.Errorf("%s: status %d: %s", u, status, said)
		}
	}
}

func TestDevStaysOnLoopback(t *testing.T) {
	status, said := start(t, nil, "dev", "--data", t.TempDir(), "--addr", "0.0.0.0:8000", "--day", "never")
	if status != 2 || !strings.Contains(said, "--addr:") || !strings.Contains(said, "--day:") {
		t.Errorf("status %d: %s", status, said)
	}
}

func TestHelpNamesEachCommand(t *testing.T) {
	var out, errs bytes.Buffer
	if status := run(t.Context(), []string{"--help"}, &out, &errs); status != 0 {
		t.Fatalf("status %d: %s", status, errs.String())
	}
	for _, c := range []string{"dev", "server", "worker"} {
		if !strings.Contains(out.String(), "\n  "+c) {
			t.Errorf("help does not name %s:\n%s", c, out.String())
		}
	}
}

// TestALogKeepsARequestsID: an answer of 5xx sends its reader to the log, where the id must stand as it was given.
func TestALogKeepsARequestsID(t *testing.T) {
	var out bytes.Buffer
	s := common{Environment: "sandbox", LogLevel: "info", LogFormat: "json", ACHDailyLimit: "1", ReturnWatch: "0"}.check(new(complaints))
	s.log.SetOutput(&out)
	keys, err := server.ParseKeys("test=0123456789abcdef")
	if err != nil {
		t.Fatal(err)
	}
	h, err := server.New(server.Options{
		Ledger: &ledger.Ledger{}, Schedule: func(context.Context, closure.Closure) error { return nil }, Readiness: &readiness.Checker{}, Keys: keys, Log: s.log,
	})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/nothing", nil))
	if id := w.Header().Get("X-Request-ID"); id == "" || !strings.Contains(out.String(), id) {
		t.Errorf("the request %q is not in the log: %s", id, out.String())
	}
}
