package server

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/danielgtaylor/huma/v2"

	"closeout/calendar"
	"closeout/closure"
	"closeout/ledger"
	"closeout/readiness"
)

// What a command can be refused for.
var (
	closureEnded     = kind{"closure_ended", http.StatusConflict, "the closure is over", 0}
	pastNoReturn     = kind{"past_no_return", http.StatusConflict, "the closure cannot be called off any more", 0}
	notRunning       = kind{"not_running", http.StatusConflict, "the closure has stopped", 0}
	notStopped       = kind{"not_stopped", http.StatusConflict, "the closure is running", 0}
	cannotResolve    = kind{"cannot_resolve", http.StatusConflict, "this cannot be recorded as it is", 0}
	transferTaken    = kind{"transfer_taken", http.StatusConflict, "the transfer belongs to another payout", 0}
	transferUnlisted = kind{"transfer_not_listed", http.StatusConflict, "the broker does not list the transfer", 0}
	transferListed   = kind{"transfer_listed", http.StatusConflict, "the broker lists a transfer that fits", 0}
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
	Waiting      *Waiting        `json:"waiting" doc:"Why it does not go on; null once it is over"`
	InFlight     []InFlight      `json:"in_flight" doc:"Instructions that the broker may be carrying out, or whose outcome nobody knows yet"`
	Money        readiness.Money `json:"money"`
	Next         string          `json:"next" doc:"What happens next, in words"`
}

// InFlight is an instruction without an answer yet.
type InFlight struct {
	Kind  closure.IntentKind `json:"kind" enum:"cancel,order,transfer,close" doc:"cancel, order, transfer or close"`
	Text  string             `json:"text" doc:"What was asked of the broker and what is known of it, in words"`
	Since time.Time          `json:"since" doc:"When it was written down, before it was sent"`
}

type commandOutput struct{ Body Commanded }

// command is one row of the table of commands.
type command struct {
	name    string
	scope   Scope
	summary string
	says    string
	same    closure.State // in which it changes nothing
	change  func(at time.Time, actor, why string, intents []closure.Intent) closure.Change
}

var commands = []command{
	{
		"cancel", ScopeWrite, "Call a closure off",
		"Possible until the first instruction that can't be undone: a sale, a payout or the closing. Afterwards the answer is 409 and names it. " +
			"The account stays open, and its own status is put back. Canceling twice changes nothing.",
		closure.Canceled, func(at time.Time, actor, why string, is []closure.Intent) closure.Change {
			return closure.Cancel(at, actor, why, closure.PastNoReturn(is))
		},
	},
	{
		"pause", ScopeOperate, "Hold a closure",
		"From its answer on nothing new is sent to the broker. What was sent before goes its way: `in_flight` names what has no answer yet. Pausing a paused one changes nothing.",
		closure.Paused, func(at time.Time, actor, why string, _ []closure.Intent) closure.Change {
			return closure.Pause(at, actor, why)
		},
	},
	{
		"resume", ScopeOperate, "Set a paused, failed or dead closure going again",
		"Its failures, retries and limits start afresh, in the phase where it stopped. What stopped it is taken as seen: money that the books did not explain is paid out as well. Resuming a running one changes nothing.",
		closure.Running, func(at time.Time, actor, why string, _ []closure.Intent) closure.Change {
			return closure.Resume(at, actor, why)
		},
	},
	{
		"wake", ScopeOperate, "Have a waiting closure look now",
		"For what nobody can hear of: a block that was lifted, a bank that was approved. One that is due already only looks once more.",
		"", func(at time.Time, actor, why string, _ []closure.Intent) closure.Change {
			return closure.Wake(at, actor, why)
		},
	},
}

func (s *server) registerCommands(api huma.API) {
	for _, one := range commands {
		huma.Register(api, huma.Operation{
			OperationID: one.name, Method: http.MethodPost, Path: "/api/account-closure/" + one.name + "/{account_id}", Tags: []string{"Commands"},
			Summary: one.summary, Description: one.says, Metadata: needs(one.scope), Errors: []int{400, 401, 404, 409, 413, 415, 422, 503},
		}, func(ctx context.Context, in *commandInput) (*commandOutput, error) {
			if err := line("body.reason", in.Body.Reason); err != nil {
				return nil, err
			}
			out, err := commanded(ctx, s, in.AccountID, one.decision(s.Clock, actor(ctx), in.Body.Reason), s.afterwards)
			return &commandOutput{out}, err
		})
	}
	s.registerResolve(api)
}

// decision carries the command out, where the closure is not so already.
func (one command) decision(clock closure.Clock, actor, why string) decision {
	return func(c closure.Closure, is []closure.Intent) (closure.Change, []closure.Intent, error) {
		if c.State == one.same {
			return closure.Change{}, is, errSame
		}
		return one.change(clock.Now(), actor, why, is), is, nil
	}
}

// named is a row of the table.
func named(name string) command {
	return commands[slices.IndexFunc(commands, func(one command) bool { return one.name == name })]
}

// errSame says that the closure is as the command wants it, so that nothing is written.
var errSame = errors.New("nothing to change")

// decision is what a command does to a row and its intents as they are, and the intents as it leaves them.
type decision func(closure.Closure, []closure.Intent) (closure.Change, []closure.Intent, error)

// commanded decides on the account's latest closure in the ledger's transaction, and shapes the answer, which is kept there
// too. Another's move that comes between is no refusal: the row is locked, and one that moves all the same is asked again.
func commanded[T any](ctx context.Context, s *server, account string, decide decision, shape func(closure.Closure, []closure.Intent, bool) T) (T, error) {
	var none T
	latest, err := s.Ledger.OfAccount(ctx, strings.ToLower(account))
	if errors.Is(err, ledger.ErrNotFound) {
		return none, noClosureOf()
	}
	if err != nil {
		return none, ledgerProblem(err)
	}
	var before, next closure.Closure
	var intents []closure.Intent
	for range 3 {
		next, err = s.Ledger.Command(ctx, latest.ID, func(c closure.Closure, is []closure.Intent) (ch closure.Change, err error) {
			before = c
			ch, intents, err = decide(c, is)
			return ch, err
		}, answering(ctx, func(c closure.Closure) (int, string, any) { return http.StatusOK, "", shape(c, intents, true) }))
		if !errors.Is(err, ledger.ErrStale) || errors.Is(err, ledger.ErrTaken) {
			break
		}
	}
	if errors.Is(err, errSame) {
		return shape(before, intents, false), nil
	}
	if err != nil {
		return none, refused(err, before, intents)
	}
	if next.State == closure.Running && next.Version != before.Version {
		s.schedule(ctx, next)
	}
	return shape(next, intents, true), nil
}

// actor is who a request's changes are by.
func actor(ctx context.Context) string { return "api:" + entryOf(ctx).key }

// line refuses what would break the one line that a history has for it.
func line(where, text string) error {
	message := ""
	switch {
	case strings.ContainsFunc(text, unicode.IsControl):
		message = "must not contain control characters, line breaks included"
	case strings.TrimSpace(text) == "":
		message = "must say something"
	default:
		return nil
	}
	p := invalid()
	p.Errors = []Fault{{where, message}}
	return p
}

func noClosureOf() *Problem {
	return noClosure.problem("No closure was ever asked for this account.").hinting("Check the account's id, and whether this is the right environment.")
}

// afterwards is the closure as a command leaves it.
func (s *server) afterwards(c closure.Closure, intents []closure.Intent, changed bool) Commanded {
	out := Commanded{
		JobID: c.ID, AccountID: c.AccountID, Confirmation: c.Confirmation, Phase: c.Phase, State: c.State, Changed: changed,
		Waiting: waitingOf(c), InFlight: []InFlight{}, Money: readiness.MoneyOf(c, intents),
	}
	for _, i := range intents {
		if i.State == closure.IntentSending {
			out.InFlight = append(out.InFlight, InFlight{i.Kind, instruction(i) + " " + outcome(i), i.ClaimedAt})
		}
	}
	switch c.State {
	case closure.Running:
		out.Next = "It looks at the account now, and goes on."
		if c.DueAt.After(s.Clock.Now()) {
			out.Next = "It looks at the account " + when(c.DueAt) + "."
		}
	case closure.Paused:
		out.Next = "Nothing new is sent until it is resumed. Open orders may still fill, and payouts on their way arrive."
	case closure.Canceled:
		out.Next = "Nothing: the account stays open."
	case closure.Closed:
		out.Next = "Nothing: the account is closed."
	case closure.Failed, closure.Dead:
		out.Next = "Nothing until a person resumes it."
	}
	return out
}

// when is a moment in the words of whoever reads an answer: New York's, where the markets and banks are.
func when(t time.Time) string {
	return t.In(calendar.NewYork).Format("on Jan 2 at 15:04 New York time")
}

// instruction is what an intent asks of the broker, in words without a bank.
func instruction(i closure.Intent) string {
	switch i.Kind {
	case closure.TransferIntent:
		return "the payout of $" + closure.USD(i.Amount.Decimal)
	case closure.CloseIntent:
		return "the closing of the account"
	case closure.CancelIntent:
		return "the cancellation of an order"
	case closure.OrderIntent:
	}
	var w struct {
		Body struct{ Symbol, Qty, Side string }
	}
	_ = json.Unmarshal(i.Request, &w) // what can't be read has no particulars
	return strings.TrimSpace(fmt.Sprintf("the order to %s %s %s", cmp.Or(w.Body.Side, "close"), w.Body.Qty, cmp.Or(w.Body.Symbol, "a position")))
}

// outcome is what is known of an intent.
func outcome(i closure.Intent) string {
	switch {
	case i.Unknown(time.Now()):
		return "may have been carried out: nobody knows its outcome yet"
	case i.State == closure.IntentSending:
		return "is on its way to the broker"
	}
	return "was taken by the broker " + when(i.ClaimedAt)
}

// refused turns a command that was not carried out into words, with what one can do instead.
func refused(err error, c closure.Closure, intents []closure.Intent) error {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	if errors.Is(err, ledger.ErrTaken) {
		return transferTaken.problem("The transfer belongs to another payout of this service.").
			hinting("Compare its sum, its bank and its time with the payout in question.")
	}
	no, ok := errors.AsType[*closure.NotAllowedError](err)
	if !ok {
		return ledgerProblem(err)
	}
	at := "/" + c.AccountID
	var p *Problem
	switch {
	case no.State.Ended():
		p = closureEnded.problem("The account's latest closure is " + string(no.State) + ".").
			hinting("Nothing can be changed of it. An account that is open can be given a new closure by initiate.")
	case no.Command == "cancel":
		p = pastNoReturn.problem("It can't be called off any more: an instruction was sent that can't be undone.")
		for _, i := range intents {
			if i.Irreversible() {
				text := instruction(i) + " " + outcome(i)
				p.Detail = "It can't be called off any more: " + text + ", and can't be undone."
				break
			}
		}
		p.Hint = "Hold it before anything further is sent: POST /api/account-closure/pause" + at + "."
	case no.Command == "resolve" && no.State == closure.Running:
		p = notStopped.problem(sentence(no.Why)).hinting("POST /api/account-closure/pause" + at + ", do what is to be done by hand, then record it.")
	case no.Command == "resolve":
		p = cannotResolve.problem(sentence(no.Why)).hinting("The case file has the payouts with their intents; progress says what the closure waits for.")
	default:
		p = notRunning.problem(sentence(no.Why)).
			hinting("It sends nothing as it is. POST /api/account-closure/resume" + at + " sets it going again, resolve records first what was done by hand.")
	}
	p.ClosureID = c.ID
	return p
}

// sentence begins with a capital and ends with a stop.
func sentence(text string) string {
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + strings.TrimSuffix(text[1:], ".") + "."
}
