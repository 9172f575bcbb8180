package simulation

import (
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

func TestOne(t *testing.T) {
	dir, err := os.MkdirTemp("/dev/shm", "closeout-simulation-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	empty, err := template(dir)
	if err != nil {
		t.Fatal(err)
	}
	first, _ := strconv.Atoi(os.Getenv("FIRST"))
	n, _ := strconv.Atoi(os.Getenv("N"))
	some := map[string]int{}
	for seed := first; seed < first+max(n, 1); seed++ {
		var left Left
		o := Options{Seed: uint64(seed), Faults: -1, Dir: dir}
		if os.Getenv("TRACE") != "" {
			o.Trace = os.Stdout
		}
		began := time.Now()
		synctest.Test(t, func(t *testing.T) { left = live(t, o, empty) })
		t.Logf("seed %d: %d closures, %d visits, %.1f days, %d faults, %s %v", seed, left.Closures, left.Visits, left.Days, left.Struck, time.Since(began).Round(time.Millisecond), left.Wrong)
		for k, v := range left.Some {
			some[k] += v
		}
		os.Remove(left.Ledger)
	}
	t.Log(some)
}
