package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"

	"closeout/alpaca"
	"closeout/alpaca/sim"
	"closeout/closure"
	"closeout/server"
)

var update = flag.Bool("update", false, "write testdata/openapi.json anew")

// TestOpenAPI keeps every change of the API in sight: the description is committed.
func TestOpenAPI(t *testing.T) {
	b := newBench(t)
	a := b.do("GET", "/openapi.json", "", "X-API-Key", "")
	if a.status != 200 {
		t.Fatalf("answered %d", a.status)
	}
	var got bytes.Buffer
	must(t, json.Indent(&got, []byte(a.text), "", "  "))
	got.WriteByte('\n')
	golden := filepath.Join("testdata", "openapi.json")
	if *update {
		must(t, os.MkdirAll("testdata", 0o755))
		must(t, os.WriteFile(golden, got.Bytes(), 0o644))
	}
	want, err := os.ReadFile(golden)
	must(t, err)
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("the API has changed: look at the difference and run go test ./server -run TestOpenAPI -update")
	}
}

func TestProgress(t *testing.T) {
	b := newBench(t)
	id, bank := b.account(sim.Spec{Email: "jo@example.com"})
	path := "/api/account-closure/progress/" + strings.ToUpper(id)
	b.do("GET", path, "").problem(404, "closure_not_found")
	get := func() (p server.Progress) {
		t.Helper()
		a := b.do("GET", path, "")
		if a.status != 200 {
			t.Fatalf("answered %d %s", a.status, a.text)
		}
		if strings.Contains(a.text, bank) {
			t.Errorf("the answer shows the bank: %s", a.text)
		}
		a.into(&p)
		return p
	}
	c := b.accepted(id, bank)
	p := get()
	if p.CurrentStep != "initiated" || p.Completed != 0 || p.Total != 4 || p.JobID != c.ID || p.Confirmation != c.Confirmation || p.State != closure.Running ||
		p.Details.AccountStatus != "pending_closure" || p.ExpectedFinish == nil || p.Waiting == nil || p.Waiting.Reason != closure.Accepted || p.Waiting.Until == nil {
		t.Errorf("accepted: %+v", p)
	}
	c = b.look(c, closure.Wait(0, closure.OrdersCanceling, "2 open orders must be gone"))
	if p = get(); p.CurrentStep != "canceling_orders" || p.Waiting.Why != "2 open orders must be gone" || p.Steps[0].State != "current" || p.Steps[1].State != "todo" {
		t.Errorf("canceling: %+v", p)
	}
	c = b.look(c, closure.Go(closure.Settlement, "sold"))
	c = b.look(c, closure.Go(closure.Withdrawal, "settled"))
	if p = get(); p.CurrentStep != "withdrawing_funds" || p.Completed != 2 || p.Steps[1].State != "done" || p.Steps[2].State != "current" {
		t.Errorf("withdrawing: %+v", p)
	}
	c = b.look(c, closure.Park(0, closure.TransfersBlocked, "transfers are blocked"))
	if p = get(); p.Waiting.Who != closure.Broker || p.Waiting.Hint == "" || p.ExpectedFinish != nil || p.Estimated != "not known: the broker must act first" {
		t.Errorf("blocked: %+v", p)
	}
	failed := b.look(c, closure.Fail(closure.BankGone, "the bank is gone"))
	if p = get(); p.CurrentStep != "failed" || p.Waiting.Until != nil || p.Waiting.Who != closure.Customer || p.Waiting.Hint == "" || p.Steps[2].State != "current" {
		t.Errorf("failed: %+v", p)
	}
	c, err := b.ledger.Command(context.Background(), failed.ID, func(closure.Closure, []closure.Intent) (closure.Change, error) {
		return closure.Resume(time.Now(), "test", "mended"), nil
	})
	must(t, err)
	c, err = b.ledger.Save(context.Background(), c, closure.Stumbled(time.Now(), "boom", 0, true), nil)
	must(t, err)
	if p = get(); p.Failures != 1 || p.LastError != "boom" || !strings.Contains(p.Waiting.Why, "boom") {
		t.Errorf("retrying: %+v", p)
	}
	c = b.look(c, closure.Go(closure.Closing, "paid"))
	b.look(c, closure.Done("closed"))
	if p = get(); p.CurrentStep != "completed" || p.Completed != 4 || p.Waiting != nil || p.FinishedAt == nil || p.Details.AccountStatus != "closed" || p.Steps[3].State != "done" || !strings.HasPrefix(p.Estimated, "closed on ") {
		t.Errorf("closed: %+v", p)
	}
}

func TestProgressShowsTheMoney(t *testing.T) {
	b := newBench(t)
	id, bank := b.account(sim.Spec{})
	ctx := context.Background()
	c := b.accepted(id, bank)
	usd := func(s string) decimal.NullDecimal { return decimal.NewNullDecimal(decimal.RequireFromString(s)) }
	claim := func(amount, day, brokerID, status string) {
		t.Helper()
		next, made, err := b.ledger.Claim(ctx, c, closure.Claimed(time.Now(), time.Now(), "pay", true), []closure.Intent{{
			Kind: closure.TransferIntent, Amount: usd(amount), RelationshipID: bank, BankingDay: day, Request: []byte(`{}`),
			ClaimedAt: time.Now(), Deadline: time.Now().Add(time.Minute),
		}}, closure.Event{Kind: "claim", At: time.Now(), Actor: closure.Worker})
		must(t, err)
		c = next
		if brokerID == "" {
			return
		}
		made[0].State, made[0].BrokerID, made[0].Finished = closure.IntentSent, brokerID, status
		_, _, err = b.ledger.Record(ctx, c, made[0], closure.Event{Kind: "answer", At: time.Now(), Actor: closure.Worker})
		must(t, err)
		c, err = b.ledger.Get(ctx, c.ID)
		must(t, err)
	}
	claim("1000", "2026-03-02", "t1", "COMPLETE")
	claim("200.5", "2026-03-03", "t2", "SENT_TO_CLEARING")
	claim("30", "2026-03-04", "", "")
	a := b.do("GET", "/api/account-closure/progress/"+id, "")
	if want := `"money":{"sold":"0.00","paid":"1000.00","in_flight":"200.50","unconfirmed":"30.00"}`; !strings.Contains(a.text, want) {
		t.Errorf("answered %s, want %s", a.text, want)
	}
}

func TestJobStatus(t *testing.T) {
	b := newBench(t)
	id, bank := b.account(sim.Spec{})
	b.do("GET", "/api/job-status/99999999-2222-4333-8444-555555555555", "").problem(404, "job_not_found")
	b.do("GET", "/api/job-status/42", "").problem(422, "invalid_request")
	c := b.accepted(id, bank, `,"priority":"bulk"`)
	get := func() (j server.Job, text string) {
		t.Helper()
		a := b.do("GET", "/api/job-status/"+strings.ToUpper(c.ID), "")
		if a.status != 200 || strings.Contains(a.text, bank) {
			t.Fatalf("answered %d %s", a.status, a.text)
		}
		a.into(&j)
		return j, a.text
	}
	j, text := get()
	if j.ID != c.ID || j.Queue != "account_closure_bulk" || j.Task != "automated_account_closure" || !slices.Equal(j.Args, []string{id}) || j.Status != "PENDING" || j.MaxRetries != 3 {
		t.Errorf("pending: %+v", j)
	}
	for _, want := range []string{`"kwargs":{}`, `"started_at":null`, `"error_message":null`, `"result":null`} {
		if !strings.Contains(text, want) {
			t.Errorf("%s lacks %s", text, want)
		}
	}
	c, err := b.ledger.Save(context.Background(), c, closure.Stumbled(time.Now(), "boom", 0, true), nil)
	must(t, err)
	if j, _ = get(); j.Status != "RETRYING" || j.Retries != 1 || j.Error == nil || *j.Error != "boom" || j.StartedAt == nil {
		t.Errorf("retrying: %+v", j)
	}
	c = b.look(c, closure.Fail(closure.NegativeCash, "the account owes $5"))
	if j, _ = get(); j.Status != "FAILED" || j.FailedAt == nil || *j.Error != "the account owes $5" {
		t.Errorf("failed: %+v", j)
	}
	c, err = b.ledger.Command(context.Background(), c.ID, func(closure.Closure, []closure.Intent) (closure.Change, error) {
		return closure.Resume(time.Now(), "test", "paid in"), nil
	})
	must(t, err)
	c = b.look(c, closure.Done("closed by somebody else"))
	if j, text = get(); j.Status != "COMPLETED" || j.CompletedAt == nil || j.Result == nil || j.Result.Confirmation != c.Confirmation || !strings.Contains(text, `"paid":"0.00"`) {
		t.Errorf("completed: %s", text)
	}
}

func TestCheckReadiness(t *testing.T) {
	b := newBench(t)
	id, bank := b.account(sim.Spec{TransfersBlocked: true})
	a := b.do("GET", "/api/account-closure/check-readiness/"+id, "")
	for _, want := range []string{`"ready":true`, `"account_status":"ACTIVE"`, `"cash_balance":"1234.56"`, `"transfers":1`, `"code":"transfers_blocked"`, `"who_must_act":"broker"`, `"id":"` + bank + `"`, `"expected_finish":"`} {
		if a.status != 200 || !strings.Contains(a.text, want) {
			t.Errorf("answered %d %s, want %s", a.status, a.text, want)
		}
	}
	a = b.do("GET", "/api/account-closure/check-readiness/"+id+"?ach_relationship_id=99999999-2222-4333-8444-555555555555", "")
	if !strings.Contains(a.text, `"ready":false`) || !strings.Contains(a.text, `"code":"bank_unknown"`) {
		t.Errorf("answered %s", a.text)
	}
	b.do("GET", "/api/account-closure/check-readiness/99999999-2222-4333-8444-555555555555", "").problem(404, "account_not_found")
	b.untouched(id)
}

func TestEverywhereProblems(t *testing.T) {
	b := newBench(t)
	id, _ := b.account(sim.Spec{})
	b.do("GET", "/nothing/here", "").problem(404, "route_not_found")
	b.do("GET", "/monitoring", "").problem(404, "route_not_found")
	b.do("GET", "/api/nothing", "").problem(404, "route_not_found")
	b.do("GET", "/api/nothing", "", "X-API-Key", "").problem(401, "no_key")
	b.do("GET", "/api/account-closure/progress/"+id+"/", "").problem(404, "route_not_found")
	a := b.do("GET", "/api/account-closure/initiate/"+id, "")
	a.problem(405, "method_not_allowed")
	if a.header.Get("Allow") != "POST" {
		t.Errorf("Allow %q", a.header.Get("Allow"))
	}
	if a := b.do("HEAD", "/nothing", ""); a.status != 404 || a.text != "" {
		t.Errorf("HEAD answered %d %q", a.status, a.text)
	}
}

func TestRequestIDs(t *testing.T) {
	b := newBench(t)
	if got := b.do("GET", "/health", "", "X-Request-ID", "trace-1.2_3").header.Get("X-Request-ID"); got != "trace-1.2_3" {
		t.Errorf("a sane id became %q", got)
	}
	// The last ones are sane, and the log would mask them: whoever quotes one could not be helped.
	for _, bad := range []string{"", "a b", "x\ny", strings.Repeat("x", 65), `{"a":1}`, "4bf92f3577b34da6a3ce929d0e0e4736", "req.1234567", "123-45-6789"} {
		got := b.do("GET", "/health", "", "X-Request-ID", bad).header.Get("X-Request-ID")
		if got == bad || len(got) < 16 || alpaca.Redact(got) != got {
			t.Errorf("%q became %q", bad, got)
		}
	}
	const uuid = "7a7a9695-c398-4eb1-af81-22075f2aa6c1"
	if got := b.do("GET", "/health", "", "X-Request-ID", uuid).header.Get("X-Request-ID"); got != uuid {
		t.Errorf("a UUID became %q", got)
	}
}

func TestHealth(t *testing.T) {
	b := newBench(t)
	for _, path := range []string{"/health", "/ready"} {
		a := b.do("GET", path, "", "X-API-Key", "")
		if a.status != 200 || !strings.Contains(a.text, `"version":"test"`) {
			t.Errorf("%s answered %d %s", path, a.status, a.text)
		}
	}
	b.health = map[string]error{"redis": errDown, "mail": nil}
	a := b.do("GET", "/ready", "", "X-API-Key", "")
	if a.status != 200 || !strings.Contains(a.text, `"checked":["ledger","mail"]`) || !strings.Contains(a.text, `"without":["redis"]`) || strings.Contains(a.text, "10.0.0.7") {
		t.Errorf("without Redis it answered %d %s", a.status, a.text)
	}
	must(t, b.ledger.Close())
	a = b.do("GET", "/ready", "", "X-API-Key", "")
	p := a.problem(503, "not_ready")
	if len(p.Errors) != 1 || p.Errors[0].Location != "ledger" || !strings.Contains(p.Detail, "ledger") || !strings.Contains(b.log.String(), "ledger: ") {
		t.Errorf("answered %s, logged %s", a.text, b.log)
	}
	if a := b.do("GET", "/health", "", "X-API-Key", ""); a.status != 200 {
		t.Errorf("/health answered %d while the ledger is down", a.status)
	}
}

func TestPanic(t *testing.T) {
	b := newBench(t, func(o *server.Options) {
		o.Console = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("kaboom") })
		o.Readiness = &meanwhile{Readiness: o.Readiness, do: func(string) { panic("kaboom") }}
	})
	id, bank := b.account(sim.Spec{})
	for _, a := range []answer{b.do("GET", "/a/page", ""), b.initiate(id, wish(bank))} {
		p := a.problem(500, "internal")
		if strings.Contains(a.text, "kaboom") || !strings.Contains(b.log.String(), `"error":"panic: kaboom"`) || !strings.Contains(b.log.String(), p.RequestID) {
			t.Errorf("answered %s, logged %s", a.text, b.log)
		}
	}
	b.untouched(id)
}

func TestHeaders(t *testing.T) {
	b := newBench(t)
	for _, path := range []string{"/health", "/nothing", "/api/nothing", "/openapi.json"} {
		h := b.do("GET", path, "").header
		if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("X-Frame-Options") != "DENY" || !strings.HasPrefix(h.Get("Content-Security-Policy"), "default-src 'none'") || h.Get("X-Request-ID") == "" {
			t.Errorf("%s: %v", path, h)
		}
	}
}
