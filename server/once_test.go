package server_test

import (
	"context"
	"database/sql"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"closeout/alpaca/sim"
	"closeout/closure"
	"closeout/server"
)

// tamper changes rows of the ledger's file.
func (b *bench) tamper(query string, args ...any) {
	b.tb.Helper()
	db, err := sql.Open("sqlite", "file:"+b.path+"?_pragma=busy_timeout(5000)&_time_format=sqlite")
	must(b.tb, err)
	defer func() { _ = db.Close() }()
	_, err = db.Exec(query, args...)
	must(b.tb, err)
}

// same demands that an answer is another one's replay.
func (a answer) same(first answer) {
	a.tb.Helper()
	if a.status != first.status || a.text != first.text || a.header.Get("Location") != first.header.Get("Location") || a.header.Get("Content-Type") != first.header.Get("Content-Type") {
		a.tb.Errorf("answered %d %q %s, at first %d %q %s", a.status, a.header.Get("Location"), a.text, first.status, first.header.Get("Location"), first.text)
	}
	if a.header.Get("Idempotent-Replayed") != "true" || first.header.Get("Idempotent-Replayed") != "" {
		a.tb.Errorf("replayed: %q, at first %q", a.header.Get("Idempotent-Replayed"), first.header.Get("Idempotent-Replayed"))
	}
	if a.header.Get("X-Request-ID") == first.header.Get("X-Request-ID") {
		a.tb.Error("two requests have one id")
	}
}

func TestTheSameKeyIsTheSameAnswer(t *testing.T) {
	b := newBench(t)
	id, bank := b.account(sim.Spec{})
	path := "/api/account-closure/initiate/" + id
	ask := func(body string, more ...string) answer {
		t.Helper()
		return b.do("POST", path, body, append([]string{"Idempotency-Key", "k-1"}, more...)...)
	}
	first := ask(wish(bank))
	if first.status != http.StatusAccepted || first.header.Get("Location") == "" {
		t.Fatalf("answered %d %s", first.status, first.text)
	}
	plain := b.initiate(id, wish(bank))
	if plain.status != http.StatusOK || plain.header.Get("Content-Type") != first.header.Get("Content-Type") {
		t.Errorf("without a key: %d %s", plain.status, plain.text)
	}

	// Whatever has become of the broker and the closure meanwhile.
	must(t, b.sim.Chaos(sim.Chaos{Rules: []sim.Rule{{Fault: sim.FaultError, Status: 503}}}))
	c, err := b.ledger.OfAccount(t.Context(), id)
	must(t, err)
	b.look(c, closure.Done("closed"))
	ask(wish(bank)).same(first)
	if len(b.scheduled) != 1 || b.rows() != 1 {
		t.Errorf("%d visits, %d closures", len(b.scheduled), b.rows())
	}

	ask(wish(bank, `,"reason":"another"`)).problem(422, "idempotency_key_reused")
	b.do("POST", path+"?x=1", wish(bank), "Idempotency-Key", "k-1").problem(422, "idempotency_key_reused")
	must(t, b.sim.Chaos(sim.Chaos{}))
	other, bank2 := b.account(sim.Spec{})
	b.do("POST", "/api/account-closure/initiate/"+other, wish(bank2), "Idempotency-Key", "k-1").problem(422, "idempotency_key_reused")
	if a := b.do("POST", "/api/account-closure/initiate/"+other, wish(bank2), "Idempotency-Key", "k-1", "X-API-Key", "other-"+secret); a.status != http.StatusAccepted {
		t.Errorf("another client's key of the same name: %d %s", a.status, a.text)
	}
	for _, bad := range []string{" ", "a b", "ü", strings.Repeat("x", 256)} {
		b.do("POST", path, wish(bank), "Idempotency-Key", bad).problem(422, "idempotency_key_invalid")
	}
	if a := b.do("GET", "/api/account-closure/progress/"+id, "", "Idempotency-Key", "k-1"); a.status != http.StatusOK {
		t.Errorf("a GET with a key: %d", a.status)
	}
	if log := b.log.String(); strings.Contains(log, "k-1") {
		t.Errorf("the log tells the key: %s", log)
	}
}

// TestAnAnswerThatChangedNothingIsKeptToo: it is the answer to that key, whatever happens later.
func TestAnAnswerThatChangedNothingIsKeptToo(t *testing.T) {
	b := newBench(t)
	id, bank := b.account(sim.Spec{})
	c := b.accepted(id, bank)
	ask := func() answer {
		return b.do("POST", "/api/account-closure/initiate/"+id, wish(bank), "Idempotency-Key", "k")
	}
	first := ask()
	if first.status != http.StatusOK {
		t.Fatalf("answered %d %s", first.status, first.text)
	}
	b.look(c, closure.Fail(closure.BankGone, "the bank is gone"))
	ask().same(first)
}

// TestARefusalIsNotKept: it has changed nothing, and the same key may ask again, also for something else.
func TestARefusalIsNotKept(t *testing.T) {
	b := newBench(t)
	id, bank := b.account(sim.Spec{})
	ask := func(body string) answer {
		return b.do("POST", "/api/account-closure/initiate/"+id, body, "Idempotency-Key", "k")
	}
	ask(`{`).problem(400, "malformed_body")
	ask(`{"ach_relationship_id":"`+bank+`"}`).problem(422, "not_confirmed")
	must(t, b.sim.Chaos(sim.Chaos{Rules: []sim.Rule{{Fault: sim.FaultError, Status: 503}}}))
	ask(wish(bank)).problem(503, "broker_unreadable")
	must(t, b.sim.Chaos(sim.Chaos{}))
	if a := ask(wish(bank)); a.status != http.StatusAccepted || a.header.Get("Idempotent-Replayed") != "" {
		t.Errorf("answered %d %s", a.status, a.text)
	}
}

// TestWhileTheFirstIsAtWork: the second is told to come again, and nothing is done twice.
func TestWhileTheFirstIsAtWork(t *testing.T) {
	var b *bench
	var id, bank string
	var inside atomic.Bool
	ask := func() answer {
		return b.do("POST", "/api/account-closure/initiate/"+id, wish(bank), "Idempotency-Key", "k")
	}
	b = newBench(t, func(o *server.Options) {
		o.Readiness = &meanwhile{Readiness: o.Readiness, do: func(string) {
			if inside.CompareAndSwap(false, true) {
				if p := ask().problem(409, "idempotency_key_in_flight"); !p.Retryable || p.Hint == "" {
					t.Errorf("%+v", p)
				}
			}
		}}
	})
	id, bank = b.account(sim.Spec{})
	first := ask()
	if first.status != http.StatusAccepted {
		t.Fatalf("answered %d %s", first.status, first.text)
	}
	ask().same(first)
}

// TestAServerThatDied leaves a reservation whose lease ends. One that was only slow then changes nothing.
func TestAServerThatDied(t *testing.T) {
	var b *bench
	var id, bank string
	var second answer
	var inside atomic.Bool
	ask := func() answer {
		return b.do("POST", "/api/account-closure/initiate/"+id, wish(bank), "Idempotency-Key", "k")
	}
	b = newBench(t, func(o *server.Options) {
		o.Readiness = &meanwhile{Readiness: o.Readiness, do: func(string) {
			if inside.CompareAndSwap(false, true) {
				b.tamper("UPDATE idempotency_keys SET lease_until = $1", time.Now().UTC().Add(-time.Second))
				second = ask()
			}
		}}
	})
	id, bank = b.account(sim.Spec{})
	first := ask()
	if second.status != http.StatusAccepted || b.rows() != 1 {
		t.Fatalf("after the lease: %d %s, %d closures", second.status, second.text, b.rows())
	}
	if first.status == http.StatusAccepted {
		t.Errorf("the slow one was accepted too: %s", first.text)
	}
	ask().same(second)
}

// TestAPanicReleasesTheKey: what has changed nothing may be asked again.
func TestAPanicReleasesTheKey(t *testing.T) {
	var broken sync.Once
	b := newBench(t, func(o *server.Options) {
		o.Readiness = &meanwhile{Readiness: o.Readiness, do: func(string) { broken.Do(func() { panic("kaboom") }) }}
	})
	id, bank := b.account(sim.Spec{})
	ask := func() answer {
		return b.do("POST", "/api/account-closure/initiate/"+id, wish(bank), "Idempotency-Key", "k")
	}
	ask().problem(500, "internal")
	if a := ask(); a.status != http.StatusAccepted {
		t.Errorf("answered %d %s", a.status, a.text)
	}
}

// TestAHundredWithOneKey: one closure and one answer; who comes while it is at work is told so.
func TestAHundredWithOneKey(t *testing.T) {
	b := newBench(t)
	id, bank := b.account(sim.Spec{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	statuses, texts, fresh := map[int]int{}, map[string]bool{}, 0
	for range 100 {
		wg.Go(func() {
			a := b.do("POST", "/api/account-closure/initiate/"+id, wish(bank), "Idempotency-Key", "k")
			mu.Lock()
			defer mu.Unlock()
			statuses[a.status]++
			if a.status == http.StatusConflict {
				a.problem(409, "idempotency_key_in_flight")
				return
			}
			texts[a.text] = true
			if a.header.Get("Idempotent-Replayed") == "" {
				fresh++
			}
		})
	}
	wg.Wait()
	if statuses[202]+statuses[409] != 100 || statuses[202] < 1 || len(texts) != 1 || fresh != 1 || b.rows() != 1 || len(b.scheduled) != 1 {
		t.Errorf("statuses %v, %d answers, %d not replayed, %d rows, %d visits", statuses, len(texts), fresh, b.rows(), len(b.scheduled))
	}
	t.Logf("statuses %v", statuses)
}

// TestTheLedgerIsLostBetween: what can't be reserved is not begun, and a client that has gone is no reason to keep its key.
func TestTheLedgerIsLostBetween(t *testing.T) {
	b := newBench(t)
	id, bank := b.account(sim.Spec{})
	must(t, b.ledger.Close())
	b.do("POST", "/api/account-closure/initiate/"+id, wish(bank), "Idempotency-Key", "k").problem(503, "ledger_unavailable")

	var hangUp context.CancelFunc
	b = newBench(t, func(o *server.Options) {
		o.Readiness = &meanwhile{Readiness: o.Readiness, do: func(string) { hangUp() }}
	})
	id, bank = b.account(sim.Spec{})
	ctx, cancel := context.WithCancel(t.Context())
	hangUp = cancel
	b.with(ctx, "POST", "/api/account-closure/initiate/"+id, wish(bank), "Idempotency-Key", "k").problem(503, "ledger_unavailable")
	hangUp = func() {}
	if a := b.do("POST", "/api/account-closure/initiate/"+id, wish(bank), "Idempotency-Key", "k"); a.status != http.StatusAccepted {
		t.Errorf("after a client had gone: %d %s", a.status, a.text)
	}
}
