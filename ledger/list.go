package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"closeout/closure"
)

// Filter says which closures are meant. Each field that is set narrows the choice; the zero Filter means all of this
// environment. A text is never part of the SQL: it is bound.
type Filter struct {
	// Statuses are words of the Job (PENDING, PROCESSING, RETRYING and so on) or states of the closure (running, paused and
	// so on); a closure that has any of them is meant. Words that Statuses does not list match nothing.
	Statuses  []string
	Phases    []closure.Phase // any of these; a closed closure keeps its last phase
	Reason    closure.Reason
	AccountID string
	BatchID   string

	Lane Lane          // of the board
	Slow Cutoffs       // running closures whose stay in their phase began before these
	Who  []closure.Who // who must act: any of these; not nobody

	CreatedFrom   time.Time // and then; business time
	CreatedBefore time.Time // and not then
	EndedFrom     time.Time // closed, canceled, failed or dead since then

	Actor string // who asked for it, an API key's name for one
	// PersonOf is a closure's id: it and the closures of the same e-mail or user id are meant.
	PersonOf string

	// Exact is an identifier of anything but a person: the closure, its account, confirmation or batch, or an instruction to the
	// broker, by the broker's id or by ours. An index finds it, whole or, of a closure or an account, by its last six letters or more.
	Exact string

	// Text is looked for among the ids of closure, account and batch and the confirmation numbers. A whole one of those is
	// found by an index; a part of one, of closure, account or confirmation, by reading every row.
	Text string
}

// Page says which part of the list is meant. Its order is by creation, the newest first, and by id where two were created
// in the same microsecond; neither ever changes, so that pages that are read one after the other have no closure twice
// and miss none, whatever is created meanwhile. By another time, a closure whose time moves meanwhile moves in the list.
type Page struct {
	By          By
	After       Position // of the last closure of the page before; zero: the first page
	Limit       int      // closures at the most
	OldestFirst bool
}

// By is the time that the list is sorted by.
type By int

// What the list can be sorted by.
const (
	ByCreation By = iota
	ByDue         // of the next visit: running closures alone have one
	BySince       // of the stay in the present phase: of closures that are not over
)

// bys are, of each By, what is sorted by and what the closures that have it are found by.
var bys = [...]struct{ time, have string }{ByCreation: {"created_at", ""}, ByDue: {"due_at", "state = 'running'"}, BySince: {since, isOpen}}

// Position is a closure's place in the list.
type Position struct {
	At time.Time // that the list is sorted by
	ID string
}

// Position is where in the list a closure stands.
func (b By) Position(c closure.Closure) Position {
	return Position{map[By]time.Time{ByCreation: c.CreatedAt, ByDue: c.DueAt, BySince: c.Since()}[b], c.ID}
}

// statuses are what each word of Filter.Statuses means.
var statuses = map[string]string{
	"PENDING":    "(state = 'running' AND failures = 0 AND started_at IS NULL)",
	"PROCESSING": "(state = 'running' AND failures = 0 AND started_at IS NOT NULL)",
	"RETRYING":   "(state = 'running' AND failures > 0)",
	"FAILED":     "state = 'failed'",
	"DEAD":       "state = 'dead'",
	"COMPLETED":  "state = 'closed'",
	"PAUSED":     "state = 'paused'",
	"CANCELED":   "state = 'canceled'",

	string(closure.Running):  "state = 'running'",
	string(closure.Failed):   "state = 'failed'",
	string(closure.Dead):     "state = 'dead'",
	string(closure.Closed):   "state = 'closed'",
	string(closure.Paused):   "state = 'paused'",
	string(closure.Canceled): "state = 'canceled'",
}

// Statuses are the words that Filter.Statuses takes.
func Statuses() []string {
	words := make([]string, 0, len(statuses))
	for word := range statuses {
		words = append(words, word)
	}
	slices.Sort(words)
	return words
}

// List returns the page of the closures that are meant.
func (l *Ledger) List(ctx context.Context, f Filter, p Page) ([]closure.Closure, error) {
	q, args := l.listQuery(f, p)
	return l.list(ctx, "list closures", q, args...)
}

// Lists returns the same page of several lists, some dozens, in one query.
func (l *Ledger) Lists(ctx context.Context, fs []Filter, p Page) ([][]closure.Closure, error) {
	out := make([][]closure.Closure, len(fs))
	if len(fs) == 0 {
		return out, nil
	}
	q, args := l.listsQuery(fs, p)
	err := l.each(ctx, "list closures", func(rows *sql.Rows) error {
		var n int
		c, err := l.scan(behind{rows, &n})
		if err == nil {
			out[n] = append(out[n], c)
		}
		return err
	}, q, args...)
	return out, err
}

// behind is a row whose own columns stand behind the number of its list.
type behind struct {
	rows *sql.Rows
	list *int
}

func (b behind) Scan(dest ...any) error { return b.rows.Scan(append([]any{b.list}, dest...)...) }

func (l *Ledger) listsQuery(fs []Filter, p Page) (q string, args []any) {
	w := &where{}
	for n, f := range fs {
		if n > 0 {
			q += " UNION ALL "
		}
		q += fmt.Sprintf("SELECT %d AS nth, one.* FROM (%s) AS one", n, l.listIn(w, f, p))
	}
	return q, w.args
}

// listQuery is the one query of the list.
func (l *Ledger) listQuery(f Filter, p Page) (q string, args []any) {
	w := &where{}
	q = l.listIn(w, f, p)
	return q, w.args
}

// listIn is the query, whose values are bound behind those that there are.
func (l *Ledger) listIn(w *where, f Filter, p Page) (q string) {
	w.text.Reset()
	f.in(w, l.env, p.By)
	by := bys[p.By]
	if by.have != "" {
		w.and(by.have)
	}
	order, after := by.time+" DESC, id DESC", "("+by.time+", id) < (?, ?)"
	if p.OldestFirst {
		order, after = by.time+", id", "("+by.time+", id) > (?, ?)"
	}
	if p.After.ID != "" {
		w.and(after, ts(p.After.At), plain(p.After.ID))
	}
	if p.By == ByCreation && f.few() {
		order = strings.ReplaceAll(order, "created_at", "coalesce(created_at, created_at)")
	}
	q = "SELECT " + closureColumns + " FROM closeout.closures WHERE " + w.text.String() + " ORDER BY " + order
	w.args = append(w.args, p.Limit)
	return q + fmt.Sprintf(" LIMIT $%d", len(w.args))
}

// few says whether the filter is for what is never a large part of the ledger: that is found by an index of its own, and then
// sorted. SQLite would walk all closures in their order instead, where an index has that order; so it is hidden from it. What
// one reason keeps has an index in that order.
func (f Filter) few() bool {
	if f.Reason != "" {
		return false
	}
	stopped := len(f.Statuses) > 1
	for _, word := range f.Statuses {
		stopped = stopped && slices.Contains([]string{"state = 'failed'", "state = 'dead'", "state = 'paused'"}, statuses[word])
	}
	return stopped || f.AccountID != "" || len(f.Who) > 0 || f.Slow != nil || f.Lane != "" && f.Lane != OpenLane
}

// Count says how many closures are meant, and stops counting at most.
func (l *Ledger) Count(ctx context.Context, f Filter, most int) (n int, err error) {
	w := l.where(f)
	q := "SELECT count(*) FROM (SELECT 1 FROM closeout.closures WHERE " + w.text.String() + fmt.Sprintf(" LIMIT $%d) AS counted", len(w.args)+1)
	if err := l.db.QueryRowContext(ctx, q, append(w.args, most)...).Scan(&n); err != nil {
		return 0, fmt.Errorf("count closures: %w", err)
	}
	return n, nil
}

// anyStatus is the condition of any of these words. Where each is of one state it is a list, which both databases look up.
func anyStatus(words []string) string {
	terms, states := []string{"1 = 0"}, []string{}
	for _, word := range words {
		term, ok := statuses[word]
		if !ok {
			continue
		}
		terms = append(terms, term)
		if state, ok := strings.CutPrefix(term, "state = "); ok {
			states = append(states, state)
		}
	}
	if len(states) > 0 && len(states) == len(terms)-1 {
		return "state IN (" + strings.Join(states, ", ") + ")"
	}
	return "(" + strings.Join(terms, " OR ") + ")"
}

func (l *Ledger) where(f Filter) *where {
	w := &where{}
	f.in(w, l.env, ByCreation)
	return w
}

// in begins with the environment. Where another index than those that begin with it is the way to the rows, it is written so
// that no index answers it: SQLite, which counts no rows, would take any that does.
func (f Filter) in(w *where, env closure.Environment, by By) {
	if f.Exact != "" || f.PersonOf != "" || by == ByDue {
		w.and("environment || '' = ?", string(env))
	} else {
		w.and("environment = ?", string(env))
	}
	f.narrow(w, env)
}

func (f Filter) narrow(w *where, env closure.Environment) {
	if len(f.Statuses) > 0 {
		w.and(anyStatus(f.Statuses))
	}
	if len(f.Phases) > 0 {
		among(w, "phase", f.Phases)
	}
	if f.Reason != "" {
		w.and("reason = ?", plain(string(f.Reason)))
	}
	if f.AccountID != "" {
		w.and("account_id = ?", plain(f.AccountID))
	}
	if f.BatchID != "" {
		w.and("batch_id = ? AND batch_id <> ''", plain(f.BatchID)) // the second is the index's own condition
	}
	if !f.CreatedFrom.IsZero() {
		w.and("created_at >= ?", ts(f.CreatedFrom))
	}
	if !f.CreatedBefore.IsZero() {
		w.and("created_at < ?", ts(f.CreatedBefore))
	}
	if !f.EndedFrom.IsZero() {
		w.and("ended_at >= ?", ts(f.EndedFrom))
	}
	if f.Lane != "" {
		f.Lane.is(w)
	}
	if f.Slow != nil {
		f.Slow.is(w)
	}
	if len(f.Who) > 0 {
		among(w, "who", f.Who)
		w.and("who <> ''") // the index's own condition
	}
	if f.Actor != "" {
		w.and("actor = ?", plain(f.Actor))
	}
	f.search(w, env)
}

// where gathers conditions that must all hold, and numbers their bound values as they come.
type where struct {
	text strings.Builder
	args []any
}

// and adds a condition, in which each ? stands for the next value.
func (w *where) and(term string, values ...any) {
	if w.text.Len() > 0 {
		w.text.WriteString(" AND ")
	}
	for _, v := range values {
		before, after, _ := strings.Cut(term, "?")
		w.args = append(w.args, v)
		fmt.Fprintf(&w.text, "%s$%d", before, len(w.args))
		term = after
	}
	w.text.WriteString(term)
}

// among demands that a column has one of the words.
func among[T ~string](w *where, column string, words []T) {
	args := make([]any, len(words))
	for n, word := range words {
		args[n] = plain(string(word))
	}
	w.and(column+" IN (?"+strings.Repeat(", ?", len(args)-1)+")", args...)
}
