package console

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/sirupsen/logrus"
)

// signIn is what the page of that name shows.
type signIn struct {
	Next     string
	Names    bool   // there are operators with passwords
	Provider string // the host of the identity provider; "" if there is none
	Begin    string // where to go to be sent there
	OneClick bool
	Name     string // as it was typed
	Wrong    string // what was wrong with it
	Back     bool   // somebody was led here on their way elsewhere
}

func (k *Console) routesDoor() {
	k.mux.HandleFunc("GET /signin", func(w http.ResponseWriter, r *http.Request) {
		a, _ := k.admit(w, r, Nobody)
		next := local(r.URL.Query().Get("next"))
		if a.Who.Role != Nobody {
			http.Redirect(w, r, next, http.StatusSeeOther)
			return
		}
		k.show(w, a, http.StatusOK, k.signInPage(next, "", ""), "layout")
	})
	k.mux.HandleFunc("POST /signin", k.byPassword)
	k.mux.HandleFunc("GET "+oidcPath, k.toProvider)
	k.mux.HandleFunc("GET "+oidcBackPath, k.fromProvider)
	k.post("/signin/demo", Nobody, k.byOneClick)
	k.post("/signout", Nobody, k.signOut)
	k.routesMonitoring()
}

func (k *Console) signInPage(next, name, wrong string) page {
	p := signIn{Next: next, Names: len(k.door.Passwords.all) > 0, OneClick: k.door.OneClick, Name: name, Wrong: wrong, Back: next != "/"}
	if o := k.door.provider; o != nil {
		p.Provider, p.Begin = o.Issuer, oidcPath+"?"+url.Values{"next": {next}}.Encode()
		if u, err := url.Parse(o.Issuer); err == nil {
			p.Provider = u.Host
		}
	}
	return page{Template: "signin", Title: "Sign in", Data: p}
}

// byPassword lets in an operator whom the settings name. Who guesses is slowed down, by name and by address.
func (k *Console) byPassword(w http.ResponseWriter, r *http.Request) {
	a := &ask{r, k.Who(r)}
	k.Seen(r.Context(), r.Pattern, "")
	if !k.readForm(w, a) {
		return
	}
	name, next := strings.TrimSpace(r.PostFormValue("name")), local(r.PostFormValue("next"))
	again := func(status int, why, wrong string) {
		logged := "unknown" // it may be a password in the wrong field
		if k.door.Passwords.proof(name) != "" {
			logged = name
		}
		k.note(a, logrus.WarnLevel, "sign-in refused", logrus.Fields{"person": logged, "sign_in": byPassword, "why": why})
		k.show(w, a, status, k.signInPage(next, named(name), wrong), "layout")
	}
	if len(k.door.Passwords.all) == 0 {
		again(http.StatusForbidden, "nobody has a password here", "Nobody signs in by a password here.")
		return
	}
	if !k.door.throttle.attempt(named(name), address(r, k.door.secure)) {
		w.Header().Set("Retry-After", "30")
		again(http.StatusTooManyRequests, "too many attempts", "There were too many attempts. Wait half a minute, then try again.")
		return
	}
	done, err := k.door.throttle.hand(r.Context())
	if err != nil {
		return // the browser is gone
	}
	ok := k.door.Passwords.check(name, r.PostFormValue("password"))
	done()
	if !ok {
		again(http.StatusUnauthorized, "wrong name or password", "The name or the password is wrong.")
		return
	}
	k.letIn(w, a, Person{name, Operator}, byPassword, k.door.Passwords.proof(name), next, logrus.Fields{})
}

func (k *Console) letIn(w http.ResponseWriter, a *ask, who Person, by, proof, next string, fields logrus.Fields) {
	if err := k.door.admitted(a.Context(), who, by, proof); err != nil {
		k.fail(w, a, err)
		return
	}
	k.note(a, logrus.InfoLevel, "signed in", fieldsOf(who, by, fields))
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
func (k *Console) toProvider(w http.ResponseWriter, r *http.Request) {
	a := &ask{r, k.Who(r)}
	k.Seen(r.Context(), r.Pattern, "")
	if k.door.provider == nil {
		http.Redirect(w, r, "/signin", http.StatusSeeOther)
		return
	}
	to, f, err := k.door.provider.begin(r.Context(), local(r.URL.Query().Get("next")))
	if err != nil {
		k.fail(w, a, trouble{
			Status: http.StatusServiceUnavailable, Title: "The identity provider does not answer", Detail: "Nobody can be signed in by it just now.",
			Hint: "Try again in a moment. If it goes on: CLOSEOUT_OIDC_ISSUER must be the provider's own name for itself, and this server must reach it.", Cause: err,
		})
		return
	}
	keepFlow(w, k.flowCookie(), k.door.secure, f)
	http.Redirect(w, r, to, http.StatusSeeOther)
}

func (k *Console) flowCookie() string { return cookieName("closeout-signin", k.door.secure) }

// fromProvider reads what the provider sent a browser back with. Whatever is wrong, the person learns little of it, and the log
// all.
func (k *Console) fromProvider(w http.ResponseWriter, r *http.Request) {
	a := &ask{r, k.Who(r)}
	k.Seen(r.Context(), r.Pattern, "")
	if k.door.provider == nil {
		http.Redirect(w, r, "/signin", http.StatusSeeOther)
		return
	}
	f := keptFlow(r, k.flowCookie())
	keepFlow(w, k.flowCookie(), k.door.secure, flow{}) // it is good for one answer
	who, subject, err := k.door.provider.finish(r, f)
	if err == nil {
		k.letIn(w, a, who, byProvider, k.door.provider.proof(), local(f.Next), logrus.Fields{"subject": subject})
		return
	}
	k.note(a, logrus.WarnLevel, "sign-in refused", logrus.Fields{"person": who.Name, "subject": subject, "sign_in": byProvider, "why": err.Error()})
	t := trouble{
		Status: http.StatusForbidden, Title: "Not signed in", Detail: "The identity provider's answer can't be accepted.",
		Hint: "Begin again at the sign-in page. If it goes on, whoever runs this service finds the cause in the log.",
	}
	switch refused, ok := errors.AsType[*refusedAt](err); {
	case errors.Is(err, errNoRole):
		t.Detail = "The identity provider knows you as " + who.Name + ", and none of your groups may come in here."
		t.Hint = "Ask whoever keeps the groups to put you into " + k.door.provider.wanted() + ", then sign in again."
	case ok:
		t.Detail = "The identity provider did not sign you in: " + refused.code + "."
	}
	k.fail(w, a, t)
}

// byOneClick lets anybody in at a demo. A page elsewhere whose name was made to lead to this machine is another host's.
func (k *Console) byOneClick(a *ask) (string, error) {
	host, _, err := net.SplitHostPort(a.Host)
	if err != nil {
		host = a.Host
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	role := Role(a.PostFormValue("role"))
	if !k.door.OneClick || host != "localhost" && (err != nil || !ip.IsLoopback()) || role != Operator && role != Viewer {
		k.note(a, logrus.WarnLevel, "sign-in refused", logrus.Fields{"sign_in": byOneClick})
		return "", trouble{Status: http.StatusForbidden, Title: "Not signed in", Detail: "By one click one comes in at the demo alone, on its own machine.", Hint: "Open /signin: it says who can sign in here, and how."}
	}
	who := Person{"demo", role}
	if err := k.door.admitted(a.Context(), who, byOneClick, byOneClick); err != nil {
		return "", err
	}
	k.note(a, logrus.InfoLevel, "signed in", fieldsOf(who, byOneClick, nil))
	return local(a.PostFormValue("next")), nil
}

// signOut ends the session for good, at every server.
func (k *Console) signOut(a *ask) (string, error) {
	if err := k.door.sessions.Destroy(a.Context()); err != nil {
		return "", err
	}
	if a.Who.Role != Nobody {
		k.note(a, logrus.InfoLevel, "signed out", logrus.Fields{"person": a.Who.Name, "role": string(a.Who.Role)})
	}
	return "/signin", nil
}
