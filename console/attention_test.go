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

	"closeout/signin"

	"closeout/closure"
	"closeout/ledger"
)

const evil = `<script>alert("x")</script>'">&`

// stop makes closures that have failed for a reason.
func (b *bench) stop(tb testing.TB, n int, reason closure.Reason, memo *closure.Memo) (all []closure.Closure) {
	tb.Helper()
	for range n {
		all = append(all, b.look(tb, b.create(tb), closure.Fail(reason, evil), memo))
	}
	return all
}

// sees demands that a page is there and has these texts and none of the others, which begin with a !.
func (b *bench) sees(tb testing.TB, path string, texts ...string) string {
	tb.Helper()
	w := b.do("GET", path)
	body := w.Body.String()
	if w.Code != http.StatusOK {
		tb.Fatalf("%s: %d\n%s", path, w.Code, body)
	}
	if strings.Contains(body, "<script>alert") {
		tb.Errorf("%s runs what is stored", path)
	}
	for _, text := range texts {
		if not := strings.HasPrefix(text, "!"); strings.Contains(body, strings.TrimPrefix(text, "!")) == not {
			_, part, _ := strings.Cut(body, "<main")
			part, _, _ = strings.Cut(part, "</main>")
			tb.Errorf("%s: %q: %t\n%s", path, text, not, part)
		}
	}
	return body
}

func TestAttentionIsClearWhereNothingNeedsAPerson(t *testing.T) {
	b := newBench(t)
	b.create(t)
	b.sees(t, "/attention", "All clear", "!Stopped")
	b.sees(t, "/redrives", "None yet")
}

func TestAttentionGroupsWhatNeedsAPerson(t *testing.T) {
	b := newBench(t)
	known := &closure.Memo{Worth: "1000.10", OnWay: "5.00"}
	failed := b.stop(t, 2, closure.OrderRefused, known)
	b.stop(t, 1, closure.OrderRefused, nil) // nobody knows what it holds
	each := b.stop(t, 1, closure.Unexplained, known)[0]
	b.look(t, b.create(t), closure.Park(0, closure.AccountBlocked, evil), nil)
	b.look(t, b.create(t), closure.Wait(0, closure.ExcessNoted, evil), nil)
	_, err := b.ledger.Command(context.Background(), b.create(t).ID, func(c closure.Closure, _ []closure.Intent) (closure.Change, error) {
		return closure.Pause(c.UpdatedAt, "ann", evil), nil
	})
	must(t, err)
	c := b.create(t)
	_, _, err = b.ledger.Claim(context.Background(), c, closure.Claimed(c.UpdatedAt, c.UpdatedAt, "pay", true), []closure.Intent{{
		Kind: closure.TransferIntent, Subject: "bank", Request: []byte(`{}`), ClaimedAt: c.UpdatedAt, Deadline: time.Now().Add(-time.Minute), BankingDay: "2026-11-18",
	}}, closure.Event{Kind: "claim", At: c.UpdatedAt, Actor: closure.Worker, Text: "pay"})
	must(t, err)
	body := b.sees(t, "/attention", "!All clear", html.EscapeString(hint(closure.Reasons[closure.OrderRefused].Hint)), "order_refused", "$2,000.20", "and 1 of 3 not known", "less than a business day",
		"/attention/retry?reason=order_refused&amp;status=failed%2Cdead", "!/attention/retry?reason=unexplained_money", "A person must look at each of these",
		"/closures?reason=order_refused&amp;status=failed%2Cdead", "/closures/"+failed[1].ID, "/closures/"+each.ID, "account_blocked", "excess_noted", "Paused", "a payout", "/closures/"+c.ID)
	order := []string{"nobody knows what became", "Gaps in the books", "<h2>Stopped", "unexplained_money", "order_refused", "waiting for somebody", "account_blocked", "<h2>Paused"}
	at := 0
	for _, text := range order {
		n := strings.Index(body[at:], text)
		if n < 0 {
			t.Fatalf("%q does not come after what must be before it", text)
		}
		at += n
	}
	for range 3 { // it says ages and as of when it is: a minute may turn between two looks, and not between each two
		again := b.sees(t, "/attention")
		if again == body {
			return
		}
		body = again
	}
	t.Error("the page is not the same twice")
}

// send posts a form as a browser on this site would.
func (b *bench) send(path string, form url.Values, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for n := 0; n+1 < len(headers); n += 2 {
		r.Header.Set(headers[n], headers[n+1])
	}
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	return w
}

var hidden = regexp.MustCompile(`name="(filter|found|shown)" value="([^"]*)"`)

// form is what the preview's form would send.
func (b *bench) form(tb testing.TB, path, reason, rate string) url.Values {
	tb.Helper()
	v := url.Values{"reason": {reason}, "rate": {rate}}
	for _, m := range hidden.FindAllStringSubmatch(b.sees(tb, path), -1) {
		v.Set(m[1], html.UnescapeString(m[2]))
	}
	return v
}

func TestManyAreRetriedFromThePreview(t *testing.T) {
	var asked []ledger.Redrive
	b := newBench(t, func(o *Options) {
		o.ScheduleRedrive = func(_ context.Context, r ledger.Redrive) error {
			asked = append(asked, r)
			return fmt.Errorf("Redis is away")
		}
	})
	all := b.stop(t, 3, closure.TransferFailed, nil)
	b.stop(t, 2, closure.LateTransfer, nil)
	other := b.stop(t, 1, closure.BankGone, nil)[0]
	const path = "/attention/retry?status=failed,dead&reason=transfer_failed"
	b.sees(t, path, "<b>3</b> would be retried", html.EscapeString(hint(closure.Reasons[closure.TransferFailed].Hint)), "!bank_gone", "!A person must look at each")
	b.sees(t, "/attention/retry?reason=late_transfer", "a person must look at each", "!would be retried", "!<button class=\"act\"", "late_transfer")
	b.sees(t, "/attention/retry?reason=account_gone", "Nothing that has stopped matches")
	if page := b.refused(t, "/attention/retry?raeson=account_gone&q="+url.QueryEscape(evil)); !strings.Contains(page, "not understood") || !strings.Contains(page, "raeson") || strings.Contains(page, "<script>alert") {
		t.Error(page)
	}
	if mixed := b.sees(t, "/attention/retry", "<b>4</b> would be retried", "a person must look at each", "all that has stopped"); strings.Contains(mixed, "hx-sse:connect") {
		t.Error("a page with a form is drawn again under its writer's hands")
	}
	b.sees(t, "/closures?status=failed&reason=transfer_failed&order=oldest", `href="/attention/retry?reason=transfer_failed&amp;status=failed"`)
	for _, none := range []string{"/closures", "/closures?status=failed,running", "/closures?reason=transfer_failed", "/closures?status=dead"} {
		b.sees(t, none, "!/attention/retry")
	}
	form := b.form(t, path, evil, "60")
	if w := b.send("/attention/retry", form, asRole, string(signin.Viewer)); w.Code != http.StatusForbidden {
		t.Fatalf("a viewer starts one: %d", w.Code)
	}
	if viewed := b.do("GET", path, asRole, string(signin.Viewer)).Body.String(); !strings.Contains(viewed, "Only an operator") || strings.Contains(viewed, `name="reason"`) {
		t.Error("a viewer is shown the form")
	}
	for name, value := range map[string]string{"reason": " ", "rate": "0", "filter": "raeson=x", "found": "", "shown": "other"} {
		bad := url.Values{}
		for k, v := range form {
			bad[k] = v
		}
		bad.Set(name, value)
		if w := b.send("/attention/retry", bad); w.Code != http.StatusUnprocessableEntity && w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), "Nothing was retried") {
			t.Errorf("%s=%q: %d", name, value, w.Code)
		}
	}
	if latest, err := b.ledger.Redrives(t.Context(), 10); err != nil || len(latest) != 0 {
		t.Fatalf("what was refused was started: %+v, %v", latest, err)
	}
	w := b.send("/attention/retry", form)
	if w.Code != http.StatusSeeOther || len(asked) != 1 {
		t.Fatalf("%d %s; asked for %d bites", w.Code, w.Body, len(asked))
	}
	at := w.Header().Get("Location")
	r, err := b.ledger.Redrive(t.Context(), strings.TrimPrefix(at, "/redrives/"))
	if err != nil || r.Total != 3 || r.Actor != "operator:ada" || r.Reason != evil || r.PerMinute != 60 {
		t.Fatalf("%+v, %v", r, err)
	}
	b.sees(t, at, "<b>0</b> of 3 retried", "3 left", "Abort", "transfer_failed", "about a minute")
	b.sees(t, "/attention", "one is running: 0 of 3")
	_, err = b.ledger.Command(t.Context(), all[1].ID, func(c closure.Closure, _ []closure.Intent) (closure.Change, error) {
		return closure.Resume(c.UpdatedAt, "bob", "seen"), nil
	})
	must(t, err)
	for n := range 2 {
		_, _, err = b.ledger.Retry(t.Context(), r.ID, n)
		must(t, err)
	}
	b.sees(t, at, "<b>1</b> of 3 retried, 1 skipped, 1 left", "has moved since", "1 running", all[1].ID)
	b.sees(t, at+"?show=retried", all[0].ID, "!"+all[1].ID)
	b.sees(t, at+"?show=waiting&after=x", all[2].ID)
	if w := b.send(at+"/abort", url.Values{}, asRole, string(signin.Viewer)); w.Code != http.StatusForbidden {
		t.Fatalf("a viewer aborts it: %d", w.Code)
	}
	if viewed := b.do("GET", at, asRole, string(signin.Viewer)).Body.String(); strings.Contains(viewed, "/abort") {
		t.Error("a viewer is shown the abort")
	}
	for range 2 { // the second time it had ended
		if w := b.send(at+"/abort", url.Values{}); w.Code != http.StatusSeeOther || w.Header().Get("Location") != at {
			t.Fatalf("abort: %d %s", w.Code, w.Body)
		}
	}
	if _, _, err := b.ledger.Retry(t.Context(), r.ID, 2); err == nil {
		t.Error("resumed after the abort")
	}
	b.sees(t, at, "aborted", "aborted by ada", "1 not retried", "!Abort:")
	b.sees(t, "/redrives", at, "1 of 3", "ada")
	if c, err := b.ledger.Get(t.Context(), other.ID); err != nil || c.State != closure.Failed {
		t.Errorf("another was touched: %+v, %v", c, err)
	}
	for _, path := range []string{"/redrives/no", "/redrives/" + url.PathEscape(evil)} {
		if w := b.do("GET", path); w.Code != http.StatusNotFound || strings.Contains(w.Body.String(), "<script>alert") {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	if w := b.send("/redrives/no/abort", url.Values{}); w.Code != http.StatusNotFound {
		t.Errorf("abort of none: %d", w.Code)
	}
}

func TestPagesOfABulkRetry(t *testing.T) {
	b := newBench(t)
	n := retriesShown + 3
	b.stop(t, n, closure.OrderRefused, nil)
	r, err := b.ledger.CreateRedrive(t.Context(), ledger.Redrive{Reason: "x", Actor: "operator:ada", PerMinute: 1})
	must(t, err)
	row := regexp.MustCompile(`id="r-[0-9]+"`)
	at := "/redrives/" + r.ID + "?show=waiting"
	first := b.sees(t, at, "Next page", fmt.Sprintf("about %d minutes", n))
	second := b.sees(t, fmt.Sprintf("%s&after=%d", at, retriesShown-1), "!Next page")
	if a, z := len(row.FindAllString(first, -1)), len(row.FindAllString(second, -1)); a != retriesShown || z != 3 {
		t.Errorf("pages of %d and %d", a, z)
	}
}
