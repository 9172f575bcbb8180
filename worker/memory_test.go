package worker

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"closeout/closure"
	"closeout/ledger"
)

// shelfed is a ledger of a few events, and a hold.
type shelfed struct {
	events []ledger.Mark
	hold   ledger.Hold
}

func (s *shelfed) Newest(context.Context) (m ledger.Mark, err error) {
	if n := len(s.events); n > 0 {
		m = s.events[n-1]
	}
	return m, nil
}

func (s *shelfed) Has(_ context.Context, m ledger.Mark) (bool, error) {
	for _, e := range s.events {
		if e.ClosureID == m.ClosureID && e.Seq == m.Seq && e.Hash == m.Hash {
			return true, nil
		}
	}
	return false, nil
}
func (s *shelfed) Hold(context.Context) (ledger.Hold, error) { return s.hold, nil }
func (s *shelfed) HoldAll(_ context.Context, version int64, actor, reason string) (ledger.Hold, error) {
	s.hold = ledger.Hold{Version: version + 1, Held: true, Actor: actor, Reason: reason}
	return s.hold, nil
}
func (s *shelfed) Environment() closure.Environment { return closure.Sandbox }

type remembered map[string]string

func (r remembered) Remember(_ context.Context, env, word string) error       { r[env] = word; return nil }
func (r remembered) Remembered(_ context.Context, env string) (string, error) { return r[env], nil }

// A ledger that lost what was remembered holds everything, whatever was written to it since; one that only grew does not.
func TestALedgerThatWentBackIsNoticed(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 18, 15, 0, 0, 0, time.UTC)
	event := func(seq int64, hash string) ledger.Mark {
		return ledger.Mark{ClosureID: "c", Seq: seq, Hash: hash, At: at}
	}
	s, r := &shelfed{}, remembered{}
	log := logrus.New()
	log.SetOutput(io.Discard)
	m := &Memory{Ledger: s, Queue: r, Log: log}
	grown := func(what string, events ...ledger.Mark) {
		s.events = events
		if err := m.round(t.Context()); err != nil || s.hold.Held {
			t.Fatalf("%s: %v, held %t", what, err, s.hold.Held)
		}
	}
	grown("an empty ledger")
	grown("its first event", event(1, "a"))
	grown("more of them", event(1, "a"), event(2, "b"), event(3, "c"))

	s.events = []ledger.Mark{event(1, "a"), event(2, "x"), event(3, "y"), event(4, "z")} // restored, and written to since
	for range 2 {
		if err := m.Check(t.Context()); !errors.Is(err, ErrLedgerWentBack) {
			t.Fatalf("went back: %v", err)
		}
	}
	if err := m.round(t.Context()); err != nil || !s.hold.Held {
		t.Fatalf("a sweep: %v, held %t", err, s.hold.Held)
	}
	if err := m.Anew(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := m.Check(t.Context()); err != nil {
		t.Errorf("once it was reconciled: %v", err)
	}
	delete(r, string(closure.Sandbox)) // an emptied Redis can't warn
	s.events = s.events[:1]
	if err := m.Check(t.Context()); err != nil {
		t.Errorf("an emptied Redis: %v", err)
	}
}
