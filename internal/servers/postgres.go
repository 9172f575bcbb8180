package servers

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
)

// Postgres is a Postgres server of a test's own. Its superuser is postgres, without a password, on loopback alone.
type Postgres struct {
	*process
	Addr string // host:port

	made atomic.Int64
}

// StartPostgres starts a server, which ends with the test. Its files are not synced to the disk: a killed process loses
// nothing by that, only a killed machine would. Settings, "fsync=on", win over that.
func StartPostgres(tb testing.TB, settings ...string) *Postgres {
	tb.Helper()
	needed(tb)
	bin := postgresBin()
	if bin == "" {
		missing(tb, "a Postgres that is 15 or newer")
	}
	as := unprivileged(tb)
	dir := folder(tb, as)
	data := filepath.Join(dir, "data")
	run := func(program string, args ...string) *exec.Cmd {
		cmd := exec.Command(filepath.Join(bin, program), args...) //nolint:noctx // it ends with the test's cleanup, in good order
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "TZ=UTC", "LC_ALL=C")
		endWithParent(cmd)
		cmd.SysProcAttr.Credential = as
		return cmd
	}
	if out, err := run("initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync").CombinedOutput(); err != nil {
		tb.Fatalf("initdb: %v\n%s", err, out)
	}
	p, port := begin(tb, func(port int) *process {
		args := []string{
			"-D", data, "-h", "127.0.0.1", "-p", strconv.Itoa(port), "-k", dir, "-c", "fsync=off", "-c", "full_page_writes=off",
			"-c", "max_connections=200", "-c", "log_min_messages=warning",
		}
		for _, s := range settings {
			args = append(args, "-c", s)
		}
		return &process{
			tb: tb, name: "postgres", quit: syscall.SIGINT, // a fast shutdown
			make:  func() *exec.Cmd { return run("postgres", args...) },
			ready: func(ctx context.Context) error { return answers(ctx, postgresURL(port, "postgres", "postgres")) },
		}
	})
	return &Postgres{process: p, Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}
}

// StartPostgresTLS starts a server that speaks TLS with this certificate and key, files in PEM, to whoever asks for it.
func StartPostgresTLS(tb testing.TB, cert, key string) *Postgres {
	tb.Helper()
	needed(tb)
	as := unprivileged(tb)
	dir := folder(tb, as)
	settings := []string{"ssl=on"}
	for setting, from := range map[string]string{"ssl_cert_file": cert, "ssl_key_file": key} {
		b, err := os.ReadFile(from)
		to := filepath.Join(dir, setting)
		if err == nil {
			err = os.WriteFile(to, b, 0o600)
		}
		if err == nil && as != nil {
			err = os.Chown(to, int(as.Uid), int(as.Gid))
		}
		if err != nil {
			tb.Fatal(err)
		}
		settings = append(settings, setting+"="+to)
	}
	return StartPostgres(tb, settings...)
}

// Crash ends the server as `pg_ctl stop -m immediate` does: it recovers at its next start.
func (p *Postgres) Crash() { p.end(syscall.SIGQUIT) }

// URL is the address of a database for a role.
func (p *Postgres) URL(role, database string) string {
	return "postgres://" + role + "@" + p.Addr + "/" + database + "?sslmode=disable"
}

// Database makes an empty database and returns its address for the superuser.
func (p *Postgres) Database(tb testing.TB) string {
	tb.Helper()
	name := fmt.Sprintf("test%d", p.made.Add(1))
	db := p.Open(tb, p.URL("postgres", "postgres"))
	if _, err := db.ExecContext(tb.Context(), "CREATE DATABASE "+name); err != nil {
		tb.Fatal(err)
	}
	return p.URL("postgres", name)
}

// Open is a way into a database beside the code under test, closed with the test.
func (p *Postgres) Open(tb testing.TB, url string) *sql.DB {
	tb.Helper()
	db, err := sql.Open("pgx", url)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = db.Close() })
	return db
}

func postgresURL(port int, role, database string) string {
	return fmt.Sprintf("postgres://%s@127.0.0.1:%d/%s?sslmode=disable", role, port, database)
}

func answers(ctx context.Context, url string) error {
	db, err := sql.Open("pgx", url)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	return db.PingContext(ctx)
}

// postgresBin is the folder of the newest installed server's programs, or "". Debian keeps them out of the PATH.
func postgresBin() string {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	slices.SortFunc(found, func(a, b string) int { return version(b) - version(a) })
	if len(found) > 0 && version(found[0]) >= 15 {
		return filepath.Dir(found[0])
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path)
	}
	return ""
}

func version(path string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
	return n
}

// unprivileged is whom Postgres runs as where the tests run as root, which it refuses: the package's own user.
func unprivileged(tb testing.TB) *syscall.Credential {
	tb.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		}
	}
	tb.Fatal("Postgres does not run as root, and there is neither a user postgres nor nobody")
	return nil
}
