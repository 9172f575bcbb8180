package closure_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"closeout/closure"
)

var update = flag.Bool("update", false, "rewrite README.md instead of comparing it")

// The picture in README.md is drawn from Road and from what Apply does, so that it can't say anything else.
func TestRoadIsDrawn(t *testing.T) {
	t.Parallel()
	const path = "README.md"
	want := drawn(t)
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("%s is not what the road looks like; go generate ./closure rewrites it (-road +file)\n%s", path, diff)
	}
}

func drawn(tb testing.TB) string {
	tb.Helper()
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }

	say("# closure: what a closure is")
	say("")
	say("Phases and states, what a closure waits for and until when, how long it may wait, and how each thing that happens")
	say("changes it. Pure: no clock is read here, and no database or broker is known. This page is written by `go generate")
	say("./closure` from `Road` and from what `Apply` does; a test compares it.")
	say("")
	say("## The road")
	say("")
	say("A closure goes on at once. It goes back (dotted) when positions or cash reappear: after at least one poll, and at most")
	say("%d times. While it waits it looks again after each poll. The limit runs only while it waits for the broker: never over", closure.MaxLoops)
	say("a closed market, an outage, a pause, or a wait for a person.")
	say("")
	say("```mermaid")
	say("flowchart LR")
	say("    request([request]) --> %s", closure.Road[0].Phase)
	for n, s := range closure.Road {
		say(`    %s["<b>%d %s</b><br/>looks every %s<br/>limit %s"]`, s.Phase, n+1, s.Phase, short(s.Poll), limit(s))
	}
	for n, s := range closure.Road {
		for _, next := range s.Next {
			arrow := "-->"
			if number(next) < n {
				arrow = "-.->"
			}
			say("    %s %s %s", s.Phase, arrow, next)
		}
	}
	say("    %s --> closed([account closed])", closure.Road[len(closure.Road)-1].Phase)
	say("```")
	say("")
	say("| | Phase | What it does | Looks again | Limit, then failed | Leads on to | Leads back to |")
	say("|---|---|---|---|---|---|---|")
	for n, s := range closure.Road {
		var on, back []string
		for _, next := range s.Next {
			if number(next) < n {
				back = append(back, string(next))
			} else {
				on = append(on, string(next))
			}
		}
		if n == len(closure.Road)-1 {
			on = append(on, "the closed account")
		}
		say("| %d | %s | %s | %s | %s | %s | %s |", n+1, s.Phase, s.Does, short(s.Poll), limit(s), strings.Join(on, ", "), strings.Join(back, ", "))
	}
	say("")
	say("## The states")
	say("")
	say("The second axis: whether a closure moves. A stop keeps its phase, so that resume needs no memory.")
	say("")
	say("```mermaid")
	say("stateDiagram-v2")
	say("    direction LR")
	say("    [*] --> %s: request", closure.Running)
	causes := causes(tb)
	for _, from := range closure.States {
		for _, to := range closure.States {
			if why := causes[from][to]; len(why) > 0 && from != to {
				say("    %s --> %s: %s", from, to, strings.Join(why, ", "))
			}
		}
		if from.Ended() {
			say("    %s --> [*]", from)
		}
	}
	say("```")
	say("")
	say("| State | Leads to | Job status |")
	say("|---|---|---|")
	for _, s := range closure.States {
		var to []string
		for _, next := range closure.Leads()[s] {
			if next != s {
				to = append(to, string(next))
			}
		}
		status := stand(tb, s, closure.Road[0].Phase).JobStatus()
		if s == closure.Running {
			worn := fresh(closure.Road[0].Phase)
			status = strings.Join([]string{worn.JobStatus(), apply(tb, worn, closure.Stumbled(noon, "", 0, true)).JobStatus(), status}, ", ")
		}
		if len(to) == 0 {
			to = []string{"nothing: the account may be given another closure"}
		}
		say("| %s | %s | %s |", s, strings.Join(to, ", "), status)
	}
	return b.String()
}

// causes are the names of what leads from one state to another, as Apply decides it.
func causes(tb testing.TB) map[closure.State]map[closure.State][]string {
	tb.Helper()
	out := map[closure.State]map[closure.State][]string{}
	for _, s := range closure.States {
		out[s] = map[closure.State][]string{}
		for _, h := range happenings() {
			before := stand(tb, s, closure.Withdrawal)
			if h.prep != nil {
				h.prep(&before)
			}
			after, _, err := closure.Apply(before, h.make(noon), policy())
			if err == nil && !slices.Contains(out[s][after.State], h.what) {
				out[s][after.State] = append(out[s][after.State], h.what)
			}
		}
	}
	return out
}

// short is a duration without its zeros: 2h, not 2h0m0s.
func short(d time.Duration) string { return trim(d.String()) }

func limit(s closure.Step) string { return trim(s.Limit.String()) }

func trim(s string) string {
	for _, unit := range []string{"m0s", "h0m"} {
		s = strings.Replace(s, unit, unit[:1], 1)
	}
	return s
}
