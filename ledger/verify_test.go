package ledger_test

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"closeout/internal/servers"
	"closeout/ledger"
)

// manyEvents are in the ledgers in which one byte is changed.
const manyEvents, manyClosures = 100_000, 2_000

// fill writes them, and gives the closures' ids.
func fill(tb testing.TB, db *sql.DB) []string {
	tb.Helper()
	began := time.Now()
	tx, err := db.BeginTx(tb.Context(), nil)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	var ids []string
	for n := range manyClosures {
		c, evs := ledger.History(fmt.Sprintf("account-%06d", n), manyEvents/manyClosures)
		ids = append(ids, c.ID)
		if err := ledger.InsertHistory(tb.Context(), tx, c, evs); err != nil {
			tb.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		tb.Fatal(err)
	}
	tb.Logf("%d events of %d closures written in %s", manyEvents, manyClosures, time.Since(began).Round(time.Millisecond))
	return ids
}

// oneByte changes one byte among all, has it found and named, and tells the rate.
func oneByte(t *testing.T, l *ledger.Ledger, db *sql.DB) {
	t.Helper()
	ids := fill(t, db)
	verify := func() (all ledger.Verified) {
		began := time.Now()
		for after := ""; ; {
			v, err := l.Verify(t.Context(), after, 200)
			if err != nil {
				t.Fatal(err)
			}
			all.Closures, all.Events, all.Broken = all.Closures+v.Closures, all.Events+v.Events, append(all.Broken, v.Broken...)
			if v.Closures < 200 {
				d := time.Since(began)
				t.Logf("%d events verified in %s: %.0f a second", all.Events, d.Round(time.Millisecond), float64(all.Events)/d.Seconds())
				return all
			}
			after = v.Last
		}
	}
	if v := verify(); v.Closures != manyClosures || v.Events != manyEvents || len(v.Broken) > 0 {
		t.Errorf("whole: %+v", v)
	}
	const seq = 37
	id := ids[manyClosures*2/3]
	var body []byte
	if err := db.QueryRowContext(t.Context(), "SELECT body FROM events WHERE closure_id = $1 AND seq = $2", id, seq).Scan(&body); err != nil {
		t.Fatal(err)
	}
	body[len(body)/2] ^= 1
	if _, err := db.ExecContext(t.Context(), "UPDATE events SET body = $1 WHERE closure_id = $2 AND seq = $3", string(body), id, seq); err != nil {
		t.Fatal(err)
	}
	if v := verify(); len(v.Broken) != 1 || v.Broken[0].ClosureID != id || v.Broken[0].Seq != seq || v.Events != manyEvents {
		t.Errorf("one byte was changed in event %d of %s: %+v", seq, id, v.Broken)
	}
}

// TestRealOneChangedByteAmongAHundredThousandEvents is for both databases, one after the other so that the rates are theirs.
func TestRealOneChangedByteAmongAHundredThousandEvents(t *testing.T) {
	if testing.Short() {
		t.Skip("half a minute; `make test-real` runs it")
	}
	t.Run("SQLite", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "ledger.db")
		l, err := open(t, "sqlite:"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(60000)&_time_format=sqlite")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		oneByte(t, l, db)
	})
	t.Run("Postgres", func(t *testing.T) {
		pg := servers.StartPostgres(t)
		url := pg.Database(t)
		l, err := open(t, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		oneByte(t, l, pg.Open(t, url+"&search_path=closeout"))
	})
}
