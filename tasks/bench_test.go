package tasks_test

import (
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"closeout/closure"
	"closeout/internal/servers"
	"closeout/tasks"
)

func BenchmarkSchedule(b *testing.B) {
	on := func(b *testing.B, addr string) {
		b.Helper()
		rdb := redis.NewClient(&redis.Options{Addr: addr})
		b.Cleanup(func() { _ = rdb.Close() })
		q := tasks.NewQueue(rdb, closure.Clock{}, timeout)
		c := due("0190a5b6-7c3d-7e2f-8a9b-0c1d2e3f4a5b", time.Now().Add(24*time.Hour))
		b.ReportAllocs()
		for b.Loop() {
			c.Version++
			if err := q.Schedule(b.Context(), c); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("redis=embedded", func(b *testing.B) { on(b, miniredis.RunT(b).Addr()) })
	b.Run("redis=server", func(b *testing.B) { on(b, servers.StartRedis(b).Addr) })
}
