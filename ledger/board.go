package ledger

import (
	"context"
	"database/sql"
	"time"

	"github.com/shopspring/decimal"

	"closeout/closure"
)

// Lane is a column of the board: a phase, with the closures that are in it and not over, or one of the two below.
type Lane string

// The lanes that are no phase.
const (
	OpenLane  Lane = "open"  // all that is not over
	StartLane Lane = "start" // accepted for later: nothing is done before its not_before; in no phase's lane
)

// Lanes are those that share out what is not over, in the order of the road.
func Lanes() []Lane {
	lanes := []Lane{StartLane}
	for _, s := range closure.Road {
		lanes = append(lanes, Lane(s.Phase))
	}
	return lanes
}

// What the board counts by, and the list finds by: one text, so that a number and the list behind it agree.
const (
	isOpen    = "state NOT IN ('closed', 'canceled')" // as the indexes have it
	isToStart = "(state = 'running' AND reason = 'not_before')"
	since     = "(CASE WHEN not_before > entered_at THEN not_before ELSE entered_at END)" // closure.Since
)

// is gives the condition of a lane. One that there is not holds nothing.
func (ln Lane) is(w *where) {
	switch {
	case ln == OpenLane:
		w.and(isOpen)
	case ln == StartLane:
		w.and(isToStart)
	case closure.Phase(ln).Valid():
		w.and("phase = ? AND "+isOpen+" AND NOT "+isToStart, string(ln))
	default:
		w.and("1 = 0")
	}
}

// Cutoffs say of each phase: a running closure whose stay in it began before is slow.
type Cutoffs map[closure.Phase]time.Time

// is gives the condition of what is slow.
func (c Cutoffs) is(w *where) {
	term := ""
	var args []any
	for _, s := range closure.Road { // in one order: the text is prepared once
		if at, ok := c[s.Phase]; ok {
			if term != "" {
				term += " OR "
			}
			term += "phase = ? AND " + since + " < ?"
			args = append(args, string(s.Phase), ts(at))
		}
	}
	if term == "" {
		term = "1 = 0"
	}
	w.and("state = 'running' AND NOT "+isToStart+" AND ("+term+")", args...)
}

// Tally is what the board counts of the closures in one lane and state that stand still for one reason.
type Tally struct {
	Lane   Lane
	State  closure.State
	Reason closure.Reason
	Who    closure.Who
	N      int
	Slow   int
	Since  time.Time // of the one that has been there the longest; in StartLane, the first that begins

	Money
}

// Money adds up what is known of the money in several closures, in dollars: what accounts hold, what others owe, which nobody
// may take for less of what is held, and payouts on their way. Unknown is how many closures lack one of these: they are in no
// sum, and their money is not zero.
type Money struct {
	Worth, Owed, OnWay decimal.Decimal
	Unknown            int
}

// Add takes in the money of others.
func (m *Money) Add(o Money) {
	m.Worth, m.Owed, m.OnWay, m.Unknown = m.Worth.Add(o.Worth), m.Owed.Add(o.Owed), m.OnWay.Add(o.OnWay), m.Unknown+o.Unknown
}

// moneyColumns are those of a Money in a grouped query, and moneyCents where they are scanned to.
var moneyColumns = "sum(CASE WHEN " + moneyKnown + " THEN 0 ELSE 1 END), " +
	sumKnown("CASE WHEN worth_cents > 0 THEN worth_cents ELSE 0 END") + ", " + sumKnown("CASE WHEN worth_cents < 0 THEN -worth_cents ELSE 0 END") + ", " + sumKnown("on_way_cents")

type moneyCents struct {
	unknown            int
	worth, owed, onWay int64
}

func (m *moneyCents) fields() []any { return []any{&m.unknown, &m.worth, &m.owed, &m.onWay} }

func (m *moneyCents) money() Money {
	return Money{dollars(m.worth), dollars(m.owed), dollars(m.onWay), m.unknown}
}

// Board is how all closures of this environment stand.
type Board struct {
	Tallies []Tally
	Ended   map[closure.State]int // that were closed or canceled since the time asked for
}

// Board counts. Only the index of what is not over is read, and the end of that of what is.
func (l *Ledger) Board(ctx context.Context, slow Cutoffs, endedSince time.Time) (Board, error) {
	b := Board{Ended: map[closure.State]int{}}
	q, args := l.boardQuery(slow)
	err := l.each(ctx, "count the board", func(rows *sql.Rows) error {
		var t Tally
		var m moneyCents
		err := rows.Scan(append([]any{&t.Lane, &t.State, &t.Reason, &t.Who, &t.N, (*ts)(&t.Since), &t.Slow}, m.fields()...)...)
		if t.State == closure.Running && t.Reason == closure.NotYet { // as isToStart
			t.Lane = StartLane
		}
		t.Money = m.money()
		b.Tallies = append(b.Tallies, t)
		return err
	}, q, args...)
	if err != nil {
		return b, err
	}
	err = l.each(ctx, "count what has ended", func(rows *sql.Rows) error {
		var s closure.State
		var n int
		err := rows.Scan(&s, &n)
		b.Ended[s] = n
		return err
	}, "SELECT state, count(*) FROM closeout.closures WHERE environment = $1 AND state IN ('closed', 'canceled') AND ended_at >= $2 GROUP BY state",
		string(l.env), ts(endedSince))
	return b, err
}

// Oldest says when the oldest closure of each lane was created; a lane without closures has none. No index has all of that, so that
// it reads every closure that is not over: it is for once in a while.
func (l *Ledger) Oldest(ctx context.Context) (map[Lane]time.Time, error) {
	out := map[Lane]time.Time{}
	err := l.each(ctx, "find the oldest of each lane", func(rows *sql.Rows) error {
		var ln Lane
		var at time.Time
		err := rows.Scan(&ln, (*ts)(&at))
		out[ln] = at
		return err
	}, "SELECT CASE WHEN "+isToStart+" THEN '"+string(StartLane)+"' ELSE phase END AS lane, min(created_at) FROM closeout.closures"+
		" WHERE environment = $1 AND "+isOpen+" GROUP BY lane", string(l.env))
	return out, err
}

// boardQuery is the one query of the board. It groups in the order of the index, so that nothing is sorted.
func (l *Ledger) boardQuery(slow Cutoffs) (q string, args []any) {
	w := &where{}
	slow.is(w)
	isSlow := w.text.String()
	w.text.Reset()
	w.and("environment = ? AND "+isOpen, string(l.env))
	return "SELECT phase, state, reason, who, count(*), min(" + since + ")," +
		" sum(CASE WHEN " + isSlow + " THEN 1 ELSE 0 END), " + moneyColumns +
		" FROM closeout.closures WHERE " + w.text.String() + " GROUP BY phase, state, reason, who ORDER BY phase, state, reason, who", w.args
}
