package alpaca

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	orderPage    = 500 // the most that Alpaca gives
	transferPage = 100
	activityPage = 100  // the most that Alpaca gives
	mostPages    = 1000 // a list that goes on after this is a mistake of the broker's
)

func accountPath(id string) string { return "/v1/accounts/" + url.PathEscape(id) }
func tradingPath(id string) string { return "/v1/trading/accounts/" + url.PathEscape(id) }

// Account reads who the account belongs to and what became of it. An answer about another account is an error.
func (c *Client) Account(ctx context.Context, id string) (Account, error) {
	var a Account
	path := accountPath(id)
	if err := c.get(ctx, path, nil, &a); err != nil {
		return Account{}, err
	}
	if !strings.EqualFold(a.ID, id) || a.Status == "" {
		return Account{}, newAnswerError(nil, "GET", path, errors.New("it is not about that account, or has no status"))
	}
	return a, nil
}

// TradingAccount reads balances and blocks. A balance that the broker leaves out stays unknown. A block can't: false would
// let us trade and pay where nobody said so. The description has all four in every answer, so that one that is absent or
// null makes the answer unreadable; only of a closed account nobody needs to know them.
func (c *Client) TradingAccount(ctx context.Context, id string) (TradingAccount, error) {
	path := tradingPath(id) + "/account"
	var a struct {
		TradingAccount
		Trading   *bool `json:"trading_blocked"`
		Transfers *bool `json:"transfers_blocked"`
		Account   *bool `json:"account_blocked"`
		Suspended *bool `json:"trade_suspended_by_user"`
	}
	if err := c.get(ctx, path, nil, &a); err != nil {
		return TradingAccount{}, err
	}
	if !strings.EqualFold(a.ID, id) {
		return TradingAccount{}, newAnswerError(nil, "GET", path, errors.New("it is not about that account"))
	}
	switch {
	case a.Trading != nil && a.Transfers != nil && a.Account != nil && a.Suspended != nil:
		a.TradingBlocked, a.TransfersBlocked, a.AccountBlocked, a.TradeSuspendedByUser = *a.Trading, *a.Transfers, *a.Account, *a.Suspended
	case !Closed(a.Status):
		return TradingAccount{}, newAnswerError(nil, "GET", path, errors.New("it does not say whether the account is blocked"))
	}
	return a.TradingAccount, nil
}

// Positions reads everything the account holds; the broker gives it on one page.
func (c *Client) Positions(ctx context.Context, id string) ([]Position, error) {
	var rows list[Position]
	path := tradingPath(id) + "/positions"
	if err := c.get(ctx, path, nil, &rows); err != nil {
		return nil, err
	}
	for _, p := range rows {
		if p.Symbol == "" || p.AssetID == "" {
			return nil, newAnswerError(nil, "GET", path, errors.New("a position without a name"))
		}
	}
	return rows, nil
}

// OpenOrders reads every order that can still fill, with its legs below it. More than one page is read by going back
// in time; orders of one instant overlap two pages, so none falls between them.
func (c *Client) OpenOrders(ctx context.Context, id string) ([]Order, error) {
	return c.orders(ctx, id, url.Values{"status": {"open"}})
}

// OrdersSince reads every order that was submitted after a time, whatever became of it, with its legs below it.
func (c *Client) OrdersSince(ctx context.Context, id string, after time.Time) ([]Order, error) {
	return c.orders(ctx, id, url.Values{"status": {"all"}, "after": {after.UTC().Format(time.RFC3339Nano)}})
}

func (c *Client) orders(ctx context.Context, id string, query url.Values) ([]Order, error) {
	path := tradingPath(id) + "/orders"
	query.Set("limit", strconv.Itoa(orderPage))
	query.Set("nested", "true")
	query.Set("direction", "desc")
	var all []Order
	seen := map[string]bool{}
	for range mostPages {
		var rows list[Order]
		if err := c.get(ctx, path, query, &rows); err != nil {
			return nil, err
		}
		count, fresh := 0, 0
		var oldest time.Time
		for _, o := range rows {
			if !o.named() {
				return nil, newAnswerError(nil, "GET", path, errors.New("an order without an id"))
			}
			count += 1 + len(o.Legs) // the broker may count the legs before it rolls them up
			if at := cmp.Or(o.SubmittedAt, o.CreatedAt); at != nil && (oldest.IsZero() || at.Before(oldest)) {
				oldest = *at
			}
			if !seen[o.ID] {
				seen[o.ID] = true
				fresh++
				all = append(all, o)
			}
		}
		if count < orderPage {
			return all, nil
		}
		if fresh == 0 || oldest.IsZero() {
			return nil, newAnswerError(nil, "GET", path, errors.New("a full page that cannot be read on from"))
		}
		query.Set("until", oldest.Add(time.Millisecond).UTC().Format(time.RFC3339Nano))
	}
	return nil, newAnswerError(nil, "GET", path, errors.New("the list does not end"))
}

// Order reads one order by the broker's id.
func (c *Client) Order(ctx context.Context, account, orderID string) (Order, error) {
	return c.order(ctx, tradingPath(account)+"/orders/"+url.PathEscape(orderID), nil, func(o Order) bool { return strings.EqualFold(o.ID, orderID) })
}

// OrderByClientID reads one order by the name we gave it: the way to learn what became of an order whose answer was
// lost.
func (c *Client) OrderByClientID(ctx context.Context, account, clientOrderID string) (Order, error) {
	query := url.Values{"client_order_id": {clientOrderID}}
	return c.order(ctx, tradingPath(account)+"/orders:by_client_order_id", query, func(o Order) bool { return o.ID != "" && o.ClientOrderID == clientOrderID })
}

func (c *Client) order(ctx context.Context, path string, query url.Values, is func(Order) bool) (Order, error) {
	var o Order
	if err := c.get(ctx, path, query, &o); err != nil {
		return Order{}, err
	}
	if !is(o) || !o.named() {
		return Order{}, newAnswerError(nil, "GET", path, errors.New("it is not about that order, or has a leg without an id"))
	}
	return o, nil
}

// Transfers reads every transfer of both directions and of every status, oldest first. The broker does not say how
// long its pages may be, so only an empty page ends the list. Nor does it say where new rows come in: one that is seen
// twice tells of another that was pushed in unseen, and the list is read anew.
func (c *Client) Transfers(ctx context.Context, id string) ([]Transfer, error) {
	path := accountPath(id) + "/transfers"
	for range 3 {
		all, moved, err := c.transfers(ctx, path, id)
		if err != nil {
			return nil, err
		}
		if moved {
			continue
		}
		slices.SortStableFunc(all, func(a, b Transfer) int {
			return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
		})
		return all, nil
	}
	return nil, newAnswerError(nil, "GET", path, errors.New("its pages overlap, time and again"))
}

func (c *Client) transfers(ctx context.Context, path, account string) (all []Transfer, moved bool, err error) {
	seen := map[string]bool{}
	for range mostPages {
		rows, err := c.transferPage(ctx, path, account, len(all))
		if err != nil {
			return nil, false, err
		}
		if len(rows) == 0 {
			return all, false, nil
		}
		for _, t := range rows {
			if seen[t.ID] {
				return nil, true, nil
			}
			seen[t.ID] = true
			all = append(all, t)
		}
	}
	return nil, false, newAnswerError(nil, "GET", path, errors.New("the list does not end"))
}

// FirstTransfers reads the first page of the transfers, in the broker's order. It tells what became of those that are in it,
// and nothing of those that are not.
func (c *Client) FirstTransfers(ctx context.Context, id string) ([]Transfer, error) {
	return c.transferPage(ctx, accountPath(id)+"/transfers", id, 0)
}

func (c *Client) transferPage(ctx context.Context, path, account string, offset int) ([]Transfer, error) {
	var rows list[Transfer]
	query := url.Values{"limit": {strconv.Itoa(transferPage)}, "offset": {strconv.Itoa(offset)}}
	if err := c.get(ctx, path, query, &rows); err != nil {
		return nil, err
	}
	for _, t := range rows {
		switch {
		case t.ID == "":
			return nil, newAnswerError(nil, "GET", path, errors.New("a transfer without an id"))
		case t.AccountID != "" && !strings.EqualFold(t.AccountID, account):
			return nil, newAnswerError(nil, "GET", path, errors.New("a transfer of another account"))
		}
	}
	return rows, nil
}

// Activities reads every non-trade activity that was booked after the given time, oldest first. A zero time means all.
func (c *Client) Activities(ctx context.Context, id string, after time.Time) ([]Activity, error) {
	const path = "/v1/accounts/activities"
	query := url.Values{
		"account_id": {id}, "category": {"non_trade_activity"},
		"direction": {"asc"}, "page_size": {strconv.Itoa(activityPage)},
	}
	if !after.IsZero() {
		query.Set("after", after.UTC().Format(time.RFC3339Nano))
	}
	var all []Activity
	seen := map[string]bool{}
	for range mostPages {
		var rows list[Activity]
		if err := c.get(ctx, path, query, &rows); err != nil {
			return nil, err
		}
		fresh := false
		for _, a := range rows {
			if a.ID == "" {
				return nil, newAnswerError(nil, "GET", path, errors.New("an activity without an id"))
			}
			if a.AccountID != "" && !strings.EqualFold(a.AccountID, id) {
				return nil, newAnswerError(nil, "GET", path, errors.New("an activity of another account"))
			}
			if !seen[a.ID] {
				seen[a.ID], fresh = true, true
				all = append(all, a)
			}
		}
		if len(rows) < activityPage {
			return all, nil
		}
		if !fresh {
			return nil, newAnswerError(nil, "GET", path, errors.New("the same page twice"))
		}
		query.Set("page_token", rows[len(rows)-1].ID)
	}
	return nil, newAnswerError(nil, "GET", path, errors.New("the list does not end"))
}

// longNumber is how many letters a bank's number must have to be shown the end of.
const longNumber = 8

// UnmarshalJSON takes the bank's numbers in only to make the fingerprint and the last letters, and lets them go.
func (r *Relationship) UnmarshalJSON(b []byte) error {
	type plain Relationship
	row := struct {
		*plain
		Owner   string `json:"account_owner_name"`
		Number  string `json:"bank_account_number"`
		Routing string `json:"bank_routing_number"`
	}{plain: (*plain)(r)}
	if err := json.Unmarshal(b, &row); err != nil {
		// The cause may quote the offending value.
		return errors.New("an ACH relationship is not in the expected form")
	}
	sum := sha256.Sum256([]byte(row.Routing + "/" + row.Number + "/" + row.Owner))
	r.Fingerprint = hex.EncodeToString(sum[:2])
	if n := len(row.Number); n >= longNumber {
		r.Ends = row.Number[n-4:]
	}
	return nil
}

// Relationships reads the account's ACH relationships of every status.
func (c *Client) Relationships(ctx context.Context, id string) ([]Relationship, error) {
	var rows list[Relationship]
	path := accountPath(id) + "/ach_relationships"
	if err := c.get(ctx, path, nil, &rows); err != nil {
		return nil, err
	}
	for _, r := range rows {
		if r.ID == "" {
			return nil, newAnswerError(nil, "GET", path, errors.New("a relationship without an id"))
		}
	}
	return rows, nil
}

// Subscribed says whether the account is subscribed to a rebalancing portfolio: it then cannot be traded by hand.
func (c *Client) Subscribed(ctx context.Context, id string) (bool, error) {
	const path = "/v1/rebalancing/subscriptions"
	query := url.Values{"account_id": {id}}
	for range mostPages {
		var page struct {
			Subscriptions list[struct {
				AccountID string `json:"account_id"`
			}] `json:"subscriptions"`
			Next string `json:"next_page_token"`
		}
		if err := c.get(ctx, path, query, &page); err != nil {
			return false, err
		}
		if page.Subscriptions == nil {
			return false, newAnswerError(nil, "GET", path, errors.New("the subscriptions are missing"))
		}
		for _, s := range page.Subscriptions {
			if s.AccountID == "" {
				return false, newAnswerError(nil, "GET", path, errors.New("a subscription of nobody's"))
			}
			if strings.EqualFold(s.AccountID, id) {
				return true, nil
			}
		}
		if page.Next == "" {
			return false, nil
		}
		if page.Next == query.Get("page_token") {
			return false, newAnswerError(nil, "GET", path, errors.New("the same page twice"))
		}
		query.Set("page_token", page.Next)
	}
	return false, newAnswerError(nil, "GET", path, errors.New("the list does not end"))
}

// Asset reads whether something can be traded at all, by its symbol or its id.
func (c *Client) Asset(ctx context.Context, symbolOrID string) (Asset, error) {
	var a Asset
	path := "/v1/assets/" + url.PathEscape(symbolOrID)
	if err := c.get(ctx, path, nil, &a); err != nil {
		return Asset{}, err
	}
	if a.ID == "" || a.Status == "" {
		return Asset{}, newAnswerError(nil, "GET", path, errors.New("it has no id or no status"))
	}
	return a, nil
}

// Clock reads whether the market is open and when that changes next.
func (c *Client) Clock(ctx context.Context) (ClockState, error) {
	var s ClockState
	if err := c.get(ctx, "/v1/clock", nil, &s); err != nil {
		return ClockState{}, err
	}
	if s.Timestamp.IsZero() || s.NextOpen.IsZero() || s.NextClose.IsZero() {
		return ClockState{}, newAnswerError(nil, "GET", "/v1/clock", errors.New("a time is missing"))
	}
	return s, nil
}

// Calendar reads the trading sessions from one day to another, both included, each as "2006-01-02".
func (c *Client) Calendar(ctx context.Context, from, to string) ([]CalendarDay, error) {
	const path = "/v1/calendar"
	first, err := time.Parse(time.DateOnly, from)
	if err != nil {
		return nil, fmt.Errorf("read the calendar from %q: not a date", from)
	}
	last, err := time.Parse(time.DateOnly, to)
	if err != nil {
		return nil, fmt.Errorf("read the calendar to %q: not a date", to)
	}
	// The description wants instants where only days are meant, and does not say in which zone it cuts them off: ask
	// for a day more and drop what was not meant.
	query := url.Values{"start": {first.Format(time.RFC3339)}, "end": {last.AddDate(0, 0, 1).Format(time.RFC3339)}}
	var rows list[CalendarDay]
	if err := c.get(ctx, path, query, &rows); err != nil {
		return nil, err
	}
	for _, d := range rows {
		if _, err := time.Parse(time.DateOnly, d.Date); err != nil || d.Open == "" || d.Close == "" {
			return nil, newAnswerError(nil, "GET", path, errors.New("a day is incomplete"))
		}
	}
	return slices.DeleteFunc([]CalendarDay(rows), func(d CalendarDay) bool { return d.Date < from || d.Date > to }), nil
}
