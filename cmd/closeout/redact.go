package main

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/alecthomas/kong"
	"github.com/sirupsen/logrus"

	"closeout/alpaca"
)

// redaction is the net under every log line, our libraries' included: bank and account numbers, e-mail addresses and long
// tokens are masked in the message and in each field that is no number, and so are this process's own secrets and the tokens
// of tasks. What is logged should not hold any to begin with.
type redaction struct{}

// Levels implements logrus.Hook.
func (redaction) Levels() []logrus.Level { return logrus.AllLevels }

// Fire implements logrus.Hook. The entry is the line's own: logrus copies it for its hooks.
func (redaction) Fire(e *logrus.Entry) error {
	e.Message = redact(e.Message)
	for k, v := range e.Data {
		switch v := v.(type) {
		case nil, bool, int, int32, int64, uint64, float64, time.Time:
		case error:
			e.Data[k] = redact(v.Error())
		default:
			e.Data[k] = redact(fmt.Sprint(v))
		}
	}
	return nil
}

// taskToken is the end of a task's name, closure/version.token: whoever knows the token can make a worker visit.
var taskToken = regexp.MustCompile(`(/\d+)\.[0-9a-f]{12}\b`)

func redact(s string) string {
	return alpaca.Redact(taskToken.ReplaceAllString(own.mask(s), "$1"))
}

// own are the secrets that this process was given. They have no form of their own by which they could be recognized.
var own secrets

type secrets struct {
	mu    sync.RWMutex
	known []string
}

// leastSecret is the length from which a secret is looked for: a shorter one would be found in every other word.
const leastSecret = 6

// learn notes the secret settings of the command that is about to run, and of addresses their passwords.
func (s *secrets) learn(k *kong.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range k.Flags() {
		if !f.Tag.Has("secret") {
			continue
		}
		value := f.Target.String()
		if strings.HasPrefix(value, "sqlite:") { // a path
			continue
		}
		if scheme, _, found := strings.Cut(value, "://"); found && !strings.ContainsAny(scheme, "=:/") {
			s.learnURL(value)
			continue
		}
		s.add(value)
		for part := range strings.SplitSeq(value, ",") { // name=secret, name:hash
			if i := strings.IndexAny(part, "=:"); i > 0 {
				s.add(part[i+1:])
			}
		}
	}
}

// learnURL notes the passwords in an address. It may name several hosts, which url.Parse does not read.
func (s *secrets) learnURL(value string) {
	_, rest, _ := strings.Cut(value, "://")
	end := len(rest)
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		end = i
	}
	if at := strings.LastIndex(rest[:end], "@"); at >= 0 {
		user, written, _ := strings.Cut(rest[:at], ":")
		secret, err := url.PathUnescape(written)
		if err != nil {
			secret = written
		}
		if name, err := url.PathUnescape(user); err != nil || name != secret { // as in many an example: no secret, and a word that is needed
			s.add(secret, url.QueryEscape(secret), written)
		}
	}
	_, query, _ := strings.Cut(rest[end:], "?")
	parameters, _ := url.ParseQuery(query) // what of it can be read
	for name, values := range parameters {
		if strings.HasSuffix(name, "password") {
			for _, v := range values {
				s.add(v, url.QueryEscape(v))
			}
		}
	}
}

func (s *secrets) add(values ...string) {
	for _, v := range values {
		if len(v) >= leastSecret {
			s.known = append(s.known, v)
		}
	}
}

func (s *secrets) mask(text string) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, v := range s.known {
		text = strings.ReplaceAll(text, v, "***")
	}
	return text
}
