package worker_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/redis/go-redis/v9"

	"closeout/worker"
)

const goodRedis = "# Server\r\nredis_version:7.0.15\r\n# Memory\r\nmaxmemory_policy:noeviction\r\n# Persistence\r\naof_enabled:1\r\n# Replication\r\nrole:master\r\n"

func TestOnlyAFitRedisCarriesTheQueue(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		info  string // the answer to INFO; with a - in front, an error
		unfit string // what the refusal must say
		again string // what an error that may pass must say
		warns string
	}{
		"a good one":              {info: goodRedis},
		"6.2":                     {info: strings.Replace(goodRedis, "7.0.15", "6.2.0", 1)},
		"a version to come":       {info: strings.Replace(goodRedis, "7.0.15", "10.0-rc1", 1)},
		"6.0":                     {info: strings.Replace(goodRedis, "7.0.15", "6.0.20", 1), unfit: "version 6.0.20"},
		"5":                       {info: strings.Replace(goodRedis, "7.0.15", "5.0.14", 1), unfit: "version 5.0.14"},
		"one that evicts":         {info: strings.Replace(goodRedis, "noeviction", "allkeys-lru", 1), unfit: "set it to noeviction"},
		"one that evicts some":    {info: strings.Replace(goodRedis, "noeviction", "volatile-lru", 1), unfit: "maxmemory-policy is volatile-lru"},
		"no append-only file":     {info: strings.Replace(goodRedis, "aof_enabled:1", "aof_enabled:0", 1), warns: "appendonly no"},
		"a replica":               {info: strings.Replace(goodRedis, "role:master", "role:slave", 1), again: "replica"},
		"one that is loading":     {info: "-LOADING Redis is loading the dataset in memory", again: "LOADING"},
		"one that does not tell":  {info: "-NOPERM this user has no permissions to run the 'info' command", warns: "NOPERM"},
		"one that tells not all":  {info: "redis_version:7.2.4\r\n", warns: "maxmemory-policy"},
		"one without its version": {info: "maxmemory_policy:noeviction\r\n", warns: "version"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := miniredis.RunT(t)
			m.Server().SetPreHook(func(c *server.Peer, cmd string, _ ...string) bool {
				if cmd != "INFO" {
					return false
				}
				if text, ok := strings.CutPrefix(tt.info, "-"); ok {
					c.WriteError(text)
				} else {
					c.WriteBulk(tt.info)
				}
				return true
			})
			rdb := redis.NewClient(&redis.Options{Addr: m.Addr(), MaxRetries: -1})
			t.Cleanup(func() { _ = rdb.Close() })
			warnings, err := worker.Fit(t.Context(), rdb)
			switch {
			case tt.unfit != "":
				if !errors.Is(err, worker.ErrUnfit) || !strings.Contains(err.Error(), tt.unfit) {
					t.Errorf("it must be refused for %q: %v", tt.unfit, err)
				}
			case tt.again != "":
				if err == nil || errors.Is(err, worker.ErrUnfit) || !strings.Contains(err.Error(), tt.again) {
					t.Errorf("it must be asked again: %v", err)
				}
			case err != nil:
				t.Error(err)
			}
			if said := strings.Join(warnings, "\n"); !strings.Contains(said, tt.warns) || tt.warns == "" && said != "" {
				t.Errorf("warnings %q, want %q", said, tt.warns)
			}
		})
	}
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1, DialerRetries: 1})
	t.Cleanup(func() { _ = rdb.Close() })
	if _, err := worker.Fit(t.Context(), rdb); err == nil || errors.Is(err, worker.ErrUnfit) {
		t.Errorf("one out of reach: %v", err)
	}
}
