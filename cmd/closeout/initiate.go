package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/google/uuid"
)

type initiateCmd struct {
	Accounts []string      `arg:"" name:"account" help:"Alpaca account ids."`
	Bank     string        `help:"The ACH relationship to pay to. Without it each account must have exactly one approved bank."`
	Yes      bool          `help:"Confirm that every position is sold and that a closed account can't be opened again."`
	Reason   string        `help:"Why, for the record."`
	Wait     bool          `help:"Follow each closure until it has ended: live on a terminal, otherwise a line for each change."`
	JSON     bool          `name:"json" help:"Print one JSON line an account."`
	URL      string        `env:"CLOSEOUT_URL" default:"http://127.0.0.1:8000" help:"The server."`
	Key      string        `env:"CLOSEOUT_API_KEY" secret:"" help:"API key; the demo's is dev."`
	Every    time.Duration `default:"2s" help:"Between looks, with --wait."`
}

// Run asks for each closure, and with --wait follows them. Exit status: 0 when all were accepted (with --wait: closed), 1
// when any was not, 2 for wrong usage.
func (c *initiateCmd) Run(ctx context.Context, o output) error {
	var bad complaints
	if !c.Yes {
		bad.add("--yes", "must be given: every position is sold, and a closed account can't be opened again")
	}
	if c.Bank != "" && len(c.Accounts) > 1 {
		bad.add("--bank", "belongs to one account; with several, each must have exactly one approved bank")
	}
	if c.Every < 100*time.Millisecond {
		bad.add("--every", "must be at least 100ms, is %s", c.Every)
	}
	seen := map[string]bool{}
	for i, account := range c.Accounts {
		id, err := uuid.Parse(account)
		if err != nil {
			bad.add("account", "number %d is no account id: %q", i+1, account)
			continue
		}
		c.Accounts[i] = id.String()
		if seen[id.String()] {
			bad.add("account", "%s is named twice", id)
		}
		seen[id.String()] = true
	}
	if err := bad.err(); err != nil {
		return err
	}
	failed := false
	open := []string{}
	live := c.live(o) // nil: there is no terminal to draw on
	for n, account := range c.Accounts {
		live.asking(n+1, len(c.Accounts))
		err := c.askPatiently(ctx, account)
		live.asked()
		if ctx.Err() != nil { // whether the last one was accepted is not known; the same wish twice is one closure
			return fmt.Errorf("stopped at account %d of %d, %s; asking for all again is safe: the closures that were accepted go on", n+1, len(c.Accounts), account)
		}
		if err != nil {
			failed = true
			c.print(o, map[string]any{"account_id": account, "error": err.Error()}, "%s  refused: %v", account, err)
			continue
		}
		open = append(open, account)
		if !c.Wait {
			p, err := c.progress(ctx, account)
			if err != nil { // accepted all the same, and the accounts after it are still to be asked
				c.print(o, map[string]any{"account_id": account, "accepted": true, "error": err.Error()}, "%s  accepted; its progress could not be read: %v", account, err)
				continue
			}
			c.print(o, p, "%s  accepted, job %s, expected to finish %s", account, p.JobID, p.Finish)
		}
	}
	if c.Wait && len(open) > 0 {
		var t teller = live
		if live == nil {
			t = &changes{cmd: c, out: o, said: map[string]string{}}
		}
		ok, err := c.follow(ctx, open, t)
		if err != nil {
			return err
		}
		failed = failed || !ok
	}
	if failed {
		return errQuiet
	}
	return nil
}

func (c *initiateCmd) print(o output, v any, format string, args ...any) {
	if !c.JSON {
		_, _ = fmt.Fprintf(o.out, format+"\n", args...)
		return
	}
	b, _ := json.Marshal(v) // maps and structs of text: it can't fail
	_, _ = fmt.Fprintf(o.out, "%s\n", b)
}

// askings is how often a server is asked that names a time at which to ask again, and mostAfter how late that may be.
const (
	askings   = 10
	mostAfter = time.Minute
)

// askPatiently asks again when the server says so: it can't read the broker just now, or the budget of calls is used up.
func (c *initiateCmd) askPatiently(ctx context.Context, account string) error {
	for n := 1; ; n++ {
		err := c.ask(ctx, account)
		later, ok := errors.AsType[*laterError](err)
		if !ok || later.after <= 0 || n == askings {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(min(later.after, mostAfter)):
		}
	}
}

// ask initiates one account, paying to the bank that was named or to the only approved one.
func (c *initiateCmd) ask(ctx context.Context, account string) error {
	bank := c.Bank
	if bank == "" {
		var r struct {
			Banks []struct {
				ID string `json:"id"`
			} `json:"banks"`
		}
		if err := c.call(ctx, http.MethodGet, "check-readiness", account, nil, &r); err != nil {
			return err
		}
		if len(r.Banks) != 1 {
			return fmt.Errorf("the account has %d approved banks; name the one to pay to with --bank", len(r.Banks))
		}
		bank = r.Banks[0].ID
	}
	return c.call(ctx, http.MethodPost, "initiate", account, map[string]any{
		"ach_relationship_id": bank, "confirm_liquidation": c.Yes, "confirm_irreversible": c.Yes, "reason": c.Reason,
	}, nil)
}
