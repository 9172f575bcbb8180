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
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// masterName is what the Sentinels call the master.
const masterName = "closeout"

// Sentinels are a Redis with a replica, and three Sentinels that watch over both.
type Sentinels struct {
	Master, Replica *Redis   // as they were at the start; each answers in clear, whatever the URL says
	Addrs           []string // of the Sentinels, the same
	URL             string   // redis-sentinel://…, or rediss-sentinel://…

	password string   // of the Sentinels
	promoted string   // port by which the Sentinels know the replica
	known    []string // addresses by which clients know the Sentinels
}

// StartSentinels starts them; they end with the test. A master that is silent for two seconds is replaced.
func StartSentinels(tb testing.TB) *Sentinels {
	tb.Helper()
	s := startSentinels(tb, nil, "", "")
	s.URL = "redis-sentinel://" + strings.Join(s.known, ",") + "/0?master=" + masterName
	return s
}

// StartSentinelsTLS starts ones that speak TLS among themselves, with both Redis and with clients, by this certificate and key, files in
// PEM; the certificate is its own authority, and a client must show one that it has signed. Redis and the Sentinels want a password each.
func StartSentinelsTLS(tb testing.TB, cert, key, password, sentinelPassword string) *Sentinels {
	tb.Helper()
	s := startSentinels(tb, func() (port string, settings []string) {
		n, err := freePort()
		if err != nil {
			tb.Fatal(err)
		}
		port = strconv.Itoa(n)
		return port, []string{"tls-port " + port, "tls-cert-file " + cert, "tls-key-file " + key, "tls-ca-cert-file " + cert, "tls-replication yes"}
	}, password, sentinelPassword)
	s.URL = "rediss-sentinel://:" + password + "@" + strings.Join(s.known, ",") + "/0?master=" + masterName + "&sentinel_password=" + sentinelPassword
	return s
}

// startSentinels starts them. secure, if there is one, is asked for each server's port and settings of TLS.
func startSentinels(tb testing.TB, secure func() (port string, settings []string), password, sentinelPassword string) *Sentinels {
	tb.Helper()
	program := redisServer(tb)
	redis := func(more ...string) (r *Redis, known string) {
		r = startRedis(tb, func(port int) []string {
			settings := slices.Clone(more)
			known = strconv.Itoa(port)
			if secure != nil {
				var own []string
				known, own = secure()
				for _, line := range own {
					name, value, _ := strings.Cut(line, " ")
					settings = append(settings, "--"+name, value)
				}
			}
			if password != "" {
				settings = append(settings, "--requirepass", password, "--masterauth", password)
			}
			return settings
		})
		return r, known
	}
	s := &Sentinels{password: sentinelPassword}
	var port string
	s.Master, port = redis("--repl-diskless-sync-delay", "0")
	s.Replica, s.promoted = redis("--replicaof", "127.0.0.1 "+port)
	eventually(tb, "a replica that follows", func(ctx context.Context) error {
		return says(ctx, s.Replica.Addr, password, "INFO replication", "master_link_status:up")
	})
	for range 3 {
		dir := folder(tb, nil)
		file := filepath.Join(dir, "sentinel.conf") // a Sentinel writes to it what it learns
		var known string
		p, own := begin(tb, func(own int) *process {
			lines := []string{
				fmt.Sprintf("port %d", own), "bind 127.0.0.1", "dir " + dir, fmt.Sprintf("sentinel monitor %s 127.0.0.1 %s 2", masterName, port),
				"sentinel down-after-milliseconds " + masterName + " 2000", "sentinel failover-timeout " + masterName + " 10000",
			}
			if password != "" {
				lines = append(lines, "sentinel auth-pass "+masterName+" "+password)
			}
			if sentinelPassword != "" { // what it wants, and what it says to the others
				lines = append(lines, "requirepass "+sentinelPassword)
			}
			known = strconv.Itoa(own)
			if secure != nil {
				var tls []string
				known, tls = secure()
				lines = append(lines, tls...)
			}
			if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
				tb.Fatal(err)
			}
			return &process{
				tb: tb, name: "sentinel", quit: syscall.SIGTERM,
				make: func() *exec.Cmd {
					cmd := exec.Command(program, file, "--sentinel") //nolint:noctx // it ends with the test's cleanup, in good order
					endWithParent(cmd)
					return cmd
				},
				ready: func(ctx context.Context) error { return pong(ctx, loopback(own), sentinelPassword) },
			}
		})
		_ = p // it is never asked to stop; the cleanup kills it
		s.Addrs, s.known = append(s.Addrs, loopback(own)), append(s.known, net.JoinHostPort("127.0.0.1", known))
	}
	for _, addr := range s.Addrs {
		eventually(tb, "Sentinels that know each other and the replica", func(ctx context.Context) error {
			return says(ctx, addr, sentinelPassword, "SENTINEL MASTER "+masterName, "\nnum-slaves\n1\n", "\nnum-other-sentinels\n2\n")
		})
	}
	return s
}

// says is an error unless an answer has all of that in it.
func says(ctx context.Context, addr, password, command string, what ...string) error {
	said, err := askWith(ctx, addr, password, command)
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
	heard := bufio.NewReader(conn)
	if _, err := say(conn, heard, s.password, "SUBSCRIBE +switch-master"); err != nil {
		tb.Fatal(err)
	}
	began := time.Now()
	s.Master.Kill()
	meanwhile()
	told, err := answer(heard)
	if err != nil || !strings.HasSuffix(told, " 127.0.0.1 "+s.promoted) {
		tb.Fatalf("the replica was not promoted: %q, %v", told, err)
	}
	return time.Since(began)
}
