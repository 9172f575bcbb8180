package lab

import (
	"database/sql"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"closeout/closure"
	"closeout/ledger"
)

// Released is what a released version has left: a ledger, and the broker of then.
type Released struct {
	Name    string    `json:"-"`
	At      time.Time `json:"at"`
	Batch   string    `json:"batch"`
	Redrive string    `json:"redrive"`
	Ends    []struct {
		Name    string
		ID      string // "": of a batch, and not asked for yet
		Account string
	} `json:"ends"`

	dir string
}

// Releases reads what is in that folder, ledger/testdata/released.
func Releases(tb testing.TB, folder string) (all []Released) {
	tb.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*", "history.json"))
	if err != nil || len(files) == 0 {
		tb.Fatalf("%d histories in %s: %v", len(files), folder, err)
	}
	for _, file := range files {
		r := Released{dir: filepath.Dir(file), Name: filepath.Base(filepath.Dir(file))}
		if err := json.Unmarshal(must(os.ReadFile(file))(tb), &r); err != nil {
			tb.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// Ledger opens a copy, brought to this version and then changed by these statements, which no check of the schema refuses: a newer
// version's allows what this one does not.
func (r Released) Ledger(tb testing.TB, changes string) *ledger.Ledger {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "ledger.db")
	Fill(tb, path, string(must(os.ReadFile(filepath.Join(r.dir, "ledger.sql")))(tb)))
	open := func() *ledger.Ledger {
		return must(ledger.Open(tb.Context(), ledger.Options{URL: "sqlite:" + path, Environment: closure.Sandbox, Policy: closure.DefaultPolicy(closure.Sandbox)}))(tb)
	}
	l := open()
	if changes != "" {
		if err := l.Close(); err != nil {
			tb.Fatal(err)
		}
		Fill(tb, path, "PRAGMA ignore_check_constraints = ON;\n"+changes)
		l = open()
	}
	tb.Cleanup(func() { _ = l.Close() })
	return l
}

// Broker makes the simulator's file of it and returns its path.
func (r Released) Broker(tb testing.TB) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "sim.db")
	Fill(tb, path, string(must(os.ReadFile(filepath.Join(r.dir, "broker.sql")))(tb)))
	return path
}

// Fill gives statements to a SQLite database, which is made where there is none: those of a dump, for example.
func Fill(tb testing.TB, path, statements string) {
	tb.Helper()
	db := must(sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(60000)&_pragma=journal_mode(WAL)"))(tb)
	defer func() { _ = db.Close() }()
	if _, err := db.ExecContext(tb.Context(), statements); err != nil {
		tb.Fatal(err)
	}
}
