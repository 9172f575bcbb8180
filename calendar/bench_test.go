package calendar_test

import (
	"testing"

	"closeout/calendar"
)

func BenchmarkOpenTimeOfThreeMonths(b *testing.B) {
	c := calendar.Rules()
	from, to := at(b, "2026-09-01 12:00"), at(b, "2026-12-01 12:00")
	b.ReportAllocs()
	for b.Loop() {
		c.OpenTime(from, to)
	}
}

func BenchmarkNextMorning(b *testing.B) {
	c := calendar.Rules().With([]calendar.Session{session(b, "2026-11-27", "09:30", "13:00", "")}, "2026-11-26", "2026-11-27")
	now := at(b, "2026-11-25 12:00")
	b.ReportAllocs()
	for b.Loop() {
		c.NextMorning(now)
	}
}
