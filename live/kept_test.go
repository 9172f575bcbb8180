package live_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"closeout/live"
)

func TestAReadingOfBeforeAChangeIsNotKept(t *testing.T) {
	t.Parallel()
	k := &live.Kept[int]{Life: time.Hour, Patience: time.Minute}
	n := 0
	read := func(context.Context) (int, error) { n++; return n, nil }
	slow := func(ctx context.Context) (int, error) {
		k.Forget() // something changes while it is read
		return read(ctx)
	}
	for _, tt := range []struct {
		read func(context.Context) (int, error)
		want int
	}{{read, 1}, {read, 1}} {
		if got, err := k.Get(t.Context(), tt.read); got != tt.want || err != nil {
			t.Fatalf("%d, %v, want %d", got, err, tt.want)
		}
	}
	k.Forget()
	if got, _ := k.Get(t.Context(), slow); got != 2 {
		t.Errorf("%d", got)
	}
	if got, _ := k.Get(t.Context(), read); got != 3 {
		t.Errorf("the reading of before the change was kept: %d", got)
	}
	k.Forget()
	if _, err := k.Get(t.Context(), func(context.Context) (int, error) { return 0, live.ErrSlow }); !errors.Is(err, live.ErrSlow) {
		t.Error(err)
	}
	if got, _ := k.Get(t.Context(), read); got != 4 {
		t.Errorf("a failure was kept: %d", got)
	}
}
