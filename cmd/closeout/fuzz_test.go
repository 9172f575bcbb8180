package main

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"closeout/closure"
)

// FuzzSettings: settings that are accepted make a policy, a clock and addresses that keep their promises; a refusal shows
// no password.
func FuzzSettings(f *testing.F) {
	const pg, rd, al = "postgres://u:hunter2hunter2@db/x", "redis://:hunter2hunter2@h:6379/0", "https://broker-api.sandbox.alpaca.markets"
	for _, s := range [][7]string{
		{"sandbox", "50000", "2", "1h", "3", al, ""},
		{"live", "0.01", "0", "1s", "100", "https://broker-api.alpaca.markets", ""},
		{"sandbox", "1e9999", "60", "2562047h", "101", "https://Broker-API.Alpaca.markets.", "20s@2026-11-18T15:00:00Z@2026-11-18T15:00:00Z"},
		{"live", "NaN", "-1", "-1h", "0", "http://127.0.0.1:9000", "20s@2026-11-18T15:00:00Z@2026-11-18T15:00:00Z"},
		{"Live", "", "1e1", "1ns", "+5", "https://x@broker-api.alpaca.markets", "@@"},
		{"", "0", "999999999999999999999", "", "", "https://:443", ""},
		{"sandbox", "0x10", "2", "1h", "3", "http://[::1%25lo]:9000", ""},
		{"sandbox", "5", "2", "1h", "3", "http://localhost.:9000/?q#f", ""},
	} {
		f.Add(s[0], s[1], s[2], s[3], s[4], s[5], s[6], pg, rd)
	}
	f.Add("sandbox", "1", "1", "1h", "1", al, "", "sqlite:", "rediss://h")
	f.Add("sandbox", "1", "1", "1h", "1", al, "", "hunter2hunter2", "redis://user:hunter2hunter2@[")
	f.Fuzz(func(t *testing.T, env, daily, watch, poll, limit, alpaca, day, database, redis string) {
		c := common{
			Environment: env, LogLevel: "info", LogFormat: "text", ACHDailyLimit: daily, ReturnWatch: watch,
			LiquidationPoll: poll, SettlementPoll: poll, SettlementLimit: limit, WithdrawalLimit: limit, ClosingLimit: poll,
		}
		r := remote{store: store{DatabaseURL: database}, Day: day, queueStore: queueStore{redis}, AlpacaURL: alpaca, AlpacaKey: "k", AlpacaSecret: "hunter2hunter2"}
		var bad complaints
		s := c.check(&bad)
		opts := r.check(&s, &bad)
		if err := bad.err(); err != nil {
			if strings.Contains(err.Error(), "hunter2hunter2") && !strings.Contains(env+daily+watch+poll+limit+alpaca+day, "hunter2hunter2") {
				t.Errorf("shows a password: %v", err)
			}
			return
		}
		if err := s.policy.Validate(); err != nil || opts == nil || s.env != closure.Sandbox && s.env != closure.Live {
			t.Errorf("accepted: %+v, %v", s, err)
		}
		for phase, l := range s.policy.Limits {
			if l.Days < 0 || l.Days > 100 || l.Days == 0 && l.Time <= 0 || s.policy.Polls[phase] < time.Second {
				t.Errorf("%s: limit %+v, poll %s", phase, l, s.policy.Polls[phase])
			}
		}
		u, err := url.Parse(alpaca)
		if err != nil || u.Hostname() == "" {
			t.Fatalf("accepted %q", alpaca)
		}
		host := strings.ToLower(strings.Trim(u.Hostname(), "."))
		if (host == liveHost) != (s.env == closure.Live) || s.env == closure.Live && (u.Scheme != "https" || s.clock.Scaled()) {
			t.Errorf("accepted %q in %s", alpaca, s.env)
		}
		if u.Scheme != "https" && !strings.HasPrefix(host, "127.") && host != "localhost" && host != "::1" && !strings.HasPrefix(host, "::ffff:127.") {
			t.Errorf("accepted %q, unencrypted over a network", alpaca)
		}
	})
}

// FuzzTold: whatever a health page says, readyz prints one line.
func FuzzTold(f *testing.F) {
	for _, s := range []string{
		`{"status":"ok","checked":["ledger"],"without":["redis"]}`, `{"asynq":"ok","ledger":"ok","redis":"down"}`, `{"detail":"no\nno"}`, `null`, `[]`, `<html>`, "", "\x1b[2J", `{"a":1}`, strings.Repeat("é", 200),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		said := closure.OneLine(told(body))
		if strings.ContainsAny(said, "\r\n\x1b\x00") {
			t.Errorf("%q is told as %q", body, said)
		}
		if !json.Valid(body) && len(said) > 300 {
			t.Errorf("says %d bytes", len(said))
		}
	})
}
