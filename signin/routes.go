package signin

import (
	"net/http"

	"closeout/web"
)

// ask is a request at the door, and who asks.
type ask struct {
	*http.Request
	who Person
}

// Routes adds the door's routes: /signin, what is below it, and /signout.
func (d *Door) Routes(mux *http.ServeMux) {
	mux.HandleFunc("GET /signin", func(w http.ResponseWriter, r *http.Request) {
		a := d.seen(r)
		next := local(r.URL.Query().Get("next"))
		if a.who.Role != Nobody {
			http.Redirect(w, r, next, http.StatusSeeOther)
			return
		}
		d.Show(w, r, a.who, http.StatusOK, d.page(next, "", ""))
	})
	mux.HandleFunc("POST /signin", d.byPassword)
	mux.HandleFunc("GET "+oidcPath, d.toProvider)
	mux.HandleFunc("GET "+oidcBackPath, d.fromProvider)
	mux.HandleFunc("POST /signin/demo", d.post(d.byOneClick))
	mux.HandleFunc("POST /signout", d.post(d.signOut))
}

// seen is a request whose line in the log names who asks.
func (d *Door) seen(r *http.Request) *ask {
	a := &ask{r, d.Who(r)}
	d.Seen(r.Context(), r.Pattern, a.who.Name)
	return a
}

// post carries out what a form asks for, and leads to another page.
func (d *Door) post(f func(*ask) (to string, err error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		a := d.seen(r)
		if err := web.ReadForm(w, r); err != nil {
			d.fail(w, a, err)
			return
		}
		to, err := f(a)
		if err != nil {
			d.fail(w, a, err)
			return
		}
		http.Redirect(w, r, to, http.StatusSeeOther)
	}
}

func (d *Door) fail(w http.ResponseWriter, a *ask, err error) { d.Fail(w, a.Request, a.who, err) }
