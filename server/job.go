package server

import (
	"context"
	"errors"
	"strings"
	"time"

	"closeout/closure"
	"closeout/ledger"
	"closeout/readiness"
	"closeout/tasks"
)

// Job is a closure in the shape of the specification's jobs.
type Job struct {
	ID          string            `json:"id" doc:"The closure's id, which initiate gave as job_id"`
	Queue       string            `json:"queue_name" doc:"The queue that its priority puts it in"`
	Task        string            `json:"task_name" doc:"Always automated_account_closure"`
	Args        []string          `json:"args" doc:"The account's id"`
	Kwargs      map[string]string `json:"kwargs" doc:"Empty: no bank data is shown"`
	Status      string            `json:"status" enum:"PENDING,PROCESSING,RETRYING,COMPLETED,FAILED,DEAD,PAUSED,CANCELED" doc:"PENDING (no step was taken yet), PROCESSING, RETRYING (after an error), FAILED or DEAD (a person must act), PAUSED, COMPLETED (the account is closed) or CANCELED"`
	CreatedAt   time.Time         `json:"created_at"`
	StartedAt   *time.Time        `json:"started_at" doc:"When the first step was taken; null before it"`
	CompletedAt *time.Time        `json:"completed_at" doc:"When the account was closed; null until then"`
	FailedAt    *time.Time        `json:"failed_at" doc:"When it failed or died; null unless it is so now"`
	Retries     int               `json:"retry_count" doc:"Errors in a row"`
	MaxRetries  int               `json:"max_retries" doc:"Errors in a row that are tried again; one more, and it is dead"`
	Error       *string           `json:"error_message" doc:"Why it failed, or the last error, in words; null if there is none"`
	Result      *Result           `json:"result" doc:"What it came to; null until the account is closed"`
}

// Result is what a closure came to, once the account is closed.
type Result struct {
	AccountID    string        `json:"account_id"`
	Confirmation string        `json:"confirmation_number"`
	Paid         readiness.USD `json:"paid"`
	ClosedAt     time.Time     `json:"closed_at" doc:"When the account was closed"`
}

type jobInput struct {
	JobID string `path:"job_id" format:"uuid" minLength:"36" maxLength:"36"`
}

type jobOutput struct{ Body Job }

func (s *server) job(ctx context.Context, in *jobInput) (*jobOutput, error) {
	c, intents, err := s.Ledger.Load(ctx, strings.ToLower(in.JobID))
	if errors.Is(err, ledger.ErrNotFound) {
		return nil, noJob.problem("There is no job of this id.").hinting("The job's id is in the answer to initiate; progress finds it by the account.")
	}
	if err != nil {
		return nil, ledgerProblem(err)
	}
	return &jobOutput{jobOf(discreet(ctx, c), intents)}, nil
}

func jobOf(c closure.Closure, intents []closure.Intent) Job {
	j := Job{
		ID: c.ID, Queue: tasks.QueueFor(c.Priority), Task: "automated_account_closure", Args: []string{c.AccountID}, Kwargs: map[string]string{},
		Status: c.JobStatus(), CreatedAt: c.CreatedAt, StartedAt: orNull(c.StartedAt), Retries: c.Failures, MaxRetries: closure.MaxRetries,
	}
	switch c.State {
	case closure.Closed:
		j.CompletedAt = orNull(c.EndedAt)
		j.Result = &Result{c.AccountID, c.Confirmation, readiness.MoneyOf(c, intents).Paid, c.EndedAt}
	case closure.Failed, closure.Dead:
		j.FailedAt, j.Error = orNull(c.EndedAt), &c.Why
	case closure.Running:
		if c.LastError != "" {
			j.Error = &c.LastError
		}
	case closure.Paused, closure.Canceled:
	}
	return j
}
