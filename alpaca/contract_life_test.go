package alpaca_test

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/shopspring/decimal"

	"closeout/alpaca"
	"closeout/alpaca/sim"
)

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
		w := alpaca.Write{Method: method, Path: path, Body: json.RawMessage(body)}
		a := sendWith(context.WithValue(t.Context(), wrong{}, status == 400 || status == 422), t, client, w)
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
		raw("GET", "/v1/accounts/"+id+"/transfers?limit=x", "", 400)
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
	raw("DELETE", account+"/transfers/"+first.BrokerID, "", 422)
	raw("POST", account+"/actions/close", "", 204)
	raw("POST", account+"/ach_relationships", bank, 403)
	raw("POST", account+"/actions/close", "", 422)
	raw("POST", "/v1/accounts/"+nobody+"/actions/close", "", 404)
	readAll()
	if _, err := client.Account(t.Context(), nobody); !alpaca.NotFound(err) {
		t.Errorf("nobody's account: %v", err)
	}
	if _, err := open(t, c, "wrong").Account(t.Context(), id); !alpaca.Unauthorized(err) {
		t.Errorf("a wrong secret: %v", err)
	}

	others(t, s, c)
	// The streams tell of all that again, from their beginning, and end since the simulator hangs up.
	s.Hangup()
	for path, cursor := range map[string]string{"/v2/events/trades": "since_id", "/v2/events/funding/status": "since_id", "/v1/events/accounts/status": "since_ulid"} {
		c.replay(s.Transport(), path+"?"+cursor+"=00000000000000000000000000")
	}
	c.told()
	tolerates(t, c, id)
}

// others are accounts of other kinds, and refusals that the one above did not meet.
func others(t *testing.T, s *sim.Sim, c *contract) {
	t.Helper()
	d := decimal.RequireFromString
	client := open(t, c, "secret")
	id, err := s.AddAccount(sim.Spec{
		Cash: d("5000"), AccountType: "ira", SubType: "roth", CashInterest: "ACTIVE", Fees: d("0.5"), SaleFees: d("0.03"), MinimumPayout: d("1"), Held: d("10"),
		Positions: []sim.PositionSpec{
			{Symbol: "AAPL", Qty: d("100"), Price: d("200"), Locked: d("1")},
			{Symbol: "AAPL261218C00250000", Qty: d("-1"), Price: d("3"), AssetClass: "us_option"},
			{Symbol: "BTC/USD", Qty: d("0.012345678"), Price: d("90000"), AssetClass: "crypto"},
			{Symbol: "DEAD", Qty: d("1"), Price: d("1"), Inactive: true},
		},
		Events: []sim.Event{
			{Type: "deposit", Amount: d("9"), Status: "COMPLETE", For: sim.Duration(96 * time.Hour)},
			{Type: "acats", Amount: d("5")},
			{Type: "acats", Symbol: "KO", Qty: d("2"), Price: d("60")},
			{Type: "interest", Amount: d("0.4")},
			{Type: "book_fees"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	account := func() {
		t.Helper()
		a, err := client.Account(t.Context(), id)
		if err != nil || a.AccountType != "ira" || a.SubType != "roth" || a.CashInterest.USD.Status != "ACTIVE" {
			t.Errorf("%+v, %v", a, err)
		}
		if _, err := client.TradingAccount(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
	account()
	positions, err := client.Positions(t.Context(), id)
	if err != nil || len(positions) != 5 {
		t.Fatalf("%+v, %v", positions, err)
	}
	refused := map[string]int{"AAPL": 403, "DEAD": 422} // it covers the option; it is inactive
	for _, p := range positions {
		want := 200
		if s, ok := refused[p.Symbol]; ok {
			want = s
		}
		if a := send(t, client, alpaca.CloseOrder(id, p, p.Qty.Decimal, "other-"+p.AssetID)); a.Status != want {
			t.Errorf("%s: %d %v, want %d", p.Symbol, a.Status, a.Err, want)
		}
		if _, err := client.Asset(t.Context(), p.AssetID); alpaca.NotFound(err) != (p.AssetClass == alpaca.Option) || err != nil && !alpaca.NotFound(err) {
			t.Errorf("%s: %v", p.Symbol, err)
		}
	}
	if _, err := client.OpenOrders(t.Context(), id); err != nil {
		t.Error(err)
	}
	if _, err := client.Transfers(t.Context(), id); err != nil {
		t.Error(err)
	}
	if _, err := client.Activities(t.Context(), id, time.Time{}); err != nil {
		t.Error(err)
	}
	banks, err := client.Relationships(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	pay := func(amount string, status int) {
		t.Helper()
		if a := send(t, client, alpaca.PayOut(id, banks[0].ID, d(amount))); a.Status != status {
			t.Errorf("a payout of %s: %d %v", amount, a.Status, a.Err)
		}
	}
	pay("0.37", 422)
	for _, what := range []string{"withdrawable", "transfers", "suspend", "account"} {
		if err := s.Event(id, sim.Event{Type: "block", What: what}); err != nil {
			t.Fatal(err)
		}
		account()
	}
	pay("20", 403)
	if err := s.Event(id, sim.Event{Type: "status", Status: "REJECTED"}); err != nil {
		t.Fatal(err)
	}
	account()
	for _, status := range []int{429, 500} {
		rule := sim.Rule{Fault: sim.FaultError, Status: status, Times: 1}
		if err := s.Chaos(sim.Chaos{Rules: []sim.Rule{rule}}); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Account(t.Context(), id); !alpaca.Unavailable(err) {
			t.Errorf("%d: %v", status, err)
		}
	}
	if err := s.Chaos(sim.Chaos{}); err != nil {
		t.Fatal(err)
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
	return sendWith(t.Context(), t, client, w)
}

func sendWith(ctx context.Context, t *testing.T, client *alpaca.Client, w alpaca.Write) alpaca.Answer {
	t.Helper()
	s, err := client.Dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	a, err := s.Send(ctx, w)
	if err != nil {
		t.Errorf("%s: %v", w, err)
	}
	return a
}
