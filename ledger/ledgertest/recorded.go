package ledgertest

import (
	"time"

	"github.com/google/go-cmp/cmp"

	"closeout/closure"
)

var recorded = map[string]func(*bench){
	"AnAnswerIsWrittenWhateverTheRowHasBecome": func(b *bench) {
		ways := map[closure.State]func(*bench, closure.Closure) closure.Closure{
			closure.Running: func(b *bench, c closure.Closure) closure.Closure {
				return b.look(c, closure.Wait(0, closure.TransferPending, "moved on"))
			},
		}
		for s, stop := range stops {
			ways[s] = stop
		}
		for s, way := range ways {
			c, is := b.claim(b.create("account-"+string(s)), pay("1", "2026-11-18"))
			row := way(b, c)
			sent := in(is[0], closure.IntentSent, "t-"+string(s))
			sent.Status, sent.Answer, sent.RequestID, sent.AnsweredAt = 200, "accepted", "r", odd
			out := b.record(sent)
			if diff := cmp.Diff([]closure.Intent{out}, b.intents(c.ID), micro); diff != "" || out.State != closure.IntentSent {
				b.Errorf("a %s closure: %s (-returned +read)\n%s", s, out.State, diff)
			}
			after := b.get(c.ID)
			row.Seq, row.HeadHash = after.Seq, after.HeadHash // the history goes on, the row stays
			if diff := cmp.Diff(row, after, micro); diff != "" {
				b.Errorf("a %s closure was changed\n%s", s, diff)
			}
			evs := b.events(c.ID)
			if last := evs[len(evs)-1]; last.Kind != "answer" || last.State != s {
				b.Errorf("a %s closure's last event is %q", s, last.Kind)
			}
		}
	},

	"ARefusalIsWritten": func(b *bench) {
		c, is := b.claim(b.create("a"), pay("1", "2026-11-18"))
		no := in(is[0], closure.IntentRefused, "")
		no.Status, no.Answer = 422, "insufficient funds"
		if out := b.record(no); out.State != closure.IntentRefused {
			b.Errorf("it is %s", out.State)
		}
		if got := b.intents(c.ID)[0]; got.State != closure.IntentRefused || got.Status != 422 || got.Answer != "insufficient funds" {
			b.Errorf("%+v", got)
		}
	},

	"ATransferThatWasGivenUpAndTakenAfterAllIsLate": func(b *bench) {
		c, is := b.claim(b.create("a"), pay("1", "2026-11-18"))
		c, _ = b.settle(c, is[0], closure.IntentVoid, "")
		out := b.record(in(is[0], closure.IntentSent, "t1"))
		if diff := cmp.Diff([]closure.Intent{out}, b.intents(c.ID)); diff != "" || out.State != closure.IntentLate || out.BrokerID != "t1" {
			b.Errorf("%s as %q (-returned +read)\n%s", out.State, out.BrokerID, diff)
		}
		evs := b.events(c.ID)
		if last := evs[len(evs)-1]; last.Kind != "late" {
			b.Errorf("the last event is %q: %s", last.Kind, last.Text)
		}
		if !closure.PastNoReturn(b.intents(c.ID)) {
			b.Error("the closure could be cancelled")
		}
	},

	// Only money that went out unseen needs a person. A cancellation or a closing that came through after all is just that.
	"WhatWasGivenUpAndMovedNoMoneyIsSent": func(b *bench) {
		for _, kind := range []closure.IntentKind{closure.CancelIntent, closure.OrderIntent, closure.CloseIntent} {
			c, is := b.claim(b.create("account-"+string(kind)), intent(kind, "x"))
			c, _ = b.settle(c, is[0], closure.IntentVoid, "")
			if out := b.record(in(is[0], closure.IntentSent, "")); out.State != closure.IntentSent || b.intents(c.ID)[0].State != closure.IntentSent {
				b.Errorf("a %s is %s", kind, out.State)
			}
			if _, _, err := try(b.Context(), b.l, c, pay("1", "2026-11-18")); err != nil {
				b.Errorf("after a %s that was given up and taken, a payout: %v", kind, err)
			}
		}
	},

	"ARefusalOverWhatWasGivenUpLeavesItVoid": func(b *bench) {
		c, is := b.claim(b.create("a"), pay("1", "2026-11-18"))
		c, void := b.settle(c, is[0], closure.IntentVoid, "")
		if out := b.record(in(is[0], closure.IntentRefused, "")); out.State != closure.IntentVoid {
			b.Errorf("it is %s", out.State)
		}
		if diff := cmp.Diff([]closure.Intent{void}, b.intents(c.ID)); diff != "" {
			b.Error(diff)
		}
	},

	// The first writer stood still, and a second visit claimed the order again and sent it: found by the simulation (seed 79).
	"ARefusalOfAnEarlierClaimSaysNothingOfALaterOne": func(b *bench) {
		c, is := b.claim(b.create("a"), intent(closure.OrderIntent, "asset"))
		first := is[0]
		again := first
		again.Deadline = first.Deadline.Add(time.Minute)
		c, is = b.claim(c, again)
		no := in(first, closure.IntentRefused, "")
		no.Answer = "not sent"
		if out := b.record(no); out.State != closure.IntentSending || b.intents(c.ID)[0].State != closure.IntentSending {
			b.Errorf("it is %s, and the second writer has sent it", out.State)
		}
		if evs := b.events(c.ID); evs[len(evs)-1].Kind != "answer" {
			b.Errorf("the history does not have the refusal: %q", evs[len(evs)-1].Kind)
		}
		if out := b.record(in(is[0], closure.IntentRefused, "")); out.State != closure.IntentRefused {
			b.Errorf("the second writer's own refusal leaves it %s", out.State)
		}
	},

	"TheSecondAnswerChangesNothing": func(b *bench) {
		c, is := b.claim(b.create("a"), pay("1", "2026-11-18"))
		first := b.record(in(is[0], closure.IntentSent, "t1"))
		for _, second := range []closure.Intent{first, in(is[0], closure.IntentRefused, ""), in(is[0], closure.IntentSent, "t2")} {
			if out := b.record(second); out.State != closure.IntentSent || out.BrokerID != "t1" {
				b.Errorf("after a second answer it is %s as %q", out.State, out.BrokerID)
			}
			if diff := cmp.Diff([]closure.Intent{first}, b.intents(c.ID)); diff != "" {
				b.Error(diff)
			}
		}
		// Adopted from a list before its own answer came: the answer goes into the history alone.
		c, is = b.claim(b.create("adopted"), pay("1", "2026-11-18"))
		c, adopted := b.settle(c, is[0], closure.IntentSent, "t3")
		if out := b.record(in(is[0], closure.IntentSent, "t3")); out.State != closure.IntentSent {
			b.Errorf("it is %s", out.State)
		}
		if diff := cmp.Diff([]closure.Intent{adopted}, b.intents(c.ID)); diff != "" {
			b.Error(diff)
		}
		if evs := b.events(c.ID); evs[len(evs)-1].Kind != "answer" {
			b.Errorf("the history does not have the answer: %q", evs[len(evs)-1].Kind)
		}
	},
}
