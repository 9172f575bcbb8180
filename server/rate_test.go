package server_test

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"closeout/alpaca/sim"
	"closeout/server"
)

func limited(rdb redis.UniversalClient, perSecond int) func(*server.Options) {
	return func(o *server.Options) { o.Limiter = server.NewLimiter(rdb, "test", perSecond, o.Log) }
}

// TestAKeyMayAskSoOften, at all servers together; another key has its own, and a POST counts as ten.
func TestAKeyMayAskSoOften(t *testing.T) {
	mini := miniredis.RunT(t)
	now := time.Now()
	mini.SetTime(now)
	rdb := redis.NewClient(&redis.Options{Addr: mini.Addr()})
	t.Cleanup(func() { _ = rdb.Close() })
	servers := []*bench{newBench(t, limited(rdb, 10)), newBench(t, limited(rdb, 10))}
	b := servers[0]
	for n := range 19 {
		servers[n%2].do("GET", "/api/nothing", "").problem(404, "route_not_found")
	}
	b.do("GET", "/api/nothing", "") // the twentieth: Redis counts in floating point
	for _, b := range servers {
		a := b.do("GET", "/api/nothing", "")
		if p := a.problem(429, "too_many_requests"); !strings.Contains(p.Detail, "shop") || a.header.Get("Retry-After") != "1" {
			t.Errorf("Retry-After %q, %+v", a.header.Get("Retry-After"), p)
		}
	}
	if a := b.do("GET", "/health", ""); a.status != 200 {
		t.Errorf("a probe is answered %d", a.status)
	}

	other := []string{"X-API-Key", "other-" + secret}
	id, bank := b.account(sim.Spec{})
	if a := b.do("POST", "/api/account-closure/initiate/"+id, wish(bank), other...); a.status != http.StatusAccepted {
		t.Errorf("another key: %d %s", a.status, a.text)
	}
	b.do("POST", "/api/nothing", "", other...)
	b.do("POST", "/api/nothing", "", other...).problem(429, "too_many_requests")
	mini.SetTime(now.Add(2 * time.Second))
	b.do("POST", "/api/nothing", "", other...).problem(404, "route_not_found")
}

// TestALostRedisRefusesNobody: each server counts for itself, and an initiate within the rate is accepted.
func TestALostRedisRefusesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dials := 0
		rdb := redis.NewClient(&redis.Options{Addr: "10.0.0.7:6379", MaxRetries: -1, DialerRetries: 1, Dialer: func(context.Context, string, string) (net.Conn, error) {
			dials++
			return nil, errDown
		}})
		b := newBench(t, limited(rdb, 10))
		id, bank := b.account(sim.Spec{})
		b.accepted(id, bank)
		for range 10 {
			b.do("GET", "/api/nothing", "").problem(404, "route_not_found")
		}
		b.do("GET", "/api/nothing", "").problem(429, "too_many_requests")
		if dials > 2 {
			t.Errorf("a Redis that is away was asked %d times", dials)
		}
		time.Sleep(time.Second)
		b.do("POST", "/api/nothing", "").problem(404, "route_not_found")
		if n := strings.Count(b.log.String(), "counts its clients' requests for itself"); n != 1 {
			t.Errorf("said %d times", n)
		}
		must(t, rdb.Close())
	})
}
