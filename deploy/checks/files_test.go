package checks

import (
	"go/version"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// root is the repository's, as seen from here.
const root = "../.."

// read returns a file of the repository.
func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(path)))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// find is what the pattern's group matches in a file of the repository, which must be one place.
func find(t *testing.T, path, pattern string) string {
	t.Helper()
	found := regexp.MustCompile(pattern).FindAllSubmatch(read(t, path), -1)
	if len(found) != 1 {
		t.Fatalf("%s has %d places like %s, want one: what is read there has moved", path, len(found), pattern)
	}
	return string(found[0][1])
}

// length is a duration as Go's source writes it: time.Minute, 5 * time.Second.
func length(t *testing.T, source string) time.Duration {
	t.Helper()
	text := strings.NewReplacer(" ", "", "*", "", "time.Second", "s", "time.Minute", "m").Replace(source)
	if text == "s" || text == "m" {
		text = "1" + text
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("%q is no duration that can be read here: %v", source, err)
	}
	return d
}

// workerStops is how long a worker takes at most from SIGTERM to its end: the drain, and what is cut short then writes down what it
// did. A grace period stands above it.
func workerStops(t *testing.T) time.Duration {
	t.Helper()
	defaults := find(t, "closure/policy.go", `(?s)var DefaultTiming = Timing\{(.*?)\n\}`)
	drain := regexp.MustCompile(`Drain: ([^,]+),`).FindStringSubmatch(defaults)
	if drain == nil {
		t.Fatal("closure.DefaultTiming has no Drain that can be read here")
	}
	return length(t, drain[1]) + length(t, find(t, "worker/worker.go", `const lastMoment = (.+)`))
}

// serverStops is how long a server gives the requests in hand.
func serverStops(t *testing.T) time.Duration {
	t.Helper()
	return length(t, find(t, "cmd/closeout/parts.go", `drain, cancel := context\.WithTimeout\(context\.WithoutCancel\(ctx\), (.+?)\)`))
}

// readyAsk is how long closeout readyz waits for an answer.
func readyAsk(t *testing.T) time.Duration {
	t.Helper()
	return length(t, find(t, "cmd/closeout/readyz.go", `const readyAsk = (.+)`))
}

// metricNames are the series that the code emits, without their labels.
func metricNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for line := range strings.Lines(string(read(t, "metrics/testdata/names.txt"))) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), "{")
		names[name] = true
	}
	return names
}

// goVersion is the Go that go.mod asks for.
func goVersion(t *testing.T) string {
	t.Helper()
	return find(t, "go.mod", `(?m)^go (\S+)$`)
}

func older(a, b string) bool { return version.Compare("go"+a, "go"+b) < 0 }

var fullTag = regexp.MustCompile(`:v?\d+\.\d+(\.\d+)?-?[a-z]*$|@sha256:[0-9a-f]{64}$`)

// pinned says whether an image is named by a release or by what is in it, and not by a tag that moves.
func pinned(image string) bool {
	tag := fullTag.FindString(image)
	parts := strings.Count(strings.SplitN(tag, "-", 2)[0], ".")
	return strings.HasPrefix(tag, "@") || parts == 2 || parts == 1 && strings.HasPrefix(image, "postgres:") // which has two parts
}

// sources are the Go files of the repository's folders, without their tests.
func sources(t *testing.T, folders ...string) (out []string) {
	t.Helper()
	for _, folder := range folders {
		files, err := filepath.Glob(filepath.Join(root, folder, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if !strings.HasSuffix(f, "_test.go") {
				out = append(out, folder+"/"+filepath.Base(f))
			}
		}
	}
	return out
}
