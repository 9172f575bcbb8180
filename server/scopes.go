package server

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"
)

// Scope is what an API key may do.
type Scope string

// The scopes, from the least to the most. A key may have several.
const (
	ScopeRead    Scope = "closures:read"  // follow closures
	ScopeWrite   Scope = "closures:write" // ask for closures, and call them off while nothing irreversible was sent
	ScopeOperate Scope = "operate"        // everything: commands, batches, all closures' events, asynqmon
)

// Scopes are all of them, from the least to the most.
var Scopes = []Scope{ScopeRead, ScopeWrite, ScopeOperate}

// allow says whether a key with these scopes may do what needs one.
func allow(has []Scope, needed Scope) bool {
	return slices.Contains(has, needed) || slices.Contains(has, ScopeOperate)
}

// What an operation's Metadata says to the guard and to the limit.
const (
	metaScope   = "scope"
	metaMaxBody = "max_body"
)

// needs is the Metadata of an operation that a key with this scope may do. An operation that says nothing needs operate.
func needs(s Scope) map[string]any { return map[string]any{metaScope: s} }

// withBody adds to an operation's Metadata how large a body, in bytes, it takes, where that is more than maxBody.
func withBody(metadata map[string]any, largest int64) map[string]any {
	out := maps.Clone(metadata)
	out[metaMaxBody] = largest
	return out
}

// rule is what is asked of a request before its operation sees it.
type rule struct {
	scope    Scope
	maxBody  int64
	patience time.Duration // with the body
}

var ordinary = rule{ScopeOperate, maxBody, 5 * time.Second}

// rules are those of the operations, by method and gin's path.
type rules map[string]rule

// of is the rule of the route that gin has found. What is no operation of huma's is an operator's.
func (r rules) of(c *gin.Context) rule {
	if one, ok := r[c.Request.Method+" "+c.FullPath()]; ok {
		return one
	}
	return ordinary
}

// learn takes an operation's rule from its Metadata, and writes it into the operation's description.
func (r rules) learn(_ *huma.OpenAPI, op *huma.Operation) {
	one := ordinary
	if s, ok := op.Metadata[metaScope].(Scope); ok {
		one.scope = s
	}
	if n, ok := op.Metadata[metaMaxBody].(int64); ok {
		one.maxBody = n
	}
	if op.BodyReadTimeout > 0 {
		one.patience = op.BodyReadTimeout
	}
	r[op.Method+" "+ginPath(op.Path)] = one
	op.MaxBodyBytes = one.maxBody + 1 // the reader below it refuses what is larger than maxBody
	if op.Security != nil {           // it is open to all
		return
	}
	if op.Method == http.MethodPost {
		describeOnce(op)
	}
	op.Security = []map[string][]string{{"key": {string(one.scope)}}, {"bearer": {string(one.scope)}}}
	if like := op.Responses[strconv.Itoa(http.StatusUnauthorized)]; like != nil {
		for _, status := range before(op.Method) {
			if op.Responses[strconv.Itoa(status)] != nil {
				continue
			}
			refusal := *like
			refusal.Description = http.StatusText(status)
			op.Responses[strconv.Itoa(status)] = &refusal
		}
	}
}

// before are the refusals of what stands before every operation: the scope, the size of the body, how often one may ask and,
// of a POST, how long the body takes and whether its Idempotency-Key is at work.
func before(method string) []int {
	all := []int{http.StatusForbidden, http.StatusRequestEntityTooLarge, http.StatusTooManyRequests}
	if method == http.MethodPost {
		all = append(all, http.StatusRequestTimeout, http.StatusConflict)
	}
	return all
}

// ginPath is how gin writes a path of huma's.
func ginPath(path string) string {
	return strings.NewReplacer("{", ":", "}", "").Replace(path)
}

// scoped refuses a key that is known and may not do this. An address at which there is nothing needs no scope.
func (s *server) scoped(c *gin.Context) {
	e := entryOf(c.Request.Context())
	if e.key == "" || c.FullPath() == "" {
		return
	}
	needed := s.rules.of(c).scope
	if allow(e.scopes, needed) {
		return
	}
	scopeMissing.problem("The key "+e.key+" lacks the scope "+string(needed)+".").
		hinting("Use a key that has it, or ask who runs this service for one: closeout keys create NAME --scope "+string(needed)+".").
		write(c.Writer, c.Request)
	c.Abort()
}
