package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"closeout/calendar"
	"closeout/closure"
)

// print writes a value as JSON, or else by a function as text.
func (s *sight) print(v any, write func(p *page)) error {
	if s.json {
		e := json.NewEncoder(s.out)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(v)
	}
	p := &page{now: s.clock.Now(), color: s.color}
	write(p)
	_, err := fmt.Fprint(s.out, p.String())
	return err
}

// page is text for people.
type page struct {
	strings.Builder
	now   time.Time // business
	color bool
}

// pair writes a line that begins with what it is about; without a value it writes none.
func (p *page) pair(name, format string, args ...any) {
	if value := printable(fmt.Sprintf(format, args...)); value != "" {
		p.line("%-11s %s", name, value)
	}
}

// title begins a part.
func (p *page) title(format string, args ...any) {
	if p.Len() > 0 {
		p.WriteString("\n")
	}
	p.line(format, args...)
}

func (p *page) line(format string, args ...any) {
	_, _ = fmt.Fprintf(p, format+"\n", args...) // into memory
}

// table writes rows; without any it writes none.
func (p *page) table(head table.Row, rows []table.Row) {
	if len(rows) > 0 {
		p.line("%s", columns(head, rows))
	}
}

// paint colours a word on a terminal.
func (p *page) paint(c text.Colors, word string) string {
	if !p.color {
		return word
	}
	return c.Sprint(word)
}

func (p *page) state(s closure.State) string { return p.paint(colorOf(string(s)), string(s)) }

// when is a business time, as a clock in New York shows it, and how far away it is.
func (p *page) when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	far := "in " + span(t.Sub(p.now))
	if !t.After(p.now) {
		far = span(p.now.Sub(t)) + " ago"
	}
	return t.In(calendar.NewYork).Format("Mon 02 Jan 2006 15:04") + " ET, " + far
}

// columns is a table without frames, the same on a terminal and in a file.
func columns(head table.Row, rows []table.Row) string {
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.Style().Options = table.OptionsNoBordersAndSeparators
	t.Style().Format.Header = 0
	t.Style().Box.PaddingLeft, t.Style().Box.PaddingRight = "", "  "
	t.AppendHeader(head)
	t.AppendRows(rows)
	var out []string
	for l := range strings.SplitSeq(t.Render(), "\n") {
		out = append(out, strings.TrimRight(l, " "))
	}
	return strings.Join(out, "\n")
}

// span is a time in its two largest units, such as 3d 4h.
func span(d time.Duration) string {
	d = max(d, 0)
	switch days := int(d / (24 * time.Hour)); {
	case days >= 100:
		return fmt.Sprintf("%dd", days)
	case days > 0:
		return fmt.Sprintf("%dd %dh", days, int(d.Hours())%24)
	case d >= time.Hour:
		return fmt.Sprintf("%dh %dm", int(d.Hours()), int(d.Minutes())%60)
	case d >= time.Minute:
		return fmt.Sprintf("%dm %ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%ds", int(d.Seconds()))
}
