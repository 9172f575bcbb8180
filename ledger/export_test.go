package ledger

// ListQuery is the list's one query, for the test that asks how Postgres carries it out.
func (l *Ledger) ListQuery(f Filter, p Page) (q string, args []any) { return l.listQuery(f, p) }
