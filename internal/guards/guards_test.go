package guards

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

const root = "../.."

// catcher is a test that misses guards, as one command: the same for the variant and for the source as it is.
type catcher struct{ pkg, run, env string }

// guard is one of the service's precautions, how its source reads without it, and which test then fails, saying what.
type guard struct {
	name string
	cuts []cut
	by   catcher
	says string // in the failing test's output: a regular expression
}

// cut replaces a text that stands in a file exactly once.
type cut struct{ file, from, to string }

// variant gives the changed files as they are without the guard.
func (g guard) variant() (map[string]string, error) {
	files := map[string]string{}
	for _, c := range g.cuts {
		text, ok := files[c.file]
		if !ok {
			b, err := os.ReadFile(filepath.Join(root, c.file))
			if err != nil {
				return nil, err
			}
			text = string(b)
		}
		if n := strings.Count(text, c.from); n != 1 {
			return nil, fmt.Errorf("%s: the guard's text stands in it %d times, want once; after a change to the guard, change its variant too:\n%s", c.file, n, c.from)
		}
		files[c.file] = strings.Replace(text, c.from, c.to, 1)
	}
	return files, nil
}

// overlay writes a variant down as go test -overlay reads it.
func overlay(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	replace := map[string]string{}
	for file, text := range files {
		path, err := filepath.Abs(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, strings.ReplaceAll(file, "/", "_"))
		if err := os.WriteFile(to, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		replace[path] = to
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// carryOut carries a catcher out, over a variant or without one. ok: its tests passed.
func (c catcher) carryOut(t *testing.T, overlay string) (out string, ok bool, cpu time.Duration) {
	t.Helper()
	args := []string{"test", "-vet=off", "-count=1", "-timeout=30m", "-run=" + c.run}
	if overlay != "" {
		args = append(args, "-overlay="+overlay)
	}
	cmd := exec.CommandContext(t.Context(), "go", append(args, c.pkg)...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Env = append(cmd.Env, strings.Fields(c.env)...)
	b, err := cmd.CombinedOutput()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		t.Fatal(err)
	}
	return string(b), err == nil, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

// asItIs carries each catcher out once over the source as it is, where it must pass.
var asItIs sync.Map

func (c catcher) passes(t *testing.T) {
	t.Helper()
	once, _ := asItIs.LoadOrStore(c, sync.OnceValue(func() string {
		out, ok, cpu := c.carryOut(t, "")
		t.Logf("%s %s as it is: %s of CPU", c.pkg, c.run, cpu.Round(100*time.Millisecond))
		if ok && !strings.Contains(out, "no tests to run") {
			return ""
		}
		return cmp.Or(out, "it says nothing")
	}))
	if out := once.(func() string)(); out != "" {
		t.Fatalf("with the source as it is, %s %s fails, so that it tells nothing:\n%s", c.pkg, c.run, short(out))
	}
}

// short keeps an output's beginning and end: a finding stands in the one, a table of what was lived through in between.
func short(s string) string {
	const most = 3000
	if len(s) <= 2*most {
		return s
	}
	return s[:most] + "\n...\n" + s[len(s)-most:]
}

// A variant whose text no longer stands in the source would be the source, and prove nothing.
func TestEachGuardStillReadsLikeItsVariantSays(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, g := range guards {
		if seen[g.name] || g.says == "" || len(g.cuts) == 0 {
			t.Errorf("%s: it needs a name of its own, a variant and what the test says", g.name)
		}
		seen[g.name] = true
		if _, err := g.variant(); err != nil {
			t.Errorf("%s: %v", g.name, err)
		}
	}
}

var seed = regexp.MustCompile(`seed \d+ goes wrong`)

// shares is over how many days CI spreads the guards: each builds the service anew, and all of them together take twenty minutes.
const shares = 3

// Every guard's removal is caught. GUARDS is all, a regular expression of names, or today: a third of them, another each day.
func TestGuards(t *testing.T) {
	want := os.Getenv("GUARDS")
	if want == "" {
		t.Skip("builds the service once for each guard, minutes of CPU: make guards")
	}
	day := -1
	switch want {
	case "all":
		want = ""
	case "today":
		want, day = "", time.Now().UTC().YearDay()%shares
	}
	names, err := regexp.Compile(want)
	if err != nil {
		t.Fatalf("GUARDS: %v", err)
	}
	for i, g := range guards {
		if !names.MatchString(g.name) || day >= 0 && i%shares != day {
			continue
		}
		t.Run(strings.ReplaceAll(g.name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			files, err := g.variant()
			if err != nil {
				t.Fatal(err)
			}
			g.by.passes(t)
			out, ok, cpu := g.by.carryOut(t, overlay(t, files))
			says := regexp.MustCompile(g.says).FindString(out)
			switch {
			case ok:
				t.Fatalf("%s %s passes without the guard", g.by.pkg, g.by.run)
			case says == "" || strings.Contains(out, "[build failed]"):
				t.Fatalf("%s %s fails without the guard, but not for its reason, %q:\n%s", g.by.pkg, g.by.run, g.says, short(out))
			}
			t.Logf("missed (%s of CPU) %s: %s", cpu.Round(100*time.Millisecond), seed.FindString(out), says)
		})
	}
}
