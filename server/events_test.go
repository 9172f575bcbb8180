package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"closeout/alpaca/sim"
	"closeout/closure"
	"closeout/ledger"
	"closeout/live"
	"closeout/server"
)

// pipes is a network of one process: connections are pipes, so that a server and its clients live in virtual time.
type pipes struct {
	conns chan net.Conn
	over  chan struct{}
}

func (p pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.over:
		return nil, net.ErrClosed
	}
}

func (p pipes) Close() error   { close(p.over); return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// serving is a server as the command runs it, with the same timeouts, and a client of it.
type serving struct {
	*http.Server
	client *http.Client
}

func serve(t *testing.T, h http.Handler) serving {
	t.Helper()
	p := pipes{make(chan net.Conn), make(chan struct{})}
	s := serving{Server: &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, WriteTimeout: time.Minute}}
	s.RegisterOnShutdown(h.(interface{ Hangup() }).Hangup)
	go func() { _ = s.Serve(p) }()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		select {
		case p.conns <- theirs:
			return ours, nil
		case <-p.over:
			return nil, errors.New("connection refused")
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}}
	s.client = &http.Client{Transport: transport}
	t.Cleanup(func() {
		_ = s.Close()
		transport.CloseIdleConnections()
	})
	return s
}

// told is one server-sent event.
type told struct {
	id, event string
	data      server.ClosureEvent
}

func (e told) place() string { return fmt.Sprintf("%s/%d", e.data.ClosureID, e.data.Seq) }

// reader is a client of a stream that keeps the last id for when it comes back, by the standard's words: at the end of each
// block the id is the last one of this stream, even if that is none.
type reader struct {
	tb       testing.TB
	body     io.ReadCloser
	lines    *bufio.Reader
	header   http.Header
	id, seen string
	retry    string
	comments []string
}

// listen opens a stream. The answer must be one.
func (s serving) listen(t *testing.T, path, lastID string) *reader {
	t.Helper()
	return s.listenWith(t, secret, path, lastID)
}

func (s serving) listenWith(t *testing.T, key, path, lastID string) *reader {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://closeout.test"+path, nil)
	must(t, err)
	req.Header.Set("X-API-Key", key)
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	resp, err := s.client.Do(req) //nolint:bodyclose // the reader's, until the server ends
	must(t, err)
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("answered %d %s", resp.StatusCode, resp.Header)
	}
	return &reader{tb: t, body: resp.Body, lines: bufio.NewReader(resp.Body), header: resp.Header, id: lastID}
}

// next reads until an event is whole.
func (r *reader) next() (e told, err error) {
	for {
		line, err := r.lines.ReadString('\n')
		if err != nil {
			return e, err
		}
		field, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch field {
		case "":
			switch {
			case value != "":
				r.comments = append(r.comments, value)
			case line == "\n":
				if r.id = r.seen; e.event != "" {
					return e, nil
				}
			}
		case "id":
			r.seen, e.id = value, value
		case "event":
			e.event = value
		case "retry":
			r.retry = value
		case "data":
			if err := json.Unmarshal([]byte(value), &e.data); err != nil {
				return e, err
			}
		default:
			return e, fmt.Errorf("not a line of a stream: %q", line)
		}
	}
}

func (r *reader) must() told {
	r.tb.Helper()
	e, err := r.next()
	if err != nil {
		r.tb.Fatalf("%v; comments %q", err, r.comments)
	}
	return e
}

// life is a bench in virtual time with as many servers as one likes, each on a ledger of its own over the one file.
type life struct {
	*bench
	t *testing.T
}

func newLife(t *testing.T) life {
	t.Helper()
	return life{newBench(t), t}
}

func (l life) server(change ...func(*server.Options)) serving {
	l.t.Helper()
	policy := closure.DefaultPolicy(closure.Sandbox)
	other, err := ledger.Open(l.t.Context(), ledger.Options{URL: "sqlite:" + l.path, Environment: closure.Sandbox, Policy: policy})
	must(l.t, err)
	l.t.Cleanup(func() { _ = other.Close() })
	return serve(l.t, newBench(l.t, append([]func(*server.Options){func(o *server.Options) { o.Ledger = other }}, change...)...).handler)
}

// begin makes a closure of a new account.
func (l life) begin(n int) closure.Closure {
	l.t.Helper()
	c, created, err := l.ledger.Create(l.t.Context(), ledger.Wish{AccountID: fmt.Sprintf("00000000-0000-4000-8000-%012d", n), RelationshipID: "bank", Actor: "api:test"})
	if err != nil || !created {
		l.t.Fatalf("%v, created %t", err, created)
	}
	return c
}

// look adds an event.
func (l life) more(c closure.Closure, what string) closure.Closure {
	l.t.Helper()
	return l.look(c, closure.Wait(0, closure.Selling, what))
}

func (l life) history(closures ...closure.Closure) (out []string) {
	l.t.Helper()
	for _, c := range closures {
		all, err := l.ledger.Events(l.t.Context(), c.ID)
		must(l.t, err)
		for _, e := range all {
			out = append(out, fmt.Sprintf("%s/%d", c.ID, e.Seq))
		}
	}
	slices.Sort(out)
	return out
}

const allEvents = "/api/account-closure/events"

// Two servers on one ledger, and clients that go to the other one when theirs is killed, is told to stop, or closes the
// stream: what they have heard in the end is each closure's history, each event once and in its order.
func TestNothingIsMissedOrRepeatedOverServers(t *testing.T) {
	for name, end := range map[string]func(serving){
		"Killed": func(s serving) { _ = s.Close() },
		"Told":   func(s serving) { _ = s.Shutdown(context.Background()) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLife(t)
				closures := []closure.Closure{l.begin(0), l.begin(1), l.begin(2)}
				done := make(chan struct{})
				heard := map[string]chan []string{}
				a, b := l.server(), l.server()
				const per = 60
				for path, want := range map[string]int{allEvents + "?after=0": len(closures) * (per + 1), allEvents + "/" + closures[1].AccountID: per + 1} {
					got := make(chan []string, 1)
					heard[path] = got
					go func() {
						var all []string
						r := a.listen(t, path, "")
						for servers := 1; len(all) < want; {
							e, err := r.next()
							if err == nil {
								all = append(all, e.place())
								continue
							}
							if servers++; servers > 2 {
								t.Errorf("%s: cut off from the second server: %v", path, err)
								break
							}
							r = b.listen(t, path, r.id)
						}
						got <- all
						<-done // what came too much would be heard now
						if e, err := r.next(); err == nil {
							t.Errorf("%s: too much: %s", path, e.place())
						}
					}()
				}
				for n := range per {
					for i := range closures {
						closures[i] = l.more(closures[i], fmt.Sprintf("%d are left", n))
					}
					if n == per/2 {
						go end(a)
					}
					time.Sleep(170 * time.Millisecond) // virtual: some while they are cut off
				}
				if diff := cmp.Diff(l.history(closures...), slices.Sorted(slices.Values(<-heard[allEvents+"?after=0"]))); diff != "" {
					t.Errorf("of all (-histories +heard)\n%s", diff)
				}
				if diff := cmp.Diff(l.history(closures[1]), slices.Sorted(slices.Values(<-heard[allEvents+"/"+closures[1].AccountID]))); diff != "" {
					t.Errorf("of one (-history +heard)\n%s", diff)
				}
				time.Sleep(time.Minute) // virtual
				close(done)
				_ = b.Close()
				synctest.Wait()
			})
		})
	}
}

func TestAnAccountsStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLife(t)
		s := l.server()
		c := l.begin(1)
		older := c
		c = l.look(c, closure.Wait(0, closure.TransferPending, "transfer 0d18ae51-3c94-4511-b209-101e16664161 is on its way"))
		path := allEvents + "/" + strings.ToUpper(c.AccountID)
		r := s.listen(t, path, "")
		for name, want := range map[string]string{"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff"} {
			if got := r.header.Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		first, second := r.must(), r.must()
		if r.retry != "2000" || first.event != "accepted" || first.data.Seq != 1 || first.data.Waiting != nil || first.data.Confirmation != c.Confirmation {
			t.Errorf("first: %+v, retry %s", first, r.retry)
		}
		if second.event != "wait" || second.data.Waiting == nil || second.data.Waiting.Until == nil || second.data.Waiting.Reason != closure.TransferPending ||
			second.data.Actor != "worker" || !strings.Contains(second.data.Text, "0d18ae51-3c94-4511") { // this key may operate
			t.Errorf("second: %+v", second.data)
		}
		// Nothing happens for a while: signs of life, beyond every timeout of the server's.
		go func() {
			time.Sleep(10 * time.Minute) // virtual
			l.look(c, closure.Done("closed"))
		}()
		third := r.must()
		if n := len(r.comments); n < 39 || n > 41 || third.event != "closed" || third.data.State != closure.Closed || third.data.Waiting != nil {
			t.Errorf("third: %+v after %d signs of life", third, n)
		}
		// The stream goes on to a newer closure of the account, and keeps out what others do.
		l.begin(2)
		c = l.begin(1)
		if e := r.must(); e.data.ClosureID != c.ID || e.data.Seq != 1 {
			t.Errorf("the newer closure: %+v", e)
		}
		// From the beginning: the older one too. Without a place: the newer one alone.
		if e := s.listen(t, path+"?after=0", "").must(); e.data.ClosureID != older.ID {
			t.Errorf("from the beginning: %+v", e)
		}
		if e := s.listen(t, path, "").must(); e.data.ClosureID != c.ID {
			t.Errorf("the latest: %+v", e)
		}
		if e := s.listen(t, path+"?after="+second.id, "").must(); e.id != third.id {
			t.Errorf("after the second: %+v", e)
		}
		if e := s.listen(t, path+"?after=0", second.id).must(); e.id != third.id {
			t.Errorf("the header wins: %+v", e)
		}
		_ = s.Close()
		synctest.Wait()
	})
}

// A stream of all begins with the present, and whoever is cut off before the first event has its place all the same.
func TestTheStreamOfAllBeginsNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLife(t)
		s := l.server()
		empty := s.listen(t, allEvents, "")
		c := l.begin(1)
		if e := empty.must(); e.data.Seq != 1 {
			t.Errorf("on an empty ledger: %+v", e)
		}
		r := s.listen(t, allEvents, "")
		for range 2 { // the first block has no event, and yet an id
			line, err := r.lines.ReadString('\n')
			must(t, err)
			if id, ok := strings.CutPrefix(line, "id: "); ok {
				r.id = strings.TrimSpace(id)
			}
		}
		_ = r.body.Close()
		c = l.more(c, "7 are left")
		if e := s.listen(t, allEvents, r.id).must(); e.data.Seq != 2 || e.data.ClosureID != c.ID {
			t.Errorf("after the id at the beginning, %q: %+v", r.id, e)
		}
		_ = s.Close()
		synctest.Wait()
	})
}

func TestBadEvents(t *testing.T) {
	b := newBench(t)
	id, bank := b.account(sim.Spec{})
	c := b.accepted(id, bank)
	other, otherBank := b.account(sim.Spec{})
	b.accepted(other, otherBank)
	path := allEvents + "/" + id
	page, _, err := b.ledger.Feed(t.Context(), 0, 10)
	must(t, err)
	for name, tt := range map[string]struct {
		path, header string
		status       int
		code         string
	}{
		"no closure":           {path: allEvents + "/99999999-2222-4333-8444-555555555555", status: 404, code: "closure_not_found"},
		"no account":           {path: allEvents + "/x", status: 422, code: "invalid_request"},
		"garbage":              {path: path, header: "garbage", status: 422, code: "unknown_event"},
		"garbage in the query": {path: path + "?after=%27%20OR%201=1", status: 422, code: "unknown_event"},
		"garbage of all":       {path: allEvents, header: "\xff", status: 422, code: "unknown_event"},
		"a future":             {path: path, header: c.ID + ".99." + page[0].ID()[len(page[0].ID())-8:], status: 422, code: "unknown_event"},
		"another ledger's":     {path: path, header: c.ID + ".1.00000000", status: 422, code: "unknown_event"},
		"another account's":    {path: path, header: page[1].ID(), status: 422, code: "unknown_event"},
		"long":                 {path: path, header: strings.Repeat("x", 201), status: 422, code: "invalid_request"},
		"a negative place":     {path: allEvents + "?after=-1", status: 422, code: "unknown_event"},
	} {
		p := b.do("GET", tt.path, "", "Last-Event-ID", tt.header).problem(tt.status, tt.code)
		if tt.code == "unknown_event" && (p.Hint == "" || len(p.Errors) != 1) {
			t.Errorf("%s: %+v", name, p)
		}
	}
	b.do("GET", path, "", "X-API-Key", "").problem(401, "no_key")
	b.do("POST", path, "{}").problem(405, "method_not_allowed")
}

func TestStreamsAreCountedAndEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLife(t)
		hub := live.NewHub(live.Options{Feed: l.ledger, Most: 2})
		s := l.server(func(o *server.Options) { o.Live = hub })
		l.begin(1)
		first, second := s.listen(t, allEvents, ""), s.listen(t, allEvents, "")
		ask := func() (*http.Response, string) {
			req, err := http.NewRequestWithContext(t.Context(), "GET", "http://closeout.test"+allEvents, nil)
			must(t, err)
			req.Header.Set("X-API-Key", secret)
			resp, err := s.client.Do(req)
			must(t, err)
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			must(t, err)
			return resp, string(text)
		}
		if resp, text := ask(); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || !strings.Contains(text, "too_many_streams") { //nolint:bodyclose // ask has closed it
			t.Errorf("a third: %d %s", resp.StatusCode, text)
		}
		_ = first.body.Close()
		synctest.Wait()
		if n := hub.Streams(); n != 1 {
			t.Errorf("after one has gone: %d", n)
		}
		first = s.listen(t, allEvents, "")
		// One that does not read is let go, and holds nobody up.
		began := time.Now()
		c := l.begin(2)
		for n := range 40 {
			c = l.more(c, strings.Repeat("x", 1000)+fmt.Sprint(n))
		}
		for range 41 {
			second.must()
		}
		time.Sleep(20 * time.Second) // virtual
		synctest.Wait()
		if n := hub.Streams(); n != 1 {
			t.Errorf("one that does not read: %d streams after %s", n, time.Since(began))
		}
		// At the end of the server each stream ends by itself, whole, and holds nothing up.
		ended := make(chan error, 1)
		go func() {
			_, err := second.next()
			ended <- err
		}()
		began = time.Now()
		must(t, s.Shutdown(t.Context()))
		if err := <-ended; !errors.Is(err, io.EOF) || time.Since(began) > 2*time.Second || !strings.Contains(strings.Join(second.comments, "\n"), "stopping") {
			t.Errorf("the stream ended after %s with %v, comments %q", time.Since(began), err, second.comments)
		}
		_ = first.body.Close()
		synctest.Wait()
	})
}

func TestAStreamEndsWithItsKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLife(t)
		s := l.server()
		c := l.begin(1)
		l.more(c, "order 0d18ae51-3c94-4511-b209-101e16664161 of "+c.AccountID)
		key := l.key("reader", server.ScopeRead)
		quiet := s.listenWith(t, key, allEvents+"/"+c.AccountID, "")
		quiet.must()
		if e := quiet.must(); e.data.Actor != "" || e.data.Text != "order …664161 of "+c.AccountID || e.data.Waiting.Why != e.data.Text {
			t.Errorf("to a reader: %+v", e.data)
		}
		began := time.Now()
		must(t, l.ledger.RevokeKey(t.Context(), "reader"))
		if e, err := quiet.next(); !errors.Is(err, io.EOF) || !strings.Contains(strings.Join(quiet.comments, "\n"), "key") {
			t.Errorf("%+v, %v, comments %q", e, err, quiet.comments)
		}
		if took := time.Since(began); took > time.Minute {
			t.Errorf("it ended %s after the key", took)
		}
		_ = s.Close()
		synctest.Wait()
	})
}
