package sim_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"closeout/alpaca"
	"closeout/alpaca/sim"
)

// told is what a stream has said: "at kind", the kind being what happened, or the status that something has come to.
type told struct {
	mu     sync.Mutex
	lines  []string
	cursor string
}

// hear follows a path until ctx ends.
func hear(ctx context.Context, tb testing.TB, by http.RoundTripper, url string, heard *told) {
	tb.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		tb.Fatal(err)
	}
	resp, err := by.RoundTrip(req) //nolint:bodyclose // the goroutine below does
	if err != nil || resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" {
		tb.Fatalf("%s: %v %v", url, resp, err)
	}
	go func() {
		defer resp.Body.Close()
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			data, ok := strings.CutPrefix(lines.Text(), "data: ")
			var e struct {
				At                    time.Time
				Event, StatusTo, ULID string
				ID                    json.RawMessage `json:"event_id"`
			}
			if !ok || json.Unmarshal([]byte(strings.NewReplacer("status_to", "StatusTo", "event_ulid", "ULID").Replace(data)), &e) != nil {
				continue
			}
			heard.mu.Lock()
			heard.lines = append(heard.lines, e.At.In(sim.NewYork).Format("Mon 15:04:05 ")+e.Event+e.StatusTo)
			heard.cursor = strings.Trim(string(e.ID), `"`)
			if e.ULID != "" {
				heard.cursor = e.ULID
			}
			heard.mu.Unlock()
		}
	}()
}

func (h *told) all() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.lines)
}

// A stream tells what happens when it happens, although nobody looks at the account.
func TestStreamsTellALifeAsItHappens(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(newYork(t, "2026-11-18 10:00")))
		s, err := sim.Open(sim.Options{})
		if err != nil {
			t.Fatal(err)
		}
		b := &box{TB: t, now: time.Now()}
		b.use(s)
		id := b.add(sim.Spec{
			Cash: dec("100"), Positions: []sim.PositionSpec{{Symbol: "AAPL", Qty: dec("2"), Price: dec("5")}},
			Events: []sim.Event{{Type: "block", What: "account", After: sim.Duration(time.Hour)}},
		})
		ctx, cancel := context.WithCancel(t.Context())
		heard := map[string]*told{"/v2/events/trades": {}, "/v2/events/funding/status": {}, "/v1/events/accounts/status": {}}
		for path, h := range heard {
			hear(ctx, t, s.Transport(), "http://sim"+path, h)
		}
		b.must(alpaca.CloseOrder(id, alpaca.Position{Symbol: "AAPL"}, dec("2"), "c1"))
		b.must(alpaca.PayOut(id, b.bank(id), dec("100")))
		for range 30 {
			time.Sleep(time.Hour)
			synctest.Wait()
		}
		for path, want := range map[string][]string{
			"/v2/events/trades":          {"Wed 10:00:00 new", "Wed 10:00:03 fill"},
			"/v2/events/funding/status":  {"Wed 10:00:00 QUEUED", "Wed 10:05:00 PENDING", "Wed 14:05:00 SENT_TO_CLEARING", "Thu 08:30:00 COMPLETE"},
			"/v1/events/accounts/status": {"Wed 11:00:00 "},
		} {
			if diff := cmp.Diff(want, heard[path].all()); diff != "" {
				t.Errorf("%s (-want +got)\n%s", path, diff)
			}
		}
		cancel()
		synctest.Wait()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// Over a socket a stream outlives a server's patience, ends when the server stops, and goes on from its cursor in another
// process's simulator on the same file.
func TestStreamsOverASocketGoOnFromTheirCursor(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "sim.db")
	b := newBox(t, "2026-11-18 10:00", sim.Options{Path: path})
	id := b.add(sim.Spec{Cash: dec("100")})
	serve := func() *httptest.Server {
		srv := httptest.NewUnstartedServer(b.sim)
		srv.Config.ReadTimeout, srv.Config.WriteTimeout = 100*time.Millisecond, 100*time.Millisecond
		srv.Start()
		return srv
	}
	event := func() {
		t.Helper()
		if err := b.sim.Event(id, sim.Event{Type: "block", What: "trading"}); err != nil {
			t.Fatal(err)
		}
	}
	open := func(srv *httptest.Server, cursor string) *alpaca.Stream {
		t.Helper()
		c, err := alpaca.New(alpaca.Options{BaseURL: srv.URL, Key: "k", Secret: "s"})
		if err != nil {
			t.Fatal(err)
		}
		s, err := c.Stream(t.Context(), alpaca.AccountEvents, cursor)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	next := func(s *alpaca.Stream) alpaca.Event {
		t.Helper()
		for {
			e, ok, err := s.Next()
			if err != nil {
				t.Fatal(err)
			}
			if ok {
				return e
			}
		}
	}
	srv := serve()
	s := open(srv, "")
	event()
	first := next(s)
	patience := time.NewTimer(250 * time.Millisecond) // longer than the server's
	<-patience.C
	event()
	if second := next(s); second.ID <= first.ID || second.Account != id {
		t.Errorf("%+v after %+v", second, first)
	}
	b.sim.Hangup()
	if _, _, err := s.Next(); !alpaca.Unavailable(err) {
		t.Errorf("after the end: %v", err)
	}
	srv.Close()
	if err := errors.Join(s.Close(), b.sim.Close()); err != nil {
		t.Fatal(err)
	}

	again, err := sim.Open(sim.Options{Path: path, Now: func() time.Time { return b.now }})
	if err != nil {
		t.Fatal(err)
	}
	b.use(again)
	srv = serve()
	defer srv.Close()
	event()
	s = open(srv, first.ID)
	one, two := next(s), next(s)
	if one.ID <= first.ID || two.ID <= one.ID {
		t.Errorf("%s, %s after %s", one.ID, two.ID, first.ID)
	}
	_ = s.Close()
	b.sim.Hangup()
}

func TestStreamsAreBounded(t *testing.T) {
	t.Parallel()
	b := newBox(t, "2026-11-18 10:00", sim.Options{})
	var open []*alpaca.Stream
	for range 25 {
		s, err := b.client.Stream(t.Context(), alpaca.TradeEvents, "")
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.Next(); err != nil {
			t.Fatal(err)
		}
		open = append(open, s)
	}
	if _, err := b.client.Stream(t.Context(), alpaca.TradeEvents, ""); !alpaca.Unavailable(err) {
		t.Errorf("the 26th: %v", err)
	}
	for _, s := range open {
		_ = s.Close()
	}
	for _, cursor := range []string{"x", "01G112NTT0XAXKDZK3AABK68T!", strings.Repeat("U", 26)} {
		var e *alpaca.Error
		if _, err := b.client.Stream(t.Context(), alpaca.TradeEvents, cursor); !errors.As(err, &e) || e.Status != http.StatusBadRequest {
			t.Errorf("cursor %q: %v", cursor, err)
		}
	}
}
