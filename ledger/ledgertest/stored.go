package ledgertest

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sort"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/shopspring/decimal"

	"closeout/closure"
	"closeout/ledger"
)

// odd is a moment with a part below the microsecond, in a zone that is not UTC.
var odd = time.Date(2026, time.November, 18, 9, 30, 1, 123_456_789, time.FixedZone("", -5*3600))

// micro compares times as the ledger keeps them.
var micro = cmp.Comparer(func(x, y time.Time) bool {
	return x.Truncate(time.Microsecond).Equal(y.Truncate(time.Microsecond))
})

var stored = map[string]func(*bench){
	// Each step must read back as it was returned, and by the end every field must have held something: a column that is
	// forgotten or exchanged with another can't hide.
	"EveryFieldOfAClosureIsKept": func(b *bench) {
		seen := map[string]bool{}
		check := func(c closure.Closure, err error) closure.Closure {
			b.Helper()
			if err != nil {
				b.Fatal(err)
			}
			if diff := cmp.Diff(c, b.get(c.ID), micro); diff != "" {
				b.Fatalf("version %d (-returned +read)\n%s", c.Version, diff)
			}
			held(seen, "", reflect.ValueOf(c))
			return b.get(c.ID)
		}
		w := wish("a")
		w.NotBefore, w.Priority, w.BatchID = odd, closure.Urgent, b.ready(b.batch(1, nil)).ID
		c, _, err := b.l.Create(traced(b.Context()), w)
		c = check(c, err)
		memo := closure.Memo{
			Format: closure.Format, Reconciled: 21, Beside: closure.Fields{"newer": json.RawMessage(`[1.50,{"a":null}]`)},
			ListDigest: "d", ListSince: odd.Add(1), ExcessSince: odd.Add(2), Excess: "1.23", Allowed: "4.56", CameBack: 7, Forgiven: 8, Paid: "9.10", Worth: "16.17", OnWay: "18.19",
			Stand:     &closure.Stand{Cash: money("10.11").Decimal, Key: 12, Listed: map[string]string{"t0": "COMPLETE"}, Beside: closure.Fields{"newer": json.RawMessage(`1`)}},
			ByHand:    []closure.HandPaid{{Amount: money("13.14").Decimal, Reference: "wire 7", Key: 15, Beside: closure.Fields{"newer": json.RawMessage(`"x"`)}}},
			TakenOver: &closure.TakenOver{At: odd.Add(3).UTC(), Wall: odd.Add(4).UTC(), Told: true, Touched: odd.Add(5).UTC()},
		}
		at := c.UpdatedAt.Add(time.Minute)
		step := func(ch closure.Change) {
			b.Helper()
			next, err := b.l.Save(b.Context(), c, ch, nil)
			c = check(next, err)
			at = at.Add(time.Minute)
		}
		step(closure.Looked(at, closure.Go(closure.Settlement, "sold"), closure.Look{}, &memo))
		step(closure.Looked(at, closure.Go(closure.Liquidation, "shares again"), closure.Look{}, nil))
		step(closure.Looked(at, closure.Wait(0, closure.BankGone, "ünïcode\n'quoted' \"twice\"").PutOff(odd.AddDate(9, 0, 0)), closure.Look{Open: 17 * time.Second, Day: "2026-11-18"}, nil))
		step(closure.Looked(at, closure.Unasked(time.Minute, closure.BrokerBusy, "busy"), closure.Look{}, nil)) // keeps what it waited for
		step(closure.Crashed(at, 3))
		step(closure.Stumbled(at, "the error", 3, true))
		c = check(b.l.Command(b.Context(), c.ID, func(closure.Closure, []closure.Intent) (closure.Change, error) {
			return closure.Wake(c.DueAt.Add(time.Hour), "ann", "now"), nil
		}))
		step(closure.Looked(at, closure.Fail(closure.OrderRefused, "no"), closure.Look{}, nil))
		if missing := fieldsNot(seen, "", reflect.TypeFor[closure.Closure]()); len(missing) > 0 {
			b.Errorf("this test never saw a value in %v", missing)
		}
	},

	"EveryFieldOfAnIntentIsKept": func(b *bench) {
		c := b.create("a")
		seen := map[string]bool{}
		check := func(want closure.Intent) {
			b.Helper()
			if diff := cmp.Diff([]closure.Intent{want}, b.intents(c.ID), micro); diff != "" {
				b.Fatalf("(-returned +read)\n%s", diff)
			}
			held(seen, "", reflect.ValueOf(want))
		}
		send := pay("123.45", "2026-11-18")
		send.Subject, send.Attempt, send.ClientOrderID, send.RelationshipID = "subject", 3, "client", "relationship"
		send.Request = []byte(`{"path": "/v1/…",  "body":"\u003c"}`) // to the byte
		send.ClaimedAt, send.Deadline = odd, odd.Add(30*time.Second)
		next, is := b.claim(c, send)
		check(is[0])
		i := is[0]
		i.State, i.BrokerID, i.Status, i.Answer, i.RequestID, i.AnsweredAt = closure.IntentSent, "broker", 201, "accepted", "request", odd.Add(time.Second)
		check(b.record(i))
		was := i.State
		i.AbsentAt, i.FilledQty, i.Proceeds, i.Finished = odd.Add(time.Hour), money("0.123456789"), money("-17.001"), "COMPLETE"
		next = b.look(next, closure.Wait(0, closure.TransferPending, "on its way"), ledger.Learned{Was: was, Intent: i})
		check(i)
		if next, is = b.claim(next, intent(closure.CancelIntent, "o1"), intent(closure.CancelIntent, "o2")); is[1].N != 1 || is[1].Key != next.Version {
			b.Errorf("the second of a batch: key %d of version %d, place %d", is[1].Key, next.Version, is[1].N)
		}
		held(seen, "", reflect.ValueOf(is[1]))
		if missing := fieldsNot(seen, "", reflect.TypeFor[closure.Intent]()); len(missing) > 0 {
			b.Errorf("this test never saw a value in %v", missing)
		}
	},

	// What is asked beside the roads of the other tests: each statement must be asked of each database at least once.
	"WhatIsAskedBesideIsAnswered": func(b *bench) {
		days := []ledger.Day{{Date: "2026-11-26", Settles: "2026-11-30"}, {Date: "2026-11-27", Opens: "09:30", Closes: "13:00", Settles: "2026-11-30"}}
		for range 2 { // the second time over what was kept
			if err := b.l.SaveDays(b.Context(), days); err != nil {
				b.Fatal(err)
			}
		}
		if got, err := b.l.Days(b.Context()); err != nil || !cmp.Equal(got, days) {
			b.Errorf("the calendar is %v, %v", got, err)
		}
		c := b.create("a")
		if got, err := b.l.Letters(b.Context(), c.ID); err != nil || len(got) != 1 || got[0].Letter != closure.LetterInitiated || got[0].State != "due" {
			b.Errorf("the letters are %v, %v", got, err)
		}
		if f, err := b.l.Figures(b.Context()); err != nil || f.Bytes <= 0 || f.Database == "" {
			b.Errorf("the figures are %+v, %v", f, err)
		}
		for token, until := range map[string]time.Time{"over": time.Now().Add(-time.Hour), "here": time.Now().Add(time.Hour)} {
			if err := b.l.SignIns().CommitCtx(b.Context(), token, []byte(token), until); err != nil {
				b.Fatal(err)
			}
		}
		if n, err := b.l.Expired(b.Context()); err != nil || n != 1 {
			b.Errorf("%d are expired, %v", n, err)
		}
		if all, err := b.l.SignIns().All(b.Context()); err != nil || len(all) != 1 {
			b.Errorf("%d are signed in, %v", len(all), err)
		}
	},

	"TimesAreKeptToTheMicrosecondInUTC": func(b *bench) {
		w := wish("a")
		w.NotBefore = odd
		c, _, err := b.l.Create(b.Context(), w)
		if err != nil {
			b.Fatal(err)
		}
		got := b.get(c.ID)
		if want := odd.UTC().Truncate(time.Microsecond); got.NotBefore != want {
			b.Errorf("%s, want %s", got.NotBefore, want)
		}
		if got.CreatedAt.Location() != time.UTC {
			b.Errorf("created %s", got.CreatedAt)
		}
		if evs := b.events(c.ID); !evs[0].At.Equal(got.CreatedAt) {
			b.Errorf("the event is at %s, the closure at %s", evs[0].At, got.CreatedAt)
		}
	},

	"NoTimeIsNull": func(b *bench) {
		c := b.create("a")
		if n := b.count("closures WHERE not_before IS NULL AND last_look IS NULL AND woken_at IS NULL AND started_at IS NULL AND ended_at IS NULL"); n != 1 {
			b.Error("a zero time of the closure is not NULL")
		}
		_, is := b.claim(c, intent(closure.CancelIntent, "o1"))
		if n := b.count("intents WHERE absent_at IS NULL AND answered_at IS NULL"); n != 1 {
			b.Error("a zero time of the intent is not NULL")
		}
		if got := b.intents(c.ID)[0]; !got.AbsentAt.IsZero() || !got.AnsweredAt.IsZero() || !is[0].AnsweredAt.IsZero() {
			b.Errorf("it reads %s and %s", got.AbsentAt, got.AnsweredAt)
		}
		paused := b.command(c.ID, closure.Pause(c.UpdatedAt, "ann", "hold it"))
		if n := b.count("closures WHERE due_at IS NULL"); n != 1 || !b.get(paused.ID).DueAt.IsZero() {
			b.Error("a paused closure is due")
		}
	},

	"MoneyIsExactAndUnknownIsNotZero": func(b *bench) {
		c := b.create("a")
		sums := []string{"0", "0.00", "-0.01", "123456789012345678901234567890.123456789012345678", "0.000000001", "1e-12", "1E+9", "-9999999999.999999999"}
		var send []closure.Intent
		for n, s := range sums {
			i := intent(closure.OrderIntent, fmt.Sprint(n))
			i.Amount, i.CashBefore = money(s), decimal.NullDecimal{}
			send = append(send, i)
		}
		b.claim(c, send...)
		for n, i := range b.intents(c.ID) {
			if !i.Amount.Valid || !i.Amount.Decimal.Equal(decimal.RequireFromString(sums[n])) {
				b.Errorf("%s reads %s, known %t", sums[n], i.Amount.Decimal, i.Amount.Valid)
			}
			if i.CashBefore.Valid || i.FilledQty.Valid || i.Proceeds.Valid {
				b.Errorf("an unknown sum reads %s, %s, %s", i.CashBefore.Decimal, i.FilledQty.Decimal, i.Proceeds.Decimal)
			}
		}
	},

	"IntentsComeInTheOrderOfTheirClaims": func(b *bench) {
		c := b.create("a")
		var want []string
		for range 3 {
			var send []closure.Intent
			for n := range 11 { // more than ten: order by number, not by text
				send = append(send, intent(closure.CancelIntent, fmt.Sprint(n)))
			}
			var is []closure.Intent
			if c, is = b.claim(c, send...); len(is) != len(send) {
				b.Fatalf("%d intents of %d", len(is), len(send))
			}
			for _, i := range is {
				want = append(want, i.ID)
			}
		}
		var got []string
		for _, i := range b.intents(c.ID) {
			got = append(got, i.ID)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			b.Error(diff)
		}
	},

	// Load reads the row and then the intents: whoever holds a row holds every intent that was claimed up to its version.
	"NoClaimSlipsBetweenTheRowAndItsIntents": func(b *bench) {
		first := b.create("a")
		other := b.open(closure.Sandbox)
		done := make(chan struct{})
		atOnce(func() {
			defer close(done)
			c := first
			for range many() { // each version beyond the first is one claim of one intent
				next, _, err := try(b.Context(), b.l, c, intent(closure.CancelIntent, "o"))
				if err != nil {
					b.Error(err)
					return
				}
				c = next
			}
		}, func() {
			for {
				row, is, err := other.Load(b.Context(), first.ID)
				if err != nil {
					b.Error(err)
					return
				}
				known := 0
				for _, i := range is {
					if i.Key <= row.Version {
						known++
					}
				}
				if int64(known) != row.Version-1 {
					b.Errorf("at version %d there are %d intents", row.Version, known)
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	},

	"SandboxAndLiveDoNotSeeEachOther": func(b *bench) {
		ctx := b.Context()
		c := b.create("a")
		c, is := b.claim(c, pay("1", "2026-11-18"))
		live := b.open(closure.Live)
		if live.Environment() != closure.Live {
			b.Errorf("it serves %s", live.Environment())
		}
		b.nothing("everything", c.ID, nil, func() error {
			_, err := live.Get(ctx, c.ID)
			_, err2 := live.OfAccount(ctx, "a")
			_, _, err3 := live.Load(ctx, c.ID)
			_, err4 := live.Events(ctx, c.ID)
			_, err5 := live.Command(ctx, c.ID, func(closure.Closure, []closure.Intent) (closure.Change, error) {
				return closure.Pause(c.UpdatedAt, "ann", "hold it"), nil
			})
			_, _, _, err6 := live.NextNotice(ctx, nil, time.Minute)
			_, _, err7 := live.Record(ctx, c, in(is[0], closure.IntentSent, "t1"), answer())
			_, err8 := live.Save(ctx, c, closure.Looked(c.UpdatedAt, closure.Done("done"), closure.Look{}, nil), nil)
			_, _, err9 := try(ctx, live, c, intent(closure.CancelIntent, "o"))
			for n, err := range []error{err, err2, err3, err4, err5, err6, err7, err8, err9} {
				if !errors.Is(err, ledger.ErrNotFound) {
					b.Errorf("question %d: %v", n+1, err)
				}
			}
			if rows, err := live.Overdue(ctx, time.Now().Add(1000*time.Hour), closure.Closure{}, 10); err != nil || len(rows) != 0 {
				b.Errorf("%d are overdue: %v", len(rows), err)
			}
			if is, err := live.Intents(ctx, c.ID); err != nil || len(is) != 0 {
				b.Errorf("%d intents: %v", len(is), err)
			}
			return nil
		})
		own, created, err := live.Create(ctx, wish("a"))
		if err != nil || !created || own.Environment != closure.Live {
			b.Fatalf("the same account's closure in live: created %t, %s, %v", created, own.Environment, err)
		}
		if _, _, err := try(ctx, live, own, pay("1", "2026-11-18")); err != nil {
			b.Errorf("a payout in live beside one in the sandbox: %v", err)
		}
	},

	"OpeningAgainKeepsEverything": func(b *bench) {
		c := b.create("a")
		c, is := b.claim(c, pay("0.01", "2026-11-18"))
		b.record(in(is[0], closure.IntentSent, "t1"))
		before := b.state(c.ID)
		if err := b.open(closure.Sandbox).Ping(b.Context()); err != nil {
			b.Error(err)
		}
		own, err := ledger.Open(b.Context(), ledger.Options{URL: b.db.URL, Environment: closure.Sandbox})
		if err != nil {
			b.Fatal(err)
		}
		if err := own.Close(); err != nil {
			b.Error(err)
		}
		if err := own.Ping(b.Context()); err == nil {
			b.Error("a closed ledger answers")
		}
		b.l = b.open(closure.Sandbox)
		if diff := cmp.Diff(before, b.state(c.ID)); diff != "" {
			b.Errorf("(-before +after)\n%s", diff)
		}
	},

	"WhoOnlyLooksMigratesNothing": func(b *bench) {
		look := func() error {
			l, err := ledger.Open(b.Context(), ledger.Options{URL: b.db.URL, Environment: closure.Sandbox, Policy: closure.DefaultPolicy(closure.Sandbox), AsIs: true})
			if err == nil {
				err = l.Close()
			}
			return err
		}
		if err := look(); err != nil {
			b.Errorf("as it is now: %v", err)
		}
		if err := b.db.Back(12); err != nil {
			b.Fatal(err)
		}
		for range 2 { // the first look has changed nothing
			if err := look(); !errors.Is(err, ledger.ErrOldSchema) {
				b.Errorf("older: %v", err)
			}
		}
		_, newest, err := ledger.Migrate(b.Context(), b.db.URL)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := b.db.SQL.ExecContext(b.Context(), "INSERT INTO goose_db_version (version_id, is_applied) SELECT $1, is_applied FROM goose_db_version WHERE version_id = $2", newest+1, newest); err != nil {
			b.Fatal(err)
		}
		if err := look(); err != nil {
			b.Errorf("newer: %v", err)
		}
		if _, err := b.db.SQL.ExecContext(b.Context(), "DROP TABLE goose_db_version"); err != nil {
			b.Fatal(err)
		}
		if err := look(); !errors.Is(err, ledger.ErrOldSchema) {
			b.Errorf("bare: %v", err)
		}
	},

	"ManyProcessesOpenAnEmptyDatabaseAtOnce": func(b *bench) {
		if err := b.db.Back(0); err != nil {
			b.Fatal(err)
		}
		if _, err := b.db.SQL.ExecContext(b.Context(), "DROP TABLE goose_db_version"); err != nil {
			b.Fatal(err)
		}
		var fns []func()
		for range 8 {
			fns = append(fns, func() {
				l, err := ledger.Open(b.Context(), ledger.Options{URL: b.db.URL, Environment: closure.Sandbox, Policy: closure.DefaultPolicy(closure.Sandbox)})
				if err != nil {
					b.Errorf("open: %v", err)
					return
				}
				if _, _, err := l.Create(b.Context(), wish("a")); err != nil {
					b.Error(err)
				}
				if err := l.Close(); err != nil {
					b.Error(err)
				}
			})
		}
		atOnce(fns...)
		if n := b.count("closures"); n != 1 {
			b.Errorf("%d closures", n)
		}
	},

	"TheOverdueComeInPagesByTheirDueTimes": func(b *bench) {
		start := time.Date(2026, time.November, 18, 15, 0, 0, 0, time.UTC)
		type due struct {
			at time.Time
			id string
		}
		var want []due
		for n, after := range []time.Duration{ // fractions that text could put in the wrong order, and ties
			0, 500 * time.Millisecond, 500 * time.Millisecond, 490 * time.Millisecond, 50 * time.Millisecond, 5 * time.Millisecond, time.Second,
			999_999 * time.Microsecond, time.Microsecond, 10 * time.Second, 9 * time.Second, time.Second, 0, 24 * time.Hour,
		} {
			c := b.create(account(n))
			c = b.save(c, closure.Looked(start.Add(-time.Hour), closure.WaitUntil(start.Add(after), closure.MarketClosed, "closed"), closure.Look{}, nil))
			if after < 10*time.Second {
				want = append(want, due{c.DueAt, c.ID})
			}
		}
		for n, stop := range []closure.State{closure.Paused, closure.Failed, closure.Closed} { // due no more
			stops[stop](b, b.create(account(100+n)))
		}
		sort.Slice(want, func(i, j int) bool {
			if !want[i].at.Equal(want[j].at) {
				return want[i].at.Before(want[j].at)
			}
			return want[i].id < want[j].id
		})
		for _, size := range []int{1, 3, 5, 100} {
			var got []due
			var last closure.Closure
			for {
				page, err := b.l.Overdue(b.Context(), start.Add(10*time.Second), last, size)
				if err != nil {
					b.Fatal(err)
				}
				if len(page) > size {
					b.Fatalf("%d on a page of %d", len(page), size)
				}
				for _, c := range page {
					last = c
					got = append(got, due{c.DueAt, c.ID})
				}
				if len(page) < size {
					break
				}
			}
			if !slices.Equal(want, got) {
				b.Errorf("in pages of %d:\n%v\nwant\n%v", size, got, want)
			}
		}
	},
}

// held notes which fields of a struct hold a value, those of structs within it too.
func held(seen map[string]bool, prefix string, v reflect.Value) {
	for i := range v.NumField() {
		f, name := v.Field(i), prefix+v.Type().Field(i).Name
		if f.Type() == reflect.TypeFor[closure.Memo]() {
			held(seen, name+".", f)
		} else if !f.IsZero() {
			seen[name] = true
		}
	}
}

func fieldsNot(seen map[string]bool, prefix string, t reflect.Type) (missing []string) {
	for f := range t.Fields() {
		name := prefix + f.Name
		if f.Type == reflect.TypeFor[closure.Memo]() {
			missing = append(missing, fieldsNot(seen, name+".", f.Type)...)
		} else if !seen[name] {
			missing = append(missing, name)
		}
	}
	return missing
}
