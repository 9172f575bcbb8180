package server_test

import (
	"context"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/shopspring/decimal"

	"closeout/alpaca/sim"
	"closeout/closure"
	"closeout/desk"
	"closeout/readiness"
	"closeout/server"
)

func (b *bench) command(name, account, why string, more ...string) answer {
	b.tb.Helper()
	return b.do("POST", "/api/account-closure/"+name+"/"+account, `{"reason":"`+why+`"`+strings.Join(more, "")+`}`)
}

// done carries a command out that must be taken.
func (b *bench) done(name, account string, more ...string) (out server.Commanded) {
	b.tb.Helper()
	a := b.command(name, account, "asked on the phone", more...)
	if a.status != http.StatusOK {
		b.tb.Fatalf("%s: %d %s", name, a.status, a.text)
	}
	a.into(&out)
	return out
}

// events are what a closure's history says since an entry.
func (b *bench) events(id string) (kinds []string, last string) {
	b.tb.Helper()
	evs, err := b.ledger.Events(context.Background(), id)
	must(b.tb, err)
	for _, e := range evs {
		kinds = append(kinds, e.Kind)
		last = e.Actor + ": " + e.Text
	}
	return kinds, last
}

// claim claims a payout of $900 and leaves it without an answer; an hour ago, where it is to be unknown.
func (b *bench) claim(c closure.Closure, bank string, ago time.Duration) (closure.Closure, closure.Intent) {
	b.tb.Helper()
	at := time.Now().Add(-ago)
	usd := decimal.NewNullDecimal(decimal.NewFromInt(900))
	next, is, err := b.ledger.Claim(context.Background(), c, closure.Claimed(at, at, "pay out $900.00", true), []closure.Intent{{
		Kind: closure.TransferIntent, Amount: usd, CashBefore: usd, RelationshipID: bank, BankingDay: at.Format(time.DateOnly), Request: []byte(`{}`),
		Quiet: true, Listed: map[string]string{}, ClaimedAt: at, Deadline: at.Add(30 * time.Second),
	}}, closure.Event{Kind: "claim", At: at, Actor: closure.Worker})
	must(b.tb, err)
	return next, is[0]
}

// The schema has the bound as a word of its tags, which no constant can be.
func TestTheSchemaHasTheDesksBoundOfAReason(t *testing.T) {
	t.Parallel()
	for _, body := range []any{server.CommandBody{}, server.ResolveBody{}, server.BatchCancelBody{}, server.BatchBody{}, server.InitiateBody{}} {
		of := reflect.TypeOf(body)
		field, ok := of.FieldByName("Reason")
		if got := field.Tag.Get("maxLength"); !ok || got != strconv.Itoa(desk.MostReason) {
			t.Errorf("%s: %q", of, got)
		}
	}
}

func TestCommands(t *testing.T) {
	b := newBench(t)
	id, bank := b.account(sim.Spec{})
	c := b.accepted(id, bank)
	c = b.look(c, closure.Wait(time.Hour, closure.Selling, "selling"))
	b.scheduled = nil

	out := b.done("wake", id)
	if !out.Changed || out.State != closure.Running || out.Waiting == nil || len(b.scheduled) != 1 || b.scheduled[0].Version != c.Version+1 || out.JobID != c.ID {
		t.Errorf("wake: %+v, %d scheduled", out, len(b.scheduled))
	}
	b.done("wake", id) // it is due: marked only
	if len(b.scheduled) != 1 {
		t.Error("a wake of a due one was scheduled")
	}
	if kinds, last := b.events(c.ID); !slices.Equal(kinds[len(kinds)-2:], []string{"wake", "wake"}) || last != "api:shop: asked on the phone" {
		t.Errorf("the wakes' events: %v, the last %q", kinds, last)
	}
	if out = b.done("resume", id); out.Changed {
		t.Errorf("resume of a running one: %+v", out)
	}
	out = b.done("pause", id)
	if !out.Changed || out.State != closure.Paused || len(out.InFlight) != 0 || !strings.Contains(out.Next, "resumed") || out.Waiting.Hint == "" {
		t.Errorf("pause: %+v", out)
	}
	if _, last := b.events(c.ID); last != "api:shop: asked on the phone" {
		t.Errorf("its event: %q", last)
	}
	before, _ := b.events(c.ID)
	if again := b.done("pause", strings.ToUpper(id)); again.Changed || again.State != closure.Paused {
		t.Errorf("a second pause: %+v", again)
	}
	if after, _ := b.events(c.ID); len(after) != len(before) {
		t.Errorf("a second pause wrote %v", after[len(before):])
	}
	b.command("wake", id, "now").problem(409, "not_running")
	if out = b.done("resume", id); out.State != closure.Running || len(b.scheduled) != 2 {
		t.Errorf("resume: %+v, %d scheduled", out, len(b.scheduled))
	}
	if out = b.done("cancel", id); out.State != closure.Canceled || out.Waiting != nil || !strings.Contains(out.Next, "stays open") {
		t.Errorf("cancel: %+v", out)
	}
	before, _ = b.events(c.ID)
	if out = b.done("cancel", id); out.Changed || out.State != closure.Canceled {
		t.Errorf("a second cancel: %+v", out)
	}
	if after, _ := b.events(c.ID); len(after) != len(before) || len(b.scheduled) != 2 {
		t.Errorf("a second cancel wrote %v, %d scheduled", after[len(before):], len(b.scheduled))
	}
	if a := b.initiate(id, wish(bank)); a.status != http.StatusAccepted {
		t.Errorf("a new closure after it: %d %s", a.status, a.text)
	}
}

func TestResumeGoesOnFromEachStop(t *testing.T) {
	for name, stop := range map[string]func(b *bench, c closure.Closure){
		"Failed": func(b *bench, c closure.Closure) { b.look(c, closure.Fail(closure.OrderRefused, "no")) },
		"Dead": func(b *bench, c closure.Closure) {
			for n := range closure.MaxRetries + 1 {
				var err error
				c, err = b.ledger.Save(context.Background(), c, closure.Stumbled(time.Now(), "broken", n, true), nil)
				must(b.tb, err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			id, bank := b.account(sim.Spec{})
			stop(b, b.accepted(id, bank))
			if out := b.done("resume", id); !out.Changed || out.State != closure.Running {
				t.Errorf("%+v", out)
			}
			c, err := b.ledger.OfAccount(context.Background(), id)
			must(t, err)
			if c.Failures != 0 || c.FailuresInPhase != 0 || c.LastError != "" {
				t.Errorf("its counters: %+v", c)
			}
		})
	}
}

// Whoever is refused must be able to act on it: what is wrong with their closure, and what they can do now.
func TestRefusedCommandsSayWhatCanBeDone(t *testing.T) {
	run := func(*bench, closure.Closure, string) {}
	paying := func(ago time.Duration) func(*bench, closure.Closure, string) {
		return func(b *bench, c closure.Closure, bank string) { b.claim(c, bank, ago) }
	}
	ended := func(o closure.Outcome) func(*bench, closure.Closure, string) {
		return func(b *bench, c closure.Closure, _ string) { b.look(c, o) }
	}
	done, failed := ended(closure.Done("closed")), ended(closure.Fail(closure.BankGone, "the bank is gone"))
	hand := `,"resolution":"paid_by_hand","amount":"900","reference":"wire 7"`
	for _, tt := range []struct {
		name, command, more string
		prepare             func(*bench, closure.Closure, string)
		code, detail, hint  string
	}{
		{"cancel while a payout is on its way", "cancel", "", paying(0), "past_no_return", "the payout of $900.00 is on its way to the broker", "/pause/"},
		{"cancel while a payout is unknown", "cancel", "", paying(time.Hour), "past_no_return", "the payout of $900.00 may have been carried out", "/pause/"},
		{"cancel after the end", "cancel", "", done, "closure_ended", "is closed", "initiate"},
		{"pause after the end", "pause", "", done, "closure_ended", "is closed", "initiate"},
		{"pause of a failed one", "pause", "", failed, "not_running", "is failed", "/resume/"},
		{"wake of a failed one", "wake", "", failed, "not_running", "is failed", "/resume/"},
		{"resume after the end", "resume", "", done, "closure_ended", "is closed", "initiate"},
		{"resolve while it runs", "resolve", hand, run, "not_stopped", "pause it first", "/pause/"},
		{"resolve after the end", "resolve", hand, done, "closure_ended", "is closed", "initiate"},
		{"resolve without a measure", "resolve", hand, failed, "cannot_resolve", "was not read yet", "case file"},
		{"void where nothing is in question", "resolve", `,"resolution":"void_transfer"`, failed, "cannot_resolve", "No payout of this closure", "case file"},
		{"another bank, which is unknown", "resolve", `,"resolution":"relink_bank","ach_relationship_id":"5d8be24b-2c50-4f15-9a7d-8a4ff3cb0b7e"`, failed, readiness.BankUnknown, "no ACH relationship of this id", "check-readiness"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			id, bank := b.account(sim.Spec{})
			b.command(tt.command, id, "why", tt.more).problem(404, "closure_not_found")
			c := b.accepted(id, bank)
			tt.prepare(b, c, bank)
			before, _ := b.events(c.ID)
			a := b.command(tt.command, id, "why", tt.more)
			p := a.problem(a.status, tt.code)
			if a.status/100 != 4 || !strings.Contains(p.Detail, tt.detail) || !strings.Contains(p.Hint, tt.hint) {
				t.Errorf("%d: %q, hint %q", a.status, p.Detail, p.Hint)
			}
			if after, _ := b.events(c.ID); len(after) != len(before) {
				t.Errorf("a refusal wrote %v", after[len(before):])
			}
		})
	}
}

func TestCommandsWantAReason(t *testing.T) {
	b := newBench(t)
	id, bank := b.account(sim.Spec{})
	c := b.accepted(id, bank)
	for _, name := range []string{"cancel", "pause", "resume", "wake", "resolve"} {
		more := ""
		if name == "resolve" {
			more = `,"resolution":"void_transfer"`
		}
		for _, reason := range []string{"", "   ", "a\\nb", strings.Repeat("x", 501)} {
			b.command(name, id, reason, more).problem(422, "invalid_request")
		}
		b.do("POST", "/api/account-closure/"+name+"/"+id, "").problem(400, "malformed_body")
		b.do("POST", "/api/account-closure/"+name+"/"+id, `{"reason":"x","force":true}`).problem(422, "invalid_request")
		b.do("POST", "/api/account-closure/"+name+"/nobody", `{"reason":"x"}`).problem(422, "invalid_request")
	}
	if now, err := b.ledger.Get(context.Background(), c.ID); err != nil || now.Version != c.Version {
		t.Errorf("%v, version %d after %d", err, now.Version, c.Version)
	}
}

func TestAPauseNamesWhatIsInFlight(t *testing.T) {
	b := newBench(t)
	id, bank := b.account(sim.Spec{})
	b.claim(b.accepted(id, bank), bank, 0)
	out := b.done("pause", id)
	if len(out.InFlight) != 1 || out.InFlight[0].Kind != closure.TransferIntent || out.InFlight[0].Text != "the payout of $900.00 is on its way to the broker" || out.Money.Unconfirmed.String() != "900" {
		t.Errorf("%+v", out)
	}
}

func TestResolveAsksForWhatItsKindNeeds(t *testing.T) {
	b := newBench(t)
	id, bank := b.account(sim.Spec{})
	b.look(b.accepted(id, bank), closure.Fail(closure.BankGone, "gone"))
	uuid := `"5d8be24b-2c50-4f15-9a7d-8a4ff3cb0b7e"`
	for more, where := range map[string][]string{
		`,"resolution":"paid_by_hand"`:                                                       {"body.amount", "body.reference"},
		`,"resolution":"paid_by_hand","amount":"0.00","reference":"x"`:                       {"body.amount"},
		`,"resolution":"paid_by_hand","amount":"1.001","reference":"x"`:                      {"body.amount"},
		`,"resolution":"paid_by_hand","amount":"-1","reference":"x"`:                         {"body.amount"},
		`,"resolution":"paid_by_hand","amount":"1","reference":"x","transfer_id":` + uuid:    {"body.transfer_id"},
		`,"resolution":"paid_by_hand","amount":"1","reference":"a\nb"`:                       nil,
		`,"resolution":"adopt_transfer"`:                                                     {"body.transfer_id"},
		`,"resolution":"void_transfer","amount":"1"`:                                         {"body.amount"},
		`,"resolution":"relink_bank"`:                                                        {"body.ach_relationship_id"},
		`,"resolution":"relink_bank","ach_relationship_id":` + uuid + `,"intent_id":"c/1/0"`: {"body.intent_id"},
		`,"resolution":"carry_on"`:                                                           {"body.resolution"},
	} {
		a := b.command("resolve", id, "by hand", more)
		if where == nil {
			if a.status/100 != 4 {
				t.Errorf("%s: %d", more, a.status)
			}
			continue
		}
		p := a.problem(422, "invalid_request")
		for _, want := range where {
			if !slices.ContainsFunc(p.Errors, func(f server.Fault) bool { return f.Location == want }) {
				t.Errorf("%s: %v lacks %s", more, p.Errors, want)
			}
		}
	}
}

// unknown is a closure that stopped over a payout of $900 whose outcome nobody knows.
func (b *bench) unknown() (id, bank string, i closure.Intent) {
	b.tb.Helper()
	id, bank = b.account(sim.Spec{Cash: decimal.NewFromInt(900)})
	c, i := b.claim(b.accepted(id, bank), bank, time.Hour)
	b.look(c, closure.Fail(closure.UnknownTransfer, "in no list"))
	return id, bank, i
}

func (b *bench) event(account string, e sim.Event) sim.TruthTransfer {
	b.tb.Helper()
	must(b.tb, b.sim.Event(account, e))
	truth, err := b.sim.Truth(account)
	must(b.tb, err)
	if len(truth.Transfers) == 0 {
		return sim.TruthTransfer{}
	}
	return truth.Transfers[len(truth.Transfers)-1]
}

func TestAPayoutIsAdoptedByTheBrokersList(t *testing.T) {
	b := newBench(t)
	id, _, i := b.unknown()
	adopt := func(transfer string) answer {
		return b.command("resolve", id, "the broker says so", `,"resolution":"adopt_transfer","transfer_id":"`+transfer+`"`)
	}
	adopt("5d8be24b-2c50-4f15-9a7d-8a4ff3cb0b7e").problem(409, "transfer_not_listed")
	other := b.event(id, sim.Event{Type: "withdrawal", Amount: decimal.NewFromInt(1)})
	if p := adopt(other.ID).problem(409, "cannot_resolve"); !strings.Contains(p.Detail, "$900.00") {
		t.Errorf("%q", p.Detail)
	}
	mine := b.event(id, sim.Event{Type: "withdrawal", Amount: decimal.NewFromInt(900)})
	b.command("resolve", id, "not made", `,"resolution":"void_transfer"`).problem(409, "transfer_listed")
	if a := adopt(strings.ToUpper(mine.ID)); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.text)
	}
	is, err := b.ledger.Intents(context.Background(), i.ClosureID)
	must(t, err)
	if is[0].State != closure.IntentSent || is[0].BrokerID != mine.ID {
		t.Errorf("%s as %q", is[0].State, is[0].BrokerID)
	}
	if _, last := b.events(i.ClosureID); !strings.HasPrefix(last, "api:shop: the payout of $900.00 is the broker's transfer "+mine.ID) {
		t.Errorf("its event: %q", last)
	}
}

func TestAPayoutIsVoidedByAPersonsWord(t *testing.T) {
	b := newBench(t)
	id, _, i := b.unknown()
	if a := b.command("resolve", id, "not made", `,"resolution":"void_transfer"`); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.text)
	}
	is, err := b.ledger.Intents(context.Background(), i.ClosureID)
	must(t, err)
	if is[0].State != closure.IntentVoid {
		t.Errorf("it is %s", is[0].State)
	}
}

// A broker that can't be read keeps nobody from recording what they know; the history says that it was not compared.
func TestAPayoutIsResolvedWhileTheBrokerIsAway(t *testing.T) {
	b := newBench(t)
	id, _, i := b.unknown()
	must(t, b.sim.Chaos(sim.Chaos{Rules: []sim.Rule{{Fault: sim.FaultError, Status: 503}}}))
	b.command("resolve", id, "relinked", `,"resolution":"relink_bank","ach_relationship_id":"5d8be24b-2c50-4f15-9a7d-8a4ff3cb0b7e"`).problem(503, "broker_unreadable")
	if a := b.command("resolve", id, "not made", `,"resolution":"void_transfer"`); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.text)
	}
	evs, err := b.ledger.Events(context.Background(), i.ClosureID)
	must(t, err)
	if detail := string(evs[len(evs)-1].Detail); !strings.Contains(detail, "could not be read") {
		t.Errorf("its event: %s", detail)
	}
}

func TestAnotherBankIsLinked(t *testing.T) {
	b := newBench(t)
	id, old := b.account(sim.Spec{})
	c := b.look(b.accepted(id, old), closure.Fail(closure.BankGone, "gone"))
	must(t, b.sim.Event(id, sim.Event{Type: "relationship_create"}))
	truth, err := b.sim.Truth(id)
	must(t, err)
	bank := truth.ACHRelationships[len(truth.ACHRelationships)-1].ID
	relink := `,"resolution":"relink_bank","ach_relationship_id":"` + bank + `"`
	must(t, b.sim.Event(id, sim.Event{Type: "relationship_status", Relationship: bank, Status: "QUEUED"}))
	b.command("resolve", id, "a new bank", relink).problem(409, readiness.BankNotApproved)
	must(t, b.sim.Event(id, sim.Event{Type: "relationship_status", Relationship: bank, Status: "APPROVED"}))
	a := b.command("resolve", id, "a new bank", relink)
	if a.status != 200 || strings.Contains(a.text, bank) {
		t.Fatalf("%d %s", a.status, a.text)
	}
	now, err := b.ledger.Get(context.Background(), c.ID)
	must(t, err)
	if now.RelationshipID != bank || now.Fingerprint == "" || now.State != closure.Running || len(b.scheduled) == 0 {
		t.Errorf("%+v", now)
	}
}
