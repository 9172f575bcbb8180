package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/shopspring/decimal"

	"closeout/closure"
	"closeout/ledger"
	"closeout/readiness"
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
	r, err := resolution(in.Body)
	if err != nil {
		return nil, err
	}
	account := strings.ToLower(in.AccountID)
	latest, err := s.Ledger.OfAccount(ctx, account)
	if errors.Is(err, ledger.ErrNotFound) {
		return nil, noClosureOf()
	}
	if err != nil {
		return nil, ledgerProblem(err)
	}
	var listed []readiness.Transfer
	readable := false
	switch r.Kind {
	case closure.RelinkBank:
		if latest.State == closure.Running || latest.State.Ended() {
			break // it is refused without asking the broker
		}
		if r.Fingerprint, err = s.approved(ctx, account, r.Bank); err != nil {
			return nil, err
		}
	case closure.AdoptTransfer, closure.VoidTransfer:
		listed, err = s.Readiness.Transfers(ctx, account)
		readable = err == nil
		r.Checked = "compared with the broker's list"
		if !readable {
			r.Checked = "the broker's list could not be read"
		}
	case closure.PaidByHand:
	}
	out, err := commanded(ctx, s, account, func(c closure.Closure, is []closure.Intent) (closure.Change, []closure.Intent, error) {
		settled, err := r.Check(c, is, time.Now())
		if err == nil && readable {
			err = compare(r, c, *settled, is, listed)
		}
		if err != nil {
			return closure.Change{}, is, err
		}
		after := slices.Clone(is)
		for n := range after {
			if settled != nil && after[n].ID == settled.ID {
				after[n] = *settled
			}
		}
		return closure.Resolved(s.Clock.Now(), actor(ctx), in.Body.Reason, r, settled), after, nil
	}, s.afterwards)
	return &commandOutput{out}, err
}

// resolution reads the body: each kind has its fields, and no other.
func resolution(b ResolveBody) (r closure.Resolution, err error) {
	if err := line("body.reason", b.Reason); err != nil {
		return r, err
	}
	r = closure.Resolution{
		Kind: closure.ResolutionKind(b.Resolution), Reference: b.Reference, TransferID: strings.ToLower(b.TransferID),
		IntentID: b.IntentID, Bank: strings.ToLower(b.RelationshipID),
	}
	p := invalid()
	field := func(name, value string, needed, allowed bool) {
		switch {
		case needed && value == "":
			p.Errors = append(p.Errors, Fault{"body." + name, "is needed for " + b.Resolution})
		case value != "" && !needed && !allowed:
			p.Errors = append(p.Errors, Fault{"body." + name, "does not belong to " + b.Resolution})
		}
	}
	hand, adopt, void := r.Kind == closure.PaidByHand, r.Kind == closure.AdoptTransfer, r.Kind == closure.VoidTransfer
	field("amount", b.Amount, hand, false)
	field("reference", b.Reference, hand, false)
	field("transfer_id", b.TransferID, adopt, false)
	field("intent_id", b.IntentID, false, adopt || void)
	field("ach_relationship_id", b.RelationshipID, r.Kind == closure.RelinkBank, false)
	if b.Amount != "" {
		if r.Amount, err = decimal.NewFromString(b.Amount); err != nil || r.Amount.LessThan(closure.Cent) {
			p.Errors = append(p.Errors, Fault{"body.amount", "must be a sum of dollars, at least 0.01"})
		}
	}
	if b.Reference != "" {
		if err := line("body.reference", b.Reference); err != nil {
			return r, err
		}
	}
	if len(p.Errors) > 0 {
		return r, p
	}
	return r, nil
}

// approved is the fingerprint of a bank that the account has and the broker has approved, read now.
func (s *server) approved(ctx context.Context, account, bank string) (fingerprint string, err error) {
	report, err := s.Readiness.Check(ctx, account, bank)
	if err != nil {
		return "", readinessProblem(err)
	}
	var ofBank []readiness.Obstacle
	for _, o := range report.Blocking() {
		if report.Holdings == nil || o.Code == readiness.BankUnknown || o.Code == readiness.BankNotApproved {
			ofBank = append(ofBank, o)
		}
	}
	if len(ofBank) > 0 {
		return "", obstacleProblem(ofBank)
	}
	if report.Bank == nil {
		return "", broken(errors.New("readiness: no obstacle, and no bank"))
	}
	return report.Bank.Fingerprint, nil
}

// compare holds a person's word on a payout against the broker's list.
func compare(r closure.Resolution, c closure.Closure, i closure.Intent, intents []closure.Intent, listed []readiness.Transfer) error {
	fits := func(t readiness.Transfer) bool {
		return t.Outgoing && t.RelationshipID == i.RelationshipID && t.Amount.Valid && t.Amount.Decimal.Equal(i.Amount.Decimal)
	}
	if r.Kind == closure.AdoptTransfer {
		n := slices.IndexFunc(listed, func(t readiness.Transfer) bool { return strings.EqualFold(t.ID, r.TransferID) })
		switch {
		case n < 0:
			return transferUnlisted.problem("The broker's list of the account's transfers lacks this one.").
				hinting("Check the id. A broker that is slow to list may show it later; then ask again.")
		case !fits(listed[n]):
			return cannotResolve.problem(fmt.Sprintf("The transfer is not a payout of $%s to the bank of %s.", closure.USD(i.Amount.Decimal), instruction(i))).
				hinting("Adopt the transfer that the payout has made; money that left another way is recorded as paid_by_hand.")
		}
		return nil
	}
	for _, t := range listed {
		_, before := i.Listed[t.ID]
		if !before && fits(t) && !slices.ContainsFunc(intents, func(o closure.Intent) bool { return o.BrokerID == t.ID }) {
			return transferListed.problem("The broker lists a transfer that " + instruction(i) + " may have made: " + t.ID + ", " + strings.ToLower(t.Status) + ".").
				hinting("If it is the one, adopt it: a void would pay the sum once more. POST /api/account-closure/resolve/" + c.AccountID + ` with "resolution": "adopt_transfer".`)
		}
	}
	return nil
}
