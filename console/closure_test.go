package console

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hibiken/asynq"
	"github.com/shopspring/decimal"

	"closeout/alpaca"
	"closeout/alpaca/sim"
	"closeout/calendar"
	"closeout/closure"
	"closeout/ledger"
	"closeout/readiness"
)

// caseBench is a console with a broker, and one closure.
type caseBench struct {
	*bench
	tb            testing.TB
	sim           *sim.Sim
	account, bank string
	c             closure.Closure
	scheduled     int
}

func newCase(tb testing.TB, text string) *caseBench {
	tb.Helper()
	s, err := sim.Open(sim.Options{Key: "key", Secret: "secret"})
	must(tb, err)
	tb.Cleanup(func() { _ = s.Close() })
	client, err := alpaca.New(alpaca.Options{BaseURL: "http://broker.test", Key: "key", Secret: "secret", Transport: s.Transport()})
	must(tb, err)
	k := &caseBench{tb: tb, sim: s}
	k.bench = newBench(tb, func(o *Options) {
		ready := &readiness.Checker{Broker: client, Calendar: calendar.Rules, Policy: o.Policy}
		o.Readiness, o.Desk.Readiness = ready, ready
		o.Desk.Schedule = func(context.Context, closure.Closure) { k.scheduled++ }
		o.Monitoring = asynq.RedisClientOpt{Addr: "127.0.0.1:1"} // nobody asks it
	})
	k.account, err = s.AddAccount(sim.Spec{Email: "jo@example.com", Cash: decimal.NewFromInt(900)})
	must(tb, err)
	truth, err := s.Truth(k.account)
	must(tb, err)
	k.bank = truth.ACHRelationships[0].ID
	k.c, _, err = k.ledger.Create(context.Background(), ledger.Wish{
		AccountID: k.account, RelationshipID: k.bank, Fingerprint: "f00d", UserID: "user-77" + text, Email: "jo@example.com" + text, Cause: "moving on" + text, Actor: "api:shop" + text,
	})
	must(tb, err)
	return k
}

func (k *caseBench) look(o closure.Outcome) {
	k.tb.Helper()
	var err error
	k.c, err = k.ledger.Save(context.Background(), k.c, closure.Looked(time.Now(), o, closure.Look{}, nil), nil)
	must(k.tb, err)
}

// send claims an instruction; an answer ends it.
func (k *caseBench) send(i closure.Intent, answered func(*closure.Intent)) {
	k.tb.Helper()
	ctx := context.Background()
	if i.ClaimedAt.IsZero() {
		i.ClaimedAt = time.Now()
	}
	i.Deadline = i.ClaimedAt.Add(30 * time.Second)
	next, made, err := k.ledger.Claim(ctx, k.c, closure.Claimed(i.ClaimedAt, i.ClaimedAt, "send "+string(i.Kind), i.Kind == closure.TransferIntent), []closure.Intent{i},
		closure.Event{Kind: "claim", At: i.ClaimedAt, Actor: closure.Worker, Text: "send " + string(i.Kind), Detail: map[string]any{"path": "/v1/x"}})
	must(k.tb, err)
	k.c = next
	if answered == nil {
		return
	}
	i = made[0]
	i.State, i.Status, i.RequestID, i.AnsweredAt = closure.IntentSent, 200, "req-"+string(i.Kind), time.Now()
	answered(&i)
	_, _, err = k.ledger.Record(ctx, next, i, closure.Event{Kind: "answer", At: time.Now(), Actor: closure.Worker, Text: "answered: " + i.Answer})
	must(k.tb, err)
	k.c, err = k.ledger.Get(ctx, k.c.ID)
	must(k.tb, err)
}

func usd(s string) decimal.NullDecimal { return decimal.NewNullDecimal(decimal.RequireFromString(s)) }

func (k *caseBench) sell(text string) {
	k.tb.Helper()
	k.send(closure.Intent{
		Kind: closure.OrderIntent, Subject: "AAPL", Attempt: 1, Request: []byte(`{"method":"POST","path":"/v1/trading/accounts/x/orders","body":{"symbol":"AAPL","side":"sell","qty":"3"}}`),
	}, func(i *closure.Intent) {
		i.BrokerID, i.Answer, i.Finished, i.FilledQty, i.Proceeds = "order-1", "accepted"+text, "filled", usd("3"), usd("300.10")
	})
}

// pay claims a payout of $900, and has it answered where the broker gives it an id.
func (k *caseBench) pay(ago time.Duration, id, became string) {
	k.tb.Helper()
	i := closure.Intent{
		Kind: closure.TransferIntent, Subject: k.bank, Amount: usd("900"), CashBefore: usd("900"), Quiet: true, RelationshipID: k.bank, BankingDay: "2026-11-18",
		Listed: map[string]string{}, Request: []byte(`{"method":"POST","path":"/v1/accounts/x/transfers"}`), ClaimedAt: time.Now().Add(-ago),
	}
	if id == "" {
		k.send(i, nil)
		return
	}
	k.send(i, func(i *closure.Intent) { i.BrokerID, i.Answer, i.Finished = id, "accepted", became })
}

func (k *caseBench) page(path string, headers ...string) (int, string) {
	w := k.do("GET", path, headers...)
	return w.Code, w.Body.String()
}

func (k *caseBench) form(path string, fields map[string]string, headers ...string) *httptest.ResponseRecorder {
	values := url.Values{}
	for name, value := range fields {
		values.Set(name, value)
	}
	r := httptest.NewRequest("POST", path, strings.NewReader(values.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for n := 0; n+1 < len(headers); n += 2 {
		r.Header.Set(headers[n], headers[n+1])
	}
	w := httptest.NewRecorder()
	k.ServeHTTP(w, r)
	return w
}

func (k *caseBench) now() closure.Closure {
	k.tb.Helper()
	c, err := k.ledger.Get(context.Background(), k.c.ID)
	must(k.tb, err)
	return c
}

func (k *caseBench) last() ledger.Event {
	k.tb.Helper()
	evs, err := k.ledger.Events(context.Background(), k.c.ID)
	must(k.tb, err)
	return evs[len(evs)-1]
}

func has(t *testing.T, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q:\n%s", want, mainOf(text))
		}
	}
}

func lacks(t *testing.T, text string, bad ...string) {
	t.Helper()
	for _, b := range bad {
		if strings.Contains(text, b) {
			t.Errorf("the page has %q:\n%s", b, mainOf(text))
		}
	}
}

func mainOf(text string) string {
	if n := strings.Index(text, "<main"); n >= 0 {
		return text[n:]
	}
	return text
}

func TestAClosuresPageSaysWhyItWaits(t *testing.T) {
	for name, tt := range map[string]struct {
		do    func(*caseBench)
		wants []string
		not   []string
	}{
		"new": {func(*caseBench) {}, []string{"A visit is due now.", "Nobody must act", "It is not passed", `/wake"`, `/pause"`, `/cancel"`, "None was sent yet", "0 business days"}, []string{`/retry"`, `/resume"`}},
		"waiting": {func(k *caseBench) { k.look(closure.Wait(time.Hour, closure.Selling, "3 positions are being sold")) }, []string{
			"3 positions are being sold.", "It looks again <time", "from the market", "/monitoring/queues/account_closure/tasks/", "Expected finish",
		}, []string{"A visit is due now."}},
		"blocked": {func(k *caseBench) { k.look(closure.Park(time.Hour, closure.TransfersBlocked, "transfers are blocked")) }, []string{"The broker must act.", "Ask the broker to lift the block", "nobody can tell: the broker must act first"}, nil},
		"failed": {func(k *caseBench) { k.look(closure.Fail(closure.BankGone, "the bank is gone")) }, []string{
			"The bank is gone.", "The customer must act.", `/retry"`, `/relink_bank"`, "retry, and record the payment when", "Approved again: retry. Otherwise have the customer link a bank and record it, or pay by hand", "nobody can tell while it is failed",
		}, []string{`/wake"`, `/pause"`}},
		"past no return": {func(k *caseBench) { k.sell("") }, []string{"It is passed: the order to sell 3 AAPL was taken by the broker", "be called off any more", `aria-disabled="true"`, "$300.10", "order-1", "req-order"}, []string{`/cancel"`}},
		"in flight":      {func(k *caseBench) { k.pay(0, "", "") }, []string{"In flight", "the payout of $900.00 is on its way to the broker", "no answer"}, nil},
		"closed": {func(k *caseBench) {
			k.look(closure.Go(closure.Settlement, "sold"))
			k.look(closure.Go(closure.Withdrawal, "settled"))
			k.pay(0, "t-1", "COMPLETE")
			k.look(closure.Go(closure.Closing, "paid"))
			k.send(closure.Intent{Kind: closure.CloseIntent, Request: []byte(`{}`)}, func(*closure.Intent) {})
			k.look(closure.Done("closed"))
		}, []string{"The account is closed.", `verdict balanced`, "handed over", "$900.00"}, []string{`/wake"`, `/retry"`, "Expected finish"}},
	} {
		t.Run(name, func(t *testing.T) {
			k := newCase(t, "")
			tt.do(k)
			if name == "closed" {
				db := k.raw()
				_, err := db.Exec("UPDATE notices SET state = 'sent', sent_at = created_at")
				must(t, err)
			}
			status, text := k.page("/closures/" + k.c.ID)
			if status != http.StatusOK {
				t.Fatalf("%d %s", status, text)
			}
			has(t, text, append(tt.wants, k.account, k.c.ID, `<svg class="timeline"`, `href="/closures/`+k.c.ID+`/case-file"`)...)
			lacks(t, text, append(tt.not, "jo@example.com", "user-77", "ZgotmplZ")...)
		})
	}
}

func (k *caseBench) raw() *sql.DB {
	k.tb.Helper()
	db, err := sql.Open("sqlite", k.path)
	must(k.tb, err)
	k.tb.Cleanup(func() { _ = db.Close() })
	return db
}

// Every text that is stored stands on each page as a text.
func TestHostileTextsStayTexts(t *testing.T) {
	const evil = `</td></title><script>alert(1)</script><img src=x onerror="alert(2)">'"&{{.}}`
	k := newCase(t, evil)
	k.sell(evil)
	k.look(closure.Wait(0, closure.Selling, "why "+evil))
	k.pay(time.Hour, "", "")
	k.look(closure.Fail(closure.UnknownTransfer, "no "+evil))
	ctx := context.Background()
	var err error
	k.c, err = k.ledger.Command(ctx, k.c.ID, func(closure.Closure, []closure.Intent) (closure.Change, error) {
		return closure.Resume(time.Now(), "operator:ann"+evil, "mended "+evil), nil
	})
	must(t, err)
	k.c, err = k.ledger.Save(ctx, k.c, closure.Stumbled(time.Now(), "boom "+evil, 0, true), nil)
	must(t, err)
	k.look(closure.Fail(closure.UnknownTransfer, "again "+evil))
	db := k.raw()
	for _, q := range []string{
		"UPDATE closures SET confirmation = ?1, relationship_id = ?1, last_error = ?1, failures = 1",
		"UPDATE intents SET request_id = ?1, finished = ?1, broker_id = ?1, banking_day = ?1, request = json_object('method', ?1, 'path', ?1, 'body', json_object('symbol', ?1, 'side', ?1, 'qty', ?1))",
		"UPDATE notices SET kind = ?1",
	} {
		_, err := db.Exec(q, "X"+evil)
		must(t, err)
	}
	pages := map[string]string{}
	for _, path := range []string{"", "/broker", "/case-file", "/retry", "/cancel", "/adopt_transfer", "/void_transfer", "/relink_bank", "/paid_by_hand"} {
		status, text := k.page("/closures/" + k.c.ID + path)
		if status != http.StatusOK {
			t.Fatalf("%s: %d %s", path, status, text)
		}
		pages[path] = text
	}
	stale := k.form("/closures/"+k.c.ID+"/retry", map[string]string{"version": "1", "why": evil})
	if stale.Code != http.StatusConflict {
		t.Errorf("a stale form: %d", stale.Code)
	}
	pages["stale"] = stale.Body.String()
	pages["faults"] = k.form("/closures/"+k.c.ID+"/paid_by_hand", map[string]string{"version": "1", "amount": evil, "reference": evil}).Body.String()
	pages["reveal"] = k.form("/closures/"+k.c.ID+"/reveal", nil).Body.String()
	for path, text := range pages {
		lacks(t, text, "<script>", "<img", `onerror="`, "ZgotmplZ", " style=")
		if strings.Count(text, "&lt;script&gt;") == 0 {
			t.Errorf("%s has no text at all", path)
		}
	}
	if n := strings.Count(pages[""], "&lt;script&gt;"); n < 20 {
		t.Errorf("only %d of the texts are on the page", n)
	}
}

func TestThereIsNoSuchClosure(t *testing.T) {
	k := newCase(t, "")
	for _, id := range []string{"nobody", "01900000-0000-7000-8000-000000000000", "%2e%2e", strings.Repeat("9", 500)} {
		for _, path := range []string{"", "/broker", "/case-file", "/wake", "/void_transfer"} {
			if status, text := k.page("/closures/" + id + path); status != http.StatusNotFound || !strings.Contains(text, "No such") {
				t.Errorf("%s%s: %d %s", id, path, status, text)
			}
		}
		for _, path := range []string{"/wake", "/reveal"} {
			if w := k.form("/closures/"+id+path, map[string]string{"version": "1", "why": "x"}); w.Code != http.StatusNotFound {
				t.Errorf("POST %s%s: %d", id, path, w.Code)
			}
		}
	}
	if status, _ := k.page("/closures/" + k.c.ID + "/destroy"); status != http.StatusNotFound {
		t.Errorf("an unknown action: %d", status)
	}
}

func TestPersonalDataIsShownToWhoAsksAndTheLookIsNoted(t *testing.T) {
	k := newCase(t, "")
	_, text := k.page("/closures/" + k.c.ID)
	has(t, text, "j•••@•••.com", "u•••")
	_, text = k.page("/closures/" + k.c.ID + "/case-file")
	has(t, text, "u•••")
	lacks(t, text, "user-77")
	if _, text = k.page("/closures/"+k.c.ID, asRole, "viewer"); strings.Contains(text, "/reveal") {
		t.Error("a viewer is offered the look")
	}
	if w := k.form("/closures/"+k.c.ID+"/reveal", nil, asRole, "viewer"); w.Code != http.StatusForbidden || k.now().Seq != k.c.Seq {
		t.Errorf("a viewer's look: %d", w.Code)
	}
	w := k.form("/closures/"+k.c.ID+"/reveal", nil)
	if w.Code != http.StatusOK || w.Header().Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	has(t, w.Body.String(), "jo@example.com", "user-77")
	if e := k.last(); e.Kind != ledger.Looked || e.Actor != "operator:ada" || strings.Contains(e.Text, "jo@") {
		t.Errorf("its event: %+v", e)
	}
	if now := k.now(); now.Version != k.c.Version || now.State != k.c.State || now.Seq != k.c.Seq+1 {
		t.Errorf("the look moved the row: %+v", now)
	}
	_, text = k.page("/closures/" + k.c.ID)
	lacks(t, text, "jo@example.com", "user-77")
}

func TestEventsComeInPagesTheNewestFirst(t *testing.T) {
	k := newCase(t, "")
	for n := range 2*eventsShown + 10 {
		k.look(closure.Wait(0, closure.Selling, fmt.Sprintf("look %d", n)))
	}
	path, pages, seen := "/closures/"+k.c.ID, 0, map[string]bool{}
	older := regexp.MustCompile(`href="(/closures/[^"]*before=\d+)#events"`)
	first := regexp.MustCompile(`<li value="(\d+)"`)
	for path != "" {
		_, text := k.page(path)
		numbers := first.FindAllStringSubmatch(text, -1)
		for i, m := range numbers {
			if seen[m[1]] {
				t.Errorf("event %s comes twice", m[1])
			}
			seen[m[1]] = true
			if i > 0 && !less(m[1], numbers[i-1][1]) {
				t.Errorf("event %s stands after %s", m[1], numbers[i-1][1])
			}
		}
		pages++
		path = ""
		if m := older.FindStringSubmatch(text); m != nil {
			path = m[1]
		}
	}
	if pages != 3 || len(seen) != int(k.c.Seq) {
		t.Errorf("%d pages with %d of %d events", pages, len(seen), k.c.Seq)
	}
}

func less(a, b string) bool {
	x, _ := strconv.Atoi(a)
	y, _ := strconv.Atoi(b)
	return x < y
}

// TestALookAtTheBrokerServesAWhile: until the closure does something, or it is too old, or it was not whole.
func TestALookAtTheBrokerServesAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		l := &b.views
		asked := 0
		whole := true
		at := func(seq int64) {
			_, err := l.at(t.Context(), closure.Closure{ID: "c", Seq: seq}, func(context.Context, string) (v readiness.View, err error) {
				asked++
				if !whole {
					v.Unreadable = map[readiness.Part]*readiness.UnreadableError{readiness.OfPositions: {What: "the positions"}}
				}
				return v, nil
			})
			must(t, err)
		}
		for n, tt := range []struct {
			seq   int64
			after time.Duration
			whole bool
			asked int
		}{{1, 0, true, 1}, {1, lookServes - time.Second, true, 1}, {2, 0, true, 2}, {2, lookServes, false, 3}, {2, 0, true, 4}, {2, 0, true, 4}} {
			time.Sleep(tt.after)
			whole = tt.whole
			if at(tt.seq); asked != tt.asked {
				t.Errorf("%d: the broker was asked %d times, want %d", n, asked, tt.asked)
			}
		}
	})
}

func TestTheBrokersNowStandsBesideOurs(t *testing.T) {
	k := newCase(t, "")
	k.views.serves = 0
	k.look(closure.Go(closure.Settlement, "sold"))
	k.look(closure.Go(closure.Withdrawal, "settled"))
	_, text := k.page("/closures/" + k.c.ID + "/broker")
	has(t, text, "Everything fits.", "ACTIVE", "$900.00", "none out")
	k.pay(time.Hour, "t-ours", "QUEUED")
	must(t, k.sim.Event(k.account, sim.Event{Type: "withdrawal", Amount: decimal.NewFromInt(7)}))
	_, text = k.page("/closures/" + k.c.ID + "/broker")
	has(t, text, "not in the list", "and the broker does not list it", "that this closure did not send")
	must(t, k.sim.Chaos(sim.Chaos{Rules: []sim.Rule{{Path: "/positions", Fault: sim.FaultError, Status: 503}}}))
	_, text = k.page("/closures/" + k.c.ID + "/broker")
	has(t, text, "Could not be read, and so is unknown: the positions.", "Unknown is not zero", "could not be read")
	must(t, k.sim.Chaos(sim.Chaos{Rules: []sim.Rule{{Fault: sim.FaultError, Status: 503}}}))
	_, text = k.page("/closures/" + k.c.ID + "/broker")
	has(t, text, "the account, the account", "the transfers")
	lacks(t, text, "Everything fits")
}

func TestPersonalDataIsMasked(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "u-77": "u•••", "jane@example.com": "j•••@•••.com", "jane@mail.example.co.uk": "j•••@•••.uk", "jane@corp": "j•••@•••", "jane@corp.": "j•••@•••", "é@b.c": "é•••@•••.c", "@": "@•••@•••",
	} {
		if got := masked(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
