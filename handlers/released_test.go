package handlers_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"closeout/alpaca/sim"
	"closeout/calendar"
	"closeout/closure"
	"closeout/handlers"
	"closeout/internal/lab"
	"closeout/ledger"
	"closeout/readiness"
	"closeout/server"
	"closeout/tasks"
)

var release = flag.String("release", "", "write down a history as the release of this name leaves it, in ledger/testdata/released; one that is written stays as it is")

const releases = "../ledger/testdata/released"

// history is what is known of a ledger that a released version wrote, beside the ledger and the broker's state.
type history struct {
	At      time.Time `json:"at"` // when it was left
	Batch   string    `json:"batch"`
	Redrive string    `json:"redrive"`
	Ends    []ending  `json:"ends"`
}

// ending is a closure of a history and what must become of it.
type ending struct {
	Name    string         `json:"name"`
	ID      string         `json:"id"`
	Account string         `json:"account"`
	Phase   closure.Phase  `json:"phase"` // where it was left
	Was     closure.State  `json:"was"`
	Reason  closure.Reason `json:"reason"`
	State   closure.State  `json:"state"` // where it ends; what had stopped is resumed first
	Paid    []string       `json:"paid"`
}

// What a released version has left under way goes on in this one, from each phase and state, and in the middle of payouts, a batch
// and a bulk retry: the ledger is migrated and whole, everything is shown, and all come to their ends, paid once, while Redis
// was lost. A history is written once for each release, and is gone on with for ever.
func TestAReleasedVersionsHistoryGoesOn(t *testing.T) {
	t.Parallel()
	if *release != "" {
		dir := filepath.Join(releases, *release)
		if err := os.MkdirAll(dir, 0o750); err != nil {
			t.Fatal(err)
		}
		leave(t, dir)
	}
	dirs, err := filepath.Glob(filepath.Join(releases, "*", "ledger.sql"))
	if err != nil || len(dirs) == 0 {
		t.Fatalf("%d histories, %v", len(dirs), err)
	}
	for _, file := range dirs {
		dir := filepath.Dir(file)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			t.Parallel()
			goOn(t, dir)
		})
	}
}

// leave lives some days and writes down what is there.
func leave(t *testing.T, dir string) {
	t.Helper()
	broker := filepath.Join(t.TempDir(), "sim.db")
	bench(t, lab.Options{Start: "2026-11-16 10:00", Redrives: true, Sim: func(o *sim.Options) { o.Path = broker }}, func(l *lab.Lab) {
		ctx := l.TB.Context()
		h := history{}
		until := func(day, clock string) {
			l.TB.Helper()
			at, err := time.ParseInLocation("2006-01-02 15:04", "2026-11-"+day+" "+clock, calendar.NewYork)
			if err != nil {
				l.TB.Fatal(err)
			}
			l.RunUntil(time.Until(at), func() bool { return !time.Now().Before(at) })
		}
		add := func(name string, s sim.Spec, end closure.State, paid ...string) closure.Closure {
			l.TB.Helper()
			c := l.Open(s)
			h.Ends = append(h.Ends, ending{Name: name, ID: c.ID, Account: c.AccountID, State: end, Paid: paid})
			return c
		}
		command := func(c closure.Closure, ch closure.Change) {
			l.TB.Helper()
			if _, err := l.Command(c.ID, func(closure.Closure, []closure.Intent) (closure.Change, error) { return ch, nil }); err != nil {
				l.TB.Fatal(err)
			}
		}
		share := func(qty, price string) []sim.PositionSpec {
			return []sim.PositionSpec{{Symbol: "AAPL", Qty: d(qty), Price: d(price)}}
		}
		add("over", sim.Spec{}, closure.Closed)
		add("in the return watch", sim.Spec{Cash: d("1000.10")}, closure.Closed, "1000.10")
		add("a payout came back", sim.Spec{Cash: d("30.30"), Events: []sim.Event{{Type: "ach_return", When: sim.AfterFirstPayoutComplete, After: sim.Duration(time.Hour)}}}, closure.Closed, "30.30", "30.30")
		wired := add("paid by hand", sim.Spec{
			Cash: d("75"), Positions: []sim.PositionSpec{holds("PEP", "5", "150")}, Events: []sim.Event{{Type: "relationship_delete", When: sim.AfterFirstOrder}},
		}, closure.Closed)
		command(add("called off", sim.Spec{Cash: d("5")}, closure.Canceled), closure.Cancel(time.Now(), "ann", "never mind", false))
		until("18", "10:00")
		add("gone back", sim.Spec{Cash: d("600"), Positions: share("3", "200"), Events: []sim.Event{{Type: "trade_bust", After: sim.Duration(10 * time.Hour)}}}, closure.Closed, "1200.00")
		held := add("held", sim.Spec{Positions: share("2", "150.05")}, closure.Closed, "300.10")
		add("more than a day's limit", sim.Spec{Cash: d("60001.07")}, closure.Closed, "50000.00", "10001.07")
		until("18", "15:00")
		command(held, closure.Pause(time.Now(), "ann", "wait for the customer"))
		add("a payout on its way", sim.Spec{Cash: d("77.07")}, closure.Closed, "77.07")
		until("19", "10:00")
		add("a trade that settles", sim.Spec{Positions: share("4", "25.25")}, closure.Closed, "101.00")
		add("a halted share", sim.Spec{Positions: []sim.PositionSpec{{Symbol: "HALT", Qty: d("2"), Price: d("7"), Resumes: sim.Duration(3 * time.Hour)}}}, closure.Closed, "14.00")
		chaos(l, sim.Rule{Method: http.MethodPost, Path: transfers, Fault: sim.FaultTimeoutAfter, Times: 1})
		add("nobody knows of a payout", sim.Spec{Cash: d("88.08")}, closure.Closed, "88.08")
		until("19", "10:03")
		event(l, wired, sim.Event{Type: "wire", Amount: d("825")})
		resolved(l, wired.ID, byHand("825"))
		dead := add("dead", sim.Spec{Cash: d("9.09")}, closure.Closed, "9.09")
		for n := range closure.MaxRetries + 1 {
			next, err := l.Ledger.Save(ctx, dead, closure.Stumbled(time.Now(), "broken", n, true), nil)
			if err != nil {
				l.TB.Fatal(err)
			}
			dead = next
		}
		for n := range 3 {
			c := add(fmt.Sprintf("failed %d", n), sim.Spec{Cash: d(fmt.Sprintf("10.0%d", n))}, closure.Closed, fmt.Sprintf("10.0%d", n))
			if _, err := l.Ledger.Save(ctx, c, closure.Looked(time.Now(), closure.Fail(closure.OrderRefused, "no"), closure.Look{}, nil), nil); err != nil {
				l.TB.Fatal(err)
			}
		}
		h.Redrive = redrive(l, ledger.Filter{Reason: closure.OrderRefused}, 1).ID
		until("19", "10:04")
		chaos(l, sim.Rule{Method: http.MethodPost, Path: closings, Fault: sim.FaultTimeoutAfter, Times: 1})
		add("nobody knows of a closing", sim.Spec{}, closure.Closed)
		until("19", "10:05")
		h.Batch = batchHalfStarted(l, &h)
		add("just asked for", sim.Spec{Cash: d("4.04"), Positions: share("1", "6.06")}, closure.Closed, "10.10")
		h.At = time.Now().Truncate(time.Minute).Add(time.Minute)
		seen := map[string]bool{}
		for n, e := range h.Ends {
			if e.ID == "" {
				continue
			}
			c := l.Get(e.ID)
			h.Ends[n].Phase, h.Ends[n].Was, h.Ends[n].Reason = c.Phase, c.State, c.Reason
			seen[string(c.Phase)], seen[string(c.State)] = true, true
			l.TB.Logf("%-28s %-11s %-9s %s", e.Name, c.Phase, c.State, c.Reason)
		}
		for _, s := range closure.Road {
			if !seen[string(s.Phase)] {
				l.TB.Errorf("none was left in %s", s.Phase)
			}
		}
		for _, s := range closure.States {
			if !seen[string(s)] {
				l.TB.Errorf("none was left %s", s)
			}
		}
		b, err := json.MarshalIndent(h, "", "  ")
		if err != nil {
			l.TB.Fatal(err)
		}
		if l.TB.Failed() {
			return
		}
		writeNew(l.TB, filepath.Join(dir, "history.json"), string(b)+"\n")
		writeNew(l.TB, filepath.Join(dir, "ledger.sql"), dump(l.TB, l.Path))
		writeNew(l.TB, filepath.Join(dir, "broker.sql"), dump(l.TB, broker))
	})
}

// batchHalfStarted is a batch of three of which one is started.
func batchHalfStarted(l *lab.Lab, h *history) string {
	l.TB.Helper()
	ctx := l.TB.Context()
	var rows []ledger.BatchRow
	for n := range 3 {
		account, err := l.Sim.AddAccount(sim.Spec{Cash: d(fmt.Sprintf("20.0%d", n))})
		if err != nil {
			l.TB.Fatal(err)
		}
		banks, err := l.Broker.Relationships(ctx, account)
		if err != nil {
			l.TB.Fatal(err)
		}
		rows = append(rows, ledger.BatchRow{N: n, AccountID: account, RelationshipID: banks[0].ID, Fingerprint: banks[0].Fingerprint, State: ledger.RowWaiting})
		h.Ends = append(h.Ends, ending{Name: fmt.Sprintf("of a batch %d", n), Account: account, State: closure.Closed, Paid: []string{fmt.Sprintf("20.0%d", n)}})
	}
	b, err := l.Ledger.CreateBatch(ctx, ledger.Batch{Actor: "operator:ann", Priority: closure.Normal}, rows)
	if err != nil {
		l.TB.Fatal(err)
	}
	for _, r := range rows {
		r.State, r.Obstacles = ledger.RowReady, "[]"
		if err := l.Ledger.NoteRow(ctx, b.ID, ledger.RowWaiting, r); err != nil {
			l.TB.Fatal(err)
		}
	}
	b.State = ledger.BatchStarting
	if b, err = l.Ledger.MoveBatch(ctx, b); err != nil {
		l.TB.Fatal(err)
	}
	c, _, err := l.Ledger.Create(ctx, ledger.Wish{AccountID: rows[0].AccountID, RelationshipID: rows[0].RelationshipID, Fingerprint: rows[0].Fingerprint, Actor: b.Actor, BatchID: b.ID})
	if err != nil {
		l.TB.Fatal(err)
	}
	h.Ends[len(h.Ends)-3].ID = c.ID
	return b.ID
}

// goOn opens what a released version has left and goes on with it.
func goOn(t *testing.T, dir string) {
	t.Helper()
	var h history
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if err := json.Unmarshal([]byte(read("history.json")), &h); err != nil {
		t.Fatal(err)
	}
	broker := filepath.Join(t.TempDir(), "sim.db")
	lab.Fill(t, broker, read("broker.sql"))
	o := lab.Options{
		Start: h.At.In(calendar.NewYork).Format("2006-01-02 15:04"), Redrives: true, Sim: func(o *sim.Options) { o.Path = broker },
		Found: func(path string) { lab.Fill(t, path, read("ledger.sql")) },
	}
	bench(t, o, func(l *lab.Lab) {
		ctx := l.TB.Context()
		whole(l)
		shown(l, h)
		carryOut(l, h.Batch)
		l.RunUntil(time.Hour, func() bool { return now(l, h.Redrive).State.Ended() })
		var ids []string
		for _, e := range h.Ends {
			c, err := l.Ledger.OfAccount(ctx, e.Account)
			if err != nil {
				l.TB.Fatalf("%s: %v", e.Name, err)
			}
			ids = append(ids, c.ID)
			if c.State == closure.Paused || c.State == closure.Failed || c.State == closure.Dead {
				if _, err := l.Command(c.ID, func(closure.Closure, []closure.Intent) (closure.Change, error) {
					return closure.Resume(time.Now(), "ann", "mended"), nil
				}); err != nil {
					l.TB.Fatalf("%s: %v", e.Name, err)
				}
			}
		}
		l.RunUntil(month, func() bool {
			return !slices.ContainsFunc(ids, func(id string) bool { return l.Get(id).State == closure.Running })
		})
		l.RunFor(time.Minute) // and the last letters
		letters := map[string]bool{}
		for _, m := range l.Letters {
			if letters[m.ID] {
				l.TB.Errorf("the letter %s was written twice", m.ID)
			}
			letters[m.ID] = true
		}
		for n, e := range h.Ends {
			if e.State == closure.Closed && e.Was != closure.Closed && !slices.ContainsFunc(slices.Collect(maps.Keys(letters)), func(id string) bool {
				return strings.HasPrefix(id, ids[n]+"/") && strings.HasSuffix(id, "/"+string(closure.LetterCompleted))
			}) {
				l.TB.Errorf("%s: the customer was not told of the end", e.Name)
			}
			wants(l, l.Get(ids[n]), e.State, "", e.Paid...)
		}
		whole(l)
	})
}

// whole holds every history to its hashes.
func whole(l *lab.Lab) {
	l.TB.Helper()
	v, err := l.Ledger.Verify(l.TB.Context(), "", 1000)
	if err != nil || len(v.Broken) > 0 || v.Closures == 0 {
		l.TB.Fatalf("%d histories, broken %v, %v", v.Closures, v.Broken, err)
	}
}

// carryOut carries a batch out to its end.
func carryOut(l *lab.Lab, id string) {
	l.TB.Helper()
	b := handlers.Batches{
		Ledger: l.Ledger, Queue: unqueued{l}, Timing: l.Timing, Log: l.Log,
		Readiness: &readiness.Checker{Broker: l.Broker, Calendar: calendar.Rules, Policy: l.Policy},
	}
	for range 10 {
		now, err := l.Ledger.Batch(l.TB.Context(), id)
		if err != nil {
			l.TB.Fatal(err)
		}
		if now.State.Ended() {
			return
		}
		if err := b.Bite(l.TB.Context(), handlers.BatchTask(now).BitePayload); err != nil {
			l.TB.Fatal(err)
		}
	}
	l.TB.Error("the batch does not end")
}

// unqueued is a queue for a test that carries bites out itself.
type unqueued struct{ *lab.Lab }

func (unqueued) ScheduleBite(context.Context, tasks.Bite) error { return nil }

func (unqueued) LookBite(context.Context, tasks.Bite) (tasks.Seen, error) { return tasks.Seen{}, nil }

// shown demands that each closure is shown as it was left.
func shown(l *lab.Lab, h history) {
	l.TB.Helper()
	for _, e := range h.Ends {
		if e.ID == "" {
			continue
		}
		read(l, e)
		if c := l.Get(e.ID); c.Phase != e.Phase || c.State != e.Was || c.Reason != e.Reason {
			l.TB.Errorf("%s: it was left %s in %s (%s), and is %s in %s (%s)", e.Name, e.Was, e.Phase, e.Reason, c.State, c.Phase, c.Reason)
		}
		answered(l, e.ID, e.Account)
	}
}

// answered demands that the API shows a closure.
func answered(l *lab.Lab, id, account string) {
	l.TB.Helper()
	const key = "rele4sed-key-0123456789abcdef0123456789"
	keys, err := server.ParseKeys("client=" + key)
	if err != nil {
		l.TB.Fatal(err)
	}
	api, err := server.New(server.Options{
		Ledger: l.Ledger, Schedule: l.Schedule, Keys: keys, Policy: l.Policy, Log: l.Log,
		Readiness: &readiness.Checker{Broker: l.Broker, Calendar: calendar.Rules, Policy: l.Policy},
	})
	if err != nil {
		l.TB.Fatal(err)
	}
	for _, path := range []string{"account-closure/progress/" + account, "account-closure/case-file/" + account, "job-status/" + id, "account-closure"} {
		r := httptest.NewRequestWithContext(l.TB.Context(), http.MethodGet, "/api/"+path, nil)
		r.Header.Set("X-API-Key", key)
		w := httptest.NewRecorder()
		api.ServeHTTP(w, r)
		if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), id) {
			l.TB.Errorf("%s answers %d %.200s", path, w.Code, w.Body)
		}
	}
}

// read demands that of what was written nothing is passed over as unknown: whoever takes a field out of the code takes it out of
// what older versions have left.
func read(l *lab.Lab, e ending) {
	l.TB.Helper()
	c := l.Get(e.ID)
	unread := closure.Fields{}
	maps.Copy(unread, c.Memo.Beside)
	if c.Memo.Stand != nil {
		maps.Copy(unread, c.Memo.Stand.Beside)
	}
	for _, p := range c.Memo.ByHand {
		maps.Copy(unread, p.Beside)
	}
	if len(unread) > 0 {
		l.TB.Errorf("%s: of its memo this version does not read %s", e.Name, slices.Sorted(maps.Keys(unread)))
	}
	db := sqlite(l.TB, l.Path)
	defer func() { _ = db.Close() }()
	for q, into := range map[string]func() any{
		"SELECT body FROM events WHERE closure_id = $1":  func() any { return new(ledger.Event) },
		"SELECT data FROM notices WHERE closure_id = $1": func() any { return new(ledger.NoticeData) },
	} {
		rows, err := db.QueryContext(l.TB.Context(), q, e.ID)
		if err != nil {
			l.TB.Fatal(err)
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var text string
			if err := rows.Scan(&text); err != nil {
				l.TB.Fatal(err)
			}
			d := json.NewDecoder(strings.NewReader(text))
			d.DisallowUnknownFields()
			if err := d.Decode(into()); err != nil {
				l.TB.Errorf("%s: this version does not read %s: %v", e.Name, text, err)
			}
		}
		if err := rows.Err(); err != nil {
			l.TB.Fatal(err)
		}
	}
}

// dump is a SQLite database as the statements that make it anew: a line for each row.
func dump(tb testing.TB, path string) string {
	tb.Helper()
	db := sqlite(tb, path)
	defer func() { _ = db.Close() }()
	column := func(q string, args ...any) (out []string) {
		tb.Helper()
		rows, err := db.QueryContext(tb.Context(), q, args...)
		if err != nil {
			tb.Fatal(err)
		}
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var s string
			if err := rows.Scan(&s); err != nil {
				tb.Fatal(err)
			}
			out = append(out, s)
		}
		if err := rows.Err(); err != nil {
			tb.Fatal(err)
		}
		return out
	}
	var b strings.Builder
	for _, s := range column("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY rowid") {
		b.WriteString(s + ";\n")
	}
	for _, table := range column("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY rowid") {
		names := column("SELECT name FROM pragma_table_info($1)", table)
		for _, row := range column("SELECT quote(" + strings.Join(names, ") || ', ' || quote(") + ") FROM " + table + " ORDER BY rowid") {
			if strings.Contains(row, "\n") {
				tb.Errorf("a row of %s has two lines: %s", table, row)
			}
			fmt.Fprintf(&b, "INSERT INTO %s (%s) VALUES (%s);\n", table, strings.Join(names, ", "), row)
		}
	}
	return b.String()
}

func sqlite(tb testing.TB, path string) *sql.DB {
	tb.Helper()
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(60000)&_pragma=journal_mode(WAL)")
	if err != nil {
		tb.Fatal(err)
	}
	return db
}

// writeNew writes a file that must not be there: what a released version has left does not change any more.
func writeNew(tb testing.TB, path, text string) {
	tb.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		tb.Fatal(err)
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Close()); err != nil {
		tb.Fatal(err)
	}
}
