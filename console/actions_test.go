package console

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shopspring/decimal"

	"closeout/alpaca/sim"
	"closeout/closure"
	"closeout/desk"
)

// act sends an action's form as its page has it.
func (k *caseBench) act(name, why string, more ...string) (int, string) {
	k.tb.Helper()
	fields := map[string]string{"version": strconv.FormatInt(k.now().Seq, 10), "why": why}
	for n := 0; n+1 < len(more); n += 2 {
		fields[more[n]] = more[n+1]
	}
	w := k.form("/closures/"+k.c.ID+"/"+name, fields)
	if w.Code == http.StatusSeeOther && w.Header().Get("Location") != "/closures/"+k.c.ID {
		k.tb.Errorf("%s leads to %s", name, w.Header().Get("Location"))
	}
	return w.Code, w.Body.String()
}

func TestEachActionDoesWhatItsPageSays(t *testing.T) {
	failed := func(k *caseBench) { k.look(closure.Fail(closure.BankGone, "gone")) }
	held := func(k *caseBench) {
		if status, text := k.act("pause", "hold on"); status != http.StatusSeeOther {
			k.tb.Fatalf("%d %s", status, text)
		}
	}
	unknown := func(k *caseBench) {
		k.look(closure.Go(closure.Settlement, "sold"))
		k.look(closure.Go(closure.Withdrawal, "settled"))
		k.pay(time.Hour, "", "")
		k.look(closure.Fail(closure.UnknownTransfer, "in no list"))
	}
	for _, tt := range []struct {
		name    string
		prepare func(*caseBench)
		fields  func(*caseBench) []string
		page    []string // what its page says
		state   closure.State
		kind    string // of its event
		text    string // in its event
		visits  int    // asked for
	}{
		{"wake", func(k *caseBench) { k.look(closure.Wait(time.Hour, closure.Selling, "selling")) }, nil, []string{"none is left out", "It is not passed"}, closure.Running, "wake", "because", 1},
		{"pause", func(k *caseBench) { k.pay(0, "", "") }, nil, []string{"nothing new is sent", "It goes its way whatever you do here", "It is passed: the payout of $900.00"}, closure.Paused, "pause", "because", 0},
		{"resume", held, nil, []string{"start afresh"}, closure.Running, "resume", "because", 1},
		{"retry", failed, nil, []string{"in the phase in which it stopped", "Approved again: resume"}, closure.Running, "resume", "because", 1},
		{"cancel", failed, nil, []string{"ends here for good", "The account stays open"}, closure.Canceled, "cancel", "because", 0},
		{"paid_by_hand", func(k *caseBench) {
			k.pay(time.Hour, "t-1", "RETURNED")
			failed(k)
		}, func(*caseBench) []string { return []string{"amount", "825.00", "reference", "WIRE 7"} }, []string{"Dollars", "Reference"}, closure.Running, "resolve", "$825.00 paid by hand, reference WIRE 7: because", 1},
		{"adopt_transfer", unknown, func(k *caseBench) []string {
			must(k.tb, k.sim.Event(k.account, sim.Event{Type: "withdrawal", Amount: decimal.NewFromInt(900)}))
			truth, err := k.sim.Truth(k.account)
			must(k.tb, err)
			return []string{"transfer_id", truth.Transfers[0].ID}
		}, []string{"Nothing is paid anew", "list of transfers, now"}, closure.Running, "resolve", "is the broker's transfer", 1},
		{"void_transfer", unknown, nil, []string{"the customer is paid twice"}, closure.Running, "resolve", "was not made: because", 1},
		{"relink_bank", failed, func(k *caseBench) []string {
			must(k.tb, k.sim.Event(k.account, sim.Event{Type: "relationship_create"}))
			truth, err := k.sim.Truth(k.account)
			must(k.tb, err)
			return []string{"ach_relationship_id", truth.ACHRelationships[len(truth.ACHRelationships)-1].ID}
		}, []string{"about eight calls"}, closure.Running, "resolve", "another bank is to be paid", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newCase(t, "")
			tt.prepare(k)
			before := k.now()
			status, text := k.page("/closures/" + k.c.ID + "/" + tt.name)
			if status != http.StatusOK {
				t.Fatalf("its page: %d %s", status, text)
			}
			has(t, text, append(tt.page, `name="version" value="`+strconv.FormatInt(before.Seq, 10)+`"`, "Point of no return", `name="why"`, "required")...)
			if now := k.now(); now.Seq != before.Seq || now.Version != before.Version {
				t.Error("looking at the page has changed something")
			}
			var fields []string
			if tt.fields != nil {
				fields = tt.fields(k)
			}
			// Without a reason, with one that breaks its line, or by a viewer: nothing.
			for _, why := range []string{"", "  ", "a\nb", strings.Repeat("x", desk.MostReason+1)} {
				if status, text := k.act(tt.name, why, fields...); status != http.StatusUnprocessableEntity || !strings.Contains(text, "The reason") {
					t.Errorf("reason %q: %d", why, status)
				}
			}
			form := map[string]string{"version": strconv.FormatInt(before.Seq, 10), "why": "because"}
			for n := 0; n+1 < len(fields); n += 2 {
				form[fields[n]] = fields[n+1]
			}
			for _, method := range []string{"GET", "POST"} {
				w := k.do("GET", "/closures/"+k.c.ID+"/"+tt.name, asRole, "viewer")
				if method == "POST" {
					w = k.form("/closures/"+k.c.ID+"/"+tt.name, form, asRole, "viewer")
				}
				if w.Code != http.StatusForbidden {
					t.Errorf("a viewer's %s: %d", method, w.Code)
				}
			}
			if now := k.now(); now.Seq != before.Seq || now.Version != before.Version {
				t.Fatal("what was refused has changed something")
			}
			k.scheduled = 0
			if status, text := k.act(tt.name, "because", fields...); status != http.StatusSeeOther {
				t.Fatalf("%d %s", status, mainOf(text))
			}
			now, e := k.now(), k.last()
			if now.State != tt.state || e.Kind != tt.kind || e.Actor != "operator:ada" || !strings.Contains(e.Text, tt.text) || k.scheduled != tt.visits {
				t.Errorf("%s, %d visits, event %+v", now.State, k.scheduled, e)
			}
		})
	}
}

func TestAStaleFormDoesNothingAndSaysWhatHappenedMeanwhile(t *testing.T) {
	k := newCase(t, "")
	k.look(closure.Wait(time.Hour, closure.Selling, "selling"))
	seen := strconv.FormatInt(k.now().Seq, 10)
	k.look(closure.Fail(closure.OrderRefused, "the broker said no"))
	for _, name := range []string{"pause", "cancel", "retry", "void_transfer", "wake"} {
		before := k.now()
		w := k.form("/closures/"+k.c.ID+"/"+name, map[string]string{"version": seen, "why": "I saw it run"})
		if w.Code != http.StatusConflict {
			t.Fatalf("%s: %d", name, w.Code)
		}
		has(t, w.Body.String(), "Not done: the closure has moved on", "What happened meanwhile", "the broker said no")
		if now := k.now(); now.Seq != before.Seq || now.Version != before.Version {
			t.Errorf("%s has changed something", name)
		}
		if strings.Contains(w.Body.String(), "<form class=\"card\"") { // it can still be done: the form has what was written, and what there is now
			has(t, w.Body.String(), `value="I saw it run"`, `name="version" value="`+strconv.FormatInt(before.Seq, 10)+`"`)
		} else {
			has(t, w.Body.String(), "be done now.")
		}
	}
	for _, bad := range []string{"", "x", "0", "-3", "99999999999999999999"} {
		if w := k.form("/closures/"+k.c.ID+"/retry", map[string]string{"version": bad, "why": "x"}); w.Code != http.StatusBadRequest {
			t.Errorf("version %q: %d", bad, w.Code)
		}
	}
	if w := k.form("/closures/"+k.c.ID+"/retry", map[string]string{"version": "4711", "why": "x"}); w.Code != http.StatusConflict || k.now().State != closure.Failed {
		t.Errorf("a version of another ledger: %d", w.Code)
	}
}

// A look that finds nothing new, and somebody's look at personal data, are no news to whoever acts.
func TestWhatIsNoNewsMakesNoFormStale(t *testing.T) {
	k := newCase(t, "")
	k.look(closure.Wait(time.Hour, closure.Selling, "selling"))
	seen := strconv.FormatInt(k.now().Seq, 10)
	k.look(closure.Wait(time.Hour, closure.Selling, "selling"))
	k.form("/closures/"+k.c.ID+"/reveal", nil)
	if w := k.form("/closures/"+k.c.ID+"/pause", map[string]string{"version": seen, "why": "hold on"}); w.Code != http.StatusSeeOther || k.now().State != closure.Paused {
		t.Errorf("%d, %s", w.Code, k.now().State)
	}
}

func TestOfTwoOperatorsOneWinsAndTheOtherIsTold(t *testing.T) {
	k := newCase(t, "")
	k.look(closure.Fail(closure.OrderRefused, "no"))
	before := k.now()
	form := map[string]string{"version": strconv.FormatInt(before.Seq, 10), "why": "mine"}
	var mu sync.Mutex
	codes, told := map[int]int{}, ""
	var both sync.WaitGroup
	for _, name := range []string{"retry", "cancel"} {
		both.Go(func() {
			w := k.form("/closures/"+k.c.ID+"/"+name, form)
			mu.Lock()
			defer mu.Unlock()
			codes[w.Code]++
			if w.Code == http.StatusConflict {
				told = w.Body.String()
			}
		})
	}
	both.Wait()
	if codes[http.StatusSeeOther] != 1 || codes[http.StatusConflict] != 1 {
		t.Fatalf("answers: %v", codes)
	}
	has(t, told, "by operator:ada", "mine")
	if now := k.now(); now.Seq != before.Seq+1 {
		t.Errorf("%d events came of it", now.Seq-before.Seq)
	}
}

func TestWhatIsRefusedSaysWhatCanBeDone(t *testing.T) {
	k := newCase(t, "")
	k.pay(time.Hour, "", "")
	_, text := k.page("/closures/" + k.c.ID + "/cancel")
	has(t, text, "be done now.", "the payout of $900.00 may have been carried out")
	lacks(t, text, "<form class=\"card\"")
	status, text := k.act("cancel", "all the same")
	if status != http.StatusConflict || k.now().State != closure.Running {
		t.Fatalf("%d", status)
	}
	has(t, text, "Not done: the closure cannot be called off any more", "Hold it before anything further is sent: pause.")
	k.look(closure.Fail(closure.UnknownTransfer, "in no list"))
	for more, want := range map[string]string{
		"":                                     "is needed for adopt_transfer",
		"none":                                 "must be an id of the broker",
		"5d8be24b-2c50-4f15-9a7d-8a4ff3cb0b7e": "the broker does not list the transfer",
	} {
		_, text := k.act("adopt_transfer", "it is this one", "transfer_id", more)
		has(t, text, strings.ReplaceAll(want, "'", "&#39;"))
	}
	must(t, k.sim.Event(k.account, sim.Event{Type: "withdrawal", Amount: decimal.NewFromInt(900)}))
	_, text = k.act("void_transfer", "not made")
	has(t, text, "Not done: the broker lists a transfer that fits", "If it is the one, adopt it")
	_, text = k.act("relink_bank", "new", "ach_relationship_id", "5d8be24b-2c50-4f15-9a7d-8a4ff3cb0b7e")
	has(t, text, "Not done: the bank cannot be paid", "no ACH relationship of this id")
	must(t, k.sim.Chaos(sim.Chaos{Rules: []sim.Rule{{Fault: sim.FaultError, Status: 503}}}))
	if status, text = k.act("relink_bank", "new", "ach_relationship_id", "5d8be24b-2c50-4f15-9a7d-8a4ff3cb0b7e"); status != http.StatusServiceUnavailable {
		t.Errorf("%d", status)
	}
	has(t, text, "The broker could not be read")
	if now := k.now(); now.State != closure.Failed {
		t.Errorf("it is %s", now.State)
	}
}

// A ledger that is gone is said, and nothing internal shown.
func TestWithoutALedgerNothingIsShown(t *testing.T) {
	k := newCase(t, "")
	must(t, k.ledger.Close())
	status, text := k.page("/closures/" + k.c.ID)
	if status != http.StatusInternalServerError || strings.Contains(text, "sql") {
		t.Errorf("%d %s", status, text)
	}
	if _, err := k.ledger.Get(context.Background(), k.c.ID); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("the ledger is there: %v", err)
	}
}

// TestABankIsChosenFromTheBrokersOwn, once somebody presses for it, and by its id where the broker can't be read.
func TestABankIsChosenFromTheBrokersOwn(t *testing.T) {
	k := newCase(t, "")
	k.banks.serves = 0
	k.look(closure.Fail(closure.BankGone, "the bank is gone"))
	must(t, k.sim.Event(k.account, sim.Event{Type: "relationship_create"}))
	truth, err := k.sim.Truth(k.account)
	must(t, err)
	other := truth.ACHRelationships[len(truth.ACHRelationships)-1].ID
	at := "/closures/" + k.c.ID + "/relink_bank"

	must(t, k.sim.Chaos(sim.Chaos{Rules: []sim.Rule{{Fault: sim.FaultError, Status: 503}}}))
	status, text := k.page(at)
	if status != http.StatusOK {
		t.Fatalf("without the broker: %d", status)
	}
	has(t, text, `<input id="ach_relationship_id"`, `href="`+at+`?banks=now"`)
	lacks(t, text, `type="radio"`, "can’t be read")
	_, text = k.page(at + "?banks=now")
	has(t, text, "The broker can’t be read just now", `<input id="ach_relationship_id"`)

	must(t, k.sim.Chaos(sim.Chaos{}))
	_, text = k.page(at + "?banks=now")
	has(t, text, `type="radio" name="ach_relationship_id" value="`+other+`"`, `value="`+k.bank+`"`, "CHECKING ending in ", "paid to until now")
	lacks(t, text, `<input id="ach_relationship_id"`)
	if n := regexp.MustCompile(`ending in \d{4} `).FindAllString(text, -1); len(n) != 2 || regexp.MustCompile(`\b\d{9,12}\b`).MatchString(strings.ReplaceAll(text, k.c.Confirmation, "")) {
		t.Errorf("%v\n%s", n, text)
	}
	_, text = k.act("relink_bank", "", "ach_relationship_id", other, "banks", "now") // a reason is missing
	has(t, text, `value="`+other+`" required checked`, "The reason")
	if status, text = k.act("relink_bank", "a new bank", "ach_relationship_id", other, "banks", "now"); status != http.StatusSeeOther || k.now().RelationshipID != other {
		t.Errorf("%d %s\n%s", status, k.now().RelationshipID, text)
	}
}
