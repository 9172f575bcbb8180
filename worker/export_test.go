package worker

import (
	"context"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// Backoff is the retry policy, for the tests that hold it to its bounds.
var Backoff = backoff

// Pulse is a working pulse on a connection, for tests in virtual time.
type Pulse struct{ *pulse }

// Watch takes the pulse of the Asynq server that will run on a connection, with so many hands.
func Watch(rdb redis.UniversalClient, hands int64) Pulse {
	p := &pulse{hands: hands}
	p.stage.Store(working)
	rdb.AddHook(p)
	return Pulse{p}
}

// Err says in which way Asynq is not at work.
func (p Pulse) Err() error { return p.err() }

// Alive says whether a new start would not help.
func (p Pulse) Alive() bool { return p.alive() }

// Counted counts a handler's visits.
func (p Pulse) Counted(h asynq.Handler) asynq.Handler { return p.counted(h) }

// Forget removes what is remembered too long.
var Forget = forget

// Round is one round of a patrol.
func (p *Patrol) Round(ctx context.Context) error { return p.round(ctx) }
