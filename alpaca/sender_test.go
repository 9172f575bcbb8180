package alpaca

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shopspring/decimal"
)

var payout = PayOut(accountID, "896ed9c3-6b33-47f8-9ea2-2c1f1c2c3b1d", decimal.RequireFromString("12.34"))

func wired(tb testing.TB, url string) *Client {
	tb.Helper()
	c, err := New(Options{BaseURL: url, Key: "k", Secret: "s", Timeout: 2 * time.Second})
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func dialled(tb testing.TB, c *Client) *Sender {
	tb.Helper()
	s, err := c.Dial(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	return s
}

// TestSenderSendsOnce breaks the connection at each point at which net/http is tempted to try again.
func TestSenderSendsOnce(t *testing.T) {
	t.Parallel()
	for name, breaks := range map[string]func(net.Conn, *http.Request){
		"after reading the request": func(c net.Conn, _ *http.Request) {},
		"after half an answer": func(c net.Conn, _ *http.Request) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
		},
		"with a reset": func(c net.Conn, _ *http.Request) { _ = c.(*net.TCPConn).SetLinger(0) },
		"inside the headers": func(c net.Conn, _ *http.Request) {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nX-Half")
		},
	} {
		for _, w := range []Write{payout, CloseAccount(accountID), CancelOrder(accountID, "o")} {
			t.Run(name+"/"+w.String(), func(t *testing.T) {
				t.Parallel()
				listener, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = listener.Close() }()
				var requests, connections atomic.Int32
				go func() {
					for {
						conn, err := listener.Accept()
						if err != nil {
							return
						}
						connections.Add(1)
						go func() {
							defer conn.Close()
							r, err := http.ReadRequest(bufio.NewReader(conn))
							if err != nil {
								return
							}
							_, _ = io.Copy(io.Discard, r.Body)
							requests.Add(1)
							breaks(conn, r)
						}()
					}
				}()
				s := dialled(t, wired(t, "http://"+listener.Addr().String()))
				a, err := s.Send(t.Context(), w)
				if err == nil && (name != "after half an answer" || w.Method == http.MethodPost) {
					t.Errorf("an answer: %+v", a)
				}
				if _, err := s.Send(t.Context(), w); !errors.Is(err, errUsed) {
					t.Errorf("a second Send: %v", err)
				}
				time.Sleep(20 * time.Millisecond) // for a repeated request to arrive
				if requests.Load() != 1 || connections.Load() != 1 {
					t.Errorf("%d requests on %d connections", requests.Load(), connections.Load())
				}
			})
		}
	}
}

func TestSenderSendsWhatWasStored(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if string(body) != string(payout.Body) || r.URL.Path != payout.Path || r.ProtoMajor != 1 || !r.Close && r.Header.Get("Connection") != "close" {
			t.Errorf("%s %s %s: %s", r.Proto, r.Method, r.URL, body)
		}
		if r.Header.Get("Idempotency-Key") != "" || r.Header.Get("Content-Type") != "application/json" || r.ContentLength != int64(len(body)) {
			t.Errorf("headers: %v", r.Header)
		}
		w.Header().Set("X-Request-ID", "abc")
		_, _ = io.WriteString(w, `{"id":"t1","status":"QUEUED","amount":"12.34","direction":"OUTGOING"}`)
	}))
	server.EnableHTTP2 = true
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	c := wired(t, server.URL)
	if _, err := c.Dial(t.Context()); err == nil || !Unavailable(err) {
		t.Errorf("a certificate that nobody signed: %v", err)
	}
	c.tls = &tls.Config{RootCAs: server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}
	ctx, calls := Record(t.Context())
	a, err := dialled(t, c).Send(ctx, payout)
	if err != nil || a.Status != 200 || a.BrokerID != "t1" || a.RequestID != "abc" || a.Transfer == nil || a.Err != nil {
		t.Errorf("%+v, %v", a, err)
	}
	if list := calls.List(); len(list) != 1 || list[0].Method != "POST" || list[0].Status != 200 {
		t.Errorf("calls: %+v", list)
	}
}

func TestSenderTakesEveryAnswer(t *testing.T) {
	t.Parallel()
	for status, body := range map[int]string{
		204: "", 302: "", 307: "", 400: `{"code":40010000,"message":"no"}`, 403: "x", 422: "", 429: "{}", 500: "", 503: "<html>",
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}))
		a, err := dialled(t, wired(t, server.URL)).Send(t.Context(), CloseAccount(accountID))
		if err != nil || a.Status != status || (a.Err == nil) != (status == 204) {
			t.Errorf("%d: %+v, %v", status, a, err)
		}
		server.Close()
	}
	for _, body := range []string{"", "null", "{}", "{", `{"id":""}`, "<html>"} {
		c := clientOf(t, func(*http.Request) (*http.Response, error) { return says(200, body), nil })
		if a, err := dialled(t, c).Send(t.Context(), payout); err == nil {
			t.Errorf("a payout that got no name by %q: %+v", body, a)
		}
	}
}

func TestDialNoticesAClosedDoor(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	if _, err := wired(t, "http://"+address).Dial(t.Context()); !Unavailable(err) {
		t.Errorf("refused: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := wired(t, "http://"+address).Dial(ctx); err == nil || Unavailable(err) {
		t.Errorf("canceled: %v", err)
	}
	s := dialled(t, clientOf(t, func(*http.Request) (*http.Response, error) { return nil, errors.New("must not be asked") }))
	_ = s.Close()
	if _, err := s.Send(t.Context(), payout); err == nil || strings.Contains(err.Error(), "must not") {
		t.Errorf("after Close: %v", err)
	}
}
