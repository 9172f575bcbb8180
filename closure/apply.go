package closure

import (
	"errors"
	"fmt"
	"time"

	"github.com/shopspring/decimal"
)

// The caps of the road.
const (
	MaxRetries         = 3  // errors in a row beyond the first, then dead
	MaxFailuresInPhase = 20 // errors in one phase, in a row or not
	MaxCrashes         = 5  // crashes in a row
	MaxLoops           = 10 // ways back
	leastLooks         = 3  // before a limit can trip
)

// ErrNotRunning is the answer to a change that only a running closure takes. A visit that meets it acknowledges.
var ErrNotRunning = errors.New("the closure is not running")

// ErrImpossible is the answer to an instruction that the road does not know: a fault of ours, which retries can't mend.
var ErrImpossible = errors.New("impossible")

// NotAllowedError refuses a command in the closure's present state, in words for the one who asked.
type NotAllowedError struct {
	Command string
	State   State
	Why     string
}

func (e *NotAllowedError) Error() string { return fmt.Sprintf("cannot %s: %s", e.Command, e.Why) }

// Commanded refuses a command for what only a newer version can deal with; nil: it may be applied.
func (ch Change) Commanded(c Closure, intents []Intent) error {
	if what := Newer(c, intents...); what != "" {
		return newer(c, ch.kind, what)
	}
	return nil
}

// newer is the answer to a change of what a newer version has written: to whoever asked for it in words.
func newer(c Closure, kind, what string) error {
	switch kind {
	case kCancel, kPause, kResume, kResolve, kWake:
		return fmt.Errorf("%w: %w", ErrNewer, &NotAllowedError{kind, c.State, "a newer version of the service has taken it up (it has " + what + "); ask a server of that version"})
	}
	return fmt.Errorf("%w: it has %s", ErrNewer, what)
}

// Change is one thing that happens to a closure. Make one with the functions below.
type Change struct {
	kind    string
	at      time.Time
	actor   string
	outcome Outcome
	look    Look
	retried int
	text    string
	past    bool // something irreversible was sent, or may have been
	noted   bool // the delivery in hand is of the row's own version
	payout  bool // the claim is for a transfer
	memo    *Memo
	detail  any

	resolution Resolution
	settled    *Intent
	adoption   *Adoption
}

// With attaches what the event of this change shall hold beside its line: already free of secrets and personal data.
func (ch Change) With(detail any) Change {
	ch.detail = detail
	return ch
}

// Look is what a successful look adds to a phase's limit; the runner measures it with the calendar.
type Look struct {
	Open time.Duration // open-market time since the last look
	Day  string        // the New York date, if it is a day of the limit's unit
}

// Worker is the actor of what the service does by itself.
const Worker = "worker"

// The kinds of changes, which are the kinds of their events.
const (
	kLook, kClaim, kError, kCrash, kWentBack, kReissue = "look", "claim", "error", "crash", "ledger_went_back", "reissue"
	kCancel, kPause, kResume, kWake, kHasten           = "cancel", "pause", "resume", "wake", "hasten"
	kResolve, kAdopt, kReconcile, kUnreconciled        = "resolve", "adopted", "reconciled", "not_reconciled"
)

// Looked is the end of a visit. memo, if not nil, replaces the closure's.
func Looked(at time.Time, o Outcome, l Look, memo *Memo) Change {
	return Change{kind: kLook, at: at, actor: Worker, outcome: o, look: l, memo: memo}
}

// Claimed is the move that precedes every effect. The next visit is due when the effect's answer must have come. A payout
// starts the withdrawal's limit afresh, since that is counted for each transfer, and settles what was noted of the books.
func Claimed(at, due time.Time, what string, payout bool) Change {
	return Change{kind: kClaim, at: at, actor: Worker, outcome: Outcome{Until: due}, text: what, payout: payout}
}

// Stumbled notes an error of a visit. retried is Asynq's count for the delivery in hand, and noted says whether that
// delivery is of the row's present version: only then the next one's count is known.
func Stumbled(at time.Time, text string, retried int, noted bool) Change {
	return Change{kind: kError, at: at, actor: Worker, text: text, retried: retried, noted: noted}
}

// Crashed notes that an earlier delivery of this version ended without a word.
func Crashed(at time.Time, retried int) Change {
	return Change{kind: kCrash, at: at, actor: Worker, retried: retried}
}

// WentBack stops a closure whose task is newer than its row.
func WentBack(at time.Time) Change { return Change{kind: kWentBack, at: at, actor: Worker} }

// Reissued gives a closure whose task is lost, stuck or archived a new version. crashed says that the task was given up
// without the row having heard of it.
func Reissued(at time.Time, why string, crashed bool) Change {
	return Change{kind: kReissue, at: at, actor: Worker, text: why, past: crashed}
}

// Cancel stops a closure for good. past says that an irreversible instruction is sending, unknown, sent or done.
func Cancel(at time.Time, actor, why string, past bool) Change {
	return Change{kind: kCancel, at: at, actor: actor, text: why, past: past}
}

// Pause holds a closure: nothing new is sent from its commit on.
func Pause(at time.Time, actor, why string) Change {
	return Change{kind: kPause, at: at, actor: actor, text: why}
}

// Resume sets a stopped closure going again, with its failures, limits and loops cleared.
func Resume(at time.Time, actor, why string) Change {
	return Change{kind: kResume, at: at, actor: actor, text: why}
}

// Wake makes a waiting closure due now. A due one is only marked, so that a storm of wakes can't starve its visit. Either is
// somebody's word, and an event.
func Wake(at time.Time, actor, why string) Change {
	return Change{kind: kWake, at: at, actor: actor, text: why}
}

// settle is business time after a change before an event can make the next visit due: what belongs together, the fills of
// several orders for one, is seen by one visit, and no storm of events can make a closure look without a pause.
const settle = 2 * time.Second

// Hastened is a wake by the broker's word that something has happened, which may be wrong. Unlike Wake it leaves no event:
// the visit that follows writes what it saw, and hundreds of lines that something was heard would hide it.
func Hastened(at time.Time) Change { return Change{kind: kHasten, at: at, actor: Worker} }

// Apply is the only place where a closure changes. It returns the closure as it is afterwards, with the next version
// where it moved (the ledger gives each new version its token), and the event to append: nil for a look that found
// nothing new and for what the broker's events hasten. Only a running closure takes anything but resume, resolve, cancel and adoptions; what is refused changes nothing.
func Apply(c Closure, ch Change, p Policy) (Closure, *Event, error) {
	before := c
	if what := Newer(c); what != "" {
		return before, nil, newer(c, ch.kind, what)
	}
	c.UpdatedAt = ch.at
	ev := &Event{Kind: ch.kind, At: ch.at, Actor: ch.actor, Text: ch.text, Detail: ch.detail}
	if c.State != Running && ch.kind != kResume && ch.kind != kResolve && ch.kind != kCancel && ch.kind != kUnreconciled && ch.adoption == nil {
		if ch.kind == kPause || ch.kind == kWake {
			done := map[string]string{kPause: "paused", kWake: "woken"}[ch.kind]
			return before, nil, &NotAllowedError{ch.kind, c.State, fmt.Sprintf("the closure is %s; only a running one can be %s", c.State, done)}
		}
		return before, nil, ErrNotRunning
	}
	var err error
	switch ch.kind {
	case kLook:
		ev, err = c.look(ch, p)
	case kClaim:
		c.start(ch.at)
		woken := c.WokenAt // a wake is answered by the look's own save, not here
		c.WokenAt = time.Time{}
		c.move(ch.outcome.Until)
		c.WokenAt = woken
		c.wait(Sending, ch.text)
		if ch.payout {
			c.freshLimit()
			c.Memo.ExcessSince, c.Memo.Excess, c.Memo.Allowed = time.Time{}, "", ""
		}
	case kError:
		c.start(ch.at)
		c.Failures++
		c.FailuresInPhase++
		c.LastError = ch.text
		if ch.noted {
			c.NotedRetries = max(c.NotedRetries, ch.retried+1) // of two overlapping deliveries the later may end first
		}
		c.dieIfWornOut(ch.at)
	case kCrash:
		c.Crashes++
		c.NotedRetries = ch.retried
		ev.Text = fmt.Sprintf("an earlier run of this step ended without a word (%d in a row)", c.Crashes)
		c.dieIfWornOut(ch.at)
	case kWentBack:
		c.stop(Failed, ch.at, LedgerWentBack, Reasons[LedgerWentBack].Title)
		ev.Text = c.Why
	case kReissue:
		if ch.past {
			c.Crashes++
		}
		c.move(ch.at)
		c.dieIfWornOut(ch.at)
	case kCancel, kPause, kResume, kResolve:
		err = c.command(ch)
	case kAdopt, kReconcile:
		err = c.adopt(ch)
	case kUnreconciled:
		err = c.unreconciled(ch)
	case kWake:
		if c.DueAt.After(ch.at) {
			c.move(ch.at)
		} else {
			c.WokenAt = ch.at
		}
	case kHasten:
		return hasten(before, ch.at), nil, nil
	default:
		err = fmt.Errorf("closure: %w: unknown change %q", ErrImpossible, ch.kind)
	}
	if err != nil {
		return before, nil, err
	}
	if before.State != c.State && ev != nil && ch.kind != kPause && ch.kind != kResume && ch.kind != kResolve && ch.kind != kCancel && ch.kind != kUnreconciled && ch.adoption == nil {
		ev.Kind = string(c.State)
		if ch.kind == kError || ch.kind == kCrash || ch.kind == kReissue {
			ev.Text = c.Why
		}
	}
	return c, ev, nil
}

func (c *Closure) look(ch Change, p Policy) (*Event, error) {
	o := ch.outcome
	before := *c
	c.start(ch.at)
	if ch.memo != nil {
		c.Memo = *ch.memo
	}
	reason, why := before.Reason, before.Why
	if reason == BrokerBusy {
		reason, why = before.Memo.HeldReason, before.Memo.HeldWhy
	}
	c.Memo.HeldReason, c.Memo.HeldWhy = "", ""
	if o.Reason == BrokerBusy {
		c.Memo.HeldReason, c.Memo.HeldWhy = reason, why
	}
	if !o.outage {
		c.Failures, c.Crashes, c.LastError = 0, 0, ""
		c.Looks++
	}
	ev := &Event{Kind: ch.kind, At: ch.at, Actor: ch.actor, Text: o.Why, Detail: ch.detail}
	switch o.kind {
	case kindWait:
		due := o.Until
		if due.IsZero() {
			d := o.Delay
			if d == 0 {
				d = p.Polls[c.Phase]
			}
			due = ch.at.Add(d)
		}
		c.move(due)
		if o.putOff.After(due) && c.DueAt.Equal(due) { // not woken meanwhile
			c.DueAt, c.LookBy = o.putOff, due
		}
		c.wait(o.Reason, o.Why)
		if o.counts {
			c.count(ch.look, p)
		}
		if !o.outage {
			c.LastLook = ch.at
		}
		if o.counts && c.overLimit(p) {
			c.stop(Failed, ch.at, LimitReached, fmt.Sprintf("%s took more than %s: %s", c.Phase, p.Limits[c.Phase], o.Why))
			ev.Text = c.Why
			return ev, nil
		}
		if reason == c.Reason && why == c.Why || c.Reason == BrokerBusy {
			return nil, nil //nolint:nilnil // nothing new was seen: the row moves and no event is written
		}
		ev.Kind = "wait"
		return ev, nil
	case kindGo:
		return c.goTo(ch, p, ev)
	case kindFail:
		c.stop(Failed, ch.at, o.Reason, o.Why)
		return ev, nil
	case kindDone:
		c.stop(Closed, ch.at, "", o.Why)
		return ev, nil
	}
	return nil, fmt.Errorf("closure: %w: a visit returned no outcome", ErrImpossible)
}

// goTo moves along the road: on at once, back after at least one poll and at most MaxLoops times.
func (c *Closure) goTo(ch Change, p Policy, ev *Event) (*Event, error) {
	to := ch.outcome.Phase
	if !to.Valid() || !c.Phase.leadsTo(to) {
		return nil, fmt.Errorf("closure: %w: the road does not lead from %s to %q", ErrImpossible, c.Phase, to)
	}
	ev.Kind = "go"
	due, back := ch.at, to.index() < c.Phase.index()
	if back {
		c.Loops++
		due = ch.at.Add(p.Polls[to])
	}
	if c.Loops >= MaxLoops {
		c.stop(Failed, ch.at, TooManyLoops, fmt.Sprintf("went back %d times, the last time from %s to %s: %s", c.Loops, c.Phase, to, ch.outcome.Why))
		ev.Text = c.Why
		return ev, nil
	}
	c.Phase, c.EnteredAt = to, ch.at
	c.freshLimit()
	c.FailuresInPhase = 0
	c.move(due)
	c.wait("", ch.outcome.Why)
	if back {
		c.Reason = WentBackNote
	}
	return ev, nil
}

func (c *Closure) command(ch Change) error {
	switch ch.kind {
	case kCancel:
		if c.State.Ended() {
			return &NotAllowedError{ch.kind, c.State, fmt.Sprintf("the closure is %s already", c.State)}
		}
		if ch.past {
			return &NotAllowedError{ch.kind, c.State, "an order or a payout was sent already, or may have been, and can't be taken back; pause holds the closure before anything further is sent"}
		}
		c.stop(Canceled, ch.at, CanceledByRequest, ch.text)
	case kPause:
		c.stop(Paused, ch.at, PausedByOperator, ch.text)
		c.EndedAt = time.Time{}
	case kResume:
		if err := c.stopped(ch.kind); err != nil {
			return err
		}
		if c.Reason == Unexplained { // a person has seen it: what is allowed once is not held against the closure again
			c.Memo.Allowed = total(c.Memo.Allowed, c.Memo.Excess)
		}
		c.goOn(ch.at, "resumed: "+ch.text)
	case kResolve:
		return c.resolve(ch)
	}
	return nil
}

// total adds sums as the memo writes them; "" is none.
func total(sums ...string) string {
	t := decimal.Zero
	for _, s := range sums {
		if d, err := decimal.NewFromString(s); err == nil {
			t = t.Add(d)
		}
	}
	return t.String()
}

func (c *Closure) start(at time.Time) {
	if c.StartedAt.IsZero() {
		c.StartedAt = at
	}
}

// move gives the row its next version. A wake that came meanwhile makes it due at once.
func (c *Closure) move(due time.Time) {
	c.Version++
	c.Token, c.NotedRetries, c.LookBy = "", 0, time.Time{}
	if !c.WokenAt.IsZero() && c.WokenAt.Before(due) {
		due = c.WokenAt
	}
	c.WokenAt = time.Time{}
	if due.Before(c.NotBefore) {
		due = c.NotBefore
	}
	c.DueAt = due
}

func (c *Closure) wait(r Reason, why string) {
	c.Reason, c.Why, c.Who = r, why, Reasons[r].Who
}

func (c *Closure) stop(s State, at time.Time, r Reason, why string) {
	c.State, c.EndedAt = s, at
	c.move(at)
	c.DueAt = time.Time{}
	c.wait(r, why)
}

// hasten makes a waiting closure due, or marks one that is due already.
func hasten(c Closure, at time.Time) Closure {
	due := at
	if soon := c.UpdatedAt.Add(settle); soon.After(due) && soon.Before(at.Add(2*settle)) { // clocks may differ
		due = soon
	}
	switch {
	case c.NotBefore.After(at), !c.DueAt.After(due) && c.DueAt.After(at): // it is due soon enough
	case c.DueAt.After(due):
		c.UpdatedAt = at
		c.move(due)
	case c.WokenAt.IsZero(): // a visit may be in hand, and may have looked before what was heard of now
		c.WokenAt = at.Add(settle)
	}
	return c
}

// dieIfWornOut makes the closure dead when its errors or crashes are used up.
func (c *Closure) dieIfWornOut(at time.Time) {
	switch {
	case c.Crashes >= MaxCrashes:
		c.stop(Dead, at, CrashesWorker, fmt.Sprintf("%d runs in a row ended without a word", c.Crashes))
	case c.Failures > MaxRetries:
		c.stop(Dead, at, RetriesUsedUp, fmt.Sprintf("failed %d times in a row: %s", c.Failures, c.LastError))
	case c.FailuresInPhase >= MaxFailuresInPhase:
		c.stop(Dead, at, RetriesUsedUp, fmt.Sprintf("failed %d times in this phase: %s", c.FailuresInPhase, c.LastError))
	}
}

func (c *Closure) freshLimit() {
	c.Looks, c.Spent, c.Days, c.LastDay, c.LastLook = 0, 0, 0, "", time.Time{}
}

// count adds a look to the limit: at most two polls of time however long nobody looked, or its day once.
func (c *Closure) count(l Look, p Policy) {
	c.Spent += min(l.Open, 2*p.Polls[c.Phase])
	if l.Day != "" && l.Day != c.LastDay {
		c.Days++
		c.LastDay = l.Day
	}
}

func (c *Closure) overLimit(p Policy) bool {
	if c.Looks < leastLooks {
		return false
	}
	l := p.Limits[c.Phase]
	if l.Days > 0 {
		return c.Days > l.Days
	}
	return c.Spent > l.Time
}
