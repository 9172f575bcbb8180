package servers

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// PgBouncer is a transaction pooler before a Postgres: each transaction may run on another of its connections.
type PgBouncer struct {
	*process
	Addr string // host:port

	before *Postgres
}

// StartPgBouncer starts one before p, which ends with the test. It keeps few connections and hands them around, so that what a
// session leaves behind is met by others.
func StartPgBouncer(tb testing.TB, p *Postgres) *PgBouncer {
	tb.Helper()
	needed(tb)
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/pgbouncer"); err != nil {
			missing(tb, "pgbouncer")
		}
	}
	as := unprivileged(tb) // it does not run as root either
	dir := folder(tb, as)
	file := filepath.Join(dir, "pgbouncer.ini")
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil { //nolint:gosec // another user reads it, and there is no secret in it
			tb.Fatal(err)
		}
	}
	users := filepath.Join(dir, "users.txt")
	write(users, `"postgres" ""`+"\n")
	host, port, _ := net.SplitHostPort(p.Addr)
	b := &PgBouncer{before: p}
	run, own := begin(tb, func(own int) *process {
		write(file, strings.Join([]string{
			"[databases]", "* = host=" + host + " port=" + port,
			"[pgbouncer]", "listen_addr = 127.0.0.1", "listen_port = " + strconv.Itoa(own), "unix_socket_dir =",
			"auth_type = trust", "auth_file = " + users, "pool_mode = transaction", "default_pool_size = 8", "max_client_conn = 500",
			"server_round_robin = 1", "",
		}, "\n"))
		return &process{
			tb: tb, name: "pgbouncer", quit: syscall.SIGTERM, // at once; what is under way is cut off
			make: func() *exec.Cmd {
				cmd := exec.Command(program, file) //nolint:noctx // it ends with the test's cleanup, in good order
				cmd.Dir = dir
				endWithParent(cmd)
				cmd.SysProcAttr.Credential = as
				return cmd
			},
			ready: func(ctx context.Context) error {
				return answers(ctx, postgresURL(own, "postgres", "postgres")+"&default_query_exec_mode=exec")
			},
		}
	})
	b.process, b.Addr = run, loopback(own)
	return b
}

// URL is a database's address by way of the pooler, as the pooled Postgres' own address names it.
func (b *PgBouncer) URL(database string) string {
	return strings.Replace(database, b.before.Addr, b.Addr, 1) + "&default_query_exec_mode=exec"
}
