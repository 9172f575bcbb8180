package server

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"closeout/tasks"
)

// QueueSizes are the queues at one moment.
type QueueSizes struct {
	Queues []QueueSize `json:"queues" doc:"The urgent one first"`
	At     time.Time   `json:"at" doc:"Machine time"`
}

// QueueSize is how much is in a queue. What counts is in the ledger: an emptied queue fills again by the sweep.
type QueueSize struct {
	Name      string  `json:"name" doc:"Its name in Asynq"`
	Weight    int     `json:"weight" doc:"Workers take from queues in the ratio of their weights"`
	Pending   int     `json:"pending" doc:"Visits that are due and wait for a worker"`
	Active    int     `json:"active" doc:"Visits in hand"`
	Scheduled int     `json:"scheduled" doc:"Visits due later"`
	Retry     int     `json:"retry" doc:"Visits that are repeated after an error"`
	Archived  int     `json:"archived" doc:"Tasks of closures that have failed or are dead"`
	Latency   float64 `json:"latency_seconds" doc:"How long the oldest pending one has waited, in real seconds"`
	Paused    bool    `json:"paused" doc:"By somebody in Asynq itself"`
}

// SizeOf is a queue's size in the API's words.
func SizeOf(q tasks.Size) QueueSize {
	return QueueSize{q.Name, q.Weight, q.Pending, q.Active, q.Scheduled, q.Retry, q.Archived, q.Latency.Seconds(), q.Paused}
}

type queuesOutput struct{ Body QueueSizes }

var queuesDown = kind{"queues_unavailable", http.StatusServiceUnavailable, "the queues cannot be read", 5}

func (s *server) registerQueues(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "queues", Method: http.MethodGet, Path: "/api/queues", Tags: []string{"Service"},
		Summary: "How much is in the queues", Metadata: needs(ScopeOperate), Errors: []int{401, 503},
	}, s.queues)
}

func (s *server) queues(ctx context.Context, _ *struct{}) (*queuesOutput, error) {
	ctx, cancel := context.WithTimeout(ctx, checking)
	defer cancel()
	type answer struct {
		sizes []tasks.Size
		err   error
	}
	asked := make(chan answer, 1)
	go func() { // Asynq's inspector knows no context
		if s.Queues == nil {
			asked <- answer{err: errors.New("no queue was given to the server")}
			return
		}
		sizes, err := s.Queues(ctx)
		asked <- answer{sizes, err}
	}()
	var sizes []tasks.Size
	var err error
	select {
	case a := <-asked:
		sizes, err = a.sizes, a.err
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return nil, queuesDown.problem("Redis does not answer. Closures are accepted all the same; they go on when it is back.").
			hinting("Ask again after the time in Retry-After.").because(err)
	}
	out := &queuesOutput{QueueSizes{At: time.Now().UTC().Truncate(time.Second)}}
	for _, q := range sizes {
		out.Body.Queues = append(out.Body.Queues, SizeOf(q))
	}
	return out, nil
}
