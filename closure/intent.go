package closure

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/shopspring/decimal"
)

// IntentKind says what an intent asks of the broker.
type IntentKind string

// The effects this service has on the world.
const (
	CancelIntent   IntentKind = "cancel"
	OrderIntent    IntentKind = "order"
	TransferIntent IntentKind = "transfer"
	CloseIntent    IntentKind = "close"
)

// IntentKinds are all of them.
var IntentKinds = []IntentKind{CancelIntent, OrderIntent, TransferIntent, CloseIntent}

// IntentState says what is known of an intent's outcome.
type IntentState string

// The states of an intent. One that is sending past its deadline is unknown: perhaps it was carried out, perhaps not.
const (
	IntentSending IntentState = "sending" // claimed; perhaps on the wire
	IntentSent    IntentState = "sent"    // the broker took it, or a list showed that it had
	IntentRefused IntentState = "refused" // the broker said no, or was never reached
	IntentVoid    IntentState = "void"    // given up: two lists after the quarantine lacked it
	IntentLate    IntentState = "late"    // void, and then the broker turned out to have taken it
)

// IntentStates are all of them.
var IntentStates = []IntentState{IntentSending, IntentSent, IntentRefused, IntentVoid, IntentLate}

// Intent is one instruction to the broker, written down before it is sent.
type Intent struct {
	ID             string
	ClosureID      string
	Environment    Environment
	AccountID      string
	Key            int64 // the version that its claim made
	N              int   // its place in the claim's batch
	Kind           IntentKind
	State          IntentState
	Subject        string // the order or the asset it is about
	Attempt        int
	ClientOrderID  string
	Request        json.RawMessage // method, path and body, sent byte for byte
	Amount         decimal.NullDecimal
	RelationshipID string
	BankingDay     string // of an adopted transfer that is not the day's first, with its number behind it: see Day
	CashBefore     decimal.NullDecimal
	Quiet          bool              // the account was quiet when it was claimed: cash_before can be believed
	Listed         map[string]string // transfer or activity id → status, as the broker listed them at the claim
	ClaimedAt      time.Time         // business time
	Deadline       time.Time         // machine time: no answer by then is no answer
	AbsentAt       time.Time         // machine time of the first list after the quarantine that lacked it
	BrokerID       string
	Status         int    // of the broker's answer; 0: none
	Answer         string // in words, redacted
	RequestID      string
	AnsweredAt     time.Time // business time
	FilledQty      decimal.NullDecimal
	Proceeds       decimal.NullDecimal // dollars that its fills brought in; negative for a bought-back short
	Finished       string              // the last status seen of the order or transfer that it made
}

// Unknown says whether the intent's outcome is not known at the machine time now.
func (i Intent) Unknown(now time.Time) bool {
	return i.State == IntentSending && now.After(i.Deadline)
}

// Day is the banking day of a transfer, "2006-01-02".
func (i Intent) Day() string {
	day, _, _ := strings.Cut(i.BankingDay, " ")
	return day
}

// Irreversible says whether the intent, as far as anyone knows, did or may still do what can't be taken back. A cancelled
// order can be placed again; a sale, a payout and a closing can't be undone.
func (i Intent) Irreversible() bool {
	if i.Kind == CancelIntent {
		return false
	}
	return i.State == IntentSending || i.State == IntentSent || i.State == IntentLate
}

// PastNoReturn says whether any of a closure's intents is irreversible.
func PastNoReturn(intents []Intent) bool {
	for _, i := range intents {
		if i.Irreversible() {
			return true
		}
	}
	return false
}
