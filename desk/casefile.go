package desk

import (
	"encoding/json"
	"time"

	"closeout/calendar"
	"closeout/closure"
	"closeout/readiness"
)

// CaseFile is all that is known of one closure.
type CaseFile struct {
	WrittenAt    Moment              `json:"written_at" doc:"When this file was made"`
	Environment  closure.Environment `json:"environment" doc:"sandbox or live"`
	JobID        string              `json:"job_id"`
	AccountID    string              `json:"account_id"`
	Confirmation string              `json:"confirmation_number"`
	Phase        closure.Phase       `json:"phase"`
	State        closure.State       `json:"state"`
	FinishedAt   *Moment             `json:"finished_at" doc:"When it was closed, canceled or stopped; null while it runs"`
	Waiting      *Waiting            `json:"waiting" doc:"Why it does not go on; null once it is over"`

	Asked        Asked               `json:"asked" doc:"What was asked for, and by whom"`
	Policy       []Rule              `json:"policy" doc:"What this service goes by now"`
	Steps        []Stay              `json:"steps" doc:"The phases in the order in which they were gone through; one may come again"`
	Instructions []Instruction       `json:"instructions" doc:"Each instruction to the broker, written down before it was sent"`
	Money        readiness.Statement `json:"money" doc:"The books, in dollars"`
	Letters      []SentLetter        `json:"letters" doc:"To the customer"`
	Commands     []Entry             `json:"commands" doc:"What people did, out of the history"`
	History      []Entry             `json:"history" doc:"Each event, up to where the chain breaks if it does"`
	Chain        Chain               `json:"chain" doc:"Whether the history is whole"`
}

// Moment is a time in UTC, and in words as a clock in New York shows it.
type Moment struct {
	UTC     time.Time `json:"utc" doc:"In UTC, to the second"`
	NewYork string    `json:"new_york" doc:"The same in words, on New York's clock"`
}

// Asked is what was asked for, and by whom.
type Asked struct {
	By        string           `json:"by" doc:"Who asked: api:name is the key of that name"`
	At        Moment           `json:"at" doc:"When it was accepted"`
	Reason    string           `json:"reason,omitempty"`
	UserID    string           `json:"user_id,omitempty" doc:"For the scope operate alone"`
	Bank      string           `json:"bank" doc:"The one bank that may be paid, by its relationship's id; but for the scope operate by the id's end"`
	Priority  closure.Priority `json:"priority"`
	NotBefore *Moment          `json:"not_before" doc:"When it was to start; null: at once"`
}

// Rule is one rule of the policy.
type Rule struct {
	Name  string `json:"name" doc:"What it is about"`
	Value string `json:"value" doc:"What holds, in words"`
}

// Stay is one stay in a phase.
type Stay struct {
	Phase   closure.Phase `json:"phase" doc:"liquidation, settlement, withdrawal or closing"`
	Does    string        `json:"does" doc:"What is done in it, in words"`
	Entered Moment        `json:"entered_at" doc:"When it began"`
	Left    *Moment       `json:"left_at" doc:"Null for the present phase"`
	Events  int           `json:"events" doc:"How many events of the history fall in it"`
}

// Instruction is one instruction to the broker and what became of it.
type Instruction struct {
	Kind      closure.IntentKind  `json:"kind" doc:"cancel, order, transfer or close"`
	Asks      string              `json:"asks" doc:"Method and address; the ids are cut to their ends but for the scope operate"`
	Symbol    string              `json:"symbol,omitempty" doc:"Of an order: the asset"`
	Side      string              `json:"side,omitempty" doc:"Of an order: buy or sell"`
	Qty       string              `json:"qty,omitempty" doc:"Of an order: shares, with fractions"`
	Amount    *readiness.USD      `json:"amount" doc:"Dollars of a payout; null for what is none"`
	AskedAt   Moment              `json:"asked_at" doc:"When it was written down, before it was sent"`
	Answered  *Moment             `json:"answered_at" doc:"Null if no answer came"`
	Status    *int                `json:"status" doc:"HTTP status of the broker's answer; null if none came"`
	RequestID string              `json:"request_id,omitempty" doc:"The broker's, to quote to the broker"`
	Answer    string              `json:"answer,omitempty" doc:"The broker's words, redacted"`
	State     closure.IntentState `json:"state" doc:"sending (perhaps carried out), sent, refused, void (given up: it was not carried out) or late"`
	BrokerID  string              `json:"broker_id,omitempty" doc:"For the scope operate alone"`
	Outcome   string              `json:"outcome,omitempty" doc:"The last status seen of what it made"`
	Filled    *string             `json:"filled_qty" doc:"Shares that were filled of an order; null if not known"`
	Proceeds  *readiness.USD      `json:"proceeds" doc:"Dollars that an order's fills brought in, negative for one that bought back; null if not known"`
}

// SentLetter is one letter to the customer. The address is not kept with it.
type SentLetter struct {
	Kind   closure.Letter `json:"kind" doc:"initiated, action_needed, failed, completed or canceled"`
	OwedAt Moment         `json:"owed_at" doc:"When it fell due"`
	SentAt *Moment        `json:"sent_at" doc:"Null if it was not handed over"`
	State  string         `json:"state" enum:"due,sent,failed" doc:"due (not handed over yet), sent or failed"`
}

// Entry is one event of the history.
type Entry struct {
	Seq    int64           `json:"seq" doc:"Its number in the history: 1, 2, 3 … without a gap"`
	At     Moment          `json:"at"`
	Kind   string          `json:"kind" doc:"What sort of event, such as accepted, go, wait, claim, answer, failed"`
	Actor  string          `json:"actor"`
	Text   string          `json:"text" doc:"What happened, in words"`
	Phase  closure.Phase   `json:"phase" doc:"The phase after it"`
	State  closure.State   `json:"state" doc:"The state after it"`
	Detail json.RawMessage `json:"detail,omitempty" doc:"What was asked and answered; for the scope operate alone"`
}

// Chain is what the verification of the history's chain of hashes came to.
type Chain struct {
	Events   int64  `json:"events" doc:"As many as the closure counts"`
	HeadHash string `json:"head_hash" doc:"Of the last event: who keeps it can tell later whether anything before it was changed"`
	Verified bool   `json:"verified" doc:"Whether every event is there and unchanged"`
	BrokenAt *int64 `json:"broken_at" doc:"The first event that does not hold; null if all do"`
	Text     string `json:"text" doc:"The same in words"`
}

func moment(t time.Time) Moment {
	return Moment{t.UTC().Truncate(time.Second), t.In(calendar.NewYork).Format("Mon 2 Jan 2006 15:04:05 MST")}
}

func momentOrNull(t time.Time) *Moment {
	if t.IsZero() {
		return nil
	}
	m := moment(t)
	return &m
}
