package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"closeout/calendar"
	"closeout/closure"
	"closeout/ledger"
)

type monitorWatchCmd struct {
	Every time.Duration `default:"2s" help:"Between looks."`
	Last  int           `default:"10" help:"How many of the latest events to begin with."`
}

// watched is an event for scripts.
type watched struct {
	ID           string         `json:"id"`
	JobID        string         `json:"job_id"`
	AccountID    string         `json:"account_id"`
	Confirmation string         `json:"confirmation_number"`
	At           time.Time      `json:"at"`
	Kind         string         `json:"kind"`
	Actor        string         `json:"actor"`
	Phase        closure.Phase  `json:"phase"`
	State        closure.State  `json:"state"`
	Reason       closure.Reason `json:"reason,omitempty"` // how it stands now, if this is its last event
	Who          closure.Who    `json:"who_must_act,omitempty"`
	Text         string         `json:"text"`
}

// feedPage is how many events are read at once, and keptEvents how many a screen holds at the most.
const (
	feedPage   = 200
	keptEvents = 500
)

// Run follows until it is stopped, which is its usual end. A ledger or a Redis that is away is said, and waited for.
func (c *monitorWatchCmd) Run(ctx context.Context, o output, m *monitorCmd) error {
	var bad complaints
	if c.Every < 100*time.Millisecond {
		bad.add("--every", "must be at least 100ms, is %s", c.Every)
	}
	if c.Last < 0 || c.Last > keptEvents {
		bad.add("--last", "must lie between 0 and %d, is %d", keptEvents, c.Last)
	}
	if err := bad.err(); err != nil {
		return err
	}
	return m.look(ctx, o, func(ctx context.Context, s *sight) error {
		if err := s.needLedger(); err != nil {
			return err
		}
		var show *screen
		if !s.json {
			show = screenOn(tty(o))
		}
		err := s.watch(ctx, c, show)
		s.asks, s.unread = false, nil // it was told meanwhile, and to be stopped is no failure
		if ctx.Err() != nil {
			if show != nil {
				show.stop()
			}
			return nil
		}
		return err
	})
}

// watch reads the feed again and again.
func (s *sight) watch(ctx context.Context, c *monitorWatchCmd, show *screen) error {
	end, _, err := s.ledger.FeedEnd(ctx)
	if err != nil {
		return err
	}
	at := max(0, end-ledger.Cursor(c.Last))
	var events []ledger.Told
	tick := time.NewTicker(c.Every)
	defer tick.Stop()
	for said := ""; ; {
		for {
			told, next, err := s.ledger.Feed(ctx, at, feedPage)
			trouble := ""
			if err != nil {
				trouble = "not read: the ledger: " + closure.OneLine(err.Error())
			}
			if trouble != "" && trouble != said && show == nil && ctx.Err() == nil {
				_, _ = fmt.Fprintln(s.err, trouble)
			}
			said = trouble
			if show == nil {
				if err := s.tell(told); err != nil {
					return err
				}
			}
			events = append(events, told...)
			events = events[max(0, len(events)-keptEvents):]
			if next == at {
				break
			}
			at = next
		}
		if show != nil && ctx.Err() == nil {
			width, height := show.size()
			show.draw(s.overview(ctx, events, said, width, height-1), width)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// tell writes a line for each event.
func (s *sight) tell(told []ledger.Told) error {
	for _, t := range told {
		line := eventLine(t)
		if s.json {
			w := watched{t.ID(), t.ClosureID, t.AccountID, t.Confirmation, t.At, t.Kind, t.Actor, t.Phase, t.State, "", "", t.Text}
			if t.Now != nil {
				w.Reason, w.Who = t.Now.Reason, t.Now.Who
			}
			b, err := json.Marshal(w)
			if err != nil {
				return err
			}
			line = string(b)
		}
		if _, err := fmt.Fprintln(s.out, line); err != nil {
			return err
		}
	}
	return nil
}

func eventLine(t ledger.Told) string {
	line := fmt.Sprintf("%s  %s  %-11s %-8s %s: %s", t.At.In(calendar.NewYork).Format("Mon 02 Jan 15:04:05"), t.Confirmation, t.Phase, t.State, printable(t.Actor), printable(t.Text))
	if t.Now != nil && t.Now.Who != closure.Nobody {
		line += "  [the " + string(t.Now.Who) + " must act]"
	}
	return line
}

// overview is a screen: how the service stands, and below it the latest events.
func (s *sight) overview(ctx context.Context, events []ledger.Told, trouble string, width, height int) []string {
	s.unread = nil
	v := statsView{At: s.clock.Now(), Environment: s.ledger.Environment()}
	if err := s.figures(ctx, &v); err != nil && trouble == "" {
		trouble = "not read: the ledger: " + closure.OneLine(err.Error())
	}
	q := s.queues(ctx, "")
	v.Queues, v.Workers = q.Queues, q.Workers
	p := &page{now: s.clock.Now(), color: s.color}
	p.line("closeout, %s, %s. Ctrl-C ends the watching.", v.Environment, v.At.In(calendar.NewYork).Format("Mon 02 Jan 2006 15:04:05 ET"))
	if trouble != "" {
		p.line("%s", trouble)
	}
	p.stats(v)
	p.title("queues")
	p.queues(q)
	p.workers(v.Workers)
	for _, what := range s.unread {
		p.line("not read: %s", what)
	}
	p.title("events")
	lines := strings.Split(strings.TrimRight(p.String(), "\n"), "\n")
	const least = 3 // events that a low screen shows of it
	if room := max(height-least, 1); len(lines) > room {
		lines = append(lines[:room-1:room-1], fmt.Sprintf("… %d lines more: closeout monitor stats", len(lines)-room+1))
	}
	for _, t := range events[max(0, len(events)-max(height-len(lines), 0)):] {
		lines = append(lines, eventLine(t))
	}
	for n, l := range lines {
		lines[n] = snip(l, width)
	}
	return lines
}
