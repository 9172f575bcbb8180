package alpaca_test

import (
	"net/http"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/shopspring/decimal"

	"closeout/alpaca"
	"closeout/alpaca/sim"
)

// Whoever counts requests is told of each, reads, writes and streams, by a pattern that names neither account nor order.
func TestWhoCountsIsToldOfEachRequest(t *testing.T) {
	t.Parallel()
	broker, err := sim.Open(sim.Options{Key: "key", Secret: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = broker.Close() })
	id, err := broker.AddAccount(sim.Spec{Cash: decimal.NewFromInt(10)})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	told := map[string]int{}
	client, err := alpaca.New(alpaca.Options{
		BaseURL: "http://broker.test", Key: "key", Secret: "secret", Transport: broker.Transport(), Asked: func(a alpaca.Asked) {
			mu.Lock()
			defer mu.Unlock()
			told[a.Method+" "+a.Endpoint+" "+strconv.Itoa(a.Status)]++
			if a.Took <= 0 {
				t.Errorf("%s %s took %s", a.Method, a.Endpoint, a.Took)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	_, _ = client.Account(ctx, id)
	_, _ = client.TradingAccount(ctx, id)
	_, _ = client.Positions(ctx, id)
	_, _ = client.OpenOrders(ctx, id)
	_, _ = client.Order(ctx, id, "9d0e1f00-aaaa-4f6c-9c58-1f8f0a7b9c02")
	_, _ = client.OrderByClientID(ctx, id, "closeout-1")
	_, _ = client.FirstTransfers(ctx, id)
	_, _ = client.Activities(ctx, id, time.Time{})
	_, _ = client.Relationships(ctx, id)
	_, _ = client.Subscribed(ctx, id)
	_, _ = client.Asset(ctx, "BRK.B")
	_, _ = client.Clock(ctx)
	_, _ = client.Calendar(ctx, "2026-11-01", "2026-11-30")
	for _, w := range []alpaca.Write{alpaca.CloseAccount("nobody"), alpaca.CancelOrder(id, "nothing"), alpaca.PayOut("nobody", "bank", decimal.NewFromInt(1))} {
		s, err := client.Dial(ctx)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = s.Send(ctx, w)
		_ = s.Close()
	}
	for _, topic := range []alpaca.Topic{alpaca.TradeEvents, alpaca.FundingEvents, alpaca.AccountEvents} {
		if s, err := client.Stream(ctx, topic, ""); err == nil {
			_ = s.Close()
		}
	}
	away, err := alpaca.New(alpaca.Options{BaseURL: "http://127.0.0.1:1", Key: "key", Secret: "secret", Asked: func(a alpaca.Asked) {
		if a.Status != 0 || a.Endpoint != "/v1/clock" {
			t.Errorf("of a broker that is away: %+v", a)
		}
		told["away"]++
	}})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = away.Clock(ctx)
	var got []string
	for k, n := range told {
		got = append(got, k+" "+strconv.Itoa(n))
	}
	slices.Sort(got)
	ok, none := strconv.Itoa(http.StatusOK), strconv.Itoa(http.StatusNotFound)
	want := []string{
		"DELETE /v1/trading/accounts/{id}/orders/{id} " + none + " 1",
		"GET /v1/accounts/activities " + ok + " 1",
		"GET /v1/accounts/{id} " + ok + " 1",
		"GET /v1/accounts/{id}/ach_relationships " + ok + " 1",
		"GET /v1/accounts/{id}/transfers " + ok + " 1",
		"GET /v1/assets/{id} " + none + " 1",
		"GET /v1/calendar " + ok + " 1",
		"GET /v1/clock " + ok + " 1",
		"GET /v1/events/accounts/status " + ok + " 1",
		"GET /v1/rebalancing/subscriptions " + ok + " 1",
		"GET /v1/trading/accounts/{id}/account " + ok + " 1",
		"GET /v1/trading/accounts/{id}/orders " + ok + " 1",
		"GET /v1/trading/accounts/{id}/orders/{id} " + none + " 1",
		"GET /v1/trading/accounts/{id}/orders:by_client_order_id " + none + " 1",
		"GET /v1/trading/accounts/{id}/positions " + ok + " 1",
		"GET /v2/events/funding/status " + ok + " 1",
		"GET /v2/events/trades " + ok + " 1",
		"POST /v1/accounts/{id}/actions/close " + none + " 1",
		"POST /v1/accounts/{id}/transfers " + none + " 1",
		"away 1",
	}
	if !slices.Equal(got, want) {
		t.Errorf("told of\n%q\nwant\n%q", got, want)
	}
}
