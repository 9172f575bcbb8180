package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"closeout/closure"
)

// AccountStatus names a column of the application's own database that says what becomes of an account, Supabase's
// user_onboarding.status for one. It is set in the transaction of the closure's own change, so that the two never disagree:
// pending_closure when a closure is accepted, closed when it is done, and what it said before when it is canceled.
type AccountStatus struct {
	Table  string // with its schema, if that is not on the search path: public.user_onboarding
	Key    string // the column that holds the Alpaca account's id
	Column string // the column that is set
}

// The words that are written.
const (
	pendingClosure = "pending_closure"
	closedStatus   = "closed"
)

// ParseAccountStatus reads "table=user_onboarding key=alpaca_account_id column=status".
func ParseAccountStatus(s string) (*AccountStatus, error) {
	var a AccountStatus
	fields := map[string]*string{"table": &a.Table, "key": &a.Key, "column": &a.Column}
	for word := range strings.FieldsSeq(s) {
		name, value, _ := strings.Cut(word, "=")
		field := fields[name]
		if field == nil || value == "" || *field != "" {
			return nil, fmt.Errorf("want table=…, key=… and column=… once each, got %q", word)
		}
		*field = value
	}
	if a.Table == "" || a.Key == "" || a.Column == "" {
		return nil, errors.New("want table=…, key=… and column=…, such as table=user_onboarding key=alpaca_account_id column=status")
	}
	return &a, nil
}

// statusColumn is an AccountStatus that was found in the catalogue, as statements.
type statusColumn struct {
	name        string // for people: table.column
	read, write string
	pending     string // accounts that say pending_closure and have no open closure; of an environment, at most so many
	hidden      string // what keeps rows from our role, and what to do; "": it sees all
}

// find looks the table and its columns up and refuses, all at once, what could not work.
func (a *AccountStatus) find(ctx context.Context, db *database) (*statusColumn, error) {
	if db.sqlite {
		return nil, errors.New("account status: the application's own table is kept on Postgres; with SQLite there is none")
	}
	table := pgx.Identifier(strings.Split(a.Table, ".")).Sanitize()
	var oid sql.NullInt64
	if err := db.QueryRowContext(ctx, "SELECT to_regclass($1)::oid::bigint", table).Scan(&oid); err != nil {
		return nil, fmt.Errorf("account status: look up the table %s: %w", a.Table, err)
	}
	if !oid.Valid {
		return nil, fmt.Errorf("account status: there is no table %s that this role can see", a.Table)
	}
	c := &statusColumn{name: a.Table + "." + a.Column}
	var err error
	if c.hidden, err = hides(ctx, db, oid.Int64, table); err != nil {
		return nil, fmt.Errorf("account status: look up the row level security of %s: %w", a.Table, err)
	}
	keyType, err1 := column(ctx, db, oid.Int64, a.Table, a.Key, "SELECT")
	statusType, err2 := column(ctx, db, oid.Int64, a.Table, a.Column, "SELECT", "UPDATE")
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	key, col := pgx.Identifier{a.Key}.Sanitize(), pgx.Identifier{a.Column}.Sanitize()
	where := " WHERE " + key + " = CAST($1 AS " + keyType + ")"
	c.read = "SELECT CAST(" + col + " AS text) FROM " + table + where + " FOR UPDATE"
	c.pending = "SELECT CAST(t." + key + " AS text) FROM " + table + " t WHERE CAST(t." + col + " AS text) = '" + pendingClosure + "' AND t." + key + " IS NOT NULL" +
		" AND NOT EXISTS (SELECT 1 FROM closeout.closures c WHERE c.account_id = CAST(t." + key + " AS text) AND c.environment = $1" +
		" AND c.state NOT IN ('closed', 'canceled')) ORDER BY 1 LIMIT $2"
	c.write = "UPDATE " + table + " SET " + col + " = CAST($2 AS " + statusType + ")" + where
	if err := c.try(ctx, db); err != nil {
		return nil, fmt.Errorf("account status: a row of %s can't be read and locked: %w", a.Table, err)
	}
	return c, nil
}

// hides says whether row level security may keep rows of a table from this role, and what to do about it; "": it can't. Each row is
// read and written for sure where a permissive policy for this role has USING (true), and no restrictive one stands beside it.
func hides(ctx context.Context, db *database, table int64, name string) (string, error) {
	var hidden bool
	var role string
	err := db.QueryRowContext(ctx, "WITH policies AS (SELECT polcmd, polpermissive,"+
		" coalesce(pg_get_expr(polqual, polrelid) = 'true', false) AND coalesce(pg_get_expr(polwithcheck, polrelid), 'true') = 'true' AS all_rows"+
		" FROM pg_policy WHERE polrelid = $1::bigint::oid"+
		" AND EXISTS (SELECT 1 FROM unnest(polroles) AS r WHERE CASE r WHEN 0 THEN true ELSE pg_has_role(r, 'USAGE') END))"+ // 0 is PUBLIC
		" SELECT row_security_active($1::bigint::oid) AND NOT ("+
		" EXISTS (SELECT 1 FROM policies WHERE polcmd IN ('*', 'r') AND polpermissive AND all_rows)"+
		" AND EXISTS (SELECT 1 FROM policies WHERE polcmd IN ('*', 'w') AND polpermissive AND all_rows)"+
		" AND NOT EXISTS (SELECT 1 FROM policies WHERE polcmd IN ('*', 'r', 'w') AND NOT polpermissive AND NOT all_rows)), quote_ident(current_user)",
		table).Scan(&hidden, &role)
	if err != nil || !hidden {
		return "", err
	}
	return fmt.Sprintf("row level security of %s does not give every row to this service's role: as its owner, CREATE POLICY closeout ON %s TO %s USING (true)", name, name, role), nil
}

// StatusHidden says what keeps rows of the application's table from this service, and what to do, as it was when the ledger was
// opened: what is hidden is not set, and its accounts are not found. "": nothing does, or there is no such table.
func (l *Ledger) StatusHidden() string {
	if l.status == nil {
		return ""
	}
	return l.status.hidden
}

// try reads the row of an account that nobody has: a view or a foreign table may have every right and still refuse the lock,
// and better now than at each initiate.
func (s *statusColumn) try(ctx context.Context, db *database) error {
	tx, err := db.begin(ctx)
	if err != nil {
		return err
	}
	defer tx.end() // nothing was written in it
	_, err = s.current(ctx, tx, "00000000-0000-0000-0000-000000000000")
	if _, ok := errors.AsType[*statusWarning](err); ok {
		return nil
	}
	return err
}

// column looks one column up: its type as a statement names it, and whether this role may do with it what must be done.
func column(ctx context.Context, db *database, table int64, tableName, name string, rights ...string) (string, error) {
	var typ string
	var mod int
	var labels sql.NullString
	err := db.QueryRowContext(ctx, "SELECT format_type(a.atttypid, -1), a.atttypmod,"+
		" (SELECT string_agg(e.enumlabel, ' ') FROM pg_enum e WHERE e.enumtypid = a.atttypid)"+
		" FROM pg_attribute a WHERE a.attrelid = $1::bigint::oid AND a.attname = $2 AND a.attnum > 0 AND NOT a.attisdropped", table, name).Scan(&typ, &mod, &labels)
	if errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("account status: the table %s has no column %s", tableName, name)
	}
	if err != nil {
		return "", fmt.Errorf("account status: look up the column %s: %w", name, err)
	}
	var bad []error
	for _, right := range rights {
		var ok bool
		if err := db.QueryRowContext(ctx, "SELECT has_column_privilege($1::bigint::oid, $2, $3)", table, name, right).Scan(&ok); err != nil {
			return "", fmt.Errorf("account status: look up the rights on %s: %w", name, err)
		}
		if !ok {
			bad = append(bad, fmt.Errorf("account status: this role has no %s right on %s.%s; grant it", right, tableName, name))
		}
	}
	if len(rights) > 1 { // the column that is set
		if labels.Valid {
			for _, word := range []string{pendingClosure, closedStatus} {
				if !strings.Contains(" "+labels.String+" ", " "+word+" ") {
					bad = append(bad, fmt.Errorf("account status: the type %s of %s.%s lacks the value %s; add it", typ, tableName, name, word))
				}
			}
		} else if typ != "text" && typ != "character varying" && typ != "character" && typ != "bpchar" {
			bad = append(bad, fmt.Errorf("account status: %s.%s is of the type %s; a text or an enumeration is needed", tableName, name, typ))
		} else if mod > 4 && mod-4 < len(pendingClosure) {
			bad = append(bad, fmt.Errorf("account status: %s.%s holds %d characters; %s has %d", tableName, name, mod-4, pendingClosure, len(pendingClosure)))
		}
	}
	return typ, errors.Join(bad...)
}

// setStatus writes the account's status where a change calls for it, in the change's own transaction, and appends what it
// did to the history. A row that is missing, or one that the application's own rules refuse to change, is a warning there
// and holds no closure up.
func (l *Ledger) setStatus(ctx context.Context, tx *transaction, before closure.Closure, c *closure.Closure) (*closure.Event, error) {
	if l.status == nil {
		return nil, nil
	}
	var do func() (string, error)
	switch {
	case before.ID == "":
		do = func() (string, error) { return l.status.begin(ctx, tx, *c) }
	case before.State != c.State && c.State == closure.Closed:
		do = func() (string, error) { return l.status.end(ctx, tx, *c) }
	case before.State != c.State && c.State == closure.Canceled:
		do = func() (string, error) { return l.status.restore(ctx, tx, *c) }
	default:
		return nil, nil
	}
	kind := "account_status"
	said, err := guarded(ctx, tx, do)
	if w, ok := errors.AsType[*statusWarning](err); ok {
		kind, said, err = "warning", w.Error(), nil
	}
	if err != nil {
		return nil, fmt.Errorf("set the account's status: %w", err)
	}
	return &closure.Event{Kind: kind, At: c.UpdatedAt, Actor: closure.Worker, Text: l.status.name + ": " + said}, nil
}

// statusWarning is why the application's row could not be set. It concerns the application and not the closure.
type statusWarning struct{ why string }

func (w *statusWarning) Error() string { return w.why }

// statusPatience is how long the application may hold its own row: longer, and the change is tried again as a whole.
const statusPatience = 3 * time.Second

// guarded carries do out behind a savepoint, so that what the application's table refuses (a check, a trigger, a right
// that was taken away) does not undo the closure's own change.
func guarded(ctx context.Context, tx *transaction, do func() (string, error)) (string, error) {
	if _, err := tx.ExecContext(ctx, "SAVEPOINT account_status"); err != nil {
		return "", err
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("SET LOCAL lock_timeout = %d", statusPatience.Milliseconds())); err != nil {
		return "", err
	}
	said, err := do()
	if e, ok := errors.AsType[*pgconn.PgError](err); ok && len(e.Code) == 5 {
		switch e.Code[:2] {
		case "22", "23", "42", "P0": // data, integrity, rights and names, a trigger's own refusal
			err = &statusWarning{"could not be set, the database refused it (" + e.Code + "); set it by hand"}
		default:
			return "", e
		}
	}
	end := "RELEASE SAVEPOINT account_status"
	if err != nil {
		end = "ROLLBACK TO SAVEPOINT account_status"
	}
	if _, err2 := tx.ExecContext(ctx, end); err2 != nil {
		return "", errors.Join(err, err2)
	}
	_, err2 := tx.ExecContext(ctx, "SET LOCAL lock_timeout = DEFAULT")
	return said, errors.Join(err, err2)
}

// begin sets the column to pending_closure and notes what it said before.
func (s *statusColumn) begin(ctx context.Context, tx *transaction, c closure.Closure) (string, error) {
	was, err := s.set(ctx, tx, c.AccountID, sql.NullString{String: pendingClosure, Valid: true})
	if err != nil {
		return "", err
	}
	if _, err := tx.ExecContext(ctx, "UPDATE closeout.closures SET former_status = $1, status_written = 1 WHERE id = $2", was, c.ID); err != nil {
		return "", err
	}
	return fmt.Sprintf("set to %q, was %q", pendingClosure, was.String), nil
}

// end sets the column to closed.
func (s *statusColumn) end(ctx context.Context, tx *transaction, c closure.Closure) (string, error) {
	was, err := s.set(ctx, tx, c.AccountID, sql.NullString{String: closedStatus, Valid: true})
	return fmt.Sprintf("set to %q, was %q", closedStatus, was.String), err
}

// restore puts back what the column said before, where it still says what we wrote.
func (s *statusColumn) restore(ctx context.Context, tx *transaction, c closure.Closure) (string, error) {
	var former sql.NullString
	var written int
	if err := tx.QueryRowContext(ctx, "SELECT former_status, status_written FROM closeout.closures WHERE id = $1", c.ID).Scan(&former, &written); err != nil {
		return "", err
	}
	if written == 0 {
		return "", &statusWarning{"this closure has not set it, so that there is nothing to set back"}
	}
	now, err := s.current(ctx, tx, c.AccountID)
	if err != nil {
		return "", err
	}
	if now.String != pendingClosure {
		return "", &statusWarning{fmt.Sprintf("says %q and no longer %q: somebody else has set it, and it was left alone", now.String, pendingClosure)}
	}
	_, err = s.set(ctx, tx, c.AccountID, former)
	return fmt.Sprintf("set back to %q", former.String), err
}

// set writes the column of the account's one row and returns what it said before.
func (s *statusColumn) set(ctx context.Context, tx *transaction, account string, to sql.NullString) (was sql.NullString, err error) {
	if was, err = s.current(ctx, tx, account); err != nil {
		return was, err
	}
	r, err := tx.ExecContext(ctx, s.write, account, to)
	if err != nil {
		return was, err
	}
	if n, err := r.RowsAffected(); err != nil {
		return was, err
	} else if n != 1 { // a trigger may pass a change over in silence
		return was, &statusWarning{fmt.Sprintf("could not be set, the database changed %d rows; set it by hand", n)}
	}
	return was, nil
}

// current locks the account's row and reads its column.
func (s *statusColumn) current(ctx context.Context, tx *transaction, account string) (now sql.NullString, err error) {
	rows, err := tx.QueryContext(ctx, s.read, account)
	if err != nil {
		return now, err
	}
	defer func() { _ = rows.Close() }()
	n := 0
	for rows.Next() {
		n++
		if err := rows.Scan(&now); err != nil {
			return now, err
		}
	}
	if err := rows.Err(); err != nil {
		return now, err
	}
	switch {
	case n == 0 && s.hidden != "":
		return now, &statusWarning{"the account has no row there, or row level security hides it from this service's role; nothing was set"}
	case n == 0:
		return now, &statusWarning{"the account has no row there; nothing was set"}
	case n > 1:
		return now, &statusWarning{fmt.Sprintf("the account has %d rows there; nothing was set", n)}
	}
	return now, nil
}
