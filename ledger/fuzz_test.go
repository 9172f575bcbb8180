package ledger

import (
	"context"
	"database/sql"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"closeout/closure"
)

// FuzzParseAccountStatus: a setting that is accepted has three names and is read the same in any order; another is refused
// with words.
func FuzzParseAccountStatus(f *testing.F) {
	for _, s := range []string{
		"table=user_onboarding key=alpaca_account_id column=status", "column=status table=public.user_onboarding key=id", "table=a key=b", "table=a table=b key=c column=d",
		"table= key=b column=c", "table==a key=b column=c", "tab\tle=a", "", `table="a b" key=c column=d`, "table=a\u00a0key=b column=c", "table=a;drop key=b column=c",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAccountStatus(s)
		if err != nil {
			if a != nil || err.Error() == "" {
				t.Errorf("%q: %v beside %v", s, a, err)
			}
			return
		}
		for _, name := range []string{a.Table, a.Key, a.Column} {
			if name == "" || strings.ContainsAny(name, " \t\r\n") || !strings.Contains(s, "="+name) {
				t.Errorf("%q: %+v", s, a)
			}
		}
		again, err := ParseAccountStatus("column=" + a.Column + "\n key=" + a.Key + " table=" + a.Table)
		if err != nil || *again != *a {
			t.Errorf("%q: %+v, then %+v, %v", s, a, again, err)
		}
	})
}

// FuzzStoredIntent: an intent's row that was damaged is an error, and never one whose sums are zero or whose times were
// made up.
func FuzzStoredIntent(f *testing.F) {
	const when = "2026-11-25 14:22:15.123456+00:00"
	f.Add("50000", "123.45", "0", "", `{"t1":"QUEUED"}`, when)
	for _, s := range []string{"", " ", "0", "-0", "1e9999", "1e-9999", "NaN", "null", "12.", "0x10", "1,5", "\u2212" + "5"} {
		f.Add(s, s, s, s, `null`, "")
	}
	f.Add("1", "1", "1", "1", `{"a":1}`, "2026-11-25")
	f.Add("1", "1", "1", "1", `[]`, "0000-01-01 00:00:00+00:00")
	f.Add("1", "1", "1", "1", ``, when+"x")
	db := fuzzDB(f)
	f.Fuzz(func(t *testing.T, amount, cash, filled, proceeds, listed, claimed string) {
		r := db.QueryRowContext(t.Context(), "SELECT 'i', 'c', 'sandbox', 'a', 1, 0, 'transfer', 'sent', '', 1, '', '{}', $1, '', '', $2, 1, $3, $4, $5, NULL, '', 0, '', '', NULL, $6, $7, ''",
			amount, cash, listed, claimed, when, filled, proceeds)
		i, err := scanIntent(r)
		if err != nil {
			return
		}
		for _, sum := range []struct {
			text string
			read nullDecimal
		}{{amount, i.Amount}, {cash, i.CashBefore}, {filled, i.FilledQty}, {proceeds, i.Proceeds}} {
			if sum.read.Valid == (sum.text == "") || sum.read.Valid && sum.read.Decimal.IsZero() && !strings.Contains(sum.text, "0") {
				t.Errorf("%q was read as %v", sum.text, sum.read)
			}
			var back nullDecimal
			if err := parseMoney(money(sum.read), &back); err != nil || back.Valid != sum.read.Valid || !back.Decimal.Equal(sum.read.Decimal) {
				t.Errorf("%q, then %q: %v", sum.text, money(sum.read), err)
			}
		}
		if claimed == "" || !json.Valid([]byte(listed)) || !i.ClaimedAt.IsZero() && i.ClaimedAt.Location() != time.UTC {
			t.Errorf("claimed %q, listed %q: %+v", claimed, listed, i)
		}
	})
}

// FuzzStoredClosure: what a closure's row keeps of words and notes comes back as it was, but for what Postgres could not
// keep; a memo that was damaged is an error.
func FuzzStoredClosure(f *testing.F) {
	f.Add("a payout came back", `{"list_digest":"x","list_since":"2026-11-25T14:22:15Z","excess":"0.50","came_back":2,"paid":"100"}`)
	for _, memo := range []string{`{}`, `null`, ``, `{"came_back":-1}`, `{"came_back":1e3}`, `{"paid":5}`, `[]`, `{"list_since":""}`} {
		f.Add("\x00\xff'; DROP TABLE closures; --", memo)
	}
	db := fuzzDB(f)
	l := &Ledger{db: &database{DB: db, sqlite: true}, env: closure.Sandbox, policy: closure.DefaultPolicy(closure.Sandbox)}
	if _, _, err := l.db.migrate(context.Background()); err != nil {
		f.Fatal(err)
	}
	c, _, err := l.Create(context.Background(), Wish{AccountID: "account", RelationshipID: "bank", Actor: "test"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, why, memo string) {
		if _, err := db.ExecContext(t.Context(), "UPDATE closures SET why = $1, memo = $2 WHERE id = $3", why, memo, c.ID); err != nil {
			t.Fatal(err)
		}
		var want closure.Memo
		damaged := json.Unmarshal([]byte(memo), &want) != nil
		got, err := l.Get(t.Context(), c.ID)
		if damaged != (err != nil) {
			t.Fatalf("the memo %q: %v", memo, err)
		}
		if damaged {
			return
		}
		if !cmp.Equal(got.Memo, want) {
			t.Errorf("the memo %q was read as %+v", memo, got.Memo)
		}
		if p := plain(why); !utf8.ValidString(p) || strings.Contains(p, "\x00") || utf8.ValidString(why) && !strings.Contains(why, "\x00") && p != why {
			t.Errorf("%q became %q", why, p)
		}
		next, err := l.Save(t.Context(), got, closure.Looked(time.Now(), closure.Wait(time.Minute, closure.OrdersCanceling, why), closure.Look{}, nil), nil)
		if err != nil {
			return // an outcome that Apply refuses
		}
		if again, err := l.Get(t.Context(), c.ID); err != nil || again.Why != next.Why || !cmp.Equal(again.Memo, next.Memo) {
			t.Errorf("%+v, then %+v, %v", next, again, err)
		}
		if _, err := l.Events(t.Context(), c.ID); err != nil {
			t.Error(err)
		}
	})
}

func fuzzDB(f *testing.F) *sql.DB {
	f.Helper()
	db, err := openSQLite(f.TempDir() + "/l.db")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = db.Close() })
	return db.DB
}
