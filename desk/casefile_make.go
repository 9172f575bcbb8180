package desk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"closeout/closure"
	"closeout/ledger"
	"closeout/readiness"
)

// Record is what the ledger has of a closure, as of one moment.
type Record struct {
	closure.Closure
	Intents []closure.Intent
	Events  []ledger.Event     // from the first, up to where the chain breaks if it does
	Broken  *ledger.ChainError // nil: the history is whole
	Letters []ledger.SentLetter
}

// Record reads a closure. ErrNotFound: there is none of this id in this environment.
func (d *Desk) Record(ctx context.Context, id string) (r Record, err error) {
	if r.Closure, r.Intents, err = d.Ledger.Load(ctx, id); err != nil {
		return r, err
	}
	r.Events, err = d.Ledger.Events(ctx, id)
	var isBroken bool
	if r.Broken, isBroken = errors.AsType[*ledger.ChainError](err); err != nil && !isBroken {
		return r, err
	}
	if !isBroken && int64(len(r.Events)) > r.Seq { // it moved in between: the record is of the moment at which its row was read
		r.Events = r.Events[:r.Seq]
	}
	r.Letters, err = d.Ledger.Letters(ctx, id)
	return r, err
}

// CaseFile gathers all that is known of a closure.
func (d *Desk) CaseFile(ctx context.Context, c closure.Closure, operator bool) (CaseFile, error) {
	r, err := d.Record(ctx, c.ID)
	if err != nil {
		return CaseFile{}, err
	}
	return d.File(r, operator), nil
}

// File writes a record out: for operators everything, for others without what an operator wrote and without the broker's ids.
func (d *Desk) File(r Record, operator bool) CaseFile {
	c, events := r.Closure, slices.Clone(r.Events)
	if !operator {
		c.Why = WithoutWords(c.Reason, c.Why)
		for n := range events {
			events[n].Text = EventWithoutWords(events[n].Kind, events[n].Text)
		}
	}
	see := func(text string) string {
		if operator {
			return text
		}
		return WithoutIDs(text, c.ID, c.AccountID)
	}
	f := CaseFile{
		WrittenAt: moment(d.Clock.Now()), Environment: c.Environment, JobID: c.ID, AccountID: c.AccountID, Confirmation: c.Confirmation,
		Phase: c.Phase, State: c.State, FinishedAt: momentOrNull(c.EndedAt), Waiting: WaitingOf(c),
		Asked: Asked{
			By: c.Actor, At: moment(c.CreatedAt), Reason: c.Cause, Bank: see(c.RelationshipID), Priority: c.Priority, NotBefore: momentOrNull(c.NotBefore),
		},
		Policy: rulesOf(d.Policy), Steps: stays(events, c), Instructions: []Instruction{}, Money: readiness.StatementOf(c, r.Intents),
		Letters: []SentLetter{}, Commands: []Entry{}, History: []Entry{}, Chain: chainOf(c, events, r.Broken),
	}
	if f.Waiting != nil {
		f.Waiting.Why = see(f.Waiting.Why)
	}
	if operator {
		f.Asked.UserID = c.UserID
	}
	for _, i := range r.Intents {
		f.Instructions = append(f.Instructions, instructionOf(i, operator, see))
	}
	for _, l := range r.Letters {
		f.Letters = append(f.Letters, SentLetter{l.Letter, moment(l.CreatedAt), momentOrNull(l.SentAt), l.State})
	}
	for _, e := range events {
		entry := Entry{Seq: e.Seq, At: moment(e.At), Kind: e.Kind, Actor: e.Actor, Text: see(e.Text), Phase: e.Phase, State: e.State}
		if operator {
			entry.Detail = e.Detail
		}
		f.History = append(f.History, entry)
		if e.Actor != closure.Worker {
			f.Commands = append(f.Commands, entry)
		}
	}
	return f
}

func rulesOf(p closure.Policy) []Rule {
	var out []Rule
	short := strings.NewReplacer("h0m0s", "h", "m0s", "m")
	for _, step := range closure.Road {
		out = append(out, Rule{string(step.Phase), short.Replace(fmt.Sprintf("looks again after %s; stops after %s", p.Polls[step.Phase], p.Limits[step.Phase]))})
	}
	unknown := "a person decides"
	if p.Unknown == closure.Auto {
		unknown = "given up for not made when two lists after the quarantine lack it"
	}
	return append(out,
		Rule{"ACH limit", "$" + closure.USD(p.DailyLimit) + " an account and banking day"},
		Rule{"return watch", closure.Count(p.ReturnWatch, "banking day") + " between the last payout's arrival and the closing"},
		Rule{"a transfer that nobody can tell was made", unknown})
}

// stays are the phases that the history goes through.
func stays(events []ledger.Event, c closure.Closure) []Stay {
	out := []Stay{}
	for _, e := range events {
		if n := len(out); n == 0 || out[n-1].Phase != e.Phase {
			if n > 0 {
				out[n-1].Left = momentOrNull(e.At)
			}
			stay := Stay{Phase: e.Phase, Entered: moment(e.At)}
			for _, step := range closure.Road {
				if step.Phase == e.Phase {
					stay.Does = step.Does
				}
			}
			out = append(out, stay)
		}
		out[len(out)-1].Events++
	}
	if n := len(out); n > 0 && c.State.Ended() {
		out[n-1].Left = momentOrNull(c.EndedAt)
	}
	return out
}

// instructionOf shows what was asked by the stored request, of whose body only what is no number of a bank's or key.
func instructionOf(i closure.Intent, operator bool, see func(string) string) Instruction {
	out := Instruction{
		Kind: i.Kind, AskedAt: moment(i.ClaimedAt), Answered: momentOrNull(i.AnsweredAt), RequestID: i.RequestID, Answer: see(i.Answer),
		State: i.State, Outcome: i.Finished,
	}
	var asked struct {
		Method, Path string
		Body         struct{ Symbol, Side, Qty string }
	}
	if json.Unmarshal(i.Request, &asked) == nil {
		out.Asks = see(strings.TrimSpace(asked.Method + " " + asked.Path)) // an adopted one was asked for by nobody here
		out.Symbol, out.Side, out.Qty = asked.Body.Symbol, asked.Body.Side, asked.Body.Qty
	}
	if i.Status != 0 {
		out.Status = &i.Status
	}
	if i.Amount.Valid {
		out.Amount = &readiness.USD{Decimal: i.Amount.Decimal}
	}
	if i.FilledQty.Valid {
		qty := i.FilledQty.Decimal.String()
		out.Filled = &qty
	}
	if i.Proceeds.Valid {
		out.Proceeds = &readiness.USD{Decimal: i.Proceeds.Decimal}
	}
	if operator {
		out.BrokerID = i.BrokerID
	}
	return out
}

func chainOf(c closure.Closure, events []ledger.Event, broken *ledger.ChainError) Chain {
	out := Chain{Events: c.Seq, HeadHash: c.HeadHash, Verified: broken == nil}
	if broken != nil {
		out.BrokenAt = &broken.Seq
		out.Text = fmt.Sprintf("The history is broken at event %d: %s. What follows it is not shown. Someone or something changed the ledger: compare it with a backup.", broken.Seq, broken.Why)
		return out
	}
	out.Text = fmt.Sprintf("Verified: %s, each chained to the one before by its hash, none missing, none changed.", closure.Count(len(events), "event"))
	return out
}
