package budget

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/sirupsen/logrus"

	"closeout/alpaca"
)

// Class is what a call is for. Of one budget a higher class may use what a lower one must leave.
type Class int

// The classes, the lowest first.
const (
	Look  Class = iota // a visit that looks whether something has changed
	Asked              // somebody waits for it, or it is likely to end in an instruction; and the little beside visits
	Money              // an instruction, and what a visit that has begun must still read
	classes
)

// String is the class as metrics name it.
func (c Class) String() string { return [...]string{"look", "asked", "money"}[c] }

// Least is the smallest budget that this service can work with: one look takes up to eight calls at once.
const Least = 30

// Options says whose budget it is and how large.
type Options struct {
	Redis     redis.UniversalClient // shares the budget; the caller's
	Name      string                // of the correspondent in Redis: the environment
	PerMinute int                   // calls that all processes together may make in any minute; at least Least

	// Probe is machine time between attempts at a broker that does not answer; twice that where it refuses our credentials.
	Probe time.Duration
	Log   *logrus.Logger
}

// Budget is one process's part of the budget. It is the client's alpaca.Gate, and safe for use by several goroutines.
type Budget struct {
	o           Options
	size        size
	shared      *shared
	quota       *quota
	outage      *outage
	credentials *credentials

	turns [classes]chan struct{} // held by whoever of a class asks Redis; the others wait behind, and don't ask in a crowd

	calls [classes]atomic.Uint64
	held  sync.Map // alpaca.Hold → *atomic.Uint64
	limit sync.Once
}

var _ alpaca.Gate = (*Budget)(nil)

// New makes a budget. It does not ask Redis yet.
func New(o Options) *Budget {
	s := sizeOf(o.PerMinute)
	b := &Budget{o: o, size: s, shared: newShared(o, s), quota: &quota{}, outage: newOutage(o), credentials: newCredentials(o)}
	for c := range b.turns {
		b.turns[c] = make(chan struct{}, 1)
	}
	for _, why := range []alpaca.Hold{alpaca.HoldBusy, alpaca.HoldOutage, alpaca.HoldRefused} {
		b.held.Store(why, new(atomic.Uint64))
	}
	return b
}

// size is how a number of calls a minute is laid out. Each class draws on the one bucket down to a depth of its own, so that
// what is left below looks' is the others' reserve, and nobody's rate is lost to it. The bucket's rate and depth together
// are the most that a minute can see (minute says why, though calls are taken ahead); one call in fifty is kept for those that
// are slow on their way.
type size struct {
	rate  int          // calls in what minute is
	depth [classes]int // calls at once
}

func sizeOf(perMinute int) size {
	full := max(perMinute/20, 16)
	return size{rate: max(perMinute-full-perMinute/50, 1), depth: [classes]int{Look: full / 2, Asked: full * 3 / 4, Money: full}}
}

// patience is how long a call waits for the budget where it stands: a worker's hands and a client's request are not for
// waiting in. leastPause is how soon it may come again after that.
const (
	patience   = 2 * time.Second
	leastPause = 20 * time.Second
	longest    = 6 * time.Hour // that a look is put off
)

// ticket is a number of calls that were taken at once.
type ticket struct {
	class Class
	who   string
	left  atomic.Int64
}

type ticketKey struct{}

// Visit takes the calls that a visit of an account will make to learn where it stands, so that none is broken off half-way;
// what it asks beyond them is Money's. Where many looks are due, a *alpaca.HeldError gives it a place in their queue; inTurn
// says that it had one and that its turn has come.
func (b *Budget) Visit(ctx context.Context, account string, calls int, inTurn bool) (context.Context, error) {
	if err := b.stands(); err != nil {
		return ctx, b.hold(err)
	}
	if !inTurn {
		if wait := b.shared.place(ctx, calls); wait > patience {
			return ctx, b.hold(&alpaca.HeldError{Why: alpaca.HoldBusy, For: min(wait, longest), Place: true})
		}
	}
	return b.take(ctx, Look, account, calls)
}

// Effects takes the calls of instructions before anything is claimed for them: between the claim and the socket nothing
// waits.
func (b *Budget) Effects(ctx context.Context, calls int) (context.Context, error) {
	who := ""
	if t, ok := ctx.Value(ticketKey{}).(*ticket); ok {
		who = t.who
	}
	return b.take(ctx, Money, who, calls)
}

// Ask takes the calls of what goes before the queue of looks: a check of an account that somebody waits for, or a visit
// that is to do something.
func (b *Budget) Ask(ctx context.Context, account string, calls int) (context.Context, error) {
	return b.take(ctx, Asked, account, calls)
}

func (b *Budget) take(ctx context.Context, class Class, who string, calls int) (context.Context, error) {
	if err := b.stands(); err != nil {
		return ctx, b.hold(err)
	}
	calls = min(calls, b.size.depth[class])
	if err := b.wait(ctx, class, calls); err != nil {
		return ctx, err
	}
	t := &ticket{class: class, who: who}
	t.left.Store(int64(calls))
	return context.WithValue(ctx, ticketKey{}, t), nil
}

// Pass implements alpaca.Gate: a call that no ticket covers is taken singly.
func (b *Budget) Pass(ctx context.Context, write bool, path string) (func(alpaca.Heard), error) {
	if err := b.stands(); err != nil {
		return nil, b.hold(err)
	}
	class, who := Asked, path
	t, ticketed := ctx.Value(ticketKey{}).(*ticket)
	paid := ticketed && t.left.Add(-1) >= 0
	switch {
	case paid:
		class = t.class
	case write || ticketed:
		class = Money
	}
	if ticketed {
		who = t.who
	}
	if !paid {
		if err := b.wait(ctx, class, 1); err != nil {
			return nil, err
		}
	}
	known, err := b.credentials.pass(write)
	if err != nil {
		return nil, b.hold(err)
	}
	answered, err := b.outage.pass()
	if err != nil {
		known(verdictNone)
		return nil, b.hold(err)
	}
	b.calls[class].Add(1)
	var once sync.Once
	return func(h alpaca.Heard) {
		once.Do(func() {
			answered(h, who)
			known(verdictOf(h, write, who, !ticketed))
			b.learn(ctx, h)
		})
	}, nil
}

// learn obeys what the broker says of its quota, and lets the other processes know.
func (b *Budget) learn(ctx context.Context, h alpaca.Heard) {
	if h.Status == 0 {
		return
	}
	told, worse := b.quota.hear(h, time.Now())
	if told.limit > 0 {
		b.limit.Do(func() {
			l := b.o.Log.WithFields(logrus.Fields{"allows": told.limit, "budget": b.o.PerMinute})
			if told.limit < b.o.PerMinute {
				l.Warn("the broker allows fewer calls than the budget: lower CLOSEOUT_ALPACA_CALLS_PER_MINUTE, or instructions may find nothing left")
				return
			}
			l.Info("the broker's limit of calls")
		})
	}
	if worse {
		b.o.Log.WithFields(logrus.Fields{"left": told.left, "for": time.Until(told.reset).Round(time.Second).String()}).Warn("the broker's quota runs out: calls wait until it is renewed")
		b.shared.tell(ctx, told)
	}
}

// wait takes calls from the bucket, for a moment patiently.
func (b *Budget) wait(ctx context.Context, class Class, calls int) error {
	until := time.Now().Add(patience)
	over := time.NewTimer(patience)
	defer over.Stop()
	select {
	case b.turns[class] <- struct{}{}:
		defer func() { <-b.turns[class] }()
	case <-over.C:
		return b.hold(&alpaca.HeldError{Why: alpaca.HoldBusy, For: leastPause})
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		b.quota.merge(b.shared.told(ctx))
		wait := b.quota.hold(class, time.Now())
		if wait == 0 {
			wait = b.shared.take(ctx, class, calls)
		}
		if ctx.Err() != nil || wait == 0 {
			return ctx.Err()
		}
		if time.Now().Add(wait).After(until) {
			return b.hold(&alpaca.HeldError{Why: alpaca.HoldBusy, For: max(wait, leastPause)})
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
	}
}

// stands says what keeps everybody from asking, if anything: a *alpaca.HeldError.
func (b *Budget) stands() error {
	if err := b.credentials.stand(); err != nil {
		return err
	}
	return b.outage.stand()
}

func (b *Budget) hold(err error) error {
	if h, ok := err.(*alpaca.HeldError); ok { //nolint:errorlint // our own, made here
		n, _ := b.held.Load(h.Why)
		n.(*atomic.Uint64).Add(1)
	}
	return err
}
