package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/sirupsen/logrus"

	"closeout/closure"
	"closeout/ledger"
)

// Memory is what Redis remembers of the ledger: its newest event, by each sweep. A ledger that does not have that event any
// more was restored to an earlier moment, or a standby that lagged was promoted: what was sent since then is not in it, and
// might be sent again. Then no worker starts, and one that runs holds everything. An emptied Redis remembers nothing, and can't
// warn.
type Memory struct {
	Ledger interface {
		Newest(ctx context.Context) (ledger.Mark, error)
		Has(ctx context.Context, m ledger.Mark) (bool, error)
		Hold(ctx context.Context) (ledger.Hold, error)
		HoldAll(ctx context.Context, version int64, actor, reason string) (ledger.Hold, error)
		Environment() closure.Environment
	}
	Queue interface {
		Remember(ctx context.Context, env, word string) error
		Remembered(ctx context.Context, env string) (string, error)
	}
	Log *logrus.Logger
}

// ErrLedgerWentBack says that the ledger lacks what Redis remembers of it.
var ErrLedgerWentBack = errors.New("the ledger lacks what was written to it before: it was restored to an earlier moment, or a standby that lagged was promoted; " +
	"with all workers stopped, closeout ledger reconcile takes in what the broker shows since then")

// Check compares, and remembers where the ledger stands now if it lacks nothing. ErrLedgerWentBack: it does; then what is
// remembered stays.
func (m *Memory) Check(ctx context.Context) error {
	was, err := m.Was(ctx)
	if err != nil {
		return err
	}
	if was.ClosureID != "" {
		has, err := m.Ledger.Has(ctx, was)
		if err != nil {
			return err
		}
		if !has {
			return fmt.Errorf("%w (the last that is remembered is event %d of closure %s, of %s)", ErrLedgerWentBack, was.Seq, was.ClosureID, was.At.UTC().Format("2006-01-02 15:04:05 UTC"))
		}
	}
	return m.Anew(ctx)
}

// Was is what is remembered. The zero Mark: nothing is, or nothing that can be read.
func (m *Memory) Was(ctx context.Context) (was ledger.Mark, err error) {
	word, err := m.Queue.Remembered(ctx, string(m.Ledger.Environment()))
	if err == nil && json.Unmarshal([]byte(word), &was) != nil {
		was = ledger.Mark{}
	}
	return was, err
}

// Anew remembers where the ledger stands now, whatever was remembered before: for a ledger that was reconciled.
func (m *Memory) Anew(ctx context.Context) error {
	now, err := m.Ledger.Newest(ctx)
	if err != nil {
		return err
	}
	word, err := json.Marshal(now)
	if err != nil {
		return err
	}
	return m.Queue.Remember(ctx, string(m.Ledger.Environment()), string(word))
}

// round checks beside a sweep, and holds everything where the ledger went back.
func (m *Memory) round(ctx context.Context) error {
	err := m.Check(ctx)
	if !errors.Is(err, ErrLedgerWentBack) {
		return err
	}
	m.Log.Error(err.Error())
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
