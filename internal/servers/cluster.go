package servers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
)

// slots are how many there are in any Redis Cluster.
const slots = 16384

// RedisCluster is a Redis Cluster of three masters of a test's own.
type RedisCluster struct {
	Masters []*Redis // each answers in clear, whatever the URL says
	URL     string   // redis-cluster://…, or rediss-cluster://…
}

// StartRedisCluster starts three masters without replicas, which end with the test.
func StartRedisCluster(tb testing.TB) *RedisCluster {
	tb.Helper()
	return startCluster(tb, "redis-cluster", func(port int) (addr string, settings []string) { return loopback(port), nil })
}

// StartRedisClusterTLS starts one whose masters speak TLS among themselves and with clients, by this certificate and key, files in
// PEM; the certificate is its own authority, and a client must show one that it has signed.
func StartRedisClusterTLS(tb testing.TB, cert, key string) *RedisCluster {
	tb.Helper()
	return startCluster(tb, "rediss-cluster", func(int) (addr string, settings []string) {
		port, err := freePort()
		if err != nil {
			tb.Fatal(err)
		}
		return loopback(port), []string{
			"--tls-port", strconv.Itoa(port), "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert, "--tls-cluster", "yes",
		}
	})
}

func startCluster(tb testing.TB, scheme string, at func(port int) (addr string, settings []string)) *RedisCluster {
	tb.Helper()
	c := &RedisCluster{}
	var addrs, meets []string
	for n := range 3 {
		var addr string
		var bus int
		r := startRedis(tb, func(port int) (settings []string) {
			var err error
			if bus, err = freePort(); err != nil {
				tb.Fatal(err)
			}
			addr, settings = at(port)
			return append(settings, "--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(bus))
		})
		c.Masters, addrs = append(c.Masters, r), append(addrs, addr)
		_, port, _ := net.SplitHostPort(addr) // the one that the masters announce and meet by
		meets = append(meets, fmt.Sprintf("CLUSTER MEET 127.0.0.1 %s %d", port, bus))
		for _, command := range []string{
			fmt.Sprintf("CLUSTER SET-CONFIG-EPOCH %d", n+1), // or they first have to settle who is who
			fmt.Sprintf("CLUSTER ADDSLOTSRANGE %d %d", slots*n/3, slots*(n+1)/3-1),
		} {
			if said, err := ask(tb.Context(), r.Addr, command); err != nil || said != "OK" {
				tb.Fatalf("%s: %s, %v", command, said, err)
			}
		}
	}
	for _, meet := range meets[1:] {
		if said, err := ask(tb.Context(), c.Masters[0].Addr, meet); err != nil || said != "OK" {
			tb.Fatalf("%s: %s, %v", meet, said, err)
		}
	}
	c.URL = scheme + "://" + strings.Join(addrs, ",")
	c.Whole(tb)
	return c
}

// Whole waits until every master knows all three, and that each slot is served.
func (c *RedisCluster) Whole(tb testing.TB) {
	tb.Helper()
	eventually(tb, "a whole cluster", func(ctx context.Context) error {
		for _, m := range c.Masters {
			info, err := ask(ctx, m.Addr, "CLUSTER INFO")
			if err != nil {
				return err
			}
			if !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, "cluster_size:3\r\n") || !strings.Contains(info, fmt.Sprintf("cluster_slots_ok:%d\r\n", slots)) {
				return errors.New(info)
			}
		}
		return nil
	})
}

// Holder is the master that has a queue of Asynq's.
func (c *RedisCluster) Holder(tb testing.TB, queue string) *Redis {
	tb.Helper()
	for _, m := range c.Masters {
		if _, err := ask(tb.Context(), m.Addr, "EXISTS asynq:{"+queue+"}:pending"); err == nil { // the others answer MOVED
			return m
		}
	}
	tb.Fatalf("no master has the queue %s", queue)
	return nil
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
