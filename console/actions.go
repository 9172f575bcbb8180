package console

import (
	"cmp"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"closeout/signin"

	"closeout/closure"
	"closeout/desk"
	"closeout/ledger"
	"closeout/readiness"
)

// action is one thing that an operator can do to a closure: a page that says what will happen, and its form.
type action struct {
	Name    string // in its address
	Title   string
	Does    string // what will happen
	Calls   string // what it asks of the broker
	Button  string
	Danger  bool // it can't be taken back
	Said    string
	command desk.Command           // or
	word    closure.ResolutionKind // what is recorded
	from    []closure.State        // in which it is offered
	Fields  []actionField
}

type actionField struct {
	Name, Label, Hint string
	Optional          bool
}

var stopped = []closure.State{closure.Paused, closure.Failed, closure.Dead}

// actions are all there are, in the order in which they are offered.
var actions = []action{
	{
		Name: "wake", Title: "Wake", Button: "Wake it", Said: "It looks at the account now.", command: desk.Wake, from: []closure.State{closure.Running},
		Does:  "The closure looks at the account now instead of at its next time. Every check is made as at any other look; none is left out.",
		Calls: "Nothing by itself. The visit reads the account, and goes on if it may: it can place orders, pay out or close as it would have later.",
	},
	{
		Name: "pause", Title: "Pause", Button: "Pause it", Said: "It is paused: nothing new is sent.", command: desk.Pause, from: []closure.State{closure.Running},
		Does:  "From now on nothing new is sent to the broker. Open orders may still fill, and payouts on their way arrive. A pause uses up none of the phase's limit.",
		Calls: "Nothing.",
	},
	{
		Name: "resume", Title: "Resume", Button: "Resume it", Said: "It goes on.", command: desk.Resume, from: []closure.State{closure.Paused},
		Does:  "The closure goes on in the phase in which it was paused. Its failures, retries and limit start afresh.",
		Calls: "Nothing by itself. The visit that follows reads the account, and goes on if it may.",
	},
	{
		Name: "retry", Title: "Retry", Button: "Retry it", Said: "It tries again.", command: desk.Resume, from: []closure.State{closure.Failed, closure.Dead},
		Does:  "The closure tries again in the phase in which it stopped. What stopped it counts as seen; its failures, retries and limit start afresh.",
		Calls: "Nothing by itself. The visit that follows reads the account, and goes on if it may.",
	},
	{
		Name: "cancel", Title: "Cancel", Button: "Cancel it for good", Danger: true, Said: "It is canceled; the account stays open.", command: desk.Cancel,
		from:  []closure.State{closure.Running, closure.Paused, closure.Failed, closure.Dead},
		Does:  "The closure ends here for good, and the customer is told. The account stays open; closing it needs a new closure.",
		Calls: "Nothing. Orders that were cancelled for it are not placed again.",
	},
	{
		Name: "paid_by_hand", Title: "Record a payment by hand", Button: "Record the payment and go on", Danger: true, Said: "The payment is recorded, and it goes on.", word: closure.PaidByHand, from: stopped,
		Does:  "The books take in, to the cent, that this sum left the account another way, by wire for one; then the closure goes on. It can't be taken back: a payment that was recorded and never made stops the closure over the sum.",
		Calls: "Nothing by itself. The visit that follows reads the account, and stops if the sum is another.",
		Fields: []actionField{
			{Name: "amount", Label: "Dollars", Hint: "As 825.00"},
			{Name: "reference", Label: "Reference", Hint: "What the payment is found by; never an account’s number"},
		},
	},
	{
		Name: "adopt_transfer", Title: "Adopt a transfer", Button: "Adopt it and go on", Danger: true, Said: "The payout is the broker’s transfer, and it goes on.", word: closure.AdoptTransfer, from: stopped,
		Does:   "A payout whose outcome nobody knows counts as made: it is this transfer of the broker’s. Its sum and its bank must be the payout’s. Nothing is paid anew.",
		Calls:  "Reads the account’s list of transfers, now. While it can’t be read your word counts, and the history says so.",
		Fields: []actionField{{Name: "transfer_id", Label: "The broker’s transfer", Hint: "Its id; the account beside the broker’s has the list"}, payoutField},
	},
	{
		Name: "void_transfer", Title: "Void a payout", Button: "It was not made: pay it anew", Danger: true, Said: "The payout counts as not made, and it goes on.", word: closure.VoidTransfer, from: stopped,
		Does:   "A payout whose outcome nobody knows counts as not made, by the broker’s word, and its sum is paid anew. If it was made after all, the customer is paid twice: ask the broker first.",
		Calls:  "Reads the account’s list of transfers, now: one that fits forbids it. While it can’t be read your word counts, and the history says so.",
		Fields: []actionField{payoutField},
	},
	{
		Name: "relink_bank", Title: "Relink the bank", Button: "Pay to this bank and go on", Danger: true, Said: "The other bank is paid, and it goes on.", word: closure.RelinkBank, from: stopped,
		Does:   "What is left is paid to another bank of the account’s. It must be linked and approved at the broker, and in the customer’s name.",
		Calls:  "Reads the account and its bank relationships, now, about eight calls.",
		Fields: []actionField{{Name: "ach_relationship_id", Label: "Bank", Hint: "The id of an APPROVED ACH relationship of this account"}},
	},
}

// banksNow is the word of an address, or a form, for which the broker is asked for the account's banks.
const banksNow = "now"

var payoutField = actionField{Name: "intent_id", Label: "Payout", Hint: "Only where several are in question: its id, as the instructions have it", Optional: true}

func (k *Console) routesActions() {
	for _, do := range actions {
		k.get("/closures/{id}/"+do.Name, signin.Operator, func(a *ask) (page, error) {
			r, err := k.found(a)
			if err != nil {
				return page{}, err
			}
			var v actionView
			if do.word == closure.RelinkBank && a.URL.Query().Get("banks") == banksNow {
				v.Banks = k.banksOf(a.Context(), r.Closure)
			}
			return k.preview(do, r, v), nil
		})
		k.answer("/closures/{id}/"+do.Name, signin.Operator, func(a *ask) (formAnswer, error) { return k.act(do, a) })
	}
}

// offer is a link to an action's page.
type offer struct {
	action
	No string // why it would be refused now; empty: it can be asked
}

// offers are the actions that a closure's state calls for. What would be refused is named, so that nobody looks for it in vain.
func (k *Console) offers(r desk.Record) (out []offer) {
	for _, do := range actions {
		if slices.Contains(do.from, r.State) {
			out = append(out, offer{do, k.refusal(do, r)})
		}
	}
	return out
}

// refusal is what an action would be refused for as the closure is now, as far as that can be said before the form is filled in.
func (k *Console) refusal(do action, r desk.Record) string {
	if do.command != "" {
		if no, ok := errors.AsType[*desk.Refusal](k.Desk.Would(r.Closure, r.Intents, do.command, desk.Ask{Actor: "operator", Why: "preview"})); ok {
			return no.Detail
		}
		return ""
	}
	// What the form asks for is taken to be what would be accepted: if it is refused all the same, it is whatever is written there.
	asked := inQuestion(r.Intents)
	word := closure.Resolution{Kind: do.word, Amount: closure.Cent, Reference: "preview", TransferID: "preview", Bank: "preview", Fingerprint: "preview"}
	if len(asked) > 0 {
		word.IntentID, word.TransferID = asked[0].ID, cmp.Or(asked[0].BrokerID, word.TransferID)
	}
	_, err := word.Check(r.Closure, r.Intents, time.Now())
	if no, ok := errors.AsType[*closure.NotAllowedError](err); ok && len(asked) < 2 { // of several payouts the form asks for one
		if r.State != closure.Paused {
			no.Why = hint(no.Why)
		}
		return closure.Sentence(no.Why)
	}
	return ""
}

// inQuestion are the payouts of which nobody knows what became of them, or somebody should.
func inQuestion(intents []closure.Intent) (out []closure.Intent) {
	for _, i := range intents {
		if i.Kind == closure.TransferIntent && (i.State == closure.IntentSending || i.State == closure.IntentLate || i.State == closure.IntentVoid) {
			out = append(out, i)
		}
	}
	return out
}

// actionView is what the page of an action shows.
type actionView struct {
	action
	Closure   closure.Closure
	Seen      int64 // the last event that the page knows of
	Next      string
	NoReturn  string
	InFlight  []desk.InFlight
	Questions []closure.Intent // payouts in question
	Hint      string           // what can be done about the reason for which it stopped
	Banks     bankChoice
	Excess    string // money that resuming pays out as well
	No        string // why it would be refused now

	MostReason int

	Wrote   map[string]string // what was written in the form
	Faults  map[string]string // what is wrong with it, by field
	Refused *desk.Refusal     // of the form that was sent
	Trouble string            // for which nothing was done, where it is no refusal
}

func (k *Console) preview(do action, r desk.Record, v actionView) page {
	c := r.Closure
	v.action, v.Closure, v.Seen, v.InFlight, v.MostReason = do, c, c.Seq, desk.InFlightOf(r.Intents), desk.MostReason
	v.Next, v.NoReturn, v.Hint, v.No = desk.Next(c, k.now()), noReturn(r.Intents), closure.Reasons[c.Reason].Hint, k.refusal(do, r)
	if do.No(c) {
		v.No = "The closure is " + string(c.State) + "."
	}
	if do.command == desk.Resume && c.Reason == closure.Unexplained {
		v.Excess = c.Memo.Excess
	}
	v.Questions = inQuestion(r.Intents)
	return page{Template: "action", Title: do.Title + ": " + c.Confirmation, Data: v}
}

// WhatNow says what can be done instead of what was refused, where the desk's own words are for who sends requests.
func (v actionView) WhatNow() string {
	switch v.Refused.Code {
	case desk.ClosureEnded:
		return "Nothing can be changed of it. An account that is open can be given a new closure, by the client that closes accounts."
	case desk.CannotResolve:
		return "The closure’s page has the payouts and what it waits for."
	case desk.NotRunning:
		return "It sends nothing as it is. Resume or retry it to set it going again; record first what was done by hand."
	}
	return v.Refused.Hint
}

// No says whether the action is none for a closure in this state.
func (do action) No(c closure.Closure) bool { return !slices.Contains(do.from, c.State) }

// act does what the form asks for, or nothing: then the page says why, and has the form again with what was written.
func (k *Console) act(do action, a *ask) (formAnswer, error) {
	r, err := k.found(a)
	if err != nil {
		return formAnswer{}, err
	}
	v := actionView{Wrote: map[string]string{}, Faults: map[string]string{}}
	for _, f := range append([]actionField{{Name: "why"}}, do.Fields...) {
		v.Wrote[f.Name] = strings.TrimSpace(a.PostForm.Get(f.Name))
	}
	seen, err := strconv.ParseInt(a.PostForm.Get("version"), 10, 64)
	if err != nil || seen < 1 {
		return formAnswer{}, trouble{Status: http.StatusBadRequest, Title: "Not understood", Detail: "The form does not say which state of the closure it is about. Nothing was done.", Hint: "Open the page again and send its form.", Cause: err}
	}
	again := func(status int) (formAnswer, error) {
		if r, err = k.found(a); err != nil { // as it is by now
			return formAnswer{}, err
		}
		if a.PostForm.Get("banks") == banksNow {
			v.Banks = k.banksOf(a.Context(), r.Closure)
		}
		return formAnswer{Status: status, Page: k.preview(do, r, v)}, nil
	}
	why, wrong := desk.Reason(v.Wrote["why"])
	if wrong != "" {
		v.Faults["why"] = "The reason " + wrong + "."
	}
	word := desk.Word{
		Kind: do.word, Amount: v.Wrote["amount"], Reference: v.Wrote["reference"], TransferID: v.Wrote["transfer_id"],
		IntentID: v.Wrote["intent_id"], RelationshipID: v.Wrote["ach_relationship_id"],
	}
	resolution, faults := word.Resolution()
	if do.word != "" {
		for _, f := range faults {
			v.Faults[f.Field] = "This " + f.Message + "."
		}
	}
	if len(v.Faults) > 0 {
		return again(http.StatusUnprocessableEntity)
	}
	order := desk.Ask{Actor: a.Who.Actor(), Why: why, Seen: seen}
	var after desk.After
	if do.word != "" {
		after, err = k.Desk.Resolve(a.Context(), r.Closure, resolution, order)
	} else {
		after, err = k.Desk.Command(a.Context(), r.Closure, do.command, order)
	}
	no, refused := errors.AsType[*desk.Refusal](err)
	_, unread := errors.AsType[*readiness.UnreadableError](err)
	switch {
	case refused:
		v.Refused = no
		return again(http.StatusConflict)
	case unread, errors.Is(err, readiness.ErrNoAccount):
		v.Trouble = "The broker could not be read, so that nothing is known of the bank. Nothing was done."
		if !unread {
			v.Trouble = "The broker does not know the account. Nothing was done."
		}
		return again(http.StatusServiceUnavailable)
	case errors.Is(err, ledger.ErrStale):
		v.Trouble = "Others change the closure at this moment. Nothing was done: look, and try again."
		return again(http.StatusConflict)
	case err != nil:
		return formAnswer{}, err
	}
	if !after.Changed {
		k.say(a, "Nothing was done: the closure is "+string(after.State)+" already.")
	} else {
		k.say(a, do.Said)
	}
	return formAnswer{To: "/closures/" + r.ID}, nil
}
