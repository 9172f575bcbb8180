package alpaca

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/shopspring/decimal"
)

const accountID = "3dcb795c-3ccc-402a-abb9-07e26a1b1326"

// fake is a transport that answers by itself.
type fake func(*http.Request) (*http.Response, error)

func (f fake) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func says(status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{"X-Request-Id": {"req-1"}}, Body: io.NopCloser(strings.NewReader(body))}
}

func clientOf(tb testing.TB, f fake) *Client {
	tb.Helper()
	c, err := New(Options{BaseURL: "https://broker.test/", Key: "the-key", Secret: "the-secret", Transport: f})
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func answering(tb testing.TB, body string) *Client {
	tb.Helper()
	return clientOf(tb, func(*http.Request) (*http.Response, error) { return says(200, body), nil })
}

func TestNewNamesEveryMistake(t *testing.T) {
	t.Parallel()
	_, err := New(Options{BaseURL: "broker.alpaca.markets"})
	for _, want := range []string{"https://", "key", "secret"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New said %v, want a complaint about %s", err, want)
		}
	}
	for _, bad := range []string{"ftp://x", "https://", "https://user:hunter2@x", "https://x?y=1", "https://x\x7f", "https://:443"} {
		if _, err := New(Options{BaseURL: bad, Key: "k", Secret: "s"}); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("New(%q) = %v", bad, err)
		}
	}
}

func TestNothingShowsTheKey(t *testing.T) {
	t.Parallel()
	c := clientOf(t, func(*http.Request) (*http.Response, error) { return nil, errors.New("no route") })
	o := Options{BaseURL: "https://broker.test", Key: "the-key", Secret: "the-secret"}
	_, err := c.Account(t.Context(), accountID)
	sender, _ := c.Dial(t.Context())
	encoded, _ := json.Marshal(o)
	for _, s := range []string{
		fmt.Sprintf("%v %+v %#v %s", c, c, c, c), fmt.Sprintf("%v %+v %#v", o, o, o), fmt.Sprintf("%v %+v %#v", &o, &o, &o),
		fmt.Sprintf("%+v %#v", *c, struct{ C *Client }{c}), fmt.Sprintf("%+v %#v", sender, sender), fmt.Sprint(err), string(encoded),
	} {
		if strings.Contains(s, "the-key") || strings.Contains(s, "the-secret") || strings.Contains(s, "dGhlLWtleTp0aGUtc2VjcmV0") {
			t.Errorf("shows the key: %s", s)
		}
	}
}

func TestNumbersAreReadInEveryForm(t *testing.T) {
	t.Parallel()
	const blocks = `{"id":"` + accountID + `","trading_blocked":false,"transfers_blocked":false,"account_blocked":false,"trade_suspended_by_user":false,"cash":`
	for body, want := range map[string]string{
		`"1.50"`: "1.5", `1.5`: "1.5", `null`: "unknown", `""`: "unknown", `"-23140.2"`: "-23140.2", `0`: "0", `"0.000000001"`: "0.000000001",
	} {
		a, err := answering(t, blocks+body+`}`).TradingAccount(t.Context(), accountID)
		if err != nil {
			t.Errorf("cash %s: %v", body, err)
			continue
		}
		got := "unknown"
		if a.Cash.Valid {
			got = a.Cash.Decimal.String()
		}
		if got != want {
			t.Errorf("cash %s is %s, want %s", body, got, want)
		}
		if a.CashWithdrawable.Valid {
			t.Errorf("an absent field is known")
		}
	}
	for _, body := range []string{`"abc"`, `{}`, `true`, `1e999999999`} {
		if _, err := answering(t, blocks+body+`}`).TradingAccount(t.Context(), accountID); err == nil || Unavailable(err) {
			t.Errorf("cash %s: %v", body, err)
		}
	}
}

// TestABlockThatIsLeftOutIsNoPermission: the broker's description has the four in every answer. Of a closed account nobody
// asks.
func TestABlockThatIsLeftOutIsNoPermission(t *testing.T) {
	t.Parallel()
	all := []string{"trading_blocked", "transfers_blocked", "account_blocked", "trade_suspended_by_user"}
	says := func(status, without, null string) string {
		body := `{"id":"` + accountID + `","status":"` + status + `","admin_configurations":null`
		for _, name := range all {
			switch name {
			case without:
			case null:
				body += `,"` + name + `":null`
			default:
				body += `,"` + name + `":true`
			}
		}
		return body + "}"
	}
	a, err := answering(t, says("ACTIVE", "", "")).TradingAccount(t.Context(), accountID)
	if err != nil || !a.TradingBlocked || !a.TransfersBlocked || !a.AccountBlocked || !a.TradeSuspendedByUser || a.Admin.OutgoingTransfersBlocked {
		t.Errorf("%+v, %v", a, err)
	}
	for _, name := range all {
		for _, body := range []string{says("ACTIVE", name, ""), says("ACTIVE", "", name), says("", name, "")} {
			if _, err := answering(t, body).TradingAccount(t.Context(), accountID); err == nil || Unavailable(err) || !strings.Contains(err.Error(), "blocked") {
				t.Errorf("%s: %v", body, err)
			}
		}
		if _, err := answering(t, says("ACCOUNT_CLOSED", name, "")).TradingAccount(t.Context(), accountID); err != nil {
			t.Errorf("a closed account without %s: %v", name, err)
		}
	}
}

// TestUnknownIsNeverEmpty holds every list to it: what cannot be read is an error, not a list without rows.
func TestUnknownIsNeverEmpty(t *testing.T) {
	t.Parallel()
	reads := map[string]func(*Client) error{
		"positions":     func(c *Client) error { _, err := c.Positions(t.Context(), accountID); return err },
		"orders":        func(c *Client) error { _, err := c.OpenOrders(t.Context(), accountID); return err },
		"transfers":     func(c *Client) error { _, err := c.Transfers(t.Context(), accountID); return err },
		"activities":    func(c *Client) error { _, err := c.Activities(t.Context(), accountID, time.Time{}); return err },
		"relationships": func(c *Client) error { _, err := c.Relationships(t.Context(), accountID); return err },
		"calendar":      func(c *Client) error { _, err := c.Calendar(t.Context(), "2026-11-01", "2026-11-30"); return err },
		"clock":         func(c *Client) error { _, err := c.Clock(t.Context()); return err },
		"account":       func(c *Client) error { _, err := c.Account(t.Context(), accountID); return err },
		"trading":       func(c *Client) error { _, err := c.TradingAccount(t.Context(), accountID); return err },
		"order":         func(c *Client) error { _, err := c.OrderByClientID(t.Context(), accountID, "x"); return err },
	}
	for name, read := range reads {
		for _, body := range []string{``, `null`, `{`, `"text"`, `[{}]`, `{"id":"other"}`, `<html>`, `[] []`} {
			err := read(answering(t, body))
			if err == nil || Unavailable(err) || NotFound(err) {
				t.Errorf("%s of %q: %v", name, body, err)
			}
		}
		for _, status := range []int{204, 206, 301, 400, 500} {
			c := clientOf(t, func(*http.Request) (*http.Response, error) { return says(status, `[]`), nil })
			if err := read(c); err == nil || Unavailable(err) != (status == 500) {
				t.Errorf("%s of a %d: %v", name, status, err)
			}
		}
	}
}

func transferRow(n int) string {
	return fmt.Sprintf(`{"id":"t%04d","account_id":%q,"status":"COMPLETE","amount":"1.00","direction":"OUTGOING","created_at":"2026-11-%02dT10:00:00Z"}`, n, accountID, 1+n%28)
}

func TestTransfersReadsEveryPage(t *testing.T) {
	t.Parallel()
	const total = 57
	c := clientOf(t, func(r *http.Request) (*http.Response, error) { // a broker that gives no more than 20 rows, whatever is asked
		offset, _ := strconv.Atoi(r.URL.Query().Get("offset"))
		if r.URL.Query().Has("direction") {
			t.Error("asks for one direction")
		}
		var rows []string
		for n := offset; n < min(offset+20, total); n++ {
			rows = append(rows, transferRow(total-n))
		}
		return says(200, "["+strings.Join(rows, ",")+"]"), nil
	})
	list, err := c.Transfers(t.Context(), accountID)
	if err != nil || len(list) != total {
		t.Fatalf("%d transfers, %v", len(list), err)
	}
	for i := range list[1:] {
		a, b := list[i], list[i+1]
		if a.CreatedAt.After(b.CreatedAt) || a.CreatedAt.Equal(b.CreatedAt) && a.ID >= b.ID {
			t.Errorf("%s at %v stands before %s at %v", a.ID, a.CreatedAt, b.ID, b.CreatedAt)
		}
	}
}

func TestTransfersIsNeverShort(t *testing.T) {
	t.Parallel()
	page := "[" + transferRow(1) + "," + transferRow(2) + "]"
	for name, second := range map[string]fake{
		"a failing second page": func(*http.Request) (*http.Response, error) { return says(502, "bad gateway"), nil },
		"a lost second page":    func(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF },
		"the first page again":  func(*http.Request) (*http.Response, error) { return says(200, page), nil },
		"another account's row": func(*http.Request) (*http.Response, error) {
			return says(200, `[{"id":"x","account_id":"other"}]`), nil
		},
		"a row that has no id":     func(*http.Request) (*http.Response, error) { return says(200, `[{}]`), nil },
		"a page that is no list":   func(*http.Request) (*http.Response, error) { return says(200, `null`), nil },
		"a page that is cut short": func(*http.Request) (*http.Response, error) { return says(200, page[:20]), nil },
	} {
		calls := 0
		c := clientOf(t, func(r *http.Request) (*http.Response, error) {
			if calls++; calls == 1 {
				return says(200, page), nil
			}
			return second(r)
		})
		if list, err := c.Transfers(t.Context(), accountID); err == nil || list != nil {
			t.Errorf("%s: %v, %v", name, list, err)
		}
	}
}

func TestTransfersNoticesOneThatComesInBetween(t *testing.T) {
	t.Parallel()
	calls := 0
	c := clientOf(t, func(r *http.Request) (*http.Response, error) { // newest first; the third comes after the first page
		rows := []string{transferRow(3), transferRow(2), transferRow(1)}
		if calls++; calls == 1 {
			rows = rows[1:]
		}
		offset, _ := strconv.Atoi(r.URL.Query().Get("offset"))
		return says(200, "["+strings.Join(rows[min(offset, len(rows)):], ",")+"]"), nil
	})
	list, err := c.Transfers(t.Context(), accountID)
	if err != nil || len(list) != 3 || list[2].ID != "t0003" {
		t.Errorf("%v, %v", list, err)
	}
}

func TestOpenOrdersReadsOnPastAFullPage(t *testing.T) {
	t.Parallel()
	const total = 1203
	start := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	c := clientOf(t, func(r *http.Request) (*http.Response, error) {
		until := start.AddDate(1, 0, 0)
		if s := r.URL.Query().Get("until"); s != "" {
			until, _ = time.Parse(time.RFC3339Nano, s)
		}
		var rows []string
		for n := total; n > 0 && len(rows) < 500; n-- {
			at := start.Add(time.Duration(n/3) * time.Second) // three orders to the second
			if at.Before(until) {
				rows = append(rows, fmt.Sprintf(`{"id":"o%d","status":"new","submitted_at":%q}`, n, at.Format(time.RFC3339Nano)))
			}
		}
		return says(200, "["+strings.Join(rows, ",")+"]"), nil
	})
	orders, err := c.OpenOrders(t.Context(), accountID)
	if err != nil || len(orders) != total {
		t.Errorf("%d orders, %v", len(orders), err)
	}
}

func TestActivitiesFollowsTheToken(t *testing.T) {
	t.Parallel()
	const total = 250
	c := clientOf(t, func(r *http.Request) (*http.Response, error) {
		from := 0
		if token := r.URL.Query().Get("page_token"); token != "" {
			from, _ = strconv.Atoi(strings.TrimPrefix(token, "a"))
		}
		var rows []string
		for n := from + 1; n <= min(from+100, total); n++ {
			rows = append(rows, fmt.Sprintf(`{"id":"a%d","activity_type":"DIV","net_amount":"1.01","date":"2026-11-23"}`, n))
		}
		return says(200, "["+strings.Join(rows, ",")+"]"), nil
	})
	list, err := c.Activities(t.Context(), accountID, time.Now())
	if err != nil || len(list) != total || list[total-1].ID != "a250" {
		t.Errorf("%d activities, %v", len(list), err)
	}
}

func TestRelationshipsKeepNoBankNumbers(t *testing.T) {
	t.Parallel()
	row := `{"id":"r","account_id":"a","status":"approved","account_owner_name":"Ada Morgan","bank_account_number":"123456789abc","bank_routing_number":"121000358"}`
	list, err := answering(t, "["+row+"]").Relationships(t.Context(), accountID)
	if err != nil || len(list) != 1 || !list[0].Approved() {
		t.Fatalf("%v, %v", list, err)
	}
	if list[0].Fingerprint != "01fe" {
		t.Errorf("the fingerprint is %s", list[0].Fingerprint)
	}
	if s := fmt.Sprintf("%+v", list); strings.Contains(s, "12345") || list[0].Ends != "9abc" || strings.Contains(s, "Ada") || strings.Contains(s, "121000") {
		t.Errorf("keeps %s", s)
	}
	other, err := answering(t, "["+strings.Replace(row, "9abc", "8abc", 1)+"]").Relationships(t.Context(), accountID)
	if err != nil || other[0].Fingerprint == list[0].Fingerprint {
		t.Errorf("another number, the same fingerprint: %v, %v", other, err)
	}
	_, err = answering(t, `[{"id":"r","bank_account_number":987654321}]`).Relationships(t.Context(), accountID)
	if err == nil || strings.Contains(err.Error(), "98765") {
		t.Errorf("a number where text belongs: %v", err)
	}
}

func TestCalendarKeepsToItsDays(t *testing.T) {
	t.Parallel()
	c := answering(t, `[{"date":"2026-11-24","open":"09:30","close":"16:00"},{"date":"2026-11-25","open":"09:30","close":"16:00","settlement_date":"2026-11-27"},
		{"date":"2026-11-27","open":"09:30","close":"13:00"},{"date":"2026-11-30","open":"09:30","close":"16:00"}]`)
	days, err := c.Calendar(t.Context(), "2026-11-25", "2026-11-27")
	if err != nil || len(days) != 2 || days[1].Close != "13:00" || days[0].SettlementDate != "2026-11-27" {
		t.Errorf("%v, %v", days, err)
	}
	if _, err := c.Calendar(t.Context(), "yesterday", "2026-11-27"); err == nil {
		t.Error("takes any text for a date")
	}
}

func TestRecordNotesEachCall(t *testing.T) {
	t.Parallel()
	c := clientOf(t, func(r *http.Request) (*http.Response, error) {
		if strings.HasSuffix(r.URL.Path, "positions") {
			return nil, syscall.ECONNRESET
		}
		resp := says(200, `{"id":"`+accountID+`","status":"ACTIVE"}`)
		resp.Header.Set("Date", time.Now().Add(90*time.Second).UTC().Format(http.TimeFormat))
		return resp, nil
	})
	ctx, calls := Record(t.Context())
	if _, known := calls.Skew(); known {
		t.Error("knows a skew before any call")
	}
	_, _ = c.Account(ctx, accountID)
	_, _ = c.Positions(ctx, accountID)
	list := calls.List()
	if len(list) != 2 || list[0].Path != "/v1/accounts/…1b1326" || list[0].Status != 200 || list[0].RequestID != "req-1" || list[1].Status != 0 {
		t.Errorf("calls: %+v", list)
	}
	if skew, known := calls.Skew(); !known || skew < 88*time.Second || skew > 91*time.Second {
		t.Errorf("skew %v, %v", skew, known)
	}
}

// TestReadsOverTheWire meets what only real connections do.
func TestReadsOverTheWire(t *testing.T) {
	t.Parallel()
	var mode atomic.Value
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if key, secret, _ := r.BasicAuth(); key != "k" || secret != "s" || r.Header.Get("Idempotency-Key") != "" {
			t.Errorf("headers: %v", r.Header)
		}
		switch mode.Load() {
		case "hang":
			<-r.Context().Done()
		case "cut":
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `[`)
		case "drop":
			panic(http.ErrAbortHandler)
		case "redirect":
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		case "huge":
			_, _ = io.WriteString(w, "["+strings.Repeat(" ", readLimit)+"]")
		}
	}))
	t.Cleanup(server.Close)
	c, err := New(Options{BaseURL: server.URL, Key: "k", Secret: "s", Timeout: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	for m, unavailable := range map[string]bool{"hang": true, "cut": true, "drop": true, "redirect": false} {
		mode.Store(m)
		if _, err := c.Positions(t.Context(), accountID); err == nil || Unavailable(err) != unavailable || strings.Contains(err.Error(), accountID) {
			t.Errorf("%s: %v", m, err)
		}
	}
	mode.Store("huge")
	c.timeout = 10 * time.Second
	if _, err := c.Positions(t.Context(), accountID); err == nil || Unavailable(err) {
		t.Errorf("huge: %v", err)
	}
	mode.Store("hang")
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if _, err := c.Positions(ctx, accountID); err == nil || Unavailable(err) || !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	server.CloseClientConnections()
	server.Close()
	if _, err := c.Positions(t.Context(), accountID); !Unavailable(err) {
		t.Errorf("refused: %v", err)
	}
}

func TestPayOutCutsToCents(t *testing.T) {
	t.Parallel()
	w := PayOut(accountID, "r", decimal.RequireFromString("137512.4399"))
	want := `{"transfer_type":"ach","relationship_id":"r","direction":"OUTGOING","amount":"137512.43"}`
	if string(w.Body) != want || w.Method != "POST" || w.Path != "/v1/accounts/"+accountID+"/transfers" {
		t.Errorf("%s %s %s", w.Method, w.Path, w.Body)
	}
	short := CloseOrder(accountID, Position{Symbol: "SHRT", Side: "short"}, decimal.RequireFromString("-2.5"), "c1")
	want = `{"symbol":"SHRT","qty":"2.5","side":"buy","type":"market","time_in_force":"day","client_order_id":"c1","position_intent":"buy_to_close"}`
	if string(short.Body) != want {
		t.Errorf("%s", short.Body)
	}
}
