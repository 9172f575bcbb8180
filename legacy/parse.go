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
	for _, r := range raws {
		prefix, rest, ok := cut(r.Key)
		if !ok {
			continue
		}
		g.found.Keys++
		switch {
		case places[prefix] != "":
			g.place(r, prefix, rest)
		case prefix == keyData:
			g.data(r, rest)
		default:
			g.state(r, prefix, rest)
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

// job is one job, wherever it was named.
type job struct {
	id     string
	queue  string // by the place where it was found
	places []string
	data   fields // nil: none was found, or it could not be read
	broken string // why not
}

func (g *gathering) job(id string) *job {
	if g.jobs[id] == nil {
		g.jobs[id] = &job{id: id}
	}
	return g.jobs[id]
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

// name is a foreign name as it may be shown.
func name(s string) string {
	if len(s) > 80 {
		s = strings.ToValidUTF8(s[:80], "") + "…"
	}
	return fmt.Sprintf("%q", s)
}

// place reads a queue: its items are ids of jobs, or jobs.
func (g *gathering) place(r Raw, prefix, queue string) {
	if r.Unread != "" {
		g.lost("%s: %s", name(r.Key), r.Unread)
		return
	}
	for _, item := range r.Items {
		text := strings.Trim(strings.TrimSpace(item), `"`)
		data, whole := object(item)
		if whole {
			text = data.text("id", "job_id")
			if text == "" {
				text = item // it is told from others by itself
			}
		} else if strings.HasPrefix(text, "{") || text == "" || len(text) > 200 {
			g.lost("an item of %s is neither a job nor a job's id", name(r.Key))
			continue
		}
		j := g.job(text)
		j.queue = cmp.Or(j.queue, queue)
		j.places = append(j.places, places[prefix])
		if whole && j.data == nil {
			j.data = data
		}
	}
}

// data reads a job's own record, which says more than a copy of it in a queue.
func (g *gathering) data(r Raw, id string) {
	j := g.job(id)
	switch {
	case r.Unread != "":
		j.broken = r.Unread
	case r.Hash != nil:
		j.data = fields{}
		for k, v := range r.Hash {
			j.data[k] = v
		}
	default:
		if f, ok := object(r.Text); ok {
			j.data = f
		} else {
			j.broken = "it is no JSON object"
		}
	}
}

// closes says whether a job is one that closes an account: by its task's name, or where it has none by its queue's.
func (j *job) closes() bool {
	task := strings.ToLower(j.data.text("task_name", "task"))
	if task == "" {
		task = strings.ToLower(cmp.Or(j.data.text("queue_name", "queue"), j.queue))
	}
	return strings.Contains(task, "account_closure")
}

// finish gives each job to its account.
func (g *gathering) finish() {
	for _, id := range slices.Sorted(maps.Keys(g.jobs)) {
		j := g.jobs[id]
		if j.data == nil {
			what := "its data is gone"
			if j.broken != "" {
				what = "its data can't be read: " + j.broken
			}
			if len(j.places) > 0 && j.queue != "" && !strings.Contains(strings.ToLower(j.queue), "account_closure") {
				g.found.Others++
				continue
			}
			g.lost("job %s: %s", name(id), what)
			continue
		}
		if !j.closes() {
			g.found.Others++
			continue
		}
		j.give(g)
	}
}

// give adds what a job says to its account.
func (j *job) give(g *gathering) {
	kwargs := j.data.within("kwargs")
	account := id2(kwargs.text("account_id", "alpaca_account_id"), j.data.text("account_id"))
	if args := j.data.list("args"); account == "" && len(args) > 0 {
		if first, ok := args[0].(string); ok {
			account = id(first)
		}
	}
	if account == "" {
		g.lost("job %s names no account that could be read", name(j.id))
		return
	}
	a := g.account(account)
	status := word(j.data.text("status", "state"))
	if status == "" && len(j.places) > 0 {
		status = j.places[0]
	}
	r := Record{
		Source: "job", Says: status, Bank: kwargs.text("ach_relationship_id", "relationship_id"), User: kwargs.text("user_id"), Email: kwargs.text("email", "user_email"),
		Confirmation: kwargs.text("confirmation_number"),
		Began:        first(moment(kwargs.text("initiated_at")), moment(j.data.text("created_at")), moment(j.data.text("started_at"))),
		Stands:       standing(status, false),
	}
	for _, at := range []string{"created_at", "started_at", "completed_at", "failed_at"} {
		r.Touched = latest(r.Touched, moment(j.data.text(at)))
	}
	r.Working = status == "processing" || slices.Contains(j.places, "processing") && r.Stands == Open
	a.add(r)
}

func id2(texts ...string) string {
	for _, t := range texts {
		if s := id(t); s != "" {
			return s
		}
	}
	return ""
}

// state reads one of the running system's records, which have the account in their names.
func (g *gathering) state(r Raw, prefix, rest string) {
	account := id(rest)
	if account == "" {
		g.lost("%s names no account", name(r.Key))
		return
	}
	a := g.account(account)
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
		a.Unclear = append(a.Unclear, source+" can't be read: "+r.Unread)
		return
	case !ok:
		a.Unclear = append(a.Unclear, source+" can't be read: it is no JSON object")
		return
	}
	if other := f.text("account_id"); other != "" && id(other) != account {
		a.Unclear = append(a.Unclear, source+" is named after this account and speaks of another")
		return
	}
	phase := word(f.text("phase", "current_step", "status"))
	rec := Record{
		Source: source, Says: phase, Bank: f.text("ach_relationship_id", "relationship_id"), User: f.text("user_id"), Email: f.text("email"),
		Confirmation: f.text("confirmation_number"), Began: first(moment(f.text("initiated_at")), moment(f.text("started_at"))), Stands: standing(phase, prefix != keyClosure),
	}
	for _, at := range []string{"initiated_at", "updated_at", "started_at", "created_at", "last_withdrawal_at"} {
		rec.Touched = latest(rec.Touched, moment(f.text(at)))
	}
	switch prefix {
	case keyTask:
		rec.Stands, rec.Began = Silent, time.Time{}
		rec.Working = !slices.Contains([]string{"done", "completed", "cancelled", "canceled", "failed", "finished"}, phase)
	case keyWithdrawal, keyPartial:
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
