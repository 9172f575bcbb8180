package handlers_test

import (
	"net/http"
	"slices"
	"time"

	"closeout/alpaca/sim"
	"closeout/closure"
	"closeout/internal/lab"
)

// payingCases are those of the settlement and the withdrawal, 16 to 31.
var payingCases = []brokerCase{
	{
		name: "16_TPlusOne", start: "2026-11-20 11:00", // a Friday
		spec:  sim.Spec{Cash: d("10"), Positions: []sim.PositionSpec{holds("AAPL", "3", "200")}},
		waits: []closure.Reason{closure.Settling},
		paid:  []string{"610.00"},
		check: func(l *lab.Lab, j journal) { j.of("transfer").between(l.TB, "2026-11-23 02:30", "2026-11-23 04:30") },
	},
	{
		name: "17_BankHolidayWithOpenMarket", start: "2026-10-09 15:00", // the Friday before Columbus Day
		spec:  sim.Spec{Cash: d("10"), Positions: []sim.PositionSpec{holds("AAPL", "3", "200")}},
		waits: []closure.Reason{closure.Settling},
		paid:  []string{"610.00"},
		check: func(l *lab.Lab, j journal) { same(l.TB, "banking day", j.of("transfer").days(), "2026-10-13") },
	},
	{
		name: "18_ClocksChange", start: "2026-10-30 15:30", // the Friday before
		spec: sim.Spec{Cash: d("10"), Positions: []sim.PositionSpec{holds("AAPL", "3", "200")}},
		paid: []string{"610.00"},
		check: func(l *lab.Lab, j journal) {
			j.of("order").between(l.TB, "2026-10-30 15:30", "2026-10-30 15:40")
			j.of("transfer").between(l.TB, "2026-11-02 02:30", "2026-11-02 04:30")
		},
	},
	{
		name:  "19_DepositOnItsWay",
		spec:  sim.Spec{Cash: d("100"), Events: []sim.Event{{Type: "deposit", Amount: d("40")}}},
		waits: []closure.Reason{closure.ForeignTransfer, closure.AwaitingMorning},
		paid:  []string{"140.00"},
	},
	{
		name:  "19_DepositHeld",
		spec:  sim.Spec{Cash: d("100"), Events: []sim.Event{{Type: "deposit", Amount: d("40"), Status: "COMPLETE", For: days(8)}}},
		waits: []closure.Reason{closure.AwaitingHold},
		paid:  []string{"140.00"},
	},
	{
		name: "19_DepositReturnedAfterThePayout",
		spec: sim.Spec{Cash: d("100"), Events: []sim.Event{{Type: "deposit", Amount: d("40"), Status: "COMPLETE"}}},
		act: func(l *lab.Lab, c closure.Closure) {
			paidOut(l, c)
			truth, err := l.Sim.Truth(c.AccountID)
			if err != nil {
				l.TB.Fatal(err)
			}
			event(l, c, sim.Event{Type: "transfer_status", Status: "RETURNED", Transfer: truth.Transfers[0].ID, Reason: "R01 insufficient funds"})
		},
		end: closure.Failed, stop: closure.NegativeCash, says: "$40.00",
		mend: []sim.Event{{Type: "journal", Amount: d("40")}},
		paid: []string{"140.00"},
	},
	{
		name: "20_InterestAfterThePayout", start: "2026-11-25 10:00", // realised on the month's last business day
		spec: sim.Spec{Cash: d("100"), Events: []sim.Event{{Type: "interest", Amount: d("1.23"), At: newYorkAt("2026-11-30 18:00")}}},
		paid: []string{"100.00", "1.23"},
	},
	{
		name: "21_NegativeCash",
		spec: sim.Spec{Cash: d("-25")},
		end:  closure.Failed, stop: closure.NegativeCash, says: "$25.00",
		mend: []sim.Event{{Type: "journal", Amount: d("25")}},
	},
	{
		name: "21_FeeOfTheSale",
		spec: sim.Spec{
			Cash: d("10"), Positions: []sim.PositionSpec{holds("AAPL", "3", "200")}, SaleFees: d("0.03"),
			Events: []sim.Event{{Type: "book_fees", After: hours(10)}},
		},
		paid: []string{"609.97"},
	},
	{
		name: "21_FeeBookedAfterThePayout",
		spec: sim.Spec{Cash: d("900"), Events: []sim.Event{{Type: "fee", Amount: d("1.25"), When: sim.AfterLastPayoutComplete, After: hours(3)}}},
		end:  closure.Failed, stop: closure.NegativeCash, says: "$1.25",
		mend: []sim.Event{{Type: "journal", Amount: d("1.25")}},
		paid: []string{"900.00"},
	},
	{
		name:  "21_FeesAccrued",
		spec:  sim.Spec{Cash: d("900"), SaleFees: d("0.03")},
		waits: []closure.Reason{closure.FeesAccrued},
		end:   closure.Failed, stop: closure.LimitReached, says: "$0.03",
		mend: []sim.Event{{Type: "book_fees"}, {Type: "journal", Amount: d("0.03")}},
		paid: []string{"900.00"},
	},
	{
		name: "22_BankDeleted",
		spec: sim.Spec{Cash: d("75"), Positions: []sim.PositionSpec{holds("PEP", "5", "150")}, Events: []sim.Event{
			{Type: "relationship_delete", When: sim.AfterFirstOrder}, {Type: "relationship_create", When: sim.AfterFirstOrder, After: hours(1)},
		}},
		end: closure.Failed, stop: closure.BankGone, says: "is gone",
	},
	{
		name: "22_BankNotApprovedAnyMore",
		spec: sim.Spec{Cash: d("75"), Positions: []sim.PositionSpec{holds("PEP", "5", "150")}, Events: []sim.Event{
			{Type: "relationship_status", Status: "CANCEL_REQUESTED", After: hours(1)},
		}},
		end: closure.Failed, stop: closure.BankGone, says: "CANCEL_REQUESTED",
		mend: []sim.Event{{Type: "relationship_status", Status: "APPROVED"}},
		paid: []string{"825.00"},
	},
	{
		name:  "23_MoreThanTheDailyLimit",
		spec:  sim.Spec{Cash: d("137512.43")},
		waits: []closure.Reason{closure.DayLimitUsed},
		paid:  []string{"50000.00", "50000.00", "37512.43"},
		check: func(l *lab.Lab, j journal) {
			same(l.TB, "banking days", j.of("transfer").days(), "2026-11-18", "2026-11-19", "2026-11-20")
		},
	},
	{
		name:  "24_AnswerLost",
		spec:  sim.Spec{Cash: d("900")},
		rules: []sim.Rule{{Method: http.MethodPost, Path: transfers, Fault: sim.FaultTimeoutAfter, Times: 1}},
		waits: []closure.Reason{closure.UnknownOutcome},
		paid:  []string{"900.00"},
	},
	{
		name:  "24_NeverArrived",
		spec:  sim.Spec{Cash: d("900")},
		rules: []sim.Rule{{Method: http.MethodPost, Path: transfers, Fault: sim.FaultDrop, Times: 1}},
		waits: []closure.Reason{closure.UnknownOutcome},
		paid:  []string{"900.00"},
	},
	{
		name:  "25_Throttled",
		spec:  sim.Spec{Cash: d("900")},
		rules: []sim.Rule{{Fault: sim.FaultThrottle, Times: 100}},
		waits: []closure.Reason{closure.BrokerOutage},
		paid:  []string{"900.00"},
	},
	{
		name:  "25_KeyRefused",
		spec:  sim.Spec{Cash: d("900")},
		rules: []sim.Rule{{Fault: sim.FaultError, Status: 401, Times: 2000}},
		waits: []closure.Reason{closure.CredentialsRefused},
		paid:  []string{"900.00"},
	},
	{
		name: "25_BelowTheMinimum",
		spec: sim.Spec{Cash: d("0.37"), MinimumPayout: d("1")},
		end:  closure.Failed, stop: closure.BelowMinimum, says: "$0.37",
		mend: []sim.Event{{Type: "journal", Amount: d("-0.37")}},
	},
	{
		name: "26_Rejected", spec: undone("REJECTED"), paid: []string{"900.00", "900.00"},
	},
	{
		name: "26_Canceled", spec: undone("CANCELED"), paid: []string{"900.00", "900.00"},
	},
	{
		name: "26_Expired", spec: undone("EXPIRED"), paid: []string{"900.00", "900.00"},
	},
	{
		name: "26_RejectedTwice", spec: undone("REJECTED"),
		act: func(l *lab.Lab, c closure.Closure) {
			watch(l, c.ID, map[closure.Reason]bool{}, sixWeeks, func(closure.Closure) bool { return len(l.Payouts(c.AccountID)) == 2 })
			event(l, c, sim.Event{Type: "ach_reject"})
		},
		end: closure.Failed, stop: closure.ReturnedTwice,
		mend: []sim.Event{},
		paid: []string{"900.00", "900.00", "900.00"},
	},
	{
		name:  "27_ReturnedWithinTheWatch",
		spec:  sim.Spec{Cash: d("900"), Events: []sim.Event{{Type: "ach_return", When: sim.AfterFirstPayoutComplete, After: hours(30)}}},
		waits: []closure.Reason{closure.ReturnWatch, closure.AwaitingMorning},
		paid:  []string{"900.00", "900.00"},
	},
	{
		name: "27_ReturnedAfterTheClosing",
		spec: sim.Spec{Cash: d("900")},
		act: func(l *lab.Lab, c closure.Closure) {
			watch(l, c.ID, map[closure.Reason]bool{}, sixWeeks, stopped)
			event(l, c, sim.Event{Type: "ach_return"})
			l.Drive(14 * day)
			if got := l.Payouts(c.AccountID); !slices.Equal(got, []string{"900.00"}) {
				l.TB.Errorf("paid %v out of a closed account", got)
			}
			event(l, c, sim.Event{Type: "journal", Amount: d("-900")}) // the broker's operations pay it another way
		},
		paid: []string{"900.00"},
	},
	{
		name:  "28_CustomersOwnWithdrawal",
		spec:  sim.Spec{Cash: d("900"), Events: []sim.Event{{Type: "withdrawal", Amount: d("200")}}},
		waits: []closure.Reason{closure.ForeignTransfer, closure.AwaitingMorning},
		paid:  []string{"700.00"},
	},
	{
		name:  "29_TransfersBlocked",
		spec:  sim.Spec{Cash: d("880"), TransfersBlocked: true, Events: []sim.Event{{Type: "unblock", What: "transfers", After: days(14)}}},
		waits: []closure.Reason{closure.TransfersBlocked},
		paid:  []string{"880.00"},
	},
	{
		name: "29_AccountUpdated",
		spec: sim.Spec{
			Cash: d("10"), Positions: []sim.PositionSpec{holds("AAPL", "3", "200")},
			Events: []sim.Event{{Type: "status", Status: "ACCOUNT_UPDATED", After: hours(5), For: days(14)}},
		},
		waits: []closure.Reason{closure.AccountNotActive},
		paid:  []string{"610.00"},
	},
	{
		name: "29_ManualReview",
		spec: sim.Spec{Cash: d("900"), Events: []sim.Event{
			{Type: "transfer_status", Status: "APPROVAL_PENDING", When: sim.AfterFirstPayout, After: sim.Duration(time.Minute)},
			{Type: "transfer_status", Status: "PENDING", When: sim.AfterFirstPayout, After: days(21)},
		}},
		waits: []closure.Reason{closure.TransferReview},
		paid:  []string{"900.00"},
	},
	{
		name: "29_WithdrawalNotPermitted",
		spec: sim.Spec{Cash: d("900"), Events: []sim.Event{{Type: "block", What: "withdrawable"}}},
		end:  closure.Failed, stop: closure.NotPermitted, says: "$900.00",
		mend: []sim.Event{{Type: "unblock", What: "withdrawable"}},
		paid: []string{"900.00"},
	},
	{
		name: "30_DividendAfterTheLastPayout",
		spec: sim.Spec{Cash: d("500"), Events: []sim.Event{{Type: "dividend", When: sim.AfterLastPayoutComplete, After: hours(26), Amount: d("7.77"), Symbol: "KO"}}},
		paid: []string{"500.00", "7.77"},
	},
	{
		name:  "31_CashHeld",
		spec:  sim.Spec{Cash: d("900"), Held: d("900")},
		waits: []closure.Reason{closure.CashHeld},
		end:   closure.Failed, stop: closure.LimitReached, says: "$0.00 of $900.00",
		mend: []sim.Event{{Type: "release"}},
		paid: []string{"900.00"},
	},
}

// undone is an account whose first payout ends so within the hour.
func undone(status string) sim.Spec {
	return sim.Spec{Cash: d("900"), Events: []sim.Event{{Type: "transfer_status", Status: status, Reason: "R03 no account", When: sim.AfterFirstPayout, After: hours(1)}}}
}

// paidOut drives the lab until the first payout is complete.
func paidOut(l *lab.Lab, c closure.Closure) {
	l.TB.Helper()
	watch(l, c.ID, map[closure.Reason]bool{}, sixWeeks, func(closure.Closure) bool {
		entries, err := l.Sim.Journal(c.AccountID)
		if err != nil {
			l.TB.Fatal(err)
		}
		return len(journal(entries).of("complete")) > 0
	})
}
