package console

import (
	"context"
	"errors"
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
	"closeout/desk"
	"closeout/ledger"
	"closeout/tasks"
)

// rack is a System that says what it is told to.
type rack struct {
	engine
	err   error
	hangs chan struct{} // closed: it answers
	asked atomic.Int32
}

func (r *rack) Sizes(context.Context) ([]tasks.Size, error) {
	r.asked.Add(1)
	if r.hangs != nil {
		<-r.hangs
	}
	return r.sizes, r.err
}

func (r *rack) Workers(context.Context) ([]tasks.Worker, error) { return r.workers, r.err }

func (r *rack) Visits(_ context.Context, length time.Duration, _ int) ([]tasks.Span, error) {
	if length == time.Hour {
		return r.hours, r.err
	}
	return r.minutes, r.err
}

func withSystem(s System) func(*Options) { return func(o *Options) { o.System = s } }

// sendForm sends a form.
func (b *bench) sendForm(path string, form url.Values, role signin.Role) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set(asRole, string(role))
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	return w
}

func (b *bench) systemPage(t *testing.T, role signin.Role, want int) string {
	t.Helper()
	w := b.do(http.MethodGet, "/system", asRole, string(role))
	if w.Code != want {
		t.Fatalf("GET /system: %d\n%s", w.Code, w.Body)
	}
	return w.Body.String()
}

func says(t *testing.T, page string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q\n%s", want, page)
		}
	}
}

func saysNot(t *testing.T, page string, others ...string) {
	t.Helper()
	for _, other := range others {
		if strings.Contains(page, other) {
			t.Errorf("the page has %q\n%s", other, page)
		}
	}
}

func full(evil string) *rack {
	now := time.Now()
	r := &rack{engine: engine{sizes: []tasks.Size{
		{Name: "account_closure_urgent" + evil, Weight: 6, Pending: 3, Latency: 95 * time.Second, Paused: true},
		{Name: "account_closure", Weight: 3, Active: 2, Scheduled: 4021, Retry: 1, Archived: 7},
	}}}
	r.workers = []tasks.Worker{
		{
			Host: "worker-1" + evil, PID: 7, Started: now.Add(-26 * time.Hour), Concurrency: 20, Status: "active",
			Tasks: []tasks.Current{
				{ID: "x", Type: "closure:withdrawal" + evil, Queue: "account_closure", ClosureID: "0193f2aa-0000-7000-8000-00000000beef" + evil, Started: now.Add(-3 * time.Second)},
				{ID: "y", Type: "batch:check", Queue: "account_closure_bulk", BatchID: "b", Started: now},
			},
			Report: &tasks.Report{
				Version: "1.4.0" + evil, At: now, Sweep: tasks.Sweep{At: now.Add(-12 * time.Second), Took: 40 * time.Millisecond, Overdue: 5, Rescheduled: 2, Reissued: 1, Failed: true},
				Broker: tasks.Broker{
					Down: "outage", Since: now.Add(-10 * time.Minute), Calls: map[string]uint64{"looks": 900, "money": 12}, Held: map[string]uint64{"busy" + evil: 4}, Backlog: time.Minute,
					Limit: 1000, Left: 412, Renewed: now.Add(20 * time.Second),
				},
			},
		},
		{Host: "worker-2", PID: 1, Started: now, Concurrency: 5, Status: "stopped" + evil},
	}
	for n := range 60 {
		s := tasks.Span{From: now.Truncate(time.Minute).Add(time.Duration(n-59) * time.Minute)}
		for range n % 7 {
			s.Count(time.Duration(n) * time.Second)
		}
		r.minutes = append(r.minutes, s)
	}
	for n := range 24 {
		s := tasks.Span{From: now.Truncate(time.Hour).Add(time.Duration(n-23) * time.Hour)}
		s.Count(time.Duration(n) * 20 * time.Minute)
		r.hours = append(r.hours, s)
	}
	return r
}

func TestSystemShowsHowTheServiceDoes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, withSystem(full("")))
		for n := range 2 {
			_, _, err := b.ledger.Create(t.Context(), ledger.Wish{AccountID: fmt.Sprintf("account-%04d", n), RelationshipID: "bank", Actor: "test"})
			must(t, err)
		}
		_, err := b.ledger.LeaseStream(t.Context(), "trades", "w", time.Minute)
		must(t, err)
		must(t, b.ledger.KeepStream(t.Context(), "w", ledger.Stream{Topic: "trades", Cursor: "01ARZ3NDEKTSV4RRFFQ69G5FAV", HeardAt: time.Now().Add(-time.Hour)}))
		says(t, b.systemPage(t, signin.Operator, http.StatusOK),
			"account_closure_urgent", "paused in Asynq", "1 min 35 s", "4021",
			"worker-1:7", "1.4.0", "1 d 2 h", "2 of 20", `href="/closures/0193f2aa-0000-7000-8000-00000000beef"`, "batch:check", "stopped early",
			"12 s ago", "5 overdue, 2 scheduled again, 1 reissued, in 40 ms", "has not answered for 10 min", "looks 900, money 12", "busy 4, looks queue for 1 min",
			"worker-2:1", ">stopped<", "not known", "412 of 1000 calls left, renewed in 20 s",
			"<dt>Visits due</dt><dd>2, the oldest for", "<dt>Letters owed</dt><dd>2, the oldest for", "<dt>Letters given up</dt><dd>none",
			"Event stream trades", "silent for 1 h; its last event is of", "Sat 30 Jul 19:54 EDT", "not heard: visits look by themselves", "all that is written can be read", "SQLite 3.", "KiB",
			"Visits, last hour", "Lateness, last day", "<title>", "The same in figures", "nothing is held", `href="/system/hold"`)
	})
}

func TestSystemOfAnEmptyService(t *testing.T) {
	t.Parallel()
	b := newBench(t, withSystem(&rack{}))
	page := b.systemPage(t, signin.Viewer, http.StatusOK)
	says(t, page, "No worker is running.", "closeout worker", "No visit was counted.", "none was ever read here", "<dt>Visits due</dt><dd>0</dd>", "<dt>Letters owed</dt><dd>0</dd>")
	saysNot(t, page, "/system/hold", "Who held and released", "<rect")
	saysNot(t, newBench(t).systemPage(t, signin.Viewer, http.StatusOK), "No worker is running.") // without a queue nobody knows
}

func TestSystemShowsNothingAsMarkup(t *testing.T) {
	t.Parallel()
	const evil = `<script>alert(1)</script>"'><img src=x onerror=alert(1)>`
	b := newBench(t, withSystem(full(evil)))
	_, err := b.ledger.HoldAll(t.Context(), 0, "operator:"+evil, evil)
	must(t, err)
	_, err = b.ledger.LeaseStream(t.Context(), evil, evil, time.Minute)
	must(t, err)
	for _, path := range []string{"/system", "/system/hold", "/nowhere"} {
		page := b.do(http.MethodGet, path).Body.String()
		says(t, page, "&lt;script&gt;alert(1)")
		saysNot(t, page, "<script>alert", "<img src=x", `onerror=alert(1)>`)
	}
}

// Without Redis the page shows what the ledger knows, and says what nobody knows; a Redis that hangs keeps nobody waiting.
func TestSystemWithoutRedis(t *testing.T) {
	t.Parallel()
	gone := &rack{err: errors.New("dial tcp 10.0.0.7:6379: connection refused")}
	hangs := &rack{hangs: make(chan struct{})}
	defer close(hangs.hangs)
	for name, r := range map[string]*rack{"gone": gone, "hangs": hangs} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, withSystem(r))
			b.readings.engine.Patience = 10 * time.Millisecond
			page := b.systemPage(t, signin.Viewer, http.StatusOK)
			says(t, page, "Redis does not answer", "Visits due", "Letters owed", "nothing is held", "SQLite")
			saysNot(t, page, "No worker is running", "10.0.0.7", "Lateness")
		})
	}
}

func TestManyWhoLookAtSystemAskOnce(t *testing.T) {
	t.Parallel()
	r := full("")
	b := newBench(t, withSystem(r))
	b.readings.engine.Life, b.readings.engine.Patience = time.Hour, time.Hour // a busy machine's reading is no failed one
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if w := b.do(http.MethodGet, "/system"); w.Code != http.StatusOK {
				t.Errorf("%d", w.Code)
			}
		})
	}
	all.Wait()
	if n := r.asked.Load(); n != 1 {
		t.Errorf("Redis was asked %d times", n)
	}
}

func form(version, reason string) url.Values {
	return url.Values{"version": {version}, "reason": {reason}}
}

func TestEverythingIsHeldAndReleased(t *testing.T) {
	t.Parallel()
	b := newBench(t, withSystem(&rack{}))
	_, _, err := b.ledger.Create(t.Context(), ledger.Wish{AccountID: "account-0001", RelationshipID: "bank", Actor: "test"})
	must(t, err)
	hold := func() ledger.Hold {
		h, err := b.ledger.Hold(t.Context())
		must(t, err)
		return h
	}
	saysNot(t, b.systemPage(t, signin.Viewer, http.StatusOK), `class="banner"`)
	says(t, b.do(http.MethodGet, "/system/hold").Body.String(), "1 closure is running; it goes on", `action="/system/hold"`, `name="version" value="0"`)

	for name, tt := range map[string]struct {
		path string
		form url.Values
		role signin.Role
		want int
		says string
	}{
		"AViewer":         {"/system/hold", form("0", "why not"), signin.Viewer, http.StatusForbidden, "who may look and not act"},
		"NoReason":        {"/system/hold", form("0", "  "), signin.Operator, http.StatusUnprocessableEntity, "The reason must say something."},
		"ALongReason":     {"/system/hold", form("0", strings.Repeat("ü", desk.MostReason+1)), signin.Operator, http.StatusUnprocessableEntity, "The reason may have 500 letters at the most."},
		"NoVersion":       {"/system/hold", form("", "why"), signin.Operator, http.StatusUnprocessableEntity, "Not understood"},
		"NothingIsHeld":   {"/system/release", form("0", "why"), signin.Operator, http.StatusConflict, "Nothing was ever held"},
		"AViewerReleases": {"/system/release", form("0", "why"), signin.Viewer, http.StatusForbidden, "who may look and not act"},
	} {
		w := b.sendForm(tt.path, tt.form, tt.role)
		if w.Code != tt.want || !strings.Contains(w.Body.String(), tt.says) {
			t.Errorf("%s: %d\n%s", name, w.Code, w.Body)
		}
	}
	if h := hold(); h != (ledger.Hold{}) {
		t.Fatalf("a refused form has changed it: %+v", h)
	}
	if w := b.do(http.MethodGet, "/system/hold", asRole, string(signin.Viewer)); w.Code != http.StatusForbidden {
		t.Errorf("a viewer is shown the form: %d", w.Code)
	}

	if w := b.sendForm("/system/hold", form("0", " the broker's books look wrong "), signin.Operator); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/system" {
		t.Fatalf("hold: %d %s\n%s", w.Code, w.Header(), w.Body)
	}
	if h := hold(); !h.Held || h.Reason != "the broker's books look wrong" || h.Actor != "operator:ada" {
		t.Fatalf("%+v", h)
	}
	for _, path := range []string{"/system", "/nowhere"} { // also on a page that nobody may see
		says(t, b.do(http.MethodGet, path, asRole, string(signin.Viewer)).Body.String(), `class="banner" role="alert"><b>Everything is held.</b>`, "by operator:ada: the broker&#39;s books look wrong")
	}
	says(t, b.systemPage(t, signin.Operator, http.StatusOK), "Release the hold", "Who held and released", "<td>held</td>")
	// A page that was opened before says what has changed, and does nothing.
	w := b.sendForm("/system/hold", form("0", "me too"), signin.Operator)
	if w.Code != http.StatusConflict {
		t.Errorf("a second hold: %d", w.Code)
	}
	says(t, w.Body.String(), "Somebody else came first", "Everything is held by operator:ada since", "the broker&#39;s books look wrong")

	says(t, b.do(http.MethodGet, "/system/hold").Body.String(), `action="/system/release"`, `name="version" value="1"`, "0 closures wait for this")
	if w := b.sendForm("/system/release", form("1", "they are right"), signin.Operator); w.Code != http.StatusSeeOther {
		t.Fatalf("release: %d\n%s", w.Code, w.Body)
	}
	if h := hold(); h.Held || h.Version != 2 || h.Reason != "they are right" {
		t.Errorf("%+v", h)
	}
	page := b.systemPage(t, signin.Viewer, http.StatusOK)
	saysNot(t, page, `class="banner"`)
	says(t, page, "<td>released</td>", "they are right")
}

// What people are told of a closure that waits for a hold.
func TestAHoldHasItsRowAmongTheReasons(t *testing.T) {
	t.Parallel()
	if r := closure.Reasons[closure.ServiceHeld]; r.Who != closure.Operator || !strings.Contains(r.Hint, "System") {
		t.Errorf("%+v", r)
	}
}
