package console

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"closeout/signin"

	"github.com/sirupsen/logrus"

	"closeout/closure"
	"closeout/ledger"
)

var (
	nextLink     = regexp.MustCompile(`<a class="button" href="([^"]*)" rel="next">`)
	previousLink = regexp.MustCompile(`<a class="button" href="([^"]*)" rel="prev">`)
)

// walk reads all pages of a list, to its end and back, and gives the closures in their order.
func (b *bench) walk(t *testing.T, path string) (ids []string, pages int) {
	t.Helper()
	var read []string
	for way := nextLink; path != ""; {
		page := b.see(t, path)
		var here []string
		for _, m := range rowLink.FindAllStringSubmatch(page, -1) {
			here = append(here, m[1])
		}
		if way == nextLink {
			read = append(read, strings.Join(here, " "))
			ids = append(ids, here...)
			pages++
		} else if pages--; strings.Join(here, " ") != read[pages-1] {
			t.Errorf("%s has other closures than page %d", path, pages)
		}
		if (pages > 1) != strings.Contains(page, "To the first page") || (pages > 1) != previousLink.MatchString(page) {
			t.Fatalf("page %d: the way back", pages)
		}
		path = ""
		if m := way.FindStringSubmatch(page); m != nil {
			path = html.UnescapeString(m[1])
		} else if m := previousLink.FindStringSubmatch(page); m != nil {
			way, path = previousLink, html.UnescapeString(m[1])
		}
	}
	return ids, len(read)
}

// refused asks for a page whose filters can't be understood.
func (b *bench) refused(tb testing.TB, path string) string {
	tb.Helper()
	w := b.do("GET", path)
	if w.Code != http.StatusUnprocessableEntity {
		tb.Errorf("%.90s: %d", path, w.Code)
	}
	return w.Body.String()
}

func TestTheListIsReadPageByPageInEachOrder(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var made []string
	for range 2*pageSize + 7 {
		made = append(made, b.create(t).ID)
	}
	first := b.see(t, "/closures")
	if want := fmt.Sprintf("%d found", len(made)); !strings.Contains(first, want) {
		t.Errorf("the page does not say %s", want)
	}
	newest := slices.Clone(made)
	slices.Reverse(newest)
	for order, want := range map[string][]string{"": newest, "newest": newest, "oldest": made, "due": made, "stuck": made} {
		got, pages := b.walk(t, closuresAt("order", order, "status", "running"))
		if pages != 3 || !slices.Equal(got, want) {
			t.Errorf("order %q: %d closures on %d pages, want %d on 3, in order", order, len(got), pages, len(want))
		}
	}
	next := html.UnescapeString(nextLink.FindStringSubmatch(first)[1])
	u, err := url.Parse(next)
	must(t, err)
	after := u.Query().Get("after")
	raw, err := base64.RawURLEncoding.DecodeString(after)
	must(t, err)
	forged := func(old, with string) string {
		return base64.RawURLEncoding.EncodeToString(bytes.Replace(raw, []byte(old), []byte(with), 1))
	}
	micros := strings.Fields(string(raw))[1]
	for _, path := range []string{
		"/closures?after=x", "/closures?after=" + strings.Repeat("A", 5000), next + "&order=oldest", "/closures?status=running&after=" + after,
		"/closures?after=" + forged(micros, "-99999999999999999"), "/closures?after=" + forged(micros, "999999999999999999"), "/closures?after=" + forged(micros, "1e3"),
		"/closures?after=" + forged(micros+" ", micros+" ' OR 1=1 "), "/closures?after=%00", "/closures?after=" + after[:len(after)-4],
		"/closures?before=x", next + "&before=" + after,
	} {
		page := b.refused(t, path)
		if rows := len(rowLink.FindAllString(page, -1)); rows > 0 || !strings.Contains(page, "is no place in this list") {
			t.Errorf("%.90s lists %d closures", path, rows)
		}
	}
}

func TestFiltersThatAreNotUnderstoodListNothing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.crowd(t)
	for query, says := range map[string]string{
		"status=lost":                        "is one of",
		"status=failed,lost":                 "is one of",
		"phase=party":                        "there is no phase",
		"reason=boredom":                     "there is no reason",
		"who=me":                             "is one of operator, customer, broker",
		"lane=fast":                          "is one of open, start, liquidation",
		"slow=no":                            "is one of yes",
		"order=random":                       "there is no order",
		"account_id=12":                      "is an id",
		"batch_id=%27":                       "is an id",
		"person_of=ann":                      "is an id",
		"created_after=yesterday":            "is a date",
		"created_before=2026-02-30":          "is a date",
		"created_after=9999-12-31T23:00:00Z": "is a date",
		"ended_after=-1":                     "is a date",
		"older_than=5":                       "is a number and m, h or d",
		"older_than=999999d":                 "a hundred years",
		"q=ab":                               "three letters",
		"q=ann@example.test":                 "looked for by the search at the top alone",
		"q=" + strings.Repeat("x", 101):      "longer than",
		"q=abc%00def":                        "control characters",
		"q=abc%ff":                           "control characters",
		"q=abc%0Adef":                        "control characters",
		"state=failed":                       "nothing can be filtered by it",
		"status=failed&nonsense=1":           "nothing can be filtered by it",
		"%00%1b[31m" + strings.Repeat("y", 90) + "=1":      "nothing can be filtered by it",
		"client=" + strings.Repeat("%C3%A4", 51):           "longer than",
		"status=failed&phase=party&order=random&reason=x":  "there is no order",
		"lane=open&created_before=2026-11-27T00:00:00+1:0": "is a date",
	} {
		page := b.refused(t, "/closures?"+query)
		if rows := len(rowLink.FindAllString(page, -1)); rows > 0 || !strings.Contains(page, "Nothing is listed") || !strings.Contains(page, says) {
			t.Errorf("%.60s lists %d closures, or does not say %q", query, rows, says)
		}
		if strings.ContainsFunc(page, func(r rune) bool { return r < ' ' && r != '\n' }) {
			t.Errorf("%.60s comes back with control characters", query)
		}
	}
}

func TestFiltersOfTheListNarrowIt(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.crowd(t)
	for query, want := range map[string]int{
		"": 11, "status=failed": 1, "status=failed,dead": 2, "status=closed": 1, "phase=settlement": 2, "phase=settlement&who=broker": 1, "who=somebody": 4, "who=customer": 1,
		"reason=bank_gone": 1, "lane=open": 9, "lane=start": 1, "lane=liquidation&status=running": 2, "slow=yes": 0, "older_than=1d": 0, "older_than=0m": 11,
		"created_after=2020-01-01": 11, "created_before=2020-01-01": 0, "created_after=2020-01-01T00:00:00Z&created_before=2099-01-01": 11,
		"client=api:shop": 11, "client=shop": 0, "ended_after=2020-01-01": 4, "q=CLA-2": 11, "status=&phase=": 11, "status=failed&status=dead": 2,
		"order=due": 6, "order=stuck": 9, "batch_id=3f2a8a5e-0c1b-4f6c-9c58-1f8f0a7b9c01": 0,
	} {
		page := b.see(t, "/closures?"+query)
		if rows := len(rowLink.FindAllString(page, -1)); rows != want || strings.Contains(page, "Nothing is listed") {
			t.Errorf("%s lists %d closures, want %d", query, rows, want)
		}
	}
	page := b.see(t, "/closures?status=failed&order=stuck&lane=withdrawal")
	for _, text := range []string{
		`<option value="failed" selected>`, `<option value="stuck" selected>`, `<input type="hidden" name="lane" value="withdrawal">`, `href="/closures?lane=withdrawal&amp;order=stuck"`,
		"Stopped until it is resumed: the bank is gone; the customer must act.", "$10.00",
	} {
		if !strings.Contains(page, text) {
			t.Errorf("the page lacks %s\n%s", text, page)
		}
	}
	if page := b.see(t, "/closures?phase=settlement,closing"); !strings.Contains(page, `<option value="settlement,closing" selected>settlement or closing`) {
		t.Error("two phases are lost from the form")
	}
}

func TestALineSaysWhyUntilWhenAndWhoMustAct(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, time.November, 24, 15, 0, 0, 0, time.UTC)
	due := now.Add(26 * time.Hour)
	for want, c := range map[string]closure.Closure{
		"The rest settles; looks again Wed 25 Nov 12:00 EST.":                                      {State: closure.Running, Why: "the rest settles.", DueAt: due},
		"The rest settles; goes on now.":                                                           {State: closure.Running, Why: "the rest settles", DueAt: now},
		"The cash is held; the broker must act, looks again Wed 25 Nov 12:00 EST.":                 {State: closure.Running, Why: "the cash is held", Who: closure.Broker, DueAt: due},
		"Later; starts Wed 25 Nov 12:00 EST.":                                                      {State: closure.Running, Why: "later", Reason: closure.NotYet, DueAt: due},
		"On its way; goes on now.":                                                                 {State: closure.Running},
		"Sent; the last try ended with an error and is repeated: broken pipe; goes on now.":        {State: closure.Running, Why: "sent", Failures: 1, LastError: "broken\n pipe."},
		"Held until it is resumed: a call is awaited; an operator must act.":                       {State: closure.Paused, Why: "a call is awaited", Who: closure.Operator},
		"Stopped until it is resumed: it is gone; the customer must act.":                          {State: closure.Failed, Why: "it is gone", Who: closure.Customer},
		"Stopped until it is resumed: failed 4 times in a row: boom; an operator must act.":        {State: closure.Dead, Why: "failed 4 times in a row: boom"},
		"Closed Tue 24 Nov 10:00 EST: paid out $5.00.":                                             {State: closure.Closed, Why: "paid out $5.00", EndedAt: now},
		"Canceled Tue 24 Nov 10:00 EST: " + closure.Reasons[closure.CanceledByRequest].Title + ".": {State: closure.Canceled, Reason: closure.CanceledByRequest, EndedAt: now},
	} {
		if got := line(c, now); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestTheSearchLeadsToWhatWasMeant(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	b := newBench(t, func(o *Options) {
		o.Log = logrus.New()
		o.Log.SetOutput(&log)
		o.Log.SetLevel(logrus.TraceLevel)
	})
	c := b.create(t, func(w *ledger.Wish) { w.Email, w.UserID, w.Actor = "Solo@example.test", "u-solo", "api:one" })
	two := b.create(t, func(w *ledger.Wish) { w.Email, w.UserID, w.Actor = "pair@example.test", "", "api:two" })
	b.create(t, func(w *ledger.Wish) { w.Email, w.UserID, w.Actor = "PAIR@example.test", "", "api:two" })
	_, intents, err := b.ledger.Claim(context.Background(), c, closure.Claimed(c.UpdatedAt, c.UpdatedAt.Add(time.Minute), "sell", false),
		[]closure.Intent{{Kind: closure.OrderIntent, Subject: "asset", ClientOrderID: "ours-7", Request: []byte("{}"), ClaimedAt: c.UpdatedAt, Deadline: c.UpdatedAt}}, closure.Event{Kind: "claim", At: c.UpdatedAt})
	must(t, err)
	intents[0].State, intents[0].BrokerID = closure.IntentSent, "61e69015-8549-4bfd-b9c3-01e75843f47d"
	_, _, err = b.ledger.Record(context.Background(), c, intents[0], closure.Event{Kind: "answer", At: c.UpdatedAt})
	must(t, err)
	one := "/closures/" + c.ID
	for text, want := range map[string]string{
		c.ID: one, strings.ToUpper(c.AccountID): one, c.Confirmation: one, "ours-7": one, intents[0].BrokerID: one, c.AccountID[24:]: one, " solo@EXAMPLE.test ": one, "u-solo": one,
		"pair@example.test": "/closures?person_of=", "two": "/closures?client=api%3Atwo", "api:two": "/closures?client=api%3Atwo", "": "/closures", "CLA-": "/closures?q=CLA-",
	} {
		w := b.postSearch(text)
		to := w.Header().Get("Location")
		if w.Code != http.StatusSeeOther || to != want && (!strings.HasSuffix(want, "=") || !strings.HasPrefix(to, want)) {
			t.Errorf("%q leads to %d %s, want %s", text, w.Code, to, want)
		}
		if strings.Contains(strings.ToLower(to), "example") {
			t.Errorf("%q stands in an address: %s", text, to)
		}
		if strings.Contains(text, "@") || text == "u-solo" {
			continue
		}
		if w := b.do("GET", "/search?q="+url.QueryEscape(text)); w.Header().Get("Location") != to {
			t.Errorf("GET %q leads to %s, and POST to %s", text, w.Header().Get("Location"), to)
		}
	}
	if page := b.see(t, b.postSearch("pair@example.test").Header().Get("Location")); len(rowLink.FindAllString(page, -1)) != 2 || !strings.Contains(page, two.AccountID) {
		t.Errorf("the customer's two closures:\n%s", page)
	}
	for text, want := range map[string]int{
		"nobody@example.test": 404, "no-such-thing": 404, "John Smith": 404, "123-45-6789": 404, "9fab33": 303, "ab": 404, strings.Repeat("x", 101): 400, "a\x00b": 400, "a\x1bb": 400, "\xff\xfe": 400, "%": 404, "'; DROP TABLE closures --": 404,
		"<script>alert(1)</script>": 404, "<b": 404,
	} {
		w := b.postSearch(text)
		if body := w.Body.String(); w.Code != want || strings.Contains(body, "example.test") || strings.Contains(body, "<script>alert") {
			t.Errorf("%.20q: %d\n%s", text, w.Code, body)
		}
	}
	if w := b.do("GET", "/search?q=solo@example.test"); w.Code != http.StatusBadRequest || strings.Contains(w.Body.String(), "solo@") {
		t.Errorf("an e-mail in an address: %d", w.Code)
	}
	if strings.Contains(strings.ToLower(log.String()), "example") {
		t.Errorf("the log has an e-mail:\n%s", log.String())
	}
}

func TestTheListNeedsSomebodySignedIn(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(o *Options) { o.Who = func(*http.Request) signin.Person { return signin.Person{} } })
	b.create(t)
	for _, path := range []string{"/", "/closures", "/search?q=abc"} {
		if w := b.do("GET", path); !shut(w) {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	if w := b.postSearch("abc"); !shut(w) {
		t.Errorf("a search: %d", w.Code)
	}
}

// shut says whether an answer shows nothing, and leads to the sign-in if anywhere.
func shut(w *httptest.ResponseRecorder) bool {
	to := w.Header().Get("Location")
	return (w.Code == http.StatusUnauthorized || w.Code == http.StatusSeeOther && strings.HasPrefix(to, "/signin")) && !strings.Contains(w.Body.String(), "CLA-")
}
