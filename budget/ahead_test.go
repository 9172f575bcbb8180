package budget_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"closeout/alpaca"
	"closeout/budget"
)

// span is for how long what was taken ahead is good.
const span = 250 * time.Millisecond

// questions counts what all processes ask of the bucket and of the queue of looks.
type questions struct {
	mu           sync.Mutex
	calls, looks struct{ asked, counted int } // questions, and the calls that they were answered with
}

func (*questions) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (*questions) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { return next(ctx, cmds) }
}

func (q *questions) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		script, is := cmd.(*redis.Cmd)
		if !is || err != nil {
			return err
		}
		answer, err := script.Slice()
		if err != nil {
			return err
		}
		q.mu.Lock()
		defer q.mu.Unlock()
		of := &q.calls
		if strings.HasSuffix(fmt.Sprint(cmd.Args()[3]), ":looks") {
			of = &q.looks
		}
		of.asked++
		of.counted += int(answer[0].(int64))
		return nil
	}
}

// visits makes so many looks of three calls, each a while after the other, none of which has to wait.
func (b *bench) visits(p *budget.Budget, n int, apart time.Duration) {
	b.Helper()
	for i := range n {
		began := time.Now()
		if _, err := p.Visit(b.Context(), "a", 3, false); err != nil || time.Since(began) != 0 {
			b.Fatalf("look %d: %v, after %s", i+1, err, time.Since(began))
		}
		time.Sleep(apart)
	}
}

// Where there is plenty, a process that looks quickly asks Redis a few times for very many looks.
func TestAQuickProcessAsksSeldom(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		apart     time.Duration
		most      int // questions of either kind, of 1,000
		counted   int // calls that they were answered with, of 3,000
		perMinute int
	}{
		"AtOnce":   {0, 13, 4700, 1_000_000}, // twice as many with each
		"Quickly":  {5 * time.Millisecond, 27, 3150, 100_000},
		"FewCalls": {80 * time.Millisecond, 502, 3010, 3000}, // as quickly as so small a budget carries
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			virtual(t, func(b *bench) {
				b.visits(b.process(tc.perMinute), 1000, tc.apart)
				q := &b.questions
				b.Logf("1,000 looks of three calls, %s apart: %+v of the bucket, %+v of the queue", tc.apart, q.calls, q.looks)
				for _, of := range []struct{ asked, counted int }{q.calls, q.looks} {
					if of.asked > tc.most || of.counted < 3000 || of.counted > tc.counted {
						b.Errorf("%+v, want at most %d questions and %d calls", of, tc.most, tc.counted)
					}
				}
			})
		})
	}
}

// One that looks now and then, and finds something to do, asks each time, and takes nothing that it does not use.
func TestASlowProcessTakesNothingAhead(t *testing.T) {
	t.Parallel()
	virtual(t, func(b *bench) {
		p := b.process(100_000)
		for range 100 {
			b.visits(p, 1, 0)
			if _, err := p.Effects(b.Context(), 1); err != nil {
				b.Fatal(err)
			}
			time.Sleep(span + span/5)
		}
		if q := &b.questions; q.calls.asked != 200 || q.calls.counted != 400 || q.looks.asked != 100 || q.looks.counted != 300 {
			b.Errorf("for 100 looks of three calls and as many instructions: %+v of the bucket, %+v of the queue", q.calls, q.looks)
		}
	})
}

// used is so many calls, of which it is written down when they were taken.
func (k *book) used(ctx context.Context, p *budget.Budget, class budget.Class, calls int) {
	var err error
	switch class {
	case budget.Money:
		_, err = p.Effects(ctx, calls)
	case budget.Asked:
		_, err = p.Ask(ctx, "a", calls)
	default:
		_, err = p.Visit(ctx, "a", calls, true)
	}
	for i := 0; i < calls && err == nil; i++ {
		k.note()
	}
}

// At the worst moment for it: each of many processes has as much ahead as it ever may, the bucket is full again, and all want
// everything from then on. No minute sees a call more than the bucket gives out, so that one in fifty is left to those that are
// slow on their way.
func TestWhatIsTakenAheadIsOfItsMinute(t *testing.T) {
	t.Parallel()
	for _, perMinute := range []int{1000, 12_000} {
		t.Run(fmt.Sprint(perMinute), func(t *testing.T) {
			t.Parallel()
			virtual(t, func(b *bench) {
				var calls book
				var processes []*budget.Budget
				size := max(perMinute/12_000*15, 1) // three of them come back within the span
				for range 5 {
					p := b.process(perMinute)
					processes = append(processes, p)
					time.Sleep(time.Second)
					for range 3 {
						calls.used(b.Context(), p, budget.Money, size)
					}
					time.Sleep(span)
					before := b.questions.calls.counted
					calls.used(b.Context(), p, budget.Money, 1)
					if got := b.questions.calls.counted - before; got != 3*size {
						b.Fatalf("%d calls were taken for 1, want %d", got, 3*size)
					}
				}
				time.Sleep(span - time.Millisecond)
				until := time.Now().Add(time.Minute + time.Second)
				var wg sync.WaitGroup
				for _, p := range processes {
					wg.Go(func() {
						for time.Now().Before(until) {
							calls.used(b.Context(), p, budget.Money, max(size*2/3, 1))
						}
					})
				}
				wg.Wait()
				most, want := calls.busiest(), perMinute-perMinute/50
				b.Logf("of %d a minute: at most %d in any 60 s", perMinute, most)
				if most > want || most < want*99/100 {
					b.Errorf("%d calls in one minute, the bucket gives out %d", most, want)
				}
			})
		})
	}
}

// So it is for processes that want now much and now little, at random.
func TestWavesStayWithinTheBudget(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			virtual(t, func(b *bench) {
				const perMinute, minutes = 12_000, 2
				var calls book
				var wg sync.WaitGroup
				until := time.Now().Add(minutes * time.Minute)
				for n := range uint64(5) {
					chance := rand.New(rand.NewPCG(seed, n))
					p := b.process(perMinute)
					wg.Go(func() {
						for time.Now().Before(until) {
							apart := time.Duration(chance.IntN(80)) * time.Millisecond // a wave's
							for range chance.IntN(60) {
								calls.used(b.Context(), p, budget.Class(chance.IntN(3)), 1+chance.IntN(8))
								time.Sleep(apart)
							}
							time.Sleep(time.Duration(chance.IntN(4000)) * time.Millisecond)
						}
					})
				}
				wg.Wait()
				q := b.questions.calls
				b.Logf("%d calls in %d minutes, at most %d in any 60 s; %+v", len(calls.calls), minutes, calls.busiest(), q)
				if most := calls.busiest(); most > perMinute-perMinute/50 || most < perMinute*3/4 {
					b.Errorf("%d calls in one minute, want nearly %d", most, perMinute-perMinute/50)
				}
			})
		})
	}
}

// What is taken ahead leaves the bucket as full as looks at rest may find it, so that nobody waits for it, and nothing is taken
// where the bucket is emptier.
func TestWhatIsTakenAheadIsInNobodysWay(t *testing.T) {
	t.Parallel()
	virtual(t, func(b *bench) {
		const perMinute, full = 12_000, 600
		for range 10 {
			p := b.process(perMinute)
			for range 9 {
				if _, err := p.Effects(b.Context(), 1); err != nil {
					b.Fatal(err)
				}
			}
		}
		q := &b.questions.calls
		if ahead := q.counted - 90; ahead < 15 || q.counted > full/4 {
			b.Errorf("%+v for 90 calls", *q)
		}
		other := b.process(perMinute)
		began := time.Now()
		if _, err := other.Visit(b.Context(), "a", full/4, true); err != nil || time.Since(began) != 0 {
			b.Errorf("a look: %v, after %s", err, time.Since(began))
		}
		for _, class := range []func(context.Context, int) (context.Context, error){
			func(ctx context.Context, n int) (context.Context, error) { return other.Ask(ctx, "a", n) }, other.Effects,
		} {
			if _, err := class(b.Context(), full/4); err != nil || time.Since(began) != 0 {
				b.Errorf("%v, after %s", err, time.Since(began))
			}
		}
	})
	virtual(t, func(b *bench) { // half of what looks may take is gone
		p, other := b.process(12_000), b.process(12_000)
		if _, err := other.Effects(b.Context(), 150); err != nil {
			b.Fatal(err)
		}
		b.visits(p, 40, 0)
		if q := b.questions.calls; q.counted != 150+40*3 || q.asked != 1+40 {
			b.Errorf("%+v: calls were taken ahead of a bucket that is not plentiful, or it was asked for them in vain", q)
		}
	})
}

// A place that was taken ahead is where it would have been, and those that are given up put nobody off: behind them the queue is
// taken up by 250 ms more at most.
func TestPlacesTakenAheadAreInOrder(t *testing.T) {
	t.Parallel()
	const perMinute, rate = 12_000, (12_000 - 600 - 240) * 95 / 100
	each := 3 * (time.Minute + span) / rate
	virtual(t, func(b *bench) {
		p, other := b.process(perMinute), b.process(perMinute)
		for n := range 14 {
			b.visits(p, 1, 0)
			if got, want := p.State().Backlog, time.Duration(n)*each; (got - want).Abs() > time.Millisecond {
				b.Errorf("look %d finds the queue taken up by %s, want %s", n+1, got, want)
			}
		}
		if q := b.questions.looks; q.asked > 10 {
			b.Errorf("14 looks: %+v", q)
		}
		b.visits(p, 36, 0)
		b.visits(other, 1, 0)
		if got, want := other.State().Backlog, 50*each; got < want-time.Millisecond || got > want+span {
			b.Errorf("another process finds the queue taken up by %s, want %s and at most %s more", got, want, span)
		}
	})
}

// What the broker says of its quota is obeyed at once by who hears it, whatever it has ahead, and within a second by the other
// processes, though they hardly ask Redis.
func TestAQuotaThatRunsOutVoidsWhatWasTakenAhead(t *testing.T) {
	t.Parallel()
	virtual(t, func(b *bench) {
		one, two := b.process(100_000), b.process(100_000)
		for range 20 {
			b.visits(one, 1, 0)
			b.visits(two, 1, 0)
		}
		if err := b.make(b.Context(), one, false, "/v1/clock", quota(429, 100_000, 0, time.Now().Add(20*time.Second))); err != nil {
			b.Fatal(err)
		}
		asked := b.questions.calls.asked
		_, err := one.Visit(b.Context(), "a", 3, true)
		b.held(err, alpaca.HoldBusy)
		if b.questions.calls.asked != asked {
			b.Error("it asked the bucket")
		}
		synctest.Wait()
		began, looks := time.Now(), 0
		for err = nil; err == nil && time.Since(began) < time.Minute; looks++ {
			_, err = two.Visit(b.Context(), "a", 3, true)
			time.Sleep(5 * time.Millisecond)
		}
		b.held(err, alpaca.HoldBusy)
		if since := time.Since(began); since > time.Second+10*time.Millisecond || looks < 100 {
			b.Errorf("the other process has heard of it after %s and %d looks", since, looks)
		}
	})
}
