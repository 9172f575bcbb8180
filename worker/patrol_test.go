package worker_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"

	"closeout/closure"
	"closeout/ledger"
	"closeout/worker"
)

// TestThePatrolFindsABrokenHistoryAndSeesItMended wherever it begins: at each round a share, and all closures in turn.
func TestThePatrolFindsABrokenHistoryAndSeesItMended(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ledger.db")
	l, err := ledger.Open(t.Context(), ledger.Options{URL: "sqlite:" + path, Environment: closure.Sandbox, Policy: closure.DefaultPolicy(closure.Sandbox)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(60000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	const closures = 25
	var ids []string
	for n := range closures {
		c, _, err := l.Create(t.Context(), ledger.Wish{AccountID: fmt.Sprintf("account-%04d", n), RelationshipID: "bank"})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, c.ID)
	}
	for try := range 5 {
		log, said := test.NewNullLogger()
		p := &worker.Patrol{Ledger: l, Sweep: 30 * time.Second, Log: log}
		lap := func() {
			for range 6 { // two and a half rounds go once around, from wherever it began
				if err := p.Round(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		lap()
		if s := p.Stats(); s.Broken != 0 || s.Events < closures || len(said.AllEntries()) > 0 {
			t.Errorf("whole: %+v, %v", s, said.AllEntries())
		}
		id := ids[try*6]
		tamper := func(from, to string) {
			if _, err := db.ExecContext(t.Context(), "UPDATE events SET body = replace(body, ?, ?) WHERE closure_id = ?", from, to, id); err != nil {
				t.Fatal(err)
			}
		}
		tamper("accepted", "accepteD")
		lap()
		if s := p.Stats(); s.Broken != 1 {
			t.Errorf("broken: %+v", s)
		}
		if e := said.LastEntry(); e == nil || e.Level != logrus.ErrorLevel || e.Data["closure"] != id || e.Data["event"] != int64(1) {
			t.Errorf("the log has %+v", e)
		}
		tamper("accepteD", "accepted")
		lap()
		if s := p.Stats(); s.Broken != 0 {
			t.Errorf("mended: %+v", s)
		}
	}
}

// TestThePatrolOfAnEmptyLedger finds nothing, and goes on.
func TestThePatrolOfAnEmptyLedger(t *testing.T) {
	t.Parallel()
	l, err := ledger.Open(t.Context(), ledger.Options{URL: "sqlite:" + filepath.Join(t.TempDir(), "ledger.db"), Environment: closure.Sandbox})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	log, said := test.NewNullLogger()
	p := &worker.Patrol{Ledger: l, Sweep: 30 * time.Second, Log: log}
	for range 3 {
		if err := p.Round(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if p.Stats() != (worker.PatrolStats{}) || len(said.AllEntries()) > 0 {
		t.Errorf("%+v", p.Stats())
	}
}

// badDisk is a ledger of a hundred closures of which one can't be read.
type badDisk struct{ bad int }

func (badDisk) Histories(context.Context) (int, error) { return 100, nil }

func (badDisk) HistoryAt(_ context.Context, n int) (string, error) {
	return fmt.Sprintf("%02d", n), nil
}

func (d badDisk) Verify(_ context.Context, after string, limit int) (ledger.Verified, error) {
	var v ledger.Verified
	for n := range 100 {
		id := fmt.Sprintf("%02d", n)
		if id <= after || v.Closures == limit {
			continue
		}
		if n == d.bad {
			return v, errors.New("the disk image is malformed")
		}
		v.Closures, v.Events, v.Last = v.Closures+1, v.Events+1, id
		if n == 99 {
			v.Broken = append(v.Broken, ledger.ChainError{ClosureID: id, Seq: 1, Why: "changed"})
		}
	}
	return v, nil
}

// TestThePatrolIsNotHeldUpByWhatCantBeRead wherever that lies: it comes to what lies behind.
func TestThePatrolIsNotHeldUpByWhatCantBeRead(t *testing.T) {
	t.Parallel()
	log, _ := test.NewNullLogger()
	for _, bad := range []int{0, 50, 89} {
		p := &worker.Patrol{Ledger: badDisk{bad}, Sweep: 30 * time.Second, Log: log}
		failed := 0
		for range 5000 {
			if p.Round(t.Context()) != nil {
				failed++
			}
			if failed > 0 && p.Stats().Broken == 1 {
				break
			}
		}
		if failed == 0 || p.Stats().Broken != 1 {
			t.Errorf("number %d can't be read: %d rounds failed, %+v", bad, failed, p.Stats())
		}
	}
}
