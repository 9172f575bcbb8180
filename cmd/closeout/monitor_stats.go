package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"closeout/closure"
	"closeout/desk"
	"closeout/ledger"
	"closeout/readiness"
	"closeout/server"
)

type monitorStatsCmd struct{}

// statsView is how the service stands, for scripts.
type statsView struct {
	At          time.Time           `json:"at"` // business time
	Environment closure.Environment `json:"environment"`

	Closures  []closureCount  `json:"closures"` // that are not over
	Ended     map[string]int  `json:"ended"`    // closed and canceled, in the last seven days
	Attention []attention     `json:"attention"`
	Unknown   []unknownIntent `json:"unknown_intents"` // the longest first, up to twenty
	Due       dueCount        `json:"due_visits"`
	Letters   letterCount     `json:"letters"`
	Streams   []streamHeard   `json:"event_streams"`
	Hold      holdStatus      `json:"hold"`
	Database  string          `json:"database"`
	Bytes     int64           `json:"database_bytes"`

	Queues  []server.QueueSize `json:"queues"`
	Workers []workerStatus     `json:"workers"`
	Unread  []string           `json:"unread,omitempty"`
}

type closureCount struct {
	Phase  string        `json:"phase"` // or start: it begins later
	State  closure.State `json:"state"`
	Count  int           `json:"count"`
	Oldest *time.Time    `json:"oldest"` // since when the one that has been there the longest is; in start, when the first begins

	Worth   readiness.USD `json:"worth"` // dollars, of those that it is known of
	OnWay   readiness.USD `json:"in_flight"`
	Unknown int           `json:"worth_unknown"` // of how many it is not known
}

type attention struct {
	State  closure.State  `json:"state"`
	Reason closure.Reason `json:"reason"`
	Title  string         `json:"title"`
	Who    closure.Who    `json:"who_must_act"`
	Hint   string         `json:"hint"`
	Count  int            `json:"count"`
	Oldest *time.Time     `json:"oldest"`
}

// attentionTo is what the reason's words add to a group.
func attentionTo(g ledger.Group) attention {
	info := closure.Reasons[g.Reason]
	return attention{g.State, g.Reason, info.Title, info.Who, info.Hint, g.N, stamp(g.Since)}
}

type unknownIntent struct {
	ID        string              `json:"id"`
	JobID     string              `json:"job_id"`
	Kind      closure.IntentKind  `json:"kind"`
	State     closure.IntentState `json:"state"`
	Text      string              `json:"text"`
	ClaimedAt *time.Time          `json:"claimed_at"`
}

type dueCount struct {
	Count  int        `json:"count"` // counting ends above 10000
	Oldest *time.Time `json:"oldest"`
}

type letterCount struct {
	Owed   int        `json:"owed"`
	Oldest *time.Time `json:"oldest"`
	Failed int        `json:"failed"`
}

type streamHeard struct {
	Topic   string     `json:"topic"`
	HeardAt *time.Time `json:"heard_at"` // machine time; null: never
}

type holdStatus struct {
	Held   bool       `json:"held"`
	Reason string     `json:"reason,omitempty"`
	Actor  string     `json:"actor,omitempty"`
	Since  *time.Time `json:"since,omitempty"`
}

// Run prints the figures. Without the ledger the queue's are shown, and without Redis the ledger's.
func (c *monitorStatsCmd) Run(ctx context.Context, o output, m *monitorCmd) error {
	return m.look(ctx, o, func(ctx context.Context, s *sight) error {
		v := statsView{At: s.clock.Now().UTC().Truncate(time.Second), Environment: closure.Environment(m.Environment)}
		if s.ledger != nil {
			if err := s.figures(ctx, &v); err != nil {
				s.missing("the ledger", err)
			} else {
				s.empty(ctx)
			}
		}
		q := s.queues(ctx, "")
		v.Queues, v.Workers, v.Unread = q.Queues, q.Workers, s.unread
		return s.print(v, func(p *page) {
			if s.ledger != nil {
				p.stats(v)
			}
			p.title("queues")
			p.queues(q)
			p.workers(v.Workers)
		})
	})
}

const (
	lately      = 7 * 24 * time.Hour
	mostUnclear = 20
)

// figures reads the ledger. Whatever somebody must look at asks for a person.
func (s *sight) figures(ctx context.Context, v *statsView) error {
	now := s.clock.Now()
	v.Attention, v.Unknown, v.Streams = []attention{}, []unknownIntent{}, []streamHeard{} // none is not unread
	b, err := s.ledger.Board(ctx, nil, now.Add(-lately))
	if err != nil {
		return err
	}
	v.Ended = map[string]int{string(closure.Closed): 0, string(closure.Canceled): 0}
	for state, n := range b.Ended {
		v.Ended[string(state)] = n
	}
	v.Closures = closureCounts(b.Tallies)
	groups, err := s.ledger.Asking(ctx)
	if err != nil {
		return err
	}
	for _, g := range groups {
		v.Attention = append(v.Attention, attentionTo(g))
	}
	unsettled, err := s.ledger.Unsettled(ctx, time.Now(), mostUnclear)
	if err != nil {
		return err
	}
	for _, i := range unsettled {
		v.Unknown = append(v.Unknown, unknownIntent{i.ID, i.ClosureID, i.Kind, i.State, desk.Instructed(i) + " " + desk.Became(i), stamp(i.ClaimedAt)})
	}
	f, err := s.ledger.Figures(ctx)
	if err != nil {
		return err
	}
	v.Due, v.Letters, v.Database, v.Bytes = dueCount{f.Due, stamp(f.DueSince)}, letterCount{f.LettersOwed, stamp(f.OwedSince), f.LettersFailed}, f.Database, f.Bytes
	for _, t := range f.Streams {
		v.Streams = append(v.Streams, streamHeard{t.Topic, stamp(t.HeardAt)})
	}
	h, err := s.ledger.Hold(ctx)
	v.Hold = holdOf(h)
	s.asks = len(groups) > 0 || len(unsettled) > 0 || h.Held || f.LettersFailed > 0
	return err
}

// closureCounts adds up the board's tallies by phase and state, in the order of the road.
func closureCounts(tallies []ledger.Tally) []closureCount {
	out := []closureCount{}
	for _, lane := range ledger.Lanes() {
		for _, t := range tallies {
			if t.Lane != lane {
				continue
			}
			n := slices.IndexFunc(out, func(c closureCount) bool { return c.Phase == string(lane) && c.State == t.State })
			if n < 0 {
				n = len(out)
				out = append(out, closureCount{Phase: string(lane), State: t.State, Oldest: stamp(t.Since)})
			}
			o := &out[n]
			o.Count, o.Worth, o.OnWay, o.Unknown = o.Count+t.N, readiness.USD{Decimal: o.Worth.Add(t.Worth)}, readiness.USD{Decimal: o.OnWay.Add(t.OnWay)}, o.Unknown+t.Unknown
			if t.Since.Before(*o.Oldest) {
				o.Oldest = stamp(t.Since)
			}
		}
	}
	return out
}

func (p *page) stats(v statsView) {
	if v.Hold.Held {
		p.pair("HELD", "by %s since %s: %s; closeout monitor release ends it", v.Hold.Actor, p.when(*v.Hold.Since), v.Hold.Reason)
	}
	open := 0
	var rows []table.Row
	for _, c := range v.Closures {
		open += c.Count
		worth := "$" + closure.USD(c.Worth.Decimal)
		if c.Unknown > 0 {
			worth += fmt.Sprintf(" and %d unknown", c.Unknown)
		}
		rows = append(rows, table.Row{c.Phase, p.state(c.State), c.Count, p.when(*c.Oldest), worth, "$" + closure.USD(c.OnWay.Decimal)})
	}
	p.title("%s under way in %s; in the last 7 days %d closed, %d canceled", counts(open, "closure"), v.Environment, v.Ended["closed"], v.Ended["canceled"])
	p.table(table.Row{"PHASE", "STATE", "COUNT", "OLDEST SINCE", "INSIDE", "ON ITS WAY"}, rows)
	rows = nil
	for _, a := range v.Attention {
		rows = append(rows, table.Row{a.Count, p.state(a.State), a.Reason, cmp.Or(string(a.Who), "operator"), p.when(*a.Oldest), a.Title})
	}
	if len(rows) > 0 {
		p.title("asks for a person")
		p.table(table.Row{"COUNT", "STATE", "REASON", "WHO", "OLDEST SINCE", "MEANS"}, rows)
	}
	rows = nil
	for _, i := range v.Unknown {
		rows = append(rows, table.Row{i.JobID, i.Kind, i.State, p.when(*i.ClaimedAt), printable(i.Text)})
	}
	if len(rows) > 0 {
		p.title("outcomes that nobody knows, or that came late")
		p.table(table.Row{"JOB", "KIND", "STATE", "CLAIMED", "WHAT"}, rows)
	}
	p.title("ledger")
	p.pair("due", "%s", oldest(p, "visit", v.Due.Count, v.Due.Oldest))
	p.pair("letters", "%s, %d given up", oldest(p, "owed letter", v.Letters.Owed, v.Letters.Oldest), v.Letters.Failed)
	for _, t := range v.Streams {
		heard := "never heard"
		if t.HeardAt != nil {
			heard = "heard " + span(time.Since(*t.HeardAt)) + " ago"
		}
		p.pair("stream", "%s: %s", t.Topic, heard)
	}
	p.pair("database", "%s, %.1f MiB", v.Database, float64(v.Bytes)/(1<<20))
}

func oldest(p *page, thing string, n int, since *time.Time) string {
	switch {
	case n > ledger.MostCounted:
		thing = fmt.Sprintf("more than %d %ss", ledger.MostCounted, thing)
	default:
		thing = counts(n, thing)
	}
	if since != nil {
		thing += ", the oldest since " + p.when(*since)
	}
	return thing
}
