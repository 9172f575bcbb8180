package console

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"closeout/tasks"
	"closeout/web"
)

var anew = flag.Bool("charts", false, "rewrite the drawings in testdata instead of comparing them")

// spansOf are minutes or hours from a fixed moment on, with so many visits each, the n-th of them n steps late.
func spansOf(length time.Duration, counts ...int) (out []tasks.Span) {
	from := time.Date(2026, time.November, 25, 14, 50, 0, 0, time.UTC)
	if length == time.Hour {
		from = from.Truncate(time.Hour)
	}
	for n, count := range counts {
		s := tasks.Span{From: from.Add(time.Duration(n) * length)}
		for i := range count {
			s.Count(250 * time.Millisecond << min(i, 30))
		}
		out = append(out, s)
	}
	return out
}

func TestChartsAreDrawnAsTheyWere(t *testing.T) {
	t.Parallel()
	pages, err := web.ParseConsole(words)
	if err != nil {
		t.Fatal(err)
	}
	minutes, hours := spansOf(time.Minute, 0, 1, 3, 12, 0, 7, 18, 25, 40, 2, 1, 9), spansOf(time.Hour, 4, 0, 19, 30, 2, 3, 9, 1)
	for name, c := range map[string]chart{
		"throughput-hour": throughput(minutes, lastHour), "lateness-hour": lateness(minutes, lastHour),
		"throughput-day": throughput(hours, lastDay), "lateness-day": lateness(hours, lastDay), "empty": lateness(nil, lastDay),
	} {
		got, err := pages.Page("system", "chart", c)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("testdata", "chart-"+name+".html")
		if *anew {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s is drawn otherwise; if that is meant, -anew keeps it\n%s", name, diff)
		}
		for _, bar := range c.Bars {
			if bar.Height <= 0 || bar.Y < chartTop-0.1 || bar.Y+bar.Height > chartHeight-chartBottom+0.6 || bar.X < chartLeft || bar.X+bar.Width > chartWidth-chartRight+0.1 {
				t.Errorf("%s: a bar lies outside of the plot: %+v", name, bar)
			}
		}
		if n := strings.Count(string(got), "<title>"); n != len(c.Bars) {
			t.Errorf("%s: %d titles for %d bars", name, n, len(c.Bars))
		}
	}
}

func TestChartsSayWhatTheyShow(t *testing.T) {
	t.Parallel()
	minutes := spansOf(time.Minute, 0, 1, 3)
	if got := throughput(minutes, lastHour).Summary; got != "4 visits; at most 3 in a minute, from 09:52." {
		t.Error(got)
	}
	if got := lateness(minutes, lastHour).Summary; got != "95 of 100 visits began within 1 s; half of them within 250 ms." {
		t.Error(got)
	}
	if got := lateness(spansOf(time.Hour, 40), lastDay).Rows[0].Text; got != "later than 18 h 12 min" {
		t.Error(got)
	}
	for d, want := range map[time.Duration]string{
		-time.Second: "0 ms", 40 * time.Millisecond: "40 ms", 59 * time.Second: "59 s", time.Minute: "1 min", 95 * time.Second: "1 min 35 s",
		2*time.Hour + 5*time.Minute: "2 h 5 min", 49 * time.Hour: "2 d 1 h", 48 * time.Hour: "2 d",
	} {
		if got := howLong(d); got != want {
			t.Errorf("%s is %q, want %q", d, got, want)
		}
	}
	for n, want := range map[int64]int64{0: 1, 1: 1, 3: 5, 5: 5, 6: 10, 101: 200, 9999: 10000} {
		if got := round125(n); got != want {
			t.Errorf("above %d is %d, want %d", n, got, want)
		}
	}
}
