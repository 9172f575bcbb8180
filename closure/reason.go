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
	BrokerOutage     Reason = "broker_outage"
	ExcessNoted      Reason = "excess_noted"
	WentBackNote     Reason = "went_back"

	Halted Reason = "halted"

	CredentialsRefused Reason = "credentials_refused"
	AccountBlocked     Reason = "account_blocked"
	TransfersBlocked   Reason = "transfers_blocked"
	AccountNotActive   Reason = "account_not_active"
	LimitReached       Reason = "limit_reached"
	TooManyLoops       Reason = "too_many_loops"
	NegativeCash       Reason = "negative_cash"
	BankGone           Reason = "bank_gone"
	TransferRefused    Reason = "transfer_refused"
	TransferFailed     Reason = "transfer_failed"
	ReturnedTwice      Reason = "returned_twice"
	UnknownTransfer    Reason = "unknown_transfer"
	LateTransfer       Reason = "late_transfer"
	Unexplained        Reason = "unexplained_money"
	OrderRefused       Reason = "order_refused"
	Unsupported        Reason = "unsupported_asset"
	CloseRefused       Reason = "close_refused"
	LedgerWentBack     Reason = "ledger_went_back"
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
	Hint  string // what they can do; every stop has one
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
	BrokerOutage:     {Title: "the broker does not answer"},
	ExcessNoted:      {Title: "more money is there than the books explain; looking again after the next morning's booking"},
	WentBackNote:     {Title: "something reappeared in the account"},

	Halted: {Title: "a closing order is at the market and does not fill: the asset is probably halted; it is tried again each session"},

	CredentialsRefused: {"the broker refuses this service's credentials", Operator, "Check the API key and secret and the environment they belong to. The closure goes on by itself when they are accepted."},
	AccountBlocked:     {"the broker has blocked the account", Broker, "Ask the broker to lift the block; the closure goes on by itself when it is lifted."},
	TransfersBlocked:   {"the broker has blocked transfers out of the account", Broker, "Ask the broker to lift the block; the closure goes on by itself when it is lifted."},
	AccountNotActive:   {"the account's status allows no transfer or trade", Broker, "Ask the broker what the account's status needs; the closure goes on by itself when it is ACTIVE again."},
	LimitReached:       {"the phase took longer than its limit", Operator, "Look at the account at the broker; resume gives the phase its full limit again."},
	TooManyLoops:       {"positions or cash kept coming back", Operator, "Find what refills the account (a subscription, deposits, dividends), stop it, then resume."},
	NegativeCash:       {"the account owes money", Operator, "The customer pays in, or the firm covers the sum by a journal; then resume."},
	BankGone:           {"the chosen bank is gone, not approved any more, or changed", Customer, "Relink the bank, then cancel and initiate again with the new relationship, or pay by hand. Another bank is never chosen by itself."},
	TransferRefused:    {"the broker refused the transfer", Operator, "Read the broker's words in the event; mend the cause, then resume."},
	TransferFailed:     {"the broker rejected or cancelled the transfer", Operator, "The money is still in the account. Read the reason in the event; mend the cause, then resume to pay again."},
	ReturnedTwice:      {"the bank returned the money twice", Customer, "The customer's bank does not take the money: check the bank with the customer, then pay by hand or relink."},
	UnknownTransfer:    {"nobody knows whether a transfer was made", Operator, "Compare with the broker: adopt the transfer's id if it exists, or void the intent if the broker confirms that it does not."},
	LateTransfer:       {"a transfer given up for lost appeared after all", Operator, "Compare the transfers with the customer's cash before anything else is sent; then resume."},
	Unexplained:        {"more money is in the account than the books explain", Operator, "Find where it came from at the broker; resume pays it out as well."},
	OrderRefused:       {"the broker refused a closing order", Operator, "Read the broker's words in the event; mend the cause (halted, inactive, blocked), then resume."},
	Unsupported:        {"the account holds something that this service does not sell", Operator, "Close options or crypto positions by hand, then resume."},
	CloseRefused:       {"the broker refused to close the account", Operator, "Read the broker's words in the event; mend the cause, then resume."},
	LedgerWentBack:     {"a task is newer than the ledger: the ledger was restored to an earlier moment", Operator, "Stop the workers and run the ledger's reconcile before anything is resumed."},
	RetriesUsedUp:      {"the same step failed again and again", Operator, "Read the error; when its cause is mended, resume."},
	CrashesWorker:      {"the step crashes the worker", Operator, "Read the workers' logs around the crashes before you resume."},
	PausedByOperator:   {"held by an operator", Operator, "Resume when it may go on."},
	CanceledByRequest:  {Title: "cancelled before anything irreversible was sent"},
	AccountGone:        {"the broker does not know the account any more", Operator, "Check the account's id and the credentials at the broker."},
}
