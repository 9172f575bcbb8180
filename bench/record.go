package bench

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"closeout/closure"
	"closeout/tasks"
)

// Recorder notes what the service does, so that the floor does as much of it, and no more.
type Recorder struct {
	Clock closure.Clock

	statements, commits, visits, timers, slept, calls, writes atomic.Int64

	mu       sync.Mutex
	lateness []time.Duration
	watched  map[string][]string // what was read of these accounts, in order
}

// Watch has the reads of these accounts kept, whose ids are in the paths of the requests.
func (r *Recorder) Watch(accounts ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watched = map[string][]string{}
	for _, a := range accounts {
		r.watched[a] = nil
	}
}

// template is what was read of a watched account, where {} stands for its id.
func (r *Recorder) template(account string) (out []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, uri := range r.watched[account] {
		out = append(out, strings.ReplaceAll(uri, account, "{}"))
	}
	return out
}

// forget begins to count anew.
func (r *Recorder) forget() {
	for _, n := range []*atomic.Int64{&r.statements, &r.commits, &r.visits, &r.timers, &r.slept, &r.calls, &r.writes} {
		n.Store(0)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lateness = nil
}

func (r *Recorder) counts(closures int) Counts {
	return Counts{
		Closures: closures, Visits: int(r.visits.Load()), Timers: int(r.timers.Load()), Commits: int(r.commits.Load()),
		Statements: int(r.statements.Load()), Calls: int(r.calls.Load()), Writes: int(r.writes.Load()),
	}
}

// Told is ledger.Options.Told. A commit is a transaction's, or that of statements outside one of which any writes: a claim's begin
// with what it looks at.
func (r *Recorder) Told(statements string, alone bool) {
	r.statements.Add(1)
	writes := func(s string) bool { return !strings.HasPrefix(s, "SELECT") && !strings.HasPrefix(s, "WITH") }
	if strings.HasSuffix(statements, "COMMIT") || alone && slices.ContainsFunc(strings.Split(statements, ";\n"), writes) {
		r.commits.Add(1)
	}
}

// Visited is handlers.Runner.Visited.
func (r *Recorder) Visited(late time.Duration) {
	r.visits.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lateness = append(r.lateness, late)
}

// Late is the lateness that so large a part of the visits does not exceed, 0.99 for one.
func (r *Recorder) Late(part float64) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return quantile(slices.Clone(r.lateness), part)
}

// quantile sorts what it is given; 0 where that is nothing.
func quantile(of []time.Duration, part float64) time.Duration {
	if len(of) == 0 {
		return 0
	}
	slices.Sort(of)
	return of[min(int(part*float64(len(of))), len(of)-1)]
}

// scheduler is the part of the queue that visits use.
type scheduler interface {
	Schedule(ctx context.Context, c closure.Closure) error
	Look(ctx context.Context, c closure.Closure) (tasks.Seen, error)
}

// Queue counts the visits that are scheduled for later, on their way to a queue.
func (r *Recorder) Queue(next scheduler) interface {
	Schedule(ctx context.Context, c closure.Closure) error
	Look(ctx context.Context, c closure.Closure) (tasks.Seen, error)
} {
	return queue{next, r}
}

type queue struct {
	scheduler
	of *Recorder
}

// Schedule implements handlers.Queue.
func (q queue) Schedule(ctx context.Context, c closure.Closure) error {
	if wait := q.of.Clock.Machine(c.DueAt.Sub(q.of.Clock.Now())); wait > 0 {
		q.of.timers.Add(1)
		q.of.slept.Add(int64(wait))
	}
	return q.scheduler.Schedule(ctx, c)
}

// Transport counts the requests to the broker on their way.
func (r *Recorder) Transport(next http.RoundTripper) http.RoundTripper { return transport{next, r} }

type transport struct {
	http.RoundTripper
	of *Recorder
}

// RoundTrip implements http.RoundTripper.
func (t transport) RoundTrip(req *http.Request) (*http.Response, error) {
	t.of.calls.Add(1)
	if req.Method == http.MethodGet {
		t.of.read(req.URL.RequestURI())
	} else {
		t.of.writes.Add(1)
	}
	return t.RoundTripper.RoundTrip(req)
}

func (r *Recorder) read(uri string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for account := range r.watched {
		if strings.Contains(uri, account) {
			r.watched[account] = append(r.watched[account], uri)
		}
	}
}
