package tasks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
)

// Finished is a task of which Asynq keeps only the memory.
type Finished struct {
	Queue     string
	ID        string
	ClosureID string    // empty: it was no visit
	Archived  bool      // given up; otherwise completed
	At        time.Time // machine
}

// finishedPage is how many tasks are asked for at once.
const finishedPage = 500

// Finished lists the completed and archived tasks of before a machine time. Asynq itself keeps at most ten thousand archived
// tasks of a queue.
func (q *Queue) Finished(ctx context.Context, before time.Time) (out []Finished, err error) {
	for name := range Queues {
		for archived, list := range map[bool]func(string, ...asynq.ListOption) ([]*asynq.TaskInfo, error){true: q.inspector.ListArchivedTasks, false: q.inspector.ListCompletedTasks} {
			for page := 1; ctx.Err() == nil; page++ {
				found, err := list(name, asynq.PageSize(finishedPage), asynq.Page(page))
				if errors.Is(err, asynq.ErrQueueNotFound) {
					break
				}
				if err != nil {
					return out, fmt.Errorf("list the finished tasks of %s: %w", name, err)
				}
				for _, t := range found {
					f := Finished{Queue: name, ID: t.ID, Archived: archived, At: t.CompletedAt}
					if archived {
						f.At = t.LastFailedAt
					}
					if p, err := ParsePayload(t.Payload); err == nil {
						f.ClosureID = p.ClosureID
					}
					if f.At.Before(before) {
						out = append(out, f)
					}
				}
				if len(found) < finishedPage {
					break
				}
			}
		}
	}
	return out, ctx.Err()
}

// Forget removes a finished task. It is no error if it is gone.
func (q *Queue) Forget(f Finished) error {
	err := q.inspector.DeleteTask(f.Queue, f.ID)
	if err != nil && !errors.Is(err, asynq.ErrTaskNotFound) && !errors.Is(err, asynq.ErrQueueNotFound) {
		return fmt.Errorf("remove task %s: %w", f.ID, err)
	}
	return nil
}
