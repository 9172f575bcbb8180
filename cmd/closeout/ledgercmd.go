package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"closeout/ledger"
)

type ledgerCmd struct {
	Verify ledgerVerifyCmd `cmd:"" help:"Walk along every closure's history and name each event that was changed, is missing or too many. Exit status 1 if any is."`
}

type ledgerVerifyCmd struct {
	keyStore
	JSON bool `name:"json" help:"Print JSON, for scripts."`
}

// verified is the outcome for scripts.
type verified struct {
	Environment string        `json:"environment"`
	Closures    int           `json:"closures"`
	Events      int64         `json:"events"`
	Broken      []brokenChain `json:"broken"`
	Seconds     float64       `json:"seconds"`
	Rate        float64       `json:"events_per_second"`
}

type brokenChain struct {
	JobID string `json:"job_id"`
	Event int64  `json:"event"`
	Why   string `json:"why"`
}

// verifyPage is how many closures are read by one statement.
const verifyPage = 200

// Run walks in constant memory, whatever the ledger's size.
func (c *ledgerVerifyCmd) Run(ctx context.Context, o output) (err error) {
	var bad complaints
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
	if c.JSON {
		b, err := json.Marshal(out)
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintf(o.out, "%s\n", b)
	} else {
		whole := "all whole"
		if len(out.Broken) > 0 {
			whole = fmt.Sprintf("%d broken", len(out.Broken))
		}
		_, _ = fmt.Fprintf(o.out, "%d events of %d closures of the %s environment in %s, %.0f a second: %s\n", out.Events, out.Closures, out.Environment,
			time.Duration(out.Seconds*float64(time.Second)).Round(time.Millisecond), out.Rate, whole)
	}
	if len(out.Broken) > 0 {
		return errQuiet
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
		for _, bad := range v.Broken {
			out.Broken = append(out.Broken, brokenChain{bad.ClosureID, bad.Seq, bad.Why})
			if !c.JSON {
				_, _ = fmt.Fprintln(o.out, bad.Error())
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
