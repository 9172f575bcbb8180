package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"closeout/mail"
)

// keptLetter is a letter as the tests of mail keep it.
func keptLetter(t *testing.T, k mail.Kind, ending string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "mail", "testdata", string(k)+ending))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestMailPreview: each letter is shown as it would be sent, on the terminal and in files.
func TestMailPreview(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "letters")
	status, said := command(t, "mail", "preview", "--to", dir)
	if status != 0 {
		t.Fatalf("status %d: %s", status, said)
	}
	_, listed := command(t, "mail", "preview")
	for _, k := range mail.Kinds() {
		text, html := keptLetter(t, k, ".txt"), keptLetter(t, k, ".html")
		for _, c := range []struct {
			want string
			args []string
		}{{text, []string{string(k)}}, {html, []string{string(k), "--html"}}} {
			if status, got := command(t, append([]string{"mail", "preview"}, c.args...)...); status != 0 || got != c.want {
				t.Errorf("%v: status %d (-kept +shown)\n%s", c.args, status, cmp.Diff(c.want, got))
			}
		}
		for ending, want := range map[string]string{".txt": text, ".html": html} {
			got, err := os.ReadFile(filepath.Join(dir, string(k)+ending))
			if err != nil || string(got) != want {
				t.Errorf("%s%s: %v (-kept +written)\n%s", k, ending, err, cmp.Diff(want, string(got)))
			}
		}
		subject, _, _ := strings.Cut(strings.TrimPrefix(text, "Subject: "), "\n")
		if !strings.Contains(listed, "\n"+string(k)) && !strings.HasPrefix(listed, string(k)) || !strings.Contains(listed, subject) {
			t.Errorf("%s is not listed with its subject:\n%s", k, listed)
		}
	}
	if _, both := command(t, "mail", "preview", "initiated", "failed"); !strings.HasPrefix(both, keptLetter(t, mail.Initiated, ".txt")) || !strings.HasSuffix(both, keptLetter(t, mail.Failed, ".txt")) {
		t.Errorf("two letters are shown as\n%s", both)
	}
}

// TestMailPreviewRefusesInWords what it can't show.
func TestMailPreviewRefusesInWords(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, c := range map[string]struct {
		status int
		args   []string
	}{
		`there is no letter "welcome"; there are initiated, action_needed, failed, completed, canceled`: {2, []string{"initiated", "welcome"}},
		"wants one letter":    {2, []string{"--html"}},
		"is not needed":       {2, []string{"failed", "--html", "--to", "x"}},
		"make the folder":     {1, []string{"--to", file}},
		"unknown flag --text": {2, []string{"failed", "--text"}},
	} {
		if status, said := command(t, append([]string{"mail", "preview"}, c.args...)...); status != c.status || !strings.Contains(said, want) {
			t.Errorf("%v: status %d: %s; want %q", c.args, status, said, want)
		}
	}
}
