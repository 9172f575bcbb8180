package sim

import (
	"regexp"
	"strings"

	"github.com/shopspring/decimal"
)

// contract is how an option is named: its underlying, the day of its expiry, C or P, the strike price.
var contract = regexp.MustCompile(`^([A-Z]+)[0-9]{6}([CP])[0-9]{8}$`)

// classOf is what a symbol is of that nobody has said more about.
func classOf(symbol string) string {
	if contract.MatchString(symbol) {
		return "us_option"
	}
	return "us_equity"
}

// multiplier is how many shares one unit of a class is for.
func multiplier(class string) decimal.Decimal {
	if class == "us_option" {
		return decimal.NewFromInt(100)
	}
	return decimal.NewFromInt(1)
}

func (p position) worth() decimal.Decimal { return p.Qty.Mul(p.Price).Mul(multiplier(p.Class)) }

// covering is how many of a position's shares cover calls that the account has sold: they can't go before those are bought
// back.
func (a *account) covering(p *position) decimal.Decimal {
	sum := decimal.Zero
	if p.Class != "us_equity" {
		return sum
	}
	for _, q := range a.Positions {
		if m := contract.FindStringSubmatch(q.Symbol); m != nil && m[1] == p.Symbol && m[2] == "C" && q.Qty.IsNegative() {
			sum = sum.Add(q.Qty.Abs().Mul(multiplier(q.Class)))
		}
	}
	return sum
}

// acats is what arrives from another firm: cash, or shares.
func (v *visit) acats(e Event) error {
	if e.Symbol == "" {
		return v.income("ACATC", e, e.Amount)
	}
	if err := v.arrive(e); err != nil {
		return err
	}
	v.note(activity{Type: "ACATS", Symbol: strings.ToUpper(e.Symbol), Qty: e.Qty})
	return nil
}

// bookFees takes what has accrued out of the cash.
func (v *visit) bookFees(Event) error {
	for _, f := range []struct {
		sub string
		sum *decimal.Decimal
	}{{"", &v.a.AccruedFees}, {"REG", &v.a.SaleFees}} {
		if !f.sum.IsPositive() {
			continue
		}
		v.move(f.sum.Neg(), Entry{Kind: "fee", Note: "booked"})
		v.note(activity{Type: "FEE", Sub: f.sub, Net: f.sum.Neg()})
		*f.sum = decimal.Zero
	}
	return nil
}

// release lets held cash go.
func (v *visit) release(e Event) error {
	v.book(Entry{Kind: "release", Amount: v.a.Held.StringFixed(2), Note: e.Reason})
	v.a.Held = decimal.Zero
	return nil
}
