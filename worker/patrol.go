package worker

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"closeout/ledger"
)

// Histories is what a patrol reads: *ledger.Ledger.
type Histories interface {
	Verify(ctx context.Context, after string, limit int) (ledger.Verified, error)
	Histories(ctx context.Context) (closures int, err error)
	HistoryAt(ctx context.Context, n int) (id string, err error)
}

// Patrol walks along the histories of all closures, again and again, a few at each sweep, so that a chain that was tampered with
// or damaged is heard of within a day. It begins at any place: workers that are often started anew, or that are many, come to
// each. A broken chain stops nothing by itself; it is a person who must look.
type Patrol struct {
	Ledger Histories
	Sweep  time.Duration // machine time between two rounds, about
	Log    *logrus.Logger

	after string // the last closure that was walked along
	begun bool
	share int // closures a round

	mu     sync.Mutex
	broken map[string]bool // by the closure's id
	events int64
}

// PatrolStats are what a patrol has found since its worker started.
type PatrolStats struct {
	Broken int   // closures whose history was broken when it was last walked along
	Events int64 // that were verified
}

// Stats is safe to be asked for at any time.
func (p *Patrol) Stats() PatrolStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return PatrolStats{len(p.broken), p.events}
}

const (
	lap         = 20 * time.Hour // in which one worker alone comes to each closure
	leastShare  = 10
	mostShare   = 2000
	patrolChunk = 50 // closures by one statement: SQLite has one connection
)

// round walks along this round's share. An error is the ledger's; the next round begins at any other place, so that what can't be
// read, of a disk that is damaged for one, does not hide all that comes after it.
func (p *Patrol) round(ctx context.Context) error {
	if !p.begun {
		if err := p.begin(ctx); err != nil {
			return err
		}
	}
	for left := p.share; left > 0 && ctx.Err() == nil; left -= patrolChunk {
		n := min(left, patrolChunk)
		v, err := p.Ledger.Verify(ctx, p.after, n)
		if err != nil {
			p.begun = false
			return err
		}
		end := v.Closures < n
		p.found(v, end)
		p.after = v.Last
		if end { // the next round begins a lap
			p.after = ""
			_, err := p.pace(ctx)
			return err
		}
	}
	return nil
}

// begin chooses a place.
func (p *Patrol) begin(ctx context.Context) error {
	n, err := p.pace(ctx)
	p.after = ""
	if err == nil && n > 0 {
		p.after, err = p.Ledger.HistoryAt(ctx, rand.IntN(n))
	}
	p.begun = err == nil
	return err
}

// pace shares out the closures there are over the rounds of a lap.
func (p *Patrol) pace(ctx context.Context) (closures int, err error) {
	n, err := p.Ledger.Histories(ctx)
	rounds := max(1, int(lap/max(p.Sweep, time.Second)))
	p.share = min(max((n+rounds-1)/rounds, leastShare), mostShare)
	return n, err
}

// found counts, and says what is broken. What is whole again counts no more.
func (p *Patrol) found(v ledger.Verified, end bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken == nil {
		p.broken = map[string]bool{}
	}
	p.events += v.Events
	for id := range p.broken {
		walked := id > p.after && (end || id <= v.Last)
		if walked && !slices.ContainsFunc(v.Broken, func(b ledger.ChainError) bool { return b.ClosureID == id }) {
			delete(p.broken, id)
		}
	}
	for _, b := range v.Broken {
		p.broken[b.ClosureID] = true
		p.Log.WithFields(logrus.Fields{"closure": b.ClosureID, "event": b.Seq}).Error("a history is broken: " + b.Why + "; closeout ledger verify names all")
	}
}

func patrol(ctx context.Context, o Options) {
	if err := o.Patrol.round(ctx); err != nil && ctx.Err() == nil {
		o.Log.WithError(err).Warn("the patrol of the histories stopped early; the next round begins elsewhere")
	}
}
