package worker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// pulse says whether this process's Asynq server is at work. It watches the server's own commands on their way: its
// heartbeat, written every five seconds, and its asking for tasks, several times a second unless its hands are full. That
// costs no query, speaks of this process and no other, and an emptied Redis changes nothing about it.
type pulse struct {
	stage  atomic.Int32
	tried  atomic.Int64 // unix nanoseconds of the last heartbeat that was begun, whatever Redis said
	beat   atomic.Int64 // of the last one that Redis took; 0: none yet
	asked  atomic.Int64 // of the last answer to the question for tasks
	inHand atomic.Int64 // visits
	hands  int64        // visits it may have in hand
	open   sync.WaitGroup
}

// The stages of a worker's life.
const (
	starting int32 = iota // Redis is waited for
	working
	draining // told to stop: the visits in hand finish
)

// silence is machine time without a sign of life after which Asynq counts as down: three heartbeats.
const silence = 15 * time.Second

// err says in which way Asynq is not at work, for health.
func (p *pulse) err() error {
	switch p.stage.Load() {
	case starting:
		return errors.New("starting: Redis was not found fit yet")
	case draining:
		return fmt.Errorf("draining: %d visits in hand", p.inHand.Load())
	}
	now := time.Now().UnixNano()
	switch beat := p.beat.Load(); {
	case beat == 0:
		return errors.New("no heartbeat yet")
	case now-beat > int64(silence):
		return fmt.Errorf("no heartbeat for %s", time.Duration(now-beat).Round(time.Second))
	}
	if asked := p.asked.Load(); now-asked > int64(silence) && p.inHand.Load() < p.hands {
		return errors.New("it has hands free and asks for no task")
	}
	return nil
}

// standstill is machine time without a heartbeat even begun after which a worker counts as stuck: far above the half minute that one
// may take while Redis does not answer.
const standstill = 2 * time.Minute

// alive is no only for a worker that a new start would mend: its Asynq does not even try. While Redis or the ledger is away it
// tries, and an orchestrator that restarted every worker then would mend nothing.
func (p *pulse) alive() bool {
	return p.stage.Load() != working || time.Now().UnixNano()-p.tried.Load() <= int64(standstill)
}

// counted counts the visits in hand: Asynq stops waiting for a handler when its time is up, and the ledger must not be
// closed under one.
func (p *pulse) counted(h asynq.Handler) asynq.Handler {
	return asynq.HandlerFunc(func(ctx context.Context, t *asynq.Task) error {
		p.open.Add(1)
		p.inHand.Add(1)
		defer p.open.Done()
		defer p.inHand.Add(-1)
		makeRoom()
		return h.ProcessTask(ctx, t)
	})
}

// makeRoom has the goroutine's stack grow at once to the 64 KiB that a visit needs. Asynq begins a goroutine for each task, whose
// stack of 2 KiB would else grow five times on the way down, and be copied each time with all that is on it: that took 3 % of this
// process's CPU. The runtime takes back what is not used.
//
//go:noinline
func makeRoom() {
	var frame [40 << 10]byte
	runtime.KeepAlive(&frame)
}

func (p *pulse) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (p *pulse) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if begins(cmd) {
			p.tried.Store(time.Now().UnixNano())
		}
		err := next(ctx, cmd)
		if err == nil || errors.Is(err, redis.Nil) { // nil: there is no task
			switch script(cmd) {
			case heartbeat:
				p.beat.Store(time.Now().UnixNano())
			case question:
				p.asked.Store(time.Now().UnixNano())
			}
		}
		return err
	}
}

func (p *pulse) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

const (
	neither = iota
	heartbeat
	question
)

// begins says whether a command is the first of a heartbeat; its script comes only once Redis has taken that.
func begins(cmd redis.Cmder) bool {
	args := cmd.Args()
	return len(args) > 1 && cmd.Name() == "zadd" && args[1] == "asynq:servers"
}

// script tells the two scripts by their keys: EVALSHA sha numkeys key...
func script(cmd redis.Cmder) int {
	args := cmd.Args()
	if len(args) < 5 || cmd.Name() != "evalsha" && cmd.Name() != "eval" {
		return neither
	}
	key := func(n int) string {
		s, _ := args[3+n].(string)
		return s
	}
	switch {
	case strings.HasPrefix(key(0), "asynq:servers:{"):
		return heartbeat
	case strings.HasSuffix(key(0), "}:pending") && strings.HasSuffix(key(1), "}:paused"):
		return question
	}
	return neither
}
