package handlers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
	"github.com/sirupsen/logrus"
	"go.opentelemetry.io/otel/trace"

	"closeout/alpaca"
	"closeout/calendar"
	"closeout/closure"
	"closeout/ledger"
	"closeout/tasks"
)

// Ledger is what visits need of the system of record. *ledger.Ledger is the one there is; tests put faults before it.
type Ledger interface {
	Load(ctx context.Context, id string) (closure.Closure, []closure.Intent, error)
	Claim(ctx context.Context, c closure.Closure, ch closure.Change, send []closure.Intent, ev closure.Event) (closure.Closure, []closure.Intent, error)
	Record(ctx context.Context, c closure.Closure, answered closure.Intent, ev closure.Event) (closure.Closure, closure.Intent, error)
	Save(ctx context.Context, c closure.Closure, ch closure.Change, learned []ledger.Learned, evs ...closure.Event) (closure.Closure, error)
	Overdue(ctx context.Context, before time.Time, after closure.Closure, limit int) ([]closure.Closure, error)
	Hasten(ctx context.Context, account string) (c closure.Closure, moved bool, err error)
	PutOff(ctx context.Context, now, by time.Time, limit int) ([]closure.Closure, error)
	Released(ctx context.Context, after time.Time, limit int) ([]closure.Closure, error)
	NextNotice(ctx context.Context, sent *ledger.Notice, lease time.Duration) (ledger.Notice, closure.Closure, []closure.Intent, error)
	NoticeSent(ctx context.Context, n ledger.Notice) error
	NoticeLater(ctx context.Context, n ledger.Notice, d time.Duration, cause string, giveUp bool) error
}

// Queue is what visits need of the queue.
type Queue interface {
	Schedule(ctx context.Context, c closure.Closure) error
	Look(ctx context.Context, c closure.Closure) (tasks.Seen, error)
}

// Broker reads, and opens connections for single writes.
type Broker interface {
	Reader
	Dial(ctx context.Context) (*alpaca.Sender, error)
}

// Runner carries out visits. All fields but Budget, Remember, Heard, Visited, Ended, Posted and Tracer must be set.
type Runner struct {
	Ledger   Ledger
	Queue    Queue
	Broker   Broker
	Budget   Budget // nil: the broker may be asked at any time
	Calendar func() *calendar.Calendar
	Clock    closure.Clock
	Policy   closure.Policy
	Timing   closure.Timing
	Post     Post
	Log      *logrus.Logger

	// Remember is told of each claim once it has committed, before its instruction is sent, by the row as the claim has left it.
	// With an error nothing is sent. Nil: nobody is told.
	Remember func(ctx context.Context, claimed closure.Closure) error

	// Heard says whether what happens at the broker is heard of just now, so that looks may be put off. Nil: they never are.
	Heard func(ctx context.Context) bool

	// Visited is told of each visit's first beginning, and how much machine time after it was due that was. Nil: nobody is.
	Visited func(late time.Duration)

	// Ended is told of each visit when it has ended, Posted of what became of a letter. Nil: nobody is.
	Ended  func(Ended)
	Posted func(closure.Letter, PostResult)

	// Tracer makes the spans of visits and letters; what they ask of ledger, queue and broker has its spans below. Nil: there are none.
	Tracer trace.Tracer
}

// ErrNotCounted marks an error that is no fault of the closure's: the ledger could not be asked or told. Asynq retries it
// without counting.
var ErrNotCounted = errors.New("the ledger is out of reach")

// Delivery is one delivery of a task.
type Delivery struct {
	tasks.Payload
	Retried int    // Asynq's count of earlier failures of this task
	Trace   string // the traceparent in its header; empty: it has none
}

// phases has what each phase of closure.Road does.
var phases = map[closure.Phase]Phase{
	closure.Liquidation: liquidation,
	closure.Settlement:  settlement,
	closure.Withdrawal:  withdrawal,
	closure.Closing:     closing,
}

// ProcessTask is the asynq handler of every phase. nil acknowledges; an error is retried by Asynq, or archived at once
// where the ledger says that the closure has stopped.
func (r *Runner) ProcessTask(ctx context.Context, t *asynq.Task) error {
	p, err := tasks.ParsePayload(t.Payload())
	if errors.Is(err, closure.ErrNewer) {
		return GiveBack(r.Log, t.Type(), "a newer payload")
	}
	if err != nil {
		r.Log.WithError(err).Warn("a task that is none of ours is archived") // Asynq's own word on it is kept out of the log
		return fmt.Errorf("%w: %w", err, asynq.SkipRetry)
	}
	retried, _ := asynq.GetRetryCount(ctx)
	return r.Visit(ctx, Delivery{Payload: p, Retried: retried, Trace: t.Headers()[tasks.TraceHeader]})
}

// visit is Visit, in its span.
func (r *Runner) visit(ctx context.Context, d Delivery) error {
	started := time.Now()
	c, intents, err := r.Ledger.Load(ctx, d.ClosureID)
	if errors.Is(err, ledger.ErrNotFound) {
		r.Log.WithField("closure", d.ClosureID).Warn("a task names a closure that this ledger does not have; dropped")
		return nil
	}
	e := Ended{}
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrNotCounted, err)
		e.Took = time.Since(started)
		r.ended(e, c, c, err)
		return err
	}
	traceFound(ctx, d, c)
	switch {
	case closure.Newer(c, intents...) != "":
		return GiveBack(r.Log, tasks.Shown(d.ID()), closure.Newer(c, intents...))
	case c.State != closure.Running:
		return nil
	case d.Version > c.Version:
		return r.stop(ctx, c, closure.WentBack(r.Clock.Now()))
	case d.Version < c.Version || d.Token != c.Token:
		r.schedule(ctx, c)
		return nil
	}
	if d.Retried > c.NotedRetries {
		was := c
		if c, err = r.Ledger.Save(ctx, c, closure.Crashed(r.Clock.Now(), d.Retried), nil); err != nil {
			return r.lost(ctx, c, err)
		}
		e.Crashed = true
		if c.State != closure.Running {
			e.Took = time.Since(started)
			r.ended(e, was, c, nil)
			return stopped(c)
		}
	}
	if r.Log.IsLevelEnabled(logrus.DebugLevel) {
		r.Log.WithFields(logrus.Fields{"closure": c.ID, "phase": c.Phase, "version": d.Version}).Debug("visit begins")
	}
	if r.Visited != nil && d.Retried == 0 {
		r.Visited(max(r.Clock.Machine(r.Clock.At(started).Sub(c.DueAt)), 0))
	}
	ctx, calls := alpaca.Record(ctx)
	v := &Visit{
		Closure: c, Intents: intents, Now: r.Clock.At(started), Wall: started, Broker: r.Broker, Calendar: r.Calendar(),
		Policy: r.Policy, Timing: r.Timing, run: r, calls: calls, learned: map[string]ledger.Learned{}, memo: c.Memo,
	}
	o, err := r.look(ctx, v)
	next, err := r.end(ctx, d, v, o, err)
	e.Took, e.Adopted = time.Since(started), v.adopted()
	r.ended(e, v.Closure, next, err)
	traceEnded(ctx, next, o, err)
	r.tell(ctx, logrus.Fields{
		"closure": c.ID, "account": tail(c.AccountID), "phase": c.Phase, "version": d.Version, "outcome": word(o, err),
		"state": next.State, "next_in": nextIn(next, r.Clock.Now()), "attempt": d.Retried + 1,
		"broker_calls": len(calls.List()), "took": e.Took.Round(time.Millisecond).String(),
	}, next, err)
	return err
}

// tell writes a visit's one line: a warning with its error where it went wrong.
func (r *Runner) tell(ctx context.Context, fields logrus.Fields, next closure.Closure, err error) {
	if next.Reason != "" {
		fields["reason"] = next.Reason
	}
	if next.BatchID != "" {
		fields["batch"] = next.BatchID
	}
	level := logrus.InfoLevel
	if err != nil && !errors.Is(err, asynq.SkipRetry) {
		level, fields["error"] = logrus.WarnLevel, text(err)
	}
	(&logrus.Entry{Logger: r.Log, Context: ctx, Data: fields}).Log(level, "visit") // WithFields would copy them
}

// look calls the phase and turns what only a broker out of reach can mean into a wait. A panic is left to Asynq, which
// counts it; the next delivery notes it on the row as a crash, which it is.
func (r *Runner) look(ctx context.Context, v *Visit) (closure.Outcome, error) {
	if v.Now.Before(v.Closure.NotBefore.Add(-time.Second)) {
		return closure.WaitUntil(v.Closure.NotBefore, closure.NotYet, closure.Reasons[closure.NotYet].Title), nil
	}
	ctx, err := r.begin(ctx, v)
	var o closure.Outcome
	if err == nil {
		o, err = phases[v.Closure.Phase](ctx, v)
	}
	if wait, ok := errors.AsType[*notNowError](err); ok {
		return wait.outcome, nil
	}
	if held, ok := errors.AsType[*alpaca.HeldError](err); ok {
		return r.held(v, held), nil
	}
	if all, ok := errors.AsType[*ledger.HeldError](err); ok {
		return r.paced(v, heldBack(all.Hold)), nil
	}
	switch {
	case err == nil:
		return r.paced(v, r.putOff(ctx, v, o)), nil
	case ctx.Err() != nil, errors.Is(err, ledger.ErrStale), errors.Is(err, ErrNotCounted):
		return o, err
	case alpaca.Unauthorized(err):
		return closure.Park(outagePause, closure.CredentialsRefused, closure.Reasons[closure.CredentialsRefused].Title), nil
	case alpaca.Unavailable(err):
		return closure.Outage(min(outagePause, v.Policy.Polls[v.Closure.Phase]), "the broker does not answer; trying again"), nil
	case alpaca.NotFound(err):
		return closure.Fail(closure.AccountGone, "the broker does not know the account: "+text(err)), nil
	}
	return o, err
}

// outagePause is business time between looks while the broker is out of reach.
const outagePause = 5 * time.Minute

// end saves the visit and schedules what comes next.
func (r *Runner) end(ctx context.Context, d Delivery, v *Visit, o closure.Outcome, fault error) (closure.Closure, error) {
	cut := errors.Is(ctx.Err(), context.Canceled)
	ctx = context.WithoutCancel(ctx) // what was seen and done is written down even when the worker is told to stop
	now := r.Clock.Now()
	if fault != nil && cut && !errors.Is(fault, ledger.ErrStale) && !errors.Is(fault, closure.ErrNotRunning) {
		return v.Closure, r.cutShort(ctx, d, v.Closure)
	}
	if fault != nil {
		return r.fault(ctx, d, v, fault, now)
	}
	v.countMoney(d.Version)
	ch := closure.Looked(now, o, r.measure(v, now), &v.memo).With(v.detail())
	next, err := r.Ledger.Save(ctx, v.Closure, ch, v.learntInOrder(), v.events...)
	if errors.Is(err, closure.ErrImpossible) { // a phase's mistake is a fault that counts, or it would be retried for ever
		return r.fault(ctx, d, v, err, now)
	}
	if err != nil {
		return v.Closure, r.lost(ctx, v.Closure, err)
	}
	if next.State != closure.Running {
		return next, stopped(next)
	}
	r.schedule(ctx, next)
	return next, nil
}

// cutShort ends a visit that was taken from its worker: by a stop that had no more time, or with its lease. That is no error
// of the closure's. Asynq puts the task back, which is this row's unless a claim has moved the row.
func (r *Runner) cutShort(ctx context.Context, d Delivery, c closure.Closure) error {
	if c.Version != d.Version {
		r.schedule(ctx, c)
	}
	return fmt.Errorf("the visit was cut short: %w", context.Canceled)
}

// fault notes an error on the row. The row decides whether the closure is dead; otherwise Asynq retries.
func (r *Runner) fault(ctx context.Context, d Delivery, v *Visit, fault error, now time.Time) (closure.Closure, error) {
	if errors.Is(fault, ledger.ErrStale) || errors.Is(fault, closure.ErrNotRunning) {
		return v.Closure, r.lost(ctx, v.Closure, fault)
	}
	own := v.Closure.Version == d.Version
	next, err := r.Ledger.Save(ctx, v.Closure, closure.Stumbled(now, text(fault), d.Retried, own).With(v.detail()), v.learntInOrder(), v.events...)
	switch {
	case err != nil:
		return v.Closure, r.lost(ctx, v.Closure, err)
	case next.State != closure.Running:
		return next, stopped(next)
	case !own: // a claim moved the row: Asynq's retry of this task would find it older
		r.schedule(ctx, next)
		return next, nil
	}
	return next, errors.New(text(fault))
}

// lost is a visit whose compare-and-set lost, or whose ledger is out of reach. A lost one sees to it that the row's
// present version is scheduled, and acknowledges.
func (r *Runner) lost(ctx context.Context, c closure.Closure, err error) error {
	if !errors.Is(err, ledger.ErrStale) && !errors.Is(err, closure.ErrNotRunning) {
		return fmt.Errorf("%w: %w", ErrNotCounted, err)
	}
	now, _, err := r.Ledger.Load(ctx, c.ID)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotCounted, err)
	}
	if now.State == closure.Running {
		r.schedule(ctx, now)
	}
	return nil
}

// stop writes a change that ends the visit before any look.
func (r *Runner) stop(ctx context.Context, c closure.Closure, ch closure.Change) error {
	next, err := r.Ledger.Save(ctx, c, ch, nil)
	if err != nil {
		return r.lost(ctx, c, err)
	}
	r.ended(Ended{}, c, next, nil)
	r.Log.WithFields(logrus.Fields{"closure": c.ID, "reason": next.Reason}).Error(next.Why)
	return stopped(next)
}

// schedule enqueues the row's present version. What fails here is found by the sweep.
func (r *Runner) schedule(ctx context.Context, c closure.Closure) {
	if err := r.Queue.Schedule(ctx, c); err != nil && !errors.Is(err, tasks.ErrConflict) {
		r.Log.WithField("closure", c.ID).WithError(err).Warn("could not schedule the next visit; the sweep will")
	}
}

// stopped is what the queue is told of a closure that has stopped: a failed or dead one's task goes to the archive, as
// the picture of the row.
func stopped(c closure.Closure) error {
	if c.State == closure.Failed || c.State == closure.Dead {
		return fmt.Errorf("%s: %s: %w", c.State, c.Reason, asynq.SkipRetry)
	}
	return nil
}

// measure is what this look adds to the phase's limit.
func (r *Runner) measure(v *Visit, now time.Time) closure.Look {
	since := v.Closure.LastLook
	if since.IsZero() {
		since = now
	}
	day := calendar.DateOf(now)
	switch v.Policy.Limits[v.Closure.Phase].Of {
	case closure.OpenMarket:
		return closure.Look{Open: v.Calendar.OpenTime(since, now)}
	case closure.BusinessTime:
		return closure.Look{Open: now.Sub(since)}
	case closure.TradingDays:
		if v.Calendar.Trading(day) {
			return closure.Look{Day: string(day)}
		}
	case closure.BankingDays:
		if v.Calendar.Banking(day) {
			return closure.Look{Day: string(day)}
		}
	}
	return closure.Look{}
}

// detail is what was asked of the broker in this visit and what it answered, for the event.
func (v *Visit) detail() any {
	type call struct {
		Method    string `json:"method"`
		Path      string `json:"path"`
		Status    int    `json:"status"`
		RequestID string `json:"request_id,omitempty"`
	}
	var out struct {
		Calls []call `json:"calls"`
	}
	for _, c := range v.calls.List() {
		out.Calls = append(out.Calls, call{c.Method, c.Path, c.Status, c.RequestID})
	}
	return out
}

func (v *Visit) learntInOrder() []ledger.Learned {
	var out []ledger.Learned
	for _, i := range v.Intents {
		if l, ok := v.learned[i.ID]; ok {
			out = append(out, l)
		}
	}
	return out
}

// text is an error as it may be stored and shown.
func text(err error) string { return alpaca.Redact(err.Error()) }

func word(o closure.Outcome, err error) string {
	if err != nil && !errors.Is(err, asynq.SkipRetry) {
		return "error"
	}
	return o.String()
}

func tail(id string) string { return id[max(0, len(id)-6):] }

func nextIn(c closure.Closure, now time.Time) string {
	if c.State != closure.Running {
		return "never"
	}
	return max(c.DueAt.Sub(now), 0).Round(time.Second).String()
}
