package console

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"closeout/closure"
	"closeout/readiness"
)

// lookServes is how long, in machine time, a look at the broker for a page serves everybody who opens it: it costs calls of the
// budget that customers' questions share, and goes before the looks of closures.
const lookServes = 15 * time.Second

// looks are accounts as the broker showed them lately.
type looks struct {
	serves time.Duration
	flight singleflight.Group
	mu     sync.Mutex
	of     map[string]seenAccount
}

type seenAccount struct {
	view readiness.View
	at   time.Time
}

// view is a closure's account as the broker shows it, at most so old, and not from before the closure's last event: what it has done
// since would look like drift. A look that failed, or failed in part, is not kept.
func (l *looks) view(ctx context.Context, c closure.Closure, look func(context.Context, string) (readiness.View, error)) (readiness.View, error) {
	key := fmt.Sprintf("%s/%d", c.ID, c.Seq)
	l.mu.Lock()
	seen, ok := l.of[key]
	l.mu.Unlock()
	if ok && time.Since(seen.at) < l.serves {
		return seen.view, nil
	}
	got, err, _ := l.flight.Do(key, func() (any, error) {
		at := time.Now()
		v, err := look(context.WithoutCancel(ctx), c.AccountID) // for all who wait; the client has its own limit of time
		if err == nil && len(v.Unreadable) == 0 {
			l.keep(key, seenAccount{v, at})
		}
		return v, err
	})
	return got.(readiness.View), err //nolint:forcetypeassert // it is what was just returned
}

// keep keeps a look, and few.
func (l *looks) keep(key string, seen seenAccount) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of == nil || len(l.of) >= 100 {
		l.of = map[string]seenAccount{}
	}
	l.of[key] = seen
}
