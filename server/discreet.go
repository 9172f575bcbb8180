package server

import (
	"context"

	"closeout/closure"
	"closeout/desk"
)

// discreet is the closure as the request's key may see it.
func discreet(ctx context.Context, c closure.Closure) closure.Closure {
	if !allow(entryOf(ctx).scopes, ScopeOperate) {
		c.Why = desk.WithoutWords(c.Reason, c.Why)
	}
	return c
}
