package tasks

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// Worker is a process that carries out tasks, as Asynq knows it by its heartbeat of every five seconds, and what it tells of
// itself.
type Worker struct {
	Host        string
	PID         int
	Started     time.Time
	Concurrency int
	Status      string // Asynq's word: active, stopped, closed
	Tasks       []Current
	Report      *Report // nil: it has told nothing, or too long ago
}

// Current is a task in a worker's hands.
type Current struct {
	ID        string
	Type      string
	Queue     string
	ClosureID string // empty: it is no visit
	BatchID   string // empty: it is no bite of a batch
	RedriveID string // nor of a redrive
	Started   time.Time
}

// Report is what a worker tells of itself, for people to see. All times are machine time.
type Report struct {
	Version string    `json:"version"`
	At      time.Time `json:"at"`
	Sweep   Sweep     `json:"sweep"`
	Broker  Broker    `json:"broker"`
}

// Sweep is what a worker's last sweep found and did.
type Sweep struct {
	At          time.Time     `json:"at"` // when it ended; zero: none has yet
	Took        time.Duration `json:"took"`
	Overdue     int           `json:"overdue"`
	Rescheduled int           `json:"rescheduled"`
	Reissued    int           `json:"reissued"`
	Failed      bool          `json:"failed"` // it stopped early; the log says why
}

// Broker is how a worker stands with the broker: of its own calls since it started, and of the quota that all share.
type Broker struct {
	Down      string            `json:"down"`  // why nobody asks: outage or refused; empty: it is asked
	Since     time.Time         `json:"since"` // it is so
	PerMinute int               `json:"per_minute"`
	Calls     map[string]uint64 `json:"calls"` // made, by what they were for
	Held      map[string]uint64 `json:"held"`  // held back, by the reason
	Backlog   time.Duration     `json:"backlog"`
	Alone     bool              `json:"alone"` // without Redis it keeps to a share of the budget
	Limit     int               `json:"limit"` // the broker's quota as it was last told; 0: never
	Left      int               `json:"left"`
	Renewed   time.Time         `json:"renewed"`
}

// ReportEvery is how often a worker should tell of itself.
const ReportEvery = 10 * time.Second

// reportLife is how long a report is believed after its worker has fallen silent.
const reportLife = 6 * ReportEvery

func reportKey(host string, pid int) string { return fmt.Sprintf("closeout:worker:%s:%d", host, pid) }

// Tell lets others know of this worker, and adds the visits that it has begun since it last did.
func (q *Queue) Tell(ctx context.Context, host string, pid int, r Report, begun Lateness) error {
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = q.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.Set(ctx, reportKey(host, pid), body, reportLife)
		begun.add(ctx, p, r.At)
		return nil
	})
	if err != nil {
		return fmt.Errorf("tell of this worker: %w", err)
	}
	return nil
}

// Workers are those whose heartbeat is heard, by host and process.
func (q *Queue) Workers(ctx context.Context) ([]Worker, error) {
	servers, err := q.inspector.Servers()
	if err != nil {
		return nil, fmt.Errorf("list the workers: %w", err)
	}
	var out []Worker
	for _, s := range servers {
		w := Worker{Host: s.Host, PID: s.PID, Started: s.Started, Concurrency: s.Concurrency, Status: s.Status}
		for _, t := range s.ActiveWorkers {
			c := Current{ID: t.TaskID, Type: t.TaskType, Queue: t.Queue, Started: t.Started}
			if p, err := ParsePayload(t.TaskPayload); err == nil {
				c.ClosureID = p.ClosureID
			} else if b, err := ParseBitePayload(t.TaskPayload); err == nil {
				c.BatchID, c.RedriveID = b.BatchID, b.RedriveID
			}
			w.Tasks = append(w.Tasks, c)
		}
		slices.SortFunc(w.Tasks, func(a, b Current) int { return cmp.Or(a.Started.Compare(b.Started), cmp.Compare(a.ID, b.ID)) })
		out = append(out, w)
	}
	slices.SortFunc(out, func(a, b Worker) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.PID, b.PID), a.Started.Compare(b.Started))
	})
	return out, q.reports(ctx, out)
}

// reports adds what the workers tell of themselves.
func (q *Queue) reports(ctx context.Context, workers []Worker) error {
	told := make([]*redis.StringCmd, len(workers))
	_, err := q.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for n, w := range workers {
			told[n] = p.Get(ctx, reportKey(w.Host, w.PID))
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("read what the workers tell: %w", err)
	}
	for n, t := range told {
		var r Report
		if body, err := t.Bytes(); err == nil && json.Unmarshal(body, &r) == nil {
			workers[n].Report = &r
		}
	}
	return nil
}
