package closure_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"closeout/closure"
)

func number(p closure.Phase) int {
	return slices.IndexFunc(closure.Road, func(s closure.Step) bool { return s.Phase == p })
}

func TestEveryPhaseStandsOnTheRoadOnce(t *testing.T) {
	t.Parallel()
	var road []string
	for n, s := range closure.Road {
		road = append(road, string(s.Phase))
		if s.Phase.Number() != n+1 || !s.Phase.Valid() {
			t.Errorf("%s: number %d, valid %t", s.Phase, s.Phase.Number(), s.Phase.Valid())
		}
		if diff := cmp.Diff(s, closure.StepOf(s.Phase)); diff != "" {
			t.Errorf("%s: its row is another's\n%s", s.Phase, diff)
		}
		if s.Does == "" || s.Poll <= 0 || s.Limit.Of == "" || len(s.Next) == 0 || (s.Limit.Days > 0) == (s.Limit.Time > 0) {
			t.Errorf("%s: its row is incomplete: %+v", s.Phase, s)
		}
	}
	var constant []string
	for _, v := range constants(t, "Phase") {
		constant = append(constant, v)
	}
	slices.Sort(constant)
	slices.Sort(road)
	if diff := cmp.Diff(constant, road); diff != "" {
		t.Errorf("the phases of the source and of the road (-source +road)\n%s", diff)
	}
}

// A phase that is not on the road is a newer version's: it can be shown, and leads nowhere.
func TestAPhaseOffTheRoadHasNoPlace(t *testing.T) {
	t.Parallel()
	heaven := closure.Phase("heaven")
	if s := closure.StepOf(heaven); heaven.Valid() || heaven.Number() != 0 || s.Phase != heaven || s.Does == "" || len(s.Next) > 0 {
		t.Errorf("heaven is number %d: %+v", heaven.Number(), s)
	}
}

func TestEveryStateIsListed(t *testing.T) {
	t.Parallel()
	var constant, listed []string
	for _, v := range constants(t, "State") {
		constant = append(constant, v)
	}
	for _, s := range closure.States {
		listed = append(listed, string(s))
	}
	slices.Sort(constant)
	slices.Sort(listed)
	if diff := cmp.Diff(constant, listed); diff != "" {
		t.Errorf("the states of the source and of the list (-source +list)\n%s", diff)
	}
}

func TestTheRoadLeadsOnToTheNextPhaseAndBackOnlyByItsRows(t *testing.T) {
	t.Parallel()
	for _, from := range closure.Road {
		for _, to := range closure.Road {
			name := fmt.Sprintf("from %s to %s", from.Phase, to.Phase)
			before := fresh(from.Phase)
			before.Looks, before.Spent, before.Days, before.LastDay, before.LastLook = 4, time.Minute, 2, "2026-11-17", noon
			before.FailuresInPhase = 7
			at := noon.Add(time.Minute)
			after, ev, err := closure.Apply(before, closure.Looked(at, closure.Go(to.Phase, "why"), closure.Look{Open: time.Hour}, nil), policy())
			if allowed := slices.Contains(from.Next, to.Phase); allowed != (err == nil) {
				t.Errorf("%s: allowed %t, answered %v", name, allowed, err)
			}
			if err != nil {
				if diff := cmp.Diff(before, after); diff != "" || ev != nil {
					t.Errorf("%s was refused and still changed something\n%s", name, diff)
				}
				continue
			}
			want := before
			want.Phase, want.Version, want.Token, want.UpdatedAt, want.StartedAt, want.EnteredAt = to.Phase, 2, "", at, at, at
			want.Looks, want.Spent, want.Days, want.LastDay, want.LastLook, want.FailuresInPhase = 0, 0, 0, "", time.Time{}, 0
			want.Reason, want.Why, want.DueAt = "", "why", at // on: at once
			if number(to.Phase) < number(from.Phase) {
				want.Reason, want.Loops, want.DueAt = closure.WentBackNote, 1, at.Add(to.Poll)
			}
			if diff := cmp.Diff(want, after); diff != "" {
				t.Errorf("%s (-want +got)\n%s", name, diff)
			}
		}
		// On the road one phase follows the other; only the last has none after it.
		on := slices.DeleteFunc(slices.Clone(from.Next), func(p closure.Phase) bool { return number(p) < number(from.Phase) })
		if n := number(from.Phase); n < len(closure.Road)-1 {
			if diff := cmp.Diff([]closure.Phase{closure.Road[n+1].Phase}, on); diff != "" {
				t.Errorf("the way on from %s\n%s", from.Phase, diff)
			}
		} else if len(on) != 0 {
			t.Errorf("the road goes on from its end to %v", on)
		}
	}
}

func TestTheTenthWayBackStops(t *testing.T) {
	t.Parallel()
	c := fresh(closure.Settlement)
	for n := range closure.MaxLoops - 1 {
		c = apply(t, c, looked(closure.Go(closure.Liquidation, "shares"))(noon))
		if c.State != closure.Running || c.Loops != n+1 || c.Phase != closure.Liquidation {
			t.Fatalf("after %d ways back: %s in %s, %d counted", n+1, c.State, c.Phase, c.Loops)
		}
		c = apply(t, c, looked(closure.Go(closure.Settlement, "sold"))(noon))
	}
	c = apply(t, c, looked(closure.Go(closure.Liquidation, "shares"))(noon))
	if c.State != closure.Failed || c.Reason != closure.TooManyLoops || c.Phase != closure.Settlement {
		t.Fatalf("after ten ways back: %s in %s: %s", c.State, c.Phase, c.Reason)
	}
	c = apply(t, c, closure.Resume(noon, "ann", "the subscription is cancelled"))
	if c.State != closure.Running || c.Loops != 0 || c.Phase != closure.Settlement {
		t.Errorf("resumed: %s in %s, %d ways back", c.State, c.Phase, c.Loops)
	}
}

func TestJobStatusOfEachState(t *testing.T) {
	t.Parallel()
	want := map[closure.State]string{
		closure.Running: "PROCESSING", closure.Paused: "PAUSED", closure.Failed: "FAILED", closure.Dead: "DEAD",
		closure.Closed: "COMPLETED", closure.Canceled: "CANCELED",
	}
	for _, s := range closure.States {
		if got := stand(t, s, closure.Withdrawal).JobStatus(); got != want[s] {
			t.Errorf("%s: %q, want %q", s, got, want[s])
		}
	}
	running := fresh(closure.Liquidation)
	for _, tt := range []struct {
		name string
		c    closure.Closure
		want string
	}{
		{"no visit yet", running, "PENDING"},
		{"visited", apply(t, running, closure.Claimed(noon, noon, "sell", false)), "PROCESSING"},
		{"the last attempt failed", apply(t, running, closure.Stumbled(noon, "broken", 0, true)), "RETRYING"},
		{"a look after a failure", apply(t, running, closure.Stumbled(noon, "broken", 0, true), looked(closure.Wait(0, closure.Selling, "selling"))(noon)), "PROCESSING"},
		{"a state nobody knows", closure.Closure{State: "asleep"}, "UNKNOWN"},
	} {
		if got := tt.c.JobStatus(); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestLimitsInWords(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		limit closure.Limit
		want  string
	}{
		{closure.Limit{Days: 3, Of: closure.TradingDays}, "3 trading days"},
		{closure.Limit{Time: 90 * time.Second, Of: closure.OpenMarket}, "1m30s of open market time"},
	} {
		if got := tt.limit.String(); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}
