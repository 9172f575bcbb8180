package sim

import (
	"encoding/base32"
	"encoding/binary"
	"strings"
	"time"
)

// The paths of the event streams, and the topics that stand for them.
var topics = map[string]string{
	"/v2/events/trades":          "trades",
	"/v2/events/funding/status":  "funding",
	"/v1/events/accounts/status": "accounts",
}

// told is one event of a stream, as it is kept.
type told struct {
	Seq     int64
	Topic   string
	At      time.Time
	Account string
	Kind    string // of a trade event: what happened; of a funding event: the kind of entity
	Key     string // id of the entity
	From    string
	To      string
	Note    string
}

// tell keeps an event for the streams, beside the journal.
func (v *visit) tell(t told) {
	t.At, t.Account = v.at, v.a.ID
	v.told = append(v.told, t)
}

func (v *visit) tellTransfer(t *transfer, from string) {
	if t.Status != from {
		v.tell(told{Topic: "funding", Kind: "Transfer", Key: t.ID, From: from, To: t.Status, Note: t.Reason})
	}
}

// tellOf is what a line of the journal means to those who hear the streams.
func (v *visit) tellOf(e Entry) {
	switch e.Kind {
	case "order", "agent_order":
		v.tell(told{Topic: "trades", Kind: "new", Key: e.Key})
	case "cancel":
		v.tell(told{Topic: "trades", Kind: "pending_cancel", Key: e.Key})
	case "fill":
		kind := "fill"
		for i := range v.a.Orders {
			if o := &v.a.Orders[i]; o.ClientID == e.Key && o.open() {
				kind = "partial_fill"
			}
		}
		v.tell(told{Topic: "trades", Kind: kind, Key: e.Key})
	case "order_canceled", "order_expired", "order_rejected", "trade_bust":
		v.tell(told{Topic: "trades", Kind: strings.TrimPrefix(e.Kind, "order_"), Key: e.Key})
	case "relationship_create":
		v.tell(told{Topic: "funding", Kind: "BankRelationship", Key: e.Key, To: "QUEUED"})
	case "relationship_approved":
		v.tell(told{Topic: "funding", Kind: "BankRelationship", Key: e.Key, From: "QUEUED", To: "APPROVED"})
	case "relationship_delete":
		v.tell(told{Topic: "funding", Kind: "BankRelationship", Key: e.Key, From: "APPROVED", To: "CANCELED"})
	case "relationship_status":
		v.tell(told{Topic: "funding", Kind: "BankRelationship", Key: e.Key, To: e.Note})
	case "close", "closed_by_broker", "status":
		from, to, both := strings.Cut(e.Note, " to ")
		if e.Kind != "status" || !both {
			from, to = "ACTIVE", "ACCOUNT_CLOSED"
		}
		v.tell(told{Topic: "accounts", Kind: "status", From: from, To: to})
	case "block", "unblock":
		v.tell(told{Topic: "accounts", Kind: e.Kind, Note: e.Note})
	}
}

// ulids are Crockford's digits, as every ULID is written.
var ulids = base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ").WithPadding(base32.NoPadding)

// ulid names an event: the time in milliseconds, and as its chance the number of the event.
func (t told) ulid() string {
	var b [20]byte // the first four bytes are nought: 26 digits hold two bits more than 16 bytes, 32 digits hold 20 bytes
	binary.BigEndian.PutUint64(b[2:], uint64(t.At.UnixMilli()))
	binary.BigEndian.PutUint64(b[12:], uint64(t.Seq))
	return ulids.EncodeToString(b[:])[6:]
}

// seqOf is the number of the event that a cursor names; ok is false for what is no ULID.
func seqOf(cursor string) (seq int64, ok bool) {
	if len(cursor) != 26 {
		return 0, false
	}
	b, err := ulids.DecodeString("000000" + strings.ToUpper(cursor))
	if err != nil {
		return 0, false
	}
	return int64(binary.BigEndian.Uint64(b[12:])), true
}

// view is the event as the stream writes it.
func (s *Sim) toldView(t told) map[string]any {
	view := map[string]any{"account_id": t.Account, "at": stamp{t.At}, "event_id": t.ulid()}
	a := s.accounts[t.Account]
	switch t.Topic {
	case "trades":
		view["event"], view["timestamp"], view["execution_id"] = t.Kind, stamp{t.At}, uuid("execution ", t.Seq)
		if a == nil {
			break
		}
		for i := range a.Orders {
			if o := &a.Orders[i]; o.ClientID == t.Key || o.ID == t.Key {
				view["order"] = s.orderView(a, o, t.At, true)
			}
		}
	case "funding":
		view["entity_type"], view["entity_id"], view["correspondent"] = t.Kind, t.Key, "SIML"
		view["status_from"], view["status_to"], view["reason"] = t.From, t.To, t.Note
	case "accounts":
		delete(view, "event_id")
		view["event_id"], view["event_ulid"] = t.Seq, t.ulid()
		if a != nil {
			view["account_number"] = a.Number
		}
		if t.Kind == "status" {
			view["status_from"], view["status_to"] = t.From, t.To
			break
		}
		switch on := t.Kind == "block"; {
		case strings.HasPrefix(t.Note, "account"):
			view["account_blocked"] = on
		case strings.HasPrefix(t.Note, "trading"):
			view["trading_blocked"] = on
		default:
			view["admin_configurations"] = map[string]any{"outgoing_transfers_blocked": on}
		}
	}
	return view
}
