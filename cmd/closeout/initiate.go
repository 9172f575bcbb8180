package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"
)

type initiateCmd struct {
	Accounts []string      `arg:"" name:"account" help:"Alpaca account ids."`
	Bank     string        `help:"The ACH relationship to pay to. Without it each account must have exactly one approved bank."`
	Yes      bool          `help:"Confirm that every position is sold and that a closed account can't be opened again."`
	Reason   string        `help:"Why, for the record."`
	Wait     bool          `help:"Follow each closure until it has ended."`
	JSON     bool          `name:"json" help:"Print one JSON line an account."`
	URL      string        `env:"CLOSEOUT_URL" default:"http://127.0.0.1:8000" help:"The server."`
	Key      string        `env:"CLOSEOUT_API_KEY" help:"API key; the demo's is dev."`
	Every    time.Duration `default:"2s" help:"Between looks, with --wait."`
}

// progressView is what initiate shows of GET progress.
type progressView struct {
	Account string `json:"account_id"`
	JobID   string `json:"job_id"`
	Phase   string `json:"phase"`
	State   string `json:"state"`
	Finish  string `json:"expected_finish,omitempty"`
	Waiting *struct {
		Reason string `json:"reason"`
		Why    string `json:"why"`
		Who    string `json:"who_must_act"`
		Hint   string `json:"hint,omitempty"`
	} `json:"waiting,omitempty"`
	Money struct {
		Paid string `json:"paid"`
	} `json:"money"`
}

// refusal is the part of a problem that people need.
type refusal struct {
	Code   string `json:"code"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Hint   string `json:"hint"`
}

func (r *refusal) Error() string {
	return strings.TrimSpace(fmt.Sprintf("%s (%s): %s %s", r.Title, r.Code, r.Detail, r.Hint))
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
	for _, account := range c.Accounts {
		if err := c.ask(ctx, account); err != nil {
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
	if c.Wait {
		ok, err := c.follow(ctx, o, open)
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

func (c *initiateCmd) progress(ctx context.Context, account string) (p progressView, err error) {
	return p, c.call(ctx, http.MethodGet, "progress", account, nil, &p)
}

// follow prints each change until every closure has ended or stopped. ok: all are closed.
func (c *initiateCmd) follow(ctx context.Context, o output, accounts []string) (ok bool, err error) {
	said := map[string]string{}
	ended := map[string]bool{}
	ok = true
	for len(ended) < len(accounts) {
		for _, account := range accounts {
			if ended[account] {
				continue
			}
			p, err := c.progress(ctx, account)
			if _, refused := errors.AsType[*refusal](err); err != nil && ctx.Err() == nil && !refused { // the server is away: the closure goes on, and so do we
				if line := account + "  " + err.Error(); line != said[account] {
					said[account] = line
					c.print(o, map[string]any{"account_id": account, "error": err.Error()}, "%s", line)
				}
				continue
			} else if err != nil {
				return false, err
			}
			why := ""
			if p.Waiting != nil {
				why = strings.TrimSpace(p.Waiting.Why + " " + p.Waiting.Hint)
			}
			line := fmt.Sprintf("%s  %-11s %-8s paid $%s  %s", account, p.Phase, p.State, p.Money.Paid, why)
			if line != said[account] {
				said[account] = line
				c.print(o, p, "%s", line)
			}
			if p.State != "running" {
				ended[account] = true
				ok = ok && p.State == "closed"
			}
		}
		if len(ended) == len(accounts) {
			return ok, nil
		}
		t := time.NewTimer(c.Every)
		select {
		case <-ctx.Done():
			t.Stop()
			return false, errors.New("stopped following; the closures go on")
		case <-t.C:
		}
	}
	return ok, nil
}

// call speaks to the server; a problem comes back as a refusal.
func (c *initiateCmd) call(ctx context.Context, method, what, account string, body, out any) error {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.URL, "/")+"/api/account-closure/"+what+"/"+account, r)
	if err != nil {
		return err
	}
	req.Header.Set("X-API-Key", c.Key)
	req.Header.Set("Content-Type", "application/json")
	// A redirect is not followed: the key would go along to wherever it leads.
	client := &http.Client{Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("ask the server: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	if err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		var p refusal
		if json.Unmarshal(answer, &p) != nil || p.Title == "" || resp.StatusCode >= http.StatusInternalServerError {
			return fmt.Errorf("the server answered %s", resp.Status)
		}
		return &p
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, out)
}
