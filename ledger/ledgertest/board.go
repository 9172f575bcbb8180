package ledgertest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"closeout/closure"
	"closeout/ledger"
)

// worth is a memo that says what an account holds and what is on its way.
func worth(held, onWay string) *closure.Memo { return &closure.Memo{Worth: held, OnWay: onWay} }

// waiting makes a closure that waits in a phase for a reason, with a memo.
func (b *bench) waiting(account string, p closure.Phase, r closure.Reason, memo *closure.Memo) closure.Closure {
	b.Helper()
	c := b.create(account)
	for c.Phase != p {
		c = b.look(c, closure.Go(closure.StepOf(c.Phase).Next[0], "on"))
	}
	return b.save(c, closure.Looked(c.UpdatedAt.Add(time.Minute), closure.Wait(time.Hour, r, "waits"), closure.Look{}, memo))
}

func (b *bench) board(slow ledger.Cutoffs, ended time.Time) ledger.Board {
	b.Helper()
	board, err := b.l.Board(b.Context(), slow, ended)
	if err != nil {
		b.Fatal(err)
	}
	return board
}

var boarded = map[string]func(*bench){
	"TheBoardCountsWhatTheListFinds": func(b *bench) {
		b.waiting("a", closure.Liquidation, closure.OrdersOpen, worth("1000.50", "0.00"))
		b.waiting("b", closure.Settlement, closure.Settling, worth("0.10", "0.00"))
		old := b.waiting("c", closure.Settlement, closure.CashHeld, worth("0.20", "3.30"))
		b.waiting("d", closure.Settlement, closure.CashHeld, nil) // nothing of it is known
		b.waiting("e", closure.Withdrawal, closure.TransferPending, worth("", "17.00"))
		b.waiting("f", closure.Closing, closure.ClosingConfirm, worth("0.00", "0.00"))
		for s, stop := range stops {
			stop(b, b.waiting(string(s), closure.Withdrawal, closure.TransferPending, worth("2.00", "0.00")))
		}
		w := wish("later")
		w.NotBefore = time.Now().Add(240 * time.Hour).Truncate(time.Microsecond)
		if _, _, err := b.l.Create(b.Context(), w); err != nil {
			b.Fatal(err)
		}
		if _, _, err := b.open(closure.Live).Create(b.Context(), wish("elsewhere")); err != nil {
			b.Fatal(err)
		}
		b.tamper("UPDATE closures SET entered_at = $1 WHERE id = $2", time.Now().Add(-100*time.Hour).UTC().Truncate(time.Microsecond), old.ID)
		old = b.get(old.ID)

		slow := ledger.Cutoffs{}
		for _, s := range closure.Road {
			slow[s.Phase] = time.Now().Add(-50 * time.Hour)
		}
		board := b.board(slow, time.Now().Add(-time.Hour))
		var got []string
		lanes, n := map[ledger.Lane]int{}, 0
		for _, t := range board.Tallies {
			got = append(got, fmt.Sprintf("%s %s %s: %d, %d slow, $%s, $%s on its way, %d not known", t.Lane, t.State, t.Who, t.N, t.Slow, closure.USD(t.Worth), closure.USD(t.OnWay), t.Unknown))
			lanes[t.Lane] += t.N
			n += t.N
			f := ledger.Filter{Lane: t.Lane, Statuses: []string{string(t.State)}, Reason: t.Reason}
			if t.Who != closure.Nobody {
				f.Who = []closure.Who{t.Who}
			}
			if found, err := b.l.Count(b.Context(), f, 1000); err != nil || found != t.N {
				b.Errorf("the list finds %d of %+v (%v)", found, t, err)
			}
			f.Slow = slow
			if found, err := b.l.Count(b.Context(), f, 1000); err != nil || found != t.Slow {
				b.Errorf("the list finds %d slow ones of %+v (%v)", found, t, err)
			}
			switch {
			case t.Lane == ledger.StartLane && !t.Since.Equal(w.NotBefore):
				b.Errorf("the first starts %s, want %s", t.Since, w.NotBefore)
			case t.Lane == "settlement" && t.Who == closure.Broker && !t.Since.Equal(old.EnteredAt):
				b.Errorf("the longest wait is since %s, want %s", t.Since, old.EnteredAt)
			}
		}
		slices.Sort(got)
		want := []string{
			"closing running : 1, 0 slow, $0.00, $0.00 on its way, 0 not known",
			"liquidation running : 1, 0 slow, $1000.50, $0.00 on its way, 0 not known",
			"settlement running : 1, 0 slow, $0.10, $0.00 on its way, 0 not known",
			"settlement running broker: 2, 1 slow, $0.20, $3.30 on its way, 1 not known",
			"start running : 1, 0 slow, $0.00, $0.00 on its way, 1 not known",
			"withdrawal dead operator: 1, 0 slow, $2.00, $0.00 on its way, 0 not known",
			"withdrawal failed operator: 1, 0 slow, $2.00, $0.00 on its way, 0 not known",
			"withdrawal paused operator: 1, 0 slow, $2.00, $0.00 on its way, 0 not known",
			"withdrawal running : 1, 0 slow, $0.00, $0.00 on its way, 1 not known",
		}
		if !slices.Equal(got, want) {
			b.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		for _, lane := range ledger.Lanes() {
			if found, err := b.l.Count(b.Context(), ledger.Filter{Lane: lane}, 1000); err != nil || found != lanes[lane] || found == 0 {
				b.Errorf("lane %s has %d, and the list finds %d (%v)", lane, lanes[lane], found, err)
			}
		}
		if found, err := b.l.Count(b.Context(), ledger.Filter{Lane: ledger.OpenLane}, 1000); err != nil || found != n {
			b.Errorf("%d in all lanes, and the list finds %d open ones (%v)", n, found, err)
		}
		if len(board.Ended) != 2 || board.Ended[closure.Closed] != 1 || board.Ended[closure.Canceled] != 1 {
			b.Errorf("ended: %v", board.Ended)
		}
		if late := b.board(nil, time.Now().Add(time.Hour)); len(late.Ended) != 0 || late.Tallies[0].Slow != 0 {
			b.Errorf("nothing has ended later, and nothing is slow by no measure: %+v", late)
		}
	},

	"MoneyOnTheBoardIsExactAndUnknownIsNotZero": func(b *bench) {
		for n := range 30 {
			b.waiting(account(n), closure.Settlement, closure.Settling, worth("0.10", "0.20"))
		}
		for n, odd := range []string{"", "many", "1e31", "-1e31"} { // what a broker may say is no sum that can be added up
			b.waiting("odd"+account(n), closure.Settlement, closure.Settling, worth(odd, "5.00"))
		}
		b.waiting("debt", closure.Settlement, closure.Settling, worth("-1.01", "0.00"))
		b.waiting("fraction", closure.Settlement, closure.Settling, worth("0.019", "0.00"))
		board := b.board(nil, time.Now())
		if len(board.Tallies) != 1 {
			b.Fatalf("%+v", board)
		}
		t := board.Tallies[0]
		if !t.Worth.Equal(decimal.RequireFromString("3.01")) || !t.Owed.Equal(decimal.RequireFromString("1.01")) || !t.OnWay.Equal(decimal.RequireFromString("6.00")) || t.Unknown != 4 || t.N != 36 {
			b.Errorf("%s, %s owed, %s on its way, %d of %d not known", t.Worth, t.Owed, t.OnWay, t.Unknown, t.N)
		}
		c := b.waiting("other", closure.Settlement, closure.Settling, worth("7.00", "0.00"))
		c = b.save(c, closure.Stumbled(c.UpdatedAt, "an error keeps what was known", 0, true))
		if _, err := b.l.Command(b.Context(), c.ID, func(closure.Closure, []closure.Intent) (closure.Change, error) {
			return closure.Pause(c.UpdatedAt, "ann", "hold it"), nil
		}); err != nil {
			b.Fatal(err)
		}
		if board = b.board(nil, time.Now()); len(board.Tallies) != 2 || !board.Tallies[0].Worth.Equal(decimal.NewFromInt(7)) {
			b.Errorf("%+v", board)
		}
	},

	"TheListIsSortedByWhatIsDueAndByWhatHasStoodLongest": func(b *bench) {
		var due, stood []string
		base := time.Now().UTC().Truncate(time.Microsecond)
		for n := range 12 {
			c := b.create(account(n))
			at := base.Add(time.Duration(n/3) * time.Hour) // times that several share
			b.tamper("UPDATE closures SET due_at = $1, entered_at = $2 WHERE id = $3", at, base.Add(-at.Sub(base)), c.ID)
			due = append(due, at.Format(time.RFC3339)+" "+c.ID)
			stood = append(stood, base.Add(-at.Sub(base)).Format(time.RFC3339)+" "+c.ID)
		}
		w := wish("later") // its stay begins when it may
		w.NotBefore = base.Add(100 * time.Hour)
		later, _, err := b.l.Create(b.Context(), w)
		if err != nil {
			b.Fatal(err)
		}
		due, stood = append(due, w.NotBefore.Format(time.RFC3339)+" "+later.ID), append(stood, w.NotBefore.Format(time.RFC3339)+" "+later.ID)
		paused := stops[closure.Paused](b, b.create("paused"))
		stood = append(stood, paused.EnteredAt.UTC().Format(time.RFC3339)+" "+paused.ID)
		stops[closure.Closed](b, b.create("closed"))
		for by, want := range map[ledger.By][]string{ledger.ByDue: due, ledger.BySince: stood} {
			slices.Sort(want)
			for _, oldest := range []bool{true, false} {
				got := b.walk(ledger.Filter{}, ledger.Page{By: by, Limit: 5, OldestFirst: oldest}, func() {})
				var ids []string
				for _, w := range want {
					ids = append(ids, w[strings.Index(w, " ")+1:])
				}
				if !oldest {
					slices.Reverse(ids)
				}
				if !slices.Equal(got, ids) {
					b.Errorf("by %d, the oldest first: %t\ngot  %v\nwant %v", by, oldest, got, ids)
				}
			}
		}
	},

	"AnythingsIdentifierFindsItsClosure": func(b *bench) {
		w := wish("3f2a8a5e-0c1b-4f6c-9c58-1f8f0a7b9c01")
		w.Email, w.UserID, w.Actor = "Ann.Example@example.test", "u-7", "api:shop"
		c, _, err := b.l.Create(b.Context(), w)
		if err != nil {
			b.Fatal(err)
		}
		order := intent(closure.OrderIntent, "asset")
		order.ClientOrderID = "Ours-1"
		next, is := b.claim(c, order)
		b.record(in(is[0], closure.IntentSent, "9d0e1f00-aaaa-4f6c-9c58-1f8f0a7b9c02"))
		_, is = b.claim(next, pay("5.00", "2026-11-18"))
		b.record(in(is[0], closure.IntentSent, "7c0e1f00-bbbb-4f6c-9c58-1f8f0a7b9c03"))
		other := wish("other")
		other.Email, other.UserID = "", ""
		if _, _, err := b.l.Create(b.Context(), other); err != nil { // shares nothing, least of all nothing
			b.Fatal(err)
		}
		if _, _, err := b.open(closure.Live).Create(b.Context(), w); err != nil {
			b.Fatal(err)
		}
		for _, text := range []string{
			c.ID, strings.ToUpper(c.ID), " " + c.AccountID + "\t", strings.ToUpper(c.AccountID), c.Confirmation, strings.ToLower(c.Confirmation), "Ours-1",
			"9d0e1f00-aaaa-4f6c-9c58-1f8f0a7b9c02", "7C0E1F00-BBBB-4f6c-9c58-1f8f0a7b9c03", "7b9c01", "8F0A7B9C01", c.AccountID[1:], c.ID[30:], c.ID[20:],
		} {
			if got := b.found(ledger.Filter{Exact: text}); got != c.AccountID {
				b.Errorf("%q finds %q", text, got)
			}
		}
		for _, text := range []string{"ours-1", "9d0e1f00", "%", "_b9c01", "%7b9c01", "b9c01", "0000007b9c01", "\\7b9c01", "' OR 1=1 --", "\x00", w.Email, w.UserID} {
			if got := b.found(ledger.Filter{Exact: text}); got != "" {
				b.Errorf("%q finds %q", text, got)
			}
		}
		if got := b.found(ledger.Filter{Actor: "api:shop"}); got != c.AccountID {
			b.Errorf("its client finds %q", got)
		}
	},

	"ACustomersClosuresAreFoundByEMailAndUserID": func(b *bench) {
		made := map[string]closure.Closure{}
		for account, p := range map[string][2]string{
			"a": {"Ann@Example.test", "u-1"}, "b": {"ann@example.TEST", "u-2"}, "c": {"", "U-1"}, "d": {"bob@example.test", ""}, "e": {"", ""}, "f": {"", ""},
		} {
			w := wish(account)
			w.Email, w.UserID = p[0], p[1]
			c, _, err := b.l.Create(b.Context(), w)
			if err != nil {
				b.Fatal(err)
			}
			made[account] = c
		}
		live := b.open(closure.Live)
		w := wish("elsewhere")
		w.Email = "ann@example.test"
		if _, _, err := live.Create(b.Context(), w); err != nil {
			b.Fatal(err)
		}
		for text, want := range map[string]string{
			" ANN@example.test": "a b", "u-1": "a c", "u-2": "b", "U-1": "a c", "": "", "%@%": "", "ann": "", "' OR 1=1 --": "", "bob@example.test": "d",
		} {
			cs, err := b.l.OfPerson(b.Context(), text, 10)
			if err != nil {
				b.Fatal(err)
			}
			var got []string
			for _, c := range cs {
				got = append(got, c.AccountID)
			}
			slices.Sort(got)
			if strings.Join(got, " ") != want {
				b.Errorf("%q finds %q, want %q", text, got, want)
			}
		}
		for account, want := range map[string]string{"a": "a b c", "b": "a b", "c": "a c", "d": "d", "e": "e"} {
			if got := b.found(ledger.Filter{PersonOf: made[account].ID}); got != want {
				b.Errorf("of the customer of %s: %q, want %q", account, got, want)
			}
		}
		if got := b.found(ledger.Filter{PersonOf: "nobody"}); got != "" {
			b.Errorf("of a closure that there is not: %q", got)
		}
	},
}
