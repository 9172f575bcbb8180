package ledger_test

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"closeout/closure"
	"closeout/internal/servers"
	"closeout/ledger"
	"closeout/ledger/ledgertest"
)

// What a visit asks of Postgres, counted exactly: each line is one round trip. (A connection that has not seen a statement yet
// prepares it, which is another one, once.)
func TestPostgresRoundTrips(t *testing.T) {
	t.Parallel()
	var trips []string
	l := ledgertest.Open(t, servers.StartPostgres(t).Database(t), func(trip string) { trips = append(trips, trip) })
	ctx, now := t.Context(), time.Now()
	var c closure.Closure
	var is []closure.Intent
	ask := func(what string, want []string, do func() error) {
		t.Helper()
		trips = nil
		if err := do(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if !slices.Equal(trips, want) {
			t.Errorf("%s asks\n  %s\nand not\n  %s", what, strings.Join(trips, "\n  "), strings.Join(want, "\n  "))
		}
	}
	save := func(o closure.Outcome, learned ...ledger.Learned) func() error {
		return func() (err error) {
			c, err = l.Save(ctx, c, closure.Looked(now, o, closure.Look{}, nil), learned)
			return err
		}
	}
	wait := closure.Wait(0, closure.Selling, "at the market")
	ask("an initiate", []string{"INSERT closures, INSERT events, INSERT notices"}, func() (err error) {
		c, _, err = l.Create(ctx, ledger.Wish{AccountID: "a", RelationshipID: "b", Actor: "key:a"})
		return err
	})
	ask("a visit's beginning", []string{"SELECT closures, SELECT intents"}, func() (err error) {
		c, is, err = l.Load(ctx, c.ID)
		return err
	})
	ask("a look that found something new", []string{"UPDATE closures, INSERT events"}, save(wait))
	ask("a look that found nothing new", []string{"UPDATE closures"}, save(wait))
	ask("a claim", []string{
		"SELECT, SELECT holds, UPDATE closures, INSERT events, SELECT intents, INSERT intents",
	}, func() (err error) {
		c, is, err = l.Claim(ctx, c, closure.Claimed(now, now, "pay out", true), []closure.Intent{{Kind: closure.TransferIntent, BankingDay: "2026-11-18", ClaimedAt: now, Deadline: now}}, closure.Event{Kind: "claim", At: now})
		return err
	})
	ask("an answer", []string{"UPDATE closures, INSERT events, UPDATE intents"}, func() (err error) {
		is[0].State, is[0].BrokerID = closure.IntentSent, "t1"
		row, i, err := l.Record(ctx, c, is[0], closure.Event{Kind: "answer", At: now})
		is[0], c.Seq, c.HeadHash = i, row.Seq, row.HeadHash
		return err
	})
	done := is[0]
	done.Finished = "COMPLETE"
	ask("the save behind an instruction", []string{"UPDATE closures, INSERT events, UPDATE intents"},
		save(closure.Wait(0, closure.TransferPending, "on its way"), ledger.Learned{Was: is[0].State, Intent: done}))
	ask("the end", []string{"UPDATE closures, INSERT events, INSERT notices"}, save(closure.Done("paid out")))
	var letter ledger.Notice
	next := func(sent *ledger.Notice) func() error {
		return func() (err error) {
			letter, _, _, err = l.NextNotice(ctx, sent, time.Minute)
			return err
		}
	}
	ask("a letter", []string{"UPDATE notices, SELECT closures, SELECT intents"}, next(nil))
	ask("the letter after it", []string{"UPDATE notices, UPDATE notices, SELECT closures, SELECT intents"}, next(&letter))
	ask("the end of the letters", []string{"UPDATE notices, UPDATE notices, SELECT closures, SELECT intents", "SELECT notices"}, func() error {
		if err := next(&letter)(); !errors.Is(err, ledger.ErrNotFound) {
			return fmt.Errorf("a third letter: %w", err)
		}
		return nil
	})
}

// owing is a ledger in which closures owe letters, two each, and a connection beside it. Nothing analyzes it unasked.
func owing(t *testing.T) (l *ledger.Ledger, db *sql.DB, closures func(int)) {
	t.Helper()
	pg := servers.StartPostgres(t, "autovacuum=off")
	url := pg.Database(t)
	l, err := open(t, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	made := 0
	return l, pg.Open(t, url+"&search_path=closeout"), func(n int) {
		t.Helper()
		for range n {
			made++
			c, _, err := l.Create(t.Context(), ledger.Wish{AccountID: "a" + strconv.Itoa(made), RelationshipID: "b", Actor: "key:a"})
			if err == nil {
				_, err = l.Save(t.Context(), c, closure.Looked(c.UpdatedAt, closure.Done("paid out"), closure.Look{}, nil), nil)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

// One letter is leased by looking at few of those that are due, however many there are and however little the planner knows yet:
// read letter by letter, all of them cost their square.
func TestPostgresLeasesALetterWithoutReadingAll(t *testing.T) {
	t.Parallel()
	l, db, closures := owing(t)
	closures(400)
	for _, planner := range []struct {
		knows string
		by    []string
	}{
		{"nothing", nil},
		{"that all have been sent", []string{"UPDATE notices SET state = 'sent'", "ANALYZE", "UPDATE notices SET state = 'due'"}},
		{"all", []string{"ANALYZE"}},
	} {
		mustExec(t, db, planner.by...)
		q, args := l.LeaseQuery()
		qs, all := l.LeasedQueries()
		for n, q := range append(qs, q) {
			plan := explain(t, db, "COSTS", q, append(all, args)[n])
			if strings.Count(plan, "notices_due") != 1 || strings.Contains(plan, "Seq Scan on notices") || strings.Contains(plan, "Seq Scan on closures") {
				t.Errorf("a planner that knows %s goes along all letters that are due more than once, or along all letters\n%s", planner.knows, plan)
			}
		}
	}
}

// Postgres plans the first five calls of a statement for their values, and further ones where it believes that this is worth it. For a
// letter it never is, and costs more than the rest of it.
func TestPostgresPlansALettersStatementsOnce(t *testing.T) {
	t.Parallel()
	l, db, closures := owing(t)
	db.SetMaxOpenConns(1) // whose plans are looked at
	calls := func(n int) {
		t.Helper()
		for range n {
			q, args := l.LeaseQuery()
			qs, all := l.LeasedQueries()
			for n, q := range append(qs, q) {
				if _, err := db.ExecContext(t.Context(), q, append(all, args)[n]...); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	closures(3)
	calls(10)
	closures(200)
	mustExec(t, db, "ANALYZE")
	calls(50)
	rows, err := db.QueryContext(t.Context(), "SELECT statement, custom_plans, generic_plans FROM pg_prepared_statements WHERE generic_plans + custom_plans > 10")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	seen := 0
	for ; rows.Next(); seen++ {
		var statement string
		var custom, generic int
		if err := rows.Scan(&statement, &custom, &generic); err != nil {
			t.Fatal(err)
		}
		if custom > 10 {
			t.Errorf("planned anew %d times of %d: %s", custom, custom+generic, statement)
		}
		t.Log(custom, generic, statement[:40])
	}
	if err := rows.Err(); err != nil || seen != 3 {
		t.Errorf("%d statements, %v", seen, err)
	}
}
