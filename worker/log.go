package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/hibiken/asynq"
	"github.com/sirupsen/logrus"
)

// exhausted begins the line that Asynq logs of every task it puts into the archive.
const exhausted = "Retry exhausted"

// quiet is Asynq's log without that line. A closure that stops, for which nothing is wrong with the worker, is archived as
// well, and the line can't tell the two apart; givenUp can.
type quiet struct{ *logrus.Logger }

// Warn implements asynq.Logger.
func (q quiet) Warn(args ...any) {
	if !strings.HasPrefix(fmt.Sprint(args...), exhausted) {
		q.Logger.Warn(args...)
	}
}

// givenUp logs a task that Asynq gives up though its closure has not stopped, with the cause, which Asynq's own line lacks.
// The sweep gives such a closure a new task.
func givenUp(log *logrus.Logger) asynq.ErrorHandlerFunc {
	return func(ctx context.Context, _ *asynq.Task, err error) {
		retried, _ := asynq.GetRetryCount(ctx)
		most, _ := asynq.GetMaxRetry(ctx)
		if id, _ := asynq.GetTaskID(ctx); retried >= most && !errors.Is(err, asynq.SkipRetry) {
			id, _, _ = strings.Cut(id, ".") // without its token
			log.WithField("task", id).WithError(err).Error("a task's retries are used up; the sweep looks after its closure")
		}
	}
}
