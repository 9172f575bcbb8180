package console

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"closeout/signin"

	"closeout/calendar"
	"closeout/closure"
	"closeout/desk"
	"closeout/ledger"
	"closeout/readiness"
	"closeout/web"
)

// eventsShown is how many events of a history stand on one page.
const eventsShown = 50

func (k *Console) routesCase() {
	if k.Desk == nil {
		return
	}
	k.get("/closures/{id}", signin.Viewer, k.closurePage)
	k.get("/closures/{id}/broker", signin.Viewer, k.brokerPage)
	k.answer("/closures/{id}/reveal", signin.Operator, k.reveal)
	k.mux.HandleFunc("GET /closures/{id}/case-file", k.caseFile)
	k.routesActions()
}

// closureView is what the page of a closure shows.
type closureView struct {
	desk.Record
	File     desk.CaseFile
	Operator bool

	Why      string // it does not go on, as a sentence
	Who      string // must act, as a sentence
	Hint     string
	Until    time.Time // it looks again; zero: it does not
	Age      string    // in business days
	Limit    string    // of the phase, and how much of it is used
	Finish   time.Time // expected
	From     string    // where the expectation comes from
	NoReturn string
	InFlight []desk.InFlight
	Email    string // masked
	User     string // masked
	Task     string // asynqmon's page of it; empty: there is none
	Offers   []offer
	Others   []closure.Closure // of the account
	Timeline timeline
	Stays    []stretch
	Events   []eventView
	Older    int64 // the page of older events begins before this one; 0: there are none
	Sales    []desk.Instruction
}

type eventView struct {
	ledger.Event
	Details string
}

// found is a closure's record, or the page that says that there is none.
func (k *Console) found(a *ask) (desk.Record, error) {
	r, err := k.Desk.Record(a.Context(), strings.ToLower(a.PathValue("id")))
	if errors.Is(err, ledger.ErrNotFound) {
		return r, trouble{
			Status: http.StatusNotFound, Title: "No such closure", Detail: "There is no closure of this id in " + string(k.Ledger.Environment()) + ".",
			Hint: "The search finds a closure by its account, a transfer or an order.", Cause: err,
		}
	}
	return r, err
}

func (k *Console) closurePage(a *ask) (page, error) {
	r, err := k.found(a)
	if err != nil {
		return page{}, err
	}
	c, now := r.Closure, k.now()
	v := closureView{
		Record: r, File: k.Desk.File(r, true), Operator: a.Who.Role.May(signin.Operator), InFlight: desk.InFlightOf(r.Intents),
		Email: masked(c.Email), User: masked(c.UserID), Age: k.age(c, now), Limit: k.limit(c), NoReturn: noReturn(r.Intents), Offers: k.offers(r),
	}
	v.Why, v.Who, v.Hint, v.Until = waits(c, now)
	if k.Readiness != nil {
		v.Finish = k.Readiness.Expect(c, r.Intents)
	}
	v.From = k.expectation(c, v.Finish)
	if k.Monitoring != nil && c.State == closure.Running {
		v.Task = taskPath(c)
	}
	v.Others, err = k.Ledger.List(a.Context(), ledger.Filter{AccountID: c.AccountID}, ledger.Page{Limit: 20})
	if err != nil {
		return page{}, err
	}
	v.Others = slices.DeleteFunc(v.Others, func(o closure.Closure) bool { return o.ID == c.ID })
	life := lived{Closure: c, Events: r.Events, Now: now, Finish: v.Finish, Market: k.Calendar()}
	v.Timeline, v.Stays = drawTimeline(life), stretches(life)
	v.Events, v.Older = latestEvents(r.Events, a.URL.Query().Get("before"))
	for _, i := range v.File.Instructions {
		if i.Kind == closure.OrderIntent && i.State != closure.IntentRefused {
			v.Sales = append(v.Sales, i)
		}
	}
	return page{Template: "closure", Title: "Closure " + c.Confirmation, Data: v, Watch: c.AccountID}, nil
}

// waits is the first line of a closure's page: why it does not go on, who must act, what they can do, and until when it waits.
func waits(c closure.Closure, now time.Time) (why, who, hint string, until time.Time) {
	switch c.State {
	case closure.Closed:
		return "The account is closed.", "Nobody must act.", "", until
	case closure.Canceled:
		return "The closure was called off: " + c.Why + ".", "Nobody must act: the account stays open.", "", until
	case closure.Running, closure.Paused, closure.Failed, closure.Dead:
	}
	w := desk.WaitingOf(c)
	why, hint = closure.Sentence(w.Why), w.Hint
	switch {
	case c.State == closure.Running && c.DueAt.After(now):
		until = c.DueAt
	case c.State == closure.Running:
		why += " A visit is due now."
	}
	switch w.Who {
	case closure.Customer:
		who = "The customer must act."
	case closure.Operator:
		who = "An operator must act."
	case closure.Broker:
		who = "The broker must act."
	case closure.Nobody:
		who = "Nobody must act: time will do."
		if c.State != closure.Running {
			who = "An operator must act."
		}
	default: // a newer version's
		who = closure.Capital("the " + string(w.Who) + " must act.")
	}
	return why, who, hint, until
}

// age is how old a closure is, or has become, in business days: the weekend makes nobody late.
func (k *Console) age(c closure.Closure, now time.Time) string {
	end := now
	if c.State.Ended() {
		end = c.EndedAt
	}
	return closure.Count(k.Calendar().BankingBetween(calendar.DateOf(c.CreatedAt), calendar.DateOf(end)), "business day")
}

// limit is how much of its phase's limit a closure has used up.
func (k *Console) limit(c closure.Closure) string {
	l := k.Policy.Limits[c.Phase]
	if c.State.Ended() {
		return ""
	}
	if l.Days > 0 {
		return fmt.Sprintf("%d of %s", c.Days, l)
	}
	return fmt.Sprintf("%s of %s", c.Spent.Round(time.Second), l)
}

// expectation says where an expected finish comes from, or why there is none.
func (k *Console) expectation(c closure.Closure, finish time.Time) string {
	watch := closure.Count(k.Policy.ReturnWatch, "banking day") + " of watching for a return"
	switch {
	case c.State.Ended():
		return ""
	case c.State != closure.Running:
		return "nobody can tell while it is " + string(c.State)
	case c.Who != closure.Nobody:
		return "nobody can tell: the " + string(c.Who) + " must act first"
	case finish.IsZero():
		return "nobody can tell"
	}
	switch c.Phase {
	case closure.Liquidation:
		return "from the market's and the banks' calendars: sold in the next session, settled on T+1, one payout, " + watch
	case closure.Settlement:
		return "from the settlement day, as many payouts as the proceeds take within the daily limit, " + watch
	case closure.Withdrawal:
		return "from the payouts made so far and what is left within the daily limit, then " + watch
	case closure.Closing:
		return "from the next look: the account is being closed"
	}
	return ""
}

// noReturn names the instruction by which a closure has passed its point of no return.
func noReturn(intents []closure.Intent) string {
	i, passed := desk.NoReturn(intents)
	if !passed {
		return "It is not passed: nothing that can't be undone was sent. The closure can be called off."
	}
	return "It is passed: " + desk.Instructed(i) + " " + desk.Became(i) + ". The closure can't be called off any more."
}

// latestEvents is a page of a history, the newest event first, and where the next page begins.
func latestEvents(events []ledger.Event, before string) (shown []eventView, older int64) {
	end := len(events)
	if n, err := strconv.Atoi(before); err == nil && n > 0 {
		end = min(end, n-1)
	}
	start := max(0, end-eventsShown)
	for n := end - 1; n >= start; n-- {
		shown = append(shown, eventView{events[n], indented(events[n].Detail)})
	}
	if start > 0 {
		older = events[start].Seq
	}
	return shown, older
}

func indented(raw json.RawMessage) string {
	var b bytes.Buffer
	if len(raw) == 0 || json.Indent(&b, raw, "", "  ") != nil {
		return string(raw)
	}
	return b.String()
}

// masked is what of a person's datum everybody may see: that there is one, and how it begins and ends.
func masked(text string) string {
	if text == "" {
		return ""
	}
	first := string([]rune(text)[0])
	_, domain, ok := strings.Cut(text, "@")
	if !ok {
		return first + "•••"
	}
	_, top, _ := strings.Cut(domain[max(0, strings.LastIndex(domain, ".")):], ".")
	if top == "" { // a name within a network
		return first + "•••@•••"
	}
	return first + "•••@•••." + top
}

// revealed is what a person has asked to see, once.
type revealed struct {
	Closure     closure.Closure
	Email, User string
	Seen        int64
}

// reveal shows a closure's personal data to the one who asks, after it stands in the history that they did. The page is the answer
// to the form, and no address of its own: reloading it is asking again.
func (k *Console) reveal(a *ask) (formAnswer, error) {
	r, err := k.found(a)
	if err != nil {
		return formAnswer{}, err
	}
	err = k.Ledger.Note(a.Context(), r.ID, closure.Event{
		Kind: ledger.Looked, At: k.now(), Actor: a.Who.Actor(), Text: "looked at the customer's e-mail address and user id",
	})
	if err != nil {
		return formAnswer{}, err
	}
	return formAnswer{Status: http.StatusOK, Page: page{Template: "reveal", Title: "Personal data", Data: revealed{Closure: r.Closure, Email: r.Email, User: r.UserID}}}, nil
}

// caseFile is the file to print, under its own policy. The customer's user id is masked in it, as on every page.
func (k *Console) caseFile(w http.ResponseWriter, r *http.Request) {
	a, ok := k.admit(w, r, signin.Viewer)
	if !ok {
		return
	}
	record, err := k.found(a)
	if err != nil {
		k.fail(w, a, err)
		return
	}
	file := k.Desk.File(record, true)
	file.Asked.UserID = masked(file.Asked.UserID)
	body, err := web.CaseFile(file)
	if err != nil {
		k.fail(w, a, err)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", web.PagePolicy)
	_, _ = w.Write(body) // the browser is gone
}

// brokerView is a closure beside the account as the broker shows it now.
type brokerView struct {
	Closure closure.Closure
	At      time.Time
	Rows    []readiness.Beside
	Drifts  int
	Unread  []string
	Gone    bool // the broker does not know the account
}

// brokerPage asks the broker, each time it is opened: it costs calls, so that no other page does.
func (k *Console) brokerPage(a *ask) (page, error) {
	r, err := k.found(a)
	if err != nil {
		return page{}, err
	}
	if k.Readiness == nil {
		return page{}, trouble{Status: http.StatusServiceUnavailable, Title: "The broker can't be asked", Detail: "This console has no way to the broker."}
	}
	view, err := k.views.at(a.Context(), r.Closure, k.Readiness.View)
	v := brokerView{Closure: r.Closure, At: view.At, Gone: errors.Is(err, readiness.ErrNoAccount)}
	if err != nil && !v.Gone {
		return page{}, trouble{
			Status: http.StatusServiceUnavailable, Title: "The broker can't be read", Detail: "Nothing is known of the account just now, and nothing was changed.",
			Hint: "Try again in a minute. The closure itself goes on by itself when the broker answers.", Cause: err,
		}
	}
	if !v.Gone {
		v.Rows = readiness.Compare(r.Closure, r.Intents, view)
	}
	for _, row := range v.Rows {
		if row.Drift != "" {
			v.Drifts++
		}
	}
	for part := range view.Unreadable {
		v.Unread = append(v.Unread, string(part))
	}
	slices.Sort(v.Unread)
	return page{Template: "broker", Title: "Beside the broker", Data: v}, nil
}
