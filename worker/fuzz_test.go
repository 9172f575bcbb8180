package worker

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// told answers INFO by itself.
type told struct{ info string }

func (t told) DialHook(next redis.DialHook) redis.DialHook {
	return func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("nobody is asked") }
}

func (t told) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(_ context.Context, cmd redis.Cmder) error {
		if s, ok := cmd.(*redis.StringCmd); ok {
			s.SetVal(t.info)
		}
		return nil
	}
}

func (t told) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// FuzzFit: a Redis is taken without a word only if it says that it is new enough and evicts nothing; what it does not say
// is a warning.
func FuzzFit(f *testing.F) {
	const good = "# Server\r\nredis_version:7.0.15\r\nredis_mode:standalone\r\n# Memory\r\nmaxmemory_policy:noeviction\r\n# Persistence\r\naof_enabled:1\r\n# Replication\r\nrole:master\r\n"
	f.Add(good)
	f.Add(strings.Replace(good, "7.0.15", "6.0.16", 1))
	f.Add(strings.Replace(good, "7.0.15", "6.2", 1))
	f.Add(strings.Replace(good, "7.0.15", "x.y", 1))
	f.Add(strings.Replace(good, "7.0.15", "-7.9", 1))
	f.Add(strings.Replace(good, "noeviction", "allkeys-lru", 1))
	f.Add(strings.Replace(good, "aof_enabled:1", "aof_enabled:0", 1))
	f.Add(strings.Replace(good, "master", "slave", 1))
	f.Add("executable:/" + strings.Repeat("x", 70_000) + "\r\n" + strings.Replace(good, "noeviction", "allkeys-lru", 1))
	f.Add("")
	f.Fuzz(func(t *testing.T, info string) {
		rdb := redis.NewClient(&redis.Options{Addr: "none"})
		defer func() { _ = rdb.Close() }()
		rdb.AddHook(told{info})
		warnings, err := Fit(t.Context(), rdb)
		if strings.Contains(info, "\nmaxmemory_policy:allkeys-lru\r\n") && strings.Count(info, "maxmemory_policy") == 1 && err == nil {
			t.Errorf("a Redis that evicts is taken: %v", warnings)
		}
		if err != nil || len(warnings) > 0 {
			return
		}
		if !strings.Contains(info, "redis_version:") || !strings.Contains(info, "maxmemory_policy:") || !strings.Contains(info, "noeviction") {
			t.Errorf("taken without a word: %q", info)
		}
	})
}
