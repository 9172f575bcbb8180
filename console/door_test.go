package console

import (
	"bytes"
	"database/sql"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"closeout/signin"

	"github.com/sirupsen/logrus"
	"golang.org/x/crypto/bcrypt"

	"closeout/closure"
	"closeout/ledger"
)

const goodPassword = "correct horse battery"

// goodHash is made once: it takes a while.
var goodHash = sync.OnceValue(func() string {
	b, err := bcrypt.GenerateFromPassword([]byte(goodPassword), bcrypt.DefaultCost)
	if err != nil {
		panic(err)
	}
	return string(b)
})

// doorBench is a console whose door is the real one, with a page for viewers and a deed for operators.
type doorBench struct {
	*bench
	t    testing.TB
	log  bytes.Buffer
	done []string // by whom
}

func newDoorBench(tb testing.TB, s signin.Settings, change ...func(*Options)) *doorBench {
	tb.Helper()
	d := &doorBench{t: tb}
	log := logrus.New()
	log.SetOutput(&d.log)
	d.bench = newBench(tb, append([]func(*Options){func(o *Options) { o.Who, o.SignIn, o.Log = nil, s, log }}, change...)...)
	d.get("/page", signin.Viewer, func(a *ask) (page, error) {
		return page{Template: "trouble", Title: "The page", Data: trouble{Title: "The page", Detail: a.URL.Query().Get("x")}}, nil
	})
	d.post("/deed", signin.Operator, func(a *ask) (string, error) {
		d.done = append(d.done, a.Who.Actor())
		d.say(a, "It is done.")
		return "/page", nil
	})
	return d
}

func byName(tb testing.TB, names ...string) signin.Settings {
	tb.Helper()
	var all []string
	for _, name := range names {
		all = append(all, name+":"+goodHash())
	}
	p, err := signin.ParsePasswords(strings.Join(all, ","))
	must(tb, err)
	return signin.Settings{PublicURL: "http://127.0.0.1:8000", Passwords: p}
}

// visitor keeps cookies, as one does that has a single site open.
type visitor struct {
	t       testing.TB
	to      http.Handler
	host    string
	from    string
	cookies map[string]*http.Cookie
}

func (d *doorBench) visitor() *visitor {
	return &visitor{t: d.t, to: d, host: "127.0.0.1:8000", from: "192.0.2.1:1234", cookies: map[string]*http.Cookie{}}
}

// asked is an answer to a browser.
type asked struct {
	*http.Response
	text string
}

func (b *visitor) ask(method, path string, form url.Values, headers ...string) asked {
	b.t.Helper()
	r := httptest.NewRequestWithContext(b.t.Context(), method, path, strings.NewReader(form.Encode()))
	r.Host, r.RemoteAddr = b.host, b.from
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	for n := 0; n+1 < len(headers); n += 2 {
		r.Header.Set(headers[n], headers[n+1])
	}
	for _, c := range b.cookies {
		r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	}
	w := httptest.NewRecorder()
	b.to.ServeHTTP(w, r)
	got := w.Result()
	if kept := got.Header["Cache-Control"]; len(kept) != 1 {
		b.t.Errorf("%s %s has %d headers that say what may be kept: %q", method, path, len(kept), kept)
	}
	text, err := io.ReadAll(got.Body)
	must(b.t, err)
	for _, c := range got.Cookies() {
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
			continue
		}
		b.cookies[c.Name] = c
	}
	return asked{got, string(text)}
}

func (b *visitor) get(path string, headers ...string) asked {
	b.t.Helper()
	return b.ask(http.MethodGet, path, nil, headers...)
}

func (b *visitor) post(path string, form url.Values, headers ...string) asked {
	b.t.Helper()
	return b.ask(http.MethodPost, path, form, headers...)
}

// leads demands a redirect.
func (b *visitor) leads(a asked, to string) {
	b.t.Helper()
	if a.StatusCode != http.StatusSeeOther || a.Header.Get("Location") != to {
		b.t.Errorf("%d to %q, want 303 to %q\n%s", a.StatusCode, a.Header.Get("Location"), to, a.text)
	}
}

// shows demands a page with these texts.
func (b *visitor) shows(a asked, status int, texts ...string) {
	b.t.Helper()
	if a.StatusCode != status {
		b.t.Errorf("status %d, want %d (to %q)\n%s", a.StatusCode, status, a.Header.Get("Location"), a.text)
	}
	for _, s := range texts {
		if !strings.Contains(a.text, s) {
			b.t.Errorf("%q is not said:\n%s", s, a.text)
		}
	}
}

// signIn signs in by the password.
func (b *visitor) signIn(name string) {
	b.t.Helper()
	b.leads(b.post("/signin", url.Values{"name": {name}, "password": {goodPassword}}), "/")
}

func (b *visitor) session() string {
	b.t.Helper()
	for _, c := range b.cookies {
		if strings.HasSuffix(c.Name, "closeout") {
			return c.Value
		}
	}
	return ""
}

func TestSignInLeadsBackAndSignOutIsForGood(t *testing.T) {
	d := newDoorBench(t, byName(t, "ann"))
	b := d.visitor()
	b.leads(b.get("/page?x=1&y=%2F"), "/signin?next=%2Fpage%3Fx%3D1%26y%3D%252F")
	b.shows(b.get("/signin?next=%2Fpage%3Fx%3D1"), 200, `value="/page?x=1"`, `name="password"`, "led back")
	b.shows(b.post("/signin", url.Values{"name": {"ann"}, "password": {"guess"}, "next": {"/page?x=1"}}), 401, "wrong", `value="/page?x=1"`, `value="ann"`)
	if b.session() != "" || d.kept() != "" {
		t.Errorf("a session for nobody: %q, %s", b.session(), d.kept())
	}
	b.leads(b.post("/signin", url.Values{"name": {"ann"}, "password": {goodPassword}, "next": {"/page?x=1"}}), "/page?x=1")
	c := b.cookies["closeout"]
	if c == nil || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" || c.MaxAge != 0 || len(c.Value) < 40 {
		t.Errorf("the cookie: %v", c)
	}
	b.shows(b.get("/page?x=%3Cscript%3E"), 200, "ann", "&lt;script&gt;")
	b.leads(b.get("/signin?next=/page"), "/page")
	b.leads(b.post("/deed", nil), "/page")
	b.shows(b.get("/page"), 200, "It is done.")
	if a := b.get("/page"); strings.Contains(a.text, "It is done.") {
		t.Error("it was said twice")
	}
	old := *b.cookies["closeout"]
	b.shows(b.get("/signout"), 404) // a link signs nobody out
	b.shows(b.get("/page"), 200)
	b.leads(b.post("/signout", nil), "/signin")
	if len(b.cookies) != 0 {
		t.Errorf("the browser keeps %v", b.cookies)
	}
	b.cookies["closeout"] = &old
	b.leads(b.get("/page"), "/signin?next=%2Fpage")
	b.cookies["closeout"] = &old
	b.leads(b.post("/deed", nil, "Referer", "http://127.0.0.1:8000/page?x=1"), "/signin?next=%2Fpage%3Fx%3D1")
	if len(d.done) != 1 || d.done[0] != "operator:ann" {
		t.Errorf("done by %v", d.done)
	}
	for _, line := range []string{`msg="sign-in refused"`, `msg="signed in"`, `msg="signed out"`, "person=ann", "role=operator", "from=192.0.2.1"} {
		if !strings.Contains(d.log.String(), line) {
			t.Errorf("%s is not logged:\n%s", line, &d.log)
		}
	}
	for what, secret := range map[string]string{"password": goodPassword, "guess": "guess", "token": old.Value, "hash": goodHash()} {
		if strings.Contains(d.log.String(), secret) || strings.Contains(d.kept(), secret) {
			t.Errorf("the %s is logged or kept:\n%s\n%s", what, &d.log, d.kept())
		}
	}
}

// kept is what the ledger has of all sessions.
func (d *doorBench) kept() string {
	d.t.Helper()
	db, err := sql.Open("sqlite", "file:"+d.path+"?_pragma=busy_timeout(5000)")
	must(d.t, err)
	defer func() { must(d.t, db.Close()) }()
	rows, err := db.QueryContext(d.t.Context(), "SELECT token_hash || ' ' || data FROM sessions")
	must(d.t, err)
	defer func() { _ = rows.Close() }()
	var all []string
	for rows.Next() {
		var s string
		must(d.t, rows.Scan(&s))
		all = append(all, s)
	}
	must(d.t, rows.Err())
	return strings.Join(all, "\n")
}

func TestTheCookieOverTLSIsForThisHostAlone(t *testing.T) {
	s := byName(t, "ann")
	s.PublicURL = "https://closeout.firm.example"
	d := newDoorBench(t, s)
	b := d.visitor()
	b.host = "closeout.firm.example"
	b.signIn("ann")
	c := b.cookies["__Host-closeout"]
	if len(b.cookies) != 1 || c == nil || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Domain != "" {
		t.Errorf("%v", b.cookies)
	}
	b.shows(b.get("/page"), 200)
	plain := d.visitor()
	plain.cookies["closeout"] = &http.Cookie{Name: "closeout", Value: c.Value}
	plain.leads(plain.get("/page"), "/signin?next=%2Fpage")
}

func TestASessionHasATokenThatNobodyChose(t *testing.T) {
	d := newDoorBench(t, byName(t, "ann", "ben"))
	b := d.visitor()
	b.cookies["closeout"] = &http.Cookie{Name: "closeout", Value: "chosen-by-somebody-else"}
	b.signIn("ann")
	first := *b.cookies["closeout"]
	if first.Value == "chosen-by-somebody-else" {
		t.Error("the token was taken over")
	}
	b.leads(b.post("/signin", url.Values{"name": {"ben"}, "password": {goodPassword}}), "/")
	if b.session() == first.Value {
		t.Error("another person has the same token")
	}
	b.shows(b.get("/page"), 200, "ben")
	b.cookies["closeout"] = &first
	b.leads(b.get("/page"), "/signin?next=%2Fpage")
}

func TestSessionsEnd(t *testing.T) {
	for name, tc := range map[string]struct {
		every    time.Duration
		headers  []string
		from, to time.Duration // it ends between
	}{
		"for lack of use":       {every: time.Hour + time.Second, from: 0, to: time.Hour + time.Second},
		"after twelve hours":    {every: 50 * time.Minute, from: 11 * time.Hour, to: 12*time.Hour + 50*time.Minute},
		"under an open page":    {every: 10 * time.Minute, headers: []string{"HX-Request", "true"}, from: 50 * time.Minute, to: 70 * time.Minute},
		"under a page's script": {every: 10 * time.Minute, headers: []string{"Sec-Fetch-Dest", "empty"}, from: 50 * time.Minute, to: 70 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDoorBench(t, byName(t, "ann"))
				b := d.visitor()
				b.signIn("ann")
				start := time.Now()
				for time.Since(start) < 14*time.Hour {
					before := time.Since(start)
					time.Sleep(tc.every)
					if d.Who(withCookies(b)).Role == signin.Nobody {
						if before < tc.from || time.Since(start) > tc.to {
							t.Errorf("it ended between %s and %s", before, time.Since(start))
						}
						b.leads(b.get("/page"), "/signin?next=%2Fpage")
						if time.Since(start) < 12*time.Hour && len(b.cookies) != 0 {
							t.Errorf("the browser keeps %v", b.cookies)
						}
						return
					}
					b.shows(b.get("/page", tc.headers...), 200, "The page")
				}
				t.Error("it never ended")
			})
		})
	}
}

// withCookies is a request that comes with a browser's cookies and is no person's doing.
func withCookies(b *visitor) *http.Request {
	r := httptest.NewRequestWithContext(b.t.Context(), http.MethodGet, "/", nil)
	for _, c := range b.cookies {
		r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	}
	return r
}

func TestATamperedCookieIsNobodys(t *testing.T) {
	d := newDoorBench(t, byName(t, "ann"))
	b := d.visitor()
	b.signIn("ann")
	good := b.session()
	flipped := "A" + good[1:]
	if flipped == good {
		flipped = "B" + good[1:]
	}
	for _, value := range []string{
		flipped, good + "x", good[:len(good)-1], strings.ToUpper(good), strings.ToLower(good), "x", strings.Repeat("x", 5000),
		strings.Split(d.kept(), " ")[0], // what the ledger knows of it
		`{"values":{"name":"ann","role":"operator"}}`, "' OR '1'='1",
	} {
		if value == good {
			continue
		}
		b.cookies = map[string]*http.Cookie{"closeout": {Name: "closeout", Value: value}}
		b.leads(b.get("/page"), "/signin?next=%2Fpage")
		b.cookies = map[string]*http.Cookie{"closeout": {Name: "closeout", Value: value}}
		b.leads(b.post("/deed", nil), "/signin")
	}
	if len(d.done) != 0 {
		t.Errorf("done by %v", d.done)
	}
	b.cookies = map[string]*http.Cookie{"closeout": {Name: "closeout", Value: good}}
	b.shows(b.get("/page"), 200)
}

func TestAViewerMayLookAndAForgedPostDoesNothing(t *testing.T) {
	d := newDoorBench(t, signin.Settings{PublicURL: "http://127.0.0.1:8000", OneClick: true})
	b := d.visitor()
	b.shows(b.get("/signin"), 200, "As an operator", "As a viewer")
	b.leads(b.post("/signin/demo", url.Values{"role": {"viewer"}, "next": {"/page"}}), "/page")
	b.shows(b.get("/page"), 200, "viewer")
	b.shows(b.post("/deed", nil), 403, "For operators", "Ask an operator")
	if len(d.done) != 0 {
		t.Errorf("a viewer did it: %v", d.done)
	}
	b.leads(b.post("/signin/demo", url.Values{"role": {"operator"}}), "/")
	for what, header := range map[string][]string{
		"another site":      {"Sec-Fetch-Site", "cross-site"},
		"a neighbour":       {"Sec-Fetch-Site", "same-site"},
		"an older browser":  {"Sec-Fetch-Site", "", "Origin", "https://evil.example"},
		"no origin at all":  {"Sec-Fetch-Site", "", "Origin", "null"},
		"another port here": {"Sec-Fetch-Site", "", "Origin", "http://127.0.0.1:9999"},
	} {
		b.shows(b.post("/deed", nil, header...), 403, "another site")
		if len(d.done) != 0 {
			t.Errorf("%s did it: %v", what, d.done)
		}
		b.shows(b.post("/signout", nil, header...), 403)
	}
	b.leads(b.post("/deed", nil, "Sec-Fetch-Site", "", "Origin", "http://127.0.0.1:8000"), "/page")
	if len(d.done) != 1 {
		t.Errorf("the console's own page did not: %v", d.done)
	}
}

func TestWhatASessionRestsOnMustStillBeSo(t *testing.T) {
	d := newDoorBench(t, byName(t, "ann"))
	b := d.visitor()
	b.signIn("ann")
	other, err := bcrypt.GenerateFromPassword([]byte("another password"), bcrypt.DefaultCost)
	must(t, err)
	changed, err := signin.ParsePasswords("ann:" + string(other))
	must(t, err)
	for what, s := range map[string]signin.Settings{
		"the name is gone":         byName(t, "ben"),
		"the password was changed": {Passwords: changed},
		"nobody signs in":          {},
		"it is a demo":             {OneClick: true},
	} {
		k, err := New(Options{Ledger: d.ledger, SignIn: s})
		must(t, err)
		if who := k.Who(withCookies(b)); who != (signin.Person{}) {
			t.Errorf("%s: %v", what, who)
		}
	}
	k, err := New(Options{Ledger: d.ledger, SignIn: byName(t, "ben", "ann")})
	must(t, err)
	if who := k.Who(withCookies(b)); who != (signin.Person{Name: "ann", Role: signin.Operator}) {
		t.Errorf("after a restart: %v", who)
	}

	demo := newDoorBench(t, signin.Settings{OneClick: true})
	b = demo.visitor()
	b.leads(b.post("/signin/demo", url.Values{"role": {"operator"}}), "/")
	k, err = New(Options{Ledger: demo.ledger, SignIn: byName(t, "demo")})
	must(t, err)
	if who := k.Who(withCookies(b)); who != (signin.Person{}) {
		t.Errorf("a demo's operator at a real server: %v", who)
	}
}

func TestOneClickIsTheDemosAlone(t *testing.T) {
	live, err := ledger.Open(t.Context(), ledger.Options{URL: "sqlite:" + t.TempDir() + "/live.db", Environment: closure.Live, Policy: closure.DefaultPolicy(closure.Live)})
	must(t, err)
	defer func() { must(t, live.Close()) }()
	if _, err := New(Options{Ledger: live, SignIn: signin.Settings{OneClick: true}}); err == nil || !strings.Contains(err.Error(), "live") {
		t.Errorf("accepted with live: %v", err)
	}
	for what, b := range map[string]*visitor{
		"where it is off": newDoorBench(t, byName(t, "ann")).visitor(),
		"a rebound name":  newDoorBench(t, signin.Settings{OneClick: true}).visitor(),
	} {
		if what == "a rebound name" {
			b.host = "evil.example:8000"
		}
		b.shows(b.post("/signin/demo", url.Values{"role": {"operator"}}), 403, "demo alone")
		b.leads(b.get("/page"), "/signin?next=%2Fpage")
	}
	b := newDoorBench(t, signin.Settings{OneClick: true}).visitor()
	b.shows(b.post("/signin/demo", url.Values{"role": {"admin"}}), 403)
	b.shows(b.post("/signin/demo", nil), 403)
	b.host = "localhost:8000"
	b.leads(b.post("/signin/demo", url.Values{"role": {"viewer"}}), "/")
}

func TestWhoGuessesIsSlowedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newDoorBench(t, byName(t, "ann", "ben")).visitor()
		try := func(name, password string) int {
			return b.post("/signin", url.Values{"name": {name}, "password": {password}}).StatusCode
		}
		for range 10 {
			if got := try("ann", "guess"); got != 401 {
				t.Fatalf("%d", got)
			}
		}
		if got := try("ann", goodPassword); got != 429 {
			t.Errorf("the good password after ten guesses: %d", got)
		}
		if got := try("ben", goodPassword); got != 303 {
			t.Errorf("another name: %d", got)
		}
		for n := range 20 { // names at random
			try("x"+strings.Repeat("y", n), "guess")
		}
		if got := try("ben", goodPassword); got != 429 {
			t.Errorf("an address that guesses names: %d", got)
		}
		b.from = "[2001:db8::1]:99"
		if got := try("ben", goodPassword); got != 303 {
			t.Errorf("another address: %d", got)
		}
		time.Sleep(30 * time.Second)
		if got := try("ann", goodPassword); got != 303 {
			t.Errorf("half a minute later: %d", got)
		}
	})
}

func TestWhereOneIsLedBackToIsHere(t *testing.T) {
	b := newDoorBench(t, byName(t, "ann")).visitor()
	for _, next := range []string{"https://evil.example/", "//evil.example/", `/\evil.example`} {
		b.leads(b.post("/signin", url.Values{"name": {"ann"}, "password": {goodPassword}, "next": {next}}), "/")
		b.leads(b.get("/signin?next="+url.QueryEscape(next)), "/")
	}
}

func TestSessionsWorkOverServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoorBench(t, byName(t, "ann"))
		other, err := New(Options{Ledger: d.ledger, SignIn: byName(t, "ann")})
		must(t, err)
		b := d.visitor()
		b.signIn("ann")
		if who := other.Who(withCookies(b)); who != (signin.Person{Name: "ann", Role: signin.Operator}) {
			t.Fatalf("the other server: %v", who)
		}
		r := withCookies(b)
		b.leads(b.post("/signout", nil), "/signin")
		if who := d.Who(r); who != (signin.Person{}) {
			t.Errorf("at once, here: %v", who)
		}
		time.Sleep(2 * time.Second) // so long a session is remembered
		if who := other.Who(r); who != (signin.Person{}) {
			t.Errorf("at the other server: %v", who)
		}
	})
}

// TestARequestThatOutlivesItsSessionLeavesNone: it began before the sign-out and ends after.
func TestARequestThatOutlivesItsSessionLeavesNone(t *testing.T) {
	d := newDoorBench(t, byName(t, "ann"))
	b := d.visitor()
	slow := d.visitor()
	slow.cookies = b.cookies
	var r *http.Request
	d.get("/slow", signin.Viewer, func(a *ask) (page, error) {
		r = withCookies(b)
		b.leads(b.post("/signout", nil), "/signin")
		d.say(a, "late")
		return page{Template: "trouble", Title: "slow", Data: trouble{}}, nil
	})
	b.signIn("ann")
	slow.get("/slow")
	if who := d.Who(r); who != (signin.Person{}) {
		t.Errorf("the session lives: %v", who)
	}
	if strings.Contains(d.kept(), "ann") {
		t.Errorf("it is kept: %s", d.kept())
	}
}

func TestWhereNobodyCanSignInThePageSaysHow(t *testing.T) {
	b := newDoorBench(t, signin.Settings{}).visitor()
	b.shows(b.get("/signin"), 200, "CLOSEOUT_OPERATORS", "CLOSEOUT_OIDC_ISSUER", "CLOSEOUT_PUBLIC_URL", "/signin/oidc/back")
	b.shows(b.post("/signin", url.Values{"name": {"ann"}, "password": {goodPassword}}), 403)
	b.leads(b.get("/signin/oidc"), "/signin")
	b.leads(b.get("/signin/oidc/back?code=x&state="), "/signin")
	b.shows(b.post("/signin/demo", url.Values{"role": {"operator"}}), 403)
}

func TestWithoutTheLedgerNobodyIsLetIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDoorBench(t, byName(t, "ann"))
		b := d.visitor()
		b.signIn("ann")
		must(t, d.ledger.Close())
		time.Sleep(2 * time.Second) // so long a session is remembered
		b.shows(b.get("/page"), 503, "ledger does not answer")
		b.cookies = map[string]*http.Cookie{}
		b.shows(b.get("/signin"), 200)
		b.shows(b.post("/signin", url.Values{"name": {"ann"}, "password": {goodPassword}}), 503)
		if strings.Count(d.log.String(), `msg="signed in"`) != 1 {
			t.Errorf("it is logged:\n%s", &d.log)
		}
	})
}

func TestHostileNamesAreShownAsText(t *testing.T) {
	b := newDoorBench(t, byName(t, "ann")).visitor()
	for _, name := range []string{`"><script>alert(1)</script>`, "ann\x00", "\xff\xfe", strings.Repeat("x", 70000)} {
		a := b.post("/signin", url.Values{"name": {name}, "password": {"x"}, "next": {`/"><script>alert(1)</script>`}})
		if strings.Contains(a.text, "<script>alert") || a.StatusCode != 401 && a.StatusCode != 400 {
			t.Errorf("%q: %d\n%s", name[:min(len(name), 40)], a.StatusCode, a.text)
		}
	}
}
