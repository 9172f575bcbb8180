package simulation

import (
	"cmp"
	"database/sql"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"closeout/alpaca/sim"
	"closeout/internal/auditor"
)

// bench is what all lives of a test share.
type bench struct {
	dir   string
	empty []byte
}

func newBench(t *testing.T) bench {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "closeout-simulation-") // no disk where the system has one
	if err != nil {
		dir = t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	empty, err := template(dir)
	if err != nil {
		t.Fatal(err)
	}
	return bench{dir, empty}
}

var lives atomic.Int64

// live lives one life and judges it: what is wrong, in words.
func (b bench) live(t *testing.T, o Options) (Left, auditor.Report, []string) {
	t.Helper()
	var left Left
	o.Dir = fmt.Sprintf("%s/%d", b.dir, lives.Add(1))
	if err := os.Mkdir(o.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(o.Dir) }()
	synctest.Test(t, func(t *testing.T) { left = live(t, o, b.empty) })
	db, err := sql.Open("sqlite", "file:"+left.Ledger)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	r, err := auditor.Audit(t.Context(), db, auditor.Evidence{
		Journal: left.Journal, Truths: left.Truths, Acknowledged: left.Acknowledged, Quiet: left.End.Add(-20 * time.Minute),
	})
	if err != nil {
		t.Fatal(err)
	}
	wrong := slices.Clone(left.Wrong)
	for _, f := range r.Findings {
		wrong = append(wrong, f.String())
	}
	return left, r, wrong
}

// asked reads what `make simulate` was asked for: SEEDS, SEED, and what a shrunk failure prints. FIRST=1 ends a run at the
// first failing seed, without shrinking it.
func asked(t *testing.T) (n int, only bool, o Options) {
	t.Helper()
	number := func(name string, otherwise int) int {
		s := os.Getenv(name)
		if s == "" {
			return otherwise
		}
		v, err := strconv.Atoi(s)
		if err != nil || v < 0 {
			t.Fatalf("%s: want a number, got %q", name, s)
		}
		return v
	}
	n = 120
	if testing.Short() || underRace {
		n = 8
	}
	n = number("SEEDS", n)
	o = Options{Faults: number("FAULTS", -1), Without: map[Kind]bool{}}
	for k := range strings.SplitSeq(os.Getenv("WITHOUT"), ",") {
		if k = strings.TrimSpace(k); k != "" {
			o.Without[Kind(k)] = true
		}
	}
	if os.Getenv("SEED") != "" {
		o.Seed, only = uint64(number("SEED", 0)), true
	}
	return n, only, o
}

// Thousands of lives under faults of every kind; each must leave books that add up.
func TestSimulate(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	n, only, o := asked(t)
	if only {
		o.Trace = writer{t}
		left, r, wrong := b.live(t, o)
		t.Logf("seed %d: %d closures, %d visits, %.1f days, %d faults; let pass: %v", o.Seed, left.Closures, left.Visits, left.Days, left.Struck, r.Tolerated)
		for _, e := range left.Journal {
			t.Logf("journal %s %s %s %s cash %s %s %s", e.Account[len(e.Account)-6:], e.At.In(sim.NewYork).Format("Mon 01-02 15:04:05"), e.Kind, e.Amount, e.Cash, e.Key, e.Note)
		}
		for _, w := range wrong {
			t.Error(w)
		}
		return
	}
	began := time.Now()
	var sum total
	var next, failed atomic.Int64
	most := int64(3) // more of them tell no more
	if os.Getenv("FIRST") != "" {
		most = 1
	}
	t.Run("lives", func(t *testing.T) {
		for range runtime.GOMAXPROCS(0) {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				for failed.Load() < most {
					o := o
					if o.Seed = uint64(next.Add(1) - 1); o.Seed >= uint64(n) {
						return
					}
					left, r, wrong := b.live(t, o)
					sum.add(left, r)
					if len(wrong) > 0 {
						failed.Add(1)
						if most == 1 {
							t.Errorf("seed %d goes wrong:\n  %s", o.Seed, strings.Join(wrong, "\n  "))
							return
						}
						b.report(t, o, left, wrong)
					}
				}
			})
		}
	})
	sum.tell(t, time.Since(began))
	if failed.Load() == 0 && n >= enough {
		for _, w := range wanted {
			if sum.some[w] == 0 {
				t.Errorf("never reached in %d lives: %s", n, w)
			}
		}
	}
}

// report prints a failing seed with the fewest kinds of trouble and faults that still make it fail, and how to see it again.
func (b bench) report(t *testing.T, o Options, left Left, wrong []string) {
	t.Helper()
	small := shrink(o, left.Struck, left.Kinds, func(o Options) bool {
		_, _, wrong := b.live(t, o)
		return len(wrong) > 0
	})
	left, _, still := b.live(t, small)
	var kinds []string
	for _, k := range slices.Sorted(maps.Keys(left.Kinds)) {
		kinds = append(kinds, string(k))
	}
	without := slices.Sorted(maps.Keys(small.Without))
	names := make([]string, len(without))
	for i, k := range without {
		names[i] = string(k)
	}
	t.Errorf("seed %d goes wrong:\n  %s\nwith no more than [%s] and its first %d faults it still does:\n  %s\nsee it again: make simulate SEED=%d FAULTS=%d WITHOUT='%s'",
		o.Seed, strings.Join(wrong, "\n  "), strings.Join(kinds, ", "), left.Struck, strings.Join(still, "\n  "), o.Seed, left.Struck, strings.Join(names, ","))
}

// total adds lives up.
type total struct {
	mu                                       sync.Mutex
	lives, closures, visits, struck, effects int
	days                                     float64
	kinds                                    map[Kind]int
	some, tolerated                          map[string]int
}

func (s *total) add(left Left, r auditor.Report) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kinds == nil {
		s.kinds, s.some, s.tolerated = map[Kind]int{}, map[string]int{}, map[string]int{}
	}
	s.lives++
	s.closures += left.Closures
	s.visits += left.Visits
	s.struck += left.Struck
	s.days += left.Days
	s.effects += r.Effects
	for k, n := range left.Kinds {
		s.kinds[k] += n
	}
	for k, n := range left.Some {
		s.some[k] += n
	}
	for k, n := range r.Tolerated {
		s.tolerated[k] += n
		if k == auditor.ForeignAdopted {
			s.some["a withdrawal by the customer was taken for ours"] += n
		}
	}
}

func (s *total) tell(t *testing.T, took time.Duration) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	t.Logf("%d lives in %s, %.1f a second: %d closures, %d visits, %.1f years, %d faults, %d instructions carried out by the broker",
		s.lives, took.Round(100*time.Millisecond), float64(s.lives)/took.Seconds(), s.closures, s.visits, s.days/365, s.struck, s.effects)
	t.Logf("faults and events:%s", table(s.kinds))
	t.Logf("rare things:%s", table(s.some))
	t.Logf("residual risks let pass:%s", table(s.tolerated))
}

func table[K cmp.Ordered](m map[K]int) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(&b, "\n  %8d %v", m[k], k)
	}
	return b.String()
}

type writer struct{ t *testing.T }

func (w writer) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimRight(string(b), "\n"))
	return len(b), nil
}

// A seed decides everything: only then can a life that went wrong be looked at again.
func TestASeedIsLivedTheSameWayAgain(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	n := uint64(5)
	if underRace {
		n = 1
	}
	for seed := range n {
		o := Options{Seed: seed + 40, Faults: -1}
		one, _, _ := b.live(t, o)
		two, _, _ := b.live(t, o)
		ignore := gocmp.Options{ // ids of closures are made of chance, and order ids of them
			cmpopts.IgnoreFields(Left{}, "Ledger", "Acknowledged", "Letters", "Truths"),
			cmpopts.IgnoreFields(sim.Entry{}, "Key"),
		}
		if diff := gocmp.Diff(one, two, ignore); diff != "" {
			t.Errorf("seed %d: %s", o.Seed, diff)
		}
	}
}

// Taking kinds and faults away until a life goes right again finds what it takes for it to go wrong.
func TestShrinkFindsTheFewest(t *testing.T) {
	t.Parallel()
	kinds := map[Kind]int{"crash": 4, "pause": 9, "answer lost": 2, "dividend": 1, "outage": 1}
	lived := 0
	got := shrink(Options{Seed: 1, Faults: -1}, 16, kinds, func(o Options) bool {
		lived++
		return !o.Without["crash"] && !o.Without["answer lost"] && (o.Faults < 0 || o.Faults >= 5)
	})
	want := Options{Seed: 1, Faults: 5, Without: map[Kind]bool{"pause": true, "dividend": true, "outage": true}}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if lived > 30 {
		t.Errorf("it took %d lives", lived)
	}
}
