package checks

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
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
