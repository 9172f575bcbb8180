package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"closeout/server"
	"closeout/tasks"
)

type monitorQueueCmd struct {
	Name    string `arg:"" optional:"" help:"Of the queue; without it, all."`
	Unpause bool   `help:"Let workers take from the queue again that somebody paused in Asynq."`
}

// queueView is the queues and their workers for scripts.
type queueView struct {
	server.QueueSizes
	Workers  []workerStatus `json:"workers"` // null, as the queues: not known
	Unpaused bool           `json:"unpaused,omitempty"`
	Unread   []string       `json:"unread,omitempty"`
}

// workerStatus is a worker for scripts. Times are machine time.
type workerStatus struct {
	Host        string        `json:"host"`
	PID         int           `json:"pid"`
	Version     string        `json:"version"` // empty: it has told nothing
	Status      string        `json:"status"`
	StartedAt   *time.Time    `json:"started_at"`
	Concurrency int           `json:"concurrency"`
	Tasks       []taskInHand  `json:"tasks"`
	Sweep       *tasks.Sweep  `json:"sweep"`  // null: it has told nothing
	Broker      *tasks.Broker `json:"broker"` // null: it has told nothing
}

type taskInHand struct {
	ID        string     `json:"id"`
	Type      string     `json:"type"`
	Queue     string     `json:"queue_name"`
	JobID     string     `json:"job_id,omitempty"`
	BatchID   string     `json:"batch_id,omitempty"`
	RedriveID string     `json:"redrive_id,omitempty"`
	StartedAt *time.Time `json:"started_at"`
}

// Run prints the queues, after it has unpaused the one that it was asked to.
func (c *monitorQueueCmd) Run(ctx context.Context, o output, m *monitorCmd) error {
	if c.Unpause && c.Name == "" {
		var bad complaints
		bad.add("--unpause", "needs the name of a queue; there are %s", strings.Join(queueNames(), ", "))
		return bad.err()
	}
	return m.look(ctx, o, func(ctx context.Context, s *sight) error {
		if _, ok := tasks.Queues[c.Name]; !ok && c.Name != "" {
			return s.none("there is no queue %q; there are %s", c.Name, strings.Join(queueNames(), ", "))
		}
		s.unread = nil // the ledger has no part in it
		done, answered := false, true
		if c.Unpause {
			done, answered = askRedis(ctx, s, "the queue was not unpaused", func(ctx context.Context) (bool, error) {
				err := s.queue.Unpause(ctx, c.Name)
				if errors.Is(err, tasks.ErrNotPaused) {
					return false, nil
				}
				return err == nil, err
			})
		}
		v := s.queues(ctx, c.Name)
		v.Unpaused, v.Unread = done, s.unread
		err := s.print(v, func(p *page) {
			if done {
				p.line("%s is unpaused: workers take from it again within seconds.", c.Name)
			}
			p.queues(v)
			p.workers(v.Workers)
			p.inHand(v.Workers)
		})
		if err == nil && c.Unpause && !done && answered {
			_, _ = fmt.Fprintf(s.err, "%s was not paused\n", c.Name)
			return errQuiet
		}
		return err
	})
}

func queueNames() (names []string) {
	for name := range tasks.Queues {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// queues reads Redis: one queue, or all. A queue that is paused, or that nobody works on, asks for a person.
func (s *sight) queues(ctx context.Context, name string) (v queueView) {
	v.At = time.Now().UTC().Truncate(time.Second)
	sizes, ok := askRedis(ctx, s, "the queues", s.queue.Sizes)
	if ok {
		v.Queues = []server.QueueSize{}
	}
	for _, q := range sizes {
		if name == "" || q.Name == name {
			s.asks = s.asks || q.Paused
			v.Queues = append(v.Queues, server.SizeOf(q))
		}
	}
	workers, ok := askRedis(ctx, s, "the workers", s.queue.Workers)
	if ok {
		v.Workers = []workerStatus{}
		s.asks = s.asks || len(workers) == 0
	}
	for _, w := range workers {
		v.Workers = append(v.Workers, worksAs(w, name))
	}
	return v
}

// worksAs is a worker, with what it has in hand of one queue, or of all.
func worksAs(w tasks.Worker, queue string) workerStatus {
	v := workerStatus{Host: w.Host, PID: w.PID, Status: w.Status, StartedAt: stamp(w.Started), Concurrency: w.Concurrency, Tasks: []taskInHand{}}
	if w.Report != nil {
		v.Version, v.Sweep, v.Broker = w.Report.Version, &w.Report.Sweep, &w.Report.Broker
	}
	for _, t := range w.Tasks {
		if queue == "" || t.Queue == queue {
			v.Tasks = append(v.Tasks, taskInHand{tasks.Shown(t.ID), t.Type, t.Queue, t.ClosureID, t.BatchID, t.RedriveID, stamp(t.Started)})
		}
	}
	return v
}

func (p *page) queues(v queueView) {
	if v.Queues == nil {
		p.WriteString("not known: Redis could not be read\n")
	}
	var rows []table.Row
	for _, q := range v.Queues {
		paused := ""
		if q.Paused {
			paused = p.paint(text.Colors{text.FgYellow}, "paused")
		}
		rows = append(rows, table.Row{q.Name, q.Weight, q.Pending, q.Active, q.Scheduled, q.Retry, q.Archived, span(time.Duration(q.Latency * float64(time.Second))), paused})
	}
	p.table(table.Row{"QUEUE", "WEIGHT", "PENDING", "ACTIVE", "SCHEDULED", "RETRY", "ARCHIVED", "LATENCY", ""}, rows)
	for _, q := range v.Queues {
		if q.Paused {
			p.line("Somebody paused %[1]s in Asynq, and nothing in it goes on. Ask who; closeout monitor queue %[1]s --unpause ends it.", q.Name)
		}
	}
}

// workers writes a line for each worker: what it does, how its last sweep went, how it stands with the broker.
func (p *page) workers(all []workerStatus) {
	if all == nil {
		p.title("workers\nnot known: Redis could not be read")
		return
	}
	now := time.Now()
	var rows []table.Row
	for _, w := range all {
		sweep, broker, budget := "not known", "not known", ""
		if s := w.Sweep; s != nil && !s.At.IsZero() {
			sweep = fmt.Sprintf("%s ago: %d overdue, %d scheduled again, %d reissued", span(now.Sub(s.At)), s.Overdue, s.Rescheduled, s.Reissued)
			if s.Failed {
				sweep += p.paint(text.Colors{text.FgRed}, ", and stopped early")
			}
		}
		if b := w.Broker; b != nil {
			broker = "asked"
			if b.Down != "" {
				broker = p.paint(text.Colors{text.FgRed}, b.Down+" for "+span(now.Sub(b.Since)))
			}
			budget = fmt.Sprintf("%d a minute, %s behind", b.PerMinute, span(b.Backlog))
			if b.Limit > 0 {
				budget += fmt.Sprintf(", %d of the broker's %d left", b.Left, b.Limit)
			}
		}
		rows = append(rows, table.Row{
			fmt.Sprintf("%s:%d", w.Host, w.PID), cmp.Or(w.Version, "not known"), w.Status, span(now.Sub(*w.StartedAt)),
			fmt.Sprintf("%d of %d", len(w.Tasks), w.Concurrency), sweep, broker, budget,
		})
	}
	p.title("%s", counts(len(all), "worker"))
	p.table(table.Row{"WORKER", "VERSION", "STATUS", "UP", "BUSY", "SWEEP", "BROKER", "BUDGET"}, rows)
}

// inHand writes what the workers have in hand.
func (p *page) inHand(all []workerStatus) {
	now := time.Now()
	var rows []table.Row
	for _, w := range all {
		for _, t := range w.Tasks {
			rows = append(rows, table.Row{fmt.Sprintf("%s:%d", w.Host, w.PID), t.Queue, t.Type, cmp.Or(t.JobID, t.BatchID, t.RedriveID), span(now.Sub(*t.StartedAt))})
		}
	}
	if len(rows) > 0 {
		p.title("in hand")
		p.table(table.Row{"WORKER", "QUEUE", "TYPE", "OF", "FOR"}, rows)
	}
}

// counts is a number of things, or that there is none.
func counts(n int, thing string) string {
	if n == 0 {
		return "no " + thing
	}
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
