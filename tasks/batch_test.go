package tasks_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"closeout/closure"
	"closeout/tasks"
)

// A bite stands in the bulk queue under its batch's id and version, carries nothing else, and never runs early.
func TestBitesAreScheduledOnceAndSeen(t *testing.T) {
	t.Parallel()
	inBubble(t, closure.ScaledClock(time.Minute, time.Now(), time.Now()), func(r *rig) { // business time does not touch them
		ctx := r.Context()
		due := time.Now().Add(1500 * time.Millisecond)
		b := tasks.Bite{BitePayload: tasks.BitePayload{BatchID: "b", Version: 3}, Type: tasks.BatchChecks, DueAt: due}
		if seen, err := r.q.LookBite(ctx, b); err != nil || seen.Condition != tasks.Missing {
			t.Errorf("before: %+v, %v", seen, err)
		}
		if err := r.q.ScheduleBite(ctx, b); err != nil {
			t.Fatal(err)
		}
		if err := r.q.ScheduleBite(ctx, b); !errors.Is(err, tasks.ErrConflict) {
			t.Errorf("twice: %v", err)
		}
		seen, err := r.q.LookBite(ctx, b)
		if err != nil || seen.Condition != tasks.Scheduled || seen.At.Before(due.Truncate(time.Second)) || seen.At.After(due.Add(time.Second)) {
			t.Errorf("due %s, it is seen %+v: %v", due, seen, err)
		}
		info, err := r.insp.GetTaskInfo("account_closure_bulk", "b/3")
		if err != nil || info.Type != tasks.BatchChecks || string(info.Payload) != `{"batch_id":"b","version":3}` {
			t.Errorf("the task is %+v, %v", info, err)
		}
		b.Version, b.Type, b.DueAt = 4, tasks.BatchStarts, time.Now().Add(-time.Hour)
		if err := r.q.ScheduleBite(ctx, b); err != nil {
			t.Fatal(err)
		}
		info, err = r.insp.GetTaskInfo("account_closure_bulk", "b/4")
		if err != nil || info.Type != tasks.BatchStarts {
			t.Errorf("the task is %+v, %v", info, err)
		}
		if seen, err := r.q.LookBite(ctx, b); err != nil || seen.Condition != tasks.Waiting {
			t.Errorf("due an hour ago: %+v, %v", seen, err)
		}
		r.mini.FlushAll()
		if seen, err := r.q.LookBite(ctx, b); err != nil || seen.Condition != tasks.Missing {
			t.Errorf("after Redis was emptied: %+v, %v", seen, err)
		}
	})
}

func TestABitesPayload(t *testing.T) {
	t.Parallel()
	for _, want := range []tasks.BitePayload{{BatchID: "b", Version: 7}, {RedriveID: "r", Version: 7}} {
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := tasks.ParseBitePayload(text); err != nil || got != want {
			t.Errorf("%+v, %v", got, err)
		}
	}
	for _, bad := range []string{
		"", "{", "[]", "{}", `{"batch_id":"b"}`, `{"version":1}`, `{"batch_id":"b","version":0}`, `{"redrive_id":"r"}`, `{"batch_id":"b","redrive_id":"r","version":1}`,
		`{"closure_id":"c","version":1,"token":"t"}`,
	} {
		if p, err := tasks.ParseBitePayload([]byte(bad)); err == nil {
			t.Errorf("%q was read as %+v", bad, p)
		}
	}
}
