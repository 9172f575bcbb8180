package checks

import (
	"os"
	"path/filepath"
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
