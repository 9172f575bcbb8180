package main

import (
	"context"
	"fmt"

	"closeout/ledger"
)

type migrateCmd struct{ store }

// Run brings the schema up to date and prints one line. Any number may run at once.
func (c *migrateCmd) Run(ctx context.Context, o output) error {
	var bad complaints
	c.check(&bad)
	if err := bad.err(); err != nil {
		return err
	}
	from, to, err := ledger.Migrate(ctx, c.DatabaseURL)
	switch {
	case err != nil:
		return err
	case from == to:
		_, err = fmt.Fprintf(o.out, "the ledger's schema is at version %d: nothing was to be done\n", to)
	default:
		_, err = fmt.Fprintf(o.out, "the ledger's schema went from version %d to version %d\n", from, to)
	}
	return err
}
