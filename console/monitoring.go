package console

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"closeout/signin"

	"github.com/hibiken/asynq"
	"github.com/hibiken/asynqmon"

	"closeout/closure"
	"closeout/ledger"
	"closeout/tasks"
	"closeout/web"
)

// monitoringPath is where Asynq's own console is, asynqmon. It shows tasks, and changes none.
const monitoringPath = "/monitoring"

// A task's ID has a slash, which asynqmon's addresses can't carry, and a token, which nobody needs to see. On its pages a task
// is called by its closure and version.
var (
	realTask  = regexp.MustCompile(`([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/(\d+)(?:\.[0-9a-f]{12}\b)?`)
	shownTask = regexp.MustCompile(`^([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:[./](\d{1,18})(?:\.[0-9a-f]*)?)?$`)
	inline    = regexp.MustCompile(`(?s)<script>(.*?)</script>`)
)

// taskPath is the page of a closure's present task in asynqmon.
func taskPath(c closure.Closure) string {
	return fmt.Sprintf("%s/queues/%s/tasks/%s.%d", monitoringPath, tasks.QueueFor(c.Priority), c.ID, c.Version)
}

func (k *Console) routesMonitoring() {
	k.mux.HandleFunc("GET /tasks/{task...}", k.ofTask)
	if k.Monitoring == nil {
		return
	}
	mon := asynqmon.New(asynqmon.Options{
		RootPath: monitoringPath, RedisConnOpt: k.Monitoring, ReadOnly: true,
		PayloadFormatter: asynqmon.PayloadFormatterFunc(shownPayload),
		ResultFormatter:  asynqmon.ResultFormatterFunc(func(_ string, result []byte) string { return hiddenBytes(result) }),
	})
	m := &monitoring{pages: mon, ledger: k.Ledger, inspector: asynq.NewInspector(k.Monitoring)}
	m.policy = "default-src 'none'; script-src 'self'" + m.scripts() + "; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; " +
		"connect-src 'self'; manifest-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
	for _, pattern := range []string{monitoringPath, monitoringPath + "/"} {
		k.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if a, ok := k.admit(w, r, signin.Viewer); ok {
				k.monitor(w, a, m)
			}
		})
	}
}

// monitor hands a request to asynqmon, if it changes nothing.
func (k *Console) monitor(w http.ResponseWriter, a *ask, m *monitoring) {
	h, path := w.Header(), a.URL.Path
	if a.Method != http.MethodGet && a.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		k.fail(w, a, trouble{
			Status: http.StatusMethodNotAllowed, Title: "Not here", Detail: "Asynq's console is for looking. What is done to a task changes no closure.",
			Hint: "Act on the closure: its page has the commands.",
		})
		return
	}
	h.Set("Content-Security-Policy", m.policy)
	api, isAPI := strings.CutPrefix(path, monitoringPath+"/api/")
	switch queue, task, isTask := taskAsked(api); {
	case isAPI && isTask:
		m.task(w, a.Request, queue, task)
	case isAPI:
		m.rewritten(w, a.Request)
	case strings.HasPrefix(path, monitoringPath+"/static/"): // their names change with what is in them
		h.Set("Cache-Control", "private, max-age=86400")
		m.pages.ServeHTTP(w, a.Request)
	default:
		m.page(w, a.Request)
	}
}

// ofTask leads from a task to what it is of: a closure, a batch or a bulk retry.
func (k *Console) ofTask(w http.ResponseWriter, r *http.Request) {
	a, ok := k.admit(w, r, signin.Viewer)
	if !ok {
		return
	}
	at := shownTask.FindStringSubmatch(r.PathValue("task"))
	if at == nil {
		k.fail(w, a, trouble{Status: http.StatusNotFound, Title: "No such task", Detail: "This is no task of a closure.", Hint: "A task is called by its closure's id and a version, with a dot between."})
		return
	}
	to := "/closures/" + at[1]
	_, err := k.Ledger.Get(r.Context(), at[1])
	if errors.Is(err, ledger.ErrNotFound) {
		if _, err := k.Ledger.Redrive(r.Context(), at[1]); err == nil {
			to = redriveAt(at[1])
		} else if _, err := k.Ledger.Batch(r.Context(), at[1]); err == nil {
			to = batchAt(at[1])
		}
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
}

func redriveAt(id string) string { return "/redrives/" + id }

func batchAt(id string) string { return closuresAt("batch_id", id) }

// taskAsked reads the one address of asynqmon's API that asks for one task.
func taskAsked(api string) (queue, task string, ok bool) {
	rest, ok := strings.CutPrefix(api, "queues/")
	if !ok {
		return "", "", false
	}
	queue, rest, _ = strings.Cut(rest, "/")
	task, ok = strings.CutPrefix(rest, "tasks/")
	return queue, task, ok
}

// shownPayload is a task's payload without its token. What is no payload of ours is not shown.
func shownPayload(kind string, b []byte) string {
	var shown any
	if family, _, _ := strings.Cut(kind, ":"); family != "closure" {
		p, err := tasks.ParseBitePayload(b)
		if err != nil {
			return hiddenBytes(b)
		}
		to := batchAt(p.BatchID)
		if p.RedriveID != "" {
			to = redriveAt(p.RedriveID)
		}
		shown = struct {
			tasks.BitePayload
			Page string `json:"page"`
		}{p, to}
	} else {
		p, err := tasks.ParsePayload(b)
		if err != nil || !shownTask.MatchString(p.ClosureID) {
			return hiddenBytes(b)
		}
		shown = struct {
			ClosureID string `json:"closure_id"`
			Version   int64  `json:"version"`
			Page      string `json:"page"`
		}{p.ClosureID, p.Version, "/closures/" + p.ClosureID}
	}
	out, err := json.Marshal(shown)
	if err != nil {
		return hiddenBytes(b)
	}
	return string(out)
}

func hiddenBytes(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	return fmt.Sprintf("%d bytes, not shown", len(b))
}

// monitoring is asynqmon as it is shown here.
type monitoring struct {
	pages     http.Handler
	ledger    *ledger.Ledger
	inspector *asynq.Inspector
	policy    string
}

// answered is an answer before it is sent.
type answered struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (a *answered) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *answered) WriteHeader(status int) { a.status = status }

// Write implements http.ResponseWriter.
func (a *answered) Write(b []byte) (int, error) { return a.body.Write(b) }

// scripts are the hashes of the scripts within asynqmon's page, so that its policy lets in those and no others.
func (m *monitoring) scripts() string {
	page := &answered{header: http.Header{}}
	m.pages.ServeHTTP(page, &http.Request{Method: http.MethodGet, URL: &url.URL{Path: monitoringPath + "/"}, Header: http.Header{}})
	var all strings.Builder
	for _, script := range inline.FindAllSubmatch(page.body.Bytes(), -1) {
		sum := sha256.Sum256(script[1])
		all.WriteString(" 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'")
	}
	return all.String()
}

// page is one of asynqmon's pages, or another of its files, with what of ours stands there.
func (m *monitoring) page(w http.ResponseWriter, r *http.Request) {
	a := &answered{header: w.Header(), status: http.StatusOK}
	m.pages.ServeHTTP(a, r)
	w.WriteHeader(a.status)
	_, _ = w.Write(web.InMonitoring(a.body.Bytes())) // the browser is gone
}

// rewritten is an answer of asynqmon's API, in which tasks are called as they are here.
func (m *monitoring) rewritten(w http.ResponseWriter, r *http.Request) {
	a := &answered{header: w.Header(), status: http.StatusOK}
	m.pages.ServeHTTP(a, r)
	a.header.Del("Content-Length")
	w.WriteHeader(a.status)
	_, _ = w.Write(realTask.ReplaceAll(a.body.Bytes(), []byte("$1.$2"))) // the browser is gone
}

// task answers for one task, in asynqmon's own form.
func (m *monitoring) task(w http.ResponseWriter, r *http.Request, queue, task string) {
	at := shownTask.FindStringSubmatch(task)
	if _, ok := tasks.Queues[queue]; !ok || at == nil || at[2] == "" {
		http.Error(w, "there is no such task", http.StatusNotFound)
		return
	}
	t, err := m.find(r.Context(), queue, at[1], at[2])
	switch {
	case errors.Is(err, asynq.ErrTaskNotFound), errors.Is(err, asynq.ErrQueueNotFound):
		http.Error(w, "the queue has no such task: its visit is over, and the closure's page says what came next", http.StatusNotFound)
		return
	case err != nil:
		http.Error(w, "the queue can't be read just now", http.StatusInternalServerError)
		return
	}
	b, err := json.Marshal(map[string]any{
		"id": task, "queue": t.Queue, "type": t.Type, "payload": shownPayload(t.Type, t.Payload), "state": t.State.String(),
		"max_retry": t.MaxRetry, "retried": t.Retried, "error_message": t.LastErr, "last_failed_at": inRFC3339(t.LastFailedAt),
		"timeout_seconds": int(t.Timeout.Seconds()), "deadline": inRFC3339(t.Deadline), "next_process_at": inRFC3339(t.NextProcessAt),
		"completed_at": inRFC3339(t.CompletedAt), "result": hiddenBytes(t.Result), "ttl_seconds": 0,
	})
	if err != nil {
		http.Error(w, "the task can't be shown", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = w.Write(realTask.ReplaceAll(b, []byte("$1.$2"))) // the browser is gone
}

func inRFC3339(t time.Time) string {
	if t.IsZero() || t.Unix() == 0 {
		return ""
	}
	return t.Format(time.RFC3339)
}

// How far a task is looked for that is not its closure's present one.
const findPages, findPage = 10, 1000

// find finds a task whose token nobody has named: that of a closure's present version by the ledger, others in the queue.
func (m *monitoring) find(ctx context.Context, queue, id, version string) (*asynq.TaskInfo, error) {
	n, err := strconv.ParseInt(version, 10, 64)
	if err != nil {
		return nil, asynq.ErrTaskNotFound
	}
	begins := id + "/" + version
	names := []string{begins} // a batch's
	switch c, err := m.ledger.Get(ctx, id); {
	case err == nil && c.Version == n:
		names = append(names, tasks.PayloadOf(c).ID())
	case err != nil && !errors.Is(err, ledger.ErrNotFound):
		return nil, err
	}
	for _, name := range names {
		if t, err := m.inspector.GetTaskInfo(queue, name); !errors.Is(err, asynq.ErrTaskNotFound) {
			return t, err
		}
	}
	for _, list := range []func(string, ...asynq.ListOption) ([]*asynq.TaskInfo, error){
		m.inspector.ListArchivedTasks, m.inspector.ListActiveTasks, m.inspector.ListRetryTasks, m.inspector.ListPendingTasks,
	} {
		for n := range findPages {
			some, err := list(queue, asynq.Page(n+1), asynq.PageSize(findPage))
			if err != nil {
				return nil, err
			}
			for _, t := range some {
				if strings.HasPrefix(t.ID, begins+".") {
					return t, nil
				}
			}
			if len(some) < findPage {
				break
			}
		}
	}
	return nil, asynq.ErrTaskNotFound
}
