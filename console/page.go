package console

import (
	"bytes"
	"errors"
	"net/http"
	"time"

	"closeout/closure"
	"closeout/signin"
	"closeout/web"
)

// frame is what the layout shows around a page.
type frame struct {
	Title, Version, URL string
	Environment         closure.Environment
	Who                 signin.Person
	Nav                 []navItem
	Banner              *Banner
	Notices             []string
	Live                string    // the address of the stream of its changes
	At                  time.Time // since when what it shows may have changed
	Data                any
}

type navItem struct {
	Name, Path, Key string
	Here            bool
}

// show draws a page: a part of it.
func (k *Console) show(w http.ResponseWriter, a *ask, status int, p page, part string) {
	body, err := k.draw(a, p, part)
	if err != nil {
		k.Log.WithError(err).WithField("page", p.Template).Error("a page cannot be drawn")
		http.Error(w, "This page can't be drawn; the log says why.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(bytes.TrimLeft(body, "\n")) // the browser is gone
}

func (k *Console) draw(a *ask, p page, part string) ([]byte, error) {
	f := frame{Title: p.Title, Version: k.Version, URL: a.URL.RequestURI(), Environment: k.Ledger.Environment(), Who: a.Who, Data: p.Data}
	if f.At = p.At; f.At.IsZero() {
		f.At = k.now()
	}
	if p.Watch != "" && k.Live != nil {
		f.Live = livePath(p.Watch, f.URL, k.holdSeen(a.Context()))
	}
	if part == "layout" {
		f.Notices = k.door.Said(a.Context())
		if a.Who.Role != signin.Nobody { // its words are an operator's
			f.Banner = k.banner(a.Context())
		}
		for _, n := range nav {
			if n.Path == "/monitoring" && k.Monitoring == nil {
				continue
			}
			f.Nav = append(f.Nav, navItem{n.Name, n.Path, n.Key, under(a.URL.Path, n.Path)})
		}
	}
	return k.pages.Page(p.Template, part, f)
}

// trouble is an error as a person is shown it.
type trouble = web.Trouble

// fail shows what went wrong. An error that is no trouble is ours, and stays hidden.
func (k *Console) fail(w http.ResponseWriter, a *ask, err error) {
	t, ok := errors.AsType[trouble](err)
	if !ok {
		t = trouble{
			Status: http.StatusInternalServerError, Title: "Something went wrong here", Detail: "The page can't be shown just now. If you have just asked for a change, look whether it was made before you ask again.",
			Hint: "Try again in a moment.", Cause: err,
		}
	}
	if t.Status >= http.StatusInternalServerError {
		t.RequestID = k.Seen(a.Context(), a.Pattern, a.Who.Name)
		k.Log.WithField("route", a.Pattern).WithField("request_id", t.RequestID).WithError(err).Error("a page failed")
	}
	k.show(w, a, t.Status, page{Template: "trouble", Title: t.Title, Data: t}, "layout")
}

// showSignIn draws the page of the door's.
func (k *Console) showSignIn(w http.ResponseWriter, r *http.Request, who signin.Person, status int, p signin.Page) {
	k.show(w, &ask{r, who}, status, page{Template: "signin", Title: "Sign in", Data: p}, "layout")
}

// failSignIn shows what went wrong at the door.
func (k *Console) failSignIn(w http.ResponseWriter, r *http.Request, who signin.Person, err error) {
	k.fail(w, &ask{r, who}, err)
}
