package closure

import (
	"fmt"
	"slices"
	"time"
)

// Phase says where on the road a closure is.
type Phase string

// The phases, in the order of the road.
const (
	Liquidation Phase = "liquidation"
	Settlement  Phase = "settlement"
	Withdrawal  Phase = "withdrawal"
	Closing     Phase = "closing"
)

// Unit says what a phase's limit counts.
type Unit string

// The units of limits. A market that is closed, a weekend or a bank holiday uses up nothing of them.
const (
	OpenMarket   Unit = "open market time"
	TradingDays  Unit = "trading days"
	BankingDays  Unit = "banking days"
	BusinessTime Unit = "business time"
)

// Limit is how long a phase may wait before a person is asked: Time for the two units of time, Days for the others.
type Limit struct {
	Time time.Duration
	Days int
	Of   Unit
}

// String is the limit in words, "3 trading days".
func (l Limit) String() string {
	if l.Days > 0 {
		return fmt.Sprintf("%d %s", l.Days, l.Of)
	}
	return fmt.Sprintf("%s of %s", l.Time, l.Of)
}

// Step is everything the service knows of one phase, on one row.
type Step struct {
	Phase Phase
	Does  string        // one line, for the console and the diagram
	Poll  time.Duration // business time until the next look while it waits
	Limit Limit         // then the closure is failed and a person is asked
	Next  []Phase       // where the road may lead; phases before this one are ways back
}

// Road is the way from a request to a closed account. The transition check, the worker's mux, the progress in the API,
// the drawn diagram and the exhaustive tests all read it.
var Road = []Step{
	{
		Liquidation, "cancel open orders, wait until they are gone, sell each position, wait until none is left",
		30 * time.Second,
		Limit{Time: 15 * time.Minute, Of: OpenMarket},
		[]Phase{Settlement},
	},
	{
		Settlement, "wait until the cash can be withdrawn (T+1)",
		time.Hour,
		Limit{Days: 3, Of: TradingDays},
		[]Phase{Withdrawal, Liquidation},
	},
	{
		Withdrawal, "pay out by ACH within the daily limit until no cash is left, then watch for returns",
		2 * time.Hour,
		Limit{Days: 5, Of: BankingDays},
		[]Phase{Closing, Liquidation, Settlement},
	},
	{
		Closing, "check that nothing is left, close the account, read that it is closed",
		time.Minute,
		Limit{Time: time.Hour, Of: BusinessTime},
		[]Phase{Liquidation, Settlement, Withdrawal},
	},
}

// StepOf is the row of a phase. A phase that is not on the road is a newer version's, which this one can show and not carry
// out: it leads nowhere.
func StepOf(p Phase) Step {
	if !p.Valid() {
		return Step{Phase: p, Does: "a step that this version does not know"}
	}
	return Road[p.index()]
}

func (p Phase) index() int {
	return slices.IndexFunc(Road, func(s Step) bool { return s.Phase == p })
}

// Valid says whether the phase stands on the road.
func (p Phase) Valid() bool {
	return slices.ContainsFunc(Road, func(s Step) bool { return s.Phase == p })
}

// Number is the phase's place on the road, from 1; 0 for one that is not on it.
func (p Phase) Number() int { return p.index() + 1 }

// leadsTo says whether one move may lead from p to q.
func (p Phase) leadsTo(q Phase) bool { return slices.Contains(StepOf(p).Next, q) }

// State says whether a closure moves. It is the second axis: a stop keeps its phase.
type State string

// The states of a closure.
const (
	Running  State = "running"  // on its way; a visit is due
	Paused   State = "paused"   // held by an operator; nothing new is sent until it is resumed
	Failed   State = "failed"   // stopped by a refusal or a limit; a person can resume it
	Dead     State = "dead"     // stopped by repeated errors or crashes; a person can resume it
	Closed   State = "closed"   // done: the account is closed
	Canceled State = "canceled" // stopped for good before anything irreversible was sent
)

// States lists every state.
var States = []State{Running, Paused, Failed, Dead, Closed, Canceled}

// leads is the whole of the state axis: what may follow what.
var leads = map[State][]State{
	Running: {Running, Paused, Failed, Dead, Closed, Canceled},
	Paused:  {Running, Canceled},
	Failed:  {Running, Canceled},
	Dead:    {Running, Canceled},
}

// Ended says whether a closure in this state is over; an account may then be given another closure. Of a newer version's state
// nobody can say it.
func (s State) Ended() bool { return slices.Contains(States, s) && len(leads[s]) == 0 }

// JobStatus is what the job-status route calls this closure's condition.
func (c Closure) JobStatus() string {
	switch c.State {
	case Running:
		switch {
		case c.Failures > 0:
			return "RETRYING"
		case c.StartedAt.IsZero():
			return "PENDING"
		}
		return "PROCESSING"
	case Failed:
		return "FAILED"
	case Dead:
		return "DEAD"
	case Closed:
		return "COMPLETED"
	case Paused:
		return "PAUSED"
	case Canceled:
		return "CANCELED"
	}
	return "UNKNOWN"
}
