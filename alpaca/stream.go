package alpaca

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// Topic is one of the broker's event streams.
type Topic string

// The topics that say something about an account that is being closed.
const (
	TradeEvents   Topic = "trades"
	FundingEvents Topic = "funding"
	AccountEvents Topic = "accounts"
)

// Topics lists them all.
var Topics = []Topic{TradeEvents, FundingEvents, AccountEvents}

// where is a topic's path and the parameter that carries its cursor.
var where = map[Topic]struct{ path, cursor string }{
	TradeEvents:   {"/v2/events/trades", "since_id"},
	FundingEvents: {"/v2/events/funding/status", "since_id"},
	AccountEvents: {"/v1/events/accounts/status", "since_ulid"},
}

// Event is one thing that the broker says has happened. It is a hint and never a fact: whoever acts on it reads first.
type Event struct {
	ID      string // the cursor after it; "" where it has none that can be used
	Account string // a UUID in small letters; "" where the event is of no account
	Station bool   // a station on the way, such as an accepted order or a pending transfer: there is nothing to be done yet
}

// ErrDropped says that the broker has left out events on this connection. They come again from the cursor.
var ErrDropped = errors.New("the broker has dropped events, since they were read too slowly")

const (
	lineLimit  = 256 << 10        // a longer line is skipped
	streamIdle = 90 * time.Second // without so much as a heartbeat; then the connection counts as broken
)

// Stream is one open connection to a topic. It is for one goroutine, but for Close.
type Stream struct {
	topic   Topic
	body    io.ReadCloser
	lines   *bufio.Reader
	caller  context.Context
	own     context.Context // ends with the caller's, with Close and when nothing is heard
	cancel  context.CancelCauseFunc
	idle    *time.Timer
	skipped atomic.Int64
}

var errSilent = fmt.Errorf("nothing was heard for %s", streamIdle)

// Stream opens a connection to a topic. With a cursor it begins with all that came after that event; without one, with
// what happens from now on.
func (c *Client) Stream(ctx context.Context, topic Topic, cursor string) (*Stream, error) {
	at, ok := where[topic]
	if !ok {
		return nil, fmt.Errorf("open a stream: there is no topic %q", topic)
	}
	target := c.base.String() + at.path
	if cursor != "" {
		target += "?" + url.Values{at.cursor: {cursor}}.Encode()
	}
	own, cancel := context.WithCancelCause(ctx)
	req, err := http.NewRequestWithContext(own, http.MethodGet, target, nil)
	if err != nil {
		cancel(nil)
		return nil, fmt.Errorf("GET %s: the path is not usable", at.path)
	}
	c.authorize(req)
	req.Header.Set("Accept", "text/event-stream")
	started := time.Now()
	answered := time.AfterFunc(c.timeout, func() { cancel(context.DeadlineExceeded) })
	resp, err := c.reads.Do(req)
	answered.Stop()
	c.asked(ctx, req, shortPath(at.path), resp, started)
	if err != nil {
		err = newConnError(ctx, req.Method, at.path, because(own, err))
		cancel(nil)
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, lineLimit))
		resp.Body.Close()
		cancel(nil)
		return nil, decodeError(resp, req.Method, at.path, c.hide(body))
	}
	return &Stream{
		topic: topic, body: resp.Body, lines: bufio.NewReaderSize(resp.Body, 16<<10), caller: ctx, own: own, cancel: cancel,
		idle: time.AfterFunc(streamIdle, func() { cancel(errSilent) }),
	}, nil
}

// because prefers the reason why we gave up to what the network made of it.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// Close gives up the connection. It may be called at any time and more than once.
func (s *Stream) Close() error {
	s.idle.Stop()
	s.cancel(nil)
	return s.body.Close()
}

// Skipped counts what could not be read: a line too long, no JSON, an event that names neither itself nor an account.
func (s *Stream) Skipped() int64 { return s.skipped.Load() }

// Next waits for the next sign of life. ok is false for one that is no event: a heartbeat, or something that could not be
// read. ErrDropped ends the stream, and so does every other error: the connection broke, or was silent for too long.
func (s *Stream) Next() (e Event, ok bool, err error) {
	var data []byte
	var id string
	for {
		line, long, err := s.line()
		if err != nil {
			return e, false, s.broken(because(s.own, err))
		}
		s.idle.Reset(streamIdle)
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch {
		case long, len(data)+len(value) > lineLimit:
			s.skipped.Add(1)
			data, id = nil, ""
		case len(line) == 0 && len(data) > 0:
			e, ok = parseEvent(data, id)
			if !ok {
				s.skipped.Add(1)
			}
			return e, ok, nil
		case len(line) == 0:
			id = ""
		case len(name) == 0: // a comment; both kinds of trouble are told in one
			said := strings.ToLower(string(value))
			switch {
			case strings.Contains(said, "dropped"):
				return e, false, ErrDropped
			case strings.Contains(said, "error"):
				return e, false, s.broken(errors.New("the broker says: " + cut(Redact(string(value)), 100)))
			case len(data) == 0:
				return e, false, nil
			}
		case string(name) == "data":
			if data != nil {
				data = append(data, '\n')
			}
			data = append(data, value...)
		case string(name) == "id":
			id = string(value)
		}
	}
}

func (s *Stream) broken(err error) error {
	return newConnError(s.caller, http.MethodGet, where[s.topic].path, err)
}

// line reads up to the next line end, or skips a line that is too long.
func (s *Stream) line() (line []byte, long bool, err error) {
	for {
		part, err := s.lines.ReadSlice('\n')
		if !long {
			line = append(line, part...)
		}
		if len(line) > lineLimit {
			line, long = nil, true
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err == nil {
			return bytes.TrimRight(line, "\r\n"), long, nil
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF // no stream is meant to end
		}
		return nil, false, err
	}
}

var (
	aUUID   = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	aCursor = regexp.MustCompile(`^[0-9A-Za-z_-]{1,64}$`)
)

// parseEvent reads the little that a wake needs. ok is false for what names neither itself nor an account.
func parseEvent(data []byte, id string) (e Event, ok bool) {
	var row struct {
		ID       json.RawMessage `json:"event_id"` // a ULID, or the number of an old form
		ULID     string          `json:"event_ulid"`
		Account  string          `json:"account_id"`
		Trade    string          `json:"event"`
		Entity   string          `json:"entity_type"`
		StatusTo string          `json:"status_to"`
	}
	if json.Unmarshal(data, &row) != nil {
		return e, false
	}
	var text string
	_ = json.Unmarshal(row.ID, &text) // a number is no cursor: the parameter for those ends in 2027
	for _, c := range []string{row.ULID, text, id} {
		if aCursor.MatchString(c) {
			e.ID = c
			break
		}
	}
	if a := strings.ToLower(row.Account); aUUID.MatchString(a) {
		e.Account = a
	}
	switch {
	case row.Trade != "":
		e.Station = slices.Contains(tradeStations, strings.ToLower(row.Trade))
	case strings.EqualFold(row.Entity, "Transfer"):
		t := Transfer{Status: row.StatusTo}
		fate, known := t.Fate()
		e.Station = known && fate == InFlight
	}
	return e, e.ID != "" || e.Account != ""
}

// tradeStations are the events after which an order is at the market as before.
var tradeStations = []string{
	"accepted", "pending_new", "new", "partial_fill", "pending_cancel", "pending_replace", "held", "stopped", "calculated", "suspended",
}
