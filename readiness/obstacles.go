package readiness

import (
	"fmt"
	"strings"
	"time"

	"closeout/alpaca"
	"closeout/calendar"
	"closeout/closure"
)

// The codes of obstacles, which clients rely on. Those that a closure meets on its road as well have the closure's reason.
const (
	AlreadyClosed     = "account_closed"
	NotActive         = string(closure.AccountNotActive)
	UnsupportedType   = "account_type_unsupported"
	CashInterest      = "cash_interest"
	Rebalancing       = string(closure.Rebalanced)
	UnsupportedAsset  = string(closure.Unsupported)
	NegativeCash      = string(closure.NegativeCash)
	CashOwed          = "cash_owed"
	BankUnknown       = "bank_unknown"
	BankNotApproved   = "bank_not_approved"
	NoBank            = "no_bank"
	AccountBlocked    = string(closure.AccountBlocked)
	TradingBlocked    = "trading_blocked"
	TradeSuspended    = string(closure.TradeSuspended)
	TransfersBlocked  = string(closure.TransfersBlocked)
	DepositPending    = "deposit_pending"
	TransferUnderWay  = "transfer_under_way"
	PositionsUnpriced = "positions_unpriced"
	AccountUnknown    = "account_not_found"
	ClosureOpen       = "closure_open"
)

// Unknown is what stands in the way of an account that the broker does not know; see ErrNoAccount.
func Unknown() Obstacle {
	return Obstacle{
		Code: AccountUnknown, Text: "the broker knows no account of this id", Blocking: true, Hint: "Check the id, and whether the account belongs to this environment.",
	}
}

// UnderWay is what stands in the way of a second closure of an account, beside the one with this id.
func UnderWay(closureID string) Obstacle {
	return Obstacle{
		Code: ClosureOpen, Text: "the account has an open closure already, job " + closureID, Blocking: true, Hint: "Leave the account out: it is being closed.",
	}
}

// judgeAccount looks at what the account is. false: the rest need not, and often cannot, be read.
func (r *Report) judgeAccount(a alpaca.Account) bool {
	switch {
	case alpaca.Closed(a.Status):
		r.add(Obstacle{Code: AlreadyClosed, Text: "the account is closed already", Blocking: true, Hint: "Nothing is left to do."})
		return false
	case !alpaca.StatusIs(a.Status, "ACTIVE"):
		r.add(Obstacle{
			Code: NotActive, Text: "the account's status is " + a.Status + ", and only an ACTIVE account can be closed", Who: closure.Broker, Blocking: true,
			Hint: "Ask the broker what this status needs, and try again when the account is ACTIVE.",
		})
		return false
	}
	if kind := kindOf(a); kind != "trading" {
		r.add(Obstacle{
			Code: UnsupportedType, Text: "this is an account of type " + kind + ", which this service does not close", Who: closure.Operator, Blocking: true,
			Hint: "Close it by hand with the broker: taxes and owners need a person.",
		})
	}
	if s := a.CashInterest.USD.Status; s != "" && !alpaca.StatusIs(s, "INACTIVE") {
		r.add(Obstacle{
			Code: CashInterest, Text: "the account is enrolled in the cash interest program (" + s + "): interest would be booked after all was paid out", Who: closure.Operator, Blocking: true,
			Hint: "Unenrol it (PATCH the account with cash_interest.USD.status INACTIVE), and try again when the account says INACTIVE.",
		})
	}
	return true
}

// kindOf is the account's type. An answer that has none is about an ordinary one, unless it has what only others have.
func kindOf(a alpaca.Account) string {
	switch {
	case a.AccountType != "":
		return strings.ToLower(a.AccountType)
	case a.CustodialType != "":
		return "custodial"
	case a.SubType != "":
		return "ira"
	}
	return "trading"
}

func (r *Report) judgeBlocks(a alpaca.TradingAccount) {
	if alpaca.Closed(a.Status) {
		r.add(Obstacle{Code: AlreadyClosed, Text: "the account is closed already", Blocking: true, Hint: "Nothing is left to do."})
	} else if a.Status != "" && !alpaca.StatusIs(a.Status, "ACTIVE") {
		r.add(Obstacle{
			Code: NotActive, Text: "the account's trading status is " + a.Status + ", and only an ACTIVE account can be closed", Who: closure.Broker, Blocking: true,
			Hint: "Ask the broker what this status needs, and try again when the account is ACTIVE.",
		})
	}
	if a.AccountBlocked {
		r.add(known(AccountBlocked, closure.AccountBlocked))
	}
	if a.TransfersBlocked || a.Admin.OutgoingTransfersBlocked {
		r.add(known(TransfersBlocked, closure.TransfersBlocked))
	}
	if a.TradingBlocked {
		o := known(TradingBlocked, closure.AccountBlocked)
		o.Text = "the broker has blocked trading in the account"
		r.add(o)
	}
	if a.TradeSuspendedByUser {
		r.add(known(TradeSuspended, closure.TradeSuspended))
	}
}

// known is an obstacle in the words that a closure uses when it meets it; it waits there, so that it does not block.
func known(code string, reason closure.Reason) Obstacle {
	info := closure.Reasons[reason]
	return Obstacle{Code: code, Text: info.Title, Hint: info.Hint, Who: info.Who}
}

// judgePositions refuses what this service does not sell: perpetuals, and any class that it has not heard of.
func (r *Report) judgePositions(positions []alpaca.Position) {
	var other []string
	for _, p := range positions {
		switch strings.ToLower(p.AssetClass) {
		case alpaca.Equity, alpaca.Option, alpaca.Crypto:
		default:
			other = append(other, fmt.Sprintf("%s (%q)", p.Symbol, p.AssetClass))
		}
	}
	if len(other) > 0 {
		r.add(Obstacle{
			Code: UnsupportedAsset, Text: "the account holds what this service does not sell: " + some(other), Who: closure.Operator, Blocking: true,
			Hint: "Close these positions by hand, then try again.",
		})
	}
	if r.Unpriced > 0 {
		r.add(Obstacle{Code: PositionsUnpriced, Text: "the broker gives no price for " + closure.Count(r.Unpriced, "position") + ", whose proceeds are not in the estimate"})
	}
}

// some names the first few.
func some(names []string) string {
	const most = 5
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// judgeCash refuses an account that will still owe money when all is sold. A debt that the sale covers is only said.
func (r *Report) judgeCash() {
	if r.Cash.GreaterThan(closure.Cent.Neg()) {
		if r.Estimate.GreaterThan(closure.Cent.Neg()) || r.Unpriced > 0 {
			return
		}
		o := known(NegativeCash, closure.NegativeCash)
		o.Text = "buying back what is short costs " + owed(r.Estimate) + " more than the account has"
		o.Blocking = true
		r.add(o)
		return
	}
	if r.Estimate.GreaterThan(closure.Cent.Neg()) || r.Unpriced > 0 {
		r.add(Obstacle{Code: CashOwed, Text: "the account owes " + owed(r.Cash) + ", which the sale of its positions should cover"})
		return
	}
	o := known(NegativeCash, closure.NegativeCash)
	o.Text, o.Blocking = "the account owes "+owed(r.Cash), true
	if r.Count > 0 {
		o.Text += ", of which " + owed(r.Estimate) + " is left when all is sold"
	}
	o.Hint = "The customer pays in, or the firm covers the sum by a journal; then try again."
	r.add(o)
}

func owed(u USD) string { return "$" + closure.USD(closure.Cents(u.Neg())) }

// judgeTransfers tells of money on its way, which the closure waits for, and notes when the account will be quiet.
func (r *Report) judgeTransfers(transfers []alpaca.Transfer, a alpaca.TradingAccount, cal *calendar.Calendar, now time.Time) {
	in, out := 0, 0
	var ends time.Time
	for _, t := range transfers {
		held := !t.Outgoing() && t.HoldUntil != nil && t.HoldUntil.After(now)
		if t.Ended() && !held {
			continue
		}
		end := arrival(cal, t.CreatedAt)
		if !end.After(now) { // late already: it may still take until the next banking morning
			end = arrival(cal, now)
		}
		if held && t.HoldUntil.After(end) {
			end = *t.HoldUntil
		}
		ends = later(ends, end)
		if t.Outgoing() {
			out++
		} else {
			in++
		}
	}
	if in == 0 && a.PendingTransferIn.Valid && a.PendingTransferIn.Decimal.IsPositive() {
		in, ends = 1, later(ends, arrival(cal, now))
	}
	if in > 0 {
		r.add(Obstacle{Code: DepositPending, Text: "a deposit is on its way or held by the broker; the payout waits until it is booked"})
	}
	if out > 0 {
		r.add(Obstacle{Code: TransferUnderWay, Text: "a withdrawal is on its way already; the payout waits until it has ended"})
	}
	if !ends.IsZero() {
		r.quiet = cal.NextMorning(ends)
	}
}

// judgeBanks finds the bank that was asked for, or any approved one where none was.
func (r *Report) judgeBanks(all []alpaca.Relationship, want string) {
	for _, b := range all {
		if b.AccountID != "" && !strings.EqualFold(b.AccountID, r.AccountID) {
			continue
		}
		bank := Bank{ID: b.ID, Status: b.Status, Fingerprint: b.Fingerprint}
		if b.Approved() {
			r.Banks = append(r.Banks, bank)
		}
		if want != "" && strings.EqualFold(b.ID, want) {
			r.Bank = &bank
		}
	}
	switch {
	case want == "" && len(r.Banks) == 0:
		r.add(Obstacle{
			Code: NoBank, Text: "the account has no approved ACH relationship to pay to", Who: closure.Customer, Blocking: true,
			Hint: "Link a bank account and wait until its status is APPROVED.",
		})
	case want != "" && r.Bank == nil:
		r.add(Obstacle{
			Code: BankUnknown, Text: "the account has no ACH relationship of this id", Who: closure.Customer, Blocking: true,
			Hint: "Choose one of the account's own, which check-readiness lists.",
		})
	case want != "" && !alpaca.StatusIs(r.Bank.Status, "APPROVED"):
		r.add(Obstacle{
			Code: BankNotApproved, Text: "the ACH relationship's status is " + r.Bank.Status + ", and money goes only to an APPROVED one", Who: closure.Customer, Blocking: true,
			Hint: "Wait until the broker approves it, or choose another one that check-readiness lists.",
		})
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
