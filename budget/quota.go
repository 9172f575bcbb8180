package budget

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"closeout/alpaca"
)

const (
	blindPause   = 30 * time.Second // after a 429 that does not say when the quota is renewed
	longestQuota = 10 * time.Minute // a renewal further away is a mistake
)

// told is what the broker said of its quota, which others of the correspondent's may use, too.
type told struct {
	limit, left int
	reset       time.Time // by our clock, and a second later than the broker says
}

// quota is the latest that is known of it.
type quota struct {
	mu sync.Mutex
	told
	level int // classes that wait: so many of the lowest
}

// hear takes in an answer's headers. worse says that a class must wait that did not before.
func (q *quota) hear(h alpaca.Heard, now time.Time) (t told, worse bool) {
	number := func(name string) (int, bool) {
		n, err := strconv.ParseInt(h.Header.Get(name), 10, 64)
		return int(n), err == nil && n >= 0
	}
	limit, _ := number("X-Ratelimit-Limit") // as net/http writes them: any other way is rewritten at each look
	left, known := number("X-Ratelimit-Remaining")
	reset, timed := number("X-Ratelimit-Reset")
	at := now.Add(blindPause)
	if timed {
		there := now // the reset is by the broker's clock
		if date, err := http.ParseTime(h.Header.Get("Date")); err == nil {
			there = date
		}
		at = now.Add(min(max(time.Unix(int64(reset), 0).Sub(there), 0), longestQuota) + time.Second)
	}
	if h.Status == http.StatusTooManyRequests {
		left, known, timed = 0, true, true
	}
	if !known || !timed {
		return told{limit: limit}, false
	}
	t = told{limit, left, at}
	return t, q.merge(t)
}

// merge takes in what is known, here or elsewhere: within one window the least counts, and a later window replaces it.
func (q *quota) merge(t told) (worse bool) {
	now := time.Now()
	if !t.reset.After(now) {
		return false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	same := t.reset.Sub(q.reset).Abs() < 2*time.Second // the Date header has whole seconds
	switch {
	case q.reset.After(now) && same:
		t.left, t.reset = min(t.left, q.left), later(t.reset, q.reset)
	case q.reset.After(t.reset):
		return false
	default:
		q.level = 0
	}
	q.told = t
	level := t.waits()
	worse = level > q.level
	q.level = level
	return worse
}

// waits is how many classes, from the lowest, must leave what is left to the others.
func (t told) waits() int {
	switch {
	case t.left <= 0:
		return int(classes)
	case t.left < max(t.limit/50, 4):
		return int(Money)
	case t.left < max(t.limit/25, 8):
		return int(Asked)
	}
	return 0
}

// hold is how long a class must wait for the quota's renewal.
func (q *quota) hold(class Class, now time.Time) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	if int(class) >= q.waits() {
		return 0
	}
	return max(q.reset.Sub(now), 0)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
