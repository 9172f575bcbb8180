// Package servers starts real servers for tests: a redis-server, a cluster of three, one with a replica and Sentinels, a Postgres
// 15 or newer and a PgBouncer before it, each on a free port with its data in a temporary folder, and ends them by their own process. A test can kill one and start it again on the same port
// with the same data. Nothing that ships imports it.
package servers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// patience is how long a server may take to start or to stop on a busy machine.
const patience = time.Minute

// process is one server program that can be ended and started again.
type process struct {
	tb    testing.TB
	name  string
	make  func() *exec.Cmd
	ready func(ctx context.Context) error
	quit  os.Signal // asks it to stop in good order

	cmd  *exec.Cmd
	done chan struct{}
	said *bytes.Buffer
}

// start runs the program and waits until it answers. An error says what the program said.
func (p *process) start() error {
	p.cmd, p.said, p.done = p.make(), &bytes.Buffer{}, make(chan struct{})
	p.cmd.Stdout, p.cmd.Stderr = p.said, p.said
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait()
	}()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		if err := p.ready(ctx); err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended at its start: %s", p.name, p.said.String())
		case <-ctx.Done():
			p.end(os.Kill)
			return fmt.Errorf("%s does not answer: %s", p.name, p.said.String())
		case <-again.C:
		}
	}
}

// Start starts the server again, on the same port and with the same data.
func (p *process) Start() {
	p.tb.Helper()
	if err := p.start(); err != nil {
		p.tb.Fatal(err)
	}
}

// Stop ends the server in good order.
func (p *process) Stop() { p.end(p.quit) }

// Kill ends the server as kill -9 does.
func (p *process) Kill() { p.end(os.Kill) }

// PID is the server's process.
func (p *process) PID() int { return p.cmd.Process.Pid }

func (p *process) end(s os.Signal) {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.tb.Errorf("stop %s: %v", p.name, err)
	}
	select {
	case <-p.done:
	case <-time.After(patience):
		p.tb.Errorf("%s does not stop", p.name)
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// freePort is a port of the loopback address that nobody listens on at this moment.
func freePort() (int, error) {
	ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().(*net.TCPAddr).Port, nil
}

// begin starts a server on a free port; another process may take the port between the asking and the starting, so it is
// tried on several.
func begin(tb testing.TB, on func(port int) *process) (*process, int) {
	tb.Helper()
	var err error
	for range 5 {
		var port int
		if port, err = freePort(); err != nil {
			tb.Fatal(err)
		}
		p := on(port)
		if err = p.start(); err == nil {
			tb.Cleanup(p.Kill)
			return p, port
		}
	}
	tb.Fatal(err)
	return nil, 0
}

// eventually waits until a server says what it must, or fails the test.
func eventually(tb testing.TB, what string, so func(ctx context.Context) error) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		err := so(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			tb.Fatalf("%s never comes: %v", what, err)
		case <-again.C:
		}
	}
}

// folder is a temporary folder that the server's user can reach and owns.
func folder(tb testing.TB, as *syscall.Credential) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "closeout-servers-")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	if as != nil {
		if err := os.Chown(dir, int(as.Uid), int(as.Gid)); err != nil {
			tb.Fatal(err)
		}
	}
	return dir
}

// MemoryDir is a temporary folder that needs no disk where the system has one: a thousand closures commit a hundred times each, and
// no test pulls the plug of the machine.
func MemoryDir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "closeout-")
	if err != nil {
		return tb.TempDir()
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// needed passes a test over in a short run, which must be quick and need nothing.
func needed(tb testing.TB) {
	tb.Helper()
	if testing.Short() {
		tb.Skip("needs real servers: not in a short run")
	}
}

// missing ends a test for want of a program, with the command that mends it.
func missing(tb testing.TB, program string) {
	tb.Helper()
	tb.Fatalf("%s is not installed: `make test` installs it as root, or prints the command", program)
}
