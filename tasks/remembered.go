package tasks

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// remembers is how many words about a ledger are kept: far more than there are instructions on their way at one moment, so that
// whoever is late to say its word pushes out none that is newer.
const remembers = 256

// Remember adds a word about the ledger of an environment to the last ones in Redis, which stay until Redis is emptied. None is
// overwritten, whoever else says one at the same time.
func (q *Queue) Remember(ctx context.Context, env, word string) error {
	return q.remember(ctx, env, word, func(redis.Pipeliner) {})
}

// RememberOnly forgets all words of before.
func (q *Queue) RememberOnly(ctx context.Context, env, word string) error {
	return q.remember(ctx, env, word, func(p redis.Pipeliner) { p.Del(ctx, rememberedKey(env)) })
}

func (q *Queue) remember(ctx context.Context, env, word string, first func(redis.Pipeliner)) error {
	_, err := q.rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
		first(p)
		if word != "" {
			p.RPush(ctx, rememberedKey(env), word)
			p.LTrim(ctx, rememberedKey(env), -remembers, -1)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("remember where the ledger stands: %w", err)
	}
	return nil
}

// Remembered are up to n of such words, the last one at the end; none: Redis was emptied, or never heard one. 0: all.
func (q *Queue) Remembered(ctx context.Context, env string, n int) ([]string, error) {
	words, err := q.rdb.LRange(ctx, rememberedKey(env), int64(-n), -1).Result()
	if err != nil {
		return nil, fmt.Errorf("ask where the ledger stood: %w", err)
	}
	return words, nil
}

func rememberedKey(env string) string { return "closeout:marks:" + env }

// Closures are the ids of all closures that a task of any kind is for, sorted: due, in hand, waiting or finished.
func (q *Queue) Closures(ctx context.Context) ([]string, error) {
	ids := map[string]bool{}
	for name := range Queues {
		for _, list := range []func(string, ...asynq.ListOption) ([]*asynq.TaskInfo, error){
			q.inspector.ListPendingTasks, q.inspector.ListActiveTasks, q.inspector.ListScheduledTasks,
			q.inspector.ListRetryTasks, q.inspector.ListArchivedTasks, q.inspector.ListCompletedTasks,
		} {
			for page := 1; ctx.Err() == nil; page++ {
				found, err := list(name, asynq.PageSize(finishedPage), asynq.Page(page))
				if errors.Is(err, asynq.ErrQueueNotFound) {
					break
				}
				if err != nil {
					return nil, fmt.Errorf("list the tasks of %s: %w", name, err)
				}
				for _, t := range found {
					if p, err := ParsePayload(t.Payload); err == nil {
						ids[p.ClosureID] = true
					}
				}
				if len(found) < finishedPage {
					break
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(ids)), ctx.Err()
}
