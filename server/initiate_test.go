package server_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shopspring/decimal"

	"closeout/alpaca/sim"
	"closeout/closure"
	"closeout/ledger"
	"closeout/server"
)

func TestInitiate(t *testing.T) {
	b := newBench(t)
	id, bank := b.account(sim.Spec{Positions: []sim.PositionSpec{{Symbol: "AAPL", Qty: decimal.NewFromInt(10), Price: decimal.NewFromInt(190)}}})
	a := b.initiate(strings.ToUpper(id), wish(strings.ToUpper(bank), `,"user_id":"u-1","email":"jo@example.com","reason":"moving abroad","priority":"urgent"`))
	if a.status != http.StatusAccepted {
		t.Fatalf("answered %d %s", a.status, a.text)
	}
	var got server.Initiated
	a.into(&got)
	c, err := b.ledger.OfAccount(context.Background(), id)
	must(t, err)
	if got.JobID != c.ID || got.Confirmation != c.Confirmation || got.AccountID != id || !got.Success || got.Status != "pending_closure" {
		t.Errorf("answered %+v for %+v", got, c)
	}
	if got.ExpectedFinish == nil || !got.ExpectedFinish.After(time.Now().Add(24*time.Hour)) || !strings.HasPrefix(got.Estimated, "about ") {
		t.Errorf("expected finish %v, %q", got.ExpectedFinish, got.Estimated)
	}
	if got.Transfers == nil || *got.Transfers != 1 || !strings.Contains(a.text, `"estimated_payout":"3134.56"`) || len(got.NextSteps) != 4 {
		t.Errorf("answered %s", a.text)
	}
	if a.header.Get("Location") != "/api/job-status/"+c.ID {
		t.Errorf("Location %q", a.header.Get("Location"))
	}
	if c.RelationshipID != bank || c.Fingerprint == "" || c.UserID != "u-1" || c.Email != "jo@example.com" || c.Cause != "moving abroad" || c.Priority != closure.Urgent || c.Actor != "api:shop" {
		t.Errorf("the row is %+v", c)
	}
	if len(b.scheduled) != 1 || b.scheduled[0].ID != c.ID {
		t.Errorf("scheduled %+v", b.scheduled)
	}
	n, _, _, err := b.ledger.NextNotice(context.Background(), nil, time.Minute)
	must(t, err)
	if got.ExpectedFinish == nil || !n.Data.Expected.Truncate(time.Second).Equal(*got.ExpectedFinish) {
		t.Errorf("the letter expects it to finish %s, the answer says %v", n.Data.Expected, got.ExpectedFinish)
	}
	if log := b.log.String(); strings.Contains(log, "jo@example.com") || strings.Contains(log, secret) || strings.Contains(log, id) || !strings.Contains(log, `"account":"`+id[len(id)-6:]) ||
		!strings.Contains(log, `"route":"/api/account-closure/initiate/:account_id"`) || !strings.Contains(log, `"key":"shop"`) {
		t.Errorf("the log is %s", log)
	}
}

func TestInitiateTwice(t *testing.T) {
	b := newBench(t)
	id, bank := b.account(sim.Spec{})
	first := b.accepted(id, bank)

	// The same wish is answered even while the broker is away.
	must(t, b.sim.Chaos(sim.Chaos{Rules: []sim.Rule{{Fault: sim.FaultError, Status: 503}}}))
	same := func(state string) {
		t.Helper()
		a := b.initiate(id, wish(bank, `,"reason":"in other words"`))
		var got server.Initiated
		a.into(&got)
		if a.status != http.StatusOK || got.JobID != first.ID || got.Confirmation != first.Confirmation || string(got.State) != state {
			t.Errorf("answered %d %s", a.status, a.text)
		}
	}
	same("running")
	p := b.initiate(id, wish("11111111-2222-4333-8444-555555555555")).problem(409, "other_bank")
	if p.ClosureID != first.ID || p.Hint == "" {
		t.Errorf("the problem is %+v", p)
	}
	if n := b.rows(); n != 1 {
		t.Fatalf("%d closures", n)
	}

	// One that stopped is still open: a person may resume it.
	failed := b.look(first, closure.Fail(closure.BankGone, "the bank is gone"))
	same("failed")
	b.initiate(id, wish("11111111-2222-4333-8444-555555555555")).problem(409, "other_bank")

	// One that ended stands in nobody's way.
	_, err := b.ledger.Command(context.Background(), failed.ID, func(closure.Closure, []closure.Intent) (closure.Change, error) {
		return closure.Cancel(time.Now(), "test", "no more", false), nil
	})
	must(t, err)
	must(t, b.sim.Chaos(sim.Chaos{}))
	if next := b.accepted(id, bank); next.ID == first.ID || b.rows() != 2 {
		t.Errorf("the second closure is %s, %d rows", next.ID, b.rows())
	}
}

// TestInitiateRaces: whoever comes second inside the ledger is answered as one who comes later.
func TestInitiateRaces(t *testing.T) {
	for name, other := range map[string]bool{"same bank": false, "other bank": true} {
		t.Run(name, func(t *testing.T) {
			var b *bench
			var bank string
			b = newBench(t, func(o *server.Options) {
				o.Readiness = &meanwhile{Readiness: o.Readiness, do: func(account string) {
					w := ledger.Wish{AccountID: account, RelationshipID: bank, Actor: "somebody else"}
					if other {
						w.RelationshipID = "11111111-2222-4333-8444-555555555555"
					}
					_, created, err := b.ledger.Create(context.Background(), w)
					if err != nil || !created {
						t.Errorf("created %v, %v", created, err)
					}
				}}
			})
			var id string
			id, bank = b.account(sim.Spec{})
			a := b.initiate(id, wish(bank))
			if other {
				a.problem(409, "other_bank")
			} else if a.status != http.StatusOK {
				t.Errorf("answered %d %s", a.status, a.text)
			}
			if b.rows() != 1 {
				t.Errorf("%d closures", b.rows())
			}
		})
	}
}

func TestHundredInitiatesAreOneClosure(t *testing.T) {
	b := newBench(t)
	id, bank := b.account(sim.Spec{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	statuses, jobs := map[int]int{}, map[string]bool{}
	for range 100 {
		wg.Go(func() {
			a := b.initiate(id, wish(bank))
			var got server.Initiated
			a.into(&got)
			mu.Lock()
			defer mu.Unlock()
			statuses[a.status]++
			jobs[got.JobID] = true
		})
	}
	wg.Wait()
	if statuses[202] != 1 || statuses[200] != 99 || len(jobs) != 1 || b.rows() != 1 || len(b.scheduled) != 1 {
		t.Errorf("statuses %v, jobs %v, %d rows, %d visits", statuses, jobs, b.rows(), len(b.scheduled))
	}
}

func TestQueueDownIsNoObstacle(t *testing.T) {
	b := newBench(t)
	b.queueErr = errDown
	id, bank := b.account(sim.Spec{})
	b.accepted(id, bank)
	if !strings.Contains(b.log.String(), "connection refused") || !strings.Contains(b.log.String(), `"level":"warning"`) {
		t.Errorf("the log says nothing of it: %s", b.log)
	}
}

func TestInitiateLater(t *testing.T) {
	b := newBench(t)
	id, bank := b.account(sim.Spec{})
	start := time.Now().Add(30 * 24 * time.Hour).UTC().Truncate(time.Second)
	a := b.initiate(id, wish(bank, `,"not_before":"`+start.Format(time.RFC3339)+`"`))
	var got server.Initiated
	a.into(&got)
	if a.status != 202 || got.NotBefore == nil || !got.NotBefore.Equal(start) || !got.ExpectedFinish.After(start) {
		t.Errorf("answered %d %s", a.status, a.text)
	}
	if c := b.scheduled[0]; !c.DueAt.Equal(start) {
		t.Errorf("due at %s, want %s", c.DueAt, start)
	}
	past, bank := b.account(sim.Spec{})
	if c := b.accepted(past, bank, `,"not_before":"2001-01-01T00:00:00Z"`); !c.NotBefore.IsZero() {
		t.Errorf("not_before %s", c.NotBefore)
	}
}

// meanwhile lets something happen while the broker is read.
type meanwhile struct {
	server.Readiness
	do func(account string)
}
