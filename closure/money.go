package closure

import (
	"github.com/shopspring/decimal"
)

// Cent is the smallest sum that counts; a residue below it counts as nothing.
var Cent = decimal.New(1, -2)

// Cents cuts a sum to whole cents, towards zero: what can be paid is never rounded up.
func Cents(d decimal.Decimal) decimal.Decimal { return d.Truncate(2) }

// USD writes a sum with its two places.
func USD(d decimal.Decimal) string { return d.StringFixed(2) }

// Least is the smallest of the sums.
func Least(first decimal.Decimal, rest ...decimal.Decimal) decimal.Decimal {
	return decimal.Min(first, rest...)
}
