package closure

import "time"

// Environment keeps sandbox and live apart: it is part of a closure, and a process refuses the other's rows.
type Environment string

// The two environments.
const (
	Sandbox Environment = "sandbox"
	Live    Environment = "live"
)

// Priority chooses the queue.
type Priority string

// The priorities.
const (
	Urgent Priority = "urgent"
	Normal Priority = "normal"
	Bulk   Priority = "bulk"
)

// Closure is one account's way from the request to the closed account: the ledger's row. All times are business time.
type Closure struct {
	ID             string
	AccountID      string
	Environment    Environment
	Confirmation   string // what the customer quotes
	RelationshipID string // the one bank that may be paid, pinned at initiate; a person alone relinks it
	Fingerprint    string // sixteen bits of that bank's numbers, to notice a change
	UserID         string
	Email          string
	Cause          string // why the client asked
	Priority       Priority
	NotBefore      time.Time
	Actor          string // who asked
	BatchID        string // of the batch that it was started by; empty: none
	Trace          string // the W3C traceparent of the request that it came by, for traces alone; empty: none

	Phase   Phase
	State   State
	Version int64  // moves with every claim, save and command
	Token   string // random, new with each version: part of the task's ID, never reused

	DueAt  time.Time // when the next visit is due; the row is the outbox
	Reason Reason    // why it waits or stopped, as a code
	Why    string    // the same in words, with the particulars
	Who    Who       // who must act; empty: nobody

	Failures        int // errors in a row; a saved look clears it
	FailuresInPhase int
	Crashes         int // deliveries that ended without a word, in a row
	NotedRetries    int // what Asynq's retry count must be at the next delivery of this version
	LastError       string

	Looks    int           // successful looks since the phase was entered or resumed
	Spent    time.Duration // of the limit, where it counts time
	Days     int           // of the limit, where it counts days
	LastDay  string        // the last day counted, New York
	LastLook time.Time
	Loops    int // ways back taken

	WokenAt   time.Time // a wake that met a due row: the next save makes it due at once
	LookBy    time.Time // of a look that was put off: when it would be due if nobody heard the broker's events
	Memo      Memo
	Seq       int64 // of the last event
	HeadHash  string
	CreatedAt time.Time
	UpdatedAt time.Time
	StartedAt time.Time // the first visit
	EnteredAt time.Time // of the present phase
	EndedAt   time.Time // closed, canceled, failed or dead
}

// Since is when the stay in the present phase began. One that was accepted for later begins then.
func (c Closure) Since() time.Time {
	if c.NotBefore.After(c.EnteredAt) {
		return c.NotBefore
	}
	return c.EnteredAt
}

// Memo is the little that a phase must remember from one look to the next and that neither the broker nor the intents say.
type Memo struct {
	// Format is above Format where a newer version wrote the memo in a way that this one can't read; 0 is 1. Beside is what a
	// newer version wrote beside the fields that this one knows.
	Format int    `json:"v,omitempty"`
	Beside Fields `json:"-"`

	// TakenOver is set where the closure was begun by an earlier system; nil: it was asked for here.
	TakenOver *TakenOver `json:"taken_over,omitempty"`
	// ListDigest names the set of transfers and inflows, with their statuses, seen at the last look, and ListSince since
	// when it has looked like that: the end of a transfer whose updated_at the broker leaves out is not before ListSince.
	ListDigest string    `json:"list_digest,omitempty"`
	ListSince  time.Time `json:"list_since,omitzero"`
	// ExcessSince is when money above what the books explain was first noted, and Excess how much.
	ExcessSince time.Time `json:"excess_since,omitzero"`
	Excess      string    `json:"excess,omitempty"`
	// Allowed is the excess that a person accepted by resuming.
	Allowed string `json:"allowed,omitempty"`
	// CameBack counts payouts that the bank returned or the broker rejected, and Forgiven those that a person has seen.
	CameBack int `json:"came_back,omitempty"`
	Forgiven int `json:"forgiven,omitempty"`
	// Stand is what was there before the first payout, and ByHand are payments that a person has made and recorded.
	Stand  *Stand     `json:"stand,omitempty"`
	ByHand []HandPaid `json:"by_hand,omitempty"`
	// Paid is the sum of payouts that the broker calls complete, and not returned, at the last look.
	Paid string `json:"paid,omitempty"`
	// Worth is what the account held at the last look, in dollars: its cash and its positions at their prices then. OnWay is
	// the sum of payouts that were on their way, or of which nobody knew. Both are for people to see and decide nothing; empty
	// is not known.
	Worth string `json:"worth,omitempty"`
	OnWay string `json:"on_way,omitempty"`
	// Reconciled is the version that the last reconciliation after a restore made; 0: there was none.
	Reconciled int64 `json:"reconciled,omitempty"`
	// HeldReason and HeldWhy are what the closure waited for when the broker's budget kept it from being looked at.
	HeldReason Reason `json:"held_reason,omitempty"`
	HeldWhy    string `json:"held_why,omitempty"`
}

// TakenOver says when this service took a closure over from an earlier system, which may have asked the broker for payouts until
// then: the last of them may be listed only later, and used that banking day's limit.
type TakenOver struct {
	At   time.Time `json:"at"`   // business
	Wall time.Time `json:"wall"` // machine: from then on nobody else sends
	// Told says that the customer heard of the closed account from the earlier system, or may have: no last letter is sent.
	Told bool `json:"told,omitempty"`
	// Touched is the latest time in the earlier system's records then, by its own clock: a later one says that it works on.
	Touched time.Time `json:"touched,omitzero"`
}

// Event is one entry of a closure's history, before the ledger numbers and chains it.
type Event struct {
	Kind   string
	At     time.Time // business
	Actor  string
	Text   string // one line for people
	Detail any    // JSON, already free of secrets and personal data
}
