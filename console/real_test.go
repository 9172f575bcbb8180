package console

import (
	"context"
	"crypto/md5" //nolint:gosec // names for rows, no secret
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"closeout/calendar"
	"closeout/closure"
	"closeout/internal/servers"
	"closeout/ledger"
	"closeout/readiness"
)

var consoleClosures = flag.Int("closures", 2000, "closures in the ledgers of TestRealConsoleIsFast")

// TestRealConsoleIsFast tells how long the server takes for each page, on both databases: where most closures ended long ago,
// as in a ledger of some years, and then with every one of them under way.
func TestRealConsoleIsFast(t *testing.T) {
	many := *consoleClosures
	pg := servers.StartPostgres(t)
	url := pg.Database(t)
	file := filepath.Join(t.TempDir(), "ledger.db")
	beside, err := sql.Open("sqlite", "file:"+file+"?_pragma=busy_timeout(20000)&_time_format=sqlite")
	must(t, err)
	beside.SetMaxOpenConns(1)
	t.Cleanup(func() { _ = beside.Close() })
	for _, d := range []struct {
		name, url string
		open      func() *sql.DB
	}{
		{"SQLite", "sqlite:" + file, func() *sql.DB { return beside }},
		{"Postgres", url, func() *sql.DB { return pg.Open(t, url+"&search_path=closeout") }},
	} {
		t.Run(d.name, func(t *testing.T) {
			policy := closure.DefaultPolicy(closure.Sandbox)
			l, err := ledger.Open(context.Background(), ledger.Options{URL: d.url, Environment: closure.Sandbox, Policy: policy})
			must(t, err)
			t.Cleanup(func() { _ = l.Close() })
			db := d.open()
			began := time.Now()
			all := fill(t, db, d.name == "SQLite", many)
			events := histories(t, db, all)
			t.Logf("%d closures with two instructions each, and %d events, written in %s", many, events, time.Since(began).Round(time.Second))
			b := newBench(t, func(o *Options) {
				o.Ledger, o.Desk.Ledger = l, l
				o.Readiness = &readiness.Checker{Calendar: calendar.Rules, Policy: policy}
			})
			b.ledger = l
			b.measure(t, "5 of 100 under way", all)
			mustExec(t, db, "UPDATE closures SET state = 'running', due_at = created_at, ended_at = NULL, reason = 'settling' WHERE state IN ('closed', 'canceled')")
			if d.name == "Postgres" { // as its autovacuum does; with SQLite nobody does
				mustExec(t, db, "VACUUM ANALYZE closures")
			}
			b.measure(t, "all under way", all)
		})
	}
}

// measure asks for each kind of page often and tells the server's times.
func (b *bench) measure(t *testing.T, when string, all []row) {
	t.Helper()
	pick := func(n int) row { return picked(all, n) }
	for _, c := range []struct {
		what string
		path func(n int) string // where a search leads to is drawn as well
	}{
		{"board", func(int) string { return "/" }},
		{"list", func(int) string { return "/closures" }},
		{"list: a page in the middle", func(n int) string { return "/closures?created_before=" + pick(n).at.Format("2006-01-02") }},
		{"list: failed or dead", func(int) string { return "/closures?status=failed,dead" }},
		{"list: a lane, longest first", func(int) string { return "/closures?lane=withdrawal&order=stuck" }},
		{"list: due next", func(int) string { return "/closures?order=due" }},
		{"list: past the usual time", func(int) string { return "/closures?lane=settlement&slow=yes&order=stuck" }},
		{"list: a reason", func(int) string { return "/closures?reason=bank_gone" }},
		{"list: somebody must act", func(int) string { return "/closures?who=somebody" }},
		{"list: a client of a few", func(int) string { return "/closures?client=api:rare" }},
		{"closure", func(n int) string { return "/closures/" + pick(n).id }},
		{"attention", func(int) string { return "/attention" }},
		{"retry: preview of all", func(int) string { return "/attention/retry" }},
		{"search: account", func(n int) string { return "?" + pick(n).account }},
		{"search: transfer", func(n int) string { return "?" + pick(n).transfer }},
		{"search: order of ours", func(n int) string { return "?" + pick(n).order }},
		{"search: confirmation", func(n int) string { return "?" + pick(n).confirmation }},
		{"search: e-mail", func(n int) string { return "?" + strings.ToUpper(pick(n).email) }},
		{"search: client", func(int) string { return "?rare" }},
		{"search: part of an account", func(n int) string { return "?" + pick(n).account[26:] }},
		{"search: nothing", func(n int) string { return "?" + fmt.Sprintf("0badc0ffee-%d", n) }},
		{"list: a part (reads all)", func(n int) string { return "/closures?q=" + pick(n).account[10:20] }},
	} {
		var took []time.Duration
		for n := range times {
			path := c.path(n)
			began := time.Now()
			if text, ok := strings.CutPrefix(path, "?"); ok {
				w := b.postSearch(text)
				if w.Code != http.StatusSeeOther {
					t.Fatalf("%s %s: %d", c.what, path, w.Code)
				}
			} else if w := b.do("GET", path); w.Code != http.StatusOK || strings.Contains(w.Body.String(), "Nothing is listed") {
				t.Fatalf("%s %s: %d", c.what, path, w.Code)
			}
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		t.Logf("%s: %-28s p50 %7s  p95 %7s", when, c.what, took[times/2].Round(100*time.Microsecond), took[times*95/100].Round(100*time.Microsecond))
	}
}

// times is how often each page is asked for, and picked what each time is about.
const times = 40

func picked(all []row, n int) row { return all[(n*7919+13)%len(all)] }

// row is what a search is for.
type row struct {
	id, account, confirmation, transfer, order, email string
	at                                                time.Time
}

func uuidOf(kind string, n int) string {
	sum := md5.Sum(fmt.Appendf(nil, "%s%d", kind, n)) //nolint:gosec // a name
	h := hex.EncodeToString(sum[:])
	return h[:8] + "-" + h[8:12] + "-4" + h[13:16] + "-8" + h[17:20] + "-" + h[20:]
}

// fill writes closures, the last of each hundred under way, and two instructions of each.
func fill(t *testing.T, db *sql.DB, sqlite bool, many int) []row {
	t.Helper()
	if sqlite { // or every hundredth of it is flushed, and pages come and go
		mustExec(t, db, "PRAGMA synchronous = OFF")
		mustExec(t, db, "PRAGMA cache_size = -400000")
	}
	tx, err := db.BeginTx(t.Context(), nil)
	must(t, err)
	now := time.Now().UTC().Truncate(time.Second)
	phases := []string{"liquidation", "settlement", "withdrawal", "closing"}
	reasons := []string{"orders_open", "settling", "transfer_pending", "closing_unconfirmed"}
	var all []row
	prepared := map[string]*sql.Stmt{}
	into := func(table, columns string, values []any) {
		stmt := prepared[table]
		if stmt == nil {
			n := strings.Count(columns, ",") + 1
			var q strings.Builder
			fmt.Fprintf(&q, "INSERT INTO %s (%s) VALUES (", table, columns)
			for i := range values {
				switch {
				case i > 0 && i%n == 0:
					q.WriteString("), (")
				case i > 0:
					q.WriteString(", ")
				}
				fmt.Fprintf(&q, "$%d", i+1)
			}
			stmt, err = tx.PrepareContext(t.Context(), q.String()+")") //nolint:sqlclosecheck // it ends with the transaction
			must(t, err)
			prepared[table] = stmt
		}
		_, err := stmt.ExecContext(t.Context(), values...)
		must(t, err)
	}
	const atOnce = 4 // SQLite looks for each value by its name
	var closures, intents []any
	for n := range many {
		at := now.Add(-time.Duration(many-n) * 7 * time.Minute) // over sixteen months
		r := row{uuidOf("closure", n), uuidOf("account", n), "", uuidOf("transfer", n), uuidOf("ours", n), fmt.Sprintf("customer%d@example.test", n), at}
		r.confirmation = "CLA-" + at.Format("20060102150405") + "-" + r.account[30:]
		all = append(all, r)
		phase, state, reason, who := 3, "closed", "", ""
		var due, ended any
		ended = at.Add(100 * time.Hour)
		if n%20 == 7 {
			phase = n / 20 % 4
			state, reason, due, ended = "running", reasons[phase], now.Add(time.Duration(n)*time.Second), nil
			switch n / 20 % 50 {
			case 3:
				state, reason, who, due, ended = "failed", "bank_gone", "customer", nil, at
			case 4:
				state, reason, who, due = "paused", "paused", "operator", nil
			case 5:
				reason, who = "cash_held", "broker"
			}
		}
		actor := "api:shop"
		if n%5000 == 0 {
			actor = "api:rare"
		}
		id := r.id
		closures = append(closures, id, "sandbox", r.account, r.confirmation, "bank", "f00d", fmt.Sprintf("user-%d", n), r.email, "", "normal", actor, phases[phase], state, 5, "t", due,
			reason, "why it waits, in words of some length as they are", who, 0, 0, 0, 0, "", 3, 0, 0, "", 0,
			`{"list_digest":"c0ffee","worth":"1234.56","on_way":"100.00","paid":"50.00"}`, 9, "h", at, at, at, at, ended, "", 123456, 10000)
		for i, kind := range []string{"order", "transfer"} {
			client, broker := r.order, uuidOf("order", n)
			if kind == "transfer" {
				client, broker = "", r.transfer
			}
			intents = append(intents, fmt.Sprintf("%s/%d/0", id, i+2), id, "sandbox", r.account, i+2, 0, kind, "sent", "subject", 1, client, "{}", "100.00", "bank", "2026-11-24",
				"100.00", 1, "{}", at, at, broker, 200, "", "", "", "", "COMPLETE")
		}
		if n%atOnce == atOnce-1 {
			into("closures", "id, environment, account_id, confirmation, relationship_id, fingerprint, user_id, email, cause, priority, actor, phase, state, version, token, due_at, reason, why, who,"+
				" failures, failures_in_phase, crashes, noted_retries, last_error, looks, spent_ns, days, last_day, loops, memo, seq, head_hash, created_at, updated_at, started_at, entered_at, ended_at,"+
				" batch_id, worth_cents, on_way_cents", closures)
			into("intents", "id, closure_id, environment, account_id, key, n, kind, state, subject, attempt, client_order_id, request, amount, relationship_id, banking_day, cash_before, quiet, listed,"+
				" claimed_at, deadline, broker_id, status, answer, request_id, filled_qty, proceeds, finished", intents)
			closures, intents = nil, nil
		}
	}
	must(t, tx.Commit())
	if !sqlite {
		mustExec(t, db, "VACUUM ANALYZE")
	}
	return all
}

// histories gives a history of some length to each closure that a page is asked of, and to one in twenty others. They are chained
// as the ledger does it, which the pages check.
func histories(t *testing.T, db *sql.DB, all []row) (written int) {
	t.Helper()
	of := map[string]row{}
	for n := range times {
		r := picked(all, n)
		of[r.id] = r
	}
	for n := 0; n < len(all); n += 20 {
		of[all[n].id] = all[n]
	}
	tx, err := db.BeginTx(t.Context(), nil)
	must(t, err)
	event, err := tx.PrepareContext(t.Context(), "INSERT INTO events (closure_id, seq, at, kind, body, prev_hash, hash) VALUES ($1, $2, $3, $4, $5, $6, $7)") //nolint:sqlclosecheck // it ends with the transaction
	must(t, err)
	head, err := tx.PrepareContext(t.Context(), "UPDATE closures SET seq = $1, head_hash = $2 WHERE id = $3") //nolint:sqlclosecheck // it ends with the transaction
	must(t, err)
	for _, r := range of {
		hash := ""
		const many = 40
		for n := range int64(many) {
			e := ledger.Event{
				ClosureID: r.id, Seq: n + 1, At: r.at.Add(time.Duration(n) * 2 * time.Hour), Kind: "look", Actor: "worker", Text: "the transfer is on its way; looking again in two hours",
				Phase: closure.Road[n*4/many].Phase, State: closure.Running, Version: n + 1, Detail: json.RawMessage(`{"calls":[{"method":"GET","path":"/v1/trading/accounts/…/account","status":200,"request_id":"c0ffee"}]}`),
			}
			body, err := json.Marshal(e)
			must(t, err)
			sum := sha256.Sum256([]byte(hash + "\n" + string(body)))
			before := hash
			hash = hex.EncodeToString(sum[:])
			_, err = event.ExecContext(t.Context(), r.id, e.Seq, e.At, e.Kind, string(body), before, hash)
			must(t, err)
			written++
		}
		_, err := head.ExecContext(t.Context(), many, hash, r.id)
		must(t, err)
	}
	must(t, tx.Commit())
	return written
}

func mustExec(t *testing.T, db *sql.DB, q string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), q, args...); err != nil {
		t.Fatalf("%.200s: %v", q, err)
	}
}
