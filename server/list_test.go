package server_test

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"closeout/closure"
	"closeout/ledger"
	"closeout/server"
)

// closure writes one into the ledger, beside the door.
func (b *bench) closure(account string) closure.Closure {
	b.tb.Helper()
	c, created, err := b.ledger.Create(context.Background(), ledger.Wish{
		AccountID: account, RelationshipID: "b0000000-0000-4000-8000-00000000000b", Email: "jane@example.test", Actor: "test",
	})
	if err != nil || !created {
		b.tb.Fatalf("create: %v, created %t", err, created)
	}
	return c
}

func numbered(n int) string { return fmt.Sprintf("a0000000-0000-4000-8000-%012d", n) }

// list reads one page.
func (b *bench) list(query string) server.ListPage {
	b.tb.Helper()
	a := b.do("GET", "/api/account-closure?"+query, "")
	if a.status != 200 {
		b.tb.Fatalf("%s: answered %d %s", query, a.status, a.text)
	}
	var page server.ListPage
	a.into(&page)
	return page
}

// walk reads all pages of a query.
func (b *bench) walk(query string, between func()) (accounts []string, pages int) {
	b.tb.Helper()
	cursor := ""
	for {
		page := b.list(query + cursor)
		pages++
		for _, c := range page.Closures {
			accounts = append(accounts, c.AccountID)
		}
		if page.NextCursor == nil {
			return accounts, pages
		}
		cursor = "&cursor=" + url.QueryEscape(*page.NextCursor)
		between()
	}
}

func TestListIsReadPageByPage(t *testing.T) {
	b := newBench(t)
	if a := b.do("GET", "/api/account-closure", ""); a.status != 200 || !strings.Contains(a.text, `"closures":[]`) || !strings.Contains(a.text, `"next_cursor":null`) {
		t.Errorf("an empty list answered %d %s", a.status, a.text)
	}
	var want []string
	for n := range 23 {
		want = append(want, b.closure(numbered(n)).AccountID)
	}
	more := 100
	got, pages := b.walk("limit=5&order=oldest", func() {})
	if !slices.Equal(got, want) || pages != 5 {
		t.Errorf("%d pages: %v", pages, got)
	}
	slices.Reverse(want)
	got, pages = b.walk("limit=5", func() { more++; b.closure(numbered(more)) })
	if !slices.Equal(got, want) || pages != 5 {
		t.Errorf("while others came, %d pages: %v", pages, got)
	}
	if page := b.list(""); len(page.Closures) != 27 || page.NextCursor != nil {
		t.Errorf("without a limit: %d, more %v", len(page.Closures), page.NextCursor)
	}
	if page := b.list("limit=27"); page.NextCursor != nil {
		t.Error("a page that is exactly full promises another")
	}
}

func TestListShowsAndFilters(t *testing.T) {
	b := newBench(t)
	waits, gone, third := b.closure(numbered(1)), b.closure(numbered(2)), b.closure(numbered(3))
	memo := closure.Memo{Paid: "1234.567"}
	gone, err := b.ledger.Save(context.Background(), gone, closure.Looked(time.Now(), closure.Fail(closure.BankGone, "the bank is gone"), closure.Look{}, &memo), nil)
	must(t, err)
	third = b.look(third, closure.Go(closure.Settlement, "sold"))
	row := b.list("status=FAILED").Closures[0]
	if row.JobID != gone.ID || row.Confirmation != gone.Confirmation || row.Status != "FAILED" || row.State != closure.Failed || row.Reason != closure.BankGone ||
		row.Who != gone.Who || row.Why == "" || row.Until != nil || row.EndedAt == nil || row.Paid == nil {
		t.Errorf("the row is %+v", row)
	}
	a := b.do("GET", "/api/account-closure?status=FAILED", "")
	if !strings.Contains(a.text, `"paid":"1234.56"`) {
		t.Errorf("answered %s", a.text)
	}
	for _, secret := range []string{"jane", waits.RelationshipID} {
		if a := b.do("GET", "/api/account-closure", ""); strings.Contains(a.text, secret) {
			t.Errorf("the list has %q", secret)
		}
	}
	for query, want := range map[string][]closure.Closure{
		"status=PENDING,FAILED":                                  {gone, waits},
		"status=running":                                         {third, waits},
		"phase=settlement,withdrawal":                            {third},
		"reason=bank_gone":                                       {gone},
		"account_id=" + strings.ToUpper(waits.AccountID):         {waits},
		"q=" + waits.Confirmation:                                {waits},
		"q=" + waits.ID[:8]:                                      b.newest(waits.ID[:8]),
		"older_than=1m":                                          nil,
		"created_before=2001-01-01T00:00:00Z":                    nil,
		"created_after=2001-01-01T00:00:00Z&status=FAILED":       {gone},
		"older_than=0m&order=oldest&status=running":              {waits, third},
		"batch_id=" + numbered(9):                                nil,
		"status=running&phase=settlement&q=" + third.AccountID:   {third},
		"status=COMPLETED&older_than=999999d":                    nil,
		"q=" + url.QueryEscape("%' OR 1=1 --"):                   nil,
		"reason=bank_gone&created_before=2999-01-01T00:00:00.5Z": {gone},
	} {
		var got, ids []string
		for _, c := range b.list(query).Closures {
			got = append(got, c.JobID)
		}
		for _, c := range want {
			ids = append(ids, c.ID)
		}
		if !slices.Equal(got, ids) {
			t.Errorf("%s: %v, want %v", query, got, ids)
		}
	}
}

// newest are the closures whose ids begin so, the newest first.
func (b *bench) newest(prefix string) (out []closure.Closure) {
	b.tb.Helper()
	all, err := b.ledger.List(context.Background(), ledger.Filter{}, ledger.Page{Limit: 100})
	must(b.tb, err)
	for _, c := range all {
		if strings.HasPrefix(c.ID, prefix) {
			out = append(out, c)
		}
	}
	return out
}

func TestListRefusesWhatItCannotAnswer(t *testing.T) {
	b := newBench(t)
	for n := range 3 {
		b.closure(numbered(n))
	}
	cursor := url.QueryEscape(*b.list("limit=1&status=running").NextCursor)
	b.list("limit=200&status=running&cursor=" + cursor) // another limit is no other list
	for _, query := range []string{
		"cursor=" + cursor, "status=PENDING&cursor=" + cursor, "status=running&order=oldest&cursor=" + cursor, "cursor=nonsense", "cursor=%00",
		"status=running&cursor=" + cursor[:len(cursor)-2], "cursor=" + url.QueryEscape("' OR 1=1"),
	} {
		if p := b.do("GET", "/api/account-closure?"+query, "").problem(422, "bad_cursor"); p.Hint == "" {
			t.Errorf("%s: no hint", query)
		}
	}
	for _, query := range []string{
		"status=nonsense", "phase=selling", "limit=0", "limit=201", "limit=many", "account_id=jane@example.test", "older_than=soon", "older_than=-5d", "older_than=5y",
		"created_after=yesterday", "reason=Bank", "reason=nope", "reason=%27", "order=by%20name", "state=failed", "q=ab", "cursor=" + strings.Repeat("x", 301),
	} {
		if p := b.do("GET", "/api/account-closure?"+query, "").problem(422, "invalid_request"); len(p.Errors) == 0 {
			t.Errorf("%s: errors says nothing", query)
		}
	}
	must(t, b.ledger.Close())
	b.do("GET", "/api/account-closure", "").problem(503, "ledger_unavailable")
}
