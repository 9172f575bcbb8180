package budget

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/redis/go-redis/v9"
	"github.com/sirupsen/logrus"
	"golang.org/x/time/rate"
)

const (
	redisPatience = 250 * time.Millisecond // for one question
	redisRest     = 5 * time.Second        // that a Redis which did not answer is left alone
	replicas      = 10                     // assumed where they can't be counted: each takes so much less
	mostQueued    = 1 << 30                // calls; the queue itself refuses nobody
)

// shared is the bucket in Redis and, while that is away, a share of it in this process.
type shared struct {
	rdb  redis.UniversalClient
	gcra *redis_rate.Limiter
	key  string
	size size
	log  *logrus.Logger

	calls   *bucket
	looks   *bucket       // the queue of looks
	placing chan struct{} // held by whoever asks for a place in it

	mu      sync.Mutex
	away    time.Time // until then Redis is not asked
	isAway  bool
	share   *rate.Limiter
	heard   time.Time     // when the broker's quota was last asked of Redis
	backlog time.Duration // as last seen

	telling atomic.Bool
}

func newShared(o Options, s size) *shared {
	own := max(o.PerMinute/replicas, 10)
	depth := max(own/4, 8)
	key, queue := "closeout:budget:"+o.Name, max(s.rate*95/100, 1)
	return &shared{
		rdb: o.Redis, gcra: redis_rate.NewLimiter(o.Redis), key: key, size: s, log: o.Log,
		calls: &bucket{key: key, rate: s.rate, plenty: s.depth[Look] / 2},
		looks: &bucket{key: key + ":looks", rate: queue, plenty: int(time.Duration(queue) * keeps / minute)}, placing: make(chan struct{}, 1),
		share: rate.NewLimiter(rate.Limit(max(own-depth, 2))/60, depth),
	}
}

// take takes calls from the bucket, or says how long to wait for them.
func (s *shared) take(ctx context.Context, class Class, calls int) time.Duration {
	_, missing, ok := s.draw(ctx, s.calls, s.size.depth[class], calls)
	switch {
	case !ok:
		return s.takeShare(class, calls)
	case missing == 0:
		s.charge(calls)
	}
	return missing
}

// place gives a look its place in the queue of all looks, and says how long it is until its turn. The queue is a second
// bucket that refuses nobody and only says how far ahead it is taken up; it is a little slower than the first, so that
// whoever has waited for their turn finds it.
func (s *shared) place(ctx context.Context, calls int) time.Duration {
	select { // as for each class: the others wait behind, and don't ask in a crowd
	case s.placing <- struct{}{}:
		defer func() { <-s.placing }()
	case <-ctx.Done():
		return 0
	}
	wait, _, ok := s.draw(ctx, s.looks, mostQueued, calls)
	if !ok {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.backlog = wait
	return wait
}

// takeShare is take without Redis: this process's part of the budget, if there are no more than ten of it.
func (s *shared) takeShare(class Class, calls int) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, depth := time.Now(), s.share.Burst()
	leave := [classes]int{Look: depth / 4, Asked: depth / 8}[class]
	calls = min(calls, depth-leave)
	if short := float64(calls+leave) - s.share.TokensAt(now); short > 0 {
		return time.Duration(short / float64(s.share.Limit()) * float64(time.Second))
	}
	s.share.AllowN(now, calls)
	return 0
}

// charge counts against the share what was taken from the whole: a process that loses Redis has had its part already.
func (s *shared) charge(calls int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.share.AllowN(now, min(calls, int(s.share.TokensAt(now))))
}

// ask puts one question to Redis, and says whether it was answered.
func (s *shared) ask(ctx context.Context, question func(context.Context) error) bool {
	s.mu.Lock()
	away := time.Now().Before(s.away)
	s.mu.Unlock()
	if away {
		return false
	}
	limited, cancel := context.WithTimeout(ctx, redisPatience)
	defer cancel()
	err := question(limited)
	if ctx.Err() != nil {
		return false // the caller's end says nothing of Redis
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil || errors.Is(err, redis.Nil):
		if s.isAway {
			s.isAway = false
			s.log.Info("the budget of calls to the broker is shared again")
		}
		return true
	case !s.isAway:
		s.isAway = true
		s.log.WithError(err).Warn(fmt.Sprintf("Redis does not answer: this process keeps to its share of the broker's budget, %d calls a minute", int(s.share.Limit()*60)))
	}
	s.away = time.Now().Add(redisRest)
	return false
}

// tell lets the other processes know what the broker said of its quota. Nobody waits for it.
func (s *shared) tell(ctx context.Context, t told) {
	keep := time.Until(t.reset)
	if keep <= 0 || !s.telling.CompareAndSwap(false, true) {
		return
	}
	go func() {
		defer s.telling.Store(false)
		s.ask(context.WithoutCancel(ctx), func(ctx context.Context) error {
			return s.rdb.Set(ctx, s.key+":quota", fmt.Sprintf("%d %d %d", t.limit, t.left, t.reset.UnixMilli()), keep).Err()
		})
	}()
}

// told is what another process let us know; at most once a second Redis is asked for it.
func (s *shared) told(ctx context.Context) told {
	s.mu.Lock()
	soon := time.Since(s.heard) < time.Second
	if !soon {
		s.heard = time.Now()
	}
	s.mu.Unlock()
	if soon {
		return told{}
	}
	var text string
	s.ask(ctx, func(ctx context.Context) (err error) {
		text, err = s.rdb.Get(ctx, s.key+":quota").Result()
		return err
	})
	var t told
	var reset int64
	if n, _ := fmt.Sscan(text, &t.limit, &t.left, &reset); n != 3 {
		return told{}
	}
	t.reset = time.UnixMilli(reset)
	return t
}
