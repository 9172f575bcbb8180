package handlers

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"closeout/alpaca"
	"closeout/calendar"
	"closeout/closure"
	"closeout/ledger"
	"closeout/legacy"
)

// TakeoverLedger is what taking over needs of the system of record: *ledger.Ledger.
type TakeoverLedger interface {
	OfAccount(ctx context.Context, account string) (closure.Closure, error)
	Intents(ctx context.Context, id string) ([]closure.Intent, error)
	TakeOver(ctx context.Context, t ledger.Takeover) (closure.Closure, bool, error)
	Command(ctx context.Context, id string, decide func(closure.Closure, []closure.Intent) (closure.Change, error), replies ...*ledger.Reply[closure.Closure]) (closure.Closure, error)
}

// Takeovers takes over accounts whose closing an earlier system has begun. It asks the broker for nothing but reads. All fields
// but Ask must be set.
type Takeovers struct {
	Ledger   TakeoverLedger
	Broker   Reader
	Calendar func() *calendar.Calendar
	Clock    closure.Clock
	Timing   closure.Timing
	Actor    string // who runs it

	// Ask takes calls of the broker's budget before they are made; nil: there is none.
	Ask func(ctx context.Context, account string, calls int) (context.Context, error)

	// Moved reads an account's records once more and says whether the earlier system has written them meanwhile.
	Moved func(ctx context.Context, a legacy.Account) (bool, error)

	// Stopped is a person's word that the earlier system is stopped: records that look like work in hand, or like work that it goes
	// on with by itself, are what it left. Where they change all the same the word is wrong, and doesn't count.
	Stopped bool

	// Apply does it. Otherwise only what would be done is told.
	Apply bool
}

// Fate is what came of an account that was to be taken over.
type Fate string

// The fates.
const (
	TakenOver  Fate = "taken_over"   // a closure was written, and goes on
	Recorded   Fate = "recorded"     // the account is closed; its closure was written for the record
	AdoptedNow Fate = "adopted"      // of an account that was taken over before: payouts that were not listed then
	HaveIt     Fate = "here_already" // it has, or had, a closure here
	NotNeeded  Fate = "nothing"      // nothing is to be done
	ForPerson  Fate = "person"       // a person must act, see Hint
	Forgotten  Fate = "forgotten"    // it waits for its closing, and nothing carries that out; see Hint
	Unread     Fate = "unreadable"   // the broker could not be read; run again
)

// Taken is what came of one account, or would come.
type Taken struct {
	Fate    Fate
	Closure closure.Closure // that was written or found; without an ID there is none
	Phase   closure.Phase   // at which it goes on
	Adopted int             // payouts
	Broker  string          // what the broker shows; "": it was not asked
	Why     string
	Hint    string // what a person can do
}

const (
	// busyFor is how long after its last sign of life the earlier system may still be at work on an account: it looks at a
	// payout every two hours.
	busyFor = 3 * time.Hour

	// goneAfter is how old a wish may be to be carried out without asking: whoever waited for so long may want something else.
	goneAfter = 30 * 24 * time.Hour

	// takeoverReads is about how many calls one account takes.
	takeoverReads = 7
)

// Take takes an account over, or says why not. An error is of the ledger or the earlier system's Redis, or ctx's end.
func (t *Takeovers) Take(ctx context.Context, a legacy.Account) (Taken, error) {
	c, err := t.Ledger.OfAccount(ctx, a.ID)
	if err == nil {
		return t.again(ctx, c, a, false)
	}
	if !errors.Is(err, ledger.ErrNotFound) {
		return Taken{}, err
	}
	if no, ok := refuse(a); ok {
		return no, nil
	}
	if ctx, err = t.pay(ctx, a.ID, takeoverReads); err != nil {
		return t.unread(ctx, err)
	}
	acct, err := t.Broker.Account(ctx, a.ID)
	switch {
	case alpaca.NotFound(err):
		return person("", "the broker knows no account of this id", "Check the credentials and the environment (sandbox or live): the earlier system may have used others."), nil
	case err != nil:
		return t.unread(ctx, err)
	}
	over := alpaca.Closed(acct.Status)
	if no, ok := t.asleep(a); !ok {
		no.Broker = strings.ToUpper(acct.Status)
		return no, nil
	}
	if over {
		return t.record(ctx, a, acct)
	}
	if no, ok := t.wanted(a, strings.ToUpper(acct.Status)); !ok {
		return no, nil
	}
	s, err := t.look(ctx, a)
	if err != nil {
		return t.unread(ctx, err)
	}
	if id := s.unlisted(a); id != "" {
		return person(s.words, "the earlier system names a payout that the broker does not list, or not yet", "Run the import again in an hour. If it stays so, compare the payouts with the broker, then initiate by the API with the bank that the customer chose."), nil
	}
	return t.begin(ctx, a, s)
}

// Changed is about an account that was taken over and whose records have changed since, as another reading of them shows.
func (t *Takeovers) Changed(ctx context.Context, a legacy.Account) (Taken, error) {
	c, err := t.Ledger.OfAccount(ctx, a.ID)
	if err != nil {
		return Taken{}, err
	}
	return t.again(ctx, c, a, true)
}

func person(broker, why, hint string) Taken {
	return Taken{Fate: ForPerson, Broker: broker, Why: why, Hint: hint}
}

const (
	// Whoever asks by the API has no quarantine: what the earlier system asked for last must be listed before.
	byAPI  = "initiate by the API with the bank that the customer chose (docs/api.md), an hour after the earlier system was stopped and no sooner."
	stopIt = "Stop every process of the earlier system, its hourly scheduler included, "
)

// Forgot is about an account whose own status says that a closure is pending, while there is none here and no record in the earlier
// system: those of one that failed long ago have ended by themselves. Whether it is to be closed, and to which bank, nothing says.
func Forgot() Taken {
	return Taken{
		Fate: Forgotten, Why: "its own status says pending_closure, and neither is a closure open here nor has the earlier system a record to take over",
		Hint: "Look at the account at the broker and ask the customer. If it is to be closed, " + byAPI + " Otherwise set its status right by hand.",
	}
}

// refuse is about records that say nothing that could be carried out.
func refuse(a legacy.Account) (Taken, bool) {
	if len(a.Unclear) > 0 {
		return person("", strings.Join(a.Unclear, "; "), "Look at the records in the earlier system's Redis. If the account is to be closed, "+byAPI), true
	}
	switch a.Stands() {
	case legacy.Withdrawn:
		if slices.ContainsFunc(a.Records, func(r legacy.Record) bool { return r.Stands == legacy.Open }) {
			return person("", "one record says that the closing was cancelled, another that it is under way", "Ask who cancelled it. If the account is to be closed, "+byAPI), true
		}
		return Taken{Fate: NotNeeded, Why: "its closing was cancelled in the earlier system"}, true
	case legacy.Strange:
		return person("", "its status is none that the earlier system is known to have", "Look at the records in the earlier system's Redis. If the account is to be closed, "+byAPI), true
	case legacy.Silent:
		return person("", "nothing says how far its closing has come", "Look at the account at the broker. If it is to be closed, "+byAPI), true
	case legacy.Open, legacy.Done, legacy.Telling:
	}
	return Taken{}, false
}

// asleep says whether the earlier system does nothing for the account any more, as far as can be told.
func (t *Takeovers) asleep(a legacy.Account) (Taken, bool) {
	const hint = stopIt + "then run the import with --stopped."
	if t.Stopped {
		return Taken{}, true
	}
	if by, working := a.Working(); working {
		return person("", "the earlier system may be at work on it, or will be by itself while it runs: "+by, hint), false
	}
	if at := a.Touched(); !at.IsZero() && time.Since(at) < busyFor && a.Stands() == legacy.Open {
		return person("", "the earlier system was at work on it "+time.Since(at).Round(time.Minute).String()+" ago", hint), false
	}
	return Taken{}, true
}

// wanted says whether an account that is not closed is to be closed, and to which bank it is paid out.
func (t *Takeovers) wanted(a legacy.Account, status string) (Taken, bool) {
	if a.Stands() != legacy.Open {
		return person(status, "the earlier system says that the account is closed, and the broker does not", "Look at the account at the broker and ask the customer. If it is to be closed, "+byAPI), false
	}
	at := a.Touched()
	if at.IsZero() {
		return person(status, "nothing says when its closing was asked for; the customer may want something else by now", "Ask the customer. If the account is to be closed, "+byAPI), false
	}
	if time.Since(at) > goneAfter {
		return person(status, "nothing was done for it since "+at.Format("2 January 2006")+"; the customer may want something else by now", "Ask the customer. If the account is to be closed, "+byAPI), false
	}
	if a.Bank == "" {
		return person(status, "the earlier system names no bank to pay to", "Ask the customer which bank; then "+byAPI+" No bank is chosen here, even if there is only one."), false
	}
	return Taken{}, true
}

func (t *Takeovers) pay(ctx context.Context, account string, calls int) (context.Context, error) {
	if t.Ask == nil {
		return ctx, nil
	}
	return t.Ask(ctx, account, calls)
}

// unread is an account of which the broker told nothing, or not all.
func (t *Takeovers) unread(ctx context.Context, err error) (Taken, error) {
	if ctx.Err() != nil {
		return Taken{}, ctx.Err()
	}
	return Taken{Fate: Unread, Why: "the broker could not be read: " + alpaca.Redact(closure.OneLine(err.Error())), Hint: "Run the import again: what was taken over stays as it is."}, nil
}

const origin = "made by the earlier system"

// adoption is what was found, as the ledger takes it in beside the intents that are there.
func (t *Takeovers) adoption(account string, intents []closure.Intent, found, all []alpaca.Transfer) closure.Adoption {
	var a closure.Adoption
	for _, tr := range found {
		a.Found = append(a.Found, FoundTransfer(account, tr, t.Calendar(), t.Clock.Now(), origin))
	}
	a.Paid, a.CameBack = PaidOut(slices.Concat(intents, a.Found), all)
	return a
}

// begin writes the closure of an account that is to be closed.
func (t *Takeovers) begin(ctx context.Context, a legacy.Account, s shown) (Taken, error) {
	out := Taken{Fate: TakenOver, Phase: s.phase, Adopted: len(s.found), Broker: s.words, Why: "the broker shows it at the " + string(s.phase)}
	if len(s.found) > 0 {
		out.Why += ", with " + closure.Count(len(s.found), "payout") + " of the earlier system"
	}
	if s.bank == "" {
		out.Why += "; the bank that it names is gone, so that it will stop at the payout (bank_gone)"
		out.Hint = "Have the customer link a bank, then record it by resolve (relink_bank) when the closure has stopped."
	}
	if moved, no, err := t.moved(ctx, a); err != nil || moved {
		no.Broker = s.words
		return no, err
	}
	if !t.Apply {
		return out, nil
	}
	w := t.wish(a, s)
	w.Over = t.since(a)
	w.NotBefore = t.Clock.At(w.Over.Wall.Add(t.Timing.Quarantine + time.Second))
	return t.write(ctx, a, w, out)
}

// since is a takeover at this moment.
func (t *Takeovers) since(a legacy.Account) closure.TakenOver {
	wall := time.Now()
	return closure.TakenOver{At: t.Clock.At(wall), Wall: wall.Round(0).UTC(), Touched: a.Touched()}
}

func (t *Takeovers) wish(a legacy.Account, s shown) ledger.Takeover {
	w := ledger.Takeover{
		Wish: ledger.Wish{
			AccountID: a.ID, RelationshipID: a.Bank, Fingerprint: s.bank, UserID: a.User, Email: a.Email,
			Cause: "begun by the earlier system", Actor: t.Actor,
		},
		Phase: s.phase, Confirmation: a.Confirmation, Why: "taken over from the earlier system at the " + string(s.phase) + ", as the broker shows it",
		Detail: map[string]any{"earlier_system": a.Says(), "broker": s.words},
	}
	if at := a.Began(); !at.IsZero() {
		w.Detail["asked_at"] = at.Format(time.RFC3339)
	}
	if len(s.found) > 0 {
		w.Changes = append(w.Changes, closure.Adopted(t.Clock.Now(), t.Actor, origin, t.adoption(a.ID, nil, s.found, s.transfers)))
	}
	return w
}

// moved is asked last: the earlier system writes its records as it works.
func (t *Takeovers) moved(ctx context.Context, a legacy.Account) (bool, Taken, error) {
	moved, err := t.Moved(ctx, a)
	return moved, person("", "the earlier system has just written its records: it is at work", stopIt+"then run the import again."), err
}

func (t *Takeovers) write(ctx context.Context, a legacy.Account, w ledger.Takeover, out Taken) (Taken, error) {
	c, taken, err := t.Ledger.TakeOver(ctx, w)
	if errors.Is(err, ledger.ErrTaken) {
		return person(out.Broker, "one of its payouts is another closure's already", "Look at the payouts of both closures on the console before anything else is done."), nil
	}
	if err != nil {
		return Taken{}, err
	}
	if !taken { // somebody else asked meanwhile
		return t.again(ctx, c, a, false)
	}
	out.Closure = c
	return out, nil
}

// record writes the closure of an account that is closed already, for whoever looks for it. It ends in the transaction that begins
// it, and no letter is sent that the earlier system has sent, or may have.
func (t *Takeovers) record(ctx context.Context, a legacy.Account, acct alpaca.Account) (Taken, error) {
	out := Taken{Fate: Recorded, Phase: closure.Closing, Broker: strings.ToUpper(acct.Status), Why: "the account is closed; its closure is recorded, without a letter"}
	told := true
	switch a.Stands() {
	case legacy.Open:
		told, out.Why = false, "the account is closed, and the customer was not told; its closure is recorded, with the last letter"
	case legacy.Telling:
		out.Fate, out.Why = ForPerson, "the account is closed, and the earlier system stopped while it told the customer; its closure is recorded, without a letter"
		out.Hint = "See in the earlier system's mail log whether the customer has its last letter, and write to them if not."
	case legacy.Silent, legacy.Done, legacy.Withdrawn, legacy.Strange:
	}
	all, err := t.Broker.Transfers(ctx, a.ID)
	if err != nil {
		return t.unread(ctx, err)
	}
	s := shown{transfers: all, phase: closure.Closing, words: out.Broker}
	if s.found, err = t.payouts(a, all, a.Bank); err != nil {
		return t.unread(ctx, err)
	}
	out.Adopted = len(s.found)
	if moved, no, err := t.moved(ctx, a); err != nil || moved {
		return no, err
	}
	if !t.Apply {
		return out, nil
	}
	w := t.wish(a, s)
	w.Over = t.since(a)
	w.Over.Told = told
	paid, _ := PaidOut(t.adoption(a.ID, nil, s.found, all).Found, all)
	w.Changes = append(w.Changes, closure.Looked(t.Clock.Now(), closure.Done("the account was closed at the broker before the takeover; paid out "+usd(paid)), closure.Look{}, nil))
	return t.write(ctx, a, w, out)
}
