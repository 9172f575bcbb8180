package worker_test

import (
	"context"
	"errors"
	"testing"

	"closeout/worker"
)

// TestForgettingGoesInBites: until nothing is left, and never without an end.
func TestForgettingGoesInBites(t *testing.T) {
	for left, want := range map[int]int{0: 1, 499: 1, 500: 2, 1200: 3, 1_000_000: 20} {
		calls := 0
		err := worker.Forget(t.Context(), func(_ context.Context, limit int) (int, error) {
			calls++
			n := min(limit, left)
			left -= n
			return n, nil
		})
		if err != nil || calls != want {
			t.Errorf("%d calls, %v, want %d", calls, err, want)
		}
	}
	broken := errors.New("broken")
	if err := worker.Forget(t.Context(), func(context.Context, int) (int, error) { return 500, broken }); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}
