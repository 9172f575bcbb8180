package closure_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"closeout/closure"
)

var origin = time.Date(2026, time.November, 18, 14, 0, 0, 0, time.UTC)

func TestTheRealClockIsTheWallClock(t *testing.T) {
	t.Parallel()
	c, err := closure.ParseClock("")
	if err != nil {
		t.Fatal(err)
	}
	if c.Scaled() || c.String() != "" || c != (closure.Clock{}) {
		t.Errorf("the real clock is %q, scaled %t", c, c.Scaled())
	}
	wall := time.Date(2026, time.November, 18, 9, 0, 0, 1, time.FixedZone("", -5*3600))
	if got := c.At(wall); !got.Equal(wall) || got.Location() != time.UTC {
		t.Errorf("at %s it shows %s", wall, got)
	}
	for _, d := range []time.Duration{0, 1, -1, time.Hour, math.MaxInt64, math.MinInt64} {
		if c.Business(d) != d || c.Machine(d) != d {
			t.Errorf("%s is %s of business time, and back %s", d, c.Business(d), c.Machine(d))
		}
	}
	before := time.Now()
	if now := c.Now(); now.Before(before.Round(0)) || now.After(time.Now()) {
		t.Errorf("now is %s", now)
	}
}

func TestAScaledDayGoesByInItsTime(t *testing.T) {
	t.Parallel()
	wall := time.Date(2026, time.December, 1, 12, 0, 0, 0, time.UTC)
	c := closure.ScaledClock(20*time.Second, origin, wall)
	for _, tt := range []struct {
		passed time.Duration
		want   time.Time
	}{
		{0, origin},
		{20 * time.Second, origin.AddDate(0, 0, 1)},
		{time.Second, origin.Add(72 * time.Minute)},
		{time.Nanosecond, origin.Add(4320)},
		{7*20*time.Second + 5*time.Second, origin.AddDate(0, 0, 7).Add(6 * time.Hour)},
		{-10 * time.Second, origin.Add(-12 * time.Hour)},
	} {
		if got := c.At(wall.Add(tt.passed)); !got.Equal(tt.want) {
			t.Errorf("%s after its origin it shows %s, want %s", tt.passed, got, tt.want)
		}
	}
	if !c.Scaled() {
		t.Error("it is not scaled")
	}
}

// A clock that shows another time than the wall's is no real clock, even if it runs as fast: live must refuse it, and a
// data folder must keep it.
func TestAClockWithAnOriginIsNotTheRealOne(t *testing.T) {
	t.Parallel()
	c, err := closure.ParseClock("24h@2030-01-01T00:00:00Z@2026-11-18T00:00:00Z")
	if err != nil {
		t.Fatal(err)
	}
	if !c.Scaled() {
		t.Errorf("it shows %s at %s and counts as the wall clock", c.At(origin), origin)
	}
	back, err := closure.ParseClock(c.String())
	if err != nil || back != c {
		t.Errorf("written %q, and read again it shows %s instead of %s: %v", c, back.At(origin), c.At(origin), err)
	}
}

func TestAClockIsReadOrRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ text, want string }{
		{"20s@2026-11-18T14:00:00Z@2026-12-01T12:00:00Z", ""},
		{"1s@2026-11-18T14:00:00Z@2026-12-01T12:00:00.123456789+02:00", ""},
		{"24h@2026-11-18T14:00:00Z@2026-12-01T12:00:00Z", ""},
		{"20s", "is written"},
		{"20s@2026-11-18T14:00:00Z", "is written"},
		{"20s@2026-11-18T14:00:00Z@2026-12-01T12:00:00Z@", "is written"},
		{"999ms@2026-11-18T14:00:00Z@2026-12-01T12:00:00Z", "between 1s and 24h"},
		{"24h1ns@2026-11-18T14:00:00Z@2026-12-01T12:00:00Z", "between 1s and 24h"},
		{"-20s@2026-11-18T14:00:00Z@2026-12-01T12:00:00Z", "between 1s and 24h"},
		{"day@2026-11-18T14:00:00Z@2026-12-01T12:00:00Z", "between 1s and 24h"},
		{"20s@yesterday@2026-12-01T12:00:00Z", "virtual origin"},
		{"20s@2026-11-18T14:00:00Z@today", "wall origin"},
		{"20s@0001-01-01T00:00:00Z@2026-12-01T12:00:00Z", "virtual origin"}, // the zero time means "never" everywhere
		{"20s@2026-11-18T14:00:00Z@9999-12-31T23:59:59-05:00", "wall origin"},
	} {
		c, err := closure.ParseClock(tt.text)
		if tt.want == "" {
			if err != nil {
				t.Errorf("%q: %v", tt.text, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q is read as %q: %v, want it to say %q", tt.text, c, err, tt.want)
		}
	}
}

// clocks draws a scaled clock.
func clocks(rt *rapid.T) closure.Clock {
	day := time.Duration(rapid.Int64Range(int64(time.Second), int64(24*time.Hour)).Draw(rt, "day"))
	wall := origin.Add(time.Duration(rapid.Int64Range(0, int64(10*365*24*time.Hour)).Draw(rt, "wall")))
	return closure.ScaledClock(day, origin, wall)
}

func spans() *rapid.Generator[time.Duration] {
	const century = 100 * 365 * 24 * time.Hour
	return rapid.Map(rapid.OneOf(
		rapid.Int64Range(0, int64(century)), rapid.Int64Range(0, int64(time.Minute)), rapid.Int64Range(0, 1000),
	), func(n int64) time.Duration { return time.Duration(n) })
}

func TestPropertyWhatIsScheduledIsNeverEarlyAndNeverLateByATick(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		c, business := clocks(rt), spans().Draw(rt, "business")
		machine := c.Machine(business)
		if got := c.Business(machine); got < business {
			rt.Fatalf("%s of business time is %s on the wall, which brings only %s", business, machine, got)
		}
		if machine > 0 && c.Business(machine-1) >= business {
			rt.Fatalf("%s of business time is %s on the wall, and less would do", business, machine)
		}
		if c.Machine(-business) > 0 || c.Machine(-business) < -machine {
			rt.Fatalf("%s is %s on the wall, and backwards %s", business, machine, c.Machine(-business))
		}
		now := origin.Add(11 * 365 * 24 * time.Hour).Add(spans().Draw(rt, "now"))
		if due := c.At(now).Add(business); c.At(now.Add(machine)).Before(due) {
			rt.Fatalf("due at %s, looked at %s", due, c.At(now.Add(machine)))
		}
	})
}

func TestPropertyAClockIsWrittenAndReadAgain(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		c := clocks(rt)
		back, err := closure.ParseClock(c.String())
		if err != nil || back != c {
			rt.Fatalf("%q is read as %q: %v", c, back, err)
		}
	})
}

// A demo's data folder may lie for years before it is started again: its clock goes on all the same, in step.
func TestPropertyAClockGoesOnForACentury(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		day := time.Duration(rapid.Int64Range(int64(time.Second), int64(time.Hour)).Draw(rt, "day"))
		c := closure.ScaledClock(day, origin, origin)
		days := rapid.Int64Range(0, int64(100*365*24*time.Hour/day)).Draw(rt, "days")
		rest := time.Duration(rapid.Int64Range(0, int64(day)-1).Draw(rt, "rest"))
		wall := origin.Add(time.Duration(days)*day + rest)
		got := c.At(wall)
		want := time.Unix(origin.Unix()+days*24*3600, 0).Add(c.Business(rest))
		if !got.Equal(want) {
			rt.Fatalf("after %d days of %s and %s it shows %s, want %s", days, day, rest, got, want)
		}
		if later := c.At(wall.Add(day)); later.Sub(got) != 24*time.Hour {
			rt.Fatalf("a day after %s is %s", got, later)
		}
	})
}

func TestSpansBeyondADurationStopAtItsEnds(t *testing.T) {
	t.Parallel()
	c := closure.ScaledClock(time.Second, origin, origin)
	if got := c.Business(math.MaxInt64); got != math.MaxInt64 {
		t.Errorf("the longest span is %s", got)
	}
	if got := c.Business(-math.MaxInt64); got != -math.MaxInt64 {
		t.Errorf("the longest span backwards is %s", got)
	}
	if got := c.Business(math.MinInt64); got > 0 {
		t.Errorf("the least span is %s", got)
	}
	if got := c.Machine(math.MaxInt64); got <= 0 || c.Business(got) < math.MaxInt64 {
		t.Errorf("the longest span of business time takes %s", got)
	}
}

func FuzzParseClock(f *testing.F) {
	for _, s := range []string{
		"", "20s", "20s@2026-11-18T14:00:00Z@2026-12-01T12:00:00Z", "24h@2026-11-18T14:00:00.5+02:00@2026-12-01T12:00:00Z",
		"1s@9999-12-31T23:59:59-05:00@0000-01-01T00:00:00+05:00", "1h2m3.000000004s@2026-11-18T14:00:00Z@1970-01-01T00:00:00Z", "@@",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := closure.ParseClock(s)
		if err != nil {
			if c != (closure.Clock{}) {
				t.Fatalf("%q is refused and gives %q", s, c)
			}
			return
		}
		back, err := closure.ParseClock(c.String())
		if err != nil || back != c {
			t.Fatalf("%q is written %q and read as %q: %v", s, c, back, err)
		}
		if got := c.At(origin.Add(time.Hour)); !got.After(c.At(origin)) {
			t.Fatalf("%q: an hour goes from %s to %s", s, c.At(origin), got)
		}
	})
}
