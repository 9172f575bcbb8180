package alpaca

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

var (
	errUsed   = errors.New("connection already used: a write is sent once")
	errClosed = errors.New("connection already closed")
)

// Sender holds one open connection for one write. It cannot send twice: net/http repeats a request of its own accord
// when a connection breaks early, and a repeated payout is money gone.
type Sender struct {
	client *Client
	mu     sync.Mutex
	conn   net.Conn // nil once handed out, and with Options.Transport
	used   bool
	tell   func(Heard) // the gate
}

// Answer is what the broker said to a write, whatever the status.
type Answer struct {
	Status    int
	RequestID string
	BrokerID  string    // the id in the body of a success
	Order     *Order    // of a success on /orders
	Transfer  *Transfer // of a success on /transfers
	Err       *Error    // of every other status, redirects included
}

// Dial opens a connection for one write and finishes TLS, so that a broker that can't be reached is noticed before
// anything is claimed. The gate is asked here, and not at Send, for the same reason.
func (c *Client) Dial(ctx context.Context) (*Sender, error) {
	tell, err := c.pass(ctx, true, "CONNECT")
	if err != nil {
		return nil, err
	}
	s := &Sender{client: c, tell: tell}
	if c.given != nil {
		return s, nil
	}
	started := time.Now()
	if s.conn, err = c.dial(ctx); err != nil {
		leaveSpan(ctx, "CONNECT", "", nil, started)
		s.tell(heard(ctx, nil, err))
		return nil, newConnError(ctx, "CONNECT", c.base.Host, err)
	}
	return s, nil
}

func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	limited, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	port := c.base.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[c.base.Scheme]
	}
	conn, err := new(net.Dialer).DialContext(limited, "tcp", net.JoinHostPort(c.base.Hostname(), port))
	if err != nil {
		return nil, err
	}
	if c.base.Scheme == "https" {
		config := &tls.Config{MinVersion: tls.VersionTLS12}
		if c.tls != nil {
			config = c.tls.Clone()
		}
		config.ServerName = c.base.Hostname()
		config.NextProtos = []string{"http/1.1"}
		secured := tls.Client(conn, config)
		if err := secured.HandshakeContext(limited); err != nil {
			conn.Close()
			return nil, err
		}
		return secured, nil
	}
	return conn, nil
}

// Close gives up the connection. It is safe to call at any time, and always.
func (s *Sender) Close() error {
	s.tell(Heard{GivenUp: true}) // the first word counts: this one where nothing was sent
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used = true
	if s.conn == nil {
		return nil
	}
	conn := s.conn
	s.conn = nil
	return conn.Close()
}

// Send writes the request once and reads the answer. An error means that nobody knows what became of the request: it
// may have been carried out. Each answer that has a status is an Answer and no error, but for a success of a POST whose
// body does not name what was made.
func (s *Sender) Send(ctx context.Context, w Write) (Answer, error) {
	limited, cancel := context.WithTimeout(ctx, s.client.timeout)
	defer cancel()
	transport, done, err := s.transport()
	if err != nil {
		return Answer{}, fmt.Errorf("send %s: %w", w, err)
	}
	defer done()

	var body io.Reader
	if len(w.Body) > 0 {
		body = io.NopCloser(bytes.NewReader(w.Body)) // hidden from NewRequest, which would add GetBody
	}
	req, err := http.NewRequestWithContext(limited, w.Method, s.client.address+w.Path, body)
	if err != nil {
		return Answer{}, fmt.Errorf("send %s: the request is not usable", w)
	}
	req.GetBody = nil
	if len(w.Body) > 0 {
		req.ContentLength = int64(len(w.Body))
		req.Header.Set("Content-Type", "application/json")
	}
	s.client.authorize(req)
	path, started := shortPath(w.Path), time.Now()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		s.tell(heard(ctx, nil, err))
		s.client.asked(ctx, req, path, nil, started)
		return Answer{}, newConnError(ctx, w.Method, w.Path, err)
	}
	defer resp.Body.Close()
	read, err := io.ReadAll(io.LimitReader(resp.Body, readLimit))
	s.tell(heard(ctx, resp, err))
	s.client.asked(ctx, req, path, resp, started)

	a := Answer{Status: resp.StatusCode, RequestID: requestID(resp)}
	if resp.StatusCode/100 != 2 {
		a.Err = decodeError(resp, w.Method, w.Path, s.client.hide(read))
		return a, nil
	}
	if err != nil {
		return Answer{}, newConnError(ctx, w.Method, w.Path, err)
	}
	if err := a.decode(w, read); err != nil {
		return Answer{}, newAnswerError(resp, w.Method, w.Path, err)
	}
	return a, nil
}

func (a *Answer) decode(w Write, body []byte) error {
	path, _, _ := strings.Cut(w.Path, "?")
	switch {
	case w.Method != http.MethodPost || a.Status == http.StatusNoContent:
		return nil
	case strings.HasSuffix(path, "/transfers"):
		a.Transfer = new(Transfer)
		if err := json.Unmarshal(body, a.Transfer); err != nil {
			return err
		}
		a.BrokerID = a.Transfer.ID
	case strings.HasSuffix(path, "/orders"):
		a.Order = new(Order)
		if err := json.Unmarshal(body, a.Order); err != nil {
			return err
		}
		a.BrokerID = a.Order.ID
	default:
		return nil
	}
	if a.BrokerID == "" {
		return errors.New("it names no id")
	}
	return nil
}

// transport gives the way to send, once.
func (s *Sender) transport() (rt http.RoundTripper, done func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used {
		return nil, nil, errUsed
	}
	s.used = true
	if s.client.given != nil {
		return s.client.given, func() {}, nil
	}
	if s.conn == nil {
		return nil, nil, errClosed
	}
	t := &http.Transport{
		Proxy:              nil,
		DialContext:        s.take,
		DialTLSContext:     s.take,
		DisableKeepAlives:  true,
		DisableCompression: true,
		Protocols:          new(http.Protocols),
	}
	t.Protocols.SetHTTP1(true)
	return t, func() { t.CloseIdleConnections(); _ = s.Close() }, nil
}

// take hands the connection out, the first time only.
func (s *Sender) take(context.Context, string, string) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil {
		return nil, errUsed
	}
	conn := s.conn
	s.conn = nil
	return conn, nil
}
