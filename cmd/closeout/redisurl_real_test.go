package main

import (
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"closeout/internal/servers"
)

// TestRealSentinelsOverTLS: a URL leads by Sentinels that speak TLS and want a password to a Redis that does too, and after a failover to
// the one that was promoted. Without the authority, the client's certificate or either password it leads nowhere.
func TestRealSentinelsOverTLS(t *testing.T) {
	t.Parallel()
	cert, key := certified(t)
	s := servers.StartSentinelsTLS(t, cert, key, "of-redis", "of-sentinels")
	whole := s.URL + "&ca_file=" + cert + "&cert_file=" + cert + "&key_file=" + key
	open := func(url string) redis.UniversalClient {
		t.Helper()
		var bad complaints
		o := redisAt("CLOSEOUT_REDIS_URL", url, encryption{}, &bad)
		if err := bad.err(); err != nil {
			t.Fatalf("%s: %v", url, err)
		}
		rdb := redis.NewUniversalClient(o)
		t.Cleanup(func() { _ = rdb.Close() })
		return rdb
	}
	for what, url := range map[string]string{
		"no authority":                  strings.Replace(whole, "&ca_file="+cert, "", 1),
		"no certificate of a client":    s.URL + "&ca_file=" + cert,
		"no password for Redis":         strings.Replace(whole, ":of-redis@", "", 1),
		"another password for Redis":    strings.Replace(whole, ":of-redis@", ":of-sentinels@", 1),
		"no password for the Sentinels": strings.Replace(whole, "&sentinel_password=of-sentinels", "", 1),
		"in clear":                      strings.Replace(s.URL, "rediss-", "redis-", 1),
	} {
		if url == whole {
			t.Fatalf("%s: nothing is left out", what)
		}
		if err := open(url).Ping(t.Context()).Err(); err == nil {
			t.Errorf("%s: it is let in", what)
		} else {
			t.Logf("%s: %.120s", what, err)
		}
	}

	rdb := open(whole)
	if err := rdb.Set(t.Context(), "before", "1", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if n, err := rdb.Do(t.Context(), "wait", 1, 2000).Int(); err != nil || n != 1 {
		t.Fatalf("%d replicas have it, %v", n, err)
	}
	onlyEncrypted(t, s.Master, "of-redis")
	took := s.FailOver(t, func() {})
	again, tick := time.Now(), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for ; rdb.Set(t.Context(), "after", "1", 0).Err() != nil; <-tick.C {
		if time.Since(again) > time.Minute {
			t.Fatal("it does not come to the promoted one")
		}
	}
	if found, err := rdb.Exists(t.Context(), "before", "after").Result(); err != nil || found != 2 {
		t.Errorf("the promoted one has %d of two keys, %v", found, err)
	}
	onlyEncrypted(t, s.Replica, "of-redis")
	t.Logf("promoted after %s, reached again %s later", took.Round(10*time.Millisecond), time.Since(again).Round(10*time.Millisecond))
}

// onlyEncrypted sees that on a Redis's plain port nobody is but who asks here.
func onlyEncrypted(t *testing.T, r *servers.Redis, password string) {
	t.Helper()
	eyes := redis.NewClient(&redis.Options{Addr: r.Addr, Password: password})
	defer func() { _ = eyes.Close() }()
	clients, err := eyes.ClientList(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	over := 0
	for c := range strings.Lines(clients) {
		switch {
		case !strings.Contains(c, " laddr="+r.Addr+" "):
			over++
		case !strings.Contains(c, "cmd=client|list"):
			t.Errorf("a connection in clear: %s", c)
		}
	}
	if over == 0 {
		t.Errorf("nobody is connected: %s", clients)
	}
}
