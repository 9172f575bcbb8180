package servers

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// masterName is what the Sentinels call the master.
const masterName = "closeout"

// Sentinels are a Redis with a replica, and three Sentinels that watch over both.
type Sentinels struct {
	Master, Replica *Redis // as they were at the start
	Addrs           []string
	URL             string // redis-sentinel://…
}

// StartSentinels starts them; they end with the test. A master that is silent for two seconds is replaced.
func StartSentinels(tb testing.TB) *Sentinels {
	tb.Helper()
	program := redisServer(tb)
	s := &Sentinels{Master: StartRedis(tb, "--repl-diskless-sync-delay", "0")}
	_, port, _ := net.SplitHostPort(s.Master.Addr)
	s.Replica = StartRedis(tb, "--replicaof", "127.0.0.1 "+port)
	eventually(tb, "a replica that follows", func(ctx context.Context) error {
		return says(ctx, s.Replica.Addr, "INFO replication", "master_link_status:up")
	})
	for range 3 {
		dir := folder(tb, nil)
		file := filepath.Join(dir, "sentinel.conf") // a Sentinel writes to it what it learns
		p, own := begin(tb, func(own int) *process {
			text := fmt.Sprintf("port %d\nbind 127.0.0.1\ndir %s\nsentinel monitor %[3]s 127.0.0.1 %[4]s 2\nsentinel down-after-milliseconds %[3]s 2000\nsentinel failover-timeout %[3]s 10000\n",
				own, dir, masterName, port)
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				tb.Fatal(err)
			}
			return &process{
				tb: tb, name: "sentinel", quit: syscall.SIGTERM,
				make: func() *exec.Cmd {
					cmd := exec.Command(program, file, "--sentinel") //nolint:noctx // it ends with the test's cleanup, in good order
					endWithParent(cmd)
					return cmd
				},
				ready: func(ctx context.Context) error { return pong(ctx, loopback(own)) },
			}
		})
		_ = p // it is never asked to stop; the cleanup kills it
		s.Addrs = append(s.Addrs, loopback(own))
	}
	for _, addr := range s.Addrs {
		eventually(tb, "Sentinels that know each other and the replica", func(ctx context.Context) error {
			return says(ctx, addr, "SENTINEL MASTER "+masterName, "\nnum-slaves\n1\n", "\nnum-other-sentinels\n2\n")
		})
	}
	s.URL = "redis-sentinel://" + strings.Join(s.Addrs, ",") + "/0?master=" + masterName
	return s
}

// says is an error unless an answer has all of that in it.
func says(ctx context.Context, addr, command string, what ...string) error {
	said, err := ask(ctx, addr, command)
	if err != nil {
		return err
	}
	for _, w := range what {
		if !strings.Contains(said, w) {
			return errors.New(said)
		}
	}
	return nil
}

// FailOver kills the master, does something while there is none, and returns once a Sentinel says that the replica has taken its
// place, and how long that took.
func (s *Sentinels) FailOver(tb testing.TB, meanwhile func()) time.Duration {
	tb.Helper()
	conn, err := new(net.Dialer).DialContext(tb.Context(), "tcp", s.Addrs[0])
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		tb.Fatal(err)
	}
	if _, err := fmt.Fprint(conn, "SUBSCRIBE +switch-master\r\n"); err != nil {
		tb.Fatal(err)
	}
	heard := bufio.NewReader(conn)
	if _, err := answer(heard); err != nil {
		tb.Fatal(err)
	}
	began := time.Now()
	s.Master.Kill()
	meanwhile()
	told, err := answer(heard)
	_, port, _ := net.SplitHostPort(s.Replica.Addr)
	if err != nil || !strings.HasSuffix(told, " 127.0.0.1 "+port) {
		tb.Fatalf("the replica was not promoted: %q, %v", told, err)
	}
	return time.Since(began)
}
