package sim_test

import (
	"context"
	"testing"
	"time"

	"github.com/shopspring/decimal"

	"closeout/alpaca"
	"closeout/alpaca/sim"
)

// box is a simulator with a clock of its own and the real client in front of it.
type box struct {
	testing.TB
	sim    *sim.Sim
	client *alpaca.Client
	now    time.Time
}

func newBox(tb testing.TB, start string, o sim.Options) *box {
	tb.Helper()
	b := &box{TB: tb, now: newYork(tb, start)}
	o.Now = func() time.Time { return b.now }
	s, err := sim.Open(o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	b.use(s)
	return b
}

func (b *box) use(s *sim.Sim) {
	b.Helper()
	client, err := alpaca.New(alpaca.Options{BaseURL: "http://broker.test", Key: "key", Secret: "secret", Transport: s.Transport()})
	if err != nil {
		b.Fatal(err)
	}
	b.sim, b.client = s, client
}

// newYork reads "2006-01-02 15:04" as New York wall time.
func newYork(tb testing.TB, s string) time.Time {
	tb.Helper()
	t, err := time.ParseInLocation("2006-01-02 15:04", s, sim.NewYork)
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

func (b *box) set(s string) { b.Helper(); b.now = newYork(b, s) }

func (b *box) add(spec sim.Spec) string {
	b.Helper()
	id, err := b.sim.AddAccount(spec)
	if err != nil {
		b.Fatal(err)
	}
	return id
}

func (b *box) send(w alpaca.Write) (alpaca.Answer, error) {
	b.Helper()
	s, err := b.client.Dial(b.Context())
	if err != nil {
		return alpaca.Answer{}, err
	}
	defer func() { _ = s.Close() }()
	return s.Send(b.Context(), w)
}

// must sends a write that the broker has to accept.
func (b *box) must(w alpaca.Write) alpaca.Answer {
	b.Helper()
	a, err := b.send(w)
	if err != nil {
		b.Fatal(err)
	}
	if a.Err != nil {
		b.Fatal(a.Err)
	}
	return a
}

// refused sends a write that the broker has to refuse in this way.
func (b *box) refused(w alpaca.Write, status, code int) {
	b.Helper()
	a, err := b.send(w)
	if err != nil {
		b.Fatal(err)
	}
	if a.Err == nil || a.Status != status || a.Err.Code != code {
		b.Errorf("%s: got %d %v, want %d (%d)", w, a.Status, a.Err, status, code)
	}
}

func (b *box) truth(id string) sim.Truth {
	b.Helper()
	t, err := b.sim.Truth(id)
	if err != nil {
		b.Fatal(err)
	}
	return t
}

func (b *box) balances(id, cash, withdrawable string) {
	b.Helper()
	a, err := b.client.TradingAccount(b.Context(), id)
	if err != nil {
		b.Fatal(err)
	}
	if !a.Cash.Decimal.Equal(dec(cash)) || !a.CashWithdrawable.Decimal.Equal(dec(withdrawable)) {
		b.Errorf("%s: cash %s, withdrawable %s; want %s, %s", b.now.Format("Mon 15:04"), a.Cash.Decimal, a.CashWithdrawable.Decimal, cash, withdrawable)
	}
}

func (b *box) transferStatus(id, want string) {
	b.Helper()
	list, err := b.client.Transfers(b.Context(), id)
	if err != nil {
		b.Fatal(err)
	}
	if len(list) == 0 || list[len(list)-1].Status != want {
		b.Errorf("%s: transfers %+v, want the last %s", b.now.Format("Mon 15:04"), list, want)
	}
}

// audit holds the cash of an account against its journal.
func (b *box) audit(id string) {
	b.Helper()
	entries, err := b.sim.Journal(id)
	if err != nil {
		b.Fatal(err)
	}
	sum := decimal.Zero
	for _, e := range entries {
		sum = sum.Add(e.Cash)
	}
	if t := b.truth(id); !t.Cash.Equal(sum) {
		b.Errorf("cash is %s, its journal says %s", t.Cash, sum)
	}
}

func (b *box) bank(id string) string {
	b.Helper()
	list, err := b.client.Relationships(b.Context(), id)
	if err != nil || len(list) == 0 || !list[0].Approved() {
		b.Fatalf("relationships: %v, %v", list, err)
	}
	return list[0].ID
}

func dec(s string) decimal.Decimal { return decimal.RequireFromString(s) }

func dec2(s ...string) (all []decimal.Decimal) {
	for _, d := range s {
		all = append(all, dec(d))
	}
	return all
}

func kinds(entries []sim.Entry) []string {
	var k []string
	for _, e := range entries {
		k = append(k, e.Kind)
	}
	return k
}

// TestWholeLife closes an account by hand, from three stocks and a bracket to ACCOUNT_CLOSED, by the real client.
func TestWholeLife(t *testing.T) {
	t.Parallel()
	b := newBox(t, "2026-11-20 11:00", sim.Options{Key: "key", Secret: "secret", Path: t.TempDir() + "/sim.db"}) // a Friday
	ctx := context.Background()
	id := b.add(sim.Spec{
		Cash: dec("100.10"),
		Positions: []sim.PositionSpec{
			{Symbol: "AAPL", Qty: dec("10"), Price: dec("200")},
			{Symbol: "VTI", Qty: dec("1.5"), Price: dec("300.01")},
			{Symbol: "SHRT", Qty: dec("-2"), Price: dec("10")},
		},
		Orders: []sim.OrderSpec{{Symbol: "AAPL", Qty: dec("10"), Side: "buy", Class: "bracket"}, {Symbol: "MSFT", Qty: dec("1"), Side: "buy"}},
	})
	orders, err := b.client.OpenOrders(ctx, id)
	if err != nil || len(orders) != 2 {
		t.Fatalf("open orders: %+v, %v", orders, err)
	}
	positions, err := b.client.Positions(ctx, id)
	if err != nil || len(positions) != 3 || !positions[0].QtyAvailable.Decimal.IsZero() {
		t.Fatalf("positions: %+v, %v", positions, err)
	}
	b.refused(alpaca.CloseOrder(id, positions[0], dec("10"), "early"), 403, 40310000)
	b.refused(alpaca.CloseAccount(id), 422, 42210011)
	for _, o := range orders {
		for _, live := range o.Live() {
			b.must(alpaca.CancelOrder(id, live.ID))
			break // the other exit of the bracket goes with the first
		}
	}
	b.now = b.now.Add(3 * time.Second)
	if orders, err = b.client.OpenOrders(ctx, id); err != nil || len(orders) != 0 {
		t.Fatalf("open orders after the cancel: %+v, %v", orders, err)
	}
	for _, p := range positions {
		w := alpaca.CloseOrder(id, p, p.Qty.Decimal, "close-"+p.Symbol)
		a := b.must(w)
		if a.Order == nil || a.Order.Status != "new" || a.BrokerID == "" {
			t.Errorf("answer: %+v", a)
		}
		b.refused(w, 422, 40010001)
	}
	b.now = b.now.Add(4 * time.Second)
	o, err := b.client.OrderByClientID(ctx, id, "close-VTI")
	if err != nil || o.Status != "filled" || !o.FilledAvgPrice.Decimal.Equal(dec("300.01")) {
		t.Errorf("order: %+v, %v", o, err)
	}
	if positions, err = b.client.Positions(ctx, id); err != nil || len(positions) != 0 {
		t.Fatalf("positions: %+v, %v", positions, err)
	}
	b.balances(id, "2530.12", "80.10") // 100.10 + 2000 + 450.02 − 20; sales settle on Monday
	bank := b.bank(id)
	b.refused(alpaca.PayOut(id, bank, dec("2530.12")), 403, 40310000)
	b.set("2026-11-23 02:29")
	b.balances(id, "2530.12", "80.10")
	b.set("2026-11-23 02:30")
	b.balances(id, "2530.12", "2530.12")
	b.must(alpaca.PayOut(id, bank, dec("2530.12")))
	b.balances(id, "0", "0")
	b.refused(alpaca.CloseAccount(id), 422, 42210014)
	b.set("2026-11-24 08:31")
	b.transferStatus(id, "COMPLETE")
	b.must(alpaca.CloseAccount(id))
	if a, err := b.client.Account(ctx, id); err != nil || !alpaca.Closed(a.Status) {
		t.Errorf("account: %+v, %v", a, err)
	}
	b.refused(alpaca.CloseAccount(id), 422, 42210010)
	b.audit(id)
	entries, _ := b.sim.Journal(id)
	payouts := 0
	for i, e := range entries {
		if i > 0 && e.At.Before(entries[i-1].At) {
			t.Errorf("the journal goes back in time at %d: %v", e.Seq, e)
		}
		if e.Kind == "transfer" {
			payouts++
			if e.Amount != "2530.12" || e.Actor != "api" || e.Key == "" {
				t.Errorf("payout: %+v", e)
			}
		}
	}
	if payouts != 1 {
		t.Errorf("%d payouts in %v", payouts, kinds(entries))
	}
}
