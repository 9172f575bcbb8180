package ledger_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "modernc.org/sqlite"

	"closeout/closure"
	"closeout/ledger"
	"closeout/ledger/ledgertest"
)

func TestSQLite(t *testing.T) {
	t.Parallel()
	asked := listen(t, "sqlite")
	ledgertest.Run(t, func(t *testing.T) ledgertest.Database {
		t.Helper()
		path := filepath.Join(t.TempDir(), "closeout.db")
		db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(60000)&_time_format=sqlite")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
		return ledgertest.Database{URL: "sqlite:" + path, SQL: db, Back: back(t, "sqlite:"+path), Asked: asked}
	})
}

func back(t *testing.T, url string) func(int64) error {
	t.Helper()
	return func(version int64) error { return ledger.Back(t.Context(), url, version) }
}

func TestTheFileIsTheOneThatTheURLNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"plain.db", "with space.db", "100%.db", "50%41.db", "what?.db", "#1.db", "a&b=c.db", "ünï.db"} {
		path := filepath.Join(t.TempDir(), name)
		l, err := ledger.Open(t.Context(), ledger.Options{URL: "sqlite:" + path, Environment: closure.Sandbox, Policy: closure.DefaultPolicy(closure.Sandbox)})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if info, err := os.Stat(path); err != nil || info.Size() == 0 {
			t.Errorf("%s: no such file was written: %v", name, err)
		}
	}
}

func TestAURLThatIsNoLedgersIsRefusedWithoutItsSecrets(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"", "sqlite:", "mysql://root:hunter2@db/closeout", "/var/lib/closeout.db"} {
		l, err := ledger.Open(t.Context(), ledger.Options{URL: url, Environment: closure.Sandbox})
		if err == nil {
			_ = l.Close()
			t.Errorf("%q was opened", url)
			continue
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: the password is in the complaint: %v", url, err)
		}
	}
}

func TestAFileThatIsNoDatabaseIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "letter.txt")
	if err := os.WriteFile(path, []byte(strings.Repeat("dear customer, ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(t.Context(), ledger.Options{URL: "sqlite:" + path, Environment: closure.Sandbox})
	if err == nil {
		_ = l.Close()
		t.Error("it was opened")
	}
}
