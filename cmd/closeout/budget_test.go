package main

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/shopspring/decimal"
	"github.com/sirupsen/logrus"

	"closeout/alpaca"
	"closeout/alpaca/sim"
	"closeout/budget"
	"closeout/calendar"
	"closeout/closure"
	"closeout/readiness"
)

// A check that finds no budget asks nothing at all, and is unreadable, which is 503 at the door; the first one had enough,
// without Redis, too.
func TestACheckIsPaidForAtOnceOrNotMade(t *testing.T) {
	t.Parallel()
	broker, err := sim.Open(sim.Options{Key: "key", Secret: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = broker.Close() }()
	ids, err := broker.AddAccounts([]sim.Spec{{Cash: decimal.NewFromInt(100)}})
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1, DialerRetries: 1})
	defer func() { _ = rdb.Close() }()
	log := logrus.New()
	log.SetOutput(io.Discard)
	purse := budget.New(budget.Options{Redis: rdb, Name: "sandbox", PerMinute: budget.Least, Probe: time.Second, Log: log})
	client, err := alpaca.New(alpaca.Options{BaseURL: "http://broker.test", Key: "key", Secret: "secret", Transport: broker.Transport(), Gate: purse})
	if err != nil {
		t.Fatal(err)
	}
	checks := budgeted{&readiness.Checker{
		Broker: client, Calendar: calendar.Rules, Policy: closure.DefaultPolicy(closure.Sandbox),
	}, purse}
	if r, err := checks.Check(t.Context(), ids[0], ""); err != nil || !r.Ready {
		t.Fatalf("the first check: %v, %+v", err, r)
	}
	asked := broker.Calls().Total
	if asked == 0 || asked > checkCalls {
		t.Errorf("a check makes %d calls; %d are taken for it", asked, checkCalls)
	}
	_, err = checks.Check(t.Context(), ids[0], "")
	held, ok := errors.AsType[*alpaca.HeldError](err)
	if _, unreadable := errors.AsType[*readiness.UnreadableError](err); !ok || !unreadable || held.Why != alpaca.HoldBusy {
		t.Errorf("the second check: %v", err)
	}
	if now := broker.Calls().Total; now != asked {
		t.Errorf("%d calls were made of a check that could not be paid for", now-asked)
	}
}
