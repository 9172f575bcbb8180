package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"closeout/closure"
	"closeout/ledger"
	"closeout/server"
)

type keysCmd struct {
	Create keysCreateCmd `cmd:"" help:"Make a key and print its secret, which is shown this once."`
	List   keysListCmd   `cmd:"" help:"List the keys: their scopes, who made them, when they were last used."`
	Revoke keysRevokeCmd `cmd:"" help:"End a key for good; servers refuse it within five seconds."`

	Operator keysOperatorCmd `cmd:"" help:"Ask for a password and print what CLOSEOUT_OPERATORS takes; it needs no ledger."`
}

// keyStore is where keys are kept: each environment has its own.
type keyStore struct {
	store
	Environment string `env:"CLOSEOUT_ENVIRONMENT" default:"sandbox" enum:"sandbox,live" help:"sandbox or live: each has keys and closures of its own."`
}

// open gives the ledger, whose schema is brought up to date on the way.
func (s keyStore) open(ctx context.Context) (*ledger.Ledger, error) {
	var bad complaints
	s.check(&bad)
	if err := bad.err(); err != nil {
		return nil, err
	}
	return ledger.Open(ctx, s.ledgerOptions())
}

// asIs gives it to whoever looks from beside: its schema stays as the servers have it.
func (s keyStore) asIs(ctx context.Context) (*ledger.Ledger, error) {
	from := s.ledgerOptions()
	from.AsIs = true
	return ledger.Open(ctx, from)
}

func (s keyStore) ledgerOptions() ledger.Options {
	env := closure.Environment(s.Environment)
	return ledger.Options{URL: s.DatabaseURL, Environment: env, Policy: closure.DefaultPolicy(env)}
}

type keysCreateCmd struct {
	keyStore
	Name  string         `arg:"" help:"Whose key it is: the actor, api:NAME, of what is done with it."`
	Scope []server.Scope `enum:"closures:read,closures:write,operate" default:"closures:read,closures:write" help:"What it may do: closures:read, closures:write or operate, which is everything; again for each. Default: read and write."`
}

// Run prints the secret alone on the standard output, for scripts, and the rest beside it.
func (c *keysCreateCmd) Run(ctx context.Context, o output) (err error) {
	l, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	secret, k, err := server.MakeKey(l.Environment(), c.Name, c.Scope, "cli:"+username())
	if err != nil {
		return err
	}
	if k, err = l.CreateKey(ctx, k); err != nil {
		return err
	}
	if _, err = fmt.Fprintf(o.err, "the %s key %s may: %s. This is its secret; it is shown this once:\n", l.Environment(), k.Name, strings.Join(k.Scopes, ", ")); err != nil {
		return err
	}
	_, err = fmt.Fprintln(o.out, secret)
	return err
}

type keysListCmd struct{ keyStore }

// Run prints one line for each key, those that were revoked last.
func (c *keysListCmd) Run(ctx context.Context, o output) (err error) {
	l, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	all, err := l.APIKeys(ctx)
	if err != nil {
		return err
	}
	var rows []table.Row
	for _, revoked := range []bool{false, true} {
		for _, k := range all {
			if k.RevokedAt.IsZero() != revoked {
				rows = append(rows, table.Row{k.Name, strings.Join(k.Scopes, ","), moment(k.CreatedAt), k.CreatedBy, cmp.Or(moment(k.LastUsedAt), "never"), moment(k.RevokedAt)})
			}
		}
	}
	_, err = fmt.Fprintln(o.out, columns(table.Row{"NAME", "SCOPES", "CREATED", "BY", "LAST USED", "REVOKED"}, rows))
	return err
}

func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04Z")
}

type keysRevokeCmd struct {
	keyStore
	Name string `arg:"" help:"Of the key."`
}

// Run ends the key and says so.
func (c *keysRevokeCmd) Run(ctx context.Context, o output) (err error) {
	l, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	err = l.RevokeKey(ctx, c.Name)
	if errors.Is(err, ledger.ErrNotFound) {
		return fmt.Errorf("no living %s key has the name %s; closeout keys list shows those there are, and CLOSEOUT_API_KEYS has its own", l.Environment(), c.Name)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(o.out, "the %s key %s is revoked; every server refuses it within %s\n", l.Environment(), c.Name, server.KeysKnown)
	return err
}
