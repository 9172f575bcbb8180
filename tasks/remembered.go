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

// Remember keeps a word about the ledger of an environment in Redis, until the next one or until Redis is emptied.
func (q *Queue) Remember(ctx context.Context, env, word string) error {
	if err := q.rdb.Set(ctx, rememberedKey(env), word, 0).Err(); err != nil {
		return fmt.Errorf("remember where the ledger stands: %w", err)
	}
	return nil
}

// Remembered is the last such word; "": there is none.
func (q *Queue) Remembered(ctx context.Context, env string) (string, error) {
	word, err := q.rdb.Get(ctx, rememberedKey(env)).Result()
	if errors.Is(err, redis.Nil) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("ask where the ledger stood: %w", err)
	}
	return word, nil
}

func rememberedKey(env string) string { return "closeout:ledger:" + env }

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
