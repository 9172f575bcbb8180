package budget_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"closeout/alpaca"
	"closeout/budget"
)

// Three processes full of callers who want far more than there is, each call a random while on its way: no sixty seconds
// see more than the budget, and nearly all of it is used.
func TestNoMinuteSeesMoreThanTheBudget(t *testing.T) {
	t.Parallel()
	for _, perMinute := range []int{budget.Least, 200, 1000} {
		t.Run(fmt.Sprint(perMinute), func(t *testing.T) {
			t.Parallel()
			virtual(t, func(b *bench) {
				const minutes = 3
				var calls book
				var wg sync.WaitGroup
				until := time.Now().Add(minutes * time.Minute)
				for p := range 3 {
					process := b.process(perMinute)
					for n := range 8 {
						chance := rand.New(rand.NewPCG(uint64(p), uint64(n)))
						wg.Go(func() {
							for time.Now().Before(until) {
								var ctx context.Context
								var err error
								size := 1 + chance.IntN(8)
								switch chance.IntN(4) {
								case 0:
									ctx, err = process.Effects(b.Context(), size)
								case 1:
									ctx, err = process.Ask(b.Context(), "a", size)
								default:
									ctx, err = process.Visit(b.Context(), "a", size, true)
								}
								for i := 0; i < size && err == nil; i++ {
									var heard func(alpaca.Heard)
									if heard, err = process.Pass(ctx, false, "/v1/accounts/…000001"); err == nil {
										time.Sleep(time.Duration(chance.IntN(200)) * time.Millisecond)
										calls.note() // when it arrives
										heard(fine)
									}
								}
								if err != nil {
									b.held(err, alpaca.HoldBusy)
									time.Sleep(time.Duration(chance.IntN(3000)) * time.Millisecond)
								}
							}
						})
					}
				}
				wg.Wait()
				most, all := calls.busiest(), len(calls.calls)
				b.Logf("of %d a minute: at most %d in any 60 s, %d in all of %d minutes", perMinute, most, all, minutes)
				if most > perMinute {
					b.Errorf("%d calls in one minute, the budget is %d", most, perMinute)
				}
				if least := perMinute * minutes * 4 / 10; all < least {
					b.Errorf("only %d calls in %d minutes: the budget lies idle", all, minutes)
				}
			})
		})
	}
}

// Looks take what they may; an instruction finds its reserve at once, and so does a person's question.
func TestMoneyAndPeopleFindAReserve(t *testing.T) {
	t.Parallel()
	virtual(t, func(b *bench) {
		looks, other := b.process(200), b.process(200)
		defer b.flood(looks, 20)()
		started := time.Now()
		if _, err := other.Ask(b.Context(), "b", 4); err != nil {
			b.Errorf("a person's question: %v", err)
		}
		if _, err := other.Effects(b.Context(), 3); err != nil {
			b.Errorf("an instruction: %v", err)
		}
		if waited := time.Since(started); waited > time.Second/2 {
			b.Errorf("they waited %s", waited)
		}
	})
}

// A visit that has begun is finished from the reserve, call by call.
func TestAVisitThatHasBegunIsFinished(t *testing.T) {
	t.Parallel()
	virtual(t, func(b *bench) {
		p := b.process(200)
		ctx, err := p.Visit(b.Context(), "a", 3, true)
		if err != nil {
			b.Fatal(err)
		}
		stop := b.flood(b.process(200), 20)
		defer stop()
		for n := range 7 {
			if err := b.make(ctx, p, false, "/v1/accounts/…000001", fine); err != nil {
				b.Fatalf("call %d of a visit that has begun: %v", n+1, err)
			}
		}
		if got := p.State().Calls; got[budget.Look] != 3 || got[budget.Money] != 4 {
			b.Errorf("calls by class: %v", got)
		}
	})
}

// Many looks at once are given places one behind the other, at the pace of the budget, from whichever process they come;
// what goes before the queue takes none.
func TestLooksAreQueuedOneBehindTheOther(t *testing.T) {
	t.Parallel()
	virtual(t, func(b *bench) {
		one, two := b.process(1000), b.process(1000)
		began := time.Now()
		last, placed := time.Duration(0), 0
		for n := range 2000 {
			p := one
			if n%2 == 1 {
				p = two
			}
			_, err := p.Visit(b.Context(), fmt.Sprint(n), 3, false)
			if err == nil {
				continue
			}
			h := b.held(err, alpaca.HoldBusy)
			place := time.Since(began) + h.For
			if !h.Place || place < last {
				b.Fatalf("look %d has %+v, the one before it comes after %s", n, h, last)
			}
			last = place
			placed++
		}
		if placed < 1900 {
			b.Errorf("only %d looks were queued", placed)
		}
		if want := 2000 * 3 * time.Minute / 1000; last < want || last > want*125/100 {
			b.Errorf("the last of 6000 calls has its turn after %s", last)
		}
		if got := one.State().Backlog; got < last*9/10-time.Since(began) {
			b.Errorf("the backlog is said to be %s", got)
		}
		if _, err := one.Visit(b.Context(), "urgent", 3, true); err != nil {
			b.Errorf("one that goes before the queue: %v", err)
		}
	})
}

// Where nobody is in the way, a look waits for nothing.
func TestAQuietBudgetHoldsNobody(t *testing.T) {
	t.Parallel()
	virtual(t, func(b *bench) {
		p := b.process(200)
		for range 100 {
			started := time.Now()
			if _, err := p.Visit(b.Context(), "a", 3, false); err != nil || time.Since(started) != 0 {
				b.Fatalf("%v, after %s", err, time.Since(started))
			}
			time.Sleep(5 * time.Second)
		}
	})
}

// A caller who goes away is not kept.
func TestAWaitEndsWithItsCaller(t *testing.T) {
	t.Parallel()
	virtual(t, func(b *bench) {
		p := b.process(1000)
		defer b.flood(p, 20)()
		ctx, cancel := context.WithTimeout(b.Context(), time.Second/2)
		defer cancel()
		started := time.Now()
		_, err := p.Effects(ctx, 50) // more than the reserve that is left: it comes in a second or two
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(started) != time.Second/2 {
			b.Errorf("%v, after %s", err, time.Since(started))
		}
	})
}
