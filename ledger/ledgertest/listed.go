package ledgertest

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"

	"closeout/closure"
	"closeout/ledger"
)

// page reads one page, of this many at the most.
func (b *bench) page(f ledger.Filter, p ledger.Page) []closure.Closure {
	b.Helper()
	page, err := b.l.List(b.Context(), f, p)
	if err != nil {
		b.Fatal(err)
	}
	if len(page) > p.Limit {
		b.Fatalf("a page of %d has %d", p.Limit, len(page))
	}
	return page
}

// walk reads all pages and gives the ids in their order. between is carried out after each page.
func (b *bench) walk(f ledger.Filter, p ledger.Page, between func()) (ids []string) {
	b.Helper()
	for {
		page := b.page(f, p)
		for _, c := range page {
			ids = append(ids, c.ID)
		}
		if len(page) < p.Limit {
			return ids
		}
		last := page[len(page)-1]
		p.After = p.By.Position(last)
		between()
	}
}

// found are the accounts that a filter finds, sorted.
func (b *bench) found(f ledger.Filter) string {
	b.Helper()
	var accounts []string
	for _, c := range b.page(f, ledger.Page{Limit: 1000}) {
		accounts = append(accounts, c.AccountID)
	}
	slices.Sort(accounts)
	return strings.Join(accounts, " ")
}

var listed = map[string]func(*bench){
	"SeveralListsAreReadAtOnce": func(b *bench) {
		for n := range 5 {
			b.fail(account(n), closure.OrderRefused)
		}
		b.fail("bank", closure.BankGone)
		stops[closure.Dead](b, b.create("dead"))
		b.create("running")
		fs := []ledger.Filter{
			{Statuses: []string{"failed", "dead"}, Reason: closure.OrderRefused},
			{Statuses: []string{"canceled"}},
			{Reason: closure.BankGone},
			{Statuses: []string{"failed", "dead"}},
			{},
		}
		for _, p := range []ledger.Page{{Limit: 3}, {Limit: 3, OldestFirst: true}, {Limit: 20}} {
			got, err := b.l.Lists(b.Context(), fs, p)
			if err != nil || len(got) != len(fs) {
				b.Fatalf("%d lists, %v", len(got), err)
			}
			for n, f := range fs {
				if diff := cmp.Diff(b.page(f, p), got[n]); diff != "" {
					b.Errorf("%s, %+v: otherwise than by itself (-itself +among others)\n%s", f, p, diff)
				}
			}
		}
		if got, err := b.l.Lists(b.Context(), nil, ledger.Page{Limit: 3}); err != nil || len(got) != 0 {
			b.Errorf("no list: %v, %v", got, err)
		}
	},

	"PagesMissNoneAndRepeatNoneWhileOthersAreCreated": func(b *bench) {
		const n, size = 60, 7
		var ids []string
		for i := range n {
			ids = append(ids, b.create(account(i)).ID)
		}
		// Times that many share are told apart by the id alone.
		b.tamper("UPDATE closures SET created_at = (SELECT min(created_at) FROM closures) WHERE account_id < 'account-0040'")
		for _, oldest := range []bool{false, true} {
			more := n
			var wg sync.WaitGroup
			got := b.walk(ledger.Filter{}, ledger.Page{Limit: size, OldestFirst: oldest}, func() {
				for range 3 {
					more++
					if more < n+40 { // the walk in the order of creation must come to its end
						account := account(more)
						if oldest {
							account = "old-" + account
						}
						wg.Go(func() {
							if _, _, err := b.l.Create(b.Context(), wish(account)); err != nil {
								b.Error(err)
							}
						})
					}
				}
			})
			wg.Wait()
			seen := map[string]int{}
			for _, id := range got {
				seen[id]++
			}
			for id, times := range seen {
				if times != 1 {
					b.Errorf("%s came %d times", id, times)
				}
			}
			for _, id := range ids {
				if seen[id] == 0 {
					b.Errorf("%s was there from the start and never came", id)
				}
			}
			whole := b.walk(ledger.Filter{}, ledger.Page{Limit: 1000, OldestFirst: oldest}, func() {})
			at := -1
			for _, id := range got { // in the list's own order
				now := slices.Index(whole, id)
				if now <= at {
					b.Fatalf("%s came out of its order", id)
				}
				at = now
			}
			slices.Reverse(whole)
			if other := b.walk(ledger.Filter{}, ledger.Page{Limit: 1000, OldestFirst: !oldest}, func() {}); !slices.Equal(other, whole) {
				b.Error("the other order is not this one turned round")
			}
		}
	},

	"EachStatusFindsWhatBearsIt": func(b *bench) {
		made := map[string]closure.Closure{"pending": b.create("pending")}
		made["processing"] = b.look(b.create("processing"), closure.Wait(time.Hour, closure.OrdersCanceling, "waits"))
		c := b.create("retrying")
		made["retrying"] = b.save(c, closure.Stumbled(c.UpdatedAt, "broken", 0, false))
		for s, stop := range stops {
			made[string(s)] = stop(b, b.create(string(s)))
		}
		for _, word := range ledger.Statuses() {
			var want []string
			for account, c := range made {
				if c = b.get(c.ID); c.JobStatus() == word || string(c.State) == word {
					want = append(want, account)
				}
			}
			slices.Sort(want)
			if got := b.found(ledger.Filter{Statuses: []string{word}}); got != strings.Join(want, " ") || got == "" {
				b.Errorf("%s finds %q, want %q", word, got, want)
			}
		}
		if got := b.found(ledger.Filter{Statuses: []string{"DEAD", "paused", "nonsense"}}); got != "dead paused" {
			b.Errorf("one of three words: %q", got)
		}
		if got := b.found(ledger.Filter{Statuses: []string{"nonsense"}}); got != "" {
			b.Errorf("a word that there is not: %q", got)
		}
	},

	"FiltersNarrowTogether": func(b *bench) {
		early := b.create("11111111-1111-4111-8111-111111111111")
		moved := b.look(b.create("22222222-2222-4222-8222-222222222222"), closure.Go(closure.Settlement, "sold"))
		late := b.create("33333333-3333-4333-8333-333333abc_def")
		b.tamper("UPDATE closures SET created_at = $1, batch_id = 'b%tch' WHERE id = $2", time.Now().Add(-72*time.Hour).UTC().Truncate(time.Microsecond), early.ID)
		early = b.get(early.ID)
		day := 24 * time.Hour
		for what, c := range map[string]struct {
			f    ledger.Filter
			want []closure.Closure
		}{
			"all":              {ledger.Filter{}, []closure.Closure{early, moved, late}},
			"a phase":          {ledger.Filter{Phases: []closure.Phase{closure.Settlement}}, []closure.Closure{moved}},
			"two phases":       {ledger.Filter{Phases: []closure.Phase{closure.Settlement, closure.Liquidation}}, []closure.Closure{early, moved, late}},
			"a reason":         {ledger.Filter{Reason: closure.Accepted}, []closure.Closure{early, late}},
			"an account":       {ledger.Filter{AccountID: moved.AccountID}, []closure.Closure{moved}},
			"a batch":          {ledger.Filter{BatchID: "b%tch"}, []closure.Closure{early}},
			"older":            {ledger.Filter{CreatedBefore: early.CreatedAt.Add(day)}, []closure.Closure{early}},
			"younger":          {ledger.Filter{CreatedFrom: early.CreatedAt.Add(day)}, []closure.Closure{moved, late}},
			"from its moment":  {ledger.Filter{CreatedFrom: early.CreatedAt, CreatedBefore: early.CreatedAt.Add(time.Microsecond)}, []closure.Closure{early}},
			"till its moment":  {ledger.Filter{CreatedBefore: early.CreatedAt}, nil},
			"two at once":      {ledger.Filter{Reason: closure.Accepted, CreatedFrom: early.CreatedAt.Add(day)}, []closure.Closure{late}},
			"a contradiction":  {ledger.Filter{Reason: closure.Accepted, Phases: []closure.Phase{closure.Settlement}}, nil},
			"its own id":       {ledger.Filter{Text: " " + strings.ToUpper(moved.ID)}, []closure.Closure{moved}},
			"its account":      {ledger.Filter{Text: moved.AccountID}, []closure.Closure{moved}},
			"the last digits":  {ledger.Filter{Text: "abc_def"}, []closure.Closure{late}},
			"no wildcard":      {ledger.Filter{Text: "11_11"}, nil},
			"nor this":         {ledger.Filter{Text: "1%1"}, nil},
			"its confirmation": {ledger.Filter{Text: strings.ToLower(late.Confirmation)}, []closure.Closure{late}},
			"a part of one":    {ledger.Filter{Text: "cla-2"}, []closure.Closure{early, moved, late}},
			"an injection":     {ledger.Filter{Text: "' OR 1=1 --", Reason: "' OR ''='"}, nil},
		} {
			var want []string
			for _, c := range c.want {
				want = append(want, c.AccountID)
			}
			slices.Sort(want)
			if got := b.found(c.f); got != strings.Join(want, " ") {
				b.Errorf("%s: %q, want %q", what, got, want)
			}
		}
	},

	"TheOtherEnvironmentIsNotListed": func(b *bench) {
		b.create("a")
		live := b.open(closure.Live)
		if _, _, err := live.Create(b.Context(), wish("b")); err != nil {
			b.Fatal(err)
		}
		if got := b.found(ledger.Filter{}); got != "a" {
			b.Errorf("the sandbox lists %q", got)
		}
	},
}
