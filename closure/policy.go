package closure

import (
	"errors"
	"fmt"
	"time"

	"github.com/shopspring/decimal"
)

// Policy is the business side of how closures run. The zero value is not usable: start from DefaultPolicy.
type Policy struct {
	Polls       map[Phase]time.Duration
	Limits      map[Phase]Limit
	DailyLimit  decimal.Decimal // dollars that may leave one account by ACH on one banking day
	ReturnWatch int             // banking days between the last payout's arrival and the closing; 0: none
	Unknown     Unknown
}

// Unknown says what is done about a transfer that was perhaps sent and that no list shows after its quarantine.
type Unknown string

// The two ways. Ask is live's default: a person decides. Auto voids the intent; ARCHITECTURE names what that rests on.
const (
	Ask  Unknown = "ask"
	Auto Unknown = "auto"
)

// DefaultPolicy is the documented one for an environment.
func DefaultPolicy(env Environment) Policy {
	p := Policy{
		Polls: map[Phase]time.Duration{}, Limits: map[Phase]Limit{},
		DailyLimit: decimal.NewFromInt(50_000), ReturnWatch: 2, Unknown: Ask,
	}
	if env == Sandbox {
		p.Unknown = Auto
	}
	for _, s := range Road {
		p.Polls[s.Phase], p.Limits[s.Phase] = s.Poll, s.Limit
	}
	return p
}

// Validate names every setting that cannot work, all at once.
func (p Policy) Validate() error {
	var errs []error
	for _, s := range Road {
		if p.Polls[s.Phase] < time.Second {
			errs = append(errs, fmt.Errorf("%s poll: must be at least 1s, is %s", s.Phase, p.Polls[s.Phase]))
		}
		if l := p.Limits[s.Phase]; l.Days <= 0 && l.Time < p.Polls[s.Phase] {
			errs = append(errs, fmt.Errorf("%s limit: must not be shorter than the poll of %s, is %s", s.Phase, p.Polls[s.Phase], l.Time))
		}
	}
	if p.DailyLimit.LessThan(Cent) {
		errs = append(errs, fmt.Errorf("ACH daily limit: must be at least 0.01, is %s", p.DailyLimit))
	}
	if p.ReturnWatch < 0 || p.ReturnWatch > 60 {
		errs = append(errs, fmt.Errorf("return watch: must lie between 0 and 60 banking days, is %d", p.ReturnWatch))
	}
	if p.Unknown != Ask && p.Unknown != Auto {
		errs = append(errs, fmt.Errorf("unknown transfer: must be ask or auto, is %q", p.Unknown))
	}
	return errors.Join(errs...)
}

// Timing is the machine side: real time on this machine's clocks, never scaled.
type Timing struct {
	Deadline   time.Duration // one write at the broker, from claim to answer; afterwards its outcome is unknown
	ToWire     time.Duration // from before the claim's BEGIN to the socket; later nothing is written
	Fresh      time.Duration // how old the reads behind a claim may be
	Skew       time.Duration // how far the broker's clock may be from ours when something is claimed
	Quarantine time.Duration // how long an unknown outcome is left alone before a list may decide it
	Between    time.Duration // between the two lists that must both lack it
	Task       time.Duration // one visit
	Grace      time.Duration // how overdue a row must be before the sweep looks at its task
	Orphan     time.Duration // beyond Task: an active task that nobody works on
	Sweep      time.Duration // between sweeps, jittered
	Lease      time.Duration // of a notice that is being delivered
	Backoff    time.Duration // before the first retry after an error; it doubles, with jitter
	Drain      time.Duration // that a stopping worker gives its visits
	Probe      time.Duration // between attempts at a broker that has stopped answering
}

// DefaultTiming is production's.
var DefaultTiming = Timing{
	Deadline: 30 * time.Second, ToWire: 5 * time.Second, Fresh: 10 * time.Second, Skew: time.Minute,
	Quarantine: 30 * time.Minute, Between: time.Minute, Task: 5 * time.Minute,
	Grace: 30 * time.Second, Orphan: 5 * time.Minute, Sweep: 30 * time.Second, Lease: 2 * time.Minute,
	Backoff: 20 * time.Second, Drain: time.Minute, Probe: 30 * time.Second,
}

// ShortTiming is for the demo and for tests against a simulator on the same machine: the same order of things, sooner.
var ShortTiming = Timing{
	Deadline: 2 * time.Second, ToWire: 2 * time.Second, Fresh: 5 * time.Second, Skew: time.Minute,
	Quarantine: 8 * time.Second, Between: time.Second, Task: 20 * time.Second,
	Grace: 2 * time.Second, Orphan: 20 * time.Second, Sweep: 2 * time.Second, Lease: 20 * time.Second,
	Backoff: time.Second, Drain: 5 * time.Second, Probe: time.Second,
}

// TimingOf is the machine side for a clock: a scaled clock is only ever a demo's or a test's, and its machine is theirs.
func TimingOf(c Clock) Timing {
	if c.Scaled() {
		return ShortTiming
	}
	return DefaultTiming
}

// Validate refuses a quarantine that a slow request could outlive.
func (t Timing) Validate() error {
	var errs []error
	if least := 3*t.Deadline + 2*time.Minute; t.Quarantine < least {
		errs = append(errs, fmt.Errorf("quarantine: must be at least three request deadlines and two minutes, %s, is %s", least, t.Quarantine))
	}
	if t.Task < 2*t.Deadline {
		errs = append(errs, fmt.Errorf("task timeout: must be at least two request deadlines, %s, is %s", 2*t.Deadline, t.Task))
	}
	return errors.Join(errs...)
}
