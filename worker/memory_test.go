package worker

import (
	"context"
	"errors"
	"io"
	"slices"
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
	away   error
}

func (s *shelfed) Newest(context.Context) (m ledger.Mark, err error) {
	if n := len(s.events); n > 0 {
		m = s.events[n-1]
	}
	return m, nil
}

func (s *shelfed) Lacks(_ context.Context, marks []ledger.Mark) (lacking []ledger.Mark, err error) {
	for _, m := range marks {
		if !slices.ContainsFunc(s.events, func(e ledger.Mark) bool { return e.Hash == m.Hash }) {
			lacking = append(lacking, m)
		}
	}
	return lacking, s.away
}

func (s *shelfed) Hold(context.Context) (ledger.Hold, error) { return s.hold, nil }
func (s *shelfed) HoldAll(_ context.Context, version int64, actor, reason string) (ledger.Hold, error) {
	s.hold = ledger.Hold{Version: version + 1, Held: true, Actor: actor, Reason: reason}
	return s.hold, nil
}
func (s *shelfed) Environment() closure.Environment { return closure.Sandbox }

// remembered is a Redis, which may be away.
type remembered struct {
	words []string
	away  error
	full  error // it takes nothing more
}

func (r *remembered) Remember(_ context.Context, _, word string) error {
	if r.full == nil {
		r.words = append(r.words, word)
	}
	return errors.Join(r.away, r.full)
}

func (r *remembered) RememberOnly(_ context.Context, _, word string) error {
	r.words = []string{word}
	return r.away
}

func (r *remembered) Remembered(_ context.Context, _ string, n int) ([]string, error) {
	if n == 0 || n > len(r.words) {
		n = len(r.words)
	}
	return r.words[len(r.words)-n:], r.away
}

// A ledger that lost what was remembered holds everything, whatever was written to it since; one that only grew does not.
func TestALedgerThatWentBackIsNoticed(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 18, 15, 0, 0, 0, time.UTC)
	event := func(seq int64, hash string) ledger.Mark {
		return ledger.Mark{ClosureID: "c", Seq: seq, Hash: hash, At: at}
	}
	s, r := &shelfed{}, &remembered{}
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
	r.words = nil // an emptied Redis can't warn
	s.events = s.events[:1]
	if err := m.Check(t.Context()); err != nil {
		t.Errorf("an emptied Redis: %v", err)
	}
}

// The loss of a standby's last seconds is shorter than a sweep: the claim alone was remembered. What one worker remembers late
// hides nothing that another has remembered before.
func TestALostClaimIsNoticedBeforeAnythingIsSent(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 18, 15, 0, 0, 0, time.UTC)
	claimed := func(id string, seq int64) closure.Closure {
		return closure.Closure{ID: id, Seq: seq, HeadHash: id + string(rune('0'+seq)), UpdatedAt: at}
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	for name, lost := range map[string]string{"the last": "b3", "one that was remembered before an older one": "a2"} {
		s, r := &shelfed{}, &remembered{}
		m := &Memory{Ledger: s, Queue: r, Log: log}
		for _, c := range []closure.Closure{claimed("a", 1), claimed("b", 1), claimed("a", 2), claimed("b", 2), claimed("b", 3)} {
			s.events = append(s.events, ledger.MarkOf(c))
			if err := m.Claimed(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
		s.events = slices.DeleteFunc(s.events, func(m ledger.Mark) bool { return m.Hash == lost })
		if err := m.Check(t.Context()); !errors.Is(err, ErrLedgerWentBack) {
			t.Errorf("%s: a start: %v", name, err)
		}
		next := claimed("c", 9)
		s.events = append(s.events, ledger.MarkOf(next))
		for range 2 * lately { // however often it is tried, and forgotten
			if err := m.Claimed(t.Context(), next); !errors.Is(err, ErrLedgerWentBack) {
				t.Fatalf("%s: a claim: %v", name, err)
			}
		}
		if !s.hold.Held {
			t.Errorf("%s: nothing is held", name)
		}
	}
}

// A claim that nobody would remember is none that may be sent.
func TestAClaimThatRedisCantRememberIsAnError(t *testing.T) {
	t.Parallel()
	for what, r := range map[string]*remembered{"away": {away: errors.New("away")}, "full": {full: errors.New("full")}} {
		m := &Memory{Ledger: &shelfed{}, Queue: r}
		if err := m.Claimed(t.Context(), closure.Closure{ID: "a", Seq: 1, HeadHash: "a1"}); err == nil {
			t.Errorf("%s: it may be sent", what)
		}
	}
}

// Whether the ledger went back can't be told while it does not answer: the instruction waits, and nothing is held for that.
func TestALedgerThatDoesNotAnswerIsNoReasonToHold(t *testing.T) {
	t.Parallel()
	s, r := &shelfed{away: errors.New("away")}, &remembered{}
	m := &Memory{Ledger: s, Queue: r}
	if err := m.Claimed(t.Context(), closure.Closure{ID: "a", Seq: 1, HeadHash: "a1"}); err == nil || s.hold.Held || len(r.words) > 0 {
		t.Errorf("%v, held %t, remembered %v", err, s.hold.Held, r.words)
	}
}
