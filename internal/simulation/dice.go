package simulation

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"time"
)

// Kind names one kind of fault, or one thing that real life sends.
type Kind string

// The faults, and the share of opportunities at which each strikes in a life that has it at the usual rate.
var faults = map[Kind]float64{
	"crash":          0.0010, // a process dies at a point: before or after a broker call, claim, commit, enqueue or ack
	"crashes again":  0.1000, // and so do those that take the visit up, as if it were the visit's fault
	"pause":          0.0030, // a visit stands still at a point; the process lives on
	"freeze":         0.0008, // a process stands still, heartbeats and all
	"sleeper":        0.0200, // a writer stands still after its claim, often for longer than a quarantine
	"overlap":        0.0500, // a visit pauses somewhere, and a second copy of it is delivered meanwhile
	"duplicate":      0.0200, // a task is delivered twice
	"ack lost":       0.0050, // Redis does not hear of a visit's end
	"enqueue lost":   0.0100, // the task is there, and its maker hears an error
	"redis down":     0.0030, // for minutes
	"redis emptied":  0.0020,
	"orphan":         0.3000, // an active task loses its lease
	"archived":       0.0030, // the retries are used up while the row has not heard of it
	"ledger down":    0.0030, // a call fails and has no effect
	"commit lost":    0.0030, // a commit succeeds and its answer is lost
	"commit late":    0.0020, // a commit's answer is lost, and it takes place seconds later
	"read refused":   0.0030, // 5xx
	"read broken":    0.0010, // 4xx: an error that counts
	"throttled":      0.0030, // 429
	"left out":       0.0050, // an answer without its sums: an error that counts, and never a zero
	"dial refused":   0.0200,
	"write refused":  0.0200, // 5xx or 408 without an effect
	"write lost":     0.0300, // no effect and no answer
	"answer lost":    0.0300, // the effect, and no answer
	"answer wrong":   0.0300, // the effect, and a 5xx or 408
	"arrives late":   0.0200, // no answer, and the effect minutes later
	"listed late":    0.0300, // the effect, shown in lists minutes later
	"slow":           0.0050,
	"outage":         0.0004, // all calls, for up to eleven hours
	"clocks":         0.5,    // a process starts with a clock that is up to half a minute off
	"clock far off":  0.05,   // or minutes
	"letter refused": 0.0500,
	"twin":           0.3, // the customer withdraws the very sum of a payout whose answer is lost, in those minutes
}

// What an account may live through besides, and how many of the accounts do.
var events = map[Kind]float64{
	"partial fill": 0.15, "halt": 0.10, "return": 0.15, "second return": 0.03, "reject": 0.06, "dividend": 0.15, "deposit": 0.12,
	"withdrawal": 0.15, "trade bust": 0.08, "block": 0.12, "fee": 0.05, "shares": 0.05, "agent order": 0.05, "odd status": 0.05,
	"open orders": 0.25, "unsettled": 0.10, "bank deleted": 0.04, "another bank": 0.7, "closed elsewhere": 0.02, "not active": 0.05, "several payouts": 0.20,
	"hearsay": 0.5, // from seed unheard on
	"cancel":  0.10, "pause command": 0.12, "resume command": 0.5, "wake": 0.25,
}

// dice decide what goes wrong. Each kind has chance of its own, so that taking one away leaves the others as they were.
type dice struct {
	seed   uint64
	off    map[Kind]bool
	most   int // faults that may strike; -1: any number
	live   bool
	rates  map[Kind]float64
	chance map[Kind]*rand.Rand
	struck int
	counts map[Kind]int
}

func newDice(seed uint64, off map[Kind]bool, most int) *dice {
	d := &dice{seed: seed, off: off, most: most, live: true, rates: map[Kind]float64{}, chance: map[Kind]*rand.Rand{}, counts: map[Kind]int{}}
	for k, usual := range faults {
		r := d.of("rate of " + k)
		switch x := r.Float64(); {
		case x < 0.45: // a life of few kinds of fault at a time shows more of each
			d.rates[k] = 0
		default:
			d.rates[k] = min(0.6, usual*math.Exp2(4*r.Float64()-2))
		}
	}
	return d
}

// of is the chance of one kind.
func (d *dice) of(k Kind) *rand.Rand {
	r := d.chance[k]
	if r == nil {
		h := fnv.New64a()
		_, _ = h.Write([]byte(k))
		r = rand.New(rand.NewPCG(d.seed, h.Sum64()))
		d.chance[k] = r
	}
	return r
}

// strikes says whether a fault happens here.
func (d *dice) strikes(k Kind) bool {
	rate := d.rates[k]
	if !d.live || rate == 0 || d.of(k).Float64() >= rate || d.off[k] || d.most >= 0 && d.struck >= d.most {
		return false
	}
	d.struck++
	d.counts[k]++
	return true
}

// lives says whether an account lives through something.
func (d *dice) lives(k Kind) bool {
	if d.of(k).Float64() >= events[k] || d.off[k] {
		return false
	}
	d.counts[k]++
	return true
}

// between draws a duration; short ones are as likely as long ones.
func (d *dice) between(k Kind, least, most time.Duration) time.Duration {
	x := d.of(k + " for").Float64()
	return time.Duration(float64(least) * math.Pow(float64(most)/float64(least), x)).Round(time.Millisecond)
}

// within draws a moment, all as likely.
func (d *dice) within(k Kind, most time.Duration) time.Duration {
	return time.Duration(d.of(k + " at").Int64N(int64(most))).Round(time.Millisecond)
}

func (d *dice) pick(k Kind, n int) int { return d.of(k + " which").IntN(n) }
