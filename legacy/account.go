package legacy

import (
	"reflect"
	"slices"
	"strings"
	"time"
)

// Stands is how far a record says that the closing of its account has come.
type Stands int

// The ways in which a record may stand.
const (
	Silent    Stands = iota // it says nothing of it
	Open                    // it is to be closed, or being closed; or that has failed
	Done                    // it is closed, and the customer has been told
	Telling                 // it is closed, and the customer may have been told
	Withdrawn               // its closing was cancelled
	Strange                 // a word that is not known
)

// words are what the earlier system says of a closure: the statuses of jobs, its three enumerations, and the phases that it stores.
var words = map[string]Stands{
	"": Silent, "unknown": Silent,

	"pending": Open, "processing": Open, "retrying": Open, "failed": Open, "dead": Open,

	"initiated": Open, "canceling_orders": Open, "liquidating_positions": Open, "waiting_settlement": Open, "withdrawing_funds": Open,
	"partial_withdrawal_waiting": Open, "closing_account": Open,
	"liquidating": Open, "waiting_transfer": Open, "in_progress": Open, "pending_closure": Open,

	"starting": Open, "liquidation": Open, "settlement": Open, "withdrawal": Open, "withdrawal_waiting": Open, "withdrawal_24hr_wait": Open,
	"withdrawal_resuming": Open, "withdrawal_complete": Open, "transfer_completion": Open, "final_closure": Open,
	"background_process_failed": Open, "background_task_failed": Open,

	"sending_completion_email": Telling, "updating_final_status": Done, "completed": Done, "closed": Done,
	"cancelled": Withdrawn, "canceled": Withdrawn,
}

// ofTasks are what a task and a withdrawal say of themselves beside those.
var ofTasks = []string{"running", "active", "created", "withdrawing", "done", "finished"}

// resting are the words after which the earlier system does nothing more by itself. After any other it goes on while it runs: its
// workers take what is queued, its coroutines sleep for hours between two looks without a word, and its hourly scheduler resumes what waits.
var resting = []string{
	"failed", "dead", "background_process_failed", "background_task_failed", "completed", "closed", "cancelled", "canceled", "done", "finished",
}

// standing reads a status or phase. Of a withdrawal's own record completed is the payout alone.
func standing(w string, withdrawal bool) Stands {
	s, ok := words[w]
	switch {
	case !ok && strings.Contains(w, "cancel") && !strings.Contains(w, "order"):
		return Withdrawn
	case !ok:
		return Strange
	case withdrawal && s == Done:
		return Open
	}
	return s
}

// Record is what one job or key says of an account.
type Record struct {
	Source       string // job, closure_state, withdrawal_state, partial_withdrawal or active_task
	Says         string // its status or phase, in small letters, where it is one that is known
	Stands       Stands
	Bank         string
	Confirmation string
	User, Email  string
	Began        time.Time // when the closing was asked for; zero: it does not say
	Touched      time.Time // the latest time that it has
	Working      bool      // while the earlier system runs, it may be at work on the account or will be by itself
	Transfers    []string  // payouts that it names
}

func (r Record) words() string {
	if r.Says == "" {
		return r.Source
	}
	return r.Source + " " + r.Says
}

// Account is all that the earlier system has of one account.
type Account struct {
	ID           string
	Records      []Record
	Bank         string // the one ACH relationship that it names; "" where it names none, or see Unclear
	Confirmation string
	User, Email  string
	Unclear      []string // why it can't be told what is meant, in words

	was map[string]Raw // the keys that its records stand in, as they were read; one that was not there has no name
}

// watch keeps what a key held, so that a later change shows.
func (a *Account) watch(key string, was Raw) {
	if a.was == nil {
		a.was = map[string]Raw{}
	}
	if was.Key != "" || a.was[key].Key == "" {
		a.was[key] = was
	}
}

// expect watches for the records that the running system writes of an account, under the spelling in which it was found.
func (a *Account) expect(spelled string) {
	for _, p := range []string{keyClosure, keyWithdrawal, keyPartial, keyTask} {
		for _, s := range []string{spelled, a.ID} {
			a.watch(p+s, Raw{})
		}
	}
}

// add takes in a record. Where two disagree on whom to pay that is unclear; of a person that they disagree on nothing is kept.
func (a *Account) add(r Record) {
	if r.Bank != "" {
		switch bank := id(r.Bank); {
		case bank == "":
			a.unclear(r.Source + " names a bank that is no ACH relationship's id")
		case a.Bank != "" && a.Bank != bank:
			a.unclear("its records name two banks")
		default:
			a.Bank = bank
		}
		r.Bank = id(r.Bank)
	}
	r.Confirmation = confirmation(r.Confirmation)
	r.User, r.Email = plain(r.User, 200), plain(r.Email, 254)
	if !strings.Contains(r.Email, "@") {
		r.Email = ""
	}
	a.Records = append(a.Records, r)
	a.Confirmation = a.best(func(r Record) string { return r.Confirmation }, true)
	a.User = a.best(func(r Record) string { return r.User }, false)
	a.Email = a.best(func(r Record) string { return r.Email }, false)
}

func (a *Account) unclear(why string) {
	if !slices.Contains(a.Unclear, why) {
		a.Unclear = append(a.Unclear, why)
	}
}

// best is the one value that the records have. Where they have several it is none, or the latest of those that begin with a time.
func (a *Account) best(of func(Record) string, newest bool) string {
	var values []string
	for _, r := range a.Records {
		if v := of(r); v != "" && !slices.Contains(values, v) {
			values = append(values, v)
		}
	}
	if len(values) == 0 || len(values) > 1 && !newest {
		return ""
	}
	return slices.Max(values)
}

// Stands is what all records come to: whatever says that the closing is under way outweighs what says that it is over, because a
// job may be left from an earlier time; only a cancellation outweighs that.
func (a *Account) Stands() Stands {
	has := map[Stands]bool{}
	for _, r := range a.Records {
		has[r.Stands] = true
	}
	for _, s := range []Stands{Withdrawn, Open, Strange, Telling, Done} {
		if has[s] {
			return s
		}
	}
	return Silent
}

// Began is when the closing was asked for, by the records that are under way or else by all; zero: nobody says.
func (a *Account) Began() (t time.Time) {
	for _, open := range []bool{true, false} {
		for _, r := range a.Records {
			if (r.Stands == Open) == open && !r.Began.IsZero() && (t.IsZero() || r.Began.Before(t)) {
				t = r.Began
			}
		}
		if !t.IsZero() {
			break
		}
	}
	return t
}

// Touched is when the earlier system last did anything for the account, as far as it says; zero: it does not say.
func (a *Account) Touched() (t time.Time) {
	for _, r := range a.Records {
		t = latest(t, r.Touched)
	}
	return t
}

// Working says whether, by its records, the earlier system is at work on the account or will be by itself, and by which record.
// Those of a process that was killed look the same.
func (a *Account) Working() (by string, working bool) {
	for _, r := range a.Records {
		if r.Working {
			return r.words(), true
		}
	}
	return "", false
}

// Since says whether the account has anything now that it had not when before was read. What has expired says nothing.
func (a *Account) Since(before Account) bool {
	return slices.ContainsFunc(a.Records, func(r Record) bool {
		return !slices.ContainsFunc(before.Records, func(b Record) bool { return reflect.DeepEqual(r, b) })
	}) || slices.ContainsFunc(a.Unclear, func(why string) bool { return !slices.Contains(before.Unclear, why) })
}

// Transfers are the payouts that the earlier system says it has made.
func (a *Account) Transfers() (ids []string) {
	for _, r := range a.Records {
		for _, t := range r.Transfers {
			if !slices.Contains(ids, t) {
				ids = append(ids, t)
			}
		}
	}
	return ids
}

// Says are the records with what they say, in words.
func (a *Account) Says() string {
	var all []string
	for _, r := range a.Records {
		if s := r.words(); !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return strings.Join(all, ", ")
}
