package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"closeout/tasks"
)

// ErrUnfit says that this Redis would lose tasks or can't run Asynq's scripts. Waiting does not mend it; a person must.
var ErrUnfit = errors.New("this Redis is not fit for the queue")

// Fit asks Redis whether it may carry the queue, each primary if it is a cluster. ErrUnfit: it may not, and the text says what to
// do. Any other error: it could not be asked now. The warnings are for the log; what a server does not tell is one, since
// nobody knows.
func Fit(ctx context.Context, rdb redis.UniversalClient) (warnings []string, err error) {
	if err := rdb.Ping(ctx).Err(); err != nil {
		return nil, fmt.Errorf("ask Redis: %w", err)
	}
	told, err := tasks.Ask(ctx, rdb)
	if errors.Is(err, tasks.ErrUntold) {
		return []string{"whether Redis is at least 6.2 and evicts nothing is not known: " + err.Error()}, nil
	}
	if err != nil {
		return nil, err
	}
	var unfit []error
	for _, info := range told {
		if info["role"] == "slave" {
			return nil, errors.New("this Redis is a replica and takes no writes; waiting for a primary")
		}
		warned, bad := judge(info)
		for _, w := range warned { // once, though several servers of a cluster are so
			if !slices.Contains(warnings, w) {
				warnings = append(warnings, w)
			}
		}
		for _, err := range bad {
			if addr := info[tasks.Addr]; addr != "" {
				err = fmt.Errorf("of the cluster %s: %w", addr, err)
			}
			unfit = append(unfit, err)
		}
	}
	if len(unfit) > 0 {
		return warnings, fmt.Errorf("%w: %w", ErrUnfit, errors.Join(unfit...))
	}
	return warnings, nil
}

// judge says what is to be said of one server.
func judge(info tasks.Facts) (warnings []string, unfit []error) {
	switch old, known := olderThan62(info["redis_version"]); {
	case !known:
		warnings = append(warnings, "Redis does not tell its version: it must be at least 6.2")
	case old:
		unfit = append(unfit, fmt.Errorf("it is version %s, and Asynq needs at least 6.2: upgrade it", info["redis_version"]))
	}
	switch evicts, known := info.Evicts(); {
	case !known:
		warnings = append(warnings, "Redis does not tell its maxmemory-policy: it must be noeviction, or a full Redis drops tasks")
	case evicts:
		unfit = append(unfit, fmt.Errorf("its maxmemory-policy is %s, so that a full Redis drops what the queue needs: "+
			"set it to noeviction (in redis.conf, or in the parameter group of a managed Redis)", info["maxmemory_policy"]))
	}
	if persists, _ := info.Persists(); !persists {
		warnings = append(warnings, "Redis keeps no append-only file (appendonly no): a restart of Redis loses tasks. No closure is lost by that: "+
			"the sweep rebuilds the queue from the ledger, and each closure goes on a minute or so after its visit was due")
	}
	return warnings, unfit
}

// olderThan62 reads a version such as 7.0.15.
func olderThan62(version string) (old, known bool) {
	var major, minor int
	if n, err := fmt.Sscanf(version, "%d.%d", &major, &minor); n < 2 || err != nil {
		return false, false
	}
	return major < 6 || major == 6 && minor < 2, true
}
