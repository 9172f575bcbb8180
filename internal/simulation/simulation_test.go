package simulation

import (
	"database/sql"
	"fmt"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"closeout/internal/auditor"
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
		if os.Getenv("QUIET") == "" {
			t.Logf("seed %d: %d closures, %d visits, %.1f days, %d faults, %s", seed, left.Closures, left.Visits, left.Days, left.Struck, time.Since(began).Round(time.Millisecond))
		}
		for k, v := range left.Some {
			some[k] += v
		}
		db, err := sql.Open("sqlite", "file:"+left.Ledger)
		if err != nil {
			t.Fatal(err)
		}
		r, err := auditor.Audit(t.Context(), db, auditor.Evidence{Journal: left.Journal, Truths: left.Truths, Acknowledged: left.Acknowledged, Quiet: left.End.Add(-20 * time.Minute)})
		if err != nil {
			t.Fatal(err)
		}
		_ = db.Close()
		for _, f := range left.Wrong {
			fmt.Printf("seed %d WRONG %s\n", seed, f)
		}
		for _, f := range r.Findings {
			fmt.Printf("seed %d FOUND %s\n", seed, f)
		}
		if os.Getenv("JOURNAL") != "" {
			for _, e := range left.Journal {
				fmt.Printf("%s %s %-20s %10s cash %10s %s %s %s\n", e.Account[30:], e.At.Format("01-02 15:04:05"), e.Kind, e.Amount, e.Cash, e.Key, e.Note, e.Day)
			}
		}
		os.Remove(left.Ledger)
	}
	if os.Getenv("QUIET") == "" {
		t.Log(some)
	}
}
