package server

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"closeout/closure"
	"closeout/desk"
	"closeout/ledger"
)

// ResolveBody is what an operator did by hand, or found out.
type ResolveBody struct {
	Reason         string `json:"reason" minLength:"1" maxLength:"500" doc:"Why, for the history: one line, no bank numbers" example:"the bank is closed; wired to the customer's new one"`
	Resolution     string `json:"resolution" enum:"paid_by_hand,adopt_transfer,void_transfer,relink_bank" doc:"What was done"`
	Amount         string `json:"amount,omitempty" pattern:"^[0-9]{1,12}(\\.[0-9]{1,2})?$" doc:"Of paid_by_hand: dollars" example:"825.00"`
	Reference      string `json:"reference,omitempty" maxLength:"100" doc:"Of paid_by_hand: what the payment is found by, never an account's number" example:"WIRE 20261125-7"`
	TransferID     string `json:"transfer_id,omitempty" format:"uuid" doc:"Of adopt_transfer: the broker's"`
	IntentID       string `json:"intent_id,omitempty" maxLength:"100" doc:"Of adopt_transfer and void_transfer, where several payouts are in question"`
	RelationshipID string `json:"ach_relationship_id,omitempty" format:"uuid" doc:"Of relink_bank: an APPROVED ACH relationship of the account"`
}

type resolveInput struct {
	AccountID string `path:"account_id" format:"uuid" minLength:"36" maxLength:"36"`
	Body      ResolveBody
}

func (s *server) registerResolve(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "resolve", Method: http.MethodPost, Path: "/api/account-closure/resolve/{account_id}", Tags: []string{"Commands"},
		Summary: "Record what was done by hand, and go on", Metadata: needs(ScopeOperate), Errors: []int{400, 401, 404, 409, 413, 415, 422, 503},
		Description: "For a closure that has stopped, or was paused for it. `resolution` is one of:\n\n" +
			"- `paid_by_hand`: money left the account another way, by wire for one. The books take in `amount`, found by `reference`, to the cent: what is left or missing beside it stops the closure as `unexplained_money`.\n" +
			"- `adopt_transfer`: a payout whose outcome nobody knows is the broker's `transfer_id`. Its sum and bank must be the payout's.\n" +
			"- `void_transfer`: such a payout was not made, by the broker's word. It is paid anew.\n" +
			"- `relink_bank`: pay to another approved bank, `ach_relationship_id`. Not while a payout's outcome is unknown.\n\n" +
			"To go on with nothing to record, or with money that nobody can explain, is what resume is for.",
	}, s.resolve)
}

func (s *server) resolve(ctx context.Context, in *resolveInput) (*commandOutput, error) {
	why, err := reason(in.Body.Reason)
	if err != nil {
		return nil, err
	}
	r, err := resolution(in.Body)
	if err != nil {
		return nil, err
	}
	out, err := commanded(ctx, s, in.AccountID, func(ctx context.Context, c closure.Closure, answer *ledger.Reply[desk.After]) (desk.After, error) {
		return s.desk.Resolve(ctx, c, r, desk.Ask{Actor: actor(ctx), Why: why}, answer)
	}, s.afterwards)
	return &commandOutput{out}, err
}

// resolution reads the body.
func resolution(b ResolveBody) (closure.Resolution, error) {
	r, faults := desk.Word{
		Kind: closure.ResolutionKind(b.Resolution), Amount: b.Amount, Reference: b.Reference, TransferID: b.TransferID,
		IntentID: b.IntentID, RelationshipID: b.RelationshipID,
	}.Resolution()
	if len(faults) == 0 {
		return r, nil
	}
	p := invalid()
	for _, f := range faults {
		p.Errors = append(p.Errors, Fault{"body." + f.Field, f.Message})
	}
	return r, p
}
