package server_test

import (
	"bytes"
	"cmp"
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
	"testing/synctest"
	"time"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/config"
	"github.com/pb33f/libopenapi-validator/schema_validation"
	"github.com/shopspring/decimal"

	"closeout/alpaca/sim"
)

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
	{regexp.MustCompile(`[A-Z][a-z]{2} \d+ [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d E[SD]T`), aMoment},
	{regexp.MustCompile(`"next_cursor":"[^"]*"`), `"next_cursor":"` + aCursor + `"`},
	{regexp.MustCompile(`"head_hash":"[0-9a-f]*"`), `"head_hash":"` + aHash + `"`},
	{regexp.MustCompile(`(?m)^(id: [0-9a-f-]+\.\d+)\.[0-9a-f]+$`), "$1." + aHash[:8]},
	{regexp.MustCompile(`on [A-Z][a-z]{2} \d+ at \d\d:\d\d New York time`), "on Nov 25 at 10:00 New York time"},
	{regexp.MustCompile(`(about|closed on|canceled on) [A-Z][a-z]+day, [A-Z][a-z]+ \d+, \d{4}`), "$1 Monday, November 30, 2026"},
}

// streams says whether what is answered is a stream, which does not end.
func (sc scene) streams() bool {
	return strings.HasPrefix(sc.operation, "events") && sc.status == http.StatusOK
}

// run carries a scene out and gives it as it is stored, with the example's ids and times.
func (sc scene) run(t *testing.T, hold func(*http.Request, answer)) stored {
	t.Helper()
	b, _ := working(t)
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
	ctx, cancel := t.Context(), context.CancelFunc(func() {})
	if sc.streams() { // until the first sign of life
		ctx, cancel = context.WithTimeout(ctx, 20*time.Second)
	}
	defer cancel()
	a := b.with(ctx, sc.method, path, body)
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
	if sc.status == http.StatusAccepted { // what it made is new
		var made struct {
			Job   string `json:"job_id"`
			Batch string `json:"batch_id"`
		}
		a.into(&made)
		text = strings.ReplaceAll(text, cmp.Or(made.Job, made.Batch), map[bool]string{true: aJob, false: aBatch}[made.Job != ""])
	}
	for _, one := range anew {
		text = one.what.ReplaceAllString(text, one.with)
	}
	if sc.streams() {
		var whole bytes.Buffer
		enc := json.NewEncoder(&whole)
		enc.SetEscapeHTML(false)
		must(t, enc.Encode(text))
		text = whole.String()
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

// blocks are those of a stream, each with its fields; of its data, what JSON says.
func blocks(t *testing.T, text string) any {
	t.Helper()
	out := map[string]any{}
	for n, block := range strings.Split(strings.TrimSuffix(text, "\n\n"), "\n\n") {
		fields := map[string]any{}
		for line := range strings.SplitSeq(block, "\n") {
			name, value, _ := strings.Cut(line, ": ")
			if fields[name] = value; name == "data" {
				var v any
				must(t, json.Unmarshal([]byte(value), &v))
				fields[name] = v
			}
		}
		out[fmt.Sprintf("%02d", n)] = fields
	}
	return out
}

func shapeOf(t *testing.T, text []byte) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if stream, ok := v.(string); ok {
		v = blocks(t, stream)
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
	doc, v, text := description(t)
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
		if !sc.streams() {
			have = append(have, sc.run(t, hold))
			continue
		}
		synctest.Test(t, func(t *testing.T) { have = append(have, sc.run(t, hold)) })
		heard(t, doc, have[len(have)-1])
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

// heard holds each event of a stream to the schema that the description names, which the validator can't find by itself.
func heard(t *testing.T, doc libopenapi.Document, e stored) {
	t.Helper()
	model, err := doc.BuildV3Model()
	must(t, err)
	event := model.Model.Components.Schemas.GetOrZero("ClosureEvent").Schema()
	var stream string
	must(t, json.Unmarshal(e.Answer, &stream))
	events := 0
	for line := range strings.SplitSeq(stream, "\n") {
		data, ok := strings.CutPrefix(line, "data: ")
		if !ok {
			continue
		}
		events++
		if ok, faults := schema_validation.NewSchemaValidator(config.WithFormatAssertions()).ValidateSchemaString(event, data); !ok {
			for _, f := range faults {
				t.Errorf("%s (%s): %s: %s %v", e.Operation, e.Name, f.Message, f.Reason, f.SchemaValidationErrors)
			}
		}
	}
	if events == 0 {
		t.Errorf("%s (%s): the stream has no event: %s", e.Operation, e.Name, stream)
	}
}

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
			if good == 0 || method == "post" && asked == 0 {
				t.Errorf("%s %s (%s) has no example that goes well: add a scene", method, path, op.OperationID)
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
