package sim

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

// The faults of a Rule.
const (
	FaultError        = "error"         // no effect, and the answer is Status
	FaultErrorAfter   = "error_after"   // the effect happens, and the answer is Status all the same
	FaultTimeoutAfter = "timeout_after" // the effect happens, and no answer comes
	FaultSlow         = "slow"          // all is well, but only after Delay
	FaultLate         = "late"          // all is well, but lists show the effect only after Delay of business time
	FaultThrottle     = "throttle"      // no effect, 429, and the quota is renewed after Delay
	FaultDrop         = "drop"          // no effect and no answer

	// Of the events on a stream, by its path; the others above are those of opening it.
	FaultLag    = "lag"    // it comes only after Delay, and so do those behind it
	FaultLose   = "lose"   // it is left out, and a comment says so
	FaultRepeat = "repeat" // it comes twice
	FaultLie    = "lie"    // beside it, or a heartbeat, something is told that has not happened
)

var (
	callFaults   = []string{FaultError, FaultErrorAfter, FaultTimeoutAfter, FaultSlow, FaultLate, FaultThrottle, FaultDrop}
	streamFaults = []string{FaultLag, FaultLose, FaultRepeat}
	lies         = []string{FaultLie}
	faults       = slices.Concat(callFaults, streamFaults, lies)
)

// Rule makes some requests go wrong. The first rule that fires decides.
type Rule struct {
	Method string `json:"method,omitempty"` // empty: any
	// Path is a glob over the path: * stands for one segment or a part of it, ** for anything. Without a slash in front
	// it may match anywhere in the path; with one in front and no star also the end of the path.
	Path string `json:"path,omitempty"` // empty: any
	// Probability is that of firing on a request that matches. Zero in Go, absent in JSON: always.
	Probability float64  `json:"probability"`
	Fault       string   `json:"fault"`
	Status      int      `json:"status,omitempty"` // of error and error_after; 500 by default
	Delay       Duration `json:"delay,omitzero"`   // machine time, but for late
	Late        Duration `json:"late,omitzero"`    // beside error_after and timeout_after: also late by so much business time
	Times       int      `json:"times,omitempty"`  // fires no more often; 0: no bound
}

// UnmarshalJSON tells a probability of 0, which is never, from none, which is always.
func (r *Rule) UnmarshalJSON(b []byte) error {
	type plain Rule
	row := struct {
		*plain
		Probability *float64 `json:"probability"`
	}{plain: (*plain)(r)}
	if err := json.Unmarshal(b, &row); err != nil {
		return err
	}
	if row.Probability != nil {
		r.Probability = *row.Probability
		if r.Probability == 0 {
			r.Probability = -1
		}
	}
	return nil
}

// Chaos is a set of rules and the seed that their chance comes from.
type Chaos struct {
	Seed  int64  `json:"seed"`
	Rules []Rule `json:"rules"`
}

type chaos struct {
	Chaos
	paths []*regexp.Regexp
	fired []int
	asked map[string]int // how often a rule was asked about a path
}

// Chaos replaces the rules; none lets all go well again. Chance depends on the seed, the path and how often that was
// asked for, not on the order in which requests of different accounts arrive.
func (s *Sim) Chaos(c Chaos) error {
	next := &chaos{Chaos: c, fired: make([]int, len(c.Rules)), asked: map[string]int{}}
	for i, r := range c.Rules {
		if !slices.Contains(faults, r.Fault) {
			return invalid("rule %d: unknown fault %q; known are %s", i, r.Fault, strings.Join(faults, ", "))
		}
		if r.Probability > 1 {
			return invalid("rule %d: a probability is at most 1", i)
		}
		if r.Status != 0 && (r.Status < 300 || r.Status > 599) {
			return invalid("rule %d: status %d is no error", i, r.Status)
		}
		path, err := glob(r.Path)
		if err != nil {
			return invalid("rule %d: the path can't be used: %s", i, err)
		}
		next.paths = append(next.paths, path)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.chaos = next
	return nil
}

func glob(path string) (*regexp.Regexp, error) {
	path = strings.ReplaceAll(path, ".*", "**")
	pattern := regexp.QuoteMeta(path)
	pattern = strings.ReplaceAll(pattern, `\*\*`, ".*")
	pattern = strings.ReplaceAll(pattern, `\*`, "[^/]*")
	switch {
	case path == "" || path == "*":
		pattern = ".*"
	case !strings.HasPrefix(path, "/"):
		return regexp.Compile(pattern)
	case strings.HasSuffix(path, "/"):
		return regexp.Compile("^" + pattern)
	case !strings.Contains(path, "*"):
		return regexp.Compile(pattern + "$")
	}
	return regexp.Compile("^" + pattern + "$")
}

// fault says which of some faults befalls a request; the zero Rule means none does. The lock is held.
func (c *chaos) fault(method, path string, of []string) Rule {
	if c == nil {
		return Rule{}
	}
	for i, r := range c.Rules {
		if r.Method != "" && r.Method != "*" && !strings.EqualFold(r.Method, method) || !c.paths[i].MatchString(path) {
			continue
		}
		if r.Times > 0 && c.fired[i] >= r.Times || !slices.Contains(of, r.Fault) {
			continue
		}
		if r.Probability != 0 && r.Probability < 1 {
			key := method + " " + path + " " + string(rune('a'+i))
			c.asked[key]++
			chance := float64(seedOf(c.Seed, key, c.asked[key])>>11) / (1 << 53)
			if chance >= r.Probability {
				continue
			}
		}
		c.fired[i]++
		return r
	}
	return Rule{}
}

// hides says for how long what the request makes stays out of the lists.
func (r Rule) hides() time.Duration {
	if r.Fault == FaultLate {
		return time.Duration(r.Delay)
	}
	return time.Duration(r.Late)
}

func (r Rule) delay(otherwise time.Duration) time.Duration {
	if r.Delay > 0 {
		return time.Duration(r.Delay)
	}
	return otherwise
}

// answer is what error, error_after and throttle say.
func (r Rule) answer() response {
	status := r.Status
	switch {
	case r.Fault == FaultThrottle:
		status = http.StatusTooManyRequests
	case status == 0:
		status = http.StatusInternalServerError
	}
	resp := failure(&refusal{status: status, code: status*100_000 + 10_000, message: strings.ToLower(http.StatusText(status)) + " (simulated)"})
	if r.Fault == FaultThrottle {
		resp.reset = time.Now().Add(r.delay(time.Second))
	}
	return resp
}
