package sim_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/shopspring/decimal"

	"closeout/alpaca/sim"
)

// tell sends one request as it comes, with the key, and gives the answer; a request that is none gives 0.
func (b *box) tell(method, path, body string) (int, []byte) {
	b.Helper()
	r, err := http.NewRequestWithContext(b.Context(), method, "http://broker.test"+path, strings.NewReader(body))
	if err != nil {
		return 0, nil
	}
	r.SetBasicAuth("key", "secret")
	resp, err := b.sim.Transport().RoundTrip(r)
	if err != nil {
		return 0, nil // a fault that was asked for
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, answer
}

// balanced checks that each account's cash is the sum of what its journal says.
func (b *box) balanced() {
	b.Helper()
	var made struct {
		IDs []string `json:"ids"`
	}
	_, answer := b.tell("GET", "/sim/accounts", "")
	if err := json.Unmarshal(answer, &made); err != nil {
		b.Fatal(err)
	}
	for _, id := range made.IDs {
		truth, err := b.sim.Truth(id)
		if err != nil {
			b.Fatal(err)
		}
		entries, err := b.sim.Journal(id)
		if err != nil {
			b.Fatal(err)
		}
		var sum decimal.Decimal
		for _, e := range entries {
			sum = sum.Add(e.Cash)
		}
		if !sum.Equal(truth.Cash) {
			b.Fatalf("the cash is %s, the journal's sum %s", truth.Cash, sum)
		}
	}
}

// FuzzControl: whatever a script asks of /sim, the simulator answers, and not with a 5xx, and no cash moves unseen.
func FuzzControl(f *testing.F) {
	const id = "0d18ae51-3c94-4511-b209-101e1666416b"
	account := `{"accounts":[{"id":"` + id + `","cash":"137512.43","positions":[{"symbol":"AAPL","qty":"3","price":"200.5","partial_fills":["0.5"],"fee":"0.01"}],` +
		`"orders":[{"symbol":"AAPL","qty":"1","class":"bracket","take_profit":"300","stop_loss":"100"}],"events":[{"dividend":1},{"type":"fee","amount":1,"after":"1d12h"}]}]}`
	for _, s := range [][3]string{
		{account, `{"type":"dividend","amount":"5"}`, `{"advance":"3d"}`},
		{account, `{"ach_return":{"reason":"R02"}}`, `{"advance":86400}`},
		{account, `{"events":[{"type":"trade_bust"},{"type":"block","for":"26h"},{"type":"halt","symbol":"AAPL"}]}`, `{"advance":1e300}`},
		{account, `{"type":"position","symbol":"T","qty":"-1","price":"1e400"}`, `{"advance":"Infd"}`},
		{account, `{"deposit":5,"at":"9999-12-31T23:59:59Z"}`, `{"advance":"2562047h"}`},
		{account, `{"withdrawal":5,"status":"COMPLETE"}`, `{"advance":"-1d"}`},
		{account, `{"price":{"symbol":"AAPL","price":"-3"}}`, `{"advance":"1xd"}`},
		{account, `{"order":{"symbol":"AAPL","qty":"0","side":"buy"}}`, `{"advance":null}`},
		{`{"count":2,"cash":"1e9999"}`, `{"close":true}`, `null`}, {`{"count":-1}`, `[]`, `7`}, {`{"accounts":[{"id":"x"}]}`, ``, ``},
	} {
		f.Add(s[0], s[1], s[2])
	}
	f.Fuzz(func(t *testing.T, accounts, event, clock string) {
		if len(accounts) > 5000 || strings.Contains(accounts, "count") && len(accounts) > 40 {
			return // a million accounts are not what is looked for
		}
		b := newBox(t, "2026-11-20 10:00", sim.Options{Key: "key", Secret: "secret"})
		b.tell("POST", "/sim/accounts", account)
		for _, call := range [][3]string{
			{"POST", "/sim/accounts", accounts}, {"POST", "/sim/accounts/" + id + "/events", event}, {"POST", "/sim/clock", clock},
			{"GET", "/sim/clock", ""}, {"GET", "/sim/accounts/" + id, ""}, {"POST", "/sim/accounts/" + id + "/events", event}, {"GET", "/v1/trading/accounts/" + id + "/account", ""},
			{"GET", "/v1/trading/accounts/" + id + "/orders?nested=true", ""}, {"GET", "/v1/accounts/activities?account_id=" + id, ""},
		} {
			if status, answer := b.tell(call[0], call[1], call[2]); status >= 500 || status == 0 || !json.Valid(answer) {
				t.Fatalf("%s %s: %d %.300s", call[0], call[1], status, answer)
			}
		}
		b.balanced()
	})
}

// FuzzChaos: rules that are taken are given back as they were and break nothing but answers; others are refused.
func FuzzChaos(f *testing.F) {
	for _, s := range []string{
		`{"seed":7,"rules":[{"method":"POST","path":"/v1/accounts/*/transfers","probability":0.5,"fault":"error_after","status":504,"late":"2h"}]}`,
		`{"rules":[{"path":"**","fault":"throttle","delay":1}]}`, `{"rules":[{"path":"a[(+?.*","fault":"error","probability":0}]}`,
		`{"rules":[{"fault":"nova"}]}`, `{"rules":[{"fault":"error","status":999}]}`, `{"rules":[{"fault":"error","probability":2}]}`, `{"rules":[null]}`, `null`, `{`,
		`{"rules":[{"fault":"drop","probability":1e-300,"times":-1}]}`, `{"rules":[{"fault":"late","delay":"1d","probability":-7}]}`,
	} {
		f.Add(s, "/v1/clock")
	}
	f.Fuzz(func(t *testing.T, rules, path string) {
		if strings.Contains(rules, "slow") || strings.Contains(rules, "timeout") {
			return // they do as told, and take their time
		}
		b := newBox(t, "2026-11-20 10:00", sim.Options{Key: "key", Secret: "secret"})
		status, answer := b.tell("PUT", "/sim/chaos", rules)
		if status >= 500 || status == 0 {
			t.Fatalf("%d %s", status, answer)
		}
		_, now := b.tell("GET", "/sim/chaos", "")
		var given, kept sim.Chaos
		if status == 200 && (json.Unmarshal([]byte(rules), &given) != nil || json.Unmarshal(now, &kept) != nil || len(given.Rules) != len(kept.Rules)) {
			t.Errorf("%s became %s", rules, now)
		}
		b.tell("GET", path, "")
		if status, answer := b.tell("DELETE", "/sim/chaos", ""); status != 204 {
			t.Fatalf("%d %s", status, answer)
		}
		if status, answer := b.tell("GET", "/v1/clock", ""); status != 200 {
			t.Fatalf("without rules: %d %s", status, answer)
		}
	})
}

// FuzzBroker: whatever is asked of the broker's own paths is answered, and not with a 5xx, and no cash moves unseen.
func FuzzBroker(f *testing.F) {
	const id = "0d18ae51-3c94-4511-b209-101e1666416b"
	for _, s := range [][3]string{
		{"POST", "/v1/trading/accounts/" + id + "/orders", `{"symbol":"AAPL","qty":"3","side":"sell","type":"market","time_in_force":"day","client_order_id":"c","position_intent":"sell_to_close"}`},
		{"POST", "/v1/trading/accounts/" + id + "/orders", `{"symbol":"AAPL","qty":"-1e20","side":"buy"}`},
		{"POST", "/v1/accounts/" + id + "/transfers", `{"transfer_type":"ach","relationship_id":"x","direction":"OUTGOING","amount":"50.00"}`},
		{"POST", "/v1/accounts/" + id + "/transfers", `{"amount":"1e9999"}`},
		{"GET", "/v1/accounts/" + id + "/transfers?limit=-1&offset=9223372036854775807", ""},
		{"GET", "/v1/trading/accounts/" + id + "/orders?status=open&limit=500&nested=true&until=2026-11-25T14:00:00.001Z", ""},
		{"GET", "/v1/accounts/activities?account_id=" + id + "&page_size=0&page_token=x&after=now", ""},
		{"GET", "/v1/calendar?start=0000-01-01&end=9999-12-31", ""}, {"GET", "/v1/calendar?start=2026-11-25T00:00:00Z", ""},
		{"POST", "/v1/accounts/" + id + "/actions/close", ""}, {"DELETE", "/v1/trading/accounts/" + id + "/orders/", ""}, {"PATCH", "/", ""}, {"GET", "/%2e%2e//v1", ""},
		{"GET", "/v1/assets/%00", ""}, {"GET", "/v1/rebalancing/subscriptions?account_id=", ""}, {"GET", "/v1/trading/accounts/" + id + "/orders:by_client_order_id?client_order_id=", ""},
	} {
		f.Add(s[0], s[1], s[2])
	}
	f.Fuzz(func(t *testing.T, method, path, body string) {
		if !strings.HasPrefix(path, "/v1/") {
			return
		}
		b := newBox(t, "2026-11-20 10:00", sim.Options{Key: "key", Secret: "secret"})
		b.tell("POST", "/sim/accounts", `{"accounts":[{"id":"`+id+`","cash":"100","positions":[{"symbol":"AAPL","qty":"3","price":"200.5"}],"ach":"approved"}]}`)
		for range 2 {
			if status, answer := b.tell(method, path, body); status >= 500 || len(answer) > 0 && !json.Valid(answer) {
				t.Fatalf("%d %.300s", status, answer)
			}
		}
		b.balanced()
	})
}
