package web

import (
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// TestVendoredScriptsAreAsPublished holds each script of others to the hash that was taken of it as it was published.
func TestVendoredScriptsAreAsPublished(t *testing.T) {
	raw, err := os.ReadFile("vendor/vendor.json")
	if err != nil {
		t.Fatal(err)
	}
	var known []struct{ File, Integrity string }
	if err := json.Unmarshal(raw, &known); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, k := range known {
		want[k.File] = k.Integrity
	}
	scripts, err := filepath.Glob("vendor/*.js")
	if err != nil || len(scripts) != len(want) {
		t.Fatalf("%d scripts, %d hashes, %v", len(scripts), len(want), err)
	}
	for _, s := range scripts {
		b, err := os.ReadFile(s)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha512.Sum384(b)
		if got := "sha384-" + base64.StdEncoding.EncodeToString(sum[:]); got != want[filepath.Base(s)] {
			t.Errorf("%s has changed: %s, and vendor.json says %q", s, got, want[filepath.Base(s)])
		}
	}
}
