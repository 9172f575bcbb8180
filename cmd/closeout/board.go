package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/shopspring/decimal"

	"closeout/calendar"
	"closeout/closure"
)

const indent = "    "

// board is how the closures stand, in lines that are shorter than width, and in at most height lines. Where not all accounts
// fit, those that need somebody come first, then those that changed last, and the rest is counted.
func board(rows []row, width, height int) []string {
	title := counted(rows)
	if how := title + "  Ctrl-C ends the watching, not the closing."; len(how) < width && slices.ContainsFunc(rows, row.open) {
		title = how
	}
	shown := slices.Clone(rows)
	body := bodies(shown, width)
	const around = 2 // the title and the table's head
	if lines(body) > height-around {
		slices.SortStableFunc(shown, func(a, b row) int {
			return cmp.Or(cmp.Compare(a.rank(), b.rank()), b.changed.Compare(a.changed))
		})
		body = bodies(shown, width)
		n := len(shown)
		for n > 1 && lines(body[:n+1]) > height-around-1 {
			n--
		}
		body = append(body[:n+1], []string{fmt.Sprintf("and %d more: %s.", len(shown)-n, states(shown[n:]))})
	}
	out := []string{snip(title, width)}
	for _, b := range body {
		out = append(out, b...)
	}
	return out
}

// bodies are the table's head and then each row's lines: the columns, and why it waits.
func bodies(rows []row, width int) [][]string {
	t := table.NewWriter()
	t.SetStyle(table.Style{
		Box:     table.BoxStyle{PaddingRight: "  "},
		Format:  table.FormatOptions{},
		Options: table.Options{},
	})
	t.SetColumnConfigs([]table.ColumnConfig{{Number: 4, Align: text.AlignRight, AlignHeader: text.AlignRight}})
	t.AppendHeader(table.Row{"ACCOUNT", "ROAD", "STATE", "PAID", "FINISH", "NEXT LOOK, ET"})
	for _, r := range rows {
		t.AppendRow(r.cells())
	}
	var out [][]string
	for n, l := range strings.Split(t.Render(), "\n") {
		b := []string{snip(strings.TrimRight(l, " "), width)}
		if n > 0 {
			if why := rows[n-1].why(); why != "" {
				b = append(b, snip(indent+why, width))
			}
		}
		out = append(out, b)
	}
	return out
}

func (r row) cells() table.Row {
	account := "…" + r.account[max(0, len(r.account)-6):]
	v := r.seen
	if v == nil {
		return table.Row{account, "", "not known", "", "", ""}
	}
	road := fmt.Sprintf("%d/%d %s", closure.Phase(v.Phase).Number(), len(closure.Road), v.Phase)
	paid, finish, next := "", "", ""
	if v.Money.Paid != "" {
		paid = "$" + v.Money.Paid
	}
	if at, err := time.Parse(time.RFC3339, v.Finish); err == nil {
		finish = at.In(calendar.NewYork).Format("Mon 02 Jan")
		if r.open() {
			finish = "~" + finish // expected
		}
	}
	if v.Waiting != nil && v.Waiting.Until != nil {
		next = v.Waiting.Until.In(calendar.NewYork).Format("Mon 02 Jan 15:04")
	}
	return table.Row{account, road, colorOf(v.State).Sprint(v.State), paid, finish, next}
}

func colorOf(state string) text.Colors {
	switch closure.State(state) {
	case closure.Closed:
		return text.Colors{text.FgGreen}
	case closure.Failed, closure.Dead:
		return text.Colors{text.FgRed}
	case closure.Paused, closure.Canceled:
		return text.Colors{text.FgYellow}
	case closure.Running:
	}
	return text.Colors{}
}

// why is why an account does not go on, and who must act.
func (r row) why() string {
	switch {
	case r.err != nil:
		return text.FgYellow.Sprint("could not be read: " + printable(r.err.Error()))
	case r.seen == nil || r.seen.Waiting == nil:
		return ""
	}
	w := r.seen.Waiting
	if w.Who == "" {
		return printable(w.Why)
	}
	return text.FgYellow.Sprint("the "+printable(w.Who)+" must act:") + " " + printable(strings.TrimSuffix(w.Why, ".")+". "+w.Hint)
}

// printable makes one line of a text that may quote others: nothing in it moves the cursor.
func printable(s string) string {
	return strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)), " ")
}

// rank orders accounts by how soon somebody should look at them.
func (r row) rank() int {
	switch {
	case r.seen != nil && r.seen.Waiting != nil && (r.seen.Waiting.Who != "" || !r.open()):
		return 0
	case r.err != nil || r.seen == nil:
		return 1
	case r.open():
		return 2
	}
	return 3
}

// counted says how many accounts there are, and in which states.
func counted(rows []row) string {
	noun := "accounts"
	if len(rows) == 1 {
		noun = "account"
	}
	return fmt.Sprintf("%d %s: %s.", len(rows), noun, states(rows))
}

func states(rows []row) string {
	in := map[string]int{}
	for _, r := range rows {
		if r.seen == nil {
			in["not known"]++
		} else {
			in[r.seen.State]++
		}
	}
	var parts []string
	for _, s := range []string{"running", "paused", "failed", "dead", "canceled", "closed", "not known"} {
		if in[s] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", in[s], s))
		}
	}
	return strings.Join(parts, ", ")
}

// summary is told at the end: what came of all, the sum that was paid if it is known of each, and in full what is left to do.
func summary(rows []row, width int) []string {
	paid := decimal.Zero
	known := true
	var out []string
	for _, r := range rows {
		d, err := decimal.NewFromString(r.seen.Money.Paid)
		paid, known = paid.Add(d), known && err == nil
		if r.seen.State != string(closure.Closed) {
			out = append(out, "", r.account+"  "+colorOf(r.seen.State).Sprint(r.seen.State)+" in the "+r.seen.Phase)
			for l := range strings.SplitSeq(text.WrapSoft(r.why(), max(width-1-len(indent), 20)), "\n") {
				out = append(out, indent+strings.TrimRight(l, " "))
			}
		}
	}
	first := counted(rows)
	if known {
		first += " $" + closure.USD(paid) + " was paid out."
	}
	return append([]string{first}, out...)
}

// snip cuts a line so that it stays short of the terminal's edge, where some terminals would break it.
func snip(line string, width int) string { return text.Snip(line, max(width-1, 1), "…") }

func lines(bodies [][]string) (n int) {
	for _, b := range bodies {
		n += len(b)
	}
	return n
}
