package ledger_test

import (
	"testing"
	"time"

	"closeout/closure"
	"closeout/ledger"
	"closeout/ledger/ledgertest"
)

// The end of a look that found nothing new: the row alone.
func BenchmarkSave(b *testing.B) {
	ledgertest.OnEach(b, func(b *testing.B, url string) {
		b.Helper()
		l := ledgertest.Open(b, url, nil)
		c := ledgertest.Waiting(b, l, 1)
		b.ReportAllocs()
		for b.Loop() {
			var err error
			o := closure.WaitUntil(c.DueAt.Add(time.Second), c.Reason, c.Why)
			if c, err = l.Save(b.Context(), c, closure.Looked(c.UpdatedAt, o, closure.Look{}, nil), nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkBoard(b *testing.B) {
	ledgertest.OnEach(b, func(b *testing.B, url string) {
		b.Helper()
		l := ledgertest.Open(b, url, nil)
		const open = 1000
		ledgertest.Waiting(b, l, open)
		slow := ledger.Cutoffs{closure.Settlement: time.Now().Add(-24 * time.Hour)}
		b.ReportAllocs()
		for b.Loop() {
			board, err := l.Board(b.Context(), slow, time.Now().Add(-24*time.Hour))
			if err != nil || len(board.Tallies) != 1 || board.Tallies[0].N != open {
				b.Fatalf("%+v: %v", board, err)
			}
		}
	})
}
