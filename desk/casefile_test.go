package desk_test

import (
	"database/sql"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"closeout/closure"
	"closeout/desk"
	"closeout/ledger"
	"closeout/readiness"
)

const suspicion = "a suspicion of fraud"

// told is a closure with something of everything: it was paid out of, paused over a suspicion, and resumed.
func told(b *bench) closure.Closure {
	b.Helper()
	c := b.look(b.create(anAccount), closure.Go(closure.Settlement, "sold"))
	c = b.look(c, closure.Go(closure.Withdrawal, "settled"))
	c = b.answered(c, aTransfer)
	_, err := b.Command(b.Context(), c, desk.Pause, desk.Ask{Actor: "operator:ann", Why: suspicion})
	must(b, err)
	return b.get(c.ID)
}

func (b *bench) file(id string, operator bool) desk.CaseFile {
	b.Helper()
	f, err := b.CaseFile(b.Context(), b.get(id), operator)
	must(b, err)
	return f
}

func TestTheCaseFileTellsAll(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := told(b)
	f := b.file(c.ID, true)
	if f.JobID != c.ID || f.AccountID != anAccount || f.Confirmation != c.Confirmation || f.State != closure.Paused || f.FinishedAt != nil || f.WrittenAt.UTC.IsZero() {
		t.Errorf("%+v", f)
	}
	if a := f.Asked; a.By != "api:shop" || a.Reason != "moving on" || a.UserID != "user-7" || a.Bank != aBank || a.NotBefore != nil || !strings.HasSuffix(a.At.NewYork, "T") {
		t.Errorf("asked: %+v", a)
	}
	if w := f.Waiting; w == nil || w.Reason != closure.PausedByOperator || !strings.Contains(w.Why, suspicion) || w.Until != nil {
		t.Errorf("waiting: %+v", w)
	}
	var phases []closure.Phase
	for n, s := range f.Steps {
		phases = append(phases, s.Phase)
		if s.Does == "" || s.Events == 0 || (s.Left == nil) != (n == len(f.Steps)-1) {
			t.Errorf("step %d: %+v", n, s)
		}
	}
	if !slices.Equal(phases, []closure.Phase{closure.Liquidation, closure.Settlement, closure.Withdrawal}) {
		t.Errorf("steps %v", phases)
	}
	if len(f.Instructions) != 1 {
		t.Fatalf("%d instructions", len(f.Instructions))
	}
	if i := f.Instructions[0]; i.Kind != closure.TransferIntent || i.Asks != "POST /v1/accounts/"+anAccount+"/transfers" || i.Amount.String() != "900" || *i.Status != 200 ||
		i.BrokerID != aTransfer || i.Answered == nil || i.State != closure.IntentSent || !strings.Contains(i.Answer, aTransfer) {
		t.Errorf("%+v", i)
	}
	if f.Money.PaidOut.String() != "900" || f.Money.Verdict != readiness.Unfinished {
		t.Errorf("money: %+v", f.Money)
	}
	if len(f.Letters) != 1 || f.Letters[0].Kind != closure.LetterInitiated || f.Letters[0].SentAt != nil || f.Letters[0].State != "due" {
		t.Errorf("letters: %+v", f.Letters)
	}
	if int64(len(f.History)) != b.get(c.ID).Seq || !f.Chain.Verified || f.Chain.BrokenAt != nil || f.Chain.HeadHash != b.get(c.ID).HeadHash || !strings.HasPrefix(f.Chain.Text, "Verified: 6 events") {
		t.Errorf("%d events of history, chain %+v", len(f.History), f.Chain)
	}
	var by []string
	for _, e := range f.Commands {
		by = append(by, e.Actor+" "+e.Kind)
	}
	if strings.Join(by, ", ") != "api:shop accepted, operator:ann pause" {
		t.Errorf("what people did: %v", by)
	}
	rules := map[string]string{}
	for _, r := range f.Policy {
		rules[r.Name] = r.Value
	}
	if rules["ACH limit"] != "$50000.00 an account and banking day" || !strings.Contains(rules["settlement"], "3 trading days") || len(rules) != len(closure.Road)+3 {
		t.Errorf("policy: %v", rules)
	}
}

// Who may not operate is likely a backend that shows the customer what it reads.
func TestTheCaseFileForOthersHasNoOperatorsWordsAndNoIDs(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := told(b)
	body, err := json.Marshal(b.file(c.ID, false))
	must(t, err)
	for _, secret := range []string{suspicion, aBank, aTransfer, "user-7", `"detail"`, `"broker_id"`} {
		if strings.Contains(string(body), secret) {
			t.Errorf("it has %s", secret)
		}
	}
	for _, said := range []string{"held by a person", closure.Reasons[closure.PausedByOperator].Title, "…000002", "…000004", anAccount, c.ID, `"cash_beside_sales"`} {
		if !strings.Contains(string(body), said) {
			t.Errorf("it lacks %s", said)
		}
	}
	all, err := json.Marshal(b.file(c.ID, true))
	must(t, err)
	for _, known := range []string{suspicion, aBank, aTransfer, "user-7", `"detail"`, `"broker_id"`} {
		if !strings.Contains(string(all), known) {
			t.Errorf("an operator's lacks %s", known)
		}
	}
}

func TestTheCaseFileOfWhatIsOverSaysWhen(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := closed(b)
	f := b.file(c.ID, true)
	if f.FinishedAt == nil || f.Waiting != nil || f.Steps[len(f.Steps)-1].Left == nil || f.State != closure.Closed {
		t.Errorf("finished %v, waiting %v, steps %+v", f.FinishedAt, f.Waiting, f.Steps)
	}
	if _, err := b.Record(t.Context(), "none"); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("of none: %v", err)
	}
}

// A history that somebody has changed is shown up to there, and the file says so.
func TestTheCaseFileSaysWhereItsHistoryBreaks(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := told(b)
	db, err := sql.Open("sqlite", "file:"+b.path+"?_pragma=busy_timeout(60000)")
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	_, err = db.ExecContext(t.Context(), "UPDATE events SET body = replace(body, 'settled', 'settles') WHERE closure_id = $1", c.ID)
	must(t, err)
	f := b.file(c.ID, true)
	if f.Chain.Verified || f.Chain.BrokenAt == nil || *f.Chain.BrokenAt != 3 || len(f.History) != 2 || !strings.Contains(f.Chain.Text, "broken at event 3") {
		t.Errorf("%d events, chain %+v", len(f.History), f.Chain)
	}
	// Nobody can tell what was seen of such a history: who has seen it whole is told so.
	ask := asked
	ask.Seen = c.Seq - 1
	no, ok := errors.AsType[*desk.Refusal](func() error { _, err := b.Command(t.Context(), c, desk.Resume, ask); return err }())
	if !ok || no.Code != desk.Moved || len(no.Meanwhile) != 1 || no.Meanwhile[0].Kind != "unknown" {
		t.Errorf("%+v", no)
	}
}

func TestWhyAClosureWaitsAndWhatIsNext(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	c := waits(b)
	w := desk.WaitingOf(c)
	if w.Reason != closure.Selling || w.Why != "selling" || w.Until == nil || !w.Until.Equal(c.DueAt.UTC().Truncate(time.Second)) {
		t.Errorf("%+v", w)
	}
	if next := desk.Next(c, time.Now()); !strings.HasPrefix(next, "It looks at the account on ") || !strings.HasSuffix(next, " New York time.") {
		t.Error(next)
	}
	if next := desk.Next(c, c.DueAt); next != "It looks at the account now, and goes on." {
		t.Error(next)
	}
	c, err := b.Ledger.Save(t.Context(), c, closure.Stumbled(time.Now(), "broken", 0, true), nil)
	must(t, err)
	if w := desk.WaitingOf(c); w.Why != "selling; the last try ended with an error and is repeated: broken" {
		t.Errorf("after an error: %q", w.Why)
	}
	for given, want := range map[closure.State]string{
		closure.Paused: "Nothing new is sent until it is resumed.", closure.Canceled: "the account stays open", closure.Closed: "the account is closed",
		closure.Failed: "until a person resumes it", closure.Dead: "until a person resumes it",
	} {
		if next := desk.Next(closure.Closure{State: given}, time.Now()); !strings.Contains(next, want) {
			t.Errorf("%s: %q", given, next)
		}
	}
}

func TestOthersHearWhatWasDoneAndNotWhatWasSaid(t *testing.T) {
	t.Parallel()
	for r, hidden := range map[closure.Reason]bool{
		closure.PausedByOperator: true, closure.CanceledByRequest: true, closure.ServiceHeld: true, closure.Accepted: true, closure.BankGone: false, closure.Selling: false,
	} {
		if got := desk.WithoutWords(r, suspicion); (got != suspicion) != hidden || got == "" {
			t.Errorf("%s: %q", r, got)
		}
	}
	for kind, want := range map[string]string{
		"cancel": "cancelled by a person", "pause": "held by a person", "resume": "resumed by a person", "wake": "woken by a person", "resolve": "resolved by a person",
		"wait": suspicion, "failed": suspicion,
	} {
		if got := desk.EventWithoutWords(kind, suspicion); got != want {
			t.Errorf("%s: %q, want %q", kind, got, want)
		}
	}
	title := closure.Reasons[closure.ServiceHeld].Title
	if got := desk.EventWithoutWords("wait", title+": "+suspicion); got != title {
		t.Errorf("of a hold: %q", got)
	}
	if got := desk.WithoutIDs("of "+strings.ToUpper(anAccount)+" to "+aBank, anAccount); got != "of "+strings.ToUpper(anAccount)+" to …000002" {
		t.Error(got)
	}
}
