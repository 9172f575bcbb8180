package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"closeout/alpaca/sim"
	"closeout/closure"
)

// demo is one account of the demo, with the end that it must reach.
type demo struct {
	name  string
	spec  sim.Spec
	after time.Duration // business time from the demo's beginning to its initiate
	end   end
}

// end is how a closure must end.
type end struct {
	state  closure.State
	reason closure.Reason // of a stop
	paid   []string       // each payout, as the broker's journal has it
	how    string         // in words
}

func (e end) String() string {
	var b strings.Builder
	b.WriteString(string(e.state))
	if e.reason != "" {
		_, _ = fmt.Fprintf(&b, " (%s)", e.reason)
	}
	if len(e.paid) > 0 {
		b.WriteString(", paid $" + strings.Join(e.paid, " + $"))
	}
	return b.String() + ": " + e.how
}

// reached says whether a closure ended so. What was paid is read from the intents that the broker took.
func (e end) reached(c closure.Closure, intents []closure.Intent) bool {
	var paid []string
	for _, i := range intents {
		if i.Kind == closure.TransferIntent && i.State == closure.IntentSent {
			paid = append(paid, closure.USD(i.Amount.Decimal))
		}
	}
	return c.State == e.state && (e.reason == "" || c.Reason == e.reason) && slices.Equal(paid, e.paid)
}

// demoBegins is the business time at which a new demo starts: Wednesday morning in New York, before a weekend that ends
// with a holiday.
var demoBegins = time.Date(2027, time.January, 13, 15, 0, 0, 0, time.UTC)

// toSaturday leads from the demo's beginning to Saturday noon before Martin Luther King Day.
const toSaturday = 3*24*time.Hour + 2*time.Hour

func dollars(s string) decimal.Decimal { return decimal.RequireFromString(s) }

func stock(symbol, qty, price string) sim.PositionSpec {
	return sim.PositionSpec{Symbol: symbol, Qty: dollars(qty), Price: dollars(price)}
}

func hours(n int) sim.Duration { return sim.Duration(time.Duration(n) * time.Hour) }

// demos are the demo's accounts. Their ids follow from their places, so that a second start finds the same ones.
var demos = []demo{
	{
		name: "cash only", spec: sim.Spec{Cash: dollars("4217.08")},
		end: end{closure.Closed, "", []string{"4217.08"}, "paid at once, closed after the return watch"},
	},
	{
		name: "three stocks",
		spec: sim.Spec{
			Cash: dollars("310.25"), Positions: []sim.PositionSpec{stock("AAPL", "10", "231.40"), stock("VTI", "12", "290.05"), stock("F", "66", "12.10")},
			Orders: []sim.OrderSpec{
				{Symbol: "F", Qty: dollars("66"), LimitPrice: dollars("99")},
				{Symbol: "AAPL", Qty: dollars("10"), Side: "buy", Class: "bracket", TakeProfit: dollars("300"), StopLoss: dollars("150")},
			},
		},
		end: end{closure.Closed, "", []string{"6903.45"}, "open and bracket orders cancelled, sold, settled, paid"},
	},
	{
		name: "fractions",
		spec: sim.Spec{Cash: dollars("12.34"), Positions: []sim.PositionSpec{stock("AAPL", "1.333333333", "231.40"), stock("VTI", "0.123456789", "290.05")}},
		end:  end{closure.Closed, "", []string{"356.68"}, "fractions sold whole, to the last digit"},
	},
	{
		name: "large sum", spec: sim.Spec{Cash: dollars("137512.43")},
		end: end{closure.Closed, "", []string{"50000.00", "50000.00", "37512.43"}, "three banking days, the daily limit each"},
	},
	{
		name: "long weekend", after: toSaturday,
		spec: sim.Spec{Cash: dollars("50"), Positions: []sim.PositionSpec{stock("KO", "20", "62.15")}},
		end:  end{closure.Closed, "", []string{"1293.00"}, "initiated on a Saturday before a holiday, sold on Tuesday"},
	},
	{
		name: "bank deleted",
		spec: sim.Spec{
			Cash: dollars("75"), Positions: []sim.PositionSpec{stock("PEP", "5", "150")},
			Events: []sim.Event{{Type: "relationship_delete", When: sim.AfterFirstOrder}},
		},
		end: end{closure.Failed, closure.BankGone, nil, "the customer must relink the bank"},
	},
	{
		name: "halted stock",
		spec: sim.Spec{Cash: dollars("1"), Positions: []sim.PositionSpec{{Symbol: "HALT", Qty: dollars("10"), Price: dollars("8"), Halted: true, Resumes: hours(24)}}},
		end:  end{closure.Closed, "", []string{"81.00"}, "sold when the halt was lifted the next day"},
	},
	{
		name: "ACH return",
		spec: sim.Spec{Cash: dollars("640.10"), Events: []sim.Event{{Type: "ach_return", When: sim.AfterFirstPayoutComplete, After: hours(3)}}},
		end:  end{closure.Closed, "", []string{"640.10", "640.10"}, "the bank returned it, it was paid again"},
	},
	{
		name: "late dividend",
		spec: sim.Spec{Cash: dollars("500"), Events: []sim.Event{{Type: "dividend", When: sim.AfterFirstPayoutComplete, After: hours(26), Amount: dollars("7.77"), Symbol: "KO"}}},
		end:  end{closure.Closed, "", []string{"500.00", "7.77"}, "the dividend that came later was paid too"},
	},
	{
		name: "negative cash",
		spec: sim.Spec{
			Cash: dollars("20"), Positions: []sim.PositionSpec{stock("F", "4", "12.50")},
			Events: []sim.Event{{Type: "fee", When: sim.AfterFirstOrder, Amount: dollars("500")}},
		},
		end: end{closure.Failed, closure.NegativeCash, nil, "the account owes $430.00"},
	},
	{
		name: "transfers blocked",
		spec: sim.Spec{Cash: dollars("880"), TransfersBlocked: true, Events: []sim.Event{{Type: "unblock", What: "transfers", After: hours(26)}}},
		end:  end{closure.Closed, "", []string{"880.00"}, "waited for the broker, went on when the block was lifted"},
	},
	{
		name: "closed elsewhere",
		spec: sim.Spec{Cash: dollars("60"), Positions: []sim.PositionSpec{stock("T", "9", "20")}, Events: []sim.Event{{Type: "close", When: sim.AfterFirstFill, After: hours(4)}}},
		end:  end{closure.Closed, "", nil, "somebody else closed it midway; reconciled"},
	},
}

func (d demo) id() string {
	n := slices.IndexFunc(demos, func(e demo) bool { return e.name == d.name }) + 1
	return fmt.Sprintf("5eed0000-0000-4000-8000-%012d", n)
}

// makeDemos makes the demo accounts; those that are there already stay as they are.
func makeDemos(broker *sim.Sim) error {
	for _, d := range demos {
		spec := d.spec
		spec.ID = d.id()
		if _, err := broker.AddAccount(spec); err != nil {
			return fmt.Errorf("make demo account %q: %w", d.name, err)
		}
	}
	return nil
}
