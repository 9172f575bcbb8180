package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/sirupsen/logrus"

	"closeout/closure"
	"closeout/ledger"
)

// Memory is what Redis remembers of the ledger: the last of its events, each claim among them before its instruction is sent. A
// ledger that does not have one of these any more was restored to an earlier moment, or a standby that lagged was promoted: what
// was sent since then is not in it, and might be sent again. Then no worker starts, nothing is sent, and one that runs holds
// everything. An emptied Redis remembers nothing, and can't warn.
//
// Several events are remembered, and none is ever overwritten by another: two workers remember at once, and neither the order in
// which they do nor their clocks nor the feed's numbers are that of the commits, so that of two marks nobody could tell which is
// the newer.
type Memory struct {
	Ledger interface {
		Newest(ctx context.Context) (ledger.Mark, error)
		Lacks(ctx context.Context, marks []ledger.Mark) ([]ledger.Mark, error)
		Hold(ctx context.Context) (ledger.Hold, error)
		HoldAll(ctx context.Context, version int64, actor, reason string) (ledger.Hold, error)
		Environment() closure.Environment
	}
	Queue interface {
		Remember(ctx context.Context, env, word string) error
		RememberOnly(ctx context.Context, env, word string) error
		Remembered(ctx context.Context, env string, n int) ([]string, error)
	}
	Log *logrus.Logger
}

// ErrLedgerWentBack says that the ledger lacks what Redis remembers of it.
var ErrLedgerWentBack = errors.New("the ledger lacks what was written to it before: it was restored to an earlier moment, or a standby that lagged was promoted; " +
	"with all workers stopped, closeout ledger reconcile takes in what the broker shows since then")

// lately is how many of the marks each claim is held to: whatever a ledger loses, it loses the latest.
const lately = 16

// Check compares, and remembers where the ledger stands now if it lacks nothing. ErrLedgerWentBack: it does; then what is
// remembered stays.
func (m *Memory) Check(ctx context.Context) error {
	was, err := m.Was(ctx)
	if err != nil {
		return err
	}
	if err := m.whole(ctx, was); err != nil {
		return err
	}
	now, err := m.Ledger.Newest(ctx)
	if err != nil || now.ClosureID == "" || slices.ContainsFunc(was, func(w ledger.Mark) bool { return w.Hash == now.Hash }) {
		return err
	}
	return m.remember(ctx, now, m.Queue.Remember)
}

// Claimed remembers a claim that has committed, before its instruction is sent. With an error it must not be. A Redis that does
// not answer is such an error: no task comes from it either, so that a moment's wait is all that is lost, while an instruction
// that nobody remembers could be given twice if the ledger lost its last seconds by the same accident.
//
// The latest marks are compared first: the ledger may have gone back under a running worker, whose next sweep would come too late.
func (m *Memory) Claimed(ctx context.Context, c closure.Closure) error {
	was, err := m.marks(ctx, lately)
	if err != nil {
		return err
	}
	err = m.whole(ctx, was)
	if errors.Is(err, ErrLedgerWentBack) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastMoment) // that nothing may be sent is known by then
		defer cancel()
		return errors.Join(err, m.hold(ctx, err))
	}
	if err != nil { // that is not known, and this instruction waits; it is no reason to hold everything
		return err
	}
	return m.remember(ctx, ledger.MarkOf(c), m.Queue.Remember)
}

// Was is what is remembered, the latest at the end. None: nothing is, or nothing that can be read.
func (m *Memory) Was(ctx context.Context) ([]ledger.Mark, error) { return m.marks(ctx, 0) }

func (m *Memory) marks(ctx context.Context, n int) (was []ledger.Mark, err error) {
	words, err := m.Queue.Remembered(ctx, string(m.Ledger.Environment()), n)
	for _, w := range words {
		var mark ledger.Mark
		if json.Unmarshal([]byte(w), &mark) == nil && mark.ClosureID != "" {
			was = append(was, mark)
		}
	}
	return was, err
}

func (m *Memory) whole(ctx context.Context, was []ledger.Mark) error {
	lacking, err := m.Ledger.Lacks(ctx, was)
	if err != nil || len(lacking) == 0 {
		return err
	}
	l := lacking[0]
	return fmt.Errorf("%w (of what is remembered %d of %d are missing, the first is event %d of closure %s, of %s)",
		ErrLedgerWentBack, len(lacking), len(was), l.Seq, l.ClosureID, l.At.UTC().Format("2006-01-02 15:04:05 UTC"))
}

func (m *Memory) remember(ctx context.Context, mark ledger.Mark, how func(ctx context.Context, env, word string) error) error {
	word, err := json.Marshal(mark)
	if err != nil {
		return err
	}
	return how(ctx, string(m.Ledger.Environment()), string(word))
}

// Anew forgets what was remembered and remembers where the ledger stands now: for a ledger that was reconciled.
func (m *Memory) Anew(ctx context.Context) error {
	now, err := m.Ledger.Newest(ctx)
	if err != nil {
		return err
	}
	if now.ClosureID == "" {
		return m.Queue.RememberOnly(ctx, string(m.Ledger.Environment()), "")
	}
	return m.remember(ctx, now, m.Queue.RememberOnly)
}

// round checks beside a sweep, and holds everything where the ledger went back.
func (m *Memory) round(ctx context.Context) error {
	err := m.Check(ctx)
	if !errors.Is(err, ErrLedgerWentBack) {
		return err
	}
	return m.hold(ctx, err)
}

// hold holds everything, unless it is held.
func (m *Memory) hold(ctx context.Context, why error) error {
	m.Log.Error(why.Error())
	h, err := m.Ledger.Hold(ctx)
	if err != nil || h.Held {
		return err
	}
	_, err = m.Ledger.HoldAll(ctx, h.Version, closure.Worker, "the ledger lacks what was written before: it went back; stop the workers, then closeout ledger reconcile")
	if errors.Is(err, ledger.ErrStale) { // another worker, or a person, was quicker
		return nil
	}
	return err
}
