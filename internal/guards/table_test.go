package guards

import "strings"

// simulated are lives under faults of every kind, until the first one that goes wrong: internal/auditor's finding is what
// it says.
var simulated = catcher{"./internal/simulation", "^TestSimulate$", "SEEDS=200 FIRST=1"}

// conforming and those below it are tests of one room, for what stands behind another guard or is about a thing
// that the simulation models.
var (
	conforming = catcher{"./ledger", "^TestSQLite$/^(AClaimOnARowThatMovedWritesNothing|AClaimOnARowThatIsNotRunningWritesNothing|OneTransferOfAnAccountIsOnTheWire|OneTransferOfAnAccountIsMadeOnABankingDay|" +
		"AnUnknownOrderIsSentAgainAsTheSameIntent|EachOfTheBrokersTransfersBelongsToOneIntent|NothingIsClaimedWhileEverythingIsHeld|ALateTransferKeepsItsDayAndBlocksTheNextUntilAPersonResumes|ATransferThatWasGivenUpAndTakenAfterAllIsLate)$", ""}
	paying      = catcher{"./handlers", "^TestInstructionsArePaidForBeforeTheyAreClaimed$", ""}
	sharing     = catcher{"./budget", "^TestNoMinuteSeesMoreThanTheBudget$", ""}
	ahead       = catcher{"./budget", "^TestWhatIsTakenAheadIsOfItsMinute$", ""}
	working     = catcher{"./worker", "^TestALostAcknowledgementIsMadeUpFor$", ""}
	reading     = catcher{"./alpaca", "^(TestSenderSendsOnce|TestTransfersIsNeverShort|TestNumbersAreReadInEveryForm)$", ""}
	remembering = catcher{"./closure", "^TestAMemoKeepsWhatANewerVersionWroteIntoIt$", ""}
	resolving   = catcher{"./closure", "^TestResolutionsAreRefusedInWords$", ""}
	redriving   = catcher{"./ledger", "^TestSQLite$/^(WhatHasStoppedIsFoundOnce|EachIsRetriedOnceWhoeverTries|WhatHasMovedIsSkippedAndSaysSo|ALateTransferIsNotSeenByARedrive|AfterAnAbortNothingIsResumed|NoMoreInAMinuteThanItMay)$", ""}
	holding     = catcher{"./ledger", "^TestPostgres$/^Direct$/^OnceAHoldHasReturnedNoClaimIsMade$", ""}
	saving      = catcher{"./ledger", "^TestSQLite$/^(AStaleSaveWritesNothing|AHistoryThatIsAnotherIsNotWrittenBehind|AStaleIntentWritesNothingAtAll|AWakeThatCameDuringTheVisitMakesTheNextOneDueNow|AMarkThatNoHistoryTellsIsHeededBySaves)$", ""}
	together    = catcher{"./ledger", "^TestPostgres$/^Direct$/^(AStaleSaveWritesNothing|AStaleIntentWritesNothingAtAll)$", ""}
	locking     = catcher{"./ledger", "^TestPostgres$/^Direct$/^(CancelAndClaimAtOnceAreNeverBothDone|NothingIsClaimedAfterAPause)$", ""}
	restoring   = catcher{"./internal/auditor", "^(TestAPayoutThatNoListShowsYetIsNotPaidAgain|TestATaskOfTheLostTimeStopsWhatWasNotReconciledAndNothingElse|TestALedgerWithoutItsLastSecondsSendsNothing)$", ""}
)

// visiting is one of the tests of visits, for a condition that decides alone in one situation.
func visiting(test string) catcher {
	name, sub, _ := strings.Cut(test, "/")
	return catcher{"./handlers", "^" + name + "$/^" + sub + "$", ""}
}

// entering are the tests of the console's door.
var entering = catcher{"./console", "^(TestASessionHasAToken|TestSessionsEnd|TestWhatASessionRestsOn|TestWhereOneIsLed|TestAViewerMayLook|TestWhoGuesses|TestAnswersThatAreNot|" +
	"TestPeopleSignIn|TestMonitoringShowsNoTokens)", ""}

const (
	door, plan, books, visits = "handlers/door.go", "handlers/plan.go", "handlers/books.go", "ledger/visits.go"
	glance                    = "handlers/glance.go"
	resolve                   = "closure/resolve.go"
	closures, written         = "ledger/closures.go", "ledger/write.go"
	redrives, redrive         = "ledger/redrives.go", "closure/redrive.go"
	schema                    = "ledger/migrations/00001_ledger.sql"
)

var netOff = []cut{
	{schema, "CREATE UNIQUE INDEX intents_one_sending", "CREATE INDEX intents_one_sending"},
	{schema, "CREATE UNIQUE INDEX intents_one_a_day", "CREATE INDEX intents_one_a_day"},
}

// claimSet claims upon whatever the row has become.
var claimSet = cut{
	visits, "	next, err := l.upon(ctx, c, ch, func(c closure.Closure, next *closure.Closure, _ *closure.Event)",
	"	if now, err := l.Get(ctx, c.ID); err == nil {\n		c = now\n	}\n	next, err := l.upon(ctx, c, ch, func(c closure.Closure, next *closure.Closure, _ *closure.Event)",
}

// rowSet compares nothing of the row but a wake's mark.
var rowSet = cut{
	closures,
	"\" WHERE id = $%d AND environment = $%d AND version = $%d AND token = $%d AND state = $%d AND head_hash = $%d AND woken_at IS NOT DISTINCT FROM $%d\"",
	"\" WHERE id = $%d AND environment = $%d AND version <> -$%d AND token <> $%d || 'x' AND state <> $%d || 'x' AND head_hash <> $%d || 'x' AND woken_at IS NOT DISTINCT FROM $%d\"",
}

var guards = []guard{
	{
		"the claim compares and sets", append([]cut{claimSet}, netOff...), simulated,
		"an order differs from its intent|an order that no intent wanted|more was paid out than|a payout that|an order goes beyond|the closing was asked for while",
	},
	{"only a running row is claimed", []cut{{
		"closure/apply.go", "ch.kind != kUnreconciled && ch.adoption == nil {\n		if", "ch.kind != kUnreconciled && ch.adoption == nil && ch.kind != kClaim {\n		if",
	}}, conforming, "AClaimOnARowThatIsNotRunningWritesNothing"},
	{"a newer version's instruction is left alone", []cut{{
		"handlers/runner.go", `case closure.Newer(c, intents...) != "":`, `case closure.Newer(c) != "":`,
	}}, visiting("TestWhatANewerVersionHasTakenUpIsLeftAlone/an_instruction"), "it went from version"},
	{"a newer version's memo is carried along", []cut{{
		"closure/newer.go", "if err != nil || len(beside) == 0 {", "if err != nil || len(beside) >= 0 {",
	}}, remembering, "became"},
	{"nothing is claimed while everything is held", []cut{{visits, "ws := append(l.notHeld(), row...)", "ws := row"}}, conforming, "NothingIsClaimedWhileEverythingIsHeld"},
	{"a hold outlasts the claims that overlooked it", []cut{{"ledger/holds.go", "		err = l.outlastClaims(ctx)\n", ""}}, holding, "intents when the hold had returned"},
	{"nothing is paid before the last payout of an earlier system is listed", []cut{{plan, `	if p, ok := b.takenOver(); ok {
		return p, true
	}
`, ""}}, visiting("TestPlan/NothingIsPaidInTheQuarantineOfATakeover"), "want"},
	{
		"the banking day of a takeover is the earlier system's",
		[]cut{{plan, "if t := b.Memo.TakenOver; t != nil { // as if", "if t := b.Memo.TakenOver; false { // as if"}},
		visiting("TestAPayoutThatIsListedAfterTheTakeover/AfterTheQuarantineOfTheSameDay"), `paid \[2000.00 2000.00\]|the account owes`,
	},
	{"what an earlier system comes back to by itself is left alone", []cut{{
		"legacy/parse.go", `rec.Working = !slices.Contains(resting, phase) || f.has("next_action_time")`, `rec.Working = phase == "processing" && slices.Contains(resting, phase)`,
	}}, catcher{"./handlers", "^TestWhatIsNotTakenOverYet$", ""}, "withdrawal_waiting: "},
	{"a record of an earlier system that appears stops the takeover", []cut{{
		"legacy/account.go", "			a.watch(p+s, Raw{})\n", "			_ = p + s\n",
	}}, catcher{"./handlers", "^TestWhatIsNotTakenOverYet$", ""}, "a closure was written all the same|a record appears: "},
	{"an earlier system that works on after the takeover is noticed", []cut{{
		"handlers/takeover_again.go", "a.Touched().After(over.Touched)", "a.Touched().Before(over.Touched)",
	}}, catcher{"./handlers", "^TestTheEarlierSystemWorksOnAfterTheTakeover$", ""}, "here_already"},
	{"no claim in doubt is sent", []cut{{door, `	next, intents, err := v.run.Ledger.Claim(ctx, v.Closure, ch, send, ev)
	if err != nil {
		return nil, err
	}`, `	next, intents, err := v.run.Ledger.Claim(ctx, v.Closure, ch, send, ev)
	if errors.Is(err, ledger.ErrStale) {
		return nil, err
	}
	if err != nil {
		return send, nil
	}`}, {door, `	"closeout/closure"
`, `	"closeout/closure"
	"closeout/ledger"
`}}, simulated, "an order that no intent wanted|a payout that no intent wanted|an order was cancelled that no intent meant|an account was closed that no intent"},
	{"one transfer of an account on the wire", netOff[:1], conforming, "OneTransferOfAnAccountIsOnTheWire"},
	{"one transfer of an account a banking day", netOff[1:], conforming, "OneTransferOfAnAccountIsMadeOnABankingDay"},
	{"a broker's transfer is one intent's", []cut{{schema, "CREATE UNIQUE INDEX intents_transfer_once", "CREATE INDEX intents_transfer_once"}}, conforming, "EachOfTheBrokersTransfersBelongsToOneIntent"},
	{"none is late", []cut{{visits, "ws = append(ws, noneLate(c))", "_ = noneLate"}}, conforming, "ALateTransferKeepsItsDay"},
	{"an answer over a void is late", []cut{{visits, "			out.State = closure.IntentLate\n", ""}}, conforming, "ATransferThatWasGivenUpAndTakenAfterAllIsLate"},
	{"what can't be remembered fails nothing", []cut{{door, "	if forgotten != nil { // no phase", "	if forgotten != nil && len(out) < 0 { // no phase"}}, visiting("TestAClosureWaitsWhileNothingIsRemembered/"), "TestAClosureWaitsWhileNothingIsRemembered"},
	{"the deadline", []cut{ // both halves: the context alone holds a late write back, too
		{door, "age < 0 || age >= v.Timing.ToWire {", "age < 0 {"},
		{door, "ctx, cancel := context.WithDeadline(ctx, start.Add(v.Timing.Deadline))", "ctx, cancel := context.WithTimeout(ctx, v.Timing.Deadline)"},
	}, simulated, "gave a payout up too early|refused or void was made|a payout that no intent wanted"},
	{"the quarantine", []cut{{plan, "if !b.Asked.After(i.Deadline.Add(b.Timing.Quarantine)) {", "if !b.Asked.After(i.Deadline) {"}}, simulated, "gave a payout up too early"},
	{"an answer of 500 is unknown", []cut{{door, "case a.Status >= 400 && a.Status < 500 && a.Status != http408:", "case a.Status >= 400:"}}, simulated, "a payout that the ledger calls refused or void was made|an order differs from its intent"},
	{"adopt what is in the list", []cut{{plan, `	if t, ok := b.match(i); ok {
		return plan{do: planAdopt, intent: i, transfer: t, why: "an unknown payout is in the list"}
	}
`, ""}}, simulated, "gave a payout up too early|a payout that the ledger calls refused or void was made"},
	{
		"the gate",
		[]cut{{"handlers/closing.go", "if o, ok, err := v.gate(ctx, a); err != nil || !ok {", "if o, ok, err := v.gate(ctx, a); err != nil && !ok {"}},
		simulated, "the closing was asked for while|an account was closed that was not empty",
	},
	{"a failed page is no list", []cut{{"alpaca/reads.go", `		rows, err := c.transferPage(ctx, path, account, len(all))
		if err != nil {
			return nil, false, err
		}`, `		rows, err := c.transferPage(ctx, path, account, len(all))
		if err != nil {
			return all, false, nil
		}`}}, reading, "TestTransfersIsNeverShort"},
	{"unknown is not zero", []cut{{"alpaca/types.go", `	if bytes.Equal(b, []byte(` + "`" + `""` + "`" + `)) || bytes.Equal(b, []byte("null")) {
		*n = Number{}
		return nil`, `	if bytes.Equal(b, []byte(` + "`" + `""` + "`" + `)) || bytes.Equal(b, []byte("null")) {
		*n = Known(decimal.Zero)
		return nil`}}, reading, "is 0, want unknown"},
	{"the pinned bank", []cut{{"handlers/withdrawal.go", `	if why := v.pinned(banks); why != "" {
		return closure.Fail(closure.BankGone, "the bank chosen at the request "+why), nil
	}
	p.Bank = v.Closure.RelationshipID`, `	if len(banks) == 0 {
		return closure.Fail(closure.BankGone, "the bank chosen at the request is gone"), nil
	}
	p.Bank = banks[0].ID`}}, simulated, "a payout went to another bank than the one chosen"},
	{
		"the quiet base",
		[]cut{{books, "base.CashBefore.Decimal.Sub(b.outSince(base)).Sub(b.lostSince(base))", "base.CashBefore.Decimal.Sub(b.lostSince(base))"}},
		simulated, "more was paid out than the customer had",
	},
	{"a busted trade is looked for before a payout", []cut{{"handlers/withdrawal.go", `	if o, ok, err := v.nothingToSell(ctx); err != nil || !ok {
		return o, err
	}
	banks`, `	banks`}}, simulated, "more was paid out than the customer had"},
	{"no cancelling past the point of no return", []cut{{"closure/apply.go", "		if ch.past {\n			return &NotAllowedError", "		if ch.past && c.State != Running {\n			return &NotAllowedError"}}, simulated, "a cancelled closure has done something irreversible"},
	{"a bulk retry leaves what has moved", []cut{{redrives, "if c.Version != row.version || still == 0 {", "if still == 0 {"}}, redriving, "WhatHasMovedIsSkippedAndSaysSo"},
	{"a bulk retry leaves what its filter does not mean", []cut{{redrives, "if c.Version != row.version || still == 0 {", "if c.Version != row.version {"}}, redriving, "WhatHasMovedIsSkippedAndSaysSo"},
	{"a bulk retry is no word on a late transfer", []cut{{redrive, "if i.State == IntentLate {", "if i.State == IntentSending {"}}, redriving, "ALateTransferIsNotSeenByARedrive"},
	{"nothing is retried after an abort", []cut{{redrives, " WHERE id = $1 AND environment = $2 AND state = 'running' RETURNING", " WHERE id = $1 AND environment = $2 RETURNING"}}, redriving, "AfterAnAbortNothingIsResumed"},
	{"a closure is retried once", []cut{{redrives, `r.redrive_id = $1 AND r.n = $2 AND r.state = 'waiting'"`, `r.redrive_id = $1 AND r.n = $2"`}}, redriving, "EachIsRetriedOnceWhoeverTries"},
	{"a bulk retry keeps its rate", []cut{{redrives, "if lately >= r.PerMinute {", "if lately > r.PerMinute {"}}, redriving, "NoMoreInAMinuteThanItMay"},
	{"a write is sent once", []cut{{"alpaca/sender.go", `	if s.used {
		return nil, nil, errUsed
	}
	s.used = true
`, ""}}, reading, "a second Send"},
	{"the ack repair", []cut{{"worker/ack.go", `if ctx.Err() != nil && (cmd.Name()`, `if ctx.Err() == nil && (cmd.Name()`}}, working, "the visit ran"},
	{"instructions are paid for before they are claimed", []cut{{door, `	ctx, err := v.prepay(ctx, len(effects))
	if err != nil {
		return nil, err
	}
`, `	var err error
`}}, paying, "denied 0 times"},
	{"rate and depth together are the budget", []cut{{"budget/budget.go", "rate: max(perMinute-full-perMinute/50, 1)", "rate: perMinute"}}, sharing, "calls in one minute, the budget is"},
	{"a minute of the bucket lasts as much longer as calls are good ahead", []cut{{"budget/ahead.go", "const minute = time.Minute + keeps", "const minute = time.Minute"}}, ahead, "calls in one minute, the bucket gives out"},
	{"calls that were taken ahead are given up", []cut{{"budget/ahead.go", "calls <= b.left && now.Before(b.until)", "calls <= b.left"}}, ahead, "calls in one minute, the bucket gives out"},
	{"the sweep brings back what is missing", []cut{{"handlers/sweep.go", `	err := r.Queue.Schedule(ctx, c)
	if err == nil {
		s.Rescheduled++
		return nil
	}
	if !errors.Is(err, tasks.ErrConflict) {
		return err
	}
`, ""}, {"handlers/sweep.go", `	case tasks.Missing, tasks.Waiting:`, `	case tasks.Missing, tasks.Waiting: // a missing one is scheduled by its visit`}}, simulated, "nobody comes|is still running"},
	{"the sweep reissues what is archived", []cut{{"handlers/sweep.go", `		return r.reissue(ctx, c, "its task was archived without the ledger having heard of it", true, s)`, "		return nil"}}, simulated, "nobody comes|is still running"},
	{"the sweep reissues what is orphaned", []cut{{"handlers/sweep.go", `		return r.reissue(ctx, c, "its task is active and no worker has it", true, s)`, "		return nil"}}, simulated, "nobody comes|is still running"},
	{"the freshness of what was read", []cut{{door, "age < 0 || age > v.Timing.Fresh {", "age < 0 {"}}, visiting("TestReadsThatAreTooOldAreNotActedOn/"), "by a list that is"},
	{"the broker's clock", []cut{{door, "if !known || skew.Abs() > v.Timing.Skew {", "if _ = skew; !known {"}}, visiting("TestClocksThatDifferSendNothing/Ahead"), "FAIL: TestClocks"},
	{"the broker's clock is known", []cut{{door, "if !known || skew.Abs() > v.Timing.Skew {", "if _ = known; skew.Abs() > v.Timing.Skew {"}}, visiting("TestClocksThatDifferSendNothing/NoDate"), "FAIL: TestClocks"},
	{"the banking day of the books", []cut{
		{door, "if e.Payout != nil && v.Calendar.BankingDay(v.run.Clock.Now()) != e.Payout.Day {\n			return &notNow", "if e.Payout == nil && false {\n			return &notNow"},
		{door, "if e.Payout != nil && v.Calendar.BankingDay(v.run.Clock.Now()) != e.Payout.Day {\n		return v.unsent", "if false {\n		return v.unsent"}, // the look behind it
	}, visiting("TestAPayoutKeepsToItsBankingDay/WhileTheBooksAreRead"), "was claimed for"},
	{"the banking day of the send", []cut{{door, "if e.Payout != nil && v.Calendar.BankingDay(v.run.Clock.Now()) != e.Payout.Day {\n		return v.unsent", "if false {\n		return v.unsent"}}, visiting("TestAPayoutKeepsToItsBankingDay/BeforeTheSocket"), "was claimed for"},
	{"a command locks the row", []cut{{visits, "tx.reads(ctx, l.rowOf(id, forUpdate, &c), l.intentsOf", "tx.reads(ctx, l.rowOf(id, \"\", &c), l.intentsOf"}}, locking, "the closure has moved on"},
	{"a save compares and sets", []cut{rowSet}, saving, "AStaleSaveWritesNothing"},
	{"a save goes behind the history that was read", []cut{{closures, " AND head_hash = $%d AND", " AND head_hash <> $%d || 'x' AND"}}, saving, "AHistoryThatIsAnotherIsNotWrittenBehind"},
	{"a save learns of an intent as it was read", []cut{{written, "err == nil && n != 1:", "err == nil && n > 1:"}}, saving, "AStaleIntentWritesNothingAtAll"},
	{"what is sent behind a write falls with it", []cut{{written, "ELSE ('\" + unmet + \"' || count(*))::int END", "ELSE 1 END"}}, together, "AStaleSaveWritesNothing|AStaleIntentWritesNothingAtAll"},
	{"a refusal is of its own claim", []cut{{visits, " AND deadline = $%d", " AND deadline || '' <> $%d || 'x'"}}, conforming, "ARefusal of the older claim"},
	{"a save writes over no wake", []cut{{closures, "AND woken_at IS NOT DISTINCT FROM $%d", "AND (woken_at IS NULL OR woken_at IS NOT NULL OR woken_at = $%d)"}}, saving, "the wake is lost"},
	{"adopt nothing that is another's", []cut{{books, "if !mine && !known && t.Outgoing()", "_ = mine\n		if !known && t.Outgoing()"}}, visiting("TestPlan/WhatAnotherIntentMadeIsNotAdopted"), "want"},
	{"adopt nothing listed before", []cut{{books, "if !mine && !known && t.Outgoing()", "_ = known\n		if !mine && t.Outgoing()"}}, visiting("TestPlan/WhatWasListedAtTheClaimIsNotAdopted"), "want"},
	{"adopt the same sum alone", []cut{{books, " && t.Amount.Valid && t.Amount.Decimal.Equal(i.Amount.Decimal) {", " && t.Amount.Valid {"}}, visiting("TestPlan/AnotherSumIsNotAdopted"), "want"},
	{"adopt the same bank's alone", []cut{{books, " && t.RelationshipID == i.RelationshipID && t.Amount", " && t.Amount"}}, visiting("TestPlan/AnotherBankIsNotAdopted"), "want"},
	{"two lists lack what is void", []cut{{plan, "if i.AbsentAt.IsZero() || b.Asked", "if b.Asked"}}, visiting("TestPlan/OneListIsNotEnoughToVoid"), "want"},
	{"two lists, a minute apart", []cut{{plan, "if i.AbsentAt.IsZero() || b.Asked.Before(i.AbsentAt.Add(b.Timing.Between)) {", "if i.AbsentAt.IsZero() {"}}, visiting("TestPlan/TwoListsWithinAMinuteAreNotEnoughToVoid"), "want"},
	{"void only what moved nothing", []cut{{plan, "	if b.moved(i) {", "	if b.moved(i) && false {"}}, visiting("TestPlan/CashThatMovedIsNotVoid"), "want"},
	{"a void is matched again", []cut{{plan, "		if t, ok := b.match(i); ok {\n			return plan{do: planLate", "		if t, ok := b.match(i); ok && false {\n			return plan{do: planLate"}}, visiting("TestPlan/AVoidThatIsListedAfterAllStops"), "want"},
	{"one payout a banking day", []cut{{plan, "	return banking\n", "	return i.ClaimedAt\n"}}, visiting("TestPlan/AVoidKeepsItsBankingDay"), "want"},
	{"one payout a calendar day", []cut{{plan, "day.After(banking) {", "day.After(banking.AddDate(1, 0, 0)) {"}}, visiting("TestPlan/AVoidKeepsItsCalendarDay"), "want"},
	{"quiet waits for the morning", []cut{{books, "		case !b.old(t):", "		case false:"}}, visiting("TestPlan/AnEndWantsItsMorning"), "want"},
	{"a glance at what was spent alone", []cut{{glance, "b.left(base).GreaterThanOrEqual(closure.Cent)", "b.left(base).IsNegative()"}}, visiting("TestAGlanceIsForWhatIsExpected/CashWasLeft"), "was expected"},
	{"a glance at what is known alone", []cut{{glance, "if i.State != closure.IntentSent && i.State != closure.IntentRefused {", "if i.State == closure.IntentSending {"}}, visiting("TestAGlanceIsForWhatIsExpected/AVoid"), "was expected"},
	{"a glance at ours alone", []cut{{glance, "case !mine && (!alpaca.StatusIs(t.Status, base.Listed[t.ID]) || !t.Ended()):", "case !mine && !t.Ended():"}}, visiting("TestAGlanceIsForWhatIsExpected/Another"), "was expected"},
	{"a glance that sees each of ours", []cut{{glance, "return flying, len(unseen) == 0", "return flying, true"}}, visiting("TestAGlanceIsForWhatIsExpected/NotListed"), "was expected"},
	{"a glance at no return", []cut{{glance, "case fate != alpaca.Complete || t.UpdatedAt", "case t.UpdatedAt"}}, visiting("TestAGlanceIsForWhatIsExpected/Returned"), "was expected"},
	{"the gate looks for positions", []cut{{"handlers/closing.go", `	if o, ok, err := v.nothingToSell(ctx); err != nil || !ok {
		return o, ok, err
	}
`, ""}}, visiting("TestTheGateSendsBackWhatIsLeft/APosition"), "the closing was asked for with"},
	{"the gate looks at the books", []cut{{"handlers/closing.go", "	if plan.do != planEmpty {", "	if plan.do == planFail {"}}, visiting("TestTheGateSendsBackWhatIsLeft/AnACHReturn"), "the closing was asked for with"},
	{"the gate waits for accrued fees", []cut{{"handlers/closing.go", "GreaterThanOrEqual(closure.Cent) {", "LessThan(closure.Cent.Neg()) {"}}, visiting("TestTheGateWantsEachOfItsReads/Fees"), "FAIL: TestTheGate"},
	{"a failed read is no empty list: positions", []cut{{"handlers/settlement.go", `	positions, err := v.Broker.Positions(ctx, v.Closure.AccountID)
	if err != nil {
		return o, false, err
	}
`, "	positions, _ := v.Broker.Positions(ctx, v.Closure.AccountID)\n"}}, visiting("TestTheGateWantsEachOfItsReads/Positions"), "FAIL: TestTheGate"},
	{"a failed read is no empty list: orders", []cut{{"handlers/settlement.go", `	orders, err := v.Broker.OpenOrders(ctx, v.Closure.AccountID)
	if err != nil {
		return o, false, err
	}
`, "	orders, _ := v.Broker.OpenOrders(ctx, v.Closure.AccountID)\n"}}, visiting("TestTheGateWantsEachOfItsReads/Orders"), "FAIL: TestTheGate"},
	{"a failed read is no empty list: transfers", []cut{{books, `	if l.transfers, err = v.Broker.Transfers(ctx, v.Closure.AccountID); err != nil {
		return l, err
	}
`, "	l.transfers, _ = v.Broker.Transfers(ctx, v.Closure.AccountID)\n"}}, visiting("TestTheGateWantsEachOfItsReads/Transfers"), "FAIL: TestTheGate"},
	{"what is paid by hand is not paid again", []cut{{books, ".Sub(b.lostSince(base)).Sub(b.byHand(base)))", ".Sub(b.lostSince(base)))"}}, visiting("TestPaidByHandBesideAPayout/"), "want"},
	{"what is paid by hand is not allowed by resuming", []cut{{"handlers/withdrawal.go", "if start, ok := b.start(); ok && gap.IsPositive() {", "if start, ok := b.start(); ok && gap.IsNegative() {"}}, visiting("TestWhatIsPaidByHandIsNotAllowedByResuming/"), "want failed"},
	{"what is paid by hand counts once", []cut{{books, "		if n := slices.IndexFunc(listed, p.Amount.Equal); n >= 0 {", "		if n := slices.IndexFunc(listed, p.Amount.Equal); n >= 0 && false {"}}, visiting("TestPaidByHand/InTheListOfTransfers"), "want"},
	{"a sum paid by hand is that sum", []cut{{plan, "ok && gap.IsNegative() && b.byHand(start).IsPositive() {", "ok && gap.IsPositive() && b.byHand(start).IsPositive() {"}}, visiting("TestPaidByHand/MoreLeftThanWasRecorded"), "want"},
	{"a payment by hand keeps what it is measured by", []cut{{"handlers/withdrawal.go", "if !quiet || len(v.memo.ByHand) > 0 || slices", "if !quiet || slices"}}, visiting("TestPaidByHand/ACentTooLittle"), "want"},
	{"a payment by hand is measured", []cut{{resolve, "if c.Memo.Stand == nil && !slices.ContainsFunc(intents, quiet) {", "if c.Memo.Stand == nil && slices.ContainsFunc(intents, quiet) {"}}, visiting("TestARecordedPaymentNeedsSomethingToBeMeasuredBy/"), "want"},
	{"nothing else is resolved while a payout is unknown", []cut{{resolve, "case !about && (i.State == IntentSending || i.State == IntentLate):", "case !about && i.State == IntentLate:"}}, visiting("TestAnUnknownPayoutIsVoidedByAPerson/"), "want"},
	{"nothing is resolved while an answer is due", []cut{{resolve, "case i.State == IntentSending && !i.Unknown(wall):", "case i.State == IntentSending && i.Unknown(wall) && false:"}}, resolving, "on its way"},
	{"a person voids after the quarantine", []cut{{resolve, "if c.Reason != UnknownTransfer && i.AbsentAt.IsZero() {", "if c.Reason != UnknownTransfer && false {"}}, resolving, "too early"},
	{"a person adopts nothing listed before", []cut{{resolve, "	case before:\n", "	case before && false:\n"}}, resolving, "was there before"},
	{"a resolution wants a closure that stands still", []cut{{resolve, "	case c.State == Running && command == kResolve:", "	case c.State == Running && command == kResolve && c.Version < 0:"}}, resolving, "pause it first"},
	{"an adopted transfer is no other closure's", []cut{{written, "isUnique(err):\n		return w.unique", "isUnique(err):\n		return nil"}}, conforming, "EachOfTheBrokersTransfersBelongsToOneIntent"},
	{"an ended session stays ended", []cut{{"ledger/signins.go", " WHERE s.ended = 0\"", "\""}}, catcher{"./ledger", "^TestSQLite$/^AnEndedSessionStaysEnded$", ""}, "AnEndedSessionStaysEnded"},
	{"a sign-in has a token of its own", []cut{{"signin/door.go", "errors.Join(d.sessions.Clear(ctx), d.sessions.RenewToken(ctx))", "errors.Join(d.sessions.Clear(ctx))"}}, entering, "another person has the same token"},
	{"a session ends for lack of use", []cut{{"signin/door.go", " || idle(s.Values[keySeen]) > idleTime", ""}}, entering, "FAIL: TestSessionsEnd/for_lack_of_use"},
	{"an open page keeps no session", []cut{{"signin/door.go", `r.Header.Get("HX-Request") == "" && `, ""}}, entering, "FAIL: TestSessionsEnd/under_an_open_page"},
	{"what a session rests on", []cut{{"signin/door.go", " || !d.stands(s.Values)", ""}}, entering, "the password was changed"},
	{"one is led back to here alone", []cut{{"signin/door.go", `strings.HasPrefix(next, "//") || `, ""}, {"signin/door.go", `u.Scheme != "" || u.Host != "" || `, ""}}, entering, "evil.example"},
	{"a form is of this site", []cut{{"console/console.go", "k.sameSite(k.door.Open(k.mux))", "k.door.Open(k.mux)"}}, entering, "another site"},
	{"guesses are counted", []cut{{"signin/passwords.go", "return byName && byAddr", "return byName || byAddr"}}, entering, "FAIL: TestWhoGuesses"},
	{"a sign-in's state", []cut{{"signin/oidc.go", `subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(f.State)) != 1`, `subtle.ConstantTimeCompare([]byte(q.Get("state")), []byte(f.State)) > 1`}}, entering, "FAIL: TestAnswersThatAreNotTheProvidersAreRefused/another_state"},
	{"a sign-in's nonce", []cut{{"signin/oidc.go", "subtle.ConstantTimeCompare([]byte(token.Nonce), []byte(f.Nonce)) != 1", "subtle.ConstantTimeCompare([]byte(token.Nonce), []byte(f.Nonce)) > 1"}}, entering, "FAIL: TestPeopleSignInByTheirProvider/another_nonce"},
	{"a token is for this client", []cut{{"signin/oidc.go", "&oidc.Config{ClientID: p.ClientID}", "&oidc.Config{SkipClientIDCheck: true}"}}, entering, "FAIL: TestPeopleSignInByTheirProvider/another_audience"},
	{"nobody without a group", []cut{{"signin/oidc.go", `	return "", errNoRole`, "	_ = errNoRole\n	return Viewer, nil"}}, entering, "FAIL: TestPeopleSignInByTheirProvider/none_of_the_groups"},
	{"an address that nobody verified is no name", []cut{{"signin/oidc.go", "c.Verified != nil && bool(*c.Verified) && strings", "strings"}}, entering, "FAIL: TestPeopleSignInByTheirProvider/a_chosen_address"},
	{"asynqmon shows no token", []cut{{"console/monitoring.go", `realTask.ReplaceAll(a.body.Bytes(), []byte("$1.$2"))`, "a.body.Bytes()"}}, entering, "is shown in"},
	{"what the broker has is adopted after a restore", []cut{{"handlers/reconcile.go", "closure.Adoption{Found: slices.Concat(out.Payouts, out.Orders), Settled: out.Settled}", "closure.Adoption{Settled: out.Settled}"}}, restoring, "a payout that no intent wanted"},
	{"a reconciliation waits for the quarantine", []cut{{"handlers/reconcile.go", "time.NewTimer(r.Timing.Quarantine)", "time.NewTimer(0)"}}, restoring, "it took in 1"},
	{"a reconciled row is beyond the lost time's tasks", []cut{{"closure/adopt.go", "	c.Version = max(c.Version+leap, at.Unix())\n", ""}}, restoring, "a task of the lost time after the reconciliation"},
	{"a claim is remembered before it is sent", []cut{{door, "	return v.run.Remember(ctx, v.Closure)\n", "	_ = ctx\n	return nil\n"}}, restoring, "nothing is held"},
	{"a claim is held to what was remembered", []cut{{"worker/memory.go", "		return errors.Join(err, m.hold(ctx, err))", "		_, _ = err, ctx"}}, restoring, "nothing is held"},
}
