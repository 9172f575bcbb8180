// Package desk is what a person or a client may ask of a closure: the commands, decided in the ledger's transaction and
// refused in words, and the case file. It knows no HTTP: the API and the console stand before it, and each says in its own way
// how a thing is asked for.
package desk

import (
	"context"
	"errors"
	"slices"
	"strings"

	"closeout/closure"
	"closeout/ledger"
	"closeout/readiness"
)

// Readiness is what the desk asks of the broker; a readiness.Checker has it.
type Readiness interface {
	Check(ctx context.Context, account, relationship string) (readiness.Report, error)
	Transfers(ctx context.Context, account string) ([]readiness.Transfer, error)
}

// Desk takes commands and writes case files. All fields but Way are needed; it is safe for use by several goroutines.
type Desk struct {
	Ledger    *ledger.Ledger
	Readiness Readiness

	// Schedule asks for a closure's next visit. It says nothing of an error: the sweep finds the row.
	Schedule func(context.Context, closure.Closure)

	Clock  closure.Clock
	Policy closure.Policy

	// Way says in a hint how a command, or a kind of resolution, is asked for at this door. Nil: by its name.
	Way func(command, account string) string
}

// Command is one of the things that can be asked of a closure.
type Command string

// The commands. Each changes nothing where the closure is so already.
const (
	Cancel Command = "cancel"
	Pause  Command = "pause"
	Resume Command = "resume"
	Wake   Command = "wake"
)

// deed is what a command does, and the state in which there is nothing to do.
type deed struct {
	same closure.State
	make func(a Ask, d *Desk, intents []closure.Intent) closure.Change
}

var deeds = map[Command]deed{
	Cancel: {closure.Canceled, func(a Ask, d *Desk, is []closure.Intent) closure.Change {
		return closure.Cancel(d.Clock.Now(), a.Actor, a.Why, closure.PastNoReturn(is))
	}},
	Pause: {closure.Paused, func(a Ask, d *Desk, _ []closure.Intent) closure.Change {
		return closure.Pause(d.Clock.Now(), a.Actor, a.Why)
	}},
	Resume: {closure.Running, func(a Ask, d *Desk, _ []closure.Intent) closure.Change {
		return closure.Resume(d.Clock.Now(), a.Actor, a.Why)
	}},
	Wake: {"", func(a Ask, d *Desk, _ []closure.Intent) closure.Change {
		return closure.Wake(d.Clock.Now(), a.Actor, a.Why)
	}},
}

// Ask is who asks, why, and what they have seen.
type Ask struct {
	Actor string
	Why   string // for the history: one line

	// Seen is the number of the last event that the asker knows of: if more has happened, nothing is done. 0: whatever there
	// is now. It is not the row's version, which moves with each look though nothing was found.
	Seen int64
}

// After is a closure as a command leaves it.
type After struct {
	closure.Closure
	Intents []closure.Intent
	Changed bool // false where it was so already, and nothing was written
}

// Command carries a command out on a closure, by the row and the intents as they are in the ledger's transaction. The replies are
// kept there too, where something was changed. The error is a *Refusal, or the ledger's.
func (d *Desk) Command(ctx context.Context, c closure.Closure, name Command, a Ask, replies ...*ledger.Reply[After]) (After, error) {
	do, ok := deeds[name]
	if !ok {
		return After{}, errors.New("desk: no command " + string(name))
	}
	return d.carryOut(ctx, c.ID, a, func(c closure.Closure, is []closure.Intent) (closure.Change, []closure.Intent, error) {
		if c.State == do.same {
			return closure.Change{}, is, errSame
		}
		return do.make(a, d, is), is, nil
	}, replies)
}

// Would says what a command would be refused for as the closure is now; nil: it can be asked. Nothing is changed.
func (d *Desk) Would(c closure.Closure, intents []closure.Intent, name Command, a Ask) error {
	ch := deeds[name].make(a, d, intents)
	err := ch.Commanded(c, intents)
	if err == nil {
		_, _, err = closure.Apply(c, ch, d.Policy)
	}
	if err != nil {
		return d.refused(err, c, intents)
	}
	return nil
}

var (
	// errSame says that the closure is as the command wants it, so that nothing is written.
	errSame = errors.New("nothing to change")
	// errMoved says that more has happened than the asker has seen.
	errMoved = errors.New("more has happened")
)

// decision is what a command does to a row and its intents as they are, and the intents as it leaves them.
type decision func(closure.Closure, []closure.Intent) (closure.Change, []closure.Intent, error)

// carryOut decides in the ledger's transaction. Another's move that comes between is no refusal: the row is locked, and one that
// moves all the same is asked again.
func (d *Desk) carryOut(ctx context.Context, id string, a Ask, decide decision, replies []*ledger.Reply[After]) (After, error) {
	var before, next closure.Closure
	var intents []closure.Intent
	var err error
	kept := make([]*ledger.Reply[closure.Closure], len(replies))
	for n, r := range replies {
		if r != nil {
			kept[n] = &ledger.Reply[closure.Closure]{To: r.To, Say: func(c closure.Closure) (ledger.Answer, error) { return r.Say(After{c, intents, true}) }}
		}
	}
	for range 3 {
		next, err = d.Ledger.Command(ctx, id, func(c closure.Closure, is []closure.Intent) (ch closure.Change, err error) {
			before, intents = c, is
			if a.Seen > 0 && c.Seq != a.Seen {
				return ch, errMoved
			}
			ch, intents, err = decide(c, is)
			return ch, err
		}, kept...)
		if errors.Is(err, errMoved) {
			meanwhile, failed := d.since(ctx, before, a.Seen)
			if failed != nil {
				return After{}, failed
			}
			if len(meanwhile) > 0 {
				return After{}, moved(before, meanwhile)
			}
			a.Seen = before.Seq // somebody only looked
			continue
		}
		if !errors.Is(err, ledger.ErrStale) || errors.Is(err, ledger.ErrTaken) {
			break
		}
	}
	if errors.Is(err, errSame) {
		return After{before, intents, false}, nil
	}
	if err != nil {
		return After{}, d.refused(err, before, intents)
	}
	if next.State == closure.Running && next.Version != before.Version {
		d.Schedule(ctx, next)
	}
	return After{next, intents, true}, nil
}

// since is what has happened to a closure since an event, but for looks at it.
func (d *Desk) since(ctx context.Context, c closure.Closure, seen int64) ([]ledger.Event, error) {
	events, err := d.Ledger.Events(ctx, c.ID)
	if _, broken := errors.AsType[*ledger.ChainError](err); err != nil && !broken {
		return nil, err
	}
	if seen > c.Seq || int64(len(events)) < seen { // the ledger went back, or its history is broken: nothing can be said of what was seen
		return []ledger.Event{{ClosureID: c.ID, Seq: c.Seq, At: c.UpdatedAt, Kind: "unknown", Actor: closure.Worker, Text: "the history is not the one that was seen", Phase: c.Phase, State: c.State}}, nil
	}
	return slices.DeleteFunc(slices.Clone(events[seen:]), func(e ledger.Event) bool { return e.Kind == ledger.Looked }), nil
}

func (d *Desk) way(command string, c closure.Closure) string {
	if d.Way == nil {
		return strings.ReplaceAll(command, "_", " ")
	}
	return d.Way(command, c.AccountID)
}
