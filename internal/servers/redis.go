package servers

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// Redis is a redis-server of a test's own, with an append-only file and without eviction, as production wants it.
type Redis struct {
	*process
	Addr string // host:port
	URL  string // redis://…
}

// StartRedis starts a redis-server, which ends with the test. Further settings are given as redis-server takes them,
// "--maxmemory-policy", "allkeys-lru", and win.
func StartRedis(tb testing.TB, settings ...string) *Redis {
	tb.Helper()
	needed(tb)
	program, err := exec.LookPath("redis-server")
	if err != nil {
		missing(tb, "redis-server")
	}
	dir := folder(tb, nil)
	p, port := begin(tb, func(port int) *process {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		args := append([]string{
			"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", dir, "--daemonize", "no", "--save", "",
			"--appendonly", "yes", "--maxmemory-policy", "noeviction",
		}, settings...)
		return &process{
			tb: tb, name: "redis-server", quit: syscall.SIGTERM,
			make: func() *exec.Cmd {
				cmd := exec.Command(program, args...) //nolint:noctx // it ends with the test's cleanup, in good order
				endWithParent(cmd)
				return cmd
			},
			ready: func(ctx context.Context) error { return pong(ctx, addr) },
		}
	})
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	return &Redis{process: p, Addr: addr, URL: "redis://" + addr + "/0"}
}

// pong asks for a PING by hand, so that this package rests on no client: one that answers is up and has loaded its data.
func pong(ctx context.Context, addr string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := fmt.Fprint(conn, "PING\r\n"); err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	if line != "+PONG\r\n" {
		return errors.New(line)
	}
	return nil
}
