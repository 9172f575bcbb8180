//go:build linux

package checks

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"golang.org/x/sys/unix"
)

// insideEnv tells the test that it runs in namespaces of its own, and where the image is.
const insideEnv = "CLOSEOUT_CHECKS_IMAGE"

// patience is how long anything may take on a busy machine.
const patience = 2 * time.Minute

// The image is built and compose.yaml is carried out, as far as that goes without a container engine: each process of the service
// runs in the image's files alone, which nobody can write to, as the image's user, with the command, the settings, the secrets, the
// volumes and the health check that the file gives it, and all find each other by the file's names. Redis is started by the file's
// own command line; Postgres is made as its image's entrypoint makes it, which is not here, and neither is its image nor Redis's:
// Debian's servers are. All services share one network, so that the second worker is given another port.
func TestRealCompose(t *testing.T) {
	if testing.Short() {
		t.Skip("needs real servers: not in a short run")
	}
	image := os.Getenv(insideEnv)
	if image == "" {
		image = builtImage(t)
		program := filepath.Join(image, "usr/local/bin/closeout")
		static(t, program)
		if said, err := exec.CommandContext(t.Context(), program, "--version").Output(); err != nil || strings.TrimSpace(string(said)) != testVersion {
			t.Errorf("it says that it is %q, %v", said, err)
		}
		if info, err := os.Stat(program); err == nil {
			t.Logf("the program is %d MB, and nearly all of the image", info.Size()>>20)
		}
		inNamespaces(t, image)
		return
	}
	enter(t)
	t.Run("broker", func(t *testing.T) { broker(t, image) })
	t.Run("simulator", func(t *testing.T) { simulator(t, image) })
}

// inNamespaces runs this test again with a network, mounts and processes of its own, which end with it.
func inNamespaces(t *testing.T, image string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("the image was built and looked at; to run it in a root of its own needs root, which this is not: compose.yaml was not carried out")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestRealCompose$", "-test.v", "-test.timeout=10m")
	cmd.Env = append(os.Environ(), insideEnv+"="+image)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) {
		t.Skip("the image was built and looked at; this root may make no namespaces: compose.yaml was not carried out")
	}
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
}

// enter makes the namespaces fit to work in: no mount is seen outside, /mnt is ours, and the loopback is up.
func enter(t *testing.T) {
	t.Helper()
	err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	if err == nil {
		err = unix.Mount("proc", "/proc", "proc", 0, "")
	}
	if err == nil {
		err = unix.Mount("tmpfs", "/mnt", "tmpfs", 0, "mode=0755")
	}
	if err != nil {
		t.Fatal(err)
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(s) }()
	lo, err := unix.NewIfreq("lo")
	if err == nil {
		lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
		err = unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, lo)
	}
	if err != nil {
		t.Fatalf("bring up the loopback: %v", err)
	}
}

// machine carries out a project, as Docker would.
type machine struct {
	*testing.T
	p      *types.Project
	image  string
	dir    string // under /mnt, where each user can come
	health []string
	path   string // the image's
}

// newMachine makes the stores' names known and their secrets readable, as Docker does.
func newMachine(t *testing.T, image, profile string, change func(deploy string)) *machine {
	t.Helper()
	deploy := setUp(t, profile)
	change(deploy)
	e := &machine{T: t, p: project(t, deploy), image: image, dir: filepath.Join("/mnt", profile)}
	e.health = one[*instructions.HealthCheckCommand](t).Health.Test
	e.path = one[*instructions.EnvCommand](t).Env[0].Value
	e.folder(filepath.Join(e.dir, "secrets"), 0, 0)
	for name, s := range e.p.Secrets {
		e.bind(s.File, e.file(filepath.Join(e.dir, "secrets", name), ""))
	}
	return e
}

func (e *machine) must(err error) {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
}

func (e *machine) folder(path string, uid, gid int) string {
	e.Helper()
	e.must(os.MkdirAll(path, 0o755))
	e.must(os.Chown(path, uid, gid))
	return path
}

func (e *machine) file(path, text string) string {
	e.Helper()
	e.must(os.MkdirAll(filepath.Dir(path), 0o755))
	e.must(os.WriteFile(path, []byte(text), 0o644))
	return path
}

// bind shows a file or folder at another place too. Read-only is said of the place.
func (e *machine) bind(from, to string) {
	e.Helper()
	e.must(unix.Mount(from, to, "", unix.MS_BIND, ""))
	e.Cleanup(func() { _ = unix.Unmount(to, unix.MNT_DETACH) })
}

// container is one process of the service in a root of its own.
type container struct {
	e    *machine
	name string
	root string
	env  []string
	cmd  *exec.Cmd
	said bytes.Buffer
}

// hosts are the names that Docker's DNS would know. None of the addresses is this machine's usual loopback, and Closeout goes by the
// names in any case.
const hosts = "127.0.0.1 localhost\n127.0.0.2 redis\n127.0.0.3 postgres\n127.0.0.4 broker-api.sandbox.alpaca.markets\n"

// container makes a service's root: the image, read-only, with what is mounted in it.
func (e *machine) container(name string) *container {
	e.Helper()
	s := e.p.Services[name]
	c := &container{e: e, name: name, root: e.folder(filepath.Join(e.dir, "roots", name), 0, 0)}
	// What Docker makes in every image to mount at.
	e.file(filepath.Join(e.image, "etc/hosts"), "")
	for _, secret := range s.Secrets {
		e.file(filepath.Join(e.image, "run/secrets", secret.Source), "")
	}
	e.bind(e.image, c.root)
	e.must(unix.Mount("", c.root, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, ""))
	e.bind(e.file(filepath.Join(e.dir, "hosts"), hosts), filepath.Join(c.root, "etc/hosts"))
	for _, secret := range s.Secrets {
		e.bind(filepath.Join(e.dir, "secrets", secret.Source), filepath.Join(c.root, "run/secrets", secret.Source))
	}
	for _, v := range s.Volumes { // a new volume has the owner of what is in the image at its place
		info, err := os.Stat(filepath.Join(e.image, v.Target))
		e.must(err)
		is := info.Sys().(*syscall.Stat_t)
		e.bind(e.folder(filepath.Join(e.dir, "volumes", v.Source), int(is.Uid), int(is.Gid)), filepath.Join(c.root, v.Target))
	}
	if err := os.WriteFile(filepath.Join(c.root, "written"), nil, 0o600); !errors.Is(err, syscall.EROFS) {
		e.Fatalf("the root of %s can be written to: %v", name, err)
	}
	c.env = []string{"PATH=" + e.path}
	for setting, value := range s.Environment {
		c.env = append(c.env, setting+"="+*value)
	}
	return c
}

// command is a process in the container, by its arguments after the entrypoint.
func (c *container) command(args ...string) *exec.Cmd {
	uid, gid := owner(c.e.T, nobody)
	return &exec.Cmd{
		Path: filepath.Join(c.e.path, "closeout"), Args: append([]string{"closeout"}, args...), Dir: "/", Env: slices.Clone(c.env),
		SysProcAttr: &syscall.SysProcAttr{
			Chroot: c.root, Pdeathsig: syscall.SIGKILL,
			Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)},
		},
	}
}

// start starts a service. more are arguments besides.
func (e *machine) start(name string, more ...string) *container {
	e.Helper()
	c := e.container(name)
	c.cmd = c.command(append(slices.Clone([]string(e.p.Services[name].Command)), more...)...)
	c.cmd.Stdout, c.cmd.Stderr = &c.said, &c.said
	e.must(c.cmd.Start())
	e.Cleanup(func() {
		if c.cmd.ProcessState == nil {
			_ = c.cmd.Process.Kill()
			_ = c.cmd.Wait()
		}
		if e.Failed() {
			e.Logf("%s said:\n%s", name, c.said.String())
		}
	})
	return c
}

// run runs a command in the container, as docker compose exec does, and returns what it printed.
func (c *container) run(args ...string) string {
	c.e.Helper()
	cmd := c.command(args...)
	var said, beside bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &beside
	if err := cmd.Run(); err != nil {
		c.e.Fatalf("closeout %s in %s: %v\n%s%s", strings.Join(args, " "), c.name, err, said.String(), beside.String())
	}
	return strings.TrimSpace(said.String())
}

// ready asks as Docker does, by the service's own health check or by the image's. at, if given, is where instead.
func (c *container) ready(at ...string) {
	c.e.Helper()
	test := c.e.health
	if h := c.e.p.Services[c.name].HealthCheck; h != nil {
		test = h.Test
	}
	args := slices.Concat(test[2:], at, []string{"--wait", patience.String()})
	c.e.Logf("%s: %s", c.name, c.run(args...))
}

// stops ends a service as docker stop does, within the time that compose gives it.
func (c *container) stops() {
	c.e.Helper()
	began := time.Now()
	c.e.must(c.cmd.Process.Signal(syscall.SIGTERM))
	end := make(chan error, 1)
	go func() { end <- c.cmd.Wait() }()
	grace := 10 * time.Second // Docker's
	if g := c.e.p.Services[c.name].StopGracePeriod; g != nil {
		grace = time.Duration(*g)
	}
	select {
	case err := <-end:
		if err != nil {
			c.e.Errorf("%s ended with %v", c.name, err)
		}
	case <-time.After(grace):
		c.e.Errorf("%s does not end within %s", c.name, grace)
		_ = c.cmd.Process.Kill()
		if err := <-end; err != nil { // it was killed
			c.e.Logf("%s: %v", c.name, err)
		}
	}
	c.e.Logf("%s stopped in %s", c.name, time.Since(began).Round(10*time.Millisecond))
}

// again asks until it is so.
func (e *machine) again(what string, ask func(context.Context) error) {
	e.Helper()
	ctx, cancel := context.WithTimeout(e.Context(), patience)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			e.Fatalf("%s: %v", what, err)
		case <-tick.C:
		}
	}
}

// broker is the profile of the real broker. It is not here: one stands for it that has its name, a certificate of an authority that
// the image's file knows, and nothing to say.
func broker(t *testing.T, image string) {
	t.Helper()
	e := newMachine(t, image, "broker", func(deploy string) {
		for _, name := range []string{"alpaca_key", "alpaca_secret"} {
			if err := os.WriteFile(filepath.Join(deploy, "secrets", name), []byte("of-the-test\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	})
	asked := e.unheard()
	e.stores()
	migrate := e.start("migrate")
	if err := migrate.cmd.Wait(); err != nil {
		t.Fatalf("migrate: %v", err)
	}
	server, one, two := e.start("server"), e.start("worker"), e.second("worker", "--health-addr", ":8081")
	server.ready()
	one.ready("--url", "http://127.0.0.1:8080/health")
	two.ready("--url", "http://127.0.0.1:8081/health")
	select {
	case path := <-asked:
		t.Logf("the broker's certificate was believed: it was asked for %s", path)
	case <-time.After(patience):
		t.Error("the broker was never asked: its certificate was not believed by the image's authorities")
	}
	server.run("keys", "create", "before")
	e.restores(one, func() { server.run("keys", "create", "after") }, func() {
		for _, c := range []*container{server, one, two} {
			c.stops()
		}
	})
	if keys := server.run("keys", "list"); !strings.Contains(keys, "before") || strings.Contains(keys, "after") {
		t.Errorf("after the restore there are the keys %s", keys)
	}
	if said := server.said.String() + one.said.String(); !strings.Contains(said, "are not encrypted, as CLOSEOUT_PLAINTEXT allows") {
		t.Error("no process says that the stores' connections are in clear")
	}
}

// second is another one of a service that has replicas.
func (e *machine) second(name string, more ...string) *container {
	e.Helper()
	s := e.p.Services[name]
	if s.GetScale() != 2 {
		e.Fatalf("compose starts %d of %s", s.GetScale(), name)
	}
	e.p.Services[name+"-2"] = s
	return e.start(name+"-2", more...)
}

// simulator is the profile with the simulated broker; one of its accounts is closed.
func simulator(t *testing.T, image string) {
	t.Helper()
	e := newMachine(t, image, "simulator", func(deploy string) {
		path := filepath.Join(deploy, ".env")
		text, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(text, []byte("=20s@")) {
			t.Fatalf("the clock is not where it is sought: %s, %v", text, err)
		}
		if err := os.WriteFile(path, bytes.Replace(text, []byte("=20s@"), []byte("=4s@"), 1), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	e.stores()
	var all []*container
	for _, name := range []string{"simulator", "simulated-server", "simulated-worker-1", "simulated-worker-2"} {
		c := e.start(name)
		c.ready()
		all = append(all, c)
	}
	server := all[1]
	server.env = append(server.env, "CLOSEOUT_API_KEY="+server.run("keys", "create", "checks"))
	began := time.Now()
	t.Log(server.run("initiate", "--yes", "--wait", "5eed0000-0000-4000-8000-000000000001"))
	t.Logf("an account is closed, %s after it was asked for", time.Since(began).Round(time.Second))
	slices.Reverse(all)
	for _, c := range all {
		c.stops()
	}
	if kept, err := os.ReadDir(filepath.Join(e.dir, "volumes/simulator")); err != nil || len(kept) == 0 {
		t.Errorf("the simulator's volume holds %v, %v", kept, err)
	}
}
