package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"
)

// TestWhatLeavesTheMachineIsEncrypted, or said not to be; and what is weaker than it could be is told at each start.
func TestWhatLeavesTheMachineIsEncrypted(t *testing.T) {
	const here = "postgres://u:hunter2@127.0.0.1/c"
	for name, c := range map[string]struct {
		redis, database string
		plaintext       []string
		refused         string // the settings that are complained about, in order
		warned          string // part of what is warned of
	}{
		"this machine":               {redis: "redis://:hunter2@localhost:6379/0", database: here},
		"this machine, IPv6":         {redis: "redis://[::1]:6379/0", database: "postgres://u:hunter2@[::1]:5432/c"},
		"sockets":                    {redis: "unix:///run/redis.sock", database: "postgres:///c?host=/run/postgresql&user=u&password=hunter2"},
		"a file":                     {redis: "redis://127.0.0.1/0", database: "sqlite:x.db"},
		"Redis in clear":             {redis: "redis://:hunter2@redis.firm.example:6379/0", database: here, refused: "CLOSEOUT_REDIS_URL"},
		"Redis in clear, said":       {redis: "redis://:hunter2@redis:6379/0", database: here, plaintext: []string{"redis"}, warned: "connections to Redis are not encrypted"},
		"Redis encrypted":            {redis: "rediss://:hunter2@redis.firm.example:6379/0", database: here},
		"Redis believed":             {redis: "rediss://:hunter2@redis.firm.example:6379/0?skip_verify=true", database: here, warned: "connections to Redis are encrypted, but"},
		"a cluster in clear":         {redis: "redis-cluster://:hunter2@127.0.0.1:6379,redis.firm.example:6379", database: here, refused: "CLOSEOUT_REDIS_URL"},
		"a cluster in clear, said":   {redis: "redis-cluster://:hunter2@redis1,redis2", database: here, plaintext: []string{"redis"}, warned: "connections to Redis are not encrypted"},
		"a cluster encrypted":        {redis: "rediss-cluster://:hunter2@redis1,redis2", database: here},
		"Sentinels in clear":         {redis: "redis-sentinel://:hunter2@localhost,redis2/0?master=m&sentinel_password=hunter22", database: here, refused: "CLOSEOUT_REDIS_URL"},
		"Sentinels here":             {redis: "redis-sentinel://:hunter2@localhost:1,[::1]:2/0?master=m", database: here},
		"Sentinels believed":         {redis: "rediss-sentinel://:hunter2@redis1,redis2/0?master=m&skip_verify=true", database: here, warned: "connections to Redis are encrypted, but"},
		"Postgres in clear":          {redis: "redis://127.0.0.1/0", database: "postgres://u:hunter2@db/c?sslmode=disable", refused: "CLOSEOUT_DATABASE_URL"},
		"Postgres by its default":    {redis: "redis://127.0.0.1/0", database: "postgres://u:hunter2@db/c", refused: "CLOSEOUT_DATABASE_URL"},
		"Postgres that prefers":      {redis: "redis://127.0.0.1/0", database: "postgres://u:hunter2@db/c?sslmode=prefer", refused: "CLOSEOUT_DATABASE_URL"},
		"Postgres that allows":       {redis: "redis://127.0.0.1/0", database: "postgresql://u:hunter2@db/c?sslmode=allow", refused: "CLOSEOUT_DATABASE_URL"},
		"Postgres elsewhere as well": {redis: "redis://127.0.0.1/0", database: "postgres://u:hunter2@127.0.0.1,db/c", refused: "CLOSEOUT_DATABASE_URL"},
		"Postgres in clear, said":    {redis: "redis://127.0.0.1/0", database: "postgres://u:hunter2@db/c", plaintext: []string{"redis", "postgres"}, warned: "connections to Postgres are not encrypted"},
		"Postgres verified":          {redis: "redis://127.0.0.1/0", database: "postgres://u:hunter2@db/c?sslmode=verify-full"},
		"Postgres believed":          {redis: "redis://127.0.0.1/0", database: "postgres://u:hunter2@db/c?sslmode=require", warned: "connections to Postgres are encrypted, but"},
		"another's leave":            {redis: "redis://redis/0", database: "postgres://u:hunter2@db/c", plaintext: []string{"postgres"}, refused: "CLOSEOUT_REDIS_URL", warned: ""},
		"neither":                    {redis: "redis://redis/0", database: "postgres://u:hunter2@db/c", refused: "CLOSEOUT_REDIS_URL CLOSEOUT_DATABASE_URL"},
		"what has no such way":       {redis: "redis://127.0.0.1/0", database: here, plaintext: []string{"smtp"}, refused: "CLOSEOUT_PLAINTEXT"},
	} {
		r := remote{queueStore: queueStore{c.redis}, AlpacaURL: "http://127.0.0.1:9000", AlpacaKey: "k", AlpacaSecret: "s"}
		r.DatabaseURL, r.Plaintext = c.database, c.plaintext
		var bad complaints
		opts := r.check(&settings{env: "sandbox"}, &bad)
		var refused []string
		for _, err := range bad {
			setting, _, _ := strings.Cut(err.Error(), ":")
			refused = append(refused, setting)
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s: the complaint shows the password: %v", name, err)
			}
		}
		if got := strings.Join(refused, " "); got != c.refused {
			t.Errorf("%s: complaints about %q, want %q: %v", name, got, c.refused, bad.err())
		}
		if len(bad) > 0 {
			continue
		}
		var said bytes.Buffer
		log := logrus.New()
		log.SetOutput(&said)
		r.warn(log, opts)
		if (c.warned == "") != (said.Len() == 0) || !strings.Contains(said.String(), c.warned) || strings.Contains(said.String(), "hunter2") {
			t.Errorf("%s: warned %q, want %q", name, said.String(), c.warned)
		}
	}
}

// TestEveryCommandOfTheLedgerWantsItEncrypted: they share one check, which stands before any connection.
func TestEveryCommandOfTheLedgerWantsItEncrypted(t *testing.T) {
	t.Setenv("CLOSEOUT_DATABASE_URL", "postgres://u:hunter2@closeout.invalid/c")
	for _, args := range [][]string{{"server"}, {"worker"}, {"migrate"}, {"keys", "list"}, {"keys", "create", "x"}, {"keys", "revoke", "x"}} {
		status, said := command(t, args...)
		if status != 2 || !strings.Contains(said, "CLOSEOUT_DATABASE_URL: would go over the network unencrypted") || strings.Contains(said, "hunter2") {
			t.Errorf("%v: status %d: %s", args, status, said)
		}
	}
}
