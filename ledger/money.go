package ledger

import (
	"fmt"

	"github.com/shopspring/decimal"
)

type nullDecimal = decimal.NullDecimal

// money writes a sum as text; "" is unknown, which is never zero.
func money(d nullDecimal) string {
	if !d.Valid {
		return ""
	}
	return d.Decimal.String()
}

func parseMoney(s string, to *nullDecimal) error {
	if s == "" {
		*to = nullDecimal{}
		return nil
	}
	d, err := decimal.NewFromString(s)
	if err != nil {
		return fmt.Errorf("read the sum %q: %w", s, err)
	}
	*to = decimal.NewNullDecimal(d)
	return nil
}
