package closure

import "time"

// Outcome is a phase's instruction after a look: the returned value is what happens next.
type Outcome struct {
	kind   outcomeKind
	Phase  Phase         // of Go
	Delay  time.Duration // of a wait, business time; 0: the phase's poll
	Until  time.Time     // of a wait, instead of Delay
	Reason Reason
	Why    string
	counts bool
	outage bool
	putOff time.Time
}

type outcomeKind int

const (
	kindGo outcomeKind = iota + 1
	kindWait
	kindFail
	kindDone
)

// Go moves on to, or back to, another phase.
func Go(p Phase, why string) Outcome { return Outcome{kind: kindGo, Phase: p, Why: why} }

// Wait looks again after d (0: the phase's poll), and this look counts towards the phase's limit.
func Wait(d time.Duration, r Reason, why string) Outcome {
	return Outcome{kind: kindWait, Delay: d, Reason: r, Why: why, counts: true}
}

// WaitUntil looks again at a known moment: an opening bell, a booking, a banking day. The calendar is no one's fault and
// uses up no limit.
func WaitUntil(t time.Time, r Reason, why string) Outcome {
	return Outcome{kind: kindWait, Until: t, Reason: r, Why: why}
}

// Park waits for a person: the reason says who must act, and no limit runs.
func Park(d time.Duration, r Reason, why string) Outcome {
	return Outcome{kind: kindWait, Delay: d, Reason: r, Why: why}
}

// Outage waits for the broker to answer again. Nothing was seen: it counts neither as a look nor as a failure.
func Outage(d time.Duration, why string) Outcome { return Unasked(d, BrokerOutage, why) }

// Unasked waits because the broker was not, or could not be, asked: like an outage it counts as nothing.
func Unasked(d time.Duration, r Reason, why string) Outcome {
	return Outcome{kind: kindWait, Delay: d, Reason: r, Why: why, outage: true}
}

// PutOff makes a wait for the phase's poll last until t, if that is later: what it waits for is heard of, and looking is for
// what was not heard. It changes no other outcome.
func (o Outcome) PutOff(t time.Time) Outcome {
	if o.kind == kindWait && !o.outage && o.Delay == 0 && o.Until.IsZero() {
		o.putOff = t
	}
	return o
}

// Fail stops the closure until a person resumes it. The reason's row says what they can do.
func Fail(r Reason, why string) Outcome { return Outcome{kind: kindFail, Reason: r, Why: why} }

// Done ends the closure: the account is closed.
func Done(why string) Outcome { return Outcome{kind: kindDone, Why: why} }

// Waits says whether the outcome is a wait.
func (o Outcome) Waits() bool { return o.kind == kindWait }

// String is the outcome in one word for the log: the next phase, or what became of the visit.
func (o Outcome) String() string {
	switch o.kind {
	case kindGo:
		return "go " + string(o.Phase)
	case kindWait:
		return "wait " + string(o.Reason)
	case kindFail:
		return "fail " + string(o.Reason)
	case kindDone:
		return "done"
	}
	return "none"
}
