package checks

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// program builds what the image runs.
func program(t *testing.T) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "closeout")
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", out, "./cmd/closeout")
	build.Dir = root
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	return out
}

// secretValues are secrets in order, by which nobody is reached.
var secretValues = map[string]string{
	"CLOSEOUT_DATABASE_URL": "postgres://closeout:p@127.0.0.1:1/closeout?connect_timeout=1", "CLOSEOUT_REDIS_URL": "redis://127.0.0.1:1/0",
	"CLOSEOUT_ALPACA_KEY": "key", "CLOSEOUT_ALPACA_SECRET": "secret", "CLOSEOUT_API_KEYS": "backend=" + strings.Repeat("s", 40), "CLOSEOUT_OIDC_CLIENT_SECRET": "secret",
	"CLOSEOUT_SMTP_URL": "smtp://u:p@127.0.0.1:1", "CLOSEOUT_LEGACY_REDIS_URL": "redis://127.0.0.1:2/0",
}

// ends is how a command that reaches nobody ends, and what it says.
func ends(t *testing.T, closeout string, env []string, args ...string) (status int, said string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	run := exec.CommandContext(ctx, closeout, args...)
	run.Env = env
	out, err := run.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		t.Fatalf("%q: %v\n%s", args, err, out)
	}
	return exit.ExitCode(), string(out)
}

// The chart's settings are the program's, and it starts with what the chart gives it: its settings are in order, and it ends only for
// want of a Postgres.
func TestHelmSettingsAreTheProgram(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program")
	}
	closeout := program(t)
	known := map[string]bool{} // of either process: all are given the same settings, and read what is theirs
	maps.Copy(known, settings(t, "server"))
	maps.Copy(known, settings(t, "worker"))
	maps.Copy(known, settings(t, "importLegacy"))
	schema := string(read(t, "deploy/helm/closeout/values.schema.json"))
	byChart := []string{"CLOSEOUT_ENVIRONMENT", "CLOSEOUT_ALPACA_URL", "CLOSEOUT_ACCOUNT_STATUS", "CLOSEOUT_DAY"} // of the last it sets none
	for name := range known {
		if !strings.Contains(schema, `"`+strings.TrimSuffix(name, fileSuffix)+`"`) && !slices.Contains(byChart, name) {
			t.Errorf("%s can't be set by the chart: name it in values.schema.json, under settings, or with the secrets", name)
		}
	}
	for _, m := range regexp.MustCompile(`"(CLOSEOUT_[A-Z_]+)": \{`).FindAllStringSubmatch(schema, -1) {
		if _, is := known[m[1]]; !is {
			t.Errorf("the schema knows %s, and the program does not", m[1])
		}
	}

	secrets := t.TempDir()
	for name, value := range secretValues {
		if err := os.WriteFile(filepath.Join(secrets, name), []byte(value+"\n"), 0o400); err != nil {
			t.Fatal(err)
		}
	}
	start := func(docs []string, component string, more ...string) (status int, said string) {
		t.Helper()
		var env []string
		c := pods(t, docs)[component].Containers[0]
		for _, e := range c.Env {
			if _, is := known[e.Name]; !is && strings.HasPrefix(e.Name, "CLOSEOUT_") {
				t.Errorf("%s is given %s, which no process knows", component, e.Name)
			}
			env = append(env, e.Name+"="+strings.Replace(e.Value, "/run/closeout/secrets", secrets, 1))
		}
		return ends(t, closeout, append(env, more...), c.Args...)
	}
	full := "secret: {optional: [CLOSEOUT_API_KEYS, CLOSEOUT_OIDC_CLIENT_SECRET]}"
	for name, docs := range map[string][]string{"least": rendered(t, "least", ""), "live": rendered(t, "least", "environment: live"), "full": rendered(t, "full", full)} {
		for _, component := range []string{"server", "worker", "migrate"} {
			if status, said := start(docs, component); status != 1 || strings.Contains(said, "settings") || !strings.Contains(said, "127.0.0.1") {
				t.Errorf("%s of %s ends with %d: %s", component, name, status, said)
			}
		}
	}
	for _, command := range []string{"[ledger, reconcile]", "[import, legacy, --dry-run]", "[monitor, stats]"} {
		docs := rendered(t, "least", "{once: {command: "+command+"}, secret: {optional: [CLOSEOUT_LEGACY_REDIS_URL]}}")
		if status, said := start(docs, "once"); status != 1 || strings.Contains(said, "settings") || !strings.Contains(said, "127.0.0.1") {
			t.Errorf("%s, once, ends with %d: %s", command, status, said)
		}
	}
	if status, said := start(rendered(t, "least", ""), "worker", "CLOSEOUT_ENVIRONMENT=live"); status != 2 || !strings.Contains(said, "CLOSEOUT_ALPACA_URL") {
		t.Errorf("with the sandbox's address for live it ends with %d: %s", status, said)
	}
}

// With what the stacks give it each task of ECS starts too: as little as will do, and everything.
func TestECSSettingsAreTheProgram(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program")
	}
	closeout, templates := program(t), map[string]*template{}
	for name, text := range ecsTexts(t) {
		var err error
		if templates[name], err = readTemplate(name, text); err != nil {
			t.Fatal(err)
		}
	}
	for way, given := range ecsWays {
		for _, c := range ecsWorked(templates, given).containers() {
			var env []string
			for _, v := range listed(c.get("Environment")) {
				env = append(env, fmt.Sprint(get(v, "Name"), "=", get(v, "Value")))
			}
			for _, v := range listed(c.get("Secrets")) {
				if name := fmt.Sprint(get(v, "Name")); name != "CLOSEOUT_OPERATORS" { // a hash, which TestHelmSettingsAreTheProgram goes without too
					env = append(env, name+"="+secretValues[name])
				}
			}
			commands := [][]string{{fmt.Sprint(get(c.get("Command"), 0))}}
			if c.at == "once/Once" {
				commands = append(commands, []string{"ledger", "reconcile"}, []string{"monitor", "stats"})
			}
			for _, command := range commands {
				if status, said := ends(t, closeout, env, command...); status != 1 || strings.Contains(said, "settings") || !strings.Contains(said, "127.0.0.1") {
					t.Errorf("%s: %s, %q, ends with %d: %s", way, c.at, command, status, said)
				}
			}
		}
	}
}
