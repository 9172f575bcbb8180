package alpaca_test

import "strings"

// used are the paths that the client asks or the simulator answers; the rest of the description is left out, since
// reading it takes longer than all that is tested here.
var used = []string{
	"/v1/accounts/{account_id}",
	"/v1/accounts/{account_id}/ach_relationships",
	"/v1/accounts/{account_id}/ach_relationships/{ach_relationship_id}",
	"/v1/accounts/{account_id}/actions/close",
	"/v1/accounts/{account_id}/transfers",
	"/v1/accounts/{account_id}/transfers/{transfer_id}",
	"/v1/accounts/activities",
	"/v1/assets/{symbol_or_asset_id}",
	"/v1/calendar",
	"/v1/clock",
	"/v1/rebalancing/subscriptions",
	"/v1/trading/accounts/{account_id}/account",
	"/v1/trading/accounts/{account_id}/orders",
	"/v1/trading/accounts/{account_id}/orders/{order_id}",
	"/v1/trading/accounts/{account_id}/orders:by_client_order_id",
	"/v1/trading/accounts/{account_id}/positions",
	"/v1/trading/accounts/{account_id}/positions/{symbol_or_asset_id}",
	"/v1/events/accounts/status",
	"/v2/events/funding/status",
	"/v2/events/trades",
}

// unused are the operations of those paths that neither the client asks for nor the simulator answers, and why.
var unused = map[string]string{
	"PATCH /v1/accounts/{account_id}":                                         "the customer's data are not this service's to change",
	"POST /v1/rebalancing/subscriptions":                                      "a subscription is the firm's to make and to end",
	"DELETE /v1/trading/accounts/{account_id}/orders":                         "each order is cancelled by its id, so that the ledger names it",
	"PATCH /v1/trading/accounts/{account_id}/orders/{order_id}":               "nothing is changed: it is cancelled and asked for anew",
	"DELETE /v1/trading/accounts/{account_id}/positions":                      "takes no client_order_id: what it did could not be told after a lost answer",
	"DELETE /v1/trading/accounts/{account_id}/positions/{symbol_or_asset_id}": "the same",
}

// undescribed are the statuses of refusals that the description has no answer for, "METHOD /path … status", and why the
// simulator gives them all the same. What they say must still be an Error.
var undescribed = map[string]string{
	"any … 401": "described for one operation only; a wrong key is refused by every one",
	"any … 429": "described for clock and calendar only; the rate limit is the correspondent's",
	"any … 500": "described for a few only; any server can fail",
	"any … 404": "described for some only; an account or order that is not there is not found anywhere",
	"GET … 400": "a query that can't be read",
	"DELETE /v1/trading/accounts/{id}/orders/{id} … 422": "an order that is not cancelable: the trading API's documented answer",
	"DELETE /v1/accounts/{id}/transfers/{id} … 422":      "a transfer that has left: no answer is described, and it can't be called a success",
	"POST /v1/accounts/{id}/ach_relationships … 403":     "a closed account takes no bank",
	"POST /v1/accounts/{id}/actions/close … 422":         "only 404 is described, and an account with money in it must be refused somehow",
}

// mend puts right where the description contradicts itself, and nothing else.
func mend(all map[string]any) {
	components := all["components"].(map[string]any)
	// An activity is one of two shapes whose fields are all optional, so that each fits both, and "one of" fits none.
	activity := components["schemas"].(map[string]any)["Activity"].(map[string]any)
	for _, part := range activity["allOf"].([]any) {
		if shape, ok := part.(map[string]any); ok && shape["oneOf"] != nil {
			shape["anyOf"] = shape["oneOf"]
			delete(shape, "oneOf")
		}
	}
	// What a stream's events are like stands under a content type that no validator reads.
	for path, operations := range all["paths"].(map[string]any) {
		if strings.Contains(path, "/events/") {
			content := operations.(map[string]any)["get"].(map[string]any)["responses"].(map[string]any)["200"].(map[string]any)["content"].(map[string]any)
			content["application/json"] = map[string]any{"schema": content["text/event-stream"].(map[string]any)["schema"]}
		}
	}
	// The kind of an entity has a format here that none of the kinds it lists could have.
	funding := components["schemas"].(map[string]any)["StatusFundingEvent"].(map[string]any)["properties"].(map[string]any)
	delete(funding["entity_type"].(map[string]any), "format")
	// A 403 to an order is text here, and an Error in its guides and in everything that was ever reported.
	forbidden := components["responses"].(map[string]any)["Forbidden"].(map[string]any)
	forbidden["content"].(map[string]any)["application/json"].(map[string]any)["schema"] = map[string]any{"$ref": "#/components/schemas/Error"}
	// An asset of crypto has an exchange, which every position in it names, and the list of exchanges lacks it.
	exchange := components["schemas"].(map[string]any)["Exchange"].(map[string]any)
	exchange["enum"] = append(exchange["enum"].([]any), "CRYPTO")
}

// mustHave are the optional fields by the description that the client can't do without, and why: an answer without one is an
// error, never a guess.
var mustHave = map[string]string{
	"Order.client_order_id":            "an order that was looked up by this name must be the one of this name",
	"PortfolioSubscription.account_id": "whose subscription it is decides whether the account can be traded",
	"Asset.id":                         "an asset without an id is no asset",
	"Asset.status":                     "it is all that is asked of an asset",
}
