package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"closeout/alpaca"
	"closeout/closure"
	"closeout/handlers"
	"closeout/legacy"
)

type importCmd struct {
	Legacy importLegacyCmd `cmd:"" help:"Take over the closures that the system before this one has begun, from its Redis; docs/moving-over.md is the guide."`
}

type importLegacyCmd struct {
	common
	remote
	Redis   string `env:"CLOSEOUT_LEGACY_REDIS_URL" secret:"" help:"The earlier system's Redis: rediss:// URL, or redis:// on this machine. It is only read, and may be the one that this service uses."`
	DryRun  bool   `help:"Only say what would be done."`
	Stopped bool   `help:"Your word that every process of the earlier system is stopped, its scheduler included. Without it an account on which it may be at work is left alone."`
	JSON    bool   `name:"json" help:"Print a line of JSON for each account, for scripts."`
}

// Help is printed by closeout import legacy --help.
func (*importLegacyCmd) Help() string {
	return "Each account goes on at the phase that the broker shows, and its payouts of the earlier system are adopted; nothing is sent to the broker, and the earlier system's Redis is only read. " +
		"The first step follows after a quarantine of half an hour, and the first payout on the next banking day. Run it as often as you like: what is here already is left alone. " +
		"With CLOSEOUT_ACCOUNT_STATUS it names in the end each account whose own status says pending_closure while nothing is there that closes it. " +
		"Exit status: 0 all is taken over, or nothing is to be done · 1 it failed, or an account could not be read · 2 wrong usage or settings · 3 a person must act."
}

// imported is one account's line for scripts.
type imported struct {
	Account      string        `json:"account_id,omitempty"`
	Result       handlers.Fate `json:"result"`
	DryRun       bool          `json:"dry_run,omitempty"` // nothing was done
	Phase        closure.Phase `json:"phase,omitempty"`
	Adopted      int           `json:"payouts_adopted"`
	JobID        string        `json:"job_id,omitempty"`
	Confirmation string        `json:"confirmation_number,omitempty"`
	Earlier      string        `json:"earlier_system,omitempty"` // what it says
	Broker       string        `json:"broker,omitempty"`         // what it shows
	Why          string        `json:"why"`
	Hint         string        `json:"hint,omitempty"`
}

// lost is what of the earlier system's belongs to no account that could be read.
const lost handlers.Fate = "not_understood"

// mostForgotten is how many forgotten accounts are named at once.
const mostForgotten = 1000

// earlier is what an import reads beside the broker.
type earlier struct {
	found   legacy.Found
	again   func() (legacy.Found, error)                                 // another reading
	pending func(ctx context.Context, limit int) (ids []string, _ error) // accounts that are pending by their own status, without a closure here
}

// Run takes over one account after the other, and tells of each when it is done.
func (c *importLegacyCmd) Run(ctx context.Context, o output) (err error) {
	var bad complaints
	s := c.common.check(&bad)
	opts := c.remote.check(&s, &bad)
	from := c.legacyRedis(&bad)
	if s.asIs, s.looks = c.DryRun, c.DryRun; c.DryRun {
		c.exists(&bad)
	}
	if err := bad.err(); err != nil {
		return err
	}
	p, err := c.assemble(ctx, s, opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	rdb := redis.NewUniversalClient(from)
	defer func() { err = errors.Join(err, rdb.Close()) }()
	raws, err := legacy.Read(ctx, rdb)
	if err != nil {
		return fmt.Errorf("read the earlier system's Redis: %w", err)
	}
	t := &handlers.Takeovers{
		Ledger: p.ledger, Broker: p.broker, Calendar: p.almanac.Calendar, Clock: p.clock, Timing: p.timing, Actor: "operator:cli:" + username(),
		Ask: patient(p.budget.Ask), Stopped: c.Stopped, Apply: !c.DryRun,
		Moved: func(ctx context.Context, a legacy.Account) (bool, error) { return legacy.Moved(ctx, rdb, a) },
	}
	again := func() (legacy.Found, error) {
		raws, err := legacy.Read(ctx, rdb)
		return legacy.Parse(raws), err
	}
	return c.take(ctx, o, t, earlier{legacy.Parse(raws), again, p.ledger.PendingWithout})
}

// take goes through what was found, and looks in the end for what has come since, and for who is forgotten.
func (c *importLegacyCmd) take(ctx context.Context, o output, t *handlers.Takeovers, e earlier) error {
	found, counted := e.found, map[handlers.Fate]int{}
	seen := map[string]bool{} // what was said of them leads on
	tell := func(a legacy.Account, got handlers.Taken) error {
		counted[got.Fate]++
		seen[a.ID] = seen[a.ID] || got.Fate != handlers.HaveIt && got.Fate != handlers.NotNeeded
		return c.print(o, imported{
			Account: a.ID, Result: got.Fate, DryRun: c.DryRun, Phase: got.Phase, Adopted: got.Adopted, JobID: got.Closure.ID, Confirmation: got.Closure.Confirmation,
			Earlier: a.Says(), Broker: got.Broker, Why: got.Why, Hint: got.Hint,
		})
	}
	taken := map[string]bool{}
	for n, a := range found.Accounts {
		got, err := t.Take(ctx, a)
		if err != nil {
			return fmt.Errorf("stopped after %d of %d accounts, run it again: %w", n, len(found.Accounts), err)
		}
		taken[a.ID] = !c.DryRun && (got.Fate == handlers.TakenOver || got.Fate == handlers.AdoptedNow)
		if err := tell(a, got); err != nil {
			return err
		}
	}
	for _, what := range found.Lost {
		counted[lost]++
		if err := c.print(o, imported{Result: lost, DryRun: c.DryRun, Why: what, Hint: "Nobody can tell its account from here: look at it in the earlier system's Redis (docs/moving-over.md says how it is found)."}); err != nil {
			return err
		}
	}
	if err := changed(ctx, t, found, e.again, taken, tell); err != nil {
		return fmt.Errorf("all was gone through; what the earlier system did meanwhile is not known, run it again: %w", err)
	}
	err := forgotten(ctx, e, seen, tell)
	c.summary(o, found, counted)
	switch {
	case err != nil:
		return fmt.Errorf("all was gone through; whether accounts are forgotten is not known for sure, run it again: %w", err)
	case counted[handlers.ForPerson]+counted[handlers.Forgotten]+counted[lost] > 0:
		return asksForPerson
	case counted[handlers.Unread] > 0:
		return errQuiet
	}
	return nil
}

// changed tells of the accounts on which the earlier system was at work while the others were taken over, and of those that are new.
func changed(ctx context.Context, t *handlers.Takeovers, found legacy.Found, again func() (legacy.Found, error), taken map[string]bool, tell func(legacy.Account, handlers.Taken) error) error {
	now, err := again()
	if err != nil {
		return err
	}
	before := map[string]legacy.Account{}
	for _, a := range found.Accounts {
		before[a.ID] = a
	}
	for _, a := range now.Accounts {
		was, known := before[a.ID]
		got := handlers.Taken{
			Fate: handlers.ForPerson, Why: "its records have appeared since the import began: the earlier system is at work",
			Hint: "Stop every process of the earlier system, its hourly scheduler included, then run the import again.",
		}
		switch {
		case known && (!taken[a.ID] || !a.Since(was)):
			continue
		case known:
			if got, err = t.Changed(ctx, a); err != nil {
				return err
			}
		}
		if err := tell(a, got); err != nil {
			return err
		}
	}
	return nil
}

// forgotten tells of the accounts that wait for their closing by the application's word alone.
func forgotten(ctx context.Context, e earlier, seen map[string]bool, tell func(legacy.Account, handlers.Taken) error) error {
	ids, failed := e.pending(ctx, len(seen)+mostForgotten)
	n := 0
	for _, id := range ids {
		if seen[strings.ToLower(id)] || n == mostForgotten {
			continue
		}
		n++
		if err := tell(legacy.Account{ID: id}, handlers.Forgot()); err != nil {
			return err
		}
	}
	return failed
}

// said are the fates in words; of a dry run the second.
var said = map[handlers.Fate][2]string{
	handlers.TakenOver: {"taken over", "would be taken over"}, handlers.Recorded: {"recorded", "would be recorded"}, handlers.AdoptedNow: {"adopted", "would be adopted"},
	handlers.HaveIt: {"here already", "here already"}, handlers.NotNeeded: {"nothing to do", "nothing to do"},
	handlers.ForPerson: {"a person must act", "a person must act"}, handlers.Forgotten: {"forgotten", "forgotten"}, handlers.Unread: {"not read", "not read"}, lost: {"not understood", "not understood"},
}

func (c *importLegacyCmd) words(f handlers.Fate) string {
	if c.DryRun {
		return said[f][1]
	}
	return said[f][0]
}

// print writes one account's line.
func (c *importLegacyCmd) print(o output, l imported) error {
	if c.JSON {
		e := json.NewEncoder(o.out)
		e.SetEscapeHTML(false)
		return e.Encode(l)
	}
	parts := []string{printable(l.Why)}
	for _, p := range []struct{ name, value string }{{"closure", strings.TrimSpace(l.JobID + " " + l.Confirmation)}, {"earlier system", l.Earlier}, {"broker", l.Broker}} {
		if p.value != "" {
			parts = append(parts, p.name+": "+printable(p.value))
		}
	}
	line := fmt.Sprintf("%-36s  %-19s  %s", printable(l.Account), c.words(l.Result), strings.Join(parts, " · "))
	if l.Hint != "" {
		line += " → " + printable(l.Hint)
	}
	_, err := fmt.Fprintln(o.out, strings.TrimRight(line, " "))
	return err
}

// summary says how many came to what. Jobs of other kinds are counted and were not looked at.
func (c *importLegacyCmd) summary(o output, found legacy.Found, counted map[handlers.Fate]int) {
	to := o.out
	if c.JSON {
		to = o.err
	}
	parts := []string{closure.Count(len(found.Accounts), "account")}
	for _, f := range slices.Sorted(maps.Keys(counted)) {
		parts = append(parts, fmt.Sprintf("%d %s", counted[f], c.words(f)))
	}
	if found.Others > 0 {
		parts = append(parts, closure.Count(found.Others, "job")+" of another kind left alone")
	}
	line := strings.Join(parts, ", ")
	if c.DryRun {
		line += ". Nothing was done."
	}
	_, _ = fmt.Fprintln(to, line)
	if n := counted[handlers.Forgotten]; n == mostForgotten {
		_, _ = fmt.Fprintf(o.err, "No more than %d forgotten accounts are named at once: see to these, and run it again.\n", n)
	}
	if c.AccountStatus == "" {
		_, _ = fmt.Fprintln(o.err, "CLOSEOUT_ACCOUNT_STATUS is not set: accounts whose records have ended, as they do after 72 hours of silence, are not named here. docs/moving-over.md says how they are found.")
	}
	if found.Keys == 0 {
		_, _ = fmt.Fprintln(o.err, "No key of the earlier system's is there. Is it the right Redis, with the right number of its database (redis://HOST:PORT/NUMBER)? Its records of a closure end after 72 hours of silence.")
	}
}

// patient waits where the budget is used up for now: other work goes on beside an import, and nobody stands before it.
func patient(ask func(context.Context, string, int) (context.Context, error)) func(context.Context, string, int) (context.Context, error) {
	return func(ctx context.Context, account string, calls int) (context.Context, error) {
		for {
			paid, err := ask(ctx, account, calls)
			h, held := errors.AsType[*alpaca.HeldError](err)
			if !held || h.Why != alpaca.HoldBusy {
				return paid, err
			}
			select {
			case <-ctx.Done():
				return ctx, ctx.Err()
			case <-time.After(max(h.For, time.Second)):
			}
		}
	}
}

// legacyRedis says how to reach the earlier system's Redis, by the rules of this service's own.
func (c *importLegacyCmd) legacyRedis(bad *complaints) *redis.UniversalOptions {
	if c.Redis == "" {
		bad.add("--redis", "must be given: the earlier system's Redis, such as rediss://host:6379/0")
		return nil
	}
	o := redisAt("--redis", c.Redis, c.encryption, bad)
	if o != nil && o.IsClusterMode {
		bad.add("--redis", "must name one Redis: of a cluster each node has keys of its own, and the earlier system never had one")
	}
	return o
}
