package live

import (
	"context"

	"closeout/ledger"
)

// Stream is one listener's way along the feed. It is for one goroutine at a time.
type Stream struct {
	hub     *Hub
	account string
	at      ledger.Cursor // of the last event that is on the page, or was passed by
	page    []ledger.Told // not given yet
	joined  bool
	even    bool // nothing that the hub's reader had passed before the join is left to read

	told []ledger.Told // by the hub, under its lock
	news chan struct{} // says that there is some, or that there will be none
}

// stir lets the stream ask the hub what there is.
func (s *Stream) stir() {
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// Next waits for the next event. An error of ctx leaves the stream as it was: Next can be asked again. After any other
// error the stream is over.
func (s *Stream) Next(ctx context.Context) (ledger.Told, error) {
	for len(s.page) == 0 {
		if err := s.turn(ctx); err != nil {
			return ledger.Told{}, err
		}
	}
	t := s.page[0]
	s.page = s.page[1:]
	return t, nil
}

// turn gets the next page, which may be empty: from the ledger, until the stream is even with the hub's reader, then by it.
func (s *Stream) turn(ctx context.Context) error {
	if !s.even {
		return s.catchUp(ctx)
	}
	select {
	case <-s.news:
		told, more, err := s.hub.take(s)
		for _, t := range told {
			if t.Cursor > s.at {
				s.page, s.at = append(s.page, t), t.Cursor
			}
		}
		if !more { // more came at once than is kept for it
			s.joined, s.even = false, false
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// catchUp reads a page of the ledger. At its end the stream joins the others, and then reads once more what came up to that
// moment.
func (s *Stream) catchUp(ctx context.Context) error {
	var events []ledger.Told
	var next ledger.Cursor
	var err error
	if s.account == "" {
		events, next, err = s.hub.o.Feed.Feed(ctx, s.at, page)
	} else {
		events, next, err = s.hub.o.Feed.FeedOf(ctx, s.account, s.at, page)
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return err
	case next != s.at:
		s.page, s.at = events, next
	case s.joined:
		s.even = true
	default:
		if err := s.hub.join(s); err != nil { //nolint:contextcheck // the reader serves others when this stream has ended
			return err
		}
		s.joined = true
	}
	return nil
}

// Close ends the stream.
func (s *Stream) Close() { s.hub.leave(s) }
