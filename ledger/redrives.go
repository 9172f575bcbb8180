package ledger

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"closeout/closure"
)

// RedriveState is where a redrive stands.
type RedriveState string

// The states of a redrive. The last two are ends.
const (
	RedriveRunning RedriveState = "running"
	RedriveDone    RedriveState = "done"
	RedriveAborted RedriveState = "aborted" // what it had not retried by then it never will
)

// Ended says whether nothing more will happen in the redrive.
func (s RedriveState) Ended() bool { return s != RedriveRunning }

// RetryState is what came of one closure of a redrive.
type RetryState string

// The states of a retry.
const (
	RetryWaiting RetryState = "waiting"
	RetryDone    RetryState = "retried" // it was resumed
	RetrySkipped RetryState = "skipped" // it was left as it was
)

// Redrive is a wish to resume all closures that have failed or are dead and that a filter means. What it is about is found
// once, when it is made: a closure that fails again is not tried again by it, and one that comes later is not touched.
type Redrive struct {
	ID        string
	Filter    Filter
	Reason    string // in the operator's words, for each closure's history
	Actor     string
	PerMinute int    // closures at the most in any minute
	Shown     string // the digest of the closures that whoever asks has seen, as Retriable gives it; "": whatever matches is meant
	State     RedriveState
	Total     int // found at the start
	Retried   int
	Skipped   int
	Version   int64
	DueAt     time.Time // machine: of the next bite
	Why       string    // where it stands, in words
	CreatedAt time.Time // business
	UpdatedAt time.Time
	EndedAt   time.Time
}

// Left is how many closures it has not come to.
func (r Redrive) Left() int { return r.Total - r.Retried - r.Skipped }

// Rates of a redrive, in closures a minute.
const (
	UsualPerMinute = 30
	MostPerMinute  = 600
)

// Retry is one closure of a redrive.
type Retry struct {
	N         int // the oldest first, from 0
	ClosureID string
	AccountID string
	Now       closure.State  // in which the closure is now
	Reason    closure.Reason // why it had stopped
	State     RetryState
	Why       string    // it was skipped
	DoneAt    time.Time // machine
	version   int64     // of the closure as it was found
}

var (
	// ErrNothing says that no closure that may be retried matches.
	ErrNothing = errors.New("nothing that has stopped and may be retried among many matches")
	// ErrTooSoon says that a redrive has retried as many closures in the last minute as it may.
	ErrTooSoon = errors.New("as many were retried in the last minute as may be")
)

// PassedOver is the kind of an event that says that a redrive came to a closure, left it as it was, and why.
const PassedOver = "passed_over"

// oneByOne is said of what is found and must not be retried among many.
const oneByOne = "a person must look at each of these by itself"

const redriveColumns = "id, filter, reason, actor, per_minute, state, total, retried, skipped, version, due_at, why, created_at, updated_at, ended_at"

const retryColumns = "n, closure_id, reason, state, why, done_at, version"

const retries = "SELECT r.n, r.closure_id, c.account_id, c.state, r.reason, r.state, r.why, r.done_at, r.version" +
	" FROM closeout.redrive_rows r JOIN closeout.closures c ON c.id = r.closure_id WHERE "

// eachReasons are the reasons of which a person must look at each closure.
func eachReasons() (out []any) {
	for r, info := range closure.Reasons {
		if info.Each {
			out = append(out, string(r))
		}
	}
	return out
}

// stoppedOf narrows a choice to what a redrive of a filter is about.
func (l *Ledger) stoppedOf(w *where, f Filter) {
	w.and("environment = ?", string(l.env))
	w.and("state IN ('failed', 'dead')")
	f.narrow(w, l.env)
}

// Retriable counts the closures that a redrive of a filter would resume, and gives the digest of which they are, each as it
// stands: another closure, or another version of one, makes another digest.
func (l *Ledger) Retriable(ctx context.Context, f Filter) (n int, digest string, err error) {
	w := &where{}
	l.stoppedOf(w, f)
	each := eachReasons()
	w.and("reason NOT IN (?"+strings.Repeat(", ?", len(each)-1)+")", each...)
	n, digest, err = digestOf(ctx, l.db, "SELECT id, version FROM closeout.closures WHERE "+w.text.String()+" ORDER BY created_at, id", w.args...)
	if err != nil {
		return 0, "", fmt.Errorf("look what would be retried: %w", err)
	}
	return n, digest, nil
}

// digestOf is the digest of the closures and versions that a query gives, which orders them, and how many they are.
func digestOf(ctx context.Context, q queryer, query string, args ...any) (n int, digest string, err error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = rows.Close() }()
	sum := sha256.New()
	for rows.Next() {
		var id string
		var version int64
		if err := rows.Scan(&id, &version); err != nil {
			return 0, "", err
		}
		sum.Write(fmt.Appendf(nil, "%s %d\n", id, version))
		n++
	}
	return n, hex.EncodeToString(sum.Sum(nil)), rows.Err()
}

// CreateRedrive finds the closures and writes them down, in one transaction. Its ID, State, counts, Version and times are
// set here. Those that a person must look at one by one are skipped at once. ErrNothing: no other is left, and nothing was
// written. ErrStale: those found are not those shown, and nothing was written; the counts of what is returned say how many
// there are now.
func (l *Ledger) CreateRedrive(ctx context.Context, r Redrive) (Redrive, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return r, fmt.Errorf("make an id: %w", err)
	}
	if r.PerMinute < 1 || r.PerMinute > MostPerMinute {
		return r, fmt.Errorf("create redrive: the rate must lie between 1 and %d closures a minute, is %d", MostPerMinute, r.PerMinute)
	}
	now := l.clock.Now()
	r.ID, r.State, r.Total, r.Retried, r.Skipped, r.Version = id.String(), RedriveRunning, 0, 0, 0, 1
	r.DueAt, r.Why, r.CreatedAt, r.UpdatedAt, r.EndedAt = time.Now(), "accepted", now, now, time.Time{}
	err = l.tx(ctx, func(tx *transaction) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO closeout.redrives ("+redriveColumns+", environment) VALUES ("+places(1, 16)+")",
			r.ID, r.Filter.String(), plain(r.Reason), r.Actor, r.PerMinute, string(r.State), 0, 0, 0, r.Version, ts(r.DueAt), r.Why,
			ts(r.CreatedAt), ts(r.UpdatedAt), ts(r.EndedAt), string(l.env))
		if err != nil {
			return err
		}
		each := eachReasons()
		w := &where{args: append([]any{r.ID, oneByOne}, each...)}
		l.stoppedOf(w, r.Filter)
		skipped := "reason IN (" + places(3, len(each)) + ")"
		_, err = tx.ExecContext(ctx, "INSERT INTO closeout.redrive_rows (redrive_id, "+retryColumns+")"+
			" SELECT $1, row_number() OVER (ORDER BY created_at, id) - 1, id, reason, CASE WHEN "+skipped+" THEN 'skipped' ELSE 'waiting' END,"+
			" CASE WHEN "+skipped+" THEN $2 ELSE '' END, NULL, version FROM closeout.closures WHERE "+w.text.String(), w.args...)
		if err != nil {
			return err
		}
		err = tx.QueryRowContext(ctx, "UPDATE closeout.redrives SET"+
			" total = (SELECT count(*) FROM closeout.redrive_rows WHERE redrive_id = $1),"+
			" skipped = (SELECT count(*) FROM closeout.redrive_rows WHERE redrive_id = $2 AND state = 'skipped')"+
			" WHERE id = $3 RETURNING total, skipped", r.ID, r.ID, r.ID).Scan(&r.Total, &r.Skipped)
		if err == nil && r.Left() == 0 {
			err = ErrNothing
		}
		if err != nil || r.Shown == "" {
			return err
		}
		_, found, err := digestOf(ctx, tx, "SELECT closure_id, version FROM closeout.redrive_rows WHERE redrive_id = $1 AND state = 'waiting' ORDER BY n", r.ID)
		if err == nil && found != r.Shown {
			err = fmt.Errorf("%w: these are not the closures that were shown", ErrStale)
		}
		return err
	})
	if err != nil {
		return r, fmt.Errorf("create redrive: %w", err)
	}
	return r, nil
}

func scanRedrive(row row) (Redrive, error) {
	var r Redrive
	var filter string
	err := row.Scan(&r.ID, &filter, &r.Reason, &r.Actor, &r.PerMinute, &r.State, &r.Total, &r.Retried, &r.Skipped, &r.Version, (*ts)(&r.DueAt), &r.Why,
		(*ts)(&r.CreatedAt), (*ts)(&r.UpdatedAt), (*ts)(&r.EndedAt))
	if errors.Is(err, sql.ErrNoRows) {
		return r, ErrNotFound
	}
	if err == nil {
		r.Filter, err = ParseFilter(filter)
	}
	if err != nil {
		return r, fmt.Errorf("read redrive: %w", err)
	}
	return r, nil
}

// Redrive returns a redrive by its id. ErrNotFound: there is none in this environment.
func (l *Ledger) Redrive(ctx context.Context, id string) (Redrive, error) {
	return scanRedrive(l.db.QueryRowContext(ctx, "SELECT "+redriveColumns+" FROM closeout.redrives WHERE id = $1 AND environment = $2", id, string(l.env)))
}

// Redrives are up to limit of them, the newest first.
func (l *Ledger) Redrives(ctx context.Context, limit int) ([]Redrive, error) {
	return l.redrives(ctx, "environment = $1 ORDER BY created_at DESC, id DESC LIMIT $2", string(l.env), limit)
}

// DueRedrives returns up to limit redrives whose next bite was due before the given machine time, the longest due first.
func (l *Ledger) DueRedrives(ctx context.Context, before time.Time, limit int) ([]Redrive, error) {
	return l.redrives(ctx, "state = 'running' AND due_at < $1 AND environment = $2 ORDER BY due_at, id LIMIT $3", ts(before), string(l.env), limit)
}

func (l *Ledger) redrives(ctx context.Context, which string, args ...any) (out []Redrive, err error) {
	err = l.each(ctx, "list redrives", func(rows *sql.Rows) error {
		r, err := scanRedrive(rows)
		out = append(out, r)
		return err
	}, "SELECT "+redriveColumns+" FROM closeout.redrives WHERE "+which, args...)
	return out, err
}

// MoveRedrive writes what a bite has made of the redrive: state, when and why the next one comes. Counts move with the
// retries alone. ErrStale: another bite, or an abort, came first.
func (l *Ledger) MoveRedrive(ctx context.Context, r Redrive) (Redrive, error) {
	r.UpdatedAt = l.clock.Now()
	if r.State.Ended() {
		r.EndedAt = r.UpdatedAt
	}
	err := one(l.db.ExecContext(ctx, "UPDATE closeout.redrives SET state = $1, due_at = $2, why = $3, updated_at = $4, ended_at = $5, version = version + 1"+
		" WHERE id = $6 AND version = $7 AND state = 'running'",
		string(r.State), ts(r.DueAt), plain(r.Why), ts(r.UpdatedAt), ts(r.EndedAt), r.ID, r.Version))
	if err != nil {
		return r, fmt.Errorf("move redrive: %w", err)
	}
	r.Version++
	return r, nil
}

// AbortRedrive ends a redrive that runs: once it has returned, nothing further is resumed by it. One that has ended is
// returned as it is, and ended is false.
func (l *Ledger) AbortRedrive(ctx context.Context, id, why string) (r Redrive, ended bool, err error) {
	now := ts(l.clock.Now())
	err = one(l.db.ExecContext(ctx, "UPDATE closeout.redrives SET state = 'aborted', why = $1, updated_at = $2, ended_at = $3, version = version + 1"+
		" WHERE id = $4 AND environment = $5 AND state = 'running'", plain(why), now, now, id, string(l.env)))
	if err != nil && !errors.Is(err, ErrStale) {
		return r, false, fmt.Errorf("abort redrive: %w", err)
	}
	ended = err == nil
	r, err = l.Redrive(ctx, id)
	return r, ended, err
}

// Retries returns up to limit of a redrive's closures in their order, those after place n; -1: from the first. With states,
// only those in one of these.
func (l *Ledger) Retries(ctx context.Context, redrive string, n, limit int, states ...RetryState) (out []Retry, err error) {
	w := &where{}
	w.and("r.redrive_id = ? AND r.n > ?", redrive, n)
	if len(states) > 0 {
		var names []any
		for _, s := range states {
			names = append(names, string(s))
		}
		w.and("r.state IN (?"+strings.Repeat(", ?", len(names)-1)+")", names...)
	}
	err = l.each(ctx, "list a redrive's closures", func(rows *sql.Rows) error {
		r, err := scanRetry(rows)
		out = append(out, r)
		return err
	}, fmt.Sprintf("%s%s ORDER BY r.n LIMIT $%d", retries, w.text.String(), len(w.args)+1), append(w.args, limit)...)
	return out, err
}

func scanRetry(row row) (r Retry, err error) {
	err = row.Scan(&r.N, &r.ClosureID, &r.AccountID, &r.Now, &r.Reason, &r.State, &r.Why, (*ts)(&r.DoneAt), &r.version)
	return r, err
}

// Retry resumes one closure of a redrive, or skips it and says why in its history, in one transaction under the redrive's row: so that none
// is resumed twice, none after an abort was answered, and no more in a minute than the redrive may, whoever tries. The
// closure is as it stands afterwards. ErrStale: the redrive has ended, or the closure was dealt with already. ErrTooSoon: not
// in this minute.
func (l *Ledger) Retry(ctx context.Context, redrive string, n int) (done Retry, c closure.Closure, err error) {
	err = l.tx(ctx, func(tx *transaction) error {
		r, err := scanRedrive(tx.QueryRowContext(ctx, "UPDATE closeout.redrives SET version = version"+
			" WHERE id = $1 AND environment = $2 AND state = 'running' RETURNING "+redriveColumns, redrive, string(l.env)))
		if errors.Is(err, ErrNotFound) {
			return ErrStale
		}
		if err != nil {
			return err
		}
		done, err = scanRetry(tx.QueryRowContext(ctx, retries+"r.redrive_id = $1 AND r.n = $2 AND r.state = 'waiting'", redrive, n))
		if errors.Is(err, sql.ErrNoRows) {
			return ErrStale
		}
		if err != nil {
			return err
		}
		now, lately := time.Now(), 0
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM closeout.redrive_rows WHERE redrive_id = $1 AND state = 'retried' AND done_at > $2",
			redrive, ts(now.Add(-time.Minute))).Scan(&lately); err != nil {
			return err
		}
		if lately >= r.PerMinute {
			return ErrTooSoon
		}
		c, err = l.retry(ctx, tx, r, done)
		no, skipped := errors.AsType[*closure.NotAllowedError](err)
		switch {
		case err == nil:
			done.State = RetryDone
		case skipped:
			done.State, done.Why = RetrySkipped, no.Why
			err = l.append(ctx, tx, &c, &closure.Event{
				Kind: PassedOver, At: l.clock.Now(), Actor: closure.Worker, Text: "passed over by a bulk retry: " + no.Why, Detail: map[string]any{"redrive_id": r.ID},
			})
		}
		if err != nil {
			return err
		}
		done.DoneAt = now
		if done.State == RetryDone {
			done.Now = c.State
		}
		return l.retried(ctx, tx, redrive, done)
	})
	if err != nil {
		return done, c, fmt.Errorf("retry: %w", err)
	}
	return done, c, nil
}

// retry resumes the closure, if it is still what was found.
func (l *Ledger) retry(ctx context.Context, tx *transaction, r Redrive, row Retry) (closure.Closure, error) {
	w := &where{}
	w.and("id = ?", row.ClosureID)
	l.stoppedOf(w, r.Filter)
	return l.command(ctx, tx, row.ClosureID, func(c closure.Closure, is []closure.Intent) (closure.Change, error) {
		var still int
		err := tx.QueryRowContext(ctx, "SELECT count(*) FROM closeout.closures WHERE "+w.text.String(), w.args...).Scan(&still)
		if err != nil {
			return closure.Change{}, err
		}
		if c.Version != row.version || still == 0 {
			return closure.Change{}, &closure.NotAllowedError{Command: "retry", State: c.State, Why: "it has moved since the bulk retry was started"}
		}
		ch, err := closure.Redriven(c, is, l.clock.Now(), r.Actor, r.Reason+" (bulk retry "+r.ID+")")
		return ch.With(map[string]any{"redrive_id": r.ID}), err
	})
}

func (l *Ledger) retried(ctx context.Context, tx *transaction, redrive string, done Retry) error {
	_, err := tx.ExecContext(ctx, "UPDATE closeout.redrive_rows SET state = $1, why = $2, done_at = $3 WHERE redrive_id = $4 AND n = $5",
		string(done.State), plain(done.Why), ts(done.DoneAt), redrive, done.N)
	if err != nil {
		return err
	}
	counted := "retried"
	if done.State == RetrySkipped {
		counted = "skipped"
	}
	at := ts(l.clock.Now())
	if err := one(tx.ExecContext(ctx, "UPDATE closeout.redrives SET "+counted+" = "+counted+" + 1, updated_at = $1 WHERE id = $2", at, redrive)); err != nil {
		return err
	}
	// The last one ends it: whoever hears of its closure finds the redrive done.
	_, err = tx.ExecContext(ctx, "UPDATE closeout.redrives SET state = 'done', why = $1, ended_at = $2, version = version + 1 WHERE id = $3 AND retried + skipped = total",
		AllDone, at, redrive)
	return err
}

// AllDone is why a redrive is done.
const AllDone = "each was retried or skipped"

// Retried says in which states the closures that a redrive has retried are now.
func (l *Ledger) Retried(ctx context.Context, redrive string) (map[closure.State]int, error) {
	out := map[closure.State]int{}
	err := l.each(ctx, "count a redrive's closures", func(rows *sql.Rows) error {
		var s closure.State
		var n int
		err := rows.Scan(&s, &n)
		out[s] = n
		return err
	}, "SELECT c.state, count(*) FROM closeout.redrive_rows r JOIN closeout.closures c ON c.id = r.closure_id"+
		" WHERE r.redrive_id = $1 AND r.state = 'retried' GROUP BY c.state", redrive)
	return out, err
}
