package ledgertest

import (
	"fmt"
	"strings"
	"time"

	"closeout/closure"
	"closeout/ledger"
)

// asking is what needs a person: groups of closures, and instructions that have no end.
var asking = map[string]func(*bench){
	"WhatNeedsAPersonIsGrouped": func(b *bench) {
		for n := range 3 {
			b.fail(account(n), closure.OrderRefused)
		}
		first := b.fail("first", closure.BankGone)
		b.tamper("UPDATE closures SET ended_at = $1 WHERE id = $2", first.EndedAt.Add(-time.Hour).UTC().Truncate(time.Microsecond), first.ID)
		b.fail("second", closure.BankGone)
		stops[closure.Dead](b, b.create("dead"))
		stops[closure.Paused](b, b.create("paused"))
		stops[closure.Closed](b, b.create("closed"))
		b.look(b.create("blocked"), closure.Park(0, closure.AccountBlocked, "blocked"))
		b.look(b.create("waiting"), closure.Wait(0, closure.Settling, "settling"))
		b.look(b.create("noted"), closure.Wait(0, closure.ExcessNoted, "noted"))
		groups, err := b.l.Asking(b.Context())
		var got []string
		for _, g := range groups {
			got = append(got, fmt.Sprintf("%s %s %d", g.State, g.Reason, g.N))
			if g.Reason == closure.BankGone && !g.Since.Equal(first.EndedAt.Add(-time.Hour).Truncate(time.Microsecond)) || g.Since.IsZero() {
				b.Errorf("%s since %s", g.Reason, g.Since)
			}
		}
		want := "failed order_refused 3, failed bank_gone 2, paused paused 1, dead retries_used_up 1, running account_blocked 1"
		if err != nil || strings.Join(got, ", ") != want {
			b.Errorf("%v, %v\nwant %s", got, err, want)
		}
		got = nil
		noted, err := b.l.Asking(b.Context(), closure.ExcessNoted, closure.Settling)
		for _, g := range noted[min(len(noted), 4):] {
			got = append(got, fmt.Sprintf("%s %s %d", g.State, g.Reason, g.N))
		}
		if want := "running account_blocked 1, running excess_noted 1, running settling 1"; err != nil || strings.Join(got, ", ") != want {
			b.Errorf("with what is noted: %v, %v\nwant %s", got, err, want)
		}
		groups, err = b.l.Redrivable(b.Context(), ledger.Filter{Reason: closure.BankGone})
		if err != nil || len(groups) != 1 || groups[0].N != 2 || groups[0].State != closure.Failed {
			b.Errorf("of a filter: %+v, %v", groups, err)
		}
		if groups, err = b.open(closure.Live).Asking(b.Context()); err != nil || len(groups) != 0 {
			b.Errorf("the other environment sees %+v, %v", groups, err)
		}
	},

	"OpenInstructionsAreCounted": func(b *bench) {
		open := func(now time.Time) string {
			b.Helper()
			got, err := b.l.OpenIntents(b.Context(), now)
			if err != nil {
				b.Fatal(err)
			}
			var out []string
			for _, o := range got {
				out = append(out, fmt.Sprintf("%s %s %d", o.Kind, o.State, o.N))
			}
			return strings.Join(out, ", ")
		}
		wants := func(now time.Time, want string) {
			b.Helper()
			if got := open(now); got != want {
				b.Errorf("%q, want %q", got, want)
			}
		}
		c, is := b.claim(b.create("a"), pay("10", "2026-11-18"))
		before, after := is[0].Deadline.Add(-time.Second), is[0].Deadline.Add(time.Second)
		wants(before, "transfer sending 1")
		b.claim(b.create("b"), intent(closure.OrderIntent, "asset"), intent(closure.OrderIntent, "other"))
		_, sent := b.claim(b.create("c"), intent(closure.CancelIntent, "order"))
		b.record(in(sent[0], closure.IntentSent, "o1"))
		live := b.open(closure.Live)
		elsewhere, _, err := live.Create(b.Context(), wish("elsewhere"))
		if err != nil {
			b.Fatal(err)
		}
		if _, _, err := try(b.Context(), live, elsewhere, pay("10", "2026-11-18")); err != nil {
			b.Fatal(err)
		}
		wants(before, "order sending 2, transfer sending 1")
		wants(after, "order unknown 2, transfer unknown 1")
		b.tamper("UPDATE intents SET deadline = $1 WHERE id = $2", before.Add(-time.Hour).UTC().Truncate(time.Microsecond), is[0].ID)
		found, err := b.l.OpenIntents(b.Context(), after)
		if err != nil || len(found) != 2 || !found[1].Until.Equal(before.Add(-time.Hour).Truncate(time.Microsecond)) || found[0].Until.IsZero() {
			b.Errorf("the oldest of them: %+v, %v", found, err)
		}
		b.tamper("UPDATE intents SET deadline = $1 WHERE id = $2", is[0].Deadline.UTC().Truncate(time.Microsecond), is[0].ID)
		c, i := b.settle(c, is[0], closure.IntentVoid, "")
		wants(after, "order unknown 2")
		b.record(in(i, closure.IntentSent, "t9"))
		wants(before, "order sending 2, transfer late 1")
		b.look(b.get(c.ID), closure.Done("a person has looked at it"))
		wants(after, "order unknown 2")
	},

	"UnknownOutcomesAreFound": func(b *bench) {
		c, is := b.claim(b.create("a"), pay("10", "2026-11-18"))
		before, after := is[0].Deadline.Add(-time.Second), is[0].Deadline.Add(time.Second)
		if got, err := b.l.Unsettled(b.Context(), before, 10); err != nil || len(got) != 0 {
			b.Errorf("before its deadline: %+v, %v", got, err)
		}
		if got, err := b.l.Unsettled(b.Context(), after, 10); err != nil || len(got) != 1 || got[0].ID != is[0].ID {
			b.Errorf("after it: %+v, %v", got, err)
		}
		_, i := b.settle(c, is[0], closure.IntentVoid, "")
		if got, err := b.l.Unsettled(b.Context(), after, 10); err != nil || len(got) != 0 {
			b.Errorf("void: %+v, %v", got, err)
		}
		b.record(in(i, closure.IntentSent, "t9"))
		if got, err := b.l.Unsettled(b.Context(), before, 10); err != nil || len(got) != 1 || got[0].State != closure.IntentLate {
			b.Errorf("late: %+v, %v", got, err)
		}
	},
}
