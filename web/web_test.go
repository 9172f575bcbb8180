package web

import (
	"testing"

	"github.com/shopspring/decimal"
)

func TestThousandsAreSetApart(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "$0.00": "$0.00", "$999.99": "$999.99", "$1000": "$1,000", "$137512.43 is on its way": "$137,512.43 is on its way", "of $1234567.00 and $50000.": "of $1,234,567.00 and $50,000.",
		"12345 USD": "12345 USD", "$ 12345": "$ 12345", "$1,234.00": "$1,234.00",
	} {
		if got := sums(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	for sum, want := range map[string]string{"137512.439": "$137,512.43", "-1000": "−$1,000.00", "0": "$0.00", "-0.001": "$0.00"} {
		if got := dollars(decimal.RequireFromString(sum)); got != want {
			t.Errorf("%s: %s, want %s", sum, got, want)
		}
	}
}
