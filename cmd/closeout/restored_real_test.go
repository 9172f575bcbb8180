package main

import (
	"encoding/json"
	"errors"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shopspring/decimal"

	"closeout/alpaca/sim"
	"closeout/closure"
	"closeout/internal/auditor"
)

// An operator's drill on a real Postgres: the ledger is copied while closures are on their way, these go on and pay, and the copy is
// put in its place. No worker starts on it. Reconciled by the program as it ships, all
// of it goes on, and by the auditor nothing was done twice.
func TestRealRestoredPostgres(t *testing.T) {
	w := newWorld(t, 6*time.Second)
	w.env = append(w.env, "CLOSEOUT_SETTLEMENT_POLL=4h", "CLOSEOUT_WITHDRAWAL_POLL=4h", "CLOSEOUT_RETURN_WATCH=1")
	w.serve()
	server := w.all[len(w.all)-1]
	first, _ := w.worker()
	accounts := []string{
		w.account(sim.Spec{Cash: decimal.RequireFromString("81000.25")}),
		w.account(sim.Spec{Cash: decimal.NewFromInt(10), Positions: []sim.PositionSpec{{Symbol: "AAPL", Qty: decimal.NewFromInt(3), Price: decimal.RequireFromString("231.40")}}}),
		w.account(sim.Spec{Cash: decimal.RequireFromString("77.10")}),
	}
	var ids []string
	for _, a := range accounts {
		ids = append(ids, w.initiate(a))
	}
	w.until("the first payout", func() bool { return len(w.payouts(accounts[0])) > 0 })
	admin := w.postgres.Open(t, w.postgres.URL("postgres", "postgres"))
	statement := func(s string) {
		t.Helper()
		if _, err := admin.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	name := w.database[strings.LastIndex(w.database, "/")+1:]
	name, _, _ = strings.Cut(name, "?")
	copied := w.clock.Now()
	w.ran("pg_dump", "--format=custom", "--schema=closeout", "--file="+w.data+"/backup", w.database)
	w.until("payouts that the copy lacks", func() bool { return len(w.payouts(accounts[0])) > 1 && len(w.payouts(accounts[1])) > 0 })

	status, out := w.program("ledger", "reconcile", "--apply", "--reason", "a drill")
	if status != 1 || !strings.Contains(out, "1 worker is at work") {
		t.Errorf("while a worker lives: status %d, %s", status, out)
	}
	for _, p := range []*program{first, server} {
		p.signal(syscall.SIGTERM)
		p.ends()
	}
	if err := w.ledger.Close(); err != nil {
		t.Fatal(err)
	}
	statement("DROP DATABASE " + name + " WITH (FORCE)")
	statement("CREATE DATABASE " + name)
	w.ran("pg_restore", "--no-owner", "--exit-on-error", "--dbname="+w.database, w.data+"/backup")
	w.opens(w.postgres, w.database)

	refused, _ := w.worker()
	if status := refused.ends(); status != 1 || !strings.Contains(refused.tail(5), "closeout ledger reconcile") {
		t.Errorf("a worker on the restored ledger ended with %d:\n%s", status, refused.tail(5))
	}
	reconciled := func(args ...string) (v reconcileView) {
		t.Helper()
		status, out := w.program(append([]string{"ledger", "reconcile", "--json"}, args...)...)
		if status != 0 {
			t.Errorf("reconcile %v: status %d: %s", args, status, out)
		}
		if err := json.Unmarshal([]byte(out), &v); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return v
	}
	if v := reconciled(); v.Applied || v.Remembered == nil || v.Newest == nil || !v.Remembered.After(*v.Newest) || len(v.Closures) == 0 || v.Closures[0].Payouts == 0 {
		t.Errorf("the preview: %+v", v)
	}
	began := time.Now()
	v := reconciled("--apply", "--reason", "a drill")
	adopted := 0
	for _, c := range v.Closures {
		adopted += c.Payouts
	}
	t.Logf("%d open closures reconciled in %s, %d payouts adopted", len(v.Closures), time.Since(began).Round(time.Millisecond), adopted)
	if adopted < 2 || v.Failed > 0 || !v.Hold.Held {
		t.Errorf("the report: %+v", v)
	}
	lost := auditor.Span{From: copied, To: w.clock.Now()}

	w.serve()
	w.worker()
	if status, out := w.program("monitor", "release", "--reason", "reconciled", "--apply"); status != 0 {
		t.Fatalf("release: status %d: %s", status, out)
	}
	for _, id := range ids {
		w.until("the end of "+id, func() bool {
			c, err := w.ledger.Get(t.Context(), id)
			return err == nil && c.State != closure.Running
		})
	}
	w.judged(accounts, ids, lost)
}

// program runs the program to its end, with a worker's settings.
func (w *world) program(args ...string) (status int, said string) {
	w.Helper()
	return w.command(exec.CommandContext(w.Context(), w.bin, args...))
}

func (w *world) command(cmd *exec.Cmd) (status int, said string) {
	w.Helper()
	var errs strings.Builder
	cmd.Env, cmd.Stderr = append(w.env, "CLOSEOUT_LOG_LEVEL=error"), &errs
	out, err := cmd.Output()
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return e.ExitCode(), string(out) + errs.String()
	}
	if err != nil {
		w.Fatal(err)
	}
	return 0, string(out)
}

// ran runs the program of somebody else, which must end well.
func (w *world) ran(name string, args ...string) {
	w.Helper()
	if status, said := w.command(exec.CommandContext(w.Context(), name, args...)); status != 0 {
		w.Fatalf("%s %v: status %d: %s", name, args, status, said)
	}
}

// judged demands that each closure has ended well, and that the auditor finds nothing.
func (w *world) judged(accounts, ids []string, lost auditor.Span) {
	w.Helper()
	e := auditor.Evidence{Acknowledged: ids, Truths: map[string]sim.Truth{}, LostTimes: []auditor.Span{lost}, Slack: w.clock.Business(closure.ShortTiming.Deadline + time.Second)}
	for n, id := range accounts {
		var truth sim.Truth
		w.ask("GET", w.broker+"/sim/accounts/"+id, nil, &truth)
		e.Truths[id] = truth
		c, err := w.ledger.Get(w.Context(), ids[n])
		if err != nil || c.State != closure.Closed || truth.Status != "ACCOUNT_CLOSED" || !truth.Cash.IsZero() {
			w.Errorf("closure %d is %s (%s: %s), its account %s with %s, %v", n, c.State, c.Reason, c.Why, truth.Status, truth.Cash, err)
		}
	}
	var journal struct {
		Entries []sim.Entry `json:"entries"`
	}
	w.ask("GET", w.broker+"/sim/journal", nil, &journal)
	e.Journal = journal.Entries
	report, err := auditor.Audit(w.Context(), w.postgres.Open(w.TB, w.database+"&search_path=closeout"), e)
	if err != nil {
		w.Fatal(err)
	}
	for _, f := range report.Findings {
		w.Error(f)
	}
	for n, id := range ids {
		w.Logf("account %d: paid %v, closure %s", n, w.payouts(accounts[n]), id)
	}
}
