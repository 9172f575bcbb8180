package alpaca_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/config"
	"github.com/shopspring/decimal"

	"closeout/alpaca"
	"closeout/alpaca/sim"
)

// description is Alpaca's own; it is kept outside this repository.
const description = "../../shared/alpaca/broker-openapi.yaml"

// used are the paths that the client asks or the simulator answers; the rest of the description is left out, since
// reading it takes longer than all that is tested here.
var used = []string{
	"/v1/accounts/{account_id}",
	"/v1/accounts/{account_id}/ach_relationships",
	"/v1/accounts/{account_id}/ach_relationships/{ach_relationship_id}",
	"/v1/accounts/{account_id}/actions/close",
	"/v1/accounts/{account_id}/transfers",
	"/v1/accounts/{account_id}/transfers/{transfer_id}",
	"/v1/accounts/activities",
	"/v1/assets/{symbol_or_asset_id}",
	"/v1/calendar",
	"/v1/clock",
	"/v1/rebalancing/subscriptions",
	"/v1/trading/accounts/{account_id}/account",
	"/v1/trading/accounts/{account_id}/orders",
	"/v1/trading/accounts/{account_id}/orders/{order_id}",
	"/v1/trading/accounts/{account_id}/orders:by_client_order_id",
	"/v1/trading/accounts/{account_id}/positions",
	"/v1/trading/accounts/{account_id}/positions/{symbol_or_asset_id}",
	"/v1/events/accounts/status",
	"/v2/events/funding/status",
	"/v2/events/trades",
}

// contract is a transport that holds what passes through it against the description.
type contract struct {
	tb   testing.TB
	next http.RoundTripper
	v    validator.Validator

	mu     sync.Mutex
	passed map[string]bool // "GET /v1/clock 200"
}

func newContract(t *testing.T, next http.RoundTripper) *contract {
	t.Helper()
	text, err := os.ReadFile(description)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("Alpaca's description is not at %s: the contract is not tested", description)
	}
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]any
	if err := yaml.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	paths := all["paths"].(map[string]any)
	for path := range paths {
		if !slices.Contains(used, path) {
			delete(paths, path)
		}
	}
	if len(paths) != len(used) {
		t.Fatalf("the description has only %d of %d paths", len(paths), len(used))
	}
	mend(all)
	if text, err = json.Marshal(all); err != nil {
		t.Fatal(err)
	}
	doc, err := libopenapi.NewDocument(text)
	if err != nil {
		t.Fatal(err)
	}
	v, errs := validator.NewValidator(doc, config.WithFormatAssertions())
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return &contract{tb: t, next: next, v: v, passed: map[string]bool{}}
}

// mend puts right where the description contradicts itself, and nothing else.
func mend(all map[string]any) {
	components := all["components"].(map[string]any)
	// An activity is one of two shapes whose fields are all optional, so that each fits both, and "one of" fits none.
	activity := components["schemas"].(map[string]any)["Activity"].(map[string]any)
	for _, part := range activity["allOf"].([]any) {
		if shape, ok := part.(map[string]any); ok && shape["oneOf"] != nil {
			shape["anyOf"] = shape["oneOf"]
			delete(shape, "oneOf")
		}
	}
	// What a stream's events are like stands under a content type that no validator reads.
	for path, operations := range all["paths"].(map[string]any) {
		if strings.Contains(path, "/events/") {
			content := operations.(map[string]any)["get"].(map[string]any)["responses"].(map[string]any)["200"].(map[string]any)["content"].(map[string]any)
			content["application/json"] = map[string]any{"schema": content["text/event-stream"].(map[string]any)["schema"]}
		}
	}
	// The kind of an entity has a format here that none of the kinds it lists could have.
	funding := components["schemas"].(map[string]any)["StatusFundingEvent"].(map[string]any)["properties"].(map[string]any)
	delete(funding["entity_type"].(map[string]any), "format")
	// A 403 to an order is text here, and an Error in its guides and in everything that was ever reported.
	forbidden := components["responses"].(map[string]any)["Forbidden"].(map[string]any)
	forbidden["content"].(map[string]any)["application/json"].(map[string]any)["schema"] = map[string]any{"$ref": "#/components/schemas/Error"}
}

// replay reads a stream to its end and holds each of its events against the description.
func (c *contract) replay(by http.RoundTripper, path string) {
	c.tb.Helper()
	r, err := http.NewRequestWithContext(c.tb.Context(), http.MethodGet, "https://broker-api.sandbox.alpaca.markets"+path, nil)
	if err != nil {
		c.tb.Fatal(err)
	}
	r.SetBasicAuth("key", "secret")
	resp, err := by.RoundTrip(r)
	if err != nil {
		c.tb.Fatal(err)
	}
	said, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	for line := range strings.Lines(string(said)) {
		event, ok := strings.CutPrefix(line, "data: ")
		if !ok {
			continue
		}
		was := *resp
		was.Header = http.Header{"Content-Type": {"application/json"}}
		was.Body = io.NopCloser(strings.NewReader("[" + event + "]"))
		if ok, faults := c.v.ValidateHttpRequestResponse(r, &was); !ok {
			for _, f := range faults {
				c.tb.Errorf("%s: %s: %s: %v\n%s", path, f.Message, f.Reason, f.SchemaValidationErrors, event)
			}
		}
		c.passed[fmt.Sprintf("GET %s %d", r.URL.Path, resp.StatusCode)] = true
	}
}

var ids = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

func (c *contract) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	resp, err := c.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	answer, _ := io.ReadAll(resp.Body)
	call := fmt.Sprintf("%s %s %d", r.Method, ids.ReplaceAllString(r.URL.Path, "{id}"), resp.StatusCode)

	c.mu.Lock()
	defer c.mu.Unlock()
	c.passed[call] = true
	again := r.Clone(r.Context())
	again.Body = io.NopCloser(bytes.NewReader(body))
	if ok, faults := c.v.ValidateHttpRequestSync(again); !ok && resp.StatusCode/100 == 2 { // what is refused was asked wrongly on purpose
		for _, f := range faults {
			c.tb.Errorf("%s: request: %s: %s: %v", call, f.Message, f.Reason, f.SchemaValidationErrors)
		}
	}
	again.Body = io.NopCloser(bytes.NewReader(body))
	copied := *resp
	copied.Body = io.NopCloser(bytes.NewReader(answer))
	if ok, faults := c.v.ValidateHttpResponse(again, &copied); !ok {
		for _, f := range faults {
			if resp.StatusCode >= 400 && strings.Contains(f.Message, "response code") {
				continue // the description lists few errors; checked below
			}
			c.tb.Errorf("%s: response: %s: %s: %v\n%s", call, f.Message, f.Reason, f.SchemaValidationErrors, answer)
		}
	}
	if resp.StatusCode >= 400 {
		var e struct {
			Code    *int    `json:"code"`
			Message *string `json:"message"`
		}
		if err := json.Unmarshal(answer, &e); err != nil || e.Code == nil || e.Message == nil {
			c.tb.Errorf("%s: no Error: %s", call, answer)
		}
	}
	for _, name := range []string{"X-Request-ID", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "Date"} {
		if resp.Header.Get(name) == "" {
			c.tb.Errorf("%s: no %s", call, name)
		}
	}
	resp.Body = io.NopCloser(bytes.NewReader(answer))
	return resp, nil
}

// TestContractWithAlpacasDescription lives a life in which every call of the client, and every other path that the
// simulator knows, is made, well and badly.
func TestContractWithAlpacasDescription(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 20, 16, 0, 0, 0, time.UTC) // a Friday, the market open
	s, err := sim.Open(sim.Options{Now: func() time.Time { return now }, Key: "key", Secret: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	c := newContract(t, s.Transport())
	client := open(t, c, "secret")
	d := decimal.RequireFromString
	id, err := s.AddAccount(sim.Spec{
		Cash: d("137512.43"), DailyLimit: d("60000"), Rebalancing: true,
		Positions: []sim.PositionSpec{{Symbol: "AAPL", Qty: d("10"), Price: d("200.5")}, {Symbol: "VTI", Qty: d("1.5"), Price: d("3")}, {Symbol: "SHRT", Qty: d("-1"), Price: d("3")}},
		Orders:    []sim.OrderSpec{{Symbol: "AAPL", Qty: d("4"), Side: "buy", Class: "bracket"}, {Symbol: "VTI", Qty: d("1"), Class: "oco"}, {Symbol: "MSFT", Qty: d("1"), Side: "buy"}},
		Events: []sim.Event{
			{Type: "dividend", Amount: d("1.5"), Symbol: "AAPL"},
			{Type: "deposit", Amount: d("9"), Status: "COMPLETE"},
			{Type: "fee", Amount: d("1")},
			{Type: "block", What: "trading", For: sim.Duration(time.Millisecond)},
			{Type: "rebalancing", Status: "off", After: sim.Duration(time.Second)},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	read := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	raw := func(method, path, body string, status int) {
		t.Helper()
		a := send(t, client, alpaca.Write{Method: method, Path: path, Body: json.RawMessage(body)})
		if a.Status != status {
			t.Errorf("%s %s: %d %v, want %d", method, path, a.Status, a.Err, status)
		}
	}
	readAll := func() {
		t.Helper()
		ctx := t.Context()
		_, err := client.Account(ctx, id)
		read("account", err)
		_, err = client.TradingAccount(ctx, id)
		read("trading account", err)
		_, err = client.Positions(ctx, id)
		read("positions", err)
		_, err = client.OpenOrders(ctx, id)
		read("orders", err)
		_, err = client.Transfers(ctx, id)
		read("transfers", err)
		_, err = client.Activities(ctx, id, now.AddDate(0, 0, -30))
		read("activities", err)
		_, err = client.Relationships(ctx, id)
		read("relationships", err)
		_, err = client.Subscribed(ctx, id)
		read("subscriptions", err)
		_, err = client.Clock(ctx)
		read("clock", err)
		days, err := client.Calendar(ctx, "2026-11-20", "2026-12-01")
		read("calendar", err)
		if len(days) != 7 || days[0].Date != "2026-11-20" || days[6].Date != "2026-12-01" {
			t.Errorf("calendar: %v", days)
		}
		raw("GET", "/v1/trading/accounts/"+id+"/orders?status=all&limit=500", "", 200)
		raw("GET", "/v1/accounts/activities?account_id="+id, "", 200)
	}
	account, trading, nobody := "/v1/accounts/"+id, "/v1/trading/accounts/"+id, "3dcb795c-3ccc-402a-abb9-07e26a1b1326"

	readAll()
	raw("GET", "/v1/rebalancing/subscriptions?account_id="+id, "", 200)
	raw("POST", trading+"/orders", string(alpaca.CloseOrder(id, alpaca.Position{Symbol: "AAPL"}, d("1"), "x").Body), 403)
	now = now.Add(time.Minute)
	orders, err := client.OpenOrders(t.Context(), id)
	if err != nil || len(orders) != 3 {
		t.Fatalf("orders: %v, %v", orders, err)
	}
	for _, o := range orders {
		raw("DELETE", trading+"/orders/"+o.Live()[0].ID, "", 204)
		raw("DELETE", trading+"/orders/"+o.Live()[0].ID, "", 422)
	}
	raw("DELETE", trading+"/orders/"+nobody, "", 404)
	now = now.Add(time.Minute)
	positions, err := client.Positions(t.Context(), id)
	read("positions", err)
	for _, p := range positions {
		a := send(t, client, alpaca.CloseOrder(id, p, p.Qty.Decimal, "close-"+p.Symbol))
		if a.Err != nil {
			t.Fatal(a.Err)
		}
		_, err := client.Order(t.Context(), id, a.BrokerID)
		read("order", err)
		_, err = client.OrderByClientID(t.Context(), id, "close-"+p.Symbol)
		read("order by client id", err)
	}
	raw("GET", trading+"/positions/AAPL", "", 200)
	raw("GET", "/v1/assets/AAPL", "", 200)
	raw("GET", "/v1/assets/NONE", "", 404)
	raw("GET", trading+"/orders/"+nobody, "", 404)
	raw("POST", trading+"/orders", `{"symbol":"AAPL"}`, 422)
	raw("POST", trading+"/orders", `{`, 400)
	raw("POST", account+"/actions/close", "", 422)
	readAll()
	now = now.AddDate(0, 0, 3) // Monday
	raw("GET", trading+"/positions/AAPL", "", 404)
	banks, err := client.Relationships(t.Context(), id)
	if err != nil || len(banks) != 1 {
		t.Fatalf("relationships: %v, %v", banks, err)
	}
	pay := func(amount string) alpaca.Answer { return send(t, client, alpaca.PayOut(id, banks[0].ID, d(amount))) }
	first := pay("1")
	raw("DELETE", account+"/transfers/"+first.BrokerID, "", 200)
	raw("DELETE", account+"/transfers/"+nobody, "", 404)
	for amount, status := range map[string]int{"999999": 403, "60000.01": 422, "0": 422} {
		if a := pay(amount); a.Status != status {
			t.Errorf("a payout of %s: %d %v", amount, a.Status, a.Err)
		}
	}
	raw("POST", account+"/transfers", `[]`, 400)
	for range 3 {
		truth, err := s.Truth(id)
		if err != nil {
			t.Fatal(err)
		}
		if a := pay(decimal.Min(truth.CashWithdrawable, d("60000")).String()); a.Status != 200 || a.Transfer == nil || a.Transfer.Status != "QUEUED" {
			t.Errorf("payout: %+v", a)
		}
		now = now.AddDate(0, 0, 1)
		readAll()
	}
	read("return", s.Event(id, sim.Event{Type: "ach_return"}))
	readAll()
	truth, err := s.Truth(id)
	if err != nil {
		t.Fatal(err)
	}
	now = now.AddDate(0, 0, 4)
	if a := pay(truth.CashWithdrawable.String()); a.Err != nil {
		t.Error(a.Err)
	}
	now = now.AddDate(0, 0, 4)
	raw("DELETE", account+"/ach_relationships/"+banks[0].ID, "", 204)
	raw("DELETE", account+"/ach_relationships/"+banks[0].ID, "", 404)
	bank := `{"account_owner_name":"Ada","bank_account_type":"SAVINGS","bank_account_number":"123456789","bank_routing_number":"121000358"}`
	raw("POST", account+"/ach_relationships", `{}`, 400)
	raw("POST", account+"/ach_relationships", bank, 200)
	raw("POST", account+"/ach_relationships", bank, 409)
	raw("POST", account+"/actions/close", "", 204)
	raw("POST", account+"/actions/close", "", 422)
	raw("POST", "/v1/accounts/"+nobody+"/actions/close", "", 404)
	readAll()
	if _, err := open(t, c, "wrong").Account(t.Context(), id); !alpaca.Unauthorized(err) {
		t.Errorf("a wrong secret: %v", err)
	}

	// The streams tell of all that again, from their beginning, and end since the simulator hangs up.
	s.Hangup()
	for path, cursor := range map[string]string{"/v2/events/trades": "since_id", "/v2/events/funding/status": "since_id", "/v1/events/accounts/status": "since_ulid"} {
		c.replay(s.Transport(), path+"?"+cursor+"=00000000000000000000000000")
	}

	// Every operation of these paths was answered well at least once, but for those that the simulator does without.
	for _, call := range []string{
		"GET /v1/accounts/{id} 200", "GET /v1/accounts/{id} 401", "GET /v1/accounts/{id}/ach_relationships 200", "POST /v1/accounts/{id}/ach_relationships 200",
		"DELETE /v1/accounts/{id}/ach_relationships/{id} 204", "POST /v1/accounts/{id}/actions/close 204", "GET /v1/accounts/{id}/transfers 200",
		"POST /v1/accounts/{id}/transfers 200", "DELETE /v1/accounts/{id}/transfers/{id} 200", "GET /v1/accounts/activities 200",
		"GET /v1/assets/AAPL 200", "GET /v1/calendar 200", "GET /v1/clock 200", "GET /v1/rebalancing/subscriptions 200",
		"GET /v1/trading/accounts/{id}/account 200", "GET /v1/trading/accounts/{id}/orders 200", "POST /v1/trading/accounts/{id}/orders 200",
		"GET /v1/events/accounts/status 200", "GET /v2/events/funding/status 200", "GET /v2/events/trades 200",
		"POST /v1/trading/accounts/{id}/orders 403", "DELETE /v1/trading/accounts/{id}/orders/{id} 204", "GET /v1/trading/accounts/{id}/orders/{id} 200",
		"GET /v1/trading/accounts/{id}/orders:by_client_order_id 200", "GET /v1/trading/accounts/{id}/positions 200", "GET /v1/trading/accounts/{id}/positions/AAPL 200",
	} {
		if !c.passed[call] {
			t.Errorf("never seen: %s", call)
		}
	}
}

func open(t *testing.T, transport http.RoundTripper, secret string) *alpaca.Client {
	t.Helper()
	client, err := alpaca.New(alpaca.Options{BaseURL: "https://broker-api.sandbox.alpaca.markets", Key: "key", Secret: secret, Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func send(t *testing.T, client *alpaca.Client, w alpaca.Write) alpaca.Answer {
	t.Helper()
	s, err := client.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	a, err := s.Send(t.Context(), w)
	if err != nil {
		t.Errorf("%s: %v", w, err)
	}
	return a
}
