package ledger

import (
	"database/sql/driver"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/shopspring/decimal"
)

// ts carries a time to and from both databases: UTC, cut to microseconds, NULL for the zero time. SQLite hands
// TIMESTAMPTZ back as text.
type ts time.Time

const tsLayout = "2006-01-02 15:04:05.999999999-07:00"

// Value implements driver.Valuer.
func (t ts) Value() (driver.Value, error) {
	v := time.Time(t)
	if v.IsZero() {
		return nil, nil
	}
	return microseconds(v), nil
}

// Scan implements sql.Scanner.
func (t *ts) Scan(v any) error {
	switch v := v.(type) {
	case nil:
		*t = ts{}
	case time.Time:
		*t = ts(v.UTC())
	case string:
		p, err := time.Parse(tsLayout, v)
		if err != nil {
			return fmt.Errorf("read a time: %w", err)
		}
		*t = ts(p.UTC())
	default:
		return fmt.Errorf("read a time: unexpected %T", v)
	}
	return nil
}

// TimestamptzValue implements pgtype.TimestamptzValuer, which spares Postgres's driver the way through a driver.Value.
func (t ts) TimestamptzValue() (pgtype.Timestamptz, error) {
	v := time.Time(t)
	return pgtype.Timestamptz{Time: microseconds(v), Valid: !v.IsZero()}, nil
}

// ScanTimestamptz implements pgtype.TimestamptzScanner.
func (t *ts) ScanTimestamptz(v pgtype.Timestamptz) error {
	switch {
	case !v.Valid:
		*t = ts{}
	case v.InfinityModifier != pgtype.Finite:
		return fmt.Errorf("read a time: it is %s", v.InfinityModifier)
	default:
		*t = ts(v.Time.UTC())
	}
	return nil
}

// microseconds is a time as both databases can keep it.
func microseconds(t time.Time) time.Time { return t.Round(0).UTC().Truncate(time.Microsecond) }

// cents is a sum in whole cents, as a database adds it up exactly. NULL is unknown, which is never zero.
func cents(dollars string) any {
	d, err := decimal.NewFromString(dollars)
	if err != nil || d.Abs().GreaterThan(most) {
		return nil
	}
	return d.Shift(2).IntPart()
}

// most is far above any account, and far below what overflows when a million of them are added up.
var most = decimal.New(1, 11)

// dollars is such a sum again.
func dollars(cents int64) decimal.Decimal { return decimal.New(cents, -2) }

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

// plain is a text as both databases can keep it: Postgres takes no NUL and no broken UTF-8, and a broker's words may hold
// either.
func plain(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}
