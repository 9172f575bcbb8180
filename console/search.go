package console

import (
	"context"
	"net/http"
	"regexp"
	"strings"
	"unicode/utf8"

	"closeout/signin"

	"closeout/closure"
	"closeout/ledger"
)

// The search is a POST: what is looked for may be an e-mail, and what stands in an address is written into the logs of
// every proxy on its way, into the browser's history and into the links that people send on. It answers by leading to a
// closure or to a list; for a customer that list's address has the id of one of their closures, and nothing of the customer.
// It carries nothing out, so that a page of another site could gain nothing by it; it is refused one all the same.

func (k *Console) search(a *ask) (string, error) {
	return k.find(a.Context(), a.PostForm.Get("q"), true)
}

// searched is the search by a link, for everything but a person.
func (k *Console) searched(w http.ResponseWriter, r *http.Request) {
	a, ok := k.admit(w, r, signin.Viewer)
	if !ok {
		return
	}
	to, err := k.find(r.Context(), r.URL.Query().Get("q"), false)
	if err != nil {
		k.fail(w, a, err)
		return
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

// find says where a text leads: to the one closure that it is of, or to a list of several. A customer's e-mail or user id is
// looked for where people may.
func (k *Console) find(ctx context.Context, text string, people bool) (to string, err error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return "/closures", nil
	}
	if wrong := unreadable(text); wrong != "" {
		return "", trouble{Status: http.StatusBadRequest, Title: "Nothing was searched for", Detail: "The text " + wrong + ".", Hint: "Paste the id alone."}
	}
	email := strings.Contains(text, "@")
	switch {
	case email && !people:
		return "", trouble{
			Status: http.StatusBadRequest, Title: "Nothing was searched for", Detail: "An e-mail is not searched for by an address: what stands there is written down on its way.",
			Hint: "Use the search at the top.",
		}
	case !email:
		if to, err := k.one(ctx, ledger.Filter{Exact: text}, closuresAt("q", text)); to != "" || err != nil {
			return to, err
		}
	}
	if people {
		of, err := k.Ledger.OfPerson(ctx, text, 2)
		switch {
		case err != nil:
			return "", err
		case len(of) == 1:
			return closureAt(of[0]), nil
		case len(of) > 1:
			return closuresAt("person_of", of[0].ID), nil
		}
	}
	if email {
		return "", trouble{Status: http.StatusNotFound, Title: "No closure found", Detail: "No closure is known of a customer with this e-mail.", Hint: "It must be the whole address, as the client gave it when it asked for the closure."}
	}
	for _, actor := range []string{text, "api:" + text} {
		if n, err := k.Ledger.Count(ctx, ledger.Filter{Actor: actor}, 1); err != nil || n > 0 {
			return closuresAt("client", actor), err
		}
	}
	// The list looks for a part of an id, and says if there is none. What can be none may be a person's, and stands in no address.
	if utf8.RuneCountInString(text) >= leastPart && partOfID.MatchString(text) && !taxID.MatchString(text) {
		return closuresAt("q", text), nil
	}
	return "", trouble{
		Status: http.StatusNotFound, Title: "No closure found", Detail: "Nothing is known of “" + text + "”.",
		Hint: "It finds the id of a closure, account, batch, transfer or order, a confirmation number, a client's name, and a customer's e-mail or user id; of ids and confirmations of closures also a part.",
	}
}

// partOfID is what can be a part of an id, or of a confirmation number; taxID what is more likely a person's.
var (
	partOfID = regexp.MustCompile(`^(?i)(CLA-)?[0-9a-f-]*$`)
	taxID    = regexp.MustCompile(`^[0-9]{3}-[0-9]{2}-[0-9]{4}$`)
)

// one leads to the closure that a filter finds if it is one, and to the list of them if they are several.
func (k *Console) one(ctx context.Context, f ledger.Filter, list string) (to string, err error) {
	found, err := k.Ledger.List(ctx, f, ledger.Page{Limit: 2})
	switch len(found) {
	case 0:
		return "", err
	case 1:
		return closureAt(found[0]), nil
	}
	return list, nil
}

func closureAt(c closure.Closure) string { return "/closures/" + c.ID }
