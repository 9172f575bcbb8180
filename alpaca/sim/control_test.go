package sim_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"closeout/alpaca"
	"closeout/alpaca/sim"
)

// ask speaks to /sim as a script would: no auth, no Content-Type.
func (b *box) ask(method, path, body string, status int, into any) {
	b.Helper()
	r, err := http.NewRequestWithContext(b.Context(), method, "http://broker.test"+path, strings.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	resp, err := b.sim.Transport().RoundTrip(r)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != status {
		b.Fatalf("%s %s: %d %s", method, path, resp.StatusCode, answer)
	}
	if into != nil {
		if err := json.Unmarshal(answer, into); err != nil {
			b.Fatalf("%s %s: %v: %s", method, path, err, answer)
		}
	}
}

func TestControlMakesAccounts(t *testing.T) {
	t.Parallel()
	b := newBox(t, "2026-11-20 10:00", sim.Options{Key: "key", Secret: "secret"})
	var made struct {
		IDs []string `json:"ids"`
	}
	b.ask("POST", "/sim/accounts", `{"count": 3, "cash": "12.50"}`, 200, &made)
	if len(made.IDs) != 3 || !b.truth(made.IDs[2]).Cash.Equal(dec("12.5")) {
		t.Errorf("%v", made)
	}
	b.ask("POST", "/sim/accounts", `{"accounts": [
		{"id": "0D18AE51-3C94-4511-B209-101E1666416B", "cash": 137512.43, "ach": "none", "unheard_of": true,
		 "positions": [{"symbol": "aapl", "qty": 3, "price": "200.5", "asset_class": "us_equity", "tradable": true, "halted": false}],
		 "orders": [{"symbol": "AAPL", "qty": "1", "side": "sell", "type": "limit", "limit_price": "900"}],
		 "events": [{"type": "fee", "amount": 1, "after": "1d12h"}, {"type": "fee", "amount": "1", "after": 90}]},
		{"cash": "0"}]}`, 200, &made)
	id := "0d18ae51-3c94-4511-b209-101e1666416b"
	if len(made.IDs) != 2 || made.IDs[0] != id {
		t.Fatalf("%v", made)
	}
	b.ask("POST", "/sim/accounts", `{"accounts": [{"id": "`+id+`", "cash": "1"}]}`, 200, &made)
	b.now = b.now.Add(89 * time.Second)
	var truth struct {
		Cash      string           `json:"cash"`
		Positions []map[string]any `json:"positions"`
		Banks     []map[string]any `json:"ach_relationships"`
	}
	b.ask("GET", "/sim/accounts/"+id, "", 200, &truth)
	if truth.Cash != "137512.43" || len(truth.Positions) != 1 || truth.Positions[0]["symbol"] != "AAPL" || len(truth.Banks) != 0 {
		t.Errorf("%+v", truth)
	}
	b.now = b.now.Add(2 * time.Second) // ninety seconds
	b.ask("GET", "/sim/accounts/"+id, "", 200, &truth)
	if truth.Cash != "137511.43" {
		t.Errorf("after a minute and a half: %s", truth.Cash)
	}
	b.now = b.now.Add(36 * time.Hour)
	b.ask("GET", "/sim/accounts/"+id, "", 200, &truth)
	if truth.Cash != "137510.43" {
		t.Errorf("after a day and a half: %s", truth.Cash)
	}
	for _, bad := range []string{
		``, `[]`, `{}`, `{"count": -1}`, `{"accounts": [{"id": "x"}]}`, `{"accounts": [{"cash": "much"}]}`, `{"accounts": [{"ach": "maybe"}]}`,
		`{"accounts": [{"cash_moves": "never"}]}`, `{"accounts": [{"positions": [{"symbol": "A"}]}]}`, `{"accounts": [{"positions": [{"qty": 1}]}]}`,
		`{"accounts": [{"positions": [{"symbol": "A", "qty": "0.0000000001", "price": 1}]}]}`, `{"accounts": [{"orders": [{"symbol": "A"}]}]}`,
		`{"accounts": [{"orders": [{"symbol": "A", "qty": 1, "class": "mleg"}]}]}`, `{"accounts": [{"events": [{"type": "meteor"}]}]}`,
		`{"accounts": [{"events": [{"type": "fee", "after": "soon"}]}]}`,
	} {
		status := 422
		if bad == "" || bad == "[]" || strings.Contains(bad, "much") || strings.Contains(bad, "soon") {
			status = 400
		}
		b.ask("POST", "/sim/accounts", bad, status, nil)
	}
	b.ask("GET", "/sim/accounts", "", 200, &made)
	if len(made.IDs) != 5 {
		t.Errorf("%d accounts: what is wrong was made", len(made.IDs))
	}
	b.ask("GET", "/sim/accounts/"+strings.Replace(id, "0d", "ff", 1), "", 404, nil)
	b.ask("GET", "/sim/nothing", "", 404, nil)
	b.ask("GET", "/v1/nothing", "", 401, nil)
}

func TestControlTakesEventsInEachForm(t *testing.T) {
	t.Parallel()
	b := newBox(t, "2026-11-20 10:00", sim.Options{})
	id := b.add(sim.Spec{})
	path := "/sim/accounts/" + id + "/events"
	for _, body := range []string{
		`{"type": "dividend", "amount": "1"}`, `{"dividend": "1"}`, `{"dividend": 1}`, `{"dividend": {"amount": "1", "symbol": "AAPL"}}`,
		`{"events": [{"type": "dividend", "amount": "0.4"}, {"type": "interest", "amount": "0.6"}]}`,
	} {
		before := b.truth(id).Cash
		var truth sim.Truth
		b.ask("POST", path, body, 200, &truth)
		if !truth.Cash.Sub(before).Equal(dec("1")) {
			t.Errorf("%s: %s after %s", body, truth.Cash, before)
		}
	}
	b.ask("POST", path, `{"block": true}`, 200, nil)
	if !b.truth(id).TransfersBlocked {
		t.Error("not blocked")
	}
	cash := b.truth(id).Cash
	b.ask("POST", path, `{"events": [{"type": "dividend", "amount": "1"}, {"type": "halt", "symbol": "NONE"}]}`, 404, nil)
	if !b.truth(id).Cash.Equal(cash) {
		t.Error("half of a refused request took effect")
	}
	b.ask("POST", path, `{"meteor": 1}`, 422, nil)
	b.ask("POST", path, `{"dividend": []}`, 400, nil)
}

func TestControlPushesTheClock(t *testing.T) {
	t.Parallel()
	b := newBox(t, "2026-11-20 10:00", sim.Options{})
	var clock struct {
		Now    time.Time `json:"now"`
		IsOpen bool      `json:"is_open"`
	}
	b.ask("POST", "/sim/clock", `{"advance": "24h"}`, 200, &clock)
	b.ask("GET", "/sim/clock", "", 200, &clock)
	if !clock.Now.Equal(newYork(t, "2026-11-21 10:00")) || clock.IsOpen || !b.sim.Now().Equal(clock.Now) {
		t.Errorf("%+v", clock)
	}
	b.ask("POST", "/sim/clock", `{"advance": "-1h"}`, 422, nil)
	b.ask("POST", "/sim/clock", `{"advance": "tomorrow"}`, 400, nil)
	b = newBox(t, "2026-11-20 10:00", sim.Options{FixedClock: true})
	b.ask("POST", "/sim/clock", `{"advance": "24h"}`, 409, nil)
}

func TestControlSetsChaos(t *testing.T) {
	t.Parallel()
	b := newBox(t, "2026-11-20 10:00", sim.Options{})
	b.ask("PUT", "/sim/chaos", `{"seed": 3, "rules": [{"method": "GET", "path": "/v1/clock", "fault": "throttle", "delay": "90s", "times": 1}]}`, 200, nil)
	if _, err := b.client.Clock(t.Context()); !alpaca.Unavailable(err) {
		t.Errorf("throttled: %v", err)
	}
	if _, err := b.client.Clock(t.Context()); err != nil {
		t.Errorf("the second time: %v", err)
	}
	b.ask("PUT", "/sim/chaos", `{"rules": [{"probability": 0, "fault": "drop"}]}`, 200, nil)
	if _, err := b.client.Clock(t.Context()); err != nil {
		t.Errorf("a probability of 0: %v", err)
	}
	b.ask("PUT", "/sim/chaos", `{"rules": [{"probability": 1, "fault": "drop"}]}`, 200, nil)
	if _, err := b.client.Clock(t.Context()); !alpaca.Unavailable(err) {
		t.Errorf("a probability of 1: %v", err)
	}
	b.ask("PUT", "/sim/chaos", `{"rules": [{"fault": "explode"}]}`, 422, nil)
	b.ask("GET", "/sim/chaos", "", 200, nil)
	b.ask("DELETE", "/sim/chaos", "", 204, nil)
	if _, err := b.client.Clock(t.Context()); err != nil {
		t.Errorf("after all: %v", err)
	}
}

func TestControlShowsTheJournal(t *testing.T) {
	t.Parallel()
	b := newBox(t, "2026-11-20 10:00", sim.Options{})
	id, other := b.add(sim.Spec{Cash: dec("10")}), b.add(sim.Spec{Cash: dec("20")})
	payout := b.must(alpaca.PayOut(id, b.bank(id), dec("7.5")))
	b.now = b.now.Add(80 * time.Hour)
	var journal struct {
		Entries []struct {
			Seq                        int64
			At                         time.Time
			Account, Kind, Amount, Key string
		}
	}
	b.ask("GET", "/sim/journal?account="+id, "", 200, &journal)
	if n := len(journal.Entries); n != 3 || journal.Entries[1].Kind != "transfer" || journal.Entries[1].Amount != "7.50" || journal.Entries[1].Key != payout.BrokerID {
		t.Errorf("%+v", journal)
	}
	b.ask("GET", "/sim/journal", "", 200, &journal)
	if len(journal.Entries) != 4 || journal.Entries[1].Account != other || journal.Entries[3].Seq != 4 {
		t.Errorf("%+v", journal)
	}
	b.ask("GET", "/sim/journal?account=nobody", "", 404, nil)
}

// TestAnsweredIsOnDisk takes the files away under a running simulator, as a power cut would.
func TestAnsweredIsOnDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := newBox(t, "2026-11-20 10:00", sim.Options{Path: dir + "/sim.db"})
	id := b.add(sim.Spec{Cash: dec("10")})
	b.must(alpaca.PayOut(id, b.bank(id), dec("10")))
	for _, suffix := range []string{"", "-wal"} {
		content, err := os.ReadFile(dir + "/sim.db" + suffix)
		if err != nil || os.WriteFile(dir+"/copy.db"+suffix, content, 0o600) != nil {
			t.Fatal(err)
		}
	}
	copied := newBox(t, "2026-11-20 10:00", sim.Options{Path: dir + "/copy.db"})
	if diff := cmp.Diff(b.truth(id), copied.truth(id)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(journal(b), journal(copied)); diff != "" {
		t.Error(diff)
	}
}

// TestManyAtOnce has many goroutines pay out of one account: together no more than there is.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	b := newBox(t, "2026-11-20 10:00", sim.Options{Path: t.TempDir() + "/sim.db"})
	id := b.add(sim.Spec{Cash: dec("10")})
	w := alpaca.PayOut(id, b.bank(id), dec("1"))
	var all sync.WaitGroup
	for range 40 {
		all.Go(func() {
			if _, err := b.send(w); err != nil {
				t.Error(err)
			}
			if _, err := b.client.Transfers(t.Context(), id); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := b.payouts(id); n != 10 {
		t.Errorf("%d payouts of 1 out of 10", n)
	}
	b.balances(id, "0", "0")
	b.audit(id)
}

func TestBodyOverASocketIsBounded(t *testing.T) {
	t.Parallel()
	b := newBox(t, "2026-11-20 10:00", sim.Options{})
	id := b.add(sim.Spec{})
	huge := bytes.Repeat([]byte(" "), 2<<20)
	r, err := http.NewRequest("POST", "http://broker.test/v1/accounts/"+id+"/transfers", bytes.NewReader(huge))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := b.sim.Transport().RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != 400 {
		t.Errorf("%v", resp)
	}
}
