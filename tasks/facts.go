package tasks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// Facts are what a Redis server says of itself by INFO. A server may keep any of it to itself.
type Facts map[string]string

// Addr is the server's, where it is one of a cluster.
const Addr = "addr"

// Told is what all servers of a Redis that take writes say: one, or each primary of a cluster.
type Told []Facts

// ErrUntold says that Redis does not let this user ask INFO. Asking again does not help.
var ErrUntold = errors.New("redis does not let this user ask INFO")

// Ask asks a Redis for them. CONFIG is forbidden on managed servers, so that INFO is asked.
func Ask(ctx context.Context, rdb redis.UniversalClient) (told Told, err error) {
	var mu sync.Mutex
	err = each(ctx, rdb, func(ctx context.Context, rdb redis.UniversalClient, addr string) error {
		f, err := ask(ctx, rdb)
		if err != nil {
			return err
		}
		if addr != "" {
			f[Addr] = addr
		}
		mu.Lock()
		defer mu.Unlock()
		told = append(told, f)
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(told, func(a, b Facts) int { return cmp.Compare(a[Addr], b[Addr]) })
	return told, nil
}

// each does something at every server that takes writes: at each primary of a cluster, which would pass a command without a key
// to any of its servers. addr is a primary's.
func each(ctx context.Context, rdb redis.UniversalClient, do func(ctx context.Context, rdb redis.UniversalClient, addr string) error) error {
	cluster, ok := rdb.(*redis.ClusterClient)
	if !ok {
		return do(ctx, rdb, "")
	}
	return cluster.ForEachMaster(ctx, func(ctx context.Context, primary *redis.Client) error {
		addr := primary.Options().Addr
		if err := do(ctx, primary, addr); err != nil {
			return fmt.Errorf("%s of the cluster: %w", addr, err)
		}
		return nil
	})
}

func ask(ctx context.Context, rdb redis.UniversalClient) (Facts, error) {
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

// Evicts says whether one of the servers drops what the queue needs once it is full.
func (t Told) Evicts() (evicts, known bool) {
	known = len(t) > 0
	for _, f := range t {
		e, k := f.Evicts()
		evicts, known = evicts || k && e, known && k
	}
	return evicts, known || evicts
}

// Persists says whether all of them keep an append-only file.
func (t Told) Persists() (persists, known bool) {
	persists, known = true, len(t) > 0
	for _, f := range t {
		p, k := f.Persists()
		persists, known = persists && (p || !k), known && k
	}
	return persists, known || !persists
}

// Number is the sum of a fact that is a whole number.
func (t Told) Number(name string) (sum int64, known bool) {
	known = len(t) > 0
	for _, f := range t {
		n, k := f.Number(name)
		sum, known = sum+n, known && k
	}
	return sum, known
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
