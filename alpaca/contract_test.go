package alpaca_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/config"
)

// description is Alpaca's own; it is kept outside this repository.
const description = "../../shared/alpaca/broker-openapi.yaml"

// contract is a transport that holds what passes through it against the description.
type contract struct {
	tb   testing.TB
	next http.RoundTripper
	v    validator.Validator
	all  map[string]any // the description

	mu     sync.Mutex
	passed map[string]bool // "GET /v1/clock 200"
	bodies map[string]json.RawMessage
	spared map[string]bool // exclusions that were made use of
}

// wrong marks a request that is wrong on purpose: only its answer is held against the description.
type wrong struct{}

func newContract(t *testing.T, next http.RoundTripper) *contract {
	t.Helper()
	text, err := os.ReadFile(description)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("Alpaca's description is not at %s: the contract is not tested", description)
	}
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]any
	if err := yaml.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	paths := all["paths"].(map[string]any)
	for path := range paths {
		if !slices.Contains(used, path) {
			delete(paths, path)
		}
	}
	if len(paths) != len(used) {
		t.Fatalf("the description has only %d of %d paths", len(paths), len(used))
	}
	mend(all)
	if text, err = json.Marshal(all); err != nil {
		t.Fatal(err)
	}
	doc, err := libopenapi.NewDocument(text)
	if err != nil {
		t.Fatal(err)
	}
	v, errs := validator.NewValidator(doc, config.WithFormatAssertions())
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return &contract{tb: t, next: next, v: v, all: all, passed: map[string]bool{}, bodies: map[string]json.RawMessage{}, spared: map[string]bool{}}
}

var (
	ids     = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
	symbols = regexp.MustCompile(`/(assets|positions)/[^/]+$`)
)

// nameOf is a call without what tells one account or asset from another.
func nameOf(method, path string) string {
	path = ids.ReplaceAllString(path, "{id}")
	return method + " " + symbols.ReplaceAllString(path, "/$1/{id}")
}

func (c *contract) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	resp, err := c.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	answer, _ := io.ReadAll(resp.Body)
	call := fmt.Sprintf("%s %d", nameOf(r.Method, r.URL.Path), resp.StatusCode)

	c.mu.Lock()
	defer c.mu.Unlock()
	c.passed[call] = true
	if resp.StatusCode == http.StatusOK && r.Method == http.MethodGet && len(answer) > len(c.bodies[call]) {
		c.bodies[call] = answer
	}
	again := r.Clone(r.Context())
	again.Body = io.NopCloser(bytes.NewReader(body))
	if ok, faults := c.v.ValidateHttpRequestSync(again); !ok && r.Context().Value(wrong{}) != true {
		for _, f := range faults {
			c.tb.Errorf("%s: request: %s: %s: %v\n%s", call, f.Message, f.Reason, f.SchemaValidationErrors, body)
		}
	}
	again.Body = io.NopCloser(bytes.NewReader(body))
	copied := *resp
	copied.Body = io.NopCloser(bytes.NewReader(answer))
	if ok, faults := c.v.ValidateHttpResponse(again, &copied); !ok {
		for _, f := range faults {
			if strings.Contains(f.Message, "response code") && c.spares(call) {
				continue
			}
			c.tb.Errorf("%s: response: %s: %s: %v\n%s", call, f.Message, f.Reason, f.SchemaValidationErrors, answer)
		}
	}
	if resp.StatusCode >= 400 {
		c.isError(call, answer)
	}
	for _, name := range []string{"X-Request-ID", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "Date"} {
		if resp.Header.Get(name) == "" {
			c.tb.Errorf("%s: no %s", call, name)
		}
	}
	resp.Body = io.NopCloser(bytes.NewReader(answer))
	return resp, nil
}

// replay reads a stream to its end and holds each of its events against the description.
func (c *contract) replay(by http.RoundTripper, path string) {
	c.tb.Helper()
	r, err := http.NewRequestWithContext(c.tb.Context(), http.MethodGet, "https://broker-api.sandbox.alpaca.markets"+path, nil)
	if err != nil {
		c.tb.Fatal(err)
	}
	r.SetBasicAuth("key", "secret")
	resp, err := by.RoundTrip(r)
	if err != nil {
		c.tb.Fatal(err)
	}
	said, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	for line := range strings.Lines(string(said)) {
		event, ok := strings.CutPrefix(line, "data: ")
		if !ok {
			continue
		}
		was := *resp
		was.Header = http.Header{"Content-Type": {"application/json"}}
		was.Body = io.NopCloser(strings.NewReader("[" + event + "]"))
		if ok, faults := c.v.ValidateHttpRequestResponse(r, &was); !ok {
			for _, f := range faults {
				c.tb.Errorf("%s: %s: %s: %v\n%s", path, f.Message, f.Reason, f.SchemaValidationErrors, event)
			}
		}
		c.passed[fmt.Sprintf("GET %s %d", r.URL.Path, resp.StatusCode)] = true
	}
}

// isError holds every refusal to the description's Error, those of statuses that it has no answer for included.
func (c *contract) isError(call string, answer []byte) {
	var e struct {
		Code    *int    `json:"code"`
		Message *string `json:"message"`
	}
	if err := json.Unmarshal(answer, &e); err != nil || e.Code == nil || e.Message == nil || *e.Message == "" {
		c.tb.Errorf("%s: no Error: %s", call, answer)
	}
}

// spares says whether a status that the description does not have is one of the exclusions.
func (c *contract) spares(call string) bool {
	for pattern := range undescribed {
		method, status, _ := strings.Cut(pattern, " … ")
		if strings.HasSuffix(call, " "+status) && (method == "any" || strings.HasPrefix(call, method+" ")) {
			c.spared[pattern] = true
			return true
		}
	}
	return false
}

// told checks that every operation of the used paths was answered well at least once, but for those that are not used, and
// that no exclusion stands for nothing.
func (c *contract) told() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for path, item := range c.all["paths"].(map[string]any) {
		for method := range item.(map[string]any) {
			name := strings.ToUpper(method) + " " + path
			if !slices.Contains([]string{"get", "post", "put", "patch", "delete"}, method) || unused[name] != "" {
				continue
			}
			call := inBraces.ReplaceAllString(name, "{id}")
			if !c.passed[call+" 200"] && !c.passed[call+" 204"] {
				c.tb.Errorf("never answered well: %s", name)
			}
		}
	}
	for pattern := range undescribed {
		if !c.spared[pattern] {
			c.tb.Errorf("the exclusion %q is not needed", pattern)
		}
	}
}
