package console

import (
	"context"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"closeout/calendar"
	"closeout/closure"
	"closeout/ledger"
	"closeout/readiness"
)

// create makes a closure of a new account.
func (b *bench) create(tb testing.TB, change ...func(*ledger.Wish)) closure.Closure {
	tb.Helper()
	w := ledger.Wish{AccountID: uuid.NewString(), RelationshipID: "bank", Email: "ann@example.test", UserID: "user-1", Cause: "moving", Actor: "api:shop"}
	for _, f := range change {
		f(&w)
	}
	c, _, err := b.ledger.Create(context.Background(), w)
	must(tb, err)
	return c
}

// look ends a visit to a closure with an outcome.
func (b *bench) look(tb testing.TB, c closure.Closure, o closure.Outcome, memo *closure.Memo) closure.Closure {
	tb.Helper()
	next, err := b.ledger.Save(context.Background(), c, closure.Looked(c.UpdatedAt.Add(time.Second), o, closure.Look{}, memo), nil)
	must(tb, err)
	return next
}

func (b *bench) to(tb testing.TB, c closure.Closure, p closure.Phase) closure.Closure {
	tb.Helper()
	for c.Phase != p {
		c = b.look(tb, c, closure.Go(closure.StepOf(c.Phase).Next[0], "on"), nil)
	}
	return c
}

// crowd makes closures of every kind.
func (b *bench) crowd(tb testing.TB) {
	tb.Helper()
	b.create(tb)
	b.create(tb, func(w *ledger.Wish) { w.NotBefore = time.Now().Add(100 * time.Hour) })
	b.look(tb, b.create(tb), closure.Wait(time.Hour, closure.OrdersOpen, "two orders are open"), &closure.Memo{Worth: "1200.10", OnWay: "0.00"})
	b.look(tb, b.to(tb, b.create(tb), closure.Settlement), closure.Wait(time.Hour, closure.Settling, "the rest settles"), &closure.Memo{Worth: "99.90", OnWay: "0.00"})
	b.look(tb, b.to(tb, b.create(tb), closure.Settlement), closure.Wait(time.Hour, closure.CashHeld, "the cash is held"), &closure.Memo{Worth: "5.00", OnWay: "0.00"})
	b.look(tb, b.to(tb, b.create(tb), closure.Withdrawal), closure.Wait(time.Hour, closure.TransferPending, "the payout is on its way"), &closure.Memo{Worth: "0.00", OnWay: "700.25"})
	b.look(tb, b.to(tb, b.create(tb), closure.Withdrawal), closure.Fail(closure.BankGone, "the bank is gone"), &closure.Memo{Worth: "10.00", OnWay: "0.00"})
	b.look(tb, b.to(tb, b.create(tb), closure.Closing), closure.Done("paid out"), &closure.Memo{Paid: "12.34"})
	dead := b.create(tb)
	for n := range closure.MaxRetries + 1 {
		var err error
		dead, err = b.ledger.Save(context.Background(), dead, closure.Stumbled(dead.UpdatedAt, "broken", n, true), nil)
		must(tb, err)
	}
	b.command(tb, b.create(tb), func(c closure.Closure) closure.Change { return closure.Pause(c.UpdatedAt, "ann", "hold it") })
	b.command(tb, b.create(tb), func(c closure.Closure) closure.Change {
		return closure.Cancel(c.UpdatedAt, "ann", "never mind", false)
	})
}

func (b *bench) command(tb testing.TB, c closure.Closure, ch func(closure.Closure) closure.Change) {
	tb.Helper()
	_, err := b.ledger.Command(context.Background(), c.ID, func(c closure.Closure, _ []closure.Intent) (closure.Change, error) { return ch(c), nil })
	must(tb, err)
}

// see is a page that must be shown.
func (b *bench) see(tb testing.TB, path string) string {
	tb.Helper()
	w := b.do("GET", path)
	if w.Code != http.StatusOK {
		tb.Fatalf("%s: %d\n%s", path, w.Code, w.Body)
	}
	return w.Body.String()
}

func (b *bench) postSearch(text string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/search", strings.NewReader(url.Values{"q": {text}}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	return w
}

var (
	countLink = regexp.MustCompile(`<a class="count [a-z]*" href="([^"]*)"><b>([0-9]+)</b>`)
	laneLink  = regexp.MustCompile(`<h2><a href="([^"]*)">[^<]*<b>([0-9]+)</b>`)
	allLink   = regexp.MustCompile(`<p><a href="([^"]*)"><b>([0-9]+)</b> under way`)
	endedLink = regexp.MustCompile(`<a href="([^"]*)">([0-9]+) (?:closed|canceled)</a>`)
	rowLink   = regexp.MustCompile(`<td class="line"><a href="/closures/([^"]*)"`)
)

func TestEachNumberOfTheBoardIsTheListBehindIt(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.crowd(t)
	board := b.see(t, "/")
	links := 0
	for what, form := range map[string]*regexp.Regexp{"count": countLink, "lane": laneLink, "all": allLink, "ended": endedLink} {
		found := form.FindAllStringSubmatch(board, -1)
		if len(found) == 0 {
			t.Errorf("the board has no %s", what)
		}
		for _, m := range found {
			links++
			list := b.see(t, html.UnescapeString(m[1]))
			if n := len(rowLink.FindAllString(list, -1)); fmt.Sprint(n) != m[2] {
				t.Errorf("the board says %s, and %s lists %d", m[2], m[1], n)
			}
		}
	}
	if links < 20 {
		t.Errorf("only %d numbers", links)
	}
	for _, text := range []string{
		`<b>9</b> under way`, "$1315.00", "$700.25", "and 4 of 9 not known", "for an operator", "for the customer", "for the broker", "less than a trading day",
		"less than a banking day", "failed", "dead", "paused", "Waiting to start",
	} {
		if !strings.Contains(board, text) {
			t.Errorf("the board lacks %q", text)
		}
	}
	if strings.Contains(board, "All clear") {
		t.Error("all is clear, and people must act")
	}
}

func TestEmptyPagesSayWhy(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for path, text := range map[string]string{"/": "No closure yet", "/closures": "No closure yet", "/closures?phase=closing": "No closure matches"} {
		if page := b.see(t, path); !strings.Contains(page, text) {
			t.Errorf("%s does not say %q:\n%s", path, text, page)
		}
	}
	b.create(t)
	if page := b.see(t, "/"); !strings.Contains(page, "All clear") || strings.Contains(page, "No closure yet") || !strings.Contains(page, `<span class="unknown">unknown</span>`) {
		t.Errorf("with one closure of which nothing is known:\n%s", page)
	}
	if page := b.see(t, "/closures?phase=closing"); !strings.Contains(page, "No closure matches") || !strings.Contains(page, `<a href="/closures">Clear the filters</a>`) {
		t.Errorf("none match:\n%s", page)
	}
}

func TestStoredTextsAreNeverMarkup(t *testing.T) {
	t.Parallel()
	const script = `<script>alert(1)</script>`
	b := newBench(t)
	c := b.create(t, func(w *ledger.Wish) {
		w.AccountID, w.Email, w.UserID, w.Cause, w.Actor, w.RelationshipID = script, script+"@example.test", script, script, script, script
	})
	c = b.look(t, c, closure.Wait(time.Hour, closure.CashHeld, script), &closure.Memo{Worth: script, OnWay: script, Paid: script})
	must(t, func() error {
		_, err := b.ledger.Save(context.Background(), c, closure.Stumbled(c.UpdatedAt, script+"\r\n\x00", 0, true), nil)
		return err
	}())
	for _, path := range []string{
		"/", "/closures", "/closures?q=" + url.QueryEscape(script), "/closures?client=" + url.QueryEscape(script), "/closures?" + url.QueryEscape(script) + "=1",
		"/closures?status=" + url.QueryEscape(script), "/closures?order=" + url.QueryEscape(script), "/closures?person_of=" + c.ID, "/closures?lane=open&created_after=" + url.QueryEscape(`"onclick="alert(1)`),
	} {
		page := b.do("GET", path).Body.String()
		if !strings.Contains(page, "<main") || strings.Contains(page, "<script>alert") || strings.Contains(page, `"onclick="alert`) {
			t.Errorf("%s has it as markup", path)
		}
		if strings.Contains(page, "@example.test") {
			t.Errorf("%s shows an e-mail", path)
		}
	}
	if page := b.see(t, "/closures"); !strings.Contains(page, "&lt;script&gt;") || len(rowLink.FindAllString(page, -1)) != 1 {
		t.Errorf("the list lacks it as a text:\n%s", page)
	}
}

func TestTheMarketInWords(t *testing.T) {
	t.Parallel()
	for at, want := range map[string]string{
		"2026-11-24 10:00": "open until 16:00; open today",
		"2026-11-24 15:00": "open until 16:00; open today, past the cut-off for payouts",
		"2026-11-24 08:00": "closed, opens today 09:30; open today",
		"2026-11-25 16:00": "closed, opens Fri 27 Nov 09:30, closes early 13:00; open today, past the cut-off for payouts",
		"2026-11-26 12:00": "closed, opens Fri 27 Nov 09:30, closes early 13:00; closed today, open Fri 27 Nov",
		"2026-11-27 10:00": "open until 13:00, an early close; open today",
		"2026-11-28 10:00": "closed, opens Mon 30 Nov 09:30; closed today, open Mon 30 Nov",
		"2026-11-11 10:00": "open until 16:00; closed today, open Thu 12 Nov", // Veterans Day
	} {
		now, err := time.ParseInLocation("2006-01-02 15:04", at, calendar.NewYork)
		must(t, err)
		m := marketAt(calendar.Rules(), now)
		if got := m.Market + "; " + m.Banks; got != want {
			t.Errorf("%s: %s, want %s", at, got, want)
		}
	}
}

func TestSlowIsWhatIsOlderThanUsualInTheDaysOfItsPhase(t *testing.T) {
	t.Parallel()
	k := newBench(t).Console
	cal := calendar.Rules()
	day := time.Date(2026, time.November, 1, 12, 0, 0, 0, calendar.NewYork)
	slow := 0
	for n := range 70 {
		now := day.AddDate(0, 0, n)
		cut := k.slow(cal, now)
		for back := range 20 {
			since := now.AddDate(0, 0, -back)
			for _, s := range closure.Road {
				var days int
				if _, err := fmt.Sscanf(ageIn(cal, s.Phase, since, now), "%d", &days); err != nil {
					days = 0 // less than one
				}
				is := since.Before(cut[s.Phase])
				if is != (days > readiness.Usual(k.Policy, s.Phase)) {
					t.Fatalf("%s since %s on %s: %s, slow: %t", s.Phase, since, now, ageIn(cal, s.Phase, since, now), is)
				}
				if is {
					slow++
				}
			}
		}
	}
	if slow == 0 {
		t.Error("nothing was ever slow")
	}
}
