package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"closeout/bench"
)

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// print writes a table, and a line for scripts.
func (c *benchCmd) print(o output, b *stand, f bench.Outcome) error {
	n := float64(f.Closures)
	per := func(m bench.Measured) (sum float64, of map[string]float64) {
		of = map[string]float64{}
		for name, d := range m.CPU {
			of[name] = millis(d) / n
			sum += of[name]
		}
		return sum, of
	}
	s := measuredJSON{
		Redis: b.redis, Ledger: b.database, Closures: f.Closures, Concurrency: c.Concurrency,
		PerSecond: n / f.Service.Took.Seconds(), FloorPerSecond: n / f.Floor.Took.Seconds(), KeptPerSecond: n / f.Kept.Took.Seconds(),
		Visits: f.Per(f.Visits), Timers: f.Per(f.Timers), Commits: f.Per(f.Commits), RoundTrips: f.Per(f.Statements), Calls: f.Per(f.Calls), Writes: f.Per(f.Writes),
		LateP50: millis(f.Late[0]), LateP99: millis(f.Late[1]), LifeP50: f.Lives[0].Seconds(), LifeP99: f.Lives[1].Seconds(),
		RSS: float64(f.Resident) / (1 << 20), RSSHighest: float64(f.Highest) / (1 << 20),
		RedisWaiting: f.WaitingRedis, LedgerWaiting: f.WaitingLedger, LedgerClosed: f.ClosedLedger,
		Initiates: float64(f.WaitingClosures) / f.Accepted.Took.Seconds(), InitiateCPU: millis(f.Accepted.CPU.Total()) / float64(f.WaitingClosures),
	}
	s.CPU, s.CPUOf = per(f.Service)
	s.FloorCPU, s.FloorCPUOf = per(f.Floor)
	s.KeptCPU, s.KeptCPUOf = per(f.Kept)
	s.OfFloor, s.CPUOfFloor, s.CPUOfKept = s.PerSecond/s.FloorPerSecond, s.CPU/s.FloorCPU, s.CPU/s.KeptCPU
	line, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if !c.JSON {
		_, _ = fmt.Fprintf(o.out, "%s\n", s.text())
	}
	_, err = fmt.Fprintf(o.out, "%s\n", line)
	return err
}

// text is the outcome for people.
func (s measuredJSON) text() string {
	row := func(name, format string, service, floor, kept float64) table.Row {
		return table.Row{
			name, fmt.Sprintf(format, service), fmt.Sprintf(format, floor), fmt.Sprintf("%.2f", service/floor),
			fmt.Sprintf(format, kept), fmt.Sprintf("%.2f", service/kept),
		}
	}
	rows := []table.Row{
		row("closures a second", "%.1f", s.PerSecond, s.FloorPerSecond, s.KeptPerSecond),
		row("CPU of a closure, ms", "%.2f", s.CPU, s.FloorCPU, s.KeptCPU),
	}
	for _, name := range slices.Sorted(maps.Keys(s.CPUOf)) {
		rows = append(rows, row("  "+name, "%.2f", s.CPUOf[name], s.FloorCPUOf[name], s.KeptCPUOf[name]))
	}
	bytes := func(n *float64) string {
		if n == nil {
			return "not known"
		}
		return fmt.Sprintf("%.0f bytes", *n)
	}
	more := []table.Row{
		{"a closure's visits, and timers among them", fmt.Sprintf("%.1f, %.1f", s.Visits, s.Timers)},
		{"its ledger commits, and round trips", fmt.Sprintf("%.1f, %.1f", s.Commits, s.RoundTrips)},
		{"its broker calls, and instructions among them", fmt.Sprintf("%.1f, %.1f", s.Calls, s.Writes)},
		{"from initiate to closed, p50 and p99", fmt.Sprintf("%.1f s, %.1f s", s.LifeP50, s.LifeP99)},
		{"how late visits begin, p50 and p99", fmt.Sprintf("%.0f ms, %.0f ms", s.LateP50, s.LateP99)},
		{"memory of this process, and at its highest", fmt.Sprintf("%.0f MiB, %.0f MiB", s.RSS, s.RSSHighest)},
		{"a waiting closure in Redis", bytes(s.RedisWaiting)},
		{"a waiting closure in the ledger", bytes(s.LedgerWaiting)},
		{"a closed closure in the ledger", bytes(s.LedgerClosed)},
		{"initiates a second, and CPU of one", fmt.Sprintf("%.0f, %.2f ms", s.Initiates, s.InitiateCPU)},
	}
	return fmt.Sprintf("%d closures, %d visits at once, on %s and %s\n\n%s\n\n%s\n", s.Closures, s.Concurrency, s.Redis, s.Ledger,
		columns(table.Row{"", "the service", "the floor", "ratio", "in the ledger", "ratio"}, rows), columns(table.Row{"", ""}, more))
}
