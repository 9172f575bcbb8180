package lab

import "closeout/closure"

// Decide is an operator's decision on a row as it stands.
type Decide func(closure.Closure, []closure.Intent) (closure.Change, error)

// Command carries an operator's decision out, as the server does.
func (l *Lab) Command(id string, decide Decide) (closure.Closure, error) {
	l.TB.Helper()
	if l.shelf != nil {
		c, err := l.shelf.command(l.TB.Context(), id, decide)
		if err == nil && c.State == closure.Running {
			_ = l.due.Schedule(l.TB.Context(), c)
		}
		return c, err
	}
	c, err := l.Ledger.Command(l.TB.Context(), id, decide)
	if err == nil && c.State == closure.Running {
		_ = l.cur.run.Queue.Schedule(l.TB.Context(), c)
	}
	return c, err
}
