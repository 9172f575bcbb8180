package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"closeout/closure"
	"closeout/ledger"
	"closeout/readiness"
)

const (
	// maxBatchBody is the largest body, in bytes, of a batch: ten thousand accounts with every field take about 3 MB.
	maxBatchBody = 4 << 20

	// mostNamed is how many wrong rows an answer names; it says how many there are.
	mostNamed = 100
)

// BatchBody is what a client asks for many accounts at once.
type BatchBody struct {
	Accounts     []BatchAccountBody `json:"accounts" minItems:"1" maxItems:"10000" doc:"Each account once, with the bank to pay to"`
	Liquidation  bool               `json:"confirm_liquidation,omitempty" doc:"Must be true unless it is a dry run: every position is sold"`
	Irreversible bool               `json:"confirm_irreversible,omitempty" doc:"Must be true unless it is a dry run: a closed account can't be opened again"`
	Priority     string             `json:"priority,omitempty" enum:"urgent,normal,bulk" default:"bulk" doc:"How far ahead of others; all of a batch are bulk, behind the rest, unless it says otherwise"`
	NotBefore    *time.Time         `json:"not_before,omitempty" doc:"For the accounts that have none of their own: starts then, at most 90 days ahead"`
	Reason       string             `json:"reason,omitempty" maxLength:"500" doc:"Why, for the record"`
	Partial      bool               `json:"partial,omitempty" doc:"Start what can be started and list the rest; otherwise one bad row keeps all from being started"`
	DryRun       bool               `json:"dry_run,omitempty" doc:"Check each account at the broker and start nothing"`
}

// BatchAccountBody is one account of a batch.
type BatchAccountBody struct {
	AccountID      string     `json:"account_id" format:"uuid" minLength:"36" maxLength:"36"`
	RelationshipID string     `json:"ach_relationship_id" format:"uuid" minLength:"36" maxLength:"36" doc:"The account's APPROVED ACH relationship to pay to"`
	NotBefore      *time.Time `json:"not_before,omitempty" doc:"Starts then; at most 90 days ahead"`
	UserID         string     `json:"user_id,omitempty" maxLength:"200" doc:"Whose account it is, in the client's own books"`
	Email          string     `json:"email,omitempty" format:"email" maxLength:"254" doc:"Where the customer is written to"`
}

type batchInput struct {
	ContentType string `header:"Content-Type" hidden:"true"`
	RawBody     []byte `contentType:"application/json"`
}

// RowProblem is what is wrong with one account of a batch.
type RowProblem struct {
	Index     int         `json:"index" doc:"Its place in accounts, from 0"`
	AccountID string      `json:"account_id,omitempty" doc:"Absent where what was sent is no id"`
	Code      string      `json:"code" doc:"Stable: invalid_row, duplicate, closure_open, or the code of an obstacle as check-readiness has it"`
	Text      string      `json:"text" doc:"What is wrong with it, in words"`
	Hint      string      `json:"hint,omitempty"`
	Who       closure.Who `json:"who_must_act,omitempty"`
}

// Accepted is the answer to a batch that was accepted.
type Accepted struct {
	BatchID   string            `json:"batch_id" doc:"By which its progress is found and it is canceled"`
	State     ledger.BatchState `json:"state" enum:"checking,starting,done,refused,canceled" doc:"checking each account, starting closures, done, refused (none was started, as one can't be) or canceled"`
	DryRun    bool              `json:"dry_run"`
	Partial   bool              `json:"partial"`
	Total     int               `json:"total" doc:"How many accounts were sent, those refused included"`
	Message   string            `json:"message"`
	Rows      []RowProblem      `json:"rows,omitempty" doc:"Of a partial batch: the rows that are refused already, a hundred at the most"`
	RowsTotal int               `json:"rows_total,omitempty" doc:"How many rows are refused already"`
}

type batchOutput struct {
	Location string `header:"Location"`
	Body     Accepted
}

// registerBatch adds the batches.
func (s *server) registerBatch(api huma.API) {
	tags, schemas := []string{"Batches"}, api.OpenAPI().Components.Schemas
	post := huma.Operation{
		OperationID: "batch", Method: http.MethodPost, Path: "/api/account-closure/batch", Tags: tags,
		Summary: "Close many accounts, or see whether that could be done",
		Description: "A 202 means that the batch is written down. It is a job: first each account is checked at the broker, behind everything more urgent; " +
			"then all are started, and unless it is partial none if one of them can't be. A batch that is not valid is refused as a whole with 422, which names its bad rows. " +
			"It takes up to 10,000 accounts and 4 MiB.",
		DefaultStatus: http.StatusAccepted, Metadata: withBody(needs(ScopeOperate), maxBatchBody), BodyReadTimeout: 15 * time.Second, SkipValidateBody: true,
		Errors: []int{400, 401, 413, 415, 422, 503},
	}
	body := schemas.Schema(reflect.TypeFor[BatchBody](), true, "BatchBody")
	post.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{}}
	huma.Register(api, post, func(ctx context.Context, in *batchInput) (*batchOutput, error) {
		return s.batch(ctx, in, func(v any) []error {
			found := &huma.ValidateResult{}
			huma.Validate(schemas, body, huma.NewPathBuffer([]byte("body"), 4), huma.ModeWriteToServer, v, found)
			return found.Errors
		})
	})
	post.RequestBody.Content["application/json"] = &huma.MediaType{Schema: body} // huma describes what is read raw as binary
	s.registerBatches(api, tags)
}

// batchRow is a row of a batch on its way through the checks.
type batchRow struct {
	ledger.BatchRow
	wrong *readiness.Obstacle
}

// spoil notes what is wrong with the row; the first thing found counts, and more of the same kind is added to it.
func (r *batchRow) spoil(o readiness.Obstacle) {
	o.Blocking = true
	switch {
	case r.wrong == nil:
		r.wrong = &o
	case r.wrong.Code == o.Code:
		r.wrong.Text += "; " + o.Text
	}
}

// batch accepts a batch. Nothing is asked of the broker here: that is the job's.
func (s *server) batch(ctx context.Context, in *batchInput, validate func(any) []error) (*batchOutput, error) {
	if media, _, err := mime.ParseMediaType(in.ContentType); err != nil || media != "application/json" {
		return nil, notJSON()
	}
	var whole any
	if err := readJSON(in.RawBody, &whole); err != nil {
		return nil, fromHuma(http.StatusBadRequest, "", &huma.ErrorDetail{Location: "body", Message: err.Error()})
	}
	spoiled, err := sortFaults(validate(whole))
	if err != nil {
		return nil, err
	}
	var body struct {
		BatchBody
		Accounts []json.RawMessage `json:"accounts"`
	}
	if err := json.Unmarshal(in.RawBody, &body); err != nil {
		return nil, malformed().because(err)
	}
	shared, err := s.validate(InitiateBody{
		Liquidation: body.Liquidation || body.DryRun, Irreversible: body.Irreversible || body.DryRun, NotBefore: body.NotBefore, Reason: body.Reason,
	})
	if err != nil {
		return nil, err
	}
	rows := make([]batchRow, len(body.Accounts))
	for n, text := range body.Accounts {
		rows[n] = s.batchRow(n, text, shared, spoiled[n])
	}
	if err := s.againstOthers(ctx, rows); err != nil {
		return nil, err
	}
	bad, total := problemsOf(rows)
	if total == len(rows) || total > 0 && !body.Partial {
		p := batchInvalid.problem(fmt.Sprintf("%d of %d rows are wrong. Nothing was started.", total, len(rows))).
			hinting("Mend or leave out the rows that are named, or send partial: true to start the others.")
		p.Rows, p.RowsTotal = bad, total
		return nil, p
	}
	b := ledger.Batch{Actor: "api:" + entryOf(ctx).key, Cause: body.Reason, Priority: closure.Bulk, DryRun: body.DryRun, Partial: body.Partial}
	if body.Priority != "" {
		b.Priority = closure.Priority(body.Priority)
	}
	write := make([]ledger.BatchRow, len(rows))
	for n, r := range rows {
		write[n] = r.BatchRow
		write[n].Obstacles = "[]"
		if r.wrong != nil { // what is wrong in it may be anything: only its number is kept
			o, _ := json.Marshal([]readiness.Obstacle{*r.wrong})
			write[n] = ledger.BatchRow{N: n, AccountID: r.AccountID, State: ledger.RowRefused, Obstacles: string(o)}
		}
	}
	b, err = s.Ledger.CreateBatch(ctx, b, write, answering(ctx, func(b ledger.Batch) (int, string, any) {
		return http.StatusAccepted, batchPath(b), acceptedBatch(b, bad, total)
	}))
	if err != nil {
		p := ledgerProblem(err)
		if p.Code == ledgerDown.code {
			_ = p.hinting("Ask again with the same Idempotency-Key: then it is one batch, whatever became of the first try.")
		}
		return nil, p
	}
	s.scheduleBatch(ctx, b)
	return &batchOutput{Location: batchPath(b), Body: acceptedBatch(b, bad, total)}, nil
}

func batchPath(b ledger.Batch) string { return "/api/account-closure/batch/" + b.ID }

func acceptedBatch(b ledger.Batch, bad []RowProblem, total int) Accepted {
	out := Accepted{BatchID: b.ID, State: b.State, DryRun: b.DryRun, Partial: b.Partial, Total: b.Total, Rows: bad, RowsTotal: total}
	switch {
	case b.DryRun:
		out.Message = "The dry run is accepted: each account is checked, and nothing is started."
	case b.Partial:
		out.Message = "The batch is accepted: each account is checked, and started if it can be closed."
	default:
		out.Message = "The batch is accepted: all accounts are checked, and then all are started if each can be closed."
	}
	return out
}

// scheduleBatch asks for the first bite. The batch is written down, so that the sweep makes up for it.
func (s *server) scheduleBatch(ctx context.Context, b ledger.Batch) {
	if s.ScheduleBatch == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), scheduling)
	defer cancel()
	if err := s.ScheduleBatch(ctx, b); err != nil {
		entryOf(ctx).scheduled = err
	}
}

var rowLocation = regexp.MustCompile(`^body\.accounts\[(\d+)\](?:\.(.*))?$`)

// sortFaults gives what the schema says of each row; what it says of the rest is an error.
func sortFaults(errs []error) (map[int][]string, error) {
	rows := map[int][]string{}
	p := invalid()
	for _, f := range faults(errs) {
		m := rowLocation.FindStringSubmatch(f.Location)
		if m == nil {
			if len(p.Errors) < mostNamed {
				p.Errors = append(p.Errors, f)
			}
			continue
		}
		n, _ := strconv.Atoi(m[1])
		text := f.Message
		if m[2] != "" {
			text = m[2] + ": " + text
		}
		rows[n] = append(rows[n], text)
	}
	if len(p.Errors) > 0 {
		return nil, p
	}
	return rows, nil
}

func invalidRow(text string) readiness.Obstacle {
	return readiness.Obstacle{Code: "invalid_row", Text: text}
}

// batchRow reads one row, in which the schema has found these faults.
func (s *server) batchRow(n int, text json.RawMessage, shared time.Time, spoiled []string) batchRow {
	var a BatchAccountBody
	err := json.Unmarshal(text, &a)
	r := batchRow{BatchRow: ledger.BatchRow{
		N: n, AccountID: strings.ToLower(a.AccountID), RelationshipID: strings.ToLower(a.RelationshipID), UserID: a.UserID, Email: a.Email, NotBefore: shared,
	}}
	if !uuidForm.MatchString(a.AccountID) { // it may be anything, and is not repeated
		r.AccountID = ""
	}
	for _, what := range spoiled {
		r.spoil(invalidRow(what))
	}
	if err != nil && r.wrong == nil {
		r.spoil(invalidRow("cannot be read"))
	}
	if r.wrong != nil {
		return r
	}
	start, err := s.validate(InitiateBody{Liquidation: true, Irreversible: true, NotBefore: a.NotBefore, UserID: a.UserID, Email: a.Email})
	if p, ok := errors.AsType[*Problem](err); ok {
		for _, f := range p.Errors {
			r.spoil(invalidRow(strings.TrimPrefix(f.Location, "body.") + ": " + f.Message))
		}
	}
	if a.NotBefore != nil {
		r.NotBefore = start
	}
	return r
}

// againstOthers finds accounts that stand in the batch twice, and those that have a closure under way.
func (s *server) againstOthers(ctx context.Context, rows []batchRow) error {
	first := map[string]int{}
	var accounts []string
	for n := range rows {
		r := &rows[n]
		if r.AccountID == "" {
			continue
		}
		if at, twice := first[r.AccountID]; twice {
			r.spoil(readiness.Obstacle{Code: "duplicate", Text: fmt.Sprintf("the account stands in the batch twice, first at index %d", at)})
			continue
		}
		first[r.AccountID] = n
		accounts = append(accounts, r.AccountID)
	}
	open, err := s.Ledger.OpenOf(ctx, accounts)
	if err != nil {
		return ledgerProblem(err)
	}
	for account, id := range open {
		rows[first[account]].spoil(readiness.UnderWay(id))
	}
	return nil
}

// problemsOf names the wrong rows, and says how many there are.
func problemsOf(rows []batchRow) (named []RowProblem, total int) {
	for _, r := range rows {
		if r.wrong == nil {
			continue
		}
		if total++; total <= mostNamed {
			named = append(named, rowProblem(r.N, r.AccountID, *r.wrong))
		}
	}
	return slices.Clip(named), total
}

func rowProblem(n int, account string, o readiness.Obstacle) RowProblem {
	return RowProblem{Index: n, AccountID: account, Code: o.Code, Text: o.Text, Hint: o.Hint, Who: o.Who}
}
