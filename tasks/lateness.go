package tasks

import (
	"context"
	"fmt"
	"math/bits"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// steps are how many kinds of lateness are told apart: up to a quarter of a second, and each further one twice as late as the
// one before, up to a day and a half and beyond.
const steps = 20

// quick is the first step.
const quick = 250 * time.Millisecond

// Lateness counts visits by how much machine time after their due time they began. It is the same for all workers, so that
// their counts add up to a truth, which means and maxima would not. In Redis it outlives a worker, and not Redis itself.
type Lateness [steps]int64

// Count counts a visit that began so late.
func (l *Lateness) Count(late time.Duration) {
	l[min(bits.Len64(uint64(max(late-1, 0)/quick)), steps-1)]++
}

// Add adds what others have counted.
func (l *Lateness) Add(o Lateness) {
	for n, c := range o {
		l[n] += c
	}
}

// Visits is how many have begun.
func (l Lateness) Visits() (n int64) {
	for _, c := range l {
		n += c
	}
	return n
}

// Within is the step within which so many hundredths of the visits began. ok is false where there were none; beyond says
// that the last step has no end.
func (l Lateness) Within(percent int64) (d time.Duration, beyond, ok bool) {
	all := l.Visits()
	seen := int64(0)
	for n, c := range l {
		if seen += c; c > 0 && seen*100 >= all*percent {
			return quick << n, n == steps-1, true
		}
	}
	return 0, false, false
}

// Span is a minute or an hour of visits.
type Span struct {
	From time.Time // machine
	Lateness
}

// spans are the lengths for which visits are counted, and how long each count is kept.
var spans = map[time.Duration]time.Duration{time.Minute: 2 * time.Hour, time.Hour: 26 * time.Hour}

func spanKey(length time.Duration, n int64) string {
	return fmt.Sprintf("closeout:visits:%d:%d", int(length.Seconds()), n)
}

func spanAt(length time.Duration, at time.Time) int64 { return at.Unix() / int64(length.Seconds()) }

// add writes the counts to the present minute and hour.
func (l Lateness) add(ctx context.Context, p redis.Pipeliner, at time.Time) {
	if l.Visits() == 0 {
		return
	}
	for length, life := range spans {
		key := spanKey(length, spanAt(length, at))
		for n, c := range l {
			if c > 0 {
				p.HIncrBy(ctx, key, strconv.Itoa(n), c)
			}
		}
		p.Expire(ctx, key, life)
	}
}

// Visits are the last n minutes or hours, the present one last, as all workers have counted them together. A span of which
// Redis has nothing is empty.
func (q *Queue) Visits(ctx context.Context, length time.Duration, n int) ([]Span, error) {
	last := spanAt(length, time.Now())
	out := make([]Span, n)
	kept := make([]*redis.MapStringStringCmd, n)
	_, err := q.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := range out {
			at := last - int64(n-1-i)
			out[i].From = time.Unix(at*int64(length.Seconds()), 0)
			kept[i] = p.HGetAll(ctx, spanKey(length, at))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the counts of visits: %w", err)
	}
	for i, k := range kept {
		for step, count := range k.Val() {
			s, err1 := strconv.Atoi(step)
			c, err2 := strconv.ParseInt(count, 10, 64)
			if err1 == nil && err2 == nil && s >= 0 && s < steps {
				out[i].Lateness[s] = c
			}
		}
	}
	return out, nil
}
