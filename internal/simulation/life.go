package simulation

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"

	"closeout/alpaca/sim"
	"closeout/calendar"
	"closeout/closure"
	"closeout/handlers"
	"closeout/ledger"
	"closeout/tasks"
)

// Options says which life to live.
type Options struct {
	Seed    uint64
	Without map[Kind]bool // kinds of faults and events that don't happen
	Faults  int           // so many faults at most, the first ones; -1: as many as come
	Dir     string        // for the ledger's file
	Trace   io.Writer     // what happens, told; nil: silence
}

// Left is what a life has left behind, for the auditor, and what it has lived through.
type Left struct {
	Seed         uint64
	Ledger       string // the file
	Journal      []sim.Entry
	Truths       map[string]sim.Truth
	Acknowledged []string
	Letters      map[string]int
	Wrong        []string // what the engine itself found wrong
	Struck       int      // faults
	Kinds        map[Kind]int
	Some         map[string]int // rare things, counted
	Closures     int
	Visits       int
	Days         float64 // of virtual time
	End          time.Time
}

// life is one seed's life.
type life struct {
	Options
	*dice
	*engine
	tb     testing.TB
	began  time.Time
	quiet  time.Time // from then on nothing goes wrong any more
	sim    *sim.Sim
	ledger *ledger.Ledger
	queue  *queue
	policy closure.Policy
	timing closure.Timing
	procs  []*process // the server, then the workers
	handle func(*process, *job) error

	rows       map[string]closure.Closure // as last committed
	order      []string                   // closures, as they were made
	acked      []string
	accounts   []string
	letters    map[string]int
	some_      map[string]int
	visits     int
	resumed    map[string]int
	lastPayout map[string]decimal.Decimal   // by account, as asked
	withdrawn  map[string][]decimal.Decimal // by account, by the customer
	poison     map[string]int               // by closure: how many more visits crash

	hearsay     bool       // the broker's events are read, as far as they can be trusted
	looked      tasks.Seen // the last answer to a sweep's question
	sweepAt     time.Time
	lettersAt   []time.Time // when letters may be due, the first one first
	redisBack   time.Time
	outageUntil time.Time
	outageKind  int
}

const newYorkTime = "2006-01-02 15:04"

// template is an empty ledger with its schema: migrating each life's own would take longer than the life.
func template(dir string) ([]byte, error) {
	path := filepath.Join(dir, "template.db")
	l, err := ledger.Open(context.Background(), ledger.Options{URL: "sqlite:" + path, Environment: closure.Sandbox, Policy: closure.DefaultPolicy(closure.Sandbox)})
	if err != nil {
		return nil, err
	}
	if err := l.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

func newLife(o Options) *life {
	return &life{
		Options: o, dice: newDice(o.Seed, o.Without, o.Faults), engine: newEngine(), queue: newQueue(), timing: closure.DefaultTiming,
		rows: map[string]closure.Closure{}, letters: map[string]int{}, some_: map[string]int{}, resumed: map[string]int{}, lastPayout: map[string]decimal.Decimal{}, withdrawn: map[string][]decimal.Decimal{}, poison: map[string]int{},
		handle: func(p *process, j *job) error {
			return p.run.Visit(j.ctx, handlers.Delivery{Payload: j.m.payload, Retried: j.m.retried})
		},
	}
}

// live lives one life, inside a bubble.
func live(tb testing.TB, o Options, empty []byte) Left {
	tb.Helper()
	l := newLife(o)
	l.tb = tb
	must := func(err error) {
		if err != nil {
			tb.Fatal(err)
		}
	}
	start, err := time.ParseInLocation(newYorkTime, "2026-10-05 00:00", calendar.NewYork)
	must(err)
	time.Sleep(time.Until(start.Add(l.within("start", 100*24*time.Hour))))
	l.began = time.Now()
	l.quiet = l.began.Add(24*time.Hour + l.within("quiet", 6*24*time.Hour))
	l.settings()
	l.sim, err = sim.Open(sim.Options{
		Key: "key", Secret: "secret", Seed: int64(o.Seed), DailyLimit: l.policy.DailyLimit,
		CashMoves: []string{sim.AtCreation, sim.AtComplete, sim.Late}[l.pick("cash moves", 3)],
	})
	must(err)
	path := filepath.Join(o.Dir, fmt.Sprintf("life-%d.db", o.Seed))
	must(os.WriteFile(path, bytes.Clone(empty), 0o600))
	l.ledger, err = ledger.Open(context.Background(), ledger.Options{URL: "sqlite:" + path, Environment: closure.Sandbox, Policy: l.policy})
	must(err)
	l.procs = make([]*process, 2+1+l.pick("workers", 2))
	for n := range l.procs {
		l.begin(n)
	}
	l.world()
	l.at(l.quiet, l.calm)
	turns := 0
	for end := l.quiet.Add(45 * 24 * time.Hour); len(l.agenda) > 0 && !l.over() && time.Now().Before(end); turns++ {
		if turns == 500_000 {
			l.panics = append(l.panics, "the engine does not come to rest")
			break
		}
		l.turn()
	}
	return l.leave(path)
}

// settings vary with the life: fewer looks, so that more lives can be lived, and every policy.
func (l *life) settings() {
	l.policy = closure.DefaultPolicy(closure.Sandbox)
	l.policy.Polls[closure.Settlement] = time.Duration(2+l.pick("settlement poll", 8)) * time.Hour
	l.policy.Polls[closure.Withdrawal] = time.Duration(3+l.pick("withdrawal poll", 9)) * time.Hour
	l.policy.Polls[closure.Liquidation] = time.Duration(1+l.pick("liquidation poll", 4)) * time.Minute
	l.policy.ReturnWatch = l.pick("return watch", 3)
	if l.pick("unknown", 4) == 0 {
		l.policy.Unknown = closure.Ask
	}
	l.policy.DailyLimit = decimal.NewFromInt(int64([]int{50_000, 50_000, 5_000}[l.pick("daily limit", 3)]))
}

// leave ends every process and gathers what there is to judge.
func (l *life) leave(path string) Left {
	left := Left{
		Seed: l.Seed, Ledger: path, Truths: map[string]sim.Truth{}, Acknowledged: l.acked, Letters: l.letters, Struck: l.struck,
		Kinds: l.counts, Some: l.some_, Closures: len(l.order), Visits: l.visits, Days: time.Since(l.began).Hours() / 24,
		End: time.Now(),
	}
	for _, p := range l.procs {
		if p.alive {
			l.kill(p)
		}
		l.reap(p)
	}
	for _, id := range l.accounts {
		truth, err := l.sim.Truth(id)
		if err != nil {
			l.tb.Fatal(err)
		}
		left.Truths[id] = truth
	}
	var err error
	if left.Journal, err = l.sim.Journal(""); err != nil {
		l.tb.Fatal(err)
	}
	left.Wrong = append(l.stuck(left.Truths), l.panics...)
	if err := l.ledger.Close(); err != nil {
		l.tb.Fatal(err)
	}
	_ = l.sim.Close()
	return left
}

// stuck names the closures that have not come to their end although nothing in their world keeps them from it.
func (l *life) stuck(truths map[string]sim.Truth) (out []string) {
	for _, id := range l.order {
		c := l.rows[id]
		bank := slices.ContainsFunc(truths[c.AccountID].ACHRelationships, func(r sim.TruthRelationship) bool { return r.ID == c.RelationshipID && !r.Deleted })
		switch {
		case c.State.Ended():
		case c.Reason == closure.BankGone && !bank:
		case c.Reason == closure.UnknownTransfer: // a person would say what became of it, which this operator can't
		case c.Reason == closure.NegativeCash && truths[c.AccountID].Booked.IsNegative() && len(truths[c.AccountID].Positions) == 0:
		default:
			out = append(out, fmt.Sprintf("the closure of %s is still %s in %s: %s: %s", l.short(id), c.State, c.Phase, c.Reason, c.Why))
		}
	}
	return out
}

// over says whether nothing more is to be seen: it is quiet, and every closure has come to an end that lasts.
func (l *life) over() bool {
	if time.Now().Before(l.quiet.Add(time.Hour)) || len(l.paused) > 0 {
		return false
	}
	for _, c := range l.rows {
		if !c.State.Ended() && (c.State == closure.Running || l.resumed[c.ID] < resumes) {
			return false
		}
	}
	return true
}

// note keeps what was committed, whatever became of the commit's answer.
func (l *life) note(c closure.Closure) {
	was, known := l.rows[c.ID]
	l.rows[c.ID] = c
	if !known {
		l.order = append(l.order, c.ID)
	}
	if c.Reason == closure.AccountGone { // the broker never forgets an account here
		l.panics = append(l.panics, fmt.Sprintf("the closure of %s says that its account is gone: %s", c.AccountID[len(c.AccountID)-6:], c.Why))
	}
	// Nothing that is late here is so by a quarantine; but the customer's own withdrawal of the same sum looks like it.
	if c.Reason == closure.LateTransfer && was.Reason != c.Reason && !slices.ContainsFunc(l.withdrawn[c.AccountID], func(sum decimal.Decimal) bool {
		return strings.Contains(c.Why, closure.USD(sum))
	}) {
		l.panics = append(l.panics, fmt.Sprintf("the closure of %s gave a payout up too early: %s", c.AccountID[len(c.AccountID)-6:], c.Why))
	}
	if c.Reason != "" && (was.Reason != c.Reason || was.State != c.State) {
		l.some("reason " + string(c.Reason))
	}
	if was.State != c.State {
		l.tell("%s is %s in %s: %s", l.short(c.ID), c.State, c.Phase, c.Why)
		l.letterBy(time.Now().Add(l.within("letter", 45*time.Second)))
	} else if was.Phase != c.Phase || was.Reason != c.Reason || was.Why != c.Why {
		l.tell("%s v%d %s: %s", l.short(c.ID), c.Version, c.Phase, c.Why)
	}
	if c.State == closure.Running {
		l.sweepBy(c.DueAt.Add(l.timing.Grace + l.within("sweep", l.timing.Sweep)))
	}
}

// some counts something rare that a run of many lives must come to.
func (l *life) some(what string) { l.some_[what]++ }

func (l *life) tell(format string, args ...any) {
	if l.Trace != nil {
		_, _ = fmt.Fprintf(l.Trace, "%s %s\n", time.Now().In(calendar.NewYork).Format("Mon 01-02 15:04:05.000"), fmt.Sprintf(format, args...))
	}
}

// short names a closure by its account's last digits: ids are made of chance, accounts of the seed.
func (l *life) short(id string) string {
	if c, ok := l.rows[id]; ok {
		return c.AccountID[max(0, len(c.AccountID)-6):]
	}
	return "?"
}

// sweepBy sees to it that some worker sweeps not much later than at.
func (l *life) sweepBy(at time.Time) {
	if !l.sweepAt.IsZero() && !at.Before(l.sweepAt) && l.sweepAt.After(time.Now()) {
		return
	}
	l.sweepAt = at
	l.at(at, func() {
		if l.sweepAt.Equal(at) {
			l.sweepAt = time.Time{}
			l.sweep()
		}
	})
}

// letterBy sees to it that a letter which is owed is looked for.
func (l *life) letterBy(at time.Time) {
	l.lettersAt = append(l.lettersAt, at)
	slices.SortFunc(l.lettersAt, time.Time.Compare)
	l.sweepBy(at)
}

// sweep carries out a sweep if there is anything for it to find, and comes back for what is due next.
func (l *life) sweep() {
	next := time.Time{}
	for _, c := range l.rows {
		if c.State == closure.Running && (next.IsZero() || c.DueAt.Before(next)) {
			next = c.DueAt
		}
	}
	defer func() {
		least := time.Now().Add(l.timing.Sweep*3/4 + l.within("sweep", l.timing.Sweep/2))
		if len(l.lettersAt) > 0 {
			l.sweepBy(later(l.lettersAt[0], least))
		}
		if next.IsZero() {
			return
		}
		l.sweepBy(later(next.Add(l.timing.Grace+l.within("sweep", l.timing.Sweep)), least))
	}()
	p := l.free()
	now := time.Now()
	owed := len(l.lettersAt) > 0 && !l.lettersAt[0].After(now)
	if p == nil || !owed && (next.IsZero() || next.After(now.Add(p.off-l.timing.Grace))) {
		return // nobody to sweep, or nothing to be found
	}
	if owed { // the others stay: of a letter's lease and its next attempt the lease is the earlier
		l.lettersAt = slices.DeleteFunc(l.lettersAt, func(at time.Time) bool { return !at.After(now) })
	}
	th := &thread{p: p, what: fmt.Sprintf("sweep (process %d)", p.n)}
	l.start(th, func() {
		s, err := p.run.Sweep(context.Background())
		if err != nil {
			l.some("a sweep stopped early")
		}
		if _, err := p.run.Deliver(context.Background()); err != nil { // a worker does so beside the sweep, as often
			l.letterBy(time.Now().Add(l.timing.Sweep))
		}
		if s.Rescheduled > 0 {
			l.some("a missing task was rescued by the sweep")
		}
	})
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
