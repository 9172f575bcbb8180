package desk_test

import (
	"crypto/sha256"
	"errors"
	"strings"
	"testing"
	"time"

	"closeout/closure"
	"closeout/desk"
	"closeout/ledger"
)

var asked = desk.Ask{Actor: "operator:bob", Why: "asked on the phone"}

func TestCommandsAreRefusedInWords(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name               string
		given              func(*bench) closure.Closure
		command            desk.Command
		code, detail, hint string
	}{
		{"CancelOfAClosedOne", closed, desk.Cancel, desk.ClosureEnded, "latest closure is closed", "a new closure by initiate"},
		{"PauseOfAClosedOne", closed, desk.Pause, desk.ClosureEnded, "latest closure is closed", "a new closure by initiate"},
		{"ResumeOfACanceledOne", canceled, desk.Resume, desk.ClosureEnded, "latest closure is canceled", "a new closure by initiate"},
		{"WakeOfACanceledOne", canceled, desk.Wake, desk.ClosureEnded, "latest closure is canceled", "a new closure by initiate"},
		{"CancelWhileAPayoutIsOnTheWire", paying, desk.Cancel, desk.PastNoReturn, "the payout of $900.00 is on its way to the broker, and can't be undone", "do pause at " + anAccount},
		{"CancelWhileAPayoutIsUnknown", inDoubt, desk.Cancel, desk.PastNoReturn, "the payout of $900.00 may have been carried out", "do pause at " + anAccount},
		{"CancelAfterAPayout", paid, desk.Cancel, desk.PastNoReturn, "the payout of $900.00 was taken by the broker on ", "do pause at " + anAccount},
		{"PauseOfAFailedOne", failed, desk.Pause, desk.NotRunning, "The closure is failed; only a running one can be paused", "Do resume at " + anAccount},
		{"WakeOfAPausedOne", paused, desk.Wake, desk.NotRunning, "The closure is paused; only a running one can be woken", "Do resume at " + anAccount},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			c := tt.given(b)
			no := b.refuses(c, tt.code, tt.detail, tt.hint, func() error {
				_, err := b.Command(b.Context(), c, tt.command, asked)
				return err
			})
			if no.ClosureID != c.ID {
				t.Errorf("it is about %q", no.ClosureID)
			}
			// Who only looks is told the same beforehand.
			intents, err := b.Ledger.Intents(b.Context(), c.ID)
			must(t, err)
			would, ok := errors.AsType[*desk.Refusal](b.Would(c, intents, tt.command, asked))
			if !ok || would.Code != no.Code || would.Detail != no.Detail {
				t.Errorf("beforehand: %v", would)
			}
		})
	}
}

func TestCommandsAreCarriedOut(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		given   func(*bench) closure.Closure
		command desk.Command
		want    closure.State
		visit   bool // another is asked for
	}{
		{"Cancel", waits, desk.Cancel, closure.Canceled, false},
		{"CancelOfAPausedOne", paused, desk.Cancel, closure.Canceled, false},
		{"Pause", waits, desk.Pause, closure.Paused, false},
		{"PauseWhileAPayoutIsOnTheWire", paying, desk.Pause, closure.Paused, false},
		{"Resume", paused, desk.Resume, closure.Running, true},
		{"ResumeOfAFailedOne", failed, desk.Resume, closure.Running, true},
		{"Wake", waits, desk.Wake, closure.Running, true},
		{"WakeOfWhatIsDue", due, desk.Wake, closure.Running, false}, // its visit is on its way, and looks again afterwards
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			c := tt.given(b)
			before := b.state(c.ID)
			must(t, b.Would(before.Closure, before.Intents, tt.command, asked))
			out, err := b.Command(b.Context(), c, tt.command, asked)
			must(t, err)
			after := b.state(c.ID)
			if !out.Changed || out.State != tt.want || after.Closure.State != tt.want || out.Version != after.Closure.Version || len(out.Intents) != len(before.Intents) {
				t.Errorf("%s after it, version %d; the ledger has %s, %d", out.State, out.Version, after.Closure.State, after.Closure.Version)
			}
			if tt.visit != (len(b.scheduled) == 1) || tt.visit && (b.scheduled[0].Version != out.Version || b.scheduled[0].DueAt.After(time.Now())) {
				t.Errorf("visits were asked for: %+v", b.scheduled)
			}
			last := after.Events[len(after.Events)-1]
			if len(after.Events) != len(before.Events)+1 || last.Kind != string(tt.command) || last.Actor != asked.Actor || !strings.Contains(last.Text, asked.Why) {
				t.Errorf("the history says %+v", last)
			}
		})
	}
}

// What is so already is no refusal and no event.
func TestWhatIsSoAlreadyIsLeftAlone(t *testing.T) {
	t.Parallel()
	for command, given := range map[desk.Command]func(*bench) closure.Closure{desk.Cancel: canceled, desk.Pause: paused, desk.Resume: waits} {
		t.Run(string(command), func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			c := given(b)
			before := b.state(c.ID)
			out, err := b.Command(b.Context(), c, command, asked)
			if err != nil || out.Changed || out.State != c.State {
				t.Errorf("%+v, %v", out, err)
			}
			if after := b.state(c.ID); after.Closure.Version != before.Closure.Version || len(after.Events) != len(before.Events) || len(b.scheduled) > 0 {
				t.Errorf("version %d after %d, %d events after %d, %d visits", after.Closure.Version, before.Closure.Version, len(after.Events), len(before.Events), len(b.scheduled))
			}
		})
	}
	b := newBench(t)
	c := waits(b)
	if _, err := b.Command(b.Context(), c, "close", asked); err == nil || !strings.Contains(err.Error(), "no command close") {
		t.Errorf("a command that there is not: %v", err)
	}
	if _, err := b.Command(b.Context(), closure.Closure{ID: "none"}, desk.Pause, asked); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("a closure that there is not: %v", err)
	}
}

// Who has seen less than has happened decides on something else than there is.
func TestAnAskThatHasMissedSomethingDoesNothing(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		happens func(b *bench, c closure.Closure)
		seen    int64 // beyond what there was; what is asked for is done if nothing was missed
		missed  []string
	}{
		"Nothing": {func(*bench, closure.Closure) {}, 0, nil},
		"ALookThatFoundNothing": {func(b *bench, c closure.Closure) {
			b.look(c, closure.Wait(time.Hour, closure.Selling, "selling"))
		}, 0, nil},
		"SomebodyLookedAtPersonalData": {func(b *bench, c closure.Closure) {
			must(b, b.Ledger.Note(b.Context(), c.ID, closure.Event{Kind: ledger.Looked, At: time.Now(), Actor: "operator:eve", Text: "looked"}))
		}, 0, nil},
		"AVisit": {func(b *bench, c closure.Closure) {
			b.look(c, closure.Wait(time.Hour, closure.Halted, "halted"))
		}, 0, []string{"wait"}},
		"SomebodyElse": {func(b *bench, c closure.Closure) {
			must(b, b.Ledger.Note(b.Context(), c.ID, closure.Event{Kind: ledger.Looked, At: time.Now(), Actor: "operator:eve", Text: "looked"}))
			_, err := b.Command(b.Context(), c, desk.Wake, desk.Ask{Actor: "operator:eve", Why: "now"})
			must(b, err)
			b.scheduled = nil
		}, 0, []string{"wake"}},
		"ALedgerThatWentBack": {func(*bench, closure.Closure) {}, 5, []string{"unknown"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			c := waits(b)
			ask := asked
			ask.Seen = c.Seq + tt.seen
			tt.happens(b, c)
			do := func() error {
				_, err := b.Command(b.Context(), c, desk.Pause, ask)
				return err
			}
			if tt.missed == nil {
				if err := do(); err != nil || b.get(c.ID).State != closure.Paused {
					t.Errorf("%v; it is %s", err, b.get(c.ID).State)
				}
				return
			}
			no := b.refuses(c, desk.Moved, "more has happened", "Read what happened", do)
			var kinds []string
			for _, e := range no.Meanwhile {
				kinds = append(kinds, e.Kind)
			}
			if strings.Join(kinds, " ") != strings.Join(tt.missed, " ") {
				t.Errorf("meanwhile %v, want %v", kinds, tt.missed)
			}
		})
	}
}

// The answer to a request is kept with its change, or not at all.
func TestAnAnswerIsKeptWithItsChange(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := waits(b)
	reserve := func(key string) *ledger.Reservation {
		r, err := b.Ledger.Reserve(b.Context(), "shop", key, sha256.Sum256([]byte(key)))
		must(t, err)
		return r
	}
	say := func(a desk.After) (ledger.Answer, error) {
		return ledger.Answer{Status: 200, Body: []byte(a.State)}, nil
	}
	done, same := reserve("done"), reserve("same")
	_, err := b.Command(b.Context(), c, desk.Pause, asked, nil, &ledger.Reply[desk.After]{To: done, Say: say})
	must(t, err)
	if a := done.Answer(); a == nil || string(a.Body) != "paused" {
		t.Errorf("the answer that was kept: %+v", a)
	}
	if _, err := b.Command(b.Context(), c, desk.Pause, asked, &ledger.Reply[desk.After]{To: same, Say: say}); err != nil || same.Answer() != nil {
		t.Errorf("where nothing was changed: %+v, %v", same.Answer(), err)
	}
	refused := errors.New("no words")
	if _, err := b.Command(b.Context(), c, desk.Resume, asked, &ledger.Reply[desk.After]{To: same, Say: func(desk.After) (ledger.Answer, error) { return ledger.Answer{}, refused }}); !errors.Is(err, refused) {
		t.Errorf("%v", err)
	}
	if b.get(c.ID).State != closure.Paused || len(b.scheduled) != 0 {
		t.Error("it was resumed without the answer")
	}
}

func TestWithoutAWayACommandIsCalledByItsName(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Way = nil
	c := inDoubt(b)
	_ = b.refuses(c, desk.PastNoReturn, "", "Hold it before anything further is sent: pause.", func() error {
		_, err := b.Command(b.Context(), c, desk.Cancel, asked)
		return err
	})
}
