package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"closeout/closure"
)

// atOnce is how many accounts are read at the same time.
const atOnce = 8

var errStopped = errors.New("stopped following; the closures go on")

// row is one account as it was last seen.
type row struct {
	account string
	seen    *progressView // nil: never read
	err     error         // why the last look failed
	changed time.Time     // when what it says last changed
}

// open says whether a closure still goes on, as far as is known. One that is over or has stopped is not looked at again.
func (r row) open() bool { return r.seen == nil || r.seen.State == string(closure.Running) }

// line is all that is said of an account in one line.
func (r row) line() string {
	if r.err != nil {
		return r.account + "  " + r.err.Error()
	}
	why := ""
	if w := r.seen.Waiting; w != nil {
		why = strings.TrimSpace(w.Why + " " + w.Hint)
	}
	return fmt.Sprintf("%s  %-11s %-8s paid $%s  %s", r.account, r.seen.Phase, r.seen.State, r.seen.Money.Paid, why)
}

func (r *row) saw(p progressView, err error) {
	before := *r
	if r.err = err; err == nil {
		r.seen = &p
	}
	if before.seen == nil && before.err == nil || before.line() != r.line() {
		r.changed = time.Now()
	}
}

// teller tells how the closures stand.
type teller interface {
	show(rows []row) // after each look
	end(rows []row)  // when all have ended
	stop()           // instead, when following ends before
}

// follow looks until every closure has ended or stopped. ok: all are closed.
func (c *initiateCmd) follow(ctx context.Context, accounts []string, t teller) (ok bool, err error) {
	rows := make([]row, len(accounts))
	for i, account := range accounts {
		rows[i].account = account
	}
	tick := time.NewTicker(c.Every)
	defer tick.Stop()
	for {
		err := c.look(ctx, rows)
		if ctx.Err() != nil {
			err = errStopped
		}
		if err != nil {
			t.stop()
			return false, err
		}
		t.show(rows)
		open, closed := 0, 0
		for _, r := range rows {
			switch {
			case r.open():
				open++
			case r.seen.State == string(closure.Closed):
				closed++
			}
		}
		if open == 0 {
			t.end(rows)
			return closed == len(rows), nil
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// look reads every account that has not ended. A server that is away is noted on the row: the closures go on, and so does
// following. The error is a refusal: then there is nothing to follow.
func (c *initiateCmd) look(ctx context.Context, rows []row) error {
	var g errgroup.Group
	g.SetLimit(atOnce)
	for i := range rows {
		if !rows[i].open() {
			continue
		}
		g.Go(func() error {
			p, err := c.progress(ctx, rows[i].account)
			if _, refused := errors.AsType[*refusal](err); refused {
				return fmt.Errorf("%s: %w", rows[i].account, err)
			}
			if ctx.Err() == nil {
				rows[i].saw(p, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// changes tells each change in a line, for scripts and logs.
type changes struct {
	cmd  *initiateCmd
	out  output
	said map[string]string
}

func (t *changes) show(rows []row) {
	for _, r := range rows {
		line := r.line()
		if line == t.said[r.account] {
			continue
		}
		t.said[r.account] = line
		var v any = r.seen
		if r.err != nil {
			v = map[string]any{"account_id": r.account, "error": r.err.Error()}
		}
		t.cmd.print(t.out, v, "%s", line)
	}
}

func (*changes) end([]row) {}
func (*changes) stop()     {}
