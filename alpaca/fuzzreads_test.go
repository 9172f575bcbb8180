package alpaca

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The broker's own examples, and what its description allows beside them.
var readSeeds = []string{
	`{"id":"` + accountID + `","account_number":"927584925","status":"ACTIVE","crypto_status":"INACTIVE","currency":"USD","account_type":"trading","created_at":"2021-03-01T13:28:49.270232Z","contact":{"email_address":"a@b.example"},"identity":{"given_name":"A","family_name":"B"}}`,
	`{"account_blocked":false,"accrued_fees":"0","cash":"24861.91","cash_withdrawable":"17861.91","equity":"28059.3882330664","id":"` + accountID + `","long_market_value":"3197.4782330664","pending_transfer_out":"0","pending_transfer_in":null,"status":"ACTIVE","trade_suspended_by_user":false,"trading_blocked":false,"transfers_blocked":false,"admin_configurations":{"acct_daily_transfer_limit":"50000","outgoing_transfers_blocked":true}}`,
	`[{"asset_class":"us_equity","asset_id":"93f58d0b-6c53-432d-b8ce-2bad264dbd94","current_price":"172.08","market_value":"688.32","qty":"4","qty_available":"4","side":"long","symbol":"AAPL"}]`,
	`[{"id":"61e69015-8549-4bfd-b9c3-01e75843f47d","client_order_id":"x","asset_id":"b0b6dd9d","symbol":"AAPL","side":"sell","status":"new","qty":"4","filled_qty":"0","filled_avg_price":null,"created_at":"2021-03-16T18:38:01.942282Z","submitted_at":"2021-03-16T18:38:01.937734Z","legs":[{"id":"l1","qty":"1"}]}]`,
	`[{"id":"","legs":null}]`, `[{"id":"o","legs":[{}]}]`,
	`[{"id":"20190801011955195::8f97f8e4","account_id":"` + accountID + `","activity_type":"DIV","activity_sub_type":"CDIV","net_amount":"1.02","date":"2019-08-01","created_at":"2019-08-01T01:19:55Z","status":"executed","symbol":"T"}]`,
	`[{"id":"794c3c51-71a8-4186-b5d0-247b6fb4045e","account_id":"` + accountID + `","status":"APPROVED","created_at":"2021-03-16T18:38:01Z","account_owner_name":"Jo","bank_account_number":"123456789","bank_routing_number":"121000358"}]`,
	`{"subscriptions":[{"id":"s","account_id":"` + accountID + `","portfolio_id":"p"}],"next_page_token":null}`,
	`{"subscriptions":[],"next_page_token":"MTAw"}`, `{"subscriptions":[null],"next_page_token":null}`, `{"subscriptions":null}`,
	`{"timestamp":"2018-04-01T12:00:00.000Z","is_open":true,"next_open":"2018-04-01T12:00:00.000Z","next_close":"2018-04-01T12:00:00.000Z"}`,
	`[{"date":"2026-12-01","open":"09:30","close":"16:00","session_open":"0400","session_close":"2000","settlement_date":"2026-12-02"}]`,
	`null`, `[]`, `{}`, `[null]`, `"text"`, `{"id":"` + accountID + `","cash":"","equity":"1e31","accrued_fees":{}}`,
	`{"id":"` + accountID + `","cash":"` + strings.Repeat("9", 3000) + `x"}`,
}

// reads are all of the client's, but for transfers, which have a target of their own.
var reads = []func(context.Context, *Client) (any, error){
	func(ctx context.Context, c *Client) (any, error) { return c.Account(ctx, accountID) },
	func(ctx context.Context, c *Client) (any, error) { return c.TradingAccount(ctx, accountID) },
	func(ctx context.Context, c *Client) (any, error) { return c.Positions(ctx, accountID) },
	func(ctx context.Context, c *Client) (any, error) { return c.OpenOrders(ctx, accountID) },
	func(ctx context.Context, c *Client) (any, error) { return c.Order(ctx, accountID, "o") },
	func(ctx context.Context, c *Client) (any, error) { return c.OrderByClientID(ctx, accountID, "x") },
	func(ctx context.Context, c *Client) (any, error) { return c.Activities(ctx, accountID, time.Time{}) },
	func(ctx context.Context, c *Client) (any, error) { return c.Relationships(ctx, accountID) },
	func(ctx context.Context, c *Client) (any, error) { return c.Subscribed(ctx, accountID) },
	func(ctx context.Context, c *Client) (any, error) { return c.Clock(ctx) },
	func(ctx context.Context, c *Client) (any, error) { return c.Calendar(ctx, "2026-11-01", "2026-12-31") },
}

// FuzzReads: whatever the broker answers with a 200, a read gives an error that shows nobody's numbers and no value, or
// a value in which each thing has its name and no sum stands that the answer does not have.
func FuzzReads(f *testing.F) {
	for which := range reads {
		for _, s := range readSeeds {
			f.Add(byte(which), []byte(s))
		}
	}
	f.Fuzz(func(t *testing.T, which byte, body []byte) {
		got, err := reads[int(which)%len(reads)](t.Context(), answering(t, string(body)))
		v := reflect.ValueOf(got)
		if err != nil {
			if !v.IsZero() || Unavailable(err) {
				t.Errorf("%+v, %v", got, err)
			}
			if s := err.Error(); len(s) > 1000 || digits.MatchString(uuids.ReplaceAllString(s, " ")) {
				t.Errorf("the error says too much: %.2000q", s)
			}
			return
		}
		named(t, got)
		if unequivocal(body) {
			sums(t, v, body)
		}
	})
}

// named checks that nothing was read that cannot be spoken of afterwards.
func named(t *testing.T, got any) {
	t.Helper()
	var orders func([]Order)
	orders = func(list []Order) {
		for _, o := range list {
			if o.ID == "" {
				t.Errorf("an order without an id: %+v", list)
			}
			orders(o.Legs)
		}
	}
	switch got := got.(type) {
	case Account:
		if !strings.EqualFold(got.ID, accountID) || got.Status == "" {
			t.Errorf("%+v", got)
		}
	case TradingAccount:
		if !strings.EqualFold(got.ID, accountID) {
			t.Errorf("%+v", got)
		}
	case []Position:
		for _, p := range got {
			if p.Symbol == "" || p.AssetID == "" {
				t.Errorf("%+v", p)
			}
		}
	case []Order:
		orders(got)
	case Order:
		orders([]Order{got})
	case []Activity:
		seen := map[string]bool{}
		for _, a := range got {
			if a.ID == "" || seen[a.ID] || a.AccountID != "" && !strings.EqualFold(a.AccountID, accountID) {
				t.Errorf("%+v", got)
			}
			seen[a.ID] = true
		}
	case []Relationship:
		for _, r := range got {
			if r.ID == "" || len(r.Fingerprint) != 4 {
				t.Errorf("%+v", r)
			}
		}
	case ClockState:
		if got.Timestamp.IsZero() || got.NextOpen.IsZero() || got.NextClose.IsZero() {
			t.Errorf("%+v", got)
		}
	case []CalendarDay:
		for _, d := range got {
			if _, err := time.Parse(time.DateOnly, d.Date); err != nil || d.Date < "2026-11-01" || d.Date > "2026-12-31" || d.Open == "" || d.Close == "" {
				t.Errorf("%+v", d)
			}
		}
	}
}

// unequivocal says whether no object of the body has a key twice, of which nobody can say which one counts.
func unequivocal(body []byte) bool {
	switch raw := strings.TrimSpace(string(body)); {
	case strings.HasPrefix(raw, "["):
		var all []json.RawMessage
		_ = json.Unmarshal(body, &all)
		for _, one := range all {
			if !unequivocal(one) {
				return false
			}
		}
	case strings.HasPrefix(raw, "{"):
		d := json.NewDecoder(strings.NewReader(raw))
		_, _ = d.Token()
		var keys []string
		for d.More() {
			key, err := d.Token()
			var value json.RawMessage
			if err != nil || d.Decode(&value) != nil || !unequivocal(value) {
				return false
			}
			for _, k := range keys {
				if strings.EqualFold(k, key.(string)) {
					return false
				}
			}
			keys = append(keys, key.(string))
		}
	}
	return true
}

// sums checks each Number in v against the JSON that it was read from: what is not there, null or "" is unknown, and what
// is known is what is written there.
func sums(t *testing.T, v reflect.Value, raw json.RawMessage) {
	t.Helper()
	if n, ok := v.Interface().(Number); ok {
		written := strings.Trim(string(raw), `"`)
		if !n.Valid {
			return
		}
		want, ok := new(big.Rat).SetString(strings.ReplaceAll(written, "\u2212", "-"))
		if !ok || want.Cmp(n.Decimal.Rat()) != 0 {
			t.Errorf("%q was read as %s", raw, n.Decimal)
		}
		return
	}
	switch v.Kind() {
	case reflect.Slice:
		var rows []json.RawMessage
		if json.Unmarshal(raw, &rows) != nil || len(rows) != v.Len() {
			return // rows were dropped: they can't be told apart here
		}
		for i := range v.Len() {
			sums(t, v.Index(i), rows[i])
		}
	case reflect.Struct:
		var fields map[string]json.RawMessage
		_ = json.Unmarshal(raw, &fields)
		for i := range v.NumField() {
			tag := v.Type().Field(i).Tag.Get("json")
			if tag == "" || tag == "-" {
				continue
			}
			var of json.RawMessage
			for key, value := range fields {
				if strings.EqualFold(key, tag) {
					of = value
				}
			}
			sums(t, v.Field(i), of)
		}
	default: // no sum stands in anything else
	}
}

// FuzzAnswers: a write's answer names what was made, or is an error: then nobody knows what became of the write.
func FuzzAnswers(f *testing.F) {
	for which := range 3 {
		for _, s := range []string{`{"id":"t","amount":"5","status":"QUEUED"}`, `{"id":""}`, `{"id":7}`, `null`, ``, `[]`, `{"id":"t","amount":"1e99"}`} {
			f.Add(byte(which), 200, []byte(s))
			f.Add(byte(which), 422, []byte(s))
		}
	}
	writes := []Write{{Method: "POST", Path: accountPath(accountID) + "/transfers"}, {Method: "POST", Path: tradingPath(accountID) + "/orders"}, CloseAccount(accountID)}
	f.Fuzz(func(t *testing.T, which byte, status int, body []byte) {
		if status < 200 || status > 599 {
			return
		}
		w := writes[int(which)%len(writes)]
		calls := 0
		c := clientOf(t, func(*http.Request) (*http.Response, error) { calls++; return says(status, string(body)), nil })
		sender, err := c.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		a, err := sender.Send(t.Context(), w)
		if calls != 1 {
			t.Errorf("sent %d times", calls)
		}
		switch {
		case err != nil:
			if status/100 != 2 || a != (Answer{}) {
				t.Errorf("%d: %+v, %v", status, a, err)
			}
		case status/100 != 2:
			if a.Err == nil || a.BrokerID != "" {
				t.Errorf("%d: %+v", status, a)
			}
		case a.Err != nil, status != 204 && a.BrokerID == "" && !strings.HasSuffix(w.Path, "close"):
			t.Errorf("%d: %+v", status, a)
		}
	})
}

// FuzzHeaders: the broker's clock is known where it is told in a way that HTTP has, and nowhere else.
func FuzzHeaders(f *testing.F) {
	f.Add("Wed, 25 Nov 2026 14:22:15 GMT", "1795616536", "0a1b2c")
	f.Add("Wednesday, 25-Nov-26 14:22:15 GMT", "-1", strings.Repeat("é", 64))
	f.Add("Sat, 01 Jan 0000 00:00:00 GMT", "9223372036854775807", "")
	f.Add("Fri, 31 Dec 9999 23:59:59 GMT", "1e9", "\xff")
	f.Add("", "", "")
	f.Fuzz(func(t *testing.T, date, reset, id string) {
		c := clientOf(t, func(*http.Request) (*http.Response, error) {
			resp := says(429, `{"code":42910000,"message":"rate limit exceeded"}`)
			resp.Header = http.Header{"Date": {date}, "X-Ratelimit-Reset": {reset}, "X-Request-Id": {id}}
			return resp, nil
		})
		ctx, calls := Record(t.Context())
		_, err := c.Clock(ctx)
		e, ok := errors.AsType[*Error](err)
		if !ok || !Unavailable(err) {
			t.Fatalf("%v", err)
		}
		skew, known := calls.Skew()
		told, err := http.ParseTime(date)
		if known != (err == nil) || !known && skew != 0 {
			t.Errorf("%q: %s, %t", date, skew, known)
		}
		if off := time.Until(told) - skew; known && skew.Abs() < time.Hour && off.Abs() > time.Minute {
			t.Errorf("%q: %s", date, skew)
		}
		if s, err := strconv.ParseInt(reset, 10, 64); e.RateLimitReset.IsZero() != (err != nil || s <= 0) {
			t.Errorf("%q: %s", reset, e.RateLimitReset)
		}
		if len(e.RequestID) > 70 {
			t.Errorf("%q", e.RequestID)
		}
	})
}

// FuzzRedact: what is left shows no number of a bank or person, no address, and would be left as it is a second time.
func FuzzRedact(f *testing.F) {
	for _, s := range []string{
		"account 123456789 is closed", "a@b.example", "ssn 123-45-6789", accountID, "x" + accountID, accountID + "1234567", "123456" + accountID,
		strings.Repeat("a", 30) + "@b", "\xff1234567\xff", "12345678901234567890123-", "(a@b@c)", "@@a@@b", "123456\u20007",
		strings.Repeat("a", leastToken), strings.Repeat("a", leastToken-1), "1 A St",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := Redact(s)
		if got == s && mask(s) != s {
			t.Errorf("%q is shown as it is", s)
		}
		rest := uuids.ReplaceAllString(got, " ")
		if digits.MatchString(rest) {
			t.Errorf("%q shows %q", s, got)
		}
		if again := Redact(got); again != got {
			t.Errorf("%q, then %q", got, again)
		}
	})
}

// FuzzErrorBody: wherever in an error's body it stands, no part of a secret is shown that would tell it apart.
func FuzzErrorBody(f *testing.F) {
	for _, n := range []int{0, 150, 185, 190, 191, 194, 195, 196, 197, 198, 199, 200, 5000} {
		f.Add(strings.Repeat("x ", n/2), strings.Repeat("y", n%2))
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		for _, secret := range []string{"739481526", "739-48-1526", "jo.doe@example.com", "tok_abcdefghijklmnopqrstuvwxyz"} {
			body, err := json.Marshal(map[string]any{"code": 40010001, "message": before + " " + secret + " " + after})
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range [][]byte{body, []byte(before + " " + secret + " " + after)} {
				e := decodeError(&http.Response{StatusCode: 400, Header: http.Header{}}, "GET", "/v1/clock", b)
				if strings.Contains(e.Error(), secret[:5]) && !strings.Contains(before+after, secret[:5]) {
					t.Errorf("%q is cut to %q", secret, e.Message)
				}
			}
		}
	})
}

// FuzzPages: a list of several pages is read whole and once, whatever moments its rows share, or not at all.
func FuzzPages(f *testing.F) {
	f.Add(uint16(0), []byte{1})
	f.Add(uint16(499), []byte{0, 1})
	f.Add(uint16(500), []byte{1})
	f.Add(uint16(1200), []byte{0, 0, 0, 1})
	f.Add(uint16(1001), []byte{0})
	f.Add(uint16(1203), []byte{0, 200, 3})
	f.Fuzz(func(t *testing.T, count uint16, steps []byte) {
		if len(steps) == 0 {
			return
		}
		n := int(count) % 1600
		at, now := make([]time.Time, n), time.Date(2026, 11, 25, 14, 0, 0, 0, time.UTC)
		same, most := 0, 0  // rows within one page's overlap
		for i := range at { // from the newest to the oldest
			if step := steps[i%len(steps)]; step > 0 {
				now, same = now.Add(-time.Duration(step)*time.Millisecond), 0
			}
			at[i] = now
			same++
			most = max(most, same)
		}
		c := clientOf(t, func(r *http.Request) (*http.Response, error) {
			q := r.URL.Query()
			var rows []map[string]any
			switch {
			case strings.HasSuffix(r.URL.Path, "/orders"):
				until, err := time.Parse(time.RFC3339Nano, q.Get("until"))
				for i := range at {
					if (err != nil || at[i].Before(until)) && len(rows) < orderPage {
						rows = append(rows, map[string]any{"id": fmt.Sprint(i), "submitted_at": at[i]})
					}
				}
			case strings.HasSuffix(r.URL.Path, "/transfers"):
				from, _ := strconv.Atoi(q.Get("offset"))
				for i := from; i < n && len(rows) < 2+int(steps[0])%(transferPage-1); i++ {
					rows = append(rows, map[string]any{"id": fmt.Sprint(i), "created_at": at[i]})
				}
			default:
				from := 0
				if token := q.Get("page_token"); token != "" {
					from, _ = strconv.Atoi(token)
					from++
				}
				for i := from; i < n && len(rows) < activityPage; i++ {
					rows = append(rows, map[string]any{"id": fmt.Sprint(i)})
				}
			}
			if rows == nil {
				rows = []map[string]any{}
			}
			body, err := json.Marshal(rows)
			return says(200, string(body)), err
		})
		orders, err := c.OpenOrders(t.Context(), accountID)
		if err == nil && len(orders) != n || err != nil && most < orderPage/2 {
			t.Errorf("%d of %d orders, %d of one moment: %v", len(orders), n, most, err)
		}
		if all, err := c.Activities(t.Context(), accountID, time.Time{}); err != nil || len(all) != n {
			t.Errorf("%d of %d activities: %v", len(all), n, err)
		}
		if all, err := c.Transfers(t.Context(), accountID); err != nil || len(all) != n {
			t.Errorf("%d of %d transfers: %v", len(all), n, err)
		}
	})
}
