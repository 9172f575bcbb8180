package ledger

import (
	"context"
	"fmt"

	"closeout/calendar"
)

// Day is one date of the broker's calendar as it is kept: opening and closing bell in New York wall time ("09:30"), both
// empty on a day without a session, and the date on which that day's trades settle.
type Day struct {
	Date          calendar.Date
	Opens, Closes string
	Settles       calendar.Date
}

// SaveDays keeps what the broker said of these dates, over what it said before.
func (l *Ledger) SaveDays(ctx context.Context, days []Day) error {
	return l.tx(ctx, func(tx *transaction) error {
		for _, d := range days {
			if _, err := tx.ExecContext(ctx, "INSERT INTO closeout.trading_sessions (date, opens, closes, settles) VALUES ($1, $2, $3, $4)"+
				" ON CONFLICT (date) DO UPDATE SET opens = excluded.opens, closes = excluded.closes, settles = excluded.settles",
				string(d.Date), d.Opens, d.Closes, string(d.Settles)); err != nil {
				return fmt.Errorf("keep the calendar of %s: %w", d.Date, err)
			}
		}
		return nil
	})
}

// Days returns the kept calendar in the order of its dates.
func (l *Ledger) Days(ctx context.Context) ([]Day, error) {
	rows, err := l.db.QueryContext(ctx, "SELECT date, opens, closes, settles FROM closeout.trading_sessions ORDER BY date")
	if err != nil {
		return nil, fmt.Errorf("read the kept calendar: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var out []Day
	for rows.Next() {
		var d Day
		if err := rows.Scan(&d.Date, &d.Opens, &d.Closes, &d.Settles); err != nil {
			return nil, fmt.Errorf("read the kept calendar: %w", err)
		}
		out = append(out, d)
	}
	return out, rows.Err()
}
