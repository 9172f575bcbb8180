package main

import (
	"context"
	"database/sql"
	"errors"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynqmon"
	"github.com/redis/go-redis/v9"

	"closeout/closure"
	"closeout/internal/servers"
	"closeout/tasks"
)

// crossing are closures that run through while a server under them breaks, and are judged at the end.
type crossing struct {
	*chaos
	accounts, ids []string
	began         time.Time
	db            *sql.DB // past the pooler
}

// quickWeek begins on a Monday morning, with days of six seconds: by Thursday all has been paid out and closed.
func quickWeek() closure.Clock {
	return closure.ScaledClock(6*time.Second, time.Date(2027, time.January, 4, 15, 0, 0, 0, time.UTC), time.Now())
}

// cross starts a server and two workers on a world and has so many closures accepted.
func cross(w *world, closures int) *crossing {
	w.Helper()
	w.env = append(w.env, "CLOSEOUT_SETTLEMENT_POLL=6h", "CLOSEOUT_WITHDRAWAL_POLL=6h", "CLOSEOUT_RETURN_WATCH=0", "CLOSEOUT_LOG_LEVEL=info")
	c := &crossing{chaos: &chaos{world: w, done: map[string]int{}}, began: time.Now(), db: w.postgres.Open(w, w.database+"&search_path=closeout")}
	w.serve()
	for range 2 {
		p, health := w.worker()
		if ok, said := w.ready(health, "30s"); !ok {
			w.Fatal(said)
		}
		c.workers = append(c.workers, p)
	}
	c.accounts = c.chaos.accounts(closures, false)
	c.ids = c.initiateAll(c.accounts, 0)
	return c
}

// paying waits until some of the closures have paid, and others not.
func (c *crossing) paying() {
	c.Helper()
	c.until("the first payouts", func() bool { return c.number("SELECT count(*) FROM intents WHERE kind = 'transfer'") > 0 })
}

func (c *crossing) number(query string) (n int) {
	c.Helper()
	if err := c.db.QueryRowContext(c.Context(), query).Scan(&n); err != nil {
		c.Fatal(err)
	}
	return n
}

// ends waits for the closures' end, which must be closed, and lets the auditor judge.
func (c *crossing) ends() {
	c.Helper()
	c.within(3*time.Minute, "every closure and letter is over", func() bool {
		return c.number("SELECT (SELECT count(*) FROM closures WHERE state = 'running') + (SELECT count(*) FROM notices WHERE state = 'due')") == 0
	})
	if n := c.number("SELECT count(*) FROM closures WHERE state = 'closed'"); n != len(c.accounts) {
		c.Errorf("%d of %d closures are closed:\n%s", n, len(c.accounts), c.stopped())
	}
	c.judge(c.accounts, c.ids, time.Since(c.began))
}

// run runs a command of the program on the world's servers and returns its exit status.
func (w *world) run(args ...string) (status int, said string) {
	w.Helper()
	cmd := exec.CommandContext(w.Context(), w.bin, args...)
	cmd.Env = w.env
	out, err := cmd.CombinedOutput()
	if e := new(exec.ExitError); err != nil && !errors.As(err, &e) {
		w.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// TestRealClusterAndPooler: closures run through on a Redis Cluster of three masters that speaks TLS, and on a Postgres behind a
// transaction pooler, while a worker, the pooler and the master that has the queue are killed and started again. What fails names
// which of the two it was by the logs' words.
func TestRealClusterAndPooler(t *testing.T) {
	t.Parallel()
	built(t)
	began := time.Now()
	cert, key := certified(t)
	cluster := servers.StartRedisClusterTLS(t, cert, key)
	pg := servers.StartPostgres(t)
	pooler := servers.StartPgBouncer(t, pg)
	database := pg.Database(t)
	w := worldOn(t, quickWeek(), cluster.URL+"?ca_file="+cert+"&cert_file="+cert+"&key_file="+key, pooler.URL(database), func(_, url string) string { return url })
	if status, said := w.run("migrate"); status != 0 {
		t.Fatalf("migrate through the pooler: %d: %s", status, said)
	}
	w.opens(pg, database)
	c := cross(w, 40)
	t.Logf("servers were up and closures accepted after %s", time.Since(began).Round(time.Second))
	c.paying()
	c.kill(0)
	c.workers[0], _ = c.worker()
	pooler.Kill()
	pooler.Start()
	c.done["restart pooler"]++
	holder := cluster.Holder(t, "account_closure")
	holder.Kill()
	holder.Start()
	cluster.Whole(t)
	c.done["restart master"]++
	for _, args := range [][]string{{"monitor", "queue", "--json"}, {"monitor", "stats"}, {"monitor", "status", c.ids[0]}} {
		if status, said := w.run(args...); status != 0 && status != int(asksForPerson) || strings.Contains(said, "not read") {
			t.Errorf("%v: status %d: %s", args, status, said)
		}
	}
	c.ends()
	c.looksAt(cluster)
}

// looksAt sees each master in use, and asynqmon on the cluster.
func (c *crossing) looksAt(cluster *servers.RedisCluster) {
	c.Helper()
	var addrs []string
	for _, m := range cluster.Masters {
		addrs = append(addrs, m.Addr)
		eyes := redis.NewClient(&redis.Options{Addr: m.Addr})
		keys, err := eyes.DBSize(c.Context()).Result()
		clients, err2 := eyes.ClientList(c.Context()).Result()
		if err != nil || err2 != nil || keys == 0 {
			c.Errorf("%s has %d keys: %v, %v", m.Addr, keys, err, err2)
		}
		for client := range strings.Lines(clients) {
			if strings.Contains(client, " laddr="+m.Addr+" ") && !strings.Contains(client, "cmd=client|list") {
				c.Errorf("a connection in clear: %s", client)
			}
		}
		_ = eyes.Close()
	}
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs})
	c.Cleanup(func() { _ = rdb.Close() })
	queue := tasks.NewQueue(rdb, c.clock, time.Minute)
	if workers, err := queue.Workers(c.Context()); err != nil || len(workers) < 2 || workers[0].Report == nil {
		c.Errorf("workers %+v, %v", workers, err)
	}
	mon := asynqmon.New(asynqmon.Options{RootPath: "/monitoring", RedisConnOpt: shared{rdb}, ReadOnly: true})
	for _, page := range []string{"queues", "queues/account_closure", "redis_info", "servers"} {
		answer := httptest.NewRecorder()
		mon.ServeHTTP(answer, httptest.NewRequestWithContext(c.Context(), http.MethodGet, "/monitoring/api/"+page, nil))
		if answer.Code != http.StatusOK || page == "redis_info" && !strings.Contains(answer.Body.String(), "cluster_state:ok") {
			c.Errorf("asynqmon's %s: %d %.300s", page, answer.Code, answer.Body.String())
		}
	}
}

// TestRealFailover: the master dies while closures run through, and the replica that takes its place has never heard of some of
// what was acknowledged: the sweep rebuilds it from the ledger. The old master comes
// back meanwhile, and nobody may believe that it still is one.
func TestRealFailover(t *testing.T) {
	t.Parallel()
	built(t)
	began := time.Now()
	sentinels := servers.StartSentinels(t)
	pg := servers.StartPostgres(t)
	database := pg.Database(t)
	w := worldOn(t, quickWeek(), sentinels.URL, database, func(_, url string) string { return url })
	w.opens(pg, database)
	c := cross(w, 40)
	t.Logf("servers were up and closures accepted after %s", time.Since(began).Round(time.Second))
	c.paying()
	c.kill(0)
	c.workers[0], _ = c.worker()
	replica := redis.NewClient(&redis.Options{Addr: sentinels.Replica.Addr})
	defer func() { _ = replica.Close() }()
	c.until("tasks that the replica has", func() bool {
		ids, err := theirTasks(t.Context(), replica)
		return err == nil && len(ids) > 3 // some of which are there still when it is asked to forget them
	})
	var lost int
	took := sentinels.FailOver(t, func() { lost = unheard(t, replica) })
	c.done["fail over"]++
	sentinels.Master.Start()
	c.ends()
	told, err := tasks.Ask(t.Context(), replica)
	if err != nil || told[0]["role"] != "master" {
		t.Errorf("the promoted replica: %v, %v", told, err)
	}
	rescued := 0
	for _, p := range c.all {
		rescued += strings.Count(p.tail(1<<20), `"msg":"sweep"`)
	}
	if lost == 0 || rescued == 0 {
		t.Errorf("the promoted replica had lost %d tasks, and %d sweeps have rescued any: this was no loss, or nobody made it good", lost, rescued)
	}
	t.Logf("promoted after %s; %d tasks unheard of by the replica; %d sweeps rescued some", took.Round(10*time.Millisecond), lost, rescued)
}

// unheard makes a replica without a master forget the visits that wait, for their time or for a worker, as if the master had died before
// it told of them.
func unheard(t *testing.T, replica *redis.Client) (lost int) {
	t.Helper()
	ctx := t.Context()
	if err := replica.ConfigSet(ctx, "replica-read-only", "no").Err(); err != nil {
		t.Fatal(err)
	}
	ids, err := theirTasks(ctx, replica)
	if err != nil {
		t.Fatal(err)
	}
	queue := "asynq:{" + tasks.QueueFor(closure.Normal) + "}:"
	for _, id := range ids {
		err := errors.Join(replica.ZRem(ctx, queue+"scheduled", id).Err(), replica.LRem(ctx, queue+"pending", 0, id).Err(), replica.Del(ctx, queue+"t:"+id).Err())
		if err != nil {
			t.Fatal(err)
		}
	}
	return len(ids)
}

// theirTasks are the tasks that wait in the usual queue, for their time or for a worker.
func theirTasks(ctx context.Context, rdb *redis.Client) ([]string, error) {
	queue := "asynq:{" + tasks.QueueFor(closure.Normal) + "}:"
	scheduled, err := rdb.ZRange(ctx, queue+"scheduled", 0, -1).Result()
	if err != nil {
		return nil, err
	}
	pending, err := rdb.LRange(ctx, queue+"pending", 0, -1).Result()
	return append(scheduled, pending...), err
}
