package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/alicebob/miniredis/v2"

	"closeout/closure"
)

// demoPlace is where a closeout dev keeps what others can look at.
type demoPlace struct {
	database, redis string
	clock           closure.Clock
}

// redisFile holds, in a demo's folder, the URL of its Redis while it runs.
const redisFile = "redis.url"

// noRedis stands for the Redis of a demo that does not run.
const noRedis = "redis://127.0.0.1:1/0"

// openRedis lets programs beside a demo look at its Redis, on a free port of this machine. The URL, with a password made for this
// start, is for whoever may read the folder.
func openRedis(mini *miniredis.Miniredis, dir, password string) (forget func(), err error) {
	mini.RequireAuth(password)
	if err := mini.StartAddr("127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("open the embedded Redis: %w", err)
	}
	path := filepath.Join(dir, redisFile)
	if err := os.WriteFile(path, []byte("redis://:"+password+"@"+mini.Addr()+"/0\n"), 0o600); err != nil {
		return nil, fmt.Errorf("say where the embedded Redis is: %w", err)
	}
	return func() { _ = os.Remove(path) }, nil
}

// demoAt reads a demo's folder.
func demoAt(dir string) (d demoPlace, err error) {
	file := filepath.Join(dir, "closeout.db")
	if _, err := os.Stat(file); err != nil {
		return d, fmt.Errorf("%s is no data folder of closeout dev: it has no closeout.db", dir)
	}
	d.database = "sqlite:" + file
	if d.clock, err = readClock(filepath.Join(dir, "clock.json")); err != nil {
		return d, err
	}
	b, err := os.ReadFile(filepath.Join(dir, redisFile))
	if errors.Is(err, fs.ErrNotExist) {
		d.redis = noRedis // what is in the ledger can be read
		return d, nil
	}
	d.redis = strings.TrimSpace(string(b))
	return d, err
}
