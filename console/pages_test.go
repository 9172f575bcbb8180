package console

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"closeout/signin"

	"closeout/closure"
	"closeout/internal/servers"
	"closeout/ledger"
	"closeout/live"
)

// TestRealOpenPagesCostLittle has 200 people with a page open each and counts what of the ledger's transactions is theirs, by
// Postgres's own account: while nothing happens, while something happens all the time and all look at the board, and while
// they look at many pages; and what time alone costs. What is counted is reported; that many eyes on the board cost as little as
// one is the test.
func TestRealOpenPagesCostLittle(t *testing.T) {
	const people, watched = 200, 10 * time.Second
	closuresAndLists := func(closures []string) func(n int) string {
		return func(n int) string {
			if n%4 == 0 {
				return fmt.Sprintf("/closures?order=oldest&q=%06d", n)
			}
			return "/closures/" + closures[n]
		}
	}
	pg := servers.StartPostgres(t)
	address := pg.Database(t)
	policy := closure.DefaultPolicy(closure.Sandbox)
	l, err := ledger.Open(t.Context(), ledger.Options{URL: address, Environment: closure.Sandbox, Policy: policy})
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	eyes := pg.Open(t, address)
	eyes.SetMaxOpenConns(1)
	b := newBench(t, func(o *Options) {
		o.Ledger, o.Who, o.SignIn = l, nil, signin.Settings{OneClick: true}
		o.Desk.Ledger = l
		o.Live = live.NewHub(live.Options{Feed: l})
		t.Cleanup(o.Live.Close)
	})
	srv := httptest.NewServer(b)
	t.Cleanup(srv.Close)

	var closures []string
	for n := range people {
		c, _, err := l.Create(t.Context(), ledger.Wish{AccountID: uuidOf("account", n), RelationshipID: uuidOf("bank", n), Actor: "api:test"})
		must(t, err)
		closures = append(closures, c.ID)
	}
	var all []*http.Client
	for range people {
		jar, err := cookiejar.New(nil)
		must(t, err)
		one := &http.Client{Jar: jar, Transport: &http.Transport{}}
		t.Cleanup(one.CloseIdleConnections)
		res, err := one.PostForm(srv.URL+"/signin/demo", url.Values{"role": {"viewer"}})
		must(t, err)
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Fatalf("sign-in: %d", res.StatusCode)
		}
		all = append(all, one)
	}

	perSecond := map[string]float64{}
	for _, tt := range []struct {
		what  string
		eyes  int
		event bool
		page  func(n int) string
		long  time.Duration
	}{
		{"one on the board, nothing happens", 1, false, func(int) string { return "/" }, watched},
		{"200 on the board, nothing happens", people, false, func(int) string { return "/" }, watched},
		{"200 on the board, a minute in which nothing happens", people, false, func(int) string { return "/" }, time.Minute},
		{"one on the board, events all the time", 1, true, func(int) string { return "/" }, watched},
		{"200 on the board, events all the time", people, true, func(int) string { return "/" }, watched},
		{"200 on as many closures and lists, a minute in which nothing happens", people, false, closuresAndLists(closures), time.Minute},
		{"200 on as many closures and lists, events all the time", people, true, closuresAndLists(closures), watched},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		var wg, ready sync.WaitGroup
		var redrawn atomic.Int64
		for n := range tt.eyes {
			ready.Add(1)
			wg.Go(func() { redrawn.Add(look(ctx, t, all[n], srv.URL, tt.page(n), ready.Done)) })
		}
		ready.Wait()
		settled()
		stop := make(chan struct{})
		var events int64
		if tt.event {
			wg.Go(func() { events = happen(t, l, closures, stop) })
		}
		began, before := time.Now(), transactions(t, eyes)
		timer := time.NewTimer(tt.long)
		<-timer.C
		close(stop)
		cancel()
		wg.Wait()
		took := time.Since(began)
		settled()
		after := transactions(t, eyes)
		theirs := float64(after-before-events) / took.Seconds()
		perSecond[tt.what] = theirs
		t.Logf("%s: %.1f transactions a second of the ledger's, beside %d events; drawn again %d times", tt.what, theirs, events, redrawn.Load())
	}
	if one, many := perSecond["one on the board, events all the time"], perSecond["200 on the board, events all the time"]; many > 3*one+3 {
		t.Errorf("200 on the board cost %.1f transactions a second, and one costs %.1f", many, one)
	}
}

// look keeps a page open as a browser does, until ctx ends: it draws it again whenever its stream says so.
func look(ctx context.Context, t *testing.T, who *http.Client, base, page string, ready func()) (redrawn int64) {
	t.Helper()
	get := func(path string, headers ...string) *http.Response {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, nil)
		if err != nil {
			t.Error(err)
			return nil
		}
		for n := 0; n+1 < len(headers); n += 2 {
			req.Header.Set(headers[n], headers[n+1])
		}
		res, err := who.Do(req)
		if err != nil {
			return nil // the watch is over
		}
		return res
	}
	stream := get(livePath("all", page, "0"), "Sec-Fetch-Dest", "empty")
	if stream == nil || stream.StatusCode != http.StatusOK {
		t.Errorf("no stream for %s", page)
		ready()
		return 0
	}
	defer func() { _ = stream.Body.Close() }()
	s := bufio.NewScanner(stream.Body)
	s.Scan()
	ready()
	for s.Scan() {
		if s.Text() != "event: changed" {
			continue
		}
		res := get(page, "HX-Request", "true", "Sec-Fetch-Dest", "empty")
		if res == nil {
			return redrawn
		}
		line, _ := bufio.NewReader(res.Body).ReadString('\n')
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK || !strings.HasPrefix(line, "<main") {
			t.Errorf("%s drawn again: %d %s", page, res.StatusCode, line)
		}
		redrawn++
	}
	return redrawn
}

// happen lets something happen, ten times a second, and counts it.
func happen(t *testing.T, l *ledger.Ledger, closures []string, stop <-chan struct{}) (n int64) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return n
		case <-tick.C:
		}
		err := l.Note(t.Context(), closures[int(n)%len(closures)], closure.Event{Kind: "look", At: time.Now(), Actor: "operator:test", Text: "a test looks"})
		if err != nil {
			t.Error(err)
			return n
		}
		n++
	}
}

// settled waits until Postgres has been told of what happened before: an idle connection tells after ten seconds.
func settled() {
	timer := time.NewTimer(12 * time.Second)
	<-timer.C
}

// transactions is how many there have been in this database, once Postgres has been told of all.
func transactions(t *testing.T, db *sql.DB) (n int64) {
	t.Helper()
	must(t, db.QueryRowContext(t.Context(), "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()").Scan(&n))
	return n
}
