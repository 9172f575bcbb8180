package legacy

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// job is one job, wherever it was named.
type job struct {
	id     string
	queue  string // by the place where it was found
	places []string
	lies   []lies
	data   fields   // nil: none was found, or it could not be read
	copies []fields // more of the same id
	broken string   // why its own record could not be read
	raw    Raw      // that record
}

func (g *gathering) job(id string) *job {
	if g.jobs[id] == nil {
		g.jobs[id] = &job{id: id}
	}
	return g.jobs[id]
}

// words name a job as it may be shown.
func (j *job) words() string {
	if nameForm.MatchString(j.id) {
		return "job " + j.id
	}
	return "the job at " + j.lies[0].String()
}

// place reads a queue: its items are ids of jobs, or jobs.
func (g *gathering) place(r Raw, at, prefix, queue string) {
	if r.Unread != "" {
		g.lost("%s: %s", at, r.Unread)
		return
	}
	for n, item := range r.Items {
		id := strings.Trim(strings.TrimSpace(item), `"`)
		data, whole := object(item)
		if whole {
			id = cmp.Or(data.text("id", "job_id"), item) // without an id it is told from others by itself
		} else if strings.HasPrefix(id, "{") || id == "" || len(id) > 200 {
			g.lost("%s is neither a job nor a job's id", lies{at, n})
			continue
		}
		j := g.job(id)
		j.queue = cmp.Or(j.queue, queue)
		j.places = append(j.places, places[prefix])
		j.lies = append(j.lies, lies{at, n})
		switch {
		case whole && j.data == nil:
			j.data = data
		case whole:
			j.copies = append(j.copies, data)
		}
	}
}

// data reads a job's own record, which says more than a copy of it in a queue.
func (g *gathering) data(r Raw, at, id string) {
	j := g.job(id)
	j.raw, j.lies = r, append(j.lies, lies{at, -1})
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

// closes says whether a job is one that closes an account: by its task's name, or where it has none by its queue's. One that may
// have to do with a closing and is none that is known is in doubt: it may tell of a closing, or undo one.
func (j *job) closes() (closes, doubt bool) {
	task := strings.ToLower(j.data.text("task_name", "task"))
	queue := strings.ToLower(cmp.Or(j.data.text("queue_name", "queue"), j.queue))
	switch last := task[strings.LastIndexByte(task, '.')+1:]; {
	case last == "automated_account_closure", last == "account_closure", task == "" && strings.HasPrefix(queue, "account_closure") && slices.Contains(queues, queue):
		return true, false
	case strings.Contains(task, "clos"), task == "" && strings.Contains(queue, "clos"):
		return false, true
	}
	return false, false
}

// accounts are those that a job names, and how the first of them is written.
func accounts(f fields) (all []string, spelled string) {
	kwargs := f.within("kwargs")
	names := []string{kwargs.text("account_id"), kwargs.text("alpaca_account_id"), f.text("account_id")}
	if args := f.list("args"); len(args) > 0 {
		first, _ := args[0].(string)
		names = append(names, first)
	}
	for _, n := range names {
		if a := id(n); a != "" && !slices.Contains(all, a) {
			all, spelled = append(all, a), cmp.Or(spelled, strings.TrimSpace(n))
		}
	}
	return all, spelled
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
			if len(j.places) > 0 && j.queue != "" && !strings.Contains(strings.ToLower(j.queue), "clos") {
				g.found.Others++
				continue
			}
			g.lost("%s: %s", j.words(), what)
			continue
		}
		status := word(j.data.text("status", "state"))
		if status == "" && len(j.places) > 0 {
			status = j.places[0]
		}
		closes, doubt := j.closes()
		if over := standing(status, false); !closes && (!doubt || over == Done || over == Withdrawn) {
			g.found.Others++
			continue
		}
		j.give(g, status, doubt)
	}
}

// give adds what a job says to its account.
func (j *job) give(g *gathering, status string, doubt bool) {
	named, spelled := accounts(j.data)
	switch {
	case len(named) == 0:
		g.lost("%s names no account that could be read", j.words())
		return
	case len(named) > 1:
		g.lost("%s names more than one account: %s", j.words(), strings.Join(named, ", "))
		return
	}
	for _, c := range j.copies {
		if others, _ := accounts(c); !slices.Equal(others, named) {
			g.lost("%s is there twice, and names different accounts", j.words())
			return
		}
	}
	a := g.account(named[0])
	a.expect(spelled)
	if len(j.id) <= 200 {
		a.watch(keyData+j.id, j.raw)
	}
	if doubt {
		a.unclear("a job of a kind that is not known may have to do with its closing: " + j.lies[0].String())
		return
	}
	if j.broken != "" {
		a.unclear("a job's own record can't be read: " + j.broken)
	}
	kwargs := j.data.within("kwargs")
	r := Record{
		Source: "job", Says: said(status), Bank: kwargs.text("ach_relationship_id", "relationship_id"), User: kwargs.text("user_id"), Email: kwargs.text("email", "user_email"),
		Confirmation: kwargs.text("confirmation_number"),
		Began:        first(moment(kwargs.text("initiated_at")), moment(j.data.text("created_at")), moment(j.data.text("started_at"))),
		Stands:       standing(status, false),
	}
	for _, at := range []string{"created_at", "started_at", "completed_at", "failed_at"} {
		r.Touched = latest(r.Touched, moment(j.data.text(at)))
	}
	again := slices.ContainsFunc(j.places, func(p string) bool { return p != "dead" })
	r.Working = !slices.Contains(resting, status) || again && r.Stands == Open
	a.add(r)
}
