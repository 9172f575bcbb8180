package signin

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// OIDC says which identity provider knows the firm's people, and who of them may come in.
type OIDC struct {
	Issuer       string // its address, as it names itself
	ClientID     string
	ClientSecret string
	Claim        string   // that names a person's groups or roles; a dot leads into it, as in realm_access.roles
	Operators    []string // values of it that make an operator
	Viewers      []string // and a viewer
}

// Where a provider sends people back to, below the public address; and how long, in machine time, they may take, and it may.
const (
	oidcPath     = "/signin/oidc"
	oidcBackPath = "/signin/oidc/back"
	flowTime     = 10 * time.Minute
	oidcTimeout  = 10 * time.Second
)

// provider signs people in by OpenID Connect: authorization code, PKCE, state and nonce. It is asked for its description at
// the first sign-in, so that a server starts without it.
type provider struct {
	OIDC
	redirect string
	client   *http.Client

	mu    sync.Mutex
	known *oidc.Provider
}

// flow is what a browser keeps between its leaving for the provider and its coming back.
type flow struct {
	State    string `json:"state"`
	Nonce    string `json:"nonce"`
	Verifier string `json:"verifier"`
	Next     string `json:"next"` // where the person was
}

func newProvider(o OIDC, publicURL string) *provider {
	o.Claim = cmp.Or(o.Claim, "groups")
	return &provider{OIDC: o, redirect: publicURL + oidcBackPath, client: &http.Client{Timeout: oidcTimeout}}
}

// proof is what a session rests on that this provider began: it ends when another provider is asked, or other groups come in.
func (p *provider) proof() string {
	b, _ := json.Marshal([]any{p.Issuer, p.ClientID, p.Claim, p.Operators, p.Viewers}) // texts
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

// config asks the provider who it is, once.
func (p *provider) config(ctx context.Context) (*oidc.Provider, *oauth2.Config, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known == nil {
		known, err := oidc.NewProvider(ctx, p.Issuer)
		if err != nil {
			return nil, nil, fmt.Errorf("ask the identity provider: %w", err)
		}
		p.known = known
	}
	scopes := []string{oidc.ScopeOpenID, oidc.ScopeProfile, oidc.ScopeEmail}
	var says struct {
		Scopes []string `json:"scopes_supported"`
	}
	if err := p.known.Claims(&says); err == nil && slices.Contains(says.Scopes, "groups") {
		scopes = append(scopes, "groups") // some tell no groups unless asked; others refuse to be asked
	}
	return p.known, &oauth2.Config{ClientID: p.ClientID, ClientSecret: p.ClientSecret, Endpoint: p.known.Endpoint(), RedirectURL: p.redirect, Scopes: scopes}, nil
}

// begin says where to send a browser, and what it must bring back.
func (p *provider) begin(ctx context.Context, next string) (to string, f flow, err error) {
	_, cfg, err := p.config(oidc.ClientContext(ctx, p.client))
	if err != nil {
		return "", f, err
	}
	f = flow{State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(), Next: next}
	return cfg.AuthCodeURL(f.State, oidc.Nonce(f.Nonce), oauth2.S256ChallengeOption(f.Verifier)), f, nil
}

// claims are what is read of an ID token, beside the claim that names the groups.
type claims struct {
	Email    string    `json:"email"`
	Verified *truth    `json:"email_verified"`
	Username string    `json:"preferred_username"`
	AZP      string    `json:"azp"`
	Rest     claimTree `json:"-"`
}

// truth is a boolean that some providers write as a text.
type truth bool

// UnmarshalJSON implements json.Unmarshaler.
func (t *truth) UnmarshalJSON(b []byte) error {
	*t = truth(string(b) == "true" || string(b) == `"true"`)
	return nil
}

type claimTree map[string]any

// at gives the texts of a claim, which may be one text or a list. Dots lead into objects, where no claim has the whole name.
func (t claimTree) at(name string) []string {
	v, ok := t[name]
	if !ok {
		first, rest, deeper := strings.Cut(name, ".")
		inner, _ := t[first].(map[string]any)
		if !deeper || inner == nil {
			return nil
		}
		return claimTree(inner).at(rest)
	}
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		var out []string
		for _, one := range v {
			if s, ok := one.(string); ok {
				out = append(out, s)
			}
		}
		return out
	}
	return nil
}

// errNoRole says that the provider knows the person, and this service lets them do nothing.
var errNoRole = errors.New("none of the person's groups may come in")

// refusedAt is a word of the provider's about why nobody was signed in.
type refusedAt struct{ code string }

func (e *refusedAt) Error() string { return "the identity provider says: " + e.code }

var oauthCode = regexp.MustCompile(`^[a-z_]{1,64}$`)

// finish reads what the provider has sent a browser back with. A person comes with errNoRole too, to be named.
func (p *provider) finish(r *http.Request, f flow) (who Person, subject string, err error) {
	q := r.URL.Query()
	if f.State == "" || subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(f.State)) != 1 {
		return who, "", errors.New("the answer belongs to no sign-in of this browser: its state differs")
	}
	if code := q.Get("error"); code != "" {
		if !oauthCode.MatchString(code) {
			code = "an error that is none of the standard's"
		}
		return who, "", &refusedAt{code}
	}
	ctx := oidc.ClientContext(r.Context(), p.client)
	known, cfg, err := p.config(ctx)
	if err != nil {
		return who, "", err
	}
	got, err := cfg.Exchange(ctx, q.Get("code"), oauth2.VerifierOption(f.Verifier))
	if err != nil {
		var e *oauth2.RetrieveError
		if errors.As(err, &e) { // its text repeats the provider's answer, whatever that holds
			err = fmt.Errorf("status %d", e.Response.StatusCode)
		}
		return who, "", fmt.Errorf("exchange the code: %w", err)
	}
	raw, ok := got.Extra("id_token").(string)
	if !ok {
		return who, "", errors.New("the provider's answer has no ID token")
	}
	token, err := known.VerifierContext(ctx, &oidc.Config{ClientID: p.ClientID}).Verify(ctx, raw)
	if err != nil {
		return who, "", fmt.Errorf("verify the ID token: %w", err)
	}
	if subtle.ConstantTimeCompare([]byte(token.Nonce), []byte(f.Nonce)) != 1 {
		return who, "", errors.New("the ID token was made for another sign-in: its nonce differs")
	}
	var c claims
	if err := errors.Join(token.Claims(&c), token.Claims(&c.Rest)); err != nil {
		return who, "", fmt.Errorf("read the ID token: %w", err)
	}
	if token.Subject == "" || c.AZP != "" && c.AZP != p.ClientID || len(token.Audience) > 1 && c.AZP == "" {
		return who, "", errors.New("the ID token was issued to another client, or to nobody")
	}
	who, subject = c.person(token.Subject)
	who.Role, err = p.role(c.Rest)
	return who, subject, err
}

func (p *provider) role(t claimTree) (Role, error) {
	mine := t.at(p.Claim)
	in := func(some []string) bool {
		return slices.ContainsFunc(some, func(s string) bool { return slices.Contains(mine, s) })
	}
	switch {
	case in(p.Operators):
		return Operator, nil
	case in(p.Viewers):
		return Viewer, nil
	}
	return "", errNoRole
}

// wanted are the groups of which one is needed, for people.
func (p *provider) wanted() string {
	return "one of these: " + strings.Join(append(slices.Clone(p.Operators), p.Viewers...), ", ")
}

// person names somebody, as what they do will be signed for good: by an address that the provider has verified. Whatever
// else it tells a person may have chosen, so that a mark of the subject, which is nobody else's, stands beside it.
func (c claims) person(sub string) (who Person, subject string) {
	sum := sha256.Sum256([]byte(sub))
	subject = hex.EncodeToString(sum[:4])
	if c.Verified != nil && bool(*c.Verified) && strings.Contains(c.Email, "@") {
		return Person{Name: named(c.Email)}, subject
	}
	return Person{Name: cmp.Or(named(c.Username), "person") + "#" + subject}, subject
}

// named is a name as it can stand in a line of history: short, and of signs that show.
func named(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return !printable(r) || r == '#' || r == ' ' }), "_")
	if rs := []rune(s); len(rs) > 64 {
		s = string(rs[:64])
	}
	return s
}

// keepFlow gives a browser what it must bring back, and takes it away with a zero one.
func keepFlow(w http.ResponseWriter, name string, secure bool, f flow) {
	c := &http.Cookie{Name: name, Path: "/", HttpOnly: true, Secure: secure, SameSite: http.SameSiteLaxMode, MaxAge: int(flowTime.Seconds())}
	if f == (flow{}) {
		c.MaxAge = -1
	} else {
		b, _ := json.Marshal(f) // four texts
		c.Value = base64.RawURLEncoding.EncodeToString(b)
	}
	http.SetCookie(w, c)
}

// keptFlow is what the browser brought back; the zero one, if nothing that can be read.
func keptFlow(r *http.Request, name string) flow {
	var f flow
	c, err := r.Cookie(name)
	if err != nil {
		return f
	}
	b, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err != nil || json.Unmarshal(b, &f) != nil {
		return flow{}
	}
	return f
}
