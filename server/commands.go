package server

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"closeout/closure"
	"closeout/desk"
	"closeout/ledger"
	"closeout/readiness"
)

// CommandBody says why.
type CommandBody struct {
	Reason string `json:"reason" minLength:"1" maxLength:"500" doc:"Why, for the history: one line, no bank numbers" example:"the customer asked on the phone"`
}

type commandInput struct {
	AccountID string `path:"account_id" format:"uuid" minLength:"36" maxLength:"36"`
	Body      CommandBody
}

// Commanded is a closure as it is after a command.
type Commanded struct {
	JobID        string          `json:"job_id"`
	AccountID    string          `json:"account_id"`
	Confirmation string          `json:"confirmation_number"`
	Phase        closure.Phase   `json:"phase"`
	State        closure.State   `json:"state"`
	Changed      bool            `json:"changed" doc:"False where the closure was so already, and nothing was written"`
	Waiting      *desk.Waiting   `json:"waiting" doc:"Why it does not go on; null once it is over"`
	InFlight     []desk.InFlight `json:"in_flight" doc:"Instructions that the broker may be carrying out, or whose outcome nobody knows yet"`
	Money        readiness.Money `json:"money"`
	Next         string          `json:"next" doc:"What happens next, in words"`
}

type commandOutput struct{ Body Commanded }

// commands are the desk's, as the API offers them.
var commands = []struct {
	name    desk.Command
	scope   Scope
	summary string
	says    string
}{
	{
		desk.Cancel, ScopeWrite, "Call a closure off",
		"Possible until the first instruction that can't be undone: a sale, a payout or the closing. Afterwards the answer is 409 and names it. " +
			"The account stays open, and its own status is put back. Canceling twice changes nothing.",
	},
	{
		desk.Pause, ScopeOperate, "Hold a closure",
		"From its answer on nothing new is sent to the broker. What was sent before goes its way: `in_flight` names what has no answer yet. Pausing a paused one changes nothing.",
	},
	{
		desk.Resume, ScopeOperate, "Set a paused, failed or dead closure going again",
		"Its failures, retries and limits start afresh, in the phase where it stopped. What stopped it is taken as seen: money that the books did not explain is paid out as well. Resuming a running one changes nothing.",
	},
	{
		desk.Wake, ScopeOperate, "Have a waiting closure look now",
		"For what nobody can hear of: a block that was lifted, a bank that was approved. One that is due already only looks once more.",
	},
}

func (s *server) registerCommands(api huma.API) {
	for _, one := range commands {
		huma.Register(api, huma.Operation{
			OperationID: string(one.name), Method: http.MethodPost, Path: "/api/account-closure/" + string(one.name) + "/{account_id}", Tags: []string{"Commands"},
			Summary: one.summary, Description: one.says, Metadata: needs(one.scope), Errors: []int{400, 401, 404, 409, 413, 415, 422, 503},
		}, func(ctx context.Context, in *commandInput) (*commandOutput, error) {
			why, err := reason(in.Body.Reason)
			if err != nil {
				return nil, err
			}
			out, err := commanded(ctx, s, in.AccountID, s.command(one.name, why), s.afterwards)
			return &commandOutput{out}, err
		})
	}
	s.registerResolve(api)
}

// deed is something asked of the desk, with the answer that it keeps in the ledger's transaction.
type deed func(context.Context, closure.Closure, *ledger.Reply[desk.After]) (desk.After, error)

func (s *server) command(name desk.Command, why string) deed {
	return func(ctx context.Context, c closure.Closure, answer *ledger.Reply[desk.After]) (desk.After, error) {
		return s.desk.Command(ctx, c, name, desk.Ask{Actor: actor(ctx), Why: why}, answer)
	}
}

// commanded asks the desk for something of the account's latest closure, and shapes the answer.
func commanded[T any](ctx context.Context, s *server, account string, do deed, shape func(desk.After) T) (T, error) {
	var none T
	latest, err := s.Ledger.OfAccount(ctx, strings.ToLower(account))
	if errors.Is(err, ledger.ErrNotFound) {
		return none, noClosureOf()
	}
	if err != nil {
		return none, ledgerProblem(err)
	}
	after, err := do(ctx, latest, answering(ctx, func(a desk.After) (int, string, any) { return http.StatusOK, "", shape(a) }))
	if err != nil {
		return none, refused(err)
	}
	return shape(after), nil
}

// afterwards is the closure as a command leaves it.
func (s *server) afterwards(a desk.After) Commanded {
	return Commanded{
		JobID: a.ID, AccountID: a.AccountID, Confirmation: a.Confirmation, Phase: a.Phase, State: a.State, Changed: a.Changed,
		Waiting: desk.WaitingOf(a.Closure), InFlight: desk.InFlightOf(a.Intents), Money: readiness.MoneyOf(a.Closure, a.Intents),
		Next: desk.Next(a.Closure, s.Clock.Now()),
	}
}

// actor is who a request's changes are by.
func actor(ctx context.Context) string { return "api:" + entryOf(ctx).key }

// way is how a command, or a kind of resolution, is asked for here.
func way(command, account string) string {
	if command == string(closure.AdoptTransfer) {
		return "POST /api/account-closure/resolve/" + account + ` with "resolution": "` + command + `"`
	}
	return "POST /api/account-closure/" + command + "/" + account
}

// reason is the body's, as the history will have it.
func reason(text string) (string, error) {
	why, wrong := desk.Reason(text)
	if wrong == "" {
		return why, nil
	}
	p := invalid()
	p.Errors = []Fault{{"body.reason", wrong}}
	return "", p
}

func noClosureOf() *Problem {
	return noClosure.problem("No closure was ever asked for this account.").hinting("Check the account's id, and whether this is the right environment.")
}

// refused is the problem with a command that was not carried out. Every refusal is a conflict with what the closure is now.
func refused(err error) error {
	if no, ok := errors.AsType[*desk.Refusal](err); ok {
		if no.Code == desk.BankRefused {
			return obstacleProblem(no.Obstacles)
		}
		p := kind{no.Code, http.StatusConflict, no.Title, 0}.problem(no.Detail).hinting(no.Hint)
		p.ClosureID = no.ClosureID
		return p
	}
	if _, ok := errors.AsType[*readiness.UnreadableError](err); ok || errors.Is(err, readiness.ErrNoAccount) {
		return readinessProblem(err)
	}
	return ledgerProblem(err)
}
