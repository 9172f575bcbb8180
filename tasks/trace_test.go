package tasks_test

import (
	"testing"
	"time"

	"closeout/closure"
	"closeout/tasks"
)

// A task carries the trace of its closure's row each time that it is made, and nothing where the row has none.
func TestATaskCarriesTheTraceOfItsRow(t *testing.T) {
	t.Parallel()
	inBubble(t, closure.Clock{}, func(r *rig) {
		headers := func(c closure.Closure) map[string]string {
			r.Helper()
			r.schedule(c)
			info, err := r.insp.GetTaskInfo(tasks.QueueFor(c.Priority), tasks.PayloadOf(c).ID())
			if err != nil {
				r.Fatal(err)
			}
			return info.Headers
		}
		plain := due("plain", time.Now().Add(time.Hour))
		if h := headers(plain); len(h) != 0 {
			r.Errorf("without a trace it carries %v", h)
		}
		traced := due("traced", time.Now().Add(time.Hour))
		traced.Trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
		if h := headers(traced); len(h) != 1 || h[tasks.TraceHeader] != traced.Trace {
			r.Errorf("it carries %v", h)
		}
		r.mini.FlushAll() // and a sweep registers the queues and schedules it again
		if err := tasks.Register(r.Context(), r.rdb); err != nil {
			r.Fatal(err)
		}
		if h := headers(traced); h[tasks.TraceHeader] != traced.Trace {
			r.Errorf("after Redis was emptied it carries %v", h)
		}
	})
}
