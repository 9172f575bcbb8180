package worker

import (
	"cmp"
	"context"
	"os"
	"sync"
	"time"

	"closeout/handlers"
	"closeout/tasks"
)

// Beat tells others, through Redis, what Asynq does not know of a worker: its version, what its last sweep did, how it stands
// with the broker, and how late visits begin. It is for people to see; nothing rests on it.
type Beat struct {
	Tell    func(ctx context.Context, host string, pid int, r tasks.Report, begun tasks.Lateness) error
	Version string
	Broker  func() tasks.Broker

	mu    sync.Mutex
	sweep tasks.Sweep
	begun tasks.Lateness // since it was last told
}

// Visited counts a visit that began so much machine time after it was due.
func (b *Beat) Visited(late time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.begun.Count(late)
}

// swept keeps what a sweep did.
func (b *Beat) swept(began time.Time, s handlers.Swept, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.sweep = tasks.Sweep{At: now, Took: now.Sub(began), Overdue: s.Overdue, Rescheduled: s.Rescheduled, Reissued: s.Reissued, Failed: err != nil}
}

// run tells until ctx ends, and then a last time.
func (b *Beat) run(ctx context.Context) {
	for t := time.NewTicker(tasks.ReportEvery); ; {
		b.tell(ctx)
		select {
		case <-ctx.Done():
			t.Stop()
			b.tell(context.WithoutCancel(ctx))
			return
		case <-t.C:
		}
	}
}

// tell tells once. What could not be told of the visits is told the next time.
func (b *Beat) tell(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lastMoment/2)
	defer cancel()
	r := tasks.Report{Version: b.Version, At: time.Now(), Broker: b.Broker()}
	b.mu.Lock()
	var begun tasks.Lateness
	begun, b.begun = b.begun, begun
	r.Sweep = b.sweep
	b.mu.Unlock()
	host, err := os.Hostname()
	if err != nil {
		host = "" // Asynq has a name of its own for that
	}
	if b.Tell(ctx, cmp.Or(host, "unknown-host"), os.Getpid(), r, begun) != nil { // health says that Redis is down
		b.mu.Lock()
		defer b.mu.Unlock()
		b.begun.Add(begun)
	}
}
