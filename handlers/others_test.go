package handlers_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"closeout/alpaca/sim"
	"closeout/closure"
	"closeout/internal/lab"
	"closeout/tasks"
)

// What another tool runs of a stopped closure, asynqmon's "run now" or the asynq CLI, is acknowledged and changes nothing.
func TestWhatAnotherToolRunsOfAStoppedClosureIsWithoutEffect(t *testing.T) {
	t.Parallel()
	by := func(ch closure.Change) lab.Decide {
		return func(closure.Closure, []closure.Intent) (closure.Change, error) { return ch, nil }
	}
	for state, stop := range map[closure.State]func(*lab.Lab, closure.Closure) closure.Closure{
		closure.Paused: func(l *lab.Lab, c closure.Closure) closure.Closure {
			return commanded(l, c, by(closure.Pause(time.Now(), "tester", "wait")))
		},
		closure.Canceled: func(l *lab.Lab, c closure.Closure) closure.Closure {
			return commanded(l, c, by(closure.Cancel(time.Now(), "tester", "never mind", false)))
		},
		closure.Dead: func(l *lab.Lab, c closure.Closure) closure.Closure {
			chaos(l, sim.Rule{Method: http.MethodGet, Path: "/v1/trading/accounts/*/positions", Fault: sim.FaultError, Status: 400})
			c = l.Ends(c.ID, month)
			chaos(l)
			return c
		},
		closure.Closed: func(l *lab.Lab, c closure.Closure) closure.Closure { return l.Ends(c.ID, month) },
	} {
		t.Run(string(state), func(t *testing.T) {
			t.Parallel()
			bench(t, lab.Options{Start: "2026-11-21 12:00"}, func(l *lab.Lab) { // a Saturday: nothing is sold before Monday
				first := l.Open(threeStocks())
				task := tasks.PayloadOf(first)
				l.Saved = func(c closure.Closure) { // the task that is in the archive, at last
					if c.ID == first.ID && c.State == closure.Running {
						task = tasks.PayloadOf(c)
					}
				}
				c := stop(l, first)
				if c.State != state {
					l.TB.Fatalf("%s: %s", c.State, c.Why)
				}
				l.RunFor(time.Hour) // whatever was on its way
				before, calls := kept(l, c), l.Calls.Load()

				rdb := redis.NewClient(&redis.Options{
					Addr: "127.0.0.1:1", Dialer: func(context.Context, string, string) (net.Conn, error) { return l.Redis.Dial() }, Protocol: 2, DisableIdentity: true, ReadTimeout: -1, WriteTimeout: -1,
				})
				defer func() { _ = rdb.Close() }()
				ins, client := asynq.NewInspectorFromRedisClient(rdb), asynq.NewClientFromRedisClient(rdb)
				queue := tasks.QueueFor(c.Priority)
				if state == closure.Dead {
					if err := ins.RunTask(queue, task.ID()); err != nil {
						l.TB.Fatalf("run the archived task %s: %v", task.ID(), err)
					}
				}
				for n, p := range []tasks.Payload{tasks.PayloadOf(first), tasks.PayloadOf(c), {ClosureID: c.ID, Version: c.Version + 7, Token: "0123456789ab"}} {
					enqueue(l, client, queue, closure.Road[n].Phase, p)
				}
				l.RunFor(day)
				if diff := cmp.Diff(before, kept(l, c)); diff != "" {
					l.TB.Errorf("it had an effect (-before +after)\n%s", diff)
				}
				if now := l.Calls.Load(); now != calls {
					l.TB.Errorf("the broker was asked %d times", now-calls)
				}
				if info, err := ins.GetQueueInfo(queue); err != nil || info.Size != 0 {
					l.TB.Errorf("the queue still has %+v, %v", info, err)
				}
			})
		})
	}
}

// kept is all that could tell of an effect.
func kept(l *lab.Lab, c closure.Closure) any {
	l.TB.Helper()
	events, err := l.Ledger.Events(l.TB.Context(), c.ID)
	if err != nil {
		l.TB.Fatal(err)
	}
	journal, err := l.Sim.Journal(c.AccountID)
	if err != nil {
		l.TB.Fatal(err)
	}
	return []any{l.Get(c.ID), len(events), journal}
}

func commanded(l *lab.Lab, c closure.Closure, decide lab.Decide) closure.Closure {
	l.TB.Helper()
	next, err := l.Command(c.ID, decide)
	if err != nil {
		l.TB.Fatal(err)
	}
	return next
}

// enqueue puts a task into the queue as another tool could.
func enqueue(l *lab.Lab, client *asynq.Client, queue string, phase closure.Phase, p tasks.Payload) {
	l.TB.Helper()
	body, err := json.Marshal(p)
	if err != nil {
		l.TB.Fatal(err)
	}
	if _, err := client.Enqueue(asynq.NewTask(tasks.TypeOf(phase), body), asynq.Queue(queue)); err != nil {
		l.TB.Fatal(err)
	}
}
