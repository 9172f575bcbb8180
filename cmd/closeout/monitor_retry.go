package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"closeout/closure"
	"closeout/desk"
	"closeout/handlers"
	"closeout/ledger"
)

type monitorRetryCmd struct {
	Jobs   []string `arg:"" optional:"" name:"job" help:"Closures, as status takes them; each is resumed by itself. A paused one is refused."`
	Filter string   `help:"All that have failed or are dead and that these words mean, as a bulk retry: phase=withdrawal reason=bank_gone; also status, who, batch_id, account_id, client, q, created_after, created_before, ended_after, older_than=36h."`
	Reason string   `help:"Why, in one line: it stands in each closure's history."`
	Rate   int      `default:"30" help:"Closures that a bulk retry resumes in a minute, at the most."`
	Apply  bool     `help:"Do it."`
	Abort  string   `placeholder:"ID" help:"End a bulk retry: nothing further is resumed by it."`
}

// Run says what would be resumed, and with --apply resumes it.
func (c *monitorRetryCmd) Run(ctx context.Context, o output, m *monitorCmd) error {
	var bad complaints
	ways := 0
	for _, given := range []bool{len(c.Jobs) > 0, c.Filter != "", c.Abort != ""} {
		if given {
			ways++
		}
	}
	if ways != 1 {
		bad.add("retry", "takes one of these: jobs, --filter, or --abort")
	}
	if c.Abort == "" && (c.Apply || c.Reason != "") {
		reason, wrong := desk.Reason(c.Reason)
		if c.Reason = reason; wrong != "" {
			bad.add("--reason", "%s", wrong)
		}
	}
	if c.Rate < 1 || c.Rate > ledger.MostPerMinute {
		bad.add("--rate", "must lie between 1 and %d closures a minute, is %d", ledger.MostPerMinute, c.Rate)
	}
	if err := bad.err(); err != nil {
		return err
	}
	return m.look(ctx, o, func(ctx context.Context, s *sight) error {
		if err := s.needLedger(); err != nil {
			return err
		}
		switch {
		case c.Abort != "":
			return s.abort(ctx, c.Abort)
		case c.Filter != "":
			return c.many(ctx, s)
		}
		return c.each(ctx, s)
	})
}

// retryView is what came, or would come, of one closure.
type retryView struct {
	JobID   string         `json:"job_id"`
	Account string         `json:"account_id"`
	Phase   closure.Phase  `json:"phase"`
	State   closure.State  `json:"state"` // as it is now
	Reason  closure.Reason `json:"reason"`
	Retried bool           `json:"retried"`
	Refused string         `json:"refused,omitempty"` // why it is not retried
	Hint    string         `json:"hint,omitempty"`
}

// each resumes closures one by one, with the refusals of the API and the console.
func (c *monitorRetryCmd) each(ctx context.Context, s *sight) error {
	d := &desk.Desk{
		Ledger: s.ledger, Clock: s.clock, Policy: closure.DefaultPolicy(s.ledger.Environment()),
		Schedule: func(ctx context.Context, cl closure.Closure) {
			_, _ = askRedis(ctx, s, "its next visit can't be scheduled now, the sweep does it", func(ctx context.Context) (any, error) { return nil, s.queue.Schedule(ctx, cl) })
		},
		Way: func(command, account string) string {
			if command == "resume" {
				return "closeout monitor retry"
			}
			return command + ", on the console"
		},
	}
	out, refused := []retryView{}, false
	for _, job := range c.Jobs {
		cl, _, err := s.find(ctx, job)
		if err != nil {
			return err
		}
		v := retryView{JobID: cl.ID, Account: cl.AccountID, Phase: cl.Phase, State: cl.State, Reason: cl.Reason}
		ask := desk.Ask{Actor: s.actor, Why: c.Reason}
		if cl.State == closure.Running {
			v.Refused, v.Hint = "It is running.", "Nothing has to be resumed."
		} else if cl.State == closure.Paused {
			if v.Refused, err = s.pausedBy(ctx, cl); err != nil {
				return err
			}
			v.Hint = "A retry undoes nobody's pause: ask them, and resume it on the console or by the API."
		} else if !c.Apply {
			_, intents, err := s.ledger.Load(ctx, cl.ID)
			if err != nil {
				return err
			}
			v.say(d.Would(cl, intents, desk.Resume, ask))
		} else {
			after, err := d.Command(ctx, cl, desk.Resume, ask)
			if _, no := errors.AsType[*desk.Refusal](err); err != nil && !no {
				return err
			}
			if err == nil {
				v.State, v.Retried = after.State, after.Changed
			}
			v.say(err)
		}
		refused = refused || v.Refused != ""
		out = append(out, v)
	}
	err := s.print(out, func(p *page) {
		for _, v := range out {
			what := "would be retried"
			switch {
			case v.Refused != "":
				what = "refused: " + v.Refused + " " + v.Hint
			case v.Retried:
				what = "retried"
			}
			p.line("%s  %s  %s  %s", v.JobID, v.Phase, v.Reason, printable(what))
		}
		if !c.Apply {
			p.title("Nothing was done: --apply --reason does it.")
		}
	})
	if err == nil && refused {
		return errQuiet
	}
	return err
}

// pausedBy says who paused a closure, and why.
func (s *sight) pausedBy(ctx context.Context, cl closure.Closure) (string, error) {
	events, err := s.ledger.Events(ctx, cl.ID)
	if _, broken := errors.AsType[*ledger.ChainError](err); err != nil && !broken {
		return "", err
	}
	for _, e := range slices.Backward(events) {
		if e.Kind == "pause" {
			return "It is paused by " + e.Actor + ": " + e.Text + ".", nil
		}
	}
	return "It is paused.", nil
}

func (v *retryView) say(err error) {
	if no, ok := errors.AsType[*desk.Refusal](err); ok {
		v.Refused, v.Hint = no.Detail, no.Hint
	} else if err != nil {
		v.Refused = err.Error()
	}
}

// redriveView is a bulk retry for scripts.
type redriveView struct {
	ID        string              `json:"redrive_id,omitempty"` // empty: it was not started
	State     ledger.RedriveState `json:"state,omitempty"`
	Filter    string              `json:"filter"`
	PerMinute int                 `json:"per_minute"`
	Total     int                 `json:"total"`
	Retried   int                 `json:"retried"`
	Skipped   int                 `json:"skipped"`
	Why       string              `json:"why,omitempty"`
	Groups    []attention         `json:"groups,omitempty"` // of those found
}

// many starts a bulk retry as the console does, and tells of it until it ends.
func (c *monitorRetryCmd) many(ctx context.Context, s *sight) error {
	f, err := ledger.ParseWords(c.Filter, s.clock.Now())
	if err != nil {
		var bad complaints
		bad.add("--filter", "%s", strings.ReplaceAll(err.Error(), "\n", "\n    "))
		return bad.err()
	}
	groups, err := s.ledger.Redrivable(ctx, f)
	if err != nil {
		return err
	}
	_, shown, err := s.ledger.Retriable(ctx, f)
	if err != nil {
		return err
	}
	v := redriveView{Filter: f.String(), PerMinute: c.Rate}
	for _, g := range groups {
		v.Groups = append(v.Groups, attentionTo(g))
		v.Total += g.N
		if closure.Reasons[g.Reason].Each {
			v.Skipped += g.N
		}
	}
	if v.Total == v.Skipped {
		_ = s.print(v, func(p *page) { p.groups(v) })
		return s.none("nothing that has stopped, and that may be retried among many, matches")
	}
	if !c.Apply {
		return s.print(v, func(p *page) {
			p.groups(v)
			p.title("Nothing was done: --apply --reason does it, within %s.", counts((v.Total-v.Skipped+c.Rate-1)/c.Rate, "minute"))
		})
	}
	r, err := s.ledger.CreateRedrive(ctx, ledger.Redrive{Filter: f, Reason: c.Reason, Actor: s.actor, PerMinute: c.Rate, Shown: shown})
	if errors.Is(err, ledger.ErrNothing) {
		return s.none("%v", err)
	}
	if errors.Is(err, ledger.ErrStale) {
		return errors.New("nothing was retried: what has stopped is not what was counted a moment ago; look again, and ask again")
	}
	if err != nil {
		return err
	}
	_, _ = askRedis(ctx, s, "its first part can't be scheduled now, the sweep does it", func(ctx context.Context) (any, error) { return nil, s.queue.ScheduleBite(ctx, handlers.RedriveTask(r)) })
	_, _ = fmt.Fprintf(s.err, "bulk retry %s of %s; closeout monitor retry --abort %s ends it\n", r.ID, counts(r.Total, "closure"), r.ID)
	return s.follow(ctx, r)
}

func (p *page) groups(v redriveView) {
	var rows []table.Row
	for _, g := range v.Groups {
		each := ""
		if closure.Reasons[g.Reason].Each {
			each = "skipped: a person must look at each"
		}
		rows = append(rows, table.Row{g.Count, p.state(g.State), g.Reason, p.when(*g.Oldest), each})
	}
	p.title("%s would be retried, at most %d a minute", counts(v.Total-v.Skipped, "closure"), v.PerMinute)
	p.table(table.Row{"COUNT", "STATE", "REASON", "OLDEST SINCE", ""}, rows)
}

// follow tells of a bulk retry until it has ended. Whoever stops following stops nothing else.
func (s *sight) follow(ctx context.Context, r ledger.Redrive) error {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for said := ""; !r.State.Ended(); {
		if line := fmt.Sprintf("%d of %d retried, %d skipped", r.Retried, r.Total, r.Skipped); line != said {
			said = line
			_, _ = fmt.Fprintln(s.err, line)
		}
		select {
		case <-ctx.Done():
			_, _ = fmt.Fprintf(s.err, "stopped following; the bulk retry goes on, and closeout monitor retry --abort %s ends it\n", r.ID)
			return errQuiet
		case <-t.C:
		}
		next, err := s.ledger.Redrive(context.WithoutCancel(ctx), r.ID)
		if err != nil {
			return fmt.Errorf("the bulk retry %s goes on, but can't be followed: %w", r.ID, err)
		}
		r = next
	}
	s.asks = r.Skipped > 0 || r.State == ledger.RedriveAborted
	return s.redrive(r)
}

func (s *sight) redrive(r ledger.Redrive) error {
	v := redriveView{ID: r.ID, State: r.State, Filter: r.Filter.String(), PerMinute: r.PerMinute, Total: r.Total, Retried: r.Retried, Skipped: r.Skipped, Why: r.Why}
	return s.print(v, func(p *page) {
		p.title("bulk retry %s is %s: %d of %d retried, %d skipped; %s", r.ID, r.State, r.Retried, r.Total, r.Skipped, printable(r.Why))
	})
}

// abort ends a bulk retry. One that had ended before is told as it is.
func (s *sight) abort(ctx context.Context, id string) error {
	r, _, err := s.ledger.AbortRedrive(ctx, strings.ToLower(id), "aborted by "+strings.TrimPrefix(s.actor, "operator:"))
	if errors.Is(err, ledger.ErrNotFound) {
		return s.none("there is no bulk retry %q", printable(id))
	}
	if err != nil {
		return err
	}
	return s.redrive(r)
}
