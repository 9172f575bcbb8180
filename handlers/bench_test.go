package handlers_test

import (
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"closeout/internal/servers"
	"closeout/ledger/ledgertest"
)

// A visit that moves no money and finds nothing new, as TestWhatAVisitAsks has it, on either pair of servers.
func BenchmarkVisit(b *testing.B) {
	onEachPair(b, func(b *testing.B, w *settling) {
		b.Helper()
		for b.Loop() {
			w.visit()
		}
	})
}

// A sweep that finds nothing due, among a thousand that wait.
func BenchmarkSweep(b *testing.B) {
	onEachPair(b, func(b *testing.B, w *settling) {
		b.Helper()
		ledgertest.Waiting(b, w.ledger, 1000)
		for b.Loop() {
			if s, err := w.run.Sweep(b.Context()); err != nil || s.Overdue > 0 {
				b.Fatalf("%+v: %v", s, err)
			}
		}
	})
}

// onEachPair runs a benchmark on the pairs that a worker may have: SQLite and the embedded Redis, and Postgres and a Redis.
func onEachPair(b *testing.B, do func(b *testing.B, w *settling)) {
	b.Helper()
	ledgertest.OnEach(b, func(b *testing.B, url string) {
		b.Helper()
		var addr string
		if strings.HasPrefix(url, "sqlite:") {
			addr = miniredis.RunT(b).Addr()
		} else {
			addr = servers.StartRedis(b).Addr
		}
		w := newSettling(b, ledgertest.Open(b, url, nil), redis.NewClient(&redis.Options{Addr: addr}))
		b.ReportAllocs()
		do(b, w)
	})
}
