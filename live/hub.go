package live

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"closeout/ledger"
)

var (
	// ErrFull says that this process has as many streams as it may.
	ErrFull = errors.New("this process has as many streams as it may")
	// ErrClosed says that this process is about to stop. Another one, or the next, can go on from the last event.
	ErrClosed = errors.New("the process is stopping")
)

// Feed is what the hub knows of the ledger.
type Feed interface {
	Feed(ctx context.Context, after ledger.Cursor, limit int) ([]ledger.Told, ledger.Cursor, error)
	FeedOf(ctx context.Context, account string, after ledger.Cursor, limit int) ([]ledger.Told, ledger.Cursor, error)
	FeedEnd(ctx context.Context) (safe, written ledger.Cursor, err error)
}

// Options are what a hub is made of. Feed is needed.
type Options struct {
	Feed Feed

	// Every is the machine time between two looks at the feed while somebody listens. 0 means a second.
	Every time.Duration

	// Most is how many streams there may be at once. 0 means 1,000.
	Most int

	// Log hears of a ledger that doesn't answer and of a feed that is held up. Nil means that nothing is logged.
	Log *logrus.Logger
}

const (
	page     = 200              // events that are read at once
	waiting  = 512              // events that may wait for a stream's reader; with more, it reads the ledger again by itself
	patience = 10 * time.Second // for one look at the feed
	seldom   = 8 * time.Second  // between two looks at a ledger that does not answer
	stuck    = 30 * time.Second // a feed that has not moved for so long though more is written is worth a line in the log
)

// Hub reads the feed while somebody listens, and not otherwise.
type Hub struct {
	o Options

	mu     sync.Mutex
	open   int
	joined map[*Stream]bool
	stop   context.CancelFunc // ends the reader; nil: there is none
	closed bool
}

// NewHub makes a hub. It costs nothing until somebody listens.
func NewHub(o Options) *Hub {
	if o.Every == 0 {
		o.Every = time.Second
	}
	if o.Most == 0 {
		o.Most = 1000
	}
	if o.Log == nil {
		o.Log = logrus.New()
		o.Log.SetOutput(io.Discard)
	}
	return &Hub{o: o, joined: map[*Stream]bool{}}
}

// Open begins a stream of an account's events, or of all where account is empty, after a place in the feed. The caller
// closes it. ErrFull and ErrClosed say why there is none.
func (h *Hub) Open(account string, after ledger.Cursor) (*Stream, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closed:
		return nil, ErrClosed
	case h.open >= h.o.Most:
		return nil, ErrFull
	}
	h.open++
	return &Stream{hub: h, account: account, at: after, news: make(chan struct{}, 1)}, nil
}

// Close ends every stream, and refuses new ones.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for s := range h.joined {
		h.end(s)
	}
}

// Streams is how many there are.
func (h *Hub) Streams() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.open
}

// join makes a stream hear what the reader finds from now on. What was found before, the stream reads by itself.
func (h *Hub) join(s *Stream) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return ErrClosed
	}
	h.joined[s] = true
	if h.stop == nil {
		ctx, cancel := context.WithCancel(context.Background())
		h.stop = cancel
		go h.read(ctx, s.at)
	}
	return nil
}

// leave forgets a stream. With the last one the reader ends.
func (h *Hub) leave(s *Stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open--
	h.end(s)
}

// end lets a stream go, which asks then why. The lock is held.
func (h *Hub) end(s *Stream) {
	if !h.joined[s] {
		return
	}
	delete(h.joined, s)
	s.told = nil
	s.stir()
	if len(h.joined) == 0 && h.stop != nil {
		h.stop()
		h.stop = nil
	}
}

// read looks at the feed until ctx ends, and tells the streams what is new.
func (h *Hub) read(ctx context.Context, at ledger.Cursor) {
	every := h.o.Every
	var failed error
	checked, safe := time.Now(), ledger.Cursor(0)
	for {
		t := time.NewTimer(every)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
		next, err := h.look(ctx, at)
		if ctx.Err() != nil {
			return
		}
		at = next
		switch {
		case err != nil:
			if failed == nil {
				h.o.Log.WithError(err).Warn("the feed of events cannot be read; streams wait")
			}
			every = min(2*every, seldom)
		case failed != nil:
			h.o.Log.Info("the feed of events can be read again")
			every = h.o.Every
		}
		failed = err
		if err == nil && time.Since(checked) >= stuck {
			safe, checked = h.check(ctx, safe), time.Now()
		}
	}
}

// look reads what is new and hands it out. Where it fails half-way, it says how far it has come.
func (h *Hub) look(ctx context.Context, at ledger.Cursor) (ledger.Cursor, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		events, next, err := h.o.Feed.Feed(ctx, at, page)
		if err != nil || next == at {
			return at, err
		}
		if !h.tell(ctx, events) {
			return at, ctx.Err()
		}
		at = next
	}
}

// tell hands events to those who have joined; false: this reader is not the one any more.
func (h *Hub) tell(ctx context.Context, events []ledger.Told) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if ctx.Err() != nil {
		return false
	}
	for s := range h.joined {
		before := len(s.told)
		for _, e := range events {
			if s.account == "" || s.account == e.AccountID {
				s.told = append(s.told, e)
			}
		}
		switch {
		case len(s.told) > waiting:
			h.end(s)
		case len(s.told) > before:
			s.stir()
		}
	}
	return true
}

// take gives a stream what it was told since it last asked, and says whether it will be told more.
func (h *Hub) take(s *Stream) (told []ledger.Told, more bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	told, s.told = s.told, nil
	if h.closed {
		err = ErrClosed
	}
	return told, h.joined[s], err
}

// check says in the log that the feed is held up. Nothing is skipped then: a person ends the process or the connection that
// has begun to write an event and does not go on.
func (h *Hub) check(ctx context.Context, before ledger.Cursor) ledger.Cursor {
	safe, written, err := h.o.Feed.FeedEnd(ctx)
	if err == nil && safe == before && safe < written {
		h.o.Log.WithField("behind", written-safe).Warn("the feed of events is held up by a transaction of a process of this service that does not end: " +
			"see pg_locks for locktype 'advisory', classid >> 16 = 25446, and pg_stat_activity for its pid")
	}
	return safe
}
