package closure

import (
	"fmt"
	"math/bits"
	"strings"
	"time"
)

// Clock tells business time: the time of polls, limits, sessions and banking days. In production it is the wall clock.
// A demo runs it faster: business time is then a pure function of wall time and two origins, so that all processes agree
// and a restart goes on. Machine time (timeouts, quarantine, backoff) never comes from here.
type Clock struct {
	day     time.Duration // wall time that one business day takes; 0: real
	virtual time.Time
	wall    time.Time
}

const realDay = 24 * time.Hour

// ScaledClock makes a business day last as long as day, with virtual at the moment wall.
func ScaledClock(day time.Duration, virtual, wall time.Time) Clock {
	return Clock{day: day, virtual: virtual.UTC(), wall: wall.UTC()}
}

// ParseClock reads CLOSEOUT_DAY: "" is the real clock, otherwise `20s@<virtual origin>@<wall origin>`, both RFC 3339.
func ParseClock(s string) (Clock, error) {
	if s == "" {
		return Clock{}, nil
	}
	part := strings.Split(s, "@")
	if len(part) != 3 {
		return Clock{}, fmt.Errorf("a scaled day is written 20s@<virtual origin>@<wall origin>, got %q", s)
	}
	day, err := time.ParseDuration(part[0])
	if err != nil || day < time.Second || day > realDay {
		return Clock{}, fmt.Errorf("the length of a scaled day must lie between 1s and 24h, got %q", part[0])
	}
	virtual, err := parseOrigin(part[1])
	if err != nil {
		return Clock{}, fmt.Errorf("the virtual origin %w", err)
	}
	wall, err := parseOrigin(part[2])
	if err != nil {
		return Clock{}, fmt.Errorf("the wall origin %w", err)
	}
	return ScaledClock(day, virtual, wall), nil
}

func parseOrigin(s string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return t, fmt.Errorf("is no RFC 3339 time: %q", s)
	}
	if t = t.UTC(); t.Year() < 1970 || t.Year() > 2200 {
		return t, fmt.Errorf("must lie between the years 1970 and 2200: %q", s)
	}
	return t, nil
}

// String is the form that ParseClock reads.
func (c Clock) String() string {
	if !c.Scaled() {
		return ""
	}
	return c.day.String() + "@" + c.virtual.Format(time.RFC3339Nano) + "@" + c.wall.Format(time.RFC3339Nano)
}

// Scaled says whether business time is another than the wall clock's.
func (c Clock) Scaled() bool { return c.day != 0 }

// Now is the present business time.
func (c Clock) Now() time.Time { return c.At(time.Now()) }

// At is the business time at a moment of the wall clock.
func (c Clock) At(wall time.Time) time.Time {
	if c.day == 0 {
		return wall.Round(0).UTC()
	}
	// Whole days by the calendar: weeks of a fast demo are more business time than a Duration holds.
	passed := wall.Round(0).Sub(c.wall)
	return c.virtual.AddDate(0, 0, int(passed/c.day)).Add(c.Business(passed % c.day))
}

// Business is how much business time passes in a stretch of machine time.
func (c Clock) Business(machine time.Duration) time.Duration {
	if c.day == 0 {
		return machine
	}
	return scale(machine, realDay, c.day)
}

// Machine is how long a stretch of business time takes on the wall clock, rounded up so that nothing is early.
func (c Clock) Machine(business time.Duration) time.Duration {
	if c.day == 0 {
		return business
	}
	d := scale(business, c.day, realDay)
	if c.Business(d) < business {
		d++
	}
	return d
}

// scale is d·num/den without overflow; spans beyond what a Duration holds stop at its ends.
func scale(d, num, den time.Duration) time.Duration {
	neg := d < 0
	if neg {
		d = -d
	}
	q := uint64(1<<63 - 1)
	if hi, lo := bits.Mul64(uint64(d), uint64(num)); hi < uint64(den) {
		r, _ := bits.Div64(hi, lo, uint64(den))
		q = min(q, r)
	}
	if neg {
		return -time.Duration(q)
	}
	return time.Duration(q)
}
