package handlers_test

import (
	"database/sql"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"closeout/closure"
	"closeout/internal/lab"
)

// A closure that a worker of a newer version has moved to where this one knows no way, and whose task it meets, stays as it is,
// whatever is swept, heard or emptied; moved back it goes on. What the newer version wrote into the memo is there to the end.
func TestWhatANewerVersionHasTakenUpIsLeftAlone(t *testing.T) {
	t.Parallel()
	for name, change := range map[string][2]string{
		"a phase": {"UPDATE closures SET phase = 'wiring'", "UPDATE closures SET phase = 'settlement'"},
		"a state": {"UPDATE closures SET state = 'parked'", "UPDATE closures SET state = 'running'"},
		"a memo":  {`UPDATE closures SET memo = '{"v":2,"came_back":{"n":0},"later":[1.50]}'`, `UPDATE closures SET memo = '{"later":[1.50]}'`},
		"an instruction": {
			"UPDATE intents SET kind = 'wire' WHERE kind = 'order'", "UPDATE intents SET kind = 'order' WHERE kind = 'wire'",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bench(t, lab.Options{}, func(l *lab.Lab) {
				db, err := sql.Open("sqlite", "file:"+l.Path+"?_pragma=busy_timeout(60000)&_pragma=ignore_check_constraints(1)&_time_format=sqlite")
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = db.Close() }()
				exec := func(q string) {
					if _, err := db.ExecContext(l.TB.Context(), q); err != nil {
						t.Fatal(err)
					}
				}
				c := l.Open(threeStocks())
				l.RunUntil(month, func() bool { return l.Get(c.ID).Phase == closure.Settlement })
				exec(`UPDATE closures SET memo = '{"later":[1.50]}'`)
				exec(change[0])
				taken := l.Get(c.ID)
				answered(l, c.ID, c.AccountID)
				l.FlushRedis()
				if err := l.Schedule(l.TB.Context(), taken); err != nil { // as its own worker does
					t.Fatal(err)
				}
				l.RunFor(30 * time.Minute)
				l.FlushRedis()
				l.RunFor(30 * time.Minute)
				if got := l.Get(c.ID); got.Version != taken.Version || got.Seq != taken.Seq || got.Failures != 0 || got.Crashes != 0 {
					t.Errorf("it went from version %d to %d, %d failures, %d crashes\n%s", taken.Version, got.Version, got.Failures, got.Crashes, l.History(c.ID))
				}
				if _, moved, err := l.Ledger.Hasten(l.TB.Context(), c.AccountID); moved || err != nil && name != "an instruction" {
					t.Errorf("an event moved it: %t, %v", moved, err)
				}
				exec(change[1])
				wants(l, l.Ends(c.ID, month), closure.Closed, "", "7048.48")
				if got := string(l.Get(c.ID).Memo.Beside["later"]); got != "[1.50]" {
					t.Errorf("of what the newer version wrote is left %q", got)
				}
			})
		})
	}
}
