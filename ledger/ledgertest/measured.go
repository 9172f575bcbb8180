package ledgertest

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"closeout/closure"
	"closeout/internal/servers"
	"closeout/ledger"
)

// OnEach runs a benchmark on each kind of database, under a name that benchstat can sort by. Neither is synced to a disk: what is
// measured is our work and theirs, and no disk's. In a short run there is no Postgres.
func OnEach(b *testing.B, do func(b *testing.B, url string)) {
	b.Helper()
	b.Run("ledger=sqlite", func(b *testing.B) { do(b, "sqlite:"+filepath.Join(servers.MemoryDir(b), "closeout.db")) })
	b.Run("ledger=postgres", func(b *testing.B) { do(b, servers.StartPostgres(b).Database(b)) })
}

// Open opens the sandbox's ledger for as long as a test runs. told, if set, hears each round trip in short.
func Open(tb testing.TB, url string, told func(trip string)) *ledger.Ledger {
	tb.Helper()
	o := ledger.Options{URL: url, Environment: closure.Sandbox, Policy: closure.DefaultPolicy(closure.Sandbox)}
	if told != nil {
		o.Told = func(statements string, _ bool) { told(inShort(statements)) }
	}
	l, err := ledger.Open(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = l.Close() })
	return l
}

// inShort is the first word of each statement of a round trip, and its first table.
func inShort(statements string) string {
	var words []string
	for one := range strings.SplitSeq(statements, ";\n") {
		verb, _, _ := strings.Cut(one, " ")
		_, table, _ := strings.Cut(one, "closeout.")
		table, _, _ = strings.Cut(table, " ")
		words = append(words, strings.TrimSpace(verb+" "+table))
	}
	return strings.Join(words, ", ")
}

// Waiting makes n closures that wait until tomorrow, each with some money, and gives the last.
func Waiting(tb testing.TB, l *ledger.Ledger, n int) (c closure.Closure) {
	tb.Helper()
	for i := range n {
		c = Settling(tb, l, fmt.Sprintf("account-%06d", i), "bank")
		memo := closure.Memo{Worth: fmt.Sprintf("%d.50", 100+i)}
		c = save(tb, l, c, closure.WaitUntil(c.UpdatedAt.Add(24*time.Hour), closure.Settling, "the rest settles"), &memo)
	}
	return c
}

// Settling makes a closure that has sold everything, and whose next visit is to look at what has settled.
func Settling(tb testing.TB, l *ledger.Ledger, account, bank string) closure.Closure {
	tb.Helper()
	c, _, err := l.Create(tb.Context(), ledger.Wish{AccountID: account, RelationshipID: bank, Actor: "key:a"})
	if err != nil {
		tb.Fatal(err)
	}
	return save(tb, l, c, closure.Go(closure.Settlement, "everything is sold"), nil)
}

func save(tb testing.TB, l *ledger.Ledger, c closure.Closure, o closure.Outcome, memo *closure.Memo) closure.Closure {
	tb.Helper()
	c, err := l.Save(tb.Context(), c, closure.Looked(time.Now(), o, closure.Look{}, memo), nil)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}
