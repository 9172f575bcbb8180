package alpaca_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"closeout/alpaca"
)

// The ways in which an answer that keeps to the description may differ from the simulator's.
const (
	absent    = "optional fields absent"
	null      = "optional fields null"
	asNumbers = "sums as numbers"
	asStrings = "numbers as strings"
	newValues = "values of enums that nobody has heard of"
)

// reading is one of the client's reads; body is the answer as the simulator gave it.
type reading func(ctx context.Context, c *alpaca.Client, account string, body map[string]any) error

// of makes a reading of an account's reads.
func of[T any](read func(*alpaca.Client, context.Context, string) (T, error)) reading {
	return func(ctx context.Context, c *alpaca.Client, account string, _ map[string]any) error {
		_, err := read(c, ctx, account)
		return err
	}
}

// readings are the client's, each by the call whose answer it reads.
var readings = map[string]reading{
	"GET /v1/accounts/{account_id}":                   of((*alpaca.Client).Account),
	"GET /v1/trading/accounts/{account_id}/account":   of((*alpaca.Client).TradingAccount),
	"GET /v1/trading/accounts/{account_id}/positions": of((*alpaca.Client).Positions),
	"GET /v1/trading/accounts/{account_id}/orders":    of((*alpaca.Client).OpenOrders),
	"GET /v1/accounts/{account_id}/transfers":         of((*alpaca.Client).Transfers),
	"GET /v1/accounts/{account_id}/ach_relationships": of((*alpaca.Client).Relationships),
	"GET /v1/rebalancing/subscriptions":               of((*alpaca.Client).Subscribed),
	"GET /v1/trading/accounts/{account_id}/orders/{order_id}": func(ctx context.Context, c *alpaca.Client, account string, body map[string]any) error {
		_, err := c.Order(ctx, account, body["id"].(string))
		return err
	},
	"GET /v1/trading/accounts/{account_id}/orders:by_client_order_id": func(ctx context.Context, c *alpaca.Client, account string, body map[string]any) error {
		_, err := c.OrderByClientID(ctx, account, body["client_order_id"].(string))
		return err
	},
	"GET /v1/accounts/activities": func(ctx context.Context, c *alpaca.Client, account string, _ map[string]any) error {
		_, err := c.Activities(ctx, account, time.Time{})
		return err
	},
	"GET /v1/assets/{symbol_or_asset_id}": func(ctx context.Context, c *alpaca.Client, _ string, body map[string]any) error {
		_, err := c.Asset(ctx, body["id"].(string))
		return err
	},
	"GET /v1/clock": func(ctx context.Context, c *alpaca.Client, _ string, _ map[string]any) error {
		_, err := c.Clock(ctx)
		return err
	},
	"GET /v1/calendar": func(ctx context.Context, c *alpaca.Client, _ string, _ map[string]any) error {
		_, err := c.Calendar(ctx, "2026-11-20", "2026-12-01")
		return err
	},
}

var inBraces = regexp.MustCompile(`\{[^}]+\}`)

// tolerates reads the simulator's answers in every form that the description allows: nothing of it is an error.
func tolerates(t *testing.T, c *contract, account string) {
	t.Helper()
	changed := map[string]int{}
	for call, read := range readings {
		body, ok := c.bodies[inBraces.ReplaceAllString(call, "{id}")+" 200"]
		if !ok {
			t.Errorf("%s was never answered", call)
			continue
		}
		method, path, _ := strings.Cut(call, " ")
		schema := c.at("paths", path, strings.ToLower(method), "responses", "200", "content", "application/json", "schema")
		for _, variant := range []string{absent, null, asNumbers, asStrings, newValues} {
			told := decode(t, body)
			other := varier{c, variant}.vary(schema, "", "", told)
			if !reflect.DeepEqual(other, told) {
				changed[variant]++
			}
			text, err := json.Marshal(other)
			if err != nil {
				t.Fatal(err)
			}
			object, _ := told.(map[string]any)
			if err := read(t.Context(), open(t, said(text), "secret"), owner(told, account), object); err != nil {
				t.Errorf("%s with %s: %v\n%s", call, variant, err, text)
			}
		}
	}
	t.Logf("answers changed: %v", changed)
	for variant, least := range map[string]int{absent: 8, null: 8, asNumbers: 4, asStrings: 2, newValues: 7} {
		if changed[variant] < least {
			t.Errorf("%s: only %d answers differ: the test sees too little", variant, changed[variant])
		}
	}
}

// owner is the account that an answer is about.
func owner(told any, otherwise string) string {
	rows, _ := told.([]any)
	object, _ := told.(map[string]any)
	if len(rows) > 0 {
		object, _ = rows[0].(map[string]any)
	}
	if id, ok := object["account_id"].(string); ok {
		return id
	}
	if id, ok := object["id"].(string); ok && object["account_number"] != nil {
		return id
	}
	return otherwise
}

// said answers every first page with the same text, and every further one with none.
type said []byte

func (s said) RoundTrip(r *http.Request) (*http.Response, error) {
	body := []byte(s)
	if offset := r.URL.Query().Get("offset"); offset != "" && offset != "0" {
		body = []byte("[]")
	}
	return &http.Response{
		StatusCode: http.StatusOK, Status: "200 OK", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(body)), Request: r,
	}, nil
}

func decode(t *testing.T, body []byte) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// at is a part of the description.
func (c *contract) at(path ...string) any {
	var v any = c.all
	for _, p := range path {
		v = v.(map[string]any)[p]
	}
	return v
}

// varier changes an answer along its schema.
type varier struct {
	c       *contract
	variant string
}

var (
	numeric = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?$`)
	digits  = []string{"account_number", "bank_account_number", "bank_routing_number", "postal_code", "client_order_id"} // names, not sums
)

func (v varier) vary(schema any, name, key string, value any) any {
	parts, named := v.resolve(schema)
	if named != "" {
		name = named
	}
	switch value := value.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, inner := range value {
			prop, optional := property(parts, k)
			optional = optional && mustHave[name+"."+k] == ""
			switch {
			case optional && v.variant == absent:
			case optional && v.variant == null:
				out[k] = nil
			default:
				out[k] = v.vary(prop, name, k, inner)
			}
		}
		return out
	case []any:
		var items any
		for _, p := range parts {
			if p["items"] != nil {
				items = p["items"]
			}
		}
		out := make([]any, 0, len(value))
		for _, inner := range value {
			out = append(out, v.vary(items, name, key, inner))
		}
		return out
	case string:
		switch {
		case v.variant == newValues && slices.ContainsFunc(parts, func(p map[string]any) bool { return p["enum"] != nil }):
			return "SOMETHING_NEW"
		case v.variant == asNumbers && numeric.MatchString(value) && !slices.Contains(digits, key):
			return json.Number(value)
		}
	case json.Number:
		if v.variant == asStrings {
			return value.String()
		}
	}
	return value
}

// resolve follows references, and gives every schema that a value must or may keep to, with the name of the first.
func (v varier) resolve(schema any) (parts []map[string]any, name string) {
	s, ok := schema.(map[string]any)
	if !ok {
		return nil, ""
	}
	if ref, ok := s["$ref"].(string); ok {
		path := strings.Split(strings.TrimPrefix(ref, "#/"), "/")
		parts, _ = v.resolve(v.c.at(path...))
		return parts, path[len(path)-1]
	}
	parts = append(parts, s)
	for _, kind := range []string{"allOf", "anyOf", "oneOf"} {
		several, _ := s[kind].([]any)
		for _, one := range several {
			inner, named := v.resolve(one)
			parts = append(parts, inner...)
			if name == "" {
				name = named
			}
		}
	}
	return parts, name
}

// property finds a field's schema. It is optional where no part requires it.
func property(parts []map[string]any, key string) (schema any, optional bool) {
	optional = true
	for _, p := range parts {
		if required, _ := p["required"].([]any); slices.Contains(required, any(key)) {
			optional = false
		}
		if props, _ := p["properties"].(map[string]any); props[key] != nil {
			schema = props[key]
		}
	}
	return schema, optional
}
