package legacy

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
)

// What is read at most. What is larger is none of the earlier system's, or broken, and is named as not read.
const (
	mostText   = 256 << 10 // bytes of a value
	mostItems  = 1_000_000 // of a list
	mostFields = 1_000     // of a hash
	pageItems  = 100
)

// known are the fields of hashes that are of interest.
var known = []string{
	"id", "job_id", "queue_name", "queue", "task_name", "task", "args", "kwargs", "account_id", "status", "state", "phase", "current_step",
	"created_at", "started_at", "completed_at", "failed_at", "initiated_at", "updated_at", "last_withdrawal_at", "next_action_time",
	"user_id", "email", "confirmation_number", "ach_relationship_id", "relationship_id", "transfers_completed", "last_transfer_id", "transfer_id",
}

// Read reads every key of the earlier system, by SCAN. It gives commands that only read. An error is Redis's: nothing is known then.
func Read(ctx context.Context, rdb redis.Cmdable) ([]Raw, error) {
	keys := map[string]bool{} // SCAN may name one twice
	for cursor, first := uint64(0), true; first || cursor != 0; first = false {
		var page []string
		var err error
		if page, cursor, err = rdb.Scan(ctx, cursor, "*_*:*", 1000).Result(); err != nil {
			return nil, fmt.Errorf("scan the keys: %w", err)
		}
		for _, k := range page {
			if _, _, ok := cut(k); ok {
				keys[k] = true
			}
		}
	}
	raws := make([]Raw, 0, len(keys))
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		r, err := read(ctx, rdb, k)
		if err != nil {
			return nil, err
		}
		if r.Key != "" {
			raws = append(raws, r)
		}
	}
	return raws, nil
}

// Moved says whether one of the records of an account that Parse has given is not any more as it was read, or has appeared since: then
// the earlier system is at work on it. Of jobs that were not there yet it knows nothing: Account.Since does, after another Read.
func Moved(ctx context.Context, rdb redis.Cmdable, a Account) (bool, error) {
	for _, key := range slices.Sorted(maps.Keys(a.was)) {
		now, err := read(ctx, rdb, key)
		if err != nil {
			return false, err
		}
		if now.Key != "" && !now.same(a.was[key]) { // one that has expired says nothing
			return true, nil
		}
	}
	return false, nil
}

func (r Raw) same(was Raw) bool {
	return r.Key == was.Key && r.Text == was.Text && r.Unread == was.Unread && maps.Equal(r.Hash, was.Hash) && slices.Equal(r.Items, was.Items)
}

// read reads one key, whatever its type is. A key that has expired meanwhile is none.
func read(ctx context.Context, rdb redis.Cmdable, key string) (r Raw, err error) {
	kind, err := rdb.Type(ctx, key).Result()
	if err != nil {
		return r, fmt.Errorf("read a key's type: %w", err)
	}
	r.Key = key
	switch kind {
	case "none":
		return Raw{}, nil
	case "string":
		var text string
		if text, err = rdb.GetRange(ctx, key, 0, mostText).Result(); len(text) > mostText {
			r.Unread = "it is larger than any of the earlier system's"
		} else {
			r.Text = text
		}
	case "hash":
		err = r.hash(ctx, rdb)
	case "list":
		err = r.list(rdb.LLen(ctx, key), func(from, to int64) *redis.StringSliceCmd { return rdb.LRange(ctx, key, from, to) })
	case "zset":
		err = r.list(rdb.ZCard(ctx, key), func(from, to int64) *redis.StringSliceCmd { return rdb.ZRange(ctx, key, from, to) })
	default:
		r.Unread = "a " + plain(kind, 20) + " is none of the earlier system's types"
	}
	if err != nil && strings.HasPrefix(err.Error(), "WRONGTYPE") { // it has become another meanwhile
		r.Unread, err = "it changed while it was read", nil
	}
	if err != nil {
		return r, fmt.Errorf("read a %s: %w", kind, err)
	}
	return r, nil
}

// hash reads the fields that are known, and none that is too long.
func (r *Raw) hash(ctx context.Context, rdb redis.Cmdable) error {
	n, err := rdb.HLen(ctx, r.Key).Result()
	if err != nil {
		return err
	}
	if n > mostFields {
		r.Unread = "it has more fields than any of the earlier system's"
		return nil
	}
	sizes, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, field := range known {
			p.HStrLen(ctx, r.Key, field)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if slices.ContainsFunc(sizes, func(c redis.Cmder) bool { n, ok := c.(*redis.IntCmd); return !ok || n.Val() > mostText }) {
		r.Unread = "one of its fields is larger than any of the earlier system's"
		return nil
	}
	values, err := rdb.HMGet(ctx, r.Key, known...).Result()
	if err != nil {
		return err
	}
	r.Hash = map[string]string{}
	for i, v := range values {
		if s, ok := v.(string); ok {
			r.Hash[known[i]] = s
		}
	}
	return nil
}

// list reads items page by page. What moves meanwhile may be read twice, or be missed: jobs have their own records, too.
func (r *Raw) list(size *redis.IntCmd, page func(from, to int64) *redis.StringSliceCmd) error {
	n, err := size.Result()
	if err != nil {
		return err
	}
	if n > mostItems {
		r.Unread = "it has more items than can be the earlier system's"
		return nil
	}
	for from := int64(0); from < n; from += pageItems {
		items, err := page(from, from+pageItems-1).Result()
		if err != nil {
			return err
		}
		for _, s := range items {
			if len(s) > mostText {
				s = "" // no job: it is named as such
			}
			r.Items = append(r.Items, s)
		}
	}
	return nil
}
