package server

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/negotiation"

	"closeout/closure"
	"closeout/desk"
	"closeout/ledger"
	"closeout/web"
)

const htmlType = "text/html"

// registerCaseFile has all that is known of one closure.
func (s *server) registerCaseFile(api huma.API) {
	schema := api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[desk.CaseFile](), true, "")
	huma.Register(api, huma.Operation{
		OperationID: "case-file", Method: http.MethodGet, Path: "/api/account-closure/case-file/{account_id}", Tags: []string{"Closures"},
		Summary: "All that is known of one closure, as JSON or as a page to print",
		Description: "What was asked and by whom, the policy, each step, each instruction to the broker and its answer, each cent, the letters, what people did, and whether the history's chain of hashes holds. " +
			"A sum that is null is unknown, which is not zero. With `Accept: text/html` or `format=html` it is a page that needs no script and can be printed.",
		Metadata: needs(ScopeRead), Errors: []int{401, 404, 406, 422, 503},
		Responses: map[string]*huma.Response{"200": {
			Description: "OK",
			Content: map[string]*huma.MediaType{
				"application/json": {Schema: schema}, htmlType: {Schema: &huma.Schema{Type: huma.TypeString}},
			},
		}},
	}, s.caseFile)
}

type caseFileInput struct {
	AccountID string `path:"account_id" format:"uuid" minLength:"36" maxLength:"36"`
	Closure   string `query:"closure" format:"uuid" minLength:"36" maxLength:"36" doc:"An earlier closure of the account, by its job_id; without it, the latest"`
	Format    string `query:"format" enum:"json,html" doc:"Wins over the header Accept"`
	Accept    string `header:"Accept" doc:"application/json or text/html; JSON without it"`
}

// page says whether the case file is wanted as a page.
func (in *caseFileInput) page() (bool, error) {
	if in.Format != "" || in.Accept == "" {
		return in.Format == "html", nil
	}
	switch best := negotiation.SelectQValue(in.Accept, []string{"application/json", htmlType}); {
	case best == htmlType:
		return true, nil
	case best != "", strings.Contains(in.Accept, "*/*"), strings.Contains(in.Accept, "application/*"): // which curl and most clients send
		return false, nil
	}
	return false, notAcceptable.problem("A case file is JSON or a page.").hinting("Ask with Accept: application/json or text/html, or with format=json or format=html.")
}

func (s *server) caseFile(ctx context.Context, in *caseFileInput) (*huma.StreamResponse, error) {
	page, err := in.page()
	if err != nil {
		return nil, err
	}
	c, err := s.caseOf(ctx, strings.ToLower(in.AccountID), strings.ToLower(in.Closure))
	if err != nil {
		return nil, err
	}
	file, err := s.desk.CaseFile(ctx, c, allow(entryOf(ctx).scopes, ScopeOperate))
	if err != nil {
		return nil, ledgerProblem(err)
	}
	mime, csp := "application/json", ""
	body, err := json.Marshal(file)
	if page {
		mime, csp = htmlType+"; charset=utf-8", web.PagePolicy
		body, err = web.CaseFile(file)
	}
	if err != nil {
		return nil, broken(err)
	}
	return &huma.StreamResponse{Body: func(ctx huma.Context) {
		ctx.SetHeader("Content-Type", mime)
		if csp != "" {
			ctx.SetHeader("Content-Security-Policy", csp)
		}
		_, _ = ctx.BodyWriter().Write(body) // the client is gone
	}}, nil
}

// caseOf is the account's latest closure, or the one of its closures that is asked for.
func (s *server) caseOf(ctx context.Context, account, id string) (c closure.Closure, err error) {
	if id == "" {
		c, err = s.Ledger.OfAccount(ctx, account)
	} else if c, err = s.Ledger.Get(ctx, id); err == nil && c.AccountID != account {
		err = ledger.ErrNotFound
	}
	switch {
	case errors.Is(err, ledger.ErrNotFound) && id != "":
		return c, noClosure.problem("The account has no closure of this id.").hinting("Leave closure out for the latest one; the id of a closure is the job_id that initiate gave.")
	case errors.Is(err, ledger.ErrNotFound):
		return c, noClosureOf()
	case err != nil:
		return c, ledgerProblem(err)
	}
	return c, nil
}
