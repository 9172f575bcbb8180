package ledger_test

import (
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
	ask("a letter", []string{"UPDATE notices", "UPDATE notices"}, func() error {
		n, err := l.LeaseNotice(ctx, time.Minute)
		if err != nil {
			return err
		}
		return l.NoticeSent(ctx, n)
	})
}

// One letter is leased by looking at few of those that are due, however many there are and however little the planner knows yet:
// read letter by letter, all of them cost their square.
func TestPostgresLeasesALetterWithoutReadingAll(t *testing.T) {
	t.Parallel()
	pg := servers.StartPostgres(t)
	url := pg.Database(t)
	l, err := open(t, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	db := pg.Open(t, url+"&search_path=closeout")
	mustExec(t, db, "ALTER TABLE notices SET (autovacuum_enabled = off)", "ALTER TABLE closures SET (autovacuum_enabled = off)")
	const closures = 400
	for n := range closures {
		c, _, err := l.Create(t.Context(), ledger.Wish{AccountID: "a" + strconv.Itoa(n), RelationshipID: "b", Actor: "key:a"})
		if err == nil {
			_, err = l.Save(t.Context(), c, closure.Looked(c.UpdatedAt, closure.Done("paid out"), closure.Look{}, nil), nil)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
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
		plan := explain(t, db, "COSTS", q, args)
		if strings.Count(plan, "notices_due") != 1 || strings.Contains(plan, "Seq Scan") {
			t.Errorf("a planner that knows %s goes along all letters that are due more than once, or along all letters\n%s", planner.knows, plan)
		}
	}
}
