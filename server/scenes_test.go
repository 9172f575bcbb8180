package server_test

import (
	"context"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"closeout/alpaca/sim"
	"closeout/closure"
)

// What stands in the examples for what each run makes anew.
const (
	anAccount  = "6f1c2d3e-4b5a-4c7d-8e9f-0a1b2c3d4e5f"
	aBank      = "a1b2c3d4-e5f6-4a7b-8c9d-0e1f2a3b4c5d"
	aJob       = "019ab3c4-d5e6-7f80-9a1b-2c3d4e5f6071"
	another    = "70a1b2c3-d4e5-4f60-8172-93a4b5c6d7e8" // account
	itsBank    = "b2c3d4e5-f6a7-4b8c-9d0e-1f2a3b4c5d6e"
	itsJob     = "019ab3c4-d5e7-7a91-8b2c-3d4e5f607182"
	aBatch     = "019ab3c4-d5e8-7ba2-9c3d-4e5f60718293"
	anOrder    = "d9e0f1a2-b3c4-4d5e-8f60-718293a4b5c6"
	aTransfer  = "b7c8d9e0-f1a2-4b3c-8d4e-5f6071829304"
	aRequest   = "c0ffee00-1234-4567-89ab-cdef01234567"
	aTime      = "2026-11-25T15:00:00Z"
	aMoment    = "Wed 25 Nov 2026 10:00:00 EST"
	aCursor    = "NmE1YjRjM2QyZTFmIDE3OTU2MTg4MDAwMDAwMDAgMDE5YWIzYzQ"
	aHash      = "5d41402abc4b2a76b9719d911017c592ae2b1f8d3c5a60718293a4b5c6d7e8f9"
	aNumber    = "CLA-20261125150000-3d4e5f"
	theAddress = "https://closeout.example"
)

// scene is one example: how an account comes to stand as it does, and what is asked then. Its texts have the example's ids.
type scene struct {
	operation, name string
	method, path    string
	body            string
	status          int
	stage           func(b *bench, ids map[string]string) // tells the real ids of what it makes; anAccount and aBank are there
}

// the stages build on one another.
func opened(b *bench, ids map[string]string) {
	ids[aJob] = b.accepted(ids[anAccount], ids[aBank]).ID
}

func (b *bench) now(ids map[string]string) closure.Closure {
	b.tb.Helper()
	c, err := b.ledger.OfAccount(context.Background(), ids[anAccount])
	must(b.tb, err)
	return c
}

func waiting(b *bench, ids map[string]string) {
	opened(b, ids)
	c := b.look(b.now(ids), closure.Go(closure.Settlement, "2 positions sold"))
	b.look(c, closure.Wait(time.Hour, closure.Settling, closure.Reasons[closure.Settling].Title))
}

func paying(b *bench, ids map[string]string) {
	waiting(b, ids)
	c := b.look(b.now(ids), closure.Go(closure.Withdrawal, "$900.00 can be withdrawn"))
	b.claim(c, ids[aBank], 0)
}

func bankGone(b *bench, ids map[string]string) {
	waiting(b, ids)
	c := b.look(b.now(ids), closure.Go(closure.Withdrawal, "$900.00 can be withdrawn"))
	memo := c.Memo
	memo.Stand = &closure.Stand{Cash: decimal.NewFromInt(900), Key: c.Version, Listed: map[string]string{}}
	_, err := b.ledger.Save(context.Background(), c, closure.Looked(time.Now(), closure.Fail(closure.BankGone, "the bank chosen at the request is gone"), closure.Look{}, &memo), nil)
	must(b.tb, err)
}

func relinked(b *bench, ids map[string]string) {
	bankGone(b, ids)
	must(b.tb, b.sim.Event(ids[anAccount], sim.Event{Type: "relationship_create"}))
	truth, err := b.sim.Truth(ids[anAccount])
	must(b.tb, err)
	ids[aBank] = truth.ACHRelationships[len(truth.ACHRelationships)-1].ID
}

func inQuestion(b *bench, ids map[string]string) {
	waiting(b, ids)
	c := b.look(b.now(ids), closure.Go(closure.Withdrawal, "$900.00 can be withdrawn"))
	c, _ = b.claim(c, ids[aBank], time.Hour)
	b.look(c, closure.Fail(closure.UnknownTransfer, "the payout of $900.00 is in neither of two lists after its quarantine"))
}

func found(b *bench, ids map[string]string) {
	inQuestion(b, ids)
	ids[aTransfer] = b.event(ids[anAccount], sim.Event{Type: "withdrawal", Amount: decimal.NewFromInt(900)}).ID
}

func closed(b *bench, ids map[string]string) {
	waiting(b, ids)
	c := b.look(b.now(ids), closure.Go(closure.Withdrawal, "$900.00 can be withdrawn"))
	c = b.look(c, closure.Go(closure.Closing, "no cash is left"))
	b.look(c, closure.Done("the account is closed; paid out $900.00"))
}

// settled is a closure that went all the way, with a sale and a payout.
func settled(b *bench, ids map[string]string) {
	opened(b, ids)
	ids[anOrder], ids[aTransfer] = orderID, aTransfer
	k := &caseOf{b, ids[anAccount], ids[aBank], b.now(ids)}
	k.sell("AAPL", dollars("300.10"), "")
	k.c = k.look(k.c, closure.Go(closure.Settlement, "1 position sold"))
	k.c = k.look(k.c, closure.Go(closure.Withdrawal, "everything has settled"))
	k.pay("1200.10", "1200.10", "2026-11-30", aTransfer, "COMPLETE")
	k.c = k.look(k.c, closure.Go(closure.Closing, "no cash is left"))
	k.closes()
}

// selling is a closure whose first order is sent.
func selling(b *bench, ids map[string]string) {
	opened(b, ids)
	ids[anOrder] = orderID
	k := &caseOf{b, ids[anAccount], ids[aBank], b.now(ids)}
	k.sell("AAPL", decimal.NullDecimal{}, "")
	k.look(k.c, closure.Wait(time.Minute, closure.Selling, "1 position is left"))
}

// second is another account, with a bank.
func second(b *bench, ids map[string]string) {
	ids[another], ids[itsBank] = b.account(sim.Spec{Cash: decimal.NewFromInt(2500)})
}

func two(b *bench, ids map[string]string) {
	bankGone(b, ids)
	second(b, ids)
	ids[itsJob] = b.accepted(ids[another], ids[itsBank]).ID
}

func oneOpen(b *bench, ids map[string]string) {
	waiting(b, ids)
	second(b, ids)
}

// batched is a batch that is written down, of two accounts of which the second names a bank that it does not have.
func batched(b *bench, ids map[string]string) {
	second(b, ids)
	ids[itsBank] = itsBank
	ids[aBatch] = b.accepts([]string{row(ids[anAccount], ids[aBank]), row(ids[another], itsBank)}, `,"partial":true,"reason":"the firm moves its customers"`).BatchID
}

func batchDone(b *bench, ids map[string]string) {
	batched(b, ids)
	b.work()
	ids[aJob] = b.now(ids).ID
}

func both(more ...string) string {
	return batchOf([]string{row(anAccount, aBank, `,"email":"jo@example.com","user_id":"customer-17"`), row(another, itsBank)}, more...)
}

func commanding(what string) string { return "/api/account-closure/" + what + "/" + anAccount }

func why(text string, more ...string) string {
	return `{"reason":"` + text + `"` + strings.Join(more, "") + `}`
}

var scenes = []scene{
	{"initiate", "accepted", "POST", commanding("initiate"), wish(aBank, `,"priority":"normal","reason":"moving to another broker"`), 202, nil},
	{"initiate", "asked again", "POST", commanding("initiate"), wish(aBank), 200, opened},
	{"initiate", "not confirmed", "POST", commanding("initiate"), `{"ach_relationship_id":"` + aBank + `","confirm_liquidation":true,"confirm_irreversible":false}`, 422, nil},
	{"progress", "waiting for the settlement", "GET", commanding("progress"), "", 200, waiting},
	{"progress", "stopped, a person must act", "GET", commanding("progress"), "", 200, bankGone},
	{"progress", "no closure", "GET", commanding("progress"), "", 404, nil},
	{"check-readiness", "an account", "GET", commanding("check-readiness"), "", 200, nil},
	{"check-readiness", "no account", "GET", "/api/account-closure/check-readiness/00000000-0000-4000-8000-000000000000", "", 404, nil},
	{"job-status", "under way", "GET", "/api/job-status/" + aJob, "", 200, waiting},
	{"job-status", "done", "GET", "/api/job-status/" + aJob, "", 200, closed},
	{"job-status", "no job", "GET", "/api/job-status/" + aJob, "", 404, func(_ *bench, ids map[string]string) { ids[aJob] = aJob }},
	{"cancel", "called off", "POST", commanding("cancel"), why("the customer changed their mind"), 200, opened},
	{"cancel", "too late", "POST", commanding("cancel"), why("the customer changed their mind"), 409, paying},
	{"pause", "with a payout on its way", "POST", commanding("pause"), why("compliance wants to look"), 200, paying},
	{"pause", "after the end", "POST", commanding("pause"), why("compliance wants to look"), 409, closed},
	{"resume", "after a stop", "POST", commanding("resume"), why("the bank was approved again"), 200, bankGone},
	{"resume", "running already", "POST", commanding("resume"), why("the bank was approved again"), 200, waiting},
	{"resume", "after the end", "POST", commanding("resume"), why("the bank was approved again"), 409, closed},
	{"wake", "a waiting one", "POST", commanding("wake"), why("the broker lifted the block"), 200, waiting},
	{"wake", "one that has stopped", "POST", commanding("wake"), why("the broker lifted the block"), 409, bankGone},
	{"resolve", "paid by hand", "POST", commanding("resolve"), why("wired to the customer's new bank", `,"resolution":"paid_by_hand","amount":"900.00","reference":"WIRE 20261125-7"`), 200, bankGone},
	{"resolve", "another bank", "POST", commanding("resolve"), why("the customer linked another bank", `,"resolution":"relink_bank","ach_relationship_id":"`+aBank+`"`), 200, relinked},
	{"resolve", "adopt a transfer", "POST", commanding("resolve"), why("the broker's support found it", `,"resolution":"adopt_transfer","transfer_id":"`+aTransfer+`"`), 200, found},
	{"resolve", "void a transfer", "POST", commanding("resolve"), why("the broker's support says that it was not made", `,"resolution":"void_transfer"`), 200, inQuestion},
	{"resolve", "while it runs", "POST", commanding("resolve"), why("the broker's support says that it was not made", `,"resolution":"void_transfer"`), 409, waiting},
	{"list", "all, page by page", "GET", "/api/account-closure?limit=1", "", 200, two},
	{"list", "those that a person must act on", "GET", "/api/account-closure?status=failed,dead&order=oldest", "", 200, two},
	{"list", "another list's cursor", "GET", "/api/account-closure?status=failed&cursor=" + aCursor, "", 422, nil},
	{"batch", "accepted", "POST", "/api/account-closure/batch", both(`,"reason":"the firm moves its customers"`), 202, second},
	{"batch", "a dry run", "POST", "/api/account-closure/batch", `{"dry_run":true,"accounts":[` + row(anAccount, aBank) + `]}`, 202, nil},
	{"batch", "partial, with a row that is refused at once", "POST", "/api/account-closure/batch", both(`,"partial":true`), 202, oneOpen},
	{"batch", "with a row that keeps all from being started", "POST", "/api/account-closure/batch", both(), 422, oneOpen},
	{"batch-progress", "written down", "GET", "/api/account-closure/batch/" + aBatch, "", 200, batched},
	{"batch-progress", "started but for one", "GET", "/api/account-closure/batch/" + aBatch, "", 200, batchDone},
	{"batch-progress", "no batch", "GET", "/api/account-closure/batch/" + aBatch, "", 404, nil},
	{"batch-cancel", "before it was started", "POST", "/api/account-closure/batch/" + aBatch + "/cancel", why("the wrong list"), 200, batched},
	{"batch-cancel", "too late", "POST", "/api/account-closure/batch/" + aBatch + "/cancel", why("the wrong list"), 409, batchDone},
	{"events", "from the first event on", "GET", "/api/account-closure/events?after=0", "", 200, two},
	{"events", "after an event that is not there", "GET", "/api/account-closure/events?after=" + aJob + ".99.5d41402a", "", 422, opened},
	{"events-of-account", "waiting for the settlement", "GET", commanding("events"), "", 200, waiting},
	{"events-of-account", "no closure", "GET", commanding("events"), "", 404, nil},
	{"case-file", "closed, and it balances", "GET", commanding("case-file"), "", 200, settled},
	{"case-file", "under way", "GET", commanding("case-file"), "", 200, selling},
	{"case-file", "no closure", "GET", commanding("case-file"), "", 404, nil},
	{"queues", "a busy hour", "GET", "/api/queues", "", 200, nil},
	{"health", "alive", "GET", "/health", "", 200, nil},
	{"ready", "ready", "GET", "/ready", "", 200, nil},
}
