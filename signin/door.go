package signin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/sirupsen/logrus"

	"closeout/closure"
	"closeout/ledger"
	"closeout/web"
)

// Settings say who may come in, and how. By the zero value nobody may.
type Settings struct {
	// PublicURL is where browsers find this service: scheme and host. Without https only a demo on this machine is safe: cookies
	// then travel in clear. With it what stands before this server speaks TLS, and says whom a request is from.
	PublicURL string

	// Passwords are operators of this service's own.
	Passwords Passwords

	// OIDC is the identity provider. Nil: there is none.
	OIDC *OIDC

	// OneClick lets everybody in on this machine, as what they like. It is a demo's.
	OneClick bool
}

// Options are what a door is made of. Each is needed but Who.
type Options struct {
	Settings
	Ledger *ledger.Ledger
	Log    *logrus.Logger

	// Who says who sends a request: nobody, where the role is none. Nil: whoever has signed in.
	Who func(*http.Request) Person

	// Seen is told, for the request's line in the log, which page it was for and who asked; it gives the id under which the
	// request is found there.
	Seen func(ctx context.Context, route, who string) (requestID string)

	// Show answers a person with the page where one signs in.
	Show func(w http.ResponseWriter, r *http.Request, who Person, status int, p Page)

	// Fail says what went wrong: a web.Trouble, or an error of this service's own, which stays hidden.
	Fail func(w http.ResponseWriter, r *http.Request, who Person, err error)
}

// How somebody signed in.
const (
	byPassword = "password"
	byProvider = "identity provider"
	byOneClick = "one click"
)

// Door knows who is signed in.
type Door struct {
	Options
	secure   bool
	sessions *scs.SessionManager
	recent   *recentSessions
	provider *provider // nil: there is none
	throttle *throttle
}

// New makes a door.
func New(o Options) (*Door, error) {
	if o.OneClick && o.Ledger.Environment() == closure.Live {
		return nil, errors.New("whoever clicks is let in at a demo alone, never with the live environment")
	}
	d := &Door{Options: o, secure: strings.HasPrefix(o.PublicURL, "https:"), throttle: newThrottle()}
	d.recent = &recentSessions{kept: o.Ledger.SignIns(), known: map[string]rememberedSession{}}
	d.sessions = newSessions(d.recent, d.secure, d.shut)
	if d.Who == nil {
		d.Who = d.signedIn
	}
	if o.OIDC != nil {
		d.provider = newProvider(*o.OIDC, o.PublicURL)
	}
	return d, nil
}

// shut is what everybody is shown while the ledger can't say who they are.
func (d *Door) shut(w http.ResponseWriter, r *http.Request, err error) {
	d.Fail(w, r, Person{}, web.Trouble{
		Status: http.StatusServiceUnavailable, Title: "Nobody can be let in just now", Detail: "The ledger does not answer, so that it is not known who is signed in.",
		Hint: "Try again in a moment. Closures go on meanwhile.", Cause: err,
	})
}

// Open gives each request its session, ends those whose time is over, and notes that the others are in use.
func (d *Door) Open(next http.Handler) http.Handler {
	within := d.sessions.LoadAndSave(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		name := d.sessions.GetString(ctx, keyName)
		switch who := d.signedIn(r); {
		case name != "" && who.Role == Nobody:
			if err := d.sessions.Destroy(ctx); err != nil {
				d.Log.WithError(err).Warn("a session that is over was not ended; nobody is let in by it")
			}
		case name != "" && byHand(r) && idle(d.sessions.GetString(ctx, keySeen)) > seenEvery:
			d.sessions.Put(ctx, keySeen, stamp(time.Now()))
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(ctx, sessionOpen{}, true)))
	}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, web.AssetsPath) {
			next.ServeHTTP(w, r)
			return
		}
		one := &oneCacheControl{ResponseWriter: w}
		within.ServeHTTP(one, r)
		one.begin()
	})
}

// oneCacheControl leaves one of the headers that say what may be kept: beside each new cookie scs adds another, which says less.
type oneCacheControl struct {
	http.ResponseWriter
	begun bool
}

func (w *oneCacheControl) begin() {
	if h := w.Header(); !w.begun && len(h["Cache-Control"]) > 1 {
		h.Set("Cache-Control", h.Get("Cache-Control"))
	}
	w.begun = true
}

// WriteHeader implements http.ResponseWriter.
func (w *oneCacheControl) WriteHeader(status int) {
	w.begin()
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *oneCacheControl) Write(b []byte) (int, error) {
	w.begin()
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *oneCacheControl) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// sessionOpen marks the context of a request that has a session.
type sessionOpen struct{}

// byHand says whether a person asks, and no page that draws itself again: an open page must not keep a session for ever.
func byHand(r *http.Request) bool {
	return r.Method != http.MethodGet || r.Header.Get("HX-Request") == "" && cmp.Or(r.Header.Get("Sec-Fetch-Dest"), "document") == "document"
}

// signedIn says who is signed in: nobody, where the role is none. It asks anew each time, so that a stream ends with its session.
func (d *Door) signedIn(r *http.Request) Person {
	c, err := r.Cookie(d.sessions.Cookie.Name)
	if err != nil {
		return Person{}
	}
	data, ok, err := d.recent.FindCtx(r.Context(), c.Value)
	if err != nil || !ok {
		return Person{}
	}
	s, err := readSession(data)
	if err != nil || !time.Now().Before(s.Until) || idle(s.Values[keySeen]) > idleTime || !d.stands(s.Values) {
		return Person{}
	}
	switch role := Role(s.Values[keyRole]); role {
	case Viewer, Operator:
		return Person{Name: s.Values[keyName], Role: role}
	default:
		return Person{}
	}
}

// Session tells the sessions of requests apart. It is no secret: a hash of the token.
func (d *Door) Session(r *http.Request) string {
	c, err := r.Cookie(d.sessions.Cookie.Name)
	if err != nil {
		return ""
	}
	return ledger.TokenHash(c.Value)
}

// stands says whether what a session began with is still so: the password, the provider, the demo.
func (d *Door) stands(of map[string]string) bool {
	proof := ""
	switch of[keyBy] {
	case byPassword:
		proof = d.Passwords.proof(of[keyName])
	case byProvider:
		if d.provider != nil {
			proof = d.provider.proof()
		}
	case byOneClick:
		if d.OneClick {
			proof = byOneClick
		}
	}
	return proof != "" && proof == of[keyProof]
}

// admitted begins a session, under a token that nobody has seen before.
func (d *Door) admitted(ctx context.Context, who Person, by, proof string) error {
	if err := errors.Join(d.sessions.Clear(ctx), d.sessions.RenewToken(ctx)); err != nil {
		return fmt.Errorf("begin a session: %w", err)
	}
	for k, v := range map[string]string{keyName: who.Name, keyRole: string(who.Role), keyBy: by, keyProof: proof, keySeen: stamp(time.Now())} {
		d.sessions.Put(ctx, k, v)
	}
	if _, _, err := d.sessions.Commit(ctx); err != nil { // before anybody says so
		return fmt.Errorf("begin a session: %w", err)
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// idle is for how long nobody has done anything; of a time that can't be read, for ever.
func idle(seen string) time.Duration {
	t, err := time.Parse(time.RFC3339, seen)
	if err != nil {
		return 1<<63 - 1
	}
	return time.Since(t)
}

// local is an address on this service to which somebody may be led after they have signed in. Whatever is none is the board.
func local(next string) string {
	u, err := url.Parse(next)
	if err != nil || len(next) > 2000 || !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.ContainsFunc(next, func(r rune) bool { return r == '\\' || r <= ' ' || r == 0x7f }) ||
		u.Scheme != "" || u.Host != "" || u.User != nil || under(u.Path, "/signin") || under(u.Path, "/signout") || u.Path == "/live" {
		return "/"
	}
	u.Fragment, u.RawFragment = "", ""
	return u.String()
}

// Way is where somebody is led who must sign in first, and comes back from.
func Way(r *http.Request) string {
	back := r.URL.RequestURI()
	if r.Method != http.MethodGet && r.Method != http.MethodHead { // what they sent is lost: back to where they wrote it
		back = "/"
		if u, err := url.Parse(r.Referer()); err == nil && u.Host == r.Host {
			back = u.RequestURI()
		}
	}
	if back = local(back); back == "/" {
		return "/signin"
	}
	return "/signin?" + url.Values{"next": {back}}.Encode()
}

// note writes a line of the log about a sign-in.
func (d *Door) note(a *ask, level logrus.Level, text string, fields logrus.Fields) {
	from := address(a.Request, d.secure)
	d.Log.WithFields(fields).WithFields(logrus.Fields{"from": fromWhere(from), "request_id": d.Seen(a.Context(), a.Pattern, a.who.Name)}).Log(level, text)
}

func fromWhere(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

func under(path, parent string) bool {
	return path == parent || strings.HasPrefix(path, parent+"/")
}
