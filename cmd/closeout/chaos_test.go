package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/redis/go-redis/v9"
	"github.com/rs/zerolog"

	"closeout/alpaca/sim"
	"closeout/closure"
	"closeout/internal/auditor"
)

var chaosClosures = flag.Int("chaos", 0, "closures of TestRealChaos; 0: the short form, 200 of cash only")

// chaos is the service on real servers while everything under it breaks.
type chaos struct {
	*world
	chance  *rand.Rand
	server  *program
	workers []*program
	proxies map[string]*toxiproxy.Proxy
	done    map[string]int // what was done to it, counted
}

// A server, three workers and a simulator as processes on a real Redis and a real Postgres, behind a network that is cut
// and slowed. Workers are killed every few seconds; the server, the simulator, Redis and Postgres now and then; Redis is
// emptied; answers of the broker are lost. After two thirds of the time all that ends, every closure must come to its end,
// and then an auditor that shares no code with the service reads the journal and the ledger.
func TestRealChaos(t *testing.T) {
	day, closures, mixed := 12*time.Second, 200, false
	if *chaosClosures > 0 {
		day, closures, mixed = time.Minute, *chaosClosures, true
	}
	seed := uint64(time.Now().UnixNano()) //nolint:gosec // any bits will do
	t.Logf("seed %d, %d closures, a day of %s", seed, closures, day)
	c := &chaos{chance: rand.New(rand.NewPCG(seed, 0)), proxies: map[string]*toxiproxy.Proxy{}, done: map[string]int{}}
	control := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	c.world = newWorld(t, day, func(name, addr string) string {
		p := toxiproxy.NewProxy(control, name, "127.0.0.1:0", addr)
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Stop)
		c.proxies[name] = p
		return p.Listen
	})
	c.env = append(c.env, "CLOSEOUT_SETTLEMENT_POLL=6h", "CLOSEOUT_WITHDRAWAL_POLL=6h", "CLOSEOUT_LOG_LEVEL=info")
	c.server = c.start("server", "--addr", "127.0.0.1:0")
	c.api = "http://" + c.server.listens()
	for range 3 {
		w, _ := c.worker()
		c.workers = append(c.workers, w)
	}
	accounts := c.accounts(closures, mixed)
	began := time.Now()
	faults, calm := context.WithDeadline(t.Context(), began.Add(8*day))
	defer calm()
	acknowledged := make(chan []string, 1)
	go func() { acknowledged <- c.initiateAll(accounts, 2*day) }()
	c.havoc(faults)
	c.heal()
	t.Logf("faults have ended after %s: %v", time.Since(began).Round(time.Second), c.done)
	ids := <-acknowledged
	db := c.postgres.Open(t, c.database+"&search_path=closeout")
	number := func(q string) (n int) {
		if err := db.QueryRowContext(t.Context(), q).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	limit := time.Now().Add(20 * time.Minute)
	for left := -1; left != 0; {
		if number("SELECT count(*) FROM holds WHERE held <> 0") > 0 { // nothing was lost: no fault of these is a reason to hold everything
			var actor, reason string
			if err := db.QueryRowContext(t.Context(), "SELECT actor, reason FROM holds WHERE held <> 0").Scan(&actor, &reason); err != nil {
				t.Fatal(err)
			}
			t.Fatalf("%s holds everything: %s\n%s", actor, reason, strings.Join(c.saying("went back|lacks"), "\n"))
		}
		left = number("SELECT (SELECT count(*) FROM closures WHERE state = 'running') + (SELECT count(*) FROM notices WHERE state = 'due')")
		if time.Now().After(limit) {
			t.Fatalf("%d closures or letters are still under way", left)
		}
		c.rest(t.Context(), time.Second)
	}
	took := time.Since(began)
	if n := number("SELECT count(*) FROM closures WHERE state <> 'closed'"); n > 0 {
		t.Errorf("%d closures did not end closed:\n%s", n, c.stopped())
	}
	c.judge(accounts, ids, took)
}

// accounts makes the customers: cash alone, or a mixture with stocks, fractions and sums beyond the daily limit.
func (c *chaos) accounts(n int, mixed bool) []string {
	c.Helper()
	specs := make([]sim.Spec, n)
	for i := range specs {
		specs[i] = sim.Spec{ID: fmt.Sprintf("c4a05000-0000-4000-8000-%012d", i), Cash: dollars(fmt.Sprintf("%d.%02d", 100+i, i%100))}
		if !mixed {
			continue
		}
		switch i % 5 {
		case 1:
			specs[i].Positions = []sim.PositionSpec{stock("F", "66", "12.10"), stock("KO", "20", "62.15")}
			specs[i].Orders = []sim.OrderSpec{{Symbol: "F", Qty: dollars("66"), LimitPrice: dollars("99")}}
		case 2:
			specs[i].Positions = []sim.PositionSpec{stock("AAPL", "1.333333333", "231.40")}
		case 3:
			specs[i].Cash = dollars("60001.07")
		}
	}
	var made struct {
		IDs []string `json:"ids"`
	}
	c.ask("POST", c.broker+"/sim/accounts", map[string]any{"accounts": specs}, &made)
	if len(made.IDs) != n {
		c.Fatalf("the simulator made %d accounts", len(made.IDs))
	}
	return made.IDs
}

// initiateAll asks for every closure over a stretch of time, again and again until it is acknowledged, as a client would
// whose server is killed. It returns the ids of the acknowledged closures.
func (c *chaos) initiateAll(accounts []string, over time.Duration) []string {
	var mu sync.Mutex
	var ids []string
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for n := next.Add(1) - 1; int(n) < len(accounts); n = next.Add(1) - 1 {
				for c.Context().Err() == nil {
					id, err := c.tryInitiate(accounts[n])
					if err == nil {
						mu.Lock()
						ids = append(ids, id)
						mu.Unlock()
						break
					}
					c.rest(c.Context(), 200*time.Millisecond)
				}
				c.rest(c.Context(), 8*over/time.Duration(len(accounts)))
			}
		})
	}
	wg.Wait()
	return ids
}

var errNotAcknowledged = errors.New("not acknowledged")

func (c *chaos) tryInitiate(account string) (id string, err error) {
	ctx, cancel := context.WithTimeout(c.Context(), 10*time.Second)
	defer cancel()
	var truth sim.Truth
	if err := call(ctx, "GET", c.broker+"/sim/accounts/"+account, nil, &truth); err != nil {
		return "", err
	}
	var job struct {
		JobID string `json:"job_id"`
	}
	err = call(ctx, "POST", c.api+"/api/account-closure/initiate/"+account,
		map[string]any{"ach_relationship_id": truth.ACHRelationships[0].ID, "confirm_liquidation": true, "confirm_irreversible": true}, &job)
	return job.JobID, err
}

func call(ctx context.Context, method, url string, body, into any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(b))
	if err != nil {
		return err
	}
	req.Header.Set("X-API-Key", worldKey)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%w: %d", errNotAcknowledged, resp.StatusCode)
	}
	return json.Unmarshal(text, into)
}

// havoc breaks things until ctx ends: each of them once in an order by chance, and then in another order.
func (c *chaos) havoc(ctx context.Context) {
	c.Helper()
	kinds := []string{
		"kill server", "kill simulator", "restart redis", "empty redis", "crash postgres", "cut redis", "cut postgres", "cut broker",
		"slow redis", "slow postgres", "slow broker", "lose answers",
	}
	for ctx.Err() == nil {
		c.chance.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
		for _, kind := range kinds {
			c.kill(c.chance.IntN(len(c.workers)))
			c.raise()
			if c.rest(ctx, c.pause()); ctx.Err() != nil {
				return
			}
			c.done[kind]++
			c.strike(ctx, kind)
			c.raise()
		}
	}
}

// pause is between one and four seconds.
func (c *chaos) pause() time.Duration {
	return time.Second + time.Duration(c.chance.Int64N(int64(3*time.Second)))
}

// rest lets time pass, in which the service works.
func (*chaos) rest(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

func (c *chaos) strike(ctx context.Context, kind string) {
	c.Helper()
	what, whom, _ := strings.Cut(kind, " ")
	switch kind {
	case "kill server":
		c.server.signal(syscall.SIGKILL)
	case "kill simulator":
		c.sim.signal(syscall.SIGKILL)
		c.rest(ctx, time.Second)
		c.sim = c.start("simulator", "--addr", strings.TrimPrefix(c.broker, "http://"), "--data", c.data)
		c.sim.listens()
	case "restart redis":
		c.redis.Stop()
		c.rest(ctx, c.pause())
		c.redis.Start()
	case "empty redis":
		rdb := redis.NewClient(&redis.Options{Addr: c.redis.Addr})
		defer func() { _ = rdb.Close() }()
		if err := rdb.FlushAll(c.Context()).Err(); err != nil {
			c.Fatal(err)
		}
	case "crash postgres":
		c.postgres.Crash()
		c.rest(ctx, c.pause())
		c.postgres.Start()
	case "lose answers":
		c.ask("PUT", c.broker+"/sim/chaos", sim.Chaos{Seed: c.chance.Int64(), Rules: []sim.Rule{
			{Method: "POST", Probability: 0.3, Fault: sim.FaultTimeoutAfter},
			{Method: "POST", Probability: 0.3, Fault: sim.FaultErrorAfter, Status: 504},
			{Method: "GET", Probability: 0.1, Fault: sim.FaultError, Status: 503},
		}}, nil)
		c.rest(ctx, 2*c.pause())
		c.ask("DELETE", c.broker+"/sim/chaos", nil, nil)
	default:
		p := c.proxies[whom]
		if what == "cut" {
			p.Stop()
			c.rest(ctx, c.pause()/2)
			if err := p.Start(); err != nil {
				c.Fatal(err)
			}
			return
		}
		toxic, err := p.Toxics.AddToxicJson(strings.NewReader(`{"name":"slow","type":"latency","stream":"downstream","attributes":{"latency":300,"jitter":300}}`))
		if err != nil {
			c.Fatal(err)
		}
		c.rest(ctx, 2*c.pause())
		if err := p.Toxics.RemoveToxic(c.Context(), toxic.Name); err != nil {
			c.Fatal(err)
		}
	}
}

// kill kills one worker.
func (c *chaos) kill(n int) {
	c.workers[n].signal(syscall.SIGKILL)
	c.done["kill worker"]++
}

// raise starts again whoever has ended, as an orchestrator does.
func (c *chaos) raise() {
	c.Helper()
	ended := func(p *program) bool {
		select {
		case <-p.done:
			return true
		default:
			return false
		}
	}
	for n, w := range c.workers {
		if ended(w) {
			c.workers[n] = c.start("worker", "--health-addr", "127.0.0.1:0")
		}
	}
	if ended(c.server) {
		c.server = c.start("server", "--addr", strings.TrimPrefix(c.api, "http://"))
	}
}

// heal starts whoever is down and waits until all are ready.
func (c *chaos) heal() {
	c.Helper()
	c.until("everybody is up again", func() bool {
		c.raise()
		ok, _ := c.ready(c.api+"/ready", "1s")
		return ok
	})
}

// stopped lists the closures that ended otherwise than closed, with their histories' ends.
func (c *chaos) stopped() string {
	var b strings.Builder
	db := c.postgres.Open(c.TB, c.database+"&search_path=closeout")
	rows, err := db.QueryContext(c.Context(), "SELECT id, state, reason, why FROM closures WHERE state <> 'closed' LIMIT 5")
	if err != nil {
		return err.Error()
	}
	defer rows.Close()
	for rows.Next() {
		var id, state, reason, why string
		if err := rows.Scan(&id, &state, &reason, &why); err != nil {
			return err.Error()
		}
		fmt.Fprintf(&b, "%s %s %s: %s\n", id, state, reason, why)
		events, err := c.ledger.Events(c.Context(), id)
		if err != nil {
			fmt.Fprintln(&b, err)
		}
		for _, e := range events[max(0, len(events)-12):] {
			fmt.Fprintf(&b, "   %s v%d %s %s: %s\n", e.At.Format("01-02 15:04"), e.Version, e.Phase, e.Kind, e.Text)
		}
	}
	if err := rows.Err(); err != nil {
		return err.Error()
	}
	return b.String()
}

// judge lets the auditor read the journal and the ledger, and says what came of it all.
func (c *chaos) judge(accounts, acknowledged []string, took time.Duration) {
	c.Helper()
	e := auditor.Evidence{
		Acknowledged: acknowledged, Quiet: c.clock.Now(), Truths: map[string]sim.Truth{},
		Slack:   c.clock.Business(closure.ShortTiming.Deadline + time.Second),
		Unknown: c.clock.Business(closure.ShortTiming.Deadline + closure.ShortTiming.Quarantine + 2*closure.ShortTiming.Task),
	}
	for _, id := range accounts {
		var truth sim.Truth
		c.ask("GET", c.broker+"/sim/accounts/"+id, nil, &truth)
		e.Truths[id] = truth
	}
	var journal struct {
		Entries []sim.Entry `json:"entries"`
	}
	c.ask("GET", c.broker+"/sim/journal", nil, &journal)
	e.Journal = journal.Entries
	r, err := auditor.Audit(c.Context(), c.postgres.Open(c.TB, c.database+"&search_path=closeout"), e)
	if err != nil {
		c.Fatal(err)
	}
	for _, f := range r.Findings[:min(20, len(r.Findings))] {
		c.Error(f)
	}
	count := func(kinds ...auditor.Kind) (n int) {
		for _, f := range r.Findings {
			if slices.Contains(kinds, f.Kind) {
				n++
			}
		}
		return n
	}
	c.Logf("%d closures of %d acknowledged, %s; %v; %d journal lines, %d events; lost %d, doubled %d, findings %d; tolerated %v",
		r.Closures, len(acknowledged), took.Round(time.Second), c.done, len(journal.Entries), r.Events,
		count(auditor.Lost, auditor.Forgotten), count(auditor.Overpaid, auditor.UnwantedTransfer, auditor.TransferOfTwo), len(r.Findings), r.Tolerated)
}

// saying are the lines of all processes in which there is such a text.
func (c *chaos) saying(pattern string) (lines []string) {
	like := regexp.MustCompile(pattern)
	for _, p := range c.all {
		p.mu.Lock()
		for _, l := range p.said {
			if like.MatchString(l.text) {
				lines = append(lines, p.name+": "+l.text)
			}
		}
		p.mu.Unlock()
	}
	return lines
}
