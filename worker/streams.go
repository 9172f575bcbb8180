package worker

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"closeout/alpaca"
	"closeout/ledger"
)

// Streams reads the broker's event streams, so that what happens is looked at within seconds. Each topic has one reader
// among all workers; when that one is gone, another takes over where it stopped. An event makes a waiting visit due and does
// nothing else: without streams, or with streams that lag, lose or lie, closures come to the same end, later.
type Streams struct {
	Broker interface {
		Stream(ctx context.Context, topic alpaca.Topic, cursor string) (*alpaca.Stream, error)
	}
	Ledger interface {
		LeaseStream(ctx context.Context, topic, holder string, d time.Duration) (ledger.Stream, error)
		KeepStream(ctx context.Context, holder string, s ledger.Stream) error
		ReleaseStream(ctx context.Context, topic, holder string) error
		Streams(ctx context.Context) ([]ledger.Stream, error)
	}
	Hasten func(ctx context.Context, account string) error // makes the account's waiting visit due
	Missed func(ctx context.Context) error                 // something may have happened that nobody heard
	Holder string                                          // this process, unlike any other
	Lease  time.Duration                                   // of a topic's one reader, machine time; 0: 30 seconds
	Log    *logrus.Logger

	mu    sync.Mutex
	asked time.Time
	heard bool
}

// All these are machine time.
const (
	readerLease = 30 * time.Second
	firstPause  = time.Second
	lastPause   = time.Minute
	refusal     = time.Hour // after an answer that no patience mends
)

func (s *Streams) lease() time.Duration { return cmp.Or(s.Lease, readerLease) }

// renewal is the time between renewals of a lease. What is heard within one may be heard again after a crash.
func (s *Streams) renewal() time.Duration { return s.lease() / 3 }

// lately is how long ago the last sign of life may be: three minutes by default. A silent connection is given up sooner.
func (s *Streams) lately() time.Duration { return 6 * s.lease() }

// Run reads until ctx ends, and hands over then.
func (s *Streams) Run(ctx context.Context) {
	var open sync.WaitGroup
	for _, topic := range alpaca.Topics {
		open.Go(func() { s.follow(ctx, topic) })
	}
	open.Wait()
}

// follow reads one topic whenever it is this process's turn.
func (s *Streams) follow(ctx context.Context, topic alpaca.Topic) {
	log := s.Log.WithField("stream", topic)
	pause := firstPause
	for ctx.Err() == nil {
		began := time.Now()
		err := s.read(ctx, topic)
		if time.Since(began) > lastPause { // it went well for a while
			pause = firstPause
		}
		wait := pause
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, ledger.ErrStale):
			wait = s.renewal() // another process reads: its lease may end
		case alpaca.NotFound(err), alpaca.Unauthorized(err):
			wait = refusal
			log.WithError(err).Warn("the broker refuses this event stream; looks go on as without it, and it is asked for again in an hour")
		default:
			pause = min(2*pause, lastPause)
			log.WithError(err).Info("event stream broke off; it is taken up again")
		}
		t := time.NewTimer(wait*3/4 + rand.N(wait/2))
		select {
		case <-ctx.Done():
			t.Stop()
		case <-t.C:
		}
	}
}

// read reads one topic from where it was left until the stream breaks off or another process has it. It returns the reason.
func (s *Streams) read(ctx context.Context, topic alpaca.Topic) error {
	at, err := s.Ledger.LeaseStream(ctx, string(topic), s.Holder, s.lease())
	if err != nil {
		return err
	}
	stream, err := s.Broker.Stream(ctx, topic, at.Cursor)
	if e, ok := errors.AsType[*alpaca.Error](err); ok && at.Cursor != "" && (e.Status == http.StatusBadRequest || e.Status == http.StatusUnprocessableEntity) {
		s.Log.WithField("stream", topic).WithError(err).Warn("the broker does not know where this event stream was left; it begins anew")
		at.Cursor = ""
		if err := s.Ledger.KeepStream(ctx, s.Holder, at); err != nil {
			return err
		}
		stream, err = s.Broker.Stream(ctx, topic, "")
	}
	if err != nil {
		return err
	}
	if at.Cursor == "" {
		if err := s.Missed(ctx); err != nil {
			return errors.Join(err, stream.Close())
		}
	}
	k := &kept{at: at, written: at}
	stop := s.keep(ctx, k, stream)
	err = s.hear(ctx, k, stream)
	return errors.Join(err, stop(), stream.Close())
}

// hear wakes for every event, and moves the cursor once that is done.
func (s *Streams) hear(ctx context.Context, k *kept, stream *alpaca.Stream) error {
	for {
		e, ok, err := stream.Next()
		if err != nil {
			return err
		}
		if ok && e.Account != "" && !e.Station {
			if err := s.Hasten(ctx, e.Account); err != nil {
				return err
			}
		}
		k.mu.Lock()
		k.at.HeardAt = time.Now()
		if e.ID != "" {
			k.at.Cursor = e.ID
		}
		k.mu.Unlock()
	}
}

// kept is how far a reader has come, and what of it is written down.
type kept struct {
	mu          sync.Mutex
	at, written ledger.Stream
}

// keep renews the lease and writes down how far the reader is, until stop, which does so a last time. It ends the stream when
// the lease is another's, or can't be renewed before it ends.
func (s *Streams) keep(ctx context.Context, k *kept, stream *alpaca.Stream) (stop func() error) {
	over, done := make(chan struct{}), make(chan struct{})
	var lost error
	go func() {
		defer close(done)
		renewed := time.Now()
		first := time.NewTimer(time.Second) // that a stream is heard should be known soon
		defer first.Stop()
		t := time.NewTicker(s.renewal())
		defer t.Stop()
		for {
			select {
			case <-over:
				return
			case <-first.C:
			case <-t.C:
			}
			_, err := s.Ledger.LeaseStream(ctx, k.at.Topic, s.Holder, s.lease())
			if err == nil {
				err = s.write(ctx, k)
			}
			switch {
			case err == nil:
				renewed = time.Now()
			case errors.Is(err, ledger.ErrStale), time.Since(renewed) >= s.lease()-s.renewal():
				lost = err
				_ = stream.Close()
				return
			}
		}
	}()
	return func() error {
		close(over)
		<-done
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastMoment)
		defer cancel()
		return errors.Join(lost, s.write(ctx, k), s.Ledger.ReleaseStream(ctx, k.at.Topic, s.Holder))
	}
}

// write writes down how far the reader is, if that is news.
func (s *Streams) write(ctx context.Context, k *kept) error {
	k.mu.Lock()
	at := k.at
	k.mu.Unlock()
	if at == k.written {
		return nil
	}
	if err := s.Ledger.KeepStream(ctx, s.Holder, at); err != nil {
		return err
	}
	k.written = at
	return nil
}

// heardFor is how long an answer about what is heard holds.
const heardFor = 10 * time.Second

// Heard says whether every topic is being read, by whichever process.
func (s *Streams) Heard(ctx context.Context) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); s.asked.IsZero() || now.Sub(s.asked) >= heardFor {
		streams, err := s.Ledger.Streams(ctx)
		read := 0
		for _, st := range streams {
			if now.Sub(st.HeardAt) < s.lately() {
				read++
			}
		}
		s.asked, s.heard = now, err == nil && read == len(alpaca.Topics)
	}
	return s.heard
}
