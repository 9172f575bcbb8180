package server

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"closeout/readiness"
)

// kind is one sort of problem: a code that clients rely on, a status and a title. retry says that the same request may
// succeed later without anybody doing anything, and after how many seconds.
type kind struct {
	code   string
	status int
	title  string
	retry  int
}

// One row for each kind of problem.
var (
	noKey             = kind{"no_key", http.StatusUnauthorized, "an API key is needed", 0}
	wrongKey          = kind{"wrong_key", http.StatusUnauthorized, "the API key is not known", 0}
	scopeMissing      = kind{"scope_missing", http.StatusForbidden, "the API key may not do this", 0}
	revokedKey        = kind{"key_revoked", http.StatusUnauthorized, "the API key was revoked", 0}
	crossOrigin       = kind{"cross_origin", http.StatusForbidden, "the request comes from another site", 0}
	tooMany           = kind{"too_many_requests", http.StatusTooManyRequests, "the API key asks too often", 1}
	noRoute           = kind{"route_not_found", http.StatusNotFound, "there is nothing at this address", 0}
	noMethod          = kind{"method_not_allowed", http.StatusMethodNotAllowed, "this address does not take this method", 0}
	malformedBody     = kind{"malformed_body", http.StatusBadRequest, "the body cannot be read", 0}
	bodyTooLarge      = kind{"body_too_large", http.StatusRequestEntityTooLarge, "the body is too large", 0}
	bodyTooSlow       = kind{"body_too_slow", http.StatusRequestTimeout, "the body did not come in time", 0}
	unsupportedMedia  = kind{"unsupported_media_type", http.StatusUnsupportedMediaType, "the body must be JSON", 0}
	notAcceptable     = kind{"not_acceptable", http.StatusNotAcceptable, "answers are JSON", 0}
	invalidRequest    = kind{"invalid_request", http.StatusUnprocessableEntity, "the request is not valid", 0}
	badRequest        = kind{"bad_request", http.StatusBadRequest, "the request cannot be understood", 0}
	batchInvalid      = kind{"batch_invalid", http.StatusUnprocessableEntity, "the batch is not valid", 0}
	noBatch           = kind{"batch_not_found", http.StatusNotFound, "there is no such batch", 0}
	batchOver         = kind{"batch_over", http.StatusConflict, "the batch is over", 0}
	badCursor         = kind{"bad_cursor", http.StatusUnprocessableEntity, "the cursor does not belong here", 0}
	badIdempotencyKey = kind{"idempotency_key_invalid", http.StatusUnprocessableEntity, "the Idempotency-Key cannot be used", 0}
	otherRequest      = kind{"idempotency_key_reused", http.StatusUnprocessableEntity, "the Idempotency-Key belongs to another request", 0}
	inFlight          = kind{"idempotency_key_in_flight", http.StatusConflict, "a request with this Idempotency-Key is at work", 2}
	notConfirmed      = kind{"not_confirmed", http.StatusUnprocessableEntity, "the closure is not confirmed", 0}
	noAccount         = kind{"account_not_found", http.StatusNotFound, "there is no such account", 0}
	noClosure         = kind{"closure_not_found", http.StatusNotFound, "the account has no closure", 0}
	noJob             = kind{"job_not_found", http.StatusNotFound, "there is no such job", 0}
	unknownEvent      = kind{"unknown_event", http.StatusUnprocessableEntity, "there is no such event to go on after", 0}
	otherBank         = kind{"other_bank", http.StatusConflict, "the account is being closed to another bank", 0}
	cannotClose       = kind{"cannot_close", http.StatusConflict, "the account cannot be closed", 0}
	brokerUnreadable  = kind{"broker_unreadable", http.StatusServiceUnavailable, "the broker cannot be read", 30}
	ledgerDown        = kind{"ledger_unavailable", http.StatusServiceUnavailable, "the ledger does not answer", 5}
	tooManyStreams    = kind{"too_many_streams", http.StatusServiceUnavailable, "too many streams are open", 10}
	notReady          = kind{"not_ready", http.StatusServiceUnavailable, "the service is not ready", 5}
	internal          = kind{"internal", http.StatusInternalServerError, "something went wrong here", 0}
)

// obstacleKinds are the obstacles for which initiate refuses: 422 where the request asks for what can never be, 409 where
// the account's present condition is in the way.
var obstacleKinds = []kind{
	{readiness.AlreadyClosed, http.StatusConflict, "the account is closed already", 0},
	{readiness.NotActive, http.StatusConflict, "the account is not active", 0},
	{readiness.UnsupportedType, http.StatusUnprocessableEntity, "accounts of this type are not closed here", 0},
	{readiness.Rebalancing, http.StatusConflict, "the account is subscribed to a rebalancing portfolio", 0},
	{readiness.CashInterest, http.StatusConflict, "the account is enrolled in the cash interest program", 0},
	{readiness.UnsupportedAsset, http.StatusConflict, "the account holds something that is not sold here", 0},
	{readiness.NegativeCash, http.StatusConflict, "the account owes money", 0},
	{readiness.BankUnknown, http.StatusUnprocessableEntity, "the bank is not one of the account's", 0},
	{readiness.BankNotApproved, http.StatusConflict, "the bank is not approved", 0},
	{readiness.NoBank, http.StatusConflict, "the account has no approved bank", 0},
}

// Problem is what each error looks like on the wire: RFC 9457 with a stable code. Its cause is for the log alone, and a
// problem of the 5xx says nothing of it.
type Problem struct {
	Type      string               `json:"type" doc:"urn:closeout:problem: and the code"`
	Title     string               `json:"title" doc:"The code in words; the same for each problem of the code"`
	Status    int                  `json:"status" doc:"The HTTP status"`
	Code      string               `json:"code" doc:"Stable: scripts may rely on it"`
	Detail    string               `json:"detail,omitempty" doc:"What is wrong, in words"`
	Hint      string               `json:"hint,omitempty" doc:"What can be done about it"`
	Retryable bool                 `json:"retryable" doc:"Whether the same request may succeed later by itself"`
	RequestID string               `json:"request_id" doc:"Quote it when you ask: the log has it"`
	ClosureID string               `json:"closure_id,omitempty" doc:"The closure that it is about"`
	Obstacles []readiness.Obstacle `json:"obstacles,omitempty" doc:"Everything that stands in the way of a closure"`
	Errors    []Fault              `json:"errors,omitempty" doc:"What is wrong where"`
	Rows      []RowProblem         `json:"rows,omitempty" doc:"Of a batch: the rows that are wrong, a hundred at the most"`
	RowsTotal int                  `json:"rows_total,omitempty" doc:"Of a batch: how many rows are wrong"`

	retry int
	allow string
	cause error
}

// Fault is one thing that is wrong with a request, and where.
type Fault struct {
	Location string `json:"location,omitempty" doc:"As body.priority or path.account_id"`
	Message  string `json:"message" doc:"What is wrong there"`
}

func (k kind) problem(detail string) *Problem {
	return &Problem{
		Type: "urn:closeout:problem:" + k.code, Title: k.title, Status: k.status, Code: k.code, Detail: detail,
		Retryable: k.retry > 0, retry: k.retry,
	}
}

// because adds what only the log is told.
func (p *Problem) because(err error) *Problem {
	p.cause = err
	return p
}

func (p *Problem) hinting(hint string) *Problem {
	p.Hint = hint
	return p
}

// Error is the problem in one line, with its cause.
func (p *Problem) Error() string {
	s := p.Code + ": " + cmp.Or(p.Detail, p.Title)
	if p.cause != nil {
		s += ": " + p.cause.Error()
	}
	return s
}

// Unwrap gives the cause.
func (p *Problem) Unwrap() error { return p.cause }

// GetStatus is the HTTP status, for huma.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType makes JSON application/problem+json, for huma.
func (p *Problem) ContentType(ct string) string {
	if ct == "application/json" || ct == "json" {
		return "application/problem+json"
	}
	return ct
}

// GetHeaders are the headers that belong to the problem, for huma.
func (p *Problem) GetHeaders() http.Header {
	h := http.Header{}
	if p.retry > 0 {
		h.Set("Retry-After", strconv.Itoa(p.retry))
	}
	if p.allow != "" {
		h.Set("Allow", p.allow)
	}
	return h
}

// write answers with the problem outside of huma.
func (p *Problem) write(w http.ResponseWriter, r *http.Request) {
	p = p.seenBy(entryOf(r.Context()))
	for name, values := range p.GetHeaders() {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	if r.Method == http.MethodHead {
		_, _ = w.Write(nil) // sends the header: gin would add a text of its own otherwise
		return
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(p) // the client is gone
}

// seenBy is the problem with the request's id, noted for the request's line in the log.
func (p *Problem) seenBy(e *entry) *Problem {
	out := *p
	out.RequestID = e.requestID
	e.code, e.cause = p.Code, p.cause
	return &out
}

func obstacleProblem(blocking []readiness.Obstacle) *Problem {
	first := blocking[0]
	k := cannotClose
	for _, row := range obstacleKinds {
		if row.code == first.Code {
			k = row
		}
	}
	p := k.problem(first.Text).hinting(first.Hint)
	p.Obstacles = blocking
	return p
}

// init makes huma's own errors problems of this service. It is a global of huma's, so that it is set once for the process.
func init() {
	huma.NewError = fromHuma
	huma.ValidateStrictCasing = true // {"Confirm_Irreversible": true} confirms nothing
	huma.DefaultArrayNullable = false
}

// endedEarly are huma's words for a client that went away half-way.
const endedEarly = "cannot read request body"

// fromHuma turns what huma found wrong into a problem. The offending values are left out: they can be a customer's.
func fromHuma(status int, message string, errs ...error) huma.StatusError {
	err := errors.Join(errs...)
	if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLarge(large.Limit)
	}
	switch status {
	case http.StatusRequestTimeout:
		return bodyTooSlow.problem("The body did not come in time.").
			hinting("It must be here within five seconds, a batch's within 15. Ask again, with the same Idempotency-Key.")
	case http.StatusUnsupportedMediaType:
		return notJSON()
	case http.StatusNotAcceptable:
		return notAcceptable.problem("The request accepts no JSON.").hinting("Ask with the header Accept: application/json, or with none.")
	case http.StatusUnprocessableEntity:
		p := invalid()
		p.Errors = faults(errs)
		return p
	case http.StatusBadRequest:
		p := malformed()
		p.Errors = faults(errs)
		return p
	case http.StatusInternalServerError:
		if message == endedEarly {
			return malformedBody.problem("The body ended early.").hinting("Ask again, with the same Idempotency-Key.").because(err)
		}
	}
	if status > 0 && status < http.StatusInternalServerError {
		k := badRequest
		k.status = status
		p := k.problem(message).hinting("GET /openapi.json describes what may be asked at this address.")
		p.Errors = faults(errs)
		return p
	}
	return broken(err)
}

// invalid is a request that was understood and is refused; its Errors are the caller's to name.
func invalid() *Problem {
	return invalidRequest.problem("The request was understood, but not everything in it is allowed; errors says what.").
		hinting("Mend what errors names and ask again. Nothing was changed.")
}

func notJSON() *Problem {
	return unsupportedMedia.problem("The body is not said to be JSON.").hinting("Send JSON with the header Content-Type: application/json.")
}

func malformed() *Problem {
	return malformedBody.problem("The body must be one JSON object.").
		hinting("Send one as /openapi.json describes it for this address. Nothing was changed.")
}

// broken is a fault of this service, of which only the log is told the cause.
func broken(cause error) *Problem {
	return internal.problem("The log has the cause under the request_id.").
		hinting("Ask again, a POST with the same Idempotency-Key. If it stays so, tell who runs this service the request_id.").because(cause)
}

func tooLarge(largest int64) *Problem {
	return bodyTooLarge.problem("A body may have at most " + strconv.FormatInt(largest>>10, 10) + " KiB here.").
		hinting("Send a smaller one. Many accounts go by the batch, which may have more, or by several batches.")
}

var places = regexp.MustCompile(`^[A-Za-z0-9_.\[\]-]{1,80}$`)

// place is where a fault is. The name of a property that there is not is the client's, and may be a customer's datum.
func place(location string) string {
	if places.MatchString(location) && !numbers.MatchString(location) {
		return location
	}
	where, _, _ := strings.Cut(location, ".")
	return where + ".…"
}

func faults(errs []error) []Fault {
	var out []Fault
	for _, err := range errs {
		if err == nil {
			continue
		}
		if d, ok := err.(huma.ErrorDetailer); ok { //nolint:errorlint // huma's errors come bare
			out = append(out, Fault{place(d.ErrorDetail().Location), d.ErrorDetail().Message})
			continue
		}
		out = append(out, Fault{Message: err.Error()})
	}
	return out
}
