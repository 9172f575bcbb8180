package main

import (
	"context"
	"fmt"
	"log"
	"strings"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
	"github.com/sirupsen/logrus"
)

// theLog is the process's log, for libraries that have one log of their own for the whole process: the standard library's,
// to which net/http and asynqmon speak, and go-redis's. Until a command makes its log, they have one that redacts as well.
var theLog atomic.Pointer[logrus.Logger]

func init() {
	early := logrus.New()
	early.AddHook(redaction{})
	theLog.Store(early)
	log.SetFlags(0)
	log.SetOutput(others{})
	redis.SetLogger(others{})
}

// others is how libraries come to the log. None of them says how grave it is; what they say is for whoever looks into trouble.
type others struct{}

// Write implements io.Writer.
func (others) Write(p []byte) (int, error) {
	theLog.Load().WithField("by", "library").Warn(strings.TrimSpace(string(p)))
	return len(p), nil
}

// Printf implements go-redis's logger.
func (others) Printf(_ context.Context, format string, v ...any) {
	theLog.Load().WithField("by", "redis").Warn(strings.TrimSpace(fmt.Sprintf(format, v...)))
}
