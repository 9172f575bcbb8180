package server_test

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shopspring/decimal"

	"closeout/alpaca/sim"
	"closeout/closure"
	"closeout/desk"
	"closeout/readiness"
	"closeout/server"
)

const orderID = "0d18ae51-3c94-4511-b209-101e16664161"

func dollars(s string) decimal.NullDecimal {
	return decimal.NewNullDecimal(decimal.RequireFromString(s))
}

// caseOf is a closure that sells, pays twice, of which once in vain, and closes. text is put wherever a text can stand.
type caseOf struct {
	*bench
	account, bank string
	c             closure.Closure
}

func newCase(t *testing.T, text string) *caseOf {
	t.Helper()
	b := newBench(t)
	id, bank := b.account(sim.Spec{Email: "jo@example.com"})
	reason, err := json.Marshal("moving on " + text)
	must(t, err)
	user, err := json.Marshal("user " + text)
	must(t, err)
	return &caseOf{b, id, bank, b.accepted(id, bank, `,"reason":`+string(reason)+`,"user_id":`+string(user)+`,"email":"jo@example.com"`)}
}

// send claims an intent, has the broker answer it and then says what became of it.
func (k *caseOf) send(i closure.Intent, answered func(*closure.Intent)) {
	k.tb.Helper()
	ctx, now := context.Background(), time.Now()
	i.ClaimedAt, i.Deadline = now, now.Add(time.Minute)
	next, made, err := k.ledger.Claim(ctx, k.c, closure.Claimed(now, now, "send", i.Kind == closure.TransferIntent), []closure.Intent{i}, closure.Event{Kind: "claim", At: now, Actor: closure.Worker, Text: "send " + string(i.Kind)})
	must(k.tb, err)
	i = made[0]
	i.State, i.Status, i.RequestID, i.AnsweredAt = closure.IntentSent, 200, "req-"+string(i.Kind), now
	answered(&i)
	_, _, err = k.ledger.Record(ctx, next, i, closure.Event{Kind: "answer", At: now, Actor: closure.Worker, Text: "answered: " + i.Answer, Detail: map[string]any{"broker_id": i.BrokerID}})
	must(k.tb, err)
	k.c, err = k.ledger.Get(ctx, next.ID)
	must(k.tb, err)
}

func (k *caseOf) sell(symbol string, proceeds decimal.NullDecimal, answer string) {
	k.tb.Helper()
	k.send(closure.Intent{
		Kind: closure.OrderIntent, Subject: symbol, Attempt: 1,
		Request: []byte(`{"method":"POST","path":"/v1/trading/accounts/` + k.account + `/orders","body":{"symbol":` + quoted(symbol) + `,"side":"sell","qty":"3","client_order_id":"x"}}`),
	}, func(i *closure.Intent) {
		i.BrokerID, i.Answer, i.Finished, i.FilledQty, i.Proceeds = orderID, "accepted "+answer, "filled", dollars("3"), proceeds
	})
}

func (k *caseOf) pay(amount, cash, day, id, became string) {
	k.tb.Helper()
	k.send(closure.Intent{
		Kind: closure.TransferIntent, Subject: k.bank, Amount: dollars(amount), CashBefore: dollars(cash), Quiet: true, RelationshipID: k.bank, BankingDay: day,
		Request: []byte(`{"method":"POST","path":"/v1/accounts/` + k.account + `/transfers","body":{"relationship_id":"` + k.bank + `","amount":"` + amount + `"}}`),
	}, func(i *closure.Intent) { i.BrokerID, i.Answer, i.Finished = id, "accepted", became })
}

// paidByHand stops the closure, with what is remembered then, and records a payment.
func (k *caseOf) paidByHand(memo *closure.Memo, sum string) {
	k.tb.Helper()
	var err error
	k.c, err = k.ledger.Save(context.Background(), k.c, closure.Looked(time.Now(), closure.Fail(closure.BankGone, "gone"), closure.Look{}, memo), nil)
	must(k.tb, err)
	k.c, err = k.ledger.Command(context.Background(), k.c.ID, func(closure.Closure, []closure.Intent) (closure.Change, error) {
		r := closure.Resolution{Kind: closure.PaidByHand, Amount: dollars(sum).Decimal, Reference: "wire 7"}
		return closure.Resolved(time.Now(), "ann", "wired", r, nil), nil
	})
	must(k.tb, err)
}

func (k *caseOf) closes() {
	k.tb.Helper()
	k.send(closure.Intent{Kind: closure.CloseIntent, Subject: k.account, Request: []byte(`{"method":"POST","path":"/v1/accounts/` + k.account + `/actions/close"}`)}, func(*closure.Intent) {})
	k.c = k.look(k.c, closure.Done("the account is closed"))
}

// whole goes all the way.
func (k *caseOf) whole(last string) {
	k.tb.Helper()
	k.sell("AAPL", dollars("300.10"), "")
	k.c = k.look(k.c, closure.Go(closure.Settlement, "sold"))
	k.c = k.look(k.c, closure.Go(closure.Withdrawal, "settled"))
	k.pay("1534.66", "1534.66", "2026-11-18", "transfer-1", "RETURNED")
	k.pay(last, last, "2026-11-19", "transfer-2", "COMPLETE")
	k.c = k.look(k.c, closure.Go(closure.Closing, "paid"))
	k.closes()
}

func (k *caseOf) path() string { return "/api/account-closure/case-file/" + k.account }

func (k *caseOf) file(key string) (f desk.CaseFile, text string) {
	k.tb.Helper()
	a := k.do("GET", k.path(), "", "X-API-Key", key)
	if a.status != 200 || a.header.Get("Content-Type") != "application/json" {
		k.tb.Fatalf("answered %d %s %s", a.status, a.header, a.text)
	}
	a.into(&f)
	return f, a.text
}

func quoted(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

func TestACaseFileIsWholeAndBalances(t *testing.T) {
	k := newCase(t, "")
	k.whole("1534.66")
	f, text := k.file(secret)
	m := f.Money
	sums := map[string]string{}
	for name, u := range map[string]*readiness.USD{"beside": m.Beside, "sold": m.Sold, "paid": &m.PaidOut, "back": &m.CameBack, "due": m.Due, "left": m.Left, "difference": m.Difference} {
		if u == nil {
			t.Fatalf("%s is not known", name)
		}
		sums[name] = u.StringFixed(2)
	}
	for name, want := range map[string]string{"beside": "1234.56", "sold": "300.10", "paid": "3069.32", "back": "1534.66", "due": "0.00", "left": "0.00", "difference": "0.00"} {
		if sums[name] != want {
			t.Errorf("%s is %s, want %s", name, sums[name], want)
		}
	}
	if m.Verdict != readiness.Balanced || !strings.Contains(text, `"cash_beside_sales":"1234.56"`) {
		t.Errorf("the verdict is %s; %s", m.Verdict, text)
	}
	if f.Asked.By != "api:shop" || f.Asked.Bank != k.bank || f.Asked.UserID != "user " || f.State != closure.Closed || f.FinishedAt == nil || f.Waiting != nil {
		t.Errorf("asked: %+v", f.Asked)
	}
	phases := []closure.Phase{}
	for _, s := range f.Steps {
		if phases = append(phases, s.Phase); s.Left == nil || s.Entered.NewYork == "" || s.Does == "" {
			t.Errorf("step: %+v", s)
		}
	}
	if len(phases) != 4 {
		t.Errorf("steps: %v", phases)
	}
	if len(f.Instructions) != 4 || f.Instructions[0].Symbol != "AAPL" || f.Instructions[0].Qty != "3" || f.Instructions[0].BrokerID != orderID || f.Instructions[0].Status == nil ||
		f.Instructions[1].Outcome != "RETURNED" || f.Instructions[1].Amount == nil || f.Instructions[1].Proceeds != nil || f.Instructions[3].Kind != closure.CloseIntent {
		t.Errorf("instructions: %+v", f.Instructions)
	}
	if len(f.Letters) < 2 || f.Letters[0].Kind != closure.LetterInitiated || f.Letters[0].SentAt != nil || len(f.Commands) != 1 || len(f.Policy) < 5 {
		t.Errorf("letters %+v, commands %+v, policy %+v", f.Letters, f.Commands, f.Policy)
	}
	if !f.Chain.Verified || f.Chain.Events != int64(len(f.History)) || f.Chain.HeadHash != k.c.HeadHash || f.History[2].Detail == nil {
		t.Errorf("chain: %+v", f.Chain)
	}
	// A key that may only read sees no id of the broker's, no user and no detail.
	reader := k.key("reader", server.ScopeRead)
	f, text = k.file(reader)
	for _, hidden := range []string{k.bank, orderID, "jo@example.com", `"user_id"`, `"detail"`, `"broker_id"`, "transfer-1"} {
		if strings.Contains(text, hidden) {
			t.Errorf("a reader sees %s", hidden)
		}
	}
	if f.Asked.Bank != "…"+k.bank[30:] || f.Instructions[0].Asks != "POST /v1/trading/accounts/"+k.account+"/orders" {
		t.Errorf("to a reader: %+v, %+v", f.Asked, f.Instructions[0])
	}
}

func TestACaseFilesVerdicts(t *testing.T) {
	for name, tt := range map[string]struct {
		do         func(*caseOf)
		verdict    readiness.Verdict
		difference string // "": not known
	}{
		"a dividend between the payouts": {func(k *caseOf) { k.whole("1539.66") }, readiness.Gap, "5.00"},
		"a fee between the payouts":      {func(k *caseOf) { k.whole("1534.65") }, readiness.Gap, "-0.01"},
		"less than a cent": {func(k *caseOf) {
			k.pay("1000.00", "1000.004", "2026-11-18", "t", "COMPLETE")
			k.closes()
		}, readiness.Balanced, "0.00"},
		"proceeds that nobody knows": {func(k *caseOf) {
			k.sell("AAPL", decimal.NullDecimal{}, "")
			k.pay("1000.00", "1000.00", "2026-11-18", "t", "COMPLETE")
			k.closes()
		}, readiness.NotKnown, ""},
		"the rest was paid by hand": {func(k *caseOf) {
			k.pay("600.00", "1000.00", "2026-11-18", "t", "COMPLETE")
			k.paidByHand(nil, "400.00")
			k.closes()
		}, readiness.Balanced, "0.00"},
		"all of it was paid by hand": {func(k *caseOf) {
			k.sell("AAPL", dollars("100"), "")
			k.paidByHand(&closure.Memo{Stand: &closure.Stand{Cash: dollars("1000").Decimal, Key: k.c.Version}}, "1000.00")
			k.closes()
		}, readiness.Balanced, "0.00"},
		"the first part was paid by hand": {func(k *caseOf) {
			k.paidByHand(&closure.Memo{Stand: &closure.Stand{Cash: dollars("1000").Decimal, Key: k.c.Version}}, "400.00")
			k.pay("600.00", "600.00", "2026-11-18", "t", "COMPLETE")
			k.closes()
		}, readiness.Balanced, "0.00"},
		"a sum by hand that was not there": {func(k *caseOf) {
			k.pay("1000.00", "1000.00", "2026-11-18", "t", "COMPLETE")
			k.paidByHand(nil, "100.00")
			k.closes()
		}, readiness.Gap, "100.00"},
		"by hand, and what was there is not known": {func(k *caseOf) { k.paidByHand(nil, "1.00"); k.closes() }, readiness.NotKnown, ""},
		"nothing in it":          {func(k *caseOf) { k.closes() }, readiness.Balanced, ""},
		"sold and never paid":    {func(k *caseOf) { k.sell("AAPL", dollars("1"), ""); k.closes() }, readiness.NotKnown, ""},
		"closed by someone else": {func(k *caseOf) { k.c = k.look(k.c, closure.Done("closed by someone else")) }, readiness.NotKnown, ""},
		"under way":              {func(k *caseOf) { k.sell("AAPL", dollars("1"), "") }, readiness.Unfinished, ""},
		"a payout on the wire": {func(k *caseOf) {
			now := time.Now()
			_, _, err := k.ledger.Claim(context.Background(), k.c, closure.Claimed(now, now, "pay", true), []closure.Intent{{
				Kind: closure.TransferIntent, Amount: dollars("7"), Request: []byte(`{}`), ClaimedAt: now, Deadline: now,
			}}, closure.Event{Kind: "claim", At: now, Actor: closure.Worker})
			must(k.tb, err)
		}, readiness.Unfinished, ""},
	} {
		t.Run(name, func(t *testing.T) {
			k := newCase(t, "")
			tt.do(k)
			f, _ := k.file(secret)
			got := ""
			if f.Money.Difference != nil {
				got = f.Money.Difference.StringFixed(2)
			}
			if f.Money.Verdict != tt.verdict || got != tt.difference || f.Money.Text == "" {
				t.Errorf("%s, difference %q: %s", f.Money.Verdict, got, f.Money.Text)
			}
			page := k.do("GET", k.path()+"?format=html", "")
			if f.Money.ByHand.IsPositive() != strings.Contains(page.text, "Paid by hand") || !f.Money.ByHand.Equal(k.c.Memo.ByHandSum()) {
				t.Errorf("%s was paid by hand; the page: %s", f.Money.ByHand, page.text)
			}
			if page.status != 200 || (got == "") != strings.Contains(page.text, "unknown</span></td></tr>\n</tbody>") && f.Money.Unconfirmed.IsZero() {
				t.Errorf("the page shows the difference %q as %s", got, page.text)
			}
		})
	}
}

// Every text that is stored stands on the page as a text, and the page's policy lets its sheet in and nothing else.
func TestACaseFilesPage(t *testing.T) {
	const evil = `</td><script>alert(1)</script><img src=x onerror="alert(2)">'"&{{.}}`
	k := newCase(t, evil)
	k.sell("AA"+evil, dollars("1.00"), evil)
	k.c = k.look(k.c, closure.Fail(closure.OrderRefused, "no "+evil))
	var err error
	k.c, err = k.ledger.Command(context.Background(), k.c.ID, func(closure.Closure, []closure.Intent) (closure.Change, error) {
		return closure.Resume(time.Now(), "ann"+evil, "mended "+evil), nil
	})
	must(t, err)
	k.c = k.look(k.c, closure.Wait(0, closure.Selling, "why "+evil))
	db, err := sql.Open("sqlite", k.bench.path)
	must(t, err)
	defer func() { _ = db.Close() }()
	for _, q := range []string{
		"UPDATE closures SET confirmation = ?1, relationship_id = ?1, who = ?1",
		"UPDATE intents SET request_id = ?1, finished = ?1, broker_id = ?1, request = json_object('method', ?1, 'path', ?1, 'body', json_object('symbol', ?1, 'side', ?1, 'qty', ?1))",
		"UPDATE notices SET kind = ?1",
	} {
		_, err := db.Exec(q, "X"+evil)
		must(t, err)
	}
	for _, how := range [][]string{{"?format=html"}, {"", "Accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}} {
		a := k.do("GET", k.path()+how[0], "", how[1:]...)
		if a.status != 200 || a.header.Get("Content-Type") != "text/html; charset=utf-8" || a.header.Get("Cache-Control") != "no-store" {
			t.Fatalf("answered %d %s", a.status, a.header)
		}
		for _, bad := range []string{"<script", "<img", "onerror=\"", "ZgotmplZ", "{{"} {
			if n := strings.Count(a.text, bad); n != 0 && (bad != "{{" || n != strings.Count(a.text, "&amp;{{.}}")) {
				t.Errorf("the page has %q %d times", bad, n)
			}
		}
		if n := strings.Count(a.text, "&lt;script&gt;"); n < 15 {
			t.Errorf("only %d of the texts are on the page", n)
		}
		sheet := regexp.MustCompile(`(?s)<style>(.*)</style>`).FindStringSubmatch(a.text)
		sum := sha256.Sum256([]byte(sheet[1]))
		if csp := a.header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"';") || strings.Contains(csp, "unsafe") {
			t.Errorf("the policy is %s", csp)
		}
		if strings.Contains(a.text, " style=") || strings.Contains(a.text, "http://") || strings.Contains(a.text, "https://") {
			t.Error("the page has styles of its own, or loads something")
		}
	}
	var f desk.CaseFile
	k.do("GET", k.path(), "", "Accept", "application/json, text/html;q=0.5").into(&f)
	k.do("GET", k.path()+"?format=json", "", "Accept", "text/html").into(&f)
	k.do("GET", k.path(), "", "Accept", "*/*").into(&f)
	k.do("GET", k.path(), "", "Accept", "").into(&f)
	k.do("GET", k.path(), "", "Accept", "image/png").problem(406, "not_acceptable")
	k.do("GET", k.path()+"?format=pdf", "").problem(422, "invalid_request")
}

func TestACaseFileSaysWhereTheChainBreaks(t *testing.T) {
	k := newCase(t, "")
	k.whole("1534.66")
	db, err := sql.Open("sqlite", k.bench.path)
	must(t, err)
	defer func() { _ = db.Close() }()
	_, err = db.Exec("UPDATE events SET body = replace(body, 'answered', 'ANSWERED') WHERE seq = 3")
	must(t, err)
	f, _ := k.file(secret)
	if f.Chain.Verified || f.Chain.BrokenAt == nil || *f.Chain.BrokenAt != 3 || len(f.History) != 2 || f.Chain.Events != k.c.Seq || f.Money.Verdict != readiness.Balanced {
		t.Errorf("%+v, %d events shown", f.Chain, len(f.History))
	}
	if a := k.do("GET", k.path()+"?format=html", ""); !strings.Contains(a.text, `broken</span> The history is broken at event 3`) {
		t.Error(a.text)
	}
}

// A closure that moves while its file is written has one history in it: the one whose head is shown as verified.
func TestACaseFileOfAMovingClosure(t *testing.T) {
	k := newCase(t, "")
	over := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-over:
				return
			default:
				k.c = k.look(k.c, closure.Wait(0, closure.Selling, fmt.Sprintf("look %d", n)))
			}
		}
	})
	differ := 0
	for range 20 {
		if f, _ := k.file(secret); !f.Chain.Verified || f.Chain.Events != int64(len(f.History)) {
			differ++
		}
	}
	close(over)
	writer.Wait()
	if differ > 0 {
		t.Errorf("%d of 20 files show another head than their history's", differ)
	}
}

func TestCaseFilesOfEarlierClosures(t *testing.T) {
	k := newCase(t, "")
	first := k.c
	k.do("GET", "/api/account-closure/case-file/99999999-2222-4333-8444-555555555555", "").problem(404, "closure_not_found")
	_, err := k.ledger.Command(t.Context(), first.ID, func(closure.Closure, []closure.Intent) (closure.Change, error) {
		return closure.Cancel(time.Now(), "api:shop", "never mind", false), nil
	})
	must(t, err)
	second := k.accepted(k.account, k.bank)
	f, _ := k.file(secret)
	if f.JobID != second.ID {
		t.Errorf("the latest is %s", f.JobID)
	}
	k.do("GET", k.path()+"?closure="+strings.ToUpper(first.ID), "").into(&f)
	if f.JobID != first.ID || f.State != closure.Canceled || len(f.Commands) != 2 || f.Commands[1].Kind != "cancel" || f.Commands[1].Text != "never mind" {
		t.Errorf("the first: %+v", f)
	}
	other, bank := k.bench.account(sim.Spec{})
	foreign := k.accepted(other, bank)
	k.do("GET", k.path()+"?closure="+foreign.ID, "").problem(404, "closure_not_found")
	k.do("GET", k.path()+"?closure=x", "").problem(422, "invalid_request")
}
