package console

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"closeout/signin"

	"closeout/closure"
	"closeout/ledger"
)

// probe adds a page that counts how often it is drawn.
func (b *bench) probe() *atomic.Int64 {
	var drawn atomic.Int64
	b.get("/probe", signin.Viewer, func(*ask) (page, error) {
		n := drawn.Add(1)
		return page{Template: "trouble", Title: "Probe", Data: trouble{Title: fmt.Sprint("drawn ", n)}, Watch: "all"}, nil
	})
	return &drawn
}

// TestLiveAPageIsToldOfAChange: over HTTP, and again where a stream was cut off; and one who has signed out hears no more.
func TestLiveAPageIsToldOfAChange(t *testing.T) {
	var out atomic.Bool
	b := newBench(t, func(o *Options) {
		was := o.Who
		o.Who = func(r *http.Request) signin.Person {
			if out.Load() {
				return signin.Person{}
			}
			return was(r)
		}
	})
	srv := httptest.NewServer(b)
	t.Cleanup(srv.Close)
	stream := func(lastID string) *bufio.Scanner {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+livePath("all", "/", "0"), nil)
		must(t, err)
		req.Header.Set("Last-Event-ID", lastID)
		res, err := http.DefaultClient.Do(req)
		must(t, err)
		t.Cleanup(func() { _ = res.Body.Close() })
		if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "text/event-stream" {
			t.Fatalf("%d %v", res.StatusCode, res.Header)
		}
		return bufio.NewScanner(res.Body)
	}
	until := func(s *bufio.Scanner, want string) {
		t.Helper()
		for s.Scan() {
			if s.Text() == want {
				return
			}
		}
		t.Fatalf("the stream ended without %q: %v", want, s.Err())
	}
	s := stream("")
	until(s, ": hello")
	_, _, err := b.ledger.Create(t.Context(), ledger.Wish{AccountID: "6f0d1f0a-1111-4222-8333-444455556666", RelationshipID: "b", Actor: "api:test"})
	must(t, err)
	until(s, "event: changed")
	until(stream("some"), "event: changed") // it may have missed something

	out.Store(true)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+livePath("all", "/", "0"), nil)
	must(t, err)
	req.Header.Set("Sec-Fetch-Dest", "empty") // as a browser says of a script's request
	res, err := http.DefaultClient.Do(req)
	must(t, err)
	_ = res.Body.Close()
	if res.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a session: %d", res.StatusCode)
	}
}

// TestLiveAPageIsLoadedAnewForAHold, and for its end: the banner stands above what is drawn again.
func TestLiveAPageIsLoadedAnewForAHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		hold, err := b.ledger.Hold(ctx)
		must(t, err)
		watch := func(version int64) <-chan string {
			said := make(chan string, 1)
			go func() {
				w := httptest.NewRecorder()
				b.ServeHTTP(w, httptest.NewRequest(http.MethodGet, livePath("all", "/", fmt.Sprint(version)), nil).WithContext(ctx))
				said <- w.Body.String()
			}()
			return said
		}
		before := watch(hold.Version)
		time.Sleep(time.Second)
		synctest.Wait()
		hold, err = b.ledger.HoldAll(ctx, hold.Version, "operator:ann", "now")
		must(t, err)
		began := time.Now()
		if said := <-before; !strings.Contains(said, "event: anew") || time.Since(began) > heartbeat+time.Minute {
			t.Errorf("after %s: %q", time.Since(began), said)
		}
		after := watch(hold.Version)
		time.Sleep(2 * heartbeat)
		cancel()
		if said := <-after; strings.Contains(said, "anew") {
			t.Errorf("a page that has the banner is loaded again: %q", said)
		}
	})
}

// TestLiveASessionHasItsShareOfStreams: those of a process are for others too, and for the API's clients.
func TestLiveASessionHasItsShareOfStreams(t *testing.T) {
	b := newBench(t)
	srv := httptest.NewServer(b)
	t.Cleanup(srv.Close)
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	open := func(session string) int {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+livePath("all", "/", "0"), nil)
		must(t, err)
		req.AddCookie(&http.Cookie{Name: "closeout", Value: session}) //nolint:gosec // a request's
		res, err := http.DefaultClient.Do(req)
		must(t, err)
		t.Cleanup(func() { _ = res.Body.Close() })
		return res.StatusCode
	}
	for n := range streamsEach {
		if status := open("one"); status != http.StatusOK {
			t.Fatalf("stream %d: %d", n, status)
		}
	}
	if one, other := open("one"), open("other"); one != http.StatusTooManyRequests || other != http.StatusOK {
		t.Errorf("one more of the same session: %d; of another: %d", one, other)
	}
}

// TestLiveManyPagesCostOneDrawing: whoever looks at the same page with the same role is given the same drawing.
func TestLiveManyPagesCostOneDrawing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		drawn := b.probe()
		for second := range 3 {
			var wg sync.WaitGroup
			for range 200 {
				wg.Go(func() {
					if w := b.do("GET", "/probe", "HX-Request", "true", asRole, "viewer"); w.Code != http.StatusOK || !strings.HasPrefix(w.Body.String(), "<main") {
						t.Errorf("%d %s", w.Code, w.Body)
					}
				})
			}
			wg.Wait()
			if got := drawn.Load(); got != int64(second+1) {
				t.Errorf("200 pages were drawn %d times by second %d", got, second)
			}
			time.Sleep(fresh + time.Millisecond)
		}
		operators := b.do("GET", "/probe", "HX-Request", "true")
		if got := drawn.Load(); got != 4 || strings.Contains(operators.Body.String(), "drawn 3") {
			t.Errorf("an operator was given a viewer's drawing: drawn %d times\n%s", got, operators.Body)
		}
	})
}

// TestLiveWhatWasDrawnBeforeAChangeIsOld: neither a drawing that is kept nor one that is under way shows it.
func TestLiveWhatWasDrawnBeforeAChangeIsOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		drawn := b.probe()
		again := func() string { return b.do("GET", "/probe", "HX-Request", "true").Body.String() }
		again()
		time.Sleep(time.Millisecond)
		b.drawn.outdate("/probe")
		if got := again(); !strings.Contains(got, "drawn 2") {
			t.Errorf("a page that was told of a change was given what was drawn before: %s", got)
		}
		var first atomic.Bool
		b.get("/slow", signin.Viewer, func(*ask) (page, error) {
			title := "after"
			if first.CompareAndSwap(false, true) {
				title = "before"
				time.Sleep(200 * time.Millisecond)
			}
			return page{Template: "trouble", Title: title, Data: trouble{Title: title}}, nil
		})
		go b.do("GET", "/slow", "HX-Request", "true")
		time.Sleep(100 * time.Millisecond)
		b.drawn.outdate("/slow")
		if got := b.do("GET", "/slow", "HX-Request", "true").Body.String(); !strings.Contains(got, "after") {
			t.Errorf("a page that was told of a change was given what was begun before: %s", got)
		}
		if drawn.Load() != 2 {
			t.Errorf("drawn %d times", drawn.Load())
		}
	})
}

// TestLivePagesTakeTurns: however much happens, so many pages are told a second, and who looks at the same page shares a turn.
func TestLivePagesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second+time.Millisecond)
		defer cancel()
		var mu sync.Mutex
		turns := map[string]map[time.Time]bool{}
		for n := range 200 {
			page := fmt.Sprintf("/page%d", n%40)
			go func() {
				for b.turn(ctx, page) == nil {
					mu.Lock()
					if turns[page] == nil {
						turns[page] = map[time.Time]bool{}
					}
					turns[page][time.Now()] = true
					mu.Unlock()
				}
			}()
		}
		<-ctx.Done()
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		all := 0
		for _, of := range turns {
			all += len(of)
		}
		if all < 60 || all > (turnsAtOnce+20*turnsASecond)/turnAtLeast {
			t.Errorf("%d turns in 20 s", all)
		}
		for page, of := range turns {
			if len(of) < 2 {
				t.Errorf("%s had %d of %d turns", page, len(of), all)
			}
		}
		time.Sleep(time.Minute) // those who wait for a turn that nobody wants any more
	})
}

// TestLiveADrawingThatTakesLongHasTurnsSeldom, so that pages are drawn for a quarter of the time at the most.
func TestLiveADrawingThatTakesLongHasTurnsSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		var drawn atomic.Int64
		b.get("/slow", signin.Viewer, func(*ask) (page, error) {
			drawn.Add(1)
			time.Sleep(400 * time.Millisecond)
			return page{Template: "trouble", Title: "slow", Data: trouble{Title: "slow"}}, nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
		defer cancel()
		for b.turn(ctx, "/slow") == nil {
			b.do("GET", "/slow", "HX-Request", "true")
		}
		if n := drawn.Load(); n < 20 || n > 27 {
			t.Errorf("a drawing of 0.4 s was made %d times in 40 s", n)
		}
		time.Sleep(time.Minute) // the turn that nobody wants any more
	})
}

// watcher is the browser of one who has a page open: it draws the page again whenever its stream says so.
type watcher struct {
	*httptest.ResponseRecorder
	drawn func()
	times atomic.Int64
}

func (w *watcher) Write(b []byte) (int, error) {
	if strings.Contains(string(b), "event: changed") {
		w.times.Add(1)
		w.drawn()
	}
	return len(b), nil
}

// open opens a page's stream until ctx ends.
func (b *bench) open(ctx context.Context, page string) *watcher {
	w := &watcher{ResponseRecorder: httptest.NewRecorder(), drawn: func() { b.do("GET", page, "HX-Request", "true") }}
	r := httptest.NewRequest(http.MethodGet, livePath("all", page, "0"), nil).WithContext(ctx)
	r.AddCookie(&http.Cookie{Name: "closeout", Value: rand.Text()}) //nolint:gosec // a request's
	go b.ServeHTTP(w, r)
	return w
}

// TestLiveTimeAloneDrawsAPageAgain: every half minute, once for all who look at it, and not soon after an event.
func TestLiveTimeAloneDrawsAPageAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		drawn := b.probe()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var all []*watcher
		for range 200 {
			all = append(all, b.open(ctx, "/probe"))
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(119 * time.Second)
		synctest.Wait()
		for n, w := range all {
			if got := w.times.Load(); got != 4 {
				t.Errorf("eye %d was told %d times in two minutes", n, got)
			}
		}
		if got := drawn.Load(); got != 4 {
			t.Errorf("drawn %d times", got)
		}
		_, _, err := b.ledger.Create(t.Context(), ledger.Wish{AccountID: "6f0d1f0a-1111-4222-8333-444455556666", RelationshipID: "b", Actor: "api:test"})
		must(t, err)
		time.Sleep(28 * time.Second)
		synctest.Wait()
		if got := drawn.Load(); got != 5 {
			t.Errorf("drawn %d times, once after the event", got)
		}
	})
}

// TestLiveBeatsAreShared: time alone has one page a second drawn, however many are open, and the one that has waited the longest.
func TestLiveBeatsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.probe()
		ctx, cancel := context.WithCancel(t.Context())
		var all []*watcher
		for n := range 100 {
			all = append(all, b.open(ctx, fmt.Sprintf("/probe?n=%d", n)))
		}
		time.Sleep(beatAfter + 200*time.Second)
		synctest.Wait()
		sum := int64(0)
		for n, w := range all {
			got := w.times.Load()
			if sum += got; got < 1 || got > 3 {
				t.Errorf("page %d was told %d times", n, got)
			}
		}
		if sum < 199 || sum > 201 {
			t.Errorf("%d drawings in 200 s", sum)
		}
		cancel()
		synctest.Wait()
		b.beats.mu.Lock()
		defer b.beats.mu.Unlock()
		if b.beats.stop != nil || len(b.beats.open) > 0 {
			t.Error("nobody looks, and the beats go on")
		}
	})
}

// TestLiveABulkRetrysAbortIsHeardOf: at once by the pages that show it, at this server, and by time at others.
func TestLiveABulkRetrysAbortIsHeardOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.stop(t, 2, closure.OrderRefused, nil)
		r, err := b.ledger.CreateRedrive(t.Context(), ledger.Redrive{Reason: "x", Actor: "operator:ada", PerMinute: 1})
		must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		told := map[string]*watcher{}
		for _, page := range []string{"/redrives/" + r.ID, "/redrives/" + r.ID + "?show=waiting", "/redrives", "/attention", "/", "/redrivesnot"} {
			told[page] = b.open(ctx, page)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if w := b.send("/redrives/"+r.ID+"/abort", url.Values{}); w.Code != http.StatusSeeOther {
			t.Fatalf("%d %s", w.Code, w.Body)
		}
		synctest.Wait()
		for page, w := range told {
			want := int64(1)
			if page == "/" || page == "/redrivesnot" {
				want = 0
			}
			if got := w.times.Load(); got != want {
				t.Errorf("%s was told %d times", page, got)
			}
		}
		b.sees(t, "/redrives/"+r.ID, "aborted by ada", "!Abort:")
	})
}

// TestLiveAPageThatCannotBeDrawnStaysAsItIs, and one whose reader may not see it any more is loaded anew to say so.
func TestLiveAPageThatCannotBeDrawnStaysAsItIs(t *testing.T) {
	b := newBench(t)
	b.get("/broken", signin.Viewer, func(*ask) (page, error) { return page{}, fmt.Errorf("the ledger is away") })
	if w := b.do("GET", "/broken", "HX-Request", "true"); w.Code != http.StatusNoContent || w.Body.Len() > 0 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := b.do("GET", "/broken"); w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), "ledger") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	b.get("/acts", signin.Operator, func(*ask) (page, error) { return page{}, nil })
	if w := b.do("GET", "/acts", "HX-Request", "true", asRole, "viewer"); w.Header().Get("HX-Refresh") != "true" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	if w := b.do("GET", "/acts", asRole, "viewer"); w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "For operators") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
