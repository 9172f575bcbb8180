package lab

import (
	"context"
	"sync"
	"time"

	"closeout/worker"
)

// listen reads the broker's event streams until the lab is closed, as a worker does beside its sweep.
func (l *Lab) listen(ctx context.Context, relaxed bool) {
	l.streams = &worker.Streams{
		Broker: l.Broker, Ledger: l.Ledger, Holder: "lab", Log: l.Log, Lease: 10 * time.Minute, // each renewal is a commit
		Hasten: func(ctx context.Context, account string) error { return l.cur.run.Hasten(ctx, account) },
		Missed: func(ctx context.Context) error { return l.cur.run.Missed(ctx) },
	}
	l.relaxed = relaxed
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	l.quiet = sync.OnceFunc(func() { cancel(); <-done })
	go func() {
		defer close(done)
		time.Sleep(time.Second) // the worker's life has begun
		l.streams.Run(ctx)
	}()
}

// Deafen ends the reading of the streams. From then on the lab sweeps every minute: a sweep brings back what was put off.
func (l *Lab) Deafen() {
	l.quiet()
	l.deaf = true
}
