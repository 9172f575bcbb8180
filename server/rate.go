package server

import (
	"context"
	"math"
	"net/http"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/go-redis/redis_rate/v10"
	"github.com/redis/go-redis/v9"
	"github.com/sirupsen/logrus"
	"golang.org/x/time/rate"
)

// DefaultRate is how many requests a second one key may make. 10,000 clients that look at their progress every half minute
// through one backend are 333; each costs the ledger two reads by an index.
const DefaultRate = 400

const (
	// postCost is how many requests a POST counts as: it writes, and may ask the broker. 400 a second are 40 of them, far more
	// than the broker's limit lets through; many accounts go by the batch.
	postCost = 10

	// LeastRate leaves room for a POST.
	LeastRate = postCost

	redisPatience = 100 * time.Millisecond // in machine time, for one question
	redisRest     = 5 * time.Second        // that a Redis which did not answer is left alone
)

// Limiter counts requests by key, for all servers together in Redis. While that is away each server counts for itself: a
// lost Redis refuses nobody.
type Limiter struct {
	gcra  *redis_rate.Limiter
	name  string
	limit redis_rate.Limit
	log   *logrus.Logger

	mu    sync.Mutex
	away  time.Time // until then Redis is not asked
	alone bool
	own   map[string]*rate.Limiter
}

// NewLimiter makes one that allows each key so many requests a second, and twice as many at once. Servers of one name
// count together.
func NewLimiter(rdb redis.UniversalClient, name string, perSecond int, log *logrus.Logger) *Limiter {
	return &Limiter{
		gcra: redis_rate.NewLimiter(rdb), name: "closeout:api:" + name + ":", log: log, own: map[string]*rate.Limiter{},
		limit: redis_rate.Limit{Rate: perSecond, Burst: 2 * perSecond, Period: time.Second},
	}
}

// take takes n requests from a key's, or says how long to wait for them.
func (l *Limiter) take(ctx context.Context, key string, n int) time.Duration {
	l.mu.Lock()
	away := time.Now().Before(l.away)
	l.mu.Unlock()
	if !away {
		asked, cancel := context.WithTimeout(ctx, redisPatience)
		defer cancel()
		r, err := l.gcra.AllowN(asked, l.name+key, l.limit, n)
		if err == nil {
			l.shared(nil)
			if r.Allowed > 0 {
				return 0
			}
			return max(r.RetryAfter, time.Millisecond)
		}
		if ctx.Err() != nil {
			return 0 // the client is gone, which says nothing of Redis
		}
		l.shared(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	own := l.own[key]
	if own == nil {
		own = rate.NewLimiter(rate.Limit(l.limit.Rate), l.limit.Burst)
		l.own[key] = own
	}
	r := own.ReserveN(time.Now(), n)
	wait := r.Delay()
	if wait > 0 {
		r.Cancel()
	}
	return wait
}

// shared notes whether Redis counts, and says so once when that changes.
func (l *Limiter) shared(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err != nil:
		l.away = time.Now().Add(redisRest)
		if !l.alone {
			l.log.WithError(err).Warn("Redis does not answer: this server counts its clients' requests for itself")
		}
	case l.alone:
		l.log.Info("clients' requests are counted by all servers together again")
	}
	l.alone = err != nil
}

// throttle refuses a key that asks too often.
func (s *server) throttle(c *gin.Context) {
	e := entryOf(c.Request.Context())
	if s.Limiter == nil || e.key == "" {
		return
	}
	n := 1
	if c.Request.Method != http.MethodGet && c.Request.Method != http.MethodHead {
		n = postCost
	}
	wait := s.Limiter.take(c.Request.Context(), e.key, n)
	if wait == 0 {
		return
	}
	p := tooMany.problem("The key " + e.key + " asks too often.").
		hinting("Wait for the time in Retry-After. Ask for many accounts by one batch, and follow them by their events instead of asking again and again.")
	p.retry = int(math.Ceil(wait.Seconds()))
	p.write(c.Writer, c.Request)
	c.Abort()
}
