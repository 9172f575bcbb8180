package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"closeout/ledger"
	"closeout/tasks"
)

type monitorCleanupCmd struct {
	Years    int  `env:"CLOSEOUT_RETENTION_YEARS" default:"7" help:"How long the ledger keeps what is over: closed and canceled closures with their histories, batches, bulk retries."`
	TaskDays int  `env:"CLOSEOUT_RETENTION_TASK_DAYS" default:"7" help:"How old an archived task in Redis must be to be removed; it stays until this is run. Completed ones are gone at once."`
	Apply    bool `help:"Remove it."`
}

// Help is printed by closeout monitor cleanup --help.
func (*monitorCleanupCmd) Help() string {
	return "A closure goes whole or not at all. Kept whatever their age: what is not over (failed, dead and paused are not), what has a letter that is owed " +
		"or an instruction that nobody has settled, what stands beside an unfinished closure of its account. Kept too, named, and worth exit status 3: a closure whose history " +
		"is broken, or does not say that it ended so long ago. What was removed stands in the ledger's table removals."
}

// cleanupView is what is, or could be, removed.
type cleanupView struct {
	Applied     bool          `json:"applied"`
	EndedBefore *time.Time    `json:"ended_before"` // business time
	Closures    int           `json:"closures"`
	Events      int64         `json:"events"`
	Batches     int           `json:"batches"`
	Redrives    int           `json:"redrives"`
	Expired     int           `json:"expired"`        // remembered requests and sessions
	Kept        []brokenChain `json:"kept,omitempty"` // evidence: their histories are broken, or do not bear out their rows
	TasksBefore *time.Time    `json:"tasks_before"`
	Tasks       *int          `json:"tasks"` // null: Redis could not be read
	Unread      []string      `json:"unread,omitempty"`
}

// cleanupBite is how many closures are removed in one transaction, and rest is how long the ledger is left to others after it.
const (
	cleanupBite = 100
	rest        = 50 * time.Millisecond
)

// Run counts, and with --apply removes bite by bite; whatever it was when it was stopped, no bite is half taken.
func (c *monitorCleanupCmd) Run(ctx context.Context, o output, m *monitorCmd) error {
	var bad complaints
	if c.Years < 1 || c.Years > 100 {
		bad.add("CLOSEOUT_RETENTION_YEARS", "must lie between 1 and 100, is %d", c.Years)
	}
	if c.TaskDays < 1 || c.TaskDays > 3650 {
		bad.add("CLOSEOUT_RETENTION_TASK_DAYS", "must lie between 1 and 3650, is %d", c.TaskDays)
	}
	if err := bad.err(); err != nil {
		return err
	}
	return m.look(ctx, o, func(ctx context.Context, s *sight) error {
		if err := s.needLedger(); err != nil {
			return err
		}
		before := s.clock.Now().AddDate(-c.Years, 0, 0)
		tasksBefore := time.Now().AddDate(0, 0, -c.TaskDays)
		v := cleanupView{Applied: c.Apply, EndedBefore: stamp(before), TasksBefore: stamp(tasksBefore)}
		old, known := s.finished(ctx, tasksBefore)
		var r ledger.Removal
		var err error
		if !c.Apply {
			if r, err = s.ledger.Removable(ctx, before); err == nil {
				v.Expired, err = s.ledger.Expired(ctx)
			}
			if err != nil {
				return err
			}
		} else {
			if r, err = s.removeOld(ctx, before); err == nil {
				v.Expired, err = forgetAll(ctx, s.ledger)
			}
			for n, t := range old {
				if err := s.queue.Forget(t); err != nil {
					s.missing("the finished tasks, in Redis", err)
					old = old[:n]
					break
				}
			}
		}
		v.Closures, v.Events, v.Batches, v.Redrives, v.Kept = r.Closures, r.Events, r.Batches, r.Redrives, brokenChains(r.Kept)
		s.asks = s.asks || len(v.Kept) > 0
		if known {
			v.Tasks = new(len(old))
		}
		v.Unread = s.unread
		return errors.Join(s.print(v, func(p *page) { p.cleanup(v, c) }), err)
	})
}

// removeOld takes bites until nothing is left.
func (s *sight) removeOld(ctx context.Context, before time.Time) (all ledger.Removal, err error) {
	for {
		r, err := s.ledger.Remove(ctx, before, s.actor, all.Last, cleanupBite)
		if err != nil || r.Nothing() {
			return all, err
		}
		all.Add(r)
		if !s.json && r.Closures+r.Batches+r.Redrives > 0 {
			_, _ = fmt.Fprintf(s.err, "removed %d closures with %d events, %d batches, %d bulk retries\n", r.Closures, r.Events, r.Batches, r.Redrives)
		}
		select {
		case <-ctx.Done():
			return all, fmt.Errorf("stopped; what is left is removed by the next time: %w", ctx.Err())
		case <-time.After(rest):
		}
	}
}

func forgetAll(ctx context.Context, l *ledger.Ledger) (all int, err error) {
	for {
		n, err := l.Forget(ctx, cleanupBite)
		all += n
		if err != nil || n == 0 {
			return all, err
		}
	}
}

// finished are the old tasks in Redis but for those of closures that are not over.
func (s *sight) finished(ctx context.Context, before time.Time) (out []tasks.Finished, known bool) {
	all, known := askRedis(ctx, s, "the finished tasks", func(ctx context.Context) ([]tasks.Finished, error) { return s.queue.Finished(ctx, before) })
	for _, t := range all {
		if t.ClosureID != "" {
			c, err := s.ledger.Get(ctx, t.ClosureID)
			if err != nil && !errors.Is(err, ledger.ErrNotFound) {
				s.missing("whose the finished tasks are, in the ledger", err)
				return nil, false
			}
			if err == nil && !c.State.Ended() {
				continue
			}
		}
		out = append(out, t)
	}
	return out, known
}

func (p *page) cleanup(v cleanupView, c *monitorCleanupCmd) {
	verb := "this could be removed"
	if v.Applied {
		verb = "this was removed"
	}
	p.title("Of what had ended before %[2]s (%[3]s), %[1]s:", verb, v.EndedBefore.Format("2006-01-02"), counts(c.Years, "year"))
	in := any("not known")
	if v.Tasks != nil {
		in = *v.Tasks
	}
	p.table(table.Row{"WHAT", "COUNT"}, []table.Row{
		{"closures", v.Closures},
		{"their events", v.Events},
		{"batches", v.Batches},
		{"bulk retries", v.Redrives},
		{"expired requests and sessions", v.Expired},
		{"finished tasks of more than " + counts(c.TaskDays, "day"), in},
	})
	if len(v.Kept) > 0 {
		p.title("Kept, though the row says that it was over: %s, and the runbook's CloseoutChainBroken says what to do.", counts(len(v.Kept), "closure"))
		for _, k := range v.Kept {
			p.line("event %d of closure %s: %s", k.Event, printable(k.JobID), printable(k.Why))
		}
	}
	if !v.Applied {
		p.title("Nothing was removed: --apply does it.")
	}
}
