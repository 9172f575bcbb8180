package ledger_test

import (
	"database/sql"
	"strings"
	"sync"
	"testing"
	"time"

	"closeout/closure"
	"closeout/internal/servers"
	"closeout/ledger"
	"closeout/ledger/ledgertest"
)

// The conformance suite on Postgres, as pgx speaks to it by default and as it does through a transaction pooler.
func TestPostgres(t *testing.T) {
	t.Parallel()
	pg := servers.StartPostgres(t)
	for name, mode := range map[string]string{"Direct": "", "Pooler": "&default_query_exec_mode=exec"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked := func(string) {}
			if mode == "" {
				asked = listen(t, "postgres")
			}
			ledgertest.Run(t, func(t *testing.T) ledgertest.Database {
				t.Helper()
				url := pg.Database(t) + mode
				return ledgertest.Database{URL: url, SQL: pg.Open(t, url+"&search_path=closeout"), Back: back(t, url), Asked: asked}
			})
		})
	}
}

func open(t *testing.T, url string, status *ledger.AccountStatus) (*ledger.Ledger, error) {
	t.Helper()
	l, err := ledger.Open(t.Context(), ledger.Options{URL: url, Environment: closure.Sandbox, Policy: closure.DefaultPolicy(closure.Sandbox), AccountStatus: status})
	if err == nil {
		t.Cleanup(func() { _ = l.Close() })
	}
	return l, err
}

func mustExec(t *testing.T, db *sql.DB, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

func TestPostgresProcessesThatStartTogetherMigrateOnce(t *testing.T) {
	t.Parallel()
	pg := servers.StartPostgres(t)
	url := pg.Database(t)
	var wg sync.WaitGroup
	moved := make([]bool, 8)
	for n := range moved {
		wg.Go(func() {
			from, to, err := ledger.Migrate(t.Context(), url)
			if err != nil || to == 0 {
				t.Errorf("process %d: from %d to %d: %v", n, from, to, err)
			}
			moved[n] = from < to
		})
	}
	wg.Wait()
	count := 0
	for _, m := range moved {
		if m {
			count++
		}
	}
	if count != 1 {
		t.Errorf("%d processes have migrated", count)
	}
	t.Run("ByARoleThatMayNotMakeASchema", func(t *testing.T) {
		db := pg.Open(t, url)
		mustExec(t, db, "CREATE ROLE plain LOGIN", "GRANT USAGE ON SCHEMA closeout TO plain", "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA closeout TO plain")
		l, err := open(t, strings.Replace(url, "postgres@", "plain@", 1), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, created, err := l.Create(t.Context(), ledger.Wish{AccountID: "a", RelationshipID: "b"}); err != nil || !created {
			t.Errorf("created %t: %v", created, err)
		}
	})
}

// TestPostgresWaitsForAMigrationWithoutATransaction: behind a transaction pooler, one that is open takes a connection from
// the process that migrates.
func TestPostgresWaitsForAMigrationWithoutATransaction(t *testing.T) {
	t.Parallel()
	pg := servers.StartPostgres(t)
	url := pg.Database(t)
	db := pg.Open(t, url)
	other, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const lock = 0x636c6f73656f7574
	defer func() { _ = other.Close() }()
	if _, err := other.ExecContext(t.Context(), "SELECT pg_advisory_lock($1)", int64(lock)); err != nil {
		t.Fatal(err)
	}
	migrated := make(chan error, 1)
	go func() {
		_, _, err := ledger.Migrate(t.Context(), url+"&application_name=waiting")
		migrated <- err
	}()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for given, until := false, time.After(time.Minute); !given; {
		select {
		case err := <-migrated:
			t.Fatalf("it has not waited: %v", err)
		case <-until:
			t.Fatal("it waits in a transaction")
		case <-again.C:
		}
		err := db.QueryRowContext(t.Context(), "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'waiting' AND state = 'idle' AND query ILIKE 'rollback%')").Scan(&given)
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := other.ExecContext(t.Context(), "SELECT pg_advisory_unlock($1)", int64(lock)); err != nil {
		t.Fatal(err)
	}
	if err := <-migrated; err != nil {
		t.Error(err)
	}
}

func TestPostgresThatCouldForgetAClaimIsRefused(t *testing.T) {
	t.Parallel()
	pg := servers.StartPostgres(t)
	url := pg.Database(t)
	mustExec(t, pg.Open(t, url), "CREATE ROLE hasty LOGIN SUPERUSER", "ALTER ROLE hasty SET synchronous_commit = off",
		"CREATE ROLE blind LOGIN SUPERUSER", "ALTER ROLE blind SET default_transaction_isolation = 'repeatable read'")
	if _, err := open(t, strings.Replace(url, "postgres@", "blind@", 1), nil); err == nil || !strings.Contains(err.Error(), "read committed") {
		t.Errorf("%v", err)
	}
	if _, err := open(t, strings.Replace(url, "postgres@", "hasty@", 1), nil); err == nil || !strings.Contains(err.Error(), "synchronous_commit") {
		t.Errorf("%v", err)
	}
	if _, err := open(t, strings.Replace(url, "postgres@", "postgres:hunter2@", 1)+"&sslmode=nonsense", nil); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a URL that can't be read: %v", err)
	}
}
