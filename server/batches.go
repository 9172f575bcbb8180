package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"closeout/closure"
	"closeout/ledger"
	"closeout/readiness"
)

// registerBatches adds what there is of a batch once it was accepted.
func (s *server) registerBatches(api huma.API, tags []string) {
	huma.Register(api, huma.Operation{
		OperationID: "batch-progress", Method: http.MethodGet, Path: "/api/account-closure/batch/{batch_id}", Tags: tags,
		Summary: "How far a batch is, and what came of each of its accounts", Metadata: needs(ScopeOperate), RejectUnknownQueryParameters: true,
		Errors: []int{401, 404, 422, 503},
	}, s.batchProgress)
	huma.Register(api, huma.Operation{
		OperationID: "batch-cancel", Method: http.MethodPost, Path: "/api/account-closure/batch/{batch_id}/cancel", Tags: tags,
		Summary:     "Stop a batch",
		Description: "What it has not started it never will. Closures that it has started go on; each can be cancelled by itself.",
		Metadata:    needs(ScopeOperate), Errors: []int{400, 401, 404, 409, 413, 415, 422, 503},
	}, s.batchCancel)
}

// RowCounts says how many accounts of a batch are in each state.
type RowCounts struct {
	Waiting int `json:"waiting" doc:"Not checked yet"`
	Ready   int `json:"ready" doc:"Checked, and could be closed; not started"`
	Refused int `json:"refused" doc:"Can't be closed"`
	Started int `json:"started" doc:"Have a closure"`
}

// ClosureCounts says where the closures of a batch stand.
type ClosureCounts struct {
	Total   int                   `json:"total" doc:"Closures that the batch has started"`
	Ended   int                   `json:"ended" doc:"Closed or canceled"`
	ByState map[closure.State]int `json:"by_state" doc:"How many are in each state: running, paused, failed, dead, closed, canceled; a state without any is absent"`
	ByPhase map[closure.Phase]int `json:"by_phase" doc:"How many of those that have not ended are in each phase: liquidation, settlement, withdrawal, closing; a phase without any is absent"`
}

// BatchRow is what came of one account of a batch.
type BatchRow struct {
	Index     int                  `json:"index" doc:"Its place in accounts, from 0"`
	AccountID string               `json:"account_id,omitempty" doc:"The account's id at the broker; absent where what was sent is no id"`
	State     ledger.RowState      `json:"state" enum:"waiting,ready,refused,started" doc:"waiting (not checked yet), ready (could be closed), refused or started"`
	JobID     string               `json:"job_id,omitempty" doc:"The closure that was started for it; absent before that"`
	Obstacles []readiness.Obstacle `json:"obstacles,omitempty" doc:"What stands in its way; of one that is ready or started, what its closure will wait for"`
}

// BatchProgress is how far a batch is.
type BatchProgress struct {
	BatchID  string            `json:"batch_id"`
	State    ledger.BatchState `json:"state" enum:"checking,starting,done,refused,canceled" doc:"checking each account, starting closures, done, refused (none was started, as one can't be) or canceled"`
	Why      string            `json:"why" doc:"What it waits for, or how it ended, in words"`
	DryRun   bool              `json:"dry_run"`
	Partial  bool              `json:"partial"`
	Priority closure.Priority  `json:"priority"`
	Reason   string            `json:"reason,omitempty"`
	Actor    string            `json:"actor"`
	Total    int               `json:"total" doc:"How many accounts were sent, those refused included"`
	Rows     RowCounts         `json:"rows" doc:"How many accounts are in each state"`
	Closures ClosureCounts     `json:"closures" doc:"Where the closures stand that were started"`
	Finished bool              `json:"finished" doc:"Whether nothing is left to do: the batch is over, and each of its closures has ended"`
	Problems []RowProblem      `json:"problems" doc:"The first twenty accounts that were refused"`

	CreatedAt time.Time  `json:"created_at"`
	UpdatedAt time.Time  `json:"updated_at" doc:"When the batch itself last moved; its closures go on by themselves"`
	EndedAt   *time.Time `json:"ended_at" doc:"When all was started, refused or canceled; the closures may take days more"`

	Accounts   []BatchRow `json:"accounts" doc:"One page, in the order of the request; empty in the answer to a cancel"`
	NextCursor *string    `json:"next_cursor" doc:"For the next page; null on the last one"`
}

// RowFilter is what the accounts of a batch can be narrowed by.
type RowFilter struct {
	BatchID  string   `path:"batch_id" format:"uuid" minLength:"36" maxLength:"36"`
	RowState []string `query:"row_state" enum:"waiting,ready,refused,started" doc:"Any of these, separated by commas"`
}

type batchProgressInput struct {
	RowFilter
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
	Cursor string `query:"cursor" maxLength:"300" doc:"next_cursor of the page before; opaque"`
}

type batchProgressOutput struct{ Body BatchProgress }

// firstProblems is how many refused accounts the progress names beside its page.
const firstProblems = 20

func (s *server) batchProgress(ctx context.Context, in *batchProgressInput) (*batchProgressOutput, error) {
	id, digest, after := strings.ToLower(in.BatchID), digestOf(in.RowFilter), -1
	if in.Cursor != "" {
		text, ok := parseCursor(in.Cursor, digest)
		n, err := strconv.Atoi(text)
		if !ok || err != nil || n < 0 {
			return nil, cursorProblem()
		}
		after = n
	}
	b, err := s.Ledger.Batch(ctx, id)
	if err != nil {
		return nil, batchProblem(err)
	}
	p, err := s.progressOfBatch(ctx, b)
	if err != nil {
		return nil, ledgerProblem(err)
	}
	var states []ledger.RowState
	for _, state := range in.RowState {
		states = append(states, ledger.RowState(state))
	}
	rows, err := s.Ledger.BatchRows(ctx, id, after, in.Limit+1, states...)
	if err != nil {
		return nil, ledgerProblem(err)
	}
	if len(rows) > in.Limit {
		rows = rows[:in.Limit]
		next := cursorFor(strconv.Itoa(rows[len(rows)-1].N), digest)
		p.NextCursor = &next
	}
	for _, r := range rows {
		p.Accounts = append(p.Accounts, BatchRow{r.N, r.AccountID, r.State, r.ClosureID, obstaclesOf(r)})
	}
	return &batchProgressOutput{p}, nil
}

func (s *server) progressOfBatch(ctx context.Context, b ledger.Batch) (BatchProgress, error) {
	p := BatchProgress{
		BatchID: b.ID, State: b.State, Why: b.Why, DryRun: b.DryRun, Partial: b.Partial, Priority: b.Priority, Reason: b.Cause, Actor: b.Actor, Total: b.Total,
		CreatedAt: b.CreatedAt, UpdatedAt: b.UpdatedAt, EndedAt: orNull(b.EndedAt), Problems: []RowProblem{}, Accounts: []BatchRow{},
		Closures: ClosureCounts{ByState: map[closure.State]int{}, ByPhase: map[closure.Phase]int{}},
	}
	n, err := s.Ledger.CountRows(ctx, b.ID)
	if err != nil {
		return p, err
	}
	p.Rows = RowCounts{n[ledger.RowWaiting], n[ledger.RowReady], n[ledger.RowRefused], n[ledger.RowStarted]}
	counted, err := s.Ledger.CountClosures(ctx, b.ID)
	if err != nil {
		return p, err
	}
	for _, c := range counted {
		p.Closures.Total += c.N
		p.Closures.ByState[c.State] += c.N
		if c.State.Ended() {
			p.Closures.Ended += c.N
		} else {
			p.Closures.ByPhase[c.Phase] += c.N
		}
	}
	p.Finished = b.State.Ended() && p.Closures.Ended == p.Closures.Total
	refused, err := s.Ledger.BatchRows(ctx, b.ID, -1, firstProblems, ledger.RowRefused)
	for _, r := range refused {
		for _, o := range obstaclesOf(r) {
			if o.Blocking {
				p.Problems = append(p.Problems, rowProblem(r.N, r.AccountID, o))
				break
			}
		}
	}
	return p, err
}

// obstaclesOf reads what the worker, or the door, wrote of a row.
func obstaclesOf(r ledger.BatchRow) (out []readiness.Obstacle) {
	if err := json.Unmarshal([]byte(r.Obstacles), &out); err != nil {
		return []readiness.Obstacle{{Code: "unknown", Text: "what stood in its way can't be read"}}
	}
	return out
}

// BatchCancelBody says why a batch is stopped.
type BatchCancelBody struct {
	Reason string `json:"reason" minLength:"1" maxLength:"500" doc:"Why, for the record"`
}

type batchCancelInput struct {
	BatchID string `path:"batch_id" format:"uuid" minLength:"36" maxLength:"36"`
	Body    BatchCancelBody
}

// batchCancel ends a batch. Asked again, it answers the same.
func (s *server) batchCancel(ctx context.Context, in *batchCancelInput) (*batchProgressOutput, error) {
	why, err := reason(in.Body.Reason)
	if err != nil {
		return nil, err
	}
	why = "canceled by api:" + entryOf(ctx).key + ": " + why
	b, _, err := s.Ledger.CancelBatch(ctx, strings.ToLower(in.BatchID), why)
	if err != nil {
		return nil, batchProblem(err)
	}
	if b.State != ledger.BatchCanceled {
		return nil, batchOver.problem(fmt.Sprintf("The batch is over: %s.", b.Why)).
			hinting("Its closures can be cancelled one by one, while nothing irreversible was sent for them.")
	}
	p, err := s.progressOfBatch(ctx, b)
	if err != nil {
		return nil, ledgerProblem(err)
	}
	return &batchProgressOutput{p}, nil
}

func batchProblem(err error) *Problem {
	if errors.Is(err, ledger.ErrNotFound) {
		return noBatch.problem("There is no batch of this id.").hinting("The id is in the answer to the batch; check whether this is the right environment.")
	}
	return ledgerProblem(err)
}
