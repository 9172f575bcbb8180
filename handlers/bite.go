package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"closeout/alpaca"
	"closeout/closure"
	"closeout/ledger"
	"closeout/readiness"
	"closeout/tasks"
)

const (
	// checkReads is about how many calls a readiness check makes.
	checkReads = 8
	// checksAtOnce keep one slow answer of the broker from holding up the bite.
	checksAtOnce = 4
	// batchPage is how many rows a bite reads at once.
	batchPage = 50
	// mostTries is how often an account is tried that can't be read though the broker is there.
	mostTries = 5
	// silence ends a bite: so many accounts in a row that brought no answer are the broker's silence.
	silence = 3
)

// bite is the work of one.
type bite struct {
	*Batches
	batch ledger.Batch
	end   time.Time
	seen  map[int]bool // rows that were tried: each once a bite

	mu      sync.Mutex
	checked int
	unread  int
	started int
	silent  int   // accounts in a row without an answer
	failed  error // of the ledger
	pause   time.Duration
	placed  bool
	why     string
}

// work starts what is ready where that is allowed, checks what waits, and says how the batch goes on.
func (w *bite) work(ctx context.Context) (ledger.Batch, error) {
	next := w.batch
	if w.batch.State == ledger.BatchStarting {
		if err := w.startAll(ctx); err != nil {
			return next, err
		}
	}
	if err := w.checkAll(ctx); err != nil {
		return next, err
	}
	n, err := w.Ledger.CountRows(ctx, w.batch.ID)
	if err != nil {
		return next, err
	}
	waiting, ready, refused := n[ledger.RowWaiting], n[ledger.RowReady], n[ledger.RowRefused]
	next.DueAt, next.Placed, next.Why = time.Now().Add(w.pause), w.placed, w.why
	switch {
	case waiting > 0:
		if w.why == "" {
			next.Why = fmt.Sprintf("%d of %d accounts are still to be checked", waiting, w.batch.Total)
		}
	case w.batch.State == ledger.BatchStarting && ready > 0:
		next.Why = fmt.Sprintf("%d of %d closures are still to be started", ready, w.batch.Total)
	case w.batch.State == ledger.BatchStarting:
		next.State, next.Why = ledger.BatchDone, fmt.Sprintf("%d of %d closures were started", n[ledger.RowStarted], w.batch.Total)
	case w.batch.DryRun:
		next.State, next.Why = ledger.BatchDone, fmt.Sprintf("%d of %d accounts could be closed; nothing was started", ready, w.batch.Total)
	case refused > 0:
		next.State, next.Why = ledger.BatchRefused, fmt.Sprintf("%d of %d accounts can't be closed, so that none was started", refused, w.batch.Total)
	default:
		next.State, next.Why = ledger.BatchStarting, "every account was checked; the closures are being started"
	}
	return next, nil
}

// over says whether the bite's time is up.
func (w *bite) over(ctx context.Context) bool { return ctx.Err() != nil || !time.Now().Before(w.end) }

// rows are the next rows in a state that this bite has not tried yet.
func (w *bite) rows(ctx context.Context, s ledger.RowState) ([]ledger.BatchRow, error) {
	page, err := w.Ledger.RowsToDo(ctx, w.batch.ID, s, batchPage)
	var out []ledger.BatchRow
	for _, r := range page {
		if !w.seen[r.N] {
			w.seen[r.N] = true
			out = append(out, r)
		}
	}
	return out, err
}

func (w *bite) startAll(ctx context.Context) error {
	for !w.over(ctx) {
		page, err := w.rows(ctx, ledger.RowReady)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, r := range page {
			if err := w.start(ctx, r); err != nil {
				return err
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
	return nil
}

// start makes the closure of a row that is ready. An account that got one elsewhere meanwhile is refused.
func (w *bite) start(ctx context.Context, r ledger.BatchRow) error {
	ctx, span := startApart(ctx, w.Tracer, "start of a batch's closure")
	defer span.End()
	b := w.batch
	c, created, err := w.Ledger.Create(ctx, ledger.Wish{
		AccountID: r.AccountID, RelationshipID: r.RelationshipID, Fingerprint: r.Fingerprint, UserID: r.UserID, Email: r.Email, Cause: b.Cause,
		Priority: b.Priority, NotBefore: r.NotBefore, Expected: r.Expected, Actor: b.Actor, BatchID: b.ID, BatchRow: r.N,
	})
	switch {
	case errors.Is(err, ledger.ErrStale): // a second copy has started it, or the batch was canceled: the count will tell
		return nil
	case err != nil:
		return err
	case created:
		w.mu.Lock()
		w.started++
		w.mu.Unlock()
		if err := w.Queue.Schedule(ctx, c); err != nil && !errors.Is(err, tasks.ErrConflict) {
			w.Log.WithField("closure", c.ID).WithError(err).Warn("could not schedule the first visit; the sweep will")
		}
		return nil
	case c.BatchID == b.ID:
		return nil
	}
	return w.note(ctx, ledger.RowReady, turnedDown(r, readiness.UnderWay(c.ID)))
}

// checkAll checks rows until the bite's time is up, none is left, or the broker is not to be asked. The budget is asked here,
// one account after the other, and the accounts are read at once.
func (w *bite) checkAll(ctx context.Context) error {
	hands := make(chan struct{}, checksAtOnce)
	var wg sync.WaitGroup
	defer wg.Wait()
	inTurn := w.batch.Placed
	for !w.over(ctx) && w.pause == 0 {
		page, err := w.rows(ctx, ledger.RowWaiting)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			break
		}
		for _, r := range page {
			hands <- struct{}{}
			if w.over(ctx) || w.stopped() {
				<-hands
				break
			}
			paid, err := w.pay(ctx, r, inTurn)
			inTurn = false
			if err != nil {
				<-hands
				break
			}
			wg.Go(func() {
				defer func() { <-hands }()
				if err := w.check(paid, r); err != nil {
					w.mu.Lock()
					w.failed = errors.Join(w.failed, err)
					w.mu.Unlock()
				}
			})
		}
		wg.Wait()
		if w.failed != nil || w.stopped() {
			break
		}
	}
	wg.Wait()
	if w.failed == nil && ctx.Err() == nil && w.pause == 0 && !w.over(ctx) && w.unread > 0 {
		w.pause = w.Timing.Probe // what is left was tried in this bite
	}
	return w.failed
}

func (w *bite) stopped() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.silent >= silence && w.pause == 0 {
		w.pause, w.why = w.Timing.Probe, "the broker does not answer; the batch waits"
	}
	return w.pause > 0
}

// pay takes the calls of a check from the budget, as a look: money and people's questions go first. Where the broker may not
// be asked now, the bite ends and the next one comes when it may.
func (w *bite) pay(ctx context.Context, r ledger.BatchRow, inTurn bool) (context.Context, error) {
	if w.Budget == nil {
		return ctx, nil
	}
	paid, err := w.Budget.Visit(ctx, r.AccountID, checkReads, inTurn)
	if h, ok := errors.AsType[*alpaca.HeldError](err); ok {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.pause, w.placed = max(h.For, w.Timing.Probe/4), h.Place
		switch h.Why {
		case alpaca.HoldBusy:
			w.why = "the broker's limit of calls is used up for now; the next accounts are checked when it is their turn"
		case alpaca.HoldOutage:
			w.pause, w.why = w.Timing.Probe, "the broker does not answer; the batch waits"
		case alpaca.HoldRefused:
			w.pause, w.why = w.Timing.Probe, closure.Reasons[closure.CredentialsRefused].Title
		}
	}
	return paid, err
}

// check looks at one account and writes down what was found.
func (w *bite) check(ctx context.Context, r ledger.BatchRow) error {
	report, err := w.Readiness.Check(ctx, r.AccountID, r.RelationshipID)
	if ctx.Err() != nil {
		return ctx.Err() // told to stop: nothing was learned
	}
	away := err != nil && (alpaca.Unavailable(err) || alpaca.Unauthorized(err))
	w.mu.Lock()
	noAccount := errors.Is(err, readiness.ErrNoAccount)
	switch {
	case err == nil || noAccount:
		w.silent = 0
		w.checked++
	case away:
		w.silent++
		w.unread++
	default:
		w.silent = 0
		w.unread++
	}
	w.mu.Unlock()
	switch {
	case noAccount:
		return w.note(ctx, ledger.RowWaiting, turnedDown(r, readiness.Unknown()))
	case err != nil:
		w.Log.WithFields(logrus.Fields{"batch": w.batch.ID, "account": tail(r.AccountID)}).WithError(err).Info("an account of a batch could not be read")
		return w.unreadable(ctx, r, away)
	}
	if blocking := report.Blocking(); len(blocking) > 0 || report.Bank == nil || report.Holdings == nil {
		return w.note(ctx, ledger.RowWaiting, turnedDown(r, report.Obstacles...))
	}
	r.State, r.Obstacles, r.Fingerprint = ledger.RowReady, encode(report.Obstacles), report.Bank.Fingerprint
	start := r.NotBefore
	if !start.After(w.Clock.Now()) {
		start = time.Time{}
	}
	r.Expected = w.Readiness.Finish(report, start)
	if err := w.note(ctx, ledger.RowWaiting, r); err != nil {
		return err
	}
	if w.batch.State == ledger.BatchStarting { // partial: nobody else is waited for
		return w.start(ctx, r)
	}
	return nil
}

// unreadable puts a row behind those that were tried less often. One that can't be read though the broker is there is
// refused in the end; while it is away nothing is.
func (w *bite) unreadable(ctx context.Context, r ledger.BatchRow, away bool) error {
	r.Tries++
	o := readiness.Obstacle{
		Code: "broker_unreadable", Text: fmt.Sprintf("the account could not be read at the broker yet, tried %d times", r.Tries), Hint: "It is tried again by itself.",
	}
	if away || r.Tries < mostTries {
		r.Obstacles = encode([]readiness.Obstacle{o})
		return w.note(ctx, ledger.RowWaiting, r)
	}
	o.Text = fmt.Sprintf("the account could not be read at the broker, tried %d times", r.Tries)
	o.Blocking, o.Who, o.Hint = true, closure.Operator, "The worker's log has the cause. Ask check-readiness for this account, and put it into a batch of its own later."
	return w.note(ctx, ledger.RowWaiting, turnedDown(r, o))
}

// note writes a row. Whoever came first has learned the same.
func (w *bite) note(ctx context.Context, was ledger.RowState, r ledger.BatchRow) error {
	if err := w.Ledger.NoteRow(ctx, w.batch.ID, was, r); err != nil && !errors.Is(err, ledger.ErrStale) {
		return err
	}
	return nil
}

// turnedDown is a row whose account can't be closed.
func turnedDown(r ledger.BatchRow, obstacles ...readiness.Obstacle) ledger.BatchRow {
	r.State, r.Obstacles = ledger.RowRefused, encode(obstacles)
	return r
}

func encode(obstacles []readiness.Obstacle) string {
	if len(obstacles) == 0 {
		return "[]"
	}
	b, err := json.Marshal(obstacles)
	if err != nil {
		panic(err) // texts and a bool
	}
	return string(b)
}
