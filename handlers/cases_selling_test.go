package handlers_test

import (
	"net/http"
	"slices"
	"time"

	"github.com/shopspring/decimal"

	"closeout/alpaca/sim"
	"closeout/calendar"
	"closeout/closure"
	"closeout/internal/lab"
)

const (
	orders    = "/v1/trading/accounts/*/orders"
	transfers = "/v1/accounts/*/transfers"
	closings  = "/v1/accounts/*/actions/close"
)

// many are as many orders alike.
func many(n int, o sim.OrderSpec) []sim.OrderSpec { return slices.Repeat([]sim.OrderSpec{o}, n) }

func option(symbol, qty, price string) sim.PositionSpec {
	p := holds(symbol, qty, price)
	p.AssetClass = "us_option"
	return p
}

// sellingCases are those of the liquidation, 1 to 15.
var sellingCases = []brokerCase{
	{
		name: "01_MarketClosed", start: "2026-11-27 13:30", // the day after Thanksgiving closes at one
		spec:  sim.Spec{Cash: d("10"), Positions: []sim.PositionSpec{holds("AAPL", "3", "200")}, Orders: []sim.OrderSpec{{Symbol: "AAPL", Qty: d("3")}}},
		waits: []closure.Reason{closure.OrdersCanceling, closure.MarketClosed},
		paid:  []string{"610.00"},
		check: func(l *lab.Lab, j journal) {
			j.of("cancel").between(l.TB, "2026-11-27 13:30", "2026-11-27 13:45")
			j.of("order").between(l.TB, "2026-11-30 09:30", "2026-11-30 09:40")
		},
	},
	{
		name: "02_OrdersHoldShares",
		spec: sim.Spec{
			Cash: d("10"), Positions: []sim.PositionSpec{holds("F", "66", "10"), holds("VTI", "5", "20")},
			Orders: append(many(60, sim.OrderSpec{Symbol: "F", Qty: d("1")}), sim.OrderSpec{Symbol: "VTI", Qty: d("5"), Class: "oco"}, sim.OrderSpec{Symbol: "MSFT", Qty: d("1"), Side: "buy", Class: "bracket"}),
		},
		waits: []closure.Reason{closure.OrdersCanceling},
		paid:  []string{"770.00"},
		check: func(l *lab.Lab, j journal) {
			if first, last := j.of("order")[0], j.of("order_canceled"); len(last) < 62 || last[len(last)-1].Seq > first.Seq {
				l.TB.Errorf("something was sold before all of %d orders were gone", len(last))
			}
		},
	},
	{
		name:  "03_PartialFillThenExpired",
		spec:  sim.Spec{Cash: d("10"), Positions: []sim.PositionSpec{{Symbol: "AAPL", Qty: d("10"), Price: d("200"), PartialFills: []decimal.Decimal{d("0.4")}}}},
		paid:  []string{"2010.00"},
		check: func(l *lab.Lab, j journal) { same(l.TB, "fills", j.of("fill").qtys(), "4", "6") },
	},
	{
		name: "04_AnotherAgentBuys",
		spec: sim.Spec{
			Cash: d("1000"), Positions: []sim.PositionSpec{holds("AAPL", "1", "100")},
			Events: []sim.Event{{Type: "order", Symbol: "MSFT", Qty: d("1"), Side: "buy", Price: d("50"), When: sim.AfterLastPosition, After: hours(1)}},
		},
		paid: []string{"1100.00"},
		check: func(l *lab.Lab, j journal) {
			same(l.TB, "fills", j.of("fill").words(), "sell AAPL", "buy MSFT", "sell MSFT")
		},
	},
	{
		name: "05_RebalancingMidWay",
		spec: sim.Spec{Cash: d("10"), Positions: []sim.PositionSpec{holds("AAPL", "3", "200")}, Rebalancing: true},
		end:  closure.Failed, stop: closure.Rebalanced, says: "rebalancing portfolio",
		mend: []sim.Event{{Type: "rebalancing", Status: "off"}},
		paid: []string{"610.00"},
	},
	{
		name:  "06_Dust",
		spec:  sim.Spec{Cash: d("5"), Positions: []sim.PositionSpec{holds("AAPL", "0.000000001", "200")}},
		paid:  []string{"5.00"},
		check: func(l *lab.Lab, j journal) { same(l.TB, "sold", j.of("fill").qtys(), "0.000000001") },
	},
	{
		name:  "06_DustThatIsRefused",
		spec:  sim.Spec{Cash: d("5"), Positions: []sim.PositionSpec{holds("AAPL", "0.000000001", "200")}},
		rules: []sim.Rule{{Method: http.MethodPost, Path: orders, Fault: sim.FaultError, Status: 422}},
		end:   closure.Failed, stop: closure.OrderRefused, says: "422",
		mend: []sim.Event{{Type: "worthless", Symbol: "AAPL"}},
		paid: []string{"5.00"},
	},
	{
		name:  "07_HaltedSymbol",
		spec:  sim.Spec{Cash: d("1"), Positions: []sim.PositionSpec{{Symbol: "HALT", Qty: d("10"), Price: d("8"), Halted: true, Resumes: days(28)}}},
		waits: []closure.Reason{closure.Halted, closure.MarketClosed},
		paid:  []string{"81.00"},
	},
	{
		name: "08_OverTheCounter",
		spec: sim.Spec{Cash: d("1"), Positions: []sim.PositionSpec{{Symbol: "OTCX", Qty: d("10"), Price: d("8"), Tradable: new(bool)}}},
		paid: []string{"81.00"},
	},
	{
		name: "08_Inactive",
		spec: sim.Spec{Cash: d("1"), Positions: []sim.PositionSpec{holds("F", "2", "10"), {Symbol: "DEAD", Qty: d("10"), Price: d("0.01"), Inactive: true}}},
		end:  closure.Failed, stop: closure.InactiveAsset, says: "DEAD is inactive",
		mend: []sim.Event{{Type: "worthless", Symbol: "DEAD"}},
		paid: []string{"21.00"},
	},
	{
		name: "09_Short",
		spec: sim.Spec{Cash: d("50"), Positions: []sim.PositionSpec{holds("AAPL", "3", "200"), holds("SHRT", "-5", "20")}},
		paid: []string{"550.00"},
		check: func(l *lab.Lab, j journal) {
			same(l.TB, "orders and fills", j.of("order", "fill").words(), "buy SHRT", "buy SHRT", "sell AAPL", "sell AAPL")
		},
	},
	{
		name: "09_ShortThatCostsMoreThanThereIs",
		spec: sim.Spec{Cash: d("10"), Positions: []sim.PositionSpec{holds("SHRT", "-5", "20")}},
		end:  closure.Failed, stop: closure.NegativeCash, says: "$90.00",
		mend: []sim.Event{{Type: "journal", Amount: d("90")}},
	},
	{
		name: "10_Options", start: "2026-11-21 12:00", // a Saturday
		spec: sim.Spec{Cash: d("100"), Positions: []sim.PositionSpec{
			holds("AAPL", "100", "200"), option("AAPL261218C00250000", "-1", "3"), option("AAPL261218P00150000", "2", "1.5"),
		}},
		waits: []closure.Reason{closure.MarketClosed},
		paid:  []string{"20100.00"},
		check: func(l *lab.Lab, j journal) {
			j.of("order").between(l.TB, "2026-11-23 09:30", "2026-11-23 10:00")
			if first := j.of("order", "fill").words(); len(first) != 6 || first[0] != "buy AAPL261218C00250000" || first[1] != first[0] {
				l.TB.Errorf("%q: the shares went before the call that they cover", first)
			}
		},
	},
	{
		name: "10_OptionAssigned", // on the Friday nobody sells it; on Saturday morning it has become shares, paid for with cash
		spec: sim.Spec{
			Cash: d("30000"), Positions: []sim.PositionSpec{{Symbol: "AAPL261120P00190000", Qty: d("-1"), Price: d("2"), AssetClass: "us_option", Halted: true}},
			Events: []sim.Event{
				{Type: "worthless", Symbol: "AAPL261120P00190000", At: newYorkAt("2026-11-21 02:30")},
				{Type: "position", Symbol: "AAPL", Qty: d("100"), Price: d("200"), At: newYorkAt("2026-11-21 02:30")},
				{Type: "journal", Amount: d("-19000"), At: newYorkAt("2026-11-21 02:30")},
			},
		},
		waits: []closure.Reason{closure.Halted},
		paid:  []string{"31000.00"},
	},
	{
		name: "10_OptionThatComesLater", // after a payout the books must know what a contract's sale brings in
		spec: sim.Spec{Cash: d("500"), Events: []sim.Event{
			{Type: "position", Symbol: "AAPL261218P00150000", Qty: d("1"), Price: d("1.5"), When: sim.AfterLastPayoutComplete, After: hours(3)},
		}},
		paid: []string{"500.00", "150.00"},
	},
	{
		name: "11_Crypto", start: "2026-11-21 12:00",
		spec:  sim.Spec{Cash: d("5"), Positions: []sim.PositionSpec{{Symbol: "BTC/USD", Qty: d("0.012345678"), Price: d("90000"), AssetClass: "crypto"}, holds("F", "1", "10")}},
		waits: []closure.Reason{closure.MarketClosed}, // for the share alone
		paid:  []string{"1126.11"},
		check: func(l *lab.Lab, j journal) { j.of("fill")[:1].between(l.TB, "2026-11-21 12:00", "2026-11-21 12:05") },
	},
	{
		name: "12_TradingBlocked",
		spec: sim.Spec{
			Cash: d("10"), Positions: []sim.PositionSpec{holds("AAPL", "3", "200")}, TradingBlocked: true,
			Events: []sim.Event{{Type: "unblock", What: "trading", After: days(1)}},
		},
		waits: []closure.Reason{closure.AccountBlocked},
		paid:  []string{"610.00"},
	},
	{
		name: "12_AccountBlocked",
		spec: sim.Spec{Cash: d("10"), Positions: []sim.PositionSpec{holds("AAPL", "3", "200")}, Events: []sim.Event{
			{Type: "block", What: "account", After: hours(1), For: days(1)},
		}},
		waits: []closure.Reason{closure.AccountBlocked},
		paid:  []string{"610.00"},
	},
	{
		name: "12_TradeSuspendedByUser",
		spec: sim.Spec{
			Cash: d("10"), Positions: []sim.PositionSpec{holds("AAPL", "3", "200")}, TradeSuspended: true,
			Events: []sim.Event{{Type: "unblock", What: "suspend", After: days(14)}},
		},
		waits: []closure.Reason{closure.TradeSuspended},
		paid:  []string{"610.00"},
	},
	{
		name:  "12_RefusedForAnotherReason",
		spec:  sim.Spec{Cash: d("10"), Positions: []sim.PositionSpec{holds("AAPL", "3", "200")}},
		rules: []sim.Rule{{Method: http.MethodPost, Path: orders, Fault: sim.FaultError, Status: 403}},
		end:   closure.Failed, stop: closure.OrderRefused, says: "403",
		mend: []sim.Event{},
		paid: []string{"610.00"},
	},
	{
		name: "13_SpinOff",
		spec: sim.Spec{Positions: []sim.PositionSpec{holds("AAPL", "1", "100")}, Events: []sim.Event{
			{Type: "position", Symbol: "SPIN", Qty: d("1.5"), Price: d("7.77"), When: sim.AfterLastPayoutComplete, After: hours(12)},
		}},
		paid: []string{"100.00", "11.66"},
	},
	{
		name: "14_ArrivingFromAnotherFirm",
		spec: sim.Spec{Cash: d("100"), Events: []sim.Event{
			{Type: "acats", Amount: d("50"), After: hours(26)},
			{Type: "acats", Symbol: "KO", Qty: d("2"), Price: d("60"), After: hours(27)},
		}},
		paid: []string{"100.00", "170.00"},
	},
	{
		name: "14_SharesLocked",
		spec: sim.Spec{
			Cash: d("10"), Positions: []sim.PositionSpec{{Symbol: "AAPL", Qty: d("3"), Price: d("200"), Locked: d("1")}},
			Events: []sim.Event{{Type: "unlock", Symbol: "AAPL", After: days(14)}},
		},
		waits: []closure.Reason{closure.SharesHeld},
		paid:  []string{"610.00"},
	},
	{
		name: "15_TradeBust",
		spec: sim.Spec{Cash: d("10"), Positions: []sim.PositionSpec{holds("AAPL", "3", "200")}, Events: []sim.Event{
			{Type: "trade_bust", When: sim.AfterLastPosition, After: hours(4)},
		}},
		paid: []string{"610.00"},
		check: func(l *lab.Lab, j journal) {
			same(l.TB, "fills", j.of("fill", "trade_bust").words(), "sell AAPL", "AAPL", "sell AAPL")
		},
	},
}

func newYorkAt(s string) time.Time {
	t, err := time.ParseInLocation("2006-01-02 15:04", s, calendar.NewYork)
	if err != nil {
		panic(err)
	}
	return t
}
