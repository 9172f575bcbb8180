package checks

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// ShellCheck has nothing to say about any script.
func TestScripts(t *testing.T) {
	scripts := []string{filepath.Join(root, ".ci/run")}
	for _, pattern := range []string{"scripts/*.sh", "deploy/*.sh", "deploy/ecs/*.sh", "deploy/helm/*.sh"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(found) == 0 {
			t.Fatalf("there is no %s: %v", pattern, err)
		}
		scripts = append(scripts, found...)
	}
	if out, err := exec.CommandContext(t.Context(), "shellcheck", scripts...).CombinedOutput(); err != nil {
		t.Errorf("%v (`make test` installs shellcheck as root, or prints the command)\n%s", err, out)
	}
}

// scriptCalls runs a script of the repository on a machine where some programs are these shell scripts, which have a call's words in $*
// and a file of the run's own in $CALLS. It returns their calls, each as its words.
func scriptCalls(t *testing.T, programs map[string]string, script string, args ...string) (calls [][]string, status int, said string) {
	t.Helper()
	log, path := filepath.Join(t.TempDir(), "calls"), os.Getenv("PATH")
	for name, text := range programs {
		path = strings.TrimSuffix(fakePath(t, name, `printf '%s\0' `+name+` "$@" >>"$CALLS"; echo >>"$CALLS"`+"\n"+text), os.Getenv("PATH")) + path
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(root, script), args...)
	cmd.Env = []string{"USER=anna", "CALLS=" + log, "PATH=" + path}
	out, err := cmd.CombinedOutput()
	if e := new(exec.ExitError); err != nil && !errors.As(err, &e) {
		t.Fatal(err)
	}
	text, err := os.ReadFile(log)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		calls = append(calls, strings.Split(strings.TrimSuffix(line, "\x00\n"), "\x00"))
	}
	return calls, cmd.ProcessState.ExitCode(), string(out)
}

// fakePath is a PATH on which a program is this shell script.
func fakePath(t *testing.T, name, script string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/usr/bin/env bash\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir + ":" + os.Getenv("PATH")
}
