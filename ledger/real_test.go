package ledger_test

import (
	"database/sql"
	"strings"
	"testing"
	"time"

	"closeout/closure"
	"closeout/internal/servers"
	"closeout/ledger"
)

// On Postgres with a hundred thousand closures, most of them closed long ago, the list's usual questions are answered by an
// index, and a page costs milliseconds however deep it lies.
func TestRealTheListUsesItsIndexes(t *testing.T) {
	t.Parallel()
	const many = 100_000
	pg := servers.StartPostgres(t)
	url := pg.Database(t)
	l, err := open(t, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	db := pg.Open(t, url+"&search_path=closeout")
	began := time.Now()
	mustExec(t, db, `INSERT INTO closures (id, environment, account_id, confirmation, relationship_id, fingerprint, user_id, email, cause, priority, actor, phase,
			state, version, token, due_at, reason, why, who, failures, failures_in_phase, crashes, noted_retries, last_error, looks, spent_ns, days, last_day,
			loops, memo, seq, head_hash, created_at, updated_at, started_at, ended_at, batch_id, entered_at, worth_cents, on_way_cents)
		SELECT md5('c' || n)::uuid, 'sandbox', md5('a' || n)::uuid, 'CLA-20250101000000-' || lpad(n::text, 6, '0'), 'bank', 'f00d', 'user-' || n,
			'Customer' || n || '@example.test', '', 'normal', CASE WHEN n % 5000 = 17 THEN 'api:rare' ELSE 'api:shop' END,
			CASE WHEN open AND n % 3 = 0 THEN 'settlement' WHEN open AND n % 3 = 1 THEN 'withdrawal' WHEN open THEN 'liquidation' ELSE 'closing' END,
			CASE WHEN n % 1000 = 7 THEN 'failed' WHEN n % 5000 = 11 THEN 'paused' WHEN open THEN 'running' ELSE 'closed' END, 1, 't',
			CASE WHEN n % 1000 <> 7 AND n % 5000 <> 11 AND open THEN now() END,
			CASE WHEN n % 1000 = 7 THEN 'bank_gone' WHEN open THEN 'not_withdrawable' ELSE 'closed' END, 'why', CASE WHEN open AND n % 100 = 1 THEN 'broker' ELSE '' END, CASE WHEN n % 700 = 0 THEN 1 ELSE 0 END,
			0, 0, 0, '', 0, 0, 0, '', 0, '{}', 1, 'h', timestamptz '2025-01-01' + n * interval '5 minutes', now(), now(),
			CASE WHEN NOT open THEN timestamptz '2025-01-02' + n * interval '5 minutes' END,
			CASE WHEN n BETWEEN 40000 AND 49999 THEN 'batch-four' WHEN n % 100 = 3 THEN 'batch-' || n / 1000 ELSE '' END,
			timestamptz '2025-01-01' + n * interval '5 minutes', n, 0
		FROM (SELECT n, n > 95000 AS open FROM generate_series(1, 100000) n) rows`,
		`INSERT INTO intents (id, closure_id, environment, account_id, key, n, kind, state, subject, attempt, client_order_id, request, amount, relationship_id, banking_day,
			cash_before, quiet, listed, claimed_at, deadline, broker_id, status, answer, request_id, filled_qty, proceeds, finished)
		SELECT id || '/2/0', id, environment, account_id, 2, 0, 'order', 'sent', '', 1, 'ours-' || confirmation, '{}', '', '', '', '', 0, '{}', now(), now(), md5(id)::uuid, 200, '', '', '', '', ''
		FROM closures`, "VACUUM ANALYZE closures", "ANALYZE intents")
	t.Logf("%d closures inserted in %s", many, time.Since(began).Round(time.Millisecond))
	middle := ledger.Page{Limit: 51, After: ledger.Position{At: time.Date(2025, time.June, 1, 0, 0, 0, 0, time.UTC), ID: "x"}}
	first := ledger.Page{Limit: 51}
	one := ""
	person, order := "", ""
	if err := db.QueryRowContext(t.Context(), "SELECT account_id, id, md5(id)::uuid::text FROM closures WHERE confirmation LIKE '%-012345'").Scan(&one, &person, &order); err != nil {
		t.Fatal(err)
	}
	slow := ledger.Cutoffs{}
	for _, s := range closure.Road {
		slow[s.Phase] = time.Date(2025, time.December, 3, 0, 0, 0, 0, time.UTC)
	}
	for _, c := range []struct {
		what string
		f    ledger.Filter
		p    ledger.Page
	}{
		{"all", ledger.Filter{}, first},
		{"all, in the middle", ledger.Filter{}, middle},
		{"all, the oldest first", ledger.Filter{}, ledger.Page{Limit: 51, OldestFirst: true}},
		{"failed", ledger.Filter{Statuses: []string{"FAILED"}}, first},
		{"failed or dead, in the middle", ledger.Filter{Statuses: []string{"FAILED", "DEAD"}}, middle},
		{"paused", ledger.Filter{Statuses: []string{"paused"}}, first},
		{"completed", ledger.Filter{Statuses: []string{"COMPLETED"}}, first},
		{"processing", ledger.Filter{Statuses: []string{"PROCESSING"}}, first},
		{"retrying", ledger.Filter{Statuses: []string{"RETRYING"}}, first},
		{"running in settlement", ledger.Filter{Statuses: []string{"running"}, Phases: []closure.Phase{closure.Settlement}}, first},
		{"in settlement", ledger.Filter{Phases: []closure.Phase{closure.Settlement}}, first},
		{"a reason", ledger.Filter{Reason: closure.BankGone}, first},
		{"a reason that nothing has", ledger.Filter{Reason: closure.NegativeCash}, first},
		{"older than a time", ledger.Filter{CreatedBefore: time.Date(2025, time.March, 1, 0, 0, 0, 0, time.UTC)}, first},
		{"running and older than a time", ledger.Filter{Statuses: []string{"running"}, CreatedBefore: time.Date(2025, time.December, 1, 0, 0, 0, 0, time.UTC)}, first},
		{"an account", ledger.Filter{AccountID: one}, first},
		{"a large batch", ledger.Filter{BatchID: "batch-four"}, first},
		{"a small batch", ledger.Filter{BatchID: "batch-12"}, first},
		{"a batch's failed", ledger.Filter{BatchID: "batch-four", Statuses: []string{"FAILED"}}, first},
		{"a lane, the longest in it first", ledger.Filter{Lane: "withdrawal"}, ledger.Page{Limit: 51, By: ledger.BySince, OldestFirst: true}},
		{"what is open, the longest first", ledger.Filter{}, ledger.Page{Limit: 51, By: ledger.BySince, OldestFirst: true}},
		{"due next", ledger.Filter{}, ledger.Page{Limit: 51, By: ledger.ByDue, OldestFirst: true}},
		{"slow in a lane", ledger.Filter{Lane: "settlement", Slow: slow}, ledger.Page{Limit: 51, By: ledger.BySince, OldestFirst: true}},
		{"the broker must act", ledger.Filter{Who: []closure.Who{closure.Broker}}, first},
		{"ended lately", ledger.Filter{Statuses: []string{"closed"}, EndedFrom: time.Date(2025, time.November, 20, 0, 0, 0, 0, time.UTC)}, first},
		{"a client of a few", ledger.Filter{Actor: "api:rare"}, first},
		{"a client of most", ledger.Filter{Actor: "api:shop"}, first},
		{"a customer's", ledger.Filter{PersonOf: person}, first},
		{"exactly: an id", ledger.Filter{Exact: one}, first},
		{"exactly: an order of the broker's", ledger.Filter{Exact: order}, first},
		{"exactly: an order of ours", ledger.Filter{Exact: "ours-CLA-20250101000000-012345"}, first},
		{"exactly: nothing", ledger.Filter{Exact: "nothing"}, first},
		{"search: an id", ledger.Filter{Text: one}, first},
		{"search: a confirmation", ledger.Filter{Text: "CLA-20250101000000-012345"}, first},
		{"search: part of a number (reads every row)", ledger.Filter{Text: "-012345"}, first},
	} {
		q, args := l.ListQuery(c.f, c.p)
		plan := explain(t, db, "ANALYZE, TIMING OFF", q, args)
		_, took, _ := strings.Cut(plan, "Execution Time: ")
		began := time.Now()
		found, err := l.List(t.Context(), c.f, c.p)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%-45s %2d rows, Postgres %s, in all %s", c.what, len(found), strings.TrimSpace(took), time.Since(began).Round(10*time.Microsecond))
		if scans := strings.Contains(plan, "Seq Scan"); scans && !strings.Contains(c.what, "every row") {
			t.Errorf("%s reads every row:\n%s\n%s", c.what, q[strings.Index(q, "WHERE"):], plan)
		} else if testing.Verbose() && strings.Contains(plan, "Rows Removed") {
			t.Log(plan)
		}
	}
	q, args := l.BoardQuery(slow)
	plan := explain(t, db, "ANALYZE, TIMING OFF", q, args)
	if !strings.Contains(plan, "Index Only Scan using closures_board") {
		t.Errorf("the board is not read from its index alone:\n%s", plan)
	}
	t.Logf("the board: %s", plan[strings.Index(plan, "Execution Time"):])
	began = time.Now()
	if found, err := l.OfPerson(t.Context(), "CUSTOMER12345@example.test", 5); err != nil || len(found) != 1 || found[0].AccountID != one {
		t.Errorf("a customer's e-mail finds %d closures (%v)", len(found), err)
	}
	t.Logf("an e-mail is found in %s", time.Since(began))
}

// explain is how Postgres would carry a query out, or with ANALYZE how it did.
func explain(t *testing.T, db *sql.DB, how, q string, args []any) string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "EXPLAIN ("+how+") "+q, args...)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var plan strings.Builder
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		plan.WriteString(line + "\n")
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return plan.String()
}
