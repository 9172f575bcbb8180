package console

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"closeout/calendar"
	"closeout/closure"
	"closeout/ledger"
	"closeout/web"
)

var update = flag.Bool("update", false, "draw the timelines of testdata anew")

func at(tb testing.TB, s string) time.Time {
	tb.Helper()
	t, err := time.ParseInLocation("2006-01-02 15:04:05", s, calendar.NewYork)
	must(tb, err)
	return t
}

// life tells events: when, kind, phase, state, text.
func life(tb testing.TB, lines ...[5]string) (out []ledger.Event) {
	tb.Helper()
	for n, l := range lines {
		out = append(out, ledger.Event{Seq: int64(n + 1), At: at(tb, l[0]), Kind: l[1], Phase: closure.Phase(l[2]), State: closure.State(l[3]), Text: l[4]})
	}
	return out
}

func lives(tb testing.TB) map[string]lived {
	tb.Helper()
	of := func(now, finish string, state closure.State, phase closure.Phase, events []ledger.Event) lived {
		l := lived{Closure: closure.Closure{Phase: phase, State: state, CreatedAt: events[0].At}, Events: events, Now: at(tb, now), Market: calendar.Rules()}
		if finish != "" {
			l.Finish = at(tb, finish)
		}
		if state.Ended() {
			l.Closure.EndedAt = events[len(events)-1].At
		}
		return l
	}
	month := [][5]string{{"2026-11-02 10:00:00", "accepted", "liquidation", "running", "accepted"}, {"2026-11-02 10:05:00", "go", "settlement", "running", "sold"}, {"2026-11-03 10:00:00", "go", "withdrawal", "running", "settled"}}
	for d := 4; d < 28; d++ {
		month = append(month, [5]string{time.Date(2026, 11, d, 9, 0, 0, 0, time.UTC).Format("2006-01-02 15:04:05"), "wait", "withdrawal", "running", "the banking day's limit is used up"})
	}
	month = append(month, [5]string{"2026-11-30 09:00:00", "failed", "withdrawal", "failed", "the bank returned the money twice"})
	return map[string]lived{
		"accepted": of("2026-11-18 10:00:01", "2026-11-24 02:45:00", closure.Running, closure.Liquidation, life(tb, [5]string{"2026-11-18 10:00:00", "accepted", "liquidation", "running", "accepted"})),
		"three_minutes": of("2026-11-18 12:00:00", "", closure.Closed, closure.Closing, life(tb,
			[5]string{"2026-11-18 10:00:00", "accepted", "liquidation", "running", "accepted"}, [5]string{"2026-11-18 10:00:05", "go", "settlement", "running", "nothing to sell"},
			[5]string{"2026-11-18 10:00:06", "go", "withdrawal", "running", "nothing to settle"}, [5]string{"2026-11-18 10:00:07", "go", "closing", "running", "nothing to pay"},
			[5]string{"2026-11-18 10:00:08", "claim", "closing", "running", "close the account"}, [5]string{"2026-11-18 10:03:00", "closed", "closing", "closed", "closed"})),
		"thanksgiving": of("2026-11-27 15:00:00", "2026-12-02 02:45:00", closure.Running, closure.Withdrawal, life(tb,
			[5]string{"2026-11-24 15:55:00", "accepted", "liquidation", "running", "accepted"}, [5]string{"2026-11-24 15:56:00", "claim", "liquidation", "running", "sell 3 AAPL"},
			[5]string{"2026-11-24 15:56:01", "answer", "liquidation", "running", "accepted"}, [5]string{"2026-11-24 16:00:00", "wait", "liquidation", "running", "the market is closed <b>"},
			[5]string{"2026-11-25 09:30:00", "pause", "liquidation", "paused", "hold on"}, [5]string{"2026-11-25 10:30:00", "look", "liquidation", "paused", "looked"},
			[5]string{"2026-11-25 11:30:00", "resume", "liquidation", "running", "go on"}, [5]string{"2026-11-25 11:40:00", "go", "settlement", "running", "sold"},
			[5]string{"2026-11-25 11:40:05", "wait", "settlement", "running", "trades settle"}, [5]string{"2026-11-27 09:00:00", "go", "withdrawal", "running", "settled"},
			[5]string{"2026-11-27 09:00:10", "claim", "withdrawal", "running", "pay out"}, [5]string{"2026-11-27 09:01:00", "wait", "withdrawal", "running", "on its way"})),
		"thirty_days": of("2026-12-02 09:00:00", "", closure.Failed, closure.Withdrawal, life(tb, month...)),
	}
}

func TestTimelines(t *testing.T) {
	pages, err := web.ParseConsole(words)
	must(t, err)
	for name, l := range lives(t) {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			must(t, pages["closure"].ExecuteTemplate(&b, "timeline", drawTimeline(l)))
			golden := filepath.Join("testdata", "timeline_"+name+".html")
			if *update {
				must(t, os.MkdirAll("testdata", 0o755))
				must(t, os.WriteFile(golden, b.Bytes(), 0o644))
			}
			want, err := os.ReadFile(golden)
			must(t, err)
			if !bytes.Equal(b.Bytes(), want) {
				t.Errorf("%s is drawn otherwise: look at it, and run go test ./console -run TestTimelines -update\n%s", golden, b.String())
			}
			if text := b.String(); strings.Contains(text, "<b>") || strings.Count(text, "<title>") < strings.Count(text, "<rect") || strings.Contains(text, "NaN") || strings.Contains(text, `="-`) {
				t.Errorf("a mark without a title, a text that is no text, or a mark outside:\n%s", text)
			}
		})
	}
}

func TestStretchesFollowEachOther(t *testing.T) {
	for name, l := range lives(t) {
		all := stretches(l)
		if len(all) == 0 || !all[0].From.Equal(l.Closure.CreatedAt) {
			t.Fatalf("%s: %+v", name, all)
		}
		for n := 1; n < len(all); n++ {
			if !all[n].From.Equal(all[n-1].To) {
				t.Errorf("%s: %+v does not follow %+v", name, all[n], all[n-1])
			}
		}
		end := l.Now
		if l.Closure.State.Ended() {
			end = l.Closure.EndedAt
		}
		if last := all[len(all)-1]; !last.To.Equal(end) {
			t.Errorf("%s ends with %+v, and not at %s", name, last, end)
		}
	}
	var classes []string
	for _, s := range stretches(lives(t)["thanksgiving"]) {
		classes = append(classes, s.Class)
	}
	if got := strings.Join(classes, " "); got != "work wait stop work work wait work wait" {
		t.Errorf("it lived through: %s", got)
	}
}
