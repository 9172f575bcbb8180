package server

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"

	"closeout/closure"
	"closeout/desk"
	"closeout/ledger"
)

// EarlierPath is an address of the earlier system: what becomes of it here. One table makes the routes, the answers 410 and
// docs/earlier-system-paths.md.
type EarlierPath struct {
	Method, Path string
	Now          string // the address that does it now, as GET /…
	Does         string // what the old address does, or why it is gone

	scope Scope
	serve func(*server, huma.API, huma.Operation) // nil: it is gone, or the same
	same  bool                                    // it is one of the present addresses
}

// Gone says whether the address answers 410.
func (e EarlierPath) Gone() bool { return e.serve == nil && !e.same }

// earlierBase is where most of the earlier system's addresses are; it wants a key like /api.
const earlierBase = "/account-closure"

const (
	progressNow = "GET /api/account-closure/progress/{account_id}"
	cancelNow   = "POST /api/account-closure/cancel/{account_id}"
	resumeNow   = "POST /api/account-closure/resume/{account_id}"
)

// EarlierPaths are all of them, those that work first.
var EarlierPaths = []EarlierPath{
	{http.MethodGet, "/api/account-closure/progress/{account_id}", progressNow, "The same, with fields added. `total_steps` is 4. `cash_balance`, `open_positions` and `open_orders` are null: progress asks the broker nothing", "", nil, true},
	{http.MethodGet, "/api/job-status/{job_id}", "GET /api/job-status/{job_id}", "The same, for jobs of this service. Old ids are not kept: 404, or 422 where one is no UUID. Progress, by the account, has the id of the job that took over", "", nil, true},
	{
		http.MethodPost, "/account-closure/initiate/{account_id}", "POST /api/account-closure/initiate/{account_id}", "Initiates, with the old fields and new ones. An accepted closure answers 202, and what was refused with 200 and `success: false` is a problem with its status", ScopeWrite,
		func(s *server, api huma.API, op huma.Operation) { huma.Register(api, op, s.initiate) }, false,
	},
	{
		http.MethodGet, "/account-closure/check-readiness/{account_id}", "GET /api/account-closure/check-readiness/{account_id}", "Checks, with the old fields and new ones", ScopeRead,
		func(s *server, api huma.API, op huma.Operation) { huma.Register(api, op, s.checkReadiness) }, false,
	},
	{
		http.MethodGet, "/account-closure/status/{account_id}", progressNow, "The old shape, from the ledger: what only the broker knows is null", ScopeRead,
		func(s *server, api huma.API, op huma.Operation) { huma.Register(api, op, s.earlierStatus) }, false,
	},
	{
		http.MethodGet, "/account-closure/withdrawal-status/{account_id}/{transfer_id}", progressNow, "The old shape for a payout of the account's latest closure, as it was last seen", ScopeRead,
		func(s *server, api huma.API, op huma.Operation) { huma.Register(api, op, s.earlierTransfer) }, false,
	},
	{
		http.MethodGet, "/account-closure/task-status/{account_id}", progressNow, "The old shape: `active` is a closure that is running", ScopeRead,
		func(s *server, api huma.API, op huma.Operation) { huma.Register(api, op, s.earlierTask) }, false,
	},
	{
		http.MethodGet, "/account-closure/all-active-tasks", "GET /api/account-closure", "The old shape: the running closures, at most 1,000, those first that are due first", ScopeOperate,
		func(s *server, api huma.API, op huma.Operation) { huma.Register(api, op, s.earlierTasks) }, false,
	},
	{
		http.MethodPost, "/account-closure/resume/{account_id}", resumeNow, "Resumes; the bank can't be changed by it", ScopeOperate,
		func(s *server, api huma.API, op huma.Operation) { huma.Register(api, op, s.earlierResume) }, false,
	},
	{
		http.MethodPost, "/account-closure/cancel-task/{account_id}", cancelNow, "Cancels the closure, where it can be canceled", ScopeWrite,
		func(s *server, api huma.API, op huma.Operation) { huma.Register(api, op, s.earlierCancel) }, false,
	},
	{
		http.MethodGet, "/api/health", "GET /health", "The same", ScopeRead,
		func(s *server, api huma.API, op huma.Operation) { huma.Register(api, op, s.health) }, false,
	},

	{http.MethodPost, "/account-closure/withdraw-funds/{account_id}", progressNow, "A closure pays out by itself", ScopeWrite, nil, false},
	{http.MethodGet, "/account-closure/settlement-status/{account_id}", progressNow, "Progress says what is waited for", ScopeRead, nil, false},
	{http.MethodPost, "/account-closure/close-account/{account_id}", progressNow, "A closure closes the account by itself when nothing is left in it", ScopeWrite, nil, false},
	{http.MethodPost, "/account-closure/cancel-orders/{account_id}", progressNow, "A closure cancels open orders by itself", ScopeWrite, nil, false},
	{http.MethodPost, "/account-closure/liquidate-positions/{account_id}", progressNow, "A closure sells by itself", ScopeWrite, nil, false},
	{http.MethodGet, "/api/account/{account_id}/transfers", progressNow, "Progress says what is paid, on its way and unconfirmed; the broker lists transfers", ScopeRead, nil, false},
	{http.MethodPost, "/api/account-closure/withdraw-funds", progressNow, "A closure pays out by itself", ScopeWrite, nil, false},
	{http.MethodPost, "/api/account-closure/close-account", progressNow, "A closure closes the account by itself when nothing is left in it", ScopeWrite, nil, false},
	{http.MethodPost, "/api/account-closure/cancel-orders", progressNow, "A closure cancels open orders by itself", ScopeWrite, nil, false},
	{http.MethodPost, "/api/account-closure/liquidate-positions", progressNow, "A closure sells by itself", ScopeWrite, nil, false},
	{http.MethodGet, "/api/account-closure/check-settlement", progressNow, "Progress says what is waited for", ScopeRead, nil, false},
	{http.MethodGet, "/api/account-closure/data", progressNow, "Progress has the confirmation number and the times", ScopeRead, nil, false},
	{http.MethodPost, "/api/account-closure/update-status", progressNow, "The account's own status is set with the closure, in one transaction", ScopeWrite, nil, false},
}

var goneFor = kind{"gone", http.StatusGone, "this address is not served any more", 0}

// deprecatedOn is when the earlier addresses became old: November 25, 2026 (RFC 9745).
const deprecatedOn = "@1795564800"

// successor is the present address with the request's own account in it.
func successor(now, account string) string {
	_, path, _ := strings.Cut(now, " ")
	if uuidForm.MatchString(account) {
		path = strings.ReplaceAll(path, "{account_id}", strings.ToLower(account))
	}
	return path
}

// deprecate marks whatever is answered under an old address to somebody with a key, refusals and kept answers included.
func (s *server) deprecate(c *gin.Context) {
	e, ok := s.earlier[c.Request.Method+" "+c.FullPath()]
	if !ok {
		return
	}
	c.Header("Deprecation", deprecatedOn)
	if to := successor(e.Now, c.Param("account_id")); !strings.Contains(to, "{") { // an address that names no account leads to none's
		c.Header("Link", "<"+to+`>; rel="successor-version"`)
	}
}

// registerEarlier makes the routes of the earlier system's addresses. They stand in no description: nobody new should find them.
func (s *server) registerEarlier(api huma.API, r *gin.Engine) {
	for _, e := range EarlierPaths {
		route := ginPath(e.Path)
		if !e.same {
			s.earlier[e.Method+" "+route] = e
		}
		switch {
		case e.same:
		case e.Gone():
			s.rules[e.Method+" "+route] = rule{scope: e.scope, maxBody: maxBody, patience: ordinary.patience}
			r.Handle(e.Method, route, func(c *gin.Context) {
				goneFor.problem(e.Does+".").hinting("Use "+e.Now+" instead.").write(c.Writer, c.Request)
			})
		default:
			op := huma.Operation{
				OperationID: "earlier " + e.Method + " " + e.Path, Method: e.Method, Path: e.Path, Hidden: true, Metadata: needs(e.scope), DefaultStatus: http.StatusOK,
			}
			s.rules.learn(nil, &op)
			e.serve(s, api, op)
		}
	}
}

// latest is the account's latest closure, as the request's key may see it, with its intents.
func (s *server) latest(ctx context.Context, account string) (closure.Closure, []closure.Intent, error) {
	c, err := s.Ledger.OfAccount(ctx, strings.ToLower(account))
	if errors.Is(err, ledger.ErrNotFound) {
		return c, nil, noClosureOf()
	}
	if err != nil {
		return c, nil, ledgerProblem(err)
	}
	intents, err := s.Ledger.Intents(ctx, c.ID)
	if err != nil {
		return c, nil, ledgerProblem(err)
	}
	return discreet(ctx, c), intents, nil
}

type earlierStatus struct {
	AccountID string             `json:"account_id"`
	Status    earlierStepDetails `json:"status"`
	Timestamp time.Time          `json:"timestamp"`
}

type earlierStepDetails struct {
	AccountID     string  `json:"account_id"`
	CurrentStep   string  `json:"current_step"`
	AccountStatus string  `json:"account_status"`
	Orders        *int    `json:"open_orders"`
	Positions     *int    `json:"open_positions"`
	Cash          *string `json:"cash_balance"`
	Withdrawable  *string `json:"cash_withdrawable"`
	Ready         bool    `json:"ready_for_next_step"`
	CanRetry      bool    `json:"can_retry"`
	NextAction    string  `json:"next_action"`
}

type earlierStatusOutput struct{ Body earlierStatus }

func (s *server) earlierStatus(ctx context.Context, in *accountInput) (*earlierStatusOutput, error) {
	c, intents, err := s.latest(ctx, in.AccountID)
	if err != nil {
		return nil, err
	}
	return &earlierStatusOutput{s.inEarlierWords(c, intents)}, nil
}

func (s *server) inEarlierWords(c closure.Closure, intents []closure.Intent) earlierStatus {
	p := s.progressOf(c, intents)
	return earlierStatus{AccountID: c.AccountID, Timestamp: s.Clock.Now(), Status: earlierStepDetails{
		AccountID: c.AccountID, CurrentStep: p.CurrentStep, AccountStatus: p.Details.AccountStatus, Ready: p.Details.Ready,
		CanRetry: !c.State.Ended() && c.State != closure.Running, NextAction: c.Why,
	}}
}

type earlierTransferInput struct {
	AccountID  string `path:"account_id" format:"uuid" minLength:"36" maxLength:"36"`
	TransferID string `path:"transfer_id" format:"uuid" minLength:"36" maxLength:"36"`
}

type earlierTransfer struct {
	TransferID string    `json:"transfer_id"`
	Direction  string    `json:"direction"`
	Status     string    `json:"status"`
	Transfer   string    `json:"transfer_status"`
	Completed  bool      `json:"transfer_completed"`
	Amount     string    `json:"amount"`
	CreatedAt  time.Time `json:"created_at"`
	UpdatedAt  time.Time `json:"updated_at"`
}

type earlierTransferOutput struct{ Body earlierTransfer }

func (s *server) earlierTransfer(ctx context.Context, in *earlierTransferInput) (*earlierTransferOutput, error) {
	c, intents, err := s.latest(ctx, in.AccountID)
	if err != nil {
		return nil, err
	}
	for _, i := range intents {
		if i.Kind != closure.TransferIntent || !strings.EqualFold(i.BrokerID, in.TransferID) {
			continue
		}
		t := earlierTransfer{
			TransferID: i.BrokerID, Direction: "OUTGOING", Status: i.Finished, Amount: closure.USD(i.Amount.Decimal), CreatedAt: i.ClaimedAt, UpdatedAt: c.UpdatedAt,
		}
		if t.Status == "" {
			t.Status = "QUEUED"
		}
		t.Transfer, t.Completed = t.Status, strings.EqualFold(t.Status, "COMPLETE")
		return &earlierTransferOutput{t}, nil
	}
	return nil, noTransfer.problem("The account's latest closure made no transfer of this id.").
		hinting("Progress says what was paid; a transfer that others made is listed by the broker alone.")
}

var noTransfer = kind{"transfer_not_found", http.StatusNotFound, "there is no such transfer", 0}

type earlierTask struct {
	Active    bool   `json:"active"`
	Done      bool   `json:"done"`
	Cancelled bool   `json:"cancelled"`
	Exception string `json:"exception,omitempty"`
	TaskID    string `json:"task_id"`
	Source    string `json:"source"`
}

func taskOf(c closure.Closure) earlierTask {
	t := earlierTask{Active: c.State == closure.Running, Done: c.State.Ended(), Cancelled: c.State == closure.Canceled, TaskID: c.ID, Source: "ledger"}
	if c.State == closure.Failed || c.State == closure.Dead {
		t.Exception = c.Why
	}
	return t
}

type earlierTaskOutput struct {
	Body struct {
		AccountID string      `json:"account_id"`
		Task      earlierTask `json:"task_status"`
		Timestamp time.Time   `json:"timestamp"`
	}
}

func (s *server) earlierTask(ctx context.Context, in *accountInput) (*earlierTaskOutput, error) {
	c, _, err := s.latest(ctx, in.AccountID)
	if err != nil {
		return nil, err
	}
	out := &earlierTaskOutput{}
	out.Body.AccountID, out.Body.Task, out.Body.Timestamp = c.AccountID, taskOf(c), s.Clock.Now()
	return out, nil
}

type earlierTasksOutput struct {
	Body struct {
		Tasks     map[string]earlierTask `json:"active_tasks"`
		Total     int                    `json:"total_active"`
		Timestamp time.Time              `json:"timestamp"`
	}
}

// mostTasks is how many running closures the earlier list shows: it has no pages.
const mostTasks = 1000

func (s *server) earlierTasks(ctx context.Context, _ *struct{}) (*earlierTasksOutput, error) {
	now := s.Clock.Now()
	running, err := s.Ledger.Overdue(ctx, now.AddDate(100, 0, 0), closure.Closure{}, mostTasks)
	if err != nil {
		return nil, ledgerProblem(err)
	}
	out := &earlierTasksOutput{}
	out.Body.Tasks, out.Body.Total, out.Body.Timestamp = map[string]earlierTask{}, len(running), now
	for _, c := range running {
		out.Body.Tasks[c.AccountID] = taskOf(c)
	}
	return out, nil
}

// earlierReason stands in the history for a command whose old shape has no reason.
const earlierReason = "asked under an address of the earlier system, which tells no reason"

type earlierCommandInput struct {
	AccountID string `path:"account_id" format:"uuid" minLength:"36" maxLength:"36"`
	Body      *struct {
		_              struct{} `additionalProperties:"true"`
		RelationshipID string   `json:"ach_relationship_id,omitempty"`
	}
}

type earlierResumed struct {
	Success bool               `json:"success"`
	Step    string             `json:"step"`
	Action  string             `json:"action_taken"`
	Status  earlierStepDetails `json:"status"`
}

type earlierResumedOutput struct{ Body earlierResumed }

func (s *server) earlierResume(ctx context.Context, in *earlierCommandInput) (*earlierResumedOutput, error) {
	c, intents, err := s.latest(ctx, in.AccountID)
	if err != nil {
		return nil, err
	}
	if in.Body != nil && in.Body.RelationshipID != "" && !strings.EqualFold(in.Body.RelationshipID, c.RelationshipID) {
		p := otherBank.problem("The closure pays to another bank, and resuming it changes none.").
			hinting("An operator records the new bank: POST /api/account-closure/resolve/" + c.AccountID + ` with "resolution": "relink_bank".`)
		p.ClosureID = c.ID
		return nil, p
	}
	out, err := commanded(ctx, s, in.AccountID, s.command(desk.Resume, earlierReason),
		func(a desk.After) earlierResumed {
			e := earlierResumed{Success: true, Step: string(a.Phase), Action: "resumed", Status: s.inEarlierWords(a.Closure, intents).Status}
			if !a.Changed {
				e.Action = "none: it is running"
			}
			return e
		})
	return &earlierResumedOutput{out}, err
}

type earlierCanceled struct {
	Success   bool      `json:"success"`
	Message   string    `json:"message"`
	AccountID string    `json:"account_id"`
	Timestamp time.Time `json:"timestamp"`
}

type earlierCanceledOutput struct{ Body earlierCanceled }

func (s *server) earlierCancel(ctx context.Context, in *earlierCommandInput) (*earlierCanceledOutput, error) {
	out, err := commanded(ctx, s, in.AccountID, s.command(desk.Cancel, earlierReason),
		func(a desk.After) earlierCanceled {
			return earlierCanceled{true, "The closure is canceled; the account stays open.", a.AccountID, s.Clock.Now()}
		})
	return &earlierCanceledOutput{out}, err
}
