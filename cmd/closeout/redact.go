package main

import (
	"github.com/sirupsen/logrus"

	"closeout/alpaca"
)

// redaction is the net under every log line, our libraries' included: bank and account numbers, e-mail addresses and long
// tokens are masked in the message and in each text or error field. What is logged should not hold any to begin with.
type redaction struct{}

// Levels implements logrus.Hook.
func (redaction) Levels() []logrus.Level { return logrus.AllLevels }

// Fire implements logrus.Hook.
func (redaction) Fire(e *logrus.Entry) error {
	e.Message = alpaca.Redact(e.Message)
	for k, v := range e.Data {
		switch v := v.(type) {
		case string:
			e.Data[k] = alpaca.Redact(v)
		case error:
			e.Data[k] = alpaca.Redact(v.Error())
		}
	}
	return nil
}
