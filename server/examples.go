package server

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// examplesText are requests that were made to a server and what it answered: TestExamples makes each of them again.
//
//go:embed examples.json
var examplesText []byte

// example is one request and its answer.
type example struct {
	Operation string          `json:"operation"`
	Name      string          `json:"name"`
	Request   string          `json:"request"` // its method and address
	Body      json.RawMessage `json:"body,omitempty"`
	Status    int             `json:"status"`
	Answer    json.RawMessage `json:"answer"`
}

// exemplify puts the examples into the description: each at its body and at its answer.
func exemplify(api *huma.OpenAPI) error {
	var all []example
	if err := json.Unmarshal(examplesText, &all); err != nil {
		return fmt.Errorf("read the examples: %w", err)
	}
	operations := map[string]*huma.Operation{}
	for _, item := range api.Paths {
		for _, op := range operationsAt(item) {
			operations[op.OperationID] = op
		}
	}
	for _, e := range all {
		op := operations[e.Operation]
		if op == nil {
			return fmt.Errorf("the examples have %s, which is no operation", e.Operation)
		}
		if len(e.Body) > 0 && op.RequestBody != nil {
			if err := add(op.RequestBody.Content, "application/json", e, e.Body); err != nil {
				return err
			}
		}
		answer := op.Responses[strconv.Itoa(e.Status)]
		if answer == nil {
			return fmt.Errorf("the example %q of %s answers %d, which its description lacks", e.Name, e.Operation, e.Status)
		}
		kind := "application/json"
		switch {
		case e.Status >= 400:
			kind = "application/problem+json"
		case answer.Content[streamType] != nil: // then the answer is the stream's text
			kind = streamType
		}
		if err := add(answer.Content, kind, e, e.Answer); err != nil {
			return err
		}
	}
	return nil
}

func add(content map[string]*huma.MediaType, kind string, e example, text json.RawMessage) error {
	media := content[kind]
	if media == nil {
		return fmt.Errorf("the example %q of %s is %s, which its description lacks", e.Name, e.Operation, kind)
	}
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		return fmt.Errorf("the example %q of %s: %w", e.Name, e.Operation, err)
	}
	if media.Examples == nil {
		media.Examples = map[string]*huma.Example{}
	}
	media.Examples[strings.ReplaceAll(e.Name, " ", "-")] = &huma.Example{Summary: e.Name, Description: "`" + e.Request + "`", Value: value}
	return nil
}
