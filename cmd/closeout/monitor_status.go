package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"closeout/calendar"
	"closeout/closure"
	"closeout/desk"
	"closeout/ledger"
	"closeout/readiness"
	"closeout/tasks"
)

type monitorStatusCmd struct {
	Job    string `arg:"" help:"The closure: its id, its account's id, its confirmation number, the last six letters of one of these, or an instruction's id."`
	Events int    `default:"8" help:"How many of the last events."`
}

// statusView is a closure for scripts, in the API's words.
type statusView struct {
	JobID        string              `json:"job_id"`
	AccountID    string              `json:"account_id"`
	Confirmation string              `json:"confirmation_number"`
	Environment  closure.Environment `json:"environment"`
	BatchID      string              `json:"batch_id,omitempty"`
	Priority     closure.Priority    `json:"priority"`
	Phase        closure.Phase       `json:"phase"`
	State        closure.State       `json:"state"`
	Status       string              `json:"status"`
	Waiting      *desk.Waiting       `json:"waiting"`
	Message      string              `json:"message"`
	Failures     int                 `json:"failures"`
	LastError    string              `json:"last_error,omitempty"`
	Money        readiness.Money     `json:"money"`
	InFlight     []desk.InFlight     `json:"in_flight"`
	CreatedAt    *time.Time          `json:"created_at"`
	StartedAt    *time.Time          `json:"started_at"`
	EnteredAt    *time.Time          `json:"entered_at"`
	UpdatedAt    *time.Time          `json:"updated_at"`
	EndedAt      *time.Time          `json:"ended_at"`
	Task         *taskStatus         `json:"task"` // null: Redis could not be read
	Chain        desk.Chain          `json:"chain"`
	Events       []desk.Entry        `json:"events"`
	Unread       []string            `json:"unread,omitempty"`
}

// taskStatus is the task of a closure's present version.
type taskStatus struct {
	ID    string     `json:"id"`
	Queue string     `json:"queue_name"`
	State string     `json:"state"` // missing, waiting, scheduled, active, orphaned or archived
	Until *time.Time `json:"until"` // for which it is scheduled; machine time
}

// Run prints one closure.
func (c *monitorStatusCmd) Run(ctx context.Context, o output, m *monitorCmd) error {
	return m.look(ctx, o, func(ctx context.Context, s *sight) error {
		if err := s.needLedger(); err != nil {
			return err
		}
		cl, more, err := s.find(ctx, c.Job)
		if err != nil {
			return err
		}
		d := &desk.Desk{Ledger: s.ledger, Clock: s.clock, Policy: closure.DefaultPolicy(cl.Environment)}
		r, err := d.Record(ctx, cl.ID)
		if err != nil {
			return err
		}
		v := s.status(r, d, max(c.Events, 0))
		v.Task = s.task(ctx, r.Closure)
		v.Unread = s.unread
		s.asks = asking(r.Closure, r.Intents) || r.Broken != nil
		return s.print(v, func(p *page) { p.status(v, r.Closure, more) })
	})
}

// find finds the one closure that a word names, the latest of its account, and says how many others the account has.
func (s *sight) find(ctx context.Context, job string) (c closure.Closure, others int, err error) {
	const most = 20
	found, err := s.ledger.List(ctx, ledger.Filter{Exact: job}, ledger.Page{Limit: most})
	if err != nil {
		return c, 0, err
	}
	if len(found) == 0 {
		return c, 0, s.none("no closure of the %s environment is, or belongs to, %q", s.ledger.Environment(), job)
	}
	for _, f := range found[1:] {
		if f.AccountID != found[0].AccountID {
			var names []string
			for _, f := range found {
				names = append(names, f.ID)
			}
			return c, 0, fmt.Errorf("%q means several accounts' closures; name one: %s", printable(job), strings.Join(names, ", "))
		}
	}
	return found[0], len(found) - 1, nil
}

// none says that there is nothing of a name.
func (s *sight) none(format string, args ...any) error {
	_, _ = fmt.Fprintf(s.err, format+"\n", args...)
	return nothingFound
}

// asking says whether a closure asks for a person. An outcome that nobody knows does, though time may tell it.
func asking(c closure.Closure, intents []closure.Intent) bool {
	for _, i := range intents {
		if i.State == closure.IntentLate || i.Unknown(time.Now()) {
			return true
		}
	}
	return !c.State.Ended() && (c.State != closure.Running || c.Who != closure.Nobody)
}

func (s *sight) status(r desk.Record, d *desk.Desk, events int) statusView {
	c, file := r.Closure, d.File(r, true)
	return statusView{
		JobID: c.ID, AccountID: c.AccountID, Confirmation: c.Confirmation, Environment: c.Environment, BatchID: c.BatchID, Priority: c.Priority,
		Phase: c.Phase, State: c.State, Status: c.JobStatus(), Waiting: desk.WaitingOf(c), Message: desk.Next(c, s.clock.Now()),
		Failures: c.Failures, LastError: c.LastError, Money: readiness.MoneyOf(c, r.Intents), InFlight: desk.InFlightOf(r.Intents),
		CreatedAt: stamp(c.CreatedAt), StartedAt: stamp(c.StartedAt), EnteredAt: stamp(c.EnteredAt), UpdatedAt: stamp(c.UpdatedAt), EndedAt: stamp(c.EndedAt),
		Chain: file.Chain, Events: file.History[max(0, len(file.History)-events):],
	}
}

// conditions are where a task stands, in words.
var conditions = map[tasks.Condition]string{
	tasks.Missing: "missing", tasks.Waiting: "waiting", tasks.Scheduled: "scheduled", tasks.Active: "active", tasks.Archived: "archived",
}

// task is nil where Redis could not be read.
func (s *sight) task(ctx context.Context, c closure.Closure) *taskStatus {
	seen, ok := askRedis(ctx, s, "its task", func(ctx context.Context) (tasks.Seen, error) { return s.queue.Look(ctx, c) })
	if !ok {
		return nil
	}
	t := &taskStatus{ID: tasks.Shown(tasks.PayloadOf(c).ID()), Queue: tasks.QueueFor(c.Priority), State: conditions[seen.Condition], Until: stamp(seen.At)}
	if seen.Orphaned {
		t.State = "orphaned"
	}
	return t
}

func (p *page) status(v statusView, c closure.Closure, others int) {
	p.pair("closure", "%s, %s, %s", v.Confirmation, v.Environment, v.Priority)
	p.pair("job", "%s", v.JobID)
	p.pair("account", "%s", v.AccountID)
	if others > 0 {
		p.pair("", "the latest of %d of this account", others+1)
	}
	p.line("%-11s %s in %s (%d/%d), since %s", "state", p.state(c.State), c.Phase, c.Phase.Number(), len(closure.Road), p.when(since(c)))
	if w := v.Waiting; w != nil {
		p.pair("why", "%s (%s)", w.Why, w.Reason)
		if c.State == closure.Running {
			p.pair("next look", "%s", p.when(c.DueAt))
		}
		if w.Who != closure.Nobody {
			p.pair("who", "the %s must act", w.Who)
		}
		p.pair("what to do", "%s", w.Hint)
	}
	p.pair("next", "%s", v.Message)
	p.pair("money", "sold $%s, paid $%s, on its way $%s, unconfirmed $%s", closure.USD(v.Money.Sold.Decimal), closure.USD(v.Money.Paid.Decimal),
		closure.USD(v.Money.InFlight.Decimal), closure.USD(v.Money.Unconfirmed.Decimal))
	for _, i := range v.InFlight {
		p.pair("in flight", "%s, since %s", i.Text, p.when(i.Since))
	}
	if t := v.Task; t != nil {
		until := ""
		if t.Until != nil {
			until = " for " + t.Until.UTC().Format(time.RFC3339)
		}
		p.pair("task", "%s%s: %s in %s", t.State, until, t.ID, t.Queue)
	} else {
		p.pair("task", "not known: Redis could not be read")
	}
	if v.Chain.BrokenAt != nil {
		p.pair("history", "%s", v.Chain.Text)
	}
	p.title("the last %d of %d events", len(v.Events), v.Chain.Events)
	var rows []table.Row
	for _, e := range v.Events {
		rows = append(rows, table.Row{e.Seq, e.At.UTC.In(calendar.NewYork).Format("02 Jan 2006 15:04:05"), e.Phase, printable(e.Actor), printable(e.Text)})
	}
	p.table(table.Row{"#", "TIME, ET", "PHASE", "WHO", "WHAT"}, rows)
}

// since is when a closure came into the state it is in, or, of one that runs, into its phase.
func since(c closure.Closure) time.Time {
	if !c.EndedAt.IsZero() {
		return c.EndedAt
	}
	return c.Since()
}
