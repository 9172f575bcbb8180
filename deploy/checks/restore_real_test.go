//go:build linux

package checks

import (
	"errors"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
)

// restores carries out what the guide says of a backup and a restore with Compose, line by line: what is to be run in postgres by Postgres's
// programs as its user, what is to be run as a worker in a container of its own. Not carried out are the half hour of --apply, and up.
// lost happens between the two. The processes of all are to be stopped by stop.
func (e *machine) restores(worker *container, lost, stop func()) {
	e.Helper()
	dir := e.TempDir()
	as, err := user.Lookup("postgres")
	e.must(err)
	uid, gid := owner(e.T, as.Uid+":"+as.Gid)
	e.must(os.Chmod(filepath.Dir(dir), 0o755)) //nolint:gosec // Postgres's user comes through
	e.must(os.Chown(dir, uid, gid))
	inPostgres := func(line string) {
		e.Helper()
		cmd := exec.CommandContext(e.Context(), "sh", "-c", line)
		cmd.Dir, cmd.SysProcAttr = dir, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
		cmd.Env = []string{"PATH=" + filepath.Dir(postgresProgram(e, "pg_dump")) + ":" + os.Getenv("PATH"), "PGHOST=" + filepath.Join(e.dir, "sockets")}
		if out, err := cmd.CombinedOutput(); err != nil {
			e.Fatalf("%s: %v\n%s", line, err, out)
		}
	}
	asWorker := func(line string) (status int, said string) {
		e.Helper()
		words, err := exec.CommandContext(e.Context(), "sh", "-c", `printf '%s\0' `+line).Output()
		e.must(err)
		out, err := worker.command(strings.Split(strings.TrimSuffix(string(words), "\x00"), "\x00")...).CombinedOutput()
		if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
			e.Fatal(err)
		} else if err != nil {
			status = exit.ExitCode()
		}
		return status, string(out)
	}
	worker.env = append(worker.env, "USER=anna") // by -e USER
	if status, said := asWorker("ledger reconcile"); status != 1 || !strings.Contains(said, "at work") {
		e.Errorf("while workers live a reconciliation ends with %d: %s", status, said)
	}
	lines := guideLines(e.T, "## Back up and restore", "**Kubernetes**, in the clone")
	did := map[string]int{}
	for _, line := range lines {
		program, rest, _ := strings.Cut(strings.TrimPrefix(line, "docker compose "), " ")
		switch service := "exec -T postgres "; {
		case strings.HasPrefix(line, "docker compose "+service):
			inPostgres(strings.TrimPrefix(line, "docker compose "+service))
			if strings.Contains(line, "pg_dump") {
				lost()
			}
		case line == "docker compose stop worker server":
			stop()
		case program == "up" || strings.Contains(line, "--apply"):
		case strings.HasPrefix(rest, "--rm -e USER worker "):
			status, said := asWorker(strings.TrimPrefix(rest, "--rm -e USER worker "))
			if want := map[bool]int{true: 3}[strings.HasSuffix(line, "reconcile")]; status != want { // a key that lives asks for a person
				e.Errorf("%s ends with %d, want %d: %s", line, status, want, said)
			}
		default:
			e.Errorf("nobody carries this out: %s", line)
		}
		did[program]++
	}
	// The image knows no users, and the history who it was.
	if _, said := asWorker(`monitor hold --reason "the check" --apply --json`); !strings.Contains(said, `"operator:cli:anna"`) {
		e.Errorf("everything is held by nobody: %s", said)
	}
	if did["exec"] != 3 || did["run"] != 4 || did["stop"] != 1 {
		e.Errorf("of the guide's lines %v were read: %q", did, lines)
	}
}
