package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"runtime/debug"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"github.com/sirupsen/logrus"

	"closeout/ledger"
)

// maxBody is the largest body, in bytes, that an operation takes which does not say otherwise (withBody).
const maxBody = 64 << 10

// entry is what one request's line in the log will say. It lives in the request's context.
type entry struct {
	requestID string
	key       string // the name of the API key
	route     string // of a page of the console
	who       string // is signed in there
	scopes    []Scope
	reserved  *ledger.Reservation // of its Idempotency-Key; nil: it has none
	code      string              // of the problem answered
	cause     error               // of the problem, for the log alone
	scheduled error               // why the queue did not take a visit; the sweep will give it one
}

type entryKey struct{}

// entryOf is the request's entry; outside of a request, one that nobody reads.
func entryOf(ctx context.Context) *entry {
	if e, ok := ctx.Value(entryKey{}).(*entry); ok {
		return e
	}
	return &entry{}
}

// Answered is a request that was answered, for whoever counts them.
type Answered struct {
	Route  string // as it is declared, be it with its method; "none" where no route was found
	Method string // as it came
	Status int
	Took   time.Duration
	Stream bool // it lasted as long as its client listened
}

// Seen notes for a request's line in the log which page of the console it was for, and who asked. It gives the request's id.
func Seen(ctx context.Context, route, who string) (requestID string) {
	e := entryOf(ctx)
	e.route, e.who = route, who
	return e.requestID
}

var (
	saneID  = regexp.MustCompile(`^[A-Za-z0-9._-]{1,23}$`)
	numbers = regexp.MustCompile(`\d{7}|\d{3}-\d{2}-\d{4}`)
)

// kept says whether a client's own id for its request can be used: it must be one that the log's redaction leaves as it is,
// or nobody could find it there.
func kept(id string) bool {
	return uuidForm.MatchString(id) || saneID.MatchString(id) && !numbers.MatchString(id)
}

// begin gives each request its id, and writes its one line when it is over. The route is logged as it is declared, never as
// it came: an address can hold anything.
func (s *server) begin(c *gin.Context) {
	e := &entry{requestID: c.GetHeader("X-Request-ID")}
	if !kept(e.requestID) {
		e.requestID = uuid.NewString() // of all random texts the one that the log's redaction leaves as it is
	}
	c.Request = c.Request.WithContext(context.WithValue(c.Request.Context(), entryKey{}, e))
	c.Header("X-Request-ID", e.requestID)
	start := time.Now()
	defer func() {
		took, route := time.Since(start), cmp.Or(c.FullPath(), e.route, "none")
		if s.Answered != nil {
			stream := strings.HasPrefix(c.Writer.Header().Get("Content-Type"), "text/event-stream")
			s.Answered(Answered{Route: route, Method: c.Request.Method, Status: c.Writer.Status(), Took: took, Stream: stream})
		}
		s.logRequest(c, e, route, took)
	}()
	c.Next()
}

func (s *server) logRequest(c *gin.Context, e *entry, route string, took time.Duration) {
	status := c.Writer.Status()
	fields := logrus.Fields{
		"method": c.Request.Method, "route": route, "status": status, "took": took.Round(time.Microsecond).String(), "request_id": e.requestID,
	}
	if e.who != "" {
		fields["person"] = e.who
	}
	if e.key != "" {
		fields["key"] = e.key
	}
	if a := c.Param("account_id"); uuidForm.MatchString(a) {
		fields["account"] = strings.ToLower(a[len(a)-6:])
	}
	if e.code != "" {
		fields["code"] = e.code
	}
	if e.cause != nil {
		fields["error"] = e.cause.Error()
	}
	if e.scheduled != nil {
		fields["schedule_error"] = e.scheduled.Error()
	}
	level := logrus.InfoLevel
	switch {
	case status >= http.StatusInternalServerError:
		level = logrus.ErrorLevel
	case e.scheduled != nil:
		level = logrus.WarnLevel
	case route == "/health" || route == "/ready" || route == MetricsPath:
		level = logrus.DebugLevel // a probe comes every few seconds
	}
	s.Log.WithContext(c.Request.Context()).WithFields(fields).Log(level, "request")
}

// recovery turns a panic into a problem. http.ErrAbortHandler goes on: that is how a handler hangs up.
func (s *server) recovery(c *gin.Context) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			panic(v)
		}
		c.Abort()
		e := entryOf(c.Request.Context())
		e.code, e.cause = internal.code, fmt.Errorf("panic: %v", v)
		s.Log.WithFields(logrus.Fields{"request_id": e.requestID, "stack": string(debug.Stack())}).Error("panic in a request")
		if !c.Writer.Written() {
			broken(e.cause).write(c.Writer, c.Request)
		}
	}()
	c.Next()
}

// headers are those that keep a browser from doing what no client of ours needs.
func headers(c *gin.Context) {
	h := c.Writer.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	csp := "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
	if under(c.Request, DocsPath) {
		csp = docsPolicy
	}
	h.Set("Content-Security-Policy", csp)
	h.Set("Cache-Control", "no-store")
}

func under(r *http.Request, prefix string) bool {
	return r.URL.Path == prefix || strings.HasPrefix(r.URL.Path, prefix+"/")
}

// keyed says whether the address wants an API key.
func keyed(r *http.Request) bool { return under(r, "/api") || under(r, earlierBase) }

// guard asks for a key by the address and not by the route, so that no route under /api, or where the earlier system had its
// own, can be added without one, and nobody without a key learns which there are.
func (s *server) guard(c *gin.Context) {
	r := c.Request
	if !keyed(r) {
		return
	}
	presented := presentedKey(r)
	e := entryOf(r.Context())
	var ok bool
	if e.key, e.scopes, ok = s.Keys.who(presented); ok {
		return
	}
	k, ok, err := s.ring.who(r.Context(), presented)
	if err != nil {
		ledgerProblem(err).write(c.Writer, r)
		c.Abort()
		return
	}
	if ok && !k.revoked {
		e.key, e.scopes = k.name, k.scopes
		s.ring.used(r.Context(), k.id)
		return
	}
	c.Header("WWW-Authenticate", `Bearer realm="closeout"`)
	p := wrongKey.problem("The API key is not one of this service's.").hinting("Check the key for a cut or a stray blank, and whether it is meant for this environment.")
	if ok { // whoever has it has had a good key: that it is one no more helps them little, and its owner much
		p = revokedKey.problem("The API key " + k.name + " was revoked.").hinting("Ask who runs this service for a new one.")
	}
	if presented == "" {
		p = noKey.problem("The request has no API key.").hinting("Send it as the header X-API-Key: …, or as Authorization: Bearer ….")
	}
	p.write(c.Writer, r)
	c.Abort()
}

// presentedKey is the secret that a request brings, "" if none.
func presentedKey(r *http.Request) string {
	if key := r.Header.Get("X-API-Key"); key != "" {
		return key
	}
	if scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " "); strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(token)
	}
	return ""
}

// stillAdmitted looks the key of a request that goes on for long up again: it may have been revoked since. While the ledger
// can't be read, what was known goes.
func (s *server) stillAdmitted(ctx context.Context, c *gin.Context) bool {
	presented := presentedKey(c.Request)
	_, scopes, ok := s.Keys.who(presented)
	if !ok {
		k, found, err := s.ring.who(ctx, presented)
		if err != nil {
			return true
		}
		scopes, ok = k.scopes, found && !k.revoked
	}
	return ok && allow(scopes, s.rules.of(c).scope)
}

// limit refuses bodies that are too large: at once where the client says so, otherwise as soon as they are.
func (s *server) limit(c *gin.Context) {
	if !keyed(c.Request) {
		return
	}
	largest := s.rules.of(c).maxBody
	if c.Request.ContentLength > largest {
		c.Header("Connection", "close") // or the client would have to send all of it first
		tooLarge(largest).write(c.Writer, c.Request)
		c.Abort()
		return
	}
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, largest)
}

// sameSite refuses what a page of another site makes a browser send along with a remembered password. The console has its
// own check, and its own words.
func sameSite(c *gin.Context) {
	if !keyed(c.Request) {
		return
	}
	if err := http.NewCrossOriginProtection().Check(c.Request); err != nil {
		crossOrigin.problem("A page of another site may not do this.").
			hinting("Ask from your own server, and keep the key there.").because(err).write(c.Writer, c.Request)
		c.Abort()
	}
}
