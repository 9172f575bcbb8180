package handlers

import (
	"fmt"

	"github.com/sirupsen/logrus"

	"closeout/closure"
)

// GiveBack is the end of a task that only a newer version of the service can carry out: while servers and workers are replaced
// one by one, or after a worker was put back, an older one meets what the newer has written. Asynq gives the task to
// whichever worker asks next, after a while, and counts nothing.
func GiveBack(log *logrus.Logger, task, what string) error {
	log.WithFields(logrus.Fields{"task": task, "has": what}).Warn("a task is given back: a worker of a newer version must carry it out")
	return fmt.Errorf("%w: it has %s", closure.ErrNewer, what)
}
