package signin

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/sirupsen/logrus"

	"closeout/web"
)

// Page is what the page where one signs in shows.
type Page struct {
	Next     string
	Names    bool   // there are operators with passwords
	Provider string // the host of the identity provider; "" if there is none
	Begin    string // where to go to be sent there
	OneClick bool
	Name     string // as it was typed
	Wrong    string // what was wrong with it
	Back     bool   // somebody was led here on their way elsewhere
}

func (d *Door) page(next, name, wrong string) Page {
	p := Page{Next: next, Names: len(d.Passwords.all) > 0, OneClick: d.OneClick, Name: name, Wrong: wrong, Back: next != "/"}
	if o := d.provider; o != nil {
		p.Provider, p.Begin = o.Issuer, oidcPath+"?"+url.Values{"next": {next}}.Encode()
		if u, err := url.Parse(o.Issuer); err == nil {
			p.Provider = u.Host
		}
	}
	return p
}

// byPassword lets in an operator whom the settings name. Who guesses is slowed down, by name and by address.
func (d *Door) byPassword(w http.ResponseWriter, r *http.Request) {
	a := &ask{r, d.Who(r)}
	d.Seen(r.Context(), r.Pattern, "")
	if err := web.ReadForm(w, r); err != nil {
		d.fail(w, a, err)
		return
	}
	name, next := strings.TrimSpace(r.PostFormValue("name")), local(r.PostFormValue("next"))
	again := func(status int, why, wrong string) {
		logged := "unknown" // it may be a password in the wrong field
		if d.Passwords.proof(name) != "" {
			logged = name
		}
		d.note(a, logrus.WarnLevel, "sign-in refused", logrus.Fields{"person": logged, "sign_in": byPassword, "why": why})
		d.Show(w, r, a.who, status, d.page(next, named(name), wrong))
	}
	if len(d.Passwords.all) == 0 {
		again(http.StatusForbidden, "nobody has a password here", "Nobody signs in by a password here.")
		return
	}
	if !d.throttle.attempt(named(name), address(r, d.secure)) {
		w.Header().Set("Retry-After", "30")
		again(http.StatusTooManyRequests, "too many attempts", "There were too many attempts. Wait half a minute, then try again.")
		return
	}
	done, err := d.throttle.hand(r.Context())
	if err != nil {
		return // the browser is gone
	}
	ok := d.Passwords.check(name, r.PostFormValue("password"))
	done()
	if !ok {
		again(http.StatusUnauthorized, "wrong name or password", "The name or the password is wrong.")
		return
	}
	d.letIn(w, a, Person{name, Operator}, byPassword, d.Passwords.proof(name), next, logrus.Fields{})
}

func (d *Door) letIn(w http.ResponseWriter, a *ask, who Person, by, proof, next string, fields logrus.Fields) {
	if err := d.admitted(a.Context(), who, by, proof); err != nil {
		d.fail(w, a, err)
		return
	}
	d.note(a, logrus.InfoLevel, "signed in", fieldsOf(who, by, fields))
	http.Redirect(w, a.Request, next, http.StatusSeeOther)
}

func fieldsOf(who Person, by string, more logrus.Fields) logrus.Fields {
	f := logrus.Fields{"person": who.Name, "role": string(who.Role), "sign_in": by}
	for k, v := range more {
		f[k] = v
	}
	return f
}

// toProvider sends a browser to the identity provider.
func (d *Door) toProvider(w http.ResponseWriter, r *http.Request) {
	a := &ask{r, d.Who(r)}
	d.Seen(r.Context(), r.Pattern, "")
	if d.provider == nil {
		http.Redirect(w, r, "/signin", http.StatusSeeOther)
		return
	}
	to, f, err := d.provider.begin(r.Context(), local(r.URL.Query().Get("next")))
	if err != nil {
		d.fail(w, a, web.Trouble{
			Status: http.StatusServiceUnavailable, Title: "The identity provider does not answer", Detail: "Nobody can be signed in by it just now.",
			Hint: "Try again in a moment. If it goes on: CLOSEOUT_OIDC_ISSUER must be the provider's own name for itself, and this server must reach it.", Cause: err,
		})
		return
	}
	keepFlow(w, d.flowCookie(), d.secure, f)
	http.Redirect(w, r, to, http.StatusSeeOther)
}

func (d *Door) flowCookie() string { return cookieName("closeout-signin", d.secure) }

// fromProvider reads what the provider sent a browser back with. Whatever is wrong, the person learns little of it, and the log
// all.
func (d *Door) fromProvider(w http.ResponseWriter, r *http.Request) {
	a := &ask{r, d.Who(r)}
	d.Seen(r.Context(), r.Pattern, "")
	if d.provider == nil {
		http.Redirect(w, r, "/signin", http.StatusSeeOther)
		return
	}
	f := keptFlow(r, d.flowCookie())
	keepFlow(w, d.flowCookie(), d.secure, flow{}) // it is good for one answer
	who, subject, err := d.provider.finish(r, f)
	if err == nil {
		d.letIn(w, a, who, byProvider, d.provider.proof(), local(f.Next), logrus.Fields{"subject": subject})
		return
	}
	d.note(a, logrus.WarnLevel, "sign-in refused", logrus.Fields{"person": who.Name, "subject": subject, "sign_in": byProvider, "why": err.Error()})
	t := web.Trouble{
		Status: http.StatusForbidden, Title: "Not signed in", Detail: "The identity provider's answer can't be accepted.",
		Hint: "Begin again at the sign-in page. If it goes on, whoever runs this service finds the cause in the log.",
	}
	switch refused, ok := errors.AsType[*refusedAt](err); {
	case errors.Is(err, errNoRole):
		t.Detail = "The identity provider knows you as " + who.Name + ", and none of your groups may come in here."
		t.Hint = "Ask whoever keeps the groups to put you into " + d.provider.wanted() + ", then sign in again."
	case ok:
		t.Detail = "The identity provider did not sign you in: " + refused.code + "."
	}
	d.fail(w, a, t)
}

// byOneClick lets anybody in at a demo. A page elsewhere whose name was made to lead to this machine is another host's.
func (d *Door) byOneClick(a *ask) (string, error) {
	host, _, err := net.SplitHostPort(a.Host)
	if err != nil {
		host = a.Host
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	role := Role(a.PostFormValue("role"))
	if !d.OneClick || host != "localhost" && (err != nil || !ip.IsLoopback()) || role != Operator && role != Viewer {
		d.note(a, logrus.WarnLevel, "sign-in refused", logrus.Fields{"sign_in": byOneClick})
		return "", web.Trouble{Status: http.StatusForbidden, Title: "Not signed in", Detail: "By one click one comes in at the demo alone, on its own machine.", Hint: "Open /signin: it says who can sign in here, and how."}
	}
	who := Person{"demo", role}
	if err := d.admitted(a.Context(), who, byOneClick, byOneClick); err != nil {
		return "", err
	}
	d.note(a, logrus.InfoLevel, "signed in", fieldsOf(who, byOneClick, nil))
	return local(a.PostFormValue("next")), nil
}

// signOut ends the session for good, at every server.
func (d *Door) signOut(a *ask) (string, error) {
	if err := d.sessions.Destroy(a.Context()); err != nil {
		return "", err
	}
	if a.who.Role != Nobody {
		d.note(a, logrus.InfoLevel, "signed out", logrus.Fields{"person": a.who.Name, "role": string(a.who.Role)})
	}
	return "/signin", nil
}
