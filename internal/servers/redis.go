package servers

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Redis is a redis-server of a test's own, with an append-only file and without eviction, as production wants it.
type Redis struct {
	*process
	Addr string // host:port
	URL  string // redis://…

	password string
}

// StartRedis starts a redis-server, which ends with the test. Further settings are given as redis-server takes them,
// "--maxmemory-policy", "allkeys-lru", and win.
func StartRedis(tb testing.TB, settings ...string) *Redis {
	tb.Helper()
	return startRedis(tb, func(int) []string { return settings })
}

// startRedis is StartRedis with settings that may depend on the port; all are asked for anew if another is tried.
func startRedis(tb testing.TB, settings func(port int) []string) *Redis {
	tb.Helper()
	program := redisServer(tb)
	dir, password := folder(tb, nil), ""
	p, port := begin(tb, func(port int) *process {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		args := append([]string{
			"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", dir, "--daemonize", "no", "--save", "",
			"--appendonly", "yes", "--maxmemory-policy", "noeviction",
		}, settings(port)...)
		if i := slices.Index(args, "--requirepass"); i >= 0 {
			password = args[i+1]
		}
		return &process{
			tb: tb, name: "redis-server", quit: syscall.SIGTERM,
			make: func() *exec.Cmd {
				cmd := exec.Command(program, args...) //nolint:noctx // it ends with the test's cleanup, in good order
				endWithParent(cmd)
				return cmd
			},
			ready: func(ctx context.Context) error { return pong(ctx, addr, password) },
		}
	})
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	return &Redis{process: p, Addr: addr, URL: "redis://" + addr + "/0", password: password}
}

func redisServer(tb testing.TB) string {
	tb.Helper()
	needed(tb)
	program, err := exec.LookPath("redis-server")
	if err != nil {
		missing(tb, "redis-server")
	}
	return program
}

// pong says whether a server is up and has loaded its data.
func pong(ctx context.Context, addr, password string) error {
	said, err := askWith(ctx, addr, password, "PING")
	if err == nil && said != "PONG" {
		err = errors.New(said)
	}
	return err
}

// ask says one thing to a Redis by hand, so that this package rests on no client, and returns its answer, a list's parts one
// on each line.
func ask(ctx context.Context, addr, command string) (string, error) {
	return askWith(ctx, addr, "", command)
}

// askWith is ask of a Redis that wants a password.
func askWith(ctx context.Context, addr, password, command string) (string, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return "", err
	}
	return say(conn, bufio.NewReader(conn), password, command)
}

// say says one thing on a connection, after the password if there is one.
func say(conn io.Writer, heard *bufio.Reader, password, command string) (said string, err error) {
	commands := []string{command}
	if password != "" {
		commands = []string{"AUTH " + password, command}
	}
	for _, c := range commands {
		if _, err = fmt.Fprint(conn, c+"\r\n"); err == nil {
			said, err = answer(heard)
		}
		if err != nil {
			return "", err
		}
	}
	return said, nil
}

// answer reads one answer of RESP 2.
func answer(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	kind, rest := line[0], strings.TrimSpace(line[1:])
	n, _ := strconv.Atoi(rest)
	switch kind {
	case '-':
		return "", errors.New(rest)
	case '$':
		text := make([]byte, max(n, 0)+len("\r\n"))
		if n < 0 { // there is none
			text = nil
		}
		_, err := io.ReadFull(r, text)
		return strings.TrimSuffix(string(text), "\r\n"), err
	case '*':
		var all []string
		for range n {
			part, err := answer(r)
			if err != nil {
				return "", err
			}
			all = append(all, part)
		}
		return strings.Join(all, "\n"), nil
	}
	return rest, nil
}
