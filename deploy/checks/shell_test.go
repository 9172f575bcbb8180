package checks

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// ShellCheck has nothing to say about any script.
func TestScripts(t *testing.T) {
	scripts := []string{filepath.Join(root, ".ci/run")}
	for _, pattern := range []string{"scripts/*.sh", "deploy/*.sh", "deploy/ecs/*.sh"} {
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
