package server

import (
	"maps"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// words say what a field or a parameter means that means the same wherever it stands. A field's own doc goes before.
var words = map[string]string{
	"account_id":           "The account's id at the broker",
	"account_status":       "At the broker, such as ACTIVE",
	"actor":                "Who did it: worker is this service by itself, api:name the key of that name",
	"at":                   "When it happened",
	"batch_id":             "The id of the batch, as its acceptance gave it",
	"cash_balance":         "Dollars in the account",
	"confirmation_number":  "What the customer quotes",
	"created_at":           "When it was accepted",
	"dry_run":              "Whether the accounts are only checked, and none is started",
	"estimated_completion": "When it will be over, in words",
	"estimated_payout":     "About how many dollars will be paid out",
	"hint":                 "What can be done about it",
	"initiated_at":         "When it was accepted",
	"job_id":               "The id of the closure, as its acceptance gave it",
	"limit":                "How many there are on a page",
	"message":              "What happens next, in words",
	"not_before":           "When it starts; null or absent: at once",
	"paid":                 "Dollars that have arrived and were not returned",
	"partial":              "Whether what can be started is, whatever becomes of the rest",
	"phase":                "liquidation, settlement, withdrawal or closing; of what is over, the last",
	"priority":             "urgent, normal or bulk: which queue its steps wait in",
	"qty":                  "How many shares, with fractions",
	"reason":               "Why, as whoever asked for it put it",
	"state":                "running, paused, failed (refused, or too late), dead (after errors), closed or canceled; a person can resume what has failed or is dead",
	"success":              "Always true: what is refused is answered by a problem",
	"symbol":               "Of the asset",
	"text":                 "In words",
	"updated_at":           "When it last moved",
	"version":              "Of this service",
	"who_must_act":         "customer, operator or broker; absent if time will do",
	"why":                  "Why it waits or has stopped, in words",
}

// explain gives every field and parameter of the description that has no doc of its own the word for it.
func explain(api *huma.OpenAPI) {
	for of, schema := range api.Components.Schemas.Map() {
		if strings.HasPrefix(of, "Earlier") { // their names mean what they meant there
			continue
		}
		for name, p := range schema.Properties {
			if p.Description == "" && p.Ref == "" {
				p.Description = words[name]
			}
		}
	}
	for _, path := range slices.Sorted(maps.Keys(api.Paths)) {
		for _, op := range operationsAt(api.Paths[path]) {
			for _, p := range op.Parameters {
				if p.Description == "" {
					p.Description = words[p.Name]
				}
			}
		}
	}
}

func operationsAt(item *huma.PathItem) (all []*huma.Operation) {
	for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Patch, item.Delete} {
		if op != nil {
			all = append(all, op)
		}
	}
	return all
}
