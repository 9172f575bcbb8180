package lab

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"closeout/closure"
	"closeout/handlers"
	"closeout/ledger"
	"closeout/mail"
	"closeout/tasks"
	"closeout/worker"
)

// process is one life of a worker.
type process struct {
	rdb      *redis.Client
	run      *handlers.Runner
	redrives *handlers.Redrives // nil: the lab has none
	memory   *worker.Memory     // nil: a bare lab's
	dead     atomic.Bool
}

// A dead process has no Redis: no ack, no retry, no heartbeat. The connection stays open until its Asynq server has
// stopped, which takes a closed subscription badly.
func (p *process) DialHook(next redis.DialHook) redis.DialHook { return next }

func (p *process) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if p.dead.Load() {
			time.Sleep(time.Second) // as a network would: Asynq asks again at once, and time must pass
			return errDead
		}
		return next(ctx, cmd)
	}
}

func (p *process) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if p.dead.Load() {
			time.Sleep(time.Second) // as a network would: Asynq asks again at once, and time must pass
			return errDead
		}
		return next(ctx, cmds)
	}
}

var errDead = errors.New("the process is dead")

// killed is what a killed worker panics with.
type killed struct{ at string }

// point is one place at which the worker may be killed. A dead worker gets no further than the next one.
func (l *Lab) point(p *process, at string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.dead.Load() {
		panic(killed{at})
	}
	l.Points++
	l.Trail.Points = append(l.Trail.Points, at)
	if l.Points == l.KillAt {
		p.dead.Store(true)
		l.Killed = at
		panic(killed{at})
	}
}

// wire puts a point before and after each write at the broker.
type wire struct {
	l    *Lab
	next http.RoundTripper
}

func (w wire) RoundTrip(r *http.Request) (*http.Response, error) {
	if !strings.Contains(r.URL.Path, "/events/") {
		w.l.Calls.Add(1)
	}
	resp, err := w.roundTrip(r)
	if err == nil && w.l.Answered != nil {
		w.l.Answered(r, resp.Header)
	}
	return resp, err
}

func (w wire) roundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodGet {
		return w.next.RoundTrip(r)
	}
	p := w.l.cur
	name := r.Method + " " + r.URL.Path[strings.LastIndex(r.URL.Path, "/"):]
	w.l.point(p, "before "+name)
	if w.l.Before != nil {
		w.l.Before(r)
	}
	resp, err := w.next.RoundTrip(r)
	w.l.point(p, "after "+name)
	return resp, err
}

// points puts one before and after each commit.
type points struct {
	l *Lab
	p *process
	*ledger.Ledger
}

func (s points) Load(ctx context.Context, id string) (closure.Closure, []closure.Intent, error) {
	s.l.Visits.Add(1)
	return s.Ledger.Load(ctx, id)
}

func (s points) Claim(ctx context.Context, c closure.Closure, ch closure.Change, send []closure.Intent, ev closure.Event) (closure.Closure, []closure.Intent, error) {
	s.l.news()
	s.l.point(s.p, "before claim: "+ev.Text)
	next, is, err := s.Ledger.Claim(ctx, c, ch, send, ev)
	s.l.point(s.p, "after claim: "+ev.Text)
	if s.l.AfterClaim != nil && err == nil {
		s.l.AfterClaim(ev.Text)
	}
	return next, is, err
}

func (s points) Record(ctx context.Context, c closure.Closure, i closure.Intent, ev closure.Event) (closure.Closure, closure.Intent, error) {
	s.l.point(s.p, "before record")
	row, out, err := s.Ledger.Record(ctx, c, i, ev)
	s.l.point(s.p, "after record")
	return row, out, err
}

func (s points) Save(ctx context.Context, c closure.Closure, ch closure.Change, learned []ledger.Learned, evs ...closure.Event) (closure.Closure, error) {
	s.l.point(s.p, "before save in "+string(c.Phase))
	next, err := s.Ledger.Save(ctx, c, ch, learned, evs...)
	if err != nil || next.Seq != c.Seq || next.Phase != c.Phase || next.State != c.State || !cmp.Equal(next.Memo, c.Memo) || len(learned) > 0 {
		s.l.news()
	}
	s.l.point(s.p, "after save in "+string(c.Phase))
	if s.l.Saved != nil && err == nil {
		s.l.Saved(next)
	}
	return next, err
}

// retries puts them around the commits of a bulk retry.
type retries struct{ points }

func (s retries) MoveRedrive(ctx context.Context, r ledger.Redrive) (ledger.Redrive, error) {
	s.l.point(s.p, "before move of a redrive")
	next, err := s.Ledger.MoveRedrive(ctx, r)
	s.l.point(s.p, "after move of a redrive")
	return next, err
}

func (s retries) Retry(ctx context.Context, redrive string, n int) (ledger.Retry, closure.Closure, error) {
	s.l.point(s.p, "before a retry")
	row, c, err := s.Ledger.Retry(ctx, redrive, n)
	s.l.point(s.p, "after a retry")
	return row, c, err
}

// queue puts one before and after each enqueue; the one after is also the one before the acknowledgement.
type queue struct {
	l *Lab
	p *process
	*tasks.Queue
}

func (q queue) Schedule(ctx context.Context, c closure.Closure) error {
	q.l.point(q.p, "before schedule")
	err := q.Queue.Schedule(ctx, c)
	q.l.point(q.p, "after schedule")
	select {
	case q.l.rung <- struct{}{}:
	default:
	}
	return err
}

func (q queue) ScheduleBite(ctx context.Context, b tasks.Bite) error {
	q.l.point(q.p, "before schedule of a bite")
	err := q.Queue.ScheduleBite(ctx, b)
	q.l.point(q.p, "after schedule of a bite")
	return err
}

// post keeps the letters, as a customer's mailbox would.
type post struct{ l *Lab }

func (p post) Send(_ context.Context, m mail.Letter) error {
	if _, _, _, err := mail.Render(m); err != nil {
		return err
	}
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	p.l.Letters = append(p.l.Letters, m)
	return nil
}
