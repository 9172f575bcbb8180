package alpaca

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

const ulid = "01G112NTT0XAXKDZK3AABK68TH"

// hears opens a stream that says body and then breaks.
func hears(tb testing.TB, body string) *Stream {
	tb.Helper()
	s, err := answering(tb, body).Stream(tb.Context(), TradeEvents, "")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	return s
}

// all reads a stream to its end: the events, how many other signs of life there were, and what ended it.
func all(s *Stream) (events []Event, others int, err error) {
	for {
		e, ok, err := s.Next()
		switch {
		case err != nil:
			return events, others, err
		case ok:
			events = append(events, e)
		default:
			others++
		}
	}
}

func TestAStreamIsReadInEachTopicsForm(t *testing.T) {
	t.Parallel()
	fill := Event{ID: ulid, Account: accountID}
	for _, tt := range []struct {
		name, body string
		want       []Event
		others     int
	}{
		{"a fill", `data: {"account_id":"` + accountID + `","event":"fill","event_id":"` + ulid + `","order":{"id":"x"}}` + "\n\n", []Event{fill}, 0},
		{"small and capital letters", `data: {"account_id":"` + strings.ToUpper(accountID) + `","event":"FILL","event_id":"` + ulid + `"}` + "\n\n", []Event{fill}, 0},
		{"an order that is accepted", `data: {"account_id":"` + accountID + `","event":"new","event_id":"` + ulid + `"}` + "\n\n", []Event{{ulid, accountID, true}}, 0},
		{"a word that nobody knows", `data: {"account_id":"` + accountID + `","event":"melted","event_id":"` + ulid + `"}` + "\n\n", []Event{fill}, 0},
		{"a transfer that is complete", `data: {"account_id":"` + accountID + `","entity_type":"Transfer","status_to":"COMPLETE","event_id":"` + ulid + `"}` + "\n\n", []Event{fill}, 0},
		{"a transfer on its way", `data: {"account_id":"` + accountID + `","entity_type":"Transfer","status_to":"sent_to_clearing","event_id":"` + ulid + `"}` + "\n\n", []Event{{ulid, accountID, true}}, 0},
		{"a transfer's odd status", `data: {"account_id":"` + accountID + `","entity_type":"Transfer","status_to":"COOKING","event_id":"` + ulid + `"}` + "\n\n", []Event{fill}, 0},
		{"a bank that is approved", `data: {"account_id":"` + accountID + `","entity_type":"BankRelationship","status_to":"APPROVED","event_id":"` + ulid + `"}` + "\n\n", []Event{fill}, 0},
		{"an account's status", `data: {"account_id":"` + accountID + `","event_id":122039,"event_ulid":"` + ulid + `","status_to":"ACCOUNT_CLOSED"}` + "\n\n", []Event{fill}, 0},
		{"the protocol's own id", "id: " + ulid + "\nevent: x\ndata: {\"account_id\":\"" + accountID + "\",\"event_id\":7}\n\n", []Event{fill}, 0},
		{"several lines", "data: {\"account_id\":\ndata: \"" + accountID + "\",\ndata: \"event_id\":\"" + ulid + "\"}\n\n", []Event{fill}, 0},
		{"carriage returns", "data:{\"account_id\":\"" + accountID + "\",\"event_id\":\"" + ulid + "\"}\r\n\r\n", []Event{fill}, 0},
		{"a comment within an event", "data: {\"account_id\":\"" + accountID + "\",\n:heartbeat\ndata: \"event_id\":\"" + ulid + "\"}\n\n", []Event{fill}, 0},
		{"heartbeats", ":heartbeat\n\n:heartbeat\n\n\n", nil, 2},
		{"no account", `data: {"event_id":"` + ulid + `"}` + "\n\n", []Event{{ID: ulid}}, 0},
		{"no cursor that can be used", `data: {"account_id":"` + accountID + `","event_id":"a b&c"}` + "\n\n", []Event{{Account: accountID}}, 0},
		{"neither", "data: {}\n\n", nil, 1},
		{"no JSON", "data: <html>\n\n", nil, 1},
		{"an account that is none", `data: {"account_id":"../../x","event_id":"` + ulid + `"}` + "\n\n", []Event{{ID: ulid}}, 0},
		{"a line too long", "data: " + strings.Repeat("x", lineLimit) + "\n\n" + `data: {"account_id":"` + accountID + `","event_id":"` + ulid + `"}` + "\n\n", []Event{fill}, 0},
		{"lines too many", strings.Repeat("data: "+strings.Repeat("x", 1000)+"\n", lineLimit/1000+2) + "\n" + `data: {"account_id":"` + accountID + `","event_id":"` + ulid + `"}` + "\n\n", []Event{fill}, 1},
		{"an event that breaks off", `data: {"account_id":"` + accountID + `","event_id":"` + ulid + `"}` + "\n", nil, 0},
	} {
		got, others, err := all(hears(t, tt.body))
		if diff := cmp.Diff(tt.want, got); diff != "" || others != tt.others {
			t.Errorf("%s: %d others, want %d (-want +got)\n%s", tt.name, others, tt.others, diff)
		}
		if !Unavailable(err) || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: ended by %v", tt.name, err)
		}
	}
}

func TestWhatTheBrokerSaysInACommentEndsTheStream(t *testing.T) {
	t.Parallel()
	_, others, err := all(hears(t, ":heartbeat\n\n: you are reading too slowly, dropped 10000 messages\n\n"))
	if !errors.Is(err, ErrDropped) || others != 1 {
		t.Errorf("dropped messages: %v after %d", err, others)
	}
	_, _, err = all(hears(t, ": internal server error\n\n"))
	if !Unavailable(err) || errors.Is(err, ErrDropped) || !strings.Contains(err.Error(), "internal server error") {
		t.Errorf("an error: %v", err)
	}
}

func TestAStreamAsksFromItsCursorOn(t *testing.T) {
	t.Parallel()
	for topic, want := range map[Topic]string{
		TradeEvents:   "/v2/events/trades?since_id=" + ulid,
		FundingEvents: "/v2/events/funding/status?since_id=" + ulid,
		AccountEvents: "/v1/events/accounts/status?since_ulid=" + ulid,
	} {
		for _, cursor := range []string{"", ulid} {
			var asked *http.Request
			c := clientOf(t, func(r *http.Request) (*http.Response, error) { asked = r; return says(200, ""), nil })
			s, err := c.Stream(t.Context(), topic, cursor)
			if err != nil {
				t.Fatal(err)
			}
			_ = s.Close()
			want := want
			if cursor == "" {
				want, _, _ = strings.Cut(want, "?")
			}
			key, _, _ := asked.BasicAuth()
			if got := asked.URL.RequestURI(); got != want || key != "the-key" || asked.Header.Get("Accept") != "text/event-stream" {
				t.Errorf("%s with cursor %q: %s as %q", topic, cursor, got, key)
			}
		}
	}
}

func TestAStreamThatIsRefusedSaysSo(t *testing.T) {
	t.Parallel()
	for status, is := range map[int]func(error) bool{401: Unauthorized, 403: Unauthorized, 404: NotFound, 429: Unavailable, 503: Unavailable} {
		c := clientOf(t, func(*http.Request) (*http.Response, error) { return says(status, `{"message":"no"}`), nil })
		if _, err := c.Stream(t.Context(), FundingEvents, ""); !is(err) {
			t.Errorf("%d: %v", status, err)
		}
	}
}

// silence is a body that says nothing until the request's context ends, as a connection does whose other end is gone.
type silence struct{ ctx context.Context }

func (s silence) Read([]byte) (int, error) { <-s.ctx.Done(); return 0, s.ctx.Err() }
func (s silence) Close() error             { return nil }

func TestASilentStreamEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := clientOf(t, func(r *http.Request) (*http.Response, error) {
			resp := says(200, "")
			resp.Body = struct {
				io.Reader
				io.Closer
			}{io.MultiReader(strings.NewReader(":heartbeat\n"), silence{r.Context()}), io.NopCloser(nil)}
			return resp, nil
		})
		s, err := c.Stream(t.Context(), TradeEvents, "")
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		_, others, err := all(s)
		if !errors.Is(err, errSilent) || !Unavailable(err) || others != 1 || time.Since(began) != streamIdle {
			t.Errorf("%v after %s and %d", err, time.Since(began), others)
		}
		_ = s.Close()

		if s, err = c.Stream(t.Context(), TradeEvents, ""); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Second, func() { _ = s.Close() })
		if _, _, err = all(s); !errors.Is(err, context.Canceled) {
			t.Errorf("closed: %v", err)
		}
	})
}

func TestABrokerThatDoesNotAnswerIsNotWaitedForForLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := clientOf(t, func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() })
		began := time.Now()
		if _, err := c.Stream(t.Context(), TradeEvents, ""); !Unavailable(err) || time.Since(began) != defaultTimeout {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}

func FuzzStream(f *testing.F) {
	for _, s := range []string{
		"data: {\"account_id\":\"" + accountID + "\",\"event\":\"fill\",\"event_id\":\"" + ulid + "\"}\n\n", ":heartbeat\n\n", ": dropped 1\n",
		"id: x\ndata: {}\n\n", "data: {\"event_id\":7,\"event_ulid\":\"" + ulid + "\"}\r\n\r\n", "data\n\n", "data: null\ndata: 1\n\n", ":\n", "\n\n\n", "retry: 1\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		s := hears(t, string(body))
		events, others, err := all(s)
		if err == nil || len(events)+others > len(body) || int(s.Skipped()) > len(body) {
			t.Fatalf("%d events, %d others, %v", len(events), others, err)
		}
		for _, e := range events {
			if e.ID == "" && e.Account == "" || e.ID != "" && !aCursor.MatchString(e.ID) || e.Account != "" && !aUUID.MatchString(e.Account) {
				t.Fatalf("%+v", e)
			}
		}
	})
}
