package simulation

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/alicebob/miniredis/v2"
	gocmp "github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/sirupsen/logrus"

	"closeout/closure"
	"closeout/handlers"
	"closeout/tasks"
	"closeout/worker"
)

// subject is a queue with one worker: the real Asynq on miniredis, as worker configures it, or the model.
type subject interface {
	schedule(c closure.Closure) error
	advance(d time.Duration)
	kill()   // the worker dies in the middle of whatever it does, and comes back
	orphan() // every active task loses its lease
	flush()
	look(c closure.Closure) tasks.Seen
	close()
}

// timing has a timeout well beyond the lease, so that heartbeats matter.
func timing() closure.Timing {
	t := closure.DefaultTiming
	t.Task, t.Backoff, t.Drain = 50*time.Second, 200*time.Millisecond, time.Second
	return t
}

// act is what the handler does at a delivery.
type act struct {
	hang time.Duration
	then string // enqueue this after the hang, and note whether it conflicts
	err  error
}

// script is what is done to a queue, and what its handler does.
type script struct {
	steps []func(s *stage)
	acts  map[string][]act // by id, one for each delivery; afterwards it succeeds
}

// stage is one performance of a script.
type stage struct {
	subject
	mu   sync.Mutex
	acts map[string][]act
	told map[string][]string // by id: deliveries with their retry counts, and what enqueuing came to
	ids  []string
}

func closureOf(id string, due time.Time) closure.Closure {
	return closure.Closure{ID: id, Version: 3, Token: "t", Priority: closure.Normal, Phase: closure.Settlement, State: closure.Running, DueAt: due}
}

func (s *stage) tell(id, what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told[id] = append(s.told[id], what)
}

func (s *stage) deliveries(id string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, what := range s.told[id] {
		if what[0] == 'd' {
			n++
		}
	}
	return n
}

func (s *stage) enqueue(id string, in time.Duration) {
	if !slices.Contains(s.ids, id) {
		s.ids = append(s.ids, id)
	}
	switch err := s.schedule(closureOf(id, time.Now().Add(in))); {
	case err == nil:
		s.tell(id+" asked", "enqueued")
	case errors.Is(err, tasks.ErrConflict):
		s.tell(id+" asked", "conflict")
	default:
		s.tell(id+" asked", err.Error())
	}
}

// handled is the handler of both. sleep is how its subject lets time pass inside a delivery.
func (s *stage) handled(id string, retried int, sleep func(time.Duration)) error {
	n := s.deliveries(id)
	s.tell(id, fmt.Sprintf("delivered, %d retries", retried))
	var a act
	if acts := s.acts[id]; n < len(acts) {
		a = acts[n]
	}
	if a.hang > 0 {
		sleep(a.hang)
	}
	if a.then != "" {
		s.enqueue(a.then, 0)
	}
	return a.err
}

// perform gives what was observed. Whatever is told, is told after everything has come to rest.
func perform(sc script, make func(*stage) subject) map[string][]string {
	s := &stage{acts: sc.acts, told: map[string][]string{}}
	s.subject = make(s)
	for _, step := range sc.steps {
		step(s)
	}
	for _, id := range s.ids {
		seen := s.look(closureOf(id, time.Now()))
		s.tell(id, fmt.Sprintf("stands at %d, orphaned %v", seen.Condition, seen.Orphaned))
	}
	s.close()
	return s.told
}

// real is Asynq.
type real struct {
	s    *stage
	mini *miniredis.Miniredis
	own  *redis.Client
	q    *tasks.Queue
	life *realLife
}

// realLife is one life of a worker.
type realLife struct {
	rdb  *redis.Client
	srv  *asynq.Server
	dead atomic.Bool
}

func (p *realLife) DialHook(next redis.DialHook) redis.DialHook { return next }

func (p *realLife) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if p.dead.Load() {
			time.Sleep(time.Second) // as a network would: Asynq asks again at once, and time must pass
			return errors.New("the process is dead")
		}
		return next(ctx, cmd)
	}
}

func (p *realLife) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func newReal(s *stage) subject {
	r := &real{s: s, mini: miniredis.NewMiniRedis()}
	r.mini.ClockTTL(true)
	r.own = r.dial()
	r.q = tasks.NewQueue(r.own, closure.Clock{}, timing().Task)
	r.begin()
	return r
}

func (r *real) dial() *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr: "127.0.0.1:1", Protocol: 2, DisableIdentity: true, ReadTimeout: -1, WriteTimeout: -1,
		Dialer: func(context.Context, string, string) (net.Conn, error) { return r.mini.Dial() },
	})
}

func (r *real) begin() {
	p := &realLife{rdb: r.dial()}
	worker.RepairAcks(p.rdb)
	p.rdb.AddHook(p)
	log := logrus.New()
	log.SetOutput(io.Discard)
	p.srv = worker.Server(worker.Options{Redis: p.rdb, Timing: timing(), Log: log, Concurrency: 8})
	r.life = p
	if err := p.srv.Start(asynq.HandlerFunc(func(ctx context.Context, t *asynq.Task) error {
		payload, err := tasks.ParsePayload(t.Payload())
		if err != nil {
			return err
		}
		retried, _ := asynq.GetRetryCount(ctx)
		return r.s.handled(payload.ClosureID, retried, time.Sleep)
	})); err != nil {
		panic(err)
	}
}

func (r *real) schedule(c closure.Closure) error { return r.q.Schedule(context.Background(), c) }
func (r *real) advance(d time.Duration)          { time.Sleep(d); synctest.Wait() }
func (r *real) flush()                           { r.own.FlushAll(context.Background()) }

func (r *real) look(c closure.Closure) tasks.Seen {
	seen, err := r.q.Look(context.Background(), c)
	if err != nil {
		panic(err)
	}
	seen.At = time.Time{}
	return seen
}

func (r *real) kill() {
	r.life.dead.Store(true)
	r.life.srv.Shutdown()
	_ = r.life.rdb.Close()
	r.begin()
}

func (r *real) orphan() { r.own.Del(context.Background(), "asynq:{account_closure}:lease") }

func (r *real) close() {
	r.life.srv.Shutdown()
	_ = r.life.rdb.Close()
	time.Sleep(2 * time.Minute) // for handlers that outlived their timeouts
	_ = r.own.Close()
	r.mini.Close()
}

// modelled is the model, moved by the very code that moves it in a life.
type modelled struct {
	s *stage
	l *life
}

func newModelled(s *stage) subject {
	l := newLife(Options{Seed: 1, Faults: 0})
	l.timing = timing()
	l.procs = make([]*process, 2)
	l.begin(0)
	l.begin(1)
	l.handle = func(p *process, j *job) error {
		return s.handled(j.m.payload.ClosureID, j.m.retried, p.stand)
	}
	return &modelled{s, l}
}

func (m *modelled) schedule(c closure.Closure) error {
	msg, at := messageOf(c, closure.Clock{}, time.Now())
	err := m.l.queue.enqueue(msg, at, time.Now())
	if err == nil {
		m.l.comes(at)
	}
	return err
}

func (m *modelled) advance(d time.Duration) {
	end := time.Now().Add(d)
	for len(m.l.agenda) > 0 && !m.l.agenda[0].at.After(end) {
		m.l.turn()
	}
	time.Sleep(time.Until(end))
}

func (m *modelled) kill()   { m.l.kill(m.l.procs[1]) }
func (m *modelled) flush()  { m.l.queue.flush() }
func (m *modelled) orphan() { m.each(active, func(t *task) { t.lease = 0 }) }

func (m *modelled) each(state taskState, do func(*task)) {
	for _, t := range m.l.queue.tasks {
		if t.state == state {
			do(t)
		}
	}
}

func (m *modelled) look(c closure.Closure) tasks.Seen {
	msg, _ := messageOf(c, closure.Clock{}, time.Now())
	seen := m.l.queue.look(msg, time.Now())
	seen.At = time.Time{}
	return seen
}

func (m *modelled) close() {
	p := m.l.procs[1]
	p.alive = false
	m.l.reap(p)
}

var errBroken = errors.New("broken")

func fails(n int, then ...act) (acts []act) {
	for range n {
		acts = append(acts, act{err: errBroken})
	}
	return append(acts, then...)
}

func enqueue(id string, in time.Duration) func(*stage) { return func(s *stage) { s.enqueue(id, in) } }
func wait(d time.Duration) func(*stage)                { return func(s *stage) { s.advance(d) } }
func kill(s *stage)                                    { s.kill() }
func flush(s *stage)                                   { s.flush() }
func orphan(s *stage)                                  { s.orphan() }

// until waits for the n-th delivery.
func until(id string, n int) func(*stage) {
	return func(s *stage) {
		for i := 0; i < 2000 && s.deliveries(id) < n; i++ {
			s.advance(500 * time.Millisecond)
		}
	}
}

const rest = 200 * time.Second // for everything to come to rest: leases, the recoverer, retries

func scripts() map[string]script {
	return map[string]script{
		"DoneAndEnqueuedAgain":  {[]func(*stage){enqueue("a", 0), wait(rest), enqueue("a", 0), wait(rest)}, nil},
		"ScheduledConflicts":    {[]func(*stage){enqueue("a", time.Hour), enqueue("a", 0), wait(time.Minute), enqueue("a", 0)}, nil},
		"RetriedUntilItWorks":   {[]func(*stage){enqueue("a", 0), wait(rest)}, map[string][]act{"a": fails(3)}},
		"RetriesUsedUp":         {[]func(*stage){enqueue("a", 0), wait(rest), enqueue("a", 0)}, map[string][]act{"a": fails(20)}},
		"SkipRetryArchives":     {[]func(*stage){enqueue("a", 0), wait(rest), enqueue("a", 0)}, map[string][]act{"a": {{err: fmt.Errorf("x: %w", asynq.SkipRetry)}}}},
		"NotCounted":            {[]func(*stage){enqueue("a", 0), wait(rest)}, map[string][]act{"a": {{err: handlers.ErrNotCounted}, {err: handlers.ErrNotCounted}, {err: errBroken}, {err: handlers.ErrNotCounted}}}},
		"OwnIDConflictsInside":  {[]func(*stage){enqueue("a", 0), wait(rest)}, map[string][]act{"a": {{then: "a"}}}},
		"NextOneInside":         {[]func(*stage){enqueue("a", 0), wait(rest)}, map[string][]act{"a": {{then: "b"}}, "b": {{then: "a", hang: time.Second}}}}, // the second of "b" is for "a" to be done
		"LongWorkKeepsItsLease": {[]func(*stage){enqueue("a", 0), wait(rest)}, map[string][]act{"a": {{hang: 45 * time.Second}}}},
		"BeyondItsTimeout":      {[]func(*stage){enqueue("a", 0), wait(rest)}, map[string][]act{"a": {{hang: 70 * time.Second}}}},
		"KilledAtWork":          {[]func(*stage){enqueue("a", 0), until("a", 1), kill, wait(rest)}, map[string][]act{"a": {{hang: 20 * time.Second}}}},
		"KilledAtTheLastRetry":  {[]func(*stage){enqueue("a", 0), until("a", 11), kill, wait(rest), enqueue("a", 0)}, map[string][]act{"a": fails(10, act{hang: 20 * time.Second})}},
		"Orphaned":              {[]func(*stage){enqueue("a", 0), until("a", 1), orphan, kill, wait(rest), enqueue("a", 0)}, map[string][]act{"a": {{hang: 20 * time.Second}}}},
		"OrphanedAndDone":       {[]func(*stage){enqueue("a", 0), until("a", 1), orphan, wait(rest), enqueue("a", 0)}, map[string][]act{"a": {{hang: 20 * time.Second}}}},
		"Emptied":               {[]func(*stage){enqueue("a", time.Hour), enqueue("b", 0), until("b", 1), flush, wait(time.Minute), enqueue("a", 0), enqueue("b", time.Hour), wait(rest)}, map[string][]act{"b": {{hang: 20 * time.Second}}}},
		"EmptiedAndTwice":       {[]func(*stage){enqueue("a", 0), until("a", 1), flush, enqueue("a", 0), wait(rest)}, map[string][]act{"a": {{hang: 40 * time.Second}, {hang: 20 * time.Second}}}},
	}
}

// random is a script of chance. Its steps are so far apart that only what both must agree on decides.
func random(seed uint64) script {
	r := rand.New(rand.NewPCG(seed, 7))
	sc := script{acts: map[string][]act{}}
	ids := []string{"a", "b", "c"}
	for _, id := range ids {
		for range r.IntN(6) {
			sc.acts[id] = append(sc.acts[id], []act{
				{},
				{err: errBroken},
				{err: handlers.ErrNotCounted},
				{err: fmt.Errorf("x: %w", asynq.SkipRetry)},
				{hang: 40 * time.Second},
				{hang: 70 * time.Second},
				{then: ids[r.IntN(3)], hang: time.Second}, // so that whoever enqueued this one is done: Asynq may fetch it before that
			}[r.IntN(7)])
		}
	}
	for range 3 {
		id := ids[r.IntN(3)]
		sc.steps = append(sc.steps, enqueue(id, time.Duration(r.IntN(3))*10*time.Second))
		between := wait(5500 * time.Millisecond) // Asynq looks at whole seconds after its start: what happens in the same instant is chance
		switch r.IntN(8) {
		case 0:
			sc.steps = append(sc.steps, between, flush)
		case 1:
			sc.steps = append(sc.steps, between, kill)
		case 2:
			sc.steps = append(sc.steps, between, enqueue(id, 0))
		}
		sc.steps = append(sc.steps, wait(rest+time.Minute))
	}
	return sc
}

// The model of the queue and the real Asynq, as the worker configures it, do the same.
func TestQueueConformance(t *testing.T) {
	t.Parallel()
	if underRace || testing.Short() {
		t.Skip("an hour of Asynq's polling, which takes a minute; `make test` runs it without the race detector")
	}
	all := scripts()
	for n := range 4 {
		all[fmt.Sprintf("Chance%d", n)] = random(uint64(n))
	}
	for name, sc := range all {
		t.Run(name, func(t *testing.T) {
			var want, got map[string][]string
			synctest.Test(t, func(*testing.T) { want = perform(sc, newReal) })
			synctest.Test(t, func(*testing.T) { got = perform(sc, newModelled) })
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Errorf("Asynq (-) and the model (+) differ:\n%s", diff)
			}
		})
	}
}
