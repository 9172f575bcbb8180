package console

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/hibiken/asynq"
	"github.com/sirupsen/logrus"
	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"

	"closeout/calendar"
	"closeout/closure"
	"closeout/desk"
	"closeout/ledger"
	"closeout/live"
	"closeout/readiness"
	"closeout/signin"
	"closeout/web"
)

// Readiness is what the console knows of the broker; a readiness.Checker has it.
type Readiness interface {
	Expect(c closure.Closure, intents []closure.Intent) time.Time // asks nobody
	View(ctx context.Context, account string) (readiness.View, error)
	Banks(ctx context.Context, account string) ([]readiness.LinkedBank, error)
}

// Options are what a console is made of. Ledger is needed.
type Options struct {
	Ledger *ledger.Ledger

	// Desk takes the commands and writes the case files. Nil: closures have no pages.
	Desk *desk.Desk

	// Readiness looks ahead, and at the broker where somebody asks. Nil: nobody can tell.
	Readiness Readiness

	// Live tells pages that what they show has changed. Nil: they stay as they were drawn.
	Live *live.Hub

	// Calendar is the present one. Nil means the rules alone.
	Calendar func() *calendar.Calendar

	// System tells of the queue and its workers. Nil: the page System says what the ledger knows.
	System System

	// SignIn says who may come in.
	SignIn signin.Settings

	// Monitoring is where the queues are, which asynqmon shows below /monitoring. Nil: there is none.
	Monitoring asynq.RedisConnOpt

	Clock  closure.Clock
	Policy closure.Policy

	// ScheduleRedrive asks for a bulk retry's first bite. Nil: the sweep will.
	ScheduleRedrive func(context.Context, ledger.Redrive) error

	// Who says who sends a request: nobody, where the role is none. Nil: whoever has signed in, as SignIn says.
	Who func(*http.Request) signin.Person

	// Seen is told, for the request's line in the log, which page it was for and who asked; it gives the id under which the
	// request is found there. Nil: there is no such line.
	Seen func(ctx context.Context, route, who string) (requestID string)

	Log     *logrus.Logger // nil: nothing is logged
	Version string
}

// Console answers the operators' pages. It is a handler of HTTP.
type Console struct {
	Options
	pages   web.Console
	mux     *http.ServeMux
	handler http.Handler
	door    *signin.Door

	drawings  singleflight.Group
	drawn     drawn
	listening listening
	views     looks[readiness.View]
	banks     looks[[]readiness.LinkedBank]
	turns     *rate.Limiter
	beats     beats

	readings readings
}

// nav are the pages of the header, each with its key.
var nav = []struct{ Name, Path, Key string }{
	{"Board", "/", "g b"},
	{"Closures", "/closures", "g c"},
	{"Attention", "/attention", "g a"},
	{"System", "/system", "g s"},
	{"Monitoring", "/monitoring", "g m"},
}

// New makes a console.
func New(o Options) (*Console, error) {
	if o.Ledger == nil {
		return nil, errors.New("console: the option Ledger is needed")
	}
	if o.Log == nil {
		o.Log = logrus.New()
		o.Log.SetOutput(io.Discard)
	}
	if o.Calendar == nil {
		o.Calendar = calendar.Rules
	}
	if o.Seen == nil {
		o.Seen = func(context.Context, string, string) string { return "" }
	}
	k := &Console{Options: o, mux: http.NewServeMux(), turns: rate.NewLimiter(turnsASecond, turnsAtOnce), readings: newReadings()}
	k.views.serves, k.banks.serves = lookServes, lookServes
	k.views.whole = func(v readiness.View) bool { return len(v.Unreadable) == 0 }
	var err error
	if k.pages, err = web.ParseConsole(words); err != nil {
		return nil, err
	}
	k.door, err = signin.New(signin.Options{Settings: o.SignIn, Ledger: o.Ledger, Log: o.Log, Who: o.Who, Seen: o.Seen, Show: k.showSignIn, Fail: k.failSignIn})
	if err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	k.Who = k.door.Who
	k.mux.Handle("GET "+web.AssetsPath, web.Assets())
	k.mux.HandleFunc("GET /favicon.ico", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, web.Asset("icon.svg"), http.StatusMovedPermanently)
	})
	k.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		k.fail(w, &ask{r, k.Who(r)}, trouble{Status: http.StatusNotFound, Title: "No such page", Detail: "There is nothing at this address.", Hint: "The search finds a closure by its account, a transfer or an order."})
	})
	k.routesLive()
	k.door.Routes(k.mux)
	k.routesMonitoring()
	k.routesBoard()
	k.routesCase()
	k.routesAttention()
	k.routesSystem()
	k.handler = k.headers(k.sameSite(k.door.Open(k.mux)))
	return k, nil
}

// ServeHTTP implements http.Handler.
func (k *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) { k.handler.ServeHTTP(w, r) }

// headers are those of every page; a page that needs others sets them after.
func (k *Console) headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", web.ConsolePolicy)
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}

// sameSite refuses what a page of another site makes a browser send along with its cookie.
func (k *Console) sameSite(next http.Handler) http.Handler {
	check := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := check.Check(r); err != nil {
			k.fail(w, &ask{Request: r}, trouble{
				Status: http.StatusForbidden, Title: "Refused", Detail: "A page of another site may not do this.",
				Hint: "Open the console itself, and do it there.", Cause: err,
			})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// ask is a request for a page, and who asks.
type ask struct {
	*http.Request
	Who signin.Person
}

// page is what a request is answered with.
type page struct {
	Template string // of web/console, without its ending
	Title    string
	Data     any

	// Watch is whose changes the page is told of: "all", or an account's id. Empty: it stays as it was drawn, as one must
	// that has a form in which somebody writes.
	Watch string

	// Status is of HTTP. Zero means 200.
	Status int

	// At is the business time as of which the page is, where that is not the present.
	At time.Time
}

// get answers GET requests for a pattern of http.ServeMux with a page that persons of at least this role may see.
func (k *Console) get(pattern string, least signin.Role, f func(*ask) (page, error)) {
	k.mux.HandleFunc("GET "+pattern, func(w http.ResponseWriter, r *http.Request) {
		a, ok := k.admit(w, r, least)
		if !ok {
			return
		}
		if r.Header.Get("HX-Request") != "" { // by a page that was told of a change
			k.redraw(w, a, f)
			return
		}
		p, err := f(a)
		if err != nil {
			k.fail(w, a, err)
			return
		}
		k.show(w, a, cmp.Or(p.Status, http.StatusOK), p, "layout")
	})
}

// post carries out what a form of a person of at least this role asks for, and leads to another page.
func (k *Console) post(pattern string, least signin.Role, f func(*ask) (to string, err error)) {
	k.answer(pattern, least, func(a *ask) (formAnswer, error) {
		to, err := f(a)
		return formAnswer{To: to}, err
	})
}

// formAnswer is what a form leads to: another page by its address, or one of its own that is shown once.
type formAnswer struct {
	To     string
	Status int // of the page
	Page   page
}

// answer is a post whose answer may be a page: what may be seen only once, or a form that is to be sent again.
func (k *Console) answer(pattern string, least signin.Role, f func(*ask) (formAnswer, error)) {
	k.mux.HandleFunc("POST "+pattern, func(w http.ResponseWriter, r *http.Request) {
		a, ok := k.admit(w, r, least)
		if !ok {
			return
		}
		if !k.readForm(w, a) {
			return
		}
		out, err := f(a)
		switch {
		case err != nil:
			k.fail(w, a, err)
		case out.To == "":
			k.show(w, a, out.Status, out.Page, "layout")
		default:
			http.Redirect(w, r, out.To, http.StatusSeeOther)
		}
	})
}

// readForm reads what a form has sent.
func (k *Console) readForm(w http.ResponseWriter, a *ask) bool {
	if err := web.ReadForm(w, a.Request); err != nil {
		k.fail(w, a, err)
		return false
	}
	return true
}

// admit lets in who may; others are shown the way.
func (k *Console) admit(w http.ResponseWriter, r *http.Request, least signin.Role) (*ask, bool) {
	a := &ask{r, k.Who(r)}
	k.Seen(r.Context(), r.Pattern, a.Who.Name)
	switch {
	case a.Who.Role.May(least):
		return a, true
	case r.Header.Get("HX-Request") != "":
		k.undrawn(w, a, trouble{Status: http.StatusUnauthorized})
	case a.Who.Role == signin.Nobody && cmp.Or(r.Header.Get("Sec-Fetch-Dest"), "document") != "document": // a script asks: it would take the page for the answer
		k.fail(w, a, trouble{Status: http.StatusUnauthorized, Title: "Not signed in", Detail: "This is for people who are signed in.", Hint: "Load the page again: it leads to where one signs in."})
	case a.Who.Role == signin.Nobody:
		http.Redirect(w, r, signin.Way(r), http.StatusSeeOther)
	default:
		k.fail(w, a, trouble{
			Status: http.StatusForbidden, Title: "For operators", Detail: "You are signed in as a " + string(a.Who.Role) + ", who may look and not act.",
			Hint: "Ask an operator to do it, or to have your role changed.",
		})
	}
	return nil, false
}

// say keeps a line for the next page that the person sees.
func (k *Console) say(a *ask, line string) { k.door.Say(a.Context(), line) }

// Banner stands above every page.
type Banner struct{ Title, Text, Link string }

// now is the present business time.
func (k *Console) now() time.Time { return k.Clock.Now() }

func under(path, parent string) bool {
	return path == parent || parent != "/" && strings.HasPrefix(path, parent+"/")
}
