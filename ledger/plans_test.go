package ledger_test

import (
	"database/sql"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"closeout/closure"
	"closeout/ledger"
)

// SQLite counts no rows: by which index it goes follows from the text of a query alone, so that an empty ledger shows it.
func TestSQLiteGoesByTheRightIndex(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "closeout.db")
	l, err := open(t, "sqlite:"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", "file:"+path+"?_time_format=sqlite")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	slow := ledger.Cutoffs{closure.Settlement: time.Now()}
	page := ledger.Page{Limit: 51}
	longest := ledger.Page{Limit: 51, By: ledger.BySince, OldestFirst: true}
	for what, c := range map[string]struct {
		f    ledger.Filter
		p    ledger.Page
		want string
	}{
		"all":                 {ledger.Filter{}, page, "closures_created"},
		"failed":              {ledger.Filter{Statuses: []string{"failed"}}, page, "closures_state"},
		"failed or dead":      {ledger.Filter{Statuses: []string{"failed", "DEAD"}}, page, "closures_state"},
		"a reason":            {ledger.Filter{Reason: closure.BankGone}, page, "closures_reason"},
		"who must act":        {ledger.Filter{Who: []closure.Who{closure.Broker, closure.Operator}}, page, "closures_who"},
		"one must act":        {ledger.Filter{Who: []closure.Who{closure.Broker}}, page, "closures_who"},
		"an account":          {ledger.Filter{AccountID: "3f2a8a5e-0c1b-4f6c-9c58-1f8f0a7b9c01"}, page, "closures_of_account (environment=? AND account_id=?)"},
		"a client":            {ledger.Filter{Actor: "api:shop"}, page, "closures_actor"},
		"due next":            {ledger.Filter{}, ledger.Page{Limit: 51, By: ledger.ByDue, OldestFirst: true}, "closures_due"},
		"the longest":         {ledger.Filter{}, longest, "closures_since"},
		"the longest of some": {ledger.Filter{Lane: "settlement", Slow: slow}, longest, "closures_since|closures_board"},
		"a lane":              {ledger.Filter{Lane: "settlement"}, page, "closures_board"},
		"exactly":             {ledger.Filter{Exact: "3f2a8a5e-0c1b-4f6c-9c58-1f8f0a7b9c01"}, page, "sqlite_autoindex_closures_1 (id=?)"},
		"an id's end":         {ledger.Filter{Exact: "7b9c01"}, page, "closures_id_tail (<expr>=?)"},
		"a customer":          {ledger.Filter{PersonOf: "x"}, page, "closures_email"},
	} {
		q, args := l.ListQuery(c.f, c.p)
		plan := queryPlan(t, db, q, args)
		good := false
		for _, want := range strings.Split(c.want, "|") {
			good = good || strings.Contains(plan, want)
		}
		if !good || strings.Contains(plan, "SCAN closures\n") || strings.Contains(c.f.Exact+c.f.PersonOf, "x") && strings.Contains(plan, "closures_created") {
			t.Errorf("%s: want %s\n%s", what, c.want, plan)
		}
	}
	q, args := l.ListQuery(ledger.Filter{PersonOf: "x"}, page)
	if plan := queryPlan(t, db, q, args); !strings.Contains(plan, "closures_user_id (environment=? AND <expr>=?)") {
		t.Errorf("a customer's user id:\n%s", plan)
	}
	q, args = l.ListQuery(ledger.Filter{Exact: "7b9c01"}, page)
	if plan := queryPlan(t, db, q, args); strings.Contains(plan, "closures_created") || !strings.Contains(plan, "closures_account_tail (<expr>=?)") {
		t.Errorf("an account's end:\n%s", plan)
	}
	q, args = l.ListsQuery([]ledger.Filter{{Statuses: []string{"failed", "dead"}, Reason: closure.BankGone}, {Statuses: []string{"running"}, Reason: closure.AccountBlocked}}, page)
	if plan := queryPlan(t, db, q, args); strings.Count(plan, "closures_reason (environment=? AND reason=?)") != 2 || strings.Contains(plan, "TEMP B-TREE") {
		t.Errorf("several lists:\n%s", plan)
	}
	q, args = l.AskingQuery(closure.ExcessNoted)
	plan := queryPlan(t, db, q, args)
	for _, want := range []string{"closures_stopped (environment=?)", "closures_asking (environment=?)", "closures_reason (environment=? AND reason=?)"} {
		if !strings.Contains(plan, want) {
			t.Errorf("what needs a person: no %s\n%s", want, plan)
		}
	}
	q, args = l.BoardQuery(slow)
	if plan := queryPlan(t, db, q, args); !strings.Contains(plan, "COVERING INDEX closures_board") || strings.Contains(plan, "TEMP B-TREE") {
		t.Errorf("the board is not read along its index alone:\n%s", plan)
	}
}

func queryPlan(t *testing.T, db *sql.DB, q string, args []any) string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+strings.ReplaceAll(q, "closeout.", ""), args...)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var plan strings.Builder
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			t.Fatal(err)
		}
		plan.WriteString(detail + "\n")
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return plan.String()
}
