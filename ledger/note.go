package ledger

import (
	"context"
	"fmt"

	"closeout/closure"
)

// Looked is the kind of an event that says that a person looked at what is masked: nothing was changed by it.
const Looked = "look"

// Note writes an event that moves nothing into a closure's history, chained as all are. ErrNotFound: there is no such closure in
// this environment.
func (l *Ledger) Note(ctx context.Context, id string, ev closure.Event) error {
	err := l.tx(ctx, func(tx *transaction) error {
		c, err := l.lock(ctx, tx, id)
		if err != nil {
			return err
		}
		return l.append(ctx, tx, &c, &ev)
	})
	if err != nil {
		return fmt.Errorf("note %q: %w", ev.Kind, err)
	}
	return nil
}
