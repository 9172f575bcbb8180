package budget

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"closeout/alpaca"
)

// State is how the budget does, for health and metrics.
type State struct {
	Why   alpaca.Hold // outage or refused: nobody asks the broker; otherwise empty
	Since time.Time   // machine time

	PerMinute int
	Calls     map[Class]uint64       // made, since the start
	Held      map[alpaca.Hold]uint64 // held back, since the start
	Backlog   time.Duration          // how far ahead the queue of looks was taken up when it was last asked
	Alone     bool                   // Redis does not answer: this process keeps to its share

	Limit, Left int       // the broker's quota as it was last told; Limit 0: never
	Renewed     time.Time // then
}

// State tells how the budget does. It asks nobody.
func (b *Budget) State() State {
	s := State{PerMinute: b.o.PerMinute, Calls: map[Class]uint64{}, Held: map[alpaca.Hold]uint64{}}
	for c := range classes {
		s.Calls[c] = b.calls[c].Load()
	}
	b.held.Range(func(why, n any) bool {
		s.Held[why.(alpaca.Hold)] = n.(*atomic.Uint64).Load()
		return true
	})
	if since, is := b.outage.down(); is {
		s.Why, s.Since = alpaca.HoldOutage, since
	}
	if since, is := b.credentials.down(); is {
		s.Why, s.Since = alpaca.HoldRefused, since
	}
	b.shared.mu.Lock()
	s.Backlog, s.Alone = b.shared.backlog, b.shared.isAway
	b.shared.mu.Unlock()
	b.quota.mu.Lock()
	defer b.quota.mu.Unlock()
	s.Limit, s.Left, s.Renewed = b.quota.limit, b.quota.left, b.quota.reset
	return s
}

// Err says in a line why the broker is not asked at all, or is nil.
func (b *Budget) Err() error {
	s := b.State()
	since := time.Since(s.Since).Round(time.Second)
	switch s.Why {
	case alpaca.HoldOutage:
		return fmt.Errorf("has not answered for %s", since)
	case alpaca.HoldRefused:
		return fmt.Errorf("has refused this service's credentials for %s", since)
	case alpaca.HoldBusy:
	}
	return nil
}

// Probe asks now and then while the broker does not answer or refuses the credentials, until ctx ends: a process that has
// little to ask would otherwise go on saying so long after it was over. What ask reads passes the budget like any other call,
// which decides whether it is made.
func (b *Budget) Probe(ctx context.Context, ask func(context.Context) error) {
	t := time.NewTicker(b.o.Probe)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if b.Err() != nil {
			_ = ask(ctx) // what it heard, the budget heard
		}
	}
}
