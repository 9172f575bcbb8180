package live_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"closeout/ledger"
	"closeout/live"
)

// feed is one in memory, which counts how often it is asked.
type feed struct {
	mu     sync.Mutex
	events []ledger.Told
	end    int // events beyond it are written and not safe to read
	asked  int
	err    error
}

func (f *feed) add(accounts ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range accounts {
		t := ledger.Told{Cursor: ledger.Cursor(len(f.events) + 1), AccountID: a}
		f.events = append(f.events, t)
	}
	f.end = len(f.events)
}

func (f *feed) Feed(ctx context.Context, after ledger.Cursor, limit int) ([]ledger.Told, ledger.Cursor, error) {
	return f.FeedOf(ctx, "", after, limit)
}

func (f *feed) FeedOf(_ context.Context, account string, after ledger.Cursor, limit int) (out []ledger.Told, _ ledger.Cursor, _ error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	for _, t := range f.events[min(int(after), f.end):f.end] {
		if len(out) < limit && f.err == nil && (account == "" || account == t.AccountID) {
			out, after = append(out, t), t.Cursor
		}
	}
	return out, after, f.err
}

func (f *feed) FeedEnd(context.Context) (safe, written ledger.Cursor, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return ledger.Cursor(f.end), ledger.Cursor(len(f.events)), f.err
}

// count is how often the feed is asked in a stretch of time.
func (f *feed) count(d time.Duration) int {
	f.mu.Lock()
	before := f.asked
	f.mu.Unlock()
	time.Sleep(d) // virtual
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked - before
}

// next takes n events, which must come without a gap, of all accounts.
func next(t *testing.T, s *live.Stream, from, n int) {
	t.Helper()
	for i := range n {
		got, err := s.Next(t.Context())
		if err != nil || got.Cursor != ledger.Cursor(from+i) {
			t.Errorf("event %d, %v, want %d", got.Cursor, err, from+i)
			return
		}
	}
}

func open(t *testing.T, h *live.Hub, account string, after ledger.Cursor) *live.Stream {
	t.Helper()
	s, err := h.Open(account, after)
	if err != nil {
		t.Error(err)
	}
	return s
}

func TestOneReaderServesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &feed{}
		h := live.NewHub(live.Options{Feed: f})
		defer h.Close()
		f.add(make([]string, 450)...)
		if n := f.count(time.Minute); n != 0 {
			t.Errorf("nobody listens, and the feed is asked %d times", n)
		}
		var all sync.WaitGroup
		for i := range 200 {
			all.Go(func() {
				s := open(t, h, "", ledger.Cursor(i))
				defer s.Close()
				next(t, s, i+1, 500-i)
			})
		}
		synctest.Wait() // they have caught up
		if n := f.count(10 * time.Second); n < 9 || n > 11 {
			t.Errorf("200 streams ask the feed %d times in ten seconds, want about 10", n)
		}
		for range 50 {
			f.add("")
			time.Sleep(170 * time.Millisecond) // virtual
		}
		all.Wait()
		synctest.Wait()
		if n := f.count(time.Minute); n != 0 || h.Streams() != 0 {
			t.Errorf("nobody listens any more, and the feed is asked %d times; %d streams", n, h.Streams())
		}
	})
}

func TestAStreamOfAnAccountHearsItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &feed{}
		h := live.NewHub(live.Options{Feed: f})
		defer h.Close()
		f.add("a", "b", "a")
		s := open(t, h, "a", 1)
		defer s.Close()
		next(t, s, 3, 1)
		go f.add("b", "a")
		next(t, s, 5, 1)
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.Next(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("nothing more: %v", err)
		}
		f.add("a")
		next(t, s, 6, 1) // a deadline leaves it as it was
	})
}

func TestStreamsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &feed{}
		h := live.NewHub(live.Options{Feed: f, Most: 3, Every: 100 * time.Millisecond})
		behind, even, third := open(t, h, "", 0), open(t, h, "", 0), open(t, h, "", 0)
		if _, err := h.Open("", 0); !errors.Is(err, live.ErrFull) {
			t.Errorf("a fourth: %v", err)
		}
		third.Close()
		third = open(t, h, "", 0)
		go func() {
			time.Sleep(time.Second) // virtual
			f.add("", "")
			time.Sleep(time.Second) // virtual
			h.Close()
		}()
		next(t, even, 1, 2)
		for _, s := range []*live.Stream{even, third} {
			if _, err := s.Next(t.Context()); err == nil {
				next(t, s, 2, 1) // what was there before can still be read
				_, err = s.Next(t.Context())
				if !errors.Is(err, live.ErrClosed) {
					t.Errorf("closed: %v", err)
				}
			} else if !errors.Is(err, live.ErrClosed) {
				t.Errorf("closed: %v", err)
			}
		}
		if _, err := h.Open("", 0); !errors.Is(err, live.ErrClosed) {
			t.Errorf("after the end: %v", err)
		}
		for _, s := range []*live.Stream{behind, even, third} {
			s.Close()
		}
		synctest.Wait()
		if n := f.count(time.Minute); n != 0 || h.Streams() != 0 {
			t.Errorf("in the end the feed is asked %d times; %d streams", n, h.Streams())
		}
	})
}

// More than is kept for a stream at once is read from the ledger, without a gap, and nobody waits for a slow one.
func TestABurstIsReadFromTheLedger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &feed{}
		h := live.NewHub(live.Options{Feed: f})
		defer h.Close()
		slow, quick := open(t, h, "", 0), open(t, h, "", 0)
		defer slow.Close()
		defer quick.Close()
		for n := 1; n < 3; n++ {
			go func() {
				time.Sleep(2 * time.Second) // virtual: they join while they wait
				f.add("")
			}()
			next(t, slow, n, 1)
			next(t, quick, n, 1)
		}
		f.add(make([]string, 2000)...)
		next(t, quick, 3, 2000)
		time.Sleep(time.Minute) // virtual
		f.add("")
		next(t, quick, 2003, 1)
		next(t, slow, 3, 2001)
		go f.add("")
		next(t, slow, 2004, 1)
	})
}

func TestALedgerThatDoesNotAnswerIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, said := &feed{}, &strings.Builder{}
		log := logrus.New()
		log.SetOutput(said)
		h := live.NewHub(live.Options{Feed: f, Log: log})
		defer h.Close()
		s := open(t, h, "", 0)
		defer s.Close()
		f.add("")
		next(t, s, 1, 1)
		go func() {
			time.Sleep(time.Second) // virtual
			f.add("")
		}()
		next(t, s, 2, 1)
		f.mu.Lock()
		f.err = errors.New("connection refused")
		f.mu.Unlock()
		if n := f.count(10 * time.Minute); n > 10*60/8+5 || n < 60 {
			t.Errorf("asked %d times in ten minutes", n)
		}
		f.mu.Lock()
		f.err = nil
		f.mu.Unlock()
		f.add("")
		next(t, s, 3, 1)
		// Then a writer stands still: that is said, and nothing is skipped.
		f.mu.Lock()
		f.events = append(f.events, ledger.Told{Cursor: 4})
		f.mu.Unlock()
		time.Sleep(2 * time.Minute) // virtual
		synctest.Wait()
		if got := said.String(); strings.Count(got, "cannot be read") != 1 || strings.Count(got, "can be read again") != 1 || !strings.Contains(got, "held up") {
			t.Errorf("the log says %s", got)
		}
	})
}
