package console

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"closeout/signin"

	"closeout/closure"
	"closeout/desk"
	"closeout/ledger"
)

const (
	latestRedrives = 50
	retriesShown   = 100
)

// retryAt is the address of the preview for a list's filters.
func retryAt(pairs ...string) string {
	return "/attention/retry" + strings.TrimPrefix(closuresAt(pairs...), "/closures")
}

// previewPage is what a bulk retry would do.
type previewPage struct {
	Filter string // as the ledger stores it
	Words  []chip
	Faults []fault
	List   string // the closures that the filter means
	N      int    // that would be retried
	Shown  string // the digest of which those are
	Groups []need // of those
	Each   []need // of which a person must look at each
	Rate   int
	Most   int
	Longer int // letters of a reason
	Takes  string

	Operator bool // may start it
}

func (k *Console) retryPreview(a *ask) (page, error) {
	w := k.read(a.URL.Query())
	p := previewPage{Faults: w.faults, List: w.link(), Rate: ledger.UsualPerMinute, Most: ledger.MostPerMinute, Longer: desk.MostReason, Operator: a.Who.Role.May(signin.Operator)}
	out := page{Template: "retry", Title: "Retry many"}
	if len(w.faults) > 0 { // what is not understood retries nothing
		out.Data, out.Status = p, http.StatusUnprocessableEntity
		return out, nil
	}
	if err := k.exactly(a.Context(), &w.filter); err != nil {
		return page{}, err
	}
	// The digest is read first: what comes between it and the table is shown, and not held for seen.
	var err error
	if p.N, p.Shown, err = k.Ledger.Retriable(a.Context(), w.filter); err != nil {
		return page{}, err
	}
	groups, err := k.Ledger.Redrivable(a.Context(), w.filter)
	if err != nil {
		return page{}, err
	}
	p.Filter, p.Words = w.filter.String(), inWords(w.values)
	each := func(g ledger.Group) bool { return infoOf(g.Reason).Each }
	p.Each = k.needs(only(groups, each), closure.Failed, closure.Dead)
	p.Groups = k.needs(only(groups, func(g ledger.Group) bool { return !each(g) }), closure.Failed, closure.Dead)
	p.Takes = atRate(p.N, p.Rate)
	out.Data = p
	return out, nil
}

func only(groups []ledger.Group, is func(ledger.Group) bool) []ledger.Group {
	return slices.DeleteFunc(slices.Clone(groups), func(g ledger.Group) bool { return !is(g) })
}

// atRate is how long so many take.
func atRate(n, perMinute int) string {
	switch minutes := (n + perMinute - 1) / perMinute; {
	case minutes <= 1:
		return "about a minute"
	case minutes < 120:
		return fmt.Sprintf("about %d minutes", minutes)
	default:
		return fmt.Sprintf("about %d hours", (minutes+30)/60)
	}
}

// inWords are filters as a person reads them.
func inWords(v url.Values) []chip {
	var out []chip
	for name := range v {
		if name != "order" {
			out = append(out, chip{Name: strings.ReplaceAll(name, "_", " "), Value: strings.ReplaceAll(v.Get(name), ",", " or ")})
		}
	}
	slices.SortFunc(out, func(a, b chip) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// retryStart starts what the preview showed, if that is what would be retried.
func (k *Console) retryStart(a *ask) (string, error) {
	wrong := func(detail, hint string) (string, error) {
		return "", trouble{Status: http.StatusUnprocessableEntity, Title: "Nothing was retried", Detail: detail, Hint: hint}
	}
	f, err := ledger.ParseFilter(a.PostFormValue("filter"))
	if _, sent := a.PostForm["filter"]; err != nil || !sent { // none at all must not mean everything
		return wrong("The form’s filter can’t be read.", "Begin anew from the page Attention.")
	}
	reason, no := desk.Reason(a.PostFormValue("reason"))
	if no != "" {
		return wrong("The reason "+no+".", "Go back and say why, on one line: it stands in each closure’s history.")
	}
	rate, err := strconv.Atoi(a.PostFormValue("rate"))
	if err != nil || rate < 1 || rate > ledger.MostPerMinute {
		return wrong(fmt.Sprintf("The rate must be a number from 1 to %d closures a minute.", ledger.MostPerMinute), "Go back and choose one.")
	}
	shown, err := strconv.Atoi(a.PostFormValue("found"))
	digest := a.PostFormValue("shown")
	if err != nil || digest == "" {
		return wrong("The form does not say what its preview showed.", "Begin anew from the page Attention.")
	}
	r, err := k.Ledger.CreateRedrive(a.Context(), ledger.Redrive{Filter: f, Reason: reason, Actor: a.Who.Actor(), PerMinute: rate, Shown: digest})
	switch {
	case errors.Is(err, ledger.ErrNothing):
		return wrong("Nothing that has stopped, and that may be retried among many, matches any more.", "The page Attention shows what there is now.")
	case errors.Is(err, ledger.ErrStale):
		return "", trouble{
			Status: http.StatusConflict, Title: "Nothing was retried", Detail: fmt.Sprintf("The preview showed %s, and %d match now: %s.", closure.Count(shown, "closure"), r.Left(), since(shown, r.Left())),
			Hint: "Look at the preview again: something may be going on that a retry would not mend.",
		}
	case err != nil:
		return "", err
	}
	if k.ScheduleRedrive != nil {
		if err := k.ScheduleRedrive(a.Context(), r); err != nil {
			k.Log.WithField("redrive", r.ID).WithError(err).Warn("could not schedule the first bite; the sweep will")
		}
	}
	return "/redrives/" + r.ID, nil
}

// since is what has happened to the closures of a preview that are not what they were.
func since(shown, found int) string {
	switch {
	case found > shown:
		return "more have stopped since"
	case found < shown:
		return "some have gone on since"
	}
	return "they are not the same, or have moved since"
}

// redrivePage is one bulk retry.
type redrivePage struct {
	ledger.Redrive
	By    string
	Words []chip
	Left  int
	Done  int // retried or skipped
	Takes string
	Now   []number // what the retried are now
	Show  string   // which of the tables
	Tabs  []tab
	Rows  []retryRow
	Next  string

	Operator bool // may abort it
}

type tab struct {
	Name, Link string
	N          int
	On         bool
}

type retryRow struct {
	ledger.Retry
	Title string
	At    time.Time // business time of its end
}

// shows are the tables of a bulk retry, in their order.
var shows = []ledger.RetryState{ledger.RetrySkipped, ledger.RetryDone, ledger.RetryWaiting}

func (k *Console) redrive(a *ask) (page, error) {
	r, err := k.Ledger.Redrive(a.Context(), a.PathValue("id"))
	if errors.Is(err, ledger.ErrNotFound) {
		return page{}, noRedrive()
	}
	if err != nil {
		return page{}, err
	}
	p := redrivePage{Redrive: r, By: strings.TrimPrefix(r.Actor, "operator:"), Left: r.Left(), Done: r.Retried + r.Skipped, Operator: a.Who.Role.May(signin.Operator)}
	if v, err := url.ParseQuery(r.Filter.String()); err == nil {
		p.Words = inWords(v)
	}
	if !r.State.Ended() {
		p.Takes = atRate(p.Left, r.PerMinute)
	}
	now, err := k.Ledger.Retried(a.Context(), r.ID)
	if err != nil {
		return page{}, err
	}
	for _, s := range []closure.State{closure.Running, closure.Closed, closure.Failed, closure.Dead, closure.Paused, closure.Canceled} {
		if now[s] > 0 {
			p.Now = append(p.Now, number{N: now[s], Words: string(s), Kind: string(s)})
		}
	}
	return page{Template: "redrive", Title: "Bulk retry", Data: &p, Watch: "all"}, k.retriesOf(a, &p)
}

// retriesOf fills in the table that was asked for: what was skipped, unless there is none.
func (k *Console) retriesOf(a *ask, p *redrivePage) error {
	at := "/redrives/" + p.ID
	counts := map[ledger.RetryState]int{ledger.RetrySkipped: p.Skipped, ledger.RetryDone: p.Retried, ledger.RetryWaiting: p.Left}
	show := ledger.RetryState(a.FormValue("show"))
	if _, ok := counts[show]; !ok {
		show = ledger.RetryDone
		if p.Skipped > 0 {
			show = ledger.RetrySkipped
		}
	}
	p.Show = string(show)
	for _, s := range shows {
		name := string(s)
		if s == ledger.RetryWaiting && p.State == ledger.RedriveAborted {
			name = "not retried"
		}
		p.Tabs = append(p.Tabs, tab{name, at + "?show=" + string(s), counts[s], s == show})
	}
	after, err := strconv.Atoi(a.FormValue("after"))
	if err != nil || after < 0 {
		after = -1
	}
	rows, err := k.Ledger.Retries(a.Context(), p.ID, after, retriesShown+1, show)
	if err != nil {
		return err
	}
	if len(rows) > retriesShown {
		rows = rows[:retriesShown]
		p.Next = fmt.Sprintf("%s?show=%s&after=%d", at, show, rows[retriesShown-1].N)
	}
	for _, r := range rows {
		p.Rows = append(p.Rows, retryRow{r, infoOf(r.Reason).Title, k.Clock.At(r.DoneAt)})
	}
	return nil
}

func noRedrive() trouble {
	return trouble{Status: http.StatusNotFound, Title: "No such bulk retry", Detail: "There is none of this id.", Hint: "The page of bulk retries lists the latest ones."}
}

// redriveAbort ends a bulk retry: once it has answered, nothing further is resumed.
func (k *Console) redriveAbort(a *ask) (string, error) {
	r, ended, err := k.Ledger.AbortRedrive(a.Context(), a.PathValue("id"), "aborted by "+a.Who.Name)
	if errors.Is(err, ledger.ErrNotFound) {
		return "", noRedrive()
	}
	if err != nil {
		return "", err
	}
	if ended {
		for _, path := range []string{"/redrives", "/attention"} { // an abort is no event of any closure
			k.beats.now(path, k.drawn.outdate)
		}
		k.say(a, fmt.Sprintf("Aborted after %s: nothing further is retried.", closure.Count(r.Retried, "closure")))
	} else {
		k.say(a, "It had ended before: it is "+string(r.State)+".")
	}
	return "/redrives/" + r.ID, nil
}

// redrivesPage are the latest bulk retries.
type redrivesPage struct{ Rows []redriveRow }

type redriveRow struct {
	ledger.Redrive
	By    string
	Words []chip
}

func (k *Console) redrives(a *ask) (page, error) {
	latest, err := k.Ledger.Redrives(a.Context(), latestRedrives)
	if err != nil {
		return page{}, err
	}
	var p redrivesPage
	for _, r := range latest {
		v, _ := url.ParseQuery(r.Filter.String())
		p.Rows = append(p.Rows, redriveRow{Redrive: r, By: strings.TrimPrefix(r.Actor, "operator:"), Words: inWords(v)})
	}
	return page{Template: "redrives", Title: "Bulk retries", Data: p, Watch: "all"}, nil
}
