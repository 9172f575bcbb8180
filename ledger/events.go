package ledger

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"closeout/closure"
)

// Event is one stored entry of a closure's history.
type Event struct {
	ClosureID string          `json:"closure_id"`
	Seq       int64           `json:"seq"`
	At        time.Time       `json:"at"`
	Kind      string          `json:"kind"`
	Actor     string          `json:"actor"`
	Text      string          `json:"text"`
	Phase     closure.Phase   `json:"phase"`
	State     closure.State   `json:"state"`
	Version   int64           `json:"version"`
	Detail    json.RawMessage `json:"detail,omitempty"`
}

// entry is an event as it is stored.
type entry struct {
	closureID        string
	seq              int64
	at               ts
	kind, body       string
	prevHash, hashed string
}

// link numbers the event and chains it to the one before; c's head moves to it.
func link(c *closure.Closure, ev closure.Event) (entry, error) {
	at := microseconds(ev.At)
	body, err := json.Marshal(struct {
		Event
		Detail any `json:"detail,omitempty"` // in place of the Event's: it is written once, and not as a text first
	}{Event{
		ClosureID: c.ID, Seq: c.Seq + 1, At: at, Kind: ev.Kind, Actor: ev.Actor, Text: ev.Text,
		Phase: c.Phase, State: c.State, Version: c.Version,
	}, ev.Detail})
	if err != nil {
		return entry{}, fmt.Errorf("write event %q: %w", ev.Kind, err)
	}
	e := entry{c.ID, c.Seq + 1, ts(at), ev.Kind, string(body), c.HeadHash, chainHash(c.HeadHash, body)}
	c.Seq, c.HeadHash = e.seq, e.hashed
	return e, nil
}

// insert is the write of an entry.
func (e entry) insert() write {
	return write{
		what: fmt.Sprintf("append event %q", e.kind), q: "INSERT INTO closeout.events (closure_id, seq, at, kind, body, prev_hash, hash) VALUES ($1, $2, $3, $4, $5, $6, $7)",
		args: []any{e.closureID, e.seq, e.at, e.kind, e.body, e.prevHash, e.hashed},
	}
}

// chain links events, of which those that are nil are none, and gives what writes them.
func chain(c *closure.Closure, evs ...*closure.Event) (ws []write, err error) {
	for _, ev := range evs {
		if ev == nil {
			continue
		}
		e, err := link(c, *ev)
		if err != nil {
			return nil, err
		}
		ws = append(ws, e.insert())
	}
	return ws, nil
}

// append writes events of a row that does not move otherwise, and moves its head. The row must be locked.
func (l *Ledger) append(ctx context.Context, tx *transaction, c *closure.Closure, evs ...*closure.Event) error {
	ws, err := l.appended(c, evs...)
	if err != nil {
		return err
	}
	return tx.later(ctx, ws...)
}

// appended are what append writes, where the row is still what c says.
func (l *Ledger) appended(c *closure.Closure, evs ...*closure.Event) ([]write, error) {
	before := *c
	ws, err := chain(c, evs...)
	if err != nil || len(ws) == 0 {
		return nil, err
	}
	return append([]write{l.set("append events", before, moveHead, c.Seq, c.HeadHash)}, ws...), nil
}

func chainHash(prev string, body []byte) string {
	h := sha256.New()
	h.Write([]byte(prev))
	h.Write([]byte{'\n'})
	h.Write(body)
	return hex.EncodeToString(h.Sum(nil))
}

// Events returns a closure's whole history in order, checked: an error names the first entry that does not follow from
// the one before, was changed, or is missing, and the last where it isn't the one that the row keeps as the head or leaves the
// closure where the row does not.
func (l *Ledger) Events(ctx context.Context, id string) (out []Event, err error) {
	if _, err := l.Get(ctx, id); err != nil {
		return nil, err
	}
	var there *thread
	err = walk(ctx, l.db, "c.id = $1", []any{id}, func(ev Event) { out = append(out, ev) }, func(t *thread) { there = t })
	switch {
	case err != nil:
		return nil, fmt.Errorf("read events: %w", err)
	case there == nil: // it was removed meanwhile
		return nil, ErrNotFound
	case there.bad != nil:
		return out, there.bad
	}
	return out, nil
}

// ChainError says where a closure's history was tampered with or damaged.
type ChainError struct {
	ClosureID string
	Seq       int64
	Why       string
}

func (e *ChainError) Error() string {
	return fmt.Sprintf("event %d of closure %s: %s", e.Seq, e.ClosureID, e.Why)
}
