package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"closeout/signin"
)

func TestSettingsOfTheDoor(t *testing.T) {
	entry, err := signin.MakePassword("ann", "correct horse battery")
	if err != nil {
		t.Fatal(err)
	}
	provider := signIn{PublicURL: "https://c.example", OIDCIssuer: "https://accounts.example/tenant/", OIDCClientID: "closeout", OIDCClientSecret: "s", OIDCClaim: "groups", OIDCViewers: []string{" b "}}
	with := func(change func(*signIn)) signIn {
		s := provider
		change(&s)
		return s
	}
	for what, tc := range map[string]struct {
		set  signIn
		want string // the setting that is complained about; "" for none
	}{
		"nothing":                      {set: signIn{OIDCClaim: "groups"}},
		"an operator":                  {set: signIn{PublicURL: "https://c.example/", Operators: entry}},
		"on this machine":              {set: signIn{PublicURL: "http://127.0.0.1:8000", Operators: entry}},
		"a provider":                   {set: provider},
		"both":                         {set: with(func(s *signIn) { s.Operators = entry })},
		"a provider on this machine":   {set: with(func(s *signIn) { s.OIDCIssuer = "http://localhost:9999" })},
		"no public URL":                {set: signIn{Operators: entry}, want: "CLOSEOUT_PUBLIC_URL"},
		"no public URL for a provider": {set: with(func(s *signIn) { s.PublicURL = "" }), want: "CLOSEOUT_PUBLIC_URL"},
		"in clear over the network":    {set: signIn{PublicURL: "http://c.example", Operators: entry}, want: "CLOSEOUT_PUBLIC_URL"},
		"with a path":                  {set: signIn{PublicURL: "https://c.example/closeout"}, want: "CLOSEOUT_PUBLIC_URL"},
		"with a user":                  {set: signIn{PublicURL: "https://me:hunter2@c.example"}, want: "CLOSEOUT_PUBLIC_URL"},
		"no address":                   {set: signIn{PublicURL: "c.example"}, want: "CLOSEOUT_PUBLIC_URL"},
		"a password in clear":          {set: signIn{PublicURL: "https://c.example", Operators: "ann:hunter2"}, want: "CLOSEOUT_OPERATORS"},
		"a provider in clear":          {set: with(func(s *signIn) { s.OIDCIssuer = "http://accounts.example" }), want: "CLOSEOUT_OIDC_ISSUER"},
		"settings of no provider":      {set: with(func(s *signIn) { s.OIDCIssuer = "" }), want: "CLOSEOUT_OIDC_ISSUER"},
		"no client":                    {set: with(func(s *signIn) { s.OIDCClientID = "" }), want: "CLOSEOUT_OIDC_CLIENT_ID"},
		"no secret":                    {set: with(func(s *signIn) { s.OIDCClientSecret = "" }), want: "CLOSEOUT_OIDC_CLIENT_SECRET"},
		"no groups":                    {set: with(func(s *signIn) { s.OIDCViewers = nil }), want: "CLOSEOUT_OIDC_OPERATORS, CLOSEOUT_OIDC_VIEWERS"},
	} {
		var bad complaints
		s := tc.set.check(&bad)
		said := ""
		if err := bad.err(); err != nil {
			said = err.Error()
		}
		if tc.want == "" && said != "" || tc.want != "" && (len(bad) != 1 || !strings.Contains(said, tc.want+":")) || strings.Contains(said, "hunter2") {
			t.Errorf("%s: %q, want a complaint about %q", what, said, tc.want)
		}
		if what == "a provider" && !slices.Equal(s.OIDC.Viewers, []string{"b"}) || strings.HasSuffix(s.PublicURL, "/") {
			t.Errorf("%s: %+v", what, s)
		}
	}
}

// TestKeysOperator prints what the setting takes, and the password nowhere.
func TestKeysOperator(t *testing.T) {
	const secret = "correct horse battery"
	typed := func(want int, line string, args ...string) (stdout, stderr string) {
		t.Helper()
		name := filepath.Join(t.TempDir(), "typed")
		if err := os.WriteFile(name, []byte(line), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		was := os.Stdin
		os.Stdin = f
		defer func() { os.Stdin = was }()
		var out, errs bytes.Buffer
		if got := run(t.Context(), append([]string{"keys", "operator"}, args...), &out, &errs); got != want {
			t.Errorf("%v: status %d, want %d\n%s", args, got, want, &errs)
		}
		return out.String(), errs.String()
	}
	out, said := typed(0, secret+"\r\n", "ann")
	if strings.Contains(out+said, secret) || !strings.HasPrefix(out, "ann:$2a$12$") || !strings.Contains(said, "single quotes") {
		t.Errorf("printed %q and %q", out, said)
	}
	if _, err := signin.ParsePasswords(strings.TrimSpace(out)); err != nil {
		t.Error(err)
	}
	for _, wrong := range [][2]string{{"ann", "short\n"}, {"ann", ""}, {"two words", secret + "\n"}, {"ann", strings.Repeat("x", 73) + "\n"}} {
		if out, said := typed(1, wrong[1], wrong[0]); out != "" || strings.Contains(said, secret) {
			t.Errorf("%q printed %q and %q", wrong, out, said)
		}
	}
}
