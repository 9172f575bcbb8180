package console

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"closeout/calendar"
	"closeout/closure"
	"closeout/ledger"
)

const (
	pageSize = 50
	most     = 1000 // that are counted
)

// listPage is a page of the list.
type listPage struct {
	Rows   []listRow
	Count  string
	Faults []fault
	Chips  []chip
	Retry  string // the preview of a retry of all that is listed; empty: not all of it has stopped
	Clear  bool   // something narrows the list
	None   bool   // there was never a closure

	First, Previous, Next string // addresses of other pages; empty: there is none, or this is it

	Q, BatchID, CreatedAfter, CreatedBefore, OlderThan string
	Statuses, Phases, Reasons, Who, Orders             []choice
	Hidden                                             []choice // filters that the form has no field for
}

// chip is one of the filters that are on, and the list without it.
type chip struct{ Name, Value, Without string }

// listRow is one closure of the list.
type listRow struct {
	ID, Account, Confirmation, Link string
	Line                            string // why it waits, until when, and who must act
	Phase                           closure.Phase
	State                           closure.State
	Who                             closure.Who
	Age                             string // in its phase
	Since, CreatedAt                time.Time
	Worth, OnWay, Paid              *decimal.Decimal // nil: not known
	Over                            bool
	Priority                        closure.Priority
}

func (k *Console) list(a *ask) (page, error) {
	w := k.read(a.URL.Query())
	p := listPage{
		Faults: w.faults, Q: w.values.Get("q"), BatchID: w.values.Get("batch_id"), CreatedAfter: w.values.Get("created_after"),
		CreatedBefore: w.values.Get("created_before"), OlderThan: w.values.Get("older_than"),
	}
	w.form(&p)
	if len(w.faults) > 0 { // what is not understood lists nothing
		return page{Template: "list", Title: "Closures", Data: p, Status: http.StatusUnprocessableEntity}, nil
	}
	if err := k.fill(a.Context(), &w, &p); err != nil {
		return page{}, err
	}
	if len(w.filter.Statuses) > 0 && !slices.ContainsFunc(w.filter.Statuses, hasNotStopped) {
		p.Retry = retryAt() + strings.TrimPrefix(w.link("order", ""), "/closures")
	}
	return page{Template: "list", Title: "Closures", Data: p, Watch: "all"}, nil
}

// hasNotStopped says of a filter's word that closures which it means may run, or be over.
func hasNotStopped(word string) bool {
	return !slices.Contains([]string{"failed", "dead", "FAILED", "DEAD"}, word)
}

// fill reads the page.
func (k *Console) fill(ctx context.Context, w *wanted, p *listPage) error {
	if err := k.exactly(ctx, &w.filter); err != nil {
		return err
	}
	rows, before, after, err := k.pageOf(ctx, w)
	if err != nil {
		return err
	}
	if before {
		p.First, p.Previous = w.link(), w.at("before", rows[0])
	}
	if after {
		p.Next = w.at("after", rows[len(rows)-1])
	}
	n := len(rows)
	switch {
	case before || after:
		if n, err = k.count(ctx, *w); err != nil {
			return err
		}
	case n == 0 && !p.Clear:
		p.None = true
	}
	p.Count = fmt.Sprintf("%d found", n)
	if n > most {
		p.Count = "more than 1,000 found"
	}
	cal, now := k.Calendar(), k.now()
	for _, c := range rows {
		p.Rows = append(p.Rows, rowOf(c, cal, now))
	}
	return nil
}

// pageOf reads a page, and says whether there are closures before and after it.
func (k *Console) pageOf(ctx context.Context, w *wanted) (rows []closure.Closure, before, after bool, err error) {
	at := w.page
	at.Limit = pageSize + 1 // one more says whether there are others
	if w.back {
		at.OldestFirst = !at.OldestFirst
	}
	rows, err = k.Ledger.List(ctx, w.filter, at)
	more := len(rows) > pageSize
	switch {
	case err != nil:
		return nil, false, false, err
	case w.back && !more, len(rows) == 0 && at.After.ID != "": // the first page, with what has come since; or nothing is left there
		w.back, w.page.After = false, ledger.Position{}
		return k.pageOf(ctx, w)
	case more:
		rows = rows[:pageSize]
	}
	if w.back {
		slices.Reverse(rows)
		return rows, more, true, nil
	}
	return rows, at.After.ID != "", more, nil
}

// count says how many closures the list has in all.
func (k *Console) count(ctx context.Context, w wanted) (int, error) {
	f := w.filter
	switch { // of what an order leaves out
	case w.page.By == ledger.ByDue && len(f.Statuses) == 0:
		f.Statuses = []string{string(closure.Running)}
	case w.page.By == ledger.BySince && f.Lane == "":
		f.Lane = ledger.OpenLane
	}
	return k.Ledger.Count(ctx, f, most+1)
}

// exactly turns a text that is the whole of some identifier into a search for that; an index finds it.
func (k *Console) exactly(ctx context.Context, f *ledger.Filter) error {
	if f.Text == "" {
		return nil
	}
	n, err := k.Ledger.Count(ctx, ledger.Filter{Exact: f.Text}, 1)
	if n > 0 {
		f.Text, f.Exact = "", f.Text
	}
	return err
}

// form fills in what the form of filters shows.
func (w wanted) form(p *listPage) {
	p.Clear = len(w.values) > 0 && (len(w.values) > 1 || w.values.Get("order") == "")
	p.Statuses = w.choices(
		"status", "any state", choice{"running", "running", false}, choice{"PENDING", "not begun", false}, choice{"RETRYING", "trying again after an error", false},
		choice{"failed", "failed", false}, choice{"dead", "dead", false}, choice{"paused", "paused", false}, choice{"failed,dead", "failed or dead", false},
		choice{"failed,dead,paused", "failed, dead or paused", false}, choice{"closed", "closed", false}, choice{"canceled", "canceled", false},
	)
	var phases []choice
	for _, s := range closure.Road {
		phases = append(phases, choice{string(s.Phase), string(s.Phase), false})
	}
	p.Phases = w.choices("phase", "any phase", phases...)
	p.Reasons = w.choices("reason", "any reason", reasons()...)
	p.Who = w.choices(
		"who", "anybody or nobody", choice{somebody, "somebody", false}, choice{"operator", "an operator", false}, choice{"customer", "the customer", false}, choice{"broker", "the broker", false},
	)
	p.Orders = w.choices("order", "the newest first", choice{"oldest", "the oldest first", false}, choice{"due", "due next", false}, choice{"stuck", "longest in its phase", false})
	for name, list := range map[string]*[]choice{"status": &p.Statuses, "phase": &p.Phases, "order": &p.Orders} {
		if v := w.values.Get(name); v != "" && !slices.ContainsFunc(*list, func(c choice) bool { return c.On }) { // such as two phases
			*list = append(*list, choice{v, strings.ReplaceAll(v, ",", " or "), true})
		}
	}
	for _, name := range []string{"lane", "slow", "client", "person_of", "account_id", "ended_after"} {
		if v := w.values.Get(name); v != "" {
			p.Hidden = append(p.Hidden, choice{Value: v, Words: name})
		}
	}
	for _, c := range []struct{ name, words string }{
		{"lane", "lane"},
		{"status", "state"},
		{"phase", "phase"},
		{"reason", "reason"},
		{"who", "must act"},
		{"slow", "past the usual time"},
		{"account_id", "account"},
		{"batch_id", "batch"},
		{"client", "client"},
		{"person_of", "customer of closure"},
		{"created_after", "created from"},
		{"created_before", "created before"},
		{"ended_after", "ended from"},
		{"older_than", "older than"},
		{"q", "text"},
	} {
		if v := w.values.Get(c.name); v != "" {
			p.Chips = append(p.Chips, chip{c.words, v, w.link(c.name, "")})
		}
	}
}

func rowOf(c closure.Closure, cal *calendar.Calendar, now time.Time) listRow {
	r := listRow{
		ID: c.ID, Account: c.AccountID, Confirmation: c.Confirmation, Link: "/closures/" + c.ID, Line: line(c, now), Phase: c.Phase, State: c.State, Who: c.Who,
		Since: c.Since(), CreatedAt: c.CreatedAt, Worth: sum(c.Memo.Worth), OnWay: sum(c.Memo.OnWay), Paid: sum(c.Memo.Paid), Over: c.State.Ended(), Priority: c.Priority,
	}
	if !r.Over && !r.Since.After(now) {
		r.Age = ageIn(cal, c.Phase, r.Since, now)
	}
	return r
}

// sum reads a sum of the memo's; nil is not known.
func sum(text string) *decimal.Decimal {
	d, err := decimal.NewFromString(text)
	if err != nil {
		return nil
	}
	return &d
}

// line says in one sentence why a closure waits, until when, and who must act.
func line(c closure.Closure, now time.Time) string {
	why := part(cmp.Or(c.Why, closure.Reasons[c.Reason].Title, "on its way"))
	switch c.State {
	case closure.Closed:
		return fmt.Sprintf("Closed %s: %s.", newYork(c.EndedAt), why)
	case closure.Canceled:
		return fmt.Sprintf("Canceled %s: %s.", newYork(c.EndedAt), why)
	case closure.Paused:
		return fmt.Sprintf("Held until it is resumed: %s; an operator must act.", why)
	case closure.Failed, closure.Dead:
		return fmt.Sprintf("Stopped until it is resumed: %s; %s must act.", why, theParty(cmp.Or(c.Who, closure.Operator)))
	case closure.Running:
	}
	if c.Failures > 0 {
		why += "; the last try ended with an error and is repeated: " + part(c.LastError)
	}
	until := "looks again " + newYork(c.DueAt)
	switch {
	case !c.DueAt.After(now):
		until = "goes on now"
	case c.Reason == closure.NotYet:
		until = "starts " + newYork(c.DueAt)
	}
	if c.Who != closure.Nobody {
		return fmt.Sprintf("%s; %s must act, %s.", closure.Capital(why), theParty(c.Who), until)
	}
	return fmt.Sprintf("%s; %s.", closure.Capital(why), until)
}

// part is a text that others wrote, as a part of a sentence.
func part(text string) string { return strings.TrimRight(closure.OneLine(text), ". ") }
