package console

import (
	"context"
	"strings"
	"sync"
	"time"
)

// What changes with time alone, ages, next looks, the market, a worker that is heard no more, is no event. So a page that was told
// of nothing for a while has a beat: it is told to draw itself again, as after an event. In one process one page a second has one,
// the one that has waited the longest; so beats cost a drawing a second at the most, and up to some thirty different pages,
// whoever many look at each, are never older than half a minute.
const (
	beatAfter = 29 * time.Second
	beatEvery = time.Second
)

// beats are the pages that are open in this process, by address.
type beats struct {
	mu   sync.Mutex
	open map[string]*openPage
	stop context.CancelFunc // ends the beating; nil: no page is open
}

type openPage struct {
	since time.Time // when it was first opened
	eyes  map[*eye]bool
}

// eye is one who looks at a page.
type eye struct {
	mu   sync.Mutex
	beat bool   // that was not seen yet
	wake func() // ends what they wait for
}

// join opens a page, which has beats until leave. tell is done before all who look at a page are woken.
func (b *beats) join(of string, told func(page string) time.Time, tell func(page string)) (e *eye, leave func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e = &eye{}
	if b.open == nil {
		b.open = map[string]*openPage{}
	}
	if b.open[of] == nil {
		b.open[of] = &openPage{time.Now(), map[*eye]bool{}}
	}
	b.open[of].eyes[e] = true
	if b.stop == nil {
		ctx, stop := context.WithCancel(context.Background())
		b.stop = stop
		go b.run(ctx, told, tell)
	}
	return e, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if delete(b.open[of].eyes, e); len(b.open[of].eyes) == 0 {
			delete(b.open, of)
		}
		if len(b.open) == 0 {
			b.stop()
			b.stop = nil
		}
	}
}

func (b *beats) run(ctx context.Context, told func(string) time.Time, tell func(string)) {
	t := time.NewTicker(beatEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		b.mu.Lock()
		if of := b.oldest(told); of != "" {
			b.give(of, tell)
		}
		b.mu.Unlock()
	}
}

// give gives a page its beat. The lock is held.
func (b *beats) give(of string, tell func(page string)) {
	tell(of)
	for e := range b.open[of].eyes {
		e.ring()
	}
}

// now gives the pages at and below a path their beat at once: something that is no event was done to what they show.
func (b *beats) now(path string, tell func(page string)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for of := range b.open {
		if at, _, _ := strings.Cut(of, "?"); under(at, path) {
			b.give(of, tell)
		}
	}
}

// oldest is the page that was told of nothing for the longest, if that is long enough. The lock is held.
func (b *beats) oldest(told func(string) time.Time) (oldest string) {
	before := time.Now().Add(-beatAfter)
	for of, p := range b.open {
		at := p.since
		if t := told(of); t.After(at) {
			at = t
		}
		if !at.After(before) {
			oldest, before = of, at
		}
	}
	return oldest
}

func (e *eye) ring() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.beat = true
	if e.wake != nil {
		e.wake()
	}
}

// until has wake called at the next beat, or now if there was one.
func (e *eye) until(wake func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.wake = wake; e.beat {
		wake()
	}
}

// seen says whether there was a beat since it was last asked.
func (e *eye) seen() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	was := e.beat
	e.beat = false
	return was
}
