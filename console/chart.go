package console

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"closeout/calendar"
	"closeout/tasks"
)

// chart is a chart of bars: where each stands, and what it says in words. The template chart draws it, and nothing in it is
// computed there.
type chart struct {
	Title   string
	Summary string // all that it shows, in a sentence
	Bars    []bar
	Lines   []mark // across, each with its label
	Ticks   []mark // below
	Rows    []chartRow
	Column  string // what Rows say
}

// Its measures, in the units of its viewBox.
const (
	chartWidth, chartHeight = 520, 160
	chartLeft, chartTop     = 54, 10
	chartRight, chartBottom = 6, 24
	plotWidth               = chartWidth - chartLeft - chartRight
	plotHeight              = chartHeight - chartTop - chartBottom
	tickRoom                = 52 // of a label
)

type bar struct {
	X, Y, Width, Height float64
	Class               string
	Title               string
}

type mark struct {
	At    float64
	Label string
}

type chartRow struct {
	From, To time.Time
	Text     string
}

// Box is the viewBox.
func (chart) Box() string { return fmt.Sprintf("0 0 %d %d", chartWidth, chartHeight) }

// Left, Right and Bottom are the edges of the plot, and Below is where the ticks' labels stand.
func (chart) Left() int   { return chartLeft }
func (chart) Right() int  { return chartWidth - chartRight }
func (chart) Bottom() int { return chartHeight - chartBottom }
func (chart) Below() int  { return chartHeight - 5 }

// Label is where the labels of the lines end.
func (chart) Label() int { return chartLeft - 6 }

// one is a tenth of a unit, exact enough for a screen and the same on every machine.
func one(x float64) float64 { return math.Round(x*10) / 10 }

func height(share float64) (y, h float64) {
	h = one(max(share, 0) * plotHeight)
	return one(chartTop + plotHeight - h), h
}

// period is what a chart is about: the last so many minutes or hours.
type period struct {
	length time.Duration
	name   string // of all of it
	every  string // of one
	tick   int    // a label for each so many
}

var (
	lastHour = period{time.Minute, "last hour", "a minute", 15}
	lastDay  = period{time.Hour, "last day", "an hour", 6}
)

// marked says whether the span that begins then has a label.
func (p period) marked(from time.Time) bool {
	if p.length == time.Minute {
		return from.Minute()%p.tick == 0
	}
	return from.Hour()%p.tick == 0
}

func wallTime(t time.Time) string { return t.In(calendar.NewYork).Format("15:04") }

// bars places a bar for each span whose share of the height is not nothing.
func bars(spans []tasks.Span, p period, share func(tasks.Span) float64, class, text func(tasks.Span) string) (out []bar, ticks []mark, rows []chartRow) {
	wide := float64(plotWidth) / float64(max(len(spans), 1))
	for n, s := range spans {
		x := chartLeft + wide*float64(n)
		to := s.From.Add(p.length)
		if x < chartWidth-tickRoom && p.marked(s.From.In(calendar.NewYork)) {
			ticks = append(ticks, mark{one(x), wallTime(s.From)})
		}
		rows = append(rows, chartRow{s.From, to, text(s)})
		if v := share(s); v > 0 {
			y, h := height(v)
			out = append(out, bar{one(x + wide*0.1), y, one(wide * 0.8), max(h, 0.5), class(s), wallTime(s.From) + " to " + wallTime(to) + ": " + text(s)})
		}
	}
	return out, ticks, rows
}

// throughput is how many visits were begun.
func throughput(spans []tasks.Span, p period) chart {
	var all, most int64
	var at time.Time
	for _, s := range spans {
		n := s.Visits()
		all += n
		if n > most {
			most, at = n, s.From
		}
	}
	top := round125(most)
	c := chart{Title: "Visits, " + p.name, Column: "Visits", Summary: "No visit was counted."}
	if all > 0 {
		c.Summary = fmt.Sprintf("%s; at most %d in %s, from %s.", visits(all), most, p.every, wallTime(at))
	}
	c.Bars, c.Ticks, c.Rows = bars(spans, p, func(s tasks.Span) float64 { return float64(s.Visits()) / float64(top) },
		func(tasks.Span) string { return "bar" }, func(s tasks.Span) string { return visits(s.Visits()) })
	for _, v := range []int64{0, top} {
		y, _ := height(float64(v) / float64(top))
		c.Lines = append(c.Lines, mark{y, strconv.FormatInt(v, 10)})
	}
	return c
}

// lateness is within how much machine time of being due 95 of 100 visits began, on a logarithmic scale.
func lateness(spans []tasks.Span, p period) chart {
	var all tasks.Lateness
	for _, s := range spans {
		all.Add(s.Lateness)
	}
	c := chart{Title: "Lateness, " + p.name, Column: "95 of 100 began", Summary: "No visit was counted."}
	if all.Visits() > 0 {
		c.Summary = fmt.Sprintf("95 of 100 visits began %s; half of them %s.", within(all, 95), within(all, 50))
	}
	c.Bars, c.Ticks, c.Rows = bars(spans, p, func(s tasks.Span) float64 {
		d, _, ok := s.Within(95)
		if !ok {
			return 0
		}
		return onScale(d)
	}, func(s tasks.Span) string {
		switch d, _, _ := s.Within(95); {
		case d > time.Hour:
			return "bar very-late"
		case d > time.Minute+5*time.Second: // the step that has a minute in it
			return "bar late"
		}
		return "bar"
	}, func(s tasks.Span) string {
		if s.Visits() == 0 {
			return "no visit"
		}
		return within(s.Lateness, 95)
	})
	for _, l := range []struct {
		d     time.Duration
		label string
	}{{time.Second, "1 s"}, {time.Minute, "1 min"}, {time.Hour, "1 h"}, {24 * time.Hour, "1 d"}} {
		y, _ := height(onScale(l.d))
		c.Lines = append(c.Lines, mark{y, l.label})
	}
	return c
}

// onScale is the height of a lateness: each doubling is as high as the one before.
func onScale(d time.Duration) float64 {
	const first, doublings = 250 * time.Millisecond, 19
	return (math.Log2(float64(max(d, first))/float64(first)) + 1) / (doublings + 1)
}

func within(l tasks.Lateness, percent int64) string {
	d, beyond, _ := l.Within(percent)
	if beyond {
		return "later than " + howLong(d/2)
	}
	return "within " + howLong(d)
}

func visits(n int64) string {
	if n == 1 {
		return "1 visit"
	}
	return strconv.FormatInt(n, 10) + " visits"
}

// round125 is the next round number: 1, 2 or 5, 10, 20 …
func round125(n int64) int64 {
	for ten := int64(1); ; ten *= 10 {
		for _, f := range []int64{1, 2, 5} {
			if f*ten >= n {
				return f * ten
			}
		}
	}
}

// howLong is a length of time in words, to two units.
func howLong(d time.Duration) string {
	switch {
	case d < time.Second:
		return strconv.FormatInt(max(d, 0).Round(time.Millisecond).Milliseconds(), 10) + " ms"
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + " s"
	case d < time.Hour:
		return two(int(d.Minutes()), "min", int(d.Seconds())%60, "s")
	case d < 24*time.Hour:
		return two(int(d.Hours()), "h", int(d.Minutes())%60, "min")
	}
	return two(int(d.Hours())/24, "d", int(d.Hours())%24, "h")
}

func two(n int, big string, m int, small string) string {
	if m == 0 {
		return fmt.Sprintf("%d %s", n, big)
	}
	return fmt.Sprintf("%d %s %d %s", n, big, m, small)
}
