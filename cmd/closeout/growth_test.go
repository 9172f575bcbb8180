package main

import (
	"flag"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"closeout/bench"
	"closeout/closure"
	"closeout/internal/servers"
	"closeout/ledger"
)

var growth = flag.Int("growth", 0, "TestRealGrowth: how many closures wait at the end, 1000000 for one; 0: not at all")

// What it costs to have more and more closures that wait: each figure at 10,000, at 100,000 and so on, in one run on servers of
// its own. The closures are rows that the ledger wrote once and Postgres copied, with histories that are whole, and their tasks
// are scheduled by the queue itself.
func TestRealGrowth(t *testing.T) {
	if *growth == 0 {
		t.Skip("takes minutes, and gigabytes: make growth")
	}
	pg, r := servers.StartPostgres(t, "fsync=on", "full_page_writes=on", "shared_buffers=256MB", "max_wal_size=4GB"), servers.StartRedis(t)
	rdb := redis.NewClient(&redis.Options{Addr: r.Addr})
	url := pg.Database(t)
	c := &benchCmd{Concurrency: 20}
	b, err := c.stand(t.Context(), rdb, url, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.close(); err != nil {
			t.Error(err)
		}
	})
	g := &growing{TB: t, stand: b}
	g.fill(100) // pools, caches and the first pages of tables are there before the counting
	inRedis, inLedger := g.bytes()
	before := g.waiting
	var first []float64
	for n := 10_000; n <= *growth; n *= 10 {
		g.fill(n - g.waiting)
		if _, err := b.o.DB.ExecContext(t.Context(), "VACUUM ANALYZE"); err != nil { // as autovacuum does by then
			t.Fatal(err)
		}
		names := []string{"a sweep that finds nothing due, ms", "the board, ms", "a page of the list, ms", "an initiate, ms", "a visit's read, save and schedule, ms", "a look for letters, ms"}
		found := []float64{g.median(9, g.sweep), g.median(9, g.board), g.median(50, g.list), g.median(100, g.initiate), g.median(200, g.visit), g.median(50, g.letters)}
		r, l := g.bytes()
		debug.FreeOSMemory()
		rss, _ := bench.Resident()
		names = append(names, "Redis, bytes a closure", "ledger, bytes a closure", "this process, broker and all, MiB")
		found = append(found, (r-inRedis)/float64(g.waiting-before), (l-inLedger)/float64(g.waiting-before), float64(rss)/(1<<20))
		if first == nil {
			first = found
		}
		var say strings.Builder
		for i, name := range names {
			fmt.Fprintf(&say, "\n  %-38s %10.2f   %.2f of the first", name, found[i], found[i]/first[i])
		}
		t.Logf("%d closures wait%s", g.waiting, say.String())
	}
}

// growing is the service with closures that wait for years.
type growing struct {
	testing.TB
	*stand
	waiting int
	born    closure.Closure // what the others are copies of
	some    []string        // ids of one in a thousand
	visited int
}

func (g *growing) must(err error) {
	g.Helper()
	if err != nil {
		g.Fatal(err)
	}
}

// years is business time: a business day takes ten seconds.
const years = 20 * 365 * 24 * time.Hour

// fill has so many closures more wait.
func (g *growing) fill(n int) {
	g.Helper()
	ctx := g.Context()
	began := time.Now()
	if g.born.ID == "" {
		g.initiate()
		page, err := g.parts.ledger.List(ctx, ledger.Filter{}, ledger.Page{Limit: 1})
		g.must(err)
		g.born = page[0]
	}
	for n > 0 {
		ids := make([]string, min(n, 20_000))
		for i := range ids {
			ids[i] = uuid.NewString()
			if (g.waiting+i)%1000 == 0 {
				g.some = append(g.some, ids[i])
			}
		}
		g.copies(ids)
		g.must(g.parallel(len(ids), func(i int) error {
			c := g.born
			c.ID, c.DueAt = ids[i], c.DueAt.Add(years)
			return g.parts.queue.Schedule(ctx, c)
		}))
		n -= len(ids)
		g.waiting += len(ids)
	}
	g.Logf("filled up to %d in %s", g.waiting, time.Since(began).Round(time.Second))
}

// copies has Postgres copy the first closure's row, event and letter.
func (g *growing) copies(ids []string) {
	g.Helper()
	ctx := g.Context()
	rows, err := g.o.DB.QueryContext(ctx, "SELECT column_name FROM information_schema.columns WHERE table_schema = 'closeout' AND table_name = 'closures' AND is_generated = 'NEVER'")
	g.must(err)
	defer rows.Close()
	var columns, values []string
	for rows.Next() {
		var name string
		g.must(rows.Scan(&name))
		value := "t." + name
		switch name {
		case "id", "account_id":
			value = "e.id"
		case "due_at":
			value = "t.due_at + $3::bigint * interval '1 second'"
		case "confirmation":
			value = "t.confirmation || '-' || e.i"
		case "head_hash":
			value = "e.hash"
		}
		columns, values = append(columns, name), append(values, value)
	}
	g.must(rows.Err())
	_, err = g.o.DB.ExecContext(ctx, "WITH b AS MATERIALIZED (SELECT n.id, n.i, replace(v.body, v.closure_id, n.id) AS body, v.kind, v.at FROM unnest($1::text[]) WITH ORDINALITY n(id, i), closeout.events v WHERE v.closure_id = $2 AND v.seq = 1),"+
		" e AS MATERIALIZED (SELECT *, encode(sha256(convert_to(E'\\n' || body, 'UTF8')), 'hex') AS hash FROM b),"+
		" c AS (INSERT INTO closeout.closures ("+strings.Join(columns, ", ")+") SELECT "+strings.Join(values, ", ")+" FROM e, closeout.closures t WHERE t.id = $2),"+
		" v AS (INSERT INTO closeout.events (closure_id, seq, at, kind, body, prev_hash, hash) SELECT id, 1, at, kind, body, '', hash FROM e)"+
		" INSERT INTO closeout.notices (id, closure_id, seq, kind, data, state, due_at, lease, attempts, last_error, created_at, sent_at)"+
		" SELECT e.id || '/1/initiated', e.id, 1, 'initiated', '{}', 'sent', now(), '', 1, '', now(), now() FROM e", ids, g.born.ID, int64(years/time.Second))
	g.must(err)
}

func (g *growing) parallel(n int, do func(i int) error) error {
	var next atomic.Int64
	var wg errgroup.Group
	for range 16 {
		wg.Go(func() error {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := do(i); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return wg.Wait()
}

// median is of so many times, in milliseconds.
func (g *growing) median(n int, do func()) float64 {
	g.Helper()
	do() // once for the caches
	took := make([]time.Duration, n)
	for i := range took {
		began := time.Now()
		do()
		took[i] = time.Since(began)
	}
	slices.Sort(took)
	return millis(took[n/2])
}

func (g *growing) sweep() {
	s, err := g.runner.Sweep(g.Context())
	g.must(err)
	if s.Overdue > 0 {
		g.Fatalf("%+v: nothing was to be due", s)
	}
}

func (g *growing) board() {
	board, err := g.parts.ledger.Board(g.Context(), ledger.Cutoffs{closure.Settlement: time.Now()}, time.Now().Add(-24*time.Hour))
	g.must(err)
	if len(board.Tallies) == 0 {
		g.Fatal("the board is empty")
	}
}

func (g *growing) list() {
	page, err := g.parts.ledger.List(g.Context(), ledger.Filter{}, ledger.Page{Limit: 50})
	g.must(err)
	if len(page) < 50 {
		g.Fatalf("a page of %d", len(page))
	}
}

func (g *growing) initiate() {
	accounts, err := g.accounts(1)
	g.must(err)
	g.must(g.o.Service.Initiate(g.Context(), accounts[0], true))
	g.waiting++
}

// visit is what a look that finds nothing new asks of ledger and queue.
func (g *growing) visit() {
	ctx := g.Context()
	g.visited++
	c, _, err := g.parts.ledger.Load(ctx, g.some[g.visited*7919%len(g.some)])
	g.must(err)
	next, err := g.parts.ledger.Save(ctx, c, closure.Looked(g.parts.clock.Now(), closure.WaitUntil(c.DueAt.Add(time.Second), c.Reason, c.Why), closure.Look{}, nil), nil)
	g.must(err)
	g.must(g.parts.queue.Schedule(ctx, next))
}

func (g *growing) letters() {
	_, err := g.runner.Deliver(g.Context())
	g.must(err)
}

func (g *growing) bytes() (inRedis, inLedger float64) {
	r, l, err := bench.Stored(g.Context(), g.o)
	g.must(err)
	return float64(*r), float64(*l)
}
