package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"closeout/alpaca"
	"closeout/closure"
	"closeout/desk"
	"closeout/handlers"
	"closeout/ledger"
	"closeout/worker"
)

type ledgerReconcileCmd struct {
	common
	remote
	Reason string   `help:"What was restored, and why, in one line: it stays in the history of each open closure."`
	Apply  bool     `help:"Do it: hold everything, wait for the quarantine, take in."`
	Accept []string `placeholder:"JOB_ID,..." help:"Closures that can't be reconciled for good, as the report of a run before says: each is stopped, and the run ends without it."`
	JSON   bool     `name:"json" help:"Print JSON, for scripts."`
}

// Help is printed by closeout ledger reconcile --help.
func (*ledgerReconcileCmd) Help() string {
	return "Stop every worker first: it refuses while one is heard of. With --apply it holds everything, waits for the quarantine (half an hour) so that what was on the wire shows in the broker's lists, " +
		"then asks the broker about each open closure's account and takes in the payouts and orders that the ledger lacks. Nothing is sent. Each row gets a new version and token. " +
		"Everything stays held: read the report, then closeout monitor release. It may be stopped and run again at any time, and finds nothing new the second time. " +
		"Where an account can't be read for good, or a history is broken, --accept names the closure: it is stopped with the reason not_reconciled, and nothing is done for it until a person " +
		"resumes it. What no reading can bring back it lists: closures that were asked for after that moment, commands of people, revoked keys, letters. " +
		"Exit status: 0 nothing asks for a person, 1 it failed, or a closure could not be reconciled: run it again, or accept it, 2 wrong usage or settings, 3 something in the report asks for a person."
}

// reconcileView is what was found, and what a person must do.
type reconcileView struct {
	Environment closure.Environment `json:"environment"`
	Applied     bool                `json:"applied"`
	Newest      *time.Time          `json:"ledger_ends_at"`   // business: the newest event before anything was taken in
	Remembered  *time.Time          `json:"remembered_until"` // business: the newest event that Redis remembers; null: nothing
	Quarantine  *time.Time          `json:"quarantine_until"` // machine: until then nothing is taken in
	Hold        holdStatus          `json:"hold"`             // as it is now
	Closures    []reconciledLine    `json:"closures"`         // all that are open
	Lost        []lostClosure       `json:"lost_closures"`    // in Redis, and not in the ledger
	Pending     []string            `json:"pending_accounts"` // by their own status column, without an open closure
	Keys        []string            `json:"living_keys"`      // those revoked in the lost time are among them
	Sessions    int                 `json:"sessions_ended"`   // of people; in a preview none
	Letters     int                 `json:"letters_due"`      // that go out, perhaps for the second time
	Failed      int                 `json:"not_reconciled"`   // closures, without those that are accepted
	Broken      []brokenChain       `json:"broken_histories"` // accepted, or there is no report
	Unread      []string            `json:"unread,omitempty"` // what could not be looked for
}

// reconciledLine is one closure.
type reconciledLine struct {
	JobID    string        `json:"job_id"`
	Account  string        `json:"account_id"`
	State    closure.State `json:"state"`
	Phase    closure.Phase `json:"phase"`
	Payouts  int           `json:"payouts_adopted"`
	Sum      string        `json:"payouts_sum"`
	Orders   int           `json:"orders_adopted"`
	Settled  int           `json:"instructions_settled"`
	Unknown  int           `json:"instructions_unknown"`
	Closed   bool          `json:"account_closed"`
	Same     bool          `json:"nothing_new"`
	Asks     string        `json:"asks,omitempty"`     // what a person must do
	Error    string        `json:"error,omitempty"`    // it was not reconciled
	Accepted bool          `json:"accepted,omitempty"` // and a person has accepted that: it is stopped
}

// lostClosure was acknowledged, and the ledger does not have it.
type lostClosure struct {
	JobID string     `json:"job_id"`
	Asked *time.Time `json:"asked_at"` // machine, by its id
}

// reconcilePage is how many closures are listed at once; mostPending how many accounts are named.
const (
	reconcilePage = 200
	mostPending   = 1000
)

// reconciling is one run.
type reconciling struct {
	*parts
	output
	cmd   *ledgerReconcileCmd
	actor string
	far   *progress
	v     reconcileView
}

// Run looks, and with --apply takes in.
func (c *ledgerReconcileCmd) Run(ctx context.Context, o output) (err error) {
	var bad complaints
	s := c.common.check(&bad)
	s.asIs = true
	opts := c.remote.check(&s, &bad)
	c.exists(&bad)
	if c.Apply || c.Reason != "" {
		said, wrong := desk.Reason(c.Reason)
		if c.Reason = said; wrong != "" {
			bad.add("--reason", "%s", wrong)
		}
	}
	if err := bad.err(); err != nil {
		return err
	}
	s.log.SetOutput(o.err)
	p, err := c.assemble(ctx, s, opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	r := &reconciling{parts: p, output: o, cmd: c, actor: "operator:cli:" + username(), far: newProgress(o)}
	r.v = reconcileView{
		Environment: s.env, Applied: c.Apply, Closures: []reconciledLine{}, Lost: []lostClosure{}, Pending: []string{}, Keys: []string{}, Broken: []brokenChain{},
	}
	if err := r.run(ctx); err != nil {
		return err
	}
	return r.report()
}

func (r *reconciling) run(ctx context.Context) error {
	if err := r.alone(ctx); err != nil {
		return err
	}
	if err := r.wholeHistories(ctx); err != nil {
		return err
	}
	if err := r.stands(ctx); err != nil {
		return err
	}
	if r.cmd.Apply {
		if err := r.begin(ctx); err != nil {
			return err
		}
		if err := r.alone(ctx); err != nil {
			return fmt.Errorf("%w; everything stays held", err)
		}
	}
	if err := r.closures(ctx); err != nil {
		return err
	}
	if err := r.beside(ctx); err != nil {
		return err
	}
	if !r.cmd.Apply || r.v.Failed > 0 {
		return nil
	}
	m := worker.Memory{Ledger: r.ledger, Queue: r.queue, Log: r.log}
	return m.Anew(ctx)
}

// alone refuses while a worker lives. Redis must answer: it is what tells of them.
func (r *reconciling) alone(ctx context.Context) error {
	if err := r.queue.Ping(ctx); err != nil {
		return fmt.Errorf("whether a worker is at work can't be told without Redis: %w", err)
	}
	all, err := r.queue.Workers(ctx)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return nil
	}
	w := all[0]
	return fmt.Errorf("%s at work, %s with process %d for one: stop all workers, and run this again (a killed one is heard of for ten seconds)",
		closure.Count(len(all), "worker")+map[bool]string{true: " is", false: " are"}[len(all) == 1], w.Host, w.PID)
}

// wholeHistories refuses a ledger whose chains are broken, unless that is accepted: what is built on them would be, too.
func (r *reconciling) wholeHistories(ctx context.Context) error {
	var broken []ledger.ChainError
	for after := ""; ; {
		v, err := r.ledger.Verify(ctx, after, verifyPage)
		if err != nil {
			return err
		}
		broken = append(broken, v.Broken...)
		if v.Closures < verifyPage {
			break
		}
		after = v.Last
	}
	r.v.Broken = append(r.v.Broken, brokenChains(broken)...)
	accepted := map[string]bool{}
	for n, b := range broken {
		if !slices.Contains(r.cmd.Accept, b.ClosureID) {
			return fmt.Errorf("the restored ledger is not whole (%w, for one): closeout ledger verify names all; restore another backup, or --accept each of them", &broken[n])
		}
		accepted[b.ClosureID] = true
	}
	for _, id := range r.cmd.Accept {
		if _, err := r.ledger.Get(ctx, id); err != nil && !accepted[id] {
			return fmt.Errorf("--accept %s: %w in the %s environment", printable(id), err, r.env)
		}
	}
	return nil
}

// stands notes to which moment the ledger goes, and what Redis remembers of later ones.
func (r *reconciling) stands(ctx context.Context) error {
	last, err := r.ledger.FeedLast(ctx, math.MaxInt64)
	if err != nil && !errors.Is(err, ledger.ErrNotFound) {
		return err
	}
	r.v.Newest = stamp(last.At)
	was, err := (&worker.Memory{Ledger: r.ledger, Queue: r.queue}).Was(ctx)
	if err != nil {
		return err
	}
	for _, m := range was {
		if r.v.Remembered == nil || m.At.After(*r.v.Remembered) {
			r.v.Remembered = stamp(m.At)
		}
	}
	h, err := r.ledger.Hold(ctx)
	r.v.Hold = holdOf(h)
	return err
}

// begin holds everything and waits until a list shows what was on the wire when the last worker stopped.
func (r *reconciling) begin(ctx context.Context) error {
	counting, over := context.WithCancel(ctx)
	var counts sync.WaitGroup
	h, err := r.reconciler().Begin(ctx, func(until time.Time) {
		r.v.Quarantine = stamp(until)
		_, _ = fmt.Fprintf(r.err, "everything is held; waiting for the quarantine until %s, so that what was on the wire is listed\n", until.UTC().Format("15:04:05 UTC"))
		counts.Go(func() { r.far.countDown(counting, until, "the quarantine") })
	})
	over()
	counts.Wait()
	r.far.done()
	r.v.Hold = holdOf(h)
	if ctx.Err() != nil {
		return errInterrupted
	}
	return err
}

func (r *reconciling) reconciler() *handlers.Reconciler {
	return &handlers.Reconciler{
		Ledger: r.ledger, Broker: r.broker, Budget: r.budget, Calendar: r.almanac.Calendar, Clock: r.clock, Timing: r.timing, Actor: r.actor, Why: r.cmd.Reason,
	}
}

var errInterrupted = errors.New("stopped; what is held stays held, and to run it again is safe")

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return errInterrupted
	case <-t.C:
		return nil
	}
}

// closures goes through all that are open, as far as the broker's budget lets it.
func (r *reconciling) closures(ctx context.Context) error {
	defer r.far.done()
	rec := r.reconciler()
	do := rec.Look
	if r.cmd.Apply {
		do = rec.Take
	}
	for after := ""; ; {
		page, err := r.ledger.Open(ctx, after, reconcilePage)
		if err != nil {
			return err
		}
		for _, c := range page {
			after = c.ID
			r.far.tell("%s read", closure.Count(len(r.v.Closures), "closure"))
			line := r.one(ctx, rec, do, c)
			if ctx.Err() != nil {
				return errInterrupted
			}
			r.v.Closures = append(r.v.Closures, line)
			if line.Error != "" && !line.Accepted {
				r.v.Failed++
			}
		}
		if len(page) < reconcilePage {
			return nil
		}
	}
}

// one does what is to be done about one closure.
func (r *reconciling) one(ctx context.Context, rec *handlers.Reconciler, do func(context.Context, string) (handlers.Reconciled, error), c closure.Closure) reconciledLine {
	var out handlers.Reconciled
	var err error
	n := slices.IndexFunc(r.v.Broken, func(b brokenChain) bool { return b.JobID == c.ID })
	if n >= 0 { // nothing is built on it
		err = fmt.Errorf("its history is broken: event %d: %s", r.v.Broken[n].Event, r.v.Broken[n].Why)
	} else if out, err = patiently(ctx, func(ctx context.Context) (handlers.Reconciled, error) { return do(ctx, c.ID) }); err == nil || ctx.Err() != nil {
		return lineOf(c, out, err)
	}
	line := lineOf(c, out, err)
	if !handlers.Lasting(err) || !slices.Contains(r.cmd.Accept, c.ID) && !c.Unreconciled() {
		return line
	}
	line.Accepted, line.Asks = true, "it is stopped (not_reconciled): the runbook's section of that name"
	if !r.cmd.Apply {
		line.Asks = "--apply stops it (not_reconciled)"
		return line
	}
	if out, err = rec.Accept(ctx, c.ID, err); err != nil {
		if n < 0 || ctx.Err() != nil || !handlers.Lasting(err) {
			return lineOf(c, out, err)
		}
		line.Asks = "its row takes no event any more, so that nothing can be claimed or sent for it (" + closure.OneLine(alpaca.Redact(err.Error())) + "): mend the row by hand, or leave it"
		return line
	}
	line.State, line.Phase, line.Same = out.After.State, out.After.Phase, out.Same
	return line
}

// patiently waits where the budget, or the broker, wants it: nobody else is served meanwhile.
func patiently[T any](ctx context.Context, do func(context.Context) (T, error)) (T, error) {
	for {
		out, err := do(ctx)
		held, ok := errors.AsType[*alpaca.HeldError](err)
		if !ok {
			return out, err
		}
		if err := sleep(ctx, min(max(held.For, time.Second), 30*time.Second)); err != nil {
			return out, err
		}
	}
}

func lineOf(c closure.Closure, out handlers.Reconciled, err error) reconciledLine {
	l := reconciledLine{JobID: c.ID, Account: c.AccountID, State: c.State, Phase: c.Phase, Sum: closure.USD(out.Sum)}
	if err != nil {
		l.Error = closure.OneLine(alpaca.Redact(err.Error()))
		return l
	}
	l.State, l.Phase = out.After.State, out.After.Phase
	l.Payouts, l.Orders, l.Settled, l.Unknown = len(out.Payouts), len(out.Orders), len(out.Settled), out.Open
	l.Closed, l.Same = out.Closed, out.Same
	switch {
	case len(out.Unread) > 0:
		l.Asks = out.Unread[0] + ": ask the broker for it before you release"
	case out.Closed && l.State != closure.Running:
		l.Asks = "the account is closed at the broker: resume the closure, and it ends by itself"
	case l.State == closure.Failed || l.State == closure.Dead:
		l.Asks = "it had stopped (" + string(out.After.Reason) + "): the runbook's section of that name; whoever mended it in the lost time must say so again"
	case l.State == closure.Paused:
		l.Asks = "it was paused: whoever resumed it in the lost time must do so again"
	}
	return l
}

// beside looks for what the ledger has lost whole, and for what has come back with it.
func (r *reconciling) beside(ctx context.Context) error {
	if ids, err := r.queue.Closures(ctx); err != nil {
		r.v.Unread = append(r.v.Unread, "the closures of Redis's tasks: "+closure.OneLine(err.Error()))
	} else {
		missing, err := r.ledger.Missing(ctx, ids)
		if err != nil {
			return err
		}
		for _, id := range missing {
			l := lostClosure{JobID: id}
			if u, err := uuid.Parse(id); err == nil && u.Version() == 7 {
				l.Asked = stamp(time.Unix(u.Time().UnixTime()))
			}
			r.v.Lost = append(r.v.Lost, l)
		}
	}
	pending, err := r.ledger.PendingWithout(ctx, mostPending)
	if err != nil {
		r.v.Unread = append(r.v.Unread, "the accounts' own status column: "+closure.OneLine(err.Error()))
	}
	r.v.Pending = append(r.v.Pending, pending...)
	keys, err := r.ledger.APIKeys(ctx)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if k.RevokedAt.IsZero() {
			r.v.Keys = append(r.v.Keys, k.Name)
		}
	}
	if r.v.Letters, err = r.ledger.DueLetters(ctx); err != nil {
		return err
	}
	if r.cmd.Apply {
		r.v.Sessions, err = r.ledger.SignIns().EndAll(ctx)
	}
	return err
}

// asks says whether something asks for a person beside the release.
func (v reconcileView) asks() bool {
	for _, l := range v.Closures {
		if l.Asks != "" {
			return true
		}
	}
	return len(v.Broken)+len(v.Lost)+len(v.Pending)+len(v.Keys)+len(v.Unread) > 0
}
