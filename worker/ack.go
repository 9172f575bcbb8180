package worker

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
)

// RepairAcks makes Asynq's acknowledgements reach Redis. Asynq 0.25 to 0.26 hands the retry of a failed one a context
// that is cancelled already, so a step that succeeded would run again a minute later. All its state changes are scripts: a
// script whose context is over gets a few more seconds, once, without it.
//
// And where Redis refuses the question for tasks, as one does that is full or whose rights were changed, Asynq asks again at once,
// for ever: then there is a pause between.
func RepairAcks(rdb redis.UniversalClient) { rdb.AddHook(ackRepair{}) }

type ackRepair struct{}

const (
	ackTime      = 5 * time.Second
	refusedPause = 100 * time.Millisecond
)

func (ackRepair) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (ackRepair) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if ctx.Err() != nil && (cmd.Name() == "eval" || cmd.Name() == "evalsha") {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), ackTime)
			defer cancel()
		}
		err := next(ctx, cmd)
		if err != nil && !errors.Is(err, redis.Nil) && script(cmd) == question && !redis.HasErrorPrefix(err, "NOSCRIPT") {
			time.Sleep(refusedPause)
		}
		return err
	}
}

func (ackRepair) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
