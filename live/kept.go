package live

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// Kept is a reading that all who ask within a while share: it is made once, however many ask, and by one of them at a time. The
// two times must be set.
type Kept[T any] struct {
	Life     time.Duration // for which a reading serves
	Patience time.Duration // with one that is being made; a later reader may find it done

	mu     sync.Mutex
	at     time.Time
	value  T
	turn   int // how often it was forgotten
	making singleflight.Group
}

// ErrSlow says that a reading was not made in time.
var ErrSlow = errors.New("no answer in time")

// Get is the reading, at most so old as it may be. One that failed is not kept.
func (k *Kept[T]) Get(ctx context.Context, read func(context.Context) (T, error)) (T, error) {
	k.mu.Lock()
	turn, value, fresh := k.turn, k.value, !k.at.IsZero() && time.Since(k.at) < k.Life
	k.mu.Unlock()
	if fresh {
		return value, nil
	}
	made := k.making.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), k.Patience) // others wait for it, too
		defer cancel()
		at := time.Now()
		v, err := read(ctx)
		k.mu.Lock()
		defer k.mu.Unlock()
		if err == nil && k.turn == turn { // not of before something changed
			k.at, k.value = at, v
		}
		return v, err
	})
	over := time.NewTimer(k.Patience)
	defer over.Stop()
	var none T
	select {
	case r := <-made:
		if r.Err != nil {
			return none, r.Err
		}
		return r.Val.(T), nil //nolint:forcetypeassert // it is what was just returned
	case <-over.C: // what is read may not heed its context
		return none, ErrSlow
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// Forget lets the next one who asks make a new reading.
func (k *Kept[T]) Forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.at = time.Time{}
	k.turn++
	k.making.Forget("")
}
