package closure

// Who must act before a closure goes on.
type Who string

// Who can be asked to act. Nobody means that time or the market will do.
const (
	Nobody   Who = ""
	Customer Who = "customer"
	Operator Who = "operator"
	Broker   Who = "broker"
)

// Reason is the stable code of why a closure waits or stopped; dashboards and filters rely on it.
type Reason string

// The reasons. What each means to a person stands on its row in Reasons.
const (
	Accepted         Reason = "accepted"
	NotYet           Reason = "not_before"
	Sending          Reason = "sending"
	OrdersCanceling  Reason = "orders_canceling"
	OrdersOpen       Reason = "orders_open"
	MarketClosed     Reason = "market_closed"
	Selling          Reason = "selling"
	Settling         Reason = "settling"
	TransferPending  Reason = "transfer_pending"
	TransferUnlisted Reason = "transfer_unlisted"
	ListChanged      Reason = "list_changed"
	ForeignTransfer  Reason = "foreign_transfer"
	AwaitingMorning  Reason = "awaiting_morning"
	AwaitingHold     Reason = "awaiting_hold"
	DayLimitUsed     Reason = "day_limit_used"
	ReturnWatch      Reason = "return_watch"
	UnknownOutcome   Reason = "unknown_outcome"
	NotWithdrawable  Reason = "not_withdrawable"
	ClosingConfirm   Reason = "closing_unconfirmed"
	ClockSkew        Reason = "clock_skew"
	ServiceHeld      Reason = "service_held"
	BrokerOutage     Reason = "broker_outage"
	BrokerBusy       Reason = "broker_busy"
	NotRemembered    Reason = "not_remembered"
	ExcessNoted      Reason = "excess_noted"
	WentBackNote     Reason = "went_back"

	Halted      Reason = "halted"
	FeesAccrued Reason = "fees_accrued"

	CredentialsRefused Reason = "credentials_refused"
	AccountBlocked     Reason = "account_blocked"
	TradeSuspended     Reason = "trade_suspended"
	SharesHeld         Reason = "shares_held"
	CashHeld           Reason = "cash_held"
	TransferReview     Reason = "transfer_review"
	TransfersBlocked   Reason = "transfers_blocked"
	AccountNotActive   Reason = "account_not_active"
	LimitReached       Reason = "limit_reached"
	TooManyLoops       Reason = "too_many_loops"
	NegativeCash       Reason = "negative_cash"
	BankGone           Reason = "bank_gone"
	TransferRefused    Reason = "transfer_refused"
	BelowMinimum       Reason = "below_minimum"
	NotPermitted       Reason = "withdrawal_not_permitted"
	TransferFailed     Reason = "transfer_failed"
	ReturnedTwice      Reason = "returned_twice"
	UnknownTransfer    Reason = "unknown_transfer"
	LateTransfer       Reason = "late_transfer"
	Unexplained        Reason = "unexplained_money"
	OrderRefused       Reason = "order_refused"
	InactiveAsset      Reason = "inactive_asset"
	Rebalanced         Reason = "rebalancing_subscription"
	Unsupported        Reason = "unsupported_asset"
	CloseRefused       Reason = "close_refused"
	LedgerWentBack     Reason = "ledger_went_back"
	NotReconciled      Reason = "not_reconciled"
	RetriesUsedUp      Reason = "retries_used_up"
	CrashesWorker      Reason = "crashes_worker"
	PausedByOperator   Reason = "paused"
	CanceledByRequest  Reason = "canceled"
	AccountGone        Reason = "account_gone"
)

// Info is what a person needs to know of a reason.
type Info struct {
	Title string // what it means
	Who   Who    // who must act
	Hint  string // what they can do, in the operator's words; every stop has one

	// Each says that a person must look at each closure by itself: to resume it is their word that they have, so that none is
	// retried among many.
	Each bool

	// Tell is what the customer is told, in the customer's words: what they can do where it is they who must act, and
	// otherwise what happened. Empty where it would mean nothing to them: then they hear only that the closing has stopped.
	Tell string
}

// Reasons has one row for each reason.
var Reasons = map[Reason]Info{
	Accepted:         {Title: "accepted; the first step is due"},
	NotYet:           {Title: "accepted; starts at the time asked for"},
	Sending:          {Title: "an instruction to the broker is on its way"},
	OrdersCanceling:  {Title: "open orders are being cancelled"},
	OrdersOpen:       {Title: "closing orders are at the market"},
	MarketClosed:     {Title: "the market is closed"},
	Selling:          {Title: "positions are being sold"},
	Settling:         {Title: "trades settle on the next settlement day (T+1)"},
	TransferPending:  {Title: "the ACH transfer is on its way"},
	TransferUnlisted: {Title: "the broker accepted a transfer that it does not list yet"},
	ListChanged:      {Title: "the broker's books changed while they were read"},
	ForeignTransfer:  {Title: "a transfer that this service did not ask for is on its way"},
	AwaitingMorning:  {Title: "waiting for the broker's morning booking"},
	AwaitingHold:     {Title: "a deposit is held by the broker"},
	DayLimitUsed:     {Title: "the banking day's transfer limit is used up"},
	ReturnWatch:      {Title: "paid; watching for a return before the account is closed"},
	UnknownOutcome:   {Title: "an instruction's outcome is not known yet; nobody sends it again"},
	NotWithdrawable:  {Title: "cash is there but cannot be withdrawn yet"},
	ClosingConfirm:   {Title: "the broker accepted the closing; waiting until the account shows it"},
	ClockSkew:        {Title: "this machine's clock and the broker's differ by more than a minute", Who: Operator, Hint: "Set the clock of this machine (NTP). No effect is sent while the clocks differ."},
	ServiceHeld:      {Title: "an operator holds everything; nothing is sent to the broker", Who: Operator, Hint: "Release the hold on the console's page System; the closure goes on by itself then."},
	BrokerOutage:     {Title: "the broker does not answer"},
	BrokerBusy:       {Title: "many closures are due, and the broker takes only so many calls a minute; this one's turn comes"},
	NotRemembered:    {Title: "Redis can't remember what is sent, so that nothing is sent", Who: Operator, Hint: "Bring Redis back, or give it room. The closure goes on by itself then."},
	ExcessNoted:      {Title: "more money is there than the books explain; looking again after the next morning's booking"},
	WentBackNote:     {Title: "something reappeared in the account"},

	Halted:      {Title: "a closing order is at the market and does not fill: the asset is probably halted; it is tried again each session"},
	FeesAccrued: {Title: "fees are accrued and not booked yet"},

	CredentialsRefused: {Title: "the broker refuses this service's credentials", Who: Operator, Hint: "Check the API key and secret and the environment they belong to. The closure goes on by itself when they are accepted."},
	AccountBlocked:     {Title: "the broker has blocked the account", Who: Broker, Hint: "Ask the broker to lift the block; the closure goes on by itself when it is lifted."},
	TradeSuspended:     {Title: "trading is suspended by the account's own setting (suspend_trade)", Who: Operator, Hint: "Set suspend_trade to false in the account's configuration; the closure goes on by itself then."},
	SharesHeld:         {Title: "the broker holds shares back that no open order is for", Who: Broker, Hint: "Ask the broker what holds them: a transfer to another firm, a lock-up, an option that they cover. The closure goes on by itself when they are free."},
	CashHeld:           {Title: "everything has settled, and the broker does not let the cash be withdrawn", Who: Broker, Hint: "Ask the broker why the cash is held, with the sums named here; the closure goes on by itself when it is released."},
	TransferReview:     {Title: "the broker looks at a transfer by hand (APPROVAL_PENDING)", Who: Broker, Hint: "Ask the broker about the review; the closure goes on by itself when it is over."},
	TransfersBlocked:   {Title: "the broker has blocked transfers out of the account", Who: Broker, Hint: "Ask the broker to lift the block; the closure goes on by itself when it is lifted."},
	AccountNotActive:   {Title: "the account's status allows no transfer or trade", Who: Broker, Hint: "Ask the broker what the account's status needs; the closure goes on by itself when it is ACTIVE again."},
	LimitReached:       {Title: "the phase took longer than its limit", Who: Operator, Hint: "Look at the account at the broker; resume gives the phase its full limit again."},
	TooManyLoops:       {Title: "positions or cash kept coming back", Who: Operator, Hint: "Find what refills the account (a subscription, deposits, dividends), stop it, then resume."},
	NegativeCash:       {Title: "the account owes money", Who: Operator, Hint: "The customer pays in, or the firm covers the sum by a journal; then resume.", Tell: "your account owes money, which has to be settled before it can be closed"},
	BankGone:           {Title: "the chosen bank is gone, not approved any more, or changed", Who: Customer, Hint: "Approved again: resume. Otherwise have the customer link a bank and record it (resolve, relink_bank), or pay by hand and record that (paid_by_hand). Another bank is never chosen by itself.", Tell: "Link that bank account again, or another one in your name, then contact us: we will pay out to it."},
	TransferRefused:    {Title: "the broker refused the transfer", Who: Operator, Hint: "Read the broker's words in the event; mend the cause, then resume.", Tell: "the payout to your bank account could not be made"},
	BelowMinimum:       {Title: "what is left is less than the broker pays out by ACH", Who: Operator, Hint: "Have the firm journal the sum out of the account (JNLC) and pay the customer another way; then resume.", Tell: "what is left in your account is too little for a transfer to your bank"},
	NotPermitted:       {Title: "the broker permits no withdrawal from the account (its withdrawable_status)", Who: Broker, Hint: "Ask the broker to permit withdrawals; then resume.", Tell: "the payout to your bank account could not be made"},
	TransferFailed:     {Title: "the broker rejected or cancelled the transfer", Who: Operator, Hint: "The money is still in the account. Read the reason in the event; mend the cause, then resume to pay again.", Tell: "the payout to your bank account was not carried out; the money is still in your account"},
	ReturnedTwice:      {Title: "the bank returned the money twice", Who: Customer, Each: true, Hint: "The customer's bank does not take the money: check the bank with the customer, then pay by hand or relink, and record it (resolve).", Tell: "Ask your bank why it does not take the money, then contact us about another way to be paid."},
	UnknownTransfer:    {Title: "nobody knows whether a transfer was made", Who: Operator, Each: true, Hint: "Compare with the broker: adopt the transfer if it exists, or void the payout if the broker confirms that it does not (resolve)."},
	LateTransfer:       {Title: "a transfer given up for lost appeared after all", Who: Operator, Each: true, Hint: "Compare the transfers with the customer's cash before anything else is sent; then resume."},
	Unexplained:        {Title: "more money is in the account than the books explain", Who: Operator, Each: true, Hint: "Find where it came from at the broker; resume pays it out as well."},
	OrderRefused:       {Title: "the broker refused a closing order", Who: Operator, Hint: "Read the broker's words in the event; mend the cause (halted, blocked, too little to be sold), then resume.", Tell: "something that your account holds could not be sold"},
	InactiveAsset:      {Title: "an asset is neither bought nor sold any more: delisted, or worthless", Who: Broker, Hint: "Ask the broker's operations to remove the position or to liquidate it; then resume.", Tell: "something that your account holds can no longer be sold"},
	Rebalanced:         {Title: "the account is subscribed to a rebalancing portfolio, so nothing in it can be sold by hand", Who: Operator, Hint: "Cancel its rebalancing runs and delete the subscription at the broker, then resume.", Tell: "something that your account holds could not be sold"},
	Unsupported:        {Title: "the account holds something that this service does not sell", Who: Operator, Hint: "Close the position by hand, then resume.", Tell: "your account holds something that has to be sold by hand"},
	CloseRefused:       {Title: "the broker refused to close the account", Who: Operator, Hint: "Read the broker's words in the event; mend the cause, then resume.", Tell: "everything is sold and paid out, and the account itself could not be closed yet"},
	LedgerWentBack:     {Title: "a task is newer than the ledger: the ledger was restored to an earlier moment", Who: Operator, Each: true, Hint: "Stop the workers, and resume nothing before each step of the runbook's section on this reason is done."},
	NotReconciled:      {Title: "the ledger was restored, and what was done for this closure since then could not be taken in", Who: Operator, Each: true, Hint: "Count with the broker what it sold and paid out; reconcile again where the account can be read by now, and resume once the sums are right."},
	RetriesUsedUp:      {Title: "the same step failed again and again", Who: Operator, Hint: "Read the error; when its cause is mended, resume."},
	CrashesWorker:      {Title: "the step crashes the worker", Who: Operator, Hint: "Read the workers' logs around the crashes before you resume."},
	PausedByOperator:   {Title: "held by an operator", Who: Operator, Hint: "Resume when it may go on."},
	CanceledByRequest:  {Title: "cancelled before anything irreversible was sent"},
	AccountGone:        {Title: "the broker does not know the account any more", Who: Operator, Hint: "Check the account's id and the credentials at the broker."},
}
