package sim

import (
	"net/http"
	"strconv"
	"time"
)

// shownQuota is what the headers say where no limit is set: then only chaos throttles.
const shownQuota = 100_000

// Calls is how often the broker was asked, throttled requests included; /sim/ does not count.
type Calls struct {
	Total     int `json:"total"`
	Throttled int `json:"throttled"` // beyond Options.CallsPerMinute
	Busiest   int `json:"busiest"`   // the most in any one minute of the machine's clock
}

// quota counts the calls of each minute of machine time: Alpaca counts all calls of a correspondent together.
type quota struct {
	Calls
	minute int64
	asked  int // in that minute
}

// Calls says how often the broker was asked.
func (s *Sim) Calls() Calls {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.quota.Calls
}

// count takes in one call, and says whether it is within the limit.
func (s *Sim) count() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := &s.quota
	if minute := time.Now().Unix() / 60; minute != q.minute {
		q.minute, q.asked = minute, 0
	}
	q.asked++
	q.Total++
	q.Busiest = max(q.Busiest, q.asked)
	if s.o.CallsPerMinute > 0 && q.asked > s.o.CallsPerMinute {
		q.Throttled++
		return false
	}
	return true
}

var errThrottled = &refusal{status: http.StatusTooManyRequests, code: 42910000, message: "rate limit exceeded"}

// headers are those of an answer; a reset that chaos set replaces the quota's own. The lock is held.
func (q *quota) headers(limit int, reset time.Time) http.Header {
	if limit == 0 {
		limit = shownQuota
	}
	left := max(0, limit-q.asked)
	if reset.IsZero() {
		reset = time.Unix((q.minute+1)*60, 0)
	} else {
		left = 0
	}
	return http.Header{
		"X-Ratelimit-Limit":     {strconv.Itoa(limit)},
		"X-Ratelimit-Remaining": {strconv.Itoa(left)},
		"X-Ratelimit-Reset":     {strconv.FormatInt(reset.Unix(), 10)},
	}
}
