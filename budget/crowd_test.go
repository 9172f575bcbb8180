package budget_test

import (
	"context"
	"hash/fnv"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/shopspring/decimal"

	"closeout/alpaca"
	"closeout/alpaca/sim"
	"closeout/budget"
	"closeout/closure"
	"closeout/handlers"
	"closeout/internal/lab"
)

// far is a network: each request takes 20 to 220 ms to arrive, by chance, and what arrives is written down.
type far struct {
	next  http.RoundTripper
	calls *book
}

func (f far) RoundTrip(r *http.Request) (*http.Response, error) {
	h := fnv.New32a()
	_, _ = h.Write([]byte(r.URL.Path + strconv.FormatInt(time.Now().UnixNano(), 10)))
	time.Sleep(time.Duration(20+h.Sum32()%200) * time.Millisecond)
	f.calls.note()
	return f.next.RoundTrip(r)
}

// meter measures how long instructions wait for the budget.
type meter struct {
	*budget.Budget
	mu     *sync.Mutex
	waits  *[]time.Duration
	turned *int
}

func (m meter) Effects(ctx context.Context, calls int) (context.Context, error) {
	started := time.Now()
	next, err := m.Budget.Effects(ctx, calls)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		*m.turned++
		return next, err
	}
	*m.waits = append(*m.waits, time.Since(started))
	return next, nil
}

// The broker's limit against very many closures that are due at once: never more calls in a minute than the budget, each
// closure looked at within six times the time in which they fell due, and instructions that hardly wait. One in a hundred
// has money to pay out, and its look is as far back in the queue as any other's.
//
// CROWD=100000 is an hour's worth, as in production: a settlement looks once an hour. The usual run is a twentieth of it.
func TestACrowdAgainstTheLimit(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	t.Parallel()
	n, err := strconv.Atoi(os.Getenv("CROWD"))
	if err != nil {
		n = 5000
	}
	const perMinute = 1000
	due := time.Hour * time.Duration(n) / 100_000 // in which all fall due
	virtual(t, func(b *bench) {
		time.Sleep(time.Until(time.Date(2026, time.November, 18, 15, 0, 0, 0, time.UTC))) // ten in the morning in New York
		c := lab.NewCrowd(b, sim.Options{CallsPerMinute: perMinute})
		defer func() { _ = c.Sim.Close() }()
		c.Policy.Polls[closure.Settlement] = due
		var calls book
		var mu sync.Mutex
		var waits []time.Duration
		turned := 0
		c.Wire = func(rt http.RoundTripper) http.RoundTripper { return far{rt, &calls} }
		c.Gate = func(int) (alpaca.Gate, handlers.Budget) {
			p := b.process(perMinute)
			return p, meter{p, &mu, &waits, &turned}
		}

		specs := make([]sim.Spec, n)
		for i := range specs {
			specs[i] = sim.Spec{Cash: decimal.NewFromInt(900), Unsettled: decimal.NewFromInt(500), ACH: "none"}
			if i%100 == 0 {
				specs[i].Unsettled, specs[i].ACH = decimal.Zero, "approved"
			}
		}
		accounts, err := c.Sim.AddAccounts(specs)
		if err != nil {
			b.Fatal(err)
		}
		chance := rand.New(rand.NewPCG(1, 2))
		start := time.Now().Add(time.Hour).Truncate(time.Minute)
		for _, a := range accounts {
			c.Add(a, closure.Settlement, start.Add(time.Duration(chance.Int64N(int64(due)))))
		}
		time.Sleep(time.Until(start))
		before := c.Sim.Calls()
		wasDue := map[string]time.Time{}
		for _, r := range c.Rows() {
			wasDue[r.ID] = r.DueAt
		}

		var longest time.Duration
		paying := map[string]time.Time{} // since when a payout is due
		var payouts []time.Duration
		c.Saved = func(was, is closure.Closure) {
			if at, waiting := wasDue[is.ID]; waiting && is.Reason != closure.BrokerBusy {
				longest = max(longest, time.Since(at))
				delete(wasDue, is.ID)
			}
			switch {
			case was.Phase == closure.Settlement && is.Phase == closure.Withdrawal:
				paying[is.ID] = time.Now()
			case !paying[is.ID].IsZero() && is.Reason == closure.TransferPending:
				payouts = append(payouts, time.Since(paying[is.ID]))
				delete(paying, is.ID)
			}
		}
		real := time.Now()
		c.Run(2, 20, 6*due+due/2)

		after := c.Sim.Calls()
		slices.Sort(waits)
		slices.Sort(payouts)
		p99 := func(d []time.Duration) time.Duration { return d[len(d)*99/100].Round(time.Millisecond) }
		b.Logf("%d closures due within %s, %d calls a minute: %d calls, %d visits, %s of virtual time", n, due, perMinute, after.Total-before.Total, c.Visits(), time.Since(real).Round(time.Minute))
		b.Logf("most calls in any 60 s: %d; answered with 429: %d", calls.busiest(), after.Throttled-before.Throttled)
		if len(wasDue) > 0 {
			b.Errorf("%d were never looked at", len(wasDue))
		}
		b.Logf("longest wait for a look: %s, of %s allowed", longest.Round(time.Second), 6*due)
		if longest > 6*due {
			b.Error("too long")
		}
		if len(payouts) < n/100*95/100 || len(waits) < len(payouts) {
			b.Fatalf("%d payouts, %d instructions", len(payouts), len(waits))
		}
		b.Logf("%d instructions waited for the budget: p99 %s, at most %s; %d times turned away", len(waits), p99(waits), waits[len(waits)-1].Round(time.Millisecond), turned)
		b.Logf("%d payouts, from the settlement's look to the broker's word: p99 %s, at most %s", len(payouts), p99(payouts), payouts[len(payouts)-1].Round(time.Millisecond))
		if p99(waits) > time.Minute || p99(payouts) > time.Minute {
			b.Error("money waits too long")
		}
		if most := calls.busiest(); most > perMinute || after.Throttled != before.Throttled {
			b.Error("over the budget")
		}
		for _, r := range c.Rows() {
			if r.State != closure.Running || r.Failures > 0 || r.FailuresInPhase > 0 {
				b.Fatalf("%s is %s, %d failures: %s", r.ID, r.State, r.FailuresInPhase, r.Why)
			}
		}
		if most := n + 10*len(waits); c.Events() > most {
			b.Errorf("%d events: waiting for a turn is no news", c.Events())
		}
	})
}

// Eleven hours without the broker, or without its accepting our credentials: hardly a call is made, nothing fails, one event
// tells of it for each closure, and what has piled up is looked at within the hour that the budget needs for it.
func TestACrowdOutlivesElevenHours(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	t.Parallel()
	for name, rule := range map[string]sim.Rule{
		"ServerErrors": {Fault: sim.FaultError, Status: 503}, "NoAnswer": {Fault: sim.FaultDrop}, "CredentialsRefused": {Fault: sim.FaultError, Status: 401},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			virtual(t, func(b *bench) {
				const n, perMinute, outage = 1000, 200, 11 * time.Hour
				time.Sleep(time.Until(time.Date(2026, time.November, 18, 15, 0, 0, 0, time.UTC)))
				c := lab.NewCrowd(b, sim.Options{CallsPerMinute: perMinute})
				defer func() { _ = c.Sim.Close() }()
				var calls book
				c.Wire = func(rt http.RoundTripper) http.RoundTripper { return far{rt, &calls} }
				processes := []*budget.Budget{b.process(perMinute), b.process(perMinute)}
				c.Gate = func(i int) (alpaca.Gate, handlers.Budget) { return processes[i], processes[i] }
				specs := make([]sim.Spec, n)
				for i := range specs {
					specs[i] = sim.Spec{Cash: decimal.NewFromInt(900), Unsettled: decimal.NewFromInt(500), ACH: "none"}
				}
				accounts, err := c.Sim.AddAccounts(specs)
				if err != nil {
					b.Fatal(err)
				}
				start := time.Now().Add(time.Minute)
				for i, a := range accounts {
					c.Add(a, closure.Settlement, start.Add(time.Hour*time.Duration(i)/n))
				}
				c.Run(2, 20, time.Hour+time.Minute)
				if err := c.Sim.Chaos(sim.Chaos{Rules: []sim.Rule{rule}}); err != nil {
					b.Fatal(err)
				}
				seen, events, visits := c.Sim.Calls().Total, c.Events(), c.Visits()
				c.Run(2, 20, outage)
				asked := c.Sim.Calls().Total - seen
				for i, p := range processes {
					if p.Err() == nil {
						b.Errorf("process %d does not say what is the matter", i)
					}
				}
				told := c.Events() - events
				visits = c.Visits() - visits
				if err := c.Sim.Chaos(sim.Chaos{}); err != nil {
					b.Fatal(err)
				}
				back := time.Now()
				c.Run(2, 20, time.Hour)
				b.Logf("%s: %d calls and %d visits in %s, %d events; at most %d calls in any 60 s", name, asked, visits, outage, told, calls.busiest())
				if most := int(outage/time.Minute)*2*len(processes) + 100; asked > most {
					b.Errorf("%d calls while nothing was to be had, want at most %d", asked, most)
				}
				if told > n+n/10 {
					b.Errorf("%d events of %d closures", told, n)
				}
				if most := calls.busiest(); most > perMinute || c.Sim.Calls().Throttled > 0 {
					b.Errorf("over the budget: %d", most)
				}
				for _, r := range c.Rows() {
					switch {
					case r.State != closure.Running || r.Failures > 0 || r.FailuresInPhase > 0:
						b.Fatalf("%s is %s, %d failures: %s", r.ID, r.State, r.FailuresInPhase, r.Why)
					case r.LastLook.Before(back):
						b.Fatalf("%s was not looked at: %s, due %s after the end", r.ID, r.Why, r.DueAt.Sub(back))
					}
				}
			})
		})
	}
}
