package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"closeout/closure"
	"closeout/ledger"
)

type ledgerCmd struct {
	Verify ledgerVerifyCmd `cmd:"" help:"Walk along every closure's history and name each event that was changed, is missing or too many, or that the closure's phase or state does not follow from. Exit status 1 if any is."`

	Reconcile ledgerReconcileCmd `cmd:"" help:"After the ledger was restored to an earlier moment: take in what the broker shows since then, before anything may be sent; without --apply it only says what that would be."`
}

type ledgerVerifyCmd struct {
	keyStore
	Data string `placeholder:"DIR" help:"The data folder of a closeout dev: verify the demo's ledger, instead of the one above."`
	JSON bool   `name:"json" help:"Print JSON, for scripts."`
}

// Help is printed by closeout ledger verify --help.
func (*ledgerVerifyCmd) Help() string {
	return "What it can't see: a closure that was deleted whole; a history that was made anew with all its hashes and the row's; and of a row, whatever is beside its phase, " +
		"its state and its head. Instructions and letters are no part of the chain. Exit status: 0 all whole, 1 not, or it failed, 2 wrong usage or settings, " +
		"4 there is no closure of this environment, and there are some of the other."
}

// verified is the outcome for scripts.
type verified struct {
	Environment string        `json:"environment"`
	Closures    int           `json:"closures"`
	Events      int64         `json:"events"`
	Broken      []brokenChain `json:"broken"`
	Astray      bool          `json:"astray,omitempty"` // there is no closure of this environment, and some of the other
	Seconds     float64       `json:"seconds"`
	Rate        float64       `json:"events_per_second"`
}

type brokenChain struct {
	JobID string `json:"job_id"`
	Event int64  `json:"event"`
	Why   string `json:"why"`
}

func brokenChains(bad []ledger.ChainError) (out []brokenChain) {
	for _, b := range bad {
		out = append(out, brokenChain{b.ClosureID, b.Seq, b.Why})
	}
	return out
}

// verifyPage is how many closures are read by one statement.
const verifyPage = 200

// Run walks in constant memory, whatever the ledger's size.
func (c *ledgerVerifyCmd) Run(ctx context.Context, o output) (err error) {
	var bad complaints
	if c.Data != "" {
		d, err := demoAt(c.Data)
		if err != nil {
			bad.add("--data", "%v", err)
			return bad.err()
		}
		c.DatabaseURL, c.Environment = d.database, string(closure.Sandbox)
	}
	c.check(&bad)
	c.exists(&bad)
	if err := bad.err(); err != nil {
		return err
	}
	l, err := c.asIs(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	out, err := c.walk(ctx, o, l)
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("stopped after %d events of %d closures", out.Events, out.Closures)
		}
		return err
	}
	if out.Closures == 0 {
		if out.Astray, err = l.Astray(ctx); err != nil {
			return err
		}
	}
	if c.JSON {
		b, err := json.Marshal(out)
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintf(o.out, "%s\n", b)
	} else {
		whole := "all whole"
		switch {
		case len(out.Broken) > 0:
			whole = fmt.Sprintf("%d broken", len(out.Broken))
		case out.Astray:
			whole = "nothing was verified"
		}
		_, _ = fmt.Fprintf(o.out, "%d events of %d closures of the %s environment in %s, %.0f a second: %s\n", out.Events, out.Closures, out.Environment,
			time.Duration(out.Seconds*float64(time.Second)).Round(time.Millisecond), out.Rate, whole)
	}
	if out.Astray {
		_, _ = fmt.Fprintln(o.err, "not verified: the closures of the other environment; --environment, or CLOSEOUT_ENVIRONMENT, says which")
	}
	switch {
	case len(out.Broken) > 0:
		return errQuiet
	case out.Astray:
		return nothingFound
	}
	return nil
}

// walk names what is broken as it is found.
func (c *ledgerVerifyCmd) walk(ctx context.Context, o output, l *ledger.Ledger) (verified, error) {
	out := verified{Environment: string(l.Environment()), Broken: []brokenChain{}}
	began := time.Now()
	live, said := tty(o) != nil, began
	for after := ""; ; {
		v, err := l.Verify(ctx, after, verifyPage)
		if err != nil {
			return out, err
		}
		out.Broken = append(out.Broken, brokenChains(v.Broken)...)
		for _, bad := range v.Broken {
			if !c.JSON {
				_, _ = fmt.Fprintln(o.out, printable(bad.Error()))
			}
		}
		out.Closures, out.Events = out.Closures+v.Closures, out.Events+v.Events
		out.Seconds = time.Since(began).Seconds()
		out.Rate = float64(out.Events) / max(out.Seconds, 1e-9)
		if live && time.Since(said) > time.Second {
			said = time.Now()
			_, _ = fmt.Fprintf(o.err, "\r%d events, %.0f a second ", out.Events, out.Rate)
		}
		if v.Closures < verifyPage {
			if live && said != began {
				_, _ = fmt.Fprintln(o.err)
			}
			return out, nil
		}
		after = v.Last
	}
}
