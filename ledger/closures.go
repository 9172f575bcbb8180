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

// fixed are the columns written once, at creation; moving are those that every change writes, chained those that every event does.
var (
	fixed = []string{
		"id", "environment", "account_id", "confirmation", "user_id", "email", "cause",
		"priority", "not_before", "actor", "created_at", "batch_id", "trace",
	}
	moving = []string{
		"relationship_id", "fingerprint", "phase", "state", "version", "token", "due_at", "reason", "why", "who", "failures", "failures_in_phase", "crashes",
		"noted_retries", "last_error", "looks", "spent_ns", "days", "last_day", "last_look", "loops", "woken_at", "look_by", "memo",
		"updated_at", "started_at", "entered_at", "ended_at",
	}
	chained = []string{"seq", "head_hash"}

	// counted are columns that every change writes beside these, for the board to add up: what the memo says in words.
	counted = []string{"worth_cents", "on_way_cents"}

	closureColumns = strings.Join(append(append(append([]string{}, fixed...), moving...), chained...), ", ")
)

// fields are pointers into c in the order of closureColumns, and the memo's text. They are of the databases' own types: to find
// out of each column of each row what lies below a name's type takes a driver longer than to read it.
func fields(c *closure.Closure, memo *string) []any {
	return append(append(fixedFields(c), movingFields(c, memo)...), &c.Seq, &c.HeadHash)
}

func fixedFields(c *closure.Closure) []any {
	return []any{
		&c.ID, (*string)(&c.Environment), &c.AccountID, &c.Confirmation, &c.UserID, &c.Email,
		&c.Cause, (*string)(&c.Priority), (*ts)(&c.NotBefore), &c.Actor, (*ts)(&c.CreatedAt), &c.BatchID, &c.Trace,
	}
}

func movingFields(c *closure.Closure, memo *string) []any {
	return []any{
		&c.RelationshipID, &c.Fingerprint, (*string)(&c.Phase), (*string)(&c.State), &c.Version, &c.Token, (*ts)(&c.DueAt), (*string)(&c.Reason),
		&c.Why, (*string)(&c.Who), &c.Failures, &c.FailuresInPhase, &c.Crashes, &c.NotedRetries, &c.LastError, &c.Looks, (*int64)(&c.Spent), &c.Days, &c.LastDay,
		(*ts)(&c.LastLook), &c.Loops, (*ts)(&c.WokenAt), (*ts)(&c.LookBy), memo, (*ts)(&c.UpdatedAt), (*ts)(&c.StartedAt),
		(*ts)(&c.EnteredAt), (*ts)(&c.EndedAt),
	}
}

type row interface{ Scan(dest ...any) error }

func (l *Ledger) scan(r row) (closure.Closure, error) {
	var c closure.Closure
	var memo string
	if err := r.Scan(fields(&c, &memo)...); err != nil {
		if errors.Is(err, sql.ErrNoRows) {
			return c, ErrNotFound
		}
		return c, fmt.Errorf("read closure: %w", err)
	}
	if err := c.Memo.UnmarshalJSON([]byte(memo)); err != nil {
		return c, fmt.Errorf("read the memo of closure %s: %w", c.ID, err)
	}
	if c.Environment != l.env {
		return closure.Closure{}, ErrNotFound
	}
	return c, nil
}

type queryer interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// Wish is what a client asks for.
type Wish struct {
	AccountID      string
	RelationshipID string
	Fingerprint    string
	UserID         string
	Email          string
	Cause          string
	Priority       closure.Priority
	NotBefore      time.Time
	Expected       time.Time // the expected finish, for the first letter; zero: not known
	Actor          string
	BatchID        string // of the batch that asks, whose row BatchRow is started by it; empty: none does
	BatchRow       int
}

// Create writes a closure, its first event and the notice of it in one transaction. Where the account has an open closure
// already, that one is returned and created is false. A nil error means that the closure is on disk, and with a new closure
// the replies. ErrStale: the batch that asks is over, or its row was started before. The closure keeps the trace of ctx.
func (l *Ledger) Create(ctx context.Context, w Wish, replies ...*Reply[closure.Closure]) (c closure.Closure, created bool, err error) {
	if c, err = l.newborn(ctx, w); err != nil {
		return closure.Closure{}, false, fmt.Errorf("create closure: %w", err)
	}
	// The row is born with its first event at the head of its history.
	asked := map[string]any{"account_id": c.AccountID, "ach_relationship_id": c.RelationshipID, "reason": w.Cause, "priority": c.Priority}
	if w.BatchID != "" {
		asked["batch_id"] = w.BatchID
	}
	first, err := link(&c, closure.Event{Kind: "accepted", At: c.CreatedAt, Actor: w.Actor, Text: "closure accepted: " + c.Confirmation, Detail: asked})
	if err != nil {
		return closure.Closure{}, false, fmt.Errorf("create closure: %w", err)
	}
	// The open closure that stood in the way may have ended before it could be read: then there is room.
	for range 3 {
		made := c
		err = l.tx(ctx, func(tx *transaction) error {
			if err := l.insert(ctx, tx, &made, first, w); err != nil {
				return err
			}
			return reply(ctx, l, tx, made, replies)
		})
		if err == nil {
			replied(replies)
			about(ctx, made)
			return made, true, nil
		}
		if errors.Is(err, errOpen) {
			made, err = l.open(ctx, w.AccountID)
		}
		if err == nil {
			about(ctx, made)
			return made, false, nil
		}
		if !errors.Is(err, ErrNotFound) {
			break
		}
	}
	return closure.Closure{}, false, fmt.Errorf("create closure: %w", err)
}

// errOpen says that the account has a closure that is under way.
var errOpen = errors.New("the account has an open closure")

// newborn is the closure that a wish asks for.
func (l *Ledger) newborn(ctx context.Context, w Wish) (closure.Closure, error) {
	now := l.clock.Now()
	id, err := uuid.NewV7()
	if err != nil {
		return closure.Closure{}, fmt.Errorf("make an id: %w", err)
	}
	c := closure.Closure{
		ID: id.String(), AccountID: w.AccountID, Environment: l.env, RelationshipID: w.RelationshipID,
		Fingerprint: w.Fingerprint, UserID: w.UserID, Email: w.Email, Cause: w.Cause, Priority: w.Priority,
		NotBefore: w.NotBefore, Actor: w.Actor, BatchID: w.BatchID, Trace: traceparent(ctx), Phase: closure.Road[0].Phase, State: closure.Running, Version: 1,
		Token: newToken(), DueAt: now, Reason: closure.Accepted, Why: closure.Reasons[closure.Accepted].Title,
		CreatedAt: now, UpdatedAt: now, EnteredAt: now,
		Confirmation: "CLA-" + now.Format("20060102150405") + "-" + w.AccountID[max(0, len(w.AccountID)-6):],
	}
	if c.Priority == "" {
		c.Priority = closure.Normal
	}
	if c.NotBefore.After(now) {
		c.DueAt, c.Reason, c.Why = c.NotBefore, closure.NotYet, closure.Reasons[closure.NotYet].Title
	}
	return c, nil
}

// insert writes a closure that is new, with its first event, its first letter and the account's status. errOpen: the account has an
// open one.
func (l *Ledger) insert(ctx context.Context, tx *transaction, c *closure.Closure, first entry, w Wish) error {
	memo, err := c.Memo.MarshalJSON()
	if err != nil {
		return err
	}
	text := string(memo)
	args := fields(c, &text)
	row := write{what: "insert closure", unmet: errOpen, q: newRow, args: values(args)}
	ws := slices.Concat([]write{row}, startRow(w, c.ID), []write{first.insert()})
	if letter := closure.LetterFor(closure.Closure{}, *c); letter != "" {
		notice, err := newNotice(*c, letter, w.Expected)
		if err != nil {
			return err
		}
		ws = append(ws, notice)
	}
	if err := tx.later(ctx, ws...); err != nil {
		return err
	}
	status, err := l.setStatus(ctx, tx, closure.Closure{}, c)
	if err != nil {
		return err
	}
	return l.append(ctx, tx, c, status)
}

var newRow = "INSERT INTO closeout.closures (" + closureColumns + ") VALUES (" + places(1, len(fields(&closure.Closure{}, new(string)))) + ")" +
	" ON CONFLICT (environment, account_id) WHERE state NOT IN ('closed', 'canceled') DO NOTHING"

// open is the closure of an account that is under way.
func (l *Ledger) open(ctx context.Context, account string) (closure.Closure, error) {
	return l.scan(l.db.QueryRowContext(ctx, "SELECT "+closureColumns+" FROM closeout.closures"+
		" WHERE environment = $1 AND account_id = $2 AND state NOT IN ('closed', 'canceled')", l.env, account))
}

// Get returns a closure by its id. ErrNotFound: there is none in this environment.
func (l *Ledger) Get(ctx context.Context, id string) (closure.Closure, error) {
	return l.get(ctx, l.db, id)
}

func (l *Ledger) get(ctx context.Context, q queryer, id string) (closure.Closure, error) {
	return l.scan(q.QueryRowContext(ctx, "SELECT "+closureColumns+" FROM closeout.closures WHERE id = $1", id))
}

// OfAccount returns an account's latest closure. ErrNotFound: it never had one.
func (l *Ledger) OfAccount(ctx context.Context, account string) (closure.Closure, error) {
	return l.scan(l.db.QueryRowContext(ctx, "SELECT "+closureColumns+" FROM closeout.closures"+
		" WHERE environment = $1 AND account_id = $2 ORDER BY created_at DESC, id DESC LIMIT 1", l.env, account))
}

// Overdue returns up to limit running closures that were due before the given business time, in the order of their due
// times, after the given one. Pass the last one of a page to get the next.
func (l *Ledger) Overdue(ctx context.Context, before time.Time, after closure.Closure, limit int) ([]closure.Closure, error) {
	from := after.DueAt
	if from.IsZero() {
		from = time.Unix(0, 0)
	}
	return l.list(ctx, "list overdue closures", "SELECT "+closureColumns+" FROM closeout.closures"+
		" WHERE state = 'running' AND environment = $1 AND due_at < $2 AND (due_at, id) > ($3, $4) ORDER BY due_at, id LIMIT $5",
		l.env, ts(before), ts(from), after.ID, limit)
}

// put writes a row that has moved, where it is still what before says, its events, and the letter and the account's status that
// the change calls for. ErrStale: it is not.
func (l *Ledger) put(ctx context.Context, tx *transaction, before closure.Closure, c *closure.Closure, evs ...*closure.Event) error {
	status, err := l.setStatus(ctx, tx, before, c)
	if err != nil {
		return err
	}
	ws, err := l.writes(before, c, status, evs...)
	if err != nil {
		return err
	}
	return tx.later(ctx, ws...)
}

// writes are what put writes, the row first; status is the event of the account's status, if that was set.
func (l *Ledger) writes(before closure.Closure, c *closure.Closure, status *closure.Event, evs ...*closure.Event) ([]write, error) {
	if c.Version != before.Version {
		c.Token = newToken()
	}
	beside, err := chain(c, evs...)
	if err != nil {
		return nil, err
	}
	if letter := closure.LetterFor(before, *c); letter != "" {
		w, err := newNotice(*c, letter, time.Time{})
		if err != nil {
			return nil, err
		}
		beside = append(beside, w)
	}
	last, err := chain(c, status)
	if err != nil {
		return nil, err
	}
	memo, err := c.Memo.MarshalJSON()
	if err != nil {
		return nil, err
	}
	text := string(memo)
	args := values(movingFields(c, &text))
	args = append(args, cents(c.Memo.Worth), cents(c.Memo.OnWay), c.Seq, c.HeadHash)
	row := l.set("update closure", before, moveRow, args...)
	return slices.Concat([]write{row}, beside, last), nil
}

// set is the write of some columns of a row, where it is still what before says.
func (l *Ledger) set(what string, before closure.Closure, q string, to ...any) write {
	return write{what: what, q: q, args: append(to, before.ID, string(l.env), before.Version, before.Token, string(before.State), before.HeadHash, ts(before.WokenAt))}
}

// What set carries out. A change moves the row's version or its history, which is compared by its head: of a ledger that was restored
// to an earlier moment the count alone may be as it was. A mark of a wake, which moves neither, is compared beside them.
var (
	moveRow  = moveText(slices.Concat(moving, counted, chained))
	moveHead = moveText(chained)
)

func moveText(columns []string) string {
	set := make([]string, len(columns))
	for i, c := range columns {
		set[i] = fmt.Sprintf("%s = $%d", c, i+1)
	}
	n := len(columns)
	return "UPDATE closeout.closures SET " + strings.Join(set, ", ") +
		fmt.Sprintf(" WHERE id = $%d AND environment = $%d AND version = $%d AND token = $%d AND state = $%d AND head_hash = $%d AND woken_at IS NOT DISTINCT FROM $%d", n+1, n+2, n+3, n+4, n+5, n+6, n+7)
}

// values turns pointers to fields into the values they point at.
func values(ptrs []any) []any {
	out := make([]any, len(ptrs))
	for i, p := range ptrs {
		switch p := p.(type) {
		case *string:
			*p = plain(*p)
			out[i] = *p
		case *int:
			out[i] = *p
		case *int64:
			out[i] = *p
		case *ts:
			out[i] = *p
		default:
			panic(fmt.Sprintf("ledger: no value for a %T", p))
		}
	}
	return out
}

func places(from, n int) string {
	p := make([]string, n)
	for i := range p {
		p[i] = fmt.Sprintf("$%d", from+i)
	}
	return strings.Join(p, ", ")
}
