package sim_test

import (
	"testing"
	"time"

	"closeout/alpaca"
	"closeout/alpaca/sim"
)

func hours(n float64) sim.Duration { return sim.Duration(n * float64(time.Hour)) }

func TestHaltedSymbolResumes(t *testing.T) {
	t.Parallel()
	b := newBox(t, "2026-11-20 10:00", sim.Options{})
	id := b.add(sim.Spec{
		Positions: []sim.PositionSpec{{Symbol: "HALT", Qty: dec("2"), Price: dec("5"), Halted: true}},
		Events:    []sim.Event{{Type: "resume", Symbol: "HALT", At: newYork(t, "2026-11-24 11:00")}},
	})
	p := alpaca.Position{Symbol: "HALT"}
	b.must(alpaca.CloseOrder(id, p, dec("2"), "c1"))
	b.set("2026-11-20 15:59")
	b.order(id, "c1", "new", "0")
	b.set("2026-11-20 16:00")
	b.order(id, "c1", "expired", "0")
	b.set("2026-11-23 20:00")
	b.must(alpaca.CloseOrder(id, p, dec("2"), "c2"))
	b.order(id, "c2", "accepted", "0")
	b.set("2026-11-24 11:00")
	b.order(id, "c2", "new", "0")
	b.now = b.now.Add(3 * time.Second)
	b.order(id, "c2", "filled", "2")
	b.audit(id)
}

func (b *box) order(id, clientID, status, filled string) {
	b.Helper()
	o, err := b.client.OrderByClientID(b.Context(), id, clientID)
	if err != nil || o.Status != status || !o.FilledQty.Decimal.Equal(dec(filled)) {
		b.Errorf("%s: %s is %s with %v filled, %v; want %s with %s", b.now.Format("Mon 15:04"), clientID, o.Status, o.FilledQty.Decimal, err, status, filled)
	}
}

func TestPartialFillsLeaveARest(t *testing.T) {
	t.Parallel()
	b := newBox(t, "2026-11-20 10:00", sim.Options{})
	id := b.add(sim.Spec{Positions: []sim.PositionSpec{{Symbol: "THIN", Qty: dec("10"), Price: dec("1.5"), PartialFills: dec2("0.37", "0")}}})
	p := alpaca.Position{Symbol: "THIN"}
	b.must(alpaca.CloseOrder(id, p, dec("10"), "c1"))
	b.set("2026-11-20 12:00")
	b.order(id, "c1", "partially_filled", "3")
	b.refused(alpaca.CloseOrder(id, p, dec("7"), "c2"), 403, 40310000)
	b.set("2026-11-20 16:01")
	b.order(id, "c1", "expired", "3")
	b.must(alpaca.CloseOrder(id, p, dec("7"), "c3"))
	b.set("2026-11-23 16:00")
	b.order(id, "c3", "expired", "0")
	b.must(alpaca.CloseOrder(id, p, dec("7"), "c4"))
	b.set("2026-11-24 09:31")
	b.order(id, "c4", "filled", "7")
	if truth := b.truth(id); len(truth.Positions) != 0 || !truth.Cash.Equal(dec("15")) {
		t.Errorf("%+v", truth)
	}
	b.audit(id)
}

func TestOrderIsRefused(t *testing.T) {
	t.Parallel()
	b := newBox(t, "2026-11-20 10:00", sim.Options{})
	no := false
	spec := sim.Spec{Positions: []sim.PositionSpec{
		{Symbol: "AAPL", Qty: dec("2"), Price: dec("5")},
		{Symbol: "OTC", Qty: dec("2"), Price: dec("5"), Tradable: &no},
		{Symbol: "DEAD", Qty: dec("2"), Price: dec("5"), Inactive: true},
		{Symbol: "BTC/USD", Qty: dec("0.123456789"), Price: dec("90000"), AssetClass: "crypto"},
		{Symbol: "AAPL270115C00200000", Qty: dec("1"), Price: dec("5"), AssetClass: "us_option"},
	}}
	id := b.add(spec)
	sell := func(symbol, qty string) alpaca.Write {
		return alpaca.CloseOrder(id, alpaca.Position{Symbol: symbol}, dec(qty), symbol+qty)
	}
	b.refused(sell("NONE", "1"), 422, 42210000)
	b.refused(sell("AAPL", "2.1"), 403, 40310000)
	b.refused(sell("AAPL", "0"), 422, 42210000)
	b.refused(sell("AAPL", "0.0000000001"), 422, 42210000)
	b.refused(sell("DEAD", "2"), 422, 42210000)
	b.refused(sell("BTC/USD", "0.1"), 422, 42210000)
	b.refused(sell("AAPL270115C00200000", "0.5"), 422, 42210000)
	b.refused(alpaca.Write{Method: "POST", Path: sell("AAPL", "1").Path, Body: []byte(`{`)}, 400, 40010000)
	b.refused(alpaca.CloseOrder("3dcb795c-3ccc-402a-abb9-07e26a1b1326", alpaca.Position{Symbol: "AAPL"}, dec("1"), "x"), 404, 40410000)
	b.refused(alpaca.CancelOrder(id, "3dcb795c-3ccc-402a-abb9-07e26a1b1326"), 404, 40410000)
	b.must(sell("OTC", "2"))
	b.must(sell("AAPL", "2"))
	b.refused(sell("AAPL", "1"), 403, 40310000)
	for _, e := range []sim.Event{{Type: "block", What: "trading"}, {Type: "rebalancing"}, {Type: "close", Keep: true}} {
		spec.Events = []sim.Event{e}
		id = b.add(spec)
		b.refused(sell("AAPL", "1"), 403, 40310000)
	}
}

func TestEventsBefallAnAccount(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		event sim.Event
		cash  string
	}{
		{sim.Event{Type: "dividend", Amount: dec("1.23"), Symbol: "AAPL"}, "101.23"},
		{sim.Event{Type: "interest", Amount: dec("0.01")}, "100.01"},
		{sim.Event{Type: "fee", Amount: dec("3")}, "97"},
		{sim.Event{Type: "journal", Amount: dec("-150")}, "-50"},
		{sim.Event{Type: "deposit", Amount: dec("5"), Status: "COMPLETE"}, "105"},
		{sim.Event{Type: "deposit", Amount: dec("5")}, "100"},
		{sim.Event{Type: "withdrawal", Amount: dec("5")}, "95"},
		{sim.Event{Type: "position", Symbol: "SPIN", Qty: dec("2"), Price: dec("4")}, "100"},
		{sim.Event{Type: "order", Symbol: "AAPL", Side: "buy", Qty: dec("1")}, "100"},
		{sim.Event{Type: "worthless", Symbol: "AAPL"}, "100"},
		{sim.Event{Type: "price", Symbol: "AAPL", Price: dec("4")}, "100"},
		{sim.Event{Type: "halt", Symbol: "AAPL"}, "100"},
		{sim.Event{Type: "resume", Symbol: "AAPL"}, "100"},
		{sim.Event{Type: "inactive", Symbol: "AAPL"}, "100"},
		{sim.Event{Type: "status", Status: "account_updated", For: hours(2)}, "100"},
		{sim.Event{Type: "relationship_delete"}, "100"},
		{sim.Event{Type: "relationship_create"}, "100"},
		{sim.Event{Type: "relationship_status", Status: "CANCEL_REQUESTED"}, "100"},
		{sim.Event{Type: "deposit", Amount: dec("5"), Status: "COMPLETE", For: hours(90)}, "105"},
		{sim.Event{Type: "acats", Amount: dec("7")}, "107"},
		{sim.Event{Type: "acats", Symbol: "KO", Qty: dec("2"), Price: dec("4")}, "100"},
		{sim.Event{Type: "position", Symbol: "AAPL261218P00150000", Qty: dec("2"), Price: dec("4")}, "100"},
		{sim.Event{Type: "book_fees"}, "99.5"},
		{sim.Event{Type: "release"}, "100"},
		{sim.Event{Type: "unlock", Symbol: "AAPL"}, "100"},
		{sim.Event{Type: "block", What: "suspend", For: hours(2)}, "100"},
		{sim.Event{Type: "block", What: "withdrawable"}, "100"},
		{sim.Event{Type: "close"}, "0"},
		{sim.Event{Type: "close", Keep: true}, "100"},
	} {
		b := newBox(t, "2026-11-20 10:00", sim.Options{})
		id := b.add(sim.Spec{
			Cash: dec("100"), Fees: dec("0.4"), SaleFees: dec("0.1"), Held: dec("3"),
			Positions: []sim.PositionSpec{{Symbol: "AAPL", Qty: dec("1"), Price: dec("2"), Locked: dec("1")}},
		})
		if err := b.sim.Event(id, row.event); err != nil {
			t.Errorf("%s: %v", row.event.Type, err)
		}
		if cash := b.truth(id).Cash; !cash.Equal(dec(row.cash)) {
			t.Errorf("%s: cash %s, want %s", row.event.Type, cash, row.cash)
		}
		b.audit(id)
		b.now = b.now.Add(200 * time.Hour)
		b.audit(id)
	}
	b := newBox(t, "2026-11-20 10:00", sim.Options{})
	id := b.add(sim.Spec{})
	for _, bad := range []sim.Event{
		{},
		{Type: "meteor"},
		{Type: "dividend"},
		{Type: "halt", Symbol: "X"},
		{Type: "ach_return"},
		{Type: "trade_bust"},
		{Type: "status"},
		{Type: "acats"},
		{Type: "acats", Symbol: "KO"},
		{Type: "unlock", Symbol: "X"},
		{Type: "block", What: "sun"},
		{Type: "fee", Amount: dec("1"), When: "never"},
		{Type: "fee", When: sim.AfterFirstFill, At: b.now},
	} {
		if err := b.sim.Event(id, bad); err == nil {
			t.Errorf("takes %+v", bad)
		}
	}
}

func TestTradeBustTakesTheSaleBack(t *testing.T) {
	t.Parallel()
	b := newBox(t, "2026-11-20 10:00", sim.Options{})
	id := b.add(sim.Spec{Cash: dec("1"), Positions: []sim.PositionSpec{{Symbol: "AAPL", Qty: dec("2"), Price: dec("5")}}})
	b.must(alpaca.CloseOrder(id, alpaca.Position{Symbol: "AAPL"}, dec("2"), "c1"))
	if err := b.sim.Event(id, sim.Event{Type: "trade_bust", After: hours(1)}); err != nil {
		t.Fatal(err)
	}
	b.now = b.now.Add(30 * time.Minute)
	b.balances(id, "11", "1")
	b.now = b.now.Add(time.Hour)
	b.balances(id, "1", "1")
	if truth := b.truth(id); len(truth.Positions) != 1 || !truth.Positions[0].Qty.Equal(dec("2")) {
		t.Errorf("%+v", truth.Positions)
	}
	b.audit(id)
}

func TestTriggers(t *testing.T) {
	t.Parallel()
	b := newBox(t, "2026-11-20 10:00", sim.Options{})
	spec := sim.Spec{Cash: dec("10"), Positions: []sim.PositionSpec{{Symbol: "AAPL", Qty: dec("2"), Price: dec("5")}}}
	names := []string{
		sim.AfterFirstRead, sim.AfterFirstWrite, sim.AfterFirstOrder, sim.AfterFirstFill, sim.AfterLastPosition,
		sim.AfterFirstPayout, sim.AfterFirstPayoutComplete, sim.AfterLastPayoutComplete,
	}
	for _, name := range names {
		spec.Events = append(spec.Events, sim.Event{Type: "block", What: "outgoing", Reason: name, When: name}, sim.Event{Type: "unblock", What: "outgoing", When: name, After: hours(0.001)})
	}
	id := b.add(spec)
	met := func(want ...string) {
		t.Helper()
		b.now = b.now.Add(10 * time.Second)
		entries, err := b.sim.Journal(id)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range entries {
			if e.Kind == "block" {
				got = append(got, e.Note[len("outgoing "):])
			}
		}
		if len(got) != len(want) {
			t.Errorf("met %v, want %v", got, want)
		}
	}
	met()
	bank := b.bank(id)
	met(names[:1]...)
	b.must(alpaca.CloseOrder(id, alpaca.Position{Symbol: "AAPL"}, dec("1"), "c1"))
	met(names[:4]...)
	b.must(alpaca.CloseOrder(id, alpaca.Position{Symbol: "AAPL"}, dec("1"), "c2"))
	met(names[:5]...)
	b.must(alpaca.PayOut(id, bank, dec("10")))
	met(names[:6]...)
	b.set("2026-11-23 08:31")
	met(names[:7]...)
	b.must(alpaca.PayOut(id, bank, dec("10")))
	b.set("2026-11-24 08:31")
	met(names...)
}

func TestBankRelinked(t *testing.T) {
	t.Parallel()
	b := newBox(t, "2026-11-20 10:00", sim.Options{})
	id := b.add(sim.Spec{Cash: dec("10"), Events: []sim.Event{{Type: "relationship_delete", When: sim.AfterFirstRead, After: hours(1)}}})
	before, err := b.client.Relationships(t.Context(), id)
	if err != nil || len(before) != 1 {
		t.Fatalf("%v, %v", before, err)
	}
	b.now = b.now.Add(time.Hour)
	b.refused(alpaca.PayOut(id, before[0].ID, dec("10")), 422, 42210000)
	path := "/v1/accounts/" + id + "/ach_relationships"
	link := alpaca.Write{Method: "POST", Path: path, Body: []byte(`{"account_owner_name":"A","bank_account_type":"CHECKING","bank_account_number":"123456789","bank_routing_number":"121000358"}`)}
	b.must(link)
	b.refused(link, 409, 40910000)
	b.now = b.now.Add(10 * time.Minute)
	next := b.bank(id)
	if next == before[0].ID {
		t.Error("the same id again")
	}
	b.must(alpaca.PayOut(id, next, dec("10")))
	b.must(alpaca.Write{Method: "DELETE", Path: path + "/" + next})
	b.refused(alpaca.Write{Method: "DELETE", Path: path + "/" + next}, 404, 40410000)
}

func TestTransferCanBeCanceledInTime(t *testing.T) {
	t.Parallel()
	b := newBox(t, "2026-11-20 10:00", sim.Options{})
	id := b.add(sim.Spec{Cash: dec("10")})
	first := b.must(alpaca.PayOut(id, b.bank(id), dec("10")))
	path := "/v1/accounts/" + id + "/transfers/"
	b.must(alpaca.Write{Method: "DELETE", Path: path + first.BrokerID})
	b.transferStatus(id, "CANCELED")
	b.balances(id, "10", "10")
	b.refused(alpaca.Write{Method: "DELETE", Path: path + first.BrokerID}, 422, 42210000)
	second := b.must(alpaca.PayOut(id, b.bank(id), dec("10")))
	b.set("2026-11-20 14:05")
	b.refused(alpaca.Write{Method: "DELETE", Path: path + second.BrokerID}, 422, 42210000)
	b.audit(id)
}

func TestActivitiesTellWhatCameIn(t *testing.T) {
	t.Parallel()
	b := newBox(t, "2026-11-20 10:00", sim.Options{})
	id := b.add(sim.Spec{Cash: dec("10")})
	for range 205 {
		if err := b.sim.Event(id, sim.Event{Type: "dividend", Amount: dec("0.01"), Symbol: "AAPL"}); err != nil {
			t.Fatal(err)
		}
	}
	b.now = b.now.Add(time.Minute)
	if err := b.sim.Event(id, sim.Event{Type: "interest", Amount: dec("0.5")}); err != nil {
		t.Fatal(err)
	}
	list, err := b.client.Activities(t.Context(), id, time.Time{})
	if err != nil || len(list) != 206 || list[205].Type != "INT" || !list[205].NetAmount.Decimal.Equal(dec("0.5")) || list[205].Date != "2026-11-20" {
		t.Errorf("%d activities, %v", len(list), err)
	}
	list, err = b.client.Activities(t.Context(), id, b.now.Add(-time.Second))
	if err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
}

// Whatever was to be undone later, a closed account stays closed. Found by the simulation (seed 2597).
func TestAClosedAccountStaysClosed(t *testing.T) {
	t.Parallel()
	b := newBox(t, "2026-11-20 10:00", sim.Options{})
	id := b.add(sim.Spec{Events: []sim.Event{{Type: "status", Status: "ACCOUNT_UPDATED", For: hours(24)}}})
	if err := b.sim.Event(id, sim.Event{Type: "close"}); err != nil {
		t.Fatal(err)
	}
	b.set("2026-11-22 10:00")
	truth, err := b.sim.Truth(id)
	if err != nil || truth.Status != "ACCOUNT_CLOSED" {
		t.Errorf("%s: %v", truth.Status, err)
	}
}
