package worker

import (
	"context"
	"net"
	"time"

	"github.com/redis/go-redis/v9"
)

// RepairAcks makes Asynq's acknowledgements reach Redis. Asynq 0.25 to 0.26 hands the retry of a failed one a context
// that is cancelled already, so a step that succeeded would run again a minute later. All its state changes are scripts: a
// script whose context is over gets a few more seconds, once, without it.
func RepairAcks(rdb redis.UniversalClient) { rdb.AddHook(ackRepair{}) }

type ackRepair struct{}

const ackTime = 5 * time.Second

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
		return next(ctx, cmd)
	}
}

func (ackRepair) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
