package console

import (
	"html/template"
	"regexp"
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

	"hint":        hint,
	"toTheSecond": func(t time.Time) string { return t.In(calendar.NewYork).Format("15:04:05") },
}

// onlyAPI are the names of requests in a text that clients read as well.
var onlyAPI = regexp.MustCompile(` \((?:resolve|[a-z]+_[a-z_]+)(?:, [a-z_]+)*\)`)

// hint says what mends a closure that has stopped, in the words of these pages: what a client resumes, a person retries.
func hint(text string) string {
	return toResume.ReplaceAllString(onlyAPI.ReplaceAllString(text, ""), "retry")
}

var toResume = regexp.MustCompile(`\bresume\b`)

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
