package budget_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"closeout/alpaca"
	"closeout/budget"
)

const account = "/v1/trading/accounts/…%06d/account"

// passes says which classes may ask at once.
func (b *bench) passes(p *budget.Budget) (out []budget.Class) {
	b.Helper()
	for class, ask := range []func() (context.Context, error){
		func() (context.Context, error) { return p.Visit(b.Context(), "a", 1, true) },
		func() (context.Context, error) { return p.Ask(b.Context(), "a", 1) },
		func() (context.Context, error) { return p.Effects(b.Context(), 1) },
	} {
		if _, err := ask(); err == nil {
			out = append(out, budget.Class(class))
		}
	}
	return out
}

// What the broker says of its quota is obeyed by every process, the ones included that did not hear it: others of the
// correspondent's may have used it up.
func TestTheBrokersQuotaIsObeyedByAll(t *testing.T) {
	t.Parallel()
	const look, asked, money = budget.Look, budget.Asked, budget.Money
	for name, tc := range map[string]struct {
		status, left int
		want         []budget.Class
	}{
		"Plenty":        {200, 500, []budget.Class{look, asked, money}},
		"Little":        {200, 39, []budget.Class{asked, money}},
		"VeryLittle":    {200, 19, []budget.Class{money}},
		"Nothing":       {200, 0, nil},
		"Throttled":     {429, 0, nil},
		"ThrottledOdd":  {429, 7, nil}, // whatever it says of what is left
		"RefusedLittle": {422, 39, []budget.Class{asked, money}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			virtual(t, func(b *bench) {
				one, two := b.process(1000), b.process(1000)
				reset := time.Now().Add(20 * time.Second)
				if err := b.make(b.Context(), one, false, "/v1/clock", quota(tc.status, 1000, tc.left, reset)); err != nil {
					b.Fatal(err)
				}
				synctest.Wait() // it is told to the others beside the call
				for who, p := range []*budget.Budget{one, two} {
					if got := b.passes(p); !slices.Equal(got, tc.want) {
						b.Errorf("process %d: may ask %v, want %v", who+1, got, tc.want)
					}
				}
				if _, err := one.Visit(b.Context(), "a", 1, true); len(tc.want) < 3 {
					if h := b.held(err, alpaca.HoldBusy); h.For < 18*time.Second || h.For > 25*time.Second {
						b.Errorf("held for %s of 20 s", h.For)
					}
				}
				time.Sleep(time.Until(reset.Add(2 * time.Second)))
				for who, p := range []*budget.Budget{one, two} {
					if got := b.passes(p); len(got) != 3 {
						b.Errorf("process %d, after the quota was renewed: may ask %v", who+1, got)
					}
				}
			})
		})
	}
}

// A 429 that names no time is obeyed for a while; a late answer of an earlier minute brings nothing back; and a clock of the
// broker's that is wrong by hours changes nothing about how long.
func TestOddWordsAboutTheQuota(t *testing.T) {
	t.Parallel()
	virtual(t, func(b *bench) {
		p := b.process(1000)
		say := func(h alpaca.Heard) {
			b.Helper()
			heard, err := p.Pass(b.Context(), false, "/v1/clock")
			if err != nil {
				b.Fatal(err)
			}
			heard(h)
		}
		say(alpaca.Heard{Status: 429})
		if got := b.passes(p); len(got) != 0 {
			b.Errorf("after a 429 without a word: may ask %v", got)
		}
		time.Sleep(31 * time.Second)

		late, err := p.Pass(b.Context(), false, "/v1/clock")
		if err != nil {
			b.Fatal(err)
		}
		before := quota(200, 1000, 900, time.Now().Add(5*time.Second))
		say(quota(200, 1000, 1, time.Now().Add(30*time.Second)))
		late(before)
		if got := b.passes(p); !slices.Equal(got, []budget.Class{budget.Money}) {
			b.Errorf("after a late answer: may ask %v", got)
		}
		time.Sleep(31 * time.Second)

		h := quota(429, 1000, 0, time.Now().Add(7*time.Hour+20*time.Second))
		h.Header.Set("Date", time.Now().Add(7*time.Hour).UTC().Format(http.TimeFormat))
		say(h)
		time.Sleep(22 * time.Second)
		if got := b.passes(p); len(got) != 3 {
			b.Errorf("the broker's clock is seven hours ahead, and its quota renewed: may ask %v", got)
		}
		if b.log.count("the broker's limit of calls") != 1 {
			b.Errorf("the limit is named %d times", b.log.count("the broker's limit of calls"))
		}
	})
}

// Without Redis each process keeps to a share that ten of them may take together, asks nobody for long, and is part of the
// whole again when Redis is back.
func TestWithoutRedisEachKeepsToItsShare(t *testing.T) {
	t.Parallel()
	virtual(t, func(b *bench) {
		const perMinute, minutes = 1000, 5
		var processes []*budget.Budget
		for range 10 {
			processes = append(processes, b.process(perMinute))
		}
		b.cut()
		var calls book
		for end := time.Now().Add(minutes * time.Minute); time.Now().Before(end); time.Sleep(time.Second / 2) {
			for _, p := range processes {
				started := time.Now()
				ctx, cancel := context.WithTimeout(b.Context(), time.Second/10)
				if err := b.make(ctx, p, false, "/v1/clock", fine); err == nil {
					calls.note()
				}
				cancel()
				if waited := time.Since(started); waited > time.Second/5 {
					b.Fatalf("a call waited %s", waited)
				}
			}
		}
		most := calls.busiest()
		b.Logf("ten processes without Redis, of %d a minute: at most %d in any 60 s, %d in %d minutes", perMinute, most, len(calls.calls), minutes)
		if most > perMinute || len(calls.calls) < perMinute*minutes/3 {
			b.Error("the shares are not what they should be")
		}
		if b.log.count("keeps to its share") != len(processes) {
			b.Errorf("said %d times", b.log.count("keeps to its share"))
		}
		if !processes[0].State().Alone {
			b.Error("the state does not say so")
		}
	})
}

func TestRedisComesBack(t *testing.T) {
	t.Parallel()
	virtual(t, func(b *bench) {
		b.away.Store(true)
		p := b.process(1000)
		if _, err := p.Ask(b.Context(), "a", 8); err != nil {
			b.Fatalf("without Redis a person's question is answered all the same: %v", err)
		}
		b.away.Store(false)
		time.Sleep(6 * time.Second)
		if _, err := p.Ask(b.Context(), "a", 8); err != nil || p.State().Alone || b.log.count("is shared again") != 1 {
			b.Errorf("%v, alone %v", err, p.State().Alone)
		}
	})
}

// The breaker opens over several accounts without an answer, lets one call try now and then, and closes with the first
// answer.
func TestTheBreaker(t *testing.T) {
	t.Parallel()
	for name, silence := range map[string]alpaca.Heard{"NoAnswer": {}, "ServerError": {Status: 503}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			virtual(t, func(b *bench) {
				p := b.process(1000)
				for range 20 { // one account that the broker can't show is no outage
					if err := b.make(b.Context(), p, false, fmt.Sprintf(account, 1), silence); err != nil {
						b.Fatal(err)
					}
				}
				for n := range 2 {
					_ = b.make(b.Context(), p, false, fmt.Sprintf(account, 2+n), silence)
				}
				b.held(b.make(b.Context(), p, false, "/v1/clock", fine), alpaca.HoldOutage)
				if _, err := p.Effects(b.Context(), 1); b.held(err, alpaca.HoldOutage).Age <= 0 && err == nil {
					b.Error("an instruction was let through")
				}
				made := p.State().Calls[budget.Asked]
				for range 11 * 60 { // eleven hours, a look each minute from three closures
					for n := range 3 {
						if _, err := p.Visit(b.Context(), fmt.Sprint(n), 3, false); err == nil {
							_ = b.make(b.Context(), p, false, fmt.Sprintf(account, n), silence)
						}
					}
					time.Sleep(time.Minute)
				}
				if probes := p.State().Calls[budget.Asked] - made; probes > 11*60 || probes < 600 {
					b.Errorf("%d calls in the outage", probes)
				}
				if s := p.State(); s.Why != alpaca.HoldOutage || time.Since(s.Since) < 11*time.Hour || p.Err() == nil {
					b.Errorf("the state is %+v, %v", s, p.Err())
				}
				if err := b.make(b.Context(), p, false, fmt.Sprintf(account, 1), fine); err != nil {
					b.Fatalf("the probe: %v", err)
				}
				for n := range 10 {
					if err := b.make(b.Context(), p, n%2 == 1, fmt.Sprintf(account, n), fine); err != nil {
						b.Errorf("after the outage: %v", err)
					}
				}
				if p.Err() != nil || b.log.count("does not answer: closures wait") != 1 || b.log.count("answers again") != 1 {
					b.Errorf("%v\n%s", p.Err(), b.log.text.String())
				}
			})
		})
	}
}

// A probe that is given up, or a write's connection that was closed unused, neither opens nor closes anything, and the next
// call may try.
func TestAProbeThatIsGivenUpIsNone(t *testing.T) {
	t.Parallel()
	virtual(t, func(b *bench) {
		p := b.process(1000)
		for n := range 6 {
			_ = b.make(b.Context(), p, false, fmt.Sprintf(account, n), alpaca.Heard{})
		}
		time.Sleep(31 * time.Second)
		heard, err := p.Pass(b.Context(), true, "CONNECT")
		if err != nil {
			b.Fatal(err)
		}
		b.held(b.make(b.Context(), p, false, "/v1/clock", fine), alpaca.HoldOutage) // one at a time
		heard(alpaca.Heard{GivenUp: true})
		heard(alpaca.Heard{}) // only the first word counts
		if err := b.make(b.Context(), p, false, "/v1/clock", fine); err != nil {
			b.Errorf("after a probe that was given up: %v", err)
		}
		if err := b.make(b.Context(), p, false, "/v1/clock", fine); err != nil {
			b.Errorf("after an answer: %v", err)
		}
	})
}

// Refused credentials are one condition: one line at error, no instruction, one read a minute that tries them, and all is
// well again with the first that is accepted.
func TestRefusedCredentialsAreOneCondition(t *testing.T) {
	t.Parallel()
	for name, refuse := range map[string]func(b *bench, p *budget.Budget){
		"401": func(b *bench, p *budget.Budget) {
			_ = b.make(b.Context(), p, false, fmt.Sprintf(account, 1), alpaca.Heard{Status: 401})
		},
		"401ToAnInstruction": func(b *bench, p *budget.Budget) {
			_ = b.make(b.Context(), p, true, "CONNECT", alpaca.Heard{Status: 401})
		},
		"403ToTheClock": func(b *bench, p *budget.Budget) {
			_ = b.make(b.Context(), p, false, "/v1/clock", alpaca.Heard{Status: 403})
		},
		"403ForThreeAccounts": func(b *bench, p *budget.Budget) {
			for n := range 3 {
				_ = b.make(b.Context(), p, false, fmt.Sprintf(account, n), alpaca.Heard{Status: 403})
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			virtual(t, func(b *bench) {
				p := b.process(1000)
				refuse(b, p)
				h := b.held(b.make(b.Context(), p, false, "/v1/clock", fine), alpaca.HoldRefused)
				if h.For <= 0 || h.For > time.Minute {
					b.Errorf("held for %s", h.For)
				}
				made := p.State().Calls[budget.Asked]
				for range 60 * 60 { // an hour, a look each second
					_ = b.make(b.Context(), p, false, fmt.Sprintf(account, 1), alpaca.Heard{Status: 401})
					if _, err := p.Effects(b.Context(), 1); err == nil {
						b.held(b.make(b.Context(), p, true, "CONNECT", fine), alpaca.HoldRefused)
					}
					time.Sleep(time.Second)
				}
				if tried := p.State().Calls[budget.Asked] - made; tried < 55 || tried > 62 {
					b.Errorf("tried %d times in an hour", tried)
				}
				if s := p.State(); s.Why != alpaca.HoldRefused || time.Since(s.Since) < time.Hour || p.Err() == nil {
					b.Errorf("the state is %+v, %v", s, p.Err())
				}
				time.Sleep(time.Minute)
				if err := b.make(b.Context(), p, false, "/v1/clock", fine); err != nil {
					b.Fatalf("the try: %v", err)
				}
				if err := b.make(b.Context(), p, true, "CONNECT", fine); err != nil || p.Err() != nil {
					b.Errorf("after they were accepted: %v, %v", err, p.Err())
				}
				if b.log.count("level=error") != 1 || b.log.count("accepts this service's credentials again") != 1 {
					b.Errorf("the log:\n%s", b.log.text.String())
				}
			})
		})
	}
}

// A process that has nothing to ask learns all the same that the broker is back, or that it takes the credentials again.
func TestAQuietProcessLearnsThatItIsOver(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(b *bench, p *budget.Budget){
		"Outage": func(b *bench, p *budget.Budget) {
			for n := range 6 {
				_ = b.make(b.Context(), p, false, fmt.Sprintf(account, n), alpaca.Heard{})
			}
		},
		"Refused": func(b *bench, p *budget.Budget) {
			_ = b.make(b.Context(), p, false, "/v1/clock", alpaca.Heard{Status: 401})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			virtual(t, func(b *bench) {
				p := b.process(1000)
				var back atomic.Bool
				var asked atomic.Int64
				ctx, stop := context.WithCancel(b.Context())
				defer stop()
				go p.Probe(ctx, func(ctx context.Context) error {
					asked.Add(1)
					h := fine
					if !back.Load() {
						h = alpaca.Heard{Status: map[string]int{"Outage": 503, "Refused": 401}[name]}
					}
					return b.make(ctx, p, false, "/v1/clock", h)
				})
				time.Sleep(time.Hour - time.Minute)
				if n := asked.Load(); n > 0 {
					b.Errorf("asked %d times though all was well", n)
				}
				begin(b, p)
				time.Sleep(59 * time.Minute)
				if n := asked.Load(); p.Err() == nil || n < 50 || n > 130 {
					b.Errorf("%v; asked %d times in an hour", p.Err(), n)
				}
				back.Store(true)
				time.Sleep(3 * time.Minute)
				if p.Err() != nil {
					b.Errorf("it is over, and the process says: %v", p.Err())
				}
			})
		})
	}
}

// What is refused about one account, or of one instruction, is said of that alone.
func TestARefusalOfOneAccountIsNotTheCredentials(t *testing.T) {
	t.Parallel()
	virtual(t, func(b *bench) {
		p := b.process(1000)
		for range 10 {
			_ = b.make(b.Context(), p, false, fmt.Sprintf(account, 1), alpaca.Heard{Status: 403})
			_ = b.make(b.Context(), p, true, "CONNECT", alpaca.Heard{Status: 403})
		}
		for n := range 10 { // with what is accepted between, three accounts are not all
			_ = b.make(b.Context(), p, false, fmt.Sprintf(account, n), alpaca.Heard{Status: 403})
			_ = b.make(b.Context(), p, false, fmt.Sprintf(account, n), fine)
		}
		visit, err := p.Visit(b.Context(), "one of them", 1, true)
		if err != nil {
			b.Fatal(err)
		}
		for range 5 { // its activities have no id in their path
			_ = b.make(visit, p, false, "/v1/accounts/activities", alpaca.Heard{Status: 403})
		}
		if err := b.make(b.Context(), p, true, "CONNECT", fine); err != nil || p.Err() != nil {
			b.Errorf("%v, %v", err, p.Err())
		}
	})
}
