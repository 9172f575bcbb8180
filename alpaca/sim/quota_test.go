package sim_test

import (
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"closeout/alpaca"
	"closeout/alpaca/sim"
)

// The limit is the correspondent's: calls about any account count, and the next minute begins afresh.
func TestCallsBeyondTheLimitAreThrottledUntilTheNextMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t, "2026-11-20 10:00", sim.Options{CallsPerMinute: 3})
		defer func() { _ = b.sim.Close() }()
		one, two := b.add(sim.Spec{Cash: dec("100")}), b.add(sim.Spec{Cash: dec("100")})
		time.Sleep(time.Until(time.Now().Truncate(time.Minute).Add(70 * time.Second)))
		for _, id := range []string{one, two, one} {
			if _, err := b.client.Account(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
		_, err := b.client.Account(t.Context(), two)
		e, ok := errors.AsType[*alpaca.Error](err)
		if !ok || e.Status != http.StatusTooManyRequests || e.Code != 42910000 || !alpaca.Unavailable(err) {
			t.Fatalf("the fourth call of a minute: %v", err)
		}
		if wait := time.Until(e.RateLimitReset); wait <= 0 || wait > time.Minute {
			t.Errorf("the quota is renewed in %s", wait)
		}
		time.Sleep(time.Until(e.RateLimitReset))
		if _, err := b.client.Account(t.Context(), two); err != nil {
			t.Errorf("in the next minute: %v", err)
		}
		if got, want := b.sim.Calls(), (sim.Calls{Total: 5, Throttled: 1, Busiest: 4}); got != want {
			t.Errorf("counted %+v, want %+v", got, want)
		}
	})
}
