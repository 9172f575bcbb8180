package closure_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"closeout/closure"
)

// What a newer version wrote into a memo is there again after this one has read it, changed it and written it.
func TestAMemoKeepsWhatANewerVersionWroteIntoIt(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{}`:                                     `{"paid":"1.00"}`,
		`{"came_back":2}`:                        `{"came_back":2,"paid":"1.00"}`,
		`{"wired":{"n":[1,2]}}`:                  `{"paid":"1.00","wired":{"n":[1,2]}}`,
		`{"paid":"0.50","new":1.10,"worth":"7"}`: `{"new":1.10,"paid":"1.00","worth":"7"}`,
		`{"stand":{"cash":"5","key":3,"listed":{"a":"b"},"seen":"x"}}`:                                           `{"paid":"1.00","stand":{"cash":"5","key":3,"listed":{"a":"b"},"seen":"x"}}`,
		`{"by_hand":[{"amount":"5","reference":"r","key":3},{"amount":"6","reference":"s","key":4,"by":"ann"}]}`: `{"by_hand":[{"amount":"5","reference":"r","key":3},{"amount":"6","by":"ann","key":4,"reference":"s"}],"paid":"1.00"}`,
	} {
		var m closure.Memo
		if err := json.Unmarshal([]byte(text), &m); err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		m.Paid = "1.00"
		got, err := json.Marshal(m)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if d := cmp.Diff(members(t, want), members(t, string(got))); d != "" {
			t.Errorf("%s became %s (-want +got)\n%s", text, got, d)
		}
	}
}

func members(t *testing.T, text string) (v map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// A memo whose members may mean something else is not read, and not lost.
func TestAMemoOfANewerFormatIsKeptAsItIs(t *testing.T) {
	t.Parallel()
	const text = `{"by_hand":"elsewhere","paid":{"usd":"1.00"},"v":2}`
	var m closure.Memo
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	if m.Format != 2 || m.Paid != "" {
		t.Errorf("it was read as %+v", m)
	}
	if got, err := json.Marshal(m); err != nil || string(got) != text {
		t.Errorf("it became %s, %v", got, err)
	}
}

func TestOfWhatANewerVersionHasTakenUpNothingIsChanged(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, time.November, 18, 15, 0, 0, 0, time.UTC)
	policy := closure.DefaultPolicy(closure.Sandbox)
	ours := closure.Closure{ID: "c", Phase: closure.Settlement, State: closure.Running, Version: 3, DueAt: at}
	if what := closure.Newer(ours, closure.Intent{Kind: closure.OrderIntent, State: closure.IntentVoid}); what != "" {
		t.Errorf("ours has %s", what)
	}
	for what, change := range map[string]func(*closure.Closure){
		`the phase "wiring"`: func(c *closure.Closure) { c.Phase = "wiring" },
		`the state "parked"`: func(c *closure.Closure) { c.State = "parked" },
		"a memo of format 2": func(c *closure.Closure) { c.Memo.Format = 2 },
	} {
		c := ours
		change(&c)
		if got := closure.Newer(c); got != what || c.State.Ended() {
			t.Errorf("it has %q, want %q; over: %t", got, what, c.State.Ended())
		}
		for name, ch := range map[string]closure.Change{
			"look": closure.Looked(at, closure.Wait(0, closure.Settling, "settling"), closure.Look{}, nil), "claim": closure.Claimed(at, at, "pay", true),
			"error": closure.Stumbled(at, "no", 0, true), "crash": closure.Crashed(at, 9), "went back": closure.WentBack(at), "reissue": closure.Reissued(at, "lost", true),
			"hasten": closure.Hastened(at), "wake": closure.Wake(at, "ann", "now"), "pause": closure.Pause(at, "ann", "now"),
			"cancel": closure.Cancel(at, "ann", "now", false), "resume": closure.Resume(at, "ann", "now"),
		} {
			next, ev, err := closure.Apply(c, ch, policy)
			if !errors.Is(err, closure.ErrNewer) || !errors.Is(err, closure.ErrNotRunning) || ev != nil || !cmp.Equal(next, c) {
				t.Errorf("%s, with %s: %v", name, what, err)
			}
		}
		_, _, err := closure.Apply(c, closure.Pause(at, "ann", "now"), policy)
		if no, ok := errors.AsType[*closure.NotAllowedError](err); !ok || no.Command != "pause" {
			t.Errorf("a person is told %v", err)
		}
	}
	for what, i := range map[string]closure.Intent{
		`an instruction of the kind "wire"`:       {Kind: "wire", State: closure.IntentSent},
		`an instruction in the state "in_review"`: {Kind: closure.TransferIntent, State: "in_review"},
	} {
		if got := closure.Newer(ours, i); got != what {
			t.Errorf("it has %q, want %q", got, what)
		}
		if err := closure.Cancel(at, "ann", "now", false).Commanded(ours, []closure.Intent{i}); !errors.Is(err, closure.ErrNewer) {
			t.Errorf("with %s it was cancelled: %v", what, err)
		}
	}
}
