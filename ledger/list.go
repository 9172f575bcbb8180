package ledger

import (
	"context"
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

	CreatedFrom   time.Time // and then; business time
	CreatedBefore time.Time // and not then

	// Text is looked for among the ids of closure, account and batch and the confirmation numbers. A whole one of those is
	// found by an index; a part of one, of closure, account or confirmation, by reading every row.
	Text string
}

// Page says which part of the list is meant. Its order is by creation, the newest first, and by id where two were created
// in the same microsecond; neither ever changes, so that pages that are read one after the other have no closure twice
// and miss none, whatever is created meanwhile.
type Page struct {
	After       Position // of the last closure of the page before; zero: the first page
	Limit       int      // closures at the most
	OldestFirst bool
}

// Position is a closure's place in the list.
type Position struct {
	CreatedAt time.Time
	ID        string
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

// listQuery is the one query of the list.
func (l *Ledger) listQuery(f Filter, p Page) (q string, args []any) {
	w := &where{}
	w.and("environment = ?", string(l.env))
	f.narrow(w)
	order, after := "created_at DESC, id DESC", "(created_at, id) < (?, ?)"
	if p.OldestFirst {
		order, after = "created_at, id", "(created_at, id) > (?, ?)"
	}
	if p.After.ID != "" {
		w.and(after, ts(p.After.CreatedAt), p.After.ID)
	}
	q = "SELECT " + closureColumns + " FROM closeout.closures WHERE " + w.text.String() + " ORDER BY " + order
	return q + fmt.Sprintf(" LIMIT $%d", len(w.args)+1), append(w.args, p.Limit)
}

func (f Filter) narrow(w *where) {
	if len(f.Statuses) > 0 {
		terms := []string{"1 = 0"}
		for _, word := range f.Statuses {
			if term, ok := statuses[word]; ok {
				terms = append(terms, term)
			}
		}
		w.and("(" + strings.Join(terms, " OR ") + ")")
	}
	if len(f.Phases) > 0 {
		var names []any
		for _, p := range f.Phases {
			names = append(names, string(p))
		}
		w.and("phase IN (?"+strings.Repeat(", ?", len(names)-1)+")", names...)
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
	f.search(w)
}

// Lengths of what a search may be for: a UUID, and a confirmation number with its six digits.
const (
	uuidLen         = 36
	confirmationLen = len("CLA-20060102150405-123456")
)

func (f Filter) search(w *where) {
	text := plain(strings.TrimSpace(f.Text))
	switch upper := strings.ToUpper(text); {
	case text == "":
	case len(text) == uuidLen:
		text = strings.ToLower(text)
		w.and("(id = ? OR account_id = ? OR (batch_id = ? AND batch_id <> ''))", text, text, text)
	case len(text) == confirmationLen && strings.HasPrefix(upper, "CLA-"):
		w.and("confirmation = ?", "CLA-"+strings.ToLower(text[4:]))
	default:
		part := "%" + strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`).Replace(strings.ToLower(text)) + "%"
		w.and(`(id LIKE ? ESCAPE '\' OR account_id LIKE ? ESCAPE '\' OR lower(confirmation) LIKE ? ESCAPE '\')`, part, part, part)
	}
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
