package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// TestSecretsFromFiles: each way in which a file of a secret can be wrong is told in words, all at once, and none of them
// shows the value or the path.
func TestSecretsFromFiles(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil { // whatever the umask
			t.Fatal(err)
		}
		return path
	}
	status, said := start(t, map[string]string{
		"CLOSEOUT_REDIS_URL": "redis://:hunter2@127.0.0.1:1/0", "CLOSEOUT_REDIS_URL_FILE": file("both", "redis://:hunter3@127.0.0.1:1/0", 0o600),
		"CLOSEOUT_DATABASE_URL_FILE": "hunter4", "CLOSEOUT_ALPACA_KEY_FILE": file("empty", " \r\n", 0o600), "CLOSEOUT_ALPACA_SECRET_FILE": dir,
		"CLOSEOUT_API_KEYS_FILE": file("writable", "client=hunter5", 0o602), "CLOSEOUT_OPERATORS_FILE": file("lines", "hunter6\nhunter7\n", 0o600),
		"CLOSEOUT_OIDC_CLIENT_SECRET_FILE": file("large", strings.Repeat("hunter8", 10_000), 0o600), "CLOSEOUT_ALPACA_URL_FILE": file("url", "hunter9", 0o600),
	}, "server")
	if status != 2 {
		t.Errorf("status %d, want 2", status)
	}
	for _, want := range []string{
		"CLOSEOUT_REDIS_URL_FILE: is given, and so is CLOSEOUT_REDIS_URL", "CLOSEOUT_DATABASE_URL_FILE: names a file that can't be read: no such file",
		"CLOSEOUT_ALPACA_KEY_FILE: names an empty file", "CLOSEOUT_ALPACA_SECRET_FILE: names a folder", "CLOSEOUT_API_KEYS_FILE: names a file that anybody may write to",
		"CLOSEOUT_OPERATORS_FILE: names a file of more than one line", "CLOSEOUT_OIDC_CLIENT_SECRET_FILE: names a file of more than 64 KiB",
		"CLOSEOUT_ALPACA_URL_FILE: there is no such setting",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("it does not say %q:\n%s", want, said)
		}
	}
	if strings.Contains(said, "hunter") || strings.Contains(said, dir) {
		t.Errorf("a value or a path is shown:\n%s", said)
	}
}

// TestASecretOfAFileIsUsed: without its line's end; the command line goes before it, and others' files are nobody's business.
func TestASecretOfAFileIsUsed(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "database")
	if err := os.WriteFile(path, []byte("sqlite:"+filepath.Join(dir, "of-the-file.db")+"\r\n"), 0o444); err != nil { // as Docker mounts it
		t.Fatal(err)
	}
	t.Setenv("CLOSEOUT_DATABASE_URL_FILE", path)
	t.Setenv("CLOSEOUT_SMTP_URL_FILE", "/nonexistent") // the worker's
	for file, args := range map[string][]string{"of-the-file.db": {"migrate"}, "of-the-line.db": {"migrate", "--database-url", "sqlite:" + filepath.Join(dir, "of-the-line.db")}} {
		if status, said := command(t, args...); status != 0 {
			t.Fatalf("%v: status %d: %s", args, status, said)
		}
		if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
			t.Error(err)
		}
	}
}

// TestEachSecretMayBeInAFile: what looks like a secret by its name is tagged as one. Whoever adds a setting hears of it here.
func TestEachSecretMayBeInAFile(t *testing.T) {
	k, err := kong.New(new(cli), kong.Vars{"version": version})
	if err != nil {
		t.Fatal(err)
	}
	secret, told := regexp.MustCompile(`KEY|SECRET|PASSWORD|TOKEN|OPERATORS|(DATABASE|REDIS|SMTP)_URL`), map[string]bool{}
	no := map[string]bool{"CLOSEOUT_OIDC_OPERATORS": true} // names of groups
	err = kong.Visit(k.Model, func(n kong.Visitable, next kong.Next) error {
		if f, ok := n.(*kong.Flag); ok {
			for _, env := range f.Tag.Envs {
				told[env] = true
				if want := secret.MatchString(env) && !no[env]; want != f.Tag.Has("secret") {
					t.Errorf("%s: tagged secret %v, want %v", env, !want, want)
				}
			}
		}
		return next(nil)
	})
	if err != nil || !told["CLOSEOUT_ALPACA_SECRET"] || !told["CLOSEOUT_SMTP_URL"] {
		t.Errorf("%v; seen %v", err, told)
	}
}
