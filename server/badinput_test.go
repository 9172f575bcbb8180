package server_test

import (
	"context"
	"io"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"

	"closeout/alpaca/sim"
	"closeout/readiness"
	"closeout/server"
)

func (m *meanwhile) Check(ctx context.Context, account, relationship string) (readiness.Report, error) {
	r, err := m.Readiness.Check(ctx, account, relationship)
	m.do(account)
	return r, err
}

// TestBadInput: each is a problem with a stable code and the right status, and nothing is changed.
func TestBadInput(t *testing.T) {
	far := time.Now().Add(91 * 24 * time.Hour).Format(time.RFC3339)
	perpetual := []sim.PositionSpec{{Symbol: "BTC-PERP", Qty: decimal.NewFromInt(1), Price: decimal.NewFromInt(5), AssetClass: "crypto_perp"}}
	cases := []struct {
		name   string
		spec   sim.Spec
		id     string // instead of the account's
		body   func(bank string) string
		header []string
		status int
		code   string
		at     []string // the locations that errors must name
	}{
		{name: "unknown account", id: "99999999-2222-4333-8444-555555555555", status: 404, code: "account_not_found"},
		{name: "malformed id", id: "not-an-id", status: 422, code: "invalid_request", at: []string{"path.account_id"}},
		{name: "an id without dashes", id: "99999999222243338444555555555555", status: 422, code: "invalid_request", at: []string{"path.account_id"}},
		{name: "an id in braces", id: "%7B99999999-2222-4333-8444-555555555555%7D", status: 422, code: "invalid_request", at: []string{"path.account_id"}},
		{name: "an id with letters that are none", id: "9999999g-2222-4333-8444-555555555555", status: 422, code: "invalid_request", at: []string{"path.account_id"}},
		{name: "account not active", spec: sim.Spec{Status: "ACCOUNT_UPDATED"}, status: 409, code: "account_not_active"},
		{name: "account closed", spec: sim.Spec{Status: "ACCOUNT_CLOSED"}, status: 409, code: "account_closed"},
		{name: "an IRA", spec: sim.Spec{AccountType: "ira"}, status: 422, code: "account_type_unsupported"},
		{name: "rebalancing", spec: sim.Spec{Rebalancing: true}, status: 409, code: "rebalancing_subscription"},
		{name: "a minor's account", spec: sim.Spec{AccountType: "custodial"}, status: 422, code: "account_type_unsupported"},
		{name: "cash interest", spec: sim.Spec{CashInterest: "ACTIVE"}, status: 409, code: "cash_interest"},
		{name: "perpetuals", spec: sim.Spec{Positions: perpetual}, status: 409, code: "unsupported_asset"},
		{name: "negative cash", spec: sim.Spec{Cash: decimal.NewFromInt(-25)}, status: 409, code: "negative_cash"},
		{name: "nothing confirmed", body: func(bank string) string { return `{"ach_relationship_id":"` + bank + `"}` }, status: 422, code: "not_confirmed", at: []string{"body.confirm_liquidation", "body.confirm_irreversible"}},
		{name: "one not confirmed", body: func(bank string) string {
			return `{"ach_relationship_id":"` + bank + `","confirm_liquidation":true,"confirm_irreversible":false}`
		}, status: 422, code: "not_confirmed", at: []string{"body.confirm_irreversible"}},
		{name: "confirmed in words", body: func(bank string) string {
			return `{"ach_relationship_id":"` + bank + `","confirm_liquidation":"true","confirm_irreversible":true}`
		}, status: 422, code: "invalid_request", at: []string{"body.confirm_liquidation"}},
		{name: "confirmed in another case", body: func(bank string) string {
			return `{"ach_relationship_id":"` + bank + `","confirm_liquidation":true,"Confirm_Irreversible":true}`
		}, status: 422, code: "invalid_request"},
		{name: "confirmed with null", body: func(bank string) string {
			return `{"ach_relationship_id":"` + bank + `","confirm_liquidation":true,"confirm_irreversible":null}`
		}, status: 422, code: "not_confirmed", at: []string{"body.confirm_irreversible"}},
		{name: "a bank that isn't the account's", body: func(string) string { return wish("99999999-2222-4333-8444-555555555555") }, status: 422, code: "bank_unknown"},
		{name: "a bank not approved", spec: sim.Spec{ACH: "queued"}, status: 409, code: "bank_not_approved"},
		{name: "a malformed bank", body: func(string) string { return wish("42") }, status: 422, code: "invalid_request", at: []string{"body.ach_relationship_id"}},
		{name: "no bank", body: func(string) string { return `{"confirm_liquidation":true,"confirm_irreversible":true}` }, status: 422, code: "invalid_request"},
		{name: "unknown field", body: func(bank string) string { return wish(bank, `,"ach_relationship":"x"`) }, status: 422, code: "invalid_request", at: []string{"body.ach_relationship"}},
		{name: "unknown priority", body: func(bank string) string { return wish(bank, `,"priority":"now"`) }, status: 422, code: "invalid_request", at: []string{"body.priority"}},
		{name: "too far ahead", body: func(bank string) string { return wish(bank, `,"not_before":"`+far+`"`) }, status: 422, code: "invalid_request", at: []string{"body.not_before"}},
		{name: "no time", body: func(bank string) string { return wish(bank, `,"not_before":"tomorrow"`) }, status: 422, code: "invalid_request", at: []string{"body.not_before"}},
		{name: "no e-mail", body: func(bank string) string { return wish(bank, `,"email":"jo"`) }, status: 422, code: "invalid_request", at: []string{"body.email"}},
		{name: "a zero byte", body: func(bank string) string { return wish(bank, `,"reason":"a\u0000b"`) }, status: 422, code: "invalid_request", at: []string{"body.reason"}},
		{name: "a long reason", body: func(bank string) string { return wish(bank, `,"reason":"`+strings.Repeat("x", 501)+`"`) }, status: 422, code: "invalid_request", at: []string{"body.reason"}},
		{name: "over 64 KiB", body: func(bank string) string { return wish(bank, `,"reason":"`+strings.Repeat("x", 64<<10)+`"`) }, status: 413, code: "body_too_large"},
		{name: "no JSON", body: func(string) string { return `{"ach_relationship_id":` }, status: 400, code: "malformed_body"},
		{name: "a JSON list", body: func(string) string { return `[]` }, status: 422, code: "invalid_request"},
		{name: "a bank twice", body: func(bank string) string {
			return `{"ach_relationship_id":"99999999-2222-4333-8444-555555555555",` + strings.TrimPrefix(wish(bank), "{")
		}, status: 400, code: "malformed_body", at: []string{"body"}},
		{name: "no body", body: func(string) string { return "" }, status: 400, code: "malformed_body"},
		{name: "a form", header: []string{"Content-Type", "application/x-www-form-urlencoded"}, status: 415, code: "unsupported_media_type"},
		{name: "no key", header: []string{"X-API-Key", ""}, status: 401, code: "no_key"},
		{name: "wrong key", header: []string{"X-API-Key", secret + "x"}, status: 401, code: "wrong_key"},
		{name: "wrong bearer", header: []string{"X-API-Key", "", "Authorization", "Bearer nobody-knows-this-one"}, status: 401, code: "wrong_key"},
		{name: "basic is not for the API", header: []string{"X-API-Key", "", "Authorization", "Basic c2hvcDowMTIzNDU2Nzg5LXRlc3Qtc2VjcmV0"}, status: 401, code: "no_key"},
		{name: "the key of the demo", header: []string{"X-API-Key", "dev"}, status: 401, code: "wrong_key"},
		{name: "from a page of another site", header: []string{"Sec-Fetch-Site", "cross-site"}, status: 403, code: "cross_origin"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t)
			id, bank := b.account(tc.spec)
			body := wish(bank)
			if tc.body != nil {
				body = tc.body(bank)
			}
			if tc.id != "" {
				id = tc.id
			}
			a := b.do("POST", "/api/account-closure/initiate/"+id, body, tc.header...)
			p := a.problem(tc.status, tc.code)
			for _, at := range tc.at {
				found := false
				for _, f := range p.Errors {
					found = found || f.Location == at && f.Message != ""
				}
				if !found {
					t.Errorf("errors don't name %s: %+v", at, p.Errors)
				}
			}
			if strings.Contains(a.text, secret) || strings.Contains(a.text, "nobody-knows") || len(a.text) > 4<<10 {
				t.Errorf("the answer repeats what it should not: %s", a.text)
			}
			if log := b.log.String(); strings.Contains(log, secret) || strings.Contains(log, "nobody-knows") {
				t.Errorf("the log repeats what it should not: %s", log)
			}
			if tc.id == "" {
				b.untouched(id)
			} else if b.rows() != 0 {
				t.Error("a closure was written")
			}
		})
	}
}

// TestBodySizes: exactly 64 KiB is allowed; a byte more is not, whether or not its length is announced.
func TestBodySizes(t *testing.T) {
	for _, announced := range []bool{true, false} {
		b := newBench(t)
		id, bank := b.account(sim.Spec{})
		send := func(size int) answer {
			body := wish(bank)
			body += strings.Repeat(" ", size-len(body))
			r := httptest.NewRequest("POST", "/api/account-closure/initiate/"+id, strings.NewReader(body))
			if !announced {
				r = httptest.NewRequest("POST", "/api/account-closure/initiate/"+id, io.MultiReader(strings.NewReader(body)))
				r.ContentLength = -1
			}
			r.Header.Set("X-API-Key", secret)
			w := httptest.NewRecorder()
			b.handler.ServeHTTP(w, r)
			return answer{t, w.Code, w.Header(), w.Body.String()}
		}
		send(64<<10+1).problem(413, "body_too_large")
		b.untouched(id)
		if a := send(64 << 10); a.status != 202 {
			t.Errorf("64 KiB, announced %v: %d %s", announced, a.status, a.text)
		}
	}
}

func TestBrokerUnreadable(t *testing.T) {
	for name, rule := range map[string]sim.Rule{
		"all of it":      {Fault: sim.FaultError, Status: 500},
		"throttled":      {Fault: sim.FaultThrottle},
		"no connection":  {Fault: sim.FaultDrop},
		"key refused":    {Fault: sim.FaultError, Status: 401},
		"only positions": {Path: "positions", Fault: sim.FaultError, Status: 502},
		"only transfers": {Path: "transfers", Fault: sim.FaultError, Status: 404},
		"only the bank":  {Path: "ach_relationships", Fault: sim.FaultError, Status: 500},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			id, bank := b.account(sim.Spec{})
			must(t, b.sim.Chaos(sim.Chaos{Rules: []sim.Rule{rule}}))
			for _, a := range []answer{b.initiate(id, wish(bank)), b.do("GET", "/api/account-closure/check-readiness/"+id, "")} {
				p := a.problem(503, "broker_unreadable")
				if a.header.Get("Retry-After") != "30" || !p.Retryable {
					t.Errorf("Retry-After %q, %+v", a.header.Get("Retry-After"), p)
				}
				if strings.Contains(a.text, "/v1/") || strings.Contains(strings.ReplaceAll(a.text, p.RequestID, ""), "500") {
					t.Errorf("the answer shows its cause: %s", a.text)
				}
			}
			if !strings.Contains(b.log.String(), "cannot be read at the broker") {
				t.Errorf("the log hides the cause: %s", b.log)
			}
			b.untouched(id)
			must(t, b.sim.Chaos(sim.Chaos{}))
			b.accepted(id, bank)
		})
	}
}

func TestLedgerDown(t *testing.T) {
	b := newBench(t)
	id, bank := b.account(sim.Spec{})
	must(t, b.ledger.Close())
	for _, a := range []answer{
		b.initiate(id, wish(bank)),
		b.do("GET", "/api/account-closure/progress/"+id, ""),
		b.do("GET", "/api/job-status/"+id, ""),
	} {
		a.problem(503, "ledger_unavailable")
		if strings.Contains(a.text, "sql") || strings.Contains(a.text, "closed") {
			t.Errorf("the answer shows its cause: %s", a.text)
		}
	}
	p := b.do("GET", "/ready", "").problem(503, "not_ready")
	if len(p.Errors) != 1 || p.Errors[0].Location != "ledger" {
		t.Errorf("down: %+v", p.Errors)
	}
}

var _ server.Readiness = (*meanwhile)(nil)

// FuzzInitiate: whatever the body, the server answers, and never with a 5xx.
func FuzzInitiate(f *testing.F) {
	b := newBench(f)
	id, bank := b.account(sim.Spec{})
	for _, seed := range []string{
		wish(bank), wish(bank, `,"not_before":"2026-12-01T00:00:00Z"`), `{}`, `[]`, `null`, `"`, "", `{"ach_relationship_id":null}`,
		wish(bank, `,"priority":""`), wish(bank, `,"not_before":"9999-12-31T23:59:60Z"`), wish(bank, `,"email":"\ud800"`), "\xff", `{"a":{"a":{"a":[1e999]}}}`,
		wish(bank, `,"confirm_liquidation":false`), wish(bank, `,"not_before":"0000-01-01T00:00:00+23:59"`),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		r := httptest.NewRequest("POST", "/api/account-closure/initiate/"+id, strings.NewReader(body))
		r.Header.Set("X-API-Key", secret)
		w := httptest.NewRecorder()
		b.handler.ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Fatalf("answered %d %s", w.Code, w.Body)
		}
		if w.Code >= 400 && w.Header().Get("Content-Type") != "application/problem+json" {
			t.Fatalf("answered %d %s", w.Code, w.Header().Get("Content-Type"))
		}
	})
}
