package closure_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"closeout/closure"
)

func TestResumeClearsWhatStoppedTheClosureAndKeepsItsPlace(t *testing.T) {
	t.Parallel()
	for _, s := range []closure.State{closure.Paused, closure.Failed, closure.Dead} {
		before := stand(t, s, closure.Withdrawal)
		before.Failures, before.FailuresInPhase, before.Crashes, before.LastError, before.Loops = 3, 19, 4, "broken", 9
		before.Memo = closure.Memo{Paid: "10.00", ListDigest: "abc", ListSince: noon, CameBack: 1, ExcessSince: noon, Excess: "5"}
		at := noon.Add(time.Hour)
		after := apply(t, before, closure.Resume(at, "ann", "it is mended"))
		want := before
		want.State, want.Version, want.Token, want.DueAt, want.UpdatedAt, want.EndedAt = closure.Running, before.Version+1, after.Token, at, at, time.Time{}
		want.Failures, want.FailuresInPhase, want.Crashes, want.LastError, want.Loops, want.NotedRetries = 0, 0, 0, "", 0, 0
		want.Looks, want.LastLook = 0, time.Time{}
		want.Reason, want.Why, want.Who = closure.Accepted, "resumed: it is mended", closure.Nobody
		want.Memo.ExcessSince, want.Memo.Excess = time.Time{}, ""
		if diff := cmp.Diff(want, after); diff != "" {
			t.Errorf("a %s closure (-want +got)\n%s", s, diff)
		}
	}
}

// What a person has seen is not held against the closure again. A second sum comes on top of the first: the books take
// what is allowed as one.
func TestResumeAcceptsWhatAPersonHasSeen(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		reason closure.Reason
		memo   closure.Memo
		want   closure.Memo
	}{
		{"an excess", closure.Unexplained, closure.Memo{Excess: "12.34", ExcessSince: noon}, closure.Memo{Allowed: "12.34"}},
		{"a second excess", closure.Unexplained, closure.Memo{Excess: "5.5", ExcessSince: noon, Allowed: "10"}, closure.Memo{Allowed: "15.5"}},
		{"a sum that is missing again", closure.Unexplained, closure.Memo{Excess: "-10", ExcessSince: noon, Allowed: "10"}, closure.Memo{Allowed: "0"}},
		{"an excess that is only noted", closure.LimitReached, closure.Memo{Excess: "12.34", ExcessSince: noon, Allowed: "1"}, closure.Memo{Allowed: "1"}},
		{"two returns", closure.ReturnedTwice, closure.Memo{CameBack: 2}, closure.Memo{CameBack: 2, Forgiven: 2}},
		{"returns when stopped for something else", closure.TransferFailed, closure.Memo{CameBack: 2, Forgiven: 1}, closure.Memo{CameBack: 2, Forgiven: 1}},
	} {
		c := fresh(closure.Withdrawal)
		c.Memo = tt.memo
		c = apply(t, c, looked(closure.Fail(tt.reason, "look"))(noon), closure.Resume(noon, "ann", "seen"))
		if diff := cmp.Diff(tt.want, c.Memo); diff != "" {
			t.Errorf("%s (-want +got)\n%s", tt.name, diff)
		}
	}
}

func TestAPayoutsClaimSettlesTheBooks(t *testing.T) {
	t.Parallel()
	c := fresh(closure.Withdrawal)
	c.Memo = closure.Memo{Excess: "5", ExcessSince: noon, Allowed: "10", Paid: "3.00", CameBack: 1, Forgiven: 1}
	if diff := cmp.Diff(c.Memo, apply(t, c, closure.Claimed(noon, noon, "sell", false)).Memo); diff != "" {
		t.Errorf("an order's claim changed the memo\n%s", diff)
	}
	want := closure.Memo{Paid: "3.00", CameBack: 1, Forgiven: 1}
	if diff := cmp.Diff(want, apply(t, c, closure.Claimed(noon, noon, "pay out", true)).Memo); diff != "" {
		t.Errorf("a payout's claim (-want +got)\n%s", diff)
	}
}

func TestALooksMemoReplacesTheClosures(t *testing.T) {
	t.Parallel()
	c := fresh(closure.Withdrawal)
	c.Memo.Paid = "1.00"
	kept := apply(t, c, looked(selling)(noon))
	if diff := cmp.Diff(c.Memo, kept.Memo); diff != "" {
		t.Errorf("a look without a memo changed it\n%s", diff)
	}
	replaced := apply(t, c, closure.Looked(noon, closure.Outage(0, "no answer"), closure.Look{}, &closure.Memo{ListDigest: "abc"}))
	if diff := cmp.Diff(closure.Memo{ListDigest: "abc"}, replaced.Memo); diff != "" {
		t.Errorf("a look's memo (-want +got)\n%s", diff)
	}
}

func TestACrashIsToldFromAnErrorByTheRetriesNoted(t *testing.T) {
	t.Parallel()
	c := fresh(closure.Liquidation)
	c = apply(t, c, closure.Stumbled(noon, "broken", 0, true))
	if c.NotedRetries != 1 || c.Version != 1 {
		t.Fatalf("after an error %d retries are noted at version %d", c.NotedRetries, c.Version)
	}
	c = apply(t, c, closure.Crashed(noon, 2))
	if c.NotedRetries != 2 || c.Crashes != 1 || c.Failures != 1 || c.Version != 1 {
		t.Fatalf("after a crash %d retries are noted, %d crashes, %d failures", c.NotedRetries, c.Crashes, c.Failures)
	}
	older := apply(t, c, closure.Stumbled(noon, "broken", 7, false)) // the delivery is of an older version: its count says nothing
	if older.NotedRetries != 2 || older.Failures != 2 {
		t.Errorf("an error of an older delivery: %d retries noted, %d failures", older.NotedRetries, older.Failures)
	}
	if moved := apply(t, c, looked(selling)(noon)); moved.NotedRetries != 0 || moved.Crashes != 0 || moved.Failures != 0 {
		t.Errorf("after a look: %d retries noted, %d crashes, %d failures", moved.NotedRetries, moved.Crashes, moved.Failures)
	}
}

// Of two overlapping deliveries the later may fail first: what Asynq's count must be next is the greater.
func TestNotedRetriesNeverGoBack(t *testing.T) {
	t.Parallel()
	c := apply(t, fresh(closure.Liquidation), closure.Stumbled(noon, "second", 1, true), closure.Stumbled(noon, "first", 0, true))
	if c.NotedRetries != 2 {
		t.Errorf("%d retries are noted: the third delivery would pass for a crash", c.NotedRetries)
	}
}

func TestAWakeMakesAWaitingClosureDueAndMarksADueOne(t *testing.T) {
	t.Parallel()
	at := noon.Add(time.Minute)
	waiting := stand(t, closure.Running, closure.Settlement) // due in an hour
	woken := apply(t, waiting, closure.Wake(at, "ann", "now"))
	if woken.Version != waiting.Version+1 || !woken.DueAt.Equal(at) || !woken.WokenAt.IsZero() {
		t.Errorf("a waiting one: version %d, due %s, marked %s", woken.Version, woken.DueAt, woken.WokenAt)
	}
	for range 3 { // a storm changes nothing more
		marked := apply(t, woken, closure.Wake(at, "ann", "now"))
		if marked.Version != woken.Version || !marked.DueAt.Equal(at) || !marked.WokenAt.Equal(at) {
			t.Errorf("a due one: version %d, due %s, marked %s", marked.Version, marked.DueAt, marked.WokenAt)
		}
		woken = marked
	}
	claimed := apply(t, woken, closure.Claimed(at, at.Add(time.Minute), "sell", false))
	if !claimed.WokenAt.Equal(at) || !claimed.DueAt.Equal(at.Add(time.Minute)) {
		t.Errorf("a claim: marked %s, due %s: it must neither answer the wake nor forget it", claimed.WokenAt, claimed.DueAt)
	}
	saved := apply(t, claimed, looked(selling)(at.Add(time.Second)))
	if saved.DueAt.After(at.Add(time.Second)) || !saved.WokenAt.IsZero() {
		t.Errorf("the save: due %s, marked %s", saved.DueAt, saved.WokenAt)
	}
}

// An event of the broker's does what a wake does, but leaves two seconds since the row's last move: what belongs together is
// seen by one visit, and a storm can't make visits without a pause.
func TestAnEventMakesAWaitingClosureDueWithAPause(t *testing.T) {
	t.Parallel()
	const pause = 2 * time.Second
	at := noon.Add(time.Minute)
	waiting := stand(t, closure.Running, closure.Settlement) // since noon, due in an hour
	hastened := apply(t, waiting, closure.Hastened(at))
	if hastened.Version != waiting.Version+1 || !hastened.DueAt.Equal(at) || !hastened.WokenAt.IsZero() {
		t.Errorf("a waiting one: version %d, due %s, marked %s", hastened.Version, hastened.DueAt, hastened.WokenAt)
	}
	soon := apply(t, waiting, closure.Hastened(noon.Add(time.Second)))
	if soon.Version != waiting.Version+1 || !soon.DueAt.Equal(noon.Add(pause)) {
		t.Errorf("one that has just looked: version %d, due %s", soon.Version, soon.DueAt)
	}
	if again := apply(t, soon, closure.Hastened(noon.Add(1500*time.Millisecond))); again.Version != soon.Version || !again.WokenAt.IsZero() {
		t.Errorf("one that is due soon: version %d, marked %s", again.Version, again.WokenAt)
	}
	ahead := waiting
	ahead.UpdatedAt = at.Add(time.Hour) // by a clock that is far ahead
	if got := apply(t, ahead, closure.Hastened(at)); !got.DueAt.Equal(at) {
		t.Errorf("one that was moved by another clock: due %s", got.DueAt)
	}
	marked := hastened
	for n := range 3 {
		marked = apply(t, marked, closure.Hastened(at.Add(time.Duration(n)*time.Millisecond)))
	}
	if marked.Version != hastened.Version || !marked.DueAt.Equal(at) || !marked.WokenAt.Equal(at.Add(pause)) {
		t.Errorf("a due one: version %d, due %s, marked %s", marked.Version, marked.DueAt, marked.WokenAt)
	}
	saved := apply(t, marked, looked(selling)(at.Add(time.Second)))
	if !saved.DueAt.Equal(at.Add(pause)) || !saved.WokenAt.IsZero() {
		t.Errorf("the save: due %s, marked %s", saved.DueAt, saved.WokenAt)
	}
}

func TestAWaitForThePollMayBePutOff(t *testing.T) {
	t.Parallel()
	until := noon.Add(12 * time.Hour)
	c := fresh(closure.Withdrawal)
	pending := closure.Wait(0, closure.TransferPending, "on its way")
	off := apply(t, c, looked(pending.PutOff(until))(noon))
	if !off.DueAt.Equal(until) || !off.LookBy.Equal(noon.Add(2*time.Hour)) {
		t.Errorf("put off: due %s, otherwise %s", off.DueAt, off.LookBy)
	}
	if got := apply(t, off, closure.Hastened(noon.Add(time.Hour))); !got.DueAt.Equal(noon.Add(time.Hour)) || !got.LookBy.IsZero() {
		t.Errorf("and woken: due %s, otherwise %s", got.DueAt, got.LookBy)
	}
	woken := c
	woken.WokenAt = noon.Add(time.Second)
	for name, tt := range map[string]struct {
		c    closure.Closure
		o    closure.Outcome
		want time.Time
	}{
		"sooner than the poll": {c, pending.PutOff(noon.Add(time.Hour)), noon.Add(2 * time.Hour)},
		"woken meanwhile":      {woken, pending.PutOff(until), noon.Add(time.Second)},
		"a delay of its own":   {c, closure.Wait(time.Minute, closure.ListChanged, "moving").PutOff(until), noon.Add(time.Minute)},
		"a moment of its own":  {c, closure.WaitUntil(noon.Add(time.Hour), closure.ReturnWatch, "watching").PutOff(until), noon.Add(time.Hour)},
		"an outage":            {c, closure.Outage(0, "no answer").PutOff(until), noon.Add(2 * time.Hour)},
		"a way on":             {c, closure.Go(closure.Closing, "empty").PutOff(until), noon},
	} {
		if got := apply(t, tt.c, looked(tt.o)(noon)); !got.DueAt.Equal(tt.want) || !got.LookBy.IsZero() {
			t.Errorf("%s: due %s, want %s; otherwise %s", name, got.DueAt, tt.want, got.LookBy)
		}
	}
}

func TestNothingIsDueBeforeTheTimeAskedFor(t *testing.T) {
	t.Parallel()
	later := noon.Add(72 * time.Hour)
	c := fresh(closure.Liquidation)
	c.NotBefore, c.DueAt, c.Reason = later, later, closure.NotYet
	for name, ch := range map[string]closure.Change{
		"a wake":   closure.Wake(noon, "ann", "now"),
		"an event": closure.Hastened(noon),
		"a rescue": closure.Reissued(noon, "late", false),
		"a look":   looked(selling)(noon),
		"a claim":  closure.Claimed(noon, noon, "sell", false),
	} {
		if got := apply(t, c, ch); !got.DueAt.Equal(later) {
			t.Errorf("%s: due %s", name, got.DueAt)
		}
	}
	held := apply(t, c, closure.Pause(noon, "ann", "hold it"))
	if got := apply(t, held, closure.Resume(noon, "ann", "go on")); !got.DueAt.Equal(later) {
		t.Errorf("a resume: due %s", got.DueAt)
	}
}
