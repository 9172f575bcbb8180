package handlers

import (
	"context"
	"time"

	"closeout/closure"
	"closeout/ledger"
)

// heldLook is the time between two looks of a visit that may ask for nothing: the release brings it back, and some phases would
// otherwise look every minute, of every closure, for as long as a person needs.
const heldLook = time.Hour

// heldBack is the wait of a visit whose claim was refused because an operator holds everything. Its look was made, and nothing
// counts towards the limit.
func heldBack(h ledger.Hold) closure.Outcome {
	return closure.Park(heldLook, closure.ServiceHeld, closure.Reasons[closure.ServiceHeld].Title+": "+h.Reason)
}

// released brings back the visits that wait for a hold which is over. Those that are due within a minute are left alone.
func (r *Runner) released(ctx context.Context) error {
	return r.bringBack(ctx, func() ([]closure.Closure, error) {
		return r.Ledger.Released(ctx, r.Clock.Now().Add(time.Minute), sweepPage)
	})
}
