package console

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hibiken/asynq"

	"closeout/closure"
	"closeout/internal/browser"
	"closeout/tasks"
)

// TestBrowserSignsInAndLooksAtTasks: asynqmon's pages work under their policy, a task's page opens, and the only thing that
// is refused is what it would load from elsewhere.
func TestBrowserSignsInAndLooksAtTasks(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Chromium")
	}
	q := newQueued(t)
	c := q.closure("a", closure.Normal)
	ins := asynq.NewInspector(asynq.RedisClientOpt{Addr: q.redis.Addr()})
	t.Cleanup(func() { _ = ins.Close() })
	must(t, ins.ArchiveTask(tasks.QueueFor(c.Priority), tasks.PayloadOf(c).ID()))
	srv := httptest.NewServer(q)
	t.Cleanup(srv.Close)

	p := browser.Start(t).Person(t)
	p.Open(srv.URL + "/monitoring/queues/account_closure?status=archived")
	p.Sees("The demo")
	if found := p.Barriers(); len(found) > 0 {
		t.Errorf("the sign-in page: %s", strings.Join(found, "\n"))
	}
	if said := p.Complaints(); len(said) > 0 {
		t.Errorf("the sign-in page: %s", strings.Join(said, "\n"))
	}
	p.ClickText("As a viewer, who may only look")
	shown := c.ID + ".1"
	p.Until("the archived task is listed", `location.pathname === "/monitoring/queues/account_closure" && document.body.innerText.includes("`+c.ID[:8]+`")`)
	p.Open(srv.URL + taskPath(c))
	p.Until("the task's own page", `document.body.innerText.includes("`+shown+`") && document.body.innerText.includes("/closures/`+c.ID+`") && document.body.innerText.toLowerCase().includes("archived")`)
	if strings.Contains(p.Text(), c.Token) || p.True(`document.documentElement.innerHTML.includes("`+c.Token+`")`) {
		t.Error("the token is in the page")
	}

	// From the task to its closure, and from there to the task, by clicking.
	closurePage := `location.pathname === "/closures/` + c.ID + `" && document.body.innerText.includes("` + c.Confirmation + `")`
	taskPage := `location.pathname === "` + taskPath(c) + `" && document.body.innerText.includes("` + shown + `")`
	p.ClickText("Open its closure")
	p.Until("the closure's page", closurePage)
	p.ClickText("its task")
	p.Until("the task's own page", taskPage)

	// Pages that are changed without being loaded are followed.
	p.Open(srv.URL + "/monitoring/queues/account_closure?status=archived")
	p.Until("the address in the payload is a way", `document.querySelector(".closeout-way")`)
	hidden := `document.getElementById("closeout-of").hidden`
	if !p.True(hidden) {
		t.Error("a list has a way to the closure of one task")
	}
	p.True(`window.notLoadedSince = true`)
	p.Click(`tbody th`)
	p.Until("the task's own page, and the way from it", taskPage+` && window.notLoadedSince && !`+hidden+` && document.getElementById("closeout-of").pathname === "/tasks/`+shown+`"`)
	p.True(`history.back() || true`)
	p.Until("the list again", `document.querySelector(".closeout-way") && window.notLoadedSince && `+hidden)
	p.Click(`.closeout-way`)
	p.Until("the closure's page", closurePage)
	p.Open(srv.URL + taskPath(c))
	p.ClickText("← Closeout console")
	p.Until("the board", `location.pathname === "/" && document.title.startsWith("Board")`)
	for _, said := range p.Complaints() {
		if !strings.Contains(said, "fonts.googleapis.com") {
			t.Errorf("the browser complains: %s", said)
		}
	}
}
