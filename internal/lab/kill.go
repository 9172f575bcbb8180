package lab

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"closeout/closure"
	"closeout/tasks"
)

// Trail is what a lab has gone through: the name of each point, and the turns of RunUntil.
type Trail struct {
	Points []string
	turns  []turn
}

type turn struct {
	from int  // so many points had been passed when it began
	news bool // something was asked of the broker, or the row changed by more than its next look
}

// of is the turn in which point k was passed; -1 for a point before the first.
func (t Trail) of(k int) int {
	n, _ := slices.BinarySearchFunc(t.turns, k, func(u turn, k int) int { return cmp.Compare(u.from, k) })
	return n - 1
}

// Alike says whether a kill at point k is like one at a point of the turn before: k is in a look that found nothing new
// and asked nothing of the broker, and so are the looks before and after it. The ledger itself tells such a look, by
// appending no event; phase, state and memo are compared besides.
func (t Trail) Alike(k int) bool {
	n := t.of(k)
	return n > 0 && n+1 < len(t.turns) && !t.turns[n-1].news && !t.turns[n].news && !t.turns[n+1].news
}

// news marks the turn as one that is like no other.
func (l *Lab) news() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.Trail.turns); n > 0 {
		l.Trail.turns[n-1].news = true
	}
}

// HandOver has tasks that stand alone in the queue handed to the runner directly, in Asynq's stead and a second after they
// are due, which is several times cheaper and, unlike Asynq's polling, to the second the same each time. See alone for
// why nothing else is different.
func (l *Lab) HandOver() { l.handUntil = math.MaxInt }

// Kill ends the worker at point k, counted from 1, of a run that goes like the one with that trail, which was handed over.
// The turn with that point is left to Asynq, and so is what comes of it until the queue is at rest again; the turns before
// and after are handed over.
func (l *Lab) Kill(k int, like Trail) {
	l.KillAt, l.handUntil = k, 0
	if n := like.of(k); n >= 0 {
		l.handUntil = like.turns[n].from
	}
}

// hands says whether this turn's task may be handed over.
func (l *Lab) hands() bool {
	return l.Points < l.handUntil || l.handUntil >= 0 && l.Killed != "" && !l.cur.dead.Load()
}

// handOver carries out the next visit in Asynq's stead, if its task stands alone and is due before until. There is no
// sweep: it would find no row overdue, and letters can wait for the next one.
func (l *Lab) handOver(until time.Time) bool {
	c, at, ok := l.alone()
	if !ok || at.After(until) {
		return false
	}
	time.Sleep(time.Until(at.Add(time.Second)))
	err := l.Deliver(c)
	if err != nil && l.Get(c.ID).State == closure.Running {
		l.TB.Fatalf("a visit that was handed over: %v", err)
	}
	// The acknowledgement.
	if err := asynq.NewInspectorFromRedisClient(l.peek).DeleteTask(tasks.QueueFor(c.Priority), tasks.PayloadOf(c).ID()); err != nil {
		l.TB.Fatal(err)
	}
	return true
}

// alone says whether Redis holds nothing but one task, that of a running closure's present version, scheduled or pending,
// and when it is due. All that Asynq can do then is to deliver it once: nothing is leased, retried or archived, and no
// other task could come first, overlap or come back.
func (l *Lab) alone() (c closure.Closure, at time.Time, ok bool) {
	ctx := context.WithoutCancel(l.TB.Context())
	pipe := l.peek.Pipeline()
	var pending, busy []*redis.StringSliceCmd
	var scheduled []*redis.ZSliceCmd
	for q := range tasks.Queues {
		pending = append(pending, pipe.LRange(ctx, l.key(q, "pending"), 0, -1))
		scheduled = append(scheduled, pipe.ZRangeWithScores(ctx, l.key(q, "scheduled"), 0, -1))
		busy = append(busy, pipe.LRange(ctx, l.key(q, "active"), 0, -1))
		for _, set := range []string{"lease", "retry", "archived"} {
			busy = append(busy, pipe.ZRange(ctx, l.key(q, set), 0, -1))
		}
	}
	if _, err := pipe.Exec(ctx); err != nil {
		l.TB.Fatal(err)
	}
	for _, b := range busy {
		if len(b.Val()) > 0 {
			return c, at, false
		}
	}
	at = time.Now()
	var ids []string
	for _, p := range pending {
		ids = append(ids, p.Val()...)
	}
	for _, s := range scheduled {
		for _, z := range s.Val() {
			ids = append(ids, z.Member.(string))
			at = time.Unix(int64(z.Score), 0)
		}
	}
	if len(ids) != 1 {
		return c, at, false
	}
	id, _, _ := strings.Cut(ids[0], "/")
	c = l.Get(id)
	return c, at, c.State == closure.Running && ids[0] == tasks.PayloadOf(c).ID()
}
