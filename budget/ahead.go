package budget

import (
	"context"
	"sync"
	"time"

	"github.com/go-redis/redis_rate/v10"
)

const (
	keeps = 250 * time.Millisecond // that what was taken ahead is good for; then it is given up, and not returned
	quick = 3                      // questions within keeps, from which on a process takes ahead
)

// minute is in which a bucket gives out its rate: a minute and keeps, and by that no minute sees more calls than if each were
// asked for when it is made. In no span of this length does the bucket count more than its rate and depth. A call is taken
// less than keeps after the bucket counted it, by whichever process, so that those of one minute were all counted in one such
// span. How many processes there are, and how much each takes ahead, is not in that sum. What a call needs from then on to the
// broker is what one in fifty is kept for, all of it as before.
const minute = time.Minute + keeps

// bucket is one of the two in Redis, and what this process took of it ahead: while it is asked quickly and the bucket is
// plentiful, it takes as much beyond what is asked for as it was asked for lately, and answers from that. What is taken ahead
// never has the bucket taken up further than plenty, so that it is in nobody's way, and given up is at most what was asked for
// within keeps.
type bucket struct {
	key    string
	rate   int // calls in what minute is
	plenty int // calls

	mu    sync.Mutex
	left  int       // taken ahead
	until time.Time // then they are given up
	turn  time.Time // of the first of them, where the bucket is a queue
	full  time.Time // when the bucket will have come back to full, as last heard
	since time.Time // the present span of keeps, in which there were
	asks  int       // so many questions
	calls int       // for so many calls
	last  int       // calls that were asked for in the span before, if that was quickly
}

// lasts is how long the bucket takes to give out so many calls.
func (b *bucket) lasts(calls int) time.Duration {
	return time.Duration(calls) * minute / time.Duration(b.rate)
}

// use takes calls from what was taken ahead, and says how long it is until their turn. Where they are not there, Redis is to be
// asked, for so many more.
func (b *bucket) use(calls int, now time.Time) (turn time.Duration, more int, there bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if span := now.Sub(b.since); span >= keeps {
		b.last = 0
		if b.asks >= quick && span < 2*keeps {
			b.last = b.calls
		}
		b.since, b.asks, b.calls = now, 0, 0
	}
	if more = b.last - calls; b.asks >= quick {
		more = max(more, b.calls-calls)
	}
	b.asks++
	b.calls += calls
	if calls <= b.left && now.Before(b.until) {
		turn = max(b.turn.Sub(now), 0)
		b.left -= calls
		b.turn = b.turn.Add(b.lasts(calls))
		return turn, 0, true
	}
	up := int(max(b.full.Sub(now), 0).Seconds() / minute.Seconds() * float64(b.rate))
	more = max(min(more, (b.plenty-up-calls)/2), 0) // others want some, too
	return 0, more - more%max(calls, 1), false      // for questions like this one
}

// keep takes in an answer to a question that was put at asked, with what it gave ahead.
func (b *bucket) keep(more int, asked, turn, full time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.full = full
	if more > 0 {
		b.left, b.until, b.turn = more, asked.Add(keeps), turn
	}
}

// draw takes calls from a bucket that may be taken up to a depth, and says how long it is until their turn where it is a queue.
// missing is how long it is until there are so many: then none was taken. It is false where Redis did not answer.
func (s *shared) draw(ctx context.Context, b *bucket, depth, calls int) (turn, missing time.Duration, ok bool) {
	asked := time.Now()
	turn, more, there := b.use(calls, asked)
	if there {
		return turn, 0, true
	}
	limit := redis_rate.Limit{Rate: b.rate, Burst: depth, Period: minute}
	var r *redis_rate.Result
	if !s.ask(ctx, func(ctx context.Context) (err error) {
		if more > 0 {
			plentiful := limit
			plentiful.Burst = b.plenty
			if r, err = s.gcra.AllowN(ctx, b.key, plentiful, calls+more); err != nil || r.Allowed > 0 {
				return err
			}
			more = 0 // others have taken from it since
		}
		r, err = s.gcra.AllowN(ctx, b.key, limit, calls)
		return err
	}) {
		return 0, 0, false
	}
	full := asked.Add(r.ResetAfter)
	if r.Allowed == 0 {
		b.keep(0, asked, asked, full)
		return 0, max(r.RetryAfter, time.Millisecond), true
	}
	turn = max(r.ResetAfter-b.lasts(calls+more), 0)
	b.keep(more, asked, asked.Add(turn+b.lasts(calls)), full)
	return turn, 0, true
}
