package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"closeout/closure"
	"closeout/desk"
	"closeout/ledger"
)

type monitorHoldCmd struct {
	Reason string `help:"Why, in one line: everybody who signs in sees it, and each closure that waits names it."`
	Apply  bool   `help:"Do it."`
}

// Help is printed by closeout monitor hold --help.
func (*monitorHoldCmd) Help() string {
	return "The console's \"Hold everything\": no order, cancellation, payout or closing is sent to the broker by any worker until monitor release. " +
		"Closures are still accepted and looked at. It holds the environment that --environment names, and no other."
}

// Run says what a hold would do, and with --apply holds.
func (c *monitorHoldCmd) Run(ctx context.Context, o output, m *monitorCmd) error {
	return m.turn(ctx, o, true, c.Reason, c.Apply)
}

type monitorReleaseCmd struct {
	Reason string `help:"Why it may go on, in one line: it stays in the history."`
	Apply  bool   `help:"Do it."`
}

// Run says what the hold's end would do, and with --apply ends it.
func (c *monitorReleaseCmd) Run(ctx context.Context, o output, m *monitorCmd) error {
	return m.turn(ctx, o, false, c.Reason, c.Apply)
}

// turnView is what came, or would come, of a hold or of its end.
type turnView struct {
	Environment closure.Environment `json:"environment"`
	Applied     bool                `json:"applied"`
	Hold        holdStatus          `json:"hold"` // as it is now
	Running     int                 `json:"running"`
	Waiting     int                 `json:"waiting"` // of the running ones, for the hold's end
	Sending     int                 `json:"sending"` // instructions that were claimed and not answered yet
	Unknown     int                 `json:"unknown"` // instructions of which nobody knows the outcome
	Refused     string              `json:"refused,omitempty"`
}

// turn holds everything, or releases it, as the console does.
func (m *monitorCmd) turn(ctx context.Context, o output, hold bool, reason string, apply bool) error {
	if apply || reason != "" {
		var bad complaints
		said, wrong := desk.Reason(reason)
		if reason = said; wrong != "" {
			bad.add("--reason", "%s", wrong)
		}
		if err := bad.err(); err != nil {
			return err
		}
	}
	return m.look(ctx, o, func(ctx context.Context, s *sight) error {
		if err := s.needLedger(); err != nil {
			return err
		}
		if s.empty(ctx) { // whoever holds the wrong environment is calm, and should not be
			return s.none("nothing was done")
		}
		h, err := s.ledger.Hold(ctx)
		if err != nil {
			return err
		}
		v := turnView{Environment: s.ledger.Environment()}
		if h.Held == hold {
			v.Refused = stands(h)
		} else if apply {
			if h, err = s.turned(ctx, h, hold, reason); errors.Is(err, ledger.ErrStale) {
				if h, err = s.ledger.Hold(ctx); err == nil {
					v.Refused = "Somebody else came first. " + stands(h)
				}
			}
			if err != nil && (!hold || !h.Held) {
				return err
			}
			v.Applied = v.Refused == ""
		}
		unseen := err // the hold is written, and a claim of before was not seen to end
		v.Hold = holdOf(h)
		if err := s.reach(ctx, &v); err != nil {
			if !v.Applied {
				return err
			}
			s.missing("whom it reaches, in the ledger", err)
		}
		err = s.print(v, func(p *page) { p.turn(v, hold) })
		if unseen != nil {
			_, _ = fmt.Fprintln(s.err, closure.OneLine(unseen.Error()))
		}
		if err == nil && (v.Refused != "" || unseen != nil) {
			return errQuiet
		}
		return err
	})
}

// turned writes the hold, or its end, over the version that was seen.
func (s *sight) turned(ctx context.Context, seen ledger.Hold, hold bool, reason string) (ledger.Hold, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*answering) // for the claims that are at work; each takes milliseconds
	defer cancel()
	if hold {
		return s.ledger.HoldAll(ctx, seen.Version, s.actor, reason)
	}
	return s.ledger.ReleaseAll(ctx, seen.Version, s.actor, reason)
}

// reach counts whom a hold, or its end, reaches.
func (s *sight) reach(ctx context.Context, v *turnView) (err error) {
	if v.Running, v.Waiting, err = s.ledger.HoldReach(ctx); err != nil {
		return err
	}
	open, err := s.ledger.OpenIntents(ctx, time.Now())
	for _, i := range open {
		switch i.State {
		case "sending":
			v.Sending += i.N
		case "unknown":
			v.Unknown += i.N
		}
	}
	return err
}

func holdOf(h ledger.Hold) holdStatus { return holdStatus{h.Held, h.Reason, h.Actor, stamp(h.Since)} }

// stands says how the hold is, where it is not as somebody thought.
func stands(h ledger.Hold) string {
	was := "Nothing is held"
	switch {
	case h.Held:
		was = "Everything is held"
	case h.Since.IsZero():
		return was + ", and nothing ever was."
	}
	return fmt.Sprintf("%s since %s, by %s: %s", was, h.Since.UTC().Format(time.RFC3339), h.Actor, h.Reason)
}

// turn says what happened, or would, in the console's words.
func (p *page) turn(v turnView, hold bool) {
	if v.Refused != "" {
		p.line("refused: %s", printable(v.Refused))
		return
	}
	switch {
	case hold && v.Applied:
		p.line("Everything is held in the %s environment, by %s: %s", v.Environment, v.Hold.Actor, printable(v.Hold.Reason))
	case hold:
		p.line("Everything in the %s environment would be held:", v.Environment)
	case v.Applied:
		p.line("The hold of the %s environment is over, by %s: %s", v.Environment, v.Hold.Actor, printable(v.Hold.Reason))
	default:
		p.line("The hold of the %s environment would be over, which is by %s since %s: %s", v.Environment, v.Hold.Actor, p.when(*v.Hold.Since), printable(v.Hold.Reason))
	}
	if hold {
		p.line("- Nothing new is sent to the broker, by any worker: no order, no cancellation, no payout, no closing.")
		p.line("- On their way already: %s; of unknown outcome: %s. Answers are recorded; nothing can take back what was sent.",
			counts(v.Sending, "instruction"), counts(v.Unknown, "instruction"))
		p.line("- Running: %s. Each goes on to look at the broker, and waits where it would ask for something; that uses up no limit and no retry.", counts(v.Running, "closure"))
		p.line("- New closures are still accepted, and wait. Commands still work, and letters go out.")
		p.line("- It lasts until somebody releases it: closeout monitor release, or the console's page System.")
	} else {
		p.line("- Instructions go to the broker again: orders, cancellations, payouts and closings.")
		p.line("- Waiting for this: %s. Each goes on within a minute or so, and looks at its account anew before it asks for anything.", counts(v.Waiting, "closure"))
	}
	if !v.Applied {
		p.title("Nothing was done: --apply --reason does it.")
	}
}
