package main

import (
	"bufio"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"golang.org/x/term"

	"closeout/signin"
)

// signIn are the settings of the console's door.
type signIn struct {
	PublicURL string `name:"public-url" env:"CLOSEOUT_PUBLIC_URL" group:"Console" help:"Where browsers find this service, such as https://closeout.firm.example; what speaks TLS stands before this server. Needed for anybody to sign in."`
	Operators string `env:"CLOSEOUT_OPERATORS" secret:"" group:"Console" help:"Operators with passwords, for the first hour or the last resort: name:hash, several with commas. closeout keys operator NAME makes one."`

	OIDCIssuer       string   `name:"oidc-issuer" env:"CLOSEOUT_OIDC_ISSUER" group:"Console" help:"Identity provider (OpenID Connect) by which people sign in, such as https://accounts.firm.example. It sends them back to /signin/oidc/back below the public URL."`
	OIDCClientID     string   `name:"oidc-client-id" env:"CLOSEOUT_OIDC_CLIENT_ID" group:"Console" help:"As what it knows this service."`
	OIDCClientSecret string   `name:"oidc-client-secret" env:"CLOSEOUT_OIDC_CLIENT_SECRET" secret:"" group:"Console" help:"And by which secret."`
	OIDCClaim        string   `name:"oidc-claim" env:"CLOSEOUT_OIDC_CLAIM" default:"groups" group:"Console" help:"Claim of the ID token that lists a person's groups or roles; realm_access.roles leads into an object."`
	OIDCOperators    []string `name:"oidc-operators" env:"CLOSEOUT_OIDC_OPERATORS" group:"Console" help:"Values of it that make an operator, with commas."`
	OIDCViewers      []string `name:"oidc-viewers" env:"CLOSEOUT_OIDC_VIEWERS" group:"Console" help:"And a viewer, who sees everything and does nothing. Nobody without one of these comes in."`
}

// check reads who may sign in. Nothing that is set is nobody.
func (c signIn) check(bad *complaints) signin.Settings {
	s := signin.Settings{PublicURL: strings.TrimSuffix(c.PublicURL, "/")}
	if s.PublicURL != "" && !webAddress(s.PublicURL, "") {
		bad.add("CLOSEOUT_PUBLIC_URL", "want https:// and a host, with no path; plain http is for this machine alone")
	}
	if c.Operators != "" {
		var err error
		if s.Passwords, err = signin.ParsePasswords(c.Operators); err != nil {
			bad.add("CLOSEOUT_OPERATORS", "%v", err)
		}
	}
	if c.OIDCIssuer != "" {
		s.OIDC = &signin.OIDC{Issuer: c.OIDCIssuer, ClientID: c.OIDCClientID, ClientSecret: c.OIDCClientSecret, Claim: strings.TrimSpace(c.OIDCClaim), Operators: given(c.OIDCOperators), Viewers: given(c.OIDCViewers)}
		if !webAddress(c.OIDCIssuer, "/") {
			bad.add("CLOSEOUT_OIDC_ISSUER", "is no https:// URL without a user; plain http is for a provider on this machine alone")
		}
		if c.OIDCClientID == "" {
			bad.add("CLOSEOUT_OIDC_CLIENT_ID", "must be given with an issuer")
		}
		if c.OIDCClientSecret == "" {
			bad.add("CLOSEOUT_OIDC_CLIENT_SECRET", "must be given with an issuer")
		}
		if strings.TrimSpace(c.OIDCClaim) == "" {
			bad.add("CLOSEOUT_OIDC_CLAIM", "must name a claim, such as groups")
		}
		if len(s.OIDC.Operators)+len(s.OIDC.Viewers) == 0 {
			bad.add("CLOSEOUT_OIDC_OPERATORS, CLOSEOUT_OIDC_VIEWERS", "without a group that may come in nobody can")
		}
	} else if c.OIDCClientID != "" || c.OIDCClientSecret != "" || len(c.OIDCOperators)+len(c.OIDCViewers) > 0 {
		bad.add("CLOSEOUT_OIDC_ISSUER", "must be given with the other settings of the identity provider")
	}
	if s.PublicURL == "" && (c.Operators != "" || c.OIDCIssuer != "") {
		bad.add("CLOSEOUT_PUBLIC_URL", "must be given where people sign in, such as https://closeout.firm.example")
	}
	return s
}

// given are the texts of a list that are not empty, without the blanks around them.
func given(list []string) []string {
	var out []string
	for _, s := range list {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// webAddress says whether u is https, or http on this machine, with a host and no more than a path that begins so; "" means
// that it has none.
func webAddress(u, path string) bool {
	p, err := url.Parse(u)
	return err == nil && p.Host != "" && p.User == nil && p.RawQuery == "" && p.Fragment == "" && (p.Path == "" || path != "") &&
		(p.Scheme == "https" || p.Scheme == "http" && loopback(p.Hostname()))
}

type keysOperatorCmd struct {
	Name string `arg:"" help:"The operator's name: the actor, operator:NAME, of what they do."`
}

// Run asks for a password and prints what CLOSEOUT_OPERATORS takes, alone on the standard output.
func (c *keysOperatorCmd) Run(o output) error {
	secret, err := readPassword(os.Stdin, o.err)
	if err != nil {
		return err
	}
	entry, err := signin.MakePassword(c.Name, secret)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(o.err, "Set this as CLOSEOUT_OPERATORS, in single quotes: it has dollar signs. In a compose file double each of them."); err != nil {
		return err
	}
	_, err = fmt.Fprintln(o.out, entry)
	return err
}

// readPassword reads one line, without showing it where it is typed.
func readPassword(in *os.File, say io.Writer) (string, error) {
	if !term.IsTerminal(int(in.Fd())) {
		line, err := bufio.NewReader(io.LimitReader(in, 1024)).ReadString('\n')
		if err != nil && line == "" {
			return "", fmt.Errorf("read the password: %w", err)
		}
		return strings.TrimRight(line, "\r\n"), nil
	}
	ask := func(what string) (string, error) {
		if _, err := fmt.Fprint(say, what); err != nil {
			return "", err
		}
		b, err := term.ReadPassword(int(in.Fd()))
		_, _ = fmt.Fprintln(say)
		return string(b), err
	}
	first, err := ask(fmt.Sprintf("Password, at least %d characters: ", signin.LeastPassword))
	if err != nil {
		return "", err
	}
	again, err := ask("Once more: ")
	if err != nil {
		return "", err
	}
	if first != again {
		return "", fmt.Errorf("these are two different passwords; nothing was made")
	}
	return first, nil
}
