package server

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/shopspring/decimal"

	"closeout/closure"
	"closeout/desk"
	"closeout/ledger"
	"closeout/readiness"
)

// registerList adds the list of closures.
func (s *server) registerList(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "list", Method: http.MethodGet, Path: "/api/account-closure", Tags: []string{"Closures"},
		Summary: "List closures",
		Description: "The newest first. Filters narrow the list together. Read the pages one after the other by `next_cursor`, with the same filters: " +
			"none that was there at the start is missed and none comes twice, whatever is created meanwhile. A filter by what moves (status, phase, reason) is asked anew at each page.",
		Metadata: needs(ScopeRead), RejectUnknownQueryParameters: true, // a filter that is misspelt must not list everything
		Errors: []int{401, 422, 503},
	}, s.list)
}

// Filters are what the list can be narrowed by. A cursor belongs to the filters and the order it came with.
type Filters struct {
	Status        []string  `query:"status" json:"status,omitempty" enum:"PENDING,PROCESSING,RETRYING,COMPLETED,FAILED,DEAD,PAUSED,CANCELED,running,failed,dead,closed,paused,canceled" doc:"Any of these, separated by commas: statuses of the job, or states of the closure"`
	Phase         []string  `query:"phase" json:"phase,omitempty" enum:"liquidation,settlement,withdrawal,closing" doc:"Any of these; a closed closure keeps its last phase"`
	Reason        string    `query:"reason" json:"reason,omitempty" maxLength:"64" doc:"The stable code of why it waits or has stopped"`
	AccountID     string    `query:"account_id" json:"account,omitempty" format:"uuid" minLength:"36" maxLength:"36" doc:"The account's id at the broker: all its closures"`
	BatchID       string    `query:"batch_id" json:"batch,omitempty" format:"uuid" minLength:"36" maxLength:"36" doc:"Only what this batch has started"`
	OlderThan     string    `query:"older_than" json:"older,omitempty" maxLength:"12" doc:"Created at least so long ago: a number and m, h or d, such as 36h or 5d"`
	CreatedAfter  time.Time `query:"created_after" json:"after,omitzero" doc:"Created then or later"`
	CreatedBefore time.Time `query:"created_before" json:"before,omitzero" doc:"Created before then"`
	Text          string    `query:"q" json:"q,omitempty" minLength:"3" maxLength:"100" doc:"Searches the ids of closure, account and batch and the confirmation numbers, whole or in part; a batch's id must be whole"`
	Order         string    `query:"order" json:"order,omitempty" enum:"newest,oldest" default:"newest" doc:"Which comes first"`
}

type listInput struct {
	Filters
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
	Cursor string `query:"cursor" maxLength:"300" doc:"next_cursor of the page before; opaque"`
}

// Listed is a closure as the list shows it.
type Listed struct {
	JobID        string         `json:"job_id"`
	AccountID    string         `json:"account_id"`
	Confirmation string         `json:"confirmation_number"`
	BatchID      string         `json:"batch_id,omitempty" doc:"The batch that started it; absent if none did"`
	Phase        closure.Phase  `json:"phase"`
	State        closure.State  `json:"state"`
	Status       string         `json:"status" enum:"PENDING,PROCESSING,RETRYING,COMPLETED,FAILED,DEAD,PAUSED,CANCELED" doc:"PENDING (no step was taken yet), PROCESSING, RETRYING (after an error), FAILED or DEAD (a person must act), PAUSED, COMPLETED (the account is closed) or CANCELED"`
	Reason       closure.Reason `json:"reason" doc:"The stable code of why it waits or has stopped"`
	Why          string         `json:"why" doc:"Why it waits or has stopped, in words"`
	Until        *time.Time     `json:"until" doc:"When it looks again; null if it has stopped or ended"`
	Who          closure.Who    `json:"who_must_act" doc:"customer, operator or broker; empty if time will do"`
	Paid         *readiness.USD `json:"paid" doc:"Dollars: what has arrived of the payouts at the last look at them; null if there was none"`
	CreatedAt    time.Time      `json:"created_at"`
	UpdatedAt    time.Time      `json:"updated_at"`
	EndedAt      *time.Time     `json:"ended_at" doc:"When it was closed or canceled, failed or died"`
}

// ListPage is one page of the list.
type ListPage struct {
	Closures   []Listed `json:"closures" doc:"One page, in the order that was asked for"`
	NextCursor *string  `json:"next_cursor" doc:"For the next page; null on the last one"`
}

type listOutput struct{ Body ListPage }

func (s *server) list(ctx context.Context, in *listInput) (*listOutput, error) {
	f, err := s.filter(in.Filters)
	if err != nil {
		return nil, err
	}
	p := ledger.Page{Limit: in.Limit + 1, OldestFirst: in.Order == "oldest"} // one more says whether there is a next page
	digest := digestOf(in.Filters)
	if in.Cursor != "" {
		c, ok := parseCursor(in.Cursor, digest)
		if at, id, _ := strings.Cut(c, " "); ok {
			micros, err := strconv.ParseInt(at, 10, 64)
			p.After, ok = ledger.Position{At: time.UnixMicro(micros), ID: id}, err == nil && uuidForm.MatchString(id)
		}
		if !ok {
			return nil, cursorProblem()
		}
	}
	page, err := s.Ledger.List(ctx, f, p)
	if err != nil {
		return nil, ledgerProblem(err)
	}
	out := ListPage{Closures: []Listed{}}
	if len(page) > in.Limit {
		page = page[:in.Limit]
		last := page[len(page)-1]
		next := cursorFor(strconv.FormatInt(last.CreatedAt.UnixMicro(), 10)+" "+last.ID, digest)
		out.NextCursor = &next
	}
	for _, c := range page {
		out.Closures = append(out.Closures, listed(discreet(ctx, c)))
	}
	return &listOutput{out}, nil
}

func listed(c closure.Closure) Listed {
	l := Listed{
		JobID: c.ID, AccountID: c.AccountID, Confirmation: c.Confirmation, BatchID: c.BatchID, Phase: c.Phase, State: c.State, Status: c.JobStatus(),
		Reason: c.Reason, Why: c.Why, Who: c.Who, CreatedAt: c.CreatedAt, UpdatedAt: c.UpdatedAt, EndedAt: orNull(c.EndedAt),
	}
	if w := desk.WaitingOf(c); w != nil {
		l.Why, l.Until = w.Why, w.Until
	}
	if d, err := decimal.NewFromString(c.Memo.Paid); err == nil {
		l.Paid = &readiness.USD{Decimal: d}
	}
	return l
}

var ageForm = regexp.MustCompile(`^([0-9]{1,6})([mhd])$`)

// filter is the ledger's filter, or the problem with what the schema can't say.
func (s *server) filter(in Filters) (ledger.Filter, error) {
	f := ledger.Filter{
		Statuses: in.Status, Reason: closure.Reason(in.Reason), AccountID: strings.ToLower(in.AccountID), BatchID: strings.ToLower(in.BatchID),
		CreatedFrom: in.CreatedAfter, CreatedBefore: in.CreatedBefore, Text: in.Text,
	}
	for _, phase := range in.Phase {
		f.Phases = append(f.Phases, closure.Phase(phase))
	}
	p := invalid()
	if in.OlderThan != "" {
		m := ageForm.FindStringSubmatch(in.OlderThan)
		if m == nil {
			p.Errors = append(p.Errors, Fault{Location: "query.older_than", Message: "must be a number and m, h or d, such as 36h or 5d"})
		} else {
			n, _ := strconv.Atoi(m[1]) // six digits at the most
			born := s.Clock.Now().Add(-time.Duration(n) * map[string]time.Duration{"m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}[m[2]])
			if f.CreatedBefore.IsZero() || born.Before(f.CreatedBefore) {
				f.CreatedBefore = born
			}
		}
	}
	if _, known := closure.Reasons[f.Reason]; !known && in.Reason != "" {
		p.Errors = append(p.Errors, Fault{Location: "query.reason", Message: "must be the code of a reason, such as bank_gone"})
	}
	if len(p.Errors) > 0 {
		return f, p
	}
	return f, nil
}

// digestOf names the filters and the order that a cursor belongs to.
func digestOf(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // our own types
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:6])
}

// cursorFor carries where a page ended, and what it was a page of. It is not secret: whoever forges one gets a page of what
// they may read anyway.
func cursorFor(position, digest string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(digest + " " + position))
}

// parseCursor gives the position, if the cursor is one and of these filters.
func parseCursor(cursor, digest string) (position string, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return "", false
	}
	of, position, ok := strings.Cut(string(b), " ")
	return position, ok && of == digest
}

func cursorProblem() *Problem {
	p := badCursor.problem("The cursor is not one of this list with these filters.").
		hinting("Take next_cursor as it came, and ask with the same filters and order; without a cursor the list begins anew.")
	p.Errors = []Fault{{Location: "query.cursor", Message: "belongs to other filters, or was changed on its way"}}
	return p
}
