package console

import (
	"html/template"
	"time"

	"closeout/calendar"
)

// words are what the pages write times and ids with.
var words = template.FuncMap{
	"newYork": newYork,
	"utc":     func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
	"rfc3339": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"short":   short,
	"howLong": howLong,

	"toTheSecond": func(t time.Time) string { return t.In(calendar.NewYork).Format("15:04:05") },
}

// newYork is a moment on the clock of the markets and the banks, to the minute.
func newYork(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.In(calendar.NewYork).Format("Mon 2 Jan 15:04 MST")
}

// short is the end of an id, by which people tell ids apart.
func short(id string) string {
	if len(id) <= 12 {
		return id
	}
	return "…" + id[len(id)-8:]
}
