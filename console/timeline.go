package console

import (
	"fmt"
	"time"

	"closeout/calendar"
	"closeout/closure"
	"closeout/ledger"
)

// timeline is a closure's life as a drawing: a row for each phase, and what was done or waited for in it as bars. It is pure; the
// template "timeline" draws it.
type timeline struct {
	Width, Height float64
	Left          float64 // where time begins; the phases' names stand before it
	Top, Bottom   float64
	TickY         float64
	Rows          []timelineRow
	Closed        []timelineMark // the market is closed
	Bars          []timelineMark
	Ticks         []timelineTick
	Now           *timelineMark
	Finish        *timelineMark // the way to the expected finish
	FinishX       float64
	Says          string
}

type timelineRow struct {
	Phase       closure.Phase
	Y, Baseline float64
}

// timelineMark is a rectangle, or a line where it has no width.
type timelineMark struct {
	X, Y, W, H float64
	Class      string
	Title      string
}

type timelineTick struct {
	X     float64
	Label string
}

// The drawing's own units; the page scales it.
const (
	lifeWide, lifeGutter, lifeRim = 960.0, 132.0, 12.0
	lifeLane, lifeBar             = 30.0, 18.0
	lifeAxis                      = 34.0
	lifeThinnest                  = 1.5 // of a bar
	lifeShades                    = 120 // shades at the most
	lifeTicks                     = 6
)

// lived is what a timeline is drawn from.
type lived struct {
	Closure closure.Closure
	Events  []ledger.Event
	Now     time.Time
	Finish  time.Time // expected; zero: nobody can tell
	Market  *calendar.Calendar
}

// stretch is a time in which a closure did one thing.
type stretch struct {
	Phase    closure.Phase
	Class    string // work, wait or stop
	Text     string
	From, To time.Time
}

// Long is how long it took, in words.
func (s stretch) Long() string { return howLong(s.To.Sub(s.From).Round(time.Second)) }

// stretches are what a history is made of, one after the other. What was noted beside, such as a look or an answer, goes on with
// what was there.
func stretches(l lived) []stretch {
	var out []stretch
	end := l.Now
	if l.Closure.State.Ended() {
		end = l.Closure.EndedAt
	}
	for _, e := range l.Events {
		class := "work"
		switch {
		case e.State == closure.Closed || e.State == closure.Canceled:
			class = "end"
		case e.State != closure.Running:
			class = "stop"
		case e.Kind == "wait", e.Kind == "accepted" && l.Closure.NotBefore.After(e.At):
			class = "wait"
		}
		if n := len(out); n > 0 {
			last := &out[n-1]
			aside := e.Phase == last.Phase && (class == last.Class && class != "wait" || class == "work" && e.Kind != "go" && e.Kind != "claim" && e.Kind != "resume")
			if aside {
				continue
			}
			last.To = latest(last.From, e.At)
		}
		if class != "end" {
			out = append(out, stretch{e.Phase, class, e.Text, e.At, e.At})
		}
	}
	if n := len(out); n > 0 {
		if !l.Closure.State.Ended() || out[n-1].To.Equal(out[n-1].From) {
			out[n-1].To = latest(out[n-1].From, end)
		}
	}
	return out
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func drawTimeline(l lived) timeline {
	t := timeline{Width: lifeWide, Left: lifeGutter, Top: 4, Bottom: 4 + lifeLane*float64(len(closure.Road))}
	t.Height, t.TickY = t.Bottom+lifeAxis, t.Bottom+lifeAxis-10
	from, to := l.Closure.CreatedAt, l.Now
	if l.Closure.State.Ended() {
		to = l.Closure.EndedAt
	} else if l.Finish.After(to) {
		to = l.Finish
	}
	if least := from.Add(3 * time.Minute); to.Before(least) {
		to = least
	}
	span := to.Sub(from)
	at := func(when time.Time) float64 {
		x := lifeGutter + (lifeWide-lifeGutter-lifeRim)*float64(when.Sub(from))/float64(span)
		return tenth(min(max(x, lifeGutter), lifeWide-lifeRim))
	}
	y := map[closure.Phase]float64{}
	for n, step := range closure.Road {
		top := t.Top + lifeLane*float64(n)
		y[step.Phase] = top + (lifeLane-lifeBar)/2
		t.Rows = append(t.Rows, timelineRow{step.Phase, top, top + lifeLane/2 + 5})
	}
	t.Closed = shadesOf(l.Market, from, to, at, t)
	for _, s := range stretches(l) {
		m := timelineMark{X: at(s.From), Y: y[s.Phase], H: lifeBar, Class: s.Class, Title: fmt.Sprintf("%s: %s, %s to %s (%s)", s.Phase, s.Text, newYork(s.From), newYork(s.To), s.Long())}
		m.W = max(tenth(at(s.To)-m.X), lifeThinnest)
		if n := len(t.Bars) - 1; n >= 0 && t.Bars[n].Class == m.Class && t.Bars[n].Y == m.Y && m.X-t.Bars[n].X < lifeThinnest { // the eye can't tell them apart
			t.Bars[n].W = m.X + m.W - t.Bars[n].X
			continue
		}
		t.Bars = append(t.Bars, m)
	}
	if !l.Closure.State.Ended() {
		x := at(l.Now)
		t.Now = &timelineMark{X: x, Y: t.Top, H: t.Bottom - t.Top, Class: "now", Title: "now: " + newYork(l.Now)}
		if l.Finish.After(l.Now) {
			t.FinishX = at(l.Finish)
			t.Finish = &timelineMark{X: x, W: tenth(t.FinishX - x), Y: y[closure.Closing] + lifeBar/2, Class: "finish", Title: "expected to be finished: " + newYork(l.Finish)}
		}
	}
	t.Ticks = ticksOf(from, to, at)
	t.Says = timelineSays(l, from, to)
	return t
}

// shadesOf are the times in which the market is closed. Of a closure that takes months they would be a mere haze: it has none.
func shadesOf(market *calendar.Calendar, from, to time.Time, at func(time.Time) float64, t timeline) (out []timelineMark) {
	for when := from; when.Before(to); {
		if market.Open(when) {
			when = market.NextClose(when)
			continue
		}
		opens := market.NextOpen(when)
		if !opens.After(when) { // a calendar without another session
			opens = to
		}
		end := opens
		if end.After(to) {
			end = to
		}
		if w := tenth(at(end) - at(when)); w > 0 {
			out = append(out, timelineMark{X: at(when), Y: t.Top, W: w, H: t.Bottom - t.Top, Class: "shut", Title: "the market is closed until " + newYork(opens)})
		}
		if len(out) > lifeShades {
			return nil
		}
		when = opens
	}
	return out
}

// lifeSteps are the times between the marks of the axis; from a day on they are at New York's midnights.
var lifeSteps = []time.Duration{
	time.Minute, 2 * time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour,
	oneDay, 2 * oneDay, 5 * oneDay, 7 * oneDay, 14 * oneDay, 30 * oneDay, 90 * oneDay, 365 * oneDay,
}

const oneDay = 24 * time.Hour

func ticksOf(from, to time.Time, at func(time.Time) float64) (out []timelineTick) {
	step := lifeSteps[len(lifeSteps)-1]
	for _, s := range lifeSteps {
		if to.Sub(from)/s < lifeTicks {
			step = s
			break
		}
	}
	ny := from.In(calendar.NewYork)
	when := time.Date(ny.Year(), ny.Month(), ny.Day(), 0, 0, 0, 0, calendar.NewYork)
	label, next := "Mon 2 Jan", func(t time.Time) time.Time { return t.AddDate(0, 0, int(step/oneDay)) }
	if step < oneDay {
		label, next = "15:04", func(t time.Time) time.Time { return t.Add(step) }
		if to.Sub(from) > 18*time.Hour {
			label = "Mon 15:04"
		}
	}
	for ; !when.After(to); when = next(when) {
		if x := at(when); !when.Before(from) && x < lifeWide-40 {
			out = append(out, timelineTick{x, when.In(calendar.NewYork).Format(label)})
		}
	}
	return out
}

func timelineSays(l lived, from, to time.Time) string {
	s := fmt.Sprintf("From %s to %s; it is %s in %s.", newYork(from), newYork(to), l.Closure.State, l.Closure.Phase)
	if l.Finish.After(l.Now) && !l.Closure.State.Ended() {
		s += " Expected to be finished " + newYork(l.Finish) + "."
	}
	return s
}

func tenth(x float64) float64 { return float64(int64(x*10+0.5)) / 10 }
