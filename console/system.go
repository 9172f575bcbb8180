package console

import (
	"context"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"closeout/signin"

	"closeout/closure"
	"closeout/ledger"
	"closeout/live"
	"closeout/tasks"
)

// System tells of the queue and its workers, which the ledger does not know: a *tasks.Queue.
type System interface {
	Sizes(ctx context.Context) ([]tasks.Size, error)
	Workers(ctx context.Context) ([]tasks.Worker, error)
	Visits(ctx context.Context, length time.Duration, n int) ([]tasks.Span, error)
}

// figures are what the ledger knew at a business time: how long something has been due is said as of then.
type figures struct {
	ledger.Figures
	at time.Time
}

// engine is what Redis knows, read at once.
type engine struct {
	sizes   []tasks.Size
	workers []tasks.Worker
	minutes []tasks.Span
	hours   []tasks.Span
}

// readings are what pages share for a while, so that many who look cost little: together less than two queries a second.
type readings struct {
	hold    *live.Kept[ledger.Hold]
	changes *live.Kept[[]ledger.Hold]
	figures *live.Kept[figures]
	engine  *live.Kept[engine]
	oldest  *live.Kept[map[ledger.Lane]time.Time]
}

func newReadings() readings {
	return readings{
		hold:    &live.Kept[ledger.Hold]{Life: 2 * time.Second, Patience: 5 * time.Second},
		changes: &live.Kept[[]ledger.Hold]{Life: 10 * time.Second, Patience: 5 * time.Second},
		figures: &live.Kept[figures]{Life: 10 * time.Second, Patience: 10 * time.Second},
		engine:  &live.Kept[engine]{Life: 2 * time.Second, Patience: 2 * time.Second},
		oldest:  &live.Kept[map[ledger.Lane]time.Time]{Life: 30 * time.Second, Patience: 5 * time.Second}, // it reads much, and days pass slowly
	}
}

// systemPage is how the service does. What is not known is said to be.
type systemPage struct {
	Hold    ledger.Hold
	Changes []ledger.Hold
	May     bool // whoever looks may hold and release

	Due, Letters, Failed string
	DueFor, OwedFor      string
	Database, Size, Feed string
	FeedBehind           bool
	Streams              []streamView

	Known   bool // what Redis knows
	Asked   bool // there is a Redis to ask
	Sizes   []tasks.Size
	Workers []workerView
	Quota   string // of the broker's calls, as it was last told to any worker
	Charts  []chart
}

// streamView is a stream of the broker's events. How far it lags behind what happens there can't be told while nothing happens:
// what is known is for how long nothing was heard, heartbeats counted, and of when the last event is.
type streamView struct {
	Topic, Silence string // "": it was never heard
	Silent         bool
	Last           time.Time // by the broker's clock; zero: there was none, or it does not say
}

// workerView is a worker as a row.
type workerView struct {
	Name, Version, Status, Up string
	Concurrency               int
	Tasks                     []taskView
	Sweep, Swept              string
	SweepFailed               bool
	Broker, Calls, Held       string
	BrokerDown                bool
}

type taskView struct{ Queue, What, ClosureID, RedriveID, For string }

func (k *Console) routesSystem() {
	k.get("/system", signin.Viewer, k.system)
	k.routesHold()
}

func (k *Console) system(a *ask) (page, error) {
	ctx := a.Context()
	p := systemPage{May: a.Who.Role.May(signin.Operator), Asked: k.System != nil}
	var err error
	if p.Hold, err = k.readings.hold.Get(ctx, k.Ledger.Hold); err != nil {
		return page{}, err
	}
	p.Changes, err = k.readings.changes.Get(ctx, func(ctx context.Context) ([]ledger.Hold, error) { return k.Ledger.HoldChanges(ctx, 10) })
	if err != nil {
		return page{}, err
	}
	f, err := k.readings.figures.Get(ctx, k.figures)
	if err != nil {
		return page{}, err
	}
	p.ledgerSays(f, time.Now())
	if k.System != nil {
		e, err := k.readings.engine.Get(ctx, k.engine)
		if err != nil {
			k.Log.WithError(err).Warn("the page System can't ask Redis")
		} else {
			p.engineSays(e, time.Now())
		}
	}
	return page{Template: "system", Title: "System", Data: p, Watch: "all", At: f.at}, nil
}

func (k *Console) figures(ctx context.Context) (figures, error) {
	f, err := k.Ledger.Figures(ctx)
	return figures{f, k.now()}, err
}

// engine asks Redis for everything.
func (k *Console) engine(ctx context.Context) (e engine, err error) {
	if e.sizes, err = k.System.Sizes(ctx); err != nil {
		return e, err
	}
	if e.workers, err = k.System.Workers(ctx); err != nil {
		return e, err
	}
	if e.minutes, err = k.System.Visits(ctx, time.Minute, 60); err != nil {
		return e, err
	}
	e.hours, err = k.System.Visits(ctx, time.Hour, 24)
	return e, err
}

// silent is machine time without a sign of life after which a stream is not heard: as long as looks are put off by.
const silent = 3 * time.Minute

func (p *systemPage) ledgerSays(f figures, machine time.Time) {
	counted := func(n int) string {
		if n > ledger.MostCounted {
			return fmt.Sprintf("more than %d", ledger.MostCounted)
		}
		return fmt.Sprint(n)
	}
	p.Due, p.Letters, p.Failed = counted(f.Due), counted(f.LettersOwed), counted(f.LettersFailed)
	if !f.DueSince.IsZero() {
		p.DueFor = howLong(f.at.Sub(f.DueSince))
	}
	if !f.OwedSince.IsZero() {
		p.OwedFor = howLong(f.at.Sub(f.OwedSince))
	}
	p.Database, p.Size = f.Database, sized(f.Bytes)
	p.Feed = "all that is written can be read"
	if behind := f.FeedWritten - f.FeedSafe; behind > 0 {
		p.Feed, p.FeedBehind = closure.Count(int(behind), "event")+" of transactions that have not ended", true
	}
	for _, s := range f.Streams {
		v := streamView{Topic: s.Topic, Silent: machine.Sub(s.HeardAt) > silent, Last: saidAt(s.Cursor)}
		if !s.HeardAt.IsZero() {
			v.Silence = howLong(machine.Sub(s.HeardAt))
		}
		p.Streams = append(p.Streams, v)
	}
}

// ulids are written in Crockford's digits.
var ulids = base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ").WithPadding(base32.NoPadding)

// saidAt is the time in a stream's cursor, which is a ULID of the broker's. Zero: it is none.
func saidAt(cursor string) time.Time {
	b, err := ulids.DecodeString("000000" + strings.ToUpper(cursor)) // to whole bytes
	if err != nil || len(b) != 20 {
		return time.Time{}
	}
	return time.UnixMilli(int64(binary.BigEndian.Uint64(b[2:10]) & (1<<48 - 1)))
}

func (p *systemPage) engineSays(e engine, machine time.Time) {
	p.Known, p.Sizes = true, e.sizes
	var told tasks.Broker
	var at time.Time
	for _, w := range e.workers {
		p.Workers = append(p.Workers, viewWorker(w, machine))
		if r := w.Report; r != nil && r.Broker.Limit > 0 && r.At.After(at) {
			told, at = r.Broker, r.At
		}
	}
	if told.Limit > 0 {
		p.Quota = fmt.Sprintf("%d of %d calls left", told.Left, told.Limit)
		if d := told.Renewed.Sub(machine); d > 0 {
			p.Quota += ", renewed in " + howLong(d)
		} else {
			p.Quota += ", and renewed since"
		}
	}
	p.Charts = []chart{throughput(e.minutes, lastHour), lateness(e.minutes, lastHour), throughput(e.hours, lastDay), lateness(e.hours, lastDay)}
}

func viewWorker(w tasks.Worker, now time.Time) workerView {
	v := workerView{
		Name: fmt.Sprintf("%s:%d", w.Host, w.PID), Status: w.Status, Up: howLong(now.Sub(w.Started)), Concurrency: w.Concurrency,
		Version: "not known", Sweep: "not known", Broker: "not known",
	}
	for _, t := range w.Tasks {
		v.Tasks = append(v.Tasks, taskView{t.Queue, strings.TrimPrefix(t.Type, "closure:"), t.ClosureID, t.RedriveID, howLong(now.Sub(t.Started))})
	}
	r := w.Report
	if r == nil {
		return v
	}
	v.Version, v.Sweep = r.Version, "none yet"
	if s := r.Sweep; !s.At.IsZero() {
		v.Sweep = howLong(now.Sub(s.At)) + " ago"
		v.Swept = fmt.Sprintf("%d overdue, %d scheduled again, %d reissued, in %s", s.Overdue, s.Rescheduled, s.Reissued, howLong(s.Took))
		v.SweepFailed = s.Failed
	}
	b := r.Broker
	v.Broker, v.BrokerDown = "asked", b.Down != ""
	since := howLong(now.Sub(b.Since))
	switch {
	case b.Down == "outage":
		v.Broker = "has not answered for " + since + ": nobody asks, one call in a while tries"
	case b.Down == "refused":
		v.Broker = "has refused the credentials for " + since
	case b.Down != "":
		v.Broker = b.Down
	case b.Alone:
		v.Broker = "asked; without Redis by a share of the budget"
	}
	v.Calls, v.Held = tally(b.Calls), tally(b.Held)
	if b.Backlog >= time.Second {
		v.Held = strings.TrimPrefix(v.Held+", looks queue for "+howLong(b.Backlog), ", ")
	}
	return v
}

// tally lists what was counted, by name.
func tally(counts map[string]uint64) string {
	var out []string
	for name, n := range counts {
		if n > 0 {
			out = append(out, fmt.Sprintf("%s %d", name, n))
		}
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// sized is a number of bytes in words.
func sized(n int64) string {
	const kib, mib, gib = 1 << 10, 1 << 20, 1 << 30
	switch f := float64(n); {
	case n >= gib:
		return fmt.Sprintf("%.1f GiB", f/gib)
	case n >= mib:
		return fmt.Sprintf("%.1f MiB", f/mib)
	}
	return fmt.Sprintf("%d KiB", n/kib)
}
