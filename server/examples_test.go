package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/config"
	"github.com/shopspring/decimal"

	"closeout/alpaca/sim"
	"closeout/closure"
	"closeout/server"
)

// What stands in the examples for what each run makes anew.
const (
	anAccount  = "6f1c2d3e-4b5a-4c7d-8e9f-0a1b2c3d4e5f"
	aBank      = "a1b2c3d4-e5f6-4a7b-8c9d-0e1f2a3b4c5d"
	aJob       = "019ab3c4-d5e6-7f80-9a1b-2c3d4e5f6071"
	aTransfer  = "b7c8d9e0-f1a2-4b3c-8d4e-5f6071829304"
	aRequest   = "c0ffee00-1234-4567-89ab-cdef01234567"
	aTime      = "2026-11-25T15:00:00Z"
	aNumber    = "CLA-20261125150000-3d4e5f"
	theAddress = "https://closeout.example"
)

// scene is one example: how an account comes to stand as it does, and what is asked then. Its texts have the example's ids.
type scene struct {
	operation, name string
	method, path    string
	body            string
	status          int
	stage           func(b *bench, ids map[string]string) // tells the real ids of aBank, aJob and aTransfer; anAccount is there
}

// the stages build on one another.
func opened(b *bench, ids map[string]string) {
	ids[aJob] = b.accepted(ids[anAccount], ids[aBank]).ID
}

func (b *bench) now(ids map[string]string) closure.Closure {
	b.tb.Helper()
	c, err := b.ledger.OfAccount(context.Background(), ids[anAccount])
	must(b.tb, err)
	return c
}

func waiting(b *bench, ids map[string]string) {
	opened(b, ids)
	c := b.look(b.now(ids), closure.Go(closure.Settlement, "2 positions sold"))
	b.look(c, closure.Wait(time.Hour, closure.Settling, closure.Reasons[closure.Settling].Title))
}

func paying(b *bench, ids map[string]string) {
	waiting(b, ids)
	c := b.look(b.now(ids), closure.Go(closure.Withdrawal, "$900.00 can be withdrawn"))
	b.claim(c, ids[aBank], 0)
}

func bankGone(b *bench, ids map[string]string) {
	waiting(b, ids)
	c := b.look(b.now(ids), closure.Go(closure.Withdrawal, "$900.00 can be withdrawn"))
	memo := c.Memo
	memo.Stand = &closure.Stand{Cash: decimal.NewFromInt(900), Key: c.Version, Listed: map[string]string{}}
	_, err := b.ledger.Save(context.Background(), c, closure.Looked(time.Now(), closure.Fail(closure.BankGone, "the bank chosen at the request is gone"), closure.Look{}, &memo), nil)
	must(b.tb, err)
}

func relinked(b *bench, ids map[string]string) {
	bankGone(b, ids)
	must(b.tb, b.sim.Event(ids[anAccount], sim.Event{Type: "relationship_create"}))
	truth, err := b.sim.Truth(ids[anAccount])
	must(b.tb, err)
	ids[aBank] = truth.ACHRelationships[len(truth.ACHRelationships)-1].ID
}

func inQuestion(b *bench, ids map[string]string) {
	waiting(b, ids)
	c := b.look(b.now(ids), closure.Go(closure.Withdrawal, "$900.00 can be withdrawn"))
	c, _ = b.claim(c, ids[aBank], time.Hour)
	b.look(c, closure.Fail(closure.UnknownTransfer, "the payout of $900.00 is in neither of two lists after its quarantine"))
}

func found(b *bench, ids map[string]string) {
	inQuestion(b, ids)
	ids[aTransfer] = b.event(ids[anAccount], sim.Event{Type: "withdrawal", Amount: decimal.NewFromInt(900)}).ID
}

func closed(b *bench, ids map[string]string) {
	waiting(b, ids)
	c := b.look(b.now(ids), closure.Go(closure.Withdrawal, "$900.00 can be withdrawn"))
	c = b.look(c, closure.Go(closure.Closing, "no cash is left"))
	b.look(c, closure.Done("the account is closed; paid out $900.00"))
}

func commanding(what string) string { return "/api/account-closure/" + what + "/" + anAccount }

func why(text string, more ...string) string {
	return `{"reason":"` + text + `"` + strings.Join(more, "") + `}`
}

var scenes = []scene{
	{"initiate", "accepted", "POST", commanding("initiate"), wish(aBank, `,"priority":"normal","reason":"moving to another broker"`), 202, nil},
	{"initiate", "asked again", "POST", commanding("initiate"), wish(aBank), 200, opened},
	{"initiate", "not confirmed", "POST", commanding("initiate"), `{"ach_relationship_id":"` + aBank + `","confirm_liquidation":true,"confirm_irreversible":false}`, 422, nil},
	{"progress", "waiting for the settlement", "GET", commanding("progress"), "", 200, waiting},
	{"progress", "stopped, a person must act", "GET", commanding("progress"), "", 200, bankGone},
	{"progress", "no closure", "GET", commanding("progress"), "", 404, nil},
	{"check-readiness", "an account", "GET", commanding("check-readiness"), "", 200, nil},
	{"check-readiness", "no account", "GET", "/api/account-closure/check-readiness/00000000-0000-4000-8000-000000000000", "", 404, nil},
	{"job-status", "under way", "GET", "/api/job-status/" + aJob, "", 200, waiting},
	{"job-status", "done", "GET", "/api/job-status/" + aJob, "", 200, closed},
	{"job-status", "no job", "GET", "/api/job-status/" + aJob, "", 404, func(_ *bench, ids map[string]string) { ids[aJob] = aJob }},
	{"cancel", "called off", "POST", commanding("cancel"), why("the customer changed their mind"), 200, opened},
	{"cancel", "too late", "POST", commanding("cancel"), why("the customer changed their mind"), 409, paying},
	{"pause", "with a payout on its way", "POST", commanding("pause"), why("compliance wants to look"), 200, paying},
	{"pause", "after the end", "POST", commanding("pause"), why("compliance wants to look"), 409, closed},
	{"resume", "after a stop", "POST", commanding("resume"), why("the bank was approved again"), 200, bankGone},
	{"resume", "running already", "POST", commanding("resume"), why("the bank was approved again"), 200, waiting},
	{"resume", "after the end", "POST", commanding("resume"), why("the bank was approved again"), 409, closed},
	{"wake", "a waiting one", "POST", commanding("wake"), why("the broker lifted the block"), 200, waiting},
	{"wake", "one that has stopped", "POST", commanding("wake"), why("the broker lifted the block"), 409, bankGone},
	{"resolve", "paid by hand", "POST", commanding("resolve"), why("wired to the customer's new bank", `,"resolution":"paid_by_hand","amount":"900.00","reference":"WIRE 20261125-7"`), 200, bankGone},
	{"resolve", "another bank", "POST", commanding("resolve"), why("the customer linked another bank", `,"resolution":"relink_bank","ach_relationship_id":"`+aBank+`"`), 200, relinked},
	{"resolve", "adopt a transfer", "POST", commanding("resolve"), why("the broker's support found it", `,"resolution":"adopt_transfer","transfer_id":"`+aTransfer+`"`), 200, found},
	{"resolve", "void a transfer", "POST", commanding("resolve"), why("the broker's support says that it was not made", `,"resolution":"void_transfer"`), 200, inQuestion},
	{"resolve", "while it runs", "POST", commanding("resolve"), why("the broker's support says that it was not made", `,"resolution":"void_transfer"`), 409, waiting},
	{"queues", "a busy hour", "GET", "/api/queues", "", 200, nil},
	{"health", "alive", "GET", "/health", "", 200, nil},
	{"ready", "ready", "GET", "/ready", "", 200, nil},
}

// stored is an example as examples.json has it.
type stored struct {
	Operation string          `json:"operation"`
	Name      string          `json:"name"`
	Request   string          `json:"request"`
	Body      json.RawMessage `json:"body,omitempty"`
	Status    int             `json:"status"`
	Answer    json.RawMessage `json:"answer"`
}

var anew = []struct {
	what *regexp.Regexp
	with string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`), aTime},
	{regexp.MustCompile(`CLA-\d{14}-[0-9a-f]{6}`), aNumber},
	{regexp.MustCompile(`"request_id":"[^"]*"`), `"request_id":"` + aRequest + `"`},
	{regexp.MustCompile(`on [A-Z][a-z]{2} \d+ at \d\d:\d\d New York time`), "on Nov 25 at 10:00 New York time"},
	{regexp.MustCompile(`(about|closed on|canceled on) [A-Z][a-z]+day, [A-Z][a-z]+ \d+, \d{4}`), "$1 Monday, November 30, 2026"},
}

// run carries a scene out and gives it as it is stored, with the example's ids and times.
func (sc scene) run(t *testing.T, hold func(*http.Request, answer)) stored {
	t.Helper()
	b := newBench(t)
	ids := map[string]string{}
	ids[anAccount], ids[aBank] = b.account(sim.Spec{Cash: decimal.NewFromInt(900)})
	if sc.stage != nil {
		sc.stage(b, ids)
	}
	real, example := []string{}, []string{}
	for is, was := range ids {
		real, example = append(real, is, was), append(example, was, is)
	}
	toReal, toExample := strings.NewReplacer(real...), strings.NewReplacer(example...)
	path, body := toReal.Replace(sc.path), toReal.Replace(sc.body)
	a := b.do(sc.method, path, body)
	if a.status != sc.status {
		t.Fatalf("%s (%s): answered %d %s, want %d", sc.operation, sc.name, a.status, a.text, sc.status)
	}
	r := httptest.NewRequestWithContext(t.Context(), sc.method, theAddress+path, strings.NewReader(body))
	r.Header.Set("X-API-Key", secret)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	hold(r, a)
	text := toExample.Replace(a.text)
	if sc.operation == "initiate" && sc.status == 202 { // its job is new
		var made server.Initiated
		a.into(&made)
		text = strings.ReplaceAll(text, made.JobID, aJob)
	}
	for _, one := range anew {
		text = one.what.ReplaceAllString(text, one.with)
	}
	out := stored{sc.operation, sc.name, sc.method + " " + sc.path, nil, sc.status, json.RawMessage(strings.TrimSpace(text))}
	if sc.body != "" {
		out.Body = json.RawMessage(sc.body)
	}
	return out
}

// shape is what two answers of one kind have in common: their fields and their types. Null goes with everything.
func shape(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, one := range v {
			out[k] = shape(one)
		}
		return out
	case []any:
		if len(v) == 0 {
			return nil
		}
		return []any{shape(v[0])}
	case nil:
		return nil
	}
	return fmt.Sprintf("%T", v)
}

// differ says where two shapes differ.
func differ(at string, x, y any) string {
	if x == nil || y == nil {
		return ""
	}
	if xs, ok := x.([]any); ok {
		ys, ok := y.([]any)
		if !ok {
			return at + " is a list"
		}
		return differ(at+"[]", xs[0], ys[0])
	}
	xm, ok1 := x.(map[string]any)
	ym, ok2 := y.(map[string]any)
	if !ok1 || !ok2 {
		if x != y {
			return fmt.Sprintf("%s is %v and %v", at, x, y)
		}
		return ""
	}
	if kx, ky := slices.Sorted(maps.Keys(xm)), slices.Sorted(maps.Keys(ym)); !slices.Equal(kx, ky) {
		return fmt.Sprintf("%s has %v and %v", at, kx, ky)
	}
	for k := range xm {
		if d := differ(at+"."+k, xm[k], ym[k]); d != "" {
			return d
		}
	}
	return ""
}

func shapeOf(t *testing.T, text []byte) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return shape(v)
}

// description is the API's description as it is served, and a validator by it.
func description(t *testing.T) (doc libopenapi.Document, v validator.Validator, text []byte) {
	t.Helper()
	b := newBench(t)
	text = []byte(b.do("GET", "/openapi.json", "", "X-API-Key", "").text)
	doc, err := libopenapi.NewDocument(text)
	must(t, err)
	v, errs := validator.NewValidator(doc, config.WithFormatAssertions())
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return doc, v, text
}

// TestOpenAPIIsValid holds the description to OpenAPI's own.
func TestOpenAPIIsValid(t *testing.T) {
	_, v, _ := description(t)
	if ok, faults := v.ValidateDocument(); !ok {
		for _, f := range faults {
			t.Errorf("%s: %s: %v", f.Message, f.Reason, f.SchemaValidationErrors)
		}
	}
}

// TestExamples makes each request of the description's examples and compares what is answered: its status, its shape, and
// that it is what the description says. Each operation has an example that goes well.
func TestExamples(t *testing.T) {
	_, v, text := description(t)
	hold := func(r *http.Request, a answer) {
		t.Helper()
		if ok, faults := v.ValidateHttpRequestSync(r); !ok && a.status != 422 {
			for _, f := range faults {
				t.Errorf("%s %s: the request: %s: %s %v", r.Method, r.URL.Path, f.Message, f.Reason, f.SchemaValidationErrors)
			}
		}
		resp := &http.Response{StatusCode: a.status, Header: a.header, Body: io.NopCloser(strings.NewReader(a.text)), Request: r}
		if ok, faults := v.ValidateHttpResponse(r, resp); !ok {
			for _, f := range faults {
				t.Errorf("%s %s: the answer: %s: %s %v", r.Method, r.URL.Path, f.Message, f.Reason, f.SchemaValidationErrors)
			}
		}
	}
	var have []stored
	for _, sc := range scenes {
		have = append(have, sc.run(t, hold))
	}
	const path = "examples.json"
	if *update {
		var out bytes.Buffer
		enc := json.NewEncoder(&out)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		must(t, enc.Encode(have))
		must(t, os.WriteFile(path, out.Bytes(), 0o644))
		t.Log("examples.json is written: run the tests again")
		return
	}
	file, err := os.ReadFile(path)
	must(t, err)
	var want []stored
	must(t, json.Unmarshal(file, &want))
	if len(want) != len(have) {
		t.Fatalf("examples.json has %d examples, the test %d: run it with -update", len(want), len(have))
	}
	for n, w := range want {
		h, name := have[n], w.Operation+" ("+w.Name+")"
		if h.Operation != w.Operation || h.Name != w.Name || h.Request != w.Request || h.Status != w.Status || differ("", shapeOf(t, append([]byte("["), append(w.Body, ']')...)), shapeOf(t, append([]byte("["), append(h.Body, ']')...))) != "" {
			t.Errorf("%s is not what the test asks: run it with -update", name)
		}
		if d := differ("", shapeOf(t, w.Answer), shapeOf(t, h.Answer)); d != "" {
			t.Errorf("%s: the answer's shape: %s", name, d)
		}
	}
	shown(t, text, want)
}

// without are operations that have no example yet: each gets its scene.
var without = []string{"list", "batch", "batch-progress", "batch-cancel", "events", "events-of-account", "case-file"}

// shown checks that every example stands in the description, and that no operation is without one that goes well.
func shown(t *testing.T, text []byte, all []stored) {
	t.Helper()
	type media map[string]struct{ Examples map[string]any }
	var doc struct {
		Paths map[string]map[string]struct {
			OperationID string `json:"operationId"`
			RequestBody struct{ Content media }
			Responses   map[string]struct{ Content media }
		}
	}
	must(t, json.Unmarshal(text, &doc))
	answers, bodies := 0, 0
	for path, item := range doc.Paths {
		for method, op := range item {
			good := 0
			for status, r := range op.Responses {
				for _, m := range r.Content {
					answers += len(m.Examples)
					if status < "300" {
						good += len(m.Examples)
					}
				}
			}
			asked := 0
			for _, m := range op.RequestBody.Content {
				asked += len(m.Examples)
			}
			bodies += asked
			if (good == 0 || method == "post" && asked == 0) != slices.Contains(without, op.OperationID) {
				t.Errorf("%s %s (%s) has no example that goes well, or has one and is among those without: add a scene", method, path, op.OperationID)
			}
		}
	}
	want := 0
	for _, e := range all {
		if len(e.Body) > 0 {
			want++
		}
	}
	if answers != len(all) || bodies != want {
		t.Errorf("the description shows %d answers and %d bodies of %d and %d", answers, bodies, len(all), want)
	}
}

// TestDocs: the page is readable without a key, draws the description from here, and may load nothing from elsewhere.
func TestDocs(t *testing.T) {
	b := newBench(t)
	a := b.do("GET", "/docs", "", "X-API-Key", "")
	if a.status != 200 || !strings.HasPrefix(a.header.Get("Content-Type"), "text/html") || !strings.Contains(a.text, `spec-url="/openapi.json"`) {
		t.Fatalf("%d %s", a.status, a.text)
	}
	if csp := a.header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "script-src 'self';") || strings.Contains(csp, "http") {
		t.Errorf("its policy: %s", csp)
	}
	if strings.Contains(a.text, "http://") || strings.Contains(a.text, "https://") || !strings.Contains(a.text, `load-fonts="false"`) {
		t.Errorf("the page names other places: %s", a.text)
	}
	script := b.do("GET", "/docs/rapidoc-min.js", "", "X-API-Key", "")
	if script.status != 200 || !strings.Contains(script.header.Get("Content-Type"), "javascript") || len(script.text) < 500_000 {
		t.Errorf("its script: %d, %s, %d bytes", script.status, script.header.Get("Content-Type"), len(script.text))
	}
	b.do("GET", "/docs/nothing", "").problem(404, "route_not_found")
}
