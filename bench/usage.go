package bench

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// CPU is what each process has used. A process that can't be read is not in it: unknown is not zero.
type CPU map[string]time.Duration

// The processes by name.
const (
	Closeout = "closeout" // server, worker, the simulated broker and the load itself
	Redis    = "redis"
	Postgres = "postgres"
)

// since is what was used between two readings, of the processes that both know.
func (c CPU) since(before CPU) CPU {
	out := CPU{}
	for name, now := range c {
		if then, ok := before[name]; ok {
			out[name] = now - then
		}
	}
	return out
}

// Total adds up.
func (c CPU) Total() (sum time.Duration) {
	for _, d := range c {
		sum += d
	}
	return sum
}

// meter reads what processes have used.
type meter struct {
	rdb     redis.UniversalClient // nil: it runs in this process
	backend int                   // a process of Postgres on this machine; 0: there is none
}

func newMeter(ctx context.Context, o Options) (meter, error) {
	m := meter{}
	if !o.Embedded {
		m.rdb = o.Redis
	}
	if o.SQLite {
		return m, nil
	}
	var here bool // another machine's process may have the number of one of ours
	err := o.DB.QueryRowContext(ctx, "SELECT pg_backend_pid(), coalesce(inet_client_addr() <<= '127.0.0.0/8' OR inet_client_addr() = '::1', true)").Scan(&m.backend, &here)
	if err == nil && !here {
		m.backend = 0
	}
	return m, err
}

func (m meter) read(ctx context.Context) (CPU, error) {
	out := CPU{}
	var self syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &self); err != nil {
		return nil, fmt.Errorf("read this process's CPU: %w", err)
	}
	out[Closeout] = time.Duration(self.Utime.Nano() + self.Stime.Nano())
	if m.rdb != nil {
		info, err := m.rdb.Info(ctx, "cpu").Result()
		if err != nil {
			return nil, fmt.Errorf("read Redis's CPU: %w", err)
		}
		var sum float64
		for _, name := range []string{"used_cpu_sys", "used_cpu_user", "used_cpu_sys_children", "used_cpu_user_children"} {
			seconds, err := strconv.ParseFloat(Field(info, name), 64)
			if err != nil {
				return nil, fmt.Errorf("read Redis's CPU: %w", err)
			}
			sum += seconds
		}
		out[Redis] = time.Duration(sum * float64(time.Second))
	}
	if m.backend != 0 {
		if used, ok := family(m.backend); ok {
			out[Postgres] = used
		}
	}
	return out, nil
}

// Field is a value of Redis's INFO.
func Field(info, name string) string {
	for line := range strings.Lines(info) {
		if v, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// tick is the unit of the times in /proc, which is the same on all that Go runs on.
const tick = time.Second / 100

// family is what the parent of a process and all its children have used, those that have ended included; ok is false where that can't be read.
func family(child int) (used time.Duration, ok bool) {
	one, found := stat(child)
	if !found {
		return 0, false
	}
	parent, found := stat(one.parent)
	if !found {
		return 0, false
	}
	used = parent.own + parent.ended
	all, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range all {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			continue
		}
		if p, found := stat(pid); found && p.parent == one.parent {
			used += p.own
		}
	}
	return used, true
}

type process struct {
	parent     int
	own, ended time.Duration // itself, and its children that have ended
}

// stat reads /proc/PID/stat, where the name, in brackets, may hold anything.
func stat(pid int) (p process, ok bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return p, false
	}
	rest := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(rest) < 15 {
		return p, false
	}
	number := func(n int) int64 {
		v, _ := strconv.ParseInt(rest[n], 10, 64)
		return v
	}
	return process{
		parent: int(number(1)), own: time.Duration(number(11)+number(12)) * tick, ended: time.Duration(number(13)+number(14)) * tick,
	}, true
}

// Used is what a process and its children that have ended have used of CPU; ok is false where the system does not say.
func Used(pid int) (used time.Duration, ok bool) {
	p, ok := stat(pid)
	return p.own + p.ended, ok
}

// Resident is this process's memory in bytes, now and at its highest; 0 where the system does not say.
func Resident() (now, highest int64) {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, 0
	}
	kib := func(name string) int64 {
		v, _ := strconv.ParseInt(strings.TrimSuffix(Field(string(b), name), " kB"), 10, 64)
		return v
	}
	return kib("VmRSS") << 10, kib("VmHWM") << 10
}

// Stored is how many bytes Redis and the ledger hold; nil: that can't be read.
func Stored(ctx context.Context, o Options) (inRedis, inLedger *int64, err error) {
	if !o.Embedded {
		info, err := o.Redis.Info(ctx, "memory").Result()
		if err != nil {
			return nil, nil, fmt.Errorf("read Redis's memory: %w", err)
		}
		n, err := strconv.ParseInt(Field(info, "used_memory"), 10, 64)
		if err != nil {
			return nil, nil, fmt.Errorf("read Redis's memory: %w", err)
		}
		inRedis = &n
	}
	q := "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class WHERE relnamespace = 'closeout'::regnamespace AND relkind = 'r'"
	if o.SQLite {
		q = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
	}
	var n sql.NullInt64
	if err := o.DB.QueryRowContext(ctx, q).Scan(&n); err != nil {
		return nil, nil, fmt.Errorf("read the ledger's size: %w", err)
	}
	return inRedis, &n.Int64, nil
}
