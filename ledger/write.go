package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// write is a statement that must change exactly one row, or a condition: a query that must find one.
type write struct {
	what   string // in an error
	q      string
	args   []any
	unique error // what it means that a unique index has such a row already; nil: nothing that is foreseen
	unmet  error // what it means that there was no such row; nil: ErrStale
}

// said is what the database answered to a write, as an error.
func (w write) said(n int64, err error) error {
	switch {
	case err != nil && w.unique != nil && isUnique(err):
		return w.unique
	case isUnmet(err), err == nil && n != 1 && !w.plain():
		return cmp.Or(w.unmet, ErrStale)
	case err == nil && n != 1: // as a trigger may have it; what is beside it may be written
		return fmt.Errorf("%s: the database wrote %d rows", w.what, n)
	case err != nil:
		return fmt.Errorf("%s: %w", w.what, err)
	}
	return nil
}

// unmet is what a Postgres says, in its log too, of a write that did not change one row.
const unmet = "closeout: another was first, and this writer looks again; rows: "

// must is the write's text for a Postgres that is not waited for: it refuses, and with it all that stands behind, what would not
// change one row.
func (w write) must() string {
	q := w.q
	switch {
	case w.condition():
	case w.plain():
		return q
	default:
		q += " RETURNING 1"
	}
	return "WITH w AS (" + q + ") SELECT CASE WHEN count(*) = 1 THEN 1 ELSE ('" + unmet + "' || count(*))::int END FROM w"
}

// plain says whether it is an INSERT that writes its row, or is an error by itself.
func (w write) plain() bool {
	return strings.HasPrefix(w.q, "INSERT ") && !strings.Contains(w.q, " ON CONFLICT ")
}

func (w write) condition() bool { return strings.HasPrefix(w.q, "SELECT ") }

// carryOut waits for it.
func (w write) carryOut(ctx context.Context, on queryer) error {
	var n int64
	if !w.condition() {
		r, err := on.ExecContext(ctx, w.q, w.args...)
		if err == nil {
			n, err = r.RowsAffected()
		}
		return w.said(n, err)
	}
	rows, err := on.QueryContext(ctx, w.q, w.args...)
	if err != nil {
		return w.said(n, err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		n++
	}
	return w.said(n, rows.Err())
}

// isUnmet says whether Postgres refused what must has written.
func isUnmet(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && e.Code == "22P02" && strings.Contains(e.Message, unmet)
}
