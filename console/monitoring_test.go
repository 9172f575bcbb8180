package console

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"closeout/signin"

	"github.com/alicebob/miniredis/v2"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"closeout/closure"
	"closeout/ledger"
	"closeout/tasks"
)

// queued is a console over queues that hold a task of each state, of closures and a batch.
type queued struct {
	*doorBench
	redis *miniredis.Miniredis
	queue *tasks.Queue
}

func newQueued(t *testing.T) *queued {
	t.Helper()
	q := &queued{redis: miniredis.RunT(t)}
	rdb := redis.NewClient(&redis.Options{Addr: q.redis.Addr()})
	t.Cleanup(func() { _ = rdb.Close() })
	q.queue = tasks.NewQueue(rdb, closure.Clock{}, time.Minute)
	must(t, tasks.Register(t.Context(), rdb))
	q.doorBench = newDoorBench(t, signin.Settings{OneClick: true}, func(o *Options) { o.Monitoring = asynq.RedisClientOpt{Addr: q.redis.Addr()} })
	return q
}

// closure makes one whose visit is queued.
func (q *queued) closure(account string, p closure.Priority) closure.Closure {
	q.t.Helper()
	c, _, err := q.ledger.Create(q.t.Context(), ledger.Wish{AccountID: account, RelationshipID: "bank", Fingerprint: "f00d", Cause: "x", Actor: "key:test", Priority: p}, nil)
	must(q.t, err)
	must(q.t, q.queue.Schedule(q.t.Context(), c))
	return c
}

func (q *queued) as(role signin.Role) *visitor {
	q.t.Helper()
	b := q.visitor()
	b.leads(b.post("/signin/demo", url.Values{"role": {string(role)}}), "/")
	return b
}

// destructive are all the routes by which asynqmon changes something.
func destructive() [][2]string {
	var all [][2]string
	queue := "/monitoring/api/queues/account_closure"
	add := func(method, path string) { all = append(all, [2]string{method, queue + path}) }
	add("DELETE", "")
	add("POST", ":pause")
	add("POST", ":resume")
	add("POST", "/active_tasks/x:cancel")
	add("POST", "/active_tasks:cancel_all")
	add("POST", "/active_tasks:batch_cancel")
	for _, kind := range []string{"/pending_tasks", "/scheduled_tasks", "/retry_tasks", "/archived_tasks", "/completed_tasks", "/groups/g/aggregating_tasks"} {
		add("DELETE", kind+"/x")
		add("DELETE", kind+":delete_all")
		add("POST", kind+":batch_delete")
		for _, verb := range []string{"run", "archive"} {
			add("POST", kind+"/x:"+verb)
			add("POST", kind+":"+verb+"_all")
			add("POST", kind+":batch_"+verb)
		}
	}
	return all
}

func TestMonitoringChangesNothing(t *testing.T) {
	q := newQueued(t)
	q.closure("a", closure.Normal)
	before := q.redis.Dump()
	nobody := q.visitor()
	for _, route := range destructive() {
		for who, b := range map[signin.Role]*visitor{signin.Nobody: nobody, signin.Viewer: q.as(signin.Viewer), signin.Operator: q.as(signin.Operator)} {
			for _, method := range []string{route[0], "PUT", "PATCH"} {
				a := b.ask(method, route[1], url.Values{"task_ids": {"x"}}, "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Dest", "empty")
				want := http.StatusMethodNotAllowed
				if who == signin.Nobody {
					want = http.StatusUnauthorized
				}
				if a.StatusCode != want {
					t.Errorf("%q %s %s: %d, want %d", who, method, route[1], a.StatusCode, want)
				}
			}
		}
	}
	q.as(signin.Operator).shows(q.as(signin.Operator).ask("POST", "/monitoring/api/queues/account_closure:pause", nil, "Sec-Fetch-Site", "cross-site"), 403)
	if after := q.redis.Dump(); after != before {
		t.Errorf("the queue was changed from\n%s\nto\n%s", before, after)
	}
	t.Logf("%d routes", len(destructive()))
}

func TestMonitoringIsForThoseWhoAreSignedIn(t *testing.T) {
	q := newQueued(t)
	b := q.visitor()
	b.leads(b.get("/monitoring"), "/signin?next=%2Fmonitoring")
	b.leads(b.get("/monitoring/queues/account_closure"), "/signin?next=%2Fmonitoring%2Fqueues%2Faccount_closure")
	b.shows(b.get("/monitoring/api/queues", "Sec-Fetch-Dest", "empty"), 401)
	b.leads(b.get("/monitoring/", "X-API-Key", "dev", "Authorization", "Basic YTpkZXY="), "/signin?next=%2Fmonitoring%2F")

	b = q.as(signin.Viewer)
	page := b.get("/monitoring/")
	b.shows(page, 200, "<html")
	csp := page.Header.Get("Content-Security-Policy")
	for _, script := range regexp.MustCompile(`<script[^>]*>`).FindAllString(page.text, -1) {
		if script != "<script>" && !strings.HasPrefix(script, `<script src="/monitoring/static/`) && !strings.HasPrefix(script, `<script src="/assets/monitoring.`) {
			t.Errorf("a script that the policy does not foresee: %s", script)
		}
	}
	scripts, _, _ := strings.Cut(csp[strings.Index(csp, "script-src"):], ";")
	if n := strings.Count(page.text, "<script>"); strings.Contains(scripts, "unsafe") || strings.Count(scripts, "'sha256-") != n || n == 0 {
		t.Errorf("%d scripts in the page, and the policy %s", n, csp)
	}
	_, src, found := strings.Cut(page.text, `src="/monitoring/static/`)
	src, _, _ = strings.Cut(src, `"`)
	a := b.get("/monitoring/static/" + src)
	if !found || a.StatusCode != 200 || !strings.HasPrefix(a.Header.Get("Cache-Control"), "private") || !strings.HasPrefix(a.Header.Get("Content-Type"), "application/javascript") {
		t.Errorf("%q: %d %v", src, a.StatusCode, a.Header)
	}
	b.leads(b.post("/signout", nil), "/signin")
	b.leads(b.get("/monitoring/"), "/signin?next=%2Fmonitoring%2F")
}

// TestMonitoringShowsNoTokens, and calls a task so that its page can be opened: as /monitoring shows it, and from the closure.
func TestMonitoringShowsNoTokens(t *testing.T) {
	q := newQueued(t)
	due := q.closure("a", closure.Normal)
	ins := asynq.NewInspector(asynq.RedisClientOpt{Addr: q.redis.Addr()})
	defer func() { _ = ins.Close() }()
	gone := q.closure("b", closure.Urgent) // its task is archived, and its row has moved on
	must(t, ins.ArchiveTask("account_closure_urgent", tasks.PayloadOf(gone).ID()))
	moved, err := q.ledger.Save(t.Context(), gone, closure.Reissued(time.Now(), "a test", false), nil)
	must(t, err)
	if moved.Version == gone.Version {
		t.Fatal("the row has not moved")
	}
	for _, bite := range []tasks.Bite{
		{BitePayload: tasks.BitePayload{BatchID: "01890000-0000-7000-8000-000000000001", Version: 2}, Type: tasks.BatchChecks},
		{BitePayload: tasks.BitePayload{RedriveID: "01890000-0000-7000-8000-000000000002", Version: 2}, Type: tasks.Redrives},
	} {
		bite.DueAt = time.Now().Add(time.Hour)
		must(t, q.queue.ScheduleBite(t.Context(), bite))
	}
	client := asynq.NewClient(asynq.RedisClientOpt{Addr: q.redis.Addr()})
	defer func() { _ = client.Close() }()
	_, err = client.Enqueue(asynq.NewTask("closure:closing", []byte(`{"email":"ann@example.test"}`)), asynq.Queue("account_closure_bulk"))
	must(t, err)

	b := q.as(signin.Viewer)
	var all strings.Builder
	for _, path := range []string{
		"/queues", "/queues/account_closure", "/queue_stats", "/queues/account_closure/pending_tasks", "/queues/account_closure_urgent/archived_tasks",
		"/queues/account_closure_bulk/scheduled_tasks", "/queues/account_closure_bulk/pending_tasks", "/servers", "/scheduler_entries", "/redis_info",
	} {
		a := b.get("/monitoring/api"+path, "Sec-Fetch-Dest", "empty")
		if path != "/redis_info" { // miniredis tells less than asynqmon wants
			b.shows(a, 200)
		}
		all.WriteString(a.text)
	}
	for _, c := range []closure.Closure{due, gone} {
		queue := tasks.QueueFor(c.Priority)
		path := fmt.Sprintf("/monitoring/queues/%s/tasks/%s.%d", queue, c.ID, c.Version)
		if c.ID == due.ID && taskPath(c) != path {
			t.Errorf("the closure's page leads to %s", taskPath(c))
		}
		b.shows(b.get(path), 200, "<html")
		a := b.get(fmt.Sprintf("/monitoring/api/queues/%s/tasks/%s.%d", queue, c.ID, c.Version))
		b.shows(a, 200)
		var got struct{ ID, Queue, State, Payload string }
		must(t, json.Unmarshal([]byte(a.text), &got))
		want := fmt.Sprintf(`{"closure_id":"%s","version":%d,"page":"/closures/%s"}`, c.ID, c.Version, c.ID)
		if got.ID != fmt.Sprintf("%s.%d", c.ID, c.Version) || got.Queue != queue || got.Payload != want || got.State == "" {
			t.Errorf("%+v, want the payload %s", got, want)
		}
		all.WriteString(a.text)
		if !strings.Contains(all.String(), got.ID) {
			t.Errorf("%s is in no list", got.ID)
		}
		for _, written := range []string{got.ID, tasks.PayloadOf(c).ID(), c.ID} {
			b.leads(b.get("/tasks/"+written), "/closures/"+c.ID)
		}
	}
	b.shows(b.get("/monitoring/api/queues/account_closure_bulk/tasks/01890000-0000-7000-8000-000000000001.2"), 200, `\"page\":\"/closures?batch_id=01890000`)
	b.shows(b.get("/monitoring/api/queues/account_closure_bulk/tasks/01890000-0000-7000-8000-000000000002.2"), 200, `\"page\":\"/redrives/01890000`)
	for _, secret := range []string{due.Token, gone.Token, moved.Token, "ann@example.test"} {
		if strings.Contains(all.String(), secret) {
			t.Errorf("%s is shown in\n%s", secret, all.String())
		}
	}
	for _, path := range []string{
		"account_closure/tasks/" + due.ID + ".99", "account_closure/tasks/" + due.ID, "nothing/tasks/" + due.ID + ".1", "account_closure/tasks/x", "account_closure/tasks/",
		"account_closure/tasks/" + due.ID + ".99999999999999999999", "account_closure/tasks/" + due.ID + ".1%2F..",
	} {
		if a := b.get("/monitoring/api/queues/" + path); a.StatusCode != 404 {
			t.Errorf("%s: %d %s", path, a.StatusCode, a.text)
		}
	}
	for _, task := range []string{"x", "", due.ID + "x", "%2F%2Fevil.example"} {
		if a := b.get("/tasks/" + task); a.StatusCode != 404 {
			t.Errorf("/tasks/%s: %d to %q", task, a.StatusCode, a.Header.Get("Location"))
		}
	}
	batch, err := q.ledger.CreateBatch(t.Context(), ledger.Batch{Actor: "key:test", Priority: closure.Bulk, DryRun: true}, []ledger.BatchRow{{AccountID: "c"}})
	must(t, err)
	b.leads(b.get("/tasks/"+batch.ID+".1"), "/closures?batch_id="+batch.ID)
	b = q.visitor()
	b.leads(b.get("/tasks/"+due.ID), "/signin?next=%2Ftasks%2F"+due.ID)
}
