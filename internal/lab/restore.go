package lab

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"closeout/calendar"
	"closeout/closure"
	"closeout/handlers"
	"closeout/internal/servers"
	"closeout/ledger"
	"closeout/worker"
)

// Backup copies the ledger as it is at this moment, while it is in use, and returns the copy's path.
func (l *Lab) Backup() string {
	l.TB.Helper()
	path := filepath.Join(servers.MemoryDir(l.TB), "backup.db")
	db := must(sql.Open("sqlite", "file:"+l.Path+"?_pragma=busy_timeout(5000)"))(l.TB)
	if _, err := db.ExecContext(context.WithoutCancel(l.TB.Context()), "VACUUM INTO '"+path+"'"); err != nil {
		l.TB.Fatal(err)
	}
	if err := db.Close(); err != nil {
		l.TB.Fatal(err)
	}
	return path
}

// Restore puts a backup in the ledger's place. The workers are stopped, as they are outside RunUntil; Redis and the broker stay
// as they are.
func (l *Lab) Restore(backup string) {
	l.TB.Helper()
	if err := l.Ledger.Close(); err != nil {
		l.TB.Fatal(err)
	}
	for _, beside := range []string{"-wal", "-shm"} {
		_ = os.Remove(l.Path + beside)
	}
	if err := os.WriteFile(l.Path, must(os.ReadFile(backup))(l.TB), 0o600); err != nil {
		l.TB.Fatal(err)
	}
	l.Ledger = must(ledger.Open(l.TB.Context(), ledger.Options{URL: "sqlite:" + l.Path, Environment: closure.Sandbox, Policy: l.Policy}))(l.TB)
	_ = l.cur.rdb.Close()
	l.start()
}

// Memory is what Redis remembers of the ledger, as a worker that starts asks for it.
func (l *Lab) Memory() *worker.Memory { return l.cur.memory }

// Reconciler is what closeout ledger reconcile works with.
func (l *Lab) Reconciler() *handlers.Reconciler {
	cal := calendar.Rules()
	return &handlers.Reconciler{
		Ledger: l.Ledger, Broker: l.Broker, Calendar: func() *calendar.Calendar { return cal }, Timing: l.Timing, Actor: "operator:lab", Why: "a drill",
	}
}

// Reconcile does what the command does: it holds, waits, and takes in what the broker has of each open closure. Then everything
// is released, as a person does.
func (l *Lab) Reconcile() (out []handlers.Reconciled, err error) {
	ctx := l.TB.Context()
	r := l.Reconciler()
	h, err := r.Begin(ctx, func(time.Time) {})
	if err != nil {
		return nil, err
	}
	open, err := l.Ledger.Open(ctx, "", 1000)
	if err != nil {
		return nil, err
	}
	for _, c := range open {
		took, err := r.Take(ctx, c.ID)
		if err != nil {
			return out, fmt.Errorf("closure %s: %w", c.ID, err)
		}
		out = append(out, took)
	}
	if err := l.Memory().Anew(ctx); err != nil {
		return out, err
	}
	_, err = l.Ledger.ReleaseAll(ctx, h.Version, "operator:lab", "reconciled")
	return out, err
}
