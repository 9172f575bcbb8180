package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/shopspring/decimal"

	"closeout/alpaca"
	"closeout/calendar"
	"closeout/closure"
)

// Effect is one thing a phase asks of the broker.
type Effect struct {
	Kind          closure.IntentKind
	Write         alpaca.Write
	Subject       string
	Attempt       int
	ClientOrderID string
	Payout        *Payout         // of a transfer
	Again         *closure.Intent // an unknown order whose very body is sent once more
}

// Payout is what a transfer's claim writes down beside its request: what the next one is planned from.
type Payout struct {
	Amount     decimal.Decimal
	Bank       string
	Day        calendar.Date
	CashBefore decimal.Decimal
	Quiet      bool
	Listed     map[string]string
	Left       decimal.Decimal // what another payout may go on with
}

// notNowError carries the wait of a visit that may not send now.
type notNowError struct{ outcome closure.Outcome }

func (e *notNowError) Error() string { return "not now: " + e.outcome.Why }

// Do is the one door through which anything is asked of the broker: the claim moves the row and writes the intents before
// a byte is sent, each write is sent at most once, and each answer is recorded by its intent's id whatever has become of
// the row. It can be used once a visit. The intents come back as they then stand: sending means that nobody knows.
func (v *Visit) Do(ctx context.Context, what string, effects ...Effect) ([]closure.Intent, error) {
	if v.done {
		return nil, errors.New("a visit asks for one effect only")
	}
	v.done = true
	ctx, err := v.prepay(ctx, len(effects))
	if err != nil {
		return nil, err
	}
	if err := v.fresh(effects); err != nil {
		return nil, err
	}
	first, err := v.run.Broker.Dial(ctx) // a refused connection is known before anything is claimed
	if err != nil {
		return nil, err
	}
	defer func() { _ = first.Close() }()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// From here on the visit is finished even when the worker is told to stop: the deadline bounds it.
	ctx = context.WithoutCancel(ctx)
	start := time.Now()
	intents, err := v.claim(ctx, what, start, effects)
	if err != nil {
		return nil, err
	}
	forgotten := v.remember(ctx, start)
	out := make([]closure.Intent, len(intents))
	for n, i := range intents {
		sender := first
		if n > 0 {
			sender = nil
		}
		if forgotten != nil {
			out[n], err = v.unsent(ctx, i, effects[n], "nobody would remember it: "+text(forgotten))
		} else {
			out[n], err = v.send(ctx, start, i, effects[n], sender)
		}
		if err != nil {
			return nil, err
		}
	}
	if forgotten != nil { // no phase decides upon what was not sent: this wait counts as nothing, however long it lasts
		return nil, &notNowError{closure.Unasked(min(outagePause, v.Policy.Polls[v.Closure.Phase]), closure.NotRemembered, closure.Reasons[closure.NotRemembered].Title+"; trying again")}
	}
	return out, nil
}

// fresh refuses an effect whose reads are too old, whose clock can't be trusted or whose banking day is over.
func (v *Visit) fresh(effects []Effect) error {
	if age := elapsed(v.Wall); age < 0 || age > v.Timing.Fresh {
		return &notNowError{closure.Wait(time.Second, closure.ListChanged, "the broker was slow; what was read is too old to act on")}
	}
	skew, known := v.calls.Skew()
	if !known || skew.Abs() > v.Timing.Skew {
		return &notNowError{closure.Park(0, closure.ClockSkew, closure.Reasons[closure.ClockSkew].Title)}
	}
	for _, e := range effects {
		if e.Payout != nil && v.Calendar.BankingDay(v.run.Clock.Now()) != e.Payout.Day {
			return &notNowError{closure.Wait(time.Second, closure.ListChanged, "the banking day ended while the books were read")}
		}
	}
	return nil
}

func (v *Visit) claim(ctx context.Context, what string, start time.Time, effects []Effect) ([]closure.Intent, error) {
	now := v.run.Clock.At(start)
	deadline := start.Add(v.Timing.Deadline).Round(0)
	send := make([]closure.Intent, len(effects))
	payout := false
	var asked []map[string]any
	for n, e := range effects {
		body, err := json.Marshal(e.Write)
		if err != nil {
			return nil, fmt.Errorf("write down %s: %w", e.Write, err)
		}
		i := closure.Intent{Kind: e.Kind, Subject: e.Subject, Attempt: e.Attempt, ClientOrderID: e.ClientOrderID, Request: body}
		if e.Again != nil {
			i = *e.Again
		}
		i.ClaimedAt, i.Deadline = now, deadline
		d := map[string]any{"asks": e.Write.String(), "subject": e.Subject}
		if p := e.Payout; p != nil {
			payout = true
			i.Amount, i.CashBefore = decimal.NewNullDecimal(p.Amount), decimal.NewNullDecimal(p.CashBefore)
			i.RelationshipID, i.BankingDay, i.Quiet, i.Listed = p.Bank, string(p.Day), p.Quiet, p.Listed
			d["amount"], d["cash_before"], d["banking_day"] = closure.USD(p.Amount), p.CashBefore.String(), p.Day
		}
		send[n] = i
		asked = append(asked, d)
	}
	ev := closure.Event{Kind: "claim", At: now, Actor: closure.Worker, Text: what, Detail: map[string]any{"effects": asked}}
	ch := closure.Claimed(now, v.business(deadline), what, payout)
	next, intents, err := v.run.Ledger.Claim(ctx, v.Closure, ch, send, ev)
	if err != nil {
		return nil, err
	}
	memo := v.memo
	v.Closure, v.memo = next, next.Memo
	v.memo.ListDigest, v.memo.ListSince, v.memo.Paid, v.memo.CameBack, v.memo.Stand = memo.ListDigest, memo.ListSince, memo.Paid, memo.CameBack, memo.Stand
	v.memo.Worth = memo.Worth
	for _, i := range intents {
		v.replace(i)
	}
	return intents, nil
}

// remember has the claim remembered outside the ledger. It has no longer than anything between claim and socket.
func (v *Visit) remember(ctx context.Context, start time.Time) error {
	if v.run.Remember == nil {
		return nil
	}
	ctx, cancel := context.WithDeadline(ctx, start.Add(v.Timing.ToWire))
	defer cancel()
	return v.run.Remember(ctx, v.Closure)
}

func (v *Visit) replace(i closure.Intent) {
	for n := range v.Intents {
		if v.Intents[n].ID == i.ID {
			v.Intents[n] = i
			return
		}
	}
	v.Intents = append(v.Intents, i)
}

// send writes one request once, unless it is too late for it, and records the answer.
func (v *Visit) send(ctx context.Context, start time.Time, i closure.Intent, e Effect, s *alpaca.Sender) (closure.Intent, error) {
	ctx, cancel := context.WithDeadline(ctx, start.Add(v.Timing.Deadline))
	defer cancel()
	if s == nil {
		var err error
		if s, err = v.run.Broker.Dial(ctx); err != nil {
			return v.unsent(ctx, i, e, "the connection was refused: "+text(err))
		}
		defer func() { _ = s.Close() }()
	}
	var w alpaca.Write
	if err := json.Unmarshal(i.Request, &w); err != nil {
		return v.unsent(ctx, i, e, "the stored request is not readable")
	}
	// The last look at the clocks before the socket: a process that slept, or whose clock was set back, must not write. A
	// pause after this line and before the write is the risk that remains.
	if age := elapsed(start); age < 0 || age >= v.Timing.ToWire {
		return v.unsent(ctx, i, e, "too much time passed between the claim and the sending")
	}
	if e.Payout != nil && v.Calendar.BankingDay(v.run.Clock.Now()) != e.Payout.Day {
		return v.unsent(ctx, i, e, "the banking day ended between the claim and the sending")
	}
	a, err := s.Send(ctx, w)
	if err != nil {
		v.note("unknown", fmt.Sprintf("%s: no answer; nobody knows whether it was carried out", w), withIntent(i, map[string]any{"error": text(err)}))
		return i, nil
	}
	i.Status, i.RequestID, i.AnsweredAt = a.Status, a.RequestID, v.run.Clock.Now()
	switch {
	case a.Status >= 200 && a.Status < 300:
		i.State, i.BrokerID, i.Answer = closure.IntentSent, a.BrokerID, "accepted"
	case a.Status >= 400 && a.Status < 500 && a.Status != http408:
		if e.Again != nil { // an order that the broker may well have by its first sending: the look by its id decides
			return i, nil
		}
		i.State, i.Answer = closure.IntentRefused, text(a.Err)
	default:
		v.note("unknown", fmt.Sprintf("%s: answered %d; nobody knows whether it was carried out", w, a.Status), withIntent(i, map[string]any{"status": a.Status}))
		return i, nil
	}
	return v.record(ctx, i, "answer", fmt.Sprintf("%s: %s", w, i.Answer))
}

// unsent records that this intent's one writer did not write it: that is a refusal by ourselves, and certain. An order
// that was sent once before stays unknown.
func (v *Visit) unsent(ctx context.Context, i closure.Intent, e Effect, why string) (closure.Intent, error) {
	if e.Again != nil {
		return i, nil
	}
	i.State, i.Answer, i.AnsweredAt = closure.IntentRefused, "not sent: "+why, v.run.Clock.Now()
	return v.record(ctx, i, "unsent", i.Answer)
}

func (v *Visit) record(ctx context.Context, i closure.Intent, kind, text string) (closure.Intent, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), v.Timing.Deadline) // the answer outlives the send's deadline
	defer cancel()
	ev := closure.Event{
		Kind: kind, At: v.run.Clock.Now(), Actor: closure.Worker, Text: text,
		Detail: withIntent(i, map[string]any{"status": i.Status, "request_id": i.RequestID, "answer": i.Answer}),
	}
	row, out, err := v.run.Ledger.Record(ctx, v.Closure, i, ev)
	if err != nil {
		return i, fmt.Errorf("%w: %w", ErrNotCounted, err)
	}
	if row.Version == v.Closure.Version && row.Token == v.Closure.Token && row.State == v.Closure.State {
		v.Closure = row // the visit's save goes on behind its own answer, and upon whatever was noted beside it
	}
	v.replace(out)
	return out, nil
}

// elapsed is the time since t by the monotonic or the wall clock, whichever shows more: a suspended machine stops the one,
// a clock set back the other. Negative: the wall clock went back.
func elapsed(t time.Time) time.Duration {
	now := time.Now()
	mono, wall := now.Sub(t), now.Round(0).Sub(t.Round(0))
	if wall < 0 {
		return wall
	}
	return max(mono, wall)
}

// http408 is a proxy's word that it gave up: whether the broker had the request by then is not known.
const http408 = 408

// refused is the first of the intents that the broker refused, if any.
func refused(intents []closure.Intent) (closure.Intent, bool) {
	for _, i := range intents {
		if i.State == closure.IntentRefused {
			return i, true
		}
	}
	return closure.Intent{}, false
}

// forNow says whether a refused intent never reached the broker, or was turned away for now, be it for our credentials: the
// next look tries again.
func forNow(i closure.Intent) bool { return i.Status == 0 || i.Status == 401 || i.Status == 429 }
