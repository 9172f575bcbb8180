//go:build !race

package handlers_test

import (
	"math"
	"runtime/debug"
	"testing"

	"github.com/redis/go-redis/v9"

	"closeout/internal/servers"
	"closeout/ledger/ledgertest"
)

// visitAllocs is how often a visit that finds nothing new allocates, from the reading of its row to the scheduling of the next, in
// our own code and in what it calls in this process: the drivers of Postgres and Redis, HTTP, JSON and the log.
const visitAllocs = 454

// What a visit allocates can be told exactly, where the time that it takes can't. Postgres and Redis are other processes, the broker's
// answers are recorded, no other test runs beside (testing.AllocsPerRun sees to it), and nothing is collected meanwhile, by which pools
// would be emptied. What comes now and then (the budget's bucket and queue are asked for many visits at once, and of the quota once a
// second; a map grows) is not in the least of many runs. The race detector has pools forget at random, so that there is no number
// beside it: make test runs this with the proofs.
func TestWhatAVisitAllocates(t *testing.T) {
	w := newSettling(t, ledgertest.Open(t, servers.StartPostgres(t).Database(t), nil), redis.NewClient(&redis.Options{Addr: servers.StartRedis(t).Addr}))
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	least := math.Inf(1)
	for range 50 {
		least = min(least, testing.AllocsPerRun(1, w.visit))
	}
	switch {
	case least > visitAllocs:
		t.Errorf("a visit allocates %.0f times, and did %d times: find out what for, by go test -run '^$' -bench '^BenchmarkVisit$/ledger=postgres' -memprofilerate 1 -memprofile visit.mem ./handlers,"+
			" and raise visitAllocs only for what is worth it, or after an update of Go or of a driver", least, visitAllocs)
	case least < visitAllocs*0.97:
		t.Errorf("a visit allocates %.0f times and no longer %d times: lower visitAllocs to it, or that is lost unseen", least, visitAllocs)
	}
}
