package closure_test

import (
	"testing"

	"github.com/shopspring/decimal"
	"pgregory.net/rapid"

	"closeout/closure"
)

func d(s string) decimal.Decimal { return decimal.RequireFromString(s) }

func TestSumsAreCutToCents(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ sum, cents, written string }{
		{"0", "0", "0.00"},
		{"0.009999999", "0", "0.00"},
		{"0.01", "0.01", "0.01"},
		{"-0.009", "0", "0.00"},
		{"-0.019", "-0.01", "-0.01"},
		{"1234.5", "1234.5", "1234.50"},
		{"1234.567", "1234.56", "1234.56"},
		{"123456789012345678.999999999", "123456789012345678.99", "123456789012345678.99"},
	} {
		got := closure.Cents(d(tt.sum))
		if !got.Equal(d(tt.cents)) || closure.USD(got) != tt.written {
			t.Errorf("%s: %s, written %s; want %s, %s", tt.sum, got, closure.USD(got), tt.cents, tt.written)
		}
	}
	if !closure.Cent.Equal(d("0.01")) {
		t.Errorf("a cent is %s", closure.Cent)
	}
}

func TestTheLeastOfSums(t *testing.T) {
	t.Parallel()
	if got := closure.Least(d("3"), d("2.50"), d("-1"), d("2.5")); !got.Equal(d("-1")) {
		t.Errorf("the least is %s", got)
	}
	if got := closure.Least(d("3")); !got.Equal(d("3")) {
		t.Errorf("the least of one is %s", got)
	}
}

func TestPropertyWhatIsPaidIsNeverMoreAndLessByUnderACent(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		sum := decimal.New(rapid.Int64().Draw(rt, "digits"), rapid.Int32Range(-12, 3).Draw(rt, "exponent"))
		cut := closure.Cents(sum)
		if cut.Abs().GreaterThan(sum.Abs()) || sum.Sub(cut).Abs().GreaterThanOrEqual(closure.Cent) || !cut.Equal(closure.Cents(cut)) {
			rt.Fatalf("%s is cut to %s", sum, cut)
		}
		if back := d(closure.USD(cut)); !back.Equal(cut) {
			rt.Fatalf("%s is written %s", cut, closure.USD(cut))
		}
	})
}
