package ledger

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
	"time"

	"closeout/closure"
)

// Group is how many closures stand still in one state for one reason.
type Group struct {
	State  closure.State
	Reason closure.Reason
	N      int
	Since  time.Time // when the first of them stopped, or for one that runs entered its phase; business

	Money
}

// moneyKnown is the condition under which a closure's money is added up.
const moneyKnown = "worth_cents IS NOT NULL AND on_way_cents IS NOT NULL"

// sumKnown adds up a column of cents where the money is known. Of bigints, Postgres makes a numeric.
func sumKnown(column string) string {
	return "CAST(coalesce(sum(CASE WHEN " + moneyKnown + " THEN " + column + " END), 0) AS BIGINT)"
}

var groups = "SELECT state, reason, count(*), min(coalesce(ended_at, entered_at)), " + moneyColumns + " FROM closeout.closures WHERE "

const grouped = " GROUP BY state, reason"

// Asking are the closures that need a person, the most first: what has failed, is dead or paused, and then what runs and waits
// for somebody, or for one of these reasons though nobody must act.
func (l *Ledger) Asking(ctx context.Context, noted ...closure.Reason) ([]Group, error) {
	q, args := l.askingQuery(noted)
	return l.groups(ctx, q, args...)
}

// askingQuery is the one query of what needs a person. Each of its parts goes by an index of its own.
func (l *Ledger) askingQuery(noted []closure.Reason) (q string, args []any) {
	w := &where{}
	part := func(term string, narrow func()) {
		w.and("environment = ? AND "+term, string(l.env))
		narrow()
		if q != "" {
			q += " UNION ALL "
		}
		q += groups + w.text.String() + grouped
		w.text.Reset()
	}
	part("state IN ('failed', 'dead', 'paused')", func() {})
	part("state = 'running' AND who <> ''", func() {})
	if len(noted) > 0 {
		part("state = 'running' AND who = ''", func() { among(w, "reason", noted) })
	}
	return q, w.args
}

// Redrivable are the closures that a redrive of a filter would find, the most first. Of some reasons a person must look at each:
// those a redrive would skip.
func (l *Ledger) Redrivable(ctx context.Context, f Filter) ([]Group, error) {
	w := &where{}
	l.stoppedOf(w, f)
	return l.groups(ctx, groups+w.text.String()+grouped, w.args...)
}

func (l *Ledger) groups(ctx context.Context, q string, args ...any) (out []Group, err error) {
	err = l.each(ctx, "group closures", func(rows *sql.Rows) error {
		var g Group
		var m moneyCents
		err := rows.Scan(append([]any{&g.State, &g.Reason, &g.N, (*ts)(&g.Since)}, m.fields()...)...)
		g.Money = m.money()
		out = append(out, g)
		return err
	}, q, args...)
	runs := func(g Group) int { return map[bool]int{true: 1, false: 0}[g.State == closure.Running] }
	slices.SortFunc(out, func(a, b Group) int {
		return cmp.Or(cmp.Compare(runs(a), runs(b)), cmp.Compare(b.N, a.N), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.State, b.State))
	})
	return out, err
}

// Unsettled are up to limit instructions of which nobody knows at the machine time now whether the broker carried them out,
// and transfers that appeared after they were given up, the longest first.
func (l *Ledger) Unsettled(ctx context.Context, now time.Time, limit int) (out []closure.Intent, err error) {
	err = l.each(ctx, "look for unknown outcomes", func(rows *sql.Rows) error {
		i, err := scanIntent(rows)
		out = append(out, i)
		return err
	}, "SELECT "+intentColumns+" FROM closeout.intents WHERE environment = $1 AND state IN ('sending', 'late') AND (state = 'late' OR deadline < $2)"+
		" ORDER BY claimed_at, id LIMIT $3", string(l.env), ts(now), limit)
	return out, err
}

// OpenIntents are how many instructions of one kind have not come to their end: sending, unknown or late.
type OpenIntents struct {
	Kind  closure.IntentKind
	State string
	N     int
	Until time.Time // the first of their deadlines: of what is unknown, since when the oldest has been; machine
}

// OpenIntents counts the instructions that are on their way at the machine time now, those of which nobody knows whether the
// broker carried them out, and the transfers that appeared after they were given up, while their closure is not over.
func (l *Ledger) OpenIntents(ctx context.Context, now time.Time) (out []OpenIntents, err error) {
	err = l.each(ctx, "count open instructions", func(rows *sql.Rows) error {
		var o OpenIntents
		err := rows.Scan(&o.Kind, &o.State, &o.N, (*ts)(&o.Until))
		out = append(out, o)
		return err
	}, "SELECT o.kind, o.known, count(*), min(o.deadline) FROM (SELECT i.kind, i.deadline, CASE WHEN i.state = 'late' THEN 'late' WHEN i.deadline < $1 THEN 'unknown' ELSE 'sending' END AS known"+
		" FROM closeout.intents i WHERE i.environment = $2 AND i.state IN ('sending', 'late')"+
		" AND (i.state = 'sending' OR (SELECT c.state FROM closeout.closures c WHERE c.id = i.closure_id) NOT IN ('closed', 'canceled'))) o"+
		" GROUP BY o.kind, o.known ORDER BY o.kind, o.known", ts(now), string(l.env))
	return out, err
}
