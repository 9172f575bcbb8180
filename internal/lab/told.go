package lab

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"closeout/calendar"
)

// Payouts sums the simulator's payouts of an account, and counts them.
func (l *Lab) Payouts(account string) (lines []string) {
	l.TB.Helper()
	for _, e := range must(l.Sim.Journal(account))(l.TB) {
		if e.Kind == "transfer" {
			lines = append(lines, e.Amount)
		}
	}
	return lines
}

// History is a closure's checked events, one line each.
func (l *Lab) History(id string) string {
	l.TB.Helper()
	if l.shelf != nil {
		return l.shelf.rows[id].History()
	}
	evs, err := l.Ledger.Events(l.TB.Context(), id)
	var b strings.Builder
	for _, e := range evs {
		fmt.Fprintf(&b, "%3d %s v%d %s/%s %s: %s\n", e.Seq, newYork(e.At), e.Version, e.Phase, e.State, e.Kind, e.Text)
	}
	if err != nil {
		l.TB.Error(errors.Join(errors.New(b.String()), err))
	}
	return b.String()
}

func newYork(t time.Time) string { return t.In(calendar.NewYork).Format("Mon 01-02 15:04:05") }

type writer struct{ tb testing.TB }

func (w writer) Write(b []byte) (int, error) {
	w.tb.Log(strings.TrimRight(string(b), "\n"))
	return len(b), nil
}

// Long passes over a test in a short run that lives through so many hours that it takes seconds.
func Long(tb testing.TB) {
	tb.Helper()
	if testing.Short() {
		tb.Skip("it takes seconds; make test runs it")
	}
}
