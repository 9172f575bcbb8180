package tasks

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Facts are what a Redis says of itself by INFO. A server may keep any of it to itself.
type Facts map[string]string

// ErrUntold says that Redis does not let this user ask INFO. Asking again does not help.
var ErrUntold = errors.New("redis does not let this user ask INFO")

// Ask asks a Redis for them. CONFIG is forbidden on managed servers, so that INFO is asked.
func Ask(ctx context.Context, rdb redis.UniversalClient) (Facts, error) {
	text, err := rdb.Info(ctx).Result()
	if said, ok := errors.AsType[redis.Error](err); ok && !strings.HasPrefix(said.Error(), "LOADING") {
		return nil, fmt.Errorf("%w: %w", ErrUntold, err)
	}
	if err != nil {
		return nil, fmt.Errorf("ask Redis for INFO: %w", err)
	}
	f := Facts{}
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(line, ":"); ok {
			f[k] = strings.TrimSpace(v)
		}
	}
	return f, nil
}

// Evicts says whether a full Redis drops what the queue needs.
func (f Facts) Evicts() (evicts, known bool) {
	policy := f["maxmemory_policy"]
	return policy != "noeviction", policy != ""
}

// Persists says whether it keeps an append-only file.
func (f Facts) Persists() (persists, known bool) {
	aof := f["aof_enabled"]
	return aof != "0", aof != ""
}

// Number is a fact that is a whole number.
func (f Facts) Number(name string) (n int64, known bool) {
	n, err := strconv.ParseInt(f[name], 10, 64)
	return n, err == nil
}
