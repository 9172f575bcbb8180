package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"closeout/closure"
)

// BatchState is where a batch stands.
type BatchState string

// The states of a batch. The last three are ends.
const (
	BatchChecking BatchState = "checking" // each account is looked at, and none is started yet
	BatchStarting BatchState = "starting" // closures are started; in a partial batch each once its account was looked at
	BatchDone     BatchState = "done"     // nothing is left to check or start
	BatchRefused  BatchState = "refused"  // some account can't be closed, and so none was started
	BatchCanceled BatchState = "canceled"
)

// Ended says whether nothing more will happen in the batch by itself.
func (s BatchState) Ended() bool { return s != BatchChecking && s != BatchStarting }

// RowState is where one account of a batch stands.
type RowState string

// The states of a row.
const (
	RowWaiting RowState = "waiting" // not checked yet
	RowReady   RowState = "ready"   // could be closed when it was looked at
	RowRefused RowState = "refused"
	RowStarted RowState = "started" // has a closure
)

// Batch is a wish to close many accounts: a job that checks each and starts its closure.
type Batch struct {
	ID        string
	Actor     string
	Cause     string
	Priority  closure.Priority
	DryRun    bool // nothing is started
	Partial   bool // what can't be closed keeps the rest from nothing
	Total     int
	State     BatchState
	Version   int64
	DueAt     time.Time // machine: of the next bite
	Placed    bool      // the next bite has a place in the queue of looks at the broker
	Why       string
	CreatedAt time.Time // business
	UpdatedAt time.Time
	EndedAt   time.Time
}

// BatchRow is one account of a batch.
type BatchRow struct {
	N              int // its place in the request, from 0
	AccountID      string
	RelationshipID string
	UserID         string
	Email          string
	NotBefore      time.Time
	State          RowState
	Tries          int    // that brought no answer
	Obstacles      string // JSON, for whoever wrote it
	Fingerprint    string
	Expected       time.Time
	ClosureID      string
}

const batchColumns = "id, actor, cause, priority, dry_run, partial, total, state, version, due_at, placed, why, created_at, updated_at, ended_at"

const rowColumns = "n, account_id, relationship_id, user_id, email, not_before, state, tries, obstacles, fingerprint, expected_at, closure_id"

// rowsAtOnce is how many rows one statement writes, and how many accounts one asks for: few texts, so that each is kept.
const rowsAtOnce = 50

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// CreateBatch writes a batch and its rows in one transaction. Its ID, Total, State, Version and times are set here. Rows may
// be refused already; the others wait. A nil error means that all of it is on disk, and the replies.
func (l *Ledger) CreateBatch(ctx context.Context, b Batch, rows []BatchRow, replies ...*Reply[Batch]) (Batch, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return b, fmt.Errorf("make an id: %w", err)
	}
	now := l.clock.Now()
	b.ID, b.Total, b.Version, b.DueAt, b.CreatedAt, b.UpdatedAt = id.String(), len(rows), 1, time.Now(), now, now
	b.State, b.Why = BatchChecking, "accepted"
	if b.Partial && !b.DryRun {
		b.State = BatchStarting
	}
	err = l.tx(ctx, func(tx *transaction) error {
		if err := l.createBatch(ctx, tx, b, rows); err != nil {
			return err
		}
		return reply(ctx, l, tx, b, replies)
	})
	if err != nil {
		return b, fmt.Errorf("create batch: %w", err)
	}
	replied(replies)
	return b, nil
}

func (l *Ledger) createBatch(ctx context.Context, tx *transaction, b Batch, rows []BatchRow) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO closeout.batches ("+batchColumns+", environment) VALUES ("+places(1, 16)+")",
		b.ID, b.Actor, plain(b.Cause), string(b.Priority), bit(b.DryRun), bit(b.Partial), b.Total, string(b.State), b.Version, ts(b.DueAt), bit(b.Placed),
		b.Why, ts(b.CreatedAt), ts(b.UpdatedAt), ts(b.EndedAt), string(l.env))
	if err != nil {
		return err
	}
	for len(rows) > 0 {
		n := 1
		if len(rows) >= rowsAtOnce {
			n = rowsAtOnce
		}
		var values []string
		var args []any
		for _, r := range rows[:n] {
			state := r.State
			if state == "" {
				state = RowWaiting
			}
			values = append(values, "("+places(len(args)+1, 13)+")")
			args = append(args, b.ID, r.N, r.AccountID, r.RelationshipID, plain(r.UserID), plain(r.Email), ts(r.NotBefore), string(state), r.Tries,
				r.Obstacles, r.Fingerprint, ts(r.Expected), r.ClosureID)
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO closeout.batch_rows (batch_id, "+rowColumns+") VALUES "+strings.Join(values, ", "), args...); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

func scanBatch(r row) (Batch, error) {
	var b Batch
	var dry, partial, placed int
	err := r.Scan(&b.ID, &b.Actor, &b.Cause, &b.Priority, &dry, &partial, &b.Total, &b.State, &b.Version, (*ts)(&b.DueAt), &placed, &b.Why,
		(*ts)(&b.CreatedAt), (*ts)(&b.UpdatedAt), (*ts)(&b.EndedAt))
	if errors.Is(err, sql.ErrNoRows) {
		return b, ErrNotFound
	}
	if err != nil {
		return b, fmt.Errorf("read batch: %w", err)
	}
	b.DryRun, b.Partial, b.Placed = dry != 0, partial != 0, placed != 0
	return b, nil
}

// Batch returns a batch by its id. ErrNotFound: there is none in this environment.
func (l *Ledger) Batch(ctx context.Context, id string) (Batch, error) {
	return scanBatch(l.db.QueryRowContext(ctx, "SELECT "+batchColumns+" FROM closeout.batches WHERE id = $1 AND environment = $2", id, string(l.env)))
}

// DueBatches returns up to limit batches whose next bite was due before the given machine time, the longest due first.
func (l *Ledger) DueBatches(ctx context.Context, before time.Time, limit int) ([]Batch, error) {
	rows, err := l.db.QueryContext(ctx, "SELECT "+batchColumns+" FROM closeout.batches"+
		" WHERE state IN ('checking', 'starting') AND due_at < $1 AND environment = $2 ORDER BY due_at, id LIMIT $3", ts(before), string(l.env), limit)
	if err != nil {
		return nil, fmt.Errorf("list due batches: %w", err)
	}
	defer rows.Close()
	var out []Batch
	for rows.Next() {
		b, err := scanBatch(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	return out, rows.Err()
}

// MoveBatch writes what a bite has made of the batch: state, when and why the next one comes. ErrStale: another bite, or a
// cancellation, came first.
func (l *Ledger) MoveBatch(ctx context.Context, b Batch) (Batch, error) {
	b.UpdatedAt = l.clock.Now()
	if b.State.Ended() {
		b.EndedAt = b.UpdatedAt
	}
	err := one(l.db.ExecContext(ctx, "UPDATE closeout.batches SET state = $1, due_at = $2, placed = $3, why = $4, updated_at = $5, ended_at = $6, version = version + 1"+
		" WHERE id = $7 AND version = $8 AND state IN ('checking', 'starting')",
		string(b.State), ts(b.DueAt), bit(b.Placed), plain(b.Why), ts(b.UpdatedAt), ts(b.EndedAt), b.ID, b.Version))
	if err != nil {
		return b, fmt.Errorf("move batch: %w", err)
	}
	b.Version++
	return b, nil
}

// CancelBatch ends a batch that is under way: what it has not started it never will. One that has ended is returned as it
// is, and ended is false.
func (l *Ledger) CancelBatch(ctx context.Context, id, why string) (b Batch, ended bool, err error) {
	now := ts(l.clock.Now())
	r, err := l.db.ExecContext(ctx, "UPDATE closeout.batches SET state = 'canceled', why = $1, updated_at = $2, ended_at = $3, version = version + 1"+
		" WHERE id = $4 AND environment = $5 AND state IN ('checking', 'starting')", plain(why), now, now, id, string(l.env))
	if err != nil {
		return b, false, fmt.Errorf("cancel batch: %w", err)
	}
	n, err := r.RowsAffected()
	if err != nil {
		return b, false, err
	}
	b, err = l.Batch(ctx, id)
	return b, n == 1, err
}

// RowsToDo returns up to limit rows of a batch in a state, those first whose account was tried least often.
func (l *Ledger) RowsToDo(ctx context.Context, batch string, s RowState, limit int) ([]BatchRow, error) {
	return l.batchRows(ctx, " WHERE batch_id = $1 AND state = $2 ORDER BY tries, n LIMIT $3", batch, string(s), limit)
}

// BatchRows returns up to limit rows of a batch in the order of the request, those after place n; -1: from the first. With
// states, only rows in one of these.
func (l *Ledger) BatchRows(ctx context.Context, batch string, n, limit int, states ...RowState) ([]BatchRow, error) {
	w := &where{}
	w.and("batch_id = ? AND n > ?", batch, n)
	if len(states) > 0 {
		var names []any
		for _, s := range states {
			names = append(names, string(s))
		}
		w.and("state IN (?"+strings.Repeat(", ?", len(names)-1)+")", names...)
	}
	return l.batchRows(ctx, fmt.Sprintf(" WHERE %s ORDER BY n LIMIT $%d", w.text.String(), len(w.args)+1), append(w.args, limit)...)
}

func (l *Ledger) batchRows(ctx context.Context, which string, args ...any) ([]BatchRow, error) {
	rows, err := l.db.QueryContext(ctx, "SELECT "+rowColumns+" FROM closeout.batch_rows"+which, args...)
	if err != nil {
		return nil, fmt.Errorf("list a batch's rows: %w", err)
	}
	defer rows.Close()
	var out []BatchRow
	for rows.Next() {
		var r BatchRow
		if err := rows.Scan(&r.N, &r.AccountID, &r.RelationshipID, &r.UserID, &r.Email, (*ts)(&r.NotBefore), &r.State, &r.Tries, &r.Obstacles,
			&r.Fingerprint, (*ts)(&r.Expected), &r.ClosureID); err != nil {
			return nil, fmt.Errorf("read a batch's row: %w", err)
		}
		out = append(out, r)
	}
	return out, rows.Err()
}

// NoteRow writes what was learned of a row that is in state was. ErrStale: somebody else came first.
func (l *Ledger) NoteRow(ctx context.Context, batch string, was RowState, r BatchRow) error {
	return one(l.db.ExecContext(ctx, "UPDATE closeout.batch_rows SET state = $1, tries = $2, obstacles = $3, fingerprint = $4, expected_at = $5"+
		" WHERE batch_id = $6 AND n = $7 AND state = $8",
		string(r.State), r.Tries, plain(r.Obstacles), r.Fingerprint, ts(r.Expected), batch, r.N, string(was)))
}

// startRow marks the row by which a closure is started, in the closure's own transaction. The batch is locked first, so that
// none is started after a cancellation was answered.
func startRow(w Wish, id string) []write {
	if w.BatchID == "" {
		return nil
	}
	return []write{
		{what: "lock the batch", q: "UPDATE closeout.batches SET version = version WHERE id = $1 AND state = 'starting'", args: []any{w.BatchID}},
		{
			what: "start a batch's row", q: "UPDATE closeout.batch_rows SET state = 'started', closure_id = $1 WHERE batch_id = $2 AND n = $3 AND state = 'ready'",
			args: []any{id, w.BatchID, w.BatchRow},
		},
	}
}

// CountRows says how many rows of a batch are in each state.
func (l *Ledger) CountRows(ctx context.Context, batch string) (map[RowState]int, error) {
	out := map[RowState]int{}
	err := l.each(ctx, "count a batch's rows", func(rows *sql.Rows) error {
		var s RowState
		var n int
		err := rows.Scan(&s, &n)
		out[s] = n
		return err
	}, "SELECT state, count(*) FROM closeout.batch_rows WHERE batch_id = $1 GROUP BY state", batch)
	return out, err
}

// Counted is how many closures are in one state and phase.
type Counted struct {
	State closure.State
	Phase closure.Phase
	N     int
}

// CountClosures says where the closures of a batch stand.
func (l *Ledger) CountClosures(ctx context.Context, batch string) ([]Counted, error) {
	var out []Counted
	err := l.each(ctx, "count a batch's closures", func(rows *sql.Rows) error {
		var c Counted
		err := rows.Scan(&c.State, &c.Phase, &c.N)
		out = append(out, c)
		return err
	}, "SELECT state, phase, count(*) FROM closeout.closures WHERE batch_id = $1 AND batch_id <> '' GROUP BY state, phase ORDER BY state, phase", batch)
	return out, err
}

// OpenOf says which of these accounts have a closure under way, and its id.
func (l *Ledger) OpenOf(ctx context.Context, accounts []string) (map[string]string, error) {
	out := map[string]string{}
	for part := range slices.Chunk(accounts, rowsAtOnce) {
		args := []any{string(l.env)}
		for n := range rowsAtOnce { // the last part is filled up with its first account: one text for all
			if n >= len(part) {
				n = 0
			}
			args = append(args, part[n])
		}
		err := l.each(ctx, "look for open closures", func(rows *sql.Rows) error {
			var account, id string
			err := rows.Scan(&account, &id)
			out[account] = id
			return err
		}, "SELECT account_id, id FROM closeout.closures WHERE environment = $1 AND state NOT IN ('closed', 'canceled') AND account_id IN ("+places(2, rowsAtOnce)+")", args...)
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (l *Ledger) each(ctx context.Context, what string, scan func(*sql.Rows) error, q string, args ...any) error {
	rows, err := l.db.QueryContext(ctx, q, args...)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	return rows.Err()
}
