package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"
	"unicode"

	"closeout/calendar"
	"closeout/closure"
	"closeout/ledger"
	"closeout/readiness"
)

const (
	// furthest is how far ahead a closure can be asked for: nobody knows an account's fate much longer.
	furthest = 90 * 24 * time.Hour

	// scheduling is how long, in machine time, an answer waits for the queue. The closure is safe without it.
	scheduling = 2 * time.Second
)

var uuidForm = regexp.MustCompile(`^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$`)

// InitiateBody is what a client asks for.
type InitiateBody struct {
	RelationshipID string     `json:"ach_relationship_id" format:"uuid" minLength:"36" maxLength:"36" doc:"The account's APPROVED ACH relationship to pay to; it can't be changed later"`
	Liquidation    bool       `json:"confirm_liquidation,omitempty" doc:"Must be true: every position is sold"`
	Irreversible   bool       `json:"confirm_irreversible,omitempty" doc:"Must be true: a closed account can't be opened again"`
	Priority       string     `json:"priority,omitempty" enum:"urgent,normal,bulk" default:"normal"`
	NotBefore      *time.Time `json:"not_before,omitempty" doc:"Starts then; at most 90 days ahead. A time in the past means now"`
	UserID         string     `json:"user_id,omitempty" maxLength:"200" doc:"Whose account it is, in the client's own books"`
	Email          string     `json:"email,omitempty" format:"email" maxLength:"254" doc:"Where the customer is written to"`
	Reason         string     `json:"reason,omitempty" maxLength:"500" doc:"Why, for the record"`
}

type initiateInput struct {
	AccountID string `path:"account_id" format:"uuid" minLength:"36" maxLength:"36"`
	Body      InitiateBody
}

// Initiated is the answer to an initiate that was accepted, now or earlier.
type Initiated struct {
	Success        bool                 `json:"success"`
	JobID          string               `json:"job_id"`
	Confirmation   string               `json:"confirmation_number" doc:"What the customer quotes"`
	AccountID      string               `json:"account_id"`
	Status         string               `json:"status" doc:"pending_closure"`
	State          closure.State        `json:"state"`
	Message        string               `json:"message"`
	ExpectedFinish *time.Time           `json:"expected_finish" doc:"By the market's and the banks' calendars; null where nobody can tell"`
	Estimated      string               `json:"estimated_completion" doc:"The same in words"`
	Transfers      *int                 `json:"transfers,omitempty" doc:"About how many ACH transfers the payout takes"`
	Payout         *readiness.USD       `json:"estimated_payout,omitempty"`
	NotBefore      *time.Time           `json:"not_before,omitempty"`
	NextSteps      []string             `json:"next_steps" doc:"What is done next, in words and in order"`
	Obstacles      []readiness.Obstacle `json:"obstacles,omitempty" doc:"What the closure will wait for"`
}

type initiateOutput struct {
	Status   int
	Location string `header:"Location"`
	Body     Initiated
}

// initiate accepts a closure. The ledger is asked before the broker, so that a client that asks again is answered even
// while the broker is away; the row is the promise, and everything after its commit may fail.
func (s *server) initiate(ctx context.Context, in *initiateInput) (*initiateOutput, error) {
	account, bank := strings.ToLower(in.AccountID), strings.ToLower(in.Body.RelationshipID)
	start, err := s.validate(in.Body)
	if err != nil {
		return nil, err
	}
	open, err := s.Ledger.OfAccount(ctx, account)
	switch {
	case errors.Is(err, ledger.ErrNotFound):
	case err != nil:
		return nil, ledgerProblem(err)
	case !open.State.Ended():
		return s.again(ctx, open, bank, in.Body, start)
	}
	report, err := s.Readiness.Check(ctx, account, bank)
	if err != nil {
		return nil, readinessProblem(err)
	}
	if blocking := report.Blocking(); len(blocking) > 0 {
		return nil, obstacleProblem(blocking)
	}
	if report.Bank == nil || report.Holdings == nil {
		return nil, broken(errors.New("readiness: no obstacle, and neither bank nor holdings"))
	}
	finish := s.Readiness.Finish(report, start)
	accepted := func(c closure.Closure) Initiated {
		out := s.initiated(c, finish, "The closure is accepted.")
		out.Transfers, out.Payout, out.Obstacles = &report.Transfers, &report.Estimate, report.Obstacles
		return out
	}
	c, created, err := s.Ledger.Create(ctx, ledger.Wish{
		AccountID: account, RelationshipID: bank, Fingerprint: report.Bank.Fingerprint,
		UserID: in.Body.UserID, Email: in.Body.Email, Cause: in.Body.Reason,
		Priority: closure.Priority(in.Body.Priority), NotBefore: start, Expected: finish, Actor: "api:" + entryOf(ctx).key,
	}, answering(ctx, func(c closure.Closure) (int, string, any) { return http.StatusAccepted, jobPath(c), accepted(c) }))
	if err != nil {
		return nil, ledgerProblem(err)
	}
	if !created { // somebody else asked while the broker was read
		return s.again(ctx, c, bank, in.Body, start)
	}
	s.schedule(ctx, c)
	return &initiateOutput{Status: http.StatusAccepted, Location: jobPath(c), Body: accepted(c)}, nil
}

func jobPath(c closure.Closure) string { return "/api/job-status/" + c.ID }

// schedule asks for the first visit. A client that hung up has been promised it all the same.
func (s *server) schedule(ctx context.Context, c closure.Closure) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), scheduling)
	defer cancel()
	if err := s.Schedule(ctx, c); err != nil {
		entryOf(ctx).scheduled = err
	}
}

// again answers a wish for an account whose closure is open: the same wish is no second closure, another bank is refused. What
// else was wished for differently stays as it was, and is said.
func (s *server) again(ctx context.Context, c closure.Closure, bank string, wish InitiateBody, start time.Time) (*initiateOutput, error) {
	if c.RelationshipID != bank {
		p := otherBank.problem("The account has an open closure, " + c.Confirmation + ", that pays to another bank.").
			hinting("Cancel it while nothing irreversible was sent, then initiate again. Afterwards only an operator can have another bank paid, by resolve with relink_bank.")
		p.ClosureID = c.ID
		return nil, p
	}
	intents, err := s.Ledger.Intents(ctx, c.ID)
	if err != nil {
		return nil, ledgerProblem(err)
	}
	message := "The closure is open already."
	if c.State != closure.Running {
		message = fmt.Sprintf("The closure is open already and %s: %s.", c.State, discreet(ctx, c).Why)
	}
	if p := closure.Priority(wish.Priority); p != "" && p != c.Priority {
		message += " Its priority stays " + string(c.Priority) + "."
	}
	if !start.IsZero() && !start.Truncate(time.Second).Equal(c.NotBefore.Truncate(time.Second)) {
		message += " Its start stays as it was asked for at first."
	}
	out := s.initiated(c, s.Readiness.Expect(c, intents), message)
	return &initiateOutput{Status: http.StatusOK, Location: jobPath(c), Body: out}, nil
}

func (s *server) initiated(c closure.Closure, finish time.Time, message string) Initiated {
	out := Initiated{
		Success: true, JobID: c.ID, Confirmation: c.Confirmation, AccountID: c.AccountID, Status: "pending_closure", State: c.State,
		Message: message, ExpectedFinish: orNull(finish), Estimated: inWords(c, finish), NotBefore: orNull(c.NotBefore),
		NextSteps: []string{},
	}
	for _, step := range closure.Road[max(c.Phase.Number()-1, 0):] {
		out.NextSteps = append(out.NextSteps, fmt.Sprintf("%s: %s", step.Phase, step.Does))
	}
	return out
}

// validate checks what the schema can't say, and gives the time at which the closure starts; zero means now.
func (s *server) validate(b InitiateBody) (time.Time, error) {
	p := notConfirmed.problem("Closing an account needs both confirmations to be true.").
		hinting("Show the customer what will happen, then send both as true.")
	if !b.Liquidation {
		p.Errors = append(p.Errors, Fault{"body.confirm_liquidation", "must be true: every position of the account is sold"})
	}
	if !b.Irreversible {
		p.Errors = append(p.Errors, Fault{"body.confirm_irreversible", "must be true: a closed account can't be opened again"})
	}
	if len(p.Errors) > 0 {
		return time.Time{}, p
	}
	p = invalid()
	for _, field := range []struct{ name, value string }{{"user_id", b.UserID}, {"email", b.Email}, {"reason", b.Reason}} {
		if strings.ContainsFunc(field.value, unicode.IsControl) {
			p.Errors = append(p.Errors, Fault{"body." + field.name, "must not contain control characters, line breaks included"})
		}
	}
	var start time.Time
	if b.NotBefore != nil {
		now := s.Clock.Now()
		if b.NotBefore.After(now.Add(furthest)) {
			p.Errors = append(p.Errors, Fault{"body.not_before", "must be at most 90 days ahead, that is by " + now.Add(furthest).Format(time.RFC3339)})
		} else if b.NotBefore.After(now) {
			start = b.NotBefore.UTC()
		}
	}
	if len(p.Errors) > 0 {
		return start, p
	}
	return start, nil
}

func ledgerProblem(err error) *Problem {
	if errors.Is(err, ledger.ErrInFlight) {
		return inFlight.problem("The first request with this Idempotency-Key has not ended yet.").
			hinting("Ask again after the time in Retry-After, with the same key: you get the first one's answer.")
	}
	return ledgerDown.problem("The ledger does not answer, so that nothing can be promised now.").
		hinting("Ask again: the same wish twice is one closure.").because(err)
}

func readinessProblem(err error) *Problem {
	if errors.Is(err, readiness.ErrNoAccount) {
		return noAccount.problem("The broker knows no account of this id.").
			hinting("Check the id, and whether the account belongs to this environment.")
	}
	return brokerUnreadable.problem("The broker could not be read, so that nothing is known of the account. Nothing was changed.").
		hinting("Ask again after the time in Retry-After.").because(err)
}

// orNull is a pointer to a time, and nil for the zero time.
func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC().Truncate(time.Second)
	return &t
}

// inWords says when a closure will be finished, to a customer.
func inWords(c closure.Closure, finish time.Time) string {
	switch {
	case c.State == closure.Closed:
		return "closed on " + day(c.EndedAt)
	case c.State == closure.Canceled:
		return "canceled on " + day(c.EndedAt)
	case c.State != closure.Running:
		return "not known: the closure is " + string(c.State)
	case c.Who != closure.Nobody:
		return "not known: the " + string(c.Who) + " must act first"
	case finish.IsZero():
		return "not known"
	}
	return "about " + day(finish)
}

func day(t time.Time) string { return t.In(calendar.NewYork).Format("Monday, January 2, 2006") }
