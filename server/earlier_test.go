package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"

	"closeout/alpaca/sim"
	"closeout/closure"
	"closeout/server"
)

// keys are the names of an object's fields.
func (a answer) keys(within ...string) []string {
	a.tb.Helper()
	var v map[string]any
	a.into(&v)
	for _, name := range within {
		v, _ = v[name].(map[string]any)
	}
	return slices.Sorted(maps.Keys(v))
}

func (a answer) has(names ...string) {
	a.tb.Helper()
	got := a.keys()
	for _, name := range names {
		if !slices.Contains(got, name) {
			a.tb.Errorf("the answer lacks %s: %s", name, a.text)
		}
	}
}

// address is an earlier path with an account and a transfer in it.
func address(e server.EarlierPath, account, other string) string {
	return strings.NewReplacer("{account_id}", account, "{transfer_id}", other, "{job_id}", other).Replace(e.Path)
}

// Each address of the earlier system wants a key, says that it is old, and where to go; those that are gone say so.
func TestEarlierPaths(t *testing.T) {
	b := newBench(t)
	for _, e := range server.EarlierPaths {
		id, bank := b.account(sim.Spec{})
		c := b.accepted(id, bank)
		body := ""
		if strings.Contains(e.Path, "initiate") {
			body = wish(bank)
		}
		at := address(e, id, c.ID)
		b.do(e.Method, at, body, "X-API-Key", "").problem(401, "no_key")
		b.do(e.Method, at, body, "X-API-Key", "wrong").problem(401, "wrong_key")
		a := b.do(e.Method, at, body)
		_, now, _ := strings.Cut(e.Now, " ")
		link := "<" + strings.ReplaceAll(now, "{account_id}", id) + `>; rel="successor-version"`
		if !strings.Contains(e.Path, "{account_id}") && strings.Contains(now, "{") {
			link = ""
		}
		switch moved := e.Path != now; {
		case moved && (a.header.Get("Deprecation") != "@1795564800" || a.header.Get("Link") != link):
			t.Errorf("%s: Deprecation %q, Link %q, want %q", at, a.header.Get("Deprecation"), a.header.Get("Link"), link)
		case !moved && a.header.Get("Deprecation") != "":
			t.Errorf("%s is deprecated for itself", at)
		}
		if e.Gone() {
			if p := a.problem(410, "gone"); !strings.Contains(p.Hint, e.Now) || p.Detail == "" {
				t.Errorf("%s: %q, hint %q", at, p.Detail, p.Hint)
			}
			continue
		}
		if want := 404; strings.Contains(e.Path, "withdrawal-status") && a.status == want {
			continue
		}
		if a.status/100 != 2 {
			t.Errorf("%s answers %d %s", at, a.status, a.text)
		}
		if !strings.Contains(e.Path, "{") || strings.Contains(e.Path, "job") {
			continue
		}
		if strings.Contains(e.Path, "initiate") || strings.Contains(e.Path, "check-readiness") {
			continue
		}
		none, _ := b.account(sim.Spec{})
		if a := b.do(e.Method, address(e, none, c.ID), ""); a.status != 404 {
			t.Errorf("%s of an account without a closure: %d %s", e.Path, a.status, a.text)
		}
	}
	if a := b.do("GET", "/account-closure/nothing", "", "X-API-Key", ""); a.status != 401 {
		t.Errorf("an address below it is open: %d", a.status)
	}
}

// Whoever has a key is told that an address is old, whatever else the answer is: one that is kept, or a refusal.
func TestEveryAnswerOfAnEarlierAddressSaysSo(t *testing.T) {
	b := newBench(t)
	id, bank := b.account(sim.Spec{})
	at, reader := "/account-closure/initiate/"+id, b.key("reader", server.ScopeRead)
	for _, tt := range []struct {
		name, key, body, once string
		status                int
	}{
		{"accepted", secret, wish(bank), "1", 202},
		{"kept", secret, wish(bank), "1", 202},
		{"another body", secret, wish(bank, " "), "1", 422},
		{"a wrong scope", reader, wish(bank), "2", 403},
		{"a body too large", secret, strings.Repeat(" ", 1<<20), "3", 413},
	} {
		a := b.do("POST", at, tt.body, "X-API-Key", tt.key, "Idempotency-Key", tt.once)
		if a.status != tt.status || a.header.Get("Deprecation") == "" || !strings.Contains(a.header.Get("Link"), "/api"+at) {
			t.Errorf("%s: %d, %v", tt.name, a.status, a.header)
		}
	}
	if a := b.do("POST", at, wish(bank), "X-API-Key", "wrong"); a.status != 401 || a.header.Get("Deprecation") != "" {
		t.Errorf("without a key one learns that the address is old: %d, %v", a.status, a.header)
	}
}

func TestEarlierShapes(t *testing.T) {
	b := newBench(t)
	id, bank := b.account(sim.Spec{Cash: decimal.NewFromInt(900)})
	a := b.do("POST", "/account-closure/initiate/"+id, wish(bank))
	if a.status != 202 {
		t.Fatalf("%d %s", a.status, a.text)
	}
	a.has("success", "message", "confirmation_number", "status", "estimated_completion", "next_steps", "job_id")
	b.do("POST", "/account-closure/initiate/"+id, `{"ach_relationship_id":"`+bank+`"}`).problem(422, "not_confirmed")

	a = b.do("GET", "/api/account-closure/progress/"+id, "")
	a.has("account_id", "current_step", "steps_completed", "total_steps", "status_details", "estimated_completion", "last_updated", "confirmation_number", "initiated_at", "closure_details")
	if got := a.keys("status_details"); !slices.Equal(got, []string{"account_status", "cash_balance", "open_orders", "open_positions", "ready_for_next_step", "text"}) {
		t.Errorf("status_details: %v", got)
	}
	if !strings.Contains(a.text, `"cash_balance":null`) {
		t.Errorf("what was not asked is not null: %s", a.text)
	}
	a = b.do("GET", "/account-closure/check-readiness/"+id, "")
	a.has("ready", "account_status", "positions_count", "orders_count", "cash_balance")
	a = b.do("GET", "/account-closure/status/"+id, "")
	a.has("account_id", "status", "timestamp")
	if got := strings.Join(a.keys("status"), " "); got != "account_id account_status can_retry cash_balance cash_withdrawable current_step next_action open_orders open_positions ready_for_next_step" {
		t.Errorf("status: %s", got)
	}
	a = b.do("GET", "/account-closure/task-status/"+id, "")
	if a.has("account_id", "task_status", "timestamp"); !strings.Contains(a.text, `"active":true`) {
		t.Errorf("task-status: %s", a.text)
	}
	a = b.do("GET", "/account-closure/all-active-tasks", "")
	if a.has("active_tasks", "total_active", "timestamp"); !slices.Equal(a.keys("active_tasks"), []string{id}) {
		t.Errorf("all-active-tasks: %s", a.text)
	}
	b.do("GET", "/api/health", "").has("status")

	c, err := b.ledger.OfAccount(context.Background(), id)
	must(t, err)
	c, i := b.claim(c, bank, 0)
	i.State, i.BrokerID = closure.IntentSent, "5d8be24b-2c50-4f15-9a7d-8a4ff3cb0b7e"
	_, _, err = b.ledger.Record(context.Background(), c, i, closure.Event{Kind: "answer", At: time.Now(), Actor: closure.Worker})
	must(t, err)
	a = b.do("GET", "/account-closure/withdrawal-status/"+id+"/"+i.BrokerID, "")
	if a.has("transfer_id", "direction", "status", "transfer_status", "transfer_completed", "amount", "created_at", "updated_at"); !strings.Contains(a.text, `"amount":"900.00"`) {
		t.Errorf("withdrawal-status: %s", a.text)
	}
	b.do("POST", "/account-closure/cancel-task/"+id, "").problem(409, "past_no_return")
	c, err = b.ledger.Get(context.Background(), c.ID)
	must(t, err)
	b.look(c, closure.Fail(closure.TransferFailed, "rejected"))
	b.do("POST", "/account-closure/resume/"+id, `{"ach_relationship_id":"5d8be24b-2c50-4f15-9a7d-8a4ff3cb0b7e"}`).problem(409, "other_bank")
	a = b.do("POST", "/account-closure/resume/"+id, `{"ach_relationship_id":"`+bank+`","more":1}`)
	if a.has("success", "step", "action_taken", "status"); a.status != 200 || !strings.Contains(a.text, `"current_step":"withdrawing_funds"`) && !strings.Contains(a.text, `"current_step"`) {
		t.Errorf("resume: %d %s", a.status, a.text)
	}
	if _, last := b.events(c.ID); !strings.HasPrefix(last, "api:shop: asked under an address of the earlier system") {
		t.Errorf("its event: %q", last)
	}
	other, bank2 := b.account(sim.Spec{})
	b.accepted(other, bank2)
	a = b.do("POST", "/account-closure/cancel-task/"+other, "", "Idempotency-Key", "k1")
	a.has("success", "message", "account_id", "timestamp")
	if again := b.do("POST", "/account-closure/cancel-task/"+other, "", "Idempotency-Key", "k1"); again.text != a.text {
		t.Errorf("the same key: %s after %s", again.text, a.text)
	}
}

// TestEarlierPathsAreWrittenDown: docs/earlier-system-paths.md has the table of the source.
func TestEarlierPathsAreWrittenDown(t *testing.T) {
	var want bytes.Buffer
	want.WriteString("# The earlier system's addresses\n\nOld clients keep working under the addresses that the specification names, and under those of the running system that mean\n" +
		"something here. What is gone answers 410 with the address that does it now. Each answer under an old address carries\n" +
		"`Deprecation` and `Link: <the new address>; rel=\"successor-version\"`. All of them want a key in `X-API-Key`, with the scope of the\n" +
		"new address.\n\nThis table is the source's (`server/earlier.go`); `go test ./server -run TestEarlierPathsAreWrittenDown -update` writes it.\n\n" +
		"| Old address | Answers | Now | |\n|---|---|---|---|\n")
	for _, e := range server.EarlierPaths {
		how := "as before"
		switch _, now, _ := strings.Cut(e.Now, " "); {
		case e.Gone():
			how = "410"
		case now != e.Path:
			how = "works"
		}
		fmt.Fprintf(&want, "| `%s %s` | %s | `%s` | %s |\n", e.Method, e.Path, how, e.Now, e.Does)
	}
	path := filepath.Join("..", "docs", "earlier-system-paths.md")
	if *update {
		must(t, os.WriteFile(path, want.Bytes(), 0o644))
	}
	got, err := os.ReadFile(path)
	must(t, err)
	if !bytes.Equal(got, want.Bytes()) {
		t.Error("docs/earlier-system-paths.md differs from server/earlier.go: run this test with -update")
	}
	var described struct{ Paths map[string]map[string]any }
	b := newBench(t)
	must(t, json.Unmarshal([]byte(b.do("GET", "/openapi.json", "").text), &described))
	for _, e := range server.EarlierPaths {
		method, now, _ := strings.Cut(e.Now, " ")
		if described.Paths[now][strings.ToLower(method)] == nil && now != "/api/account-closure" { // the list
			t.Errorf("%s leads to %s, which is not there", e.Path, e.Now)
		}
	}
}
