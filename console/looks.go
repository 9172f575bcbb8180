package console

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"closeout/closure"
)

// lookServes is how long, in machine time, a look at the broker for a page serves everybody who opens it: it costs calls of the
// budget that customers' questions share, and goes before the looks of closures.
const lookServes = 15 * time.Second

// looks are what the broker showed of accounts lately.
type looks[T any] struct {
	serves time.Duration
	whole  func(T) bool // what is not, is not kept; nil: it is

	flight singleflight.Group
	mu     sync.Mutex
	of     map[string]seen[T]
}

type seen[T any] struct {
	what T
	at   time.Time
}

// at is what the broker shows of a closure's account, at most so old, and not from before the closure's last event: what it has
// done since would look like drift. A look that failed, or failed in part, is not kept.
func (l *looks[T]) at(ctx context.Context, c closure.Closure, look func(context.Context, string) (T, error)) (T, error) {
	key := fmt.Sprintf("%s/%d", c.ID, c.Seq)
	l.mu.Lock()
	kept, ok := l.of[key]
	l.mu.Unlock()
	if ok && time.Since(kept.at) < l.serves {
		return kept.what, nil
	}
	got, err, _ := l.flight.Do(key, func() (any, error) {
		at := time.Now()
		v, err := look(context.WithoutCancel(ctx), c.AccountID) // for all who wait; the client has its own limit of time
		if err == nil && (l.whole == nil || l.whole(v)) {
			l.keep(key, seen[T]{v, at})
		}
		return v, err
	})
	return got.(T), err //nolint:forcetypeassert // it is what was just returned
}

// keep keeps a look, and few.
func (l *looks[T]) keep(key string, one seen[T]) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of == nil || len(l.of) >= 100 {
		l.of = map[string]seen[T]{}
	}
	l.of[key] = one
}
