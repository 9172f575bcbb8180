package sim_test

import (
	"testing"
	"time"

	"closeout/alpaca"
	"closeout/alpaca/sim"
)

func TestSaleOverAWeekendAndAHoliday(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ sold, waits, settles string }{
		{"2026-11-20 15:00", "2026-11-23 02:29", "2026-11-23 02:30"}, // Friday to Monday
		{"2026-11-20 18:00", "2026-11-24 02:29", "2026-11-24 02:30"}, // after the close: sold on Monday
		{"2026-11-25 11:00", "2026-11-27 02:29", "2026-11-27 02:30"}, // over Thanksgiving
		{"2026-11-27 13:00", "2026-12-01 02:29", "2026-12-01 02:30"}, // closed early: sold on Monday
		{"2026-10-09 11:00", "2026-10-13 02:29", "2026-10-13 02:30"}, // Columbus Day: an open exchange, closed banks
		{"2026-10-30 11:00", "2026-11-02 02:29", "2026-11-02 02:30"}, // over the end of summer time
	} {
		t.Run(row.sold, func(t *testing.T) {
			t.Parallel()
			b := newBox(t, row.sold, sim.Options{})
			id := b.add(sim.Spec{Cash: dec("5"), Positions: []sim.PositionSpec{{Symbol: "AAPL", Qty: dec("3"), Price: dec("10.01")}}})
			b.must(alpaca.CloseOrder(id, alpaca.Position{Symbol: "AAPL"}, dec("3"), "c"))
			b.set(row.waits)
			b.balances(id, "35.03", "5")
			b.set(row.settles)
			b.balances(id, "35.03", "35.03")
			b.audit(id)
		})
	}
}

func TestACHOverThanksgiving(t *testing.T) {
	t.Parallel()
	b := newBox(t, "2026-11-25 14:00", sim.Options{}) // Wednesday at the cutoff: Friday's business
	id := b.add(sim.Spec{Cash: dec("1000")})
	b.must(alpaca.PayOut(id, b.bank(id), dec("400")))
	b.balances(id, "600", "600")
	for _, row := range []struct{ at, want string }{
		{"2026-11-25 14:00", "QUEUED"},
		{"2026-11-25 14:05", "PENDING"},
		{"2026-11-26 12:00", "PENDING"},
		{"2026-11-27 14:00", "PENDING"},
		{"2026-11-27 14:05", "SENT_TO_CLEARING"},
		{"2026-11-30 08:29", "SENT_TO_CLEARING"},
		{"2026-11-30 08:30", "COMPLETE"},
	} {
		b.set(row.at)
		b.transferStatus(id, row.want)
		a, err := b.client.TradingAccount(t.Context(), id)
		if err != nil || a.PendingTransferOut.Decimal.IsZero() != (row.want == "COMPLETE") {
			t.Errorf("%s: pending %v, %v", row.at, a.PendingTransferOut, err)
		}
	}
	if day := b.truth(id).Transfers[0].Day; day != "2026-11-27" {
		t.Errorf("it used the limit of %s", day)
	}
	b.audit(id)
}

func TestACHBeforeTheCutoff(t *testing.T) {
	t.Parallel()
	b := newBox(t, "2026-11-10 13:59", sim.Options{}) // the day before Veterans Day, on which only the exchange works
	id := b.add(sim.Spec{Cash: dec("1000")})
	b.must(alpaca.PayOut(id, b.bank(id), dec("1000")))
	b.set("2026-11-10 14:06")
	b.transferStatus(id, "SENT_TO_CLEARING")
	b.set("2026-11-11 23:00")
	b.transferStatus(id, "SENT_TO_CLEARING")
	b.set("2026-11-12 08:30")
	b.transferStatus(id, "COMPLETE")
}

func TestDailyLimitBelongsToTheBankingDay(t *testing.T) {
	t.Parallel()
	b := newBox(t, "2026-11-20 10:00", sim.Options{})
	id := b.add(sim.Spec{Cash: dec("137512.43")})
	bank := b.bank(id)
	b.refused(alpaca.PayOut(id, bank, dec("50000.01")), 422, 42210007)
	b.must(alpaca.PayOut(id, bank, dec("30000")))
	b.refused(alpaca.PayOut(id, bank, dec("20000.01")), 422, 42210007)
	b.must(alpaca.PayOut(id, bank, dec("20000")))
	b.set("2026-11-20 13:59")
	b.refused(alpaca.PayOut(id, bank, dec("0.01")), 422, 42210007)
	b.set("2026-11-20 14:00") // after the cutoff it is Monday's
	b.must(alpaca.PayOut(id, bank, dec("50000")))
	b.set("2026-11-23 13:00")
	b.refused(alpaca.PayOut(id, bank, dec("37512.43")), 422, 42210007)
	b.set("2026-11-24 09:00")
	b.must(alpaca.PayOut(id, bank, dec("37512.43")))
	b.balances(id, "0", "0")
	b.audit(id)

	small := b.add(sim.Spec{Cash: dec("100"), DailyLimit: dec("60")})
	b.refused(alpaca.PayOut(small, b.bank(small), dec("60.01")), 422, 42210007)
	a, err := b.client.TradingAccount(t.Context(), small)
	if err != nil || !a.Admin.DailyTransferLimit.Decimal.Equal(dec("60")) {
		t.Errorf("limit: %+v, %v", a.Admin, err)
	}
}

func TestPayoutIsRefused(t *testing.T) {
	t.Parallel()
	b := newBox(t, "2026-11-20 10:00", sim.Options{})
	id := b.add(sim.Spec{Cash: dec("100")})
	bank := b.bank(id)
	b.refused(alpaca.PayOut(id, bank, dec("100.01")), 403, 40310000)
	b.refused(alpaca.PayOut(id, bank, dec("0.009")), 422, 42210000)
	b.refused(alpaca.PayOut(id, "3dcb795c-3ccc-402a-abb9-07e26a1b1326", dec("1")), 422, 42210000)
	b.refused(alpaca.Write{Method: "POST", Path: alpaca.PayOut(id, bank, dec("1")).Path, Body: []byte(`"`)}, 400, 40010000)
	queued := b.add(sim.Spec{Cash: dec("100"), ACH: "queued"})
	b.refused(alpaca.PayOut(queued, b.truth(queued).ACHRelationships[0].ID, dec("1")), 422, 42210000)
	if err := b.sim.Event(queued, sim.Event{Type: "relationship_status", Status: "approved"}); err != nil {
		t.Fatal(err)
	}
	b.must(alpaca.PayOut(queued, b.bank(queued), dec("1")))
	for _, e := range []sim.Event{{Type: "block"}, {Type: "block", What: "outgoing"}, {Type: "block", What: "account"}, {Type: "status", Status: "ACCOUNT_UPDATED"}} {
		blocked := b.add(sim.Spec{Cash: dec("100"), Events: []sim.Event{e}})
		b.refused(alpaca.PayOut(blocked, b.bank(blocked), dec("1")), 403, 40310000)
	}
	if entries, _ := b.sim.Journal(id); len(entries) != 1 {
		t.Errorf("a refusal is in the journal: %v", kinds(entries))
	}
}

// TestWhenCashMoves follows one payout in each of the ways in which balances may lag behind it.
func TestWhenCashMoves(t *testing.T) {
	t.Parallel()
	moments := []string{"2026-11-20 10:00", "2026-11-20 15:00", "2026-11-23 08:30", "2026-11-24 02:29", "2026-11-24 02:30"}
	for mode, cash := range map[string][]string{
		sim.AtCreation: {"60", "60", "60", "60", "60"},
		sim.AtComplete: {"100", "100", "60", "60", "60"},
		sim.Late:       {"100", "100", "100", "100", "60"},
	} {
		b := newBox(t, moments[0], sim.Options{})
		id := b.add(sim.Spec{Cash: dec("100"), CashMoves: mode})
		b.must(alpaca.PayOut(id, b.bank(id), dec("40")))
		for i, at := range moments {
			b.set(at)
			b.balances(id, cash[i], cash[i])
			if booked := b.truth(id).Booked; !booked.Equal(dec("60")) {
				t.Errorf("%s at %s: booked %s", mode, at, booked)
			}
		}
		b.audit(id)
	}
}

func TestReturnBringsTheMoneyBack(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{sim.AtCreation, sim.AtComplete, sim.Late} {
		b := newBox(t, "2026-11-20 10:00", sim.Options{CashMoves: mode})
		id := b.add(sim.Spec{Cash: dec("100"), Events: []sim.Event{{Type: "ach_return", When: sim.AfterFirstPayoutComplete, After: sim.Duration(26 * time.Hour)}}})
		b.must(alpaca.PayOut(id, b.bank(id), dec("100")))
		b.set("2026-11-24 10:29")
		b.transferStatus(id, "COMPLETE")
		b.balances(id, "0", "0")
		b.set("2026-11-24 10:30") // 26 hours after Monday, 8:30
		b.transferStatus(id, "RETURNED")
		b.balances(id, "100", "100")
		b.must(alpaca.PayOut(id, b.bank(id), dec("100")))
		b.set("2026-11-26 12:00")
		b.transferStatus(id, "COMPLETE")
		b.audit(id)
	}
}
