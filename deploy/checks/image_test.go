package checks

import (
	"debug/elf"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// authorities is where the builder's image, a Debian, has the certificate authorities of its package, and this machine too.
const authorities = "/etc/ssl/certs/ca-certificates.crt"

// builtImage makes the image's files in a folder as the Dockerfile says, without a container engine: what the build reads is what
// .dockerignore lets through, it is built by the Dockerfile's own line with this machine's Go, and each COPY is carried out. It
// returns that folder.
func builtImage(t *testing.T) string {
	t.Helper()
	stages := dockerfile(t)
	dir := t.TempDir()
	src, out, image := filepath.Join(dir, "src"), filepath.Join(dir, "out"), filepath.Join(dir, "image")
	buildContext(t, src)
	for _, made := range []string{out, image} {
		if err := os.Mkdir(made, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, run := range all[*instructions.RunCommand](stages[0]) {
		line := strings.Join(run.CmdLine, " ")
		if !strings.Contains(line, "/out/") { // what it downloads is on this machine
			continue
		}
		cmd := exec.CommandContext(t.Context(), "sh", "-ec", strings.ReplaceAll(line, "/out/", out+"/"))
		cmd.Dir = src
		cmd.Env = append(os.Environ(), "TARGETOS=linux", "TARGETARCH="+runtime.GOARCH, "VERSION="+testVersion, "GOFLAGS=-mod=readonly", "GOWORK=off")
		if said, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("the Dockerfile's line %q fails: %v\n%s", line, err, said)
		}
	}
	for _, c := range all[*instructions.CopyCommand](stages[len(stages)-1]) {
		from := c.SourcePaths[0]
		if rest, ok := strings.CutPrefix(from, "/out/"); ok {
			from = filepath.Join(out, rest)
		} else if from != authorities {
			t.Fatalf("what the image copies from %s is not known here", from)
		}
		copied(t, from, image, c.DestPath, c.Chown)
	}
	return image
}

const testVersion = "1.2.3-checks"

// copied is a COPY of one file, or of an empty folder.
func copied(t *testing.T, from, image, to, chown string) {
	t.Helper()
	dest := filepath.Join(image, to)
	if strings.HasSuffix(to, "/") {
		dest = filepath.Join(dest, filepath.Base(from))
	}
	info, err := os.Stat(from)
	if err != nil {
		t.Fatal(err)
	}
	if info.IsDir() {
		err = os.MkdirAll(dest, 0o755)
	} else if err = os.MkdirAll(filepath.Dir(dest), 0o755); err == nil {
		var text []byte
		if text, err = os.ReadFile(from); err == nil {
			err = os.WriteFile(dest, text, info.Mode().Perm())
		}
	}
	if err == nil && chown != "" && os.Geteuid() == 0 {
		uid, gid := owner(t, chown)
		err = os.Chown(dest, uid, gid)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// owner is uid:gid in numbers.
func owner(t *testing.T, text string) (uid, gid int) {
	t.Helper()
	a, b, _ := strings.Cut(text, ":")
	uid, err := strconv.Atoi(a)
	if err == nil {
		gid, err = strconv.Atoi(b)
	}
	if err != nil {
		t.Fatalf("%q is no uid:gid: %v", text, err)
	}
	return uid, gid
}

// buildContext copies to a folder what .dockerignore lets a builder see.
func buildContext(t *testing.T, to string) {
	t.Helper()
	patterns, err := ignorefile.ReadAll(strings.NewReader(string(read(t, ".dockerignore"))))
	if err != nil {
		t.Fatal(err)
	}
	ignored, err := patternmatcher.New(patterns)
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); strings.HasPrefix(name, ".") && rel != "." {
				return fs.SkipDir // .git above all: nothing of it can be let through below
			}
			return nil
		}
		if no, err := ignored.MatchesOrParentMatches(filepath.ToSlash(rel)); no || err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		dest := filepath.Join(to, rel)
		if err := os.MkdirAll(filepath.Dir(dest), 0o755); err != nil {
			return err
		}
		return os.WriteFile(dest, text, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A builder sees what it builds from, and no secret, test or local file.
func TestTheBuildSeesNoMoreThanItReads(t *testing.T) {
	dir := t.TempDir()
	buildContext(t, dir)
	kinds := map[string]bool{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, path)
		switch {
		case err != nil || d.IsDir():
			return err
		case strings.HasSuffix(rel, "_test.go"), strings.Contains(rel, "testdata/"), strings.HasPrefix(rel, "deploy"), strings.HasPrefix(rel, ".git"):
			t.Errorf("it sees %s", rel)
		}
		kinds[filepath.Ext(rel)] = true
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for kind := range kinds {
		if !slices.Contains([]string{".go", ".mod", ".sum", ".sql", ".html", ".css", ".js", ".txt", ".tmpl", ".json", ".svg", ".md", ".ico", ".png"}, kind) {
			t.Errorf("it sees files of the kind %q", kind)
		}
	}
	if !kinds[".go"] || !kinds[".sql"] || !kinds[".html"] {
		t.Errorf("it does not see what is linked in: %v", kinds)
	}
}

// static says what a program needs beside itself: nothing.
func static(t *testing.T, path string) {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	libraries, err := f.ImportedLibraries()
	if err != nil || len(libraries) > 0 {
		t.Errorf("the program asks for %q, %v", libraries, err)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("the program asks for a loader")
		}
	}
	if f.Section(".debug_info") != nil || f.Section(".zdebug_info") != nil {
		t.Error("the program carries what only a debugger reads")
	}
}
