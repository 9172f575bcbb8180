package console

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"closeout/signin"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/coreos/go-oidc/v3/oidc/oidctest"
)

// idp is an identity provider that says what a test wants it to.
type idp struct {
	*httptest.Server
	t      testing.TB
	key    *ecdsa.PrivateKey
	asked  url.Values // when a browser was sent here
	codes  map[string]bool
	claims map[string]any // over the good ones; nil takes one away
	sign   func(claims string) string
	answer map[string]any // over the good answer to a code
	fails  int            // the status that a code is answered with
	away   atomic.Bool    // it hangs up
}

const clientSecret = "the-clients-own-secret"

func newIDP(tb testing.TB) *idp {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(tb, err)
	p := &idp{t: tb, key: key, codes: map[string]bool{}}
	known := &oidctest.Server{PublicKeys: []oidctest.PublicKey{{PublicKey: key.Public(), KeyID: "1", Algorithm: oidc.ES256}}}
	p.sign = func(claims string) string { return oidctest.SignIDToken(key, "1", oidc.ES256, claims) }
	mux := http.NewServeMux()
	mux.Handle("/", known)
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{
			"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys",
			"id_token_signing_alg_values_supported": []string{"ES256"}, "scopes_supported": []string{"openid", "groups"},
		})
	})
	mux.HandleFunc("POST /token", p.token)
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.away.Load() {
			panic(http.ErrAbortHandler)
		}
		mux.ServeHTTP(w, r)
	}))
	known.SetIssuer(p.URL)
	tb.Cleanup(p.Close)
	return p
}

// token answers a code, once, and only to who has begun the sign-in: the verifier must fit the challenge.
func (p *idp) token(w http.ResponseWriter, r *http.Request) {
	sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	id, secret, _ := r.BasicAuth()
	code := r.PostFormValue("code")
	if p.fails != 0 {
		http.Error(w, "no: "+clientSecret, p.fails)
		return
	}
	if id != "closeout" || secret != clientSecret || !p.codes[code] || base64.RawURLEncoding.EncodeToString(sum[:]) != p.asked.Get("code_challenge") ||
		p.asked.Get("code_challenge_method") != "S256" || r.PostFormValue("redirect_uri") != "http://127.0.0.1:8000/signin/oidc/back" {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"error":"invalid_grant"}`))
		return
	}
	delete(p.codes, code)
	claims := map[string]any{
		"iss": p.URL, "aud": "closeout", "sub": "u-1", "exp": time.Now().Add(time.Minute).Unix(), "iat": time.Now().Unix(), "nonce": p.asked.Get("nonce"),
		"email": "ann@firm.example", "email_verified": true, "groups": []string{"staff", "closeout-operators"},
	}
	for k, v := range p.claims {
		if claims[k] = v; v == nil {
			delete(claims, k)
		}
	}
	b, err := json.Marshal(claims)
	if err != nil {
		p.t.Error(err)
	}
	answer := map[string]any{"access_token": "at", "token_type": "Bearer", "id_token": p.sign(string(b))}
	maps.Copy(answer, p.answer)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

// sent takes a browser that was led here, and gives what it is sent back with.
func (p *idp) sent(a asked) url.Values {
	p.t.Helper()
	to, err := url.Parse(a.Header.Get("Location"))
	must(p.t, err)
	if a.StatusCode != http.StatusSeeOther || to.Scheme+"://"+to.Host != p.URL || to.Path != "/authorize" {
		p.t.Fatalf("%d to %s\n%s", a.StatusCode, to, a.text)
	}
	p.asked = to.Query()
	for _, name := range []string{"state", "nonce", "code_challenge"} {
		if len(p.asked.Get(name)) < 20 {
			p.t.Errorf("%s is %q", name, p.asked.Get(name))
		}
	}
	if s := p.asked.Get("scope"); s != "openid profile email groups" || p.asked.Get("response_type") != "code" {
		p.t.Errorf("asked for %v", p.asked)
	}
	code := rand.Text()
	p.codes[code] = true
	return url.Values{"code": {code}, "state": {p.asked.Get("state")}}
}

func (p *idp) settings() signin.Settings {
	return signin.Settings{PublicURL: "http://127.0.0.1:8000", OIDC: &signin.OIDC{
		Issuer: p.URL, ClientID: "closeout", ClientSecret: clientSecret, Operators: []string{"closeout-operators"}, Viewers: []string{"closeout-viewers", "audit"},
	}}
}

func TestPeopleSignInByTheirProvider(t *testing.T) {
	for name, tc := range map[string]struct {
		claims map[string]any
		claim  string
		want   signin.Person
		refuse string
	}{
		"an operator":               {want: signin.Person{Name: "ann@firm.example", Role: signin.Operator}},
		"a viewer":                  {claims: map[string]any{"groups": []string{"audit"}}, want: signin.Person{Name: "ann@firm.example", Role: signin.Viewer}},
		"both":                      {claims: map[string]any{"groups": []string{"audit", "closeout-operators"}}, want: signin.Person{Name: "ann@firm.example", Role: signin.Operator}},
		"one group as a text":       {claims: map[string]any{"groups": "audit"}, want: signin.Person{Name: "ann@firm.example", Role: signin.Viewer}},
		"roles within an object":    {claims: map[string]any{"groups": nil, "realm_access": map[string]any{"roles": []string{"audit"}}}, claim: "realm_access.roles", want: signin.Person{Name: "ann@firm.example", Role: signin.Viewer}},
		"a claim with dots":         {claims: map[string]any{"https://firm.example/roles": []string{"audit"}}, claim: "https://firm.example/roles", want: signin.Person{Name: "ann@firm.example", Role: signin.Viewer}},
		"an address nobody checked": {claims: map[string]any{"email_verified": false, "preferred_username": "bob"}, want: signin.Person{Name: "bob#a24a7f55", Role: signin.Operator}},
		"a chosen address":          {claims: map[string]any{"email_verified": nil, "email": "eve@firm.example", "preferred_username": "ann@firm.example"}, want: signin.Person{Name: "ann@firm.example#a24a7f55", Role: signin.Operator}},
		"no name at all":            {claims: map[string]any{"email": nil, "email_verified": nil}, want: signin.Person{Name: "person#a24a7f55", Role: signin.Operator}},
		"verified as a text":        {claims: map[string]any{"email_verified": "true"}, want: signin.Person{Name: "ann@firm.example", Role: signin.Operator}},
		"script in the name":        {claims: map[string]any{"email": nil, "preferred_username": "<script>alert(1)</script>\n\x00#00000000"}, want: signin.Person{Name: "<script>alert(1)</script>_00000000#a24a7f55", Role: signin.Operator}},

		"none of the groups":        {claims: map[string]any{"groups": []string{"staff"}}, refuse: "none of your groups"},
		"no groups":                 {claims: map[string]any{"groups": nil}, refuse: "none of your groups"},
		"groups that are no texts":  {claims: map[string]any{"groups": map[string]any{"closeout-operators": true}}, refuse: "none of your groups"},
		"a group that begins alike": {claims: map[string]any{"groups": []string{"closeout-operators2", "Closeout-Operators"}}, refuse: "none of your groups"},
		"groups as numbers":         {claims: map[string]any{"groups": []any{1, true, nil}}, refuse: "none of your groups"},
		"another nonce":             {claims: map[string]any{"nonce": "x"}, refuse: "can&#39;t be accepted"},
		"no nonce":                  {claims: map[string]any{"nonce": nil}, refuse: "can&#39;t be accepted"},
		"another audience":          {claims: map[string]any{"aud": "shop"}, refuse: "can&#39;t be accepted"},
		"for another client":        {claims: map[string]any{"aud": []string{"closeout", "shop"}, "azp": "shop"}, refuse: "can&#39;t be accepted"},
		"for nobody knows whom":     {claims: map[string]any{"aud": []string{"closeout", "shop"}}, refuse: "can&#39;t be accepted"},
		"another issuer":            {claims: map[string]any{"iss": "https://evil.example"}, refuse: "can&#39;t be accepted"},
		"expired":                   {claims: map[string]any{"exp": time.Now().Add(-time.Minute).Unix()}, refuse: "can&#39;t be accepted"},
		"no expiry":                 {claims: map[string]any{"exp": nil}, refuse: "can&#39;t be accepted"},
		"not yet":                   {claims: map[string]any{"nbf": time.Now().Add(time.Hour).Unix()}, refuse: "can&#39;t be accepted"},
		"no subject":                {claims: map[string]any{"sub": ""}, refuse: "can&#39;t be accepted"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newIDP(t)
			s := p.settings()
			s.OIDC.Claim = tc.claim
			d := newDoorBench(t, s)
			b := d.visitor()
			b.shows(b.get("/signin?next=/page"), 200, "/signin/oidc?next=%2Fpage", p.Listener.Addr().String())
			p.claims = tc.claims
			q := p.sent(b.get("/signin/oidc?next=/page"))
			back := b.get("/signin/oidc/back?" + q.Encode())
			if len(b.cookies) > 1 || b.cookies["closeout-signin"] != nil {
				t.Errorf("cookies after it: %v", b.cookies)
			}
			log := d.log.String()
			for _, secret := range []string{clientSecret, q.Get("code"), q.Get("state"), p.asked.Get("nonce")} {
				if strings.Contains(log, secret) {
					t.Errorf("%q is logged:\n%s", secret, log)
				}
			}
			if tc.refuse != "" {
				b.shows(back, 403, tc.refuse)
				b.leads(b.get("/page"), "/signin?next=%2Fpage")
				if d.kept() != "" || !strings.Contains(log, `msg="sign-in refused"`) {
					t.Errorf("kept %q, logged\n%s", d.kept(), log)
				}
				return
			}
			b.leads(back, "/page")
			if who := d.Who(withCookies(b)); who != tc.want {
				t.Errorf("%+v, want %+v", who, tc.want)
			}
			if a := b.get("/page"); strings.Contains(a.text, "<script>alert") {
				t.Errorf("a script in the page:\n%s", a.text)
			}
			if !strings.Contains(log, `msg="signed in"`) || !strings.Contains(log, "subject=a24a7f55") {
				t.Errorf("logged\n%s", log)
			}
			again := b.get("/signin/oidc/back?" + q.Encode()) // the answer once more
			b.shows(again, 403)
		})
	}
}

func TestAnswersThatAreNotTheProvidersAreRefused(t *testing.T) {
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	unsigned := func(claims string) string {
		return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + "."
	}
	for name, change := range map[string]func(p *idp, b *visitor, q url.Values){
		"another state":        func(_ *idp, _ *visitor, q url.Values) { q.Set("state", "x") },
		"no state":             func(_ *idp, _ *visitor, q url.Values) { q.Del("state") },
		"another browser":      func(_ *idp, b *visitor, _ url.Values) { clear(b.cookies) },
		"an empty cookie":      func(_ *idp, b *visitor, q url.Values) { b.cookies["closeout-signin"].Value = ""; q.Del("state") },
		"a cookie of nonsense": func(_ *idp, b *visitor, q url.Values) { b.cookies["closeout-signin"].Value = "e30"; q.Del("state") },
		"another code":         func(_ *idp, _ *visitor, q url.Values) { q.Set("code", "x") },
		"no code":              func(_ *idp, _ *visitor, q url.Values) { q.Del("code") },
		"another's sign-in":    func(p *idp, _ *visitor, _ url.Values) { p.asked.Set("code_challenge", "x") },
		"another key": func(p *idp, _ *visitor, _ url.Values) {
			p.sign = func(claims string) string { return oidctest.SignIDToken(other, "1", oidc.ES256, claims) }
		},
		"unsigned":          func(p *idp, _ *visitor, _ url.Values) { p.sign = unsigned },
		"no token at all":   func(p *idp, _ *visitor, _ url.Values) { p.answer = map[string]any{"id_token": nil} },
		"nonsense":          func(p *idp, _ *visitor, _ url.Values) { p.sign = func(string) string { return "a.b.c" } },
		"a broken provider": func(p *idp, _ *visitor, _ url.Values) { p.fails = 500 },
		"a refusal":         func(_ *idp, _ *visitor, q url.Values) { q.Del("code"); q.Set("error", "access_denied") },
		"a script":          func(_ *idp, _ *visitor, q url.Values) { q.Set("error", "<script>alert(1)</script>") },
	} {
		t.Run(name, func(t *testing.T) {
			p := newIDP(t)
			d := newDoorBench(t, p.settings())
			b := d.visitor()
			q := p.sent(b.get("/signin/oidc?next=/page"))
			change(p, b, q)
			a := b.get("/signin/oidc/back?" + q.Encode())
			b.shows(a, 403, "Not signed in")
			if strings.Contains(a.text, "<script>alert") || strings.Contains(a.text+d.log.String(), clientSecret) {
				t.Errorf("shown or logged:\n%s\n%s", a.text, &d.log)
			}
			if name == "a refusal" && !strings.Contains(a.text, "access_denied") {
				t.Errorf("the provider's word is not shown:\n%s", a.text)
			}
			b.leads(b.get("/page"), "/signin?next=%2Fpage")
			if d.kept() != "" || !strings.Contains(d.log.String(), `msg="sign-in refused"`) {
				t.Errorf("kept %q, logged\n%s", d.kept(), &d.log)
			}
		})
	}
}

func TestAProviderLeadsNowhereElse(t *testing.T) {
	p := newIDP(t)
	b := newDoorBench(t, p.settings()).visitor()
	q := p.sent(b.get("/signin/oidc?next=" + url.QueryEscape("https://evil.example/")))
	b.leads(b.get("/signin/oidc/back?"+q.Encode()), "/")

	q = p.sent(b.get("/signin/oidc?next=/page"))
	f := map[string]string{}
	raw, err := base64.RawURLEncoding.DecodeString(b.cookies["closeout-signin"].Value)
	must(t, err)
	must(t, json.Unmarshal(raw, &f))
	if f["next"] != "/page" {
		t.Fatalf("the browser keeps %v", f)
	}
	f["next"] = "//evil.example"
	raw, err = json.Marshal(f)
	must(t, err)
	b.cookies["closeout-signin"].Value = base64.RawURLEncoding.EncodeToString(raw)
	b.leads(b.get("/signin/oidc/back?"+q.Encode()), "/")
}

func TestAProviderThatIsAwayIsAskedAgain(t *testing.T) {
	p := newIDP(t)
	s := p.settings()
	d := newDoorBench(t, s)
	b := d.visitor()
	p.away.Store(true)
	b.shows(b.get("/signin/oidc"), 503, "does not answer", "CLOSEOUT_OIDC_ISSUER")
	p.away.Store(false)
	q := p.sent(b.get("/signin/oidc"))
	b.leads(b.get("/signin/oidc/back?"+q.Encode()), "/")
	again := func() signin.Person {
		k, err := New(Options{Ledger: d.ledger, SignIn: s})
		must(t, err)
		return k.Who(withCookies(b))
	}
	if who := again(); who.Role != signin.Operator {
		t.Errorf("after a restart: %+v", who)
	}
	for what, change := range map[string]func(o *signin.OIDC){
		"another provider":      func(o *signin.OIDC) { o.Issuer = "https://another.example" },
		"another client":        func(o *signin.OIDC) { o.ClientID = "shop" },
		"other groups":          func(o *signin.OIDC) { o.Operators = []string{"others"} },
		"no operators any more": func(o *signin.OIDC) { o.Operators = nil },
		"another claim":         func(o *signin.OIDC) { o.Claim = "roles" },
	} {
		o := *p.settings().OIDC
		change(&o)
		s.OIDC = &o
		if who := again(); who != (signin.Person{}) {
			t.Errorf("%s: %+v", what, who)
		}
	}
}
