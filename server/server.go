package server

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/gin-gonic/gin"
	"github.com/sirupsen/logrus"
	"go.opentelemetry.io/otel/trace"

	"closeout/closure"
	"closeout/desk"
	"closeout/ledger"
	"closeout/live"
	"closeout/readiness"
	"closeout/tasks"
)

// Readiness is what the server knows of the broker; a readiness.Checker has it.
type Readiness interface {
	desk.Readiness
	Finish(r readiness.Report, start time.Time) time.Time
	Expect(c closure.Closure, intents []closure.Intent) time.Time
}

// Options are what a server is made of. Ledger, Schedule and Readiness are needed.
type Options struct {
	Ledger *ledger.Ledger

	// Schedule asks for a closure's next visit. Its error is only logged: the sweep finds the row.
	Schedule func(context.Context, closure.Closure) error
	// ScheduleBatch asks for a batch's first bite, as Schedule does. Nil: the sweep will.
	ScheduleBatch func(context.Context, ledger.Batch) error

	Readiness Readiness

	// Keys are known beside those of the ledger. This field is optional.
	Keys Keys

	// Limiter says how often a key may ask. Nil: as often as it likes.
	Limiter *Limiter

	// Queues says how much is in the queues. Nil: nobody can tell.
	Queues func(context.Context) ([]tasks.Size, error)

	// Console answers whatever is no address of the API's: the operators' pages. Nil: there are none.
	Console http.Handler

	// Live tells what happens. Nil means one of the server's own; the handler's Hangup closes it.
	Live *live.Hub

	Clock  closure.Clock
	Policy closure.Policy

	// Beside says how what a restart would not mend does, by name: a nil error means that it works. /ready shows what does
	// not, and is ready all the same. This field is optional.
	Beside func(context.Context) map[string]error

	// Metrics answers GET /metrics, for anybody who reaches this address. Nil: there is none.
	Metrics http.Handler
	// Answered is told of each request that was answered. Nil: nobody is.
	Answered func(Answered)

	// Tracer makes the spans of requests, below which their queries and broker calls are. Nil: there are none.
	Tracer trace.Tracer

	// Log gets one line for each request. Nil means that nothing is logged.
	Log     *logrus.Logger
	Version string
}

type server struct {
	Options
	desk    *desk.Desk
	rules   rules
	earlier map[string]EarlierPath // by method and route, as rules
	ring    *ring
}

func init() { gin.SetMode(gin.ReleaseMode) } // otherwise gin prints its routes to the standard output

// New makes the handler of everything this service answers over HTTP. Timeouts are the caller's http.Server's. The error
// names each option that is missing. The handler has a method Hangup(), for http.Server.RegisterOnShutdown.
func New(o Options) (http.Handler, error) {
	var missing []error
	for name, is := range map[string]bool{
		"Ledger": o.Ledger == nil, "Schedule": o.Schedule == nil, "Readiness": o.Readiness == nil,
	} {
		if is {
			missing = append(missing, errors.New("server: the option "+name+" is missing"))
		}
	}
	if len(missing) > 0 {
		slices.SortFunc(missing, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
		return nil, errors.Join(missing...)
	}
	if o.Log == nil {
		o.Log = logrus.New()
		o.Log.SetOutput(io.Discard)
	}
	if o.Live == nil {
		o.Live = live.NewHub(live.Options{Feed: o.Ledger, Log: o.Log})
	}
	s := &server{Options: o, rules: rules{}, earlier: map[string]EarlierPath{}, ring: &ring{ledger: o.Ledger}}
	s.desk = &desk.Desk{Ledger: o.Ledger, Readiness: o.Readiness, Schedule: s.schedule, Clock: o.Clock, Policy: o.Policy, Way: way}

	r := gin.New()
	r.RedirectTrailingSlash = false // a redirect answers in HTML, and loses a POST's key
	r.HandleMethodNotAllowed = true
	if err := r.SetTrustedProxies(nil); err != nil {
		return nil, err
	}
	r.Use(s.begin, s.trace, s.recovery, headers, sameSite, s.guard, mediaType, s.deprecate, s.throttle, s.scoped, s.limit, s.once)
	r.NoRoute(func(c *gin.Context) {
		if o.Console != nil && !keyed(c.Request) {
			c.Status(http.StatusOK) // gin has put down a 404
			o.Console.ServeHTTP(c.Writer, c.Request)
			return
		}
		noRoute.problem("There is nothing at this address.").hinting("GET /openapi.json lists what there is.").write(c.Writer, c.Request)
	})
	r.NoMethod(func(c *gin.Context) {
		allow := c.Writer.Header().Get("Allow")
		p := noMethod.problem(c.Request.Method + " is not allowed here.").hinting("Allowed here: " + allow + ".")
		p.allow = allow
		p.write(c.Writer, c.Request)
	})
	api := humagin.New(r, s.config())
	s.register(api)
	s.registerEarlier(api, r)
	s.registerDocs(r)
	if o.Metrics != nil {
		r.GET(MetricsPath, asSpelled, gin.WrapH(o.Metrics))
	}
	describe(api.OpenAPI().Components.Schemas)
	explain(api.OpenAPI())
	if err := exemplify(api.OpenAPI()); err != nil {
		return nil, err
	}
	return door{r, o.Live}, nil
}

// door is the whole of the server. Who stops it hangs up first: streams never end by themselves.
type door struct {
	http.Handler
	live *live.Hub
}

// ServeHTTP answers HEAD, where anybody may ask, as GET without what it would say, which is how monitors and browsers ask.
func (d door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead && slices.Contains(forAll, r.URL.Path) {
		r = r.WithContext(r.Context()) // a copy
		r.Method = http.MethodGet
	}
	d.Handler.ServeHTTP(w, r)
}

// forAll are the addresses that want no key.
var forAll = []string{"/health", "/ready", MetricsPath, DocsPath, "/openapi.json"}

// asSpelled keeps an address from being reached by a spelling that a proxy's rule does not know, such as /%6Detrics.
func asSpelled(c *gin.Context) {
	if c.Request.URL.RawPath != "" { // set where the path is escaped in another way than Go's
		noRoute.problem("There is nothing at this address.").hinting("GET /openapi.json lists what there is.").write(c.Writer, c.Request)
		c.Abort()
	}
}

// MetricsPath is where the metrics are. Whoever stands before the server keeps it inside by this name.
const MetricsPath = "/metrics"

// Hangup ends every stream; its client is told to come back, and goes on from the last event at another server.
func (d door) Hangup() { d.live.Close() }

// describe mends what huma can't learn from the types: answers may grow, and some of their objects may be null.
func describe(schemas huma.Registry) {
	all := schemas.Map()
	for name, schema := range all {
		if !strings.HasSuffix(name, "Body") { // a request's, in which nothing unknown is taken
			schema.AdditionalProperties = nil
		}
	}
	orNothing := func(in string, fields ...string) {
		for _, field := range fields {
			p := all[in].Properties[field]
			all[in].Properties[field] = &huma.Schema{Description: p.Description, AnyOf: []*huma.Schema{{Ref: p.Ref}, {Type: "null"}}}
		}
	}
	orNothing("Job", "result")
	orNothing("Progress", "waiting")
	orNothing("Commanded", "waiting")
	orNothing("CaseFile", "finished_at", "waiting")
	orNothing("Asked", "not_before")
	orNothing("Stay", "left_at")
	orNothing("Instruction", "answered_at")
	orNothing("SentLetter", "sent_at")
}

func (s *server) config() huma.Config {
	cfg := huma.DefaultConfig("Closeout", s.Version)
	cfg.Info.Description = "Closes Alpaca Broker API accounts: sells what they hold, waits for settlement, pays the customer out by ACH, closes the account.\n\n" +
		"Sums are strings of dollars with two places; times are RFC 3339. Errors are RFC 9457 problems with a stable `code`; each answer carries an `X-Request-ID`."
	cfg.CreateHooks = nil
	cfg.Formats = formats()
	cfg.OnAddOperation = append(cfg.OnAddOperation, s.rules.learn)
	cfg.DocsPath, cfg.SchemasPath = "", ""
	cfg.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"key":    {Type: "apiKey", In: "header", Name: "X-API-Key"},
		"bearer": {Type: "http", Scheme: "bearer"},
	}
	cfg.Security = []map[string][]string{{"key": {}}, {"bearer": {}}}
	cfg.Transformers = []huma.Transformer{func(ctx huma.Context, _ string, v any) (any, error) {
		if p, ok := v.(*Problem); ok {
			return p.seenBy(entryOf(ctx.Context())), nil
		}
		return v, nil
	}}
	return cfg
}

// register is the table of contents. The console stands beside it.
func (s *server) register(api huma.API) {
	closures, service := []string{"Closures"}, []string{"Service"}
	open := []map[string][]string{{}}

	initiate := huma.Operation{
		OperationID: "initiate", Method: http.MethodPost, Path: "/api/account-closure/initiate/{account_id}", Tags: closures,
		Summary:       "Close an account",
		Description:   "A 202 means that the closure is written down and will be carried out. Asking again for the same account and bank answers 200 with the same job; another bank is refused with 409 while the closure is open.",
		DefaultStatus: http.StatusAccepted, Metadata: needs(ScopeWrite),
		Errors: []int{400, 401, 404, 409, 413, 415, 422, 503},
	}
	initiate.Responses = map[string]*huma.Response{"200": {
		Description: "The closure was open already",
		Content:     map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{Ref: "#/components/schemas/Initiated"}}},
	}}
	huma.Register(api, initiate, s.initiate)
	huma.Register(api, huma.Operation{
		OperationID: "progress", Method: http.MethodGet, Path: "/api/account-closure/progress/{account_id}", Tags: closures,
		Summary: "How far an account's latest closure is, why it waits and who must act", Metadata: needs(ScopeRead), Errors: []int{401, 404, 422, 503},
	}, s.progress)
	huma.Register(api, huma.Operation{
		OperationID: "check-readiness", Method: http.MethodGet, Path: "/api/account-closure/check-readiness/{account_id}", Tags: closures,
		Summary: "What closing an account would need, and what stands in the way", Metadata: needs(ScopeRead), Errors: []int{401, 404, 422, 503},
	}, s.checkReadiness)
	huma.Register(api, huma.Operation{
		OperationID: "job-status", Method: http.MethodGet, Path: "/api/job-status/{job_id}", Tags: closures,
		Summary: "A closure as a job", Metadata: needs(ScopeRead), Errors: []int{401, 404, 422, 503},
	}, s.job)
	s.registerLive(api)
	s.registerCaseFile(api)
	huma.Register(api, huma.Operation{
		OperationID: "health", Method: http.MethodGet, Path: "/health", Tags: service, Security: open,
		Summary: "Whether this process is alive",
	}, s.health)
	huma.Register(api, huma.Operation{
		OperationID: "ready", Method: http.MethodGet, Path: "/ready", Tags: service, Security: open,
		Summary: "Whether what this process needs answers", Errors: []int{503},
	}, s.ready)
	s.registerCommands(api)
	s.registerQueues(api)
	s.registerList(api)
	s.registerBatch(api)
}
