package legacy

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Raw is one key of the earlier system's Redis, as it was read.
type Raw struct {
	Key    string
	Text   string            // of a string
	Hash   map[string]string // of a hash: the fields that are known
	Items  []string          // of a list or a sorted set
	Unread string            // why it could not be read, in words; the rest is empty then
}

// The keys, by what their names begin with.
const (
	keyQueue      = "job_queue:"
	keyProcessing = "job_processing:"
	keyRetry      = "job_retry:"
	keyDead       = "job_dead_letter:"
	keyData       = "job_data:"
	keyClosure    = "closure_state:"
	keyWithdrawal = "withdrawal_state:"
	keyPartial    = "partial_withdrawal:"
	keyTask       = "active_task:"
)

// places are the keys that hold jobs, and what a job there is.
var places = map[string]string{keyQueue: "pending", keyProcessing: "processing", keyRetry: "retrying", keyDead: "dead"}

var prefixes = []string{keyQueue, keyProcessing, keyRetry, keyDead, keyData, keyClosure, keyWithdrawal, keyPartial, keyTask}

// cut splits a key into what its name begins with and the rest; ok is false for a key of others.
func cut(key string) (prefix, rest string, ok bool) {
	for _, p := range prefixes {
		if rest, ok := strings.CutPrefix(key, p); ok {
			return p, rest, true
		}
	}
	return "", "", false
}

// Found is all that was found.
type Found struct {
	Accounts []Account // by id
	Lost     []string  // what is there and belongs to no account that could be read, in words
	Others   int       // jobs of other kinds than closing an account
	Keys     int
}

// Parse understands what was read. It is a pure function and takes whatever there may be.
func Parse(raws []Raw) Found {
	g := gathering{accounts: map[string]*Account{}, jobs: map[string]*job{}}
	raws = slices.Clone(raws)
	slices.SortFunc(raws, func(a, b Raw) int { return cmp.Compare(a.Key, b.Key) })
	nth := map[string]int{}
	for _, r := range raws {
		prefix, rest, ok := cut(r.Key)
		if !ok {
			continue
		}
		g.found.Keys++
		nth[prefix]++
		switch at := where(prefix, rest, nth[prefix]); {
		case places[prefix] != "":
			g.place(r, at, prefix, rest)
		case prefix == keyData:
			g.data(r, at, rest)
		default:
			g.state(r, at, prefix, rest)
		}
	}
	g.finish()
	for _, name := range slices.Sorted(maps.Keys(g.accounts)) {
		g.found.Accounts = append(g.found.Accounts, *g.accounts[name])
	}
	return g.found
}

type gathering struct {
	found    Found
	accounts map[string]*Account
	jobs     map[string]*job
}

func (g *gathering) account(id string) *Account {
	if g.accounts[id] == nil {
		g.accounts[id] = &Account{ID: id}
	}
	return g.accounts[id]
}

func (g *gathering) lost(format string, args ...any) {
	g.found.Lost = append(g.found.Lost, fmt.Sprintf(format, args...))
}

// state reads one of the running system's records, which have the account in their names.
func (g *gathering) state(r Raw, at, prefix, rest string) {
	account := id(rest)
	if account == "" {
		g.lost("%s names no account", at)
		return
	}
	a := g.account(account)
	a.expect(rest)
	a.watch(r.Key, r)
	source := strings.TrimSuffix(prefix, ":")
	f, ok := object(r.Text)
	if r.Hash != nil {
		f, ok = fields{}, true
		for k, v := range r.Hash {
			f[k] = v
		}
	}
	switch {
	case r.Unread != "":
		a.unclear(source + " can't be read: " + r.Unread)
		return
	case !ok:
		a.unclear(source + " can't be read: it is no JSON object")
		return
	}
	if other := f.text("account_id"); other != "" && id(other) != account {
		a.unclear(source + " is named after this account and speaks of another")
		return
	}
	phase := word(f.text("phase", "current_step", "status"))
	rec := Record{
		Source: source, Says: said(phase), Bank: f.text("ach_relationship_id", "relationship_id"), User: f.text("user_id"), Email: f.text("email"),
		Confirmation: f.text("confirmation_number"), Began: first(moment(f.text("initiated_at")), moment(f.text("started_at"))), Stands: standing(phase, prefix != keyClosure),
	}
	for _, at := range []string{"initiated_at", "updated_at", "started_at", "created_at", "last_withdrawal_at"} {
		rec.Touched = latest(rec.Touched, moment(f.text(at)))
	}
	rec.Working = !slices.Contains(resting, phase) || f.has("next_action_time")
	switch prefix {
	case keyTask:
		rec.Stands, rec.Began = Silent, time.Time{}
	case keyWithdrawal, keyPartial:
		if f.has("transfers_completed") && f.list("transfers_completed") == nil {
			a.unclear(source + " names its payouts in a form that can't be read")
		}
		rec.payouts(f)
	}
	a.add(rec)
}

// payouts notes which transfers the record names.
func (r *Record) payouts(f fields) {
	for _, v := range f.list("transfers_completed") {
		o, _ := v.(map[string]any)
		if s, ok := v.(string); ok {
			o = fields{"transfer_id": s}
		}
		r.named(fields(o).text("transfer_id", "id"))
		r.Touched = latest(r.Touched, moment(fields(o).text("initiated_at")))
	}
	r.named(f.text("last_transfer_id", "transfer_id"))
}

func (r *Record) named(transfer string) {
	if transfer = plain(transfer, 100); transfer != "" && !slices.Contains(r.Transfers, transfer) && len(r.Transfers) < 1000 {
		r.Transfers = append(r.Transfers, transfer)
	}
}

func first(ts ...time.Time) time.Time {
	for _, t := range ts {
		if !t.IsZero() {
			return t
		}
	}
	return time.Time{}
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
