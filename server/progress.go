package server

import (
	"context"
	"strings"
	"time"

	"closeout/closure"
	"closeout/desk"
	"closeout/readiness"
)

type accountInput struct {
	AccountID string `path:"account_id" format:"uuid" minLength:"36" maxLength:"36"`
}

// Progress is how far a closure is. The first block has the shape that earlier clients know.
type Progress struct {
	AccountID    string        `json:"account_id"`
	CurrentStep  string        `json:"current_step" doc:"The step's earlier name: initiated, canceling_orders, liquidating_positions, waiting_settlement, withdrawing_funds, closing_account, completed, failed, canceled"`
	Completed    int           `json:"steps_completed" doc:"How many of the steps are done"`
	Total        int           `json:"total_steps" doc:"How many steps there are"`
	Details      StatusDetails `json:"status_details"`
	Estimated    string        `json:"estimated_completion" doc:"In words"`
	LastUpdated  time.Time     `json:"last_updated" doc:"When it last moved"`
	Confirmation string        `json:"confirmation_number"`
	InitiatedAt  time.Time     `json:"initiated_at"`

	Closure ClosureDetails `json:"closure_details"`

	JobID          string          `json:"job_id"`
	Phase          closure.Phase   `json:"phase"`
	State          closure.State   `json:"state"`
	ExpectedFinish *time.Time      `json:"expected_finish" doc:"Null where nobody can tell"`
	FinishedAt     *time.Time      `json:"finished_at" doc:"When it was closed or canceled"`
	Steps          []Step          `json:"steps" doc:"The phases, in their order"`
	Waiting        *desk.Waiting   `json:"waiting" doc:"Why it does not go on; null once it is over"`
	Money          readiness.Money `json:"money"`
	Failures       int             `json:"failures" doc:"Errors in a row"`
	LastError      string          `json:"last_error,omitempty" doc:"The error of the last try, in words; absent if it went well"`
}

// StatusDetails says in short what the closure does now.
type StatusDetails struct {
	AccountStatus string `json:"account_status" doc:"pending_closure, closed or active"`
	Text          string `json:"text" doc:"What it does now, in words"`
	Ready         bool   `json:"ready_for_next_step" doc:"Whether nothing but its turn is waited for"`

	// Kept for earlier clients, who read these names. Unknown is null, and never zero.
	Cash      *string `json:"cash_balance" doc:"Null: progress asks the broker nothing; check-readiness does"`
	Positions *int    `json:"open_positions" doc:"Null, as cash_balance"`
	Orders    *int    `json:"open_orders" doc:"Null, as cash_balance"`
}

// ClosureDetails is the closure in the words of earlier clients.
type ClosureDetails struct {
	Confirmation string     `json:"confirmation_number"`
	InitiatedAt  time.Time  `json:"initiated_at"`
	CompletedAt  *time.Time `json:"completed_at" doc:"When the account was closed"`
	Reason       string     `json:"reason,omitempty" doc:"Why the closing was asked for"`
}

// Step is one phase of the road, and whether it is done, current or todo.
type Step struct {
	Name  closure.Phase `json:"name" doc:"liquidation, settlement, withdrawal or closing"`
	Does  string        `json:"does" doc:"What is done in it, in words"`
	State string        `json:"state" enum:"done,current,todo" doc:"done, current or todo"`
}

type progressOutput struct{ Body Progress }

func (s *server) progress(ctx context.Context, in *accountInput) (*progressOutput, error) {
	c, intents, err := s.latest(ctx, in.AccountID)
	if err != nil {
		return nil, err
	}
	return &progressOutput{s.progressOf(c, intents)}, nil
}

func (s *server) progressOf(c closure.Closure, intents []closure.Intent) Progress {
	finish := s.Readiness.Expect(c, intents)
	p := Progress{
		AccountID: c.AccountID, CurrentStep: earlierStep(c), Completed: max(c.Phase.Number()-1, 0), Total: len(closure.Road),
		Estimated: inWords(c, finish), LastUpdated: c.UpdatedAt, Confirmation: c.Confirmation, InitiatedAt: c.CreatedAt,
		JobID: c.ID, Phase: c.Phase, State: c.State, ExpectedFinish: orNull(finish), Waiting: desk.WaitingOf(c),
		Money: readiness.MoneyOf(c, intents), Failures: c.Failures, LastError: c.LastError,
	}
	p.Details = StatusDetails{AccountStatus: "pending_closure", Text: c.Why, Ready: c.State == closure.Running && !c.DueAt.After(s.Clock.Now())}
	p.Closure = ClosureDetails{Confirmation: c.Confirmation, InitiatedAt: c.CreatedAt, Reason: c.Cause}
	switch c.State {
	case closure.Closed:
		p.Closure.CompletedAt = orNull(c.EndedAt)
		p.Completed = p.Total
		p.Details.AccountStatus = "closed"
		p.FinishedAt = orNull(c.EndedAt)
	case closure.Canceled:
		p.Details.AccountStatus = "active"
		p.FinishedAt = orNull(c.EndedAt)
	case closure.Running, closure.Paused, closure.Failed, closure.Dead:
	}
	for _, step := range closure.Road {
		state := "todo"
		switch n := step.Phase.Number(); {
		case n <= p.Completed:
			state = "done"
		case n == c.Phase.Number() && !c.State.Ended():
			state = "current"
		}
		p.Steps = append(p.Steps, Step{step.Phase, step.Does, state})
	}
	return p
}

// earlierStep is the name that the earlier system's clients know for where a closure is.
func earlierStep(c closure.Closure) string {
	switch c.State {
	case closure.Closed:
		return "completed"
	case closure.Canceled:
		return "canceled"
	case closure.Failed, closure.Dead:
		return "failed"
	case closure.Running, closure.Paused:
	}
	if c.StartedAt.IsZero() {
		return "initiated"
	}
	switch c.Phase {
	case closure.Settlement:
		return "waiting_settlement"
	case closure.Withdrawal:
		return "withdrawing_funds"
	case closure.Closing:
		return "closing_account"
	case closure.Liquidation:
		if c.Reason == closure.OrdersCanceling {
			return "canceling_orders"
		}
	}
	return "liquidating_positions"
}

type readinessOutput struct{ Body readiness.Report }

// readinessInput may name the bank that is meant, so that a client can ask exactly what initiate would say.
type readinessInput struct {
	AccountID      string `path:"account_id" format:"uuid" minLength:"36" maxLength:"36"`
	RelationshipID string `query:"ach_relationship_id" format:"uuid" minLength:"36" maxLength:"36" doc:"The bank that is meant; without it, any approved one will do"`
}

func (s *server) checkReadiness(ctx context.Context, in *readinessInput) (*readinessOutput, error) {
	r, err := s.Readiness.Check(ctx, strings.ToLower(in.AccountID), strings.ToLower(in.RelationshipID))
	if err != nil {
		return nil, readinessProblem(err)
	}
	return &readinessOutput{r}, nil
}
